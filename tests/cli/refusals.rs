//! The report after a run: what was refused, once, with a count and the flag that would allow it.

use lab::{Lab, TcpServer, tool};

lab::suite! {
    tests: [
        a_refusal_is_told_once_with_a_count_and_the_flag,
        the_flag_of_the_report_allows_it,
        the_rule_of_the_report_allows_the_request,
        servers_that_fail_are_told,
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

fn the_rule_of_the_report_allows_the_request(lab: &Lab) {
    let server = TcpServer::http([127, 0, 0, 1], lab.file("files/a%20page", "spaced").parent().unwrap());
    lab.file("files/it's", "its");
    let curl = tool("curl", "curl");
    let allowed = format!("GET {}/other", server.address());
    for (path, content) in [("a%20page", "spaced"), ("it's", "its")] {
        let fetch = |run: lab::Run| run.command(&curl, ["-sS", &server.url(path)]).output();
        let refused = fetch(lab.sandbox().options(["--http-allow", &allowed]));
        assert!(refused.stdout.contains("\"error\":\"refused by sandlock\""), "{refused}");
        refused.expect_said(&format!("was refused:\n  GET http://{}/", server.address()));
        let flag = refused.stderr.split("allow it with ").nth(1).unwrap().trim();
        // Written for a shell.
        let words = lab.bare().sh(&format!("printf '%s\\n' {flag}")).stdout;
        let out = fetch(lab.sandbox().options(words.lines()));
        assert_eq!((&*out.stdout, &*out.stderr), (content, ""), "{out}");
    }
}

fn servers_that_fail_are_told(lab: &Lab) {
    let server = TcpServer::v4();
    let (address, rule) = (server.address(), format!("GET {}", server.address()));
    drop(server);
    let curl = tool("curl", "curl");
    let out = lab.sandbox().options(["--http-allow", &rule]);
    let out = out
        .command(&curl, ["-sS", "-o", "/dev/null", "-w", "%{http_code}", &format!("http://{address}/")])
        .output();
    assert_eq!(out.stdout, "502", "{out}");
    out.expect_said("sandlock: note: no answer from 127.0.0.1: ");
}

fn a_run_without_refusals_says_nothing(lab: &Lab) {
    let server = TcpServer::v4();
    let out = lab.sandbox().allow(server.rule()).run("tcp", [server.rule()]);
    assert_eq!(out.expect("connect", "ok").stderr, "", "{out}");
}

fn the_name_of_a_run_is_in_its_report_and_escaped(lab: &Lab) {
    let server = TcpServer::v4();
    let out = lab.sandbox().options(["--name", "curious.one-2"]).run("tcp", [server.rule()]);
    out.expect_said("sandlock: curious.one-2 was refused:\n");
    // What a terminal would take for something else is no name of a run, but may be one of a command.
    let out = lab.sandbox().options(["--name", "a\x1b[2J\nb"]).run("tcp", [server.rule()]);
    out.expect_code(125).expect_said("\\u{1b}[2J\\nb");
    let out = lab.sandbox().command("/bin/sh\x1b[2J", [""; 0]).output();
    out.expect_code(127).expect_said("\\u{1b}[2J");
}

fn a_run_that_was_too_long_is_told(lab: &Lab) {
    let out = lab.sandbox().options(["-t", "0.2"]).command("sleep", ["10"]).output();
    assert_eq!(out.expect_code(124).stderr, "sandlock: sleep was ended after 200ms (--timeout)\n", "{out}");
}
