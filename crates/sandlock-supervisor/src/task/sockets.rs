//! The sockets that a process has open, by their inodes.

use std::collections::HashSet;

use rustix::fs::{Dir, Mode, OFlags};
use sandlock_sys::descriptors;

use super::descendants::numbers_in;

/// Adds those of a process, with what its threads have in tables of their own.
pub(super) fn add_of(process: i32, found: &mut HashSet<u64>) {
    for thread in numbers_in(&format!("/proc/{process}/task")) {
        if thread == process || !descriptors::are_shared(process, thread) {
            add_in(&format!("/proc/{process}/task/{thread}/fd"), found);
        }
    }
}

fn add_in(directory: &str, found: &mut HashSet<u64>) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::open(directory, flags, Mode::empty()) else { return };
    let Ok(entries) = Dir::read_from(&directory) else { return };
    let mut target = [0; LONGEST];
    for entry in entries.flatten() {
        if let Ok(len) = rustix::fs::readlinkat_raw(&directory, entry.file_name(), &mut target) {
            found.extend(inode(&target[..len]));
        }
    }
}

fn inode(target: &[u8]) -> Option<u64> {
    let number = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// `socket:[INODE]`. What is longer is none.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use std::os::linux::fs::MetadataExt;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn the_sockets_of_a_process_are_found_and_nothing_else() {
        let socket = UnixDatagram::unbound().unwrap();
        let inode_of =
            std::fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket)));
        let mut found = HashSet::new();
        add_of(std::process::id() as i32, &mut found);
        assert!(found.contains(&inode_of.unwrap().st_ino()));
        for other in ["pipe:[12]", "socket:[12", "socket:[x]", "/tmp/socket:[12]"] {
            assert_eq!(inode(other.as_bytes()), None, "{other}");
        }
        assert_eq!(inode(b"socket:[12]"), Some(12));
    }
}
