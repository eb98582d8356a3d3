//! `--fs-deny` takes something out of a wider grant. A program that may write all around it can move, link and rename,
//! spell a path in many ways, and exchange what a path leads to while it is looked up. What is denied stays as it is, unread;
//! and what is beside it can be used as ever. In a root of the run's own paths are looked up after it was entered, and mounts
//! show places under more than one name.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use lab::{Args, Errno, Lab, Output, Run, raw, report, shown};

use crate::place::{Ground, Place, SECRET};

lab::suite! {
    tests: [
        nothing_reads_what_is_denied,
        nothing_changes_what_is_denied,
        what_is_not_there_is_not_made,
        what_somebody_outside_puts_there_is_denied,
        a_path_exchanged_while_it_is_looked_up_leads_nowhere_else,
        what_is_beside_is_used_as_ever,
        a_mount_that_shows_what_is_denied_is_an_error,
        a_place_of_the_root_is_denied,
        a_fifo_beside_stalls_nobody,
        sockets_and_metadata_are_denied_as_well,
        a_grant_in_a_denied_place_grants_nothing,
        no_socket_is_bound_where_it_is_denied,
        proc_is_never_that_of_somebody_else,
        what_is_denied_is_not_served,
        nothing_is_done_for_who_has_confined_itself,
    ],
    programs: [read_by_all_ways, change_by_all_ways, make_by_all_ways, race_for, work_beside, open_fifo, touch_socket, bind_sockets, read_proc, confined],
}

fn nothing_reads_what_is_denied(lab: &Lab) {
    for ground in [Ground::Bare, Ground::Readable].into_iter().chain(Ground::writable(lab)) {
        let place = Place::new(lab, ground, "place");
        let read = |run: Run| {
            let files = [place.root.clone(), place.file.clone(), place.directory.join("inner/secret")];
            let out = run.run("read_by_all_ways", files);
            let secrets = out.stdout.lines().filter(|line| line.ends_with("=secret")).count();
            (out, secrets)
        };
        if ground == Ground::Bare {
            let (bare, secrets) = read(place.run());
            assert!(secrets > 30, "{bare}");
            continue;
        }
        // Without the denial it is read.
        let out = place.run().sh(&format!("cat '{}'", place.file.display()));
        assert_eq!(out.expect_code(0).stdout, SECRET);
        let (out, secrets) = read(place.denied());
        assert_eq!(secrets, 0, "{ground:?}\n{out}");
        out.expect("beside", "ok");
        assert!(out.stdout.lines().count() > 30 && place.is_whole(), "{ground:?}\n{out}");
        out.expect_said(&format!("  {}, which --fs-deny refuses", place.file.display()));
    }
}

fn nothing_changes_what_is_denied(lab: &Lab) {
    for act in CHANGES {
        let place = Place::new(lab, Ground::Bare, act);
        place.run().run("change_by_all_ways", [act.as_ref(), place.root.as_os_str()]).expect("changed", "ok");
        assert!(!place.is_whole(), "{act} changes nothing");
    }
    for ground in Ground::writable(lab) {
        let place = Place::new(lab, ground, "place");
        let out = place.denied().run("change_by_all_ways", ["all".as_ref(), place.root.as_os_str()]);
        for act in CHANGES {
            assert!(out.value(act) != "ok", "{ground:?} {act}\n{out}");
        }
        assert!(place.is_whole(), "{ground:?}\n{out}");
    }
}

fn what_is_not_there_is_not_made(lab: &Lab) {
    let all = |out: &Output, answer: &str| MAKES.iter().for_each(|way| _ = out.expect(way, answer));
    let bare = Place::new(lab, Ground::Bare, "place");
    all(&bare.run().run("make_by_all_ways", [&bare.root.join("bare")]), "ok");
    for ground in Ground::writable(lab) {
        let place = Place::new(lab, ground, "place");
        // The first name that is missing is denied, and what is beside it made as ever.
        for (denied, made, answer) in [
            ("later", "beside", "ok"),
            ("later", "later", "EACCES"),
            ("missing/below/it", "missing", "EACCES"),
        ] {
            let run = place.run().option("--fs-deny").option(place.root.join(denied));
            all(&run.run("make_by_all_ways", [&place.root.join(made)]), answer);
            assert!(std::fs::symlink_metadata(place.root.join(made)).is_err());
        }
    }
}

/// Also what is not there yet. Editors replace a file by renaming another over it: a mount over it would be taken away by
/// that, in all namespaces.
fn what_somebody_outside_puts_there_is_denied(lab: &Lab) {
    for ground in Ground::SHARED {
        for kind in ["file", "directory", "renamed over"] {
            let place = Place::new(lab, ground, kind);
            let path = if kind == "renamed over" { place.file.clone() } else { place.root.join("later") };
            let line = format!(
                "echo ready=yes; read go; cat '{0}'; echo read=$?; ls '{0}/.'; echo listed=$?; cat '{1}/sub/ok'; echo; echo other=$?",
                path.display(),
                place.root.display()
            );
            let run = place.denied().option("--fs-deny").option(place.root.join("later")).input_pipe();
            let mut run = run.command("/bin/sh", ["-c", &line]).start();
            run.wait_for("ready");
            match kind {
                "directory" => std::fs::create_dir(&path).unwrap(),
                "file" => std::fs::write(&path, "a new secret\n").unwrap(),
                _ => {
                    let new = path.with_extension("new");
                    std::fs::write(&new, "a new secret\n").unwrap();
                    std::fs::rename(&new, &path).unwrap();
                }
            }
            run.send("go\n");
            let out = run.finish();
            assert!(out.value("read") != "0" && out.value("listed") != "0", "{ground:?} {kind}\n{out}");
            assert!(!out.stdout.contains("secret"), "{out}");
            out.expect("other", "0");
        }
    }
}

