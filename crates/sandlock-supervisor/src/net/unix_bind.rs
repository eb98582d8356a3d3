//! `bind(2)` on unix sockets: the name is made where the caller stands, with the caller's umask, and the kernel says
//! whether the policy lets it be made there.
//!
//! The kernel keeps the path as it was written, and shows it to whoever asks where a message came from. So it is bound
//! by the very bytes that were read, and resolved once more. What it leads to by then is no matter: the name is made
//! under this process's Landlock domain, which grants no more places to write than the command's, and as the same user.
//! But for places with holes: there it is bound in the directory that was looked at, by its last name.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use sandlock_policy::Denied;
use sandlock_sys::Errno;

use super::address::{AF_UNIX, RawAddress};
use super::unix::{SOCKADDR_UN, SUN_PATH};
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::fs::path::{self, Base};
use crate::fs::umask::Umask;
use crate::task::inner;

/// Binds a unix socket.
pub(crate) fn bind(
    cx: &Context<'_>,
    call: &Call,
    socket: &OwnedFd,
    address: &RawAddress,
) -> Result<Done, Failure> {
    match pathname(address) {
        Some(name) => bind_to_path(cx, call, socket, address, name)?,
        // An abstract name, which Landlock keeps inside; none, for which the kernel chooses one; or what is no address.
        None => sandlock_sys::socket::bind(socket.as_fd(), address.bytes())?,
    }
    Ok(Done::Value(0))
}

/// The path, of an address that has one.
fn pathname(address: &RawAddress) -> Option<&[u8]> {
    let bytes = address.bytes();
    if bytes.len() > SOCKADDR_UN || address.family() != Some(AF_UNIX) {
        return None;
    }
    let name = bytes.get(SUN_PATH..)?.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then_some(name)
}

fn bind_to_path(
    cx: &Context<'_>,
    call: &Call,
    socket: &OwnedFd,
    address: &RawAddress,
    name: &[u8],
) -> Result<(), Failure> {
    // What a program gave up by a Landlock domain of its own must stay given up, and this process is not in it.
    inner::demand_none(cx, call)?;
    let (directory, last) = split(name);
    // Not through the magic links of /proc, which are others to this process.
    let parent = path::pin(cx, call, &Base::WorkingDirectory, directory, path::Follow::Yes)?;
    let real = real_path(&parent)?;
    if !cx.holes.is_empty() {
        let end = last.iter().rposition(|byte| *byte != b'/').map_or(0, |end| end + 1);
        cx.holes.of_entry(parent.as_fd(), &last[..end])?.is_area()?;
    }
    // Where places have holes, this process may more than the command: what was looked at is what is bound in.
    let own_link = path::begins_with_own_link(name, call.tid) || !cx.holes.is_empty();
    let (start, bytes) = if own_link {
        let bytes = [&AF_UNIX.to_ne_bytes()[..], last, &[0]].concat();
        (Some(parent), bytes)
    } else if name[0] == b'/' {
        (None, address.bytes().to_vec())
    } else {
        (Some(path::open_base(cx, call, &Base::WorkingDirectory)?), address.bytes().to_vec())
    };
    let mask = Umask::of(cx, call)?;
    // No other thread of this process goes by the working directory.
    if let Some(start) = start {
        rustix::process::fchdir(start)?;
    }
    let bound = mask.during(|| sandlock_sys::socket::bind(socket.as_fd(), &bytes));
    rustix::process::chdir("/")?;
    match bound {
        // Landlock says the same as the file system does of who may not write there. Where the policy lets it write, it
        // was the file system.
        Err(Errno::ACCESS) if !cx.writable.iter().any(|root| real.starts_with(root)) => {
            Err(Denied::UnixName(real).into())
        }
        bound => Ok(bound?),
    }
}

fn real_path(directory: &OwnedFd) -> Result<PathBuf, Errno> {
    let path = rustix::fs::readlink(path::of(directory.as_fd()), Vec::new())?.into_bytes();
    Ok(PathBuf::from(OsStr::from_bytes(&path)))
}

/// The directory that a path leads through, and the rest.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    let trimmed = name.iter().rposition(|byte| *byte != b'/').map_or(&name[..0], |end| &name[..=end]);
    match trimmed.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&name[..=slash], &name[slash + 1..]),
        None if name[0] == b'/' => (b"/", b"."),
        None => (b".", name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_directory_and_a_name() {
        for (path, directory, name) in [
            ("x", ".", "x"),
            ("x/", ".", "x/"),
            ("a/x", "a/", "x"),
            ("a//x//", "a//", "x//"),
            ("/x", "/", "x"),
            ("/a/../x", "/a/../", "x"),
            ("/", "/", "."),
            ("..", ".", ".."),
        ] {
            assert_eq!(split(path.as_bytes()), (directory.as_bytes(), name.as_bytes()), "{path}");
        }
    }

    #[test]
    fn only_an_address_with_a_path_has_one() {
        let of = |bytes: &[u8]| pathname(&RawAddress::from_bytes(bytes)).map(<[u8]>::to_vec);
        assert_eq!(of(b"\x01\0/x\0y"), Some(b"/x".to_vec()));
        assert_eq!(of(b"\x01\0x"), Some(b"x".to_vec()));
        for other in [
            &b"\x01\0\0x"[..],
            b"\x01\0",
            b"\x01",
            b"",
            b"\x02\0/x",
            &[&b"\x01\0"[..], &[b'x'; 109]].concat(),
        ] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }
}
