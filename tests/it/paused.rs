//! A run is stopped as a whole, whatever its processes do meanwhile, and goes on as a whole.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Child, Lab};

lab::suite! {
    tests: [
        a_paused_run_does_nothing_until_it_is_resumed,
        what_was_stopped_before_stays_stopped,
        a_paused_run_is_ended,
        a_killed_launcher_ends_a_paused_run,
    ],
}

/// A number of seconds that nobody else sleeps.
fn mark(lab: &Lab) -> String {
    let mut hasher = DefaultHasher::new();
    lab.root().hash(&mut hasher);
    format!("87654.{}", hasher.finish())
}

/// A run that forks all the time, in several places, and writes down that it does.
fn busy(lab: &Lab, before: &str) -> Child {
    let mark = mark(lab);
    let line = format!(
        "{before} ticks() {{ while :; do /bin/true; echo x >>ticks; done; }}; \
         ticks & (setsid sh -c 'while :; do /bin/true; echo x >>others; done' &); setsid sleep {mark} & \
         echo ready=1; ticks"
    );
    let work = lab.path("work");
    let run = lab.sandbox().write(&work).options(["--name", "busy"]);
    let mut child = run.command("/bin/sh", ["-c", &line]).start();
    child.wait_for("ready");
    until("it is listed", || tell(lab, "inspect") == 0);
    until("it is busy", || sizes(lab).iter().all(|size| *size > 20));
    child
}

fn tell(lab: &Lab, verb: &str) -> i32 {
    lab.sandlock().arguments([verb, "busy"]).output().code()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(15);
    while !is_so() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn sizes(lab: &Lab) -> [u64; 2] {
    let size = |path: &Path| path.metadata().map_or(0, |file| file.len());
    [size(&lab.path("work/ticks")), size(&lab.path("work/others"))]
}

/// The states of the processes with this among their arguments.
fn states(argument: &str) -> Vec<char> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let has = |path: &Path| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    };
    let stat = processes.filter(|path| has(path)).map(|path| std::fs::read_to_string(path.join("stat")));
    stat.flatten().filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next()).collect()
}

fn a_paused_run_does_nothing_until_it_is_resumed(lab: &Lab) {
    let mut run = busy(lab, "");
    for _ in 0..5 {
        assert_eq!(tell(lab, "pause"), 0);
        let before = sizes(lab);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(sizes(lab), before);
        assert_eq!(states(&mark(lab)), ['T']);
        // Not the launcher: it is there to be told.
        assert!(run.is_running());
        let listed = lab.sandlock().arguments(["ps", "--json"]).output().stdout;
        assert!(listed.contains("\"name\": \"busy\""), "{listed}");
        until("it is shown", || {
            lab.sandlock().arguments(["inspect", "busy"]).output().stdout.contains("state     paused")
        });
        // A signal that would let the command alone go on does not.
        run.signal(libc::SIGCONT);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(sizes(lab), before);
        assert_eq!(tell(lab, "pause"), 0);
        assert_eq!(tell(lab, "resume"), 0);
        until("it goes on", || sizes(lab).iter().zip(before).all(|(now, before)| *now > before + 4));
        until("the sleeper goes on", || states(&mark(lab)) == ['S']);
    }
    assert_eq!(tell(lab, "kill"), 0);
    run.finish().expect_code(128 + 15);
}

fn what_was_stopped_before_stays_stopped(lab: &Lab) {
    let stopped = format!("{}1", mark(lab));
    let run = busy(lab, &format!("sh -c 'kill -STOP $$; :' {stopped} &"));
    until("it stopped", || states(&stopped) == ['T']);
    assert_eq!(tell(lab, "pause"), 0);
    assert_eq!(tell(lab, "resume"), 0);
    until("the others go on", || states(&mark(lab)) == ['S']);
    assert_eq!(states(&stopped), ['T']);
    assert_eq!(tell(lab, "kill"), 0);
    run.finish().expect_code(128 + 15);
}

fn a_paused_run_is_ended(lab: &Lab) {
    let run = busy(lab, "");
    assert_eq!(tell(lab, "pause"), 0);
    let before = sizes(lab);
    assert_eq!(tell(lab, "kill"), 0);
    assert!(states(&mark(lab)).is_empty());
    // It did not go on for that.
    assert_eq!(sizes(lab), before);
    run.finish().expect_code(128 + 9);
}

fn a_killed_launcher_ends_a_paused_run(lab: &Lab) {
    let run = busy(lab, "");
    assert_eq!(tell(lab, "pause"), 0);
    run.signal(libc::SIGKILL);
    until("all is gone", || states(&mark(lab)).is_empty());
    run.finish();
}
