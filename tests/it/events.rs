//! What happens in a run is read along from another process, as it happens.

use std::net::SocketAddr;
use std::time::Duration;

use lab::{Args, Child, Lab, raw, report};

lab::suite! {
    tests: [
        refusals_are_told_with_who_wanted_what,
        a_reader_that_does_not_read_costs_nobody_anything,
        changes_and_pauses_are_told_to_all_who_read,
    ],
    programs: [is_refused_again_and_again],
}

const NOWHERE: &str = "127.0.0.1:9";

/// A program that is refused something again and again, until its input ends.
fn refused(lab: &Lab, name: &str, pause: &str) -> Child {
    let run = lab.sandbox().options(["--name", name, "--adjustable"]);
    let mut child = run.program("is_refused_again_and_again", [NOWHERE, pause]).input_pipe().start();
    child.wait_for("ready");
    while lab.sandlock().arguments(["inspect", name]).output().code() != 0 {}
    child
}

fn refusals_are_told_with_who_wanted_what(lab: &Lab) {
    let mut run = refused(lab, "told", "5");
    let pid = run.wait_for("pid");
    let mut json = lab.sandlock().arguments(["events", "told", "--json"]).start();
    let mut words = lab.sandlock().arguments(["events", "told"]).start();
    words.wait_for_text("denied     tcp 127.0.0.1:9, to /");
    words.wait_for_text(&format!(" ({pid}); hint: --net-allow 127.0.0.1:9\n"));
    json.wait_for_text(
        r#""destination":{"protocol":"tcp","address":"127.0.0.1","port":9},"verdict":"denied""#,
    );
    json.wait_for_text(&format!("\"pid\":{pid},\"exe\":\"/"));
    run.end_input();
    run.finish().expect_code(0);
    for out in [json.finish(), words.finish()] {
        out.expect_code(0);
        let last = out.stdout.lines().last().unwrap();
        assert!(last.contains("ended"), "{out}");
    }
    lab.sandlock().arguments(["events", "told"]).output().expect_code(125).expect_said("no run named told");
}

fn a_reader_that_does_not_read_costs_nobody_anything(lab: &Lab) {
    let mut run = refused(lab, "flood", "0");
    let events = lab.sandlock().arguments(["events", "flood", "--json"]).start();
    // Nobody reads what it prints, so that its pipe is full, and then its socket, and then the queue.
    std::thread::sleep(Duration::from_millis(500));
    let memory = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = memory(run.pid());
    std::thread::sleep(Duration::from_millis(1500));
    let after = memory(run.pid());
    assert!(after < before + 4096, "{before} kB became {after} kB");
    // The launcher still answers.
    lab.sandlock().arguments(["allow", "flood", NOWHERE]).output().expect_code(0);
    run.end_input();
    run.finish().expect_code(0);
    let out = events.finish();
    assert!(out.stdout.contains(r#""event":"denied""#), "{out}");
}

fn changes_and_pauses_are_told_to_all_who_read(lab: &Lab) {
    let mut run = refused(lab, "changed", "20");
    let mut readers: Vec<_> = (0..3)
        .map(|_| {
            let mut events = lab.sandlock().arguments(["events", "changed"]).start();
            events.wait_for_text("denied");
            events
        })
        .collect();
    for words in [&["allow", "changed", "127.0.0.1:7"][..], &["pause", "changed"], &["resume", "changed"]] {
        lab.sandlock().arguments(words).output().expect_code(0);
    }
    for reader in &mut readers {
        reader.wait_for_text("rule       allow 127.0.0.1:7\n");
        reader.wait_for_text("paused\n");
        reader.wait_for_text("resumed\n");
    }
    run.end_input();
    run.finish().expect_code(0);
}

/// `is_refused_again_and_again ADDRESS MILLISECONDS`
fn is_refused_again_and_again(args: &Args) {
    report("pid", std::process::id());
    report("ready", 1);
    let to = raw::internet(args.get::<SocketAddr>(0));
    while !raw::poll_readable(&[0], Duration::from_millis(args.get(1))) {
        let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        let _ = raw::connect(socket, &to);
        raw::close(socket);
    }
}
