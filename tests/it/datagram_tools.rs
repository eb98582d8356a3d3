//! Tools that speak by datagrams, as they come from a distribution, under the rules that they need and no other.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::{Lab, UdpServer};

lab::suite! { tests: [dig_asks_the_server_that_is_allowed, python_datagrams, node_datagrams] }

fn dig_asks_the_server_that_is_allowed(lab: &Lab) {
    let dig = lab::tool("dig", "bind9-dnsutils");
    let (server, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpServer::v4());
    server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut query = [0; 1500];
                if let Ok((length, from)) = server.recv_from(&mut query) {
                    server.send_to(&answer(&query[..length]), from).unwrap();
                }
            }
        });
        let run = |port: &str| {
            let rule = format!("udp://{}", server.local_addr().unwrap());
            let arguments = ["+tries=1", "+timeout=2", "+short", "@127.0.0.1", "-p", port, "name.test", "A"];
            lab.sandbox().allow(rule).command(&dig, arguments).output()
        };
        let allowed = run(&port);
        let refused = run(&other.port().to_string());
        stop.store(true, Ordering::Relaxed);
        allowed.expect_code(0);
        assert_eq!(allowed.stdout, "192.0.2.7\n", "{allowed}");
        assert_ne!(refused.code(), 0, "{refused}");
        refused.expect_said(&format!("--net-allow {}", other.rule()));
    });
    assert_eq!(other.saw(), []);
}

/// The question, and that it is 192.0.2.7.
fn answer(query: &[u8]) -> Vec<u8> {
    // Behind the header of twelve bytes: the name, which ends by a zero, type and class.
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let mut answer = query[..end].to_vec();
    // An authoritative answer; one question, one answer, nothing else.
    answer[2..12].copy_from_slice(&[0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    // The name again, A, IN, a minute.
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
    answer
}

const PYTHON: &str = r"
import asyncio, sys
class Echo(asyncio.DatagramProtocol):
    def __init__(self): self.heard = asyncio.get_event_loop().create_future()
    def datagram_received(self, data, addr): self.heard.set_result(data)
    def error_received(self, error): self.heard.set_result(type(error).__name__)
async def main():
    loop = asyncio.get_running_loop()
    for port in sys.argv[1:]:
        transport, echo = await loop.create_datagram_endpoint(Echo, local_addr=('127.0.0.1', 0))
        transport.sendto(b'python', ('127.0.0.1', int(port)))
        print(await asyncio.wait_for(echo.heard, 2), flush=True)
        transport.close()
asyncio.run(main())
";

fn python_datagrams(lab: &Lab) {
    let python = lab::tool("python3", "python3");
    let (allowed, other) = (UdpServer::v4(), UdpServer::v4());
    let ports = [allowed.port().to_string(), other.port().to_string()];
    let arguments = ["-I", "-c", PYTHON, &ports[0], &ports[1]];
    let out = lab.sandbox().allow(allowed.rule()).command(python, arguments).output();
    out.expect_code(0);
    assert_eq!(out.stdout, "b'hello\\n'\nConnectionRefusedError\n", "{out}");
    assert_eq!((allowed.saw().len(), other.saw().len()), (1, 0));
}

const NODE: &str = r"
const dgram = require('dgram')
const [allowed, other] = process.argv.slice(1).map(Number)
const said = (what, error) => console.log(`${what}=${error ? error.code : 'ok'}`)
// One port after the other: sent to, and then connected to.
async function talk(name, port) {
    for (const connected of [false, true]) {
        const what = (call) => `${name} ${call}${connected ? ' connected' : ''}`
        const socket = dgram.createSocket('udp4')
        const heard = new Promise(done => socket.once('message', data => done(String(data).trim())))
        socket.on('error', error => said(what('event'), error))
        const done = (call, begin) =>
            new Promise(next => begin(error => { said(what(call), error); next(!error) }))
        const ready = !connected || await done('connect', next => socket.connect(port, '127.0.0.1', next))
        const to = connected ? [] : [port, '127.0.0.1']
        if (ready && await done('send', next => socket.send(['no', 'de'], ...to, next)))
            console.log(`${what('heard')}=${await heard}`)
        socket.close()
    }
}
talk('allowed', allowed).then(() => talk('other', other))
";

fn node_datagrams(lab: &Lab) {
    let node = lab::tool("node", "nodejs");
    let (allowed, other) = (UdpServer::v4(), UdpServer::v4());
    let ports = [allowed.port().to_string(), other.port().to_string()];
    let arguments = ["-e", NODE, &ports[0], &ports[1]];
    let run = |run: lab::Run| run.command(&node, arguments).output();
    let out = run(lab.sandbox().allow(allowed.rule()));
    out.expect_code(0).expect("allowed send", "ok").expect("allowed heard", "hello");
    out.expect("allowed connect connected", "ok").expect("allowed send connected", "ok");
    out.expect("allowed heard connected", "hello");
    out.expect("other send", "ECONNREFUSED").expect("other connect connected", "ECONNREFUSED");
    let texts: Vec<_> = allowed.saw().iter().map(lab::Seen::text).collect();
    assert_eq!((texts, other.saw()), (vec!["node".to_owned(); 2], vec![]), "{out}");

    run(lab.bare()).expect("other heard", "hello").expect("other heard connected", "hello");
    assert_eq!(other.saw().len(), 2);
}
