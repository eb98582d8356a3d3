//! A root of the run's own: what is in it, who the command is there, and what is left of it.

use std::fs;

use lab::{Args, Lab, NONE, NameServer, TcpServer, Zone, raw, report};

lab::suite! {
    tests: [
        the_root_holds_what_it_was_given,
        the_machines_own_root_runs_its_programs,
        places_in_memory_are_as_large_as_they_say,
        processors_and_limits_are_found_where_the_root_has_no_sys,
        the_command_is_who_it_is_told_to_be,
        a_command_is_looked_for_in_the_root,
        mounts_alone_leave_the_rest_as_it_is,
        names_are_followed_in_the_mounted_file,
        terminals_are_the_runs_own,
        nothing_is_left_of_it,
        signals_and_time_reach_the_command,
    ],
    programs: [wait_for_a_line, open_a_terminal, tell_signal],
}

fn the_root_holds_what_it_was_given(lab: &Lab) {
    let root = lab.system("root");
    lab.file("root/etc/motd", "of the root\n");
    lab.file("given/file", "given\n");
    let run = || lab.sandbox().in_root(&root).mount("/data/deep", lab.path("given"), "");
    let out = run().sh("pwd; cat /etc/motd /data/deep/file; ls /; echo new > /data/deep/new; echo x > $TMPDIR/x; echo > /dev/null");
    let listed = out.expect_code(0).stdout.strip_prefix("/\nof the root\ngiven\n").unwrap();
    for name in ["data", "dev", "etc", "proc", "tmp", "usr"] {
        assert!(listed.lines().any(|line| line == name), "{name}\n{out}");
    }
    assert_eq!(fs::read(lab.path("given/new")).unwrap(), b"new\n");
    run().option("--cwd").option("/data/deep").sh("cat file").expect_code(0);
    // The root may be read and not written, unless that is said.
    lab.sandbox().in_root(&root).sh("echo x > /etc/new").expect_code(2).expect_said("Permission denied");
    lab.sandbox().in_root(&root).write("/etc").sh("echo x > /etc/new").expect_code(0);
    assert_eq!(fs::read(root.join("etc/new")).unwrap(), b"x\n");
    // With --bare only what is named.
    let bare = lab
        .sandbox()
        .in_root(&root)
        .option("--bare")
        .options(["-r", "/usr", "-r", "/lib", "-r", "/lib64", "-r", "/bin"]);
    bare.sh("cat /etc/motd").expect_code(1).expect_said("Permission denied");
}

/// Any Debian is a root: this machine's own is one.
fn the_machines_own_root_runs_its_programs(lab: &Lab) {
    let compile =
        "cd $TMPDIR && echo 'int main(void) { return 7; }' > a.c && cc a.c -o a && { ./a; echo $?; }";
    for (program, line, said) in [
        ("/usr/bin/apt-get", "apt-get --version | head -1", "apt "),
        ("/usr/bin/python3", "/usr/bin/python3 -c 'import os, socket; print(os.getpid() > 1)'", "True"),
        ("/usr/bin/cc", compile, "7"),
    ] {
        if fs::exists(program).unwrap() {
            let out = lab.sandbox().in_root("/").sh(line);
            assert!(out.expect_code(0).stdout.starts_with(said), "{out}");
        }
    }
}

fn places_in_memory_are_as_large_as_they_say(lab: &Lab) {
    let root = lab.system("root");
    let run = |place: &str| lab.sandbox().in_root(&root).options(["--tmpfs", place]);
    let fill = "head -c 3000000 /dev/zero > /fast/file; echo $?; stat -c %s /fast/file";
    assert_eq!(run("/fast").sh(fill).stdout, "0\n3000000\n");
    let out = run("/fast:1M").sh(fill);
    assert_eq!(out.expect_said("No space left").stdout, "1\n1048576\n", "{out}");
}

