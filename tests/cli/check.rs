//! `sandlock check`: what there is, and a trial.

use std::os::unix::process::CommandExt;

use lab::{Args, Lab};

lab::suite! {
    tests: [
        a_machine_that_can_says_so_and_tries_it,
        without_landlock_it_says_what_to_do,
        inside_another_sandbox_the_failing_step_is_named,
    ],
    programs: [sandlock_itself],
}

/// `sandlock_itself WORD…`: becomes `sandlock`, which lies beside this program.
fn sandlock_itself(args: &Args) {
    let sandlock = std::env::current_exe().unwrap().with_file_name("sandlock");
    panic!(
        "{}",
        std::process::Command::new(sandlock).args((0..args.count()).map(|index| args.text(index))).exec()
    );
}

fn a_machine_that_can_says_so_and_tries_it(lab: &Lab) {
    let out = lab.sandlock().arguments(["check"]).output();
    out.expect_code(0);
    for text in ["\n  files and directories  ", "  ok: just what was granted could be reached\n"] {
        assert!(out.stdout.contains(text), "{out}");
    }
    assert_eq!(out.stderr, "", "{out}");
}

fn without_landlock_it_says_what_to_do(lab: &Lab) {
    let out = lab.sandlock().arguments(["check", "--landlock-at-most", "0"]).output();
    out.expect_code(1);
    assert!(out.stdout.contains("  nothing\n    hint: "), "{out}");
    assert!(out.stdout.ends_with("\na run is impossible here\n"), "{out}");
}

fn inside_another_sandbox_the_failing_step_is_named(lab: &Lab) {
    lab.bare().run("sandlock_itself", ["check"]).expect_code(0);
    let out = lab.sandbox().run("sandlock_itself", ["check"]);
    out.expect_code(1);
    assert!(out.stdout.contains("  failed: the seccomp filter cannot be installed: "), "{out}");
    assert!(out.stdout.ends_with("\na run is impossible here\n"), "{out}");
    let out = lab.sandbox().run("sandlock_itself", ["run", "--", "echo", "executed"]);
    out.expect_code(125).expect_said("another sandlock run, watches calls already");
    assert_eq!(out.stdout, "", "{out}");
}
