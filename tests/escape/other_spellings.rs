//! One address has many spellings: IPv4 inside IPv6, the unspecified address, which is loopback, or wherever the
//! socket is bound to, and lengths that the kernel forgives. A check of the spelling must not miss what is meant.

use std::net::SocketAddr;

use lab::{Args, Lab, TcpServer, raw, report, shown};

lab::suite! {
    tests: [
        ipv4_in_ipv6_is_ipv4,
        the_unspecified_address_is_loopback,
        the_unspecified_address_is_not_where_the_socket_is_bound,
        a_truncated_or_long_address_means_the_same,
        a_family_that_does_not_fit_connects_nothing,
    ],
    programs: [spelled, spelled_bytes],
}

fn ipv4_in_ipv6_is_ipv4(lab: &Lab) {
    let [allowed, other] = TcpServer::same_port(["127.0.0.1", "127.0.0.2"]);
    let port = allowed.port();
    let mapped = |ip: &str| format!("[::ffff:{ip}]:{port}");
    lab.bare().run("spelled", ["-", &mapped("127.0.0.2")]).expect("connect", "ok");
    assert_eq!(other.saw().len(), 1);
    for rule in [allowed.rule(), mapped("127.0.0.1")] {
        let out = lab.sandbox().allow(&rule).run("spelled", ["-", &mapped("127.0.0.1")]);
        out.expect("connect", "ok");
        let out = lab.sandbox().allow(&rule).run("spelled", ["-", &mapped("127.0.0.2")]);
        out.expect("connect", "ECONNREFUSED");
    }
    // A rule for IPv6 addresses says nothing of IPv4.
    let out = lab.sandbox().allow("[::/0]:*").run("spelled", ["-", &mapped("127.0.0.2")]);
    out.expect("connect", "ECONNREFUSED");
    assert_eq!((allowed.saw().len(), other.saw().len()), (2, 1));
}

fn the_unspecified_address_is_loopback(lab: &Lab) {
    for (loopback, unspecified) in
        [("127.0.0.1", "0.0.0.0"), ("::1", "[::]"), ("127.0.0.1", "[::ffff:0.0.0.0]")]
    {
        let [server] = TcpServer::same_port([loopback]);
        let to = format!("{unspecified}:{}", server.port());
        lab.bare().run("spelled", ["-", &to]).expect("connect", "ok");
        lab.sandbox()
            .allow(format!("{unspecified}:1"))
            .run("spelled", ["-", &to])
            .expect("connect", "ECONNREFUSED");
        lab.sandbox().allow("10.0.0.0/8:*").run("spelled", ["-", &to]).expect("connect", "ECONNREFUSED");
        assert_eq!(server.saw().len(), 1);
        lab.sandbox().allow(server.rule()).run("spelled", ["-", &to]).expect("connect", "ok");
        assert_eq!(server.saw().len(), 2);
    }
}

/// `ip_route_output_key` takes the socket's own address when there is no destination.
fn the_unspecified_address_is_not_where_the_socket_is_bound(lab: &Lab) {
    for (bound, to) in [
        ("127.0.0.2:0", "0.0.0.0"),
        ("[::ffff:127.0.0.2]:0", "[::ffff:0.0.0.0]"),
        ("[::ffff:127.0.0.2]:0", "[::]"),
    ] {
        let [allowed, other] = TcpServer::same_port(["127.0.0.1", "127.0.0.2"]);
        let to = format!("{to}:{}", allowed.port());
        let bare = lab.bare().run("spelled", [bound, &to]);
        bare.expect("bind", "ok").expect("connect", "ok");
        let (bare_allowed, bare_other) = (allowed.saw().len(), other.saw().len());
        assert_eq!(bare_allowed + bare_other, 1, "{bare}");
        let out = lab.sandbox().allow(allowed.rule()).run("spelled", [bound, &to]);
        out.expect("bind", "ok");
        let reached = usize::from(out.value("connect") == "ok");
        assert_eq!(other.saw().len(), bare_other, "bound to {bound}, connected to {to}\n{out}");
        assert_eq!(allowed.saw().len(), bare_allowed + reached, "{out}");
    }
}

fn a_truncated_or_long_address_means_the_same(lab: &Lab) {
    let (allowed, other) = (TcpServer::v6(), TcpServer::v6());
    let v4 = TcpServer::v4();
    for (server, lengths) in [(&other, [24, 27, 28, 64, 128]), (&v4, [16, 17, 28, 64, 128])] {
        for length in lengths.map(|length: i32| length.to_string()) {
            let args = [server.rule(), length];
            let before = server.saw().len();
            lab.bare().run("spelled_bytes", &args).expect("connect", "ok");
            assert_eq!(server.saw().len(), before + 1);
            let out = lab.sandbox().allow(allowed.rule()).run("spelled_bytes", &args);
            out.expect("connect", "ECONNREFUSED");
            assert_eq!(server.saw().len(), before + 1, "{out}");
            lab.sandbox().allow(server.rule()).run("spelled_bytes", &args).expect("connect", "ok");
        }
    }
}

fn a_family_that_does_not_fit_connects_nothing(lab: &Lab) {
    let server = TcpServer::v4();
    for family in [libc::AF_UNSPEC, libc::AF_INET6, libc::AF_UNIX, libc::AF_PACKET, 0xffff] {
        let args = [server.rule(), "16".to_owned(), family.to_string()];
        let bare = lab.bare().run("spelled_bytes", &args);
        let out = lab.sandbox().allow(server.rule()).run("spelled_bytes", &args);
        out.expect("connect", bare.value("connect"));
    }
    assert_eq!(server.saw(), []);
}

/// `spelled BIND|- ADDRESS`: connects, from an address.
fn spelled(args: &Args) {
    let to: SocketAddr = args.get(1);
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = raw::socket(family, libc::SOCK_STREAM, 0).unwrap();
    if args.text(0) != "-" {
        report("bind", shown(raw::bind(socket, &raw::internet(args.get::<SocketAddr>(0)))));
    }
    report("connect", shown(raw::connect(socket, &raw::internet(to))));
}

/// `spelled_bytes ADDRESS LENGTH [FAMILY]`: the address in a buffer of this length, with this family written in it.
fn spelled_bytes(args: &Args) {
    let to: SocketAddr = args.get(0);
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = raw::socket(family, libc::SOCK_STREAM, 0).unwrap();
    let mut bytes = raw::internet(to);
    bytes.resize(args.get(1), 0xee);
    if args.count() > 2 {
        bytes[..2].copy_from_slice(&args.get::<u16>(2).to_ne_bytes());
    }
    report("connect", shown(raw::connect(socket, &bytes)));
}
