//! `--ask` on a real pseudo-terminal, and `--ask-command`: what somebody answers is what happens, and nothing happens before.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Args, Child, Lab, NameServer, TcpServer, UdpServer, Zone, raw, report, shown, terminal};

lab::suite! {
    tests: [
        a_person_answers_once_for_the_run_or_not,
        always_is_written_to_the_profile,
        a_port_is_asked_about_as_a_destination_is,
        no_answer_in_time_is_a_refusal,
        without_a_terminal_it_is_an_error,
        what_was_typed_before_the_question_is_no_answer,
        calls_that_want_the_same_share_a_question,
        what_a_program_chose_is_shown_escaped,
        names_are_asked_about_before_they_are_looked_up,
        datagrams_are_asked_about,
        the_terminal_is_left_as_it_was,
        a_terminal_that_is_gone_has_refused,
        the_foreground_is_given_back_to_the_job_that_had_it,
        a_program_answers,
        a_program_that_does_not_answer_has_refused,
        a_program_that_is_killed_has_refused,
        what_is_held_ends_with_the_launcher,
    ],
    programs: [with_terminal, without_terminal, connects, listens, job_control, at_the_same_time, sends_one, goes_raw],
}

/// A run of `sandlock` with a terminal, and whoever sits at it.
struct Seated {
    run: Child,
    master: File,
    screen: String,
    read: usize,
}

impl Seated {
    fn new(lab: &Lab, options: &[&str], program: &str, args: &[&str]) -> Self {
        let (master, terminal) = terminal();
        lab.own(&std::fs::read_link(format!("/proc/self/fd/{}", terminal.as_raw_fd())).unwrap());
        let words = [options, &["--", program], args].concat();
        let run = lab.bare().descriptor(TERMINAL, terminal).program("with_terminal", words).start();
        Seated { run, master, screen: String::new(), read: 0 }
    }

    /// Waits until this is on the screen, after what was waited for before.
    #[track_caller]
    fn sees(&mut self, text: &str) -> &mut Self {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.screen[self.read..].contains(text) {
            assert!(Instant::now() < until, "{text:?} is not on the screen: {:?}", self.screen);
            self.look(Duration::from_millis(50));
        }
        self.read += self.screen[self.read..].find(text).unwrap() + text.len();
        self
    }

