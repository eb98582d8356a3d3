//! Behind unix sockets outside are daemons that act for whoever connects: the session bus, ssh-agent, docker. A socket
//! is reached only where its file may be written, by whatever way the path leads there; abstract ones only inside.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use lab::{Args, Errno, Lab, Rounds, UnixServer, raw, report, shown};

lab::suite! {
    tests: [
        a_socket_outside_is_not_reached_by_any_path,
        an_abstract_socket_outside_is_not_reached,
        a_link_swapped_during_the_call_reaches_nothing_else,
    ],
    programs: [reach, reach_abstract, swap_link],
}

const WAYS: [&str; 10] = [
    "plain",
    "through ..",
    "relative",
    "symlink",
    "symlink to its directory",
    "hard link",
    "renamed",
    "by handle",
    "by handle of its directory",
    "long address",
];

fn a_socket_outside_is_not_reached_by_any_path(lab: &Lab) {
    let work = lab.path("work");
    let place = |name: &str| {
        let server = UnixServer::at(lab, lab.directory(name).join("socket"));
        (server, lab.path(name).join("socket"))
    };
    let (bare_server, bare) = place("bare");
    for way in WAYS {
        if way != "renamed" {
            lab.bare()
                .run("reach", [way.as_ref(), bare.as_os_str(), work.as_os_str()])
                .expect("connect", "ok");
        }
    }
    assert_eq!(bare_server.saw().len(), WAYS.len() - 1);

    for (name, options) in [("outside", vec![]), ("readable", vec!["-r"])] {
        let (server, socket) = place(name);
        for version in ["1", "7"] {
            for way in WAYS {
                let mut run = lab.sandbox().write(&work).options(["--landlock-at-most", version]);
                for option in &options {
                    run = run.option(option).option(socket.parent().unwrap());
                }
                let out = run.run("reach", [way.as_ref(), socket.as_os_str(), work.as_os_str()]);
                assert!(out.value("connect") != "ok", "{way}, {name}\n{out}");
                if way == "plain" {
                    out.expect("connect", "ECONNREFUSED").expect_said("-w ");
                }
            }
        }
        assert_eq!(server.saw(), [], "{name}");
    }
    // The place was the reason.
    let (server, socket) = place("granted");
    let run = lab.sandbox().write(&work).write(socket.parent().unwrap());
    run.run("reach", ["plain".as_ref(), socket.as_os_str(), work.as_os_str()]).expect("connect", "ok");
    assert_eq!(server.saw().len(), 1);
}

fn an_abstract_socket_outside_is_not_reached(lab: &Lab) {
    let name = lab.root().into_os_string();
    let server = UnixServer::named(name.as_bytes());
    lab.bare().run("reach_abstract", [&name]).expect("connect", "ok");
    for version in 1..=7 {
        let options = ["--landlock-at-most", &version.to_string(), "--net-allow", "*:*"];
        let out = lab.sandbox().options(options).run("reach_abstract", [&name]);
        out.expect("connect", "ECONNREFUSED");
    }
    assert_eq!(server.saw().len(), 1);
}

fn a_link_swapped_during_the_call_reaches_nothing_else(lab: &Lab) {
    let work = lab.path("work");
    let allowed = UnixServer::at(lab, work.join("socket"));
    let other = UnixServer::at(lab, lab.directory("outside").join("socket"));
    let args = [work.join("link"), work.join("socket"), lab.path("outside/socket")];
    lab.bare().program("swap_link", &args).arguments(["bare"]).output();
    let bare = other.saw().len();
    assert!(bare > 0, "the swap never showed");
    let out = lab.sandbox().write(&work).run("swap_link", &args);
    assert!(out.value("connected") != "0" && out.value("refused") != "0", "the swap never showed\n{out}");
    assert!(!allowed.saw().is_empty());
    assert_eq!(other.saw().len(), bare, "{out}");
}

fn connect(address: &[u8]) -> Result<(), Errno> {
    let socket = raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    let connected = raw::connect(socket, address);
    raw::close(socket);
    connected
}

/// `reach WAY SOCKET WRITABLE`.
fn reach(args: &Args) {
    let (socket, writable) = (args.path(1), args.path(2));
    let directory = socket.parent().unwrap();
    let io = |error: std::io::Error| Errno::from(&error);
    let to = |path: &Path| connect(&raw::unix(path));
    let link = writable.join("link");
    let _ = std::fs::remove_file(&link);
    let handle_of = |path: &Path| {
        let path = [path.as_os_str().as_bytes(), b"\0"].concat();
        raw::call(libc::SYS_openat, &[0, raw::at(&path[..]), libc::O_PATH as usize])
    };
    let result = match args.text(0) {
        "plain" => to(socket),
        "through .." => {
            to(&writable.join("..").join(socket.strip_prefix(writable.parent().unwrap()).unwrap()))
        }
        "relative" => {
            let name = directory.file_name().unwrap();
            to(&Path::new("..").join(name).join("socket"))
        }
        "symlink" => symlink(socket, &link).map_err(io).and_then(|()| to(&link)),
        "symlink to its directory" => {
            symlink(directory, &link).map_err(io).and_then(|()| to(&link.join("socket")))
        }
        "hard link" => std::fs::hard_link(socket, &link).map_err(io).and_then(|()| to(&link)),
        "renamed" => std::fs::rename(socket, &link).map_err(io).and_then(|()| to(&link)),
        "by handle" => handle_of(socket).and_then(|handle| to(Path::new(&format!("/proc/self/fd/{handle}")))),
        "by handle of its directory" => {
            handle_of(directory).and_then(|handle| to(Path::new(&format!("/proc/self/fd/{handle}/socket"))))
        }
        _ => {
            // All of `struct sockaddr_un`, with bytes behind the name's end.
            let mut address = raw::unix(socket);
            address.resize(110, b'x');
            connect(&address)
        }
    };
    report("connect", shown(result));
}

fn reach_abstract(args: &Args) {
    report("connect", shown(connect(&raw::unix_abstract(args.os(0).as_bytes()))));
}

/// `swap_link LINK FIRST SECOND [bare]`: a link that leads now here, now there. Bare, nothing is refused.
fn swap_link(args: &Args) {
    let link = args.path(0);
    let other = link.with_extension("other");
    for (path, target) in [(link, args.path(1)), (&other, args.path(2))] {
        let _ = std::fs::remove_file(path);
        symlink(target, path).unwrap();
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut connected, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let names = [link, &other].map(|path| [path.as_os_str().as_bytes(), b"\0"].concat());
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // RENAME_EXCHANGE.
                let here = -100isize as usize;
                let words = [here, raw::at(&names[0][..]), here, raw::at(&names[1][..]), 2];
                raw::call(libc::SYS_renameat2, &words).unwrap();
            }
        });
        let rounds = Rounds::begin();
        while rounds.go_on(connected > 20 && (refused > 20 || args.count() > 3)) {
            match connect(&raw::unix(link)) {
                Ok(()) => connected += 1,
                Err(_) => refused += 1,
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    report("connected", connected);
    report("refused", refused);
}
