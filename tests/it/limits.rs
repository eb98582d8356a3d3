//! Limits on what a run may use up, kept for real programs, and no burden to them. What tries to get past them is in
//! `escape/process_limit.rs`, `escape/memory_limit.rs` and `escape/processors.rs`.

use lab::{Lab, tool};

lab::suite! {
    tests: [
        descriptors_are_limited_in_each_process,
        files_do_not_become_longer,
        programs_with_threads_and_children_run_within_their_limits,
        limits_hold_without_a_supervisor_where_the_kernel_keeps_them,
    ],
}

const OPEN_ALL: &str = "import os, resource\n\
    opened = 0\n\
    try:\n    \
        while True: os.open('/dev/null', os.O_RDONLY); opened += 1\n\
    except OSError as e: print('errno=' + str(e.errno))\n\
    print('open=' + str(opened + 3))\n\
    try: resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000)); print('raised=yes')\n\
    except ValueError: print('raised=no')\n";

fn descriptors_are_limited_in_each_process(lab: &Lab) {
    let python = tool("python3", "python3");
    let out = lab.sandbox().options(["--open-files", "40"]).command(&python, ["-c", OPEN_ALL]).output();
    out.expect("errno", libc::EMFILE).expect("open", 40).expect("raised", "no").expect_code(0);
}

fn files_do_not_become_longer(lab: &Lab) {
    let write = |run: lab::Run, name: &str| {
        let file = lab.path("work").join(name);
        let line = format!("head -c 300000 /dev/zero > {0}; echo code=$?; wc -c < {0}", file.display());
        run.write(lab.path("work")).sh(&line)
    };
    let out = write(lab.sandbox().options(["--file-size", "1M"]), "short");
    assert_eq!(out.expect("code", 0).stdout.lines().last(), Some("300000"), "{out}");
    let out = write(lab.sandbox().options(["--file-size", "100K"]), "long");
    // SIGXFSZ.
    assert_eq!(out.expect("code", 128 + libc::SIGXFSZ).stdout.lines().last(), Some("102400"), "{out}");
}

const PYTHON: &str = "import subprocess, concurrent.futures as pool\n\
    with pool.ThreadPoolExecutor(4) as workers:\n    \
        outs = workers.map(lambda n: subprocess.check_output(['/bin/echo', str(n)]), range(40))\n\
    print('sum=' + str(sum(int(out) for out in outs)))\n";
const NODE: &str = "const {execFileSync} = require('child_process'); let sum = 0;\n\
    for (let n = 0; n < 20; n++) sum += Number(execFileSync('/bin/echo', [String(n)]));\n\
    console.log('sum=' + sum);";

fn programs_with_threads_and_children_run_within_their_limits(lab: &Lab) {
    let limits = ["-m", "1G", "-P", "64", "--open-files", "512", "--file-size", "10M"];
    let (python, node) = (tool("python3", "python3"), tool("node", "nodejs"));
    let out = lab.sandbox().options(limits).command(&python, ["-c", PYTHON]).output();
    out.expect("sum", 780).expect_code(0);
    let out = lab.sandbox().options(limits).command(&node, ["-e", NODE]).output();
    out.expect("sum", 190).expect_code(0);
    // Not dash, which can be interrupted while it forks: see "Shells that cannot fork" of docs/security/limits.md.
    lab.sandbox()
        .options(limits)
        .command(tool("bash", "bash"), ["-c", "for i in 1 2 3 4 5; do (echo $i | cat | cat) & done; wait"])
        .output()
        .expect_code(0);
}

fn limits_hold_without_a_supervisor_where_the_kernel_keeps_them(lab: &Lab) {
    let python = tool("python3", "python3");
    let run = || lab.sandbox().option("--kernel-only");
    let out = run().options(["--open-files", "40"]).command(&python, ["-c", OPEN_ALL]).output();
    out.expect("open", 40).expect("raised", "no");
    for [flag, value] in [["-m", "1G"], ["-P", "10"]] {
        let long = if flag == "-m" { "--memory" } else { "--processes" };
        let said = format!("--kernel-only cannot enforce {long} {value}: it needs the supervisor");
        run().options([flag, value]).sh("true").expect_code(125).expect_said(&said);
    }
}
