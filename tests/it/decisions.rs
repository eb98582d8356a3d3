//! A program that embeds the library is asked before its command's calls are performed: what it answers is what happens,
//! and the receiving side saw nothing before.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::{Args, Errno, Lab, Output, TcpServer, UdpServer, raw, report, shown};
use sandlock_core::{Answer, Deciding, Decisions, Matter, Options, Plan, Policy, Question, Verdict};

lab::suite! {
    tests: [
        what_is_refused_never_reaches_the_other_side,
        the_errno_is_the_answers,
        a_call_is_held_until_another_thread_answers,
        other_calls_go_on_while_one_is_held,
        whoever_panics_hangs_or_forgets_has_refused,
        an_answer_is_for_its_own_question,
        what_is_allowed_for_good_is_asked_once,
        rules_change_at_once_and_until_a_time,
        a_grant_ends_at_its_time_where_nobody_is_asked,
        what_is_allowed_once_is_allowed_once,
        no_answer_opens_what_a_rule_denies,
        datagrams_are_asked_about_too,
        connections_that_do_not_block_are_asked_about_too,
        an_execution_is_refused_before_it_happens,
        taking_a_port_is_asked_about,
        refusals_are_told_before_the_program_hears_of_them,
        a_caller_that_is_interrupted_or_dies_is_forgotten,
        the_question_says_who_asks,
        a_flood_of_held_calls_is_bounded,
    ],
    programs: [embed, connect_to, connects_over_time, connect_both, all_meanwhile, two_at_once, send_to, without_blocking, executes, binds, interrupted_while_held, floods],
}

/// Runs a program of the lab in a sandbox of a program that embeds the library, and answers by `how`.
fn embedded(lab: &Lab, how: &str, rules: &[&str], program: &str, args: &[&str]) -> Output {
    let rules = rules.join(" ");
    let program = [&[how, &rules, program], args].concat();
    lab.bare().run("embed", program)
}

fn what_is_refused_never_reaches_the_other_side(lab: &Lab) {
    let (granted, other) = (TcpServer::v4(), TcpServer::v4());
    let rules = [&*granted.rule()];
    for to in [&granted, &other] {
        embedded(lab, "deny", &rules, "connect_to", &[&to.rule()]).expect("connect", "ECONNREFUSED");
        assert_eq!(to.saw().len(), 0);
        embedded(lab, "once", &rules, "connect_to", &[&to.rule()]).expect("connect", "ok");
        assert_eq!(to.saw().len(), 1);
    }
    // Only what no rule grants.
    embedded(lab, "ungranted deny", &rules, "connect_to", &[&granted.rule()]).expect("connect", "ok");
    embedded(lab, "ungranted deny", &rules, "connect_to", &[&other.rule()]).expect("connect", "ECONNREFUSED");
    embedded(lab, "ungranted once", &rules, "connect_to", &[&other.rule()]).expect("connect", "ok");
    assert_eq!(other.saw().len(), 2);
}

fn the_errno_is_the_answers(lab: &Lab) {
    let server = TcpServer::v4();
    let out = embedded(lab, "errno 113", &[], "connect_to", &[&server.rule()]);
    out.expect("connect", "EHOSTUNREACH");
    // What the kernel keeps for itself is none.
    for number in ["512", "0", "-1", "4095"] {
        let out = embedded(lab, &format!("errno {number}"), &[], "connect_to", &[&server.rule()]);
        out.expect("connect", "ECONNREFUSED");
    }
    assert!(server.saw().is_empty());
}

fn a_call_is_held_until_another_thread_answers(lab: &Lab) {
    let server = TcpServer::v4();
    let out = embedded(lab, "hold allow", &[], "connect_to", &[&server.rule()]);
    out.expect("connect", "ok");
    assert!(out.value("ms").parse::<u64>().unwrap() >= 300, "{out}");
    assert_eq!(server.saw().len(), 1);
    let out = embedded(lab, "hold deny", &[], "connect_to", &[&server.rule()]);
    out.expect("connect", "ECONNREFUSED");
    let out = embedded(lab, "hold late", &[], "connect_to", &[&server.rule()]);
    out.expect("connect", "ECONNREFUSED").expect("wanted", "false");
    assert!(out.value("ms").parse::<u64>().unwrap() < 600, "{out}");
    assert_eq!(server.saw().len(), 1);
}

