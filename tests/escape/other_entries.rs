//! A 64-bit process can enter the kernel by the 32-bit door (`int 0x80`) and by the x32 numbers: other tables, in
//! which 41 is not `socket`. A filter that looks only at numbers is passed by.
#![cfg(target_arch = "x86_64")]

use std::arch::asm;
use std::net::SocketAddr;

use lab::{Args, Lab, NONE, TcpServer, raw, report, shown};

lab::suite! {
    tests: [the_32_bit_entry_is_closed, x32_numbers_are_closed],
    programs: [compat_connect, x32],
}

fn the_32_bit_entry_is_closed(lab: &Lab) {
    let server = TcpServer::v4();
    let bare = lab.bare().run("compat_connect", [server.rule()]);
    // A kernel without CONFIG_IA32_EMULATION kills the program, here as inside.
    let there = bare.find("connect").is_some();
    if there {
        bare.expect("connect", 0);
    }
    let before = server.saw().len();
    for options in [vec![], vec!["--net-allow", "127.0.0.9:*"], vec!["--net-allow", "*:*"]] {
        let out = lab.sandbox().options(options).run("compat_connect", [server.rule()]);
        assert!(out.find("connect").is_none_or(|done| done.starts_with('-')), "{out}");
        assert!(out.find("socket").is_none_or(|done| done.starts_with('-')), "{out}");
    }
    assert_eq!(server.saw().len(), before);
}

fn x32_numbers_are_closed(lab: &Lab) {
    let out = lab.sandbox().run("x32", NONE);
    out.expect("getpid", "ENOSYS").expect("socket", "ENOSYS").expect("connect", "ENOSYS");
}

/// A call by `int 0x80`: arguments are 32 bits.
fn compat(number: u32, arguments: [u32; 3]) -> i32 {
    let done: i32;
    // SAFETY: the pointers that the callers pass are below 4 GiB and alive; rbx is restored.
    unsafe {
        asm!(
            "push rbx", "mov ebx, {first:e}", "int 0x80", "pop rbx",
            first = in(reg) arguments[0],
            inlateout("eax") number => done,
            in("ecx") arguments[1],
            in("edx") arguments[2],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    done
}

fn compat_connect(args: &Args) {
    let address = raw::internet(args.get::<SocketAddr>(0));
    let low = raw::call(
        libc::SYS_mmap,
        &[
            0,
            4096,
            (libc::PROT_READ | libc::PROT_WRITE) as usize,
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT) as usize,
            usize::MAX,
            0,
        ],
    );
    let low = low.unwrap();
    // SAFETY: a page was just mapped there.
    unsafe { std::ptr::copy_nonoverlapping(address.as_ptr(), low as *mut u8, address.len()) };
    // i386: socket is 359, connect 362.
    let socket = compat(359, [libc::AF_INET as u32, libc::SOCK_STREAM as u32, 0]);
    report("socket", socket);
    if socket < 0 {
        // With a socket of the honest door then.
        let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        report("connect", compat(362, [socket as u32, low as u32, address.len() as u32]));
    } else {
        report("connect", compat(362, [socket as u32, low as u32, address.len() as u32]));
    }
}

fn x32(_: &Args) {
    const X32: libc::c_long = 0x4000_0000;
    report("getpid", shown(raw::call(libc::SYS_getpid | X32, &[])));
    report("socket", shown(raw::call(libc::SYS_socket | X32, &[2, 1, 0])));
    report("connect", shown(raw::call(libc::SYS_connect | X32, &[0, 0, 0])));
}
