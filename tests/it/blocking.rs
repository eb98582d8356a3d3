//! A connect that must wait: it delays nobody else, and is interrupted, timed out and cancelled as a bare one is.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::{Args, Errno, Lab, TcpServer, raw, report, shown};

lab::suite! {
    tests: [
        a_blocked_connect_delays_no_other,
        a_signal_interrupts_it_as_a_bare_one,
        its_time_out_is_kept,
        without_blocking_it_is_in_progress,
        a_caller_that_dies_is_forgotten,
    ],
    programs: [one_blocks, interrupted, timed_out, in_progress, dies],
}

/// A listener whose queue is full: whoever connects waits, until `accept_all`.
struct Full {
    listener: RawFd,
    fillers: Vec<RawFd>,
    address: SocketAddr,
}

impl Full {
    fn start() -> Self {
        let listener = raw::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0).unwrap();
        raw::bind(listener, &raw::internet("127.0.0.1:0".parse::<SocketAddr>().unwrap())).unwrap();
        raw::call(libc::SYS_listen, &[listener as usize, 0]).unwrap();
        let (mut name, mut length) = ([0u8; 16], 16u32);
        let words = [listener as usize, raw::out(&mut name), raw::out(&mut length)];
        raw::call(libc::SYS_getsockname, &words).unwrap();
        let port = u16::from_be_bytes([name[2], name[3]]);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let fillers = (0..4).map(|_| {
            let filler = raw::socket(libc::AF_INET, kind, 0).unwrap();
            let _ = raw::connect(filler, &raw::internet(address));
            filler
        });
        let fillers = fillers.collect();
        std::thread::sleep(Duration::from_millis(20));
        Full { listener, fillers, address }
    }

    /// Makes room.
    fn accept_all(&self) {
        while raw::poll_readable(&[self.listener], Duration::from_millis(50)) {
            let accepted = raw::call(libc::SYS_accept4, &[self.listener as usize, 0, 0, 0]).unwrap();
            raw::close(accepted as RawFd);
        }
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        self.fillers.iter().chain([&self.listener]).for_each(|fd| raw::close(*fd));
    }
}

fn a_blocked_connect_delays_no_other(lab: &Lab) {
    let (full, free) = (Full::start(), TcpServer::v4());
    let args = [full.address.to_string(), free.rule()];
    for run in [lab.bare(), lab.sandbox().allow(&args[0]).allow(&args[1])] {
        let before = free.saw().len();
        let out = run.run("one_blocks", &args);
        out.expect("first", "waits").expect("others", "ok");
        let longest: u64 = out.value("longest ms").parse().unwrap();
        assert!(longest < 1000, "{out}");
        assert_eq!(free.saw().len(), before + 20);
    }
}

fn a_signal_interrupts_it_as_a_bare_one(lab: &Lab) {
    for restart in ["restart", "interrupt"] {
        for sandboxed in [false, true] {
            let full = Full::start();
            let to = full.address.to_string();
            let run = if sandboxed { lab.sandbox().allow(&to) } else { lab.bare() };
            let mut run = run.program("interrupted", [restart, &to]).start();
            run.wait_for("begins");
            std::thread::sleep(Duration::from_millis(400));
            // The fillers try again as well, so once is not enough.
            while restart == "restart" && run.is_running() {
                full.accept_all();
            }
            let out = run.finish();
            out.expect("connect", if restart == "restart" { "ok" } else { "EINTR" });
            assert!(out.value("handled") != "0", "{out}");
        }
    }
}

fn its_time_out_is_kept(lab: &Lab) {
    let full = Full::start();
    let to = full.address.to_string();
    let bare = lab.bare().run("timed_out", [&to]);
    let out = lab.sandbox().allow(&to).run("timed_out", [&to]);
    // The second is a difference that docs/security/limits.md lists.
    bare.expect("connect", "EINPROGRESS").expect("again", "EALREADY");
    out.expect("connect", "EINPROGRESS").expect("again", "EINPROGRESS");
    let took: u64 = out.value("ms").parse().unwrap();
    assert!((200..2000).contains(&took), "{out}");
}

fn without_blocking_it_is_in_progress(lab: &Lab) {
    let (full, free) = (Full::start(), TcpServer::v4());
    let closed = closed_port();
    for to in [full.address.to_string(), free.rule(), closed] {
        let bare = lab.bare().run("in_progress", [&to]);
        let out = lab.sandbox().allow(&to).run("in_progress", [&to]);
        for key in ["connect", "writable", "error", "again"] {
            out.expect(key, bare.value(key));
        }
    }
    assert_eq!(free.saw().len(), 2);
}