fn other_calls_go_on_while_one_is_held(lab: &Lab) {
    let (held, free) = (TcpServer::v4(), TcpServer::v4());
    for how in ["hold first", "hang first"] {
        let how = format!("{how} {}", held.port());
        let out = embedded(lab, &how, &[], "connect_both", &[&held.rule(), &free.rule()]);
        out.expect("others", 50).expect("held meanwhile", "true").expect("held", "ECONNREFUSED");
    }
    assert_eq!((held.saw().len(), free.saw().len()), (0, 100));
    // Calls of other kinds, and of other processes: all of them, before the held one ends.
    let datagrams = UdpServer::v4();
    let args = [&*held.rule(), &free.rule(), &datagrams.address().to_string()];
    let out = embedded(lab, &format!("hold first {}", held.port()), &[], "all_meanwhile", &args);
    out.expect("own", 150).expect("others", 4 * 150).expect("held meanwhile", true);
    out.expect("held", "ECONNREFUSED");
    assert_eq!((held.saw().len(), free.saw().len()), (0, 100 + 5 * 50));
    assert_eq!(datagrams.saw().len(), 5 * 50);
}

fn whoever_panics_hangs_or_forgets_has_refused(lab: &Lab) {
    let server = TcpServer::v4();
    for how in ["panic", "hang", "hold forget", "hold hang"] {
        let out = embedded(lab, how, &[], "connect_to", &[&server.rule()]);
        out.expect("connect", "ECONNREFUSED");
    }
    embedded(lab, "once", &[], "connect_to", &[&server.rule()]).expect("connect", "ok");
    assert_eq!(server.saw().len(), 1);
}

fn an_answer_is_for_its_own_question(lab: &Lab) {
    let (one, other) = (TcpServer::v4(), TcpServer::v4());
    for allowed in [&one, &other] {
        let (before, port) = ([one.saw().len(), other.saw().len()], allowed.port());
        let out =
            embedded(lab, &format!("hold port {port}"), &[], "two_at_once", &[&one.rule(), &other.rule()]);
        let is_one = port == one.port();
        out.expect("first", if is_one { "ok" } else { "ECONNREFUSED" });
        out.expect("second", if is_one { "ECONNREFUSED" } else { "ok" });
        let after = [before[0] + usize::from(is_one), before[1] + usize::from(!is_one)];
        assert_eq!([one.saw().len(), other.saw().len()], after, "{out}");
    }
}

fn what_is_allowed_for_good_is_asked_once(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &server.rule();
    embedded(lab, "once", &[], "connect_to", &[to, to, to]).expect("asked", 3);
    embedded(lab, "allow", &[], "connect_to", &[to, to, to]).expect("asked", 1);
    assert_eq!(server.saw().len(), 6);
}

fn rules_change_at_once_and_until_a_time(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &server.rule();
    // The first question grants it for half a second, and what comes later is refused.
    let out = embedded(lab, "ungranted until", &[], "connect_to", &[to, to, "sleep", to]);
    out.expect("connects", "ok ok ECONNREFUSED");
    let out = embedded(lab, "revoke", &[to], "connect_to", &[to, to]);
    out.expect("connects", "ECONNREFUSED ECONNREFUSED");
    assert_eq!(server.saw().len(), 2);
}

fn a_grant_ends_at_its_time_where_nobody_is_asked(lab: &Lab) {
    let server = TcpServer::v4();
    let rule = &*server.rule();
    let count = |out: &Output| out.value("ok").parse::<usize>().unwrap();
    let out = embedded(lab, &format!("adjusted allow {rule}"), &[], "connects_over_time", &[rule]);
    out.expect("changes", "ECONNREFUSED ok ECONNREFUSED").expect("asked", 0);
    let granted = count(&out);
    assert_eq!(server.saw().len(), granted);
    let out = embedded(lab, &format!("adjusted deny {rule}"), &[rule], "connects_over_time", &[rule]);
    out.expect("changes", "ok ECONNREFUSED ok");
    assert_eq!(server.saw().len(), granted + count(&out));
}

fn what_is_allowed_once_is_allowed_once(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &server.rule();
    let out = embedded(lab, "first once", &[], "connect_to", &[to, to, to]);
    out.expect("connects", "ok ECONNREFUSED ECONNREFUSED").expect("asked", 3);
    assert_eq!(server.saw().len(), 1);
    let out = embedded(lab, "first allow", &[], "connect_to", &[to, to, to]);
    out.expect("connects", "ok ok ok").expect("asked", 1);
    assert_eq!(server.saw().len(), 4);
}

