//! A signal ends or stops whatever it reaches: the supervisor, the launcher, any process of the same user.

use lab::{Args, Lab, raw, report, shown};

lab::suite! {
    tests: [no_call_signals_an_outsider, a_group_is_signalled_inside_only, signals_inside_work],
    programs: [signal_all_ways, signal_group, signal_inside],
}

const WAYS: [&str; 7] =
    ["kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal", "fcntl"];

fn no_call_signals_an_outsider(lab: &Lab) {
    for way in WAYS {
        let mut outsider = lab.outsider("");
        lab.bare().run("signal_all_ways", [way, &outsider.pid().to_string()]).expect(way, "ok");
        while outsider.is_alive() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    let mut outsider = lab.outsider("");
    for version in [1, 5, 7] {
        for way in WAYS {
            for target in [&outsider.pid().to_string(), "supervisor", "launcher"] {
                let out = lab
                    .sandbox()
                    .options(["--landlock-at-most", &version.to_string()])
                    .run("signal_all_ways", [way, target]);
                // The kernel sends these without telling whether it did.
                if way != "fcntl" {
                    assert!(["EPERM", "ENOSYS"].contains(&out.value(way)), "{way} to {target}\n{out}");
                }
                out.expect("survived", "yes").expect_code(0);
                assert!(outsider.is_alive(), "{way} reached an outsider\n{out}");
            }
        }
    }
}

/// The launcher, and whoever started it, may be in the same process group.
fn a_group_is_signalled_inside_only(lab: &Lab) {
    let bare = lab.bare().own_group().run("signal_group", ["-"]);
    assert_eq!(bare.code(), 128 + 15, "{bare}");
    for version in ["5", "7"] {
        let out =
            lab.sandbox().own_group().options(["--landlock-at-most", version]).run("signal_group", ["-"]);
        // The launcher lives to tell: it was not signalled itself.
        assert!(out.status.code().is_some(), "{out}");
    }
}

fn signals_inside_work(lab: &Lab) {
    for version in 1..=7 {
        let options = ["--landlock-at-most", &version.to_string()];
        lab.sandbox().options(options).run("signal_inside", ["-"]).expect("child", 15).expect("self", "ok");
    }
}

/// `signal_all_ways WAY PID|supervisor|launcher`: SIGTERM.
fn signal_all_ways(args: &Args) {
    let parent = |pid: String| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned()
    };
    let target = match args.text(1) {
        "supervisor" => parent("self".to_owned()),
        "launcher" => parent(parent("self".to_owned())),
        pid => pid.to_owned(),
    };
    let (pid, signal): (usize, usize) = (target.parse().unwrap(), libc::SIGTERM as usize);
    // `siginfo_t` with SI_QUEUE, which may be sent to others.
    let mut info = [0i32; 32];
    info[0] = libc::SIGTERM;
    info[2] = -1;
    let info = raw::at(&info);
    let done = match args.text(0) {
        "kill" => raw::call(libc::SYS_kill, &[pid, signal]),
        "tkill" => raw::call(libc::SYS_tkill, &[pid, signal]),
        "tgkill" => raw::call(libc::SYS_tgkill, &[pid, pid, signal]),
        "rt_sigqueueinfo" => raw::call(libc::SYS_rt_sigqueueinfo, &[pid, signal, info]),
        "rt_tgsigqueueinfo" => raw::call(libc::SYS_rt_tgsigqueueinfo, &[pid, pid, signal, info]),
        "pidfd_send_signal" => {
            let handle = raw::call(libc::SYS_pidfd_open, &[pid, 0]).unwrap();
            raw::call(libc::SYS_pidfd_send_signal, &[handle, signal, 0, 0])
        }
        // Readiness of a descriptor signals its owner, by whatever signal was chosen.
        _ => by_descriptor(pid, signal),
    };
    report(args.text(0), shown(done));
    std::thread::sleep(std::time::Duration::from_millis(5));
    report("survived", "yes");
}

fn by_descriptor(pid: usize, signal: usize) -> Result<usize, lab::Errno> {
    let mut ends = [0i32; 2];
    raw::call(libc::SYS_pipe2, &[raw::out(&mut ends), 0])?;
    let [reader, writer] = ends.map(|end| end as usize);
    let fcntl = |command: i32, value: usize| raw::call(libc::SYS_fcntl, &[reader, command as usize, value]);
    fcntl(libc::F_SETOWN, pid)?;
    fcntl(10, signal)?; // F_SETSIG
    fcntl(libc::F_SETFL, libc::O_ASYNC as usize)?;
    raw::call(libc::SYS_write, &[writer, raw::at(b"x"), 1])
}

fn signal_group(_: &Args) {
    report("group", shown(raw::call(libc::SYS_kill, &[0, libc::SIGTERM as usize])));
}

fn signal_inside(_: &Args) {
    let child = raw::fork();
    if child == 0 {
        loop {
            std::thread::sleep(std::time::Duration::from_secs(10));
        }
    }
    raw::call(libc::SYS_kill, &[child as usize, libc::SIGTERM as usize]).unwrap();
    report("child", raw::wait(child) & 0x7f);
    report("self", shown(raw::call(libc::SYS_kill, &[std::process::id() as usize, 0])));
}
