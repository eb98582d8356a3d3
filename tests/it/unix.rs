//! Unix sockets: by pathname where files may be written, however the name is spelled; abstract ones among each other.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use lab::{Args, Lab, NONE, UnixServer, raw, report};

lab::suite! {
    tests: [
        a_socket_in_a_writable_place_is_reached,
        names_are_bytes_relative_and_through_links,
        sockets_made_inside_work,
        the_file_alone_can_be_granted,
    ],
    programs: [serve_inside],
}

fn a_socket_in_a_writable_place_is_reached(lab: &Lab) {
    let place = lab.directory("sockets");
    let server = UnixServer::at(lab, place.join("socket"));
    let socket = place.join("socket");
    lab.sandbox().write(&place).run("unix", [&socket]).expect("connect", "ok").expect("heard", "hello");
    lab.sandbox().read(&place).run("unix", [&socket]).expect("connect", "ECONNREFUSED").expect_said("-w ");
    lab.sandbox().run("unix", [&socket]).expect("connect", "ECONNREFUSED");
    assert_eq!(server.saw().iter().map(lab::Seen::text).collect::<Vec<_>>(), ["unix"]);
    for version in 1..=7 {
        let run = lab.sandbox().options(["--landlock-at-most", &version.to_string()]).write(&place);
        run.run("unix", [&socket]).expect("heard", "hello");
    }
}

fn names_are_bytes_relative_and_through_links(lab: &Lab) {
    let place = lab.directory("work/sockets");
    let odd = OsStr::from_bytes(b"s\xff\xfe socket");
    let server = UnixServer::at(lab, place.join(odd));
    symlink(place.join(odd), lab.path("work/link")).unwrap();
    symlink("sockets", lab.path("work/directory")).unwrap();
    let name = |before: &[u8]| OsString::from_vec([before, odd.as_bytes()].concat());
    let names = [
        place.join(odd).into_os_string(),
        name(b"sockets/"),
        name(b"./directory/../sockets/"),
        "link".into(),
        name(b"directory/"),
        name(b"/proc/self/cwd/sockets/"),
    ];
    for (index, name) in names.iter().enumerate() {
        let out = lab.sandbox().write(&place).run("unix", [name]);
        out.expect("heard", "hello");
        assert_eq!(server.saw().len(), index + 1, "{out}");
    }
}

fn sockets_made_inside_work(lab: &Lab) {
    let bare = lab.bare().run("serve_inside", NONE);
    let out = lab.sandbox().run("serve_inside", NONE);
    for key in ["pathname", "abstract", "pair", "user"] {
        bare.expect(key, out.value(key));
    }
    out.expect("pathname", "ping").expect("abstract", "ping").expect("pair", "ping");
}

fn the_file_alone_can_be_granted(lab: &Lab) {
    let place = lab.directory("sockets");
    let (_server, _other) = (UnixServer::at(lab, place.join("one")), UnixServer::at(lab, place.join("two")));
    let run = || lab.sandbox().write(place.join("one"));
    run().run("unix", [place.join("one")]).expect("heard", "hello");
    run().run("unix", [place.join("two")]).expect("connect", "ECONNREFUSED");
}

/// Both ends inside: at a path in the temporary directory, under an abstract name, as a pair.
fn serve_inside(_: &Args) {
    let path = std::env::temp_dir().join(format!("socket-{}", std::process::id()));
    let talk = |name: &str, listener: UnixListener, address: SocketAddr| {
        let mut client = UnixStream::connect_addr(&address).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"ping").unwrap();
        let mut heard = [0; 4];
        server.read_exact(&mut heard).unwrap();
        report(name, String::from_utf8_lossy(&heard));
        // `struct ucred`: process, user, group.
        let (mut peer, mut length) = ([0u32; 3], 12u32);
        let (level, option) = (libc::SOL_SOCKET as usize, libc::SO_PEERCRED as usize);
        let words = [server.as_raw_fd() as usize, level, option, raw::out(&mut peer), raw::out(&mut length)];
        raw::call(libc::SYS_getsockopt, &words).unwrap();
        report("user", peer[1]);
    };
    let listener = UnixListener::bind(&path).unwrap();
    talk("pathname", listener, SocketAddr::from_pathname(&path).unwrap());
    let _ = std::fs::remove_file(&path);
    let address = SocketAddr::from_abstract_name(format!("lab-{}", std::process::id())).unwrap();
    talk("abstract", UnixListener::bind_addr(&address).unwrap(), address);
    let (mut one, mut two) = UnixStream::pair().unwrap();
    one.write_all(b"ping").unwrap();
    let mut heard = [0; 4];
    two.read_exact(&mut heard).unwrap();
    report("pair", String::from_utf8_lossy(&heard));
}
