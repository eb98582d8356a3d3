//! TIOCSTI types into the terminal: what it leaves there, the shell reads and executes outside when the command has
//! ended. TIOCLINUX pastes, on a console.

use std::os::fd::{AsRawFd, RawFd};

use lab::{Args, Errno, Lab, NONE, raw, report, shown, terminal};

lab::suite! { tests: [nothing_is_typed_into_the_terminal], programs: [type_ahead] }

fn nothing_is_typed_into_the_terminal(lab: &Lab) {
    let run = |run: lab::Run| {
        let (_master, terminal) = terminal();
        lab.own(&std::fs::read_link(format!("/proc/self/fd/{}", terminal.as_raw_fd())).unwrap());
        run.descriptor(0, terminal).run("type_ahead", NONE)
    };
    let bare = run(lab.bare());
    // Ordinary users may only where dev.tty.legacy_tiocsti says so.
    if lab.user().is_root() {
        bare.expect("TIOCSTI", "ok").expect("typed", "x");
    }
    for options in [vec![], vec!["--kernel-only"]] {
        let out = run(lab.sandbox().options(options));
        out.expect("terminal", "ok").expect("TIOCSTI", "EPERM").expect("TIOCSTI with garbage above", "EPERM");
        out.expect("TIOCLINUX", "EPERM").expect("typed", "").expect("size", "ok");
    }
}

fn ioctl(file: RawFd, request: usize, argument: usize) -> Result<usize, Errno> {
    raw::call(libc::SYS_ioctl, &[file as usize, request, argument])
}

/// On the terminal that is its standard input, as the leader of a session.
fn type_ahead(_: &Args) {
    let child = raw::fork();
    if child != 0 {
        raw::wait(child);
        return;
    }
    raw::call(libc::SYS_setsid, &[]).unwrap();
    let terminal = 0;
    report("terminal", shown(ioctl(terminal, libc::TIOCSCTTY as usize, 0)));
    let mut size = [0u16; 4];
    report("size", shown(ioctl(terminal, libc::TIOCGWINSZ as usize, raw::out(&mut size))));
    report("TIOCSTI", shown(ioctl(terminal, libc::TIOCSTI as usize, raw::at(b"x"))));
    let _ = ioctl(terminal, libc::TIOCSTI as usize, raw::at(b"\n"));
    // The kernel reads 32 bits of the register.
    let garbage = libc::TIOCSTI as usize | 1 << 44;
    report("TIOCSTI with garbage above", shown(ioctl(terminal, garbage, raw::at(b"y"))));
    report("TIOCLINUX", shown(ioctl(terminal, libc::TIOCLINUX as usize, raw::at(&[3u8]))));
    let mut typed = [0u8; 16];
    let mut count = 0;
    if raw::poll_readable(&[terminal], std::time::Duration::from_millis(10)) {
        let read = [terminal as usize, raw::out(&mut typed), typed.len()];
        count = raw::call(libc::SYS_read, &read).unwrap_or(0);
    }
    report("typed", String::from_utf8_lossy(&typed[..count]).lines().next().unwrap_or(""));
    raw::exit(0);
}
