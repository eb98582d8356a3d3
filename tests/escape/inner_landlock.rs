//! A program may confine itself further by Landlock, as servers do before they look at what strangers sent. What is
//! performed on behalf is performed outside of that inner domain, so whoever breaks out of the inner program would have
//! what the program gave up. A program must not believe to have given up what it keeps.

use std::net::SocketAddr;

use lab::{Args, Errno, Lab, TcpServer, raw, report, shown};

lab::suite! {
    tests: [
        only_what_holds_can_be_given_up,
        files_that_were_given_up_stay_given_up,
        a_run_inside_of_a_run_fails_closed,
    ],
    programs: [give_up_network, give_up_files, run_inside],
}

/// Network and scopes, which calls on behalf would pass by.
fn only_what_holds_can_be_given_up(lab: &Lab) {
    let server = TcpServer::v4();
    let bare = lab.bare().run("give_up_network", [server.rule()]);
    bare.expect("before", "ok").expect("network", "ok").expect("connect", "EACCES");
    assert_eq!(server.saw().len(), 1);
    let out = lab.sandbox().allow(server.rule()).run("give_up_network", [server.rule()]);
    out.expect("version", 3).expect("before", "ok");
    // It is told, and can decide what to do without.
    out.expect("network", "E2BIG")
        .expect("scopes", "E2BIG")
        .expect("errata", "EINVAL")
        .expect("odd", "EINVAL");
}

fn files_that_were_given_up_stay_given_up(lab: &Lab) {
    lab.file("work/open", "content");
    let work = lab.path("work");
    for run in [lab.bare(), lab.sandbox().write(&work), lab.sandbox().write(&work).option("--kernel-only")] {
        let out = run.directory(&work).run("give_up_files", lab::NONE);
        out.expect("short", "ok").expect("long", "ok").expect("before", "ok").expect("after", "EACCES");
    }
}

/// It could not keep what its policy says.
fn a_run_inside_of_a_run_fails_closed(lab: &Lab) {
    lab.bare().run("run_inside", ["--kernel-only"]).expect("code", 0).expect("said", "inside");
    for options in [&[][..], &["--kernel-only"], &["--kernel-only", "--net-allow", "*:*"]] {
        lab.sandbox().run("run_inside", options).expect("code", 125).expect("said", "");
    }
}

/// `struct landlock_ruleset_attr`: files, network, scopes, of which `size` bytes count.
fn confine(attributes: [u64; 3], size: usize) -> Result<usize, Errno> {
    let ruleset = raw::call(libc::SYS_landlock_create_ruleset, &[raw::at(&attributes), size, 0])?;
    raw::call(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0])?;
    raw::call(libc::SYS_landlock_restrict_self, &[ruleset, 0])
}

fn connect(to: SocketAddr) -> Result<(), Errno> {
    raw::connect(raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap(), &raw::internet(to))
}

/// `give_up_network ADDRESS`.
fn give_up_network(args: &Args) {
    report("version", raw::call(libc::SYS_landlock_create_ruleset, &[0, 0, 1]).unwrap());
    report("errata", shown(raw::call(libc::SYS_landlock_create_ruleset, &[0, 0, 2])));
    report("odd", shown(raw::call(libc::SYS_landlock_create_ruleset, &[8, 0, 1])));
    report("before", shown(connect(args.get(0))));
    // LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET.
    report("scopes", shown(confine([0, 0, 1], 24)));
    // LANDLOCK_ACCESS_NET_CONNECT_TCP; no rule allows any.
    report("network", shown(confine([0, 2, 0], 16)));
    report("connect", shown(connect(args.get(0))));
}

/// `run_inside OPTION...`: another sandbox.
fn run_inside(args: &Args) {
    let sandlock = std::env::current_exe().unwrap().with_file_name("sandlock");
    let options = (0..args.count()).map(|index| args.text(index));
    let mut run = std::process::Command::new(sandlock);
    let out = run.arg("run").args(options).args(["--", "/bin/echo", "inside"]).output().unwrap();
    report("code", out.status.code().unwrap());
    report("said", String::from_utf8(out.stdout).unwrap().trim());
}

fn give_up_files(_: &Args) {
    let open = || std::fs::File::open("open").map(drop).map_err(|error| Errno::from(&error));
    // LANDLOCK_ACCESS_FS_TRUNCATE: nothing that is tried here.
    report("short", shown(confine([1 << 14, 0, 0], 8)));
    report("before", shown(open()));
    // LANDLOCK_ACCESS_FS_READ_FILE, with zeroes behind: as a program that knows later versions, and does without them.
    report("long", shown(confine([4, 0, 0], 24)));
    report("after", shown(open()));
}