fn no_answer_opens_what_a_rule_denies(lab: &Lab) {
    let server = TcpServer::v4();
    let denial = format!("!{}", server.rule());
    for rules in [&[&*denial][..], &["*:*", &denial]] {
        let out = embedded(lab, "once", rules, "connect_to", &[&server.rule()]);
        out.expect("connect", "ECONNREFUSED").expect("asked", 0);
    }
    // Nor one that came while the question was open.
    let out = embedded(lab, "deny then allow", &[], "connect_to", &[&server.rule()]);
    out.expect("connect", "ECONNREFUSED").expect("asked", 1);
    assert!(server.saw().is_empty());
}

fn datagrams_are_asked_about_too(lab: &Lab) {
    let server = UdpServer::v4();
    for kind in ["sendto", "sendmsg", "sendmmsg", "connect"] {
        let before = server.saw().len();
        let to = &server.address().to_string();
        embedded(lab, "deny", &[], "send_to", &[kind, to]).expect("send", "ECONNREFUSED");
        assert_eq!(server.saw().len(), before);
        for how in ["once", "hold allow"] {
            let before = server.saw().len();
            embedded(lab, how, &[], "send_to", &[kind, to]).expect("send", "ok");
            assert_eq!(server.saw().len(), before + 1, "{kind} {how}");
            assert_eq!(server.saw()[before].text(), "the later payload");
        }
    }
}

fn connections_that_do_not_block_are_asked_about_too(lab: &Lab) {
    let server = TcpServer::v4();
    for how in ["once", "hold allow"] {
        let out = embedded(lab, how, &[], "without_blocking", &[&server.rule()]);
        // Once more is not another question.
        out.expect("connected", "ok").expect("asked", 1);
    }
    let out = embedded(lab, "hold deny", &[], "without_blocking", &[&server.rule()]);
    out.expect("connect", "ECONNREFUSED");
    assert_eq!(server.saw().len(), 2);
}

fn an_execution_is_refused_before_it_happens(lab: &Lab) {
    let made = lab.path("work/made");
    let made = made.to_str().unwrap();
    let out = embedded(lab, "execs deny", &[], "executes", &[made]);
    out.expect("exec", "EACCES").expect("path", "/usr/bin/touch").expect("argument", made);
    assert!(!lab.path("work/made").exists(), "{out}");
    let out = embedded(lab, "execs once", &[], "executes", &[made]);
    out.expect("exec", "ok");
    assert!(lab.path("work/made").exists(), "{out}");
    let out = embedded(lab, "execs hold", &[], "executes", &[made]);
    out.expect("exec", "ok");
}

fn taking_a_port_is_asked_about(lab: &Lab) {
    let port = lab::free_port().to_string();
    for protocol in ["tcp", "udp"] {
        embedded(lab, "binds deny", &[], "binds", &[protocol, &port]).expect("bind", "EACCES");
        embedded(lab, "binds errno 98", &[], "binds", &[protocol, &port]).expect("bind", "EADDRINUSE");
        for how in ["binds once", "binds hold"] {
            let out = embedded(lab, how, &[], "binds", &[protocol, &port]);
            out.expect("bind", "ok").expect("bound", &port).expect("asked", 1);
        }
        // What no rule grants is asked about as well, and what one denies is not.
        for how in ["ports once", "ports hold", "ports allow"] {
            let out = embedded(lab, how, &[], "binds", &[protocol, &port]);
            out.expect("bind", "ok").expect("bound", &port).expect("asked", 1).expect("granted", false);
        }
        embedded(lab, "ports errno 98", &[], "binds", &[protocol, &port]).expect("bind", "EADDRINUSE");
        embedded(lab, "ports panic", &[], "binds", &[protocol, &port])
            .expect("bind", "EACCES")
            .expect("bound", 0);
        let out = embedded(lab, "ports once", &[], "binds", &[protocol, "1023"]);
        out.expect("bind", "EACCES").expect("asked", 0);
    }
}

