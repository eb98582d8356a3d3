//! A root of its own is left by what still leads out of it: `..`, magic links, descriptors of the old root, and the calls
//! by which roots are changed.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lab::{Args, Errno, Lab, raw, report, shown};

lab::suite! {
    tests: [nothing_leads_to_the_old_root],
    programs: [leave],
}

const WAYS: [&str; 8] = [
    "plain",
    "through ..",
    "proc root",
    "proc of the first",
    "proc of the parent",
    "below the descriptor",
    "above the descriptor",
    "descriptor in proc",
];
const CALLS: [&str; 8] =
    ["chroot", "pivot_root", "mount", "remount", "umount", "open_tree", "unshare", "setns"];

fn nothing_leads_to_the_old_root(lab: &Lab) {
    let secret = lab.file("outside/secret", "secret");
    let directory = || File::open(lab.path("outside")).unwrap();
    let words = |path: &Path| [path.as_os_str().to_owned(), secret.clone().into()];
    let bare = lab.bare().descriptor(7, directory()).run("leave", words(&secret));
    for way in ["plain", "through ..", "proc root", "below the descriptor", "above the descriptor"] {
        bare.expect(way, "secret");
    }
    let root = lab.system("root");
    for options in [&[][..], &["--uid", "0", "--gid", "0"], &["-w", "/"]] {
        let run = || lab.sandbox().in_root(&root).options(options);
        // What is given is there.
        let given = run().mount("/given", lab.path("outside"), ":ro");
        given
            .run("leave", words(Path::new("/given/secret")))
            .expect("plain", "secret")
            .expect("through ..", "secret");
        let out =
            run().descriptor(7, directory()).option("--pass-fd").option("7").run("leave", words(&secret));
        for way in WAYS {
            assert!(out.value(way) != "secret", "{way}\n{out}");
        }
        for call in CALLS {
            out.expect(call, "EPERM");
        }
        // Of the descriptors only those that were passed are there.
        out.expect("descriptors", "0 1 2 7");
    }
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    // Nothing was mounted outside.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(lab.root().to_str().unwrap()), "{mounts}");
}

/// `leave PATH REAL`: reads the file at PATH, and by the ways that could lead to REAL.
fn leave(args: &Args) {
    let (path, real) = (args.path(0), args.path(1));
    let below = path.strip_prefix("/").unwrap();
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| Errno::from(&error).to_string());
    report("plain", read(path));
    report("through ..", read(&Path::new(&"../".repeat(30)).join(below)));
    report("proc root", read(&Path::new("/proc/self/root").join(below)));
    let real_below = real.strip_prefix("/").unwrap();
    report("proc of the first", read(&Path::new("/proc/1/root").join(real_below)));
    let parent = format!("/proc/{}/root", std::os::unix::process::parent_id());
    report("proc of the parent", read(&Path::new(&parent).join(real_below)));
    // Descriptor 7 is the directory of REAL.
    report("below the descriptor", read_at(7, "secret"));
    report("above the descriptor", read_at(7, "../outside/secret"));
    report("descriptor in proc", read(Path::new("/proc/self/fd/7/secret")));
    let listed: Vec<_> =
        fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let mut open: Vec<i32> = listed.iter().map(|name| name.to_str().unwrap().parse().unwrap()).collect();
    open.retain(|fd| raw::call(libc::SYS_fcntl, &[*fd as usize, libc::F_GETFD as usize]).is_ok());
    open.sort_unstable();
    report("descriptors", open.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    change_roots();
}

fn change_roots() {
    let (here, slash, tmpfs) = (c".", c"/", c"tmpfs");
    let at = |text: &std::ffi::CStr| raw::at(text.to_bytes_with_nul());
    let say = |name: &str, result: Result<usize, Errno>| report(name, shown(result.map(drop)));
    say("chroot", raw::call(libc::SYS_chroot, &[at(here)]));
    say("pivot_root", raw::call(libc::SYS_pivot_root, &[at(here), at(here)]));
    say("mount", raw::call(libc::SYS_mount, &[at(tmpfs), at(slash), at(tmpfs), 0, 0]));
    let again = (libc::MS_REMOUNT | libc::MS_BIND) as usize;
    say("remount", raw::call(libc::SYS_mount, &[0, at(slash), 0, again, 0]));
    say("umount", raw::call(libc::SYS_umount2, &[at(slash), libc::MNT_DETACH as usize]));
    say("open_tree", raw::call(libc::SYS_open_tree, &[-100isize as usize, at(slash), 1]));
    say("unshare", raw::call(libc::SYS_unshare, &[libc::CLONE_NEWNS as usize]));
    say("setns", raw::call(libc::SYS_setns, &[7, libc::CLONE_NEWNS as usize]));
}

fn read_at(directory: usize, path: &str) -> String {
    let path = CString::new(Path::new(path).as_os_str().as_bytes()).unwrap();
    let opened = raw::call(libc::SYS_openat, &[directory, raw::at(path.as_bytes_with_nul()), 0]);
    match opened {
        Ok(fd) => {
            let mut bytes = [0u8; 16];
            let read = raw::call(libc::SYS_read, &[fd, raw::out(&mut bytes), bytes.len()]).unwrap_or(0);
            String::from_utf8_lossy(&bytes[..read]).into_owned()
        }
        Err(errno) => errno.to_string(),
    }
}
