//! In a user namespace of its own a program has every capability: it can mount, and make a network without rules.

use lab::{Args, Errno, Lab, NONE, raw, report, shown};

lab::suite! { tests: [no_namespace_is_made_or_entered], programs: [namespaces] }

/// The `CLONE_NEW` flags; TIME is a flag of `unshare` only.
const FLAGS: [(&str, usize); 8] = [
    ("user", 0x1000_0000),
    ("mount", 0x0002_0000),
    ("cgroup", 0x0200_0000),
    ("uts", 0x0400_0000),
    ("ipc", 0x0800_0000),
    ("pid", 0x2000_0000),
    ("net", 0x4000_0000),
    ("time", 0x80),
];

fn no_namespace_is_made_or_entered(lab: &Lab) {
    let bare = lab.bare().run("namespaces", NONE);
    if lab.user().is_root() {
        FLAGS.iter().for_each(|(name, _)| _ = bare.expect(&format!("unshare {name}"), "ok"));
        bare.expect("setns net", "ok");
    }
    bare.expect("clone3", "ok").expect("fork", "ok");
    let out = lab.sandbox().run("namespaces", NONE);
    for (name, _) in FLAGS {
        out.expect(&format!("unshare {name}"), "EPERM");
        out.expect(&format!("unshare {name} with garbage above"), "EPERM");
        if name != "time" {
            out.expect(&format!("clone {name}"), "EPERM");
        }
    }
    // Its flags are in memory; the C library goes on with `clone`.
    out.expect("clone3", "ENOSYS").expect("setns net", "EPERM").expect("setns by process", "EPERM");
    out.expect("fork", "ok");
}

fn namespaces(_: &Args) {
    for (name, flag) in FLAGS {
        let unshare = |flags: usize| in_a_child(|| raw::call(libc::SYS_unshare, &[flags]).map(drop));
        report(format!("unshare {name}"), shown(unshare(flag)));
        report(format!("unshare {name} with garbage above"), shown(unshare(flag | 1 << 40)));
        if name != "time" {
            report(format!("clone {name}"), shown(clone(flag | libc::SIGCHLD as usize)));
        }
    }
    report("fork", shown(clone(libc::SIGCHLD as usize)));
    // `struct clone_args`, of which only the exit signal is set.
    let mut arguments = [0u64; 11];
    arguments[4] = libc::SIGCHLD as u64;
    report("clone3", shown(born(raw::call(libc::SYS_clone3, &[raw::at(&arguments), 88]))));
    let net = std::fs::File::open("/proc/self/ns/net").unwrap();
    let net = std::os::fd::AsRawFd::as_raw_fd(&net) as usize;
    report("setns net", shown(in_a_child(|| raw::call(libc::SYS_setns, &[net, 0]).map(drop))));
    let handle = raw::call(libc::SYS_pidfd_open, &[std::process::id() as usize, 0]).unwrap();
    let entered = in_a_child(|| raw::call(libc::SYS_setns, &[handle, 0x4000_0000]).map(drop));
    report("setns by process", shown(entered));
}

fn clone(flags: usize) -> Result<(), Errno> {
    born(raw::call(libc::SYS_clone, &[flags]))
}

/// The new process ends at once, the old one waits for it.
fn born(result: Result<usize, Errno>) -> Result<(), Errno> {
    match result? {
        0 => raw::exit(0),
        child => {
            raw::wait(child as i32);
            Ok(())
        }
    }
}

/// Does it in a child, which leaves this process as it is.
fn in_a_child(act: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let child = raw::fork();
    if child == 0 {
        raw::exit(act().map_or_else(|errno| errno.0, |()| 0));
    }
    match raw::wait(child) >> 8 {
        0 => Ok(()),
        errno => Err(Errno(errno)),
    }
}
