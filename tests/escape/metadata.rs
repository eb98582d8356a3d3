//! Landlock has no right for modes, owners, times and extended attributes: a program that may only read could make a
//! secret world-readable, or a script executable. They change below writable paths only, by whatever call and path.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use lab::{Args, Errno, Lab, raw, report, shown};

lab::suite! {
    tests: [
        metadata_changes_only_where_files_may_be_written,
        a_way_through_a_writable_place_changes_nothing_outside,
        attributes_by_ioctl_change_nowhere,
        a_device_keeps_its_mode,
        what_is_mounted_to_be_read_is_not_changed,
    ],
    programs: [change_all, change_by_way, set_flags, change_device],
}

/// All that there are, by path, by a descriptor opened for reading, by a handle, and by the links of both in `/proc`.
const ACTS: [&str; 32] = [
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchmodat2 empty",
    "chown",
    "lchown",
    "fchown",
    "fchownat",
    "fchownat empty",
    "utimensat",
    "utimensat by descriptor",
    "futimesat",
    "utimes",
    "utime",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "fremovexattr",
    "fchmodat2 of a handle",
    "fchownat of a handle",
    "utimensat of a handle",
    "chmod by reader in proc",
    "fchownat by reader in proc",
    "utimensat by reader in proc",
    "setxattr by reader in proc",
    "chmod by handle in proc",
    "fchownat by handle in proc",
    "utimensat by handle in proc",
    "setxattr by handle in proc",
    "removexattr by handle in proc",
];

fn metadata_changes_only_where_files_may_be_written(lab: &Lab) {
    let granted = lab.file("granted/file", "");
    let bare = lab.bare().run("change_all", [&granted]);
    let out = lab.sandbox().write(lab.path("granted")).run("change_all", [&granted]);
    for act in ACTS {
        if bare.value(act) != "EOPNOTSUPP" {
            bare.expect(act, "ok");
        }
        out.expect(act, bare.value(act));
    }
    let single = lab.file("single/file", "");
    let out = lab.sandbox().write(&single).run("change_all", [&single]);
    ACTS.iter().for_each(|act| _ = out.expect(act, bare.value(act)));

    let readable = lab.file("readable/file", "");
    let before = state(&readable);
    let options: [&[&str]; 3] = [&[], &["--landlock-at-most", "1"], &["--kernel-only"]];
    for options in options {
        let out = lab.sandbox().read(lab.path("readable")).options(options).run("change_all", [&readable]);
        for act in ACTS {
            assert!(["EACCES", "EPERM"].contains(&out.value(act)), "{act}\n{out}");
        }
        // A FIFO is no pipe, though it may be opened to be read, and by a handle.
        let fifo = lab.path("readable/fifo");
        if !fifo.exists() {
            let path = terminated(&fifo);
            let words = [HERE, raw::at(&path[..]), (libc::S_IFIFO | 0o644) as usize, 0];
            raw::call(libc::SYS_mknodat, &words).unwrap();
            lab.own(&fifo);
        }
        let before = state(&fifo);
        let out = lab.sandbox().read(lab.path("readable")).options(options).run("change_all", [&fifo]);
        ACTS.iter().for_each(|act| assert!(["EACCES", "EPERM"].contains(&out.value(act)), "{act}\n{out}"));
        assert_eq!(state(&fifo), before);
        // What cannot even be read.
        let out = lab.sandbox().options(options).run("change_all", [&readable]);
        ACTS.iter().for_each(|act| assert!(out.value(act) != "ok", "{act}\n{out}"));
    }
    assert_eq!(state(&readable), before);
}

const WAYS: [&str; 9] = [
    "symlink",
    "symlink to its directory",
    "through ..",
    "hard link",
    "renamed",
    "renamed directory",
    "descriptor in proc",
    "handle in proc",
    "handle",
];

fn a_way_through_a_writable_place_changes_nothing_outside(lab: &Lab) {
    let work = lab.path("work");
    for way in WAYS {
        let file = lab.file(format!("bare {way}/file"), "");
        lab.bare()
            .run("change_by_way", [way.as_ref(), file.as_os_str(), work.as_os_str()])
            .expect("chmod", "ok");
        for option in ["-r", ""] {
            let file = lab.file(format!("outside {way} {option}/file"), "");
            let before = state(&file);
            let mut run = lab.sandbox().write(&work);
            if option == "-r" {
                run = run.read(file.parent().unwrap());
            }
            let out = run.run("change_by_way", [way.as_ref(), file.as_os_str(), work.as_os_str()]);
            assert!(out.value("chmod") != "ok", "{way}\n{out}");
            assert_eq!(state(&file), before, "{way}\n{out}");
        }
    }
}

/// FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR ask for ownership, not for a descriptor open for writing.
fn attributes_by_ioctl_change_nowhere(lab: &Lab) {
    let file = lab.file("readable/file", "");
    let bare = lab.bare().run("set_flags", [&file]);
    // Not every file system has them.
    assert!(["ok", "ENOTTY", "EOPNOTSUPP"].contains(&bare.value("set")), "{bare}");
    let out = lab.sandbox().read(lab.path("readable")).run("set_flags", [&file]);
    out.expect("set", "EOPNOTSUPP").expect("set with garbage above", "EOPNOTSUPP");
    out.expect("set extended", "EOPNOTSUPP").expect("get", bare.value("get"));
}

/// Everybody uses `/dev/null`, and root owns it. The base lets it be written, which is not to change who may.
fn a_device_keeps_its_mode(lab: &Lab) {
    let bare = lab.bare().run("change_device", ["-"]);
    bare.expect("chmod", if lab.user().is_root() { "ok" } else { "EPERM" });
    let out = lab.sandbox().run("change_device", ["-"]);
    out.expect("chmod", "EACCES").expect("fchmod of a descriptor open for writing", "EACCES");
}

/// The same acts on the same things where they are mounted to be written, and to be read alone. What counts is what they are
/// outside.
fn what_is_mounted_to_be_read_is_not_changed(lab: &Lab) {
    let root = lab.system("root");
    for kind in ["file", "directory", "fifo", "socket", "device"] {
        let make = |place: &str| {
            let thing = lab.directory(place).join(kind);
            let mode = match kind {
                "file" => libc::S_IFREG,
                "directory" => {
                    std::fs::create_dir(&thing).unwrap();
                    lab.own(&thing);
                    return Some(thing);
                }
                "fifo" => libc::S_IFIFO,
                "socket" => libc::S_IFSOCK,
                _ => libc::S_IFCHR,
            };
            // As /dev/null. Only root makes devices, for others as well.
            let number = if mode == libc::S_IFCHR { 0x103 } else { 0 };
            let path = terminated(&thing);
            let words = [HERE, raw::at(&path[..]), (mode | 0o644) as usize, number];
            raw::call(libc::SYS_mknodat, &words).ok()?;
            lab.own(&thing);
            Some(thing)
        };
        let Some(bare) = make(&format!("{kind} bare")) else {
            continue;
        };
        let bare = lab.bare().run("change_all", [bare]);
        let given = |how: &str, more: &[&str]| {
            let place = format!("{kind}{how}{}", more.concat()).replace([':', '/'], "+");
            let thing = make(&place).unwrap();
            let before = state(&thing);
            let run = lab.sandbox().in_root(&root).mount("/given", lab.path(&place), how);
            let out = run.options(more).run("change_all", [format!("/given/{kind}")]);
            (out, state(&thing) != before)
        };
        let (out, changed) = given("", &[]);
        assert!(changed, "{out}");
        // Neither sockets nor, there, devices are opened.
        let unopened = |act: &str, out: &lab::Output| {
            ["socket", "device"].contains(&kind) && ["EBADF", "ENOENT"].contains(&out.value(act))
        };
        for act in ACTS.iter().filter(|act| !unopened(act, &out)) {
            out.expect(act, bare.value(act));
        }
        for more in [&[][..], &["-w", "/given"], &["-w", "/"], &["--uid", "0", "-w", "/"]] {
            let (out, changed) = given(":ro", more);
            for act in ACTS.iter().filter(|act| !unopened(act, &out)) {
                assert!(["EROFS", "EACCES", "EPERM"].contains(&out.value(act)), "{kind} {act}\n{out}");
            }
            out.expect("chmod", if more.is_empty() { "EACCES" } else { "EROFS" });
            assert!(!changed, "{kind} {more:?}\n{out}");
        }
    }
    // A root itself can be read, and what -w names of it written.
    let file = lab.file("root/etc/file", "");
    let before = state(&file);
    let out = lab.sandbox().in_root(&root).run("change_all", ["/etc/file"]);
    ACTS.iter().for_each(|act| _ = out.expect(act, "EACCES"));
    assert_eq!(state(&file), before, "{out}");
    lab.sandbox().in_root(&root).write("/etc").run("change_all", ["/etc/file"]).expect("chmod", "ok");
    assert_ne!(state(&file), before);
    // The same directory, mounted once more to be written.
    let file = lab.file("twice/file", "");
    let twice = |first: &str| {
        let run = lab.sandbox().in_root(&root).mount("/given", lab.path("twice"), first);
        run.mount("/other", lab.path("twice"), "").run("change_all", ["/given/file"])
    };
    let before = state(&file);
    let out = twice(":ro");
    assert!(ACTS.iter().all(|act| ["EROFS", "EACCES"].contains(&out.value(act))), "{out}");
    assert_eq!(state(&file), before, "{out}");
    twice("").expect("chmod", "ok");
    assert_ne!(state(&file), before);
}

