//! What a run may use up: memory, processes, processors, descriptors, the length of files.

mod processors;
mod size;

use serde::{Deserialize, Serialize};

pub use processors::Processors;
pub use size::Size;

/// What a run may use up. The default is no limit beyond those that the caller has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The memory of all processes of the run together; the run ends when it is more.
    pub memory: Option<Size>,
    /// How many processes and threads the run may have at once. To make one more fails with EAGAIN.
    pub processes: Option<u32>,
    /// How many descriptors each process may have open.
    pub open_files: Option<u64>,
    /// How long a file may become by writing.
    pub file_size: Option<Size>,
    /// The processors that the run may run on.
    pub processors: Option<Processors>,
    /// How much time on processors all processes of the run may have together, in hundredths of one processor: 50 is half of
    /// one, 250 two and a half. 0 is no share.
    pub processor_time: Option<u32>,
}

impl Limits {
    /// Takes over what `other` limits; its values count.
    pub fn extend(&mut self, other: Limits) {
        let Limits { memory, processes, open_files, file_size, processors, processor_time } = other;
        self.memory = memory.or(self.memory);
        self.processes = processes.or(self.processes);
        self.open_files = open_files.or(self.open_files);
        self.file_size = file_size.or(self.file_size);
        self.processors = processors.or(self.processors.take());
        self.processor_time = processor_time.or(self.processor_time);
    }
}

/// A value of a limit that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// Not a size.
    #[error("a size is a number of bytes from 1 on, or one with K, M, G or T, such as 512M")]
    Size,
    /// Not a list of processors.
    #[error("a list of processors is written 0,2-3")]
    Processors,
}
