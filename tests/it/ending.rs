//! How a run ends: signals reach the command, and nobody is left. See `escape/orphans.rs` for what resists.

use std::time::Duration;

use lab::{Args, Errno, Lab, TcpServer, raw, report, shown};

lab::suite! {
    tests: [
        a_signal_to_sandlock_is_the_commands,
        a_time_out_asks_first,
        a_grace_is_as_long_as_it_is_said_to_be,
        what_runs_in_the_background_is_waited_for_when_it_is_to_be_kept,
        signals_and_time_outs_reach_what_was_kept,
        without_its_supervisor_trapped_calls_fail,
        the_end_of_the_command_is_the_end,
        a_command_with_a_group_or_session_of_its_own_ends_too,
        nobody_has_to_be_reaped_by_who_adopts,
    ],
    programs: [connect_on_and_on, leave_the_group, adopt],
}

/// The first process of a container adopts, and reaps nobody as a rule: what a run leaves to it would be there for ever.
fn nobody_has_to_be_reaped_by_who_adopts(lab: &Lab) {
    let sandlock = lab.sandbox().binaries().join("sandlock");
    for line in ["exit 3", "sleep 60 & setsid sleep 60 & exit 3"] {
        let run = lab.bare().program("adopt", [sandlock.as_os_str()]);
        run.arguments(["run", "--", "sh", "-c", line]).output().expect("left", "nobody").expect_code(0);
    }
    // The look finds who is left.
    lab.bare().program("adopt", ["/bin/sh", "-c", "true & exit 3"]).output().expect("left", "somebody");
}

/// `adopt COMMAND...`: runs it, waits for that alone, and says whether it left somebody.
fn adopt(args: &Args) {
    raw::call(libc::SYS_prctl, &[libc::PR_SET_CHILD_SUBREAPER as usize, 1]).unwrap();
    let mut command = std::process::Command::new(args.os(0));
    command.args((1..args.count()).map(|index| args.os(index)));
    assert_eq!(command.status().unwrap().code(), Some(3));
    let mut status = 0;
    let words = [usize::MAX, raw::out(&mut status), (libc::WNOHANG | libc::__WALL) as usize, 0];
    let nobody = raw::call(libc::SYS_wait4, &words) == Err(Errno(libc::ECHILD));
    report("left", if nobody { "nobody" } else { "somebody" });
}

fn a_signal_to_sandlock_is_the_commands(lab: &Lab) {
    for (signal, name) in
        [(libc::SIGTERM, "TERM"), (libc::SIGINT, "INT"), (libc::SIGHUP, "HUP"), (libc::SIGUSR1, "USR1")]
    {
        let line =
            format!("trap 'echo caught={name}; exit 3' {name}; echo ready=yes; while :; do sleep 0.05; done");
        let mut run = lab.sandbox().command("/bin/sh", ["-c", &line]).start();
        run.wait_for("ready");
        run.signal(signal);
        run.finish().expect("caught", name).expect_code(3);
        let mut run = lab.sandbox().command("/bin/sh", ["-c", "echo ready=yes; exec sleep 10"]).start();
        run.wait_for("ready");
        run.signal(signal);
        run.finish().expect_code(128 + signal);
    }
}

fn a_time_out_asks_first(lab: &Lab) {
    let out = lab.sandbox().options(["-t", "0.2"]).sh("trap 'echo asked=yes; exit 0' TERM; sleep 5 & wait");
    out.expect("asked", "yes").expect_code(124);
    // Who does not listen is ended.
    lab.sandbox().options(["-t", "200ms"]).sh("trap '' TERM; sleep 8; sleep 8").expect_code(124);
}

fn a_grace_is_as_long_as_it_is_said_to_be(lab: &Lab) {
    // Longer than the usual second.
    let line = "trap 'sleep 1.6; echo cleaned=up; exit 0' TERM; echo ready=yes; sleep 8 & wait";
    let run = |options: &[&str]| lab.sandbox().options(["-t", "0.3"]).options(options).sh(line);
    run(&["--grace", "10s"]).expect("cleaned", "up").expect_code(124);
    for options in [&[][..], &["--grace", "0"]] {
        let out = run(options);
        assert_eq!(out.find("cleaned"), None, "{out}");
        out.expect_code(124);
    }
    lab.sandbox().options(["--grace", "1s"]).sh("true").expect_code(125).expect_said("--timeout");
}

