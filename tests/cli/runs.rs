//! `sandlock ps`, `inspect`, `kill` and the others that speak to runs: what they print without any run, and of what is not there.

use lab::Lab;

lab::suite! {
    tests: [
        without_runs_the_list_has_its_head,
        a_run_that_is_not_there_is_named,
        help_says_that_they_exist,
    ],
}

fn without_runs_the_list_has_its_head(lab: &Lab) {
    let out = lab.sandlock().arguments(["ps"]).output();
    out.expect_code(0);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("NAME  PID  UPTIME  COMMAND\n", ""));
    let out = lab.sandlock().arguments(["ps", "--json"]).output();
    assert_eq!(out.stdout, "[]\n");
}

fn a_run_that_is_not_there_is_named(lab: &Lab) {
    for words in [
        &["inspect", "nobody"][..],
        &["inspect", "nobody", "--json"],
        &["kill", "nobody"],
        &["allow", "nobody", ":443"],
        &["deny", "nobody", ":443"],
        &["events", "nobody"],
        &["pause", "nobody"],
        &["resume", "nobody"],
    ] {
        let out = lab.sandlock().arguments(words).output();
        out.expect_code(125)
            .expect_said("sandlock: error: there is no run named nobody\n  hint: `sandlock ps`");
        assert_eq!(out.stdout, "");
    }
    let out = lab.sandlock().arguments(["kill", "nobody\x1b[2J", "other"]).output();
    out.expect_code(125).expect_said("named nobody\\u{1b}[2J").expect_said("named other");
    lab.sandlock().arguments(["kill"]).output().expect_code(125).expect_said("see sandlock kill --help");
}

fn help_says_that_they_exist(lab: &Lab) {
    let out = lab.sandlock().arguments(["--help"]).output();
    for name in
        ["  ps ", "  inspect ", "  kill ", "  allow ", "  deny ", "  events ", "  pause ", "  resume "]
    {
        assert!(out.stdout.contains(name), "{out}");
    }
}