fn a_path_exchanged_while_it_is_looked_up_leads_nowhere_else(lab: &Lab) {
    for ground in [Ground::Bare].into_iter().chain(Ground::writable(lab)) {
        for way in ["link", "directory", "memory"] {
            let place = Place::new(lab, ground, way);
            let denied = ground != Ground::Bare;
            let run = if denied { place.denied() } else { place.run() };
            let out = run.run("race_for", [way.as_ref(), place.root.as_os_str()]);
            out.expect("secret", if denied { "never" } else { "read" }).expect("ok", "read");
            assert!(place.is_whole(), "{out}");
        }
    }
}

fn what_is_beside_is_used_as_ever(lab: &Lab) {
    let bare = Place::new(lab, Ground::Bare, "place");
    let expected = bare.run().run("work_beside", [&bare.root]);
    assert!(expected.stdout.lines().count() > 40);
    for ground in Ground::writable(lab) {
        let place = Place::new(lab, ground, "place");
        let out = place.denied().run("work_beside", [&place.root]);
        assert_eq!(out.stdout, expected.stdout, "{ground:?}\n{out}\n{expected}");
        assert!(place.is_whole());
        assert_eq!(out.stderr, "", "{ground:?}\n{out}");
    }
}

/// To Landlock a directory is one, wherever it is mounted: what is granted of it by one name is by all.
fn a_mount_that_shows_what_is_denied_is_an_error(lab: &Lab) {
    let place = Place::new(lab, Ground::Mounts, "place");
    let at = lab.directory("at");
    let run = |what: &Path, denied: &Path| {
        place.run().mount(&at, what, ":ro").option("--fs-deny").option(denied).sh("echo executed")
    };
    let sub = place.root.join("sub");
    symlink(place.directory.join("inner"), lab.path("link")).unwrap();
    assert_eq!(run(&sub, &place.directory).expect_code(0).stdout, "executed\n");
    for (what, denied) in [
        (place.root.as_path(), place.directory.as_path()),
        (&sub, &place.file),
        (&sub.join("deep"), &sub),
        (&place.directory, &place.directory),
        (&place.directory.join("inner"), &place.directory),
        (&lab.path("link"), &place.directory),
    ] {
        let out = run(what, denied);
        out.expect_code(125).expect_said("shows it under another name");
        assert_eq!(out.stdout, "", "{out}");
    }
    // What is denied by its path in another root, or in another mount.
    let root = lab.system("other");
    lab.file("other/srv/denied/below/secret", "a secret\n");
    lab.file("given/denied/below/secret", "a secret\n");
    let given = lab.path("given");
    let apart = |at: &str, what: &Path, denied: &str| {
        let run = lab.sandbox().in_root(&root).mount("/mnt", &given, ":ro").mount(at, what, ":ro");
        run.option("--fs-deny").option(denied).sh("echo executed; cat /shown/below/secret /shown/secret")
    };
    for (real, seen) in [(root.join("srv"), "/srv"), (given.clone(), "/mnt")] {
        let out = apart("/shown", &real.join("denied"), &format!("{seen}/none"));
        assert_eq!(out.stdout, "executed\na secret\n", "{out}");
        let denied = format!("{seen}/denied");
        for what in ["denied", "denied/below"] {
            let out = apart("/shown", &real.join(what), &denied);
            out.expect_code(125).expect_said("/shown shows it under another name");
            assert_eq!(out.stdout, "", "{out}");
        }
        // Where it is shown in the denied place itself it is denied with it.
        let out = apart(&format!("{denied}/below"), &real.join("denied/below"), &denied);
        assert_eq!(out.stdout, "executed\n", "{out}");
    }
}

/// A path that only the root has, below the grant of all of it.
fn a_place_of_the_root_is_denied(lab: &Lab) {
    let root = lab.system("other");
    lab.file("other/srv/secret", "a secret\n");
    lab.file("other/srv/open", "open\n");
    let line = "cat /srv/secret; echo secret=$?; cat /srv/open; echo open=$?";
    let run = || lab.sandbox().in_root(&root);
    run().sh(line).expect("secret", 0).expect("open", 0);
    for denied in ["/srv/secret", "srv/secret"] {
        let out = run().option("--fs-deny").option(denied).sh(line);
        out.expect("secret", 1).expect("open", 0);
        assert!(!out.stdout.contains("a secret"), "{out}");
    }
    let out = run().option("--fs-deny").option("/srv").sh(line);
    out.expect("secret", 1).expect("open", 1);
}

/// Whoever opens one waits for its other end: not on behalf.
fn a_fifo_beside_stalls_nobody(lab: &Lab) {
    let place = Place::new(lab, Ground::Machine, "place");
    let out = place.denied().run("open_fifo", [&place.root]);
    out.expect("mkfifo", "ok").expect("read", "EACCES").expect("write", "EACCES").expect("ok", "ok");
}

