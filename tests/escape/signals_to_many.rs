//! One call signals a whole group (`kill` of 0 or of a negative number), everybody (-1), or whoever owns a descriptor,
//! which may be a group as well. Outsiders may be in the same group, and are in "everybody". SIGURG is the signal:
//! nobody minds it who does not listen.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lab::{Args, Child, Errno, Lab, raw, report, shown};

lab::suite! {
    tests: [nobody_outside_hears, an_owner_outside_hears_nothing],
    programs: [signal_many, own_descriptor, hearer],
}

fn nobody_outside_hears(lab: &Lab) {
    for target in ["0", "group", "everybody"] {
        let run = |run: lab::Run, heard: bool| {
            let mut run = run.own_group().input_pipe().program("signal_many", [target]).start();
            let group: i32 = run.wait_for("group").parse().unwrap();
            assert_eq!(group, run.pid());
            let outsider = listen(lab, group);
            run.send("go\n");
            let out = run.finish();
            out.expect("child", "heard");
            // Having ended, it has sent.
            let told = heard_by(outsider);
            assert_eq!(told, heard, "{out}");
        };
        // As root everybody is more than this test.
        if !(target == "everybody" && lab.user().is_root()) {
            run(lab.bare(), true);
        }
        for version in ["1", "5", "7"] {
            run(lab.sandbox().options(["--landlock-at-most", version]), false);
        }
    }
}

const WAYS: [&str; 6] =
    ["F_SETOWN", "F_SETOWN group", "F_SETOWN_EX", "F_SETOWN_EX group", "FIOSETOWN", "SIOCSPGRP"];

fn an_owner_outside_hears_nothing(lab: &Lab) {
    for way in WAYS {
        let run = |run: lab::Run, heard: bool| {
            let outsider = listen(lab, 0);
            let pid = outsider.pid().to_string();
            let out = run.run("own_descriptor", [way, &pid]);
            assert_eq!(heard_by(outsider), heard, "{way}\n{out}");
            out
        };
        run(lab.bare(), true).expect("owner", "ok");
        for version in ["1", "5", "7"] {
            run(lab.sandbox().options(["--landlock-at-most", version]), false);
        }
        // Where signals are scoped, one's own descriptors may be owned, and their owner inside hears.
        lab.sandbox().run("own_descriptor", [way, "self"]).expect("owner", "ok").expect("self", "heard");
    }
}

/// An outsider of this group (0: one of its own) that listens.
fn listen(lab: &Lab, group: i32) -> Child {
    let mut outsider = lab.bare().input_pipe().program("hearer", [group.to_string()]).start();
    outsider.wait_for("listens");
    outsider
}

fn heard_by(mut outsider: Child) -> bool {
    outsider.end_input();
    outsider.finish().value("heard") != "0"
}

static HEARD: AtomicU32 = AtomicU32::new(0);

extern "C" fn hear(_: i32) {
    HEARD.fetch_add(1, Ordering::Relaxed);
}

fn hear_from_now_on() {
    // SAFETY: zeroes are a valid action: an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = hear as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: a handler of the right type; the old action is not asked for.
    let done = unsafe { libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

/// `hearer GROUP`: until its standard input ends.
fn hearer(args: &Args) {
    hear_from_now_on();
    raw::call(libc::SYS_setpgid, &[0, args.get::<i32>(0) as usize]).unwrap();
    report("listens", "yes");
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new()).unwrap();
    report("heard", HEARD.load(Ordering::Relaxed));
}

/// `signal_many 0|group|everybody`: a child inside must hear.
fn signal_many(args: &Args) {
    let group = raw::call(libc::SYS_getpgid, &[0]).unwrap() as i32;
    let [mut ready, mut done] = [[0i32; 2]; 2];
    for ends in [&mut ready, &mut done] {
        raw::call(libc::SYS_pipe2, &[raw::out(ends), 0]).unwrap();
    }
    let child = raw::fork();
    if child == 0 {
        hear_from_now_on();
        raw::call(libc::SYS_write, &[ready[1] as usize, raw::at(b"x"), 1]).unwrap();
        raw::call(libc::SYS_read, &[done[0] as usize, raw::out(&mut [0u8; 1]), 1]).unwrap();
        raw::exit((HEARD.load(Ordering::Relaxed) > 0).into());
    }
    raw::call(libc::SYS_read, &[ready[0] as usize, raw::out(&mut [0u8; 1]), 1]).unwrap();
    report("group", group);
    raw::call(libc::SYS_read, &[0, raw::out(&mut [0u8; 3]), 3]).unwrap();
    let target = match args.text(0) {
        "0" => 0,
        "group" => -group,
        _ => -1,
    };
    report("kill", shown(raw::call(libc::SYS_kill, &[target as usize, libc::SIGURG as usize])));
    raw::call(libc::SYS_write, &[done[1] as usize, raw::at(b"x"), 1]).unwrap();
    report("child", if raw::wait(child) == 1 << 8 { "heard" } else { "did not hear" });
}

/// `own_descriptor WAY PID|self`: makes it the owner of a socket, lets something arrive there, out of band too.
fn own_descriptor(args: &Args) {
    hear_from_now_on();
    let pid = if args.text(1) == "self" { std::process::id() as i32 } else { args.get(1) };
    let group = if args.text(1) == "self" { raw::call(libc::SYS_getpgid, &[0]).unwrap() as i32 } else { pid };
    let mut pair = [0i32; 2];
    let words = [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, raw::out(&mut pair)];
    raw::call(libc::SYS_socketpair, &words).unwrap();
    let [receiver, sender] = pair.map(|end| end as usize);
    let fcntl = |command: i32, value: usize| raw::call(libc::SYS_fcntl, &[receiver, command as usize, value]);
    let ioctl =
        |request: usize, value: i32| raw::call(libc::SYS_ioctl, &[receiver, request, raw::at(&value)]);
    // `struct f_owner_ex`: F_OWNER_TID, F_OWNER_PGRP; the command is F_SETOWN_EX.
    let owned: Result<usize, Errno> = match args.text(0) {
        "F_SETOWN" => fcntl(libc::F_SETOWN, pid as usize),
        "F_SETOWN group" => fcntl(libc::F_SETOWN, -group as usize),
        "F_SETOWN_EX" => fcntl(15, raw::at(&[0, pid])),
        "F_SETOWN_EX group" => fcntl(15, raw::at(&[2, group])),
        "FIOSETOWN" => ioctl(0x8901, pid),
        _ => ioctl(0x8902, -group),
    };
    report("owner", shown(owned));
    // F_SETSIG: what comes by O_ASYNC, which else is SIGIO.
    report("signal", shown(fcntl(10, libc::SIGURG as usize)));
    let _ = fcntl(libc::F_SETFL, libc::O_ASYNC as usize);
    for flags in [0, libc::MSG_OOB] {
        let _ = raw::call(libc::SYS_sendto, &[sender, raw::at(b"x"), 1, flags as usize]);
    }
    std::thread::sleep(Duration::from_millis(20));
    report("self", if HEARD.load(Ordering::Relaxed) > 0 { "heard" } else { "did not hear" });
}
