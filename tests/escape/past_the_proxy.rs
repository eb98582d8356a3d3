//! HTTP/3 is HTTP over UDP, where no proxy looks. So on the ports that HTTP rules speak of there is no UDP, whatever
//! allows it, and clients fall back to TCP.

use std::net::{SocketAddr, UdpSocket};

use lab::{Args, Errno, Lab, UdpServer, report};

lab::suite! { tests: [no_datagram_goes_to_a_port_of_http], programs: [datagrams] }

fn no_datagram_goes_to_a_port_of_http(lab: &Lab) {
    for address in ["127.0.0.1", "::1"] {
        let server = UdpServer::start(address.parse::<std::net::IpAddr>().unwrap());
        let to = server.address().to_string();
        let open = || lab.sandbox().allow("udp://*:*");
        for (kind, others) in [("allow", "9"), ("deny", "9")] {
            // The same, while the rules speak of another port.
            let rule = format!("* *:{others}");
            let out = open().options([&format!("--http-{kind}"), &rule]).run("datagrams", [&to]);
            out.expect("connected", "ok").expect("named", "ok");
        }
        for kind in ["allow", "deny"] {
            let rule = format!("* *:{}", server.address().port());
            let out = open().options([&format!("--http-{kind}"), &rule]).run("datagrams", [&to]);
            out.expect("connected", "ECONNREFUSED").expect("named", "ECONNREFUSED");
        }
        assert_eq!(server.saw().len(), 4);
    }
}

/// `datagrams ADDRESS`.
fn datagrams(args: &Args) {
    let to: SocketAddr = args.get(0);
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let done = |result: std::io::Result<usize>| match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => Errno::from(&error).to_string(),
    };
    let connected = UdpSocket::bind(any).unwrap();
    report("connected", done(connected.connect(to).and_then(|()| connected.send(b"quic"))));
    report("named", done(UdpSocket::bind(any).unwrap().send_to(b"quic", to)));
}
