//! The report after a run: what was refused, once, with a count and the flag that would allow it.

use lab::{Lab, TcpServer};

lab::suite! {
    tests: [
        a_refusal_is_told_once_with_a_count_and_the_flag,
        the_flag_of_the_report_allows_it,
        a_run_without_refusals_says_nothing,
        the_name_of_a_run_is_in_its_report_and_escaped,
        a_run_that_was_too_long_is_told,
    ],
}

fn a_refusal_is_told_once_with_a_count_and_the_flag(lab: &Lab) {
    let (one, two) = (TcpServer::v4(), TcpServer::v4());
    let (mut first, mut second) = (one.rule(), two.rule());
    if one.port() > two.port() {
        (first, second) = (second, first);
    }
    let words = [&first, &first, &first, &second];
    let out = lab.sandbox().options(["--name", "probe"]).run("tcp", words);
    let said = format!(
        "sandlock: probe was refused:\n  tcp {first} (3 times)\n    hint: allow it with --net-allow {first}\n  \
         tcp {second}\n    hint: allow it with --net-allow {second}\n"
    );
    assert_eq!(out.expect_code(0).stderr, said, "{out}");
}

fn the_flag_of_the_report_allows_it(lab: &Lab) {
    let server = TcpServer::v4();
    let refused = lab.sandbox().run("tcp", [server.rule()]);
    let flag = refused.stderr.split("allow it with ").nth(1).unwrap().trim().to_owned();
    lab.sandbox().options(flag.split(' ')).run("tcp", [server.rule()]).expect("connect", "ok");
}

fn a_run_without_refusals_says_nothing(lab: &Lab) {
    let server = TcpServer::v4();
    let out = lab.sandbox().allow(server.rule()).run("tcp", [server.rule()]);
    assert_eq!(out.expect("connect", "ok").stderr, "", "{out}");
}

fn the_name_of_a_run_is_in_its_report_and_escaped(lab: &Lab) {
    let server = TcpServer::v4();
    let out = lab.sandbox().options(["--name", "a\x1b[2J\nb"]).run("tcp", [server.rule()]);
    out.expect_said("sandlock: a\\u{1b}[2J\\nb was refused:\n");
}

fn a_run_that_was_too_long_is_told(lab: &Lab) {
    let out = lab.sandbox().options(["-t", "0.2"]).command("sleep", ["10"]).output();
    assert_eq!(out.expect_code(124).stderr, "sandlock: sleep was ended after 200ms (--timeout)\n", "{out}");
}
