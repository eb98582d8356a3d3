//! The length of an address is a signed number that the program chooses: negative, larger than any address, with a
//! half that the kernel does not read, or reaching behind what is mapped. A copy that believes it reads or writes what
//! it must not; a copy that cuts it checks another address than the kernel would take.

use std::net::SocketAddr;

use lab::{Args, Lab, Output, TcpServer, UdpServer, raw, report, shown};

lab::suite! { tests: [lengths_are_judged_as_by_the_kernel], programs: [address_lengths] }

#[rustfmt::skip]
const LENGTHS: [isize; 26] = [
    -1, i32::MIN as isize, -16, 0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 23, 24, 27, 28, 29, 110, 111, 127, 128, 129, 4096,
    1 << 32 | 16, i32::MAX as isize,
];

fn lengths_are_judged_as_by_the_kernel(lab: &Lab) {
    for (tcp, udp) in [(TcpServer::v4(), UdpServer::v4()), (TcpServer::v6(), UdpServer::v6())] {
        let (elsewhere, elsewhere_udp) = (TcpServer::v4(), UdpServer::v4());
        let args = [tcp.rule(), udp.address().to_string()];
        let count = || (tcp.saw().len(), udp.saw().len());
        let bare = lab.bare().run("address_lengths", &args);
        let arrived = count();
        assert!(arrived.0 > 3 && arrived.1 > 3, "{bare}");
        for version in ["1", "3", "7"] {
            let run = || lab.sandbox().options(["--landlock-at-most", version]);
            let before = count();
            let out = run().allow(tcp.rule()).allow(udp.rule()).run("address_lengths", &args);
            assert_eq!(different(&bare, &out), Vec::<String>::new(), "Landlock {version}\n{out}");
            assert_eq!(count(), (before.0 + arrived.0, before.1 + arrived.1), "{out}");

            let before = count();
            let out = run().allow(elsewhere.rule()).allow(elsewhere_udp.rule()).run("address_lengths", &args);
            let connected = out.stdout.lines().find(|line| line.contains("connect") && line.ends_with("=ok"));
            assert_eq!((connected, count()), (None, before), "{out}");
        }
        assert_eq!((elsewhere.saw(), elsewhere_udp.saw()), (vec![], vec![]));
    }
}

fn different(bare: &Output, out: &Output) -> Vec<String> {
    let keys = bare.stdout.lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key);
    keys.filter(|key| out.find(key) != bare.find(key))
        .map(|key| format!("{key}: {}, in the sandbox {:?}", bare.value(key), out.find(key)))
        .collect()
}

/// `address_lengths TCP UDP`.
fn address_lengths(args: &Args) {
    let unmapped = page_before_nothing();
    for (index, kind) in [libc::SOCK_STREAM, libc::SOCK_DGRAM].into_iter().enumerate() {
        let to: SocketAddr = args.get(index);
        let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        for (call, number) in [("connect", libc::SYS_connect), ("bind", libc::SYS_bind)] {
            let mut address = raw::internet(to);
            let own = address.len();
            if call == "bind" {
                address[2..4].fill(0);
            }
            let at_end = unmapped - own;
            // SAFETY: so many bytes are mapped there.
            unsafe { std::ptr::copy_nonoverlapping(address.as_ptr(), at_end as *mut u8, own) };
            address.resize(4096, 0);
            for length in LENGTHS {
                let places =
                    [("", raw::at(&address[..])), (" null", 0), (" faulty", 8), (" at the end", at_end)];
                for (place, at) in places {
                    let socket = raw::socket(family, kind, 0).unwrap();
                    let done = raw::call(number, &[socket as usize, at, length as usize]);
                    report(format!("{call} {kind} {length}{place}"), shown(done));
                    if done.is_ok() && call == "connect" {
                        let _ = raw::call(libc::SYS_write, &[socket as usize, raw::at(b"length"), 6]);
                    }
                    raw::close(socket);
                }
            }
        }
    }
}

/// The end of a mapped page, behind which nothing is mapped.
fn page_before_nothing() -> usize {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let page = raw::call(libc::SYS_mmap, &[0, 8192, protection, flags, usize::MAX, 0]).unwrap();
    raw::call(libc::SYS_munmap, &[page + 4096, 4096]).unwrap();
    page + 4096
}
