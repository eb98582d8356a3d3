//! An authoritative name server on loopback, over UDP and TCP on one port, whose zone a test changes while it runs,
//! and which says what it was asked. It writes its own wire format, so that it can also lie and write nonsense.
//!
//! It stands alone: the crate of names includes this very file in its own tests.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A name server. What it has no answer for does not exist (NXDOMAIN).
pub struct NameServer {
    address: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

/// A question that came to a [`NameServer`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The name, in lower case and without the last dot.
    pub name: String,
    /// The type: 1 is A, 28 is AAAA.
    pub kind: u16,
    /// Whether it came over TCP.
    pub tcp: bool,
}

/// What a [`NameServer`] answers for a name, for A and for AAAA.
#[derive(Clone, Debug)]
pub struct Zone {
    content: Content,
    ttl: u32,
    delay: Duration,
    truncated: bool,
    wrong_id: bool,
    wrong_question: bool,
    beside: Vec<(String, IpAddr)>,
}

#[derive(Clone, Debug)]
enum Content {
    Addresses(Vec<IpAddr>),
    Alias { target: String, alone: bool },
    Code(u8),
    Silence,
    Bytes(Vec<u8>),
}

impl Zone {
    /// These addresses, for one minute.
    pub fn addresses<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Zone {
        let addresses = addresses.into_iter().map(|address| address.parse().unwrap()).collect();
        Zone::of(Content::Addresses(addresses))
    }

    /// `count` addresses of 127.0.0.0/8.
    pub fn many(count: u32) -> Zone {
        let address = |n: u32| IpAddr::V4(Ipv4Addr::from(0x7f01_0000 + n));
        Zone::of(Content::Addresses((0..count).map(address).collect()))
    }

    /// Another name (CNAME), and what the zone has for that.
    pub fn alias(target: &str) -> Zone {
        Zone::of(Content::Alias { target: target.to_owned(), alone: false })
    }

    /// Another name, and nothing about that.
    pub fn alias_alone(target: &str) -> Zone {
        Zone::of(Content::Alias { target: target.to_owned(), alone: true })
    }

    /// An answer without records: 0 for no data, 2 for SERVFAIL, 3 for NXDOMAIN, 5 for REFUSED.
    pub fn code(code: u8) -> Zone {
        Zone::of(Content::Code(code))
    }

    /// No answer.
    pub fn silence() -> Zone {
        Zone::of(Content::Silence)
    }

    /// These bytes, after the id of the question.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Zone {
        Zone::of(Content::Bytes(bytes.into()))
    }

    fn of(content: Content) -> Zone {
        Zone {
            content,
            ttl: 60,
            delay: Duration::ZERO,
            truncated: false,
            wrong_id: false,
            wrong_question: false,
            beside: Vec::new(),
        }
    }

    /// For so many seconds.
    pub fn ttl(self, ttl: u32) -> Zone {
        Zone { ttl, ..self }
    }

    /// Only after a while.
    pub fn after(self, delay: Duration) -> Zone {
        Zone { delay, ..self }
    }

    /// Over UDP only the sign that there is more over TCP.
    pub fn truncated(self) -> Zone {
        Zone { truncated: true, ..self }
    }

    /// Under an id that was not asked.
    pub fn wrong_id(self) -> Zone {
        Zone { wrong_id: true, ..self }
    }

    /// For a question that was not asked.
    pub fn wrong_question(self) -> Zone {
        Zone { wrong_question: true, ..self }
    }

    /// With the address of another name that nothing leads to.
    pub fn beside(mut self, name: &str, address: &str) -> Zone {
        self.beside.push((name.to_owned(), address.parse().unwrap()));
        self
    }
}

#[derive(Default)]
struct State {
    zones: Mutex<HashMap<String, Zone>>,
    asked: Mutex<Vec<Asked>>,
    stopped: AtomicBool,
}

const TICK: Duration = Duration::from_millis(20);
const NO_SUCH_NAME: u8 = 3;
const CNAME: u16 = 5;

impl NameServer {
    /// On 127.0.0.1.
    pub fn start() -> NameServer {
        for _ in 0..100 {
            let stream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = stream.local_addr().unwrap();
            // Else somebody has the port for UDP.
            if let Ok(datagrams) = UdpSocket::bind(address) {
                return NameServer::on(address, stream, datagrams);
            }
        }
        panic!("no port is free for both UDP and TCP")
    }

    fn on(address: SocketAddr, stream: TcpListener, datagrams: UdpSocket) -> NameServer {
        let state = Arc::new(State::default());
        datagrams.set_read_timeout(Some(TICK)).unwrap();
        stream.set_nonblocking(true).unwrap();
        let (one, other) = (Arc::clone(&state), Arc::clone(&state));
        let threads = vec![
            std::thread::spawn(move || serve_datagrams(&one, &Arc::new(datagrams))),
            std::thread::spawn(move || serve_streams(&other, &stream)),
        ];
        NameServer { address, state, threads }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answers for a name from now on.
    pub fn set(&self, name: &str, zone: Zone) {
        lock(&self.state.zones).insert(name.to_owned(), zone);
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state.asked).clone()
    }

