//! `--net-deny` takes away what a rule grants, for every protocol, by address, range, port and name.

use lab::{Lab, TcpServer, UdpServer};

lab::suite! { tests: [a_denied_destination_is_refused_whatever_allows_it, a_datagram_too, a_name_too] }

fn a_denied_destination_is_refused_whatever_allows_it(lab: &Lab) {
    let (allowed, denied) = (TcpServer::v4(), TcpServer::v4());
    let addresses = [allowed.rule(), denied.rule()];
    for rules in [vec!["*:*"], vec!["127.0.0.0/8:*", denied.rule().as_str()]] {
        for taken in [denied.rule(), format!("127.0.0.0/8:{}", denied.port()), format!(":{}", denied.port())]
        {
            let run = rules.iter().fold(lab.sandbox(), |run, rule| run.allow(rule));
            let out = run.options(["--net-deny", &taken]).run("tcp", &addresses);
            out.expect(&format!("{} heard", addresses[0]), "hello");
            out.expect(&format!("{} connect", addresses[1]), "ECONNREFUSED");
            out.expect_said(&format!("  tcp {}, which --net-deny refuses\n", addresses[1]));
        }
    }
    assert_eq!(denied.saw(), []);
    lab.sandbox().allow("*:*").run("tcp", [denied.rule()]).expect("connect", "ok");
}

fn a_datagram_too(lab: &Lab) {
    let server = UdpServer::v4();
    let address = server.address().to_string();
    let deny = ["--net-deny".to_owned(), format!("udp://{address}")];
    let out = lab.sandbox().allow("udp://*:*").options(&deny).run("udp", [&address]);
    out.expect("send", "ECONNREFUSED");
    // A rule of one protocol takes nothing from another.
    let other = ["--net-deny".to_owned(), address.clone()];
    lab.sandbox().allow("udp://*:*").options(&other).run("udp", [&address]).expect("send", "ok");
}

fn a_name_too(lab: &Lab) {
    let server = TcpServer::v4();
    let deny = ["--net-deny".to_owned(), format!("localhost:{}", server.port())];
    let out = lab.sandbox().allow(server.rule()).options(&deny).run("tcp", [server.rule()]);
    out.expect("connect", "ECONNREFUSED");
    lab.sandbox().options(["--net-deny", "nosuch.invalid:80"]).sh("exit 0").expect_code(125);
    assert_eq!(server.saw(), []);
}