fn sockets_and_metadata_are_denied_as_well(lab: &Lab) {
    let place = Place::new(lab, Ground::Machine, "place");
    let listener = std::os::unix::net::UnixListener::bind(place.directory.join("socket")).unwrap();
    lab.own(&place.directory.join("socket"));
    let beside = std::os::unix::net::UnixListener::bind(place.root.join("socket")).unwrap();
    lab.own(&place.root.join("socket"));
    lab.bare().run("touch_socket", [&place.root]).expect("denied", "ok").expect("mode of denied", "ok");
    std::fs::set_permissions(place.directory.join("inner/secret"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    let out = place.denied().run("touch_socket", [&place.root]);
    out.expect("beside", "ok").expect("denied", "ECONNREFUSED").expect("mode of beside", "ok");
    for key in ["mode of denied", "mode of denied by handle", "times of denied", "owner of denied"] {
        out.expect(key, "EACCES");
    }
    assert!(place.is_whole());
    drop((listener, beside));
}

fn a_grant_in_a_denied_place_grants_nothing(lab: &Lab) {
    let place = Place::new(lab, Ground::Machine, "place");
    let line = format!("cat {}/inner/secret", place.directory.display());
    for denied in [&place.directory, &place.directory.join("inner"), &place.root] {
        let run = || lab.sandbox().read(place.directory.join("inner"));
        run().sh(&line).expect_code(0);
        run().option("--fs-deny").option(denied).sh(&line).expect_code(1);
    }
    // By a link, and from the directory that the command starts in.
    let link = lab.path("link");
    symlink(&place.directory, &link).unwrap();
    for spelling in [link.as_path(), Path::new("sub/../private"), Path::new("./private/")] {
        let run = lab.sandbox().write(&place.root).options(["--cwd".as_ref(), place.root.as_os_str()]);
        run.option("--fs-deny").option(spelling).sh(&line).expect_code(1);
    }
    for path in ["/", "/proc/self/no/such"] {
        let run = lab.sandbox().option("--fs-deny").option(path);
        let out = run.sh("echo executed");
        assert!(path != "/" || out.code() == 125, "{out}");
    }
    let said = "--kernel-only cannot enforce --fs-deny";
    lab.sandbox()
        .options(["--kernel-only", "--fs-deny", "/srv"])
        .sh("true")
        .expect_code(125)
        .expect_said(said);
}

/// Landlock decides on names of sockets, or they are bound on behalf: with a port space they are.
fn no_socket_is_bound_where_it_is_denied(lab: &Lab) {
    let bare = Place::new(lab, Ground::Bare, "place");
    let out = bare.run().run("bind_sockets", [&bare.root]);
    for name in BOUND {
        out.expect(name, "ok");
    }
    for options in [&[][..], &["--port-remap"]] {
        let place = Place::new(lab, Ground::Machine, &options.concat());
        let later = place.root.join("later");
        let out = place
            .denied()
            .options(options)
            .option("--fs-deny")
            .option(&later)
            .run("bind_sockets", [&place.root]);
        for name in ["private/socket", "private/inner/socket", "later", "link/socket"] {
            out.expect(name, "EACCES");
        }
        out.expect("beside", if options.is_empty() { "EACCES" } else { "ok" });
        assert!(place.is_whole() && !later.exists() && !place.directory.join("socket").exists(), "{out}");
    }
}

/// What is opened on behalf is opened by another process, which `/proc` would show its own.
fn proc_is_never_that_of_somebody_else(lab: &Lab) {
    lab.bare().run("read_proc", ["."]).expect("others", 0).expect("self", "own").expect("memory", "own");
    let file = lab.file("place/secret", SECRET);
    let hole = lab.path("place");
    // In places with holes, and beside them; with a /proc of the run's own, and without.
    for (grant, hole) in [("/", &*hole), ("/", Path::new("/proc/sys")), ("/proc", Path::new("/proc/sys"))] {
        for options in [&[][..], &["--port-remap"]] {
            let run = lab.sandbox().write(grant).option("--fs-deny").option(hole).options(options);
            let out = run.run("read_proc", [&file]);
            out.expect("others", 0);
            for name in ["self", "thread", "by link", "memory"] {
                assert!(["own", "EACCES", "ENOENT", "EPERM"].contains(&out.value(name)), "{grant} {out}");
            }
            let sees_itself = hole != Path::new("/proc/sys");
            assert!(!sees_itself || out.value("self") == "own", "{grant} {out}");
            assert!(!sees_itself || out.value("denied") == "EACCES", "{grant} {out}");
            assert!(sees_itself || out.value("sysctl") == "EACCES", "{grant} {out}");
        }
    }
    // A link that is denied leads nowhere, to /proc neither.
    let place = lab.directory("links/denied");
    symlink("/proc/self/status", place.join("link")).unwrap();
    let run = |options: &[&str]| {
        let run = lab.sandbox().write(lab.path("links")).option("--port-remap").options(options);
        run.sh(&format!("cat {} > /dev/null; echo code=$?", place.join("link").display()))
    };
    run(&[]).expect("code", 0);
    run(&["--fs-deny", place.to_str().unwrap()]).expect("code", 1);
}

/// `read_proc DENIED`.
fn read_proc(args: &Args) {
    let this = std::process::id();
    let owner = |path: &str| {
        let text = match io(std::fs::read_to_string(path)) {
            Ok(text) => text,
            Err(errno) => return shown::<usize>(Err(errno)),
        };
        match text.lines().find_map(|line| line.strip_prefix("Pid:")) {
            Some(pid) if pid.trim() == this.to_string() => "own".to_owned(),
            Some(pid) => format!("that of {}", pid.trim()),
            None => "something else".to_owned(),
        }
    };
    report("self", owner("/proc/self/status"));
    report("thread", owner("/proc/thread-self/status"));
    let link = std::env::temp_dir().join("link");
    let _ = symlink("/proc/self/status", &link);
    report("by link", owner(link.to_str().unwrap()));
    let _ = std::fs::remove_file(&link);
    report("sysctl", shown(open("/proc/sys/kernel/osrelease")));
    report("denied", shown(open(args.path(0))));
    // A value of this process, at its address.
    let value = std::hint::black_box(0x1357_2468_u32 ^ this);
    let memory = open_at(HERE, "/proc/self/mem", libc::O_RDWR).map(|file| {
        let mut read = [0u8; 4];
        let _ = raw::call(libc::SYS_pread64, &[file, raw::out(&mut read), 4, &raw const value as usize]);
        if u32::from_ne_bytes(read) == value { "own" } else { "another's" }
    });
    report("memory", memory.map_or_else(|errno| shown::<usize>(Err(errno)), str::to_owned));
    // Whoever is not below the run's command or is itself: its supervisor, for one.
    let parent = std::os::unix::process::parent_id();
    let secrets = ["mem", "environ", "maps", "fd/0", "root/etc/hostname", "exe"];
    let reads = |name: &&&str| args.text(0) != "." && open(format!("/proc/{parent}/{name}")).is_ok();
    report("others", secrets.iter().filter(reads).count());
}

fn what_is_denied_is_not_served(lab: &Lab) {
    let run = |options: &[&str]| {
        let run = lab.sandbox().allow("localhost:80").options(options);
        run.sh("cat /etc/hosts > /dev/null; echo code=$?")
    };
    run(&[]).expect("code", 0);
    run(&["--fs-deny", "/etc/hosts"]).expect("code", 1);
    run(&["--fs-deny", "/etc"]).expect("code", 1);
}

/// What a program gave up by a Landlock domain of its own stays given up, whoever acts on its behalf.
fn nothing_is_done_for_who_has_confined_itself(lab: &Lab) {
    let bare = Place::new(lab, Ground::Bare, "place");
    let acts = ["read", "made", "directory", "moved", "removed"];
    let out = bare.run().run("confined", ["no".as_ref(), bare.root.as_os_str()]);
    acts.iter().for_each(|act| _ = out.expect(act, "ok"));
    for (confined, expected) in [("no", "ok"), ("yes", "EACCES")] {
        let place = Place::new(lab, Ground::Machine, confined);
        let out = place.denied().run("confined", [confined.as_ref(), place.root.as_os_str()]);
        acts.iter().for_each(|act| _ = out.expect(act, expected));
    }
}

/// `confined yes|no PLACE`.
fn confined(args: &Args) {
    if args.text(0) == "yes" {
        // All rights of the first version.
        let ruleset = raw::call(libc::SYS_landlock_create_ruleset, &[raw::at(&[0x1fffu64]), 8, 0]).unwrap();
        raw::call(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0]).unwrap();
        raw::call(libc::SYS_landlock_restrict_self, &[ruleset, 0]).unwrap();
    }
    let place = args.path(1);
    report("read", shown(open(place.join("ok")).map(|_| 0)));
    report("made", shown(open_at(HERE, place.join("new"), libc::O_CREAT | libc::O_WRONLY).map(|_| 0)));
    report("directory", shown(io(std::fs::create_dir(place.join("made"))).map(|()| 0)));
    report("moved", shown(io(std::fs::rename(place.join("ok"), place.join("other"))).map(|()| 0)));
    report("removed", shown(io(std::fs::remove_file(place.join("other"))).map(|()| 0)));
}

const BOUND: [&str; 5] = ["private/socket", "private/inner/socket", "later", "link/socket", "beside"];

/// `bind_sockets PLACE`.
fn bind_sockets(args: &Args) {
    let place = args.path(0);
    let _ = symlink("private/inner", place.join("link"));
    for name in BOUND {
        let socket = raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
        report(name, shown(raw::bind(socket, &raw::unix(&place.join(name)))));
        let _ = std::fs::remove_file(place.join(name));
    }
}

const HERE: usize = -100isize as usize;

fn terminated(path: impl AsRef<Path>) -> Vec<u8> {
    [path.as_ref().as_os_str().as_bytes(), b"\0"].concat()
}

fn open_at(directory: usize, path: impl AsRef<Path>, flags: i32) -> Result<usize, Errno> {
    let path = terminated(path);
    raw::call(libc::SYS_openat, &[directory, raw::at(&path[..]), flags as usize, 0o644])
}

fn open(path: impl AsRef<Path>) -> Result<usize, Errno> {
    open_at(HERE, path, libc::O_RDONLY)
}

fn open2(directory: usize, path: &Path, restrictions: u64) -> Result<usize, Errno> {
    let path = terminated(path);
    let how = [0u64, 0, restrictions];
    raw::call(libc::SYS_openat2, &[directory, raw::at(&path[..]), raw::at(&how), 24])
}

/// Makes a file by its name in a directory that is open.
fn make2(place: &Path, path: &Path, restrictions: u64, size: usize) -> Result<usize, Errno> {
    let directory = open_at(HERE, place, libc::O_PATH | libc::O_DIRECTORY)?;
    let name = terminated(path.strip_prefix(place).unwrap());
    let how = [(libc::O_CREAT | libc::O_WRONLY) as u64, 0o644, restrictions, 0, 0];
    let made = raw::call(libc::SYS_openat2, &[directory, raw::at(&name[..]), raw::at(&how), size]);
    raw::close(directory as i32);
    made
}

/// `include/uapi/linux/openat2.h`.
const RESOLVE_BENEATH: u64 = 8;
const RESOLVE_IN_ROOT: u64 = 16;

/// What is read from there.
fn content(file: Result<usize, Errno>) -> String {
    let file = match file {
        Ok(file) => file,
        Err(errno) => return errno.to_string(),
    };
    let mut bytes = [0u8; 64];
    let read = raw::call(libc::SYS_read, &[file, raw::out(&mut bytes), 64]);
    raw::close(file as i32);
    match read {
        Ok(count) if bytes[..count] == *SECRET.as_bytes() => "secret".to_owned(),
        Ok(_) => "other".to_owned(),
        Err(errno) => errno.to_string(),
    }
}

fn io<T>(result: std::io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| Errno::from(&error))
}

