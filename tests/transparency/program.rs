//! What runs twice: derives calls from a seed, makes them, and prints one line a call.
//!
//! The numbers drawn never depend on what a call answered, so both runs make the same calls.

use std::io::Write;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use lab::{Args, Errno, raw};

use crate::arena::Arena;
use crate::entries::Entries;
use crate::files::Files;
use crate::random::Random;
use crate::sockets::Sockets;

/// What the calls are made with.
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) arena: Arena,
    pub(crate) port: u16,
    /// In how many ways the call that is being made is unusual.
    pub(crate) oddities: u32,
}

/// `calls SEED COUNT PORT`, in a directory of its own with the sockets of the servers in it.
pub(crate) fn calls(args: &Args) {
    let (seed, count, port) = (args.get(0), args.get::<usize>(1), args.get(2));
    become_plain();
    let mut world = World { random: Random::new(seed), arena: Arena::map(), port, oddities: 0 };
    let mut files = Files::make();
    let mut sockets = Sockets::default();
    let mut out = std::io::stdout();
    for index in 0..count {
        if index % EPISODE == 0 {
            sockets.renew(&mut world);
            files.renew();
        }
        world.arena.clear();
        world.oddities = 0;
        let (subject, line) =
            if world.random.percent(25) { files.call(&mut world) } else { sockets.call(&mut world) };
        let line = format!("{index} e{} {subject} odd{} {line}\n", index / EPISODE, world.oddities);
        out.write_all(line.as_bytes()).unwrap();
    }
    out.write_all(b"done\n").unwrap();
}

/// `file_calls SEED COUNT`, in a directory of its own: those about files alone.
pub(crate) fn file_calls(args: &Args) {
    let (seed, count) = (args.get(0), args.get::<usize>(1));
    become_plain();
    let below = std::env::current_dir().unwrap();
    let stream = (libc::S_IFSOCK | 0o755) as usize;
    raw::call(libc::SYS_mknodat, &[libc::AT_FDCWD as usize, raw::at(b"stream\0"), stream, 0]).unwrap();
    let mut world = World { random: Random::new(seed), arena: Arena::map(), port: 0, oddities: 0 };
    let mut files = Files::make();
    let mut entries = Entries::new();
    let mut out = std::io::stdout();
    for index in 0..count {
        let episode = index / EPISODE;
        if index % EPISODE == 0 {
            std::env::set_current_dir(&below).unwrap();
            files.renew();
            entries.renew(episode);
        }
        world.arena.clear();
        world.oddities = 0;
        let (subject, line) = if world.random.percent(25) {
            std::env::set_current_dir(&below).unwrap();
            let said = files.call(&mut world);
            entries.enter(episode);
            said
        } else {
            entries.call(&mut world)
        };
        let line = format!("{index} e{episode} {subject} odd{} {line}\n", world.oddities);
        out.write_all(line.as_bytes()).unwrap();
    }
    out.write_all(b"done\n").unwrap();
}

/// After so many calls everything begins anew, so that one difference does not make many.
pub(crate) const EPISODE: usize = 25;

/// As the sandbox makes every program, and an ordinary user's is anyway: without capabilities. Counts SIGPIPE, and lets
/// SIGALRM interrupt a call.
fn become_plain() {
    // Version 3, this process.
    let header = [0x2008_0522u32, 0];
    raw::call(libc::SYS_capset, &[raw::at(&header), raw::at(&[0u32; 6])]).unwrap();
    // SAFETY: the handler does nothing but add to a number.
    unsafe { libc::signal(libc::SIGPIPE, count_pipe as *const () as libc::sighandler_t) };
    // SAFETY: all zeroes is a valid `sigaction`: no flags, so no SA_RESTART, and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = wake as *const () as libc::sighandler_t;
    // SAFETY: the handler does nothing.
    unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
    // SAFETY: takes a number only.
    unsafe { libc::umask(0o022) };
}

extern "C" fn wake(_: i32) {}

static PIPES: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_pipe(_: i32) {
    PIPES.fetch_add(1, Ordering::SeqCst);
}

/// Makes a call; its answer as text, with the SIGPIPE that it raised.
pub(crate) fn answer(number: libc::c_long, arguments: &[usize]) -> (Result<usize, Errno>, String) {
    let before = PIPES.load(Ordering::SeqCst);
    // A call that waits for what never comes, such as room in the program's own listener, is EINTR in the end.
    raw::call(libc::SYS_alarm, &[2]).unwrap();
    let result = raw::call(number, arguments);
    raw::call(libc::SYS_alarm, &[0]).unwrap();
    let mut text = match result {
        Ok(value) => value.to_string(),
        Err(errno) => errno.to_string(),
    };
    for _ in before..PIPES.load(Ordering::SeqCst) {
        text.push_str(" SIGPIPE");
    }
    (result, text)
}

/// A descriptor as a register: sometimes with rubbish in the upper half, which the kernel does not look at.
pub(crate) fn register(random: &mut Random, fd: RawFd) -> usize {
    let low = fd as u32 as usize;
    if random.percent(3) { low | 1 << 40 } else { low }
}
