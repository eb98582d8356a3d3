//! Profiles hold what flags say of the root and of limits, and flags are added to them.

use lab::Lab;

lab::suite! {
    tests: [
        a_root_is_made_as_a_profile_says,
        limits_hold_that_a_profile_sets,
        an_image_can_be_in_a_profile,
        what_flags_say_is_written_as_a_profile,
        mistakes_are_told_with_their_line,
    ],
}

fn a_root_is_made_as_a_profile_says(lab: &Lab) {
    let root = lab.system("system");
    lab.file("given/file", "given\n");
    lab.file("other/file", "other\n");
    let profile = lab.file(
        "profile.toml",
        format!(
            r#"[root]
            directory = "{}"
            mounts = ["/given:{}:ro"]
            temporary = ["/fast:1M"]
            user = 1234
            group = 2345
            host_name = "box.test"
            "#,
            root.display(),
            lab.path("given").display()
        ),
    );
    let line = "id -u; id -g; uname -n; cat /given/file; touch /given/new || echo read-only; \
                head -c 2000000 /dev/zero > /fast/file || stat -c %s /fast/file; ls /other";
    let run = || lab.sandbox().option("--profile").option(&profile).with_programs();
    let out = run().sh(line);
    assert_eq!(out.stdout, "1234\n2345\nbox.test\ngiven\nread-only\n1048576\n", "{out}");
    // Mounts are added, and what is said later counts.
    let out = run().mount("/other", lab.path("other"), ":ro").options(["--uid", "7"]).sh(line);
    assert_eq!(out.stdout, "7\n2345\nbox.test\ngiven\nread-only\n1048576\nfile\n", "{out}");
    // Paths of a root are looked up where sandlock is started.
    let relative = lab.file("relative.toml", "root.mounts = ['/mnt:../given:ro']");
    let out = lab.sandbox().option("--profile").option(relative).sh("cat /mnt/file");
    assert_eq!(out.expect_code(0).stdout, "given\n");
}

fn limits_hold_that_a_profile_sets(lab: &Lab) {
    let profile = lab.file(
        "profile.toml",
        "[limits]\nprocesses = 2\nopen_files = 20\nfile_size = '1K'\nprocessors = '0'\nmemory = '1G'\n",
    );
    // Nobody ends while another is made: see limits, of shells that cannot fork.
    let line = "ulimit -n; ulimit -f; nproc; sleep 0.3 & sleep 0.3 & sleep 0.3 & wait; echo unreached";
    let out = lab.sandbox().option("--profile").option(&profile).sh(line);
    assert_eq!(out.stdout, "20\n2\n1\n", "{out}");
    out.expect_said("more than 2 processes and threads at once (--processes)");
    let out = lab.sandbox().option("--profile").option(&profile).options(["-P", "9"]).sh(line);
    assert!(out.stdout.ends_with("unreached\n"), "{out}");
    // What this machine cannot keep is an error, as with the flag.
    let profile = lab.file("cpu.toml", "limits.processor_time = 50");
    let by_profile = lab.sandbox().option("--profile").option(&profile).sh("echo ran");
    let by_flag = lab.sandbox().options(["--cpu", "50"]).sh("echo ran");
    assert_eq!((by_profile.code(), &by_profile.stderr), (by_flag.code(), &by_flag.stderr));
}

fn an_image_can_be_in_a_profile(lab: &Lab) {
    lab.system("first");
    lab.file("first/etc/motd", "of the image\n");
    let image = lab.image("image", &[&lab.path("first")], "{}");
    let cache = image.cache(lab);
    let profile = lab.file("profile.toml", format!("root.image = '{}'", image.word(lab)));
    let run = || lab.sandbox().env("XDG_CACHE_HOME", &cache).option("--profile").option(&profile);
    let out = run().with_programs().sh("cat /etc/motd");
    assert_eq!(out.expect_code(0).stdout, "of the image\n", "{out}");
    // A root that is said later takes its place.
    let out = run().in_root(lab.system("other")).sh("cat /etc/motd; ls /etc | wc -l");
    assert_eq!(out.stdout, "0\n", "{out}");
    let both = lab.file("both.toml", format!("root = {{ image = '{}', directory = '/' }}", image.word(lab)));
    let out =
        lab.sandbox().env("XDG_CACHE_HOME", &cache).option("--profile").option(both).sh("echo executed");
    out.expect_code(125).expect_said("the root is a directory (--chroot) or an image (--image), not both");
    assert_eq!(out.stdout, "", "{out}");
}

fn what_flags_say_is_written_as_a_profile(lab: &Lab) {
    let root = lab.system("system");
    let explained = |words: &[&str]| {
        let out = lab.sandlock().arguments(["explain"]).arguments(words).output();
        out.expect_code(0).stdout.clone()
    };
    let root = root.to_str().unwrap();
    let words =
        ["--chroot", root, "--mount", "/usr:/usr:ro", "--tmpfs", "/fast:64M", "--uid", "7", "-P", "9"];
    let written = explained(&[&words[..], &["--hostname", "box", "--toml"]].concat());
    for line in
        ["[root]", "mounts = [\"/usr:/usr:ro\"]", "temporary = [\"/fast:64M\"]", "user = 7", "processes = 9"]
    {
        assert!(written.lines().any(|one| one == line), "{line}\n{written}");
    }
    let profile = lab.file("profile.toml", &written);
    let by_flags = explained(&[&words[..], &["--hostname", "box"]].concat());
    assert_eq!(explained(&["--profile", profile.to_str().unwrap()]), by_flags);
    assert_eq!(explained(&["--profile", profile.to_str().unwrap(), "--toml"]), written);
    assert!(!explained(&["--toml"]).contains("[root]"));
}

fn mistakes_are_told_with_their_line(lab: &Lab) {
    for (text, said) in [
        ("[root]\nchroot = '/'", "line 2: unknown field `chroot`"),
        ("\n[root]\nmounts = ['/a']", "line 3: a mount is written VIRTUAL:HOST or VIRTUAL:HOST:ro"),
        ("root.mounts = ['/a/../b:/c']", "line 1: the path inside begins with a slash"),
        ("root.temporary = ['/a:x']", "line 1: a size is a number of bytes"),
        ("root.user = 4294967295", "line 1: a user or group is a number up to 4294967294"),
        ("root.host_name = 'a b'", "--hostname a b: a host name is up to 64 letters"),
        ("root.image = '/a'", "--image /a"),
        ("root.directory = '/nowhere'", "--chroot /nowhere: the path cannot be opened"),
        ("limits.memory = '0'", "line 1: a size is a number of bytes from 1 on"),
    ] {
        let profile = lab.file("profile.toml", text);
        let out = lab.sandbox().option("--profile").option(&profile).sh("echo executed");
        assert_eq!(out.expect_code(125).expect_said(said).stdout, "", "{out}");
    }
    let profile = lab.file("profile.toml", "root.temporary = ['/mnt']");
    let out = lab.sandbox().option("--kernel-only").option("--profile").option(&profile).sh("echo executed");
    out.expect_code(125).expect_said("--kernel-only cannot enforce --tmpfs");
}
