//! Exit codes: the command's own; 128 and the signal; 124, 125, 126, 127 as `env` and `timeout` have them.

use lab::{Lab, NONE};

lab::suite! {
    tests: [
        the_commands_own,
        a_signal_is_128_and_its_number,
        what_cannot_be_run_is_126_and_127,
        our_failures_are_125,
        time_out_is_124,
    ],
}

fn the_commands_own(lab: &Lab) {
    lab.sandbox().sh("exit 0").expect_code(0);
    lab.sandbox().sh("exit 7").expect_code(7);
    lab.sandbox().sh("exit 255").expect_code(255);
}

fn a_signal_is_128_and_its_number(lab: &Lab) {
    lab.sandbox().sh("kill -TERM $$").expect_code(128 + 15);
    lab.sandbox().sh("kill -KILL $$").expect_code(128 + 9);
}

fn what_cannot_be_run_is_126_and_127(lab: &Lab) {
    lab.sandbox().command("no-such-command", NONE).output().expect_code(127).expect_said("no-such-command");
    lab.sandbox().command("/no/such/command", NONE).output().expect_code(127).expect_said("/no/such/command");
    let text = lab.file("work/text", "text\n");
    lab.sandbox().command(&text, NONE).output().expect_code(126).expect_said("text");
}

fn our_failures_are_125(lab: &Lab) {
    let marker = lab.path("work/marker");
    let touch = format!("touch {}", marker.display());
    for options in [
        ["-r", "/no/such/place"],
        ["-w", "/no/such/place"],
        ["--net-allow", "name.invalid:80"],
        ["--cwd", "/no/such/place"],
    ] {
        let out = lab.sandbox().write(lab.path("work")).options(options).sh(&touch);
        out.expect_code(125).expect_said(options[1]);
        assert!(!marker.exists(), "something was executed\n{out}");
    }
    lab.sandbox().write(lab.path("work")).sh(&touch).expect_code(0);
    assert!(marker.exists());
}

fn time_out_is_124(lab: &Lab) {
    lab.sandbox().options(["-t", "0.2"]).sh("sleep 10").expect_code(124);
    lab.sandbox().options(["-t", "10"]).sh("exit 3").expect_code(3);
}