/// `read_by_all_ways PLACE FILE...`.
fn read_by_all_ways(args: &Args) {
    let place = args.path(0);
    for index in [1, 2] {
        let file = args.path(index);
        let say = |way: &str, what: String| report(format!("{index} {way}"), what);
        let (directory, name) = (file.parent().unwrap(), Path::new(file.file_name().unwrap()));
        let relative = file.strip_prefix(place).unwrap();
        // Where it is an image, what is above it becomes the run's own copy.
        let _ = std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755));
        say("open", content(raw::call(libc::SYS_open, &[raw::at(&terminated(file)[..]), 0, 0])));
        say("openat", content(open(file)));
        say("read and write", content(open_at(HERE, file, libc::O_RDWR)));
        say("create", content(open_at(HERE, file, libc::O_RDWR | libc::O_CREAT)));
        say("openat2", content(open2(HERE, file, 0)));
        let handle = |path: &Path| open_at(HERE, path, libc::O_PATH);
        let of_place = handle(place).unwrap();
        say("relative to the place", content(open_at(of_place, relative, 0)));
        // RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS.
        for restrictions in [8, 0x10, 4] {
            say(&format!("restricted {restrictions}"), content(open2(of_place, relative, restrictions)));
        }
        say("in root", content(open2(of_place, &Path::new("/").join(relative), 0x10)));
        say(
            "through ..",
            content(open(directory.join("..").join(directory.file_name().unwrap()).join(name))),
        );
        say("doubled", content(open(place.join("./sub//.././/").join(relative))));
        let handle_of_directory = handle(directory);
        say("handle of the directory", content(handle_of_directory.and_then(|at| open_at(at, name, 0))));
        say(
            "directory",
            content(open_at(HERE, directory, libc::O_DIRECTORY).and_then(|at| {
                let mut bytes = [0u8; 256];
                raw::call(libc::SYS_getdents64, &[at, raw::out(&mut bytes), 256])?;
                open_at(at, name, 0)
            })),
        );
        say("handle in proc", content(handle(file).and_then(|at| open(format!("/proc/self/fd/{at}")))));
        say("handle in dev", content(handle(file).and_then(|at| open(format!("/dev/fd/{at}")))));
        let process = std::process::id();
        say(
            "handle in proc of the number",
            content(handle(file).and_then(|at| open(format!("/proc/{process}/fd/{at}")))),
        );
        say(
            "directory in proc",
            content(handle(directory).and_then(|at| open(format!("/proc/self/fd/{at}/{}", name.display())))),
        );
        say("root in proc", content(open(format!("/proc/self/root{}", file.display()))));
        say("working directory", content(io(std::env::set_current_dir(directory)).and_then(|()| open(name))));
        say("working directory in proc", content(open(Path::new("/proc/self/cwd").join(name))));
        std::env::set_current_dir(place).unwrap();
        for (way, at) in [("place", place), ("elsewhere", Path::new("../work"))] {
            let link = at.join(format!("link{index}"));
            let made = |path: &Path| {
                let _ = std::fs::remove_file(&link);
                io(symlink(path, &link)).map(|()| link.clone())
            };
            say(&format!("link in the {way}"), content(made(file).and_then(open)));
            say(
                &format!("link to its directory in the {way}"),
                content(made(directory).and_then(|link| open(link.join(name)))),
            );
            say(
                &format!("link to a link in the {way}"),
                content(made(Path::new("/proc/self/cwd")).and_then(|link| open(link.join(relative)))),
            );
            let _ = std::fs::remove_file(&link);
            say(
                &format!("hard link in the {way}"),
                content(io(std::fs::hard_link(file, &link)).and_then(|()| open(&link))),
            );
            let _ = std::fs::remove_file(&link);
            let by_handle = handle(file).and_then(|from| {
                let (from, to) = (terminated(format!("/proc/self/fd/{from}")), terminated(&link));
                let follow = libc::AT_SYMLINK_FOLLOW as usize;
                raw::call(libc::SYS_linkat, &[HERE, raw::at(&from[..]), HERE, raw::at(&to[..]), follow])
            });
            say(&format!("hard link by handle in the {way}"), content(by_handle.and_then(|_| open(&link))));
            let _ = std::fs::remove_file(&link);
            let by_empty_path = handle(file).and_then(|from| {
                let (empty, to) = (raw::at(b"\0"), terminated(&link));
                let flags = libc::AT_EMPTY_PATH as usize;
                raw::call(libc::SYS_linkat, &[from, empty, HERE, raw::at(&to[..]), flags])
            });
            say(
                &format!("hard link by empty path in the {way}"),
                content(by_empty_path.and_then(|_| open(&link))),
            );
            let _ = std::fs::remove_file(&link);
            let move_back = |from: &Path, to: &Path, read: &Path| {
                let read = io(std::fs::rename(from, to)).map(|()| content(open(read)));
                if read.is_ok() {
                    std::fs::rename(to, from).unwrap();
                }
                read.unwrap_or_else(|errno| errno.to_string())
            };
            say(&format!("renamed in the {way}"), move_back(file, &link, &link));
            say(&format!("renamed directory in the {way}"), move_back(directory, &link, &link.join(name)));
            let top = place.join(relative.iter().next().unwrap());
            let below_top = relative.iter().skip(1).collect::<PathBuf>();
            say(&format!("renamed ancestor in the {way}"), move_back(&top, &link, &link.join(below_top)));
            say(&format!("exchanged with the {way}"), exchanged(file, &link));
        }
    }
    report("beside", shown(open(place.join("ok"))));
}

