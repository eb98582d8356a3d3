//! Runs are found, looked at and ended from another process, whatever state they are in.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Args, Child, Lab, NONE, Output, raw, report};

lab::suite! {
    tests: [
        a_run_is_listed_inspected_and_ended,
        each_run_has_a_name_of_its_own,
        a_tree_of_daemons_that_ignore_signals_is_ended,
        a_stopped_run_is_listed_inspected_and_ended,
        a_run_that_is_kept_in_the_background_is_listed_and_ended,
        a_stopped_process_that_embeds_a_run_is_left_alone,
        what_a_killed_launcher_left_is_removed,
        without_a_directory_runs_go_on_unless_they_must_have_a_name,
        a_malformed_line_costs_its_sender_the_connection_alone,
        another_user_is_turned_away,
    ],
    programs: [speak],
}

/// A run that waits, under this name.
fn waiting(lab: &Lab, name: &str) -> Child {
    let mut child = lab
        .sandbox()
        .options(["--name", name])
        .allow("127.0.0.1:80")
        .command("/bin/sh", ["-c", "echo ready=1; exec sleep 1000"])
        .start();
    child.wait_for("ready");
    listed(lab, name);
    child
}

fn sandlock(lab: &Lab, words: &[&str]) -> Output {
    lab.sandlock().arguments(words).output()
}

fn ps(lab: &Lab) -> Vec<(String, String)> {
    let out = sandlock(lab, &["ps"]);
    out.expect_code(0);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines = out.stdout.lines().skip(1).map(words);
    lines.map(|words| (words[0].clone(), words[1].clone())).collect()
}

/// Waits until a run is listed: that comes a moment after its command has started.
fn listed(lab: &Lab, name: &str) -> String {
    wait_until(name, || ps(lab).into_iter().find(|(listed, _)| listed == name).map(|(_, pid)| pid))
}

fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn state(pid: i32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").map_or(String::new(), |(_, rest)| rest[..1].to_owned())
}

/// Processes with this among their arguments.
fn with_argument(argument: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())).count()
}

fn a_run_is_listed_inspected_and_ended(lab: &Lab) {
    let run = waiting(lab, "one");
    assert_eq!(ps(lab), [("one".to_owned(), run.pid().to_string())]);
    sandlock(lab, &["ps", "--json"]).expect_code(0);
    let words = sandlock(lab, &["inspect", "one"]).stdout;
    assert!(words.contains("127.0.0.1:80") && words.contains("exec sleep 1000"), "{words}");
    let json = sandlock(lab, &["inspect", "one", "--json"]).stdout;
    assert!(json.contains("\"name\": \"one\"") && json.contains("\"allow\""), "{json}");
    // The policy of a run is a profile for the next.
    let toml = sandlock(lab, &["inspect", "one", "--toml"]).stdout;
    let profile = lab.file("profile", &toml);
    lab.sandbox().option("--profile").option(&profile).sh("exit 0").expect_code(0);
    assert!(toml.contains("allow = [\"127.0.0.1:80\"]"), "{toml}");

    sandlock(lab, &["kill", "one"]).expect_code(0);
    assert_eq!(ps(lab), []);
    run.finish().expect_code(128 + 15);
    sandlock(lab, &["kill", "one"]).expect_code(125).expect_said("no run named one");
    let left = std::fs::read_dir(lab.path("run/sandlock")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name != ".lock").count(), 0);
}

/// The command has ended, the run has not.
fn a_run_that_is_kept_in_the_background_is_listed_and_ended(lab: &Lab) {
    let line = "setsid sleep 1000 & echo ready=1; exit 3";
    let run = lab.sandbox().options(["--name", "kept", "--keep-background"]);
    let mut run = run.command("/bin/sh", ["-c", line]).start();
    run.wait_for("ready");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(listed(lab, "kept"), run.pid().to_string());
    sandlock(lab, &["inspect", "kept"]).expect_code(0);
    sandlock(lab, &["kill", "kept"]).expect_code(0);
    run.finish().expect_code(3);
    assert_eq!(ps(lab), []);
}

