//! Who can speak to the control socket of a run can end it, and widen what it may do. A program inside must not, of its own
//! run or of another, even where it may write the directory that they are in: by the path, or by the socket moved, linked
//! or given another mode. What it can do there is to take names away and to invent others, and nobody waits for it.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use lab::{Args, Child, Lab, raw, report};

lab::suite! {
    tests: [
        no_program_inside_speaks_to_a_run,
        what_is_invented_there_holds_up_nobody,
    ],
    programs: [visit, invent],
}

const WAYS: [&str; 7] =
    ["plain", "symlink", "hard link", "renamed", "directory renamed", "another mode", "another owner"];

fn no_program_inside_speaks_to_a_run(lab: &Lab) {
    let other = waiting(lab, "other");
    let socket = lab.path("run/sandlock/other.sock");
    for way in WAYS {
        // Outside it is heard, and by whatever way.
        lab.bare().run("visit", [way.as_ref(), socket.as_os_str()]).expect("answer", "ports");
    }
    for version in ["1", "5", "7"] {
        for name in ["other", "own"] {
            for way in WAYS {
                let run = lab.sandbox().write(lab.path("run")).options([
                    "--name",
                    "own",
                    "--landlock-at-most",
                    version,
                ]);
                let socket = lab.path(format!("run/sandlock/{name}.sock"));
                let out = run.run("visit", [way.as_ref(), socket.as_os_str()]);
                assert!(!out.value("answer").contains("ports"), "{name}, {way}\n{out}");
                // Before it may be moved from one directory to another there is no such socket there to refuse.
                if out.value("moved") == "ok" {
                    out.expect("answer", "EACCES").expect_said("control socket");
                }
                if way.starts_with("another") {
                    out.expect("moved", "EACCES");
                }
            }
        }
    }
    lab.sandlock().arguments(["kill", "other"]).output().expect_code(0);
    other.finish().expect_code(128 + 15);

    // Other sockets there are reached.
    let run = lab.sandbox().write(lab.path("run"));
    let server = UnixListener::bind(lab.path("run/socket")).unwrap();
    lab.own(&lab.path("run/socket"));
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let _ = stream.read(&mut [0; 256]);
        stream.write_all(b"{\"answer\":\"ports\"}\n").unwrap();
    });
    run.run("visit", ["plain".as_ref(), lab.path("run/socket").as_os_str()]).expect("answer", "ports");
    answers.join().unwrap();
}

fn what_is_invented_there_holds_up_nobody(lab: &Lab) {
    let other = waiting(lab, "other");
    let mut inventor =
        lab.sandbox().write(lab.path("run")).program("invent", [lab.path("run/sandlock")]).start();
    inventor.wait_for("ready");
    let out = lab.sandlock().arguments(["ps"]).output();
    out.expect_code(0);
    assert!(out.stdout.contains("\nother ") && !out.stdout.contains('\x1b'), "{out}");
    lab.sandlock().arguments(["inspect", "pipe"]).output().expect_code(125);
    lab.sandlock().arguments(["kill", "mute"]).output().expect_code(125).expect_said("mute");
    // A name that is left over stays so while somebody holds the lock, and others are free.
    lab.sandbox().options(["--name", "free"]).sh("exit 0").expect_code(0);
    lab.sandlock().arguments(["kill", "other"]).output().expect_code(0);
    other.finish().expect_code(128 + 15);
}

