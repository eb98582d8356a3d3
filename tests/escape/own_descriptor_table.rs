//! A thread can have a descriptor table of its own (`unshare(CLONE_FILES)`, `close_range(CLOSE_RANGE_UNSHARE)`): the same number is one socket to it and
//! another to its process. Looked up in the process, the wrong one is checked and connected.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use lab::{Args, Lab, TcpServer, UdpServer, raw, report, shown};

lab::suite! { tests: [a_threads_own_socket_is_the_one_that_connects], programs: [own_table] }

fn a_threads_own_socket_is_the_one_that_connects(lab: &Lab) {
    ["unshare", "close_range"].into_iter().for_each(|way| connects(lab, way));
}

fn connects(lab: &Lab, way: &str) {
    let server = TcpServer::v4();
    let udp = UdpServer::v4();
    let args = [server.rule(), udp.address().to_string(), way.to_owned()];
    lab.bare()
        .run("own_table", &args)
        .expect("unshare", "ok")
        .expect("connect", "ok")
        .expect("heard", "hello");
    let run = |rule: String| lab.sandbox().allow(rule).allow(udp.rule()).run("own_table", &args);
    let out = run(server.rule());
    out.expect("unshare", "ok").expect("connect", "ok").expect("heard", "hello").expect("peer", "ENOTCONN");
    assert_eq!(server.saw().len(), 2);
    let out = run(format!("127.0.0.9:{}", server.port()));
    out.expect("connect", "ECONNREFUSED").expect("peer", "ENOTCONN");
    assert_eq!(server.saw().len(), 2);
    // A kernel without handles of single threads must not let threads have tables of their own: not simulated here.
}

/// `own_table TCP UDP unshare|close_range`.
fn own_table(args: &Args) {
    let (tcp, udp): (SocketAddr, SocketAddr) = (args.get(0), args.get(1));
    let slot = 100;
    let process_socket = raw::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
    raw::call(libc::SYS_dup2, &[process_socket as usize, slot]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let unshared = match args.text(2) {
                "unshare" => raw::call(libc::SYS_unshare, &[libc::CLONE_FILES as usize]),
                // Closes what nobody has.
                _ => raw::call(libc::SYS_close_range, &[5000, 5000, libc::CLOSE_RANGE_UNSHARE as usize]),
            };
            report("unshare", shown(unshared));
            let own = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
            raw::call(libc::SYS_dup2, &[own as usize, slot]).unwrap();
            let connected = raw::connect(slot as RawFd, &raw::internet(tcp));
            report("connect", shown(connected));
            let mut heard = [0u8; 6];
            if connected.is_ok() {
                raw::call(libc::SYS_read, &[slot, raw::out(&mut heard), heard.len()]).unwrap();
                report("heard", String::from_utf8_lossy(&heard).trim_end());
            }
        });
    });
    // The process's own socket under that number is untouched.
    let (mut name, mut length) = ([0u8; 16], 16u32);
    let peer = raw::call(libc::SYS_getpeername, &[slot, raw::out(&mut name), raw::out(&mut length)]);
    report("peer", shown(peer));
    report("own", shown(raw::connect(slot as RawFd, &raw::internet(udp))));
}
