//! io_uring performs connects, sends and opens from a queue in shared memory: no system call is made that a filter
//! could see. So there must be no ring.

use lab::{Args, Lab, NONE, raw, report, shown};

lab::suite! { tests: [there_is_no_ring], programs: [io_uring] }

fn there_is_no_ring(lab: &Lab) {
    // Where the machine itself forbids rings (kernel.io_uring_disabled) it answers EPERM.
    let bare = lab.bare().run("io_uring", NONE);
    assert!(matches!(bare.value("setup"), "ok" | "EPERM"), "{bare}");
    let out = lab.sandbox().run("io_uring", NONE);
    out.expect("setup", "ENOSYS").expect("enter", "ENOSYS").expect("register", "ENOSYS");
}

fn io_uring(_: &Args) {
    // `struct io_uring_params`.
    let mut parameters = [0u8; 120];
    report("setup", shown(raw::call(libc::SYS_io_uring_setup, &[4, raw::out(&mut parameters)])));
    report("enter", shown(raw::call(libc::SYS_io_uring_enter, &[0])));
    report("register", shown(raw::call(libc::SYS_io_uring_register, &[0])));
}
