//! TCP fast open connects by sending: `sendto`, `sendmsg` and `sendmmsg` with MSG_FASTOPEN take an address, and after
//! TCP_FASTOPEN_CONNECT a later send makes the connection that `connect` only promised. Landlock sees none of it.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use lab::{Args, Errno, Lab, TcpServer, raw, report, shown};

lab::suite! {
    tests: [sending_does_not_connect, the_option_does_not_defer_a_connect],
    programs: [send_open, option_open],
}

const WAYS: [&str; 3] = ["sendto", "sendmsg", "sendmmsg"];
const TCP_FASTOPEN_CONNECT: usize = 30;

/// No rule, a rule that names the port but not the address, and ones that trap sends or let them all through.
fn policies(server: &TcpServer) -> [Vec<String>; 5] {
    let port = server.port();
    [
        vec![],
        vec![format!("127.0.0.9:{port}")],
        vec![format!("127.0.0.9:{port}"), "udp://127.0.0.9:9".to_owned()],
        vec![format!("127.0.0.9:{port}"), "udp://*:*".to_owned()],
        vec!["127.0.0.9:*".to_owned(), "icmp://*".to_owned()],
    ]
}

fn sending_does_not_connect(lab: &Lab) {
    for address in ["127.0.0.1", "::1"] {
        let server = TcpServer::start(address.parse::<std::net::IpAddr>().unwrap());
        for way in WAYS {
            lab.bare().run("send_open", [way, &server.rule()]).expect("send", "ok");
        }
        assert_eq!(server.saw().iter().filter(|seen| seen.text() == "fast").count(), WAYS.len());

        let server = TcpServer::start(address.parse::<std::net::IpAddr>().unwrap());
        for policy in policies(&server) {
            for way in WAYS {
                let run = policy.iter().fold(lab.sandbox(), |run, rule| run.allow(rule));
                run.run("send_open", [way, &server.rule()]).expect("send", "EOPNOTSUPP");
            }
        }
        assert_eq!(server.saw(), []);
    }
}

fn the_option_does_not_defer_a_connect(lab: &Lab) {
    let server = TcpServer::v4();
    lab.bare().run("option_open", [server.rule()]).expect("option", "ok").expect("send", "ok");
    assert_eq!(server.saw().len(), 1);

    let server = TcpServer::v4();
    for policy in policies(&server) {
        let run = policy.iter().fold(lab.sandbox(), |run, rule| run.allow(rule));
        run.run("option_open", [server.rule()])
            .expect("option", "ENOPROTOOPT")
            .expect("option with garbage above", "ENOPROTOOPT")
            .expect("connect", "ECONNREFUSED");
    }
    assert_eq!(server.saw(), []);
    // The option only is refused, not the port.
    let out = lab.sandbox().allow(server.rule()).run("option_open", [server.rule()]);
    out.expect("option", "ENOPROTOOPT").expect("connect", "ok").expect("send", "ok");
    assert_eq!(server.saw().len(), 1);
}

fn stream(address: SocketAddr) -> RawFd {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    raw::socket(family, libc::SOCK_STREAM, 0).unwrap()
}

fn send_open(args: &Args) {
    let to: SocketAddr = args.get(1);
    let (fd, name, flags) = (stream(to) as usize, raw::internet(to), libc::MSG_FASTOPEN as usize);
    let vector = libc::iovec { iov_base: b"fast".as_ptr().cast_mut().cast(), iov_len: 4 };
    // SAFETY: all zeros is a valid value of these structures.
    let mut messages: [libc::mmsghdr; 1] = unsafe { std::mem::zeroed() };
    messages[0].msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
    messages[0].msg_hdr.msg_namelen = name.len() as u32;
    messages[0].msg_hdr.msg_iov = (&raw const vector).cast_mut();
    messages[0].msg_hdr.msg_iovlen = 1;
    let sent = match args.text(0) {
        "sendto" => {
            raw::call(libc::SYS_sendto, &[fd, raw::at(b"fast"), 4, flags, raw::at(&name[..]), name.len()])
        }
        "sendmsg" => raw::call(libc::SYS_sendmsg, &[fd, raw::out(&mut messages[0].msg_hdr), flags]),
        _ => raw::call(libc::SYS_sendmmsg, &[fd, raw::out(&mut messages), 1, flags]),
    };
    report("send", shown(sent));
}

fn option_open(args: &Args) {
    let to: SocketAddr = args.get(0);
    let fd = stream(to) as usize;
    let set = |level: usize| -> Result<usize, Errno> {
        raw::call(libc::SYS_setsockopt, &[fd, level, TCP_FASTOPEN_CONNECT, raw::at(&1i32), 4])
    };
    report("option", shown(set(libc::IPPROTO_TCP as usize)));
    // The kernel reads 32 bits of this register.
    report("option with garbage above", shown(set(libc::IPPROTO_TCP as usize | 1 << 40)));
    report("connect", shown(raw::connect(fd as RawFd, &raw::internet(to))));
    report(
        "send",
        shown(raw::call(libc::SYS_sendto, &[fd, raw::at(b"fast"), 4, libc::MSG_NOSIGNAL as usize])),
    );
}
