//! Files that no rule names: read, written, truncated, linked, moved, by their paths and by every detour.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use lab::{Args, Errno, Lab, report, shown};

lab::suite! {
    tests: [
        what_is_hidden_cannot_be_read,
        what_is_readable_cannot_be_changed,
        root_writes_no_kernel_file_and_makes_no_device,
    ],
    programs: [read_all_ways, change_all_ways, kernel_files],
}

const READS: [&str; 7] =
    ["plain", "through ..", "symlink", "hard link", "renamed", "proc root", "proc of init"];

fn what_is_hidden_cannot_be_read(lab: &Lab) {
    let work = lab.path("work");
    let secret = |name: &str| lab.file(format!("{name}/file"), "secret");
    let bare = lab.bare().run("read_all_ways", [&secret("bare"), &work]);
    for way in ["plain", "through ..", "symlink", "hard link", "proc root"] {
        bare.expect(way, "ok");
    }
    for place in ["outside", "home/.ssh"] {
        let file = secret(place);
        for version in ["1", "2", "7"] {
            let run = lab.sandbox().write(&work).options(["--landlock-at-most", version]);
            let out = run.run("read_all_ways", [&file, &work]);
            READS.iter().for_each(|way| assert!(out.value(way) != "ok", "{way}\n{out}"));
            out.expect("plain", "EACCES");
        }
        assert!(file.exists());
    }
    let run = lab.sandbox().write(&work).read(lab.path("outside"));
    run.run("read_all_ways", [&lab.path("outside/file"), &work])
        .expect("plain", "ok")
        .expect("symlink", "ok");
}

const CHANGES: [&str; 10] = [
    "write",
    "append",
    "truncate",
    "open truncating",
    "remove",
    "rename",
    "create",
    "make directory",
    "make fifo",
    "replace",
];

fn what_is_readable_cannot_be_changed(lab: &Lab) {
    let file = |name: &str| lab.file(format!("{name}/file"), "content");
    let bare = lab.bare().run("change_all_ways", [&file("bare")]);
    let granted = lab.sandbox().write(lab.path("granted-parent/granted"));
    let out = granted.run("change_all_ways", [&file("granted-parent/granted")]);
    CHANGES.iter().for_each(|act| {
        bare.expect(act, "ok");
        out.expect(act, "ok");
    });
    let readable = file("readable");
    for version in 1..=7 {
        let version = version.to_string();
        let run = lab.sandbox().read(lab.path("readable")).options(["--landlock-at-most", &version]);
        let out = run.run("change_all_ways", [&readable]);
        CHANGES.iter().for_each(|act| _ = out.expect(act, "EACCES"));
        assert_eq!(fs::read(&readable).unwrap(), b"content", "{out}");
        assert_eq!(fs::read_dir(lab.path("readable")).unwrap().count(), 1, "{out}");
    }
}

/// Root without capabilities still owns these files.
fn root_writes_no_kernel_file_and_makes_no_device(lab: &Lab) {
    let work = lab.path("work");
    let bare = lab.bare().run("kernel_files", [&work]);
    let out = lab.sandbox().write(&work).run("kernel_files", [&work]);
    for name in KERNEL_FILES.iter().copied().chain(["device"]) {
        if lab.user().is_root() && Path::new(name).exists() {
            bare.expect(name, "ok");
        }
        assert!(out.value(name) != "ok", "{out}");
    }
    out.expect("capabilities", "0");
}

const KERNEL_FILES: [&str; 5] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
    "/etc/passwd",
];

fn io<T>(result: std::io::Result<T>) -> String {
    shown(result.map_err(|error| Errno::from(&error)))
}

/// `read_all_ways FILE WRITABLE`.
fn read_all_ways(args: &Args) {
    let (file, writable) = (args.path(0), args.path(1));
    let link = writable.join("link");
    let fresh = || drop(fs::remove_file(&link));
    report("plain", io(fs::read(file)));
    let below = file.strip_prefix(writable.parent().unwrap()).unwrap();
    report("through ..", io(fs::read(writable.join("..").join(below))));
    fresh();
    report("symlink", io(symlink(file, &link).and_then(|()| fs::read(&link))));
    fresh();
    report("hard link", io(fs::hard_link(file, &link).and_then(|()| fs::read(&link))));
    let from_root = file.strip_prefix("/").unwrap();
    report("proc root", io(fs::read(Path::new("/proc/self/root").join(from_root))));
    report("proc of init", io(fs::read(Path::new("/proc/1/root").join(from_root))));
    fresh();
    report("renamed", io(fs::rename(file, &link).and_then(|()| fs::read(&link))));
}

fn change_all_ways(args: &Args) {
    let file = args.path(0);
    let beside = |name: &str| file.with_file_name(name);
    report("write", io(fs::File::options().write(true).open(file)));
    report("append", io(fs::File::options().append(true).open(file)));
    let path = [file.as_os_str().as_encoded_bytes(), b"\0"].concat();
    report("truncate", shown(lab::raw::call(libc::SYS_truncate, &[lab::raw::at(&path[..]), 0])));
    // Truncation by a flag needs no write access.
    let flags = (libc::O_RDONLY | libc::O_TRUNC) as usize;
    let words = [-100isize as usize, lab::raw::at(&path[..]), flags];
    report("open truncating", shown(lab::raw::call(libc::SYS_openat, &words)));
    report("create", io(fs::File::create_new(beside("new"))));
    report("make directory", io(fs::create_dir(beside("directory"))));
    let fifo = [beside("fifo").as_os_str().as_encoded_bytes(), b"\0"].concat();
    let words = [lab::raw::at(&fifo[..]), (libc::S_IFIFO | 0o600) as usize, 0];
    report("make fifo", shown(lab::raw::call(libc::SYS_mknod, &words)));
    report("rename", io(fs::rename(file, beside("renamed"))));
    let _ = fs::File::create_new(file);
    report("replace", io(fs::rename(if beside("new").exists() { beside("new") } else { file.into() }, file)));
    report("remove", io(fs::remove_file(file)));
}

/// Opens for writing and writes nothing.
fn kernel_files(args: &Args) {
    for name in KERNEL_FILES {
        report(name, io(fs::File::options().write(true).open(name)));
    }
    // The null device, by another name.
    let node = [args.path(0).join("node").as_os_str().as_encoded_bytes(), b"\0"].concat();
    let words = [lab::raw::at(&node[..]), (libc::S_IFCHR | 0o666) as usize, 0x103];
    let _ = fs::remove_file(args.path(0).join("node"));
    report("device", shown(lab::raw::call(libc::SYS_mknod, &words)));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let sets =
        status.lines().filter(|line| line.starts_with("Cap")).map(|line| line.rsplit('\t').next().unwrap());
    let held: u64 = sets.take(3).map(|set| u64::from_str_radix(set, 16).unwrap()).sum();
    report("capabilities", held);
}
