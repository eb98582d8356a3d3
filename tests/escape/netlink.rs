//! A netlink socket can be sent to by port number: a way to talk to other processes, or to groups of them. Only the
//! kernel's routing family is there, and only the kernel can be addressed; the C library needs that to know its
//! addresses.

use std::net::ToSocketAddrs;
use std::os::fd::RawFd;

use lab::{Args, Errno, Lab, NONE, raw, report, shown};

use lab::message::{entry, header, part, sendmmsg, sendmsg, sendto};

lab::suite! {
    tests: [
        only_the_kernel_is_spoken_to,
        the_c_library_finds_addresses,
        sockets_of_others_are_not_listed,
    ],
    programs: [speak_netlink, addresses, list_sockets],
}

const CONFIGURATIONS: [&[&str]; 4] = [
    &[],
    &["--net-allow", "127.0.0.1:80"],
    &["--net-allow", "udp://127.0.0.1:53"],
    &["--net-allow", "udp://*:*", "--unix-dgram"],
];

fn only_the_kernel_is_spoken_to(lab: &Lab) {
    let outside = raw::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0).unwrap();
    raw::bind(outside, &name(0, 0)).unwrap();
    let mut own = [0u8; 12];
    let mut length = 12u32;
    let words = [outside as usize, raw::out(&mut own), raw::out(&mut length)];
    raw::call(libc::SYS_getsockname, &words).unwrap();
    let port = u32::from_ne_bytes(own[4..8].try_into().unwrap());
    let args = [port.to_string()];

    let bare = lab.bare().run("speak_netlink", &args);
    bare.expect("kernel sendto", "ok").expect("heard", "something");
    // It asks for CAP_NET_ADMIN.
    assert_eq!(received(outside) > 0, lab.user().is_root(), "{bare}");
    for options in CONFIGURATIONS {
        let out = lab.sandbox().options(options).run("speak_netlink", &args);
        for call in ["sendto", "sendmsg", "sendmmsg"] {
            out.expect(&format!("kernel {call}"), "ok");
            for whom in ["port", "groups", "both"] {
                out.expect(&format!("{whom} {call}"), "EPERM");
            }
        }
        out.expect("kernel connect", "ok").expect("port connect", "EPERM").expect("groups connect", "EPERM");
        out.expect("heard", "something");
        assert_eq!(received(outside), 0, "{out}");
    }
    raw::close(outside);
}

fn the_c_library_finds_addresses(lab: &Lab) {
    let bare = lab.bare().run("addresses", NONE);
    assert!(bare.value("interfaces").parse::<u32>().unwrap() > 0, "{bare}");
    for options in CONFIGURATIONS {
        let out = lab.sandbox().options(options).run("addresses", NONE);
        out.expect("interfaces", bare.value("interfaces")).expect("localhost", bare.value("localhost"));
    }
}

/// `sock_diag(7)` lists every socket of the machine, and with CAP_NET_ADMIN ends them.
fn sockets_of_others_are_not_listed(lab: &Lab) {
    lab.bare().run("list_sockets", lab::NONE).expect("raw", "ok").expect("datagram", "ok");
    let more: [&[&str]; 2] = [&["--net-allow-bind", "8080"], &["--kernel-only"]];
    for options in CONFIGURATIONS.iter().chain(&more) {
        let out = lab.sandbox().options(*options).run("list_sockets", lab::NONE);
        out.expect("raw", "EACCES").expect("datagram", "EACCES");
    }
}

fn list_sockets(_: &Args) {
    const NETLINK_SOCK_DIAG: i32 = 4;
    for (name, kind) in [("raw", libc::SOCK_RAW), ("datagram", libc::SOCK_DGRAM)] {
        report(name, shown(raw::socket(libc::AF_NETLINK, kind, NETLINK_SOCK_DIAG)));
    }
}

fn received(socket: RawFd) -> usize {
    let mut buffer = [0u8; 4096];
    let words = [socket as usize, raw::out(&mut buffer), 4096];
    std::iter::from_fn(|| raw::call(libc::SYS_recvfrom, &words).ok()).count()
}

/// `struct sockaddr_nl`.
fn name(port: u32, groups: u32) -> Vec<u8> {
    let mut bytes = (libc::AF_NETLINK as u32).to_ne_bytes().to_vec();
    bytes.extend(port.to_ne_bytes());
    bytes.extend(groups.to_ne_bytes());
    bytes
}

/// `speak_netlink PORT`.
fn speak_netlink(args: &Args) {
    let port = args.get(0);
    // RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, and a `struct ifinfomsg`.
    let mut request = 32u32.to_ne_bytes().to_vec();
    request.extend(18u16.to_ne_bytes());
    request.extend(0x301u16.to_ne_bytes());
    request.resize(32, 0);
    let parts = [part(&request)];
    let socket = || raw::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).unwrap();
    for (whom, to) in
        [("kernel", name(0, 0)), ("port", name(port, 0)), ("groups", name(0, 1)), ("both", name(port, 1))]
    {
        let say = |call: &str, result: Result<usize, Errno>| report(format!("{whom} {call}"), shown(result));
        say("sendto", sendto(socket(), &request, 0, &to));
        say("sendmsg", sendmsg(socket(), &header(&to, &parts, &[]), 0));
        say("sendmmsg", sendmmsg(socket(), &mut [entry(&to, &parts, &[])], 0));
        let connected = socket();
        say("connect", raw::connect(connected, &to).map(|()| 0));
        let _ = raw::call(libc::SYS_write, &[connected as usize, raw::at(&request[..]), request.len()]);
    }
    let socket = socket();
    sendto(socket, &request, 0, &name(0, 0)).unwrap();
    let mut buffer = [0u8; 8192];
    let words = [socket as usize, raw::out(&mut buffer), 8192, libc::MSG_DONTWAIT as usize];
    let heard = raw::call(libc::SYS_recvfrom, &words).unwrap_or(0);
    report("heard", if heard > 32 { "something" } else { "nothing" });
}

fn addresses(_: &Args) {
    let mut first = std::ptr::null_mut();
    // SAFETY: the pointer is written on success.
    let done = unsafe { libc::getifaddrs(&raw mut first) };
    let mut count = 0;
    while done == 0 && !first.is_null() {
        count += 1;
        // SAFETY: the list is whole, and never freed.
        first = unsafe { (*first).ifa_next };
    }
    report("interfaces", count);
    let mut found: Vec<_> = ("localhost", 80).to_socket_addrs().map_or(Vec::new(), |all| all.collect());
    found.sort();
    found.dedup();
    report("localhost", format!("{found:?}"));
}
