//! Names stay true while a run lasts: what their owner makes of them is followed, and what they were is forgotten.
//!
//! `SANDLOCK_ROTATION_SECONDS=60` follows an address that rotates every second for so long (a few seconds otherwise).

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::{Args, Errno, Lab, NameServer, Run, TcpServer, Zone, report};

lab::suite! {
    tests: [
        an_address_that_rotates_is_followed,
        the_old_address_is_refused_after_its_grace,
        a_pinned_name_stays_what_it_was,
        what_a_failing_server_last_said_is_kept,
        a_name_that_never_resolved_stops_the_run,
        a_name_that_may_fail_is_followed_from_the_time_it_resolves,
    ],
    programs: [follow, connect_until_refused, connect_until_it_works],
}

const PLACES: [&str; 8] = [
    "127.0.60.1",
    "127.0.60.2",
    "127.0.60.3",
    "127.0.60.4",
    "127.0.60.5",
    "127.0.60.6",
    "127.0.60.7",
    "127.0.60.8",
];

/// With names asked of `names`, where the servers of tests may be.
fn asking(lab: &Lab, names: &NameServer) -> Run {
    lab.sandbox().options(["--resolver", &names.address().to_string(), "--names-may-be-local"])
}

fn an_address_that_rotates_is_followed(lab: &Lab) {
    let seconds = std::env::var("SANDLOCK_ROTATION_SECONDS").map_or(4, |text| text.parse().unwrap());
    let servers = TcpServer::same_port(PLACES);
    let names = NameServer::start();
    names.set("api.test", Zone::addresses([PLACES[0]]).ttl(1));
    let target = format!("api.test:{}", servers[0].port());
    let stop = AtomicBool::new(false);
    let out = std::thread::scope(|scope| {
        scope.spawn(|| {
            for place in PLACES.iter().cycle().skip(1) {
                std::thread::sleep(Duration::from_secs(1));
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                names.set("api.test", Zone::addresses([*place]).ttl(1));
            }
        });
        let run = asking(lab, &names).allow(&target).for_longer(Duration::from_secs(seconds));
        let out = run.run("follow", [target.clone(), seconds.to_string()]);
        stop.store(true, Ordering::SeqCst);
        out
    });
    out.expect("refused", 0);
    let places: u64 = out.value("places").parse().unwrap();
    assert!(places >= seconds.min(8) - 2, "{out}");
    let connected: usize = out.value("connected").parse().unwrap();
    // The servers keep what they saw of some, not of all.
    assert!(
        connected > 10 && servers.iter().filter(|server| !server.saw().is_empty()).count() as u64 >= places,
        "{out}"
    );
}

fn the_old_address_is_refused_after_its_grace(lab: &Lab) {
    let [old, new] = TcpServer::same_port(["127.0.60.9", "127.0.60.10"]);
    let names = NameServer::start();
    names.set("api.test", Zone::addresses(["127.0.60.9"]).ttl(1));
    let target = format!("api.test:{}", old.port());
    let run = asking(lab, &names).allow(&target).options(["--names-grace", "1500ms"]);
    let mut run = run.input_pipe().program("connect_until_refused", [&target]).start();
    run.wait_for("connected");
    names.set("api.test", Zone::addresses(["127.0.60.10"]).ttl(1));
    // The program goes on connecting to the old one while it has its grace, and finds the new one by name.
    run.wait_for("moved");
    let out = run.finish();
    out.expect("in its grace", "ok").expect("refused", "ECONNREFUSED").expect("the new one", "ok");
    let seen = old.saw().len();
    assert!(seen >= 2 && !new.saw().is_empty(), "{out}");
    out.expect_said(&format!("  tcp {}\n", old.address()));
}

fn a_pinned_name_stays_what_it_was(lab: &Lab) {
    let [old, new] = TcpServer::same_port(["127.0.60.11", "127.0.60.12"]);
    let names = NameServer::start();
    names.set("api.test", Zone::addresses(["127.0.60.11"]).ttl(1));
    let target = format!("api.test:{}", old.port());
    let run = asking(lab, &names).allow(&target).option("--pin-names");
    let mut run = run.program("follow", [&target, "3"]).start();
    run.wait_for("begun");
    names.set("api.test", Zone::addresses(["127.0.60.12"]).ttl(1));
    run.finish().expect("refused", 0).expect("places", 1);
    assert!(!old.saw().is_empty() && new.saw().is_empty());
    assert_eq!(names.count("api.test"), 1);
}