    /// How often it was asked for the IPv4 addresses of a name.
    pub fn count(&self, name: &str) -> usize {
        lock(&self.state.asked).iter().filter(|asked| asked.name == name && asked.kind == 1).count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve_datagrams(state: &Arc<State>, socket: &Arc<UdpSocket>) {
    let mut buffer = [0; 4096];
    while !state.stopped.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let Some((delay, answer)) = state.answer(&buffer[..length], false) else {
            continue;
        };
        let socket = Arc::clone(socket);
        let send = move || {
            std::thread::sleep(delay);
            let _ = socket.send_to(&answer, from);
        };
        if delay.is_zero() { send() } else { drop(std::thread::spawn(send)) }
    }
}

fn serve_streams(state: &Arc<State>, listener: &TcpListener) {
    while !state.stopped.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let state = Arc::clone(state);
                std::thread::spawn(move || serve_stream(&state, stream));
            }
            Err(_) => std::thread::sleep(TICK),
        }
    }
}

fn serve_stream(state: &State, mut stream: TcpStream) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message).ok()?;
        if let Some((delay, answer)) = state.answer(&message, true) {
            std::thread::sleep(delay);
            let length = u16::try_from(answer.len()).ok()?;
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).ok()?;
        }
    }
}

impl State {
    /// The answer to a message, and how long to wait before it.
    fn answer(&self, message: &[u8], tcp: bool) -> Option<(Duration, Vec<u8>)> {
        let (name, end) = read_name(message)?;
        let kind = u16::from_be_bytes([*message.get(end)?, *message.get(end + 1)?]);
        lock(&self.asked).push(Asked { name: name.clone(), kind, tcp });
        let zones = lock(&self.zones);
        let zone = zones.get(&name).cloned().unwrap_or_else(|| Zone::code(NO_SUCH_NAME));
        let answer = Answer::new(&zones, &zone, &name, kind);
        let mut id = [message[0], message[1]];
        if zone.wrong_id {
            id[1] ^= 1;
        }
        let bytes = match &zone.content {
            Content::Silence => return None,
            Content::Bytes(bytes) => [&id[..], bytes].concat(),
            _ if zone.truncated && !tcp => Answer::default().bytes(id, 2, &message[12..end + 4]),
            _ if zone.wrong_question => {
                let question = [&name_bytes("another.test")[..], &message[end..end + 4]].concat();
                answer.bytes(id, 0, &question)
            }
            _ => answer.bytes(id, 0, &message[12..end + 4]),
        };
        Some((zone.delay, bytes))
    }
}

/// The question's name, and where it ends.
fn read_name(message: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}

fn name_bytes(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

#[derive(Default)]
struct Answer {
    code: u8,
    records: Vec<u8>,
    count: u16,
}

impl Answer {
    fn new(zones: &HashMap<String, Zone>, zone: &Zone, name: &str, kind: u16) -> Answer {
        let mut answer = Answer::default();
        for (name, address) in &zone.beside {
            answer.address(name, *address, zone.ttl, kind);
        }
        answer.follow(zones, zone, name, kind, 0);
        answer
    }

    fn follow(&mut self, zones: &HashMap<String, Zone>, zone: &Zone, name: &str, kind: u16, depth: u32) {
        match &zone.content {
            Content::Addresses(addresses) => {
                addresses.iter().for_each(|address| self.address(name, *address, zone.ttl, kind));
            }
            Content::Alias { target, alone } => {
                self.record(name, CNAME, zone.ttl, &name_bytes(target));
                // A circle is told once round and a little more.
                if !alone && depth < 40 {
                    match zones.get(target) {
                        Some(next) => self.follow(zones, next, target, kind, depth + 1),
                        None => self.code = NO_SUCH_NAME,
                    }
                }
            }
            Content::Code(code) => self.code = *code,
            Content::Silence | Content::Bytes(_) => {}
        }
    }

    fn address(&mut self, name: &str, address: IpAddr, ttl: u32, kind: u16) {
        match address {
            IpAddr::V4(v4) if kind == 1 => self.record(name, kind, ttl, &v4.octets()),
            IpAddr::V6(v6) if kind == 28 => self.record(name, kind, ttl, &v6.octets()),
            _ => {}
        }
    }

    fn record(&mut self, name: &str, kind: u16, ttl: u32, data: &[u8]) {
        let name = name_bytes(name);
        let length = data.len() as u16;
        let head = [&kind.to_be_bytes()[..], &[0, 1], &ttl.to_be_bytes(), &length.to_be_bytes()].concat();
        self.records.extend([&name[..], &head, data].concat());
        self.count += 1;
    }

    /// With more flags of the third byte than that it is an authoritative answer.
    fn bytes(self, id: [u8; 2], flags: u8, question: &[u8]) -> Vec<u8> {
        let counts = [&[0, 1][..], &self.count.to_be_bytes(), &[0, 0, 0, 0]].concat();
        [&id[..], &[0x84 | flags, self.code], &counts, question, &self.records].concat()
    }
}
