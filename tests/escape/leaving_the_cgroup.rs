//! Whoever limits a run by a cgroup, sandlock itself or somebody around it, counts on it to stay there. A program that may
//! write into the file system of cgroups moves where it likes; who owns the files may. Without a word of the person nobody
//! does; and where the person gave that word, limits are kept by who does not ask where a process is.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use lab::{Args, Cgroups, Errno, Lab, Run, raw, report, shown};

lab::suite! {
    tests: [
        nothing_moves_to_another_cgroup,
        all_of_a_tree_stays_where_it_was_started,
        limits_hold_wherever_a_process_goes,
        no_release_agent_is_set,
    ],
    programs: [move_away, move_and_fork, move_and_grow, set_release_agent],
}

const WAYS: [&str; 6] = [
    "processes",
    "processes by number",
    "one below",
    "by a descriptor of the directory",
    "by the root in proc",
    "a child into it",
];

const REFUSED: [&str; 4] = ["EACCES", "EPERM", "EROFS", "ENOSYS"];

fn nothing_moves_to_another_cgroup(lab: &Lab) {
    let Some(cgroups) = lab.cgroups() else {
        return;
    };
    let root = lab.system("root");
    let words = |way: &str| [way.into(), cgroups.first().into_os_string(), cgroups.other().into_os_string()];
    let mounted = || lab.sandbox().in_root(&root).mount("/cgroup", cgroups.above(), ":ro");
    for way in WAYS {
        let bare = lab.bare().within(&cgroups.first()).run("move_away", words(way));
        bare.expect("moved", "ok");
        assert_ne!(bare.value("is in"), "first", "{bare}");
        let _ = fs::remove_dir(cgroups.first().join("below"));
        let runs: [Run; 5] = [
            lab.sandbox(),
            lab.sandbox().read("/"),
            lab.sandbox().write(lab.path("work")).read(cgroups.above()),
            lab.sandbox().option("--kernel-only"),
            // Where they are seen at the same path, and can only be read.
            lab.sandbox().in_root(&root).write("/"),
        ];
        for run in runs {
            let out = run.within(&cgroups.first()).run("move_away", words(way));
            assert!(REFUSED.contains(&out.value("moved")), "{way}\n{out}");
            out.expect("is in", "first");
        }
        let words = [way, "/cgroup/first", "/cgroup/other"];
        let out = mounted().within(&cgroups.first()).run("move_away", words);
        assert!(REFUSED.contains(&out.value("moved")), "{way}\n{out}");
        out.expect("is in", "first");
    }
    // What the person grants.
    let out = lab.sandbox().write(cgroups.above()).within(&cgroups.first());
    out.run("move_away", words("processes")).expect("moved", "ok").expect("is in", "other");
}

/// `move_away WAY FROM TO`.
fn move_away(args: &Args) {
    let (from, to) = (args.path(1), args.path(2));
    let into = |cgroup: &Path, what: &str| io(fs::write(cgroup.join("cgroup.procs"), what));
    let moved = match args.text(0) {
        "processes" => into(to, "0"),
        "processes by number" => into(to, &std::process::id().to_string()),
        "one below" => {
            io(fs::create_dir_all(from.join("below"))).and_then(|()| into(&from.join("below"), "0"))
        }
        "by a descriptor of the directory" => io(fs::File::open(to))
            .and_then(|directory| into(Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())), "0")),
        "by the root in proc" => into(&Path::new("/proc/self/root").join(to.strip_prefix("/").unwrap()), "0"),
        _ => io(fs::File::open(to)).and_then(|directory| {
            // `struct clone_args`: flags, exit signal, cgroup. CLONE_INTO_CGROUP.
            let mut arguments = [0u64; 11];
            (arguments[0], arguments[4]) = (0x2_0000_0000, libc::SIGCHLD as u64);
            arguments[10] = directory.as_raw_fd() as u64;
            match raw::call(libc::SYS_clone3, &[raw::at(&arguments), 88])? {
                0 => {
                    report("is in", own_cgroup());
                    raw::exit(0)
                }
                child => _ = raw::wait(child as i32),
            }
            Ok(())
        }),
    };
    if args.text(0) != "a child into it" || moved.is_err() {
        report("is in", own_cgroup());
    }
    report("moved", shown(moved));
}

/// The last name of its path.
fn own_cgroup() -> String {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    own.rsplit('/').next().unwrap().to_owned()
}