fn refusals_are_told_before_the_program_hears_of_them(lab: &Lab) {
    let server = TcpServer::v4();
    let denial = format!("!{}", server.rule());
    let out = embedded(lab, "denials errno 101", &[&denial], "connect_to", &[&server.rule()]);
    out.expect("connect", "ENETUNREACH").expect("denied", format!("tcp {}", server.rule()));
    // A yes changes nothing.
    let out = embedded(lab, "denials once", &[&denial], "connect_to", &[&server.rule()]);
    out.expect("connect", "ECONNREFUSED");
    assert!(server.saw().is_empty());
}

fn a_caller_that_is_interrupted_or_dies_is_forgotten(lab: &Lab) {
    let server = TcpServer::v4();
    for what in ["interrupted", "killed"] {
        let out = embedded(lab, "hold late", &[], "interrupted_while_held", &[what, &server.rule()]);
        out.expect("connect", if what == "interrupted" { "EINTR" } else { "killed" });
        out.expect("wanted", "false");
    }
    assert!(server.saw().is_empty());
}

fn the_question_says_who_asks(lab: &Lab) {
    let server = TcpServer::v4();
    let out = embedded(lab, "once", &[], "connect_to", &[&server.rule()]);
    out.expect("process", out.value("own pid"));
    assert!(out.value("executable").ends_with("/program"), "{out}");
    assert!(out.value("command line").ends_with(&format!("--program connect_to {}", server.rule())), "{out}");
}

fn a_flood_of_held_calls_is_bounded(lab: &Lab) {
    let (held, free) = (TcpServer::v4(), TcpServer::v4());
    let out = embedded(lab, &format!("hold first {}", held.port()), &[], "floods", &[&held.rule()]);
    // The others are refused at once; when the held ones are refused, there is room again.
    out.expect("refused", 200).expect("again", "ECONNREFUSED");
    assert_eq!((held.saw().len(), free.saw().len()), (0, 0));
}

static ASKED: AtomicU32 = AtomicU32::new(0);
static HELD: Mutex<Vec<Answer>> = Mutex::new(Vec::new());

/// A program that embeds the library: how it answers, its rules, and the program that it runs.
fn embed(args: &Args) {
    std::panic::set_hook(Box::new(|_| {}));
    let how = args.text(0).to_owned();
    let mut policy = Policy::new();
    for rule in args.text(1).split(' ').filter(|rule| !rule.is_empty()) {
        policy = match rule.strip_prefix('!') {
            Some(denied) => policy.deny(denied).unwrap(),
            None => policy.allow(rule).unwrap(),
        };
    }
    let program = std::env::current_exe().unwrap();
    policy = policy.read(program.parent().unwrap()).write(std::env::current_dir().unwrap());
    let words = (2..args.count()).map(|index| args.os(index).to_owned());
    let command = [program.into_os_string(), "--program".into()].into_iter().chain(words);
    let words: Vec<String> = how.split(' ').map(str::to_owned).collect();
    let mut decisions = Decisions::new(move |question, deciding| answer(&words, question, deciding))
        .patience(Duration::from_secs(match how.contains("hang") {
            // Long enough for what goes on meanwhile, on a busy machine.
            true if how.contains("first") => 5,
            true => 1,
            false => 10,
        }));
    if how.starts_with("ungranted") {
        decisions = decisions.ungranted();
    }
    if how.starts_with("execs") {
        decisions = decisions.without_destinations().execs();
    }
    if how.starts_with("binds") {
        decisions = decisions.without_destinations().binds();
        for protocol in ["tcp", "udp"] {
            let rule = format!("{protocol}://1024-65535");
            policy.bind.allow.push(rule.parse().unwrap());
        }
    }
    if how.starts_with("ports") {
        decisions = decisions.binds().ungranted();
        for protocol in ["tcp", "udp"] {
            policy.bind.deny.push(format!("{protocol}://1023").parse().unwrap());
        }
    }
    if how.starts_with("denials") {
        decisions = decisions.ungranted().denials();
    }
    let mut options = Options::new(policy, command);
    match how.strip_prefix("adjusted ") {
        Some(_) => options.adjustable = true,
        None => options = options.on_decision(decisions),
    }
    let mut running = Plan::new(options).unwrap().launch().unwrap();
    if let Some(change) = how.strip_prefix("adjusted ") {
        let (rules, (kind, rule)) = (running.rules().unwrap().clone(), change.split_once(' ').unwrap());
        let (denies, rule) = (kind == "deny", rule.parse().unwrap());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            let until = Instant::now() + Duration::from_millis(500);
            if denies { rules.deny_until(rule, until) } else { rules.allow_until(rule, until) }.unwrap();
        });
    }
    let outcome = running.wait(|_| {}).unwrap();
    report("asked", ASKED.load(Ordering::Relaxed));
    for answer in HELD.lock().unwrap().iter() {
        report("wanted", answer.is_wanted());
    }
    report("ending", format!("{:?}", outcome.ending));
}

