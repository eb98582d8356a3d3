//! `/proc` lists every process of the machine, with its command line, state and numbers. In runs that look at `open` it
//! is the supervisor that opens it, which may read more of it than the command: so no path, however it is spelled, and
//! no descriptor may lead to a process outside, or to what the supervisor alone may open.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use lab::{Args, Errno, Lab, Rounds, raw, report, shown};

lab::suite! {
    tests: [
        nothing_outside_is_opened_by_any_spelling,
        what_is_of_the_sandbox_is_opened_by_every_spelling,
        a_swapped_path_opens_nothing_of_others,
        what_gives_power_is_not_opened,
        a_directory_stays_that_of_its_process,
        what_was_given_up_is_not_opened_on_behalf,
    ],
    programs: [read_by_spellings, read_of_child, swap_process, open_each, dead_child, give_up_proc],
}

const FILES: [&str; 7] = ["status", "cmdline", "stat", "comm", "limits", "net/tcp", "maps"];

fn looked_at(lab: &Lab) -> lab::Run {
    lab.sandbox().allow("localhost:9").option("--pin-names").write(lab.path("work"))
}

fn asked_for(lab: &Lab) -> lab::Run {
    lab.sandbox().option("--own-proc").write(lab.path("work"))
}

fn nothing_outside_is_opened_by_any_spelling(lab: &Lab) {
    let outsider = lab.outsider("outsider's secret");
    let pid = outsider.pid().to_string();
    let bare = lab.bare().run("read_by_spellings", [&pid]);
    bare.expect("failed", "");
    for who in [&pid, "supervisor", "launcher", "1"] {
        looked_at(lab).run("read_by_spellings", [who]).expect("opened", "");
        asked_for(lab).run("read_by_spellings", [who]).expect("opened", "");
    }
    let default = lab.sandbox().write(lab.path("work")).run("read_by_spellings", [&pid]);
    assert!(default.value("opened").contains("status"), "nothing would have to be asked for\n{default}");
}

fn what_is_of_the_sandbox_is_opened_by_every_spelling(lab: &Lab) {
    for run in [lab.bare(), looked_at(lab), asked_for(lab), asked_for(lab).option("--bare").read("/usr")] {
        let out = run.run("read_of_child", lab::NONE);
        out.expect("failed", "")
            .expect("own", "ok")
            .expect("thread", "ok")
            .expect("a thread of the child", "ok");
    }
}

/// A link that leads to a process inside and one that leads outside: by a letter, and by another link in its place.
fn a_swapped_path_opens_nothing_of_others(lab: &Lab) {
    let outsider = lab.outsider("outsider's secret");
    symlink("/proc/self/cmdline", lab.path("work/a")).unwrap();
    symlink(format!("/proc/{}/cmdline", outsider.pid()), lab.path("work/b")).unwrap();
    for way in ["letter", "link"] {
        let args = [way.to_owned(), lab.path("work/a").display().to_string(), outsider.pid().to_string()];
        let bare = lab.bare().run("swap_process", &args);
        assert!(bare.value("outside") != "0" && bare.value("own") != "0", "the swap never showed\n{bare}");
        let out = looked_at(lab).run("swap_process", &args);
        assert!(out.value("refused") != "0" && out.value("own") != "0", "the swap never showed\n{out}");
        out.expect("outside", 0);
    }
}

const POWER: [&str; 8] = [
    "/proc/self/mem",
    "/proc/thread-self/mem",
    "/proc/self/pagemap",
    "/proc/self/net/nf_conntrack",
    "/proc/sysvipc/shm",
    "/proc/key-users",
    "/proc/locks",
    "/proc/self/task/1/status",
];

fn what_gives_power_is_not_opened(lab: &Lab) {
    let out = looked_at(lab).run("open_each", POWER);
    for path in POWER {
        out.expect(path, "ENOENT");
    }
    for path in ["/proc/self/comm", "/proc/self/oom_score_adj", "/proc/self/fd/0", "/proc"] {
        looked_at(lab).run("open_each", [path]).expect(path, "ok");
    }
    // For reading only, as ever.
    for path in ["write /proc/self/comm", "write /proc/self/oom_score_adj", "write /proc/sys/kernel/hostname"]
    {
        looked_at(lab).run("open_each", [path]).expect(path, "EACCES");
    }
    // What a person names is granted as it is.
    looked_at(lab).read("/proc").run("open_each", ["/proc/1/status"]).expect("/proc/1/status", "ok");
}

