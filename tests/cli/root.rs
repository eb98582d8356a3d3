//! The flags for a root of the run's own: mistakes, and what `explain` says of them.

use lab::Lab;

lab::suite! {
    tests: [mistakes_name_the_flag, explain_says_what_makes_the_root, explain_says_what_the_base_will_find_in_a_root],
}

fn mistakes_name_the_flag(lab: &Lab) {
    let file = lab.file("file", "");
    for (words, said) in [
        (&["--mount", "/a"][..], "a mount is written VIRTUAL:HOST or VIRTUAL:HOST:ro"),
        (&["--mount", "a:/b"], "the path inside begins with a slash, has no .., and is not the root itself"),
        (&["--tmpfs", "/a:x"], "a size is a number of bytes, or of K, M, G or T"),
        (&["--uid", "4294967295"], "a user or group is a number up to 4294967294"),
        (&["--mount", "/a:/nowhere"], "--mount /nowhere: the path cannot be opened"),
        (&["--chroot", "/nowhere"], "--chroot /nowhere: the path cannot be opened"),
        (&["--chroot", file.to_str().unwrap()], "the path cannot be opened"),
        (&["--hostname", "a b"], "--hostname a b: a host name is up to 64 letters"),
        (&["--kernel-only", "--tmpfs", "/mnt"], "--kernel-only cannot enforce --tmpfs"),
        (&["--kernel-only", "--uid", "1"], "--kernel-only cannot enforce --uid"),
    ] {
        let out = lab.sandbox().options(words).sh("echo executed");
        assert_eq!(out.expect_code(125).expect_said(said).stdout, "", "{out}");
    }
}

fn explain_says_what_makes_the_root(lab: &Lab) {
    let root = lab.system("root");
    let words =
        ["explain", "--tmpfs", "/fast:1M", "--hostname", "box", "--uid", "7", "--gid", "8", "-w", "/data"];
    let chroot = [root.as_os_str(), "--mount".as_ref(), "/usr:/usr:ro".as_ref()];
    let out = lab.sandlock().arguments(words).arguments(["--chroot"]).arguments(chroot).output();
    out.expect_code(0);
    for line in [
        format!("--chroot {}\n    made by      a mount namespace, pivot_root", root.display()),
        "--mount /usr:/usr:ro\n    made by      a mount that can only be read, and Landlock".to_owned(),
        "--tmpfs /fast:1M\n".to_owned(),
        "--uid 7 --gid 8\n    made by      a user namespace".to_owned(),
        "--hostname box\n".to_owned(),
        "  write   /data  (-w)\n".to_owned(),
    ] {
        assert!(out.stdout.contains(&line), "{line}\n{out}");
    }
    assert_eq!(
        std::fs::read_dir(&root)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name() == "dev")
            .count(),
        0
    );
}

/// And the run finds it.
fn explain_says_what_the_base_will_find_in_a_root(lab: &Lab) {
    let root = lab.system("root");
    let covered = lab.directory("covered");
    lab.file("covered/file", "");
    let explained = |words: &[&str]| {
        let out = lab.sandlock().arguments(["explain"]).arguments(words).output();
        // A long list goes on in the next line.
        out.expect_code(0).stdout.replace(",\n          ", ", ")
    };
    let text = explained(&["--chroot", root.to_str().unwrap(), "-r", "srv", "--fs-deny", "/none"]);
    for line in [
        "  read    /  (the root)\n",
        "  read    /srv  (-r)\n",
        "  read    /proc  (base)\n",
        "  write   /dev/shm  (base)\n",
        "  device  /dev/null, /dev/zero, /dev/full, /dev/random, /dev/urandom, /dev/tty, /dev/pts  (base)\n",
        "  write   $TMPDIR  (",
        "  denied  /none  (--fs-deny: the supervisor opens what is beside it)\n",
        "  found out when the run starts: ",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("hidden"), "{text}");
    let line =
        "cat /proc/self/status >/dev/null && echo >/dev/shm/x && echo >$TMPDIR/x && ls / /dev/pts >/dev/null";
    lab.sandbox().in_root(&root).sh(line).expect_code(0);
    let bare = explained(&["--chroot", root.to_str().unwrap(), "--bare"]);
    assert!(!bare.contains("(base)") && !bare.contains("(the root)") && !bare.contains("$TMPDIR"), "{bare}");
    // Of the machine's own root what the base finds there, but for what a mount covers.
    let words = ["--tmpfs", covered.to_str().unwrap(), "--cwd", covered.to_str().unwrap()];
    let text = explained(&words);
    let base = text.lines().find(|line| line.starts_with("  read    ") && line.ends_with("(base)")).unwrap();
    let paths: Vec<_> =
        base.trim_start_matches("  read    ").trim_end_matches("  (base)").split(", ").collect();
    assert!(paths.contains(&"/usr") && paths.iter().any(|path| path.starts_with("/etc")), "{text}");
    assert!(!text.contains("working directory"), "{text}");
    assert!(text.contains(&format!("  write   {}  (--mount or --tmpfs)\n", covered.display())), "{text}");
    let line = paths.iter().map(|path| format!("test -d {path} || cat {path} >/dev/null || echo {path}\n"));
    let out = lab.sandbox().options(words).sh(&(line.collect::<String>() + "ls"));
    assert_eq!(out.expect_code(0).stdout, "", "{out}");
}