/// By RENAME_EXCHANGE.
fn exchanged(file: &Path, other: &Path) -> String {
    if let Err(errno) = io(std::fs::write(other, "x")) {
        return errno.to_string();
    }
    let (one, two) = (terminated(file), terminated(other));
    let exchange = || raw::call(libc::SYS_renameat2, &[HERE, raw::at(&one[..]), HERE, raw::at(&two[..]), 2]);
    match exchange() {
        Ok(_) => {
            let read = content(open(other));
            exchange().unwrap();
            read
        }
        Err(errno) => errno.to_string(),
    }
}

const CHANGES: [&str; 15] = [
    "truncate",
    "open and truncate",
    "creat",
    "append",
    "unlink",
    "rename away",
    "rename over",
    "rename its directory",
    "remove below",
    "make below",
    "link below",
    "chmod",
    "fchmodat",
    "chmod by handle",
    "exchange",
];

/// `change_by_all_ways all|ACT PLACE`.
fn change_by_all_ways(args: &Args) {
    let place = args.path(1);
    let (file, directory) = (place.join("sub/deep/secret"), place.join("private"));
    for act in CHANGES.iter().filter(|act| ["all", act].contains(&args.text(0))) {
        let path = terminated(&file);
        let path = raw::at(&path[..]);
        let done = match *act {
            "truncate" => raw::call(libc::SYS_truncate, &[path, 1]).map(drop),
            "open and truncate" => open_at(HERE, &file, libc::O_WRONLY | libc::O_TRUNC).map(drop),
            "creat" => raw::call(libc::SYS_creat, &[path, 0o600]).map(drop),
            "append" => open_at(HERE, &file, libc::O_WRONLY | libc::O_APPEND)
                .and_then(|file| raw::call(libc::SYS_write, &[file, raw::at(b"x"), 1]))
                .map(drop),
            "unlink" => raw::call(libc::SYS_unlink, &[path]).map(drop),
            "rename away" => io(std::fs::rename(&file, place.join("away"))),
            "rename over" => io(std::fs::rename(place.join("ok"), &file)),
            "rename its directory" => io(std::fs::rename(&directory, place.join("moved"))),
            "remove below" => io(std::fs::remove_file(directory.join("inner/secret"))),
            "make below" => io(std::fs::write(directory.join("inner/secret"), "x")),
            "link below" => io(std::fs::hard_link(directory.join("inner/secret"), place.join("linked"))),
            "chmod" => raw::call(libc::SYS_chmod, &[path, 0o600]).map(drop),
            "fchmodat" => raw::call(libc::SYS_fchmodat, &[HERE, path, 0o600]).map(drop),
            "chmod by handle" => open_at(HERE, &file, libc::O_PATH)
                .and_then(|handle| {
                    let path = terminated(format!("/proc/self/fd/{handle}"));
                    raw::call(libc::SYS_chmod, &[raw::at(&path[..]), 0o600])
                })
                .map(drop),
            _ => {
                let (one, two) = (terminated(&file), terminated(place.join("sub/ok")));
                raw::call(libc::SYS_renameat2, &[HERE, raw::at(&one[..]), HERE, raw::at(&two[..]), 2])
                    .map(drop)
            }
        };
        report(if args.text(0) == "all" { act } else { "changed" }, shown(done));
    }
}