fn what_a_failing_server_last_said_is_kept(lab: &Lab) {
    let server = TcpServer::start([127, 0, 60, 13]);
    let names = NameServer::start();
    names.set("api.test", Zone::addresses(["127.0.60.13"]).ttl(1));
    let target = format!("api.test:{}", server.port());
    let mut run = asking(lab, &names)
        .allow(&target)
        .options(["--names-grace", "1s"])
        .program("follow", [&target, "4"])
        .start();
    run.wait_for("begun");
    names.set("api.test", Zone::code(2));
    let out = run.finish();
    out.expect("refused", 0).expect("places", 1);
    out.expect_said("sandlock: note: api.test did not resolve for a time, and kept what it stood for");
}

fn a_name_that_never_resolved_stops_the_run(lab: &Lab) {
    let names = NameServer::start();
    for zone in [Zone::code(3), Zone::code(2), Zone::addresses([])] {
        names.set("api.test", zone);
        let out = asking(lab, &names).allow("api.test:80").sh("echo ran");
        out.expect_code(125).expect_said("api.test");
        assert!(!out.stdout.contains("ran"), "{out}");
    }
    let out = asking(lab, &names).allow("api.test:80").option("--names-may-fail").sh("echo ran");
    assert!(out.expect_code(0).stdout.contains("ran"), "{out}");
}

fn a_name_that_may_fail_is_followed_from_the_time_it_resolves(lab: &Lab) {
    let server = TcpServer::start([127, 0, 60, 14]);
    let names = NameServer::start();
    let target = format!("api.test:{}", server.port());
    let run = asking(lab, &names).allow(&target).option("--names-may-fail");
    let mut run = run.program("connect_until_it_works", [&target]).start();
    run.wait_for("begun");
    names.set("api.test", Zone::addresses(["127.0.60.14"]));
    run.finish().expect("connected", "ok");
    assert_eq!(server.saw().len(), 1);
}

fn connect_to_the_first(target: &str) -> (Option<SocketAddr>, Result<(), Errno>) {
    let Some(address) = target.to_socket_addrs().ok().and_then(|mut found| found.next()) else {
        return (None, Err(Errno(libc::ENOENT)));
    };
    (Some(address), TcpStream::connect(address).map(drop).map_err(|error| Errno::from(&error)))
}

/// `follow TARGET SECONDS`: by name, to the first address that it has at the moment.
fn follow(args: &Args) {
    let end = Instant::now() + Duration::from_secs(args.get(1));
    let (mut places, mut connected, mut refused) = (HashMap::new(), 0, 0);
    while Instant::now() < end {
        let (place, outcome) = connect_to_the_first(args.text(0));
        if let (Some(place), Ok(())) = (place, &outcome) {
            places.insert(place, ());
            connected += 1;
            if connected == 1 {
                report("begun", "ok");
            }
        } else {
            report(format!("problem {refused}"), format!("{place:?} {outcome:?}"));
            refused += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    report("places", places.len());
    report("connected", connected);
    report("refused", refused);
}

/// `connect_until_refused TARGET`: to the address that it had first.
fn connect_until_refused(args: &Args) {
    let first = args.text(0).to_socket_addrs().unwrap().next().unwrap();
    TcpStream::connect(first).unwrap();
    report("connected", "ok");
    let end = Instant::now() + Duration::from_secs(12);
    while args.text(0).to_socket_addrs().unwrap().any(|address| address == first) {
        assert!(Instant::now() < end, "it does not move");
        std::thread::sleep(Duration::from_millis(20));
    }
    report("moved", "ok");
    report("in its grace", if TcpStream::connect(first).is_ok() { "ok" } else { "refused" });
    let refused = loop {
        match TcpStream::connect(first) {
            Err(error) => break Errno::from(&error),
            Ok(_) if Instant::now() > end => return report("refused", "never"),
            Ok(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    report("refused", refused);
    report("the new one", if connect_to_the_first(args.text(0)).1.is_ok() { "ok" } else { "refused" });
}

/// `connect_until_it_works TARGET`.
fn connect_until_it_works(args: &Args) {
    report("begun", "ok");
    let end = Instant::now() + Duration::from_secs(12);
    while Instant::now() < end {
        if connect_to_the_first(args.text(0)).1.is_ok() {
            return report("connected", "ok");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
