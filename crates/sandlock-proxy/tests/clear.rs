//! HTTP/1.1 in the clear, end to end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test may fail loudly")]

mod lab;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use lab::{Lab, Upstream};
use sandlock_proxy::Happened;

fn port(to: SocketAddr, rule: &str) -> String {
    rule.replace("PORT", &to.port().to_string())
}

fn read_some(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 65536];
    let count = stream.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[test]
fn allowed_requests_go_through_one_after_the_other() {
    let upstream = Upstream::start();
    let lab = Lab::new(&[&port(upstream.address, "* a.test:PORT/ok/*")], &[]);
    let mut stream = lab.connect(upstream.address);
    for (request, answer) in [
        ("GET /ok/1 HTTP/1.1\r\nHost: A.test\r\n\r\n", "GET /ok/1 HTTP/1.1 0"),
        ("POST /ok/2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc", "POST /ok/2 HTTP/1.1 3"),
        (
            "PUT /ok/./%33 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\n\r\n",
            "PUT /ok/3 HTTP/1.1 12",
        ),
    ] {
        stream.write_all(request.as_bytes()).unwrap();
        let answered = read_some(&mut stream);
        assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
        assert!(answered.ends_with(&format!("\r\n\r\n{answer}")), "{answered}");
    }
    stream.write_all(b"GET /no HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    let refused = read_some(&mut stream);
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(refused.contains(r#""allow_with":"--http-allow 'GET a.test:"#), "{refused}");
    // The connection goes on, and the one to the upstream too.
    stream.write_all(b"GET /ok/4 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
    assert!(read_some(&mut stream).ends_with("GET /ok/4 HTTP/1.1 0"));
    assert_eq!(upstream.lines().len(), 4);
    let host = format!("host: a.test:{}\r\n", upstream.address.port());
    for came in upstream.came.lock().unwrap().iter() {
        let came = String::from_utf8_lossy(came);
        assert!(came.contains(&host) && !came.contains("onnection"), "{came}");
    }
    let told = lab.told.lock().unwrap();
    assert!(
        matches!(&told[..], [Happened::Refused(denied)] if denied.to_string().contains("/no")),
        "{told:?}"
    );
}

#[test]
fn other_processes_get_nothing() {
    let upstream = Upstream::start();
    let lab = Lab::new(&["* *"], &[]);
    let mut stranger = TcpStream::connect(lab.address).unwrap();
    stranger.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stranger.write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", upstream.address).as_bytes());
    let mut answer = Vec::new();
    let _ = stranger.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    assert!(upstream.lines().is_empty());
}

#[test]
fn the_connection_goes_where_the_program_wanted_and_nowhere_else() {
    let upstream = Upstream::start();
    let lab = Lab::new(&[&port(upstream.address, "* *:PORT")], &[]);
    for (host, status) in [
        ("a.test", 200),
        ("unheard-of.test", 200),
        ("127.0.0.1", 200),
        ("elsewhere.test", 421),
        ("127.0.0.2", 421),
        ("a.test:1", 421),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = lab.talk(upstream.address, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
    let named =
        Lab::new(&[&port(upstream.address, "* *.test:PORT"), &port(upstream.address, "* a.test:PORT")], &[]);
    for (host, status) in
        [("a.test", 200), ("b.test", 200), ("unheard-of.test", 403), ("elsewhere.test", 421)]
    {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = named.talk(upstream.address, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
}

#[test]
fn an_upgrade_opens_the_connection_only_when_the_upstream_agrees() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let head = read_some(&mut stream);
                assert!(head.contains("upgrade: websocket"), "{head}");
                stream
                    .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello")
                    .unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                stream.write_all(&all).unwrap();
            });
        }
    });
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
    let lab = Lab::new(&[&port(address, "GET a.test:PORT/ws")], &[]);
    let mut stream = lab.connect(address);
    stream.write_all(upgrade.as_bytes()).unwrap();
    stream.write_all(b"\x81\x05 raw\n\n bytes").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("sec-websocket-accept: x"), "{answer}");
    assert!(answer.ends_with("hello\u{fffd}\u{5} raw\n\n bytes"), "{answer:?}");

    // When it does not, what follows is a request like any other.
    let upstream = Upstream::start();
    let lab = Lab::new(&[&port(upstream.address, "GET a.test:PORT/ws")], &[]);
    let smuggled = format!("{upgrade}GET /secret HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let answer = lab.talk(upstream.address, smuggled.as_bytes());
    assert!(answer.contains("HTTP/1.1 200 ") && answer.contains("HTTP/1.1 403 "), "{answer}");
    assert_eq!(upstream.lines(), ["GET /ws HTTP/1.1"]);
}

#[test]
fn an_expectation_is_met_once_the_request_is_allowed() {
    let upstream = Upstream::start();
    let lab = Lab::new(&[&port(upstream.address, "POST a.test:PORT/ok")], &[]);
    for (path, first) in [("ok", "HTTP/1.1 100 Continue\r\n\r\n"), ("no", "HTTP/1.1 403 ")] {
        let mut stream = lab.connect(upstream.address);
        let head = format!(
            "POST /{path} HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let answer = read_some(&mut stream);
        assert!(answer.starts_with(first), "{answer}");
        if path == "ok" {
            stream.write_all(b"ab").unwrap();
            assert!(read_some(&mut stream).ends_with("POST /ok HTTP/1.1 2"));
        }
    }
}

#[test]
fn what_the_upstream_streams_comes_as_it_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let lab = Lab::new(&[&port(address, "GET a.test:PORT")], &[]);
    let mut stream = lab.connect(address);
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    read_some(&mut server);
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").unwrap();
    assert!(read_some(&mut stream).contains("text/event-stream"));
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        server.write_all(event.as_bytes()).unwrap();
        assert!(read_some(&mut stream).contains(event));
    }
    drop(server);
    assert!(read_some(&mut stream).ends_with("0\r\n\r\n"));
}

#[test]
fn an_upstream_that_does_not_answer_is_told_of() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lab = Lab::new(&[&port(gone, "GET a.test:PORT")], &[]);
    let answer = lab.talk(gone, b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let hostile = Upstream::answering(|_, _| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec()
    });
    let lab = Lab::new(&[&port(hostile.address, "GET a.test:PORT")], &[]);
    let answer = lab.talk(hostile.address, b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(matches!(lab.told.lock().unwrap()[..], [Happened::UpstreamFailed { .. }]));
}

#[test]
fn what_is_denied_is_not_got_at_by_another_name() {
    let upstream = Upstream::start();
    let all = port(upstream.address, "* *:PORT");
    for (deny, host, status) in [
        ("* 127.0.0.1:PORT/x", "127.0.0.1", 403),
        ("* 127.0.0.1:PORT/x", "a.test", 403),
        ("* 127.0.0.1:PORT/x", "unheard-of.test", 403),
        ("* a.test:PORT/x", "a.test", 403),
        ("* a.test:PORT/x", "127.0.0.1", 403),
        ("* a.test:PORT/x", "unheard-of.test", 403),
        // A good name of the same address is somebody else.
        ("* a.test:PORT/x", "b.test", 200),
        ("* a.test:PORT/y", "unheard-of.test", 200),
        ("* elsewhere.test:PORT/x", "unheard-of.test", 200),
    ] {
        for allow in [&[&all[..]][..], &[]] {
            let lab = Lab::new(allow, &[&port(upstream.address, deny)]);
            let request = format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = lab.talk(upstream.address, request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{deny} {host}: {answer}");
        }
    }
}

#[test]
fn answers_without_a_body_say_how_long_it_would_be() {
    let upstream =
        Upstream::answering(|_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\n".to_vec());
    let lab = Lab::new(&[&port(upstream.address, "HEAD a.test:PORT")], &[]);
    let head = "HEAD / HTTP/1.1\r\nHost: a.test\r\n";
    let answer = lab.talk(upstream.address, format!("{head}\r\n{head}Connection: close\r\n\r\n").as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: 1\r\n").count(), 2, "{answer}");
}

#[test]
fn an_upstream_may_end_its_connections_and_no_request_is_sent_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let came = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let all = std::sync::Arc::clone(&came);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = read_some(&mut stream);
            all.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
            if head.starts_with("GET") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            }
        }
    });
    let lab = Lab::new(&[&port(address, "* a.test:PORT")], &[]);
    let mut stream = lab.connect(address);
    for (method, status) in [("GET", 200), ("GET", 200), ("POST", 502), ("GET", 200)] {
        let request = format!("{method} /{status} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_some(&mut stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        // So that the end of the connection is seen, or not: both have to do.
        std::thread::sleep(Duration::from_millis(30));
    }
    let lines = ["GET /200 HTTP/1.1", "GET /200 HTTP/1.1", "POST /502 HTTP/1.1", "GET /200 HTTP/1.1"];
    assert_eq!(*came.lock().unwrap(), lines);
}
