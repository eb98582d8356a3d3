//! `*.wild.test`: programs ask for names that nobody could list before, by whatever resolver they have, and reach what
//! the answers say. What no rule grants is never asked.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use lab::{Args, Errno, Lab, NameServer, Output, Run, TcpServer, Zone, report, tool};

lab::suite! {
    tests: [
        the_c_library,
        curl,
        python,
        node_by_both_lookups,
        dig_over_tcp,
        a_resolver_in_the_program_over_tcp,
        a_name_is_reached_through_its_aliases,
        a_moved_name_is_reached_where_it_is,
        the_domain_itself_and_other_ports_are_not_granted,
        a_denied_part_of_the_domain_is_neither_asked_nor_reached,
    ],
    programs: [by_the_c_library, over_tcp],
}

struct Wild {
    names: NameServer,
    allowed: TcpServer,
    other: TcpServer,
}

/// `one.wild.test` and `evil.test` are there; rules grant only what is below `wild.test`.
fn wild(lab: &Lab, place: u8) -> Wild {
    lab.file("site/page", "the page");
    let [one, two] = [place, place + 1].map(|last| format!("127.0.61.{last}"));
    let [allowed, other] = TcpServer::http_on_same_port([&one, &two], &lab.path("site"));
    let names = NameServer::start();
    names.set("one.wild.test", Zone::addresses([&*one]));
    names.set("evil.test", Zone::addresses([&*two]));
    names.set("wild.test", Zone::addresses([&*two]));
    Wild { names, allowed, other }
}

impl Wild {
    fn run(&self, lab: &Lab) -> Run {
        lab.sandbox()
            .options(["--resolver", &self.names.address().to_string(), "--names-may-be-local"])
            .allow(format!("*.wild.test:{}", self.allowed.port()))
    }

    fn url(&self, name: &str) -> String {
        format!("http://{name}:{}/page", self.allowed.port())
    }

    /// What `fetch` makes of a URL: it gets the page by the granted name, and by no other.
    fn fetches(&self, lab: &Lab, fetch: impl Fn(Run, &str) -> Output) {
        let out = fetch(self.run(lab), &self.url("one.wild.test"));
        assert!(out.expect_code(0).stdout.contains("the page"), "{out}");
        for refused in ["evil.test", "wild.test"] {
            let out = fetch(self.run(lab), &self.url(refused));
            assert!(out.code() != 0 && !out.stdout.contains("the page"), "{out}");
            out.expect_said(&format!("  the name {refused}"));
        }
        assert!(!self.allowed.saw().is_empty() && self.other.saw().is_empty());
        self.nothing_leaked();
    }

    fn nothing_leaked(&self) {
        let asked = self.names.asked();
        assert!(asked.iter().all(|asked| asked.name == "one.wild.test"), "{asked:?}");
    }
}

fn the_c_library(lab: &Lab) {
    let wild = wild(lab, 1);
    let target = |name: &str| format!("{name}:{}", wild.allowed.port());
    let names = ["one.wild.test", "ONE.Wild.Test", "none.wild.test", "evil.test", "wild.test"].map(target);
    let out = wild.run(lab).run("by_the_c_library", &names);
    out.expect(&names[0], "127.0.61.1 ok").expect(&names[1], "127.0.61.1 ok");
    for name in &names[2..] {
        out.expect(name, "no such name");
    }
    assert!(wild.names.asked().iter().all(|asked| asked.name.ends_with(".wild.test")));
    assert!(wild.other.saw().is_empty());
}

fn curl(lab: &Lab) {
    let curl = tool("curl", "curl");
    wild(lab, 3).fetches(lab, |run, url| run.command(&curl, ["-sS", "--max-time", "10", url]).output());
}

fn python(lab: &Lab) {
    let script =
        "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())";
    let python = tool("python3", "python3");
    wild(lab, 5).fetches(lab, |run, url| run.command(&python, ["-c", script, url]).output());
}

