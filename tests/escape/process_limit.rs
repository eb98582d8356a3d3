//! A process is made in the kernel, after the supervisor let it: many that ask at once could each be let because the
//! others are not there yet. However many ask, and however often, there are never more than the limit.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lab::{Args, Lab, raw, report, shown};

lab::suite! {
    tests: [
        parallel_forks_never_make_more_than_the_limit,
        threads_count_as_well,
        other_spellings_of_fork_are_counted,
        who_ended_makes_room,
    ],
    programs: [fork_in_parallel, start_threads, fork_by, fork_and_wait],
}

fn parallel_forks_never_make_more_than_the_limit(lab: &Lab) {
    lab.bare().run("fork_in_parallel", lab::NONE).expect("born", ATTEMPTS);
    for limit in [4, 16] {
        let mut run =
            lab.sandbox().options(["-P", &limit.to_string()]).program("fork_in_parallel", lab::NONE).start();
        // The receiver's view: who is there, seen from outside.
        let mut most = 0;
        while run.is_running() {
            most = most.max(tree_below(run.pid()).saturating_sub(1));
        }
        let out = run.finish();
        let born: u32 = out.value("born").parse().unwrap();
        // All that were born live until the end.
        assert!(born < limit && born >= limit / 2, "{out}");
        assert!(most as u32 <= limit, "{most} at once\n{out}");
        out.expect_said(&format!("more than {limit} processes and threads at once (--processes)"));
    }
}

fn threads_count_as_well(lab: &Lab) {
    lab.bare().run("start_threads", ["20"]).expect("started", 20);
    let out = lab.sandbox().options(["-P", "8"]).run("start_threads", ["20"]);
    out.expect("started", 7).expect("error", "EAGAIN");
    lab.sandbox().options(["-P", "21"]).run("start_threads", ["20"]).expect("started", 20);
}

fn other_spellings_of_fork_are_counted(lab: &Lab) {
    for way in ["fork", "vfork", "clone", "clone of a sibling"] {
        lab.bare().run("fork_by", [way]).expect("made", "ok");
        lab.sandbox().options(["-P", "2"]).run("fork_by", [way]).expect("made", "ok");
        lab.sandbox().options(["-P", "1"]).run("fork_by", [way]).expect("made", "EAGAIN");
    }
    let out = lab.sandbox().options(["-P", "1"]).run("fork_by", ["clone3"]);
    out.expect("made", "ENOSYS");
}

fn who_ended_makes_room(lab: &Lab) {
    let out = lab.sandbox().options(["-P", "2"]).run("fork_and_wait", ["200"]);
    out.expect("made", 200);
    let line = "i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done; echo done=$i | cat";
    lab.sandbox().options(["-P", "4"]).sh(line).expect("done", 50);
}

/// Processes below one.
fn tree_below(pid: i32) -> usize {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|child| 1 + tree_below(child.parse().unwrap())).sum()
}

const ATTEMPTS: u32 = 200;

/// Every process forks on, until all together have tried so often.
fn fork_in_parallel(_: &Args) {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let none = -1isize as usize;
    let shared = raw::call(libc::SYS_mmap, &[0, 4096, protection as usize, flags as usize, none, 0]).unwrap();
    // SAFETY: fresh zeroed memory, never unmapped, that is used as atomics only.
    let [attempts, born] = unsafe { &*(shared as *const [AtomicU32; 2]) };
    let first = std::process::id();
    while attempts.fetch_add(1, Ordering::Relaxed) < ATTEMPTS {
        if raw::fork() == 0 {
            born.fetch_add(1, Ordering::Relaxed);
        }
    }
    if std::process::id() != first {
        std::thread::sleep(Duration::from_secs(2));
        raw::exit(0);
    }
    // Those that were made last are still to count themselves.
    std::thread::sleep(Duration::from_millis(300));
    report("born", born.load(Ordering::Relaxed));
}

/// `start_threads NUMBER`.
fn start_threads(args: &Args) {
    let wanted: usize = args.get(0);
    let mut started = 0;
    let mut threads = Vec::new();
    for _ in 0..wanted {
        match std::thread::Builder::new().spawn(|| std::thread::sleep(Duration::from_secs(20))) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                report("error", lab::Errno::from(&error));
                break;
            }
        }
        started += 1;
    }
    report("started", started);
    raw::exit(0);
}

/// `fork_by WAY`.
fn fork_by(args: &Args) {
    let exits = libc::SIGCHLD as usize;
    let made = match args.text(0) {
        "fork" => raw::call(libc::SYS_fork, &[]),
        // The child of vfork must not return: that of clone with its flags behaves alike, with memory of its own.
        "vfork" => raw::call(libc::SYS_clone, &[libc::CLONE_VFORK as usize | exits]),
        "clone" => raw::call(libc::SYS_clone, &[exits]),
        "clone of a sibling" => raw::call(libc::SYS_clone, &[libc::CLONE_PARENT as usize | exits]),
        _ => raw::call(libc::SYS_clone3, &[raw::at(&[0u64; 11]), 88]),
    };
    if made == Ok(0) {
        raw::exit(0);
    }
    report("made", shown(made));
}

/// `fork_and_wait TIMES`.
fn fork_and_wait(args: &Args) {
    let made = (0..args.get(0))
        .filter(|_: &u32| {
            let child = raw::fork();
            if child == 0 {
                raw::exit(0);
            }
            child > 0 && raw::wait(child) == 0
        })
        .count();
    report("made", made);
}
