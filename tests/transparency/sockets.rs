//! Calls on sockets: connect, the send family, listen, and what changes a socket between them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::fd::RawFd;
use std::path::Path;

use lab::{Errno, raw};

use crate::arena::{Arena, read_u32};
use crate::program::{World, answer, register};
use crate::random::Random;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Tcp4,
    Tcp6,
    Udp4,
    Udp6,
    Stream,
    SeqPacket,
    StreamPair,
    SeqPacketPair,
    Closed,
    File,
    Pipe,
    Path,
    SocketPath,
    Minus1,
}

use Kind::*;

impl Kind {
    fn is_udp(self) -> bool {
        matches!(self, Udp4 | Udp6)
    }

    fn is_socket(self) -> bool {
        self.is_udp() || self.is_tcp() || self.is_unix()
    }

    fn is_tcp(self) -> bool {
        matches!(self, Tcp4 | Tcp6)
    }

    fn is_unix(self) -> bool {
        matches!(self, Stream | SeqPacket | StreamPair | SeqPacketPair)
    }

    /// Where a message may be cut.
    fn is_stream(self) -> bool {
        self.is_tcp() || matches!(self, Stream | StreamPair)
    }
}

#[derive(Default)]
pub(crate) struct Sockets {
    slots: Vec<Slot>,
}

#[derive(Clone, Copy)]
struct Slot {
    kind: Kind,
    number: RawFd,
    /// The other end of a pair.
    other: Option<RawFd>,
    /// Whether it may hold a part of a datagram that waits for the rest.
    corked: bool,
    /// Whether an end of it was shut down.
    shut: bool,
}

const SLOTS: usize = 6;
const FIRST: RawFd = 100;
const OTHERS: RawFd = 200;

impl Sockets {
    pub(crate) fn renew(&mut self, world: &mut World) {
        for fd in (FIRST..FIRST + SLOTS as RawFd).chain(OTHERS..OTHERS + SLOTS as RawFd) {
            raw::close(fd);
        }
        self.slots = (0..SLOTS as RawFd).map(|index| Slot::make(world, index)).collect();
    }

    /// Makes one call: the subject (calls on the same one depend on each other) and the line.
    pub(crate) fn call(&mut self, world: &mut World) -> (String, String) {
        let index = world.random.below(SLOTS);
        let slot = &mut self.slots[index];
        if !slot.kind.is_socket() {
            world.oddities += 1;
        }
        let line = match world.random.below(100) {
            0..24 => slot.connect(world),
            24..48 => slot.sendto(world),
            48..70 => slot.sendmsg(world),
            70..84 => slot.sendmmsg(world),
            84..89 => slot.listen(world),
            89..92 => slot.shut_down(world),
            _ => slot.adjust(world),
        };
        let corked = if slot.corked { " corked" } else { "" };
        (format!("{index}:{:?}", slot.kind), line.replacen(" = ", &format!("{corked} = "), 1))
    }
}

