//! A descriptor that the caller of `sandlock` left open is a way out that no later check sees: a connected socket, a
//! directory, a terminal. None above 2 is inherited, unless it is named.

use std::fs::File;
use std::net::TcpStream;

use lab::{Args, Lab, NONE, TcpServer, raw, report, shown};

lab::suite! {
    tests: [nothing_is_inherited_unless_named, a_named_directory_opens_nothing_below_it],
    programs: [list, below],
}

fn nothing_is_inherited_unless_named(lab: &Lab) {
    let server = TcpServer::v4();
    let give = |run: lab::Run| {
        let socket = TcpStream::connect(server.address()).unwrap();
        run.descriptor(3, socket).descriptor(77, File::open("/dev/null").unwrap())
    };
    let bare = give(lab.bare()).run("list", NONE);
    // Whoever started the tests may have left more open.
    let inherited: Vec<_> = bare.value("descriptors").split(' ').collect();
    assert!(inherited.contains(&"3") && inherited.contains(&"77"), "{bare}");
    give(lab.sandbox()).run("list", NONE).expect("descriptors", "0 1 2");
    give(lab.sandbox().option("--kernel-only")).run("list", NONE).expect("descriptors", "0 1 2");
    give(lab.sandbox().options(["--pass-fd", "3"])).run("list", NONE).expect("descriptors", "0 1 2 3");
    let both = ["--pass-fd", "3", "--pass-fd", "77"];
    give(lab.sandbox().options(both)).run("list", NONE).expect("descriptors", "0 1 2 3 77");
    // One that is not there.
    lab.sandbox().options(["--pass-fd", "55"]).run("list", NONE).expect_code(125).expect_said("55");
}

fn a_named_directory_opens_nothing_below_it(lab: &Lab) {
    lab.file("outside/file", "secret");
    let give = |run: lab::Run| run.descriptor(5, File::open(lab.path("outside")).unwrap());
    give(lab.bare()).run("below", NONE).expect("open", "ok");
    give(lab.sandbox().options(["--pass-fd", "5"])).run("below", NONE).expect("open", "EACCES");
}

fn list(_: &Args) {
    let directory = std::fs::read_dir("/proc/self/fd").unwrap();
    let own = "/proc/self/fd".to_owned();
    let mut numbers: Vec<i32> = directory
        .map(|entry| entry.unwrap().path())
        // The one that lists is not of interest.
        .filter(|path| {
            !std::fs::read_link(path).is_ok_and(|to| to.starts_with("/proc") && to.ends_with("fd"))
        })
        .map(|path| path.to_str().unwrap()[own.len() + 1..].parse().unwrap())
        .collect();
    numbers.sort_unstable();
    let numbers: Vec<_> = numbers.iter().map(i32::to_string).collect();
    report("descriptors", numbers.join(" "));
}

fn below(_: &Args) {
    report("open", shown(raw::call(libc::SYS_openat, &[5, raw::at(b"file\0"), 0])));
}
