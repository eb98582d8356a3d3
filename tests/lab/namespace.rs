//! A network of a test's own: nothing but loopback, and nobody else's packets.

use std::io::Write;

use crate::raw;

/// Runs a test in a new network namespace, with loopback up. Only root can make one: others are told that nothing of
/// `what` was tested.
///
/// A namespace is a thread's own, and inherited by what the thread starts: servers, runs, sockets.
pub fn in_namespace(what: &str, test: impl FnOnce() + Send) {
    if raw::euid() != 0 {
        let _ =
            writeln!(std::io::stderr(), "note: only root can make a network namespace: no {what} was tested");
        return;
    }
    let result = std::thread::scope(|scope| {
        let in_thread = || {
            raw::call(libc::SYS_unshare, &[libc::CLONE_NEWNET as usize]).unwrap();
            loopback_up();
            test();
        };
        scope.spawn(in_thread).join()
    });
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn loopback_up() {
    let socket = raw::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
    // `struct ifreq`: a name and flags.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..18].copy_from_slice(&(libc::IFF_UP as u16).to_ne_bytes());
    let words = [socket as usize, libc::SIOCSIFFLAGS as usize, raw::out(&mut request)];
    raw::call(libc::SYS_ioctl, &words).unwrap();
    raw::close(socket);
}