fn a_caller_that_dies_is_forgotten(lab: &Lab) {
    let full = Full::start();
    let to = full.address.to_string();
    for run in [lab.bare(), lab.sandbox().allow(&to)] {
        run.run("dies", [&to]).expect("child", libc::SIGKILL).expect_code(0);
    }
    // The command itself, while a thread of it waits.
    let mut run = lab.sandbox().allow(&to).program("interrupted", ["restart", &to]).start();
    run.wait_for("begins");
    run.signal(libc::SIGTERM);
    run.finish().expect_code(128 + libc::SIGTERM);
}

fn closed_port() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn stream(flags: i32) -> RawFd {
    raw::socket(libc::AF_INET, libc::SOCK_STREAM | flags, 0).unwrap()
}

fn one_blocks(args: &Args) {
    let (full, free): (SocketAddr, SocketAddr) = (args.get(0), args.get(1));
    let (begins, began) = std::sync::mpsc::channel();
    let blocked = std::thread::spawn(move || {
        begins.send(()).unwrap();
        raw::connect(stream(0), &raw::internet(full))
    });
    began.recv().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let mut longest = Duration::ZERO;
    let others = (0..20).try_for_each(|_| {
        let begun = Instant::now();
        let done = raw::connect(stream(0), &raw::internet(free));
        longest = longest.max(begun.elapsed());
        done
    });
    report("others", shown(others));
    report("longest ms", longest.as_millis());
    report("first", if blocked.is_finished() { "does not wait" } else { "waits" });
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn handle(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// `interrupted restart|interrupt ADDRESS`: an alarm comes while it waits.
fn interrupted(args: &Args) {
    // SAFETY: all zeros is a valid value of these structures.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as *const () as usize;
    action.sa_flags = if args.text(0) == "restart" { libc::SA_RESTART } else { 0 };
    // SAFETY: the handler does nothing that it may not; the structures are alive.
    unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
    let socket = stream(0);
    let once = [0i64, 0, 0, 150_000];
    raw::call(libc::SYS_setitimer, &[libc::ITIMER_REAL as usize, raw::at(&once), 0]).unwrap();
    report("begins", "yes");
    report("connect", shown(raw::connect(socket, &raw::internet(args.get::<SocketAddr>(1)))));
    report("handled", HANDLED.load(Ordering::Relaxed));
}

fn timed_out(args: &Args) {
    let to = raw::internet(args.get::<SocketAddr>(0));
    let socket = stream(0);
    let limit = [0i64, 200_000];
    let option =
        [socket as usize, libc::SOL_SOCKET as usize, libc::SO_SNDTIMEO as usize, raw::at(&limit), 16];
    raw::call(libc::SYS_setsockopt, &option).unwrap();
    let begun = Instant::now();
    report("connect", shown(raw::connect(socket, &to)));
    report("ms", begun.elapsed().as_millis());
    report("again", shown(raw::connect(socket, &to)));
}

fn in_progress(args: &Args) {
    let to = raw::internet(args.get::<SocketAddr>(0));
    let socket = stream(libc::SOCK_NONBLOCK);
    report("connect", shown(raw::connect(socket, &to)));
    let mut poll = libc::pollfd { fd: socket, events: libc::POLLOUT, revents: 0 };
    report("writable", raw::call(libc::SYS_poll, &[raw::out(&mut poll), 1, 200]).unwrap());
    let (mut error, mut length) = (0i32, 4u32);
    let (level, name) = (libc::SOL_SOCKET as usize, libc::SO_ERROR as usize);
    let option = [socket as usize, level, name, raw::out(&mut error), raw::out(&mut length)];
    raw::call(libc::SYS_getsockopt, &option).unwrap();
    report("error", if error == 0 { "none".to_owned() } else { Errno(error).to_string() });
    report("again", shown(raw::connect(socket, &to)));
}

fn dies(args: &Args) {
    let child = raw::fork();
    if child == 0 {
        let _ = raw::connect(stream(0), &raw::internet(args.get::<SocketAddr>(0)));
        raw::exit(0);
    }
    std::thread::sleep(Duration::from_millis(100));
    raw::call(libc::SYS_kill, &[child as usize, libc::SIGKILL as usize]).unwrap();
    report("child", raw::wait(child) & 0x7f);
}