fn a_directory_stays_that_of_its_process(lab: &Lab) {
    for run in [lab.bare(), looked_at(lab)] {
        let out = run.run("dead_child", lab::NONE);
        out.expect("alive", "ok");
        assert!(["ENOENT", "ESRCH"].contains(&out.value("dead")), "{out}");
    }
}

fn what_was_given_up_is_not_opened_on_behalf(lab: &Lab) {
    for run in [&(|| lab.bare()) as &dyn Fn() -> lab::Run, &|| looked_at(lab)] {
        let out = run().run("give_up_proc", lab::NONE);
        for who in ["itself", "child", "orphan", "thread"] {
            out.expect(&format!("{who} before"), "ok").expect(&format!("{who} after"), "EACCES");
        }
        out.expect("parent", "ok").expect("sibling", "ok");
        let out = run().run("give_up_proc", ["adopted"]);
        out.expect("adopted before", "ok").expect("adopted after", "EACCES");
    }
    // By the child of another's: refused, as it would not be known any more.
    looked_at(lab).run("give_up_proc", ["clone"]).expect("clone", "EINVAL");
}

fn string(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

const HERE: usize = libc::AT_FDCWD as usize;

fn open_at(directory: usize, path: &str, flags: i32) -> Result<usize, Errno> {
    raw::call(libc::SYS_openat, &[directory, raw::at(&string(path)[..]), flags as usize])
}

fn open_within(directory: usize, path: &str, resolve: u64) -> Result<usize, Errno> {
    let how = [0, 0, resolve];
    raw::call(libc::SYS_openat2, &[directory, raw::at(&string(path)[..]), raw::at(&how), size_of_val(&how)])
}

fn readable(opened: Result<usize, Errno>) -> Result<usize, Errno> {
    let fd = opened?;
    let mut byte = [0u8; 1];
    let read = raw::call(libc::SYS_read, &[fd, raw::out(&mut byte), 1]);
    raw::close(fd as i32);
    match read {
        Err(Errno(libc::EISDIR)) => Ok(0),
        other => other,
    }
}

/// Every way to a file of a process, by name.
fn ways(pid: &str, file: &str) -> Vec<(&'static str, Result<usize, Errno>)> {
    let path = format!("/proc/{pid}/{file}");
    let handle = |path: &str| open_at(HERE, path, libc::O_PATH);
    let below = |directory: &str, name: &str| open_at(handle(directory)?, name, 0);
    let _ = std::fs::remove_file("way");
    let _ = std::fs::remove_file("directory");
    symlink(&path, "way").unwrap();
    symlink(format!("/proc/self/root/proc/{pid}"), "directory").unwrap();
    let up = "../".repeat(12);
    let mut ways = vec![
        ("plain", open_at(HERE, &path, 0)),
        ("with dots", open_at(HERE, &format!("//proc/./self/../{pid}//{file}"), 0)),
        ("by its thread", open_at(HERE, &format!("/proc/{pid}/task/{pid}/{file}"), 0)),
        ("through a root", open_at(HERE, &format!("/proc/self/root/proc/{pid}/{file}"), 0)),
        (
            "through two roots",
            open_at(HERE, &format!("/proc/thread-self/root/proc/self/root/proc/{pid}/{file}"), 0),
        ),
        ("through a working directory", open_at(HERE, &format!("/proc/self/cwd/{up}proc/{pid}/{file}"), 0)),
        ("relative", open_at(HERE, &format!("{up}proc/{pid}/{file}"), 0)),
        ("by a link", open_at(HERE, "way", 0)),
        ("by a link to its directory", open_at(HERE, &format!("directory/{file}"), 0)),
        ("below /proc", below("/proc", &format!("{pid}/{file}"))),
        ("below /", below("/", &path[1..])),
        ("below its directory", below(&format!("/proc/{pid}"), file)),
        ("below its threads", below(&format!("/proc/{pid}/task"), &format!("{pid}/{file}"))),
        ("up from its threads", below(&format!("/proc/{pid}/task"), &format!("../{file}"))),
        (
            "from /proc opened",
            open_at(HERE, "/proc", libc::O_DIRECTORY).and_then(|fd| open_at(fd, &format!("{pid}/{file}"), 0)),
        ),
        ("by handle", handle(&path).and_then(|fd| open_at(HERE, &format!("/proc/self/fd/{fd}"), 0))),
        ("by handle in /dev", handle(&path).and_then(|fd| open_at(HERE, &format!("/dev/fd/{fd}"), 0))),
        (
            "through a handle",
            handle(&format!("/proc/{pid}"))
                .and_then(|fd| open_at(HERE, &format!("/proc/self/fd/{fd}/{file}"), 0)),
        ),
        ("openat2", open_within(HERE, &path, 0)),
        ("beneath", handle("/proc").and_then(|fd| open_within(fd, &format!("{pid}/{file}"), 0x08))),
        ("beneath itself", handle(&format!("/proc/{pid}")).and_then(|fd| open_within(fd, file, 0x08))),
        ("in root", handle("/").and_then(|fd| open_within(fd, &path, 0x10))),
        ("without links", open_within(HERE, &path, 0x04)),
    ];
    #[cfg(target_arch = "x86_64")]
    ways.push(("open", raw::call(libc::SYS_open, &[raw::at(&string(&path)[..]), 0])));
    let home = std::env::current_dir().unwrap();
    if std::env::set_current_dir("/proc").is_ok() {
        ways.push(("in /proc", open_at(HERE, &format!("{pid}/{file}"), 0)));
    }
    let chdir = handle(&format!("/proc/{pid}")).and_then(|fd| raw::call(libc::SYS_fchdir, &[fd]));
    ways.push(("inside of it", chdir.and_then(|_| open_at(HERE, file, 0))));
    std::env::set_current_dir(home).unwrap();
    ways.into_iter().map(|(way, opened)| (way, readable(opened))).collect()
}

fn report_ways(pid: &str, files: &[&str]) {
    let (mut opened, mut failed) = (Vec::new(), Vec::new());
    for file in files {
        for (way, result) in ways(pid, file) {
            // Those of a thread are not there for directories of a process alone.
            match result {
                Ok(_) => opened.push(format!("{file} {way}")),
                Err(errno) => failed.push(format!("{file} {way} {errno}")),
            }
        }
    }
    report("opened", opened.join(", "));
    report("failed", failed.join(", "));
}

/// `read_by_spellings PID|supervisor|launcher`.
fn read_by_spellings(args: &Args) {
    // Where /proc may not be opened, by what the kernel says without it.
    let parent = || std::os::unix::process::parent_id() as i32;
    let pid = match args.text(0) {
        "supervisor" => parent(),
        // Forked right after it.
        "launcher" => parent() - 1,
        _ => args.get(0),
    };
    report_ways(&pid.to_string(), &FILES);
}

fn waiting_child() -> i32 {
    let child = raw::fork();
    if child == 0 {
        loop {
            raw::call(libc::SYS_pause, &[]).ok();
        }
    }
    child
}

fn end(child: i32) {
    raw::call(libc::SYS_kill, &[child as usize, libc::SIGKILL as usize]).unwrap();
    raw::wait(child);
}

fn read_of_child(_: &Args) {
    let child = waiting_child();
    report_ways(&child.to_string(), &FILES);
    report(
        "a thread of the child",
        shown(readable(open_at(HERE, &format!("/proc/{child}/task/{child}/comm"), 0))),
    );
    end(child);
    report("own", shown(readable(open_at(HERE, "/proc/self/comm", 0))));
    let thread = std::thread::spawn(|| {
        let by_number = format!("/proc/{}/comm", raw::tid());
        readable(open_at(HERE, "/proc/thread-self/comm", 0)).and(readable(open_at(HERE, &by_number, 0)))
    });
    report("thread", shown(thread.join().unwrap()));
}

/// `swap_process letter|link PATH PID`.
fn swap_process(args: &Args) {
    let by_letter = args.text(0) == "letter";
    let path: Vec<AtomicU8> = args.text(1).bytes().chain([0]).map(AtomicU8::new).collect();
    let last = &path[path.len() - 2];
    let own = std::fs::read("/proc/self/cmdline").unwrap();
    let stop = AtomicBool::new(false);
    let (mut inside, mut outside, mut refused) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let there = format!("/proc/{}/cmdline", args.text(2));
            while !stop.load(Ordering::Relaxed) {
                for (letter, target) in [(b'a', "/proc/self/cmdline"), (b'b', &there)] {
                    if by_letter {
                        last.store(letter, Ordering::Relaxed);
                    } else {
                        let _ = std::fs::remove_file("next");
                        let _ = symlink(target, "next");
                        let _ = std::fs::rename("next", args.path(1));
                    }
                }
            }
        });
        let rounds = Rounds::begin();
        while rounds.go_on(inside > SHOWN && outside + refused > SHOWN) {
            let opened = raw::call(libc::SYS_openat, &[HERE, raw::at(&path[..]), 0]);
            let Ok(fd) = opened else {
                refused += 1;
                continue;
            };
            let mut content = vec![0u8; own.len()];
            let len =
                raw::call(libc::SYS_read, &[fd, raw::out(&mut content[..]), content.len()]).unwrap_or(0);
            raw::close(fd as i32);
            if content[..len] == own { inside += 1 } else { outside += 1 }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let _ = std::fs::remove_file(args.path(1));
    let _ = symlink("/proc/self/cmdline", args.path(1));
    for (key, count) in [("own", inside), ("outside", outside), ("refused", refused)] {
        report(key, count);
    }
}

