//! A gRPC client, which streams both ways over HTTP/2, and the `ws` client, under HTTP rules.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use lab::{Lab, NameServer, Run, WebServer, Zone, tool};

lab::suite! { tests: [grpc_streams_both_ways, the_ws_client_talks] }

/// Answers each number with its double, as soon as it comes.
const SERVER: &str = "
import grpc, sys, signal
from concurrent import futures
ip, key, certificate = sys.argv[1:]
def double(numbers, context):
    for number in numbers: yield b'%d' % (2 * int(number))
handlers = grpc.method_handlers_generic_handler('lab.Doubler', {
    'Double': grpc.stream_stream_rpc_method_handler(double)})
server = grpc.server(futures.ThreadPoolExecutor(4)); server.add_generic_rpc_handlers((handlers,))
own = grpc.ssl_server_credentials([(open(key, 'rb').read(), open(certificate, 'rb').read())])
port = server.add_secure_port(ip + ':0', own)
server.start(); print(port, flush=True); server.wait_for_termination()
";

/// Sends a number only when the one before was answered.
const CLIENT: &str = "
import grpc, os, queue, sys
trust = grpc.ssl_channel_credentials(open(os.environ['SSL_CERT_FILE'], 'rb').read())
channel = grpc.secure_channel(sys.argv[1], trust)
call = channel.stream_stream('/lab.Doubler/' + sys.argv[2])
asked = queue.Queue(); asked.put(b'1')
try:
    for answer in call(iter(asked.get, None), timeout=10):
        print('answer', answer.decode())
        asked.put(answer if int(answer) < 16 else None)
    print('done')
except grpc.RpcError as error:
    print('refused', error.code(), error.details())
";

struct Doubler {
    process: Child,
    port: u16,
}

impl Doubler {
    fn start(web: &WebServer, ip: &str) -> Doubler {
        let directory = web.authority().parent().unwrap().to_owned();
        let mut process = Command::new("/usr/bin/python3")
            .args(["-c", SERVER, ip])
            .args([directory.join("leaf.key"), directory.join("leaf.pem")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Doubler { process, port: line.trim().parse().expect("apt-get install python3-grpcio") }
    }
}

impl Drop for Doubler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn allowing(lab: &Lab, web: &WebServer, names: &NameServer, rule: &str) -> Run {
    lab.sandbox()
        .options(["--resolver", &names.address().to_string(), "--names-may-be-local", "--http-upstream-ca"])
        .option(web.authority())
        .options(["--http-ca-inject", "--http-allow", rule])
}

fn names(ip: &str) -> NameServer {
    let names = NameServer::start();
    names.set("api.test", Zone::addresses([ip]));
    names
}

fn grpc_streams_both_ways(lab: &Lab) {
    let ip = "127.0.63.40";
    let (web, names) = (WebServer::start(lab, ip, &["api.test"]), names(ip));
    let server = Doubler::start(&web, ip);
    let target = format!("api.test:{}", server.port);
    let call = |method: &str| {
        let rule = format!("POST {target}/lab.Doubler/Double");
        let run = allowing(lab, &web, &names, &rule);
        run.command("/usr/bin/python3", ["-c", CLIENT, &target, method]).output()
    };
    let out = call("Double");
    for answer in ["2", "4", "8", "16"] {
        assert!(out.stdout.contains(&format!("answer {answer}\n")), "{out}");
    }
    assert!(out.stdout.contains("done"), "{out}");
    let out = call("Triple");
    assert!(out.stdout.contains("refused StatusCode.PERMISSION_DENIED"), "{out}");
    out.expect_said(&format!("--http-allow 'POST {target}/lab.Doubler/Triple'"));
}

fn the_ws_client_talks(lab: &Lab) {
    let ip = "127.0.63.41";
    let (web, names) = (WebServer::start(lab, ip, &["api.test"]), names(ip));
    let script = "
const WebSocket = require('/usr/share/nodejs/ws');
const s = new WebSocket(process.argv[1]);
s.on('open', () => console.log('open'));
s.on('unexpected-response', (q, r) => { console.log('status', r.statusCode); process.exit(0); });
s.on('error', e => { console.log('error', e.message); process.exit(0); });
setTimeout(() => process.exit(0), 1500);
";
    for (scheme, port) in [("ws", web.clear), ("wss", web.secure)] {
        let rule = format!("GET api.test:{port}/v1/*");
        for (path, expected) in [("/v1/socket", "open"), ("/v2/socket", "status 403")] {
            let url = format!("{scheme}://api.test:{port}{path}");
            let run = allowing(lab, &web, &names, &rule);
            let out = run.command(tool("node", "nodejs"), ["-e", script, &url]).output();
            assert!(out.stdout.contains(expected), "{out}");
        }
    }
    assert!(web.saw().iter().all(|line| line.contains("/v1/socket")));
}
