//! What a run may read and write: the base, `-r`, `-w`, `--bare`, and a temporary directory of its own.

use lab::{Lab, NONE, tool};

lab::suite! {
    tests: [
        the_home_is_hidden_and_the_rest_is_readable,
        reading_and_writing_follow_their_flags,
        one_file_can_be_granted,
        a_rule_follows_links_and_starts_at_the_directory,
        bare_starts_from_nothing,
        the_temporary_directory_is_private_and_removed,
        a_working_directory_that_holds_the_home_is_hidden,
        a_command_installed_under_the_home_works,
    ],
}

fn the_home_is_hidden_and_the_rest_is_readable(lab: &Lab) {
    let secret = lab.file("home/.ssh/id", "secret");
    let read = format!("cat {}", secret.display());
    assert_eq!(lab.bare().sh(&read).stdout, "secret");
    let out = lab.sandbox().sh(&read);
    assert!(out.code() != 0 && out.stdout.is_empty(), "{out}");
    lab.file("work/here", "here");
    let out = lab.sandbox().sh("cat here /etc/passwd /dev/null && ls / /usr > /dev/null; ls -d /usr/bin");
    assert!(out.stdout.starts_with("here"), "{out}");
    assert!(out.stdout.contains("/usr/bin"), "{out}");
    // The working directory is readable only.
    assert!(lab.sandbox().sh("echo x > here").code() != 0);
    assert!(lab.sandbox().sh("touch new").code() != 0);
}

fn reading_and_writing_follow_their_flags(lab: &Lab) {
    lab.file("readable/file", "content");
    lab.file("writable/file", "content");
    let run = || lab.sandbox().read(lab.path("readable")).write(lab.path("writable"));
    run().sh("cat ../readable/file ../writable/file && ls ../readable ../writable").expect_code(0);
    run()
        .sh("echo more >> ../writable/file && mkdir ../writable/d && mv ../writable/file ../writable/d/moved")
        .expect_code(0);
    assert!(lab.path("writable/d/moved").exists());
    let out = run().sh("echo more >> ../readable/file");
    assert!(out.code() != 0, "{out}");
    let out = run().sh("rm -f ../readable/file");
    assert!(out.code() != 0, "{out}");
    // Programs in either can be executed.
    for place in ["readable", "writable"] {
        let script = lab.script(format!("{place}/script"), "#!/bin/sh\nexit 5\n");
        run().command(script, NONE).output().expect_code(5);
    }
}

fn one_file_can_be_granted(lab: &Lab) {
    let (file, beside) = (lab.file("place/file", "content"), lab.file("place/beside", "content"));
    let run = || lab.sandbox().write(&file);
    run().sh(&format!("cat {0} && echo x > {0}", file.display())).expect_code(0);
    assert!(run().sh(&format!("cat {}", beside.display())).code() != 0);
    assert!(run().sh(&format!("rm {}", file.display())).code() != 0);
    assert_eq!(std::fs::read(&file).unwrap(), b"x\n");
}

fn a_rule_follows_links_and_starts_at_the_directory(lab: &Lab) {
    lab.file("place/file", "content");
    let link = lab.path("work/link");
    std::os::unix::fs::symlink(lab.path("place"), &link).unwrap();
    assert!(lab.sandbox().sh("cat link/file").code() != 0);
    lab.sandbox().read(&link).sh("cat link/file").expect_code(0);
    lab.sandbox().read("../place").sh("cat ../place/file").expect_code(0);
    lab.sandbox().write("link").sh("touch link/new").expect_code(0);
    assert!(lab.path("place/new").exists());
}

fn bare_starts_from_nothing(lab: &Lab) {
    lab.file("work/file", "content");
    // Nothing to load the program with.
    assert!(lab.sandbox().option("--bare").sh("exit 0").code() != 0);
    let with = |places: &[&str]| {
        places
            .iter()
            .filter(|place| std::path::Path::new(place).exists())
            .fold(lab.sandbox().option("--bare"), |run, place| run.read(place))
    };
    let system = ["/usr", "/bin", "/lib", "/lib64"];
    with(&system).sh("exit 6").expect_code(6);
    for hidden in
        ["cat file", "cat /etc/passwd", "cat /proc/self/status", "echo > /dev/null", "ls /tmp", "ls /"]
    {
        let out = with(&system).sh(hidden);
        assert!(out.code() != 0, "{out}");
    }
    assert!(with(&system).sh("echo \"$TMPDIR\"; touch \"$TMPDIR/x\"").code() != 0);
    with(&system).read(lab.path("work")).sh("cat file").expect_code(0);
}

fn the_temporary_directory_is_private_and_removed(lab: &Lab) {
    let out = lab
        .sandbox()
        .sh("set -e; echo temporary=$TMPDIR; touch $TMPDIR/file; mkdir -p $TMPDIR/a/b; chmod 0 $TMPDIR/a/b
         stat -c mode=%a $TMPDIR; mktemp");
    out.expect_code(0).expect("mode", 700);
    let temporary = std::path::PathBuf::from(out.value("temporary"));
    assert!(temporary.starts_with(lab.path("tmp")), "{out}");
    assert!(!temporary.exists(), "{out}");
    assert_eq!(std::fs::read_dir(lab.path("tmp")).unwrap().count(), 0);
    // However the command ends.
    lab.sandbox().sh("touch $TMPDIR/file; kill -KILL $$").expect_code(137);
    lab.sandbox().options(["-t", "0.1"]).sh("touch $TMPDIR/file; sleep 10").expect_code(124);
    assert_eq!(std::fs::read_dir(lab.path("tmp")).unwrap().count(), 0);
    // Two runs have two.
    let other = lab.sandbox().sh("echo temporary=$TMPDIR");
    assert!(other.value("temporary") != out.value("temporary"));
    // What others have there stays hidden.
    lab.file("tmp/other", "secret");
    assert!(lab.sandbox().sh(&format!("cat {}", lab.path("tmp/other").display())).code() != 0);
}

fn a_working_directory_that_holds_the_home_is_hidden(lab: &Lab) {
    let secret = lab.file("home/secret", "secret");
    for directory in [lab.root(), lab.path("home")] {
        let out = lab.sandbox().directory(directory).sh(&format!("cat {}", secret.display()));
        assert!(out.code() != 0 && !out.stdout.contains("secret"), "{out}");
    }
    // Named, it is granted.
    lab.sandbox().read(lab.path("home")).sh(&format!("cat {}", secret.display())).expect_code(0);
}

/// A virtual environment: the command is a link below the home, its libraries are beside it.
fn a_command_installed_under_the_home_works(lab: &Lab) {
    let python = tool("python3", "python3");
    let place = lab.path("home/project/venv");
    lab.directory("home/project");
    let made = format!("{} -m venv --without-pip {}", python.display(), place.display());
    lab.bare().sh(&made).expect_code(0);
    let secret = lab.file("home/secret", "secret");
    let script = "import sys\nprint('prefix=' + sys.prefix)\ntry: open(sys.argv[1])\nexcept OSError as e: print('secret=' + str(e.errno))";
    let out = lab
        .sandbox()
        .command(place.join("bin/python3"), ["-c".as_ref(), script.as_ref(), secret.as_os_str()]);
    out.output().expect("prefix", place.display()).expect("secret", libc::EACCES).expect_code(0);
}