fn each_run_has_a_name_of_its_own(lab: &Lab) {
    let start = || {
        let mut child =
            lab.sandbox().command("/bin/sh", ["-c", "echo ready=1; read line"]).input_pipe().start();
        child.wait_for("ready");
        child
    };
    let mut runs = Vec::new();
    for name in ["sh", "sh-2", "sh-3"] {
        runs.push(start());
        listed(lab, name);
    }
    let marker = lab.path("work/marker");
    let touch = format!("touch {}", marker.display());
    let taken = || lab.sandbox().write(lab.path("work")).options(["--name", "sh-2"]).sh(&touch);
    taken().expect_code(125).expect_said("--name: a run named sh-2 is there already");
    assert!(!marker.exists());
    runs.remove(1).finish().expect_code(1);
    taken().expect_code(0);
    assert!(marker.exists());
    for name in ["", "a/b", ".x", "a\x1bb"] {
        lab.sandbox().options(["--name", name]).sh("exit 0").expect_code(125).expect_said("is no name");
    }
    for run in runs {
        run.finish().expect_code(1);
    }
}

fn a_tree_of_daemons_that_ignore_signals_is_ended(lab: &Lab) {
    // A number of seconds that nobody else sleeps.
    let mut hasher = DefaultHasher::new();
    lab.root().hash(&mut hasher);
    let mark = format!("98765.{}", hasher.finish());
    let line = format!(
        "setsid sleep {mark} & (setsid sh -c 'trap \"\" TERM HUP INT; setsid sleep {mark}; sleep {mark}' &) ; \
         trap '' TERM; echo ready=1; sleep {mark}; sleep {mark}"
    );
    let mut run = lab.sandbox().options(["--name", "tree"]).command("/bin/sh", ["-c", &line]).start();
    run.wait_for("ready");
    listed(lab, "tree");
    wait_until("the tree", || (with_argument(&mark) >= 3).then_some(()));
    sandlock(lab, &["kill", "tree"]).expect_code(0);
    assert_eq!(with_argument(&mark), 0, "the answer came before the end");
    assert_eq!(run.finish().code(), 128 + 9);
}

fn a_stopped_run_is_listed_inspected_and_ended(lab: &Lab) {
    // The command alone, its launcher with it; and the launcher alone.
    for stop_the_launcher in [false, true] {
        let run = waiting(lab, "still");
        let json = sandlock(lab, &["inspect", "still", "--json"]).stdout;
        let command = json.split("\"command_pid\": ").nth(1).unwrap().split(',').next().unwrap();
        let target = if stop_the_launcher { run.pid() } else { command.parse().unwrap() };
        raw::call(libc::SYS_kill, &[target as usize, libc::SIGSTOP as usize]).unwrap();
        wait_until("stopped", || (state(run.pid()) == "T").then_some(()));
        assert_eq!(ps(lab).len(), 1);
        sandlock(lab, &["inspect", "still"]).expect_code(0);
        sandlock(lab, &["kill", "still"]).expect_code(0);
        assert!(run.finish().code() > 128);
    }
}

fn a_stopped_process_that_embeds_a_run_is_left_alone(lab: &Lab) {
    let run = waiting(lab, "embedded");
    let record = lab.path("run/sandlock/embedded.json");
    let text = std::fs::read_to_string(&record).unwrap();
    let changed = text.replace("\"of_a_command\":true", "\"of_a_command\":false");
    assert!(changed != text, "{text}");
    std::fs::write(&record, changed).unwrap();
    run.signal(libc::SIGSTOP);
    wait_until("stopped", || (state(run.pid()) == "T").then_some(()));
    sandlock(lab, &["kill", "embedded"]).expect_code(125).expect_said("is stopped");
    assert_eq!(state(run.pid()), "T");
    // That it would have been continued otherwise is what the test above shows.
    run.signal(libc::SIGCONT);
    sandlock(lab, &["kill", "embedded"]).expect_code(0);
    run.finish().expect_code(128 + 15);
}

