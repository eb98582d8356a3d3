//! What containers and units refuse by their filters: a run works there, or says at its start who refuses what.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use lab::{DOCKER, Lab, Layer, PODMAN, TcpServer, UNIT, free_port};

lab::suite! {
    tests: [
        files_and_connections_follow_the_rules,
        connections_end_when_the_program_ends_them,
        closed_sockets_keep_no_port,
        servers_and_clients_inside_meet,
        a_name_is_followed,
        metadata_of_descriptors_is_changed,
        more_sockets_than_the_supervisor_has_room_for,
        what_cannot_be_kept_is_named_before_anything_runs,
        what_is_needed_is_named_before_anything_runs,
        the_kernel_alone_needs_less,
    ],
}

const LAYERS: [Layer; 3] = [DOCKER, PODMAN, UNIT];
const PYTHON: &str = "/usr/bin/python3";

fn files_and_connections_follow_the_rules(lab: &Lab) {
    let (allowed, other) = (TcpServer::v4(), TcpServer::v4());
    let (rule, other_rule) = (allowed.rule(), other.rule());
    for layer in LAYERS {
        lab.sandlock().around(Some(layer)).arguments(["check"]).output().expect_code(0);
        let line = "umask 027; touch made; stat -c mode=%a made; mkdir sub; cd sub; touch ../made; rm -r ../made ../sub; echo done=$?";
        let run = lab.sandbox().around(Some(layer)).options(["-w", ".", "--fs-deny", "denied"]);
        run.sh(line).expect("mode", 640).expect("done", 0);
        let line = "import socket,sys\nfor name in sys.argv[1:]:\n h,p=name.rsplit(':',1)\n s=socket.socket(); print(name, s.connect_ex((h,int(p))))";
        let run = lab.sandbox().around(Some(layer)).allow(&rule);
        let out = run.command(PYTHON, ["-c", line, &rule, &other_rule]).output();
        assert_eq!(out.stdout, format!("{rule} 0\n{other_rule} {}\n", libc::ECONNREFUSED), "{layer:?} {out}");
        out.expect_said(&format!("tcp {other_rule}"));
    }
    assert_eq!((allowed.saw().len(), other.saw().len()), (LAYERS.len(), 0));
}

/// A descriptor that somebody else holds would keep the peer waiting.
fn connections_end_when_the_program_ends_them(lab: &Lab) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rule = listener.local_addr().unwrap().to_string();
    let line = r#"
import select, socket, sys
host, port = sys.argv[1].rsplit(":", 1)
for way in sys.argv[2:]:
    s = socket.socket()
    s.setblocking(way != "without blocking")
    s.settimeout(9 if way == "with a time-out" else s.gettimeout())
    assert s.connect_ex((host, int(port))) in (0, 115)
    select.select([], [s], [])
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    s.close()
print("ready=yes", flush=True)
sys.stdin.read()
"#;
    let ways = ["blocking", "with a time-out", "without blocking"];
    for layer in LAYERS {
        let run = lab.sandbox().around(Some(layer)).allow(&rule).input_pipe();
        let mut run = run.command(PYTHON, ["-c", line, &rule]).arguments(ways).start();
        run.wait_for("ready");
        for way in ways {
            let (mut connection, _) = listener.accept().unwrap();
            connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            assert_eq!(connection.read(&mut [0]).ok(), Some(0), "{layer:?}, {way}");
        }
        run.end_input();
        run.finish().expect_code(0);
    }
}

fn closed_sockets_keep_no_port(lab: &Lab) {
    let port = free_port().to_string();
    let line = r#"
import socket, sys
def bound(close):
    s = socket.socket()
    s.bind(("127.0.0.1", int(sys.argv[1])))
    if close != "bound": s.listen()
    if close == "served":
        c = socket.create_connection(s.getsockname())
        # The client first, so that the server's port does not linger.
        a, _ = s.accept(); c.close(); assert a.recv(1) == b""; a.close()
    s.close()
    assert socket.socket().connect_ex(("127.0.0.1", int(sys.argv[1]))) == 111
for close in "bound", "bound", "listened", "listened", "bound", "served", "bound":
    bound(close)
print("done=yes")
"#;
    let to = format!("127.0.0.1:{port}");
    for layer in LAYERS {
        for bind in [&port, "*"] {
            let run = lab.sandbox().around(Some(layer)).allow(&to).options(["--net-allow-bind", bind]);
            run.command(PYTHON, ["-c", line, &port]).output().expect("done", "yes");
        }
    }
}

fn servers_and_clients_inside_meet(lab: &Lab) {
    let line = r#"
import os, socket, tempfile
path = os.path.join(tempfile.mkdtemp(), "socket")
for kind in socket.SOCK_STREAM, socket.SOCK_SEQPACKET:
    server = socket.socket(socket.AF_UNIX, kind)
    server.bind(path)
    server.listen()
    if os.fork() == 0:
        client = socket.socket(socket.AF_UNIX, kind)
        client.connect(path)
        client.send(b"hello")
        os._exit(0)
    print(server.accept()[0].recv(9).decode())
    os.unlink(path)
print(any(name == "lo" for _, name in socket.if_nameindex()))
"#;
    for layer in LAYERS {
        let out = lab.sandbox().around(Some(layer)).command(PYTHON, ["-c", line]).output();
        assert_eq!(out.stdout, "hello\nhello\nTrue\n", "{layer:?} {out}");
    }
}

