//! Metadata of what has no path: pipes, sockets, files in memory, descriptors of the kernel's own making. As without the
//! sandbox, where somebody may change it; and nothing of it leads to a file.

use lab::{Args, Errno, Lab, NONE, raw, report, shown};

lab::suite! {
    tests: [metadata_of_what_has_no_path_answers_as_bare],
    programs: [change_what_has_no_path],
}

fn metadata_of_what_has_no_path_answers_as_bare(lab: &Lab) {
    let bare = lab.bare().run("change_what_has_no_path", NONE);
    assert!(bare.stdout.lines().count() > 150, "{bare}");
    let root = lab.system("root");
    for run in [
        lab.sandbox(),
        lab.sandbox().write(lab.path("work")).option("--fs-deny").option(lab.path("work/hole")),
        lab.sandbox().in_root(root),
    ] {
        let out = run.run("change_what_has_no_path", NONE);
        for (inside, bare) in out.stdout.lines().zip(bare.stdout.lines()) {
            assert_eq!(inside, bare, "{out}");
        }
        assert_eq!(out.stdout, bare.stdout, "{out}");
    }
}

fn change_what_has_no_path(_: &Args) {
    // As every program is inside: without capabilities.
    let header = [0x2008_0522u32, 0];
    raw::call(libc::SYS_capset, &[raw::at(&header), raw::at(&[0u32; 6])]).unwrap();
    let mut pipe = [0i32; 2];
    raw::call(libc::SYS_pipe2, &[raw::out(&mut pipe), 0]).unwrap();
    let mut pair = [0i32; 2];
    let kinds = [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, raw::out(&mut pair)];
    raw::call(libc::SYS_socketpair, &kinds).unwrap();
    let made = |number, arguments: &[usize]| raw::call(number, arguments).unwrap() as i32;
    let things = [
        ("reading end", pipe[0]),
        ("writing end", pipe[1]),
        ("pair", pair[0]),
        ("stream", raw::stream()),
        ("unix", raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap()),
        ("memory", made(libc::SYS_memfd_create, &[raw::at(b"lab\0"), 0])),
        ("event", made(libc::SYS_eventfd2, &[0, 0])),
        ("epoll", made(libc::SYS_epoll_create1, &[0])),
        ("timer", made(libc::SYS_timerfd_create, &[1, 0])),
        ("process", made(libc::SYS_pidfd_open, &[std::process::id() as usize, 0])),
    ];
    let (user, group, mode) = (raw::euid() as usize, raw::gid() as usize, 0o640);
    let empty = libc::AT_EMPTY_PATH as usize;
    let nothing = raw::at(b"\0");
    let times = [1u64, 0, 1, 0];
    let times = raw::at(&times);
    let (name, value) = (raw::at(b"user.lab\0"), raw::at(b"v"));
    for (thing, fd) in things {
        let fd = fd as usize;
        let act = |act: &str, number, words: &[usize]| {
            let done = raw::call(number, words);
            // Sockets are made with the times that were in memory.
            let time = act.contains("utim");
            report(format!("{thing} {act}"), format!("{} {}", shown(done), state(fd, time)));
        };
        act("fchmod", libc::SYS_fchmod, &[fd, mode]);
        act("fchmodat2", libc::SYS_fchmodat2, &[fd, nothing, 0o600, empty]);
        act("fchmodat2, not followed", libc::SYS_fchmodat2, &[fd, nothing, 0o604, empty | 0x100]);
        act("fchmodat2 without a path", libc::SYS_fchmodat2, &[fd, 0, 0o604, empty]);
        act("fchmodat2 without the flag", libc::SYS_fchmodat2, &[fd, nothing, 0o604, 0]);
        act("fchown", libc::SYS_fchown, &[fd, user, group]);
        act("fchown to nobody", libc::SYS_fchown, &[fd, usize::MAX, usize::MAX]);
        act("fchownat", libc::SYS_fchownat, &[fd, nothing, user, group, empty]);
        act("fchownat, not followed", libc::SYS_fchownat, &[fd, nothing, user, group, empty | 0x100]);
        act("fchownat without a path", libc::SYS_fchownat, &[fd, 0, user, group, empty]);
        act("fchownat below", libc::SYS_fchownat, &[fd, raw::at(b"x\0"), user, group, empty]);
        act("utimensat", libc::SYS_utimensat, &[fd, 0, times, 0]);
        act("utimensat by an empty path", libc::SYS_utimensat, &[fd, nothing, times, empty]);
        act("futimesat", libc::SYS_futimesat, &[fd, 0, times]);
        act("fsetxattr", libc::SYS_fsetxattr, &[fd, name, value, 1, 0]);
        act("fremovexattr", libc::SYS_fremovexattr, &[fd, name]);
    }
}

/// Mode, and whether the modification time is the one that was set.
fn state(fd: usize, time: bool) -> String {
    let mut stat = [0u64; 18];
    match raw::call(libc::SYS_fstat, &[fd, raw::out(&mut stat)]) {
        // `st_mode` is after `st_dev`, `st_ino` and `st_nlink`.
        Ok(_) => format!("{:o} {}", stat[3] as u32, time && stat[11] == 1),
        Err(errno @ Errno(_)) => errno.to_string(),
    }
}
