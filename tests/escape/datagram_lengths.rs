//! Lengths, counts and pointers that no honest program gives: negative, too long, wrapped around, at the end of a
//! mapping. A supervisor that copies must refuse just what the kernel refuses, with the same errno, and survive.

use std::net::SocketAddr;

use lab::{Args, Errno, Lab, UdpServer, raw, report, shown};

use lab::message::{Entry, Header, control, entry, header, part, sendmmsg, sendmsg, told, udp};

lab::suite! { tests: [lengths_are_judged_as_by_the_kernel], programs: [lengths] }

fn lengths_are_judged_as_by_the_kernel(lab: &Lab) {
    for server in [UdpServer::v4(), UdpServer::v6()] {
        let args = [server.address().to_string()];
        let bare = lab.bare().run("lengths", &args);
        let before = server.saw().len();
        assert!(before > 10, "{bare}");
        let out = lab.sandbox().allow(server.rule()).run("lengths", &args);
        let keys = bare.stdout.lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key);
        let different: Vec<_> = keys
            // An IPv6 socket passes over control messages of IPv4; the allowlist of the sandbox does not.
            .filter(|key| !(server.address().is_ipv6() && *key == "unknown of IP"))
            .filter(|key| out.find(key) != bare.find(key))
            .map(|key| format!("{key}: {:?}, in the sandbox {:?}", bare.value(key), out.find(key)))
            .collect();
        assert!(different.is_empty(), "{}\n{out}", different.join("\n"));
        // Which of them arrive is not compared: a bare burst overruns the receiver's buffer.
        assert!(server.saw().len() > before + 10, "{out}");
    }
}

