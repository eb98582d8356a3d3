//! Ports of the run's own that no rule grants are asked about before they are had: as a client outside sees it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::{Args, Lab, Run, free_port, raw, report, shown};

lab::suite! {
    tests: [
        a_port_is_nobodys_until_the_answer_and_then_the_runs,
        a_port_that_is_refused_stays_free,
        a_rule_that_denies_is_not_asked_about_nor_one_that_grants,
        a_server_where_the_kernel_chooses_is_asked_about,
        a_port_is_allowed_once_or_for_the_run,
        datagrams_too,
    ],
    programs: [serve, serve_twice, hear],
}

const WAYS: [&[&str]; 4] = [&[], &["--net-allow-bind", "1"], &["--landlock-at-most", "3"], &["--port-remap"]];

/// A program that is asked, and answers when it is told to.
struct Answering {
    script: PathBuf,
    asked: PathBuf,
    go: PathBuf,
}

impl Answering {
    fn new(lab: &Lab, verdict: &str) -> Self {
        let place = lab.directory(format!("tmp/{}", free_port()));
        let (asked, go) = (place.join("asked"), place.join("go"));
        let text = format!(
            "#!/bin/sh\nread question\necho \"$question\" >> {asked}\nwhile [ ! -e {go} ]; do sleep 0.02; done\n\
             echo '{{\"verdict\": \"{verdict}\"}}'\n",
            asked = asked.display(),
            go = go.display()
        );
        let name = format!("ask/{}.sh", place.file_name().unwrap().to_string_lossy());
        Answering { script: lab.script(name, &text), asked, go }
    }

    /// At once.
    fn at_once(lab: &Lab, verdict: &str) -> Self {
        let answering = Self::new(lab, verdict);
        std::fs::write(&answering.go, "").unwrap();
        answering
    }

    fn run(&self, lab: &Lab, way: &[&str]) -> Run {
        lab.sandbox().options(way).option("--ask-command").option(&self.script)
    }

    /// Waits for the question.
    fn is_asked(&self) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.questions().ends_with('\n') {
            assert!(Instant::now() < until, "nobody asks");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.questions()
    }

    fn questions(&self) -> String {
        std::fs::read_to_string(&self.asked).unwrap_or_default()
    }

    fn answers(&self) {
        std::fs::write(&self.go, "").unwrap();
    }
}

/// Nobody has it: somebody else can.
fn is_free(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err() && TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn heard_at(address: SocketAddr) -> String {
    let mut heard = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut heard).unwrap();
    heard
}

fn a_port_is_nobodys_until_the_answer_and_then_the_runs(lab: &Lab) {
    for way in WAYS {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let answering = Answering::new(lab, "once");
        let mut child = answering.run(lab, way).program("serve", [address.to_string()]).start();
        let question = answering.is_asked();
        for part in ["\"what\":\"bind\"", "\"protocol\":\"tcp\"", &format!("\"rule\":\"{}\"", address.port())]
        {
            assert!(question.contains(part), "{part} {question}");
        }
        std::thread::sleep(Duration::from_millis(100));
        assert!(is_free(address.port()) && child.is_running());
        answering.answers();
        assert_eq!(child.wait_for("listening"), address.to_string());
        assert_eq!(heard_at(address), "hello");
        child.finish().expect_code(0);
        // To listen there was no question of its own.
        assert_eq!(answering.questions().lines().count(), 1);
    }
    // In a port space the port is had although somebody else has it.
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = host.local_addr().unwrap().to_string();
    let answering = Answering::at_once(lab, "once");
    let out = answering.run(lab, &["--port-remap"]).run("serve", [&address, "alone"]);
    out.expect("bind", "ok").expect("listening", &address);
}

fn a_port_that_is_refused_stays_free(lab: &Lab) {
    for way in WAYS {
        let port = free_port();
        let answering = Answering::at_once(lab, "no");
        let out = answering.run(lab, way).run("serve", [format!("127.0.0.1:{port}")]);
        out.expect("bind", "EACCES").expect("bound", 0);
        assert!(is_free(port) && answering.questions().lines().count() == 1);
    }
}