/// As the base has them; nothing else of `/sys`, and nobody writes there.
fn processors_and_limits_are_found_where_the_root_has_no_sys(lab: &Lab) {
    let root = lab.system("root");
    let places = ["devices/system/cpu", "devices/system/node", "fs/cgroup", "kernel/mm/transparent_hugepage"];
    let there: Vec<_> =
        places.into_iter().filter(|place| std::path::Path::new("/sys").join(place).is_dir()).collect();
    assert!(there.contains(&"devices/system/cpu"));
    let line = format!(
        "cat /sys/devices/system/cpu/online; for place in {}; do ls -A /sys/$place | head -1 | wc -l; done; \
         ls /sys /sys/devices /sys/devices/system/cpu/../../../class /sys/devices/system/cpu/cpu0/subsystem/; \
         touch /sys/x /sys/fs/x /sys/fs/cgroup/x",
        there.join(" ")
    );
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    for write in [false, true] {
        let run = lab.sandbox().in_root(&root);
        let out = if write { run.write("/") } else { run }.sh(&line);
        let found = online.clone() + &"1\n".repeat(there.len());
        assert!(out.stdout.starts_with(&found), "{out}");
        assert!(out.stdout.contains("/sys:\ndevices\nfs\nkernel\n"), "{out}");
        assert!(out.stdout.contains("/sys/devices:\nsystem\n"), "{out}");
        assert!(out.stderr.contains("class': No such file"), "{out}");
        assert_eq!(out.stderr.matches("Read-only file system").count(), 3, "{out}");
    }
    assert_eq!(fs::read_dir(root.join("sys")).unwrap().count(), 0);
    // Not without the base, nor where something is there already, or mounted.
    let listed = |run: lab::Run| run.sh("ls /sys").stdout;
    lab.directory("given/own");
    assert_eq!(listed(lab.sandbox().in_root(&root).mount("/sys", lab.path("given"), ":ro")), "own\n");
    let below = lab.sandbox().in_root(lab.system("other")).mount("/sys/given", lab.path("given"), ":ro");
    assert_eq!(listed(below), "given\n");
    assert_eq!(listed(lab.sandbox().in_root(&root).options(["--bare", "-r", "/"])), "");
    lab.directory("root/sys/own");
    assert_eq!(listed(lab.sandbox().in_root(&root)), "own\n");
}

fn the_command_is_who_it_is_told_to_be(lab: &Lab) {
    let file = lab.file("given/file", "x");
    let root = lab.system("root");
    let who = "id -u; id -g; uname -n; stat -c %u:%g /given/file; touch /given/new";
    let run = lab.sandbox().in_root(&root).mount("/given", lab.path("given"), "");
    let out = run.options(["--uid", "1234", "--gid", "2345", "--hostname", "box.test"]).sh(who);
    assert_eq!(out.expect_code(0).stdout, "1234\n2345\nbox.test\n1234:2345\n", "{out}");
    // To everybody else it is who it was.
    let owner = |path: &std::path::Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
    assert_eq!(owner(&lab.path("given/new")), owner(&file));
    // Without a root too.
    let out = lab.sandbox().options(["--uid", "0", "--hostname", "box.test"]).sh("id -u; uname -n");
    assert_eq!(out.expect_code(0).stdout, "0\nbox.test\n", "{out}");
    let out = lab.sandbox().in_root(&root).sh("id -u");
    assert_eq!(out.stdout, lab.bare().sh("id -u").stdout, "{out}");
}

fn a_command_is_looked_for_in_the_root(lab: &Lab) {
    let root = lab.system("root");
    lab.script("root/own/tool", "#!/bin/sh\necho of the root\n");
    let here = lab.script("outside/tool", "#!/bin/sh\necho outside\n");
    let run = || lab.sandbox().in_root(&root);
    assert_eq!(
        run().env("PATH", "/own").command("tool", NONE).output().expect_code(0).stdout,
        "of the root\n"
    );
    run().command(&here, NONE).output().expect_code(127).expect_said("command not found");
    run().command("/etc", NONE).output().expect_code(126).expect_said("cannot be executed");
    run()
        .option("--cwd")
        .option("/nowhere")
        .sh("true")
        .expect_code(125)
        .expect_said("/nowhere cannot be entered");
    run().read("/nowhere").sh("true").expect_code(125).expect_said("-r /nowhere: the path cannot be opened");
}

fn mounts_alone_leave_the_rest_as_it_is(lab: &Lab) {
    lab.file("given/file", "given\n");
    lab.file("work/file", "of the working directory\n");
    let run = lab.sandbox().mount("/mnt", lab.path("given"), ":ro");
    let out = run.sh("cat file /mnt/file; touch /mnt/new");
    out.expect_code(1).expect_said("Read-only file system");
    assert_eq!(out.stdout, "of the working directory\ngiven\n", "{out}");
    // The machine's root is not added to.
    let run = lab.sandbox().mount("/sandlock-is-not-here", lab.path("given"), ":ro");
    run.sh("true").expect_code(125).expect_said("/sandlock-is-not-here: nothing can be mounted there");
    assert!(!fs::exists("/sandlock-is-not-here").unwrap());
}