/// `lengths ADDRESS`
fn lengths(args: &Args) {
    let to: SocketAddr = args.get(0);
    let socket = udp(to);
    let mut name = raw::internet(to);
    name.resize(256, 0);
    let large = vec![b'x'; 80_000];
    let say = |key: String, result: Result<usize, Errno>| {
        report(key, result.map_or_else(|errno| errno.to_string(), |count| count.to_string()));
    };
    let fd = socket as usize;
    let unmapped = page_before_nothing();

    let name_at = raw::at(&name[..]);
    let at_end = unmapped - raw::internet(to).len();
    // SAFETY: so many bytes are mapped there.
    unsafe { std::ptr::copy_nonoverlapping(name.as_ptr(), at_end as *mut u8, unmapped - at_end) };
    for len in [
        -1isize,
        i32::MIN as isize,
        0,
        1,
        2,
        7,
        8,
        15,
        16,
        17,
        23,
        24,
        27,
        28,
        29,
        127,
        128,
        129,
        256,
        1 << 32 | 28,
    ] {
        for (what, at) in [("", name_at), (", null", 0), (", faulty", 8), (", at the end", at_end)] {
            let words = [fd, raw::at(b"name"), 4, 0, at, len as usize];
            say(format!("sendto, name of {len}{what}"), raw::call(libc::SYS_sendto, &words));
            let parts = [part(b"name")];
            let mut message = header(&[], &parts, &[]);
            (message[0], message[1]) = (at, len as usize);
            say(format!("sendmsg, name of {len}{what}"), sendmsg(socket, &message, 0));
            let mut entries = [entry(&[], &parts, &[]); 2];
            for entry in &mut entries {
                (entry[0], entry[1]) = (at, len as usize);
            }
            say(format!("sendmmsg, name of {len}{what}"), sendmmsg(socket, &mut entries, 0));
        }
    }
    let name = raw::internet(to);
    for len in [
        0usize,
        1,
        65_507,
        65_508,
        65_527,
        65_528,
        65_535,
        65_536,
        70_000,
        1 << 31,
        1 << 40,
        usize::MAX >> 1,
        usize::MAX,
    ] {
        let words = [fd, raw::at(&large[..]), len, 0, raw::at(&name[..]), name.len()];
        say(format!("sendto, payload of {len}"), raw::call(libc::SYS_sendto, &words));
        let one = [[raw::at(&large[..]), len]];
        say(format!("sendmsg, payload of {len}"), sendmsg(socket, &header(&name, &one, &[]), 0));
        let two = [part(&large[..10]), [raw::at(&large[..]), len]];
        say(format!("sendmsg, payload of 10 + {len}"), sendmsg(socket, &header(&name, &two, &[]), 0));
        let mut entries = [entry(&name, &one, &[]), entry(&name, &two, &[])];
        say(format!("sendmmsg, payload of {len}"), sendmmsg(socket, &mut entries, 0));
    }
    for (what, at) in [("null", 0), ("faulty", 8), ("at the end", unmapped - 4)] {
        for len in [0usize, 4, 5, 4096, 65_508] {
            let words = [fd, at, len, 0, raw::at(&name[..]), name.len()];
            say(format!("sendto, {what} payload of {len}"), raw::call(libc::SYS_sendto, &words));
            say(
                format!("sendmsg, {what} payload of {len}"),
                sendmsg(socket, &header(&name, &[[at, len]], &[]), 0),
            );
        }
    }
    // SAFETY: so many bytes are mapped there.
    unsafe { std::ptr::write_bytes((unmapped - 64) as *mut u8, 0, 64) };
    for (what, odd) in
        [("in the kernel", [1 << 63, 4]), ("of nothing in the kernel", [1 << 63, 0]), ("of nothing", [8, 0])]
    {
        say(format!("a part {what}"), sendmsg(socket, &header(&name, &[odd], &[]), 0));
        say(format!("a second part {what}"), sendmsg(socket, &header(&name, &[part(b"first"), odd], &[]), 0));
    }
    let byte = part(b"p");
    let parts = vec![byte; 1025];
    for count in [0, 1, 1023, 1024, 1025, usize::MAX, 1 << 32, 1 << 32 | 1, 1 << 60] {
        let mut message: Header = header(&name, &parts, &[]);
        message[3] = count;
        say(format!("{count} parts"), sendmsg(socket, &message, 0));
        message[2] = 0;
        say(format!("{count} parts, null"), sendmsg(socket, &message, 0));
        message[2] = unmapped - 16;
        say(format!("{count} parts at the end"), sendmsg(socket, &message, 0));
        let mut entries = [entry(&name, &parts[..1], &[]); 3];
        entries[1][3] = count;
        say(format!("{count} parts in a batch"), sendmmsg(socket, &mut entries, 0));
        report(format!("{count} parts in a batch, told"), format!("{:?}", entries.each_ref().map(told)));
    }
    let ttl = control(libc::IPPROTO_IP, libc::IP_TTL, &9i32.to_ne_bytes());
    for len in [1usize, 8, 15, 16, 17, 19, 20, 23, 24, 25, 32, 1 << 20, 1 << 31, 1 << 40, usize::MAX] {
        let mut message = header(&name, &parts[..1], &ttl);
        message[5] = len;
        // What lies behind is whatever the heap has, so only the shorter ones and the far too long ones.
        if len <= 24 || len > 1 << 19 {
            say(format!("control of {len}"), sendmsg(socket, &message, 0));
        }
        message[4] = 0;
        say(format!("control of {len}, null"), sendmsg(socket, &message, 0));
        let mut inner = ttl.clone();
        inner[..8].copy_from_slice(&len.to_ne_bytes());
        say(format!("control that says {len}"), sendmsg(socket, &header(&name, &parts[..1], &inner), 0));
    }
    for (what, level, kind, data) in [
        ("TTL 0", libc::IPPROTO_IP, libc::IP_TTL, &0i32.to_ne_bytes()[..]),
        ("TTL 256", libc::IPPROTO_IP, libc::IP_TTL, &256i32.to_ne_bytes()),
        ("TTL of a byte", libc::IPPROTO_IP, libc::IP_TTL, &[9]),
        ("TOS of a byte", libc::IPPROTO_IP, libc::IP_TOS, &[8]),
        ("TOS 256", libc::IPPROTO_IP, libc::IP_TOS, &256i32.to_ne_bytes()),
        ("short PKTINFO", libc::IPPROTO_IP, libc::IP_PKTINFO, &[0; 8]),
        ("segment 0", libc::SOL_UDP, libc::UDP_SEGMENT, &[0, 0]),
        ("long segment", libc::SOL_UDP, libc::UDP_SEGMENT, &[0; 4]),
        ("rights", libc::SOL_SOCKET, libc::SCM_RIGHTS, &[0; 4]),
        ("empty rights", libc::SOL_SOCKET, libc::SCM_RIGHTS, &[]),
        ("unknown of the socket", libc::SOL_SOCKET, 999, &[0; 4]),
        ("unknown of IP", libc::IPPROTO_IP, 999, &[0; 4]),
        ("unknown of UDP", libc::SOL_UDP, 999, &[0; 4]),
    ] {
        let message = control(level, kind, data);
        say(what.to_owned(), sendmsg(socket, &header(&name, &parts[..1], &message), 0));
    }
    for flags in [
        libc::MSG_OOB,
        libc::MSG_DONTROUTE,
        libc::MSG_CONFIRM,
        libc::MSG_EOR,
        libc::MSG_ERRQUEUE,
        libc::MSG_TRUNC,
        1 << 30,
    ] {
        let words = [fd, raw::at(b"flags"), 5, flags as usize, raw::at(&name[..]), name.len()];
        say(format!("flags {flags:x}"), raw::call(libc::SYS_sendto, &words));
    }
    // The first message is mapped, the second is not.
    let at = unmapped - size_of::<Entry>();
    // SAFETY: the page is mapped and aligned up to `unmapped`.
    unsafe { std::ptr::write(at as *mut Entry, entry(&name, &parts[..1], &[])) };
    say("a batch that runs out".to_owned(), raw::call(libc::SYS_sendmmsg, &[fd, at, 2, 0]));
    say("a batch of none".to_owned(), raw::call(libc::SYS_sendmmsg, &[fd, at, 0, 0]));
    say("a faulty batch".to_owned(), raw::call(libc::SYS_sendmmsg, &[fd, 8, 2, 0]));
    say("a faulty batch of none".to_owned(), raw::call(libc::SYS_sendmmsg, &[fd, 8, 0, 0]));
    say("a faulty header".to_owned(), raw::call(libc::SYS_sendmsg, &[fd, 8, 0]));
    say("no descriptor".to_owned(), raw::call(libc::SYS_sendmsg, &[usize::MAX, 8, 0]));
    say(
        "a file".to_owned(),
        raw::call(libc::SYS_sendto, &[1, raw::at(b"f"), 1, 0, raw::at(&name[..]), name.len()]),
    );
    report("end", shown::<()>(Ok(())));
}

/// The end of a mapped page, behind which nothing is mapped.
fn page_before_nothing() -> usize {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let page = raw::call(libc::SYS_mmap, &[0, 8192, protection, flags, usize::MAX, 0]).unwrap();
    raw::call(libc::SYS_munmap, &[page + 4096, 4096]).unwrap();
    page + 4096
}
