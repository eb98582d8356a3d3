//! The kernel lets every process choose its processors anew, so a program that was put on one could go to all. It
//! chooses among those that it may use, in every spelling, for itself and for its children.

use lab::{Args, Lab, raw, report, shown};

lab::suite! {
    tests: [nobody_leaves_the_processors_of_the_run, a_choice_among_them_is_free],
    programs: [choose_processors],
}

fn nobody_leaves_the_processors_of_the_run(lab: &Lab) {
    let all = own();
    let (Some(first), true) = (all.first(), all.len() > 1) else {
        // One processor: there is nowhere to go.
        return;
    };
    let last = all.last().unwrap();
    for target in ["zero", "self", "thread", "child"] {
        let bare = lab.bare().run("choose_processors", [target, &last.to_string()]);
        bare.expect("one", "ok").expect("now", format!("[{last}]"));
        let inside = |flag: &str| lab.sandbox().options(["--cpus", &first.to_string()]).option(flag);
        let out = lab.sandbox().options(["--cpus", &first.to_string()]);
        let out = out.run("choose_processors", [target, &last.to_string()]);
        // As in a cpuset.
        out.expect("one", "EINVAL").expect("all", "ok").expect("now", format!("[{first}]"));
        out.expect("long mask", "ok").expect("no mask", "EFAULT");
        out.expect("still", format!("[{first}]"));
        let out = inside("--kernel-only").run("choose_processors", [target, &last.to_string()]);
        out.expect("one", "EPERM").expect("all", "EPERM").expect("still", format!("[{first}]"));
    }
    let out = lab.sandbox().options(["--cpus", &first.to_string()]).command("nproc", lab::NONE).output();
    assert_eq!(out.expect_code(0).stdout.trim(), "1", "{out}");
}

fn a_choice_among_them_is_free(lab: &Lab) {
    let all = own();
    let last = all.last().unwrap().to_string();
    let list = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    for target in ["zero", "self", "thread", "child"] {
        let out = lab.sandbox().options(["--cpus", &list]).run("choose_processors", [target, &last]);
        out.expect("one", "ok").expect("now", format!("[{last}]")).expect("all", "ok");
    }
    let out = lab.sandbox().options(["--cpus", "1023"]).sh("true");
    out.expect_code(125).expect_said("--cpus 1023: processor 1023 is not one that this process may run on");
}

/// The processors of this process.
fn own() -> Vec<usize> {
    of(0)
}

fn of(target: usize) -> Vec<usize> {
    let mut mask = [0u8; 128];
    let len = raw::call(libc::SYS_sched_getaffinity, &[target, 128, raw::out(&mut mask)]).unwrap();
    (0..len * 8).filter(|number| mask[number / 8] & (1 << (number % 8)) != 0).collect()
}

/// `choose_processors zero|self|thread|child NUMBER`.
fn choose_processors(args: &Args) {
    let number: usize = args.get(1);
    let child = if args.text(0) == "child" { raw::fork() } else { -1 };
    if child == 0 {
        std::thread::sleep(std::time::Duration::from_secs(5));
        raw::exit(0);
    }
    let target = match args.text(0) {
        "zero" => 0,
        "child" => child as usize,
        "thread" => return std::thread::spawn(move || choose(raw::tid() as usize, number)).join().unwrap(),
        _ => std::process::id() as usize,
    };
    choose(target, number);
    if child > 0 {
        raw::call(libc::SYS_kill, &[child as usize, 9]).unwrap();
        raw::wait(child);
    }
}

fn choose(target: usize, number: usize) {
    let set = |mask: &[u8]| raw::call(libc::SYS_sched_setaffinity, &[target, mask.len(), raw::at(mask)]);
    let mut one = [0u8; 128];
    one[number / 8] = 1 << (number % 8);
    let chosen = set(&one);
    report("one", shown(chosen));
    if chosen.is_err() {
        report("all", shown(set(&[0xff; 128])));
        report("now", format!("{:?}", of(target)));
    } else {
        report("now", format!("{:?}", of(target)));
        report("all", shown(set(&[0xff; 128])));
    }
    report("long mask", shown(set(&[0xff; 4096])));
    let none = raw::call(libc::SYS_sched_setaffinity, &[target, 128, 0]);
    report("no mask", shown(none));
    report("still", format!("{:?}", of(target)));
}
