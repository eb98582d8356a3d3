//! What happens in a run is written down, and the run never waits for that.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Child, Lab, NONE};

lab::suite! {
    tests: [
        what_happens_is_a_line_of_a_file,
        a_file_that_was_moved_away_is_made_anew_on_a_signal,
        a_link_in_its_place_is_not_followed,
        a_full_pipe_drops_lines_and_says_how_many,
        a_log_that_cannot_be_written_runs_nothing,
    ],
}

const NOWHERE: &str = "127.0.0.1:9";

/// A program that is refused something again and again, until its input ends.
fn refused(lab: &Lab, log: impl AsRef<std::ffi::OsStr>, pause: &str) -> Child {
    let run = lab.sandbox().option("--log").option(log);
    let mut child = run.program("is_refused_again_and_again", [NOWHERE, pause]).input_pipe().start();
    child.wait_for("ready");
    child
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn what_happens_is_a_line_of_a_file(lab: &Lab) {
    let log = lab.path("home/log");
    std::fs::write(&log, "before\n").unwrap();
    lab.own(&log);
    let mut run = refused(lab, &log, "5");
    let pid = run.wait_for("pid");
    until("a refusal", || lines(&log).len() > 3);
    run.end_input();
    run.finish().expect_code(0);
    let lines = lines(&log);
    assert_eq!(lines[0], "before");
    assert!(lines[1].contains(r#""event":"started""#) && lines[1].contains(r#""run":""#), "{}", lines[1]);
    let denied = &lines[2];
    assert!(denied.starts_with(r#"{"version":1,"time":"#), "{denied}");
    for part in [
        r#""event":"denied""#,
        &format!("\"pid\":{pid},\"exe\":\"/"),
        r#""what":"tcp 127.0.0.1:9""#,
        r#""destination":{"protocol":"tcp","address":"127.0.0.1","port":9}"#,
        r#""verdict":"denied","rule":null"#,
    ] {
        assert!(denied.contains(part), "{part}: {denied}");
    }
    assert!(lines.last().unwrap().contains(r#""event":"ended","ending":{"exited":0}"#), "{lines:?}");
    let denying = ["--net-deny", "127.0.0.0/8:*", "--net-allow", "*:*"];
    let run = lab.sandbox().option("--log").option(&log).options(denying);
    run.run("tcp", [NOWHERE]).expect("connect", "ECONNREFUSED");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains(r#""rule":"--net-deny 127.0.0.0/8:*""#), "{text}");
}

fn a_file_that_was_moved_away_is_made_anew_on_a_signal(lab: &Lab) {
    let (log, old) = (lab.path("home/log"), lab.path("home/log.1"));
    let mut run = refused(lab, &log, "5");
    until("a refusal", || lines(&log).len() > 2);
    std::fs::rename(&log, &old).unwrap();
    let before = lines(&old).len();
    until("it goes on", || lines(&old).len() > before);
    assert!(!log.exists());
    run.signal(libc::SIGHUP);
    until("it is made anew", || lines(&log).len() > 2);
    // The signal was not the command's.
    assert!(run.is_running());
    run.end_input();
    run.finish().expect_code(0);
    assert!(lines(&log).last().unwrap().contains("ended"));
}

fn a_link_in_its_place_is_not_followed(lab: &Lab) {
    let (log, precious) = (lab.path("home/log"), lab.file("home/precious", "precious"));
    let mut run = refused(lab, &log, "5");
    until("a refusal", || lines(&log).len() > 2);
    std::fs::rename(&log, lab.path("home/log.1")).unwrap();
    std::os::unix::fs::symlink(&precious, &log).unwrap();
    run.signal(libc::SIGHUP);
    let before = lines(&lab.path("home/log.1")).len();
    until("it goes on where it was", || lines(&lab.path("home/log.1")).len() > before + 5);
    run.end_input();
    run.finish().expect_code(0);
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
}

fn a_full_pipe_drops_lines_and_says_how_many(lab: &Lab) {
    let (reader, writer) = std::io::pipe().unwrap();
    let run = lab.sandbox().descriptor(5, writer).options(["--log", "fd:5"]);
    let mut run = run.program("is_refused_again_and_again", [NOWHERE, "0"]).input_pipe().start();
    run.wait_for("ready");
    std::thread::sleep(Duration::from_millis(1500));
    // It is read only now.
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    let dropped = lines.by_ref().find(|line| line.contains(r#""event":"dropped""#)).unwrap();
    let count = dropped.split("\"count\":").nth(1).unwrap().trim_end_matches('}').parse::<u64>().unwrap();
    assert!(count > 0, "{dropped}");
    run.end_input();
    let last = lines.last().unwrap();
    assert!(last.contains(r#""event":"ended""#), "{last}");
    run.finish().expect_code(0);
}

fn a_log_that_cannot_be_written_runs_nothing(lab: &Lab) {
    let marker = lab.path("work/marker");
    let touch = format!("touch {}", marker.display());
    let nowhere = lab.path("nowhere/log");
    for log in [nowhere.to_str().unwrap(), "fd:77", "fd:x", "/"] {
        let out = lab.sandbox().write(lab.path("work")).options(["--log", log]).sh(&touch);
        out.expect_code(125).expect_said("error: --log ");
    }
    assert!(!marker.exists());
    let out = lab.sandbox().options(["--bare", "--kernel-only", "--log", "/dev/null"]).command("true", NONE);
    out.output().expect_code(125).expect_said("--log");
}
