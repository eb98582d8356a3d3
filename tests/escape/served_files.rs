//! What a run is served as `/etc/hosts` or a trust store is a file in memory. Whoever could change it would lead the other
//! programs of the run astray, and whoever could write through it might change the machine's own.

use std::os::unix::ffi::OsStrExt;

use lab::{Args, Errno, Lab, raw, report, shown};

lab::suite! {
    tests: [a_served_file_cannot_be_changed, the_machines_file_is_not_opened_for_writing],
    programs: [change_served, open_with],
}

const WAYS: [&str; 8] =
    ["write", "reopen", "after chmod", "truncate", "map", "punch", "send a file into it", "unseal"];

fn a_served_file_cannot_be_changed(lab: &Lab) {
    let store = lab.file("store.pem", "-----BEGIN CERTIFICATE-----\n");
    let tls =
        ["--http-ca-inject", "--http-allow", "GET 127.0.0.1:9", "--http-ca-bundle", store.to_str().unwrap()];
    let named = || lab.sandbox().allow("localhost:9").options(tls);
    for way in WAYS {
        // The same acts, on a file in memory of the program's own.
        let own = named().run("change_served", ["own", way]);
        let expected = if way == "unseal" { "EPERM" } else { "ok" };
        if !["write", "truncate"].contains(&way) {
            own.expect(way, expected);
        }
        for file in ["/etc/hosts", "/etc/resolv.conf", store.to_str().unwrap()] {
            let out = named().run("change_served", [file, way]);
            assert!(out.value(way) != "ok", "{file}\n{out}");
            out.expect("content", "the same").expect("kind", "in memory");
        }
    }
}

fn the_machines_file_is_not_opened_for_writing(lab: &Lab) {
    for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_RDWR | libc::O_CREAT, libc::O_TRUNC] {
        let out = lab.sandbox().allow("localhost:9").run("open_with", ["/etc/hosts", &flags.to_string()]);
        assert!(out.value("open").starts_with('E'), "{out}");
    }
    // Not the flags were the reason.
    let own = lab.file("work/hosts", "");
    let write = [own.as_os_str(), "2".as_ref()];
    lab.sandbox().allow("localhost:9").write(&own).run("open_with", write).expect("open", "/work/hosts");
}

fn open(path: &str, flags: i32) -> Result<usize, Errno> {
    let path = [path.as_bytes(), b"\0"].concat();
    raw::call(libc::SYS_openat, &[libc::AT_FDCWD as usize, raw::at(&path[..]), flags as usize])
}

fn read(fd: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; 65536];
    let len = raw::call(libc::SYS_pread64, &[fd, raw::out(&mut bytes[..]), bytes.len(), 0]).unwrap();
    bytes.truncate(len);
    bytes
}

fn named(fd: usize) -> String {
    let target = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
    String::from_utf8_lossy(target.as_os_str().as_bytes()).into_owned()
}

/// A file in memory that is as the served ones, but for the seals.
fn own() -> usize {
    let fd = raw::call(libc::SYS_memfd_create, &[raw::at(&b"own\0"[..]), 0]).unwrap();
    raw::call(libc::SYS_write, &[fd, raw::at(&b"own\n"[..]), 4]).unwrap();
    open(&format!("/proc/self/fd/{fd}"), libc::O_RDONLY).unwrap()
}

/// `change_served FILE|own WAY`.
fn change_served(args: &Args) {
    let (file, way) = (args.text(0), args.text(1));
    let fd = if file == "own" { own() } else { open(file, libc::O_RDONLY | libc::O_CLOEXEC).unwrap() };
    let before = read(fd);
    report("kind", if named(fd).starts_with("/memfd:") { "in memory".to_owned() } else { named(fd) });
    let again = || open(&format!("/proc/self/fd/{fd}"), libc::O_RDWR);
    let write = |fd: usize| raw::call(libc::SYS_pwrite64, &[fd, raw::at(&b"6.6.6.6 x\n"[..]), 10, 0]);
    // Whoever owns it may change its mode, where the sandbox lets him.
    let with_mode = || {
        let _ = raw::call(libc::SYS_fchmod, &[fd, 0o666]);
        again()
    };
    let done = match way {
        "write" => write(fd),
        "reopen" => again().and_then(write),
        "after chmod" => with_mode().and_then(write),
        "truncate" => raw::call(libc::SYS_ftruncate, &[fd, 0]),
        "map" => with_mode().and_then(|fd| {
            let shared = [0, 4096, libc::PROT_WRITE as usize, libc::MAP_SHARED as usize, fd, 0];
            raw::call(libc::SYS_mmap, &shared)
        }),
        "punch" => with_mode().and_then(|fd| raw::call(libc::SYS_fallocate, &[fd, 3, 0, 4])),
        "send a file into it" => with_mode().and_then(|to| {
            let from = own();
            raw::call(libc::SYS_sendfile, &[to, from, 0, 4])
        }),
        _ => with_mode().and_then(|fd| {
            const F_ADD_SEALS: usize = 1033;
            raw::call(libc::SYS_fcntl, &[fd, F_ADD_SEALS, 0])
        }),
    };
    report(way, shown(done));
    report("content", if read(fd) == before { "the same" } else { "another" });
}

/// `open_with FILE FLAGS`.
fn open_with(args: &Args) {
    match open(args.text(0), args.get(1)) {
        Ok(fd) => report(
            "open",
            named(fd).split("/work/").last().map_or_else(String::new, |end| format!("/work/{end}")),
        ),
        Err(errno) => report("open", errno),
    }
}
