//! The programs that people run reach an allowed server by name and by address, and no other.

use std::path::Path;

use lab::{Lab, Output, Run, TcpServer, tool};

lab::suite! {
    tests: [curl, python_urllib, python_asyncio, node_http, node_fetch, git],
}

/// The allowed server and the other: on both families, one port each.
struct Servers {
    allowed: [TcpServer; 2],
    other: [TcpServer; 2],
}

impl Servers {
    fn start(files: &Path) -> Self {
        let pair = || TcpServer::http_on_same_port(["127.0.0.1", "::1"], files);
        Servers { allowed: pair(), other: pair() }
    }

    fn port(&self) -> u16 {
        self.allowed[0].port()
    }

    /// Each rule with the hosts that it reaches: `localhost` means both families, whatever the machine's file says.
    fn rules(&self) -> [(String, Vec<&'static str>); 3] {
        let port = self.port();
        [
            (format!("localhost:{port}"), vec!["127.0.0.1", "[::1]", "localhost"]),
            (format!("127.0.0.1:{port}"), vec!["127.0.0.1"]),
            (format!("[::1]:{port}"), vec!["[::1]"]),
        ]
    }
}

/// Runs what `fetch` makes of each URL, with each rule. The program ends with 0 only when it got the file.
fn fetches(lab: &Lab, fetch: impl Fn(Run, &str) -> Output) {
    lab.file("site/page", "the page");
    let servers = Servers::start(&lab.path("site"));
    for (rule, reached) in servers.rules() {
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let url = format!("http://{host}:{}/page", servers.port());
            let (before, other) = (requests(&servers.allowed), requests(&servers.other));
            let out = fetch(lab.sandbox().allow(&rule), &url);
            if reached.contains(&host) {
                out.expect_code(0);
                assert!(out.stdout.contains("the page"), "{out}");
                assert_eq!(requests(&servers.allowed), before + 1, "{out}");
            } else if host != "localhost" {
                assert!(out.code() != 0 && !out.stdout.contains("the page"), "{out}");
                assert_eq!(requests(&servers.allowed), before, "{out}");
            }
            let url = format!("http://{host}:{}/page", servers.other[0].port());
            let out = fetch(lab.sandbox().allow(&rule), &url);
            assert!(out.code() != 0 && !out.stdout.contains("the page"), "{out}");
            assert_eq!(requests(&servers.other), other, "{out}");
        }
    }
    // The other is there.
    let url = format!("http://127.0.0.1:{}/page", servers.other[0].port());
    fetch(lab.bare(), &url).expect_code(0);
    assert_eq!(requests(&servers.other), 1);
}

fn requests(servers: &[TcpServer; 2]) -> usize {
    servers.iter().map(|server| server.saw().iter().filter(|seen| !seen.bytes.is_empty()).count()).sum()
}

fn curl(lab: &Lab) {
    let curl = tool("curl", "curl");
    fetches(lab, |run, url| run.command(&curl, ["-sS", "--max-time", "10", url]).output());
}

fn python_urllib(lab: &Lab) {
    let python = tool("python3", "python3");
    let script = "import sys, urllib.request as r\nprint(r.urlopen(sys.argv[1], timeout=10).read().decode())";
    fetches(lab, |run, url| run.command(&python, ["-c", script, url]).output());
}

fn python_asyncio(lab: &Lab) {
    let python = tool("python3", "python3");
    let script = "
import asyncio, sys, urllib.parse
async def main():
    url = urllib.parse.urlsplit(sys.argv[1])
    reader, writer = await asyncio.wait_for(asyncio.open_connection(url.hostname, url.port), 10)
    writer.write(b'GET ' + url.path.encode() + b' HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
    await writer.drain()
    print((await reader.read()).decode())
asyncio.run(main())";
    fetches(lab, |run, url| run.command(&python, ["-c", script, url]).output());
}

fn node_http(lab: &Lab) {
    let node = tool("node", "nodejs");
    let script = "
require('http').get(process.argv[1], answer => answer.on('data', data => console.log(String(data))))
    .on('error', error => { console.error(String(error)); process.exit(1) })";
    fetches(lab, |run, url| run.command(&node, ["-e", script, url]).output());
}

fn node_fetch(lab: &Lab) {
    let node = tool("node", "nodejs");
    let script = "
fetch(process.argv[1]).then(answer => answer.text()).then(console.log)
    .catch(error => { console.error(error); process.exit(1) })";
    fetches(lab, |run, url| run.command(&node, ["-e", script, url]).output());
}

/// A clone over plain HTTP files.
fn git(lab: &Lab) {
    let git = tool("git", "git");
    let author =
        "-c user.name=Lab -c user.email=lab@example.invalid -c init.defaultBranch=main -c safe.directory='*'";
    let site = lab.directory("site");
    lab.bare()
        .directory(&site)
        .sh(&format!(
            "set -e; mkdir made && cd made && {git} {author} init -q && echo text > file && {git} add file &&
             {git} {author} commit -qm first && cd .. && {git} clone -q --bare made repository &&
             cd repository && {git} update-server-info",
            git = git.display()
        ))
        .expect_code(0);
    let servers = Servers::start(&site);
    let [(rule, hosts), ..] = servers.rules();
    for (index, host) in hosts.into_iter().enumerate() {
        let work = lab.path("work");
        let clone = |port: u16| {
            let url = format!("http://{host}:{port}/repository");
            let run = lab.sandbox().write(&work).allow(&rule);
            run.command(&git, ["clone", "-q", &url, &format!("clone{index}")]).output()
        };
        let out = clone(servers.other[0].port());
        assert!(out.code() != 0, "{out}");
        clone(servers.port()).expect_code(0);
        assert_eq!(std::fs::read_to_string(work.join(format!("clone{index}/file"))).unwrap(), "text\n");
    }
    assert_eq!(requests(&servers.other), 0);
}
