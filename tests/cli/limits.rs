//! Limits: what is said of them before, and after.

use lab::{Lab, tool};

lab::suite! {
    tests: [limits_are_explained, denied_files_and_execution_are_explained, what_was_over_a_limit_is_told, values_that_are_none_are_mistakes, a_share_of_processor_time_is_kept_or_refused],
}

fn limits_are_explained(lab: &Lab) {
    let words = ["-m", "512M", "-P", "20", "--open-files", "64", "--file-size", "1G", "--cpus", "0"];
    let out = lab.sandlock().arguments(["explain"]).arguments(words).output();
    out.expect_code(0);
    // Whether the kernel keeps them, by a cgroup, is the machine's business.
    let has_cgroup = out.stdout.contains("cgroup v2: pids.max");
    let (memory, processes) = match has_cgroup {
        true => ("kernel (cgroup v2: memory.max", "kernel (cgroup v2: pids.max"),
        false => ("supervisor: measured by the kernel's accounts", "supervisor: counts"),
    };
    let hint = "  hint: the kernel keeps them where a cgroup is delegated: systemd-run --user";
    assert_eq!(out.stdout.contains(hint), !has_cgroup, "{out}");
    for said in [
        &format!("\nlimits\n  --memory 512M\n    enforced by  {memory}"),
        &format!("  --processes 20\n    enforced by  {processes}"),
        "  --open-files 64\n    enforced by  kernel (RLIMIT_NOFILE)",
        "  --file-size 1G\n    enforced by  kernel (RLIMIT_FSIZE)",
        "  --cpus 0\n    enforced by  kernel (sched_setaffinity), and the supervisor",
    ] {
        assert!(out.stdout.contains(said), "not there: {said}\n{out}");
    }
    let out = lab.sandlock().arguments(["explain", "--cpus", "0", "--kernel-only"]).output();
    assert!(out.stdout.contains("the filter refuses to ask for others"), "{out}");
    let none = lab.sandlock().arguments(["explain"]).output();
    assert!(!none.stdout.contains("limits\n"), "{none}");
    let calls = |words: &[&str]| {
        let out = lab.sandlock().arguments(["explain", "--calls"]).arguments(words).output();
        let row =
            |call: &str| out.stdout.lines().find(|line| line.starts_with(call)).unwrap().contains("trap");
        ["clone ", "memfd_create ", "mmap "].map(row)
    };
    assert_eq!(calls(&[]), [false, false, false]);
    assert_eq!(calls(&["-P", "9", "-m", "1G"]), [!has_cgroup, !has_cgroup, false]);
}

fn denied_files_and_execution_are_explained(lab: &Lab) {
    let work = lab.path("work");
    let words = |options: &[&str]| {
        let out = lab.sandlock().arguments(["explain", "-w"]).arguments([&work]).arguments(options).output();
        out.expect_code(0);
        out
    };
    let denied = work.join("none");
    let out = words(&["--fs-deny", denied.to_str().unwrap()]);
    let said =
        format!("  denied  {}  (--fs-deny: the supervisor opens what is beside it)\n", denied.display());
    assert!(out.stdout.contains(&said), "{out}");
    let out = words(&["--fs-deny", "/srv/none"]);
    assert!(out.stdout.contains("  denied  /srv"), "{out}");
    assert!(out.stdout.contains("(--fs-deny: nothing grants it)\n"), "{out}");
    let out = words(&["--noexec-writable", "-x", "/usr/bin"]);
    assert!(
        out.stdout.contains("  (-w; not to execute)\n") && out.stdout.contains("  read    /usr/bin  (-x)\n"),
        "{out}"
    );
}

fn what_was_over_a_limit_is_told(lab: &Lab) {
    let python = tool("python3", "python3");
    let run = |options: &[&str], line: &str| {
        lab.sandbox().options(["--name", "hog"]).options(options).command(&python, ["-c", line]).output()
    };
    let out = run(&["-m", "64M"], "x = []\nwhile True: x.append(bytearray(1 << 20))");
    let said = "sandlock: hog was ended: it used more memory than it may (--memory 64M)\n";
    assert_eq!(out.expect_code(137).stderr, said, "{out}");
    let out = run(&["-P", "1"], "import os\ntry: os.fork()\nexcept OSError as e: print(e.errno)");
    let said = "sandlock: hog was refused:\n  more than 1 processes and threads at once (--processes)\n    \
                hint: allow it with --processes 2\n";
    assert_eq!(out.expect_code(0).stderr, said, "{out}");
    assert_eq!(out.stdout.trim(), libc::EAGAIN.to_string(), "{out}");
}

/// The kernel keeps it or nobody does, which is said: a run without it would be one with less than was asked for.
fn a_share_of_processor_time_is_kept_or_refused(lab: &Lab) {
    let explained = lab.sandlock().arguments(["explain", "--cpu", "50"]).output();
    let out = lab.sandbox().options(["--cpu", "50"]).sh("echo executed");
    if explained.stdout.contains("  --cpu 50\n    enforced by  kernel (cgroup v2: cpu.max)\n") {
        assert_eq!(out.expect_code(0).stdout, "executed\n");
    } else {
        let said = "--cpu 50: no cgroup (version 2) with the cpu controller is delegated";
        explained.expect_code(125).expect_said(said);
        out.expect_code(125).expect_said(said);
        assert_eq!(out.stdout, "");
    }
    let alone = lab.sandbox().options(["--cpu", "50", "--kernel-only"]).sh("echo executed");
    alone.expect_code(125).expect_said("--cpu 50");
}

fn values_that_are_none_are_mistakes(lab: &Lab) {
    for (flag, value) in [
        ("--memory", "0"),
        ("--memory", "lots"),
        ("--file-size", "1.5G"),
        ("--processes", "0"),
        ("--open-files", "-1"),
        ("--cpus", "3-2"),
        ("--cpu", "0"),
        ("--cpu", "half"),
    ] {
        let out = lab.sandlock().arguments(["run", &format!("{flag}={value}"), "--", "true"]).output();
        out.expect_code(125).expect_said(&format!("sandlock: error: {flag}"));
    }
    let out = lab.sandbox().options(["--open-files", "99999999999"]).sh("echo executed");
    out.expect_code(125).expect_said("--open-files 99999999999: the hard limit of this process is ");
    assert_eq!(out.stdout, "");
}