/// `open_each [write ]PATH...`.
fn open_each(args: &Args) {
    for index in 0..args.count() {
        let word = args.text(index);
        let opened = match word.strip_prefix("write ") {
            Some(path) => open_at(HERE, path, libc::O_RDWR),
            None => open_at(HERE, word, 0),
        };
        report(word, shown(opened));
    }
}

fn dead_child(_: &Args) {
    let child = waiting_child();
    let directory = open_at(HERE, &format!("/proc/{child}"), libc::O_DIRECTORY).unwrap();
    report("alive", shown(readable(open_at(directory, "status", 0))));
    end(child);
    report("dead", shown(readable(open_at(directory, "status", 0))));
}

/// Landlock, whose one rule is that `/dev` may be read.
fn give_up() {
    let attributes = [4u64];
    let ruleset = raw::call(libc::SYS_landlock_create_ruleset, &[raw::at(&attributes), 8, 0]).unwrap();
    raw::call(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as usize, 1]).unwrap();
    raw::call(libc::SYS_landlock_restrict_self, &[ruleset, 0]).unwrap();
}

fn own_status() -> String {
    shown(readable(open_at(HERE, "/proc/self/status", 0)))
}

/// In a process of its own.
fn apart(act: impl FnOnce()) {
    let child = raw::fork();
    if child == 0 {
        act();
        raw::exit(0);
    }
    raw::wait(child);
}