/// Orphans, sessions, what runs on in the background: the kernel's word, from outside.
fn all_of_a_tree_stays_where_it_was_started(lab: &Lab) {
    let Some(cgroups) = lab.cgroups() else {
        return;
    };
    let root = lab.system("root");
    let line = "(setsid sleep 60 &) ; sleep 60 & nohup sh -c 'sleep 60; :' >/dev/null 2>&1 & \
                trap '' HUP TERM; echo ready=yes; read go; kill -9 0";
    for run in [lab.sandbox(), lab.sandbox().in_root(&root)] {
        let run = run.within(&cgroups.first()).own_group().input_pipe();
        let mut run = run.command("/bin/sh", ["-c", line]).start();
        run.wait_for("ready");
        // Launcher, supervisor, and at least a shell and three that sleep, of which one has a shell of its own.
        wait_until(&cgroups, |count| count >= 7);
        assert!(Cgroups::processes(&cgroups.other()).is_empty());
        run.send("go\n");
        run.finish();
        // The supervisor goes a moment after it has told the launcher.
        wait_until(&cgroups, |count| count == 0);
    }
}

fn wait_until(cgroups: &Cgroups, is_so: fn(usize) -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let there = Cgroups::processes(&cgroups.first());
        if is_so(there.len()) {
            return;
        }
        assert!(std::time::Instant::now() < until, "{there:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where the command may write into the hierarchy no limit is left to a cgroup of the run's own.
fn limits_hold_wherever_a_process_goes(lab: &Lab) {
    let Some(cgroups) = lab.cgroups() else {
        return;
    };
    let root = lab.system("root");
    let other = cgroups.other().into_os_string();
    let in_root = || lab.sandbox().in_root(&root).mount("/cgroup", cgroups.above(), "");
    for kind in ["place", "all", "root"] {
        let run = |limit: [&str; 2]| {
            let run = match kind {
                "place" => lab.sandbox().write(cgroups.above()),
                "all" => lab.sandbox().write("/"),
                _ => in_root(),
            };
            run.options(limit).within(&cgroups.first())
        };
        let to = if kind == "root" { "/cgroup/other".into() } else { other.clone() };
        let out = run(["-P", "6"]).run("move_and_fork", [&to]);
        out.expect("is in", "other").expect("born", 5).expect("refused", "EAGAIN");
        let out = run(["-m", "100M"]).run("move_and_grow", [&to]);
        out.expect("is in", "other").expect_code(128 + libc::SIGKILL);
        assert_eq!(out.find("reached"), None, "{out}");
        out.expect_said("was ended: it used more memory than it may (--memory 100M)\n");
    }
    let run = |name| lab.bare().within(&cgroups.first()).run(name, [&other]);
    run("move_and_fork").expect("born", 20).expect("is in", "other");
    run("move_and_grow").expect("reached", 200).expect("is in", "other");
}

/// `move_and_fork TO`.
fn move_and_fork(args: &Args) {
    fs::write(args.path(0).join("cgroup.procs"), "0").unwrap();
    report("is in", own_cgroup());
    let mut children = Vec::new();
    while children.len() < 20 {
        match raw::call(libc::SYS_clone, &[libc::SIGCHLD as usize, 0, 0, 0, 0]) {
            Ok(0) => loop {
                std::thread::park();
            },
            Ok(child) => children.push(child),
            Err(errno) => {
                report("refused", errno);
                break;
            }
        }
    }
    report("born", children.len());
    for child in children {
        raw::call(libc::SYS_kill, &[child, libc::SIGKILL as usize]).unwrap();
    }
}

/// `move_and_grow TO`: to 200 MiB.
fn move_and_grow(args: &Args) {
    fs::write(args.path(0).join("cgroup.procs"), "0").unwrap();
    report("is in", own_cgroup());
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(std::hint::black_box(vec![1u8; 1 << 20]));
        std::thread::sleep(Duration::from_millis(2));
    }
    report("reached", held.len());
}

/// In hierarchies of version 1 the kernel executes a program of the machine, as root, when a cgroup is empty.
fn no_release_agent_is_set(lab: &Lab) {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let agents = hierarchies.map(|one| one.path().join("release_agent")).filter(|agent| agent.exists());
    // The same that is there already.
    for agent in agents.take(3) {
        let bare = lab.bare().run("set_release_agent", [&agent]);
        bare.expect("set", if lab.user().is_root() { "ok" } else { "EACCES" });
        for options in [&[][..], &["-w", "/sys/fs/cgroup"], &["-w", "/"]] {
            let out = lab.sandbox().options(options).run("set_release_agent", [&agent]);
            assert!(["EACCES", "EPERM"].contains(&out.value("set")), "{out}");
        }
    }
}

/// `set_release_agent FILE`.
fn set_release_agent(args: &Args) {
    let set = fs::read(args.path(0)).and_then(|content| fs::write(args.path(0), content));
    report("set", shown(io(set)));
}

fn io<T>(result: std::io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| Errno::from(&error))
}
