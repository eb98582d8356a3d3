//! The map of a run's port space, as `sandlock inspect` tells it from outside, beside what the program inside sees.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use lab::{Args, Lab, free_port, report};
use serde_json::Value;

lab::suite! {
    tests: [ports_inside_are_listed_with_those_of_the_machine],
    programs: [serve_both],
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn ports_inside_are_listed_with_those_of_the_machine(lab: &Lab) {
    let (port, free) = (free_port(), free_port());
    // Who has the port on this machine.
    let host = TcpListener::bind((V4, port)).unwrap();
    host.set_nonblocking(true).unwrap();
    let host_of_datagrams = UdpSocket::bind((V4, port)).unwrap();
    let mut run = lab
        .sandbox()
        .options(["--name", "mapped", "--port-remap"])
        .options(["--net-allow-bind", "*", "--net-allow-bind", "udp://*"])
        .program("serve_both", [port.to_string(), free.to_string()])
        .input_pipe()
        .start();
    for (key, seen) in [("tcp", (V4, port)), ("tcp6", (V6, port)), ("udp", (V4, port)), ("free", (V4, free))]
    {
        assert_eq!(run.wait_for(key), SocketAddr::from(seen).to_string());
    }
    let ports = listed(lab, "mapped", 4);
    let real = |protocol: &str, port: u16, address: IpAddr| {
        let (port, address) = (Value::from(port), Value::from(address.to_string()));
        let is_it = |entry: &&Value| {
            entry["protocol"] == protocol && entry["virtual_port"] == port && entry["address"] == address
        };
        let found = ports.iter().find(is_it).unwrap_or_else(|| panic!("{ports:?}"));
        SocketAddr::new(
            address.as_str().unwrap().parse().unwrap(),
            found["real_port"].as_u64().unwrap() as u16,
        )
    };
    // Where it is taken, another stands for it; where it is not, it is the machine's as well.
    assert_eq!(real("tcp", free, V4).port(), free);
    let words = lab.sandlock().arguments(["inspect", "mapped"]).output();
    for address in [real("tcp", port, V4), real("tcp", port, V6)] {
        assert!(words.stdout.contains(&format!("  tcp {port} inside is {address}\n")), "{words}");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"x").unwrap();
        run.send("go\n");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        // What the program's own socket is to itself.
        assert_eq!(answer, SocketAddr::new(address.ip(), port).to_string());
    }
    assert_ne!(real("tcp", port, V4).port(), port);
    assert_ne!(real("udp", port, V4).port(), port);
    UdpSocket::bind((V4, 0)).unwrap().send_to(b"hello", real("udp", port, V4)).unwrap();
    assert_eq!(run.wait_for("heard"), "hello");
    run.finish().expect_code(0);
    assert!(host.accept().is_err());
    host_of_datagrams.set_nonblocking(true).unwrap();
    assert!(host_of_datagrams.recv(&mut [0]).is_err());
}

/// The record is replaced at most ten times a second.
fn listed(lab: &Lab, name: &str, count: usize) -> Vec<Value> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let out = lab.sandlock().arguments(["inspect", name, "--json"]).output();
        let record: Value = serde_json::from_str(&out.stdout).unwrap_or_default();
        match record["ports"].as_array() {
            Some(ports) if ports.len() >= count => {
                assert_eq!(ports.len(), count, "{out}");
                return ports.clone();
            }
            _ => assert!(Instant::now() < until, "{out}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `serve_both PORT FREE`: binds them; when told so answers each listener's peer with the socket's own address as
/// it is to the program; reports what it hears by UDP.
fn serve_both(args: &Args) {
    let (port, free): (u16, u16) = (args.get(0), args.get(1));
    let listeners = [(V4, port), (V6, port)].map(|at| TcpListener::bind(at).unwrap());
    let udp = UdpSocket::bind((V4, port)).unwrap();
    let other = TcpListener::bind((V4, free)).unwrap();
    report("tcp", listeners[0].local_addr().unwrap());
    report("tcp6", listeners[1].local_addr().unwrap());
    report("udp", udp.local_addr().unwrap());
    report("free", other.local_addr().unwrap());
    let told = || std::io::stdin().read_line(&mut String::new()).unwrap();
    for listener in listeners {
        told();
        let mut stream = listener.accept().unwrap().0;
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(stream.local_addr().unwrap().to_string().as_bytes()).unwrap();
    }
    let mut bytes = [0; 8];
    let len = udp.recv(&mut bytes).unwrap();
    report("heard", String::from_utf8_lossy(&bytes[..len]));
}