fn answer(how: &[String], question: &Question, deciding: &Deciding<'_>) -> Verdict {
    let asked = ASKED.fetch_add(1, Ordering::Relaxed);
    if asked == 0 {
        report("process", question.pid);
    }
    if asked == 0 && how == ["once"] && matches!(question.matter, Matter::Destination { .. }) {
        let caller = deciding.caller().unwrap();
        report("executable", caller.executable.display());
        let words: Vec<_> = caller.command_line.iter().map(|word| String::from_utf8_lossy(word)).collect();
        report("command line", words.join(" "));
    }
    let port = match &question.matter {
        Matter::Destination { destination, .. } => destination.port(),
        Matter::Bind { granted, .. } => {
            report("granted", granted);
            0
        }
        Matter::Exec { path, arguments } => {
            if path.ends_with("touch") {
                report("path", path.display());
                report("argument", String::from_utf8_lossy(arguments.last().unwrap()));
            }
            0
        }
        Matter::Denied(denied) => {
            report("denied", denied.to_string().split(',').next().unwrap());
            0
        }
        _ => 0,
    };
    let words: Vec<&str> = how.iter().map(String::as_str).collect();
    match words[..] {
        ["first", ..] if asked > 0 => Verdict::Deny,
        ["first", "allow"] => Verdict::Allow,
        ["once"] | [_, "once"] => Verdict::AllowOnce,
        ["allow"] | ["ports", "allow"] => Verdict::Allow,
        ["deny"] | [_, "deny"] if words[0] != "hold" => Verdict::Deny,
        ["errno", number] | [_, "errno", number] => Verdict::DenyWith(number.parse().unwrap()),
        ["panic"] | ["ports", "panic"] => panic!("as it was told"),
        ["hang"] => loop {
            std::thread::park();
        },
        ["hang", "first", first] if first == port.to_string() => loop {
            std::thread::park();
        },
        ["hold", "first", first] if first == port.to_string() => {
            let (verdict, answer) = deciding.hold(Duration::from_secs(5));
            HELD.lock().unwrap().push(answer);
            verdict
        }
        [_, "first", _] => Verdict::AllowOnce,
        ["hold", "forget"] => deciding.hold(Duration::from_secs(5)).0,
        ["hold", "hang"] => {
            let (verdict, answer) = deciding.hold(Duration::from_secs(1));
            HELD.lock().unwrap().push(answer);
            verdict
        }
        ["hold", "port", wanted] => {
            let (verdict, answer) = deciding.hold(Duration::from_secs(5));
            let allow = wanted == port.to_string();
            std::thread::spawn(move || {
                // The one that is allowed is answered last.
                std::thread::sleep(Duration::from_millis(if allow { 400 } else { 200 }));
                if allow { answer.allow_once() } else { answer.deny() }
            });
            verdict
        }
        ["hold", "late"] => {
            let (verdict, answer) = deciding.hold(Duration::from_millis(400));
            HELD.lock().unwrap().push(answer);
            verdict
        }
        [_, "until"] => {
            let Matter::Destination { destination, .. } = &question.matter else { panic!() };
            if asked > 0 {
                return Verdict::Deny;
            }
            let rule = destination.socket_addr().to_string().parse().unwrap();
            deciding.rules().allow_until(rule, Instant::now() + Duration::from_millis(500)).unwrap();
            Verdict::AllowOnce
        }
        ["revoke"] => {
            let rules = deciding.rules().current();
            rules.allow.iter().for_each(|rule| assert!(deciding.rules().revoke(rule).unwrap()));
            let Matter::Destination { granted, .. } = &question.matter else { panic!() };
            assert_eq!(*granted, asked == 0);
            Verdict::Deny
        }
        ["deny", "then", "allow"] => {
            let Matter::Destination { destination, .. } = &question.matter else { panic!() };
            deciding.rules().deny(destination.socket_addr().to_string().parse().unwrap()).unwrap();
            Verdict::Allow
        }
        ["hold", ref rest @ ..] | [_, "hold", ref rest @ ..] => {
            let allow = rest.first() != Some(&"deny");
            let (verdict, answer) = deciding.hold(Duration::from_secs(5));
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                if allow { answer.allow_once() } else { answer.deny() }
            });
            verdict
        }
        ref other => panic!("{other:?}"),
    }
}

