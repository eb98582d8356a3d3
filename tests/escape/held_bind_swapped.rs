//! While somebody is asked about a `bind` or a `listen`, the caller can change its memory and its descriptors without a race.
//! A yes to one port must not be a yes to another, a yes to one socket not one to another, and what a rule denies is
//! nobody's to grant.

use std::net::{SocketAddr, TcpStream};

use lab::{Args, Lab, SwappedAddress, free_port, raw, report, shown};

lab::suite! {
    tests: [
        a_yes_is_for_the_port_that_was_asked_about,
        a_yes_is_for_the_socket_that_was_asked_about,
        no_answer_opens_what_a_rule_denies,
    ],
    programs: [bind_swapped, listens_by_another_s_yes, takes_a_port],
}

const WAYS: [&[&str]; 2] = [&[], &["--port-remap"]];

/// Answers yes, late.
fn yes(lab: &Lab) -> std::path::PathBuf {
    lab.script("ask/yes.sh", "#!/bin/sh\ncat >/dev/null\nsleep 0.4\necho '{\"verdict\": \"once\"}'\n")
}

/// Yes to one port, no to all else, listening where the kernel chooses among it.
fn only(lab: &Lab, port: u16) -> std::path::PathBuf {
    let script = format!("#!/bin/sh\ngrep -q '\"port\":{port}[,}}]' && echo '{{\"verdict\": \"once\"}}'\n");
    lab.script("ask/only.sh", &script)
}

fn a_yes_is_for_the_port_that_was_asked_about(lab: &Lab) {
    for way in WAYS {
        let (asked, other) = (free_port(), free_port());
        let run = lab.sandbox().options(way).option("--ask-command").option(yes(lab));
        let mut child = run.program("bind_swapped", [asked.to_string(), other.to_string()]).start();
        assert_eq!(child.wait_for("bound"), asked.to_string());
        assert!(TcpStream::connect(("127.0.0.1", other)).is_err());
        TcpStream::connect(("127.0.0.1", asked)).unwrap();
        child.finish().expect("bind", "ok").expect("the other", 0);
    }
}

fn a_yes_is_for_the_socket_that_was_asked_about(lab: &Lab) {
    for way in WAYS {
        let port = free_port();
        let run = lab.sandbox().options(way).option("--ask-command").option(only(lab, port));
        let out = run.run("listens_by_another_s_yes", [port.to_string()]);
        out.expect("bind", "ok")
            .expect("unbound", "EACCES")
            .expect("chosen", "EACCES")
            .expect("listen", "ok");
    }
}

fn no_answer_opens_what_a_rule_denies(lab: &Lab) {
    for way in WAYS {
        let port = free_port();
        let run = || lab.sandbox().options(way).option("--ask-command").option(yes(lab));
        let address = format!("127.0.0.1:{port}");
        run().run("takes_a_port", [&address]).expect("bind", "ok").expect("listen", "ok");
        let denied = run().options(["--net-deny-bind", &port.to_string()]).run("takes_a_port", [&address]);
        denied.expect("bind", "EACCES");
        // Every port that the kernel could choose.
        let all = run().options(["--net-deny-bind", "1-65535"]).run("takes_a_port", ["127.0.0.1:0"]);
        all.expect("bind", "ok").expect("listen", "EACCES");
        let chosen = run().options(["--net-deny-bind", "0"]).run("takes_a_port", ["127.0.0.1:0"]);
        chosen.expect("bind", "ok").expect("listen", "EACCES");
        run().run("takes_a_port", ["127.0.0.1:0"]).expect("bind", "ok").expect("listen", "ok");
    }
}

fn bind_to(socket: i32, port: u16) -> String {
    shown(raw::bind(socket, &raw::internet(SocketAddr::from(([127, 0, 0, 1], port)))))
}

fn bind_swapped(args: &Args) {
    let ports = [args.get::<u16>(0), args.get::<u16>(1)];
    let address = SwappedAddress::new(ports[0]);
    let (other, held) = (raw::stream(), raw::stream());
    let kept = raw::call(libc::SYS_dup, &[held as usize]).unwrap() as i32;
    std::thread::scope(|scope| {
        let call =
            scope.spawn(|| raw::call(libc::SYS_bind, &[held as usize, raw::at(&address), 16]).map(drop));
        std::thread::sleep(std::time::Duration::from_millis(150));
        address.set(ports[1]);
        raw::call(libc::SYS_dup2, &[other as usize, held as usize]).unwrap();
        report("bind", shown(call.join().unwrap()));
    });
    report("the other", raw::port_of(other));
    let _ = raw::listen(kept);
    report("bound", raw::port_of(kept));
    raw::call(libc::SYS_accept, &[kept as usize, 0, 0]).unwrap();
}

fn listens_by_another_s_yes(args: &Args) {
    let (bound, unbound, chosen) = (raw::stream(), raw::stream(), raw::stream());
    report("bind", bind_to(bound, args.get(0)));
    report("unbound", shown(raw::listen(unbound)));
    bind_to(chosen, 0);
    report("chosen", shown(raw::listen(chosen)));
    report("listen", shown(raw::listen(bound)));
}

fn takes_a_port(args: &Args) {
    let to: SocketAddr = args.get(0);
    let socket = raw::stream();
    let bound = bind_to(socket, to.port());
    report("bind", &bound);
    if bound == "ok" {
        report("listen", shown(raw::listen(socket)));
    }
}
