//! In a root of its own a program sees no process but its own, and none outlives the run, whoever is killed.

use std::fs;
use std::time::{Duration, Instant};

use lab::{Args, Lab, NONE, raw, report, shown};

lab::suite! {
    tests: [only_its_own_processes_are_there, all_end_with_the_supervisor],
    programs: [look_at_processes, leave_a_daemon],
}

fn only_its_own_processes_are_there(lab: &Lab) {
    let mut outsider = lab.outsider("a secret of the environment");
    let pid = outsider.pid().to_string();
    let bare = lab.bare().run("look_at_processes", [&pid]);
    bare.expect("others", "seen")
        .expect("of the outsider", "a secret of the environment")
        .expect("signal", "ok");
    let root = lab.system("root");
    for options in [&[][..], &["--uid", "0", "--gid", "0"]] {
        let run = lab.sandbox().in_root(&root).options(options).env("LAB_SECRET", "of the launcher");
        let out = run.option("--clean-env").run("look_at_processes", [&pid]);
        out.expect("of the outsider", "ENOENT").expect("signal", "ESRCH");
        // The supervisor is the first process, and like one of somebody else.
        out.expect("environment of the parent", "none").expect("memory of the parent", "none");
        // Its number may be seen by who is of root's group (see the limits), and no more than that.
        if options.is_empty() || !lab.user().is_root() {
            out.expect("others", "none");
        }
        out.expect("signal to all", "ok");
        assert!(outsider.is_alive(), "{out}");
    }
}

fn look_at_processes(args: &Args) {
    let own = std::process::id();
    let others = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok().filter(|pid| *pid != own));
    report("others", if others.count() > 0 { "seen" } else { "none" });
    let of_outsider = match fs::read(format!("/proc/{}/environ", args.text(0))) {
        Ok(environment) => environment
            .split(|byte| *byte == 0)
            .find_map(|variable| {
                Some(String::from_utf8_lossy(variable.strip_prefix(b"LAB_SECRET=")?).into_owned())
            })
            .unwrap_or_default(),
        Err(error) => lab::Errno::from(&error).to_string(),
    };
    report("of the outsider", of_outsider);
    let parent = std::os::unix::process::parent_id();
    for (name, file) in [("environment of the parent", "environ"), ("memory of the parent", "mem")] {
        let read = fs::File::open(format!("/proc/{parent}/{file}"));
        report(name, if read.is_ok() { "opened" } else { "none" });
    }
    report("signal", shown(raw::call(libc::SYS_kill, &[args.get(0), 0]).map(drop)));
    if own == 2 || parent == 1 {
        let child = raw::fork();
        if child == 0 {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        report("signal to all", shown(raw::call(libc::SYS_kill, &[-1isize as usize, 9]).map(drop)));
    }
}

fn all_end_with_the_supervisor(lab: &Lab) {
    let root = lab.system("root");
    let mut run = lab.sandbox().in_root(&root).program("leave_a_daemon", NONE).start();
    run.wait_for("ready");
    let launcher = run.pid();
    let children = |pid: i32| -> Vec<i32> {
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        list.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect()
    };
    let supervisor = children(launcher)[0];
    let tree = children(supervisor);
    assert!(tree.len() >= 2, "the command, and the daemon that was adopted: {tree:?}");
    raw::call(libc::SYS_kill, &[supervisor as usize, 9]).unwrap();
    let out = run.finish();
    out.expect_code(125).expect_said("the supervisor died");
    let limit = Instant::now() + Duration::from_secs(1);
    let alive = |pid: &i32| fs::metadata(format!("/proc/{pid}")).is_ok();
    while tree.iter().any(alive) {
        assert!(Instant::now() < limit, "{tree:?}\n{out}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process in a session of its own, which nobody waits for, and this one.
fn leave_a_daemon(_: &Args) {
    if raw::fork() == 0 {
        let _ = raw::call(libc::SYS_setsid, &[]);
        if raw::fork() == 0 {
            report("ready", "yes");
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        raw::exit(0);
    }
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}