fn what_a_killed_launcher_left_is_removed(lab: &Lab) {
    let run = waiting(lab, "gone");
    run.signal(libc::SIGKILL);
    run.finish();
    assert!(lab.path("run/sandlock/gone.sock").exists());
    assert_eq!(ps(lab), []);
    assert!(!lab.path("run/sandlock/gone.sock").exists() && !lab.path("run/sandlock/gone.json").exists());
    let run = waiting(lab, "gone");
    run.signal(libc::SIGKILL);
    run.finish();
    // A name that was left over is free.
    let run = waiting(lab, "gone");
    sandlock(lab, &["kill", "gone"]).expect_code(0);
    run.finish();
}

fn without_a_directory_runs_go_on_unless_they_must_have_a_name(lab: &Lab) {
    let place = lab.directory("run/sandlock");
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
    lab.sandbox().sh("exit 3").expect_code(3);
    lab.sandbox().options(["--name", "a"]).sh("exit 3").expect_code(125).expect_said("cannot be used");
    sandlock(lab, &["ps"]).expect_code(125).expect_said("cannot be used");
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o700)).unwrap();
    lab.sandbox().options(["--name", "a"]).sh("exit 3").expect_code(3);
    sandlock(lab, &["ps"]).expect_code(0);
}

fn a_malformed_line_costs_its_sender_the_connection_alone(lab: &Lab) {
    let run = waiting(lab, "spoken-to");
    let socket = lab.path("run/sandlock/spoken-to.sock");
    let ports = r#"{"version":1,"request":"ports","id":5}"#;
    let speak = |line: &str| lab.bare().run("speak", [socket.as_os_str(), line.as_ref(), ports.as_ref()]);
    let out = speak(ports);
    out.expect("lines", 2).expect("first", r#"{"answer":"ports","id":5,"ports":[],"version":1}"#);
    for wrong in ["nonsense", "{}", r#"{"version":2,"request":"kill"}"#, r#"{"version":1,"request":"what"}"#]
    {
        let out = speak(wrong);
        out.expect("lines", 1);
        assert!(out.value("first").starts_with(r#"{"answer":"error","error":"#), "{out}");
    }
    assert_eq!(ps(lab).len(), 1);
    sandlock(lab, &["kill", "spoken-to"]).expect_code(0);
    run.finish().expect_code(128 + 15);
}

fn another_user_is_turned_away(lab: &Lab) {
    let run = waiting(lab, "ours");
    let socket = lab.path("run/sandlock/ours.sock");
    // This process is root where there are two users, and may go everywhere.
    let mut stream = UnixStream::connect(&socket).unwrap();
    let is_same = lab.user().is_root() || raw::euid() != 0;
    let _ = stream.write_all(b"{\"version\":1,\"request\":\"ports\"}\n");
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = Vec::new();
    // Whoever is turned away with unread lines sees a reset behind the answer.
    let _ = stream.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    assert_eq!(said.contains("\"ports\""), is_same, "{said}");
    assert_eq!(said.contains("somebody else's"), !is_same, "{said}");
    assert_eq!(ps(lab).len(), 1);
    drop(run);
    lab.sandbox().command("true", NONE).output().expect_code(0);
}

/// `speak SOCKET LINE...`: says the lines, and reports how many come back.
fn speak(args: &Args) {
    let mut stream = UnixStream::connect(Path::new(args.os(0))).unwrap();
    for index in 1..args.count() {
        let _ = stream.write_all(format!("{}\n", args.text(index)).as_bytes());
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut said = Vec::new();
    // Whoever is cut off with unread lines sees a reset behind the answer.
    let _ = stream.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    report("lines", said.lines().count());
    report("first", said.lines().next().unwrap_or_default());
}
