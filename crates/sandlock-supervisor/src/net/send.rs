//! The send family on behalf.
use super::address::RawAddress;
use super::socket::Socket;
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use sandlock_sys::{Errno, memory};
use std::os::fd::AsFd;

/// `sendto(fd, buf, len, flags, addr, len)`.
pub(crate) fn sendto(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let socket = cx.pin(call, call.descriptor(0))?;
    let address = RawAddress::read(call.tid, call.pointer(4), call.int(5))?;
    let mut payload = vec![0; (call.long(2) as usize).min(65536)];
    memory::read(call.tid, call.pointer(1), &mut payload)?;
    cx.confirm(call)?;
    match Socket::of(socket.as_fd())? {
        Socket::Netlink => {
            let to = super::netlink::kernel(&address)?;
            let sent = rustix::net::sendto(&socket, &payload, rustix::net::SendFlags::empty(), &to)?;
            Ok(Done::Value(sent as i64))
        }
        _ => Err(Errno::ACCESS.into()),
    }
}
/// x
pub(crate) fn sendmsg(_cx: &Context<'_>, _call: &Call) -> Result<Done, Failure> {
    Err(Errno::ACCESS.into())
}
/// x
pub(crate) fn sendmmsg(_cx: &Context<'_>, _call: &Call) -> Result<Done, Failure> {
    Err(Errno::ACCESS.into())
}
