//! What surrounds the command: variables, directory, standard input and output.

use lab::{Lab, NONE};

lab::suite! {
    tests: [
        variables_pass_and_can_be_set,
        a_clean_environment_has_only_what_is_harmless,
        named_variables_pass_besides,
        no_core_is_dumped_where_none_is_wanted,
        a_proxy_of_the_environment_is_the_runs_where_there_are_http_rules,
        the_directory_is_the_callers_or_the_one_given,
        standard_input_and_output_pass_through,
        arguments_pass_as_they_are,
        the_command_is_searched_in_path,
    ],
}

fn variables_pass_and_can_be_set(lab: &Lab) {
    let run = || lab.sandbox().env("KEPT", "kept").env("OTHER", "old").options(["--env", "OTHER=new=1"]);
    let out = run()
        .options(["--env", "EMPTY="])
        .sh("echo kept=$KEPT; echo other=$OTHER; echo empty=${EMPTY-unset}");
    out.expect("kept", "kept").expect("other", "new=1").expect("empty", "");
    lab.sandbox().options(["--env", "NOTHING"]).sh("exit 0").expect_code(125).expect_said("NOTHING");
}

fn a_clean_environment_has_only_what_is_harmless(lab: &Lab) {
    let run = || lab.sandbox().option("--clean-env").env("API_TOKEN", "secret").env("TERM", "dumb");
    let out =
        run().sh("echo token=${API_TOKEN-unset}; echo term=$TERM; echo home=$HOME; echo tmp=${TMPDIR:+set}");
    out.expect("token", "unset").expect("term", "dumb").expect("home", lab.path("home").display());
    out.expect("tmp", "set");
    run().options(["--env", "API_TOKEN=given"]).sh("echo token=$API_TOKEN").expect("token", "given");
}

fn named_variables_pass_besides(lab: &Lab) {
    let run =
        || lab.sandbox().env("API_TOKEN", "secret").env("OTHER", "x").env("LC_TIME", "C").env("TERM", "dumb");
    let script = "echo token=${API_TOKEN-unset}; echo other=${OTHER-unset}; echo time=${LC_TIME-unset}; echo term=$TERM";
    run().sh(script).expect("token", "secret").expect("other", "x");
    let out = run().options(["--env-pass", "API_TOKEN", "--env-pass", "LC_*"]).sh(script);
    out.expect("token", "secret").expect("other", "unset").expect("time", "C").expect("term", "dumb");
    // What is set wins, and a secret of --credential is the launcher's alone, whoever names it.
    let set = run().options(["--env-pass", "OTHER", "--env", "OTHER=set"]).sh(script);
    set.expect("other", "set").expect("token", "unset");
    let credential =
        ["--credential", "t=env:API_TOKEN", "--http-allow", "* 127.0.0.1:9", "--env-pass", "API_TOKEN"];
    run().options(credential).sh(script).expect("token", "unset");
}

fn no_core_is_dumped_where_none_is_wanted(lab: &Lab) {
    let script = "grep '^Max core' /proc/self/limits; ulimit -c unlimited && echo raised; kill -SEGV $$";
    let out = lab.sandbox().write(lab.path("work")).option("--no-coredump").sh(script);
    out.expect_code(139);
    assert_eq!(
        out.stdout.split_whitespace().collect::<Vec<_>>(),
        ["Max", "core", "file", "size", "1", "1", "bytes"]
    );
    assert_eq!(std::fs::read_dir(lab.path("work")).unwrap().count(), 0, "{out}");
    lab.sandbox()
        .options(["--no-coredump", "--kernel-only"])
        .sh("grep -q 'size *1 *1 ' /proc/self/limits")
        .expect_code(0);
}

fn a_proxy_of_the_environment_is_the_runs_where_there_are_http_rules(lab: &Lab) {
    let script = "echo https=${HTTPS_PROXY-unset}; echo all=${all_proxy-unset}";
    let rule = ["--http-allow", "GET 127.0.0.1:9"];
    let run = |proxy: &str| lab.sandbox().env("HTTPS_PROXY", proxy).env("all_proxy", "kept");
    let http = "http://127.0.0.1:9";
    run(http).sh(script).expect("https", http).expect("all", "kept");
    run(http).options(rule).sh(script).expect("https", "unset").expect("all", "unset");
    // By name it is the command's after all.
    let named = ["--env", "HTTPS_PROXY=own"];
    run(http).options(rule).options(named).sh(script).expect("https", "own").expect("all", "unset");
    // One that is not known is the program's own business.
    run("socks5://127.0.0.1:9").options(rule).sh(script).expect("https", "socks5://127.0.0.1:9");
    let given = ["--http-upstream-proxy", "socks5://127.0.0.1:9"];
    run(http).options(rule).options(given).sh("exit 0").expect_code(125).expect_said("--http-upstream-proxy");
}

fn the_directory_is_the_callers_or_the_one_given(lab: &Lab) {
    lab.sandbox().sh("echo at=$(pwd)").expect("at", lab.path("work").display());
    let place = lab.directory("work/below");
    for given in [place.as_os_str(), "below".as_ref()] {
        let out = lab.sandbox().option("--cwd").option(given).sh("echo at=$(pwd); ls");
        out.expect("at", place.display()).expect_code(0);
    }
}

fn standard_input_and_output_pass_through(lab: &Lab) {
    let out = lab.sandbox().input("one\ntwo\n").sh("sort -r; echo said >&2");
    assert_eq!(out.stdout, "two\none\n");
    assert_eq!(out.stderr, "said\n");
    // A pipe, both ways in turn.
    let mut run =
        lab.sandbox().input_pipe().command("/bin/sh", ["-c", "while read x; do echo got=$x; done"]).start();
    run.send("first\n");
    assert_eq!(run.wait_for("got"), "first");
    run.send("second\n");
    run.end_input();
    let out = run.finish();
    assert!(out.stdout.ends_with("got=second\n"), "{out}");
    // More than a pipe holds, and a reader that stops early.
    let out = lab.sandbox().sh("head -c 300000 /dev/zero | wc -c; yes | head -n 1");
    assert_eq!(out.stdout.split_whitespace().collect::<Vec<_>>(), ["300000", "y"], "{out}");
}

fn arguments_pass_as_they_are(lab: &Lab) {
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff odd");
    let out = lab
        .sandbox()
        .command("/usr/bin/printf", ["[%s]".as_ref(), "-r".as_ref(), "".as_ref(), "--".as_ref(), odd]);
    assert_eq!(out.output().stdout, "[-r][][--][\u{fffd} odd]");
}

fn the_command_is_searched_in_path(lab: &Lab) {
    lab.script("work/bin/tool", "#!/bin/sh\nexit 9\n");
    lab.sandbox().command("tool", NONE).output().expect_code(127);
    let path = format!("{}:/usr/bin:/bin", lab.path("work/bin").display());
    lab.sandbox().env("PATH", path).command("tool", NONE).output().expect_code(9);
    // A script without `#!` is the shell's, as execvp has it.
    lab.script("work/bare-script", "exit 4\n");
    lab.sandbox().command("./bare-script", NONE).output().expect_code(4);
}
