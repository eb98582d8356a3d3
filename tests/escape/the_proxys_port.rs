//! The run's proxy listens on loopback, where every local process could use it: it reaches what the run may reach, and
//! adds its secrets. Only connections that the supervisor led there are served; and the program itself cannot go there
//! by another way, where it could say by itself whom it wants to reach.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::FromRawFd;
use std::time::{Duration, Instant};

use lab::{Args, Errno, Lab, TcpServer, raw, report, shown};

lab::suite! {
    tests: [a_connection_is_announced_once, nobody_else_is_served, the_program_goes_there_by_no_other_way, without_rules_nobody_is_there],
    programs: [fetch_and_hold, by_itself, connect_twice],
}

fn server(lab: &Lab) -> TcpServer {
    TcpServer::http([127, 0, 0, 1], lab.file("files/page", "a page").parent().unwrap())
}

fn rule(server: &TcpServer) -> String {
    format!("GET {}", server.address())
}

fn nobody_else_is_served(lab: &Lab) {
    let server = server(lab);
    let to = server.address();
    let run = lab.sandbox().options(["--http-allow", &rule(&server)]).input_pipe();
    let mut run = run.program("fetch_and_hold", [to.to_string()]).start();
    let proxy: SocketAddr = run.wait_for("port").parse().unwrap();
    assert_ne!(proxy, to);
    // The same request, to the same place.
    assert_eq!(answer(TcpStream::connect(proxy).unwrap(), to), "closed");
    run.send("\n");
    run.finish().expect("first", "a page").expect("second", "a page");
    assert_eq!(server.saw().len(), 2, "{:?}", server.saw());
}

/// While a connection is being made, another `connect` on its socket asks for nothing new. If it were announced again,
/// that announcement would be left for whoever connects from the same port next.
fn a_connection_is_announced_once(lab: &Lab) {
    // The port that is to be had again may have been given to somebody else for longer than is waited for.
    assert!((0..5).any(|_| comes_again(lab)), "the same port is never free again");
}

/// Whether a connection could come once more from the address of one that was announced. It is not served.
fn comes_again(lab: &Lab) -> bool {
    let server = server(lab);
    let to = server.address();
    let run = lab.sandbox().options(["--http-allow", &rule(&server)]).input_pipe();
    let mut run = run.program("connect_twice", [to.to_string()]).start();
    let proxy: SocketAddr = run.wait_for("proxy").parse().unwrap();
    // Nobody accepts, until there is no room for another connection.
    run.signal(libc::SIGSTOP);
    let wait = Duration::from_millis(200);
    let crowd: Vec<_> = (0..10_000).map_while(|_| TcpStream::connect_timeout(&proxy, wait).ok()).collect();
    run.send("\n");
    assert_eq!(run.wait_for("first"), "EINPROGRESS");
    drop(crowd);
    run.signal(libc::SIGCONT);
    assert_eq!(run.wait_for("second"), "ok");
    let own: SocketAddr = run.wait_for("own").parse().unwrap();
    assert_eq!(run.wait_for("answer"), "a page");
    let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    let limit = Instant::now() + Duration::from_secs(5);
    while raw::bind(socket, &raw::internet(own)).is_err() {
        if Instant::now() >= limit {
            raw::close(socket);
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    raw::connect(socket, &raw::internet(proxy)).unwrap();
    // SAFETY: made above, and nobody else's.
    assert_eq!(answer(unsafe { TcpStream::from_raw_fd(socket) }, to), "closed");
    run.send("\n");
    run.finish();
    assert_eq!(server.saw().len(), 1);
    true
}

fn the_program_goes_there_by_no_other_way(lab: &Lab) {
    let (server, other) = (server(lab), server(lab));
    let addresses = [server.address().to_string(), other.address().to_string()];
    let allowed = || lab.sandbox().options(["--http-allow", &rule(&server)]);
    let out = allowed().run("by_itself", &addresses);
    out.expect("led", "a page").expect("proxy", "ECONNREFUSED").expect("other", "ECONNREFUSED");
    // With a rule for it the port is reached, but what was not led there is not served.
    let out = allowed().allow("127.0.0.1:*").run("by_itself", &addresses);
    out.expect("led", "a page").expect("proxy", "closed").expect("other", "a page");
    let reached = other.saw();
    assert!(reached.len() == 1 && reached[0].text().contains("direct"), "{reached:?}");
}

fn without_rules_nobody_is_there(lab: &Lab) {
    let server = server(lab);
    let out = lab.sandbox().allow(server.rule()).input("\n").run("fetch_and_hold", [server.rule()]);
    out.expect("port", server.address()).expect("first", "a page");
}

/// What comes of a request over this connection.
fn answer(mut stream: TcpStream, to: SocketAddr) -> String {
    request(&mut stream, to, "led")
}

fn request(stream: &mut TcpStream, to: SocketAddr, mark: &str) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!("GET /page HTTP/1.1\r\nHost: {to}\r\nX-Mark: {mark}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    match stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)) {
        Ok(_) if answer.is_empty() => "closed".to_owned(),
        Ok(_) => answer.split("\r\n\r\n").nth(1).unwrap_or(&answer).to_owned(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => "silent".to_owned(),
        Err(_) => "closed".to_owned(),
    }
}

fn fetch_and_hold(args: &Args) {
    let to: SocketAddr = args.get(0);
    let stream = TcpStream::connect(to).unwrap();
    report("port", stream.peer_addr().unwrap());
    report("first", answer(stream, to));
    let _ = std::io::stdin().read(&mut [0]);
    report("second", answer(TcpStream::connect(to).unwrap(), to));
}

fn connect_twice(args: &Args) {
    let to: SocketAddr = args.get(0);
    report("proxy", TcpStream::connect(to).unwrap().peer_addr().unwrap());
    let _ = std::io::stdin().read(&mut [0]);
    let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0).unwrap();
    let connect = || raw::connect(socket, &raw::internet(to));
    report("first", shown(connect()));
    let mut poll = [libc::pollfd { fd: socket, events: libc::POLLOUT, revents: 0 }];
    raw::call(libc::SYS_ppoll, &[raw::out(&mut poll), 1, raw::at(&[10u64, 0]), 0, 8]).unwrap();
    report("second", shown(connect()));
    // SAFETY: made above, and nobody else's.
    let stream = unsafe { TcpStream::from_raw_fd(socket) };
    stream.set_nonblocking(false).unwrap();
    report("own", stream.local_addr().unwrap());
    // Ended at once, so that its port is free again.
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let option =
        [libc::SOL_SOCKET as usize, libc::SO_LINGER as usize, raw::at(&linger), size_of_val(&linger)];
    raw::call(libc::SYS_setsockopt, &[&[socket as usize][..], &option].concat()).unwrap();
    report("answer", answer(stream, to));
    let _ = std::io::stdin().read(&mut [0]);
}

/// `by_itself ALLOWED OTHER`.
fn by_itself(args: &Args) {
    let (to, other): (SocketAddr, SocketAddr) = (args.get(0), args.get(1));
    let stream = TcpStream::connect(to).unwrap();
    let proxy = stream.peer_addr().unwrap();
    report("led", answer(stream, to));
    for (key, address) in [("proxy", proxy), ("other", other)] {
        match TcpStream::connect(address) {
            Ok(mut stream) => report(key, request(&mut stream, other, "direct")),
            Err(error) => report(key, Errno::from(&error)),
        }
    }
}
