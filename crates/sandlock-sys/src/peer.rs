//! Who is at the other end of a unix socket: `SO_PEERCRED` of `unix(7)`.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::listener::last_errno;

/// A process as it was when it connected, or when it began to listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its id; 0 when it has none here, being in a namespace of processes that cannot be seen.
    pub pid: i32,
    /// Its effective user.
    pub user: u32,
}

/// Who is at the other end. The kernel says it, not the peer.
///
/// # Errors
///
/// That of `getsockopt(2)`.
pub fn of(socket: BorrowedFd<'_>) -> Result<Peer, Errno> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to a live structure of that length, of which any bytes are valid.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut len,
        )
    };
    if done == 0 { Ok(Peer { pid: found.pid, user: found.uid }) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = super::of(one.as_fd()).unwrap();
        assert_eq!(peer.pid, std::process::id() as i32);
        assert_eq!(peer.user, rustix::process::geteuid().as_raw());
    }
}
