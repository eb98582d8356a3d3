//! While somebody is asked about a call, the caller has all the time in the world: its memory and its descriptors can
//! change between the question and the answer, for every attempt, without a race. A yes to one destination must not be a
//! yes to another.

use std::net::SocketAddr;

use lab::{Args, Lab, SwappedAddress, TcpServer, UdpServer, raw, report, shown};

lab::suite! {
    tests: [a_yes_is_for_what_was_asked_about, an_approved_destination_is_no_other],
    programs: [swap_while_held, asks_for_two],
}

/// Answers yes, late.
fn yes(lab: &Lab) -> std::path::PathBuf {
    lab.script("ask/yes.sh", "#!/bin/sh\ncat >/dev/null\nsleep 0.4\necho '{\"verdict\": \"once\"}'\n")
}

fn a_yes_is_for_what_was_asked_about(lab: &Lab) {
    for kind in ["connect", "sendto"] {
        let (asked, other) = (TcpServer::v4(), TcpServer::v4());
        let (udp, other_udp) = (UdpServer::v4(), UdpServer::v4());
        let args: Vec<String> = match kind {
            "connect" => vec![kind.into(), asked.rule(), other.rule()],
            _ => vec![kind.into(), udp.address().to_string(), other_udp.address().to_string()],
        };
        let run = lab.sandbox().option("--ask-command").option(yes(lab));
        let out = run.run("swap_while_held", &args);
        out.expect("call", "ok");
        assert_eq!(
            (asked.saw().len(), udp.saw().len()),
            if kind == "connect" { (1, 0) } else { (0, 1) },
            "{out}"
        );
        assert_eq!((other.saw().len(), other_udp.saw().len()), (0, 0), "{out}");
        // The descriptor that took the number's place was not touched.
        out.expect("the other is connected", false);
    }
}

fn an_approved_destination_is_no_other(lab: &Lab) {
    let (asked, other) = (TcpServer::v4(), TcpServer::v4());
    let only =
        format!("#!/bin/sh\ngrep -q '\"port\":{}[,}}]' && echo '{{\"verdict\": \"run\"}}'\n", asked.port());
    let script = lab.script("ask/only.sh", &only);
    let run = || lab.sandbox().option("--ask-command").option(&script);
    let out = run().run("asks_for_two", [asked.rule(), other.rule()]);
    out.expect("first", "ok").expect("second", "ECONNREFUSED").expect("first again", "ok");
    assert_eq!((asked.saw().len(), other.saw().len()), (2, 0), "{out}");
    let both = lab.script("ask/both.sh", "#!/bin/sh\necho '{\"verdict\": \"run\"}'\n");
    let run = lab.sandbox().option("--ask-command").option(both);
    run.run("asks_for_two", [asked.rule(), other.rule()]).expect("second", "ok");
}

fn swap_while_held(args: &Args) {
    let ports = [args.get::<SocketAddr>(1).port(), args.get::<SocketAddr>(2).port()];
    let address = SwappedAddress::new(ports[0]);
    let kind = if args.text(0) == "connect" { libc::SOCK_STREAM } else { libc::SOCK_DGRAM };
    let socket = raw::socket(libc::AF_INET, kind, 0).unwrap();
    let held = raw::socket(libc::AF_INET, kind, 0).unwrap();
    let kept = raw::call(libc::SYS_dup, &[held as usize]).unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| match kind {
            libc::SOCK_STREAM => raw::call(libc::SYS_connect, &[held as usize, raw::at(&address), 16]),
            _ => raw::call(libc::SYS_sendto, &[held as usize, raw::at(b"x"), 1, 0, raw::at(&address), 16]),
        });
        std::thread::sleep(std::time::Duration::from_millis(150));
        address.set(ports[1]);
        raw::call(libc::SYS_dup2, &[socket as usize, held as usize]).unwrap();
        report("call", shown(call.join().unwrap()));
    });
    let mut name = [0u8; 16];
    let mut length = 16u32;
    let peer = |fd: i32, name: &mut [u8; 16], length: &mut u32| {
        raw::call(libc::SYS_getpeername, &[fd as usize, raw::out(name), raw::out(length)]).is_ok()
    };
    report("the other is connected", peer(socket, &mut name, &mut length));
    raw::close(kept as i32);
}

fn asks_for_two(args: &Args) {
    let connect = |index: usize| {
        let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        shown(raw::connect(socket, &raw::internet(args.get::<SocketAddr>(index))))
    };
    report("first", connect(0));
    report("second", connect(1));
    report("first again", connect(0));
}