    fn look(&mut self, within: Duration) {
        let mut bytes = [0; 4096];
        if raw::poll_readable(&[self.master.as_raw_fd()], within)
            && let Ok(read) = self.master.read(&mut bytes)
        {
            self.screen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }

    fn types(&mut self, text: &str) -> &mut Self {
        self.master.write_all(text.as_bytes()).unwrap();
        self
    }

    fn answers(&mut self, about: &str, answer: &str) -> &mut Self {
        self.sees(about).sees("[n]ot? ").types(answer)
    }
}

/// Under which number the run gets its terminal.
const TERMINAL: i32 = 9;

/// Leads a session with the terminal, and becomes `sandlock run`.
fn with_terminal(args: &Args) {
    raw::call(libc::SYS_setsid, &[]).unwrap();
    raw::call(libc::SYS_ioctl, &[TERMINAL as usize, libc::TIOCSCTTY as usize, 0]).unwrap();
    raw::close(TERMINAL);
    become_sandlock(args);
}

fn without_terminal(args: &Args) {
    raw::call(libc::SYS_setsid, &[]).unwrap();
    become_sandlock(args);
}

/// The words before `--` are options, those after it a program of the lab.
fn become_sandlock(args: &Args) {
    let program = std::env::current_exe().unwrap();
    let place = program.parent().unwrap();
    let words: Vec<_> = (0..args.count()).map(|index| args.os(index).to_owned()).collect();
    let dashes = words.iter().position(|word| word == "--").unwrap();
    let mut sandlock = std::process::Command::new(place.join("sandlock"));
    sandlock.arg("run").arg("-r").arg(place).args(&words[..dashes]).arg("--").arg(&program);
    let error = sandlock.arg("--program").args(&words[dashes + 1..]).exec();
    panic!("{error}");
}

fn a_person_answers_once_for_the_run_or_not(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    let mut seated = Seated::new(lab, &["--ask"], "connects", &[to, to]);
    seated
        .sees(&format!("wants to reach tcp {to}"))
        .sees("/program, process ")
        .sees(&format!("connects {to}"));
    assert!(server.saw().is_empty());
    seated.sees("[n]ot? ").types("o\n").answers(to, "once\n");
    seated.run.finish().expect("connects", "ok ok");
    assert_eq!(server.saw().len(), 2);

    let mut seated = Seated::new(lab, &["--ask"], "connects", &[to, to]);
    seated.answers(to, "yes\n").sees("none of the answers").sees("[n]ot? ").types("r\n");
    seated.run.finish().expect("connects", "ok ok");
    assert_eq!(server.saw().len(), 4);

    let mut seated = Seated::new(lab, &["--ask"], "connects", &[to, to]);
    seated.answers(to, "n\n");
    let out = seated.run.finish();
    out.expect("connects", "ECONNREFUSED ECONNREFUSED");
    out.expect_said(&format!("tcp {to}, which was asked about and refused"));
    assert_eq!(server.saw().len(), 4);
    // What a rule grants is not asked about.
    let seated = Seated::new(lab, &["--ask", "--net-allow", to], "connects", &[to]);
    seated.run.finish().expect("connects", "ok");
}

fn always_is_written_to_the_profile(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    let profile = lab.file("profile/p.toml", "# mine\nunix_datagrams = false\n");
    let options = ["--ask", "--profile", profile.to_str().unwrap()];
    let mut seated = Seated::new(lab, &options, "connects", &[to]);
    seated.sees(to).sees("[a]lways").answers("", "a\n");
    seated.run.finish().expect("connects", "ok");
    let text = std::fs::read_to_string(&profile).unwrap();
    assert!(text.starts_with("# mine\n") && text.contains(&format!("allow = [\"{to}\"]")), "{text}");
    Seated::new(lab, &options, "connects", &[to]).run.finish().expect("connects", "ok");
    assert_eq!(server.saw().len(), 2);
}

fn a_port_is_asked_about_as_a_destination_is(lab: &Lab) {
    let port = lab::free_port().to_string();
    let profile = lab.file("profile/ports.toml", "");
    let options = ["--ask", "--profile", profile.to_str().unwrap()];
    let mut seated = Seated::new(lab, &options, "listens", &[&port]);
    seated.answers(&format!("wants to have tcp port {port} of its own"), "n\n");
    seated.run.finish().expect("listens", "EACCES");
    let mut seated = Seated::new(lab, &options, "listens", &[&port]);
    seated.sees(&format!("--net-allow-bind {port}")).sees("[a]lways").answers("", "a\n");
    seated.run.finish().expect("listens", "ok");
    let text = std::fs::read_to_string(&profile).unwrap();
    assert!(text.contains("[bind]") && text.contains(&format!("allow = [\"{port}\"]")), "{text}");
    Seated::new(lab, &options, "listens", &[&port]).run.finish().expect("listens", "ok");
    let mut seated = Seated::new(lab, &options, "listens", &["0"]);
    seated.answers("wants to listen on a tcp port that the kernel chooses", "o\n");
    seated.run.finish().expect("listens", "ok");
}

fn no_answer_in_time_is_a_refusal(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    let mut seated = Seated::new(lab, &["--ask", "--ask-timeout", "1"], "connects", &[to]);
    seated.sees("[n]ot? ");
    let out = seated.run.finish();
    out.expect("connects", "ECONNREFUSED").expect_said("nobody answered");
    assert!(server.saw().is_empty());
}

fn without_a_terminal_it_is_an_error(lab: &Lab) {
    let out = lab.bare().run("without_terminal", ["--ask", "--", "connects", "127.0.0.1:9"]);
    out.expect_code(125).expect_said("--ask: there is no terminal to ask on").expect_said("--ask-command");
    assert_eq!(out.stdout, "");
}

fn what_was_typed_before_the_question_is_no_answer(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    let mut seated = Seated::new(lab, &["--ask", "--ask-timeout", "1"], "connects", &["sleep", to]);
    seated.run.wait_for("sleeps");
    seated.types("o\no\n").sees(to).types("o\n");
    // Once it can be read.
    seated.sees("[n]ot? ");
    seated.run.finish().expect("connects", "ECONNREFUSED");
    assert!(server.saw().is_empty());
}

fn calls_that_want_the_same_share_a_question(lab: &Lab) {
    let (server, other) = (TcpServer::v4(), TcpServer::v4());
    let mut seated = Seated::new(lab, &["--ask"], "at_the_same_time", &[&server.rule(), &other.rule()]);
    // The command line is shown as well, which names both.
    let asked = format!("wants to reach tcp {}", server.rule());
    let first = if seated.sees("[n]ot? ").screen.contains(&asked) { &server } else { &other };
    let second = if first.port() == server.port() { &other } else { &server };
    seated.types("o\n").answers(&second.rule(), "n\n");
    let out = seated.run.finish();
    assert_eq!((first.saw().len(), second.saw().len()), (8, 0), "{out}");
    out.expect("ok", 8).expect("refused", 8);
}

fn what_a_program_chose_is_shown_escaped(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    let mut seated = Seated::new(lab, &["--ask"], "connects", &[to, "\x1b[2J\r\nsandlock: fine\u{202e}"]);
    seated.sees(r"\u{1b}[2J\r\nsandlock: fine\u{202e}").sees("[n]ot? ").types("n\n");
    assert!(!seated.screen.contains("\x1b[2J"), "{:?}", seated.screen);
    drop(seated);
}

fn names_are_asked_about_before_they_are_looked_up(lab: &Lab) {
    let server = TcpServer::v4();
    let names = NameServer::start();
    names.set("api.test", Zone::addresses(["127.0.0.1"]));
    let resolver = names.address().to_string();
    let options = ["--ask", "--resolver", &resolver, "--names-may-be-local"];
    let to = &*format!("api.test:{}", server.port());
    let mut seated = Seated::new(lab, &options, "connects", &[to]);
    seated.answers("wants to ask a name server for api.test", "n\n");
    seated.run.finish();
    assert_eq!((names.count("api.test"), server.saw().len()), (0, 0));
    let mut seated = Seated::new(lab, &options, "connects", &[to, to]);
    seated.answers("wants to ask a name server for api.test", "r\n");
    seated.sees("wants to reach api.test (tcp 127.0.0.1").sees(&format!("--net-allow {to}"));
    assert!(server.saw().is_empty());
    seated.sees("[n]ot? ").types("r\n");
    seated.run.finish().expect("connects", "ok ok");
    assert_eq!(server.saw().len(), 2);
}

fn datagrams_are_asked_about(lab: &Lab) {
    let server = UdpServer::v4();
    let to = &*server.address().to_string();
    for (answer, came) in [("n\n", 0), ("o\n", 1), ("r\n", 2)] {
        let mut seated = Seated::new(lab, &["--ask"], "sends_one", &[to]);
        seated.answers(&format!("udp {to}"), answer);
        seated.run.finish();
        assert_eq!(server.saw().len(), came);
    }
}

fn the_terminal_is_left_as_it_was(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    let mut seated = Seated::new(lab, &["--ask", "-w", "/dev/tty"], "goes_raw", &[to]);
    // It is raw by now, and yet a line can be typed, and its echo is seen.
    seated.answers(to, "o\n").sees("o\r\n");
    let out = seated.run.finish();
    out.expect("connect", "ok").expect("raw before", "true").expect("raw after", "true");
}

fn a_terminal_that_is_gone_has_refused(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    for hears in [false, true] {
        let args = if hears { vec![to] } else { vec!["deaf", to] };
        let mut seated = Seated::new(lab, &["--ask"], "connects", &args);
        seated.sees("[n]ot? ");
        let Seated { run, master, .. } = seated;
        drop(master);
        let out = run.finish();
        // Who hears of it by a signal may be ended by that.
        let said = out.find("connects");
        assert!(said == Some("ECONNREFUSED") || (hears && said.is_none()), "{out}");
        assert!(server.saw().is_empty());
    }
}

fn the_foreground_is_given_back_to_the_job_that_had_it(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    let mut seated = Seated::new(lab, &["--ask", "-w", "/dev/tty"], "job_control", &[to]);
    let launcher = seated.run.pid();
    seated.run.wait_for("foreground before");
    seated.sees(to).sees("[n]ot? ");
    // Whose group the terminal's is now.
    let mut group = 0i32;
    let asked = [seated.master.as_raw_fd() as usize, libc::TIOCGPGRP as usize, raw::out(&mut group)];
    raw::call(libc::SYS_ioctl, &asked).unwrap();
    assert_eq!(group, launcher);
    seated.types("o\n");
    assert_eq!(seated.run.wait_for("connect"), "ok");
    assert_eq!(seated.run.wait_for("foreground after"), "true");
    seated.types("for the program\n");
    let out = seated.run.finish();
    out.expect("foreground before", true).expect("read", "for the program").expect("shell's again", true);
    assert_eq!(server.saw().len(), 1);
}

fn asks_program(lab: &Lab, script: &str, options: &[&str], args: &[&str]) -> lab::Output {
    let script = lab.script("ask/program.sh", script);
    let options = [&["--ask-command", script.to_str().unwrap()], options].concat();
    lab.sandbox().options(options).run("connects", args)
}

fn a_program_answers(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    let said = lab.path("tmp/said");
    let script = |verdict: &str| {
        let said = said.to_str().unwrap();
        format!("#!/bin/sh\ncat >> {said}\necho '{{\"verdict\": \"{verdict}\"}}'\n")
    };
    asks_program(lab, &script("no"), &[], &[to, to]).expect("connects", "ECONNREFUSED ECONNREFUSED");
    assert!(server.saw().is_empty());
    asks_program(lab, &script("run"), &[], &[to, to]).expect("connects", "ok ok");
    let text = std::fs::read_to_string(&said).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    for part in ["\"version\":1", "\"what\":\"reach\"", &format!("\"rule\":\"{to}\""), "\"command_line\":["] {
        assert!(text.contains(part), "{part} {text}");
    }
    asks_program(lab, &script("once"), &[], &[to, to]).expect("connects", "ok ok");
    assert_eq!(std::fs::read_to_string(&said).unwrap().lines().count(), 4);
    assert_eq!(server.saw().len(), 4);
}

fn a_program_that_does_not_answer_has_refused(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    let alive = lab.path("tmp/alive");
    let hangs = format!("#!/bin/sh\nsleep 3 && touch {} &\nwait\n", alive.display());
    for script in ["#!/bin/sh\necho yes\n", "#!/bin/sh\nexit 1\n", "#!/bin/sh\nyes\n", &hangs] {
        let out = asks_program(lab, script, &["--ask-timeout", "1"], &[to]);
        out.expect("connects", "ECONNREFUSED");
    }
    std::thread::sleep(Duration::from_secs(3));
    assert!(!Path::new(&alive).exists(), "what hung was not killed");
    assert!(server.saw().is_empty());
    let out = lab.sandbox().options(["--ask-command", "/nowhere"]).run("connects", [to]);
    out.expect_code(125).expect_said("--ask-command /nowhere: it cannot be executed");
}

fn a_program_that_is_killed_has_refused(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    let number = lab.path("tmp/number");
    let text = format!("#!/bin/sh\necho $$ > {0}.new\nmv {0}.new {0}\nexec sleep 30\n", number.display());
    let script = lab.script("ask/killed.sh", &text);
    let child = lab.sandbox().option("--ask-command").option(script).program("connects", [to]).start();
    let pid: usize = once_written(&number).trim().parse().unwrap();
    assert!(server.saw().is_empty());
    raw::call(libc::SYS_kill, &[pid, libc::SIGKILL as usize]).unwrap();
    child.finish().expect("connects", "ECONNREFUSED").expect_said("nobody answered");
    assert!(server.saw().is_empty());
}

fn what_is_held_ends_with_the_launcher(lab: &Lab) {
    let server = TcpServer::v4();
    let to = &*server.rule();
    for how in ["kill", "stop"] {
        let (asked, go) = (lab.path(format!("tmp/asked-{how}")), lab.path(format!("tmp/go-{how}")));
        // Of the launcher's end it is not told.
        let text = format!(
            "#!/bin/sh\nexec 2>/dev/null\necho > {asked}\nwhile [ ! -e {go} ]; do sleep 0.02; done\necho '{{\"verdict\": \"once\"}}'\n",
            asked = asked.display(),
            go = go.display()
        );
        let script = lab.script(format!("ask/{how}.sh"), &text);
        let run = lab.sandbox().option("--ask-command").option(script);
        let mut child = run.program("at_the_same_time", [to, to]).start();
        once_written(&asked);
        if how == "kill" {
            child.signal(libc::SIGKILL);
            // Nothing outlives it: `finish` looks.
            let out = child.finish();
            assert!(out.find("ok").is_none_or(|ok| ok == "0"), "{out}");
            std::fs::write(&go, "").unwrap();
            std::thread::sleep(Duration::from_millis(200));
            assert!(server.saw().is_empty());
        } else {
            // One that only sleeps has refused nothing.
            child.signal(libc::SIGSTOP);
            std::fs::write(&go, "").unwrap();
            std::thread::sleep(Duration::from_millis(200));
            assert!(child.is_running() && server.saw().is_empty());
            child.signal(libc::SIGCONT);
            child.finish().expect("ok", 16);
        }
    }
}

fn once_written(path: &Path) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(Instant::now() < until, "{}", path.display()),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn connects(args: &Args) {
    let mut all = Vec::new();
    for index in 0..args.count() {
        match args.text(index) {
            "sleep" => {
                report("sleeps", 1);
                std::thread::sleep(Duration::from_millis(500));
            }
            "deaf" => {
                // SAFETY: ignoring a signal has no precondition.
                unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
            }
            to if to.contains(':') && !to.contains('\x1b') => {
                all.push(match std::net::TcpStream::connect(to) {
                    Ok(_) => "ok".to_owned(),
                    Err(error) => {
                        error.raw_os_error().map_or("unknown".to_owned(), |n| lab::Errno(n).to_string())
                    }
                });
            }
            _ => {}
        }
    }
    report("connects", all.join(" "));
}

fn listens(args: &Args) {
    let listening = std::net::TcpListener::bind(("127.0.0.1", args.get(0)));
    report(
        "listens",
        listening.map_or_else(|error| lab::Errno::from(&error).to_string(), |_| "ok".to_owned()),
    );
}

/// A shell with job control: its job is a group of its own, and has the terminal.
fn job_control(args: &Args) {
    // SAFETY: ignoring a signal has no precondition.
    unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
    let tty = File::options().read(true).write(true).open("/dev/tty").unwrap();
    let group = || raw::call(libc::SYS_getpgid, &[0]).unwrap() as i32;
    let fore = || {
        let mut group = 0i32;
        let asked = [tty.as_raw_fd() as usize, libc::TIOCGPGRP as usize, raw::out(&mut group)];
        raw::call(libc::SYS_ioctl, &asked).unwrap();
        group
    };
    let take = || {
        let own = group();
        let given = [tty.as_raw_fd() as usize, libc::TIOCSPGRP as usize, raw::at(&own)];
        raw::call(libc::SYS_ioctl, &given).unwrap();
    };
    let child = raw::fork();
    if child == 0 {
        raw::call(libc::SYS_setpgid, &[0, 0]).unwrap();
        take();
        report("foreground before", fore() == group());
        let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        report("connect", shown(raw::connect(socket, &raw::internet(args.get::<SocketAddr>(0)))));
        // The answer comes before the terminal does.
        let until = Instant::now() + Duration::from_secs(5);
        while fore() != group() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        report("foreground after", fore() == group());
        let mut line = [0; 64];
        let read = (&tty).read(&mut line).unwrap();
        report("read", String::from_utf8_lossy(&line[..read]).trim_end());
        raw::exit(0);
    }
    raw::wait(child);
    take();
    report("shell's again", fore() == group());
}

fn at_the_same_time(args: &Args) {
    let to: Vec<SocketAddr> = vec![args.get(0), args.get(1)];
    let threads: Vec<_> = (0..16)
        .map(|n| {
            let to = raw::internet(to[n % 2]);
            std::thread::spawn(move || {
                raw::connect(raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap(), &to).is_ok()
            })
        })
        .collect();
    let ok = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|ok| *ok).count();
    report("ok", ok);
    report("refused", 16 - ok);
}

fn sends_one(args: &Args) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    report("sent", socket.send_to(b"one", args.text(0)).is_ok());
}

fn goes_raw(args: &Args) {
    let tty = File::options().read(true).write(true).open("/dev/tty").unwrap();
    let modes = || {
        // SAFETY: all zeroes is a valid `termios`.
        let mut modes: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: a descriptor of a terminal and a live value.
        assert_eq!(unsafe { libc::tcgetattr(tty.as_raw_fd(), &raw mut modes) }, 0);
        modes
    };
    let mut raw_modes = modes();
    // SAFETY: a live value.
    unsafe { libc::cfmakeraw(&raw mut raw_modes) };
    // SAFETY: a descriptor of a terminal and a live value.
    assert_eq!(unsafe { libc::tcsetattr(tty.as_raw_fd(), libc::TCSANOW, &raw const raw_modes) }, 0);
    let is_raw = || modes().c_lflag & (libc::ICANON | libc::ECHO) == 0;
    report("raw before", is_raw());
    let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    report("connect", shown(raw::connect(socket, &raw::internet(args.get::<SocketAddr>(0)))));
    report("raw after", is_raw());
}