const MAKES: [&str; 15] = [
    "file",
    "exclusive",
    "beneath",
    "in a root",
    "by a link beneath",
    "by a link in a root",
    "told at length",
    "creat",
    "directory",
    "node",
    "fifo",
    "symlink",
    "link",
    "renamed",
    "renamed directory",
];

/// `make_by_all_ways PATH`: each is removed again.
fn make_by_all_ways(args: &Args) {
    let path = args.path(0);
    let place = path.parent().unwrap();
    let other = place.join("of the attack");
    let c_path = terminated(path);
    let at = raw::at(&c_path[..]);
    for way in MAKES {
        std::fs::write(&other, "").unwrap();
        let made = match way {
            "file" => open_at(HERE, path, libc::O_WRONLY | libc::O_CREAT).map(drop),
            "exclusive" => open_at(HERE, path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL).map(drop),
            "beneath" => make2(place, path, RESOLVE_BENEATH, 24).map(drop),
            "in a root" => make2(place, path, RESOLVE_IN_ROOT, 24).map(drop),
            "by a link beneath" | "by a link in a root" => {
                // One that leads to one.
                let (link, other) = (place.join("link of the attack"), place.join("other link"));
                let _ = symlink("other link", &link);
                let _ = symlink(path.file_name().unwrap(), &other);
                let how = if way.ends_with("beneath") { RESOLVE_BENEATH } else { RESOLVE_IN_ROOT };
                let made = make2(place, &link, how, 24).map(drop);
                [link, other].iter().for_each(|link| std::fs::remove_file(link).unwrap());
                made
            }
            "told at length" => make2(place, path, 0, 40).map(drop),
            "creat" => raw::call(libc::SYS_creat, &[at, 0o600]).map(drop),
            "directory" => raw::call(libc::SYS_mkdir, &[at, 0o700]).map(drop),
            "node" => raw::call(libc::SYS_mknod, &[at, 0o100_600, 0]).map(drop),
            "fifo" => raw::call(libc::SYS_mknodat, &[HERE, at, 0o010_600, 0]).map(drop),
            "symlink" => io(symlink("/nowhere", path)),
            "link" => io(std::fs::hard_link(&other, path)),
            "renamed" => io(std::fs::rename(&other, path)),
            _ => {
                let directory = place.join("directory of the attack");
                std::fs::create_dir_all(directory.join("below/it")).unwrap();
                io(std::fs::rename(directory, path))
            }
        };
        report(way, shown(made));
        let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir_all(path));
    }
}

