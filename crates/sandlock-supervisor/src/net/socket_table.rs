//! The sockets of the machine, as `/proc/net` lists them: where `sock_diag(7)` is not there, or all are wanted and not one.
//! Such a list is no snapshot: a line can be passed over while others come and go.

use std::collections::HashSet;
use std::net::IpAddr;

use sandlock_policy::Protocol;

use super::ports::Place;

/// The sockets that have a port of the machine, in `/proc`: where they are bound, and their inodes. For TCP those that
/// listen.
pub(super) fn sockets_in_proc(protocol: Protocol, port: u16) -> Vec<(Place, u64)> {
    let mut found = Vec::new();
    for file in ["", "6"] {
        let path = format!("/proc/thread-self/net/{protocol}{file}");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        found.extend(text.lines().skip(1).filter_map(|line| socket_in_line(line, protocol, port)));
    }
    found
}

/// A line of `/proc/net/tcp` and its like: number, local address, remote address, state, …, inode as the tenth.
fn socket_in_line(line: &str, protocol: Protocol, port: u16) -> Option<(Place, u64)> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let (address, at) = words.get(1)?.split_once(':')?;
    if u16::from_str_radix(at, 16).ok()? != port || (protocol == Protocol::Tcp && *words.get(3)? != LISTEN) {
        return None;
    }
    let inode = inode_in(line)?;
    let mut octets = Vec::new();
    for word in address.as_bytes().chunks(8) {
        // Words in the machine's own order.
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let address = match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
    };
    // Whether it takes IPv4 is not told.
    let dual = address.is_ipv6() && address.is_unspecified();
    Some((Place { address: address.to_canonical(), dual }, inode))
}

/// The inodes of all sockets of the internet in this network namespace; `None` when they cannot be had.
pub(super) fn inodes() -> Option<HashSet<u64>> {
    let mut all = HashSet::new();
    for (table, must_be) in
        [("tcp", true), ("tcp6", false), ("udp", true), ("udp6", false), ("icmp", false), ("icmp6", false)]
    {
        match std::fs::read_to_string(format!("/proc/self/net/{table}")) {
            Ok(text) => all.extend(text.lines().skip(1).filter_map(inode_in)),
            Err(_) if must_be => return None,
            Err(_) => {}
        }
    }
    Some(all)
}

/// Whether a connection of this socket is being made.
pub(super) fn is_being_connected(inode: u64) -> bool {
    ["tcp", "tcp6"].iter().any(|table| {
        let text = std::fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default();
        text.lines().skip(1).any(|line| {
            line.split_ascii_whitespace().nth(3) == Some(SYN_SENT) && inode_in(line) == Some(inode)
        })
    })
}

/// The tenth column: Documentation/networking/proc_net_tcp.rst.
fn inode_in(line: &str) -> Option<u64> {
    line.split_ascii_whitespace().nth(9)?.parse().ok()
}

const LISTEN: &str = "0A";
const SYN_SENT: &str = "02";

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::socket::inode;
    use super::*;

    #[test]
    fn sockets_are_found_in_proc() {
        for bound in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = std::net::TcpListener::bind(bound).unwrap();
            let address = listener.local_addr().unwrap();
            let found = sockets_in_proc(Protocol::Tcp, address.port());
            assert_eq!(found.len(), 1, "{bound}");
            assert_eq!((found[0].0.address, Ok(found[0].1)), (address.ip(), inode(listener.as_fd())));
        }
    }
}