impl Slot {
    fn make(world: &mut World, index: RawFd) -> Self {
        let random = &mut world.random;
        let kind = random.of(&[
            Tcp4,
            Tcp4,
            Tcp4,
            Tcp6,
            Tcp6,
            Udp4,
            Udp4,
            Udp4,
            Udp4,
            Udp6,
            Udp6,
            Udp6,
            Stream,
            Stream,
            SeqPacket,
            SeqPacket,
            StreamPair,
            SeqPacketPair,
            Closed,
            File,
            Pipe,
            Path,
            SocketPath,
            Minus1,
        ]);
        let number = FIRST + index;
        let extra = if random.percent(20) { libc::SOCK_NONBLOCK } else { 0 };
        let mut other = None;
        let socket = |family, kind| raw::socket(family, kind | extra, 0).unwrap();
        let made = match kind {
            Tcp4 => socket(libc::AF_INET, libc::SOCK_STREAM),
            Tcp6 => socket(libc::AF_INET6, libc::SOCK_STREAM),
            Udp4 => socket(libc::AF_INET, libc::SOCK_DGRAM),
            Udp6 => socket(libc::AF_INET6, libc::SOCK_DGRAM),
            Stream => socket(libc::AF_UNIX, libc::SOCK_STREAM),
            SeqPacket => socket(libc::AF_UNIX, libc::SOCK_SEQPACKET),
            StreamPair | SeqPacketPair => {
                let kind = if kind == StreamPair { libc::SOCK_STREAM } else { libc::SOCK_SEQPACKET };
                let mut pair = [0i32; 2];
                let arguments = [libc::AF_UNIX as usize, (kind | extra) as usize, 0, raw::out(&mut pair)];
                raw::call(libc::SYS_socketpair, &arguments).unwrap();
                other = Some(moved(pair[1], OTHERS + index));
                pair[0]
            }
            File => open("file", libc::O_RDWR),
            Path => open("file", libc::O_PATH),
            SocketPath => open("stream", libc::O_PATH),
            Pipe => {
                let mut pair = [0i32; 2];
                raw::call(libc::SYS_pipe2, &[raw::out(&mut pair), 0]).unwrap();
                raw::close(pair[0]);
                pair[1]
            }
            Closed => return Slot { kind, number, other, corked: false, shut: false },
            Minus1 => return Slot { kind, number: -1, other, corked: false, shut: false },
        };
        let number = moved(made, number);
        if kind.is_tcp() {
            // Else what was sent before a disconnect, and lost by it, depends on time.
            set(number, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
            set(number, libc::SOL_SOCKET, libc::SO_SNDBUF, 1 << 20);
        }
        Slot { kind, number, other, corked: false, shut: false }
    }

    fn connect(&mut self, world: &mut World) -> String {
        let address = Address::any(world, self.kind);
        let fd = register(&mut world.random, self.number);
        // The server keeps its end, so a disconnect and a connect from the same port would wait for long.
        if self.shut && self.kind.is_tcp() {
            return "connect: left out".into();
        }
        let (result, text) = answer(libc::SYS_connect, &[fd, address.at, address.len as u32 as usize]);
        if result == Err(Errno(libc::EINPROGRESS)) {
            self.wait(libc::POLLOUT);
        }
        format!("connect({}) = {text}", address.shown)
    }

    fn sendto(&mut self, world: &mut World) -> String {
        let payload = Payload::any(world, self.kind);
        let address = if world.random.percent(15) {
            Address { at: 0, len: world.random.of(&[0, 0, 16, -1, 129]), shown: "none".into() }
        } else {
            Address::any(world, self.kind)
        };
        let flags = self.flags(world);
        let fd = register(&mut world.random, self.number);
        let arguments =
            [fd, payload.at, payload.len, flags as usize, address.at, address.len as u32 as usize];
        let (_, text) = answer(libc::SYS_sendto, &arguments);
        let came = self.settle();
        format!("sendto({}, {flags:#x}, {}/{}) = {text}{came}", payload.shown, address.shown, address.len)
    }

    fn sendmsg(&mut self, world: &mut World) -> String {
        let (header, shown) = self.header(world);
        let (at, place) = match world.random.below(20) {
            0 => {
                world.oddities += 1;
                Arena::bad(&mut world.random)
            }
            1 => (Arena::put_at_end(&header, world.random.of(&[8, 55, 56])), "edge"),
            _ => (world.arena.put(&header, 56), "good"),
        };
        let flags = self.flags(world);
        let fd = register(&mut world.random, self.number);
        let (_, text) = answer(libc::SYS_sendmsg, &[fd, at, flags as usize]);
        let came = self.settle();
        format!("sendmsg({place} {shown}, {flags:#x}) = {text}{came}")
    }

    fn sendmmsg(&mut self, world: &mut World) -> String {
        let entries = world.random.below(5);
        let (mut bytes, mut shown) = (Vec::new(), String::new());
        for _ in 0..entries {
            let (header, text) = self.header(world);
            bytes.extend(header);
            bytes.extend([0xEE; 8]);
            shown.push_str(&text);
            shown.push(' ');
        }
        let mut count = entries;
        world.oddities += u32::from(entries > 1);
        let (at, place) = match world.random.below(24) {
            0 => {
                world.oddities += 1;
                Arena::bad(&mut world.random)
            }
            1 => {
                // The array ends where memory ends; more are asked for.
                count += world.random.below(3);
                (Arena::put_at_end(&bytes, bytes.len()), "end")
            }
            2 => (Arena::put_at_end(&bytes, bytes.len().saturating_sub(8)), "edge"),
            3 => (Arena::freeze(&bytes), "frozen"),
            _ => (world.arena.put(&bytes, bytes.len()), "good"),
        };
        if place == "end" && world.random.percent(30) {
            count = world.random.of(&[1024, 1025, 0x7fff_ffff, 0xffff_ffff]);
        }
        let flags = self.flags(world);
        let fd = register(&mut world.random, self.number);
        let (_, text) = answer(libc::SYS_sendmmsg, &[fd, at, count, flags as usize]);
        let lengths: Vec<String> = match place {
            "good" | "frozen" => (0..entries)
                .map(|entry| match read_u32(at + entry * 64 + 56) {
                    0xEEEE_EEEE => "-".to_owned(),
                    length => length.to_string(),
                })
                .collect(),
            _ => Vec::new(),
        };
        let came = self.settle();
        format!("sendmmsg({place} [{shown}] {count}, {flags:#x}) = {text} [{}]{came}", lengths.join(" "))
    }

    /// A `struct msghdr`, and its description.
    fn header(&self, world: &mut World) -> (Vec<u8>, String) {
        let address = if world.random.percent(40) {
            Address { at: 0, len: world.random.of(&[0, 0, 0, 16, -1, 500]), shown: "none".into() }
        } else {
            Address::any(world, self.kind)
        };
        let (parts, part_count, parts_shown) = self.parts(world);
        let (control, control_len, control_shown) = self.control(world);
        let mut header = Vec::new();
        header.extend((address.at as u64).to_ne_bytes());
        header.extend((address.len as u32 as u64).to_ne_bytes());
        header.extend((parts as u64).to_ne_bytes());
        header.extend((part_count as u64).to_ne_bytes());
        header.extend((control as u64).to_ne_bytes());
        header.extend((control_len as u64).to_ne_bytes());
        header.extend((world.random.of(&[0u64, 0, 0x4000, 0x2000_0000])).to_ne_bytes());
        (header, format!("{{{}/{} {parts_shown} {control_shown}}}", address.shown, address.len))
    }

    fn parts(&self, world: &mut World) -> (usize, usize, String) {
        let few = world.random.below(5);
        let (mut bytes, mut shown) = (Vec::new(), String::from("["));
        for part in 0..few {
            let mut payload = Payload::any(world, self.kind);
            if self.kind.is_stream() && part > 0 {
                // How much of a stream goes before a part that cannot be read depends on what the kernel's
                // buffers hold.
                (payload.at, payload.shown) = (Arena::payload(&mut world.random), payload.len.to_string());
            }
            bytes.extend((payload.at as u64).to_ne_bytes());
            bytes.extend((payload.len as u64).to_ne_bytes());
            shown.push_str(&payload.shown);
            shown.push(' ');
        }
        shown.push(']');
        match world.random.below(40) {
            0 => {
                world.oddities += 1;
                let (at, name) = Arena::bad(&mut world.random);
                (at, few, format!("{name}x{few}"))
            }
            // Many empty ones, or few bytes in many.
            1 | 2 => {
                world.oddities += 1;
                let count = world.random.of(&[1023, 1024, 1025, 0x7fff_ffff, usize::MAX]);
                let entry = [Arena::payload(&mut world.random) as u64, world.random.of(&[0, 1])];
                let many: Vec<u8> =
                    (0..count.min(1025)).flat_map(|_| entry).flat_map(u64::to_ne_bytes).collect();
                (world.arena.put(&many, 0), count, format!("[{}x{count}]", entry[1]))
            }
            3 => {
                world.oddities += 1;
                let count = few + 1;
                (Arena::put_at_end(&bytes, bytes.len()), count, format!("end{shown}x{count}"))
            }
            _ => (world.arena.put(&bytes, 0), few, shown),
        }
    }

    fn control(&self, world: &mut World) -> (usize, usize, String) {
        let random = &mut world.random;
        if random.percent(55) {
            world.oddities += 1;
            return match random.below(8) {
                // A pointer without a length, a length without a pointer.
                0 => (Arena::bad(random).0, 0, "c0".into()),
                1 => {
                    let (at, name) = Arena::bad(random);
                    let len = random.of(&[1, 15, 16, 20, 131_072]);
                    (at, len, format!("c:{name}+{len}"))
                }
                2 => {
                    let len = random.of(&[0x7fff_ffff, 0x8000_0000, usize::MAX, 1 << 40]);
                    let at = world.arena.put(&[], 64);
                    (at, len, format!("c:good+{len:#x}"))
                }
                _ => {
                    world.oddities -= 1;
                    (0, 0, "c-".into())
                }
            };
        }
        world.oddities += 1;
        let mut bytes = Vec::new();
        let mut shown = String::from("c");
        for _ in 0..random.of(&[1, 1, 1, 2, 3]) {
            let (level, name, data, text) = label(random, self.kind);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            let mut len = 16 + data.len() as u64;
            if random.percent(8) {
                len = random.of(&[0, 1, 15, 16, 17, 18, 19, 4096, u64::MAX, 1 << 63, 0x7fff_ffff]);
                shown.push_str(&format!("!{len:#x}"));
            }
            bytes.extend(len.to_ne_bytes());
            bytes.extend(i32::to_ne_bytes(level));
            bytes.extend(i32::to_ne_bytes(name));
            bytes.extend(data);
            shown.push_str(&format!(":{text}"));
        }
        let mut len = bytes.len();
        match random.below(12) {
            0 => len = len.next_multiple_of(8),
            1 => len = random.below(len + 1),
            2 => len += random.of(&[1, 8, 15, 16, 32]),
            _ => {}
        }
        (world.arena.put(&bytes, len + 64), len, format!("{shown}+{len}"))
    }

    fn flags(&mut self, world: &mut World) -> u32 {
        let random = &mut world.random;
        if random.percent(40) {
            return 0;
        }
        // Not MSG_PROBE (0x10), which is the kernel's own.
        let one = |random: &mut Random| -> u32 {
            random.of(&[0x40, 0x40, 0x4000, 0x4000, 0x8000, 1, 4, 0x80, 2, 0x20, 8, 0x800, 0x100, 0x40000])
        };
        let mut flags = one(random);
        if random.percent(30) {
            flags |= one(random);
        }
        if random.percent(3) {
            flags |= random.of(&[0x400_0000, 0x800_0000, 0x8000_0000, 0x4000_0000]);
        }
        // A part of a corked datagram waits for the next; that is asked for by UDP_CORK often enough.
        if self.kind.is_udp() && random.percent(70) {
            flags &= !0x8000;
        }
        self.corked |= self.kind.is_udp() && flags & 0x8000 != 0;
        // MSG_OOB, MSG_CMSG_COMPAT.
        world.oddities += u32::from(flags & 1 != 0) + u32::from(flags >> 31 != 0);
        flags
    }

    fn listen(&self, world: &mut World) -> String {
        let backlog = world.random.of(&[-1, 0, 1, 5, 4096, i32::MAX, i32::MIN]);
        let fd = register(&mut world.random, self.number);
        // TCP servers are refused inside: see docs/security/limits.md, "What is not gated".
        if self.kind.is_tcp() {
            return "listen: left out".into();
        }
        if matches!(self.kind, Stream | SeqPacket) && world.random.percent(50) {
            let name = format!("own{}", world.random.below(3));
            let _ = raw::call(libc::SYS_unlink, &[raw::at(format!("{name}\0").as_bytes())]);
            let address = raw::unix(Path::new(&name));
            let (_, bound) = answer(libc::SYS_bind, &[fd, raw::at(&address[..]), address.len()]);
            let (_, text) = answer(libc::SYS_listen, &[fd, backlog as u32 as usize]);
            return format!("bind({name}) = {bound}, listen({backlog}) = {text}");
        }
        let (_, text) = answer(libc::SYS_listen, &[fd, backlog as u32 as usize]);
        format!("listen({backlog}) = {text}")
    }

    fn shut_down(&mut self, world: &mut World) -> String {
        let how = world.random.of(&[0, 1, 1, 2, 3]);
        self.shut = true;
        let (_, text) = answer(libc::SYS_shutdown, &[self.number as usize, how]);
        format!("shutdown({how}) = {text}")
    }

    /// Things that are not trapped, but change what the trapped ones answer.
    fn adjust(&mut self, world: &mut World) -> String {
        let flag = world.random.below(2);
        let (level, name, value, shown) = world.random.of(&[
            (-1, 0, flag, "O_NONBLOCK"),
            (-1, 0, flag, "O_NONBLOCK"),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, flag, "IPV6_V6ONLY"),
            (libc::IPPROTO_IP, libc::IP_TOS, 0x10 * flag, "IP_TOS"),
            (libc::IPPROTO_UDP, UDP_SEGMENT, 500 * flag, "UDP_SEGMENT"),
            (libc::IPPROTO_UDP, libc::UDP_CORK, flag, "UDP_CORK"),
            (libc::SOL_SOCKET, libc::SO_PASSCRED, flag, "SO_PASSCRED"),
            (libc::SOL_SOCKET, libc::SO_ZEROCOPY, flag, "SO_ZEROCOPY"),
            (libc::SOL_SOCKET, libc::SO_BROADCAST, flag, "SO_BROADCAST"),
            (libc::IPPROTO_IPV6, 33, flag, "IPV6_FLOWINFO_SEND"),
            (libc::SOL_SOCKET, libc::SO_ERROR, 0, "SO_ERROR"),
        ]);
        self.corked |= shown == "UDP_CORK";
        let text = match (level, shown) {
            (-1, _) => {
                let flags = if flag == 1 { libc::O_NONBLOCK } else { 0 };
                answer(libc::SYS_fcntl, &[self.number as usize, libc::F_SETFL as usize, flags as usize]).1
            }
            // Asking takes it.
            (_, "SO_ERROR") => {
                let (mut value, mut len) = (0i32, 4u32);
                let arguments = [
                    self.number as usize,
                    level as usize,
                    name as usize,
                    raw::out(&mut value),
                    raw::out(&mut len),
                ];
                format!("{} {value}", answer(libc::SYS_getsockopt, &arguments).1)
            }
            _ => {
                let value = value as i32;
                let arguments = [self.number as usize, level as usize, name as usize, raw::at(&value), 4];
                answer(libc::SYS_setsockopt, &arguments).1
            }
        };
        let came = self.settle();
        format!("set({shown}, {flag}) = {text}{came}")
    }

