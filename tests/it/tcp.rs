//! TCP goes where a rule names it, by protocol, address and port, and nowhere else.

use lab::{Lab, TcpServer, UdpServer};

lab::suite! {
    tests: [
        an_allowed_server_is_reached_and_another_is_not,
        ipv6_is_as_ipv4,
        without_rules_nothing_is_reached,
        a_tcp_rule_never_opens_udp,
    ],
}

fn an_allowed_server_is_reached_and_another_is_not(lab: &Lab) {
    let (allowed, other) = (TcpServer::v4(), TcpServer::v4());
    let addresses = [allowed.address().to_string(), other.address().to_string()];
    let out = lab.sandbox().allow(allowed.rule()).run("tcp", &addresses);
    out.expect(&format!("{} connect", addresses[0]), "ok")
        .expect(&format!("{} heard", addresses[0]), "hello")
        .expect(&format!("{} connect", addresses[1]), "ECONNREFUSED")
        .expect_said(&format!("--net-allow {}", other.rule()))
        .expect_code(0);
    assert_eq!(allowed.saw().iter().map(lab::Seen::text).collect::<Vec<_>>(), ["tcp"]);
    assert_eq!(other.saw(), []);

    lab.bare().run("tcp", [&addresses[1]]).expect("connect", "ok");
    assert_eq!(other.saw().len(), 1);
}

fn ipv6_is_as_ipv4(lab: &Lab) {
    let (allowed, other) = (TcpServer::v6(), TcpServer::v6());
    let addresses = [allowed.address().to_string(), other.address().to_string()];
    let out = lab.sandbox().allow(allowed.rule()).run("tcp", &addresses);
    out.expect(&format!("{} heard", addresses[0]), "hello")
        .expect(&format!("{} connect", addresses[1]), "ECONNREFUSED");
    assert_eq!((allowed.saw().len(), other.saw().len()), (1, 0));
}

fn without_rules_nothing_is_reached(lab: &Lab) {
    let server = TcpServer::v4();
    lab.sandbox().run("tcp", [server.rule()]).expect("connect", "ECONNREFUSED");
    assert_eq!(server.saw(), []);
}

fn a_tcp_rule_never_opens_udp(lab: &Lab) {
    let server = UdpServer::v4();
    let address = server.address().to_string();
    lab.sandbox().allow(&address).run("udp", [&address]).expect("socket", "EACCES");
    lab.sandbox().allow("*:*").run("udp", [&address]).expect("socket", "EACCES");
    assert_eq!(server.saw(), []);
    lab.bare().run("udp", [&address]).expect("heard", "hello\n".trim());
}
