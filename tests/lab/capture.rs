//! What is on the wire: the packets of a namespace of the test's own, and the way that each of them names.

use std::collections::BTreeSet;
use std::os::fd::RawFd;

use crate::raw;

/// Takes in every packet of the network namespace of the thread that started it: see packet(7).
pub struct Capture {
    socket: RawFd,
}

impl Capture {
    /// From now on.
    pub fn start() -> Self {
        // In network byte order, as the kernel wants it.
        let all = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let socket = raw::socket(libc::AF_PACKET, kind, i32::from(all)).unwrap();
        Capture { socket }
    }

    /// The packets since the last time, from the header of the network on.
    pub fn packets(&self) -> Vec<Vec<u8>> {
        let next = || {
            let mut bytes = vec![0u8; 65_536];
            let words = [self.socket as usize, raw::out(&mut bytes[..]), bytes.len(), 0, 0, 0];
            let length = raw::call(libc::SYS_recvfrom, &words).ok()?;
            bytes.truncate(length);
            Some(bytes)
        };
        std::iter::from_fn(next).collect()
    }

    /// The ways that these packets name, each as `PROTOCOL, WAY`: `udp, plain` is one that names none.
    pub fn ways(&self) -> BTreeSet<String> {
        self.packets().iter().filter_map(|packet| way(packet)).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        raw::close(self.socket);
    }
}

/// Nothing for a packet that is neither IPv4 nor IPv6, or of no protocol of interest.
fn way(packet: &[u8]) -> Option<String> {
    match packet.first()? >> 4 {
        4 => {
            // In 32-bit words; without options it is five.
            let length = usize::from(packet[0] & 15) * 4;
            let way = if length == 20 { "plain".to_owned() } else { options(&packet[20..length]) };
            Some(format!("{}, {way}", protocol(packet[9])?))
        }
        6 => {
            let (mut next, mut at, mut ways) = (packet[6], 40, Vec::new());
            // Extension headers (RFC 8200) say what follows, and how long they are, in eights but the first.
            while let Some(header) = extension(next) {
                let kind = if header == "routing" { format!(" {}", packet[at + 2]) } else { String::new() };
                ways.push(format!("{header}{kind}"));
                next = packet[at];
                at += (usize::from(packet[at + 1]) + 1) * 8;
            }
            let way = if ways.is_empty() { "plain".to_owned() } else { ways.join(" ") };
            Some(format!("{} 6, {way}", protocol(next)?))
        }
        _ => None,
    }
}

/// The options of IPv4 (RFC 791) by their first: padding says nothing.
fn options(bytes: &[u8]) -> String {
    match bytes.iter().find(|byte| ![0, 1].contains(*byte)) {
        Some(0x83) => "loose source route".to_owned(),
        Some(0x89) => "strict source route".to_owned(),
        other => format!("option {other:?}"),
    }
}

fn extension(number: u8) -> Option<&'static str> {
    match number {
        0 => Some("hop by hop"),
        43 => Some("routing"),
        60 => Some("destination"),
        _ => None,
    }
}

fn protocol(number: u8) -> Option<&'static str> {
    match number {
        6 => Some("tcp"),
        17 => Some("udp"),
        1 | 58 => Some("icmp"),
        _ => None,
    }
}
