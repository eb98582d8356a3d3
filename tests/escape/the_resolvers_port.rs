//! The run's resolver listens on loopback, where every local process could ask it: it knows what the run may know, and
//! opens addresses for it. Only connections that the supervisor led there are answered; and the program itself can
//! name neither its real port nor anything around the address that stands for it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use lab::{Args, Errno, Lab, NONE, report};

lab::suite! {
    tests: [only_what_was_led_to_it_is_answered, nobody_else_is_answered, without_names_nobody_is_there],
    programs: [around, hold],
}

const RESOLVER: &str = "127.53.53.53:53";

fn only_what_was_led_to_it_is_answered(lab: &Lab) {
    let out = lab.sandbox().allow("localhost:9").run("around", NONE);
    out.expect("resolver", "answered").expect("mapped", "answered");
    for key in ["real port", "beside", "port 53", "udp", "other"] {
        out.expect(key, "ECONNREFUSED");
    }
    // With a rule for it the port is reached, but what was not led there is not answered.
    let out = lab.sandbox().allow("*.test:9").allow("127.0.0.1:*").run("around", NONE);
    out.expect("resolver", "answered").expect("real port", "closed").expect("beside", "ECONNREFUSED");
}

fn nobody_else_is_answered(lab: &Lab) {
    let mut run = lab.sandbox().allow("localhost:9").input_pipe().program("hold", NONE).start();
    let port: SocketAddr = run.wait_for("port").parse().unwrap();
    assert_eq!(asked(TcpStream::connect(port).unwrap()), "closed");
    run.send("\n");
    run.finish().expect("resolver", "answered");
}

fn without_names_nobody_is_there(lab: &Lab) {
    lab.sandbox().allow("127.0.0.1:9").run("around", NONE).expect("resolver", "ECONNREFUSED");
}

/// What comes of a question for a name that no rule allows.
fn asked(mut stream: TcpStream) -> String {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend(b"\x04evil\x04test\0\0\x01\0\x01");
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let framed = [&(question.len() as u16).to_be_bytes()[..], &question].concat();
    let mut answer = [0; 6];
    match stream.write_all(&framed).and_then(|()| stream.read_exact(&mut answer)) {
        // An answer, and no such name.
        Ok(()) if answer[2..5] == [0x12, 0x34, 0x81] && answer[5] & 15 == 3 => "answered".to_owned(),
        Ok(()) => format!("{answer:?}"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => "silent".to_owned(),
        Err(_) => "closed".to_owned(),
    }
}

fn asks(to: &str) -> String {
    match TcpStream::connect(to) {
        Ok(stream) => asked(stream),
        Err(error) => Errno::from(&error).to_string(),
    }
}

fn around(_: &Args) {
    report("resolver", asks(RESOLVER));
    report("mapped", asks("[::ffff:127.53.53.53]:53"));
    if let Ok(stream) = TcpStream::connect(RESOLVER) {
        report("real port", asks(&stream.peer_addr().unwrap().to_string()));
    }
    report("beside", asks("127.53.53.53:54"));
    report("port 53", asks("127.0.0.1:53"));
    report("other", asks("127.53.53.54:53"));
    let udp = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.connect(RESOLVER));
    report(
        "udp",
        udp.map_or_else(
            |error| match Errno::from(&error).to_string().as_str() {
                // Without a rule for UDP there is no such socket at all.
                "EACCES" => "ECONNREFUSED".to_owned(),
                other => other.to_owned(),
            },
            |()| "ok".to_owned(),
        ),
    );
}

/// Says where the resolver is, waits, and asks it.
fn hold(_: &Args) {
    report("port", TcpStream::connect(RESOLVER).unwrap().peer_addr().unwrap());
    let _ = std::io::stdin().read(&mut [0]);
    report("resolver", asks(RESOLVER));
}
