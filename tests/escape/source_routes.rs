//! A packet's way is not only its destination: a loose source route (IPv4 options) or a routing header (IPv6) sends it
//! to an allowed address by way of, or on to, a forbidden one. The options that set them are refused by their numbers.

use lab::{Args, Lab, NONE, raw, report, shown};

lab::suite! { tests: [no_option_sets_a_route], programs: [route_options] }

/// `include/uapi/linux/in6.h`.
const IPV6: [(&str, usize); 9] = [
    ("IPV6_2292HOPOPTS", 3),
    ("IPV6_2292DSTOPTS", 4),
    ("IPV6_2292RTHDR", 5),
    ("IPV6_2292PKTOPTIONS", 6),
    ("IPV6_FLOWLABEL_MGR", 32),
    ("IPV6_HOPOPTS", 54),
    ("IPV6_RTHDRDSTOPTS", 55),
    ("IPV6_RTHDR", 57),
    ("IPV6_DSTOPTS", 59),
];

fn no_option_sets_a_route(lab: &Lab) {
    let bare = lab.bare().run("route_options", NONE);
    bare.expect("IPV6_RTHDR", "ok").expect("IPV6_2292RTHDR", "ok");
    // Recent kernels demand CAP_NET_RAW for this one.
    if lab.user().is_root() {
        bare.expect("IP_OPTIONS", "ok");
    }
    for rules in [vec![], vec!["--net-allow", "*:*", "--net-allow", "udp://*:*"]] {
        let out = lab.sandbox().options(rules).run("route_options", NONE);
        for name in IPV6.iter().map(|(name, _)| *name).chain(["IP_OPTIONS"]) {
            out.expect(name, "EPERM").expect(&format!("{name} with garbage above"), "EPERM");
        }
        // An option that routes nothing.
        out.expect("IP_TOS", "ok");
    }
}

fn route_options(_: &Args) {
    // Loose source route, 7 bytes, pointer 4, by way of 127.0.0.2; end of options.
    let route = [0x83u8, 7, 4, 127, 0, 0, 2, 0];
    // Segment routing (type 4), one segment: no next header, length 2 × 8, nothing left, last entry 0.
    let mut header = [0u8; 24];
    header[1] = 2;
    header[2] = 4;
    header[8..].copy_from_slice(&std::net::Ipv6Addr::LOCALHOST.octets());
    let v4 = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap() as usize;
    let v6 = raw::socket(libc::AF_INET6, libc::SOCK_STREAM, 0).unwrap() as usize;
    let set = |name: &str, fd: usize, level: i32, option: usize, value: &[u8]| {
        let level = level as usize;
        let words = [fd, level, option, raw::at(value), value.len()];
        report(name, shown(raw::call(libc::SYS_setsockopt, &words)));
        // The kernel reads 32 bits of both registers.
        let words = [fd, level | 1 << 35, option | 1 << 50, raw::at(value), value.len()];
        report(format!("{name} with garbage above"), shown(raw::call(libc::SYS_setsockopt, &words)));
    };
    set("IP_OPTIONS", v4, libc::IPPROTO_IP, libc::IP_OPTIONS as usize, &route);
    set("IP_TOS", v4, libc::IPPROTO_IP, libc::IP_TOS as usize, &16i32.to_ne_bytes());
    for (name, option) in IPV6 {
        set(name, v6, libc::IPPROTO_IPV6, option, &header);
    }
}