fn state(file: &Path) -> (u32, u32, i64, i64) {
    let found = std::fs::metadata(file).unwrap();
    (found.mode(), found.uid(), found.mtime(), found.ctime_nsec())
}

const HERE: usize = -100isize as usize;

fn terminated(path: &Path) -> Vec<u8> {
    [path.as_os_str().as_bytes(), b"\0"].concat()
}

fn open(path: &Path, flags: i32) -> Result<usize, Errno> {
    raw::call(libc::SYS_openat, &[HERE, raw::at(&terminated(path)[..]), flags as usize])
}

fn change_all(args: &Args) {
    let path = terminated(args.path(0));
    let path = raw::at(&path[..]);
    let (user, group, mode) = (raw::euid() as usize, -1isize as usize, 0o600);
    let (name, value) = (raw::at(b"user.lab\0"), raw::at(b"v"));
    let (nanoseconds, seconds) = ([1u64, 0, 1, 0], [1u64, 1]);
    let (nanoseconds, seconds) = (raw::at(&nanoseconds), raw::at(&seconds));
    let empty = libc::AT_EMPTY_PATH as usize;
    let nothing = raw::at(b"\0");
    let reader = open(args.path(0), libc::O_RDONLY | libc::O_NONBLOCK).unwrap_or(usize::MAX);
    let handle = open(args.path(0), libc::O_PATH).unwrap_or(usize::MAX);
    let [by_reader, by_handle] =
        [reader, handle].map(|fd| terminated(Path::new(&format!("/proc/self/fd/{fd}"))));
    let [by_reader, by_handle] = [&by_reader, &by_handle].map(|path| raw::at(&path[..]));
    let act = |name: &str, number, words: &[usize]| report(name, shown(raw::call(number, words)));
    act("chmod", libc::SYS_chmod, &[path, mode]);
    act("fchmod", libc::SYS_fchmod, &[reader, mode]);
    act("fchmodat", libc::SYS_fchmodat, &[HERE, path, mode]);
    act("fchmodat2", libc::SYS_fchmodat2, &[HERE, path, mode, 0]);
    act("fchmodat2 empty", libc::SYS_fchmodat2, &[reader, nothing, mode, empty]);
    act("chown", libc::SYS_chown, &[path, user, group]);
    act("lchown", libc::SYS_lchown, &[path, user, group]);
    act("fchown", libc::SYS_fchown, &[reader, user, group]);
    act("fchownat", libc::SYS_fchownat, &[HERE, path, user, group, 0]);
    act("fchownat empty", libc::SYS_fchownat, &[reader, nothing, user, group, empty]);
    act("utimensat", libc::SYS_utimensat, &[HERE, path, nanoseconds, 0]);
    act("utimensat by descriptor", libc::SYS_utimensat, &[reader, 0, nanoseconds, 0]);
    act("futimesat", libc::SYS_futimesat, &[HERE, path, nanoseconds]);
    act("utimes", libc::SYS_utimes, &[path, nanoseconds]);
    act("utime", libc::SYS_utime, &[path, seconds]);
    act("setxattr", libc::SYS_setxattr, &[path, name, value, 1, 0]);
    act("lsetxattr", libc::SYS_lsetxattr, &[path, name, value, 1, 0]);
    act("fsetxattr", libc::SYS_fsetxattr, &[reader, name, value, 1, 0]);
    act("removexattr", libc::SYS_removexattr, &[path, name]);
    let _ = raw::call(libc::SYS_setxattr, &[path, name, value, 1, 0]);
    act("fremovexattr", libc::SYS_fremovexattr, &[reader, name]);
    act("fchmodat2 of a handle", libc::SYS_fchmodat2, &[handle, nothing, mode, empty]);
    act("fchownat of a handle", libc::SYS_fchownat, &[handle, nothing, user, group, empty]);
    act("utimensat of a handle", libc::SYS_utimensat, &[handle, nothing, nanoseconds, empty]);
    act("chmod by reader in proc", libc::SYS_chmod, &[by_reader, mode]);
    act("fchownat by reader in proc", libc::SYS_fchownat, &[HERE, by_reader, user, group, 0]);
    act("utimensat by reader in proc", libc::SYS_utimensat, &[HERE, by_reader, nanoseconds, 0]);
    act("setxattr by reader in proc", libc::SYS_setxattr, &[by_reader, name, value, 1, 0]);
    act("chmod by handle in proc", libc::SYS_chmod, &[by_handle, mode]);
    act("fchownat by handle in proc", libc::SYS_fchownat, &[HERE, by_handle, user, group, 0]);
    act("utimensat by handle in proc", libc::SYS_utimensat, &[HERE, by_handle, nanoseconds, 0]);
    act("setxattr by handle in proc", libc::SYS_setxattr, &[by_handle, name, value, 1, 0]);
    act("removexattr by handle in proc", libc::SYS_removexattr, &[by_handle, name]);
}

