//! What is mounted to be read cannot be changed by any call, by any path that leads there, whatever else is granted.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use lab::{Args, Errno, Lab, raw, report, shown};

lab::suite! {
    tests: [what_is_mounted_to_be_read_cannot_be_changed],
    programs: [change_mounted],
}

const ACTS: [&str; 22] = [
    "write",
    "append",
    "truncate",
    "open truncating",
    "create",
    "unnamed",
    "directory",
    "fifo",
    "symlink",
    "link",
    "link out",
    "rename",
    "rename out",
    "replace",
    "chmod",
    "chown",
    "utimes",
    "setxattr",
    "unix socket",
    "chmod by descriptor",
    "utimes by descriptor",
    "remove",
];

fn what_is_mounted_to_be_read_cannot_be_changed(lab: &Lab) {
    let root = lab.system("root");
    let place = |name: &str| {
        lab.file(format!("{name}/file"), "content");
        lab.path(name)
    };
    let words = ["/given/file", "/tmp"];
    let given = place("given");
    let out = lab.sandbox().in_root(&root).mount("/given", &given, "").run("change_mounted", words);
    for act in ACTS {
        // Links and renames across mounts are none, and not every file system has attributes.
        match act {
            "link out" | "rename out" => out.expect(act, "EXDEV"),
            "setxattr" if out.value(act) == "EOPNOTSUPP" => &out,
            _ => out.expect(act, "ok"),
        };
    }
    let given = place("read");
    // A socket is there already, of a server that would answer.
    let server = std::os::unix::net::UnixListener::bind(given.join("socket")).unwrap();
    let state = || {
        let file = fs::metadata(given.join("file")).unwrap();
        (file.mode(), file.uid(), file.mtime_nsec(), file.len(), fs::read_dir(&given).unwrap().count())
    };
    let before = state();
    // Not even where a wider place may be written.
    for more in [&[][..], &["-w", "/given"], &["-w", "/"], &["--uid", "0", "-w", "/"]] {
        let run = lab.sandbox().in_root(&root).mount("/given", &given, ":ro").options(more);
        let out = run.run("change_mounted", words);
        for act in ACTS {
            // To reach a server is no change of the place, and -w is the person's word for it.
            if act == "unix socket" && !more.is_empty() {
                continue;
            }
            assert!(["EROFS", "EACCES", "EPERM", "EXDEV"].contains(&out.value(act)), "{act}\n{out}");
        }
        assert_eq!(state(), before, "{out}");
    }
    drop(server);
}

fn io<T>(result: std::io::Result<T>) -> String {
    shown(result.map_err(|error| Errno::from(&error)))
}

/// `change_mounted FILE WRITABLE`.
fn change_mounted(args: &Args) {
    let (file, elsewhere) = (args.path(0), args.path(1));
    let beside = |name: &str| file.with_file_name(name);
    let path = |path: &Path| [path.as_os_str().as_bytes(), b"\0"].concat();
    let say = |name: &str, result: Result<usize, Errno>| report(name, shown(result.map(drop)));
    let here = -100isize as usize;
    report("write", io(File::options().write(true).open(file)));
    report("append", io(File::options().append(true).open(file)));
    let name = path(file);
    say("truncate", raw::call(libc::SYS_truncate, &[raw::at(&name[..]), 3]));
    say("open truncating", raw::call(libc::SYS_openat, &[here, raw::at(&name[..]), libc::O_TRUNC as usize]));
    report("create", io(File::create_new(beside("new"))));
    let directory = path(file.parent().unwrap());
    let unnamed = (libc::O_TMPFILE | libc::O_RDWR) as usize;
    say("unnamed", raw::call(libc::SYS_openat, &[here, raw::at(&directory[..]), unnamed, 0o600]));
    report("directory", io(fs::create_dir(beside("directory"))));
    let fifo = path(&beside("fifo"));
    say("fifo", raw::call(libc::SYS_mknod, &[raw::at(&fifo[..]), (libc::S_IFIFO | 0o600) as usize, 0]));
    report("symlink", io(symlink("x", beside("symlink"))));
    report("link", io(fs::hard_link(file, beside("link"))));
    report("link out", io(fs::hard_link(file, elsewhere.join("out"))));
    report(
        "rename",
        io(fs::rename(file, beside("renamed")).and_then(|()| fs::rename(beside("renamed"), file))),
    );
    report("rename out", io(fs::rename(file, elsewhere.join("out"))));
    let own = elsewhere.join("own");
    fs::write(&own, "").unwrap();
    report("replace", io(fs::copy(&own, file)));
    report("chmod", io(fs::set_permissions(file, fs::Permissions::from_mode(0o777))));
    let owner = fs::metadata(file).unwrap().uid();
    report("chown", io(std::os::unix::fs::lchown(file, Some(owner), None)));
    say("utimes", raw::call(libc::SYS_utimensat, &[here, raw::at(&name[..]), 0, 0]));
    let words = [raw::at(&name[..]), raw::at(b"user.lab\0"), raw::at(b"x"), 1, 0];
    say("setxattr", raw::call(libc::SYS_setxattr, &words));
    let socket = match beside("socket").exists() {
        true => io(std::os::unix::net::UnixStream::connect(beside("socket"))),
        false => io(std::os::unix::net::UnixListener::bind(beside("socket"))),
    };
    // What a program sees of a socket that it may not reach.
    report("unix socket", if socket == "ECONNREFUSED" { "EACCES".into() } else { socket });
    let opened = File::open(file).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&opened) as usize;
    say("chmod by descriptor", raw::call(libc::SYS_fchmod, &[fd, 0o777]));
    say("utimes by descriptor", raw::call(libc::SYS_utimensat, &[fd, 0, 0, 0]));
    report("remove", io(fs::remove_file(file)));
}
