//! Programs and upstreams that do their worst hurt their own connection at most.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test may fail loudly")]

mod lab;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use lab::{Lab, Upstream};

const OK: &[u8] = b"GET /ok HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

fn lab(to: SocketAddr) -> Lab {
    Lab::new(&[&format!("* a.test:{}/ok", to.port())], &[])
}

fn still_serves(lab: &Lab, to: SocketAddr) {
    let answer = lab.talk(to, OK);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Whether the other side ends the connection, however much is sent.
fn is_ended(mut stream: TcpStream, piece: &[u8]) -> bool {
    (0..1_000_000).any(|_| stream.write_all(piece).is_err())
}

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), content].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.bytes());
    block.extend(b"\x41\x06a.test");
    block
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    let upstream = Upstream::start();
    let lab = lab(upstream.address);
    let mut stream = lab.connect(upstream.address);
    stream.write_all(PREFACE).unwrap();
    let ended = (0..100_000_u32).any(|number| {
        let id = 2 * number + 1;
        let both = [frame(1, 5, id, &get("/ok")), frame(3, 0, id, &[0, 0, 0, 8])].concat();
        stream.write_all(&both).is_err()
    });
    assert!(ended);
    still_serves(&lab, upstream.address);
}

#[test]
fn a_head_of_http2_that_never_ends_ends_the_connection() {
    let upstream = Upstream::start();
    let lab = lab(upstream.address);
    let mut stream = lab.connect(upstream.address);
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(1, 1, 1, &get("/ok"))).unwrap();
    // A literal field, with and without its index kept.
    let field = [&b"\x40\x7f\x81\x07"[..], &[b'x'; 1022], b"\x01y"].concat();
    assert!(is_ended(stream, &frame(9, 0, 1, &field)));
    still_serves(&lab, upstream.address);
}

#[test]
fn pings_and_settings_without_end_are_not_kept() {
    let upstream = Upstream::start();
    let lab = lab(upstream.address);
    for piece in [frame(6, 0, 0, &[0; 8]), frame(4, 0, 0, &[])] {
        let mut stream = lab.connect(upstream.address);
        stream.write_all(PREFACE).unwrap();
        stream.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        // Nobody reads the answers: at some time nothing more is taken.
        assert!(is_ended(stream, &piece.repeat(1000)));
        still_serves(&lab, upstream.address);
    }
}

#[test]
fn a_body_without_end_of_a_refused_request_is_not_read_to_its_end() {
    let upstream = Upstream::start();
    let lab = lab(upstream.address);
    let mut stream = lab.connect(upstream.address);
    stream.write_all(b"POST /no HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert!(is_ended(stream, &[b"1000\r\n".to_vec(), vec![b'x'; 4096], b"\r\n".to_vec()].concat()));
    assert!(upstream.lines().is_empty());
    still_serves(&lab, upstream.address);
}

#[test]
fn a_head_of_http1_that_never_ends_ends_the_connection() {
    let upstream = Upstream::start();
    let lab = lab(upstream.address);
    for piece in [&b"X: y\r\n"[..], b"GET /", b"\x16\x03\x01\x40\x00\x01\0\x7f\xff"] {
        let stream = lab.connect(upstream.address);
        assert!(is_ended(stream, &piece.repeat(500)));
    }
    still_serves(&lab, upstream.address);
}

#[test]
fn there_are_so_many_connections_and_no_more() {
    let upstream = Upstream::start();
    let lab = lab(upstream.address);
    let mut connections: Vec<TcpStream> = (0..256).map(|_| lab.connect(upstream.address)).collect();
    for stream in &mut connections {
        stream.write_all(b"GET /ok HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    }
    assert_eq!(lab.connect(upstream.address).read(&mut [0; 9]).unwrap_or(0), 0);
    drop(connections);
    // They end when the proxy has seen that.
    let served = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        lab.talk(upstream.address, OK).starts_with("HTTP/1.1 200 ")
    });
    assert!(served);
}

#[test]
fn strangers_do_not_take_the_places_of_programs() {
    let upstream = Upstream::start();
    let lab = lab(upstream.address);
    let strangers: Vec<TcpStream> = (0..700).map(|_| TcpStream::connect(lab.address).unwrap()).collect();
    still_serves(&lab, upstream.address);
    drop(strangers);
}

#[test]
fn upstreams_cannot_stop_the_proxy() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nX: y"[..],
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        b"\0\0\0\0",
        b"",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let answer = answer.to_vec();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                for _ in 0..if answer.is_empty() { 0 } else { 30_000 } {
                    if stream.write_all(&answer).is_err() {
                        break;
                    }
                }
            }
        });
        let lab = lab(to);
        let mut stream = lab.connect(to);
        stream.write_all(OK).unwrap();
        let mut bytes = Vec::new();
        let _ = (&mut stream).take(100_000).read_to_end(&mut bytes);
        let upstream = Upstream::start();
        let fine = Lab::new(&["* *"], &[]);
        assert!(fine.talk(upstream.address, OK).starts_with("HTTP/1.1 403 "));
    }
}
