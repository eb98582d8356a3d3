//! `ssh` to a server of our own, and `git` over it: they reach the server that a rule names, and no other.
//!
//! The server is bare and runs as whoever runs the tests; the client logs in to that account with a key made for the
//! test, whoever the client is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lab::{Lab, Output, Run, free_port, raw, tool, wait_for_listener};

lab::suite! { tests: [a_command_runs_where_a_rule_leads, git_fetches_over_it] }

/// A server on a port of 127.0.0.1, until it is dropped.
struct Server {
    listener: std::process::Child,
    port: u16,
}

impl Server {
    fn start(keys: &Keys) -> Self {
        let port = free_port();
        let mut command = in_its_own_run_directory();
        command.arg(tool("sshd", "openssh-server")).args(["-D", "-e", "-f", "/dev/null"]);
        // The key is in a directory of the client's user, who may be another one.
        for option in [
            "ListenAddress=127.0.0.1",
            "PidFile=none",
            "StrictModes=no",
            "PermitRootLogin=prohibit-password",
            "UsePAM=no",
            "PasswordAuthentication=no",
            "PermitUserRC=no",
            &format!("Port={port}"),
            &format!("HostKey={}", keys.host.display()),
            &format!("AuthorizedKeysFile={}.pub", keys.client.display()),
        ] {
            command.args(["-o", option]);
        }
        let listener =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Server { listener, port };
        wait_for_listener(port);
        server
    }

    fn rule(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Sessions end with their clients.
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

/// As root the server insists on its directory below `/run`, which is the machine's: it gets one that nobody else
/// sees.
fn in_its_own_run_directory() -> Command {
    let script = match raw::euid() {
        0 => "mount -t tmpfs -o mode=755 none /run && mkdir -m 755 /run/sshd && exec \"$@\"",
        _ => "exec \"$@\"",
    };
    let mut command = match raw::euid() {
        0 => Command::new(tool("unshare", "util-linux")),
        _ => Command::new("/bin/sh"),
    };
    if raw::euid() == 0 {
        command.args(["--mount", "--propagation", "private", "/bin/sh"]);
    }
    command.args(["-c", script, "sh"]);
    command
}

struct Keys {
    host: PathBuf,
    client: PathBuf,
    known: PathBuf,
}

impl Keys {
    fn make(lab: &Lab) -> Self {
        let make = |name: &str| {
            let path = lab.path(name);
            let mut command = Command::new(tool("ssh-keygen", "openssh-client"));
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]).arg(&path);
            assert!(command.status().unwrap().success());
            path
        };
        let (host, client) = (make("host-key"), make("work/key"));
        lab.own(&client);
        let public = std::fs::read_to_string(host.with_extension("pub")).unwrap();
        let known = lab.file("work/known", format!("lab {public}"));
        Keys { host, client, known }
    }

    /// The options by which a client uses these keys and nothing of its user's.
    fn options(&self, port: u16) -> Vec<String> {
        let options = [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            "HostKeyAlias=lab",
            "ConnectTimeout=10",
            &format!("UserKnownHostsFile={}", self.known.display()),
            &format!("IdentityFile={}", self.client.display()),
            &format!("Port={port}"),
        ];
        let mut words = vec!["-F".to_owned(), "none".to_owned()];
        words.extend(options.iter().flat_map(|option| ["-o".to_owned(), (*option).to_owned()]));
        words
    }
}

/// The account of the server, with its host.
fn account() -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let uid = raw::euid().to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid)).unwrap();
    format!("{}@127.0.0.1", line.split(':').next().unwrap())
}

/// With and without sends trapped.
fn sandboxes(lab: &Lab, rule: &str) -> [Run; 2] {
    [lab.sandbox().allow(rule), lab.sandbox().allow(rule).allow("udp://127.0.0.9:9")]
}

fn a_command_runs_where_a_rule_leads(lab: &Lab) {
    let keys = Keys::make(lab);
    let (allowed, other) = (Server::start(&keys), Server::start(&keys));
    let arrived = lab.path("arrived");
    // More than a window of the protocol, and than the buffers on the way.
    let text = "what was typed\n".repeat(300_000);
    let converse = |run: Run, server: &Server| -> Output {
        let command = format!("cat > '{path}' && echo heard && wc -c < '{path}'", path = arrived.display());
        let run = run.input(&text).command(tool("ssh", "openssh-client"), keys.options(server.port));
        run.arguments([&account(), &command]).output()
    };
    let heard = |out: &Output| {
        out.expect_code(0);
        assert_eq!(out.stdout, format!("heard\n{}\n", text.len()), "{out}");
        assert!(std::fs::read_to_string(&arrived).unwrap() == text, "{out}");
        std::fs::remove_file(&arrived).unwrap();
    };
    for run in sandboxes(lab, &allowed.rule()) {
        heard(&converse(run, &allowed));
    }
    for run in sandboxes(lab, &allowed.rule()) {
        let out = converse(run, &other);
        out.expect_code(255).expect_said("Connection refused");
        assert!(!arrived.exists(), "{out}");
    }
    heard(&converse(lab.bare(), &other));
}

fn git_fetches_over_it(lab: &Lab) {
    let git = tool("git", "git");
    let keys = Keys::make(lab);
    let (allowed, other) = (Server::start(&keys), Server::start(&keys));
    let repository = make_repository(&git, &lab.path("repository"));
    let ssh = tool("ssh", "openssh-client");
    let work = lab.path("work");
    let clone = |run: Run, server: &Server, into: &str| {
        let words = [vec![ssh.display().to_string()], keys.options(server.port)].concat();
        let url = format!("ssh://{}{}", account(), repository.display());
        let upload = format!("--upload-pack={} -c safe.directory=* upload-pack", git.display());
        let run = run.write(&work).env("GIT_SSH_COMMAND", words.join(" "));
        run.command(&git, ["clone", "-q", &upload, &url, into]).output()
    };
    for (index, run) in sandboxes(lab, &allowed.rule()).into_iter().enumerate() {
        let into = format!("clone{index}");
        clone(run, &allowed, &into).expect_code(0);
        assert_eq!(std::fs::read_to_string(work.join(into).join("file")).unwrap(), "text\n");
    }
    for run in sandboxes(lab, &allowed.rule()) {
        let out = clone(run, &other, "none");
        out.expect_code(128).expect_said("Connection refused");
        assert!(!work.join("none").exists(), "{out}");
    }
    clone(lab.bare(), &other, "bare").expect_code(0);
    assert_eq!(std::fs::read_to_string(work.join("bare/file")).unwrap(), "text\n");
}

/// A repository of the account of the server, with one commit.
fn make_repository(git: &Path, at: &Path) -> PathBuf {
    std::fs::create_dir(at).unwrap();
    let git = |words: &[&str]| {
        let mut command = Command::new(git);
        command.args(["-c", "user.name=Lab", "-c", "user.email=lab@example.invalid"]).args(words);
        assert!(command.current_dir(at).env("HOME", at).status().unwrap().success(), "{words:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    std::fs::write(at.join("file"), "text\n").unwrap();
    git(&["add", "file"]);
    git(&["commit", "-qm", "first"]);
    at.to_owned()
}