/// `race_for link|directory|memory PLACE`: one thread exchanges, the other opens.
fn race_for(args: &Args) {
    let (way, place) = (args.text(0).to_owned(), args.path(1).to_owned());
    let (secret, ok) = (place.join("private/inner/secret"), place.join("sub/ok"));
    let way_to = place.join("way");
    // Of the same length.
    let mut buffer = terminated(place.join("private/inner/secret"));
    let harmless = terminated(place.join("./././././././sub/ok"));
    buffer.resize(harmless.len().max(buffer.len()), 0);
    let done = AtomicBool::new(false);
    let address = raw::at(&buffer[..]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for target in [&secret, &ok] {
                    let next = place.join("next");
                    match way.as_str() {
                        "link" => {
                            let _ = symlink(target, &next);
                            let _ = std::fs::rename(&next, &way_to);
                        }
                        "directory" => {
                            let _ = symlink(target.parent().unwrap(), &next);
                            let _ = std::fs::rename(&next, &way_to);
                        }
                        _ => {
                            let bytes = if target == &ok { harmless.clone() } else { terminated(&secret) };
                            // SAFETY: the buffer is alive and at least as long; tearing is part of the attack.
                            unsafe {
                                std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len())
                            };
                        }
                    }
                }
            }
        });
        let (mut read_secret, mut read_ok) = (false, false);
        let until = std::time::Instant::now() + std::time::Duration::from_millis(1000);
        while !(read_secret && read_ok) && std::time::Instant::now() < until {
            let opened = match way.as_str() {
                "link" => vec![open(&way_to)],
                "directory" => vec![open(way_to.join("secret")), open(way_to.join("ok"))],
                _ => vec![raw::call(libc::SYS_openat, &[HERE, address, 0, 0])],
            };
            for file in opened {
                match content(file).as_str() {
                    "secret" => read_secret = true,
                    "other" => read_ok = true,
                    _ => {}
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        report("secret", if read_secret { "read" } else { "never" });
        report("ok", if read_ok { "read" } else { "never" });
    });
}

