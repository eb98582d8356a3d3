//! What programs ask the kernel about interfaces and addresses, over netlink, is answered as bare: the C library, Node,
//! and Go, which binds its socket first and asks what it is called.

use lab::{Args, Lab, NONE, raw, report, tool};

lab::suite! { tests: [they_are_listed_as_bare], programs: [list_interfaces, dump_as_go] }

const NODE: &str = "const all = require('os').networkInterfaces(); console.log(JSON.stringify(all))";

fn they_are_listed_as_bare(lab: &Lab) {
    let node = tool("node", "nodejs");
    let configurations: [&[&str]; 5] = [
        &[],
        &["--kernel-only"],
        &["--net-allow", "localhost:9"],
        &["--net-allow-bind", "8080"],
        &["--net-allow-bind", "udp://5353", "--net-allow", "udp://*:*"],
    ];
    let of_c = lab.bare().run("list_interfaces", NONE);
    of_c.expect("lo", "ok");
    let of_go = lab.bare().run("dump_as_go", NONE);
    of_go.expect("links", "ok").expect("addresses", "ok").expect("name", "its own");
    let of_node = lab.bare().command(&node, ["-e", NODE]).output();
    assert!(of_node.stdout.contains("127.0.0.1"), "{of_node}");
    for options in configurations {
        let run = || lab.sandbox().options(options);
        assert_eq!(run().run("list_interfaces", NONE).stdout, of_c.stdout);
        assert_eq!(run().run("dump_as_go", NONE).stdout, of_go.stdout);
        assert_eq!(run().command(&node, ["-e", NODE]).output().stdout, of_node.stdout);
    }
}

/// `getifaddrs(3)`.
fn list_interfaces(_: &Args) {
    let mut first = std::ptr::null_mut();
    // SAFETY: the pointer is written on success.
    assert_eq!(unsafe { libc::getifaddrs(&raw mut first) }, 0);
    let mut found = Vec::new();
    while !first.is_null() {
        // SAFETY: the list is whole, and never freed.
        let entry = unsafe { &*first };
        // SAFETY: a name ends with NUL.
        let name = unsafe { std::ffi::CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
        // SAFETY: an address begins with its family.
        let family = if entry.ifa_addr.is_null() { 0 } else { unsafe { (*entry.ifa_addr).sa_family } };
        found.push(format!("{name} {family} {:#x}", entry.ifa_flags));
        first = entry.ifa_next;
    }
    report("lo", if found.iter().any(|entry| entry.starts_with("lo ")) { "ok" } else { "missing" });
    report("all", found.join(", "));
}

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const NLMSG_DONE: u16 = 3;

/// As `syscall.NetlinkRIB` of Go.
fn dump_as_go(_: &Args) {
    for (what, kind) in [("links", RTM_GETLINK), ("addresses", RTM_GETADDR)] {
        let socket = raw::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0).unwrap();
        let kernel = [libc::AF_NETLINK as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        raw::bind(socket, &kernel).unwrap();
        let mut request = 17u32.to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        request.extend(0x301u16.to_ne_bytes());
        request.extend(1u32.to_ne_bytes());
        request.resize(20, 0);
        lab::message::sendto(socket, &request, 0, &kernel).unwrap();
        let (mut name, mut length) = ([0u8; 12], 12u32);
        raw::call(libc::SYS_getsockname, &[socket as usize, raw::out(&mut name), raw::out(&mut length)])
            .unwrap();
        let number = u32::from_ne_bytes(name[4..8].try_into().unwrap());
        report("name", if number != 0 && name[0] == libc::AF_NETLINK as u8 { "its own" } else { "none" });
        let mut kinds = Vec::new();
        'dump: loop {
            let mut buffer = vec![0u8; 65536];
            let words = [socket as usize, raw::out(&mut buffer[..]), buffer.len(), 0, 0, 0];
            let len = raw::call(libc::SYS_recvfrom, &words).unwrap();
            let mut rest = &buffer[..len];
            while rest.len() >= 16 {
                let size = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
                let kind = u16::from_ne_bytes(rest[4..6].try_into().unwrap());
                assert_eq!(u32::from_ne_bytes(rest[12..16].try_into().unwrap()), number);
                if kind == NLMSG_DONE {
                    break 'dump;
                }
                kinds.push(kind);
                rest = &rest[((size + 3) & !3).min(rest.len())..];
            }
        }
        report(what, if kinds.is_empty() { "none" } else { "ok" });
        report(format!("messages of {what}"), format!("{kinds:?}"));
        raw::close(socket);
    }
}