fn a_rule_that_denies_is_not_asked_about_nor_one_that_grants(lab: &Lab) {
    for way in WAYS {
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let answering = Answering::at_once(lab, "run");
        let run = |flag: &str| answering.run(lab, way).option(flag).option(port.to_string());
        run("--net-deny-bind").run("serve", [&address, "alone"]).expect("bind", "EACCES");
        let granted = run("--net-allow-bind").run("serve", [&address, "alone"]);
        granted.expect("bind", "ok").expect("listen", "ok");
        assert_eq!(answering.questions(), "");
    }
}

fn a_server_where_the_kernel_chooses_is_asked_about(lab: &Lab) {
    for way in WAYS {
        for how in ["bound", "unbound"] {
            let answering = Answering::new(lab, "once");
            let mut child = answering.run(lab, way).program("serve", ["127.0.0.1:0", how]).start();
            let question = answering.is_asked();
            assert!(
                question.contains("\"what\":\"listen\"") && question.contains("\"rule\":\"0\""),
                "{question}"
            );
            if how == "bound" {
                let port: u16 = child.wait_for("bound").parse().unwrap();
                assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
            }
            answering.answers();
            let mut address: SocketAddr = child.wait_for("listening").parse().unwrap();
            address.set_ip([127, 0, 0, 1].into());
            assert_eq!(heard_at(address), "hello");
            child.finish().expect_code(0);
            let refuses = Answering::at_once(lab, "no");
            refuses.run(lab, way).run("serve", ["127.0.0.1:0", how]).expect("listen", "EACCES");
        }
    }
}

fn a_port_is_allowed_once_or_for_the_run(lab: &Lab) {
    for (verdict, questions) in [("once", 2), ("run", 1)] {
        for way in WAYS {
            let answering = Answering::at_once(lab, verdict);
            let out = answering.run(lab, way).run("serve_twice", [format!("127.0.0.1:{}", free_port())]);
            out.expect("first", "ok ok").expect("second", "ok ok");
            assert_eq!(answering.questions().lines().count(), questions, "{verdict}");
        }
    }
}

fn datagrams_too(lab: &Lab) {
    for way in WAYS {
        let address = format!("127.0.0.1:{}", free_port());
        let no = Answering::at_once(lab, "no");
        no.run(lab, way).run("hear", [&address]).expect("bind", "EACCES");
        let answering = Answering::new(lab, "once");
        let mut child = answering.run(lab, way).program("hear", [&address]).start();
        let question = answering.is_asked();
        assert!(question.contains("\"rule\":\"udp://"), "{question}");
        drop(UdpSocket::bind(&address).unwrap());
        answering.answers();
        assert_eq!(child.wait_for("bind"), "ok");
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hello", &address).unwrap();
        child.finish().expect("heard", "hello");
    }
}

/// `serve ADDRESS [unbound|alone]`: says hello to the first who comes.
fn serve(args: &Args) {
    let how = if args.count() > 1 { args.text(1) } else { "" };
    let socket = raw::stream();
    if how != "unbound" {
        let bound = shown(raw::bind(socket, &raw::internet(args.get::<SocketAddr>(0))));
        report("bind", &bound);
        report("bound", raw::port_of(socket));
        if bound != "ok" {
            return;
        }
    }
    let listened = shown(raw::listen(socket));
    report("listen", &listened);
    if listened != "ok" {
        return;
    }
    // SAFETY: made above, and nobody else's.
    let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(socket) });
    report("listening", listener.local_addr().unwrap());
    if how != "alone" {
        listener.accept().unwrap().0.write_all(b"hello").unwrap();
    }
}

fn serve_twice(args: &Args) {
    for time in ["first", "second"] {
        let socket = raw::stream();
        let bound = shown(raw::bind(socket, &raw::internet(args.get::<SocketAddr>(0))));
        report(time, format!("{bound} {}", shown(raw::listen(socket))));
        raw::close(socket);
    }
}

fn hear(args: &Args) {
    match UdpSocket::bind(args.text(0)) {
        Err(error) => report("bind", lab::Errno::from(&error)),
        Ok(socket) => {
            report("bind", "ok");
            let mut bytes = [0; 16];
            let heard = socket.recv(&mut bytes).unwrap();
            report("heard", String::from_utf8_lossy(&bytes[..heard]));
        }
    }
}
