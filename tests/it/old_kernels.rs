//! Older kernels, as far as they can be simulated: what Landlock cannot do there, the filter and the supervisor do.

use lab::{Lab, TcpServer, UdpServer};

lab::suite! { tests: [connects_are_allowed_and_refused_as_ever, datagrams_are_allowed_and_refused_as_ever] }

fn connects_are_allowed_and_refused_as_ever(lab: &Lab) {
    for version in 1..=7 {
        let (allowed, other, udp) = (TcpServer::v4(), TcpServer::v6(), UdpServer::v4());
        let version = version.to_string();
        let run = || lab.sandbox().options(["--landlock-at-most", &version]).allow(allowed.rule());
        let addresses = [allowed.rule(), other.rule()];
        let out = run().run("tcp", &addresses);
        out.expect(&format!("{} heard", addresses[0]), "hello");
        out.expect(&format!("{} connect", addresses[1]), "ECONNREFUSED");
        run().run("udp", [udp.address().to_string()]).expect("socket", "EACCES");
        assert_eq!((allowed.saw().len(), other.saw().len(), udp.saw().len()), (1, 0, 0));
        run().sh("exit 3").expect_code(3);
    }
}

fn datagrams_are_allowed_and_refused_as_ever(lab: &Lab) {
    let (allowed, other) = (UdpServer::v4(), UdpServer::v6());
    for version in 1..=7 {
        let run = || {
            let run = lab.sandbox().options(["--landlock-at-most", &version.to_string()]);
            run.allow(allowed.rule()).allow("udp://[::1]:9")
        };
        let out = run().run("udp", [allowed.address().to_string()]);
        out.expect("send", "ok").expect("heard", "hello");
        let out = run().run("udp", [other.address().to_string()]);
        out.expect("send", "ECONNREFUSED");
        assert_eq!((allowed.saw().len(), other.saw().len()), (version, 0), "{out}");
    }
    lab.bare().run("udp", [other.address().to_string()]).expect("heard", "hello");
}