fn a_name_is_followed(lab: &Lab) {
    let server = TcpServer::v4();
    let port = server.port().to_string();
    let line = "import socket,sys; print(socket.create_connection(('localhost', int(sys.argv[1]))).recv(9))";
    for layer in LAYERS {
        let run = lab.sandbox().around(Some(layer)).allow(format!("localhost:{port}"));
        run.command(PYTHON, ["-c", line, &port]).output().expect_code(0);
    }
    assert_eq!(server.saw().len(), LAYERS.len());
}

fn metadata_of_descriptors_is_changed(lab: &Lab) {
    lab.file("place/file", "");
    lab.file("other", "");
    let line = r#"
import os, sys
def mode(path, flags, mode):
    try: os.fchmod(os.open(path, flags), mode)
    except OSError as error: return error.errno
    return oct(os.stat(path).st_mode & 0o777)
print(mode("file", os.O_RDONLY, 0o600), mode("file", os.O_RDWR, 0o604), mode("../other", os.O_RDONLY, 0o600))
print(mode("file", os.O_PATH, 0o644))
os.utime(os.open("file", os.O_RDONLY), (1, 2))
print(os.stat("file").st_mtime)
os.chmod("file", 0o640, dir_fd=os.open(".", os.O_RDONLY))
os.chmod("/proc/self/fd/%d" % os.open("file", os.O_RDONLY), 0o660)
print(oct(os.stat("file").st_mode & 0o777))
"#;
    let expected = format!("0o600 0o604 {}\n{}\n2.0\n0o660\n", libc::EACCES, libc::EBADF);
    for layer in [None, Some(DOCKER), Some(PODMAN), Some(UNIT)] {
        let run = lab.sandbox().around(layer).directory(lab.path("place"));
        let run = run.options(["-w", ".", "-r", "../other"]);
        let out = run.command(PYTHON, ["-c", line]).output();
        assert_eq!(out.stdout, expected, "{layer:?} {out}");
    }
}

/// They are held by the supervisor for as long as nothing is made of them.
fn more_sockets_than_the_supervisor_has_room_for(lab: &Lab) {
    let line = r#"
import resource, socket
for _ in range(2000):
    socket.socket().close()
held = [socket.socket() for _ in range(300)]
try:
    while True: held.append(socket.socket())
except OSError as error:
    print(error.errno, len(held) > 400)
"#;
    for layer in [None, Some(DOCKER)] {
        let limited = "ulimit -n 512; exec \"$@\"";
        let binaries = lab.sandbox().binaries().join("sandlock");
        let words = ["-c", limited, "sh", binaries.to_str().unwrap(), "run", "--", PYTHON, "-c", line];
        let out = lab.bare().around(layer).command("/bin/sh", words).output();
        assert!(out.stdout == format!("{} True\n", libc::EMFILE), "{layer:?} {out}");
    }
}

fn what_cannot_be_kept_is_named_before_anything_runs(lab: &Lab) {
    for (layer, call) in [(DOCKER, "pidfd_getfd"), (UNIT, "pidfd_getfd"), (PODMAN, "process_vm_writev")] {
        for (options, said) in [
            (&["--net-allow", "udp://127.0.0.1:9"][..], "rules that speak of datagrams"),
            (&["--unix-dgram"], "rules that speak of datagrams"),
            (&["--adjustable"], "or that may change"),
            (&["--port-remap"], "ports of the run's own"),
        ] {
            let out = lab.sandbox().around(Some(layer)).options(options).sh("echo executed");
            out.expect_code(125).expect_said(&format!("a seccomp filter around sandlock refuses {call}"));
            out.expect_said(said).expect_said("docker run --cap-add SYS_PTRACE");
            assert_eq!(out.stdout, "", "{out}");
        }
    }
}

fn what_is_needed_is_named_before_anything_runs(lab: &Lab) {
    for (layer, said) in [
        (refusing(&[libc::SYS_landlock_create_ruleset]), "seccomp profile must allow landlock_*"),
        (refusing(&[libc::SYS_seccomp]), "seccomp profile must allow seccomp(2)"),
    ] {
        for options in [&[][..], &["--net-allow", ":443"]] {
            let out = lab.sandbox().around(Some(layer)).options(options).sh("echo executed");
            out.expect_code(125).expect_said(said);
            assert_eq!(out.stdout, "", "{out}");
        }
        lab.sandlock().around(Some(layer)).arguments(["check"]).output().expect_code(1);
    }
    // All that a look is made by, and no datagrams.
    let all = refusing(&[
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_open,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kcmp,
    ]);
    lab.sandlock().around(Some(all)).arguments(["check"]).output().expect_code(0);
}

const fn refusing(calls: &'static [i64]) -> Layer {
    Layer::refusing("a profile of one's own", calls, libc::EPERM)
}

fn the_kernel_alone_needs_less(lab: &Lab) {
    for layer in LAYERS {
        let run = lab.sandbox().around(Some(layer)).option("--kernel-only");
        run.sh("echo done=$?; cat /etc/shadow").expect("done", 0).expect_code(1);
    }
}
