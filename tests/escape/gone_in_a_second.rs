//! Whatever a program leaves behind is gone a second after the run: what forks on, what has much memory to give back, what
//! was stopped or has left its session, what holds the outputs or the terminal. Whether the command ended, its time was
//! up, or somebody killed the launcher.

use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::{Args, Lab, raw, report};

lab::suite! {
    tests: [everything_is_gone_a_second_after_the_end],
    programs: [leave_behind],
}

const KINDS: [&str; 9] = [
    "fork bomb",
    "memory",
    "file in memory",
    "shared memory",
    "mapped file",
    "daemon",
    "stopped",
    "holder of pipes",
    "many threads",
];

fn everything_is_gone_a_second_after_the_end(lab: &Lab) {
    for (kind, end) in KINDS.iter().zip(["ends", "killed"].iter().cycle()) {
        left_behind(lab, kind, end);
    }
    // The hardest ones, in every way.
    for end in ["ends", "time out", "killed"] {
        left_behind(lab, "fork bomb", end);
        left_behind(lab, "stopped", end);
    }
}

fn left_behind(lab: &Lab, kind: &str, end: &str) {
    let mark = format!("gone-{}-{}", std::process::id(), lab.root().display()).replace('/', "-");
    let mut run = lab.sandbox().env("LAB_MARK", &mark).write(lab.path("work"));
    if end == "time out" {
        run = run.options(["-t", "4", "--grace", "0.1"]);
    }
    let stays = if end == "ends" { "ends" } else { "stays" };
    let mut child = run.program("leave_behind", [kind, stays]).start();
    child.wait_for("left");
    let there = marked(&mark);
    assert!(there.len() > 1 || end == "ends", "{kind} {end}: {there:?}");
    if end == "killed" {
        child.signal(libc::SIGKILL);
    }
    while child.is_running() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let ended = Instant::now();
    let mut left = marked(&mark);
    while !left.is_empty() && ended.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(5));
        left = marked(&mark);
    }
    assert!(left.is_empty(), "{kind} {end}: {left:?}");
    child.finish();
}

/// Who has this mark in its environment: all that was started by the run, the launcher and the supervisor too.
fn marked(mark: &str) -> Vec<String> {
    let has_mark = |pid: &str| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|part| part == mark.as_bytes())
    };
    let names = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = names.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && has_mark(name)).collect()
}

const MIB: usize = 1 << 20;

/// `leave_behind KIND ends|stays`.
fn leave_behind(args: &Args) {
    let kind = args.text(0);
    let [reader, writer] = {
        let mut ends = [0i32; 2];
        raw::call(libc::SYS_pipe2, &[raw::out(&mut ends), 0]).unwrap();
        ends
    };
    if raw::fork() == 0 {
        raw::call(libc::SYS_setsid, &[]).unwrap();
        // SAFETY: SIG_IGN is a disposition.
        (1..=64).for_each(|signal| _ = unsafe { libc::signal(signal, libc::SIG_IGN) });
        stay(kind, || {
            raw::call(libc::SYS_write, &[writer as usize, raw::at(b"x"), 1]).unwrap();
        });
        raw::exit(0);
    }
    let mut byte = [0u8; 1];
    raw::call(libc::SYS_read, &[reader as usize, raw::out(&mut byte), 1]).unwrap();
    report("left", kind);
    if args.text(1) == "stays" {
        std::thread::sleep(LONG);
    }
}

/// Says that it is there, and is.
fn stay(kind: &str, say: impl Fn()) {
    let until = Instant::now() + LONG;
    let memory = |flags, file: i32| {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let words = [0, 100 * MIB, protection, flags as usize, file as usize, 0];
        let at = raw::call(libc::SYS_mmap, &words).unwrap();
        // SAFETY: the kernel just mapped so much, and nothing unmaps it.
        let memory = unsafe { std::slice::from_raw_parts_mut(at as *mut u8, 100 * MIB) };
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    };
    match kind {
        "fork bomb" => {
            // Each forks on, and all forget who they are below of. The machine has other things to do: as many as there
            // may be, each is replaced by its child.
            raw::call(libc::SYS_setpriority, &[libc::PRIO_PROCESS as usize, 0, 10]).unwrap();
            let alive = shared_counter();
            let mut said = false;
            while Instant::now() < until {
                let is_one_more = alive.fetch_add(1, Ordering::Relaxed) < MOST_FORKED;
                if !is_one_more {
                    alive.fetch_sub(1, Ordering::Relaxed);
                }
                if raw::fork() == 0 {
                    raw::call(libc::SYS_setsid, &[]).ok();
                } else if !said {
                    say();
                    said = true;
                } else if !is_one_more {
                    raw::exit(0);
                }
                std::thread::sleep(Duration::from_millis(150));
            }
            raw::exit(0);
        }
        "memory" => memory(libc::MAP_ANONYMOUS | libc::MAP_PRIVATE, -1),
        "shared memory" => memory(libc::MAP_ANONYMOUS | libc::MAP_SHARED, -1),
        "file in memory" => {
            let fd = raw::call(libc::SYS_memfd_create, &[raw::at(b"left\0"), 0]).unwrap();
            // SAFETY: the kernel just made it.
            let mut file = unsafe { std::fs::File::from_raw_fd(fd as i32) };
            (0..100).for_each(|_| file.write_all(&vec![1; MIB]).unwrap());
            std::mem::forget(file);
        }
        "mapped file" => {
            let file = std::fs::File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open("mapped")
                .unwrap();
            file.set_len(100 * MIB as u64).unwrap();
            memory(libc::MAP_SHARED, file.as_raw_fd());
        }
        "stopped" => {
            let child = raw::fork();
            if child == 0 {
                std::thread::sleep(LONG);
                raw::exit(0);
            }
            raw::call(libc::SYS_kill, &[child as usize, libc::SIGSTOP as usize]).unwrap();
            say();
            raw::call(libc::SYS_kill, &[std::process::id() as usize, libc::SIGSTOP as usize]).unwrap();
        }
        "many threads" => (0..50).for_each(|_| _ = std::thread::spawn(|| std::thread::sleep(LONG))),
        _ => {}
    }
    say();
    std::thread::sleep(LONG);
}

fn shared_counter() -> &'static AtomicU32 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_ANONYMOUS | libc::MAP_SHARED);
    let words = [0, 4096, protection as usize, flags as usize, usize::MAX, 0];
    let at = raw::call(libc::SYS_mmap, &words).unwrap();
    // SAFETY: fresh zeroed memory, never unmapped, that is used as an atomic only.
    unsafe { &*(at as *const AtomicU32) }
}

const MOST_FORKED: u32 = 200;

/// Nobody stays for ever, should nobody else end it.
const LONG: Duration = Duration::from_secs(10);