fn waiting(lab: &Lab, name: &str) -> Child {
    let run = lab.sandbox().options(["--name", name]);
    let mut child = run.command("/bin/sh", ["-c", "echo ready=1; exec sleep 1000"]).start();
    child.wait_for("ready");
    while !lab.path(format!("run/sandlock/{name}.json")).exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// `visit WAY SOCKET`: asks for ports there, and reports what is answered; then all is as it was.
fn visit(args: &Args) {
    let socket = args.path(1);
    // Its own run is there a moment after its command.
    for _ in 0..1000 {
        if socket.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let directory = socket.parent().unwrap();
    let above = directory.parent().unwrap();
    let moved = |name: &str| above.join(name);
    let mode = |mode| std::fs::set_permissions(socket, std::fs::Permissions::from_mode(mode));
    let own = || std::os::unix::fs::chown(socket, Some(raw::euid()), None);
    let ((result, there), back): ((std::io::Result<()>, _), Box<dyn Fn()>) = match args.text(0) {
        "symlink" => {
            let there = moved("link.sock");
            let back = there.clone();
            ((symlink(socket, &there), there), Box::new(move || drop(std::fs::remove_file(&back))))
        }
        "hard link" => {
            let there = moved("hard.sock");
            let back = there.clone();
            ((std::fs::hard_link(socket, &there), there), Box::new(move || drop(std::fs::remove_file(&back))))
        }
        "renamed" => {
            let (there, back) = (moved("moved.sock"), socket.to_owned());
            let result = std::fs::rename(socket, &there);
            let from = there.clone();
            ((result, there), Box::new(move || drop(std::fs::rename(&from, &back))))
        }
        "directory renamed" => {
            let (there, back) = (moved("elsewhere"), directory.to_owned());
            let result = std::fs::rename(directory, &there);
            let from = there.clone();
            let there = there.join(socket.file_name().unwrap());
            ((result, there), Box::new(move || drop(std::fs::rename(&from, &back))))
        }
        "another mode" => {
            let there = socket.to_owned();
            ((mode(0o666), there), Box::new(move || drop(mode(0o1200))))
        }
        "another owner" => ((own(), socket.to_owned()), Box::new(|| ())),
        _ => ((Ok(()), socket.to_owned()), Box::new(|| ())),
    };
    let shown = |result: &std::io::Result<()>| match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => lab::shown(Err::<(), _>(lab::Errno::from(error))),
    };
    report("moved", shown(&result));
    let answer = UnixStream::connect(&there).and_then(|mut stream| {
        stream.write_all(b"{\"version\":1,\"request\":\"ports\"}\n")?;
        let mut said = String::new();
        let mut bytes = [0; 256];
        while !said.contains('\n') {
            let count = stream.read(&mut bytes)?;
            said.push_str(&String::from_utf8_lossy(&bytes[..count]));
            if count == 0 {
                break;
            }
        }
        Ok(if said.contains("\"ports\"") { "ports".to_owned() } else { said })
    });
    back();
    match answer {
        Ok(answer) => report("answer", answer.trim()),
        Err(error) => report("answer", shown(&Err(error))),
    }
}

/// `invent DIRECTORY`: holds the lock, and leaves all kinds of things.
fn invent(args: &Args) {
    let place = args.path(0);
    let lock = std::fs::File::create(place.join(".lock")).unwrap();
    raw::call(libc::SYS_flock, &[lock.as_raw_fd() as usize, libc::LOCK_EX as usize]).unwrap();
    // Somebody who never answers, under a name that is a pipe, a link to a pipe, and a record that says too much.
    let mut sockets = Vec::new();
    for name in ["pipe", "link", "mute", "other-2"] {
        sockets.push(UnixListener::bind(place.join(format!("{name}.sock"))).unwrap());
    }
    let pipe = [place.join("pipe.json").as_os_str().as_encoded_bytes(), b"\0"].concat();
    let here = -100isize as usize;
    raw::call(libc::SYS_mknodat, &[here, raw::at(&pipe[..]), (libc::S_IFIFO | 0o600) as usize, 0]).unwrap();
    symlink("pipe.json", place.join("link.json")).unwrap();
    let mute = r#"{"version":1,"name":"mute","pid":1,"start_time":1,"of_a_command":true,"command_pid":1,
        "command":["\u001b[2J"],"started":0,"policy":null,"names":{},"ports":[]}"#;
    std::fs::write(place.join("mute.json"), mute).unwrap();
    // Left over: nobody listens.
    drop(UnixListener::bind(place.join("dead.sock")).unwrap());
    std::fs::write(place.join("dead.json"), "[".repeat(1 << 20)).unwrap();
    // Read by nobody who asks.
    sockets.truncate(4);
    for socket in &sockets {
        socket.set_nonblocking(true).unwrap();
    }
    report("ready", 1);
    loop {
        // Whoever comes to the mute one is let go at once.
        for socket in &sockets {
            drop(socket.accept());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
