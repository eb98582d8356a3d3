//! The flags for a root of the run's own: mistakes, and what `explain` says of them.

use lab::Lab;

lab::suite! { tests: [mistakes_name_the_flag, explain_says_what_makes_the_root] }

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