fn node_by_both_lookups(lab: &Lab) {
    let node = tool("node", "nodejs");
    // `lookup` is the C library's; `resolve4` is c-ares, which asks by itself.
    for (way, place) in
        [("dns.lookup(u.hostname, go)", 7), ("dns.resolve4(u.hostname, (e, a) => go(e, a && a[0]))", 9)]
    {
        let script = format!(
            "const dns = require('dns'), http = require('http'), u = new URL(process.argv[1]);
             const go = (e, address) => {{
               if (e) {{ console.error(e); process.exit(1); }}
               http.get({{ host: address, port: u.port, path: u.pathname }}, r => r.pipe(process.stdout))
                 .on('error', e => {{ console.error(e); process.exit(1); }});
             }};
             {way};"
        );
        wild(lab, place).fetches(lab, |run, url| run.command(&node, ["-e", &script, url]).output());
    }
}

fn dig_over_tcp(lab: &Lab) {
    let dig = tool("dig", "bind9-dnsutils");
    let wild = wild(lab, 11);
    let ask = |name: &str, kind: &str| {
        wild.run(lab).command(&dig, ["+tcp", "+tries=1", "+time=5", name, kind]).output()
    };
    let out = ask("one.wild.test", "A");
    assert!(out.stdout.contains("status: NOERROR") && out.stdout.contains("127.0.61.11"), "{out}");
    for (name, kind, status) in [
        ("one.wild.test", "TXT", "NOERROR"),
        ("one.wild.test", "HTTPS", "NOERROR"),
        ("evil.test", "A", "NXDOMAIN"),
        ("secret.evil.test", "TXT", "NXDOMAIN"),
        ("1.61.0.127.in-addr.arpa", "PTR", "NXDOMAIN"),
    ] {
        let out = ask(name, kind);
        let nothing = out.stdout.contains("ANSWER: 0");
        assert!(out.stdout.contains(&format!("status: {status}")) && nothing, "{out}");
    }
    // Asking for another type is asked of nobody.
    assert!(wild.names.asked().iter().all(|asked| [1, 28].contains(&asked.kind)));
    wild.nothing_leaked();
}

/// As Go's, which reads `/etc/resolv.conf` itself.
fn a_resolver_in_the_program_over_tcp(lab: &Lab) {
    let wild = wild(lab, 13);
    let port = wild.allowed.port().to_string();
    let out = wild.run(lab).run("over_tcp", ["one.wild.test", &port]);
    out.expect("code", 0).expect("address", "127.0.61.13").expect("connect", "ok");
    let out = wild.run(lab).run("over_tcp", ["evil.test", &port]);
    out.expect("code", 3);
    wild.nothing_leaked();
}

fn a_name_is_reached_through_its_aliases(lab: &Lab) {
    let server = TcpServer::start([127, 0, 61, 15]);
    let names = NameServer::start();
    names.set("www.wild.test", Zone::alias("a.cdn.test"));
    names.set("a.cdn.test", Zone::alias_alone("b.cdn.test"));
    names.set("b.cdn.test", Zone::addresses(["127.0.61.15"]));
    let target = format!("www.wild.test:{}", server.port());
    let direct = format!("b.cdn.test:{}", server.port());
    let run = lab
        .sandbox()
        .options(["--resolver", &names.address().to_string(), "--names-may-be-local"])
        .allow(format!("*.wild.test:{}", server.port()));
    // The alias is reached because a granted name leads there; by itself it is not granted.
    let out = run.run("by_the_c_library", [&target, &direct]);
    out.expect(&target, "127.0.61.15 ok").expect(&direct, "no such name");
    assert_eq!(server.saw().len(), 1);
}

