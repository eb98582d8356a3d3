//! What a server inside costs its clients: the throughput of `redis-server`, bare and under a bind rule, asked by the same
//! bare client in turns.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::measure::median;

/// Measures it, if `filter` is for it and the programs are there.
pub(crate) fn measure(filter: &str) {
    if !"redis".contains(filter) {
        return;
    }
    let (Some(bare), Some(sandboxed)) = (Server::start(false), Server::start(true)) else {
        let _ = writeln!(
            std::io::stdout(),
            "redis                not measured: redis-server and redis-benchmark are needed"
        );
        return;
    };
    // The first round warms up.
    let (_, _) = (bare.seconds(), sandboxed.seconds());
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        // Whoever is asked second may find the machine in another mood: so they take turns.
        let (one, other) = if round % 2 == 0 { (&bare, &sandboxed) } else { (&sandboxed, &bare) };
        let (one, other) = (one.seconds(), other.seconds());
        if let (Some(one), Some(other)) = (one, other) {
            ratios.push(if round % 2 == 0 { other / one } else { one / other });
        }
    }
    let ratio = median(&mut ratios);
    let verdict = if ratio <= 1.01 { "" } else { "  OVER" };
    let _ = writeln!(
        std::io::stdout(),
        "redis                median of {} pairs, sandboxed to bare {ratio:.4}  (at most 1.01){verdict}",
        ratios.len()
    );
}

/// A server, until it is dropped.
struct Server {
    process: Child,
    port: String,
}

impl Server {
    fn start(sandboxed: bool) -> Option<Server> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port().to_string();
        let mut command =
            Command::new(if sandboxed { crate::start::sandlock() } else { "redis-server".into() });
        if sandboxed {
            command.args(["run", "--net-allow-bind", &port, "--", "redis-server"]);
        }
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
        let process = command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).spawn().ok()?;
        let server = Server { process, port };
        let answers = || TcpStream::connect(format!("127.0.0.1:{}", server.port)).is_ok();
        (0..100)
            .any(|_| {
                answers() || {
                    std::thread::sleep(Duration::from_millis(50));
                    false
                }
            })
            .then_some(server)
    }

    /// How long a fixed number of requests takes.
    fn seconds(&self) -> Option<f64> {
        let mut client = Command::new("redis-benchmark");
        client.args(["-p", &self.port, "-n", "40000", "-c", "20", "-t", "get", "--csv"]);
        let out = client.stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout);
        let rate: f64 = text.lines().last()?.split(',').nth(1)?.trim_matches('"').parse().ok()?;
        Some(1.0 / rate)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By a request, so that the end comes from inside.
        let mut end = Command::new("redis-cli");
        let _ = end.args(["-p", &self.port, "shutdown", "nosave"]).stdout(Stdio::null()).status();
        let _ = self.process.wait();
    }
}

const ROUNDS: usize = 21;
