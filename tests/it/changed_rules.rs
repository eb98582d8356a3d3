//! The rules of a run are changed from another process while it lasts, and the next call goes by them.

use std::io::BufRead;
use std::net::SocketAddr;

use lab::{Args, Child, Lab, TcpServer, raw, report, shown};

lab::suite! {
    tests: [
        what_is_allowed_and_denied_holds_for_the_next_call,
        a_run_that_is_not_adjustable_says_so,
        a_rule_that_is_none_changes_nothing,
        a_name_that_is_allowed_later_resolves,
    ],
    programs: [connects_when_told],
}

/// A program that connects whenever it is told to.
pub(crate) fn connecting(lab: &Lab, name: &str, options: &[&str]) -> Child {
    let run = lab.sandbox().options(["--name", name]).options(options);
    let mut child = run.program("connects_when_told", lab::NONE).input_pipe().start();
    child.wait_for("ready");
    while lab.sandlock().arguments(["inspect", name]).output().code() != 0 {}
    child
}

fn what_is_allowed_and_denied_holds_for_the_next_call(lab: &Lab) {
    let server = TcpServer::v4();
    let rule = server.rule();
    let mut run = connecting(lab, "adjusted", &["--adjustable"]);
    let tell = |verb: &str| {
        lab.sandlock().arguments([verb, "adjusted", &rule]).output().expect_code(0);
    };
    let policy = || lab.sandlock().arguments(["inspect", "adjusted", "--toml"]).output().stdout;
    let mut attempts = 0;
    let mut connect = |run: &mut Child| {
        attempts += 1;
        run.send(&format!("{rule}\n"));
        run.wait_for(&attempts.to_string())
    };
    assert_eq!(connect(&mut run), "ECONNREFUSED");
    assert_eq!(server.saw().len(), 0);
    tell("allow");
    assert_eq!(connect(&mut run), "ok");
    assert_eq!(server.saw().len(), 1);
    tell("deny");
    // Whatever allows it, and however often.
    tell("allow");
    assert_eq!(connect(&mut run), "ECONNREFUSED");
    assert_eq!(server.saw().len(), 1);
    while !policy().contains(&format!("deny = [\"{rule}\"]")) {}
    assert!(policy().contains(&format!("allow = [\"{rule}\"]")), "{}", policy());
    run.finish().expect_code(0).expect_said(", which --net-deny refuses");
}

fn a_run_that_is_not_adjustable_says_so(lab: &Lab) {
    let server = TcpServer::v4();
    let rule = server.rule();
    let mut run = connecting(lab, "fixed", &[]);
    for verb in ["allow", "deny"] {
        let out = lab.sandlock().arguments([verb, "fixed", &rule]).output();
        out.expect_code(125).expect_said("its rules cannot change: that takes sandlock run --adjustable");
    }
    run.send(&format!("{rule}\n"));
    assert_eq!(run.wait_for("1"), "ECONNREFUSED");
    assert_eq!(server.saw().len(), 0);
    run.finish().expect_code(0);
    let out = lab.sandbox().options(["--adjustable", "--kernel-only", "--bare"]).sh("exit 0");
    out.expect_code(125).expect_said("rules that may change");
}

fn a_rule_that_is_none_changes_nothing(lab: &Lab) {
    let run = connecting(lab, "same", &["--adjustable"]);
    let out = lab.sandlock().arguments(["allow", "same", "example.com"]).output();
    out.expect_code(125).expect_said("hint: did you mean allow example.com:443?");
    lab.sandlock().arguments(["allow", "other", "127.0.0.1:1"]).output().expect_code(125);
    let policy = lab.sandlock().arguments(["inspect", "same", "--toml"]).output().stdout;
    assert!(!policy.contains("example.com"), "{policy}");
    run.finish().expect_code(0);
}

fn a_name_that_is_allowed_later_resolves(lab: &Lab) {
    let server = TcpServer::v4();
    let mut run = connecting(lab, "named", &["--adjustable"]);
    let rule = format!("localhost:{}", server.port());
    lab.sandlock().arguments(["allow", "named", &rule]).output().expect_code(0);
    // What the name stands for is asked first.
    let known = || lab.sandlock().arguments(["inspect", "named", "--json"]).output().stdout;
    while !known().contains("\"localhost\": [") {}
    run.send(&format!("{}\n", server.rule()));
    assert_eq!(run.wait_for("1"), "ok");
    assert_eq!(server.saw().len(), 1);
    run.finish().expect_code(0);
}

/// Connects to each address that a line says, and reports how that went, numbered from 1.
fn connects_when_told(_: &Args) {
    report("ready", 1);
    for (index, line) in std::io::stdin().lock().lines().enumerate() {
        let to: SocketAddr = line.unwrap().parse().unwrap();
        let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let socket = raw::socket(family, libc::SOCK_STREAM, 0).unwrap();
        report(index + 1, shown(raw::connect(socket, &raw::internet(to))));
        raw::close(socket);
    }
}
