//! Files of no directory whose content nobody can change any more: `memfd_create(2)`, sealed.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

/// Makes a file that holds `content` for good, and opens it for reading. `name` is what `/proc` shows.
///
/// # Errors
///
/// That of `memfd_create(2)`, `write(2)`, `fcntl(2)` or `open(2)`.
pub fn sealed_file(name: &str, content: &[u8]) -> Result<OwnedFd, Errno> {
    let file = create(name)?;
    let mut rest = content;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest)?..];
    }
    // Like the files of /etc that it stands for; the seals are what holds, whoever changes this again.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o444))?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    // An open file of its own, at its beginning, that is not open for writing. Landlock lets every process open what
    // is on no mounted file system (`is_nouser_or_private` of security/landlock/fs.c).
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Not executable where the kernel can be told (Linux 6.3), which some machines demand (`vm.memfd_noexec`).
fn create(name: &str) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn its_content_is_read_from_the_beginning_and_cannot_be_changed() {
        let file = sealed_file("hosts", b"127.0.0.1 localhost\n").unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        assert_eq!(rustix::io::write(&file, b"x"), Err(Errno::BADF));
        assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::INVAL));
        // Root's capabilities open it for writing whatever its mode says, as does an owner who changes that.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644)).unwrap();
        let writable = rustix::fs::open(&path, OFlags::RDWR, Mode::empty()).unwrap();
        assert_eq!(rustix::io::write(&writable, b"x"), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&writable, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::fcntl_add_seals(&writable, SealFlags::FUTURE_WRITE), Err(Errno::PERM));
        let mut text = String::new();
        std::fs::File::from(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "127.0.0.1 localhost\n");
    }
}