/// `change_by_way WAY FILE WRITABLE`.
fn change_by_way(args: &Args) {
    let (file, writable) = (args.path(1), args.path(2));
    let directory = file.parent().unwrap();
    let link = writable.join("link");
    let _ = std::fs::remove_file(&link);
    let io = |result: std::io::Result<()>| result.map_err(|error| Errno::from(&error));
    let way: Result<PathBuf, Errno> = match args.text(0) {
        "symlink" => io(symlink(file, &link)).map(|()| link.clone()),
        "symlink to its directory" => io(symlink(directory, &link)).map(|()| link.join("file")),
        "through .." => Ok(writable.join("..").join(directory.file_name().unwrap()).join("file")),
        "hard link" => io(std::fs::hard_link(file, &link)).map(|()| link.clone()),
        "renamed" => io(std::fs::rename(file, &link)).map(|()| link.clone()),
        "renamed directory" => {
            let to = writable.join("moved");
            io(std::fs::rename(directory, &to)).map(|()| to.join("file"))
        }
        "descriptor in proc" => {
            open(file, libc::O_RDONLY).map(|fd| PathBuf::from(format!("/proc/self/fd/{fd}")))
        }
        "handle in proc" => open(file, libc::O_PATH).map(|fd| PathBuf::from(format!("/proc/self/fd/{fd}"))),
        _ => open(directory, libc::O_PATH).map(|fd| PathBuf::from(format!("/proc/self/fd/{fd}/file"))),
    };
    let changed = way.and_then(|way| raw::call(libc::SYS_chmod, &[raw::at(&terminated(&way)[..]), 0o666]));
    report("chmod", shown(changed));
}

fn set_flags(args: &Args) {
    let file = open(args.path(0), libc::O_RDONLY).unwrap();
    let ioctl = |request: usize, argument| raw::call(libc::SYS_ioctl, &[file, request, argument]);
    const GET: usize = 0x8008_6601;
    const SET: usize = 0x4008_6602;
    let mut flags = 0u64;
    report("get", shown(ioctl(GET, raw::out(&mut flags))));
    // No dump: harmless.
    flags |= 0x40;
    report("set", shown(ioctl(SET, raw::at(&flags))));
    report("set with garbage above", shown(ioctl(SET | 1 << 33, raw::at(&flags))));
    report("set extended", shown(ioctl(0x401c_5820, raw::at(&[0u32; 7]))));
}

/// To the mode that it has.
fn change_device(_: &Args) {
    let mode = (std::fs::metadata("/dev/null").unwrap().mode() & 0o7777) as usize;
    report("chmod", shown(raw::call(libc::SYS_chmod, &[raw::at(b"/dev/null\0"), mode])));
    let open = open(Path::new("/dev/null"), libc::O_RDWR).unwrap();
    report("fchmod of a descriptor open for writing", shown(raw::call(libc::SYS_fchmod, &[open, mode])));
}
