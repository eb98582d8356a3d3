//! What the handlers of limits work with.

use std::sync::{Arc, Mutex};

use rustix::thread::CpuSet;
use sandlock_policy::Limits;

use super::memory_files::MemoryFiles;
use super::memory_segments::MemorySegments;
use super::processes::Processes;
use super::processors;

/// The limits that some handler keeps; others are the kernel's.
#[derive(Default)]
pub(crate) struct Limited {
    pub(crate) processes: Mutex<Option<Processes>>,
    pub(crate) processors: Option<CpuSet>,
    /// Where files in memory are kept in sight.
    pub(crate) memory_files: Option<Arc<MemoryFiles>>,
    /// The same for segments of System V shared memory.
    pub(crate) memory_segments: Option<Arc<MemorySegments>>,
}

/// Memory that is there whether or not a process has it mapped.
#[derive(Clone, Default)]
pub(crate) struct Lasting {
    pub(crate) files: Arc<MemoryFiles>,
    pub(crate) segments: Arc<MemorySegments>,
}

impl Limited {
    pub(crate) fn new(limits: &Limits, lasting: Option<Lasting>) -> Self {
        let (memory_files, memory_segments) =
            lasting.map(|lasting| (lasting.files, lasting.segments)).unzip();
        Limited {
            processes: Mutex::new(limits.processes.map(Processes::new)),
            processors: limits.processors.as_ref().map(processors::as_set),
            memory_files,
            memory_segments,
        }
    }
}
