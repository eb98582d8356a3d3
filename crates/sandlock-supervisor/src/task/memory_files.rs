//! Files in memory, `memfd_create(2)`: made on behalf, so that their memory is seen whoever has them, and whether or not
//! anybody has them mapped.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use sandlock_sys::{Errno, lease};

use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::fs::path;
use crate::lock::lock;

/// The files in memory that were made and are still there.
#[derive(Default)]
pub(crate) struct MemoryFiles(Mutex<Vec<OwnedFd>>);

impl MemoryFiles {
    /// Keeps a file in sight.
    ///
    /// # Errors
    ///
    /// ENFILE when there are too many.
    fn keep(&self, file: &OwnedFd) -> Result<(), Errno> {
        let mut files = lock(&self.0);
        if files.len() >= MOST {
            files.retain(is_in_use);
        }
        if files.len() >= MOST {
            return Err(Errno::NFILE);
        }
        // Not for writing: that is how it is told whether somebody else has it.
        let reader =
            rustix::fs::open(path::of(file.as_fd()), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        files.push(reader?);
        Ok(())
    }

    /// The memory that they take; those that are gone are let go. Their inodes are told to `each`.
    pub(crate) fn bytes(&self, mut each: impl FnMut(u64)) -> u64 {
        let mut files = lock(&self.0);
        files.retain(is_in_use);
        let mut bytes = 0;
        for file in &*files {
            if let Ok(stat) = rustix::fs::fstat(file) {
                each(stat.st_ino);
                bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            }
        }
        bytes
    }
}

/// Whether anybody else has it open for writing, as who it was made for does while it has a descriptor or a mapping of
/// it.
fn is_in_use(file: &OwnedFd) -> bool {
    !lease::nobody_has_open_for_writing(file)
}

/// `memfd_create(name, flags)`.
pub(crate) fn create(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let mut flags = MemfdFlags::from_bits_retain(call.int(1) as u32);
    let name = path::read_string(call.tid, call.pointer(0)).map_err(|errno| match errno {
        Errno::NAMETOOLONG => Errno::INVAL,
        other => other,
    })?;
    let close_on_exec = flags.contains(MemfdFlags::CLOEXEC);
    let sealed = flags.contains(MemfdFlags::ALLOW_SEALING) || flags.contains(MemfdFlags::NOEXEC_SEAL);
    if cx.needs.no_code_in_memory_files {
        // As with vm.memfd_noexec=2.
        if flags.contains(MemfdFlags::EXEC) {
            return Err(Errno::ACCESS.into());
        }
        flags |= MemfdFlags::NOEXEC_SEAL;
    }
    cx.confirm(call)?;
    let file = rustix::fs::memfd_create(&name[..], flags | MemfdFlags::CLOEXEC)?;
    if !sealed && flags.contains(MemfdFlags::NOEXEC_SEAL) {
        // Whoever does not ask for seals gets a file that takes none.
        rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL)?;
    }
    let file = match &cx.limits.memory_files {
        Some(files) => {
            files.keep(&file)?;
            // Counts as open for writing, see `lease`.
            rustix::fs::open(path::of(file.as_fd()), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?
        }
        None => file,
    };
    Ok(Done::Descriptor { file, close_on_exec })
}

/// Descriptors are what the supervisor pins with as well.
const MOST: usize = 256;
