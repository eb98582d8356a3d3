//! A proxy, an upstream on loopback that remembers what came, and programs that are led to the proxy.
#![allow(dead_code, unreachable_pub)]

pub mod tls;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandlock_policy::{HttpRule, HttpRules};
use sandlock_proxy::{Happened, NamesOf, Proxy, Settings};

/// What names stand for.
#[derive(Default)]
pub struct Names(pub HashMap<String, Vec<IpAddr>>);

impl NamesOf for Names {
    fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn is_of(&self, name: &str, address: IpAddr) -> bool {
        self.0.get(name).is_some_and(|addresses| addresses.contains(&address))
    }
}

pub fn rules(allow: &[&str], deny: &[&str]) -> Arc<HttpRules> {
    let parse = |specs: &[&str]| specs.iter().map(|spec| spec.parse::<HttpRule>().unwrap()).collect();
    Arc::new(HttpRules { allow: parse(allow), deny: parse(deny) })
}

/// `a.test` and `b.test` are the upstream, `elsewhere.test` is not.
pub fn names() -> Arc<Names> {
    let here = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let names = [("a.test", here.clone()), ("b.test", here), ("elsewhere.test", vec![[10, 0, 0, 1].into()])];
    Arc::new(Names(names.into_iter().map(|(name, addresses)| (name.to_owned(), addresses)).collect()))
}

pub fn settings(rules: Arc<HttpRules>, told: &Arc<Mutex<Vec<Happened>>>) -> (Settings, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let told = Arc::clone(told);
    let outbox = Box::new(move |happened| told.lock().unwrap().push(happened));
    (Settings { listeners: vec![listener], ..Settings::new(rules, names(), outbox) }, address)
}

/// A proxy, and where it is.
pub struct Lab {
    pub proxy: Proxy,
    pub address: SocketAddr,
    pub told: Arc<Mutex<Vec<Happened>>>,
}

impl Lab {
    pub fn new(allow: &[&str], deny: &[&str]) -> Lab {
        Lab::with(allow, deny, |_| {})
    }

    pub fn with(allow: &[&str], deny: &[&str], change: impl FnOnce(&mut Settings)) -> Lab {
        let told = Arc::default();
        let (mut settings, address) = settings(rules(allow, deny), &told);
        change(&mut settings);
        Lab { proxy: Proxy::start(settings).unwrap(), address, told }
    }

    /// A program's connection to `to`.
    pub fn connect(&self, to: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        self.proxy.announced(stream.local_addr().unwrap(), to);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// All that comes back until the connection ends, once all of `bytes` is sent.
    pub fn talk(&self, to: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = self.connect(to);
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A server that answers each request with its first line, and remembers all bytes.
pub struct Upstream {
    pub address: SocketAddr,
    pub came: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Upstream {
    pub fn start() -> Upstream {
        Upstream::answering(|head, body| {
            let line = head.lines().next().unwrap_or_default();
            if line.starts_with("CONNECT") {
                return b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
            }
            let text = format!("{line} {}", body.len());
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
        })
    }

    pub fn answering(answer: impl Fn(&str, &[u8]) -> Vec<u8> + Send + Sync + 'static) -> Upstream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let came = Arc::new(Mutex::new(Vec::new()));
        let (answer, all) = (Arc::new(answer), Arc::clone(&came));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, all) = (Arc::clone(&answer), Arc::clone(&all));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let _ = stream.set_nodelay(true);
                    while let Some((head, body)) = read_request(&mut stream) {
                        all.lock().unwrap().push([head.as_bytes(), &body].concat());
                        if stream.write_all(&answer(&head, &body)).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Upstream { address, came }
    }

    /// The first lines of what came.
    pub fn lines(&self) -> Vec<String> {
        let came = self.came.lock().unwrap();
        came.iter()
            .map(|bytes| String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned())
            .collect()
    }
}

/// As lenient as can be.
fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        read_more(stream, &mut bytes)?;
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    if field("transfer-encoding").is_some() {
        while !body.ends_with(b"\r\n\r\n") {
            read_more(stream, &mut body)?;
        }
    } else if let Some(length) = field("content-length") {
        let length: usize = length.parse().unwrap();
        while body.len() < length {
            read_more(stream, &mut body)?;
        }
    }
    Some((head, body))
}

fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 4096];
    let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
    bytes.extend_from_slice(&piece[..count]);
    Some(())
}