fn names_are_followed_in_the_mounted_file(lab: &Lab) {
    let servers = TcpServer::same_port(["127.0.61.1", "127.0.61.2"]);
    let names = NameServer::start();
    names.set("api.test", Zone::addresses(["127.0.61.1"]).ttl(1));
    let root = lab.system("root");
    let run = lab.sandbox().in_root(&root).allow(format!("api.test:{}", servers[0].port()));
    let run = run.options(["--resolver", &names.address().to_string(), "--names-may-be-local"]);
    let mut run =
        run.program("wait_for_a_line", ["/etc/hosts", "127.0.61.1 api.test", "127.0.61.2 api.test"]).start();
    run.wait_for("127.0.61.1 api.test");
    names.set("api.test", Zone::addresses(["127.0.61.2"]).ttl(1));
    run.wait_for("127.0.61.2 api.test");
    run.finish().expect_code(0);
    // Nobody has to look at `open`.
    let calls = lab
        .sandlock()
        .arguments(["explain", "--calls", "--net-allow", "localhost:80", "--chroot"])
        .arguments([&root])
        .output();
    let openat = calls.stdout.lines().find(|line| line.starts_with("openat ")).unwrap();
    assert!(openat.contains("allow"), "{openat}");
}

fn wait_for_a_line(args: &Args) {
    for index in 1..args.count() {
        while !fs::read_to_string(args.path(0)).unwrap().lines().any(|line| line == args.text(index)) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        report(args.text(index), "seen");
    }
}

fn terminals_are_the_runs_own(lab: &Lab) {
    let out = lab.sandbox().in_root(lab.system("root")).run("open_a_terminal", NONE);
    out.expect("terminal", "/dev/pts/0").expect("said", "hello").expect("others", "0 ptmx");
}

fn open_a_terminal(_: &Args) {
    use std::io::{Read, Write};
    let mut main = fs::File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&main) as usize;
    let mut number = 0i32;
    raw::call(libc::SYS_ioctl, &[fd, libc::TIOCGPTN as usize, raw::out(&mut number)]).unwrap();
    raw::call(libc::SYS_ioctl, &[fd, libc::TIOCSPTLCK as usize, raw::at(&0i32)]).unwrap();
    let name = format!("/dev/pts/{number}");
    let mut other = fs::File::options().read(true).write(true).open(&name).unwrap();
    report("terminal", &name);
    other.write_all(b"hello").unwrap();
    let mut said = [0; 5];
    main.read_exact(&mut said).unwrap();
    report("said", String::from_utf8_lossy(&said));
    let mut others: Vec<_> = fs::read_dir("/dev/pts")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    others.sort();
    report("others", others.join(" "));
}

fn nothing_is_left_of_it(lab: &Lab) {
    let root = lab.system("root");
    lab.directory("given");
    let line = "mkdir -p $TMPDIR/a/b; chmod 0 $TMPDIR/a; sleep 1000 & setsid sleep 1000 & exit 3";
    let run =
        lab.sandbox().in_root(&root).mount("/given", lab.path("given"), "").options(["--tmpfs", "/fast"]);
    run.sh(line).expect_code(3);
    assert_eq!(fs::read_dir(lab.path("tmp")).unwrap().count(), 0);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(lab.root().to_str().unwrap()), "{mounts}");
    // What was missing in the root was made there, and that is all.
    let made = |name: &str| fs::read_dir(root.join(name)).unwrap().count();
    for name in ["dev", "proc", "sys", "tmp", "given", "fast", "usr"] {
        assert_eq!(made(name), 0, "{name}");
    }
}

fn signals_and_time_reach_the_command(lab: &Lab) {
    let root = lab.system("root");
    let mut run = lab.sandbox().in_root(&root).program("tell_signal", NONE).start();
    run.wait_for("ready");
    run.signal(libc::SIGTERM);
    run.finish().expect_code(7).expect("signal", libc::SIGTERM);
    let out = lab.sandbox().in_root(&root).options(["-t", "0.2"]).sh("trap '' TERM; sleep 100; sleep 100");
    out.expect_code(124);
    lab.sandbox().in_root(&root).sh("kill -9 $$").expect_code(137);
}

fn tell_signal(_: &Args) {
    // Blocked, and then waited for.
    let mask = 1u64 << (libc::SIGTERM - 1);
    raw::call(libc::SYS_rt_sigprocmask, &[0, raw::at(&mask), 0, 8]).unwrap();
    report("ready", "yes");
    let signal = raw::call(libc::SYS_rt_sigtimedwait, &[raw::at(&mask), 0, 0, 8]).unwrap();
    report("signal", signal);
    raw::exit(7);
}
