//! A process that is not dumpable cannot be looked into, by its supervisor either: trapped calls must not turn into
//! passed ones, nor honest programs (ssh-agent, gpg) be broken.

use std::net::SocketAddr;

use lab::{Args, Lab, TcpServer, raw, report, shown};

lab::suite! { tests: [the_supervisor_still_sees], programs: [hide] }

fn the_supervisor_still_sees(lab: &Lab) {
    let (allowed, other) = (TcpServer::v4(), TcpServer::v4());
    let args = [allowed.rule(), other.rule()];
    lab.bare().run("hide", &args).expect("hide", "ok").expect("allowed", "ok").expect("other", "ok");
    let out = lab.sandbox().allow(allowed.rule()).run("hide", &args);
    out.expect("hide", "ok").expect("allowed", "ok").expect("other", "ECONNREFUSED");
    assert_eq!((allowed.saw().len(), other.saw().len()), (2, 1));
}

fn hide(args: &Args) {
    let hidden = raw::call(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as usize, 0, 0, 0, 0]);
    report("hide", shown(hidden));
    for (name, index) in [("allowed", 0), ("other", 1)] {
        let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        report(name, shown(raw::connect(socket, &raw::internet(args.get::<SocketAddr>(index)))));
    }
}
