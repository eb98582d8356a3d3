//! Who owns a name decides what it stands for, also a moment after it was allowed: this machine, whose services trust
//! whoever connects locally, or the address where a cloud tells a machine its own secrets. A name opens neither.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};

use lab::{Args, Errno, Lab, NameServer, Run, TcpServer, Zone, report};

lab::suite! {
    tests: [
        a_name_does_not_open_this_machine,
        a_name_that_moves_to_this_machine_does_not_open_it,
        a_name_opens_no_metadata_and_no_link,
        what_the_person_wrote_as_an_address_is_meant,
        a_learned_name_opens_no_other_names_ports,
    ],
    programs: [look_up_and_connect, connect_after],
}

fn asking(lab: &Lab, names: &NameServer) -> Run {
    lab.sandbox().options(["--resolver", &names.address().to_string()])
}

fn a_name_does_not_open_this_machine(lab: &Lab) {
    let server = TcpServer::start([127, 0, 62, 1]);
    let names = NameServer::start();
    names.set("one.wild.test", Zone::addresses(["127.0.62.1"]));
    names.set("six.wild.test", Zone::addresses(["::1", "::ffff:127.0.62.1"]));
    names.set("any.wild.test", Zone::addresses(["0.0.0.0", "::"]));
    names.set("alias.wild.test", Zone::alias("localhost"));
    names.set("localhost", Zone::addresses(["127.0.62.1"]));
    let rule = format!("*.wild.test:{}", server.port());
    let targets = ["one", "six", "any", "alias"].map(|name| format!("{name}.wild.test:{}", server.port()));
    // Where it may, it is reached.
    let local = asking(lab, &names).allow(&rule).option("--names-may-be-local");
    local.run("look_up_and_connect", [&*targets[0], &server.rule()]).expect(&targets[0], "ok");
    let before = server.saw().len();
    let words = targets.iter().chain([&server.rule()]).cloned().collect::<Vec<_>>();
    let out = asking(lab, &names).allow(&rule).run("look_up_and_connect", &words);
    targets.iter().for_each(|target| _ = out.expect(target, "no such name"));
    out.expect("direct", "ECONNREFUSED");
    out.expect_said("  the answer 127.0.62.1 for one.wild.test: this machine");
    out.expect_said("hint: allow it with --names-may-be-local");
    assert_eq!(server.saw().len(), before);
    // At the start the same.
    let out = asking(lab, &names).allow(format!("one.wild.test:{}", server.port())).sh("echo ran");
    out.expect_code(125).expect_said("--names-may-be-local");
}

fn a_name_that_moves_to_this_machine_does_not_open_it(lab: &Lab) {
    let server = TcpServer::start([127, 0, 62, 2]);
    let names = NameServer::start();
    // Somewhere else, which need not be there.
    names.set("api.test", Zone::addresses(["10.255.255.1"]).ttl(1));
    let rule = format!("api.test:{}", server.port());
    let mut run =
        asking(lab, &names).allow(&rule).input_pipe().program("connect_after", [server.rule()]).start();
    run.wait_for("ready");
    let asked = names.count("api.test");
    names.set("api.test", Zone::addresses(["127.0.62.2"]).ttl(1));
    while names.count("api.test") < asked + 2 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    run.send("\n");
    let out = run.finish();
    out.expect("direct", "ECONNREFUSED");
    out.expect_said("  the answer 127.0.62.2 for api.test: this machine");
    assert!(server.saw().is_empty());
}

fn a_name_opens_no_metadata_and_no_link(lab: &Lab) {
    let names = NameServer::start();
    let places = [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "169.254.7.7",
        "fe80::1",
        "fd00:ec2::254",
        "100.100.100.200",
    ];
    for (index, place) in places.iter().enumerate() {
        names.set(&format!("n{index}.wild.test"), Zone::addresses([*place]));
    }
    let targets: Vec<_> = (0..places.len()).map(|index| format!("n{index}.wild.test:80")).collect();
    for option in ["--names-may-be-local", "--names-may-fail"] {
        let out = asking(lab, &names)
            .allow("*.wild.test:80")
            .option(option)
            .run("look_up_and_connect", targets.iter().map(String::as_str).chain(["169.254.169.254:80"]));
        targets.iter().for_each(|target| _ = out.expect(target, "no such name"));
        // Whoever knows the address is refused it as any other.
        out.expect("direct", "ECONNREFUSED");
        out.expect_said("  the answer 169.254.169.254 for n0.wild.test: a cloud metadata address");
    }
}

/// That is no answer of anybody's.
fn what_the_person_wrote_as_an_address_is_meant(lab: &Lab) {
    let server = TcpServer::start([127, 0, 62, 3]);
    let names = NameServer::start();
    names.set("one.wild.test", Zone::addresses(["127.0.62.3"]));
    let run = asking(lab, &names).allow("*.wild.test:1").allow(server.rule());
    run.run("look_up_and_connect", [server.rule()]).expect("direct", "ok");
    assert_eq!(server.saw().len(), 1);
}

/// Of two domains with different ports, a name of one that stands for an address of the other.
fn a_learned_name_opens_no_other_names_ports(lab: &Lab) {
    let [server, other] = [4, 5].map(|last| TcpServer::start([127, 0, 62, last]));
    let names = NameServer::start();
    names.set("x.mine.test", Zone::addresses(["127.0.62.5"]));
    let run = asking(lab, &names)
        .option("--names-may-be-local")
        .allow(format!("*.mine.test:{}", server.port()))
        .allow(format!("*.theirs.test:{}", other.port()));
    let targets = [format!("x.mine.test:{}", server.port()), other.rule()];
    run.run("look_up_and_connect", &targets).expect("direct", "ECONNREFUSED");
    assert!(other.saw().is_empty());
}

/// `look_up_and_connect TARGET...`: each by name, or, where it is an address, as `direct`.
fn look_up_and_connect(args: &Args) {
    for index in 0..args.count() {
        let target = args.text(index);
        let key = if target.parse::<SocketAddr>().is_ok() { "direct" } else { target };
        match target.to_socket_addrs() {
            Ok(found) => found.for_each(|address| report(key, connected(address))),
            Err(_) => report(key, "no such name"),
        }
    }
}

/// `connect_after ADDRESS`: says `ready`, waits for a line.
fn connect_after(args: &Args) {
    report("ready", "ok");
    let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
    report("direct", connected(args.get(0)));
}

fn connected(to: SocketAddr) -> String {
    TcpStream::connect(to).map_or_else(|error| Errno::from(&error).to_string(), |_| "ok".to_owned())
}
