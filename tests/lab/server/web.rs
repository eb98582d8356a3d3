//! A web server with a certificate of an authority of its own, and what it saw: a line a request.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Lab, tool};

/// HTTP/1.1 on one port and HTTP/1.1 and HTTP/2 over TLS on another, of the same address. It serves the files of a
/// directory, and a few things of its own: see `web.js`.
pub struct WebServer {
    process: Child,
    place: PathBuf,
    /// Its port without TLS.
    pub clear: u16,
    /// Its port with TLS.
    pub secure: u16,
}

impl WebServer {
    /// On an address of loopback, with a certificate for `names`. Bare, as whoever runs the tests.
    pub fn start(lab: &Lab, ip: &str, names: &[&str]) -> WebServer {
        let files = lab.directory("site");
        let place = lab.directory(format!("web-{ip}"));
        certificate(&place, names);
        let script = place.join("web.js");
        std::fs::write(&script, include_str!("web.js")).unwrap();
        let mut process = Command::new(tool("node", "nodejs"))
            .arg(&script)
            .arg(ip)
            .args([place.join("leaf.key"), place.join("leaf.pem"), place.join("log"), files])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut ports = line.split_whitespace().map(|port| port.parse().unwrap());
        let (clear, secure) = (ports.next().unwrap(), ports.next().unwrap());
        WebServer { process, place, clear, secure }
    }

    /// The certificate of its authority.
    pub fn authority(&self) -> PathBuf {
        self.place.join("ca.pem")
    }

    /// `SCHEME VERSION METHOD HOST TARGET AUTHORIZATION` of each request, in order.
    pub fn saw(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.place.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An authority, and a certificate by it.
fn certificate(place: &Path, names: &[&str]) {
    let openssl = tool("openssl", "openssl");
    let run = |words: &[&str]| {
        let output = Command::new(&openssl).args(words).current_dir(place).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let words = ["req", "-x509", "-subj", "/CN=the lab", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"];
    run(&[&words[..], &key].concat());
    let names = names.iter().map(|name| format!("DNS:{name}")).collect::<Vec<_>>().join(",");
    let alternative = format!("subjectAltName={names}");
    let words =
        ["req", "-x509", "-subj", "/CN=leaf", "-days", "2", "-keyout", "leaf.key", "-out", "leaf.pem"];
    let by = [
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-addext",
        &alternative,
        "-addext",
        "basicConstraints=CA:FALSE",
    ];
    run(&[&words[..], &key, &by].concat());
}
