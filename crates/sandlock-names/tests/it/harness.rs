//! A service, its name server, a supervisor that does nothing but say when orders have effect, and programs that ask.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use sandlock_names::{Happening, Outbox, Resolution, Service, Upstream, resolve};
use sandlock_policy::{NameRules, NameState, NetworkRules};

use crate::names::NameServer;

/// What is not waited for longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn rules(allow: &[&str], deny: &[&str]) -> NetworkRules {
    let parse = |specs: &[&str]| specs.iter().map(|spec| spec.parse().unwrap()).collect();
    NetworkRules { allow: parse(allow), deny: parse(deny) }
}

/// Names may be of loopback, and grace is short.
pub(crate) fn local() -> NameRules {
    NameRules { may_be_local: true, grace: Duration::from_millis(300), ..NameRules::default() }
}

#[derive(Default)]
pub(crate) struct Told {
    pub(crate) states: Vec<NameState>,
    pub(crate) happened: Vec<Happening>,
}

struct Recorder {
    told: Arc<Mutex<Told>>,
    orders: mpsc::Sender<u64>,
}

impl Outbox for Recorder {
    fn name(&mut self, serial: u64, state: &NameState) {
        self.told.lock().unwrap().states.push(state.clone());
        let _ = self.orders.send(serial);
    }

    fn happened(&mut self, happening: Happening) {
        self.told.lock().unwrap().happened.push(happening);
    }
}

pub(crate) struct Harness {
    pub(crate) server: NameServer,
    pub(crate) service: Arc<Service>,
    pub(crate) address: SocketAddr,
    told: Arc<Mutex<Told>>,
}

/// What the supervisor does with orders.
#[derive(Clone, Copy)]
pub(crate) enum Supervisor {
    Enforces(Duration),
    IsDead,
}

impl Harness {
    pub(crate) fn start(server: NameServer, allow: &[&str], deny: &[&str], how: NameRules) -> Harness {
        Harness::with(server, rules(allow, deny), how, Supervisor::Enforces(Duration::ZERO))
    }

    pub(crate) fn with(
        server: NameServer,
        rules: NetworkRules,
        how: NameRules,
        supervisor: Supervisor,
    ) -> Harness {
        let upstream = Upstream::server(server.address());
        let resolution = resolve(&rules, &how, &upstream, PATIENCE).unwrap();
        Harness::from(server, rules, how, supervisor, resolution)
    }

    pub(crate) fn from(
        server: NameServer,
        rules: NetworkRules,
        how: NameRules,
        supervisor: Supervisor,
        resolution: Resolution,
    ) -> Harness {
        let upstream = Upstream::server(server.address());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::new(Mutex::new(Told::default()));
        let (orders, received) = mpsc::channel();
        let outbox = Box::new(Recorder { told: Arc::clone(&told), orders });
        let service =
            Service::start(Arc::new(rules), how, upstream, resolution, Some(listener), outbox).unwrap();
        let service = Arc::new(service);
        supervise(&service, received, supervisor);
        Harness { server, service, address, told }
    }

    /// A program's connection, which was announced.
    pub(crate) fn connect(&self) -> Program {
        let program = self.connect_unannounced();
        self.service.announced(program.address());
        program
    }

    pub(crate) fn connect_unannounced(&self) -> Program {
        Program::connect(self.address)
    }

    pub(crate) fn told<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.told.lock().unwrap())
    }

    /// Waits until something was told.
    pub(crate) fn wait(&self, what: &str, told: impl Fn(&Told) -> bool) {
        wait(what, || self.told(&told));
    }

    /// What the name is said to stand for, last.
    pub(crate) fn state(&self, name: &str) -> Option<NameState> {
        self.told(|told| told.states.iter().rfind(|state| state.name == name).cloned())
    }
}

pub(crate) fn wait(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn supervise(service: &Arc<Service>, orders: mpsc::Receiver<u64>, supervisor: Supervisor) {
    let Supervisor::Enforces(delay) = supervisor else {
        return;
    };
    let service = OnceLock::from(Arc::downgrade(service));
    std::thread::spawn(move || {
        for serial in orders {
            std::thread::sleep(delay);
            let Some(service) = service.get().and_then(Weak::upgrade) else {
                return;
            };
            service.enforced(serial);
        }
    });
}

/// A program that asks.
pub(crate) struct Program {
    stream: TcpStream,
}

/// What it was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) code: ResponseCode,
    /// The names on the way.
    pub(crate) links: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ttl: u32,
}

impl Program {
    pub(crate) fn connect(address: SocketAddr) -> Program {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Program { stream }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    pub(crate) fn a(&mut self, name: &str) -> Answered {
        self.ask(name, RecordType::A)
    }

    pub(crate) fn ask(&mut self, name: &str, kind: RecordType) -> Answered {
        self.send(&question(7, name, kind)).unwrap();
        answered(&self.receive().expect("closed"))
    }

    pub(crate) fn send(&mut self, message: &[u8]) -> std::io::Result<()> {
        let length = u16::try_from(message.len()).unwrap();
        self.stream.write_all(&[&length.to_be_bytes()[..], message].concat())
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The same connection.
    pub(crate) fn another(&self) -> Program {
        Program { stream: self.stream.try_clone().unwrap() }
    }

    pub(crate) fn give_up_after(&mut self, limit: Duration) {
        self.stream.set_write_timeout(Some(limit)).unwrap();
    }

    pub(crate) fn end(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next message; nothing when the connection was closed.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 2];
        match self.stream.read_exact(&mut length) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer"),
            result => result.ok()?,
        }
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        self.stream.read_exact(&mut message).unwrap();
        Some(message)
    }
}

pub(crate) fn question(id: u16, name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_labels(name.split('.').map(str::as_bytes)).unwrap(), kind));
    message.set_edns(Edns::new());
    message.to_vec().unwrap()
}

pub(crate) fn answered(bytes: &[u8]) -> Answered {
    let message = Message::from_vec(bytes).unwrap();
    assert!(message.metadata.message_type == MessageType::Response);
    let mut answered = Answered { code: message.response_code, links: vec![], addresses: vec![], ttl: 0 };
    for record in &message.answers {
        answered.ttl = record.ttl;
        match &record.data {
            RData::A(address) => answered.addresses.push(address.0.into()),
            RData::AAAA(address) => answered.addresses.push(address.0.into()),
            RData::CNAME(target) => answered.links.push(target.0.to_ascii()),
            other => panic!("{other:?}"),
        }
    }
    answered
}

pub(crate) fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