/// An orphan of one that gave `/proc` up: whoever adopts it did not.
fn orphan(who: &str) {
    apart(|| {
        report(format!("{who} before"), own_status());
        give_up();
        let (mut ends, mut done) = ([0i32; 2], [0u8; 1]);
        raw::call(libc::SYS_pipe2, &[raw::out(&mut ends), 0]).unwrap();
        apart(|| {
            let parent = std::process::id();
            if raw::fork() == 0 {
                while std::os::unix::process::parent_id() == parent {
                    std::thread::yield_now();
                }
                report(format!("{who} after"), own_status());
                raw::exit(0);
            }
        });
        raw::close(ends[1]);
        // The orphan holds the other end.
        let _ = raw::call(libc::SYS_read, &[ends[0] as usize, raw::out(&mut done), 1]);
    });
}

/// `give_up_proc [clone|adopted]`.
fn give_up_proc(args: &Args) {
    if args.count() > 0 && args.text(0) == "adopted" {
        // By a process of the sandbox instead of its supervisor: whose child it was cannot be told.
        raw::call(libc::SYS_prctl, &[libc::PR_SET_CHILD_SUBREAPER as usize, 1, 0, 0, 0]).unwrap();
        return orphan("adopted");
    }
    if args.count() > 0 {
        let flags = (libc::CLONE_PARENT | libc::SIGCHLD) as usize;
        let cloned = raw::call(libc::SYS_clone, &[flags, 0, 0, 0, 0]);
        if cloned == Ok(0) {
            raw::exit(0);
        }
        return report("clone", shown(cloned));
    }
    apart(|| {
        report("itself before", own_status());
        give_up();
        report("itself after", own_status());
    });
    apart(|| {
        report("child before", own_status());
        give_up();
        apart(|| report("child after", own_status()));
    });
    orphan("orphan");
    apart(|| {
        let thread = std::thread::spawn(|| {
            report("thread before", own_status());
            give_up();
            report("thread after", own_status());
        });
        thread.join().unwrap();
    });
    report("parent", own_status());
    apart(|| report("sibling", own_status()));
}

/// How often each side must have shown before a race counts as run.
const SHOWN: u32 = 20;
