//! A process that leaves its parent, its session and its group, and ignores signals, would go on when the command has
//! ended. Nothing may outlive the command, the launcher or the supervisor.

use std::path::Path;
use std::time::Duration;

use lab::{Args, Child, Lab, raw, report, shown};

lab::suite! {
    tests: [
        without_the_sandbox_an_orphan_lives_on,
        the_command_ends_its_orphans,
        the_launcher_killed_ends_the_tree,
        the_supervisor_killed_ends_the_tree,
        a_time_out_ends_the_tree,
        a_tree_that_forks_on_and_on_ends,
    ],
    programs: [leave_orphan, fork_on],
}

fn without_the_sandbox_an_orphan_lives_on(lab: &Lab) {
    let beats = lab.path("work/beats");
    let mut run = lab.bare().program("leave_orphan", [beats.as_os_str(), "end".as_ref()]).start();
    run.wait_for("orphan");
    while run.is_running() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(still_beats(&beats));
}

fn the_command_ends_its_orphans(lab: &Lab) {
    for version in ["1", "7"] {
        let beats = lab.path("work/beats");
        let out = sandbox(lab, version).run("leave_orphan", [beats.as_os_str(), "end".as_ref()]);
        out.expect_code(0);
        assert!(beats.exists() && !still_beats(&beats), "{out}");
        let out = sandbox(lab, version).run("leave_orphan", [beats.as_os_str(), "crash".as_ref()]);
        out.expect_code(128 + libc::SIGKILL);
        assert!(!still_beats(&beats), "{out}");
    }
}

fn the_launcher_killed_ends_the_tree(lab: &Lab) {
    for version in ["1", "7"] {
        let (run, beats) = started(lab, version);
        run.signal(libc::SIGKILL);
        // It also proves that nothing holds the outputs open.
        run.finish();
        assert!(!still_beats(&beats));
    }
}

fn the_supervisor_killed_ends_the_tree(lab: &Lab) {
    for version in ["1", "7"] {
        let (run, beats) = started(lab, version);
        let supervisor = only_child_of(run.pid());
        raw::call(libc::SYS_kill, &[supervisor as usize, libc::SIGKILL as usize]).unwrap();
        let out = run.finish();
        out.expect_code(125);
        assert!(!still_beats(&beats), "{out}");
    }
}

fn a_time_out_ends_the_tree(lab: &Lab) {
    let beats = lab.path("work/beats");
    let out =
        sandbox(lab, "7").options(["-t", "1"]).run("leave_orphan", [beats.as_os_str(), "stay".as_ref()]);
    out.expect_code(124);
    assert!(beats.exists() && !still_beats(&beats), "{out}");
}

fn a_tree_that_forks_on_and_on_ends(lab: &Lab) {
    for version in ["1", "7"] {
        let beats = lab.path("work/beats");
        sandbox(lab, version).run("fork_on", [&beats]).expect_code(0);
        assert!(beats.exists() && !still_beats(&beats));
    }
}

fn sandbox(lab: &Lab, version: &str) -> lab::Run {
    lab.sandbox().write(lab.path("work")).options(["--landlock-at-most", version])
}

fn started(lab: &Lab, version: &str) -> (Child, std::path::PathBuf) {
    let beats = lab.path("work/beats");
    let mut run = sandbox(lab, version).program("leave_orphan", [beats.as_os_str(), "stay".as_ref()]).start();
    run.wait_for("orphan");
    assert!(still_beats(&beats));
    (run, beats)
}

fn only_child_of(pid: i32) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let [child] = children.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("the launcher has children {children:?}");
    };
    child.parse().unwrap()
}

/// Whether the file still grows. The orphan writes every few milliseconds.
fn still_beats(beats: &Path) -> bool {
    let length = || std::fs::metadata(beats).map_or(0, |found| found.len());
    let before = length();
    std::thread::sleep(Duration::from_millis(100));
    length() != before
}

/// `leave_orphan FILE end|crash|stay`.
fn leave_orphan(args: &Args) {
    let [reader, writer] = pipe();
    let child = raw::fork();
    if child == 0 {
        raw::call(libc::SYS_setsid, &[]).unwrap();
        if raw::fork() == 0 {
            // SAFETY: SIG_IGN is a disposition.
            (1..=64).for_each(|signal| _ = unsafe { libc::signal(signal, libc::SIG_IGN) });
            raw::call(libc::SYS_setpgid, &[0, 0]).unwrap();
            beat(args.path(0), Some(writer));
        }
        raw::exit(0);
    }
    raw::wait(child);
    raw::call(libc::SYS_read, &[reader, raw::out(&mut [0u8; 1]), 1]).unwrap();
    report("orphan", "ok");
    match args.text(1) {
        "end" => {}
        "crash" => drop(raw::call(libc::SYS_kill, &[std::process::id() as usize, 9])),
        _ => std::thread::sleep(LONG),
    }
}

/// A process that is gone before it can be killed: each leaves a child in its place.
fn fork_on(args: &Args) {
    for _ in 0..4 {
        let [reader, writer] = pipe();
        if raw::fork() == 0 {
            let end = std::time::Instant::now() + LONG;
            append(args.path(0), b"x");
            raw::call(libc::SYS_write, &[writer, raw::at(b"x"), 1]).unwrap();
            while std::time::Instant::now() < end {
                append(args.path(0), b"x");
                if raw::fork() != 0 {
                    raw::exit(0);
                }
            }
            raw::exit(0);
        }
        raw::call(libc::SYS_read, &[reader, raw::out(&mut [0u8; 1]), 1]).unwrap();
    }
    report("fork", shown(Ok(())));
}

/// Says so by the descriptor once it has begun, and ends by itself, should nobody else end it.
fn beat(file: &Path, begun: Option<usize>) {
    let end = std::time::Instant::now() + LONG;
    append(file, b"x");
    begun.map(|writer| raw::call(libc::SYS_write, &[writer, raw::at(b"x"), 1]).unwrap());
    while std::time::Instant::now() < end {
        append(file, b"x");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn append(file: &Path, bytes: &[u8]) {
    use std::io::Write;
    std::fs::File::options().append(true).create(true).open(file).unwrap().write_all(bytes).unwrap();
}

fn pipe() -> [usize; 2] {
    let mut ends = [0i32; 2];
    raw::call(libc::SYS_pipe2, &[raw::out(&mut ends), 0]).unwrap();
    ends.map(|end| end as usize)
}

const LONG: Duration = Duration::from_secs(3);