/// `work_beside PLACE`: what programs do with files, in the place itself and below what is made there.
fn work_beside(args: &Args) {
    let place = args.path(0);
    // SAFETY: takes a number.
    unsafe { libc::umask(0o027) };
    std::fs::create_dir(place.join("made")).unwrap();
    for directory in ["", "made", "sub", "sub/deep"] {
        let at = |name: &str| place.join(directory).join(name);
        let say = |what: &str, result: Result<String, Errno>| {
            report(format!("{directory} {what}"), result.unwrap_or_else(|errno| errno.to_string()));
        };
        let done = |result: std::io::Result<()>| io(result).map(|()| "done".to_owned());
        let mode = |path: &Path| io(std::fs::metadata(path)).map(|found| format!("{:o}", found.mode()));
        say("write", done(std::fs::write(at("a"), "one")));
        say("mode", mode(&at("a")));
        say("read", io(std::fs::read_to_string(at("a"))));
        let append = std::fs::File::options().append(true).open(at("a"));
        say("append", done(append.and_then(|mut file| std::io::Write::write_all(&mut file, b"two"))));
        say("appended", io(std::fs::read_to_string(at("a"))));
        say(
            "exclusive",
            open_at(HERE, at("a"), libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY).map(|_| "?".to_owned()),
        );
        say("no directory", open_at(HERE, at("a"), libc::O_DIRECTORY).map(|_| "?".to_owned()));
        say("below a file", open(at("a/b")).map(|_| "?".to_owned()));
        say("missing", open(at("missing")).map(|_| "?".to_owned()));
        say(
            "missing below",
            open_at(HERE, at("missing/x"), libc::O_CREAT | libc::O_WRONLY).map(|_| "?".to_owned()),
        );
        say("directory for writing", open_at(HERE, at("."), libc::O_WRONLY).map(|_| "?".to_owned()));
        say("make directory", done(std::fs::create_dir(at("d"))));
        say("its mode", mode(&at("d")));
        say("again", done(std::fs::create_dir(at("d"))));
        say("write below", done(std::fs::write(at("d/x"), "x")));
        say("symlink", done(symlink("d/x", at("s"))));
        say("read by symlink", io(std::fs::read_to_string(at("s"))));
        say("no follow", open_at(HERE, at("s"), libc::O_NOFOLLOW).map(|_| "?".to_owned()));
        say("dangling", done(symlink("later", at("l"))));
        say("write by dangling", done(std::fs::write(at("l"), "made")));
        say("made by it", io(std::fs::read_to_string(at("later"))));
        say("hard link", done(std::fs::hard_link(at("a"), at("h"))));
        say("rename", done(std::fs::rename(at("h"), at("d/h"))));
        say("rename directory", done(std::fs::rename(at("d"), at("e"))));
        say("rename over", done(std::fs::rename(at("a"), at("e/h"))));
        say("remove full", done(std::fs::remove_dir(at("e"))));
        let flags = libc::O_TMPFILE | libc::O_RDWR;
        say("of no name", open_at(HERE, at("."), flags).map(|_| "done".to_owned()));
        say(
            "flags",
            open_at(HERE, at("later"), libc::O_RDWR | libc::O_APPEND).and_then(|file| {
                let flags = raw::call(libc::SYS_fcntl, &[file, libc::F_GETFL as usize])?;
                let exec = raw::call(libc::SYS_fcntl, &[file, libc::F_GETFD as usize])?;
                Ok(format!("{:o} {exec}", flags & 0o7777))
            }),
        );
        say(
            "close on exec",
            open_at(HERE, at("later"), libc::O_CLOEXEC).and_then(|file| {
                Ok(raw::call(libc::SYS_fcntl, &[file, libc::F_GETFD as usize])?.to_string())
            }),
        );
        say("with a slash", done(std::fs::create_dir(at("slash/"))));
        say("write with a slash", done(std::fs::write(at("later/"), "x")));
        let c_path = |name: &str| terminated(at(name));
        let unlinked = raw::call(libc::SYS_unlink, &[raw::at(&c_path("later/")[..])]);
        say("unlink with a slash", unlinked.map(|_| "done".to_owned()));
        say("rename with a slash", done(std::fs::rename(at("later/"), at("z"))));
        say("rename directory with a slash", done(std::fs::rename(at("e/"), at("g/"))));
        say("and back", done(std::fs::rename(at("g"), at("e"))));
        say("link with a slash", done(std::fs::hard_link(at("later/"), at("z"))));
        say("remove file as directory", done(std::fs::remove_dir(at("later"))));
        say("remove directory as file", done(std::fs::remove_file(at("e"))));
        say("remove missing", done(std::fs::remove_file(at("missing"))));
        say("into itself", done(std::fs::rename(at("e"), at("e/in"))));
        say("remove with a slash", done(std::fs::remove_dir(at("slash/"))));
        say("chmod", done(std::fs::set_permissions(at("later"), std::fs::Permissions::from_mode(0o640))));
        let mut names: Vec<_> = std::fs::read_dir(at("."))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        say("names", Ok(names.join(" ")));
        say("remove all", done(std::fs::remove_dir_all(at("e"))));
    }
    std::env::set_current_dir(place).unwrap();
    report("relative", shown(io(std::fs::write("relative", "x"))));
    report(
        "exec",
        format!("{:?}", std::process::Command::new("/bin/cat").arg("relative").output().unwrap().stdout),
    );
}

/// `open_fifo PLACE`.
fn open_fifo(args: &Args) {
    let path = args.path(0).join("fifo");
    let c_path = terminated(&path);
    report("mkfifo", shown(raw::call(libc::SYS_mknod, &[raw::at(&c_path[..]), 0o010_600, 0])));
    report("read", shown(open_at(HERE, &path, libc::O_RDONLY)));
    report("write", shown(open_at(HERE, &path, libc::O_WRONLY)));
    report("ok", shown(open(args.path(0).join("ok"))));
}

/// `touch_socket PLACE`.
fn touch_socket(args: &Args) {
    let place = args.path(0);
    let connect = |path: PathBuf| {
        let socket = raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
        shown(raw::connect(socket, &raw::unix(&path)))
    };
    report("beside", connect(place.join("socket")));
    report("denied", connect(place.join("private/socket")));
    let chmod = |path: &Path| shown(raw::call(libc::SYS_chmod, &[raw::at(&terminated(path)[..]), 0o640]));
    let denied = place.join("private/inner/secret");
    report("mode of beside", chmod(&place.join("ok")));
    report("mode of denied", chmod(&denied));
    let handle = open_at(HERE, &denied, libc::O_PATH).unwrap();
    report("mode of denied by handle", chmod(Path::new(&format!("/proc/self/fd/{handle}"))));
    let path = terminated(&denied);
    report("times of denied", shown(raw::call(libc::SYS_utimensat, &[HERE, raw::at(&path[..]), 0, 0])));
    let (user, group) = (raw::uid() as usize, raw::gid() as usize);
    report("owner of denied", shown(raw::call(libc::SYS_chown, &[raw::at(&path[..]), user, group])));
}