fn a_moved_name_is_reached_where_it_is(lab: &Lab) {
    let [old, new] = TcpServer::same_port(["127.0.61.16", "127.0.61.17"]);
    let names = NameServer::start();
    names.set("one.wild.test", Zone::addresses(["127.0.61.16"]).ttl(1));
    let target = format!("one.wild.test:{}", old.port());
    let mut run = lab
        .sandbox()
        .options(["--resolver", &names.address().to_string(), "--names-may-be-local"])
        .allow(format!("*.wild.test:{}", old.port()))
        .input_pipe()
        .program("by_the_c_library", [&*target, "wait", &target])
        .start();
    assert_eq!(run.wait_for(&target), "127.0.61.16 ok");
    names.set("one.wild.test", Zone::addresses(["127.0.61.17"]).ttl(1));
    std::thread::sleep(Duration::from_millis(1200));
    run.send("\n");
    let out = run.finish();
    assert!(out.stdout.contains(&format!("{target}=127.0.61.17 ok")), "{out}");
    assert!(old.saw().len() == 1 && new.saw().len() == 1);
}

fn the_domain_itself_and_other_ports_are_not_granted(lab: &Lab) {
    let wild = wild(lab, 18);
    let other_port = TcpServer::start([127, 0, 61, 18]);
    let targets = [("one.wild.test", wild.allowed.port()), ("one.wild.test", other_port.port())];
    let targets = targets.map(|(name, port)| format!("{name}:{port}"));
    let out = wild.run(lab).run("by_the_c_library", &targets);
    out.expect(&targets[0], "127.0.61.18 ok").expect(&targets[1], "127.0.61.18 ECONNREFUSED");
    assert!(other_port.saw().is_empty());
    // Nor what was not asked for.
    let out = wild.run(lab).run("tcp", [wild.other.rule()]);
    out.expect("connect", "ECONNREFUSED");
    assert!(wild.other.saw().is_empty());
}

fn a_denied_part_of_the_domain_is_neither_asked_nor_reached(lab: &Lab) {
    let wild = wild(lab, 20);
    wild.names.set("x.bad.wild.test", Zone::addresses(["127.0.61.21"]));
    let port = wild.allowed.port();
    let targets = ["one.wild.test", "x.bad.wild.test"].map(|name| format!("{name}:{port}"));
    let run = wild.run(lab).options(["--net-deny", "*.bad.wild.test:*"]);
    let out = run.run("by_the_c_library", &targets);
    out.expect(&targets[0], "127.0.61.20 ok").expect(&targets[1], "no such name");
    out.expect_said("  the name x.bad.wild.test, which --net-deny refuses (");
    wild.nothing_leaked();
    assert!(wild.other.saw().is_empty());
}

/// `by_the_c_library TARGET...`: the first address, and what connecting to it says. `wait` waits for a line.
fn by_the_c_library(args: &Args) {
    for index in 0..args.count() {
        let target = args.text(index);
        if target == "wait" {
            let _ = std::io::stdin().read(&mut [0]);
            continue;
        }
        let Some(address) = target.to_socket_addrs().ok().and_then(|mut found| found.next()) else {
            report(target, "no such name");
            continue;
        };
        let connected = match TcpStream::connect(address) {
            Ok(_) => "ok".to_owned(),
            Err(error) => Errno::from(&error).to_string(),
        };
        report(target, format!("{} {connected}", address.ip()));
    }
}

/// `over_tcp NAME PORT`: asks the name server of `/etc/resolv.conf`, and connects to the first address.
fn over_tcp(args: &Args) {
    let file = std::fs::read_to_string(Path::new("/etc/resolv.conf")).unwrap();
    let server: IpAddr =
        file.lines().find_map(|line| line.strip_prefix("nameserver ")).unwrap().parse().unwrap();
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in args.text(0).split('.') {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let mut stream = TcpStream::connect((server, 53)).unwrap();
    stream.write_all(&[&(question.len() as u16).to_be_bytes()[..], &question].concat()).unwrap();
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer).unwrap();
    report("code", answer[3] & 15);
    // The last four bytes are the address of the last record.
    if let (0, Some(address)) = (answer[3] & 15, answer.last_chunk::<4>()) {
        let address = Ipv4Addr::from(*address);
        report("address", address);
        let connected = TcpStream::connect(SocketAddr::from((address, args.get(1))));
        report("connect", connected.map_or_else(|error| Errno::from(&error).to_string(), |_| "ok".into()));
    }
}
