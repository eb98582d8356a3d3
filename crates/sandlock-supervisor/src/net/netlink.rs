//! Netlink: only the kernel's routing family can be had, and only the kernel can be addressed.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use sandlock_sys::{Errno, Tid};

use super::address::{AF_NETLINK, AF_UNSPEC, RawAddress};
use crate::call::{Done, Failure};
use crate::task::tree;

/// `connect` on a netlink socket.
pub(crate) fn connect(socket: &OwnedFd, address: &RawAddress) -> Result<Done, Failure> {
    if address.family() == Some(AF_UNSPEC) {
        rustix::net::connect_unspec(socket)?;
        return Ok(Done::Value(0));
    }
    rustix::net::connect(socket, &kernel(address)?)?;
    Ok(Done::Value(0))
}

/// `bind` on a netlink socket. Where the kernel is to choose, it would choose this process's number: what it would have
/// chosen for the caller is tried first, as `netlink_autobind` of net/netlink/af_netlink.c does.
pub(crate) fn bind(socket: &OwnedFd, tid: Tid, address: &RawAddress) -> Result<Done, Failure> {
    let mut bytes = address.bytes().to_vec();
    let automatic = bytes.len() >= SOCKADDR_NL && bytes[4..8] == [0; 4];
    if automatic && let Some(group) = tree::group_of(tid.get()) {
        bytes[4..8].copy_from_slice(&group.to_ne_bytes());
        match sandlock_sys::socket::bind(socket.as_fd(), &bytes) {
            // Another socket has it, or this one has another.
            Err(Errno::ADDRINUSE | Errno::INVAL) => {}
            result => return Ok(result.map(|()| Done::Value(0))?),
        }
    }
    sandlock_sys::socket::bind(socket.as_fd(), address.bytes())?;
    Ok(Done::Value(0))
}

/// The one address that may be named: port 0, no groups.
///
/// # Errors
///
/// EINVAL for what is no netlink address, EPERM for another than the kernel's (as netlink(7) says to those
/// without CAP_NET_ADMIN).
pub(crate) fn kernel(address: &RawAddress) -> Result<SocketAddrNetlink, Errno> {
    let bytes = address.bytes();
    if bytes.len() < SOCKADDR_NL || address.family() != Some(AF_NETLINK) {
        return Err(Errno::INVAL);
    }
    // Port and groups: the last eight bytes.
    if bytes[4..12].iter().any(|byte| *byte != 0) {
        return Err(Errno::PERM);
    }
    Ok(SocketAddrNetlink::new(0, 0))
}

const SOCKADDR_NL: usize = 12;

/// The kernel's address, as bytes: `AF_NETLINK`, port 0, no groups.
pub(crate) const KERNEL: [u8; SOCKADDR_NL] = {
    let family = AF_NETLINK.to_ne_bytes();
    let mut bytes = [0; SOCKADDR_NL];
    bytes[0] = family[0];
    bytes[1] = family[1];
    bytes
};
