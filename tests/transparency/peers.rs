//! The servers: they take all that comes, say nothing, and count. They close nothing before the run is over, so that
//! what a client sees does not depend on time.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use lab::{Lab, raw};

/// What came to one kind of server.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Count {
    connections: u64,
    messages: u64,
    bytes: u64,
    /// Of datagrams only, in any order: their content, and how the kernel labelled them.
    content: u64,
}

pub(crate) type Counts = Vec<(&'static str, Count)>;

pub(crate) struct Peers {
    pub(crate) port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Counts>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Listener,
    Stream,
    Packets,
    Datagrams,
}

struct Source {
    fd: OwnedFd,
    kind: Kind,
    name: &'static str,
}

impl Peers {
    /// TCP and UDP, IPv4 and IPv6, all on one port, and two unix sockets in a directory.
    pub(crate) fn start(lab: &Lab, directory: &Path) -> Self {
        let (port, mut sources) = (0..100).find_map(|_| internet()).expect("a port that is free everywhere");
        for (kind, name) in [(libc::SOCK_STREAM, "stream"), (libc::SOCK_SEQPACKET, "seqpacket")] {
            let path = directory.join(name);
            sources.push(listener(libc::AF_UNIX, kind, &raw::unix(&path), name).unwrap());
            lab.own(&path);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || serve(sources, &stopped));
        Peers { port, stop, thread: Some(thread) }
    }

    /// What has come.
    pub(crate) fn finish(mut self) -> Counts {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { connections, messages, bytes, content } = self;
        write!(f, "{connections} connections, {messages} messages, {bytes} bytes, content {content:x}")
    }
}

fn internet() -> Option<(u16, Vec<Source>)> {
    let probe = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let four = raw::internet((std::net::Ipv4Addr::LOCALHOST, port));
    let six = raw::internet((std::net::Ipv6Addr::LOCALHOST, port));
    let sources = vec![
        listener(libc::AF_INET, libc::SOCK_STREAM, &four, "tcp4")?,
        listener(libc::AF_INET6, libc::SOCK_STREAM, &six, "tcp6")?,
        listener(libc::AF_INET, libc::SOCK_DGRAM, &four, "udp4")?,
        listener(libc::AF_INET6, libc::SOCK_DGRAM, &six, "udp6")?,
    ];
    Some((port, sources))
}

fn set(fd: RawFd, level: i32, name: i32, value: i32) {
    // Some ask for a right that the tests may not have; they do without.
    let _ =
        raw::call(libc::SYS_setsockopt, &[fd as usize, level as usize, name as usize, raw::at(&value), 4]);
}

fn listener(family: i32, kind: i32, address: &[u8], name: &'static str) -> Option<Source> {
    let fd = raw::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0).unwrap();
    // SAFETY: just made, nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let number = fd.as_raw_fd();
    if family == libc::AF_INET6 {
        set(number, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1);
    }
    raw::bind(number, address).ok()?;
    if kind == libc::SOCK_DGRAM {
        set(number, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20);
        for (level, option) in [
            (libc::IPPROTO_IP, libc::IP_RECVTOS),
            (libc::IPPROTO_IP, libc::IP_RECVTTL),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT),
        ] {
            set(number, level, option, 1);
        }
        return Some(Source { fd, kind: Kind::Datagrams, name });
    }
    set(number, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1);
    raw::call(libc::SYS_listen, &[number as usize, 4096]).unwrap();
    Some(Source { fd, kind: Kind::Listener, name })
}

fn serve(sources: Vec<Source>, stop: &AtomicBool) -> Counts {
    let names: Vec<_> = sources.iter().map(|source| source.name).collect();
    let epoll = raw::call(libc::SYS_epoll_create1, &[libc::EPOLL_CLOEXEC as usize]).unwrap() as RawFd;
    let mut counts: HashMap<&'static str, Count> = HashMap::new();
    let mut open: HashMap<RawFd, Source> = HashMap::new();
    let watch = |source: Source, open: &mut HashMap<RawFd, Source>| {
        let fd = source.fd.as_raw_fd();
        control(epoll, libc::EPOLL_CTL_ADD, fd);
        open.insert(fd, source);
    };
    for source in sources {
        watch(source, &mut open);
    }
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        let stopping = stop.load(Ordering::SeqCst);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: the array is alive and as long as it says.
        let ready = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 64, 20) };
        for event in &events[..ready.max(0) as usize] {
            let (fd, what) = (event.u64 as RawFd, event.events);
            let Some(source) = open.get(&fd) else { continue };
            let (kind, name) = (source.kind, source.name);
            let count = counts.entry(name).or_default();
            match kind {
                Kind::Listener => {
                    while let Ok(new) = raw::call(
                        libc::SYS_accept4,
                        &[fd as usize, 0, 0, (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) as usize],
                    ) {
                        count.connections += 1;
                        let kind = if name == "seqpacket" { Kind::Packets } else { Kind::Stream };
                        // SAFETY: just made, nobody else's.
                        let new = unsafe { OwnedFd::from_raw_fd(new as RawFd) };
                        watch(Source { fd: new, kind, name }, &mut open);
                    }
                }
                _ if !drain(fd, kind, what, count, &mut buffer) => control(epoll, libc::EPOLL_CTL_DEL, fd),
                _ => {}
            }
        }
        if stopping && ready <= 0 {
            raw::close(epoll);
            return names
                .into_iter()
                .map(|name| (name, counts.get(name).copied().unwrap_or_default()))
                .collect();
        }
    }
}

fn control(epoll: RawFd, what: i32, fd: RawFd) {
    let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLRDHUP) as u32, u64: fd as u64 };
    let arguments = [epoll as usize, what as usize, fd as usize, raw::out(&mut event)];
    raw::call(libc::SYS_epoll_ctl, &arguments).unwrap();
}

/// Takes what is there. False when no more will come.
fn drain(fd: RawFd, kind: Kind, events: u32, count: &mut Count, buffer: &mut [u8]) -> bool {
    loop {
        let mut labels = [0u8; 256];
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all zeroes is a valid `msghdr`.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        // Without room for them, descriptors that are passed are closed.
        if kind == Kind::Datagrams {
            header.msg_control = labels.as_mut_ptr().cast();
            header.msg_controllen = labels.len();
        }
        let got = raw::call(
            libc::SYS_recvmsg,
            &[fd as usize, raw::out(&mut header), libc::MSG_CMSG_CLOEXEC as usize],
        );
        let Ok(len) = got else { return got == Err(lab::Errno(libc::EAGAIN)) };
        let ended = events & (libc::EPOLLHUP | libc::EPOLLRDHUP | libc::EPOLLERR) as u32 != 0;
        if len == 0 && (kind == Kind::Stream || (kind == Kind::Packets && ended)) {
            return false;
        }
        count.bytes += len as u64;
        if kind != Kind::Stream {
            count.messages += 1;
            let labelled = if kind == Kind::Datagrams { &labels[..header.msg_controllen] } else { &[] };
            count.content = count.content.wrapping_add(hash(&[&buffer[..len], labelled]));
        }
        if len == 0 && kind == Kind::Packets {
            // An empty message, or an end that this event did not know of yet: the next one does.
            return true;
        }
    }
}

fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
