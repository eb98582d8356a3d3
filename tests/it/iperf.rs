//! `iperf3`, by TCP and by UDP: as many bytes as it sends when nothing restricts it arrive where the rules lead, and
//! none elsewhere. What the server saw is what *its* report says.

use lab::{Child, Lab, Run, free_port, tool, wait_for_listener};

lab::suite! { tests: [streams_arrive, datagrams_arrive, datagrams_need_a_rule_of_their_own, another_is_not_reached] }

/// A server for one client, bare.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(lab: &Lab) -> Self {
        let port = free_port();
        let arguments = ["-s", "-1", "-J", "-B", "127.0.0.1", "-p", &port.to_string()];
        let child = lab.bare().command(iperf(), arguments).start();
        wait_for_listener(port);
        Server { child, port }
    }

    fn tcp(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn udp(&self) -> String {
        format!("udp://{}", self.tcp())
    }

    fn client(&self, run: Run, more: &[&str]) -> lab::Output {
        let arguments = ["-c", "127.0.0.1", "-p", &self.port.to_string()];
        run.command(iperf(), arguments).arguments(more).output()
    }

    /// How many bytes it received, and how many datagrams before the last of them did not come.
    ///
    /// What is still in its buffers when the client says that it is done, it does not count.
    fn saw(self) -> (u64, Option<u64>) {
        let report = self.child.finish();
        report.expect_code(0);
        let number = |text: &str, key: &str| {
            let (_, value) = text.split_once(&format!("\"{key}\":"))?;
            value.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let (_, sum) = report.stdout.rsplit_once("\"sum_received\":").unwrap();
        (number(sum, "bytes").unwrap(), number(sum, "lost_packets"))
    }
}

fn iperf() -> std::path::PathBuf {
    tool("iperf3", "iperf3")
}

/// More than the buffers between the two hold.
const STREAM: [&str; 4] = ["-n", "32M", "-l", "64K"];
const MOST_OF_THE_STREAM: std::ops::RangeInclusive<u64> = 16 << 20..=32 << 20;
/// At a pace that leaves the server's buffer with room, so that all of them arrive.
const DATAGRAMS: [&str; 7] = ["-u", "-k", "200", "-l", "1000", "-b", "10M"];

fn streams_arrive(lab: &Lab) {
    for udp_rules in [false, true] {
        let server = Server::start(lab);
        let run = lab.sandbox().allow(server.tcp());
        // A rule for UDP makes sends trapped.
        let run = if udp_rules { run.allow(server.udp()) } else { run };
        server.client(run, &STREAM).expect_code(0);
        let (bytes, _) = server.saw();
        assert!(MOST_OF_THE_STREAM.contains(&bytes), "{bytes}");
    }
}

fn datagrams_arrive(lab: &Lab) {
    for sandboxed in [false, true] {
        let server = Server::start(lab);
        let run = if sandboxed { lab.sandbox() } else { lab.bare() };
        let out = server.client(run.allow(server.tcp()).allow(server.udp()), &DATAGRAMS);
        out.expect_code(0);
        let (bytes, lost) = server.saw();
        assert!((150_000..=200_000).contains(&bytes) && lost == Some(0), "{bytes} {lost:?}\n{out}");
    }
}

fn datagrams_need_a_rule_of_their_own(lab: &Lab) {
    // None for UDP, and one that leads elsewhere.
    for rule in [None, Some(format!("udp://127.0.0.9:{}", free_port()))] {
        let mut server = Server::start(lab);
        let run = lab.sandbox().allow(server.tcp());
        let run = rule.iter().fold(run, |run, rule| run.allow(rule));
        let out = server.client(run, &DATAGRAMS);
        assert_ne!(out.code(), 0, "{out}");
        // It was asked for a test, and never got a datagram for it.
        server.child.signal(libc::SIGTERM);
        while server.child.is_running() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let report = server.child.finish();
        assert!(!report.stdout.contains("\"bytes\""), "{report}");
    }
}

fn another_is_not_reached(lab: &Lab) {
    let (allowed, other) = (Server::start(lab), Server::start(lab));
    let run = || lab.sandbox().allow(allowed.tcp()).allow(allowed.udp());
    for how in [&STREAM[..], &DATAGRAMS] {
        let out = other.client(run(), how);
        assert_ne!(out.code(), 0, "{out}");
        assert!(out.stderr.contains("Connection refused"), "{out}");
    }
    // It serves one client: so the refused ones were none.
    other.client(lab.bare(), &STREAM).expect_code(0);
    assert!(MOST_OF_THE_STREAM.contains(&other.saw().0));
    drop(allowed);
}
