//! Pseudo-terminals.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use crate::raw;

/// Both ends of a new one: the master's and the terminal, which is nobody's controlling one.
pub fn terminal() -> (File, File) {
    let ioctl = |file: &File, request: u64, argument: usize| {
        raw::call(libc::SYS_ioctl, &[file.as_raw_fd() as usize, request as usize, argument]).unwrap()
    };
    let master = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    ioctl(&master, libc::TIOCSPTLCK, raw::at(&0i32));
    let mut number = 0i32;
    ioctl(&master, libc::TIOCGPTN, raw::out(&mut number));
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    (master, options.open(format!("/dev/pts/{number}")).unwrap())
}
