//! A server inside would let outsiders in: `bind` to a port, and `listen`, which binds to a free port by itself.

use std::net::SocketAddr;

use lab::{Args, Lab, raw, report, shown};

lab::suite! { tests: [nothing_listens], programs: [serve] }

const WAYS: [&str; 6] = ["127.0.0.1:PORT", "0.0.0.0:PORT", "[::]:PORT", "unspec", "automatic", "127.0.0.1:0"];

fn nothing_listens(lab: &Lab) {
    for way in WAYS {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let way = way.replace("PORT", &port.to_string());
        let bare = lab.bare().run("serve", [&way, &port.to_string()]);
        bare.expect("listen", "ok");
        for version in 1..=7 {
            let version = version.to_string();
            let options = ["--net-allow", "*:*", "--landlock-at-most", &version];
            let out = lab.sandbox().options(options).run("serve", [&way, &port.to_string()]);
            out.expect("listen", "EACCES");
            if !way.ends_with(":0") && way != "automatic" {
                out.expect("bind", "EACCES");
            }
        }
        let out = lab.sandbox().option("--kernel-only").run("serve", [&way, &port.to_string()]);
        out.expect("listen", "EACCES");
    }
}

/// `serve ADDRESS|unspec|automatic PORT`.
fn serve(args: &Args) {
    let family = if args.text(0).starts_with('[') { libc::AF_INET6 } else { libc::AF_INET };
    let socket = raw::socket(family, libc::SOCK_STREAM, 0).unwrap();
    // Bare runs of this test leave nothing in the way of the next.
    let _ = raw::call(libc::SYS_setsockopt, &[socket as usize, 1, 2, raw::at(&1i32), 4]);
    let address = match args.text(0) {
        "automatic" => None,
        // TCP's `bind` takes the wildcard address of no family as IPv4's.
        "unspec" => {
            let mut address = raw::internet(SocketAddr::from(([0, 0, 0, 0], args.get(1))));
            address[..2].fill(0);
            Some(address)
        }
        _ => Some(raw::internet(args.get::<SocketAddr>(0))),
    };
    if let Some(address) = address {
        report("bind", shown(raw::bind(socket, &address)));
    }
    report("listen", shown(raw::call(libc::SYS_listen, &[socket as usize, 1])));
}
