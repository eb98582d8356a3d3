//! Processes of the same user are open to each other: traced, read, written, and their descriptors taken. The
//! supervisor, the launcher and everybody else outside must be closed to the sandbox.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use lab::{Args, Errno, Lab, Output, raw, report, shown};

lab::suite! { tests: [nothing_outside_can_be_looked_into], programs: [look_into] }

const ACTS: [&str; 18] = [
    "ptrace attach",
    "ptrace seize",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "kcmp",
    "process_madvise",
    "move_pages",
    "get_robust_list",
    "mem",
    "environ",
    "fd",
    "fdinfo",
    "root",
    "cwd",
    "exe",
    "maps",
    "syscall",
];

fn nothing_outside_can_be_looked_into(lab: &Lab) {
    let outsider = lab.outsider("outsider's secret");
    let args = [outsider.pid().to_string(), outsider.secret_at().to_string()];
    let bare = lab.bare().run("look_into", &args);
    for act in ACTS {
        // The kernel closes get_robust_list and process_madvise to ordinary users, and stacks to all.
        if !["process_madvise", "kcmp"].contains(&act) {
            bare.expect(act, "ok");
        }
    }
    bare.expect("read", "outsider's secret").expect("read from mem", "outsider's secret");
    bare.expect("read from fd", "outsider's secret");

    let closed = |out: &Output| {
        for act in ACTS {
            assert!(out.value(act) != "ok", "{act} succeeded\n{out}");
        }
        assert!(!out.stdout.contains("secret"), "{out}");
    };
    closed(&lab.sandbox().run("look_into", &args));
    closed(&lab.sandbox().run("look_into", ["supervisor", &args[1]]));
    closed(&lab.sandbox().run("look_into", ["launcher", &args[1]]));
    // With all of /proc named, by kernels without scopes as well.
    for version in 1..=7 {
        let options = ["-w", "/proc", "--landlock-at-most", &version.to_string()];
        closed(&lab.sandbox().options(options).run("look_into", &args));
        closed(&lab.sandbox().options(options).run("look_into", ["supervisor", &args[1]]));
    }
    closed(&lab.sandbox().option("--kernel-only").run("look_into", &args));
}

/// `look_into PID|supervisor|launcher ADDRESS`.
fn look_into(args: &Args) {
    let pid = match args.text(0) {
        "supervisor" => parent_of(std::process::id() as i32),
        "launcher" => parent_of(parent_of(std::process::id() as i32)),
        _ => args.get(0),
    };
    report("pid", pid);
    let address: usize = args.get(1);
    by_calls(pid as usize, address);
    by_files(Path::new(&format!("/proc/{pid}")), address);
    // Last, since they stop the other.
    trace(pid as usize);
}

fn trace(pid: usize) {
    for (act, request) in [("ptrace attach", libc::PTRACE_ATTACH), ("ptrace seize", libc::PTRACE_SEIZE)] {
        let traced = raw::call(libc::SYS_ptrace, &[request as usize, pid, 0, 0]);
        report(act, shown(traced));
        if traced.is_err() {
            continue;
        }
        if request == libc::PTRACE_SEIZE {
            raw::call(libc::SYS_ptrace, &[libc::PTRACE_INTERRUPT as usize, pid, 0, 0]).unwrap();
        }
        let all_threads = 0x4000_0000;
        raw::call(libc::SYS_wait4, &[pid, 0, all_threads]).unwrap();
        raw::call(libc::SYS_ptrace, &[libc::PTRACE_DETACH as usize, pid, 0, 0]).unwrap();
    }
}

fn by_calls(pid: usize, address: usize) {
    let mut taken = [0u8; 17];
    let local = libc::iovec { iov_base: taken.as_mut_ptr().cast(), iov_len: taken.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: taken.len() };
    let vectors = [pid, raw::at(&local), 1, raw::at(&remote), 1, 0];
    let read = raw::call(libc::SYS_process_vm_readv, &vectors);
    report("process_vm_readv", shown(read));
    report("read", String::from_utf8_lossy(&taken));
    if read.is_ok() {
        // The same bytes back.
        report("process_vm_writev", shown(raw::call(libc::SYS_process_vm_writev, &vectors)));
    } else {
        let nothing = [pid, raw::at(&local), 1, raw::at(&remote), 1, 0];
        report("process_vm_writev", shown(raw::call(libc::SYS_process_vm_writev, &nothing)));
    }
    let handle = raw::call(libc::SYS_pidfd_open, &[pid, 0]).unwrap_or(usize::MAX);
    report("pidfd_open", if handle == usize::MAX { "refused" } else { "ok" });
    report(
        "pidfd_getfd",
        shown(
            raw::call(libc::SYS_pidfd_getfd, &[handle, 9, 0])
                .or_else(|_| raw::call(libc::SYS_pidfd_getfd, &[handle, 0, 0])),
        ),
    );
    report("kcmp", shown(raw::call(libc::SYS_kcmp, &[pid, std::process::id() as usize, 1])));
    let advice = [handle, raw::at(&remote), 1, libc::MADV_COLD as usize, 0];
    report("process_madvise", shown(raw::call(libc::SYS_process_madvise, &advice)));
    let (pages, mut status) = ([address & !4095], [0i32]);
    let moved = raw::call(libc::SYS_move_pages, &[pid, 1, raw::at(&pages), 0, raw::out(&mut status), 0]);
    report("move_pages", shown(moved));
    let (mut head, mut length) = (0usize, 0usize);
    let list = raw::call(libc::SYS_get_robust_list, &[pid, raw::out(&mut head), raw::out(&mut length)]);
    report("get_robust_list", shown(list));
}

fn by_files(place: &Path, address: usize) {
    let io = |result: std::io::Result<()>| result.map_err(|error| Errno::from(&error));
    let mem = File::options().read(true).write(true).open(place.join("mem"));
    if let Ok(mem) = &mem {
        let mut taken = [0u8; 17];
        let _ = mem.read_exact_at(&mut taken, address as u64);
        report("read from mem", String::from_utf8_lossy(&taken));
    }
    report("mem", shown(io(mem.map(drop))));
    // These may be opened by everybody, and then refuse to be read.
    for name in ["environ", "maps", "syscall", "fdinfo/0"] {
        let mut text = String::new();
        let read = File::open(place.join(name)).and_then(|mut file| file.read_to_string(&mut text));
        report(name.split('/').next().unwrap(), shown(io(read.map(drop))));
        report(format!("read from {name}"), text.lines().next().unwrap_or("").replace('\0', " "));
    }
    let file = File::open(place.join("fd/9")).or_else(|_| File::open(place.join("fd/0")));
    if let Ok(file) = &file {
        let mut text = String::new();
        let _ = file.try_clone().unwrap().read_to_string(&mut text);
        report("read from fd", text);
    }
    report("fd", shown(io(file.map(drop))));
    for (name, path) in [("root", "root/etc/passwd"), ("cwd", "cwd/.")] {
        report(name, shown(io(File::open(place.join(path)).map(drop))));
    }
    report("exe", shown(io(std::fs::read_link(place.join("exe")).map(drop))));
    // A handle that reads nothing is a handle still.
    let root = place.join("root\0");
    let handle = raw::call(
        libc::SYS_openat,
        &[-100isize as usize, root.as_os_str().as_encoded_bytes().as_ptr() as usize, libc::O_PATH as usize],
    );
    if let Ok(handle) = handle {
        // SAFETY: the kernel has just made it.
        drop(unsafe { File::from_raw_fd(handle as i32) });
    }
}

fn parent_of(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}