fn stream() -> i32 {
    raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap()
}

/// Connects to one after the other, and writes to what it reached.
fn connect_to(args: &Args) {
    report("own pid", std::process::id());
    let started = Instant::now();
    let mut all = Vec::new();
    for index in 0..args.count() {
        if args.text(index) == "sleep" {
            std::thread::sleep(Duration::from_millis(700));
            continue;
        }
        let socket = stream();
        let connected = raw::connect(socket, &raw::internet(args.get::<SocketAddr>(index)));
        all.push(shown(connected));
        if connected.is_ok() {
            // SAFETY: made above, and nobody else's.
            let mut connected = TcpStream::from(unsafe { OwnedFd::from_raw_fd(socket) });
            connected.write_all(b"hello").unwrap();
        }
    }
    report("ms", started.elapsed().as_millis());
    report("connect", all.last().unwrap());
    report("connects", all.join(" "));
}

/// Connects again and again for a while, and tells how that went, and how often it succeeded.
fn connects_over_time(args: &Args) {
    let to = raw::internet(args.get::<SocketAddr>(0));
    let until = Instant::now() + Duration::from_millis(1500);
    let (mut changes, mut ok): (Vec<String>, _) = (Vec::new(), 0);
    while Instant::now() < until {
        let socket = stream();
        let connected = shown(raw::connect(socket, &to));
        ok += usize::from(connected == "ok");
        if changes.last() != Some(&connected) {
            changes.push(connected);
        }
        raw::close(socket);
        std::thread::sleep(Duration::from_millis(20));
    }
    report("changes", changes.join(" "));
    report("ok", ok);
}

/// Two threads connect, each to its own place.
fn two_at_once(args: &Args) {
    let [first, second] = [0, 1].map(|index| {
        let to = raw::internet(args.get::<SocketAddr>(index));
        std::thread::spawn(move || shown(raw::connect(stream(), &to)))
    });
    report("first", first.join().unwrap());
    report("second", second.join().unwrap());
}

/// One thread connects where it is held, the other to another place meanwhile.
fn connect_both(args: &Args) {
    let (first, second): (SocketAddr, SocketAddr) = (args.get(0), args.get(1));
    let held = std::thread::spawn(move || raw::connect(stream(), &raw::internet(first)));
    std::thread::sleep(Duration::from_millis(100));
    let others = (0..50).filter(|_| raw::connect(stream(), &raw::internet(second)).is_ok()).count();
    report("others", others);
    report("held meanwhile", !held.is_finished());
    report("held", shown(held.join().unwrap()));
}

/// One thread connects where it is held; meanwhile this process and four others connect, send and bind.
fn all_meanwhile(args: &Args) {
    let (first, second, third): (SocketAddr, SocketAddr, SocketAddr) =
        (args.get(0), args.get(1), args.get(2));
    let calls = || {
        let ok = |index: usize| {
            let socket = stream();
            let done = match index % 3 {
                0 => raw::connect(socket, &raw::internet(second)).is_ok(),
                1 => UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", third).is_ok(),
                _ => raw::bind(socket, &raw::internet(SocketAddr::from(([127, 0, 0, 1], 0)))).is_ok(),
            };
            raw::close(socket);
            done
        };
        (0..150).filter(|index| ok(*index)).count()
    };
    // Before there are threads.
    let mut go = [0i32; 2];
    raw::call(libc::SYS_pipe2, &[raw::out(&mut go), 0]).unwrap();
    let children: Vec<i32> = (0..4)
        .map(|_| match raw::fork() {
            0 => {
                raw::close(go[1]);
                raw::poll_readable(&[go[0]], Duration::from_secs(10));
                raw::exit(calls() as i32)
            }
            child => child,
        })
        .collect();
    let held = std::thread::spawn(move || raw::connect(stream(), &raw::internet(first)));
    std::thread::sleep(Duration::from_millis(100));
    raw::close(go[1]);
    report("own", calls());
    let others: i32 = children.into_iter().map(|child| (raw::wait(child) >> 8) & 0xff).sum();
    report("others", others);
    report("held meanwhile", !held.is_finished());
    report("held", shown(held.join().unwrap()));
}

