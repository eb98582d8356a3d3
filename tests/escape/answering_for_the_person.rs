//! A program that is asked about on the terminal that it has itself: it types, writes what looks like an answer, reads away
//! what the person types, and shows a question of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use lab::{Args, Lab, TcpServer, raw, report, shown, terminal};

lab::suite! {
    tests: [nothing_that_a_program_writes_is_an_answer],
    programs: [answers_itself, leads_a_session],
}

fn nothing_that_a_program_writes_is_an_answer(lab: &Lab) {
    let server = TcpServer::v4();
    let run = |person: bool| {
        let (mut master, terminal) = terminal();
        lab.own(&std::fs::read_link(format!("/proc/self/fd/{}", terminal.as_raw_fd())).unwrap());
        let to = server.rule();
        let mut run = lab.bare().descriptor(9, terminal).program("leads_a_session", [&to]).start();
        let mut screen = String::new();
        let until = Instant::now() + Duration::from_secs(20);
        // What the person types, when the question can be read: with the program out of the way.
        while run.is_running() && Instant::now() < until {
            let mut bytes = [0; 4096];
            if raw::poll_readable(&[master.as_raw_fd()], Duration::from_millis(50))
                && let Ok(read) = master.read(&mut bytes)
            {
                screen.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
            if person && screen.contains("[n]ot? ") {
                screen.clear();
                master.write_all(b"o\n").unwrap();
            }
        }
        run.finish()
    };
    let out = run(false);
    out.expect("connect", "ECONNREFUSED").expect("TIOCSTI", "EPERM");
    assert!(server.saw().is_empty(), "{out}");
    run(true).expect("connect", "ok");
    assert_eq!(server.saw().len(), 1);
}

fn leads_a_session(args: &Args) {
    raw::call(libc::SYS_setsid, &[]).unwrap();
    raw::call(libc::SYS_ioctl, &[9, libc::TIOCSCTTY as usize, 0]).unwrap();
    let program = std::env::current_exe().unwrap();
    let place = program.parent().unwrap();
    let mut sandlock = std::process::Command::new(place.join("sandlock"));
    sandlock
        .args(["run", "--ask", "--ask-timeout", "2", "--pass-fd", "9", "-w", "/dev/tty", "-r"])
        .arg(place);
    let error = sandlock.arg("--").arg(&program).args(["--program", "answers_itself", args.text(0)]).exec();
    panic!("{error}");
}

fn answers_itself(args: &Args) {
    let to = raw::internet(args.get::<SocketAddr>(0));
    let connect = std::thread::spawn(move || {
        raw::connect(raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap(), &to)
    });
    let mut terminals = vec![File::options().read(true).write(true).open("/dev/tty").unwrap()];
    // SAFETY: inherited, and nobody else's.
    terminals.push(File::from(unsafe { OwnedFd::from_raw_fd(9) }));
    let mut typed = Ok(0);
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        for terminal in &mut terminals {
            for byte in b"o\n" {
                let argument = raw::at(std::slice::from_ref(byte));
                typed = raw::call(
                    libc::SYS_ioctl,
                    &[terminal.as_raw_fd() as usize, libc::TIOCSTI as usize, argument],
                );
            }
            terminal.write_all(b"o\n\x1b[5n\x1b[6n").unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
        if connect.is_finished() {
            break;
        }
    }
    report("TIOCSTI", shown(typed));
    report("connect", shown(connect.join().unwrap()));
}
