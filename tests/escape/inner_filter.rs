//! A program may install filters of its own, which the kernel runs beside the sandbox's. One with a listener would
//! take the notifications; one that answers "ask a supervisor" without one, or "pretend success", must not win.

use std::net::SocketAddr;

use lab::{Args, Errno, Lab, TcpServer, raw, report, shown};

lab::suite! {
    tests: [an_inner_filter_opens_nothing, there_is_no_second_listener],
    programs: [inner, inner_listener],
}

/// What the inner filter answers to `connect`, and what that makes of it.
const ANSWERS: [(&str, u32, &str); 6] = [
    ("user notification", 0x7fc0_0000, "ENOSYS"),
    ("trace", 0x7ff0_0000, "ECONNREFUSED"),
    ("log", 0x7ffc_0000, "ECONNREFUSED"),
    ("allow", 0x7fff_0000, "ECONNREFUSED"),
    ("errno 0", 0x0005_0000, "ok"),
    ("errno EIO", 0x0005_0005, "EIO"),
];

fn an_inner_filter_opens_nothing(lab: &Lab) {
    let (allowed, other) = (TcpServer::v4(), TcpServer::v4());
    let allow = "allow";
    lab.bare().run("inner", [allow, &other.rule()]).expect("filter", "ok").expect("connect", "ok");
    for (name, _, result) in ANSWERS {
        let out = lab.sandbox().allow(allowed.rule()).run("inner", [name, &other.rule()]);
        out.expect("filter", "ok").expect("connect", result);
    }
    assert_eq!(other.saw().len(), 1);
    lab.sandbox().allow(allowed.rule()).run("inner", [allow, &allowed.rule()]).expect("connect", "ok");
    assert_eq!(allowed.saw().len(), 1);
}

fn there_is_no_second_listener(lab: &Lab) {
    let server = TcpServer::v4();
    lab.bare().run("inner_listener", [server.rule()]).expect("listener", "ok");
    for flags in ["8", "9", "24"] {
        let out = lab.sandbox().run("inner_listener", [server.rule().as_str(), flags]);
        assert!(out.value("listener") != "ok", "{out}");
        out.expect("connect", "ECONNREFUSED");
    }
    lab.sandbox().run("inner_listener", [server.rule()]).expect("listener", "EBUSY");
    assert_eq!(server.saw(), []);
}

/// Installs a filter that gives this answer to `connect` and lets all else through.
fn install(answer: u32, flags: usize) -> Result<usize, Errno> {
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let filter = [
        instruction(0x20, 0, 0, 0), // load the number
        instruction(0x15, 0, 1, libc::SYS_connect as u32),
        instruction(0x06, 0, 0, answer),
        instruction(0x06, 0, 0, 0x7fff_0000),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_ptr().cast_mut() };
    raw::call(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0])?;
    raw::call(libc::SYS_seccomp, &[1, flags, raw::at(&program)])
}

fn connect(to: SocketAddr) -> Result<(), Errno> {
    raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0)
        .and_then(|socket| raw::connect(socket, &raw::internet(to)))
}

/// `inner ANSWER ADDRESS`.
fn inner(args: &Args) {
    let (_, answer, _) = ANSWERS.iter().find(|(name, ..)| *name == args.text(0)).unwrap();
    report("filter", shown(install(*answer, 0)));
    report("connect", shown(connect(args.get(1))));
}

/// `inner_listener ADDRESS [FLAGS]`: 8 is NEW_LISTENER.
fn inner_listener(args: &Args) {
    let flags = if args.count() > 1 { args.get(1) } else { 8 };
    let installed = install(0x7fc0_0000, flags);
    report("listener", shown(installed));
    if installed.is_err() {
        report("connect", shown(connect(args.get(0))));
    }
}