/// The payload changes while the call is held: what is sent is what is there in the end.
fn send_to(args: &Args) {
    let to: SocketAddr = args.get(1);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket) as usize;
    let payload = "the later payload";
    let mut name = raw::internet(to);
    let part = [payload.as_ptr() as usize, payload.len()];
    // struct mmsghdr
    let message = [name.as_mut_ptr() as usize, name.len(), raw::at(&part), 1, 0, 0, 0, 0];
    let sent = match args.text(0) {
        "sendto" => raw::call(
            libc::SYS_sendto,
            &[fd, payload.as_ptr() as usize, payload.len(), 0, name.as_ptr() as usize, name.len()],
        ),
        "sendmsg" => raw::call(libc::SYS_sendmsg, &[fd, raw::at(&message), 0]),
        "sendmmsg" => raw::call(libc::SYS_sendmmsg, &[fd, raw::at(&message), 1, 0]),
        _ => raw::connect(fd as i32, &name).and_then(|()| {
            raw::call(libc::SYS_sendto, &[fd, payload.as_ptr() as usize, payload.len(), 0, 0, 0])
        }),
    };
    report("send", shown(sent));
}

fn without_blocking(args: &Args) {
    let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0).unwrap();
    let to = raw::internet(args.get::<SocketAddr>(0));
    let first = raw::connect(socket, &to);
    report("connect", shown(first));
    for _ in 0..1000 {
        match raw::connect(socket, &to) {
            Ok(()) | Err(Errno(libc::EISCONN)) => return report("connected", "ok"),
            Err(Errno(libc::EALREADY | libc::EINPROGRESS)) => std::thread::sleep(Duration::from_millis(1)),
            Err(other) => return report("connected", other),
        }
    }
    report("connected", "never");
}

fn executes(args: &Args) {
    match std::process::Command::new("/usr/bin/touch").arg(args.os(0)).status() {
        Ok(status) => report("exec", if status.success() { "ok" } else { "failed" }),
        Err(error) => report("exec", Errno::from(&error)),
    }
}

fn binds(args: &Args) {
    let kind = if args.text(0) == "tcp" { libc::SOCK_STREAM } else { libc::SOCK_DGRAM };
    let socket = raw::socket(libc::AF_INET, kind, 0).unwrap();
    let name = raw::internet(SocketAddr::from(([127, 0, 0, 1], args.get(1))));
    report("bind", shown(raw::bind(socket, &name)));
    let (mut name, mut length) = ([0u8; 16], 16u32);
    let asked = [socket as usize, raw::out(&mut name), raw::out(&mut length)];
    raw::call(libc::SYS_getsockname, &asked).unwrap();
    report("bound", u16::from_be_bytes([name[2], name[3]]));
}

extern "C" fn nothing(_: libc::c_int) {}

fn interrupted_while_held(args: &Args) {
    let to = raw::internet(args.get::<SocketAddr>(1));
    let child = raw::fork();
    if child == 0 {
        // SAFETY: a handler that does nothing, and all zeroes is a valid `sigaction` without SA_RESTART.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        // SAFETY: a live value; the old one is not asked for.
        unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
        report("connect", shown(raw::connect(stream(), &to)));
        raw::exit(0);
    }
    std::thread::sleep(Duration::from_millis(150));
    let signal = if args.text(0) == "killed" { libc::SIGKILL } else { libc::SIGUSR1 };
    raw::call(libc::SYS_kill, &[child as usize, signal as usize]).unwrap();
    if raw::wait(child) == libc::SIGKILL {
        report("connect", "killed");
    }
}

fn floods(args: &Args) {
    let to: SocketAddr = args.get(0);
    let threads: Vec<_> = (0..200)
        .map(|_| std::thread::spawn(move || raw::connect(stream(), &raw::internet(to)).is_err()))
        .collect();
    report(
        "refused",
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|refused| *refused).count(),
    );
    report("again", shown(raw::connect(stream(), &raw::internet(to))));
}
