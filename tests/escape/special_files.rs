//! Files that are not what they seem: a FIFO, at which who opens it waits; a file of no name, which may get one elsewhere; a
//! name that is no text. None leads around a rule, and none holds up the supervisor, and with it the rest of the run.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::{Args, Errno, Lab, TcpServer, raw, report, shown};

lab::suite! {
    tests: [
        a_fifo_holds_up_nobody,
        a_file_of_no_name_gets_none_where_none_may_be_made,
        a_name_that_is_no_text_is_denied_and_granted_like_any_other,
        a_grant_of_one_file_is_no_grant_of_its_directory,
    ],
    programs: [wait_at_fifo, name_later, change_by_name],
}

/// With a name in a rule, and with holes, files are looked up on behalf.
fn a_fifo_holds_up_nobody(lab: &Lab) {
    let server = TcpServer::v4();
    let by_name = format!("localhost:{}", server.port());
    lab.file("work/denied", "");
    let ways: [(&[&str], &str); 3] =
        [(&[], "ok"), (&["--net-allow", &by_name], "ok"), (&["--fs-deny", "denied"], "EACCES")];
    let names = ["work/fifo".to_owned(), server.address().to_string()];
    let bare = lab.bare().directory(lab.root()).run("wait_at_fifo", &names);
    bare.expect("opened", "ok").expect("meanwhile", "ok");
    for (options, opened) in ways {
        let run = lab
            .sandbox()
            .allow(server.rule())
            .write(lab.path("work"))
            .options(["--cwd".as_ref(), lab.path("work").as_os_str()]);
        let out = run.options(options).run("wait_at_fifo", ["fifo", &names[1]]);
        out.expect("opened", opened).expect("meanwhile", "ok").expect("connect", "ok");
        for act in ["chmod", "utimensat", "chown"] {
            out.expect(act, "ok");
        }
        // Not every file system has attributes, and no FIFO has those of users.
        out.expect("setxattr", bare.value("setxattr")).expect("connect to it", "ECONNREFUSED");
    }
}

fn a_file_of_no_name_gets_none_where_none_may_be_made(lab: &Lab) {
    let (work, outside) = (lab.path("work"), lab.directory("outside"));
    let run = |run: lab::Run, at: &Path, to: &Path| run.run("name_later", [at, to]);
    let out = run(lab.bare(), &work, &outside);
    out.expect("made", "ok").expect("named", "ok");
    std::fs::remove_file(outside.join("name")).unwrap();
    let out = run(lab.sandbox().write(&work), &work, &work);
    out.expect("made", "ok").expect("named", "ok");
    let out = run(lab.sandbox().write(&work).read(&outside), &work, &outside);
    assert!(out.expect("made", "ok").value("named") != "ok", "{out}");
    let out = run(lab.sandbox().read(&outside), &outside, &outside);
    out.expect("made", "EACCES");
    assert!(std::fs::read_dir(&outside).unwrap().next().is_none());
}

fn a_name_that_is_no_text_is_denied_and_granted_like_any_other(lab: &Lab) {
    let odd = |place: &str| Path::new(place).join(OsStr::from_bytes(b"\xff\xfe\n"));
    let (granted, read, denied) = (odd("granted"), odd("read"), odd("granted/below"));
    let files =
        [&granted, &read, &denied].map(|place| lab.file(place.join(OsStr::from_bytes(b"f\xff")), "content"));
    let words = files.each_ref().map(|file| file.as_os_str());
    let bare = lab.bare().run("change_by_name", words);
    for index in 0..3 {
        bare.expect(format!("{index} chmod").as_str(), "ok").expect(format!("{index} write").as_str(), "ok");
    }
    let run = lab.sandbox().write(lab.path(&granted)).write(lab.path("granted/below")).read(lab.path(&read));
    let out = run.option("--fs-deny").option(lab.path(&denied)).run("change_by_name", words);
    out.expect("0 chmod", "ok").expect("0 write", "ok").expect("0 read", "ok");
    out.expect("1 chmod", "EACCES").expect("1 write", "EACCES").expect("1 read", "ok");
    out.expect("2 chmod", "EACCES").expect("2 write", "EACCES").expect("2 read", "EACCES");
    out.expect_said("\u{fffd}\u{fffd}\\n, which --fs-deny refuses");
}

