//! The sockets that a process has open.

use rustix::fs::{Dir, Mode, OFlags};
use sandlock_sys::descriptors;

use super::descendants::numbers_in;

/// Calls `see` with each of a process, with what its threads have in tables of their own: the thread whose table it is in,
/// its number there, its inode.
pub(super) fn each_of(process: i32, see: &mut impl FnMut(i32, i32, u64)) {
    for thread in numbers_in(&format!("/proc/{process}/task")) {
        if thread == process || !descriptors::are_shared(process, thread) {
            each_in(&format!("/proc/{process}/task/{thread}/fd"), |number, inode| see(thread, number, inode));
        }
    }
}

fn each_in(directory: &str, mut see: impl FnMut(i32, u64)) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::open(directory, flags, Mode::empty()) else { return };
    let Ok(entries) = Dir::read_from(&directory) else { return };
    let mut target = [0; LONGEST];
    for entry in entries.flatten() {
        let number = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
        if let Some(number) = number
            && let Ok(len) = rustix::fs::readlinkat_raw(&directory, entry.file_name(), &mut target)
            && let Some(inode) = inode(&target[..len])
        {
            see(number, inode);
        }
    }
}

/// The inode in what such a descriptor's link in `/proc` says.
pub(crate) fn inode(target: &[u8]) -> Option<u64> {
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
        let number = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let mut found = Vec::new();
        each_of(std::process::id() as i32, &mut |_, number, inode| found.push((number, inode)));
        assert!(found.contains(&(number, inode_of.unwrap().st_ino())));
        for other in ["pipe:[12]", "socket:[12", "socket:[x]", "/tmp/socket:[12]"] {
            assert_eq!(inode(other.as_bytes()), None, "{other}");
        }
        assert_eq!(inode(b"socket:[12]"), Some(12));
    }
}
