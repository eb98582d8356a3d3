//! Limits, priorities, schedulers and processors of every process of the same user can be changed by number: enough to
//! stall the supervisor or to break an outsider.

use lab::{Args, Lab, Outsider, raw, report, shown};

lab::suite! {
    tests: [nothing_outside_is_changed, the_own_and_ones_children_are],
    programs: [change],
}

const ACTS: [&str; 7] = [
    "prlimit64",
    "setpriority",
    "sched_setaffinity",
    "sched_setscheduler",
    "sched_setparam",
    "sched_setattr",
    "ioprio_set",
];

fn nothing_outside_is_changed(lab: &Lab) {
    let subject = lab.outsider("");
    let bare = lab.bare().run("change", [&subject.pid().to_string()]);
    ACTS.iter().for_each(|act| _ = bare.expect(act, "ok"));
    assert!(state_of(&subject) != state_of(&lab.outsider("")), "nothing was changed");

    let outsider = lab.outsider("");
    let before = state_of(&outsider);
    for options in [vec![], vec!["--landlock-at-most", "1"], vec!["--kernel-only"]] {
        for target in [&outsider.pid().to_string(), "parent"] {
            let out = lab.sandbox().options(&options).run("change", [target]);
            for act in ACTS.iter().copied().chain(["priority of group", "priority of user", "ioprio of user"])
            {
                out.expect(act, "EPERM");
            }
            out.expect("prlimit64 with garbage above", "EPERM");
        }
    }
    assert_eq!(state_of(&outsider), before);
}

fn the_own_and_ones_children_are(lab: &Lab) {
    for target in ["self", "zero", "child"] {
        let out = lab.sandbox().run("change", [target]);
        ACTS.iter().for_each(|act| _ = out.expect(act, "ok"));
    }
}

/// Limits, niceness (field 19 of stat, 17 behind the name) and processors.
fn state_of(outsider: &Outsider) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", outsider.pid())).unwrap();
    let (stat, status) = (read("stat"), read("status"));
    let after = stat.rsplit(')').next().unwrap();
    let fields: Vec<_> = after.split_whitespace().collect();
    let allowed = status.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap().to_owned();
    // Priority, niceness, policy.
    format!("{}{} {} {} {allowed}", read("limits"), fields[15], fields[16], fields[38])
}

/// `change PID|self|zero|child|parent`.
fn change(args: &Args) {
    let own = std::process::id() as i32;
    let child = if args.text(0) == "child" { raw::fork() } else { -1 };
    if child == 0 {
        std::thread::sleep(std::time::Duration::from_secs(5));
        raw::exit(0);
    }
    let target = match args.text(0) {
        "self" => own,
        "zero" => 0,
        "child" => child,
        "parent" => std::os::unix::process::parent_id() as i32,
        pid => pid.parse().unwrap(),
    } as usize;
    change_all(target);
    if child > 0 {
        raw::call(libc::SYS_kill, &[child as usize, 9]).unwrap();
        raw::wait(child);
    }
}

fn change_all(target: usize) {
    let act = |name: &str, number, words: &[usize]| report(name, shown(raw::call(number, words)));
    let limit = libc::rlimit { rlim_cur: 100, rlim_max: 100 };
    let files = libc::RLIMIT_NOFILE as usize;
    act("prlimit64 with garbage above", libc::SYS_prlimit64, &[target | 1 << 40, files, raw::at(&limit), 0]);
    act("prlimit64", libc::SYS_prlimit64, &[target, files, raw::at(&limit), 0]);
    act("setpriority", libc::SYS_setpriority, &[libc::PRIO_PROCESS as usize, target, 5]);
    // As cheap as it gets, should it succeed.
    let user = raw::euid() as usize;
    if target > 1 && target != std::process::id() as usize && std::env::var_os("LAB_SECRET").is_none() {
        act("priority of group", libc::SYS_setpriority, &[libc::PRIO_PGRP as usize, 0, 0]);
        act("priority of user", libc::SYS_setpriority, &[libc::PRIO_USER as usize, user, 0]);
        act("ioprio of user", libc::SYS_ioprio_set, &[3, user, 2 << 13 | 4]);
    }
    act("sched_setaffinity", libc::SYS_sched_setaffinity, &[target, 8, raw::at(&1u64)]);
    let parameter = 0i32;
    let batch = libc::SCHED_BATCH as usize;
    act("sched_setscheduler", libc::SYS_sched_setscheduler, &[target, batch, raw::at(&parameter)]);
    act("sched_setparam", libc::SYS_sched_setparam, &[target, raw::at(&parameter)]);
    // `struct sched_attr`: size, policy, flags, nice.
    let mut attributes = [0u32; 12];
    attributes[..2].copy_from_slice(&[48, libc::SCHED_BATCH as u32]);
    attributes[4] = 6;
    act("sched_setattr", libc::SYS_sched_setattr, &[target, raw::at(&attributes), 0]);
    act("ioprio_set", libc::SYS_ioprio_set, &[1, target, 2 << 13 | 5]);
}
