//! What is behind a descriptor's number can be swapped by `dup2` between the look at it and the act. Where a filter around
//! refuses `pidfd_getfd`, what the number leads to is found through `/proc`, and is looked up once all the same.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lab::{Args, DOCKER, Lab, NONE, PODMAN, Rounds, raw, report};

lab::suite! {
    tests: [the_socket_that_is_judged_is_the_one_that_listens, the_file_that_is_judged_is_the_one_that_is_changed],
    programs: [swap_listener, swap_file],
}

fn the_socket_that_is_judged_is_the_one_that_listens(lab: &Lab) {
    let bare = lab.bare().run("swap_listener", NONE);
    assert!(bare.value("tcp") != "0" && bare.value("unix") != "0", "the swap never showed\n{bare}");
    for around in [None, Some(DOCKER), Some(PODMAN)] {
        let out = lab.sandbox().around(around).run("swap_listener", ["inside"]);
        assert!(out.value("unix") != "0" && out.value("refused") != "0", "the swap never showed\n{out}");
        out.expect("tcp", 0);
    }
}

fn the_file_that_is_judged_is_the_one_that_is_changed(lab: &Lab) {
    let (own, other) = (lab.file("place/own", ""), lab.file("other", ""));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for opened in ["reading", "writing"] {
        let words = [own.as_os_str(), other.as_os_str(), opened.as_ref()];
        lab.bare().run("swap_file", words);
        assert_eq!((mode(&own), mode(&other)), (CHANGED, CHANGED), "the swap never showed");
        for around in [None, Some(DOCKER), Some(PODMAN)] {
            std::fs::set_permissions(&other, PermissionsExt::from_mode(0o644)).unwrap();
            let run = lab.sandbox().write(lab.path("place")).read(&other).around(around);
            let out = run.run("swap_file", words.into_iter().chain(["inside".as_ref()]));
            assert!(
                out.value("changed") != "0" && out.value("refused") != "0",
                "the swap never showed\n{out}"
            );
            assert_eq!((mode(&own), mode(&other)), (CHANGED, 0o644), "{around:?}\n{out}");
        }
    }
}

/// `swap_listener [inside]`: lets again and again listen what is under one number, while another thread puts now a TCP socket
/// there, now a unix socket.
fn swap_listener(args: &Args) {
    let [tcp_listens, unix_listens] = [(); 2].map(|()| AtomicU32::new(0));
    let count = |of: &AtomicU32, socket| of.fetch_add(u32::from(listens(socket)), Ordering::Relaxed);
    let (stop, mut refused) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let tcp = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
                raw::bind(tcp, &raw::internet(([127, 0, 0, 1], 0))).unwrap();
                let unix = raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
                // A name that the kernel chooses.
                raw::bind(unix, &(libc::AF_UNIX as u16).to_ne_bytes()).unwrap();
                for socket in [tcp, unix, tcp, unix] {
                    put(socket);
                    std::thread::yield_now();
                }
                count(&tcp_listens, tcp);
                count(&unix_listens, unix);
                raw::close(tcp);
                raw::close(unix);
            }
        });
        let rounds = Rounds::begin();
        let shown = |refused| {
            let [tcp, unix] = [&tcp_listens, &unix_listens].map(|one| one.load(Ordering::Relaxed));
            unix > SHOWN && if args.count() == 1 { refused > SHOWN } else { tcp > SHOWN }
        };
        while rounds.go_on(shown(refused)) {
            let done = raw::call(libc::SYS_listen, &[SLOT, 1]);
            refused += u32::from(done == Err(lab::Errno(libc::EACCES)));
        }
        stop.store(true, Ordering::Relaxed);
    });
    report("tcp", tcp_listens.into_inner());
    report("unix", unix_listens.into_inner());
    report("refused", refused);
}

fn listens(socket: RawFd) -> bool {
    let (mut value, mut length) = ([0u8; 4], 4u32);
    let words = [socket as usize, libc::SOL_SOCKET as usize, libc::SO_ACCEPTCONN as usize];
    let answer = [raw::out(&mut value), raw::out(&mut length)];
    raw::call(libc::SYS_getsockopt, &[&words[..], &answer].concat()).unwrap();
    value != [0; 4]
}

/// `swap_file OWN OTHER reading|writing [inside]`: changes again and again the mode of what is under one number, while
/// another thread puts now a file there that it may change, opened for that or not, now another.
fn swap_file(args: &Args) {
    let own = OpenOptions::new().read(true).write(args.text(2) == "writing").open(args.path(0)).unwrap();
    let other = File::open(args.path(1)).unwrap();
    let (stop, mut changed, mut refused) = (AtomicBool::new(false), 0, 0);
    put(own.as_raw_fd());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for file in [&other, &own] {
                    put(file.as_raw_fd());
                    std::hint::spin_loop();
                }
            }
        });
        let rounds = Rounds::begin();
        while rounds.go_on(changed > SHOWN && (refused > SHOWN || args.count() == 3)) {
            match raw::call(libc::SYS_fchmod, &[SLOT, CHANGED as usize]) {
                Ok(_) => changed += 1,
                Err(_) => refused += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    report("changed", changed);
    report("refused", refused);
}

fn put(descriptor: RawFd) {
    raw::call(libc::SYS_dup2, &[descriptor as usize, SLOT]).unwrap();
}

const SLOT: usize = 100;
const CHANGED: u32 = 0o640;
/// How often each side must have shown before a race counts as run.
const SHOWN: u32 = 20;
