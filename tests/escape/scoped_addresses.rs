//! An address of IPv6 carries a scope and a flow label beside its bytes. A scope chooses the link of a link-local
//! address, and on others it is passed over; neither makes another destination of it, nor one that no rule names.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use lab::{Args, Lab, TcpServer, UdpServer, in_namespace, raw, report, shown};

use lab::message::{entry, header, part, sendmmsg, sendmsg, sendto, udp};

lab::suite! {
    tests: [a_scope_opens_no_other_address, link_local_addresses_are_told_apart],
    programs: [call_scoped],
}

const CALLS: [&str; 5] = ["tcp connect", "udp connect", "sendto", "sendmsg", "sendmmsg"];

fn a_scope_opens_no_other_address(lab: &Lab) {
    let (tcp, udp) = (TcpServer::v6(), UdpServer::v6());
    let (elsewhere, elsewhere_udp) = (TcpServer::v6(), UdpServer::v6());
    // Scopes that exist, that do not, and a flow label.
    for (flow, scope) in [(0, 1), (0, 7), (0, u32::MAX), (7, 0), (0x0fff_ffff, 1)] {
        let words = scoped(Ipv6Addr::LOCALHOST, [tcp.port(), udp.port()], flow, scope);
        let count = || (tcp.saw().len(), udp.saw().len());
        let bare_before = count();
        lab.bare().run("call_scoped", &words).expect("tcp connect", "ok").expect("sendto", "ok");
        let before = count();
        let bare = (before.0 - bare_before.0, before.1 - bare_before.1);
        assert_eq!(bare, (1, 4));
        for rules in [
            [elsewhere.rule(), elsewhere_udp.rule()],
            [format!("[::2]:{}", tcp.port()), format!("udp://[::2]:{}", udp.port())],
        ] {
            let out =
                rules.iter().fold(lab.sandbox(), |run, rule| run.allow(rule)).run("call_scoped", &words);
            CALLS.iter().for_each(|call| _ = out.expect(call, "ECONNREFUSED"));
            assert_eq!(count(), before, "{out}");
        }
        let out = lab.sandbox().allow(tcp.rule()).allow(udp.rule()).run("call_scoped", &words);
        CALLS.iter().for_each(|call| _ = out.expect(call, "ok"));
        assert_eq!(count(), (before.0 + bare.0, before.1 + bare.1), "{out}");
    }
}

/// On a link of its own, since a machine need not have one with such an address.
fn link_local_addresses_are_told_apart(lab: &Lab) {
    in_namespace("link-local address", || {
        let [one, two] = ["fe80::1", "fe80::2"].map(|ip| ip.parse::<Ipv6Addr>().unwrap());
        [one, two].iter().for_each(add_to_loopback);
        let on = |ip, port| SocketAddr::V6(SocketAddrV6::new(ip, port, 0, LOOPBACK));
        let tcp = soon(|| TcpServer::on(on(one, 0)));
        let udp = soon(|| UdpServer::on(on(one, 0)));
        let other_tcp = soon(|| TcpServer::on(on(two, tcp.port())));
        let other_udp = soon(|| UdpServer::on(on(two, udp.port())));
        let ports = [tcp.port(), udp.port()];
        let words = |ip| scoped(ip, ports, 0, LOOPBACK);
        lab.bare().run("call_scoped", words(two)).expect("tcp connect", "ok").expect("sendmsg", "ok");
        let before = (other_tcp.saw().len(), other_udp.saw().len());
        assert_eq!(before, (1, 4));

        let run = |ip| {
            let rules = [format!("[{one}]:{}", ports[0]), format!("udp://[{one}]:{}", ports[1])];
            rules.iter().fold(lab.sandbox(), |run, rule| run.allow(rule)).run("call_scoped", words(ip))
        };
        let out = run(two);
        CALLS.iter().for_each(|call| _ = out.expect(call, "ECONNREFUSED"));
        assert_eq!((other_tcp.saw().len(), other_udp.saw().len()), before, "{out}");
        let out = run(one);
        CALLS.iter().for_each(|call| _ = out.expect(call, "ok"));
        assert_eq!((tcp.saw().len(), udp.saw().len()), (1, 4), "{out}");
    });
}

/// The first link of every namespace.
const LOOPBACK: u32 = 1;

/// `struct in6_ifreq`: the address, the length of its prefix, the link.
fn add_to_loopback(ip: &Ipv6Addr) {
    let request = [&ip.octets()[..], &64u32.to_ne_bytes(), &LOOPBACK.to_ne_bytes()].concat();
    let socket = raw::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0).unwrap();
    let words = [socket as usize, libc::SIOCSIFADDR as usize, raw::at(&request[..])];
    raw::call(libc::SYS_ioctl, &words).unwrap();
    raw::close(socket);
}

/// The kernel makes an address ready in a thread of its own.
fn soon<T>(start: impl Fn() -> Option<T>) -> T {
    let attempts = std::iter::repeat_with(|| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        start()
    });
    attempts.take(1000).flatten().next().unwrap()
}

fn scoped(ip: Ipv6Addr, [tcp, udp]: [u16; 2], flow: u32, scope: u32) -> [String; 5] {
    [ip.to_string(), tcp.to_string(), udp.to_string(), flow.to_string(), scope.to_string()]
}

/// `call_scoped IP TCP-PORT UDP-PORT FLOW SCOPE`.
fn call_scoped(args: &Args) {
    let to = |port| SocketAddrV6::new(args.get(0), port, args.get(3), args.get(4));
    let stream = raw::socket(libc::AF_INET6, libc::SOCK_STREAM, 0).unwrap();
    report(CALLS[0], shown(raw::connect(stream, &raw::v6(&to(args.get(1))))));
    let (socket, parts) = (udp(to(1).into()), [part(b"scoped")]);
    let name = raw::v6(&to(args.get(2)));
    report("sendto", shown(sendto(socket, b"scoped", 0, &name)));
    report("sendmsg", shown(sendmsg(socket, &header(&name, &parts, &[]), 0)));
    report("sendmmsg", shown(sendmmsg(socket, &mut [entry(&name, &parts, &[])], 0)));
    report(CALLS[1], shown(raw::connect(socket, &name)));
    let _ = raw::call(libc::SYS_write, &[socket as usize, raw::at(b"scoped"), 6]);
}