fn a_grant_of_one_file_is_no_grant_of_its_directory(lab: &Lab) {
    let file = lab.file("place/file", "");
    let other = lab.file("place/other", "");
    let words = [file.as_os_str(), other.as_os_str()];
    let out = lab.sandbox().write(&file).run("change_by_name", words);
    out.expect("0 chmod", "ok")
        .expect("0 write", "ok")
        .expect("1 chmod", "EACCES")
        .expect("1 read", "EACCES");
    let line = format!("mv {0} {0}2; rm {0}; ln {0} {0}3", file.display());
    lab.sandbox().write(&file).sh(&line);
    assert_eq!(std::fs::read_dir(lab.path("place")).unwrap().count(), 2);
}

const HERE: usize = -100isize as usize;

fn terminated(path: impl AsRef<Path>) -> Vec<u8> {
    [path.as_ref().as_os_str().as_bytes(), b"\0"].concat()
}

fn open(path: impl AsRef<Path>, flags: i32) -> Result<usize, Errno> {
    raw::call(libc::SYS_openat, &[HERE, raw::at(&terminated(path)[..]), flags as usize, 0o600])
}

/// `wait_at_fifo FIFO ADDRESS`: one thread waits for the other end, another one goes on.
fn wait_at_fifo(args: &Args) {
    let path = args.path(0).to_owned();
    let c_path = terminated(&path);
    let at = raw::at(&c_path[..]);
    let _ = std::fs::remove_file(&path);
    raw::call(libc::SYS_mknodat, &[HERE, at, 0o010_600, 0]).unwrap();
    let waiting = {
        let path = path.clone();
        std::thread::spawn(move || open(path, libc::O_RDONLY))
    };
    std::thread::sleep(Duration::from_millis(50));
    let beside = path.with_file_name("beside");
    std::fs::write(&beside, "x").unwrap();
    let read = std::fs::read_to_string("/etc/hosts").and_then(|_| std::fs::read_to_string(&beside));
    report("meanwhile", shown(read.map_err(|error| Errno::from(&error))));
    let address: std::net::SocketAddr = args.get(1);
    let connected = std::net::TcpStream::connect(address).map_err(|error| Errno::from(&error));
    report("connect", shown(connected));
    report("chmod", shown(raw::call(libc::SYS_chmod, &[at, 0o640])));
    report("utimensat", shown(raw::call(libc::SYS_utimensat, &[HERE, at, 0, 0])));
    report("chown", shown(raw::call(libc::SYS_chown, &[at, raw::uid() as usize, raw::gid() as usize])));
    let (name, value) = (raw::at(b"user.lab\0"), raw::at(b"v"));
    report("setxattr", shown(raw::call(libc::SYS_setxattr, &[at, name, value, 1, 0])));
    let socket = raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
    report("connect to it", shown(raw::connect(socket, &raw::unix(&path))));
    if !waiting.is_finished() {
        open(&path, libc::O_WRONLY).unwrap();
    }
    report("opened", shown(waiting.join().unwrap()));
}

/// `name_later DIRECTORY TO`.
fn name_later(args: &Args) {
    let made = open(args.path(0), libc::O_TMPFILE | libc::O_RDWR);
    report("made", shown(made));
    let Ok(file) = made else { return };
    let (from, to) =
        (terminated(PathBuf::from(format!("/proc/self/fd/{file}"))), terminated(args.path(1).join("name")));
    let words = [HERE, raw::at(&from[..]), HERE, raw::at(&to[..]), libc::AT_SYMLINK_FOLLOW as usize];
    report("named", shown(raw::call(libc::SYS_linkat, &words)));
}

/// `change_by_name FILE...`.
fn change_by_name(args: &Args) {
    for index in 0..args.count() {
        let path = terminated(args.path(index));
        report(format!("{index} chmod"), shown(raw::call(libc::SYS_chmod, &[raw::at(&path[..]), 0o640])));
        report(format!("{index} write"), shown(open(args.path(index), libc::O_WRONLY)));
        report(format!("{index} read"), shown(open(args.path(index), libc::O_RDONLY)));
    }
}
