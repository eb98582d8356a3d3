//! Whoever has a port is where others call. Before Linux 6.7 Landlock does not know TCP ports, so there `bind` is
//! performed on behalf, and must read the port where the kernel reads it: whatever family the address says, whatever
//! its length, and once. Ports that the kernel chooses are free.

use std::net::{SocketAddr, TcpStream};

use lab::{Args, Errno, Lab, SwappedAddress, free_port, raw, report, shown};

lab::suite! {
    tests: [only_a_free_port_is_bound, a_port_swapped_during_the_call_is_not_bound, no_unix_name_is_made_outside],
    programs: [bind_and_listen, swap_port, bind_unix],
}

/// An address, the family that is written into it, if that is another one, and the length that is told.
const SPELLINGS: [(&str, Option<i32>, usize); 9] = [
    ("127.0.0.1", None, 16),
    ("0.0.0.0", None, 16),
    ("0.0.0.0", Some(libc::AF_UNSPEC), 16),
    ("127.0.0.1", None, 128),
    ("[::1]", None, 28),
    ("[::]", None, 28),
    ("[::ffff:127.0.0.1]", None, 28),
    ("[::1]", None, 24),
    ("[::]", None, 128),
];

fn only_a_free_port_is_bound(lab: &Lab) {
    for (index, (ip, ..)) in SPELLINGS.into_iter().enumerate() {
        let port = free_port();
        let index = index.to_string();
        let to = if ip.starts_with("[::1]") { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") };
        let told = format!("{ip}:{port}");
        let mut bare = lab.bare().input_pipe().program("bind_and_listen", [&told, &index]).start();
        assert_eq!(bare.wait_for("listen"), "ok", "{told}");
        TcpStream::connect(&to).unwrap();
        bare.end_input();
        bare.finish().expect("bind", "ok").expect("port", port);

        for version in ["1", "3", "7"] {
            let options = ["--net-allow", "*:*", "--landlock-at-most", version];
            let run = || lab.sandbox().options(options).input_pipe();
            let mut child = run().program("bind_and_listen", [&told, &index]).start();
            assert_eq!(child.wait_for("listen"), "EACCES", "{told}");
            assert!(TcpStream::connect(&to).is_err());
            child.end_input();
            child.finish().expect("bind", "EACCES").expect("port", 0);
            // One that nobody can know before.
            let out = run().program("bind_and_listen", [format!("{ip}:0"), index.clone()]).output();
            out.expect("bind", "ok").expect("listen", "EACCES");
            assert_ne!(out.value("port"), "0", "{out}");
        }
    }
}

fn a_port_swapped_during_the_call_is_not_bound(lab: &Lab) {
    // None that the kernel chooses when it is asked for any.
    let port = free_port().to_string();
    let bare = lab.bare().run("swap_port", [&port]);
    assert!(bare.value("bound").parse::<u32>().unwrap() > 0, "the swap never showed\n{bare}");
    for version in ["1", "3", "7"] {
        let out = lab.sandbox().options(["--landlock-at-most", version]).run("swap_port", [&port]);
        out.expect("bound", 0);
        for shown in ["free", "refused"] {
            assert!(out.value(shown).parse::<u32>().unwrap() > 0, "the swap never showed\n{out}");
        }
        std::net::TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
    }
}

/// The file that a unix socket's name is would be made with whose rights?
fn no_unix_name_is_made_outside(lab: &Lab) {
    let (work, outside) = (lab.path("work"), lab.directory("outside"));
    let names = [outside.join("socket"), "../outside/socket".into()];
    for name in &names {
        lab.bare().run("bind_unix", [name]).expect("bind", "ok");
        assert!(outside.join("socket").exists());
        std::fs::remove_file(outside.join("socket")).unwrap();
        for version in 1..=7 {
            let run = lab.sandbox().write(&work).options(["--landlock-at-most", &version.to_string()]);
            let out = run.run("bind_unix", [name]);
            out.expect("bind", "EACCES");
            assert!(!outside.join("socket").exists(), "{out}");
        }
    }
    lab.sandbox().write(&work).run("bind_unix", [work.join("socket")]).expect("bind", "ok");
    assert!(work.join("socket").exists());
}

/// `bind_and_listen ADDRESS INDEX`: stays until its standard input ends.
fn bind_and_listen(args: &Args) {
    let address: SocketAddr = args.get(0);
    let (_, family, length) = SPELLINGS[args.get::<usize>(1)];
    let of = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = raw::socket(of, libc::SOCK_STREAM, 0).unwrap();
    let mut bytes = raw::internet(address);
    bytes.resize(length, 0);
    if let Some(family) = family {
        bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    }
    report("bind", shown(raw::bind(socket, &bytes)));
    report("port", raw::port_of(socket));
    report("listen", shown(raw::call(libc::SYS_listen, &[socket as usize, 1])));
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new()).unwrap();
}

/// `swap_port PORT`: binds again and again, while another thread writes now 0, now the port, into the address.
fn swap_port(args: &Args) {
    let wanted: u16 = args.get(0);
    let (mut free, mut bound, mut refused) = (0, 0, 0);
    SwappedAddress::new(0).race([0, wanted], |address| {
        let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        match raw::call(libc::SYS_bind, &[socket as usize, raw::at(address), 16]) {
            Ok(_) if raw::port_of(socket) == wanted => bound += 1,
            Ok(_) => free += 1,
            Err(Errno(libc::EACCES)) => refused += 1,
            Err(_) => {}
        }
        raw::close(socket);
        free > SHOWN && bound + refused > SHOWN
    });
    report("free", free);
    report("bound", bound);
    report("refused", refused);
}

fn bind_unix(args: &Args) {
    let socket = raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
    report("bind", shown(raw::bind(socket, &raw::unix(args.path(0)))));
}

/// How often each side must have shown before a race counts as run.
const SHOWN: u32 = 20;
