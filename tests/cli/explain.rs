//! `sandlock explain`: what a policy grants, and what enforces it.

use lab::{Lab, Output};

lab::suite! {
    tests: [
        rules_are_told_with_what_enforces_them,
        names_are_told_with_what_they_mean_and_what_serves_them,
        files_are_told_with_access_and_origin,
        an_installation_below_the_home_is_told,
        a_working_directory_that_holds_the_home_is_told_to_be_hidden,
        nothing_is_executed,
        the_table_of_calls_is_printed,
        a_policy_is_written_as_a_profile_and_read_again,
    ],
}

fn explain(lab: &Lab, words: &[&str]) -> Output {
    let out = lab.sandlock().arguments(["explain"]).arguments(words).output();
    out.expect_code(0);
    out
}

#[track_caller]
fn contains(out: &Output, text: &str) {
    assert!(out.stdout.contains(text), "not there: {text}\n{out}");
}

fn rules_are_told_with_what_enforces_them(lab: &Lab) {
    let none = explain(lab, &[]);
    contains(&none, "network\n  every destination is refused and reported\n");
    let some = explain(lab, &["--net-allow", "localhost:8080", "--net-allow", "udp://[::1]:53"]);
    contains(&some, "  --net-allow localhost:8080\n    is now       ");
    contains(
        &some,
        "  --net-allow udp://[::1]:53\n    enforced by  seccomp filter (kind of socket), supervisor",
    );
    contains(&some, "note: needs the supervisor: rules name hosts");
    // One rule with any port, and Landlock cannot help the others.
    let any = explain(lab, &["--net-allow", "127.0.0.1:80", "--net-allow", "127.0.0.1:*"]);
    assert!(!any.stdout.contains("Landlock (port)") && !any.stdout.contains("TCP ports"), "{any}");
}

fn names_are_told_with_what_they_mean_and_what_serves_them(lab: &Lab) {
    let words = ["--net-allow", "localhost:80", "--net-allow", "*.test:443", "--net-deny", "10.0.0.0/8:*"];
    let out = explain(lab, &words);
    contains(&out, "\n    served by    /etc/hosts, a resolver of the run's own\n");
    contains(&out, "  --net-allow *.test:443\n    served by    a resolver of the run's own\n");
    contains(&out, "  --net-deny 10.0.0.0/8:*\n    enforced by  supervisor (address)\n");
    contains(&out, "  what --net-deny names is refused, whatever allows it\n");
    let pinned = explain(lab, &["--net-allow", "localhost:80", "--pin-names"]);
    assert!(!pinned.stdout.contains("asked for again"), "{pinned}");
    let calls = explain(lab, &["--calls", "--net-allow", "localhost:80"]);
    let row = calls.stdout.lines().find(|line| line.starts_with("openat ")).unwrap();
    assert!(row.contains("trap") && row.contains("Landlock decides on the rest"), "{row}");
    let without = explain(lab, &["--calls", "--net-allow", "127.0.0.1:80"]);
    let row = without.stdout.lines().find(|line| line.starts_with("openat ")).unwrap();
    assert!(!row.contains("trap"), "{row}");
}

fn files_are_told_with_access_and_origin(lab: &Lab) {
    let (work, data) = (lab.path("work"), lab.directory("data"));
    let out = explain(lab, &["-w", data.to_str().unwrap()]);
    contains(&out, &format!("  read    {}  (working directory)\n", work.display()));
    contains(&out, &format!("  write   {}  (-w)\n", data.display()));
    contains(&out, "  write   $TMPDIR  (a new directory for each run, removed afterwards)\n");
    contains(&out, &format!("  hidden  {}  (the home directory", lab.path("home").display()));
    let left = std::fs::read_dir(lab.path("tmp")).unwrap().count();
    assert_eq!(left, 0, "explaining leaves nothing behind");
}

fn an_installation_below_the_home_is_told(lab: &Lab) {
    let script = lab.script("home/.tools/bin/tool", "#!/bin/sh\n");
    let out = explain(lab, &["--", script.to_str().unwrap()]);
    contains(&out, &format!("command\n  {}\n", script.display()));
    let prefix = lab.path("home/.tools");
    contains(&out, &format!("  read    {}  (installation of the command)\n", prefix.display()));
}

fn a_working_directory_that_holds_the_home_is_told_to_be_hidden(lab: &Lab) {
    let home = lab.path("home");
    let out = explain(lab, &["--cwd", home.to_str().unwrap()]);
    contains(&out, &format!("  hidden  {}  (the working directory: it holds the home", home.display()));
    assert!(!out.stdout.contains("(working directory)"), "{out}");
}

fn nothing_is_executed(lab: &Lab) {
    let marker = lab.path("work/marker");
    let touch = lab.script("work/touch.sh", &format!("#!/bin/sh\ntouch {}\n", marker.display()));
    explain(lab, &["-w", ".", "--", touch.to_str().unwrap()]);
    assert!(!marker.exists());
    lab.sandbox().write(".").command(&touch, lab::NONE).output().expect_code(0);
    assert!(marker.exists());
}

fn the_table_of_calls_is_printed(lab: &Lab) {
    let out = explain(lab, &["--calls"]);
    let row = |call: &str| {
        let found = out.stdout.lines().find(|line| line.split(' ').next() == Some(call));
        found.unwrap_or_else(|| panic!("{call} is not there\n{out}")).to_owned()
    };
    assert!(row("connect").contains(" trap "));
    assert!(row("read").contains(" allow "));
    assert!(row("mount").contains(" EPERM "));
    contains(&out, "(any other)");
}

fn a_policy_is_written_as_a_profile_and_read_again(lab: &Lab) {
    let words = ["--net-allow", "127.0.0.1:8080", "-r", "/srv", "--names-grace", "5m"];
    let written = explain(lab, &[&["--toml"], &words[..]].concat()).stdout;
    assert!(
        written.contains("allow = [\"127.0.0.1:8080\"]") && written.contains("grace = \"5m\""),
        "{written}"
    );
    let file = lab.file("policy.toml", &written);
    let file = file.to_str().unwrap();
    assert_eq!(explain(lab, &["--toml", "--profile", file]).stdout, written);
    // Flags add to it.
    let more = explain(lab, &["--profile", file, "--net-allow", "127.0.0.2:1"]);
    contains(&more, "  --net-allow 127.0.0.1:8080\n");
    contains(&more, "  --net-allow 127.0.0.2:1\n");
}