    /// Waits until what was sent has come, so that the next call does not depend on it; and tells what came to
    /// the other end of a pair.
    fn settle(&self) -> String {
        let Some(other) = self.other else {
            if matches!(self.kind, Stream | SeqPacket) {
                for _ in 0..2000 {
                    let mut left = 0i32;
                    let arguments = [self.number as usize, libc::TIOCOUTQ as usize, raw::out(&mut left)];
                    if raw::call(libc::SYS_ioctl, &arguments).is_err() || left == 0 {
                        break;
                    }
                    std::thread::sleep(std::time::Duration::from_micros(100));
                }
            }
            return String::new();
        };
        let mut buffer = vec![0u8; 128 << 10];
        let mut came = String::new();
        for _ in 0..5000 {
            let arguments =
                [other as usize, raw::out(&mut buffer[..]), buffer.len(), libc::MSG_DONTWAIT as usize, 0, 0];
            match raw::call(libc::SYS_recvfrom, &arguments) {
                Ok(0) if self.kind == StreamPair => break,
                Ok(len) => {
                    let sum = buffer[..len]
                        .iter()
                        .fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
                    came.push_str(&format!(" came {len}:{sum:x}"));
                    if len == 0 && self.kind == SeqPacketPair {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        came
    }

    fn wait(&self, events: i16) {
        let mut poll = libc::pollfd { fd: self.number, events, revents: 0 };
        let _ = raw::call(libc::SYS_poll, &[raw::out(&mut poll), 1, 1000]);
    }
}

/// A control message: level, type, data, and its description.
fn label(random: &mut Random, kind: Kind) -> (i32, i32, Vec<u8>, String) {
    let value = random.of(&[0i32, 1, 2, 64, 255, 256, -1, 500, 70_000]);
    let int = value.to_ne_bytes().to_vec();
    let mut packet_info = vec![0u8; 12];
    let mut packet_info6 = vec![0u8; 20];
    if random.percent(50) {
        packet_info[4..8].copy_from_slice(&[127, 0, 0, 1]);
        packet_info6[15] = 1;
    }
    if random.percent(20) {
        packet_info[0] = 1;
        packet_info6[16] = 1;
    }
    // Not the outputs: in a queue they would outlive the program.
    let fd = random.of(&[0i32, 0, 0, 150, -1]).to_ne_bytes().to_vec();
    let (pid, uid, gid) = (std::process::id() as i32, lab::raw::uid(), lab::raw::gid());
    let claim = random.of(&[pid, pid, pid, 1, 0]);
    let own: Vec<u8> = [claim as u32, uid, gid].into_iter().flat_map(u32::to_ne_bytes).collect();
    let (level, name, mut data, text) = match random.below(if kind.is_unix() { 24 } else { 20 }) {
        0 | 1 => (0, libc::IP_TOS, int, format!("TOS={value}")),
        2 => (0, libc::IP_TOS, vec![value as u8], format!("TOS1={}", value as u8)),
        3 | 4 => (0, libc::IP_TTL, int, format!("TTL={value}")),
        5 | 6 => (0, libc::IP_PKTINFO, packet_info, "PKTINFO".into()),
        7 | 8 => (41, libc::IPV6_PKTINFO, packet_info6, "PKTINFO6".into()),
        9 => (41, libc::IPV6_HOPLIMIT, int, format!("HOPLIMIT={value}")),
        10 => (41, libc::IPV6_TCLASS, int, format!("TCLASS={value}")),
        11 => (41, libc::IPV6_DONTFRAG, int, format!("DONTFRAG={value}")),
        12 | 13 => {
            let size = random.of(&[0u16, 1, 100, 500, 1472, 65535]);
            (17, UDP_SEGMENT, size.to_ne_bytes().to_vec(), format!("SEGMENT={size}"))
        }
        14 => (1, libc::SO_MARK, int, format!("MARK={value}")),
        15 => (1, 12, int, format!("PRIORITY={value}")),
        16 => (1, 37, int, format!("TIMESTAMPING={value}")),
        17 => {
            let (level, name) = (random.of(&[0, 1, 6, 17, 41, 58, 255, -1]), random.of(&[0, 6, 99, 200, -1]));
            (level, name, int, format!("unknown{level}/{name}"))
        }
        18 | 20 | 21 => (1, libc::SCM_RIGHTS, fd, "RIGHTS".into()),
        _ => {
            let whose = if claim == pid { "own".to_owned() } else { claim.to_string() };
            (1, libc::SCM_CREDENTIALS, own, format!("CREDENTIALS={whose}"))
        }
    };
    let mut text = text;
    if name == libc::SCM_RIGHTS && level == 1 {
        text.push_str(&format!("{data:?}"));
    }
    if random.percent(6) {
        let len = random.of(&[0, 1, 2, 3, 4, 8, 12, 20]);
        data.resize(len, 0);
        text.push_str(&format!("#{len}"));
    }
    (level, name, data, text)
}

/// An address argument.
struct Address {
    at: usize,
    len: i32,
    shown: String,
}

impl Address {
    /// One that may be right or broken in one of many ways, but never names a place that is not allowed.
    fn any(world: &mut World, kind: Kind) -> Self {
        let (port, random) = (world.port, &mut world.random);
        let six = |address: Ipv6Addr, scope| raw::v6(&SocketAddrV6::new(address, port, 0, scope));
        let natural = match kind {
            Tcp4 | Udp4 => 0,
            Tcp6 | Udp6 => random.of(&[1, 1, 2]),
            Stream | StreamPair => 3,
            SeqPacket | SeqPacketPair => 4,
            _ => random.below(5),
        };
        let which = if random.percent(80) { natural } else { random.below(16) };
        let scope = if random.percent(10) { 1 } else { 0 };
        let (mut bytes, name) = match which {
            0 => (raw::internet((Ipv4Addr::LOCALHOST, port)), "v4"),
            1 => (six(Ipv6Addr::LOCALHOST, scope), "v6"),
            2 => (six(Ipv4Addr::LOCALHOST.to_ipv6_mapped(), scope), "mapped"),
            3 => (raw::unix(Path::new("stream")), "stream"),
            4 => (raw::unix(Path::new("seqpacket")), "seqpacket"),
            5 => (raw::internet((Ipv4Addr::UNSPECIFIED, port)), "any4"),
            6 => (six(Ipv6Addr::UNSPECIFIED, 0), "any6"),
            7 => (raw::unix(Path::new("missing")), "missing"),
            8 => (raw::unix(Path::new("file")), "file"),
            9 => (raw::unix(Path::new("link-to-stream")), "link"),
            10 => (raw::unix(Path::new("file/below")), "below-file"),
            11 => (raw::unix(Path::new("loop")), "loop"),
            12 => (raw::unix_abstract(b"sandlock-transparency-nobody"), "abstract"),
            13 => (raw::unix(Path::new("dir")), "dir"),
            14 => (raw::unix(Path::new("./dir/../stream/")), "slash"),
            _ => (raw::unix(Path::new(&"n".repeat(107))), "long"),
        };
        world.oddities += u32::from(which != natural);
        let is_unix = bytes[0] == libc::AF_UNIX as u8;
        let mut shown = name.to_owned();
        if random.percent(12) {
            world.oddities += 1;
            // Unix names read as internet addresses would name anywhere.
            let family = if is_unix {
                random.of(&[77u16, 65535, 16])
            } else {
                random.of(&[0u16, 0, 0, 2, 10, 1, 77, 65535])
            };
            // An internet address read as a name: a port of ours is no file.
            bytes[..2].copy_from_slice(&family.to_ne_bytes());
            shown.push_str(&format!("~{family}"));
        }
        let mut len = bytes.len() as i32;
        if random.percent(18) {
            world.oddities += 1;
            len = random.of(&[
                -1,
                i32::MIN,
                0,
                1,
                2,
                3,
                4,
                8,
                12,
                15,
                16,
                17,
                20,
                24,
                27,
                28,
                29,
                110,
                111,
                128,
                129,
                i32::MAX,
            ]);
        }
        shown.push_str(&format!("+{len}"));
        let at = match random.below(30) {
            0 => {
                world.oddities += 1;
                let (at, bad) = Arena::bad(random);
                shown = format!("{bad}+{len}");
                at
            }
            1 => {
                world.oddities += 1;
                let readable = random.of(&[1, 2, 8, 16, 24]);
                shown.push_str(&format!("|{readable}"));
                Arena::put_name_at_end(&bytes, readable)
            }
            _ => world.arena.put(&bytes, 192),
        };
        Address { at, len, shown }
    }
}

/// A payload argument.
struct Payload {
    at: usize,
    len: usize,
    shown: String,
}

impl Payload {
    fn any(world: &mut World, kind: Kind) -> Self {
        let random = &mut world.random;
        let mut len = match random.below(10) {
            0 => 0,
            1..7 => random.of(&[1, 2, 3, 64, 100, 300, 1000]),
            // All of a batch finds room in a pair, whose other end is read after the call.
            7 if kind.is_unix() => random.of(&[1472, 1473, 2000, 4096]),
            7 if kind.is_stream() => random.of(&[4096, 5000, 8192]),
            7 => random.of(&[1472, 1473, 4096, 9000]),
            8 if kind.is_udp() => random.of(&[30_000, 65_487, 65_507, 65_508, 65_527, 65_528]),
            9 if kind.is_udp() => random.of(&[65_535, 65_536, 200_000, 0x7fff_ffff, 1 << 40, usize::MAX]),
            _ => random.of(&[7, 11]),
        };
        world.oddities += u32::from(len > 65_000);
        match random.below(20) {
            0 => {
                world.oddities += 1;
                let (at, name) = Arena::bad(random);
                Payload { at, len, shown: format!("{name}+{len}") }
            }
            1 => {
                world.oddities += 1;
                // Streams send what can be read, by pieces whose borders depend on what was sent before.
                if kind.is_stream() {
                    len = len.min(11);
                }
                let readable = random.below(len.min(1000) + 1);
                let at = Arena::payload_at_end(readable);
                Payload { at, len, shown: format!("edge{readable}+{len}") }
            }
            _ => Payload { at: Arena::payload(random), len, shown: format!("{len}") },
        }
    }
}

fn open(path: &str, flags: i32) -> RawFd {
    let path = format!("{path}\0");
    raw::call(libc::SYS_openat, &[libc::AT_FDCWD as usize, raw::at(path.as_bytes()), flags as usize]).unwrap()
        as RawFd
}

fn moved(fd: RawFd, to: RawFd) -> RawFd {
    raw::call(libc::SYS_dup2, &[fd as usize, to as usize]).unwrap();
    raw::close(fd);
    to
}

fn set(fd: RawFd, level: i32, name: i32, value: i32) {
    raw::call(libc::SYS_setsockopt, &[fd as usize, level as usize, name as usize, raw::at(&value), 4])
        .unwrap();
}

const UDP_SEGMENT: i32 = 103;
