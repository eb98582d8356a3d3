//! Command lines that are wrong: one line that says what, exit code 125, and nothing is executed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use lab::Lab;

lab::suite! {
    tests: [
        a_bad_rule_is_told_with_its_flag_and_its_part,
        rules_about_http_that_cannot_be_kept_are_mistakes,
        other_mistakes_name_the_flag,
        help_and_version_are_no_mistakes,
        a_forgotten_flag_is_pointed_at,
        what_is_not_text_is_shown_and_not_mangled,
    ],
}

fn says(lab: &Lab, words: &[&str], code: i32, said: &str) {
    let out = lab.sandlock().arguments(words).output();
    out.expect_code(code);
    assert_eq!(out.stderr, said, "{out}");
    assert_eq!(out.stdout, "", "{out}");
}

fn a_bad_rule_is_told_with_its_flag_and_its_part(lab: &Lab) {
    for (rule, part, hint) in [
        ("x:http", "invalid port \"http\": a port is a number from 1 to 65535, or `*` for any", "x:80"),
        (
            "https://Example.com/v1",
            "unknown scheme \"https\": use tcp://, udp:// or icmp://",
            "example.com:443",
        ),
        ("example.com", "expected HOST:PORTS, such as example.com:443 or :8080", "example.com:443"),
    ] {
        let said = format!(
            "sandlock: error: --net-allow {rule:?}: {part}\n  hint: did you mean --net-allow {hint}?\n"
        );
        says(lab, &["run", "--net-allow", rule, "--", "true"], 125, &said);
        says(lab, &["explain", "--net-allow", rule], 125, &said);
    }
}

fn rules_about_http_that_cannot_be_kept_are_mistakes(lab: &Lab) {
    let run = |words: &[&str]| lab.sandbox().options(words).sh("echo executed");
    let refused = |words: &[&str], said: &str| {
        let out = run(words);
        assert_eq!(out.expect_code(125).expect_said(said).stdout, "", "{out}");
    };
    refused(&["--http-allow", "GET"], "--http-allow \"GET\": expected METHOD HOST");
    refused(&["--http-deny", "get x.test"], "--http-deny \"get x.test\": the method \"get\" is not GET");
    // Inside of TLS there is nothing to be seen.
    for rule in ["GET 127.0.0.1", "* 127.0.0.1/v1/*", "GET *:8080,443"] {
        for flag in ["--http-allow", "--http-deny"] {
            refused(&[flag, rule], &format!("{flag} {rule:?}: over TLS (port 443)"));
            refused(&[flag, rule], "hint: --http-ca-inject");
            run(&[flag, rule, "--http-ca-inject"]).expect_code(0);
        }
    }
    for rule in ["* 127.0.0.1", "GET 127.0.0.1:80/v1", "* *"] {
        run(&["--http-allow", rule]).expect_code(0);
    }
    let passed = ["--http-allow", "GET 127.0.0.1", "--http-ca-inject", "--http-passthrough", "127.0.0.1"];
    refused(&passed, "--http-passthrough 127.0.0.1 leaves its TLS end to end");
    let rule = ["--http-allow", "* 127.0.0.1:80"];
    refused(
        &[&rule[..], &["--kernel-only"]].concat(),
        "--kernel-only cannot enforce --http-allow \"* 127.0.0.1:80\"",
    );
    for flag in
        ["--http-ca-inject", "--danger-cleartext-credentials", "--http-upstream-proxy=http://127.0.0.1:9"]
    {
        let name = flag.split('=').next().unwrap();
        refused(&[flag], &format!("{name}: no --http-allow or --http-deny"));
    }
    refused(&[&rule[..], &["--http-ca", "/none"]].concat(), "--http-key");
    let own = ["--http-ca", "/none", "--http-key", "/none"];
    refused(&[&rule[..], &own].concat(), "no certificate authority can be had for this run: ");
    let auth = ["--http-auth", "* 127.0.0.1:80/ bearer key"];
    refused(&[&rule[..], &auth].concat(), "no --credential defines \"key\"");
    let unset = ["--credential", "key=env:NO_SUCH_VARIABLE"];
    refused(
        &[&rule[..], &auth, &unset].concat(),
        "--credential key: it cannot be read: the variable is not set",
    );
    refused(&[&rule[..], &["--http-upstream-ca", "/none"]].concat(), "--http-upstream-ca /none: ");
    refused(
        &[&rule[..], &["--http-ca-inject", "--http-ca-out", "/none/x"]].concat(),
        "--http-ca-out /none/x: ",
    );
}

fn other_mistakes_name_the_flag(lab: &Lab) {
    let see = "  hint: see sandlock run --help\n";
    let word = |what: &str| format!("sandlock: error: {what}\n");
    says(lab, &["run", "--bogus", "--", "true"], 125, &(word("unknown flag --bogus") + see));
    says(lab, &["run", "-w", "", "--", "true"], 125, &(word("--write needs a value") + see));
    let time = word("--timeout \"soon\": a time is written 30 (seconds), 1.5, 30s, 5m or 1h 30m");
    says(lab, &["run", "-t", "soon", "--", "true"], 125, &time);
    let none =
        word("no command was given") + "  hint: put -- before the command: sandlock run -w . -- make\n";
    says(lab, &["run", "-w", "."], 125, &none);
    let subcommand =
        word("there is no subcommand \"make\"") + "  hint: to run a command: sandlock run -- make\n";
    says(lab, &["make"], 125, &subcommand);
    let both = word("--own-proc: / grants /proc, or a part of it, as it is on the machine");
    says(lab, &["run", "--own-proc", "-r", "/", "--", "true"], 125, &both);
}

fn help_and_version_are_no_mistakes(lab: &Lab) {
    for words in [&["--help"][..], &["--version"], &["run", "--help"], &["help", "explain"]] {
        let out = lab.sandlock().arguments(words).output();
        out.expect_code(0);
        assert!(out.stdout.contains("sandlock") && out.stderr.is_empty(), "{out}");
    }
    let out = lab.sandlock().output();
    out.expect_code(125).expect_said("Usage: sandlock <COMMAND>");
}

fn a_forgotten_flag_is_pointed_at(lab: &Lab) {
    let said = "sandlock: error: command not found: b:2\n  \
                hint: \"b:2\" was taken for the command; is the flag missing that it belongs to?\n";
    says(lab, &["run", "--net-allow", "127.0.0.1:1", "b:2", "--", "true"], 127, said);
    // Without any mistake, a command needs no dashes.
    let out = lab.sandlock().arguments(["run", "sh", "-c", "echo $0 $1", "--", "-w"]).output();
    assert_eq!(out.expect_code(0).stdout, "-- -w\n");
}

fn what_is_not_text_is_shown_and_not_mangled(lab: &Lab) {
    let variable = OsStr::from_bytes(b"A=\xff");
    let out = lab.sandbox().option("--env").option(variable).sh(r#"printf %s "$A" | od -An -tx1"#);
    assert_eq!(out.expect_code(0).stdout.trim(), "ff");
    let rule = OsStr::from_bytes(b"\xff:80");
    lab.sandbox().allow(rule).sh("true").expect_code(125).expect_said("a rule is UTF-8 text");
    let missing = OsStr::from_bytes(b"/no\x1b[31m");
    lab.sandbox().read(missing).sh("true").expect_code(125).expect_said("-r /no\\u{1b}[31m: ");
}