fn what_runs_in_the_background_is_waited_for_when_it_is_to_be_kept(lab: &Lab) {
    let late = lab.path("work/late");
    let line = format!("(setsid sh -c 'sleep 0.4; touch {}' &) & exit 3", late.display());
    lab.sandbox().write(lab.path("work")).option("--keep-background").sh(&line).expect_code(3);
    assert!(late.exists());
    std::fs::remove_file(&late).unwrap();
    // Nothing is left: nothing is waited for.
    lab.sandbox().option("--keep-background").sh("sleep 0.1 & wait; kill -TERM $$").expect_code(128 + 15);
    let said = "--kernel-only cannot enforce --keep-background";
    lab.sandbox()
        .options(["--kernel-only", "--keep-background"])
        .sh("true")
        .expect_code(125)
        .expect_said(said);
}

fn signals_and_time_outs_reach_what_was_kept(lab: &Lab) {
    let line = "trap 'echo caught=background; exit' TERM; echo ready=yes; while :; do sleep 0.05; done";
    let background = format!("setsid sh -c '{}' & exit 5", line.replace('\'', "'\\''"));
    let sandbox = || lab.sandbox().option("--keep-background");
    let mut run = sandbox().command("/bin/sh", ["-c", &background]).start();
    run.wait_for("ready");
    std::thread::sleep(Duration::from_millis(100));
    run.signal(libc::SIGTERM);
    run.finish().expect("caught", "background").expect_code(5);
    let out = sandbox().options(["-t", "0.4"]).sh(&background);
    out.expect("caught", "background").expect_code(124);
    sandbox()
        .options(["-t", "0.2", "--grace", "0.1"])
        .sh("(trap '' TERM; sleep 8; sleep 8) & exit 5")
        .expect_code(124);
}

fn the_end_of_the_command_is_the_end(lab: &Lab) {
    let late = lab.path("work/late");
    let line = format!("(sleep 0.4; touch {}) & exit 0", late.display());
    lab.sandbox().write(lab.path("work")).sh(&line).expect_code(0);
    std::thread::sleep(Duration::from_millis(600));
    assert!(!late.exists());
}

/// As interactive shells do.
fn a_command_with_a_group_or_session_of_its_own_ends_too(lab: &Lab) {
    for what in ["group", "session"] {
        lab.sandbox().run("leave_the_group", [what]).expect("left", what).expect_code(0);
    }
}

fn leave_the_group(args: &Args) {
    let (call, words) = match args.text(0) {
        "group" => (libc::SYS_setpgid, [0, 0]),
        _ => (libc::SYS_setsid, [0, 0]),
    };
    raw::call(call, &words).unwrap();
    report("left", args.text(0));
}

/// The supervisor stops answering; nobody else lets the call through.
fn without_its_supervisor_trapped_calls_fail(lab: &Lab) {
    let (allowed, other) = (TcpServer::v4(), TcpServer::v4());
    let args = [allowed.rule(), other.rule()];
    let mut run = lab.sandbox().allow(allowed.rule()).program("connect_on_and_on", &args).start();
    run.wait_for("first");
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.pid())).unwrap();
    let supervisor: i32 = children.trim().parse().unwrap();
    raw::call(libc::SYS_kill, &[supervisor as usize, libc::SIGKILL as usize]).unwrap();
    let out = run.finish();
    out.expect_code(125);
    assert_eq!(other.saw(), [], "{out}");
}

/// `connect_on_and_on ALLOWED OTHER`.
fn connect_on_and_on(args: &Args) {
    let connect = |index: usize| {
        let to: std::net::SocketAddr = args.get(index);
        let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        let done = raw::connect(socket, &raw::internet(to));
        raw::close(socket);
        done
    };
    report("first", shown(connect(0)));
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while std::time::Instant::now() < end {
        let _ = connect(1);
    }
}
