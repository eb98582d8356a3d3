//! Leases on files: `F_SETLEASE` of `fcntl(2)`.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::listener::last_errno;

/// Whether nobody has a file open for writing, neither by a descriptor nor by a mapping. `file` is open for reading
/// only. In doubt false.
///
/// A lease for reading is granted only then; it is given back at once. The descriptor that `memfd_create(2)` returns does
/// not count as one for writing; one that was made by opening it again does.
pub fn nobody_has_open_for_writing(file: &impl AsFd) -> bool {
    if set(file, libc::F_RDLCK).is_err() {
        return false;
    }
    // Who opened it in between waits for this, or breaks it after a while.
    let _ = set(file, libc::F_UNLCK);
    true
}

fn set(file: &impl AsFd, lease: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    let done = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_SETLEASE, lease) };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};

    #[test]
    fn a_file_in_memory_is_in_use_until_its_last_descriptor_and_mapping_are_gone() {
        let made = memfd_create("file", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&made, 4096).unwrap();
        let open = |flags| {
            let path = format!("/proc/self/fd/{}", made.as_raw_fd());
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap()
        };
        let (reader, writer) = (open(OFlags::RDONLY), open(OFlags::RDWR));
        drop(made);
        assert!(!nobody_has_open_for_writing(&reader));
        let protection = rustix::mm::ProtFlags::READ;
        let flags = rustix::mm::MapFlags::PRIVATE;
        // SAFETY: a new mapping, of which nothing is read.
        let mapping =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), 4096, protection, flags, &writer, 0) }.unwrap();
        drop(writer);
        assert!(!nobody_has_open_for_writing(&reader));
        // SAFETY: the mapping of above, of which nobody has a pointer.
        unsafe { rustix::mm::munmap(mapping, 4096) }.unwrap();
        assert!(nobody_has_open_for_writing(&reader));
        assert!(nobody_has_open_for_writing(&reader));
    }
}
