//! Whether this host has a route to an address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use rustix::io::Errno;

/// The discard port. No packet is sent, so any port would do.
const PORT: u16 = 9;

/// Whether the kernel knows a way to `address`. Connecting a UDP socket looks up the route and sends nothing. An
/// answer that says something else than "no way" counts as one: the program will meet it itself.
pub(crate) fn has_route(address: IpAddr) -> bool {
    match connect_udp(address) {
        Ok(()) => true,
        Err(error) => !matches!(
            Errno::from_io_error(&error),
            Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)
        ),
    }
}

fn connect_udp(address: IpAddr) -> io::Result<()> {
    let unspecified: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((unspecified, 0))?.connect((address, PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_a_route() {
        assert!(has_route(Ipv4Addr::LOCALHOST.into()));
    }
}
