//! Servers that people run listen inside, by a bind rule, and serve clients inside and outside.

use std::io::{Read, Write};
use std::net::TcpStream;

use lab::{Lab, Output, free_port, tool, wait_for_listener};

lab::suite! {
    tests: [
        redis,
        nginx,
        python_http_server,
        node_http,
        postgresql,
        without_a_rule_nothing_listens,
        a_listener_is_in_the_table_that_it_is_shown,
    ],
    programs: [listen_and_look],
}

/// Runs a server, asks it from outside, and then from inside by a line of `sh`, which ends it.
fn serve(lab: &Lab, port: u16, server: &str, ask: impl FnOnce(), client: &str) -> Output {
    let script = format!(
        "{server} > server.log 2>&1 & pid=$!\nread line\n{client}\nkill -TERM $pid\nwait $pid\necho ended=$?\ncat server.log >&2"
    );
    let mut run = lab
        .sandbox()
        .option("--net-allow-bind")
        .option(port.to_string())
        .allow(format!("127.0.0.1:{port}"))
        .allow(format!("[::1]:{port}"))
        .write(lab.path("work"))
        .input_pipe()
        .command("/bin/sh", ["-c", &script])
        .start();
    wait_for_listener(port);
    ask();
    run.send("go\n");
    run.finish()
}

/// What somebody outside is answered.
fn answer(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn page(port: u16) -> String {
    answer(port, "GET /page HTTP/1.0\r\n\r\n")
}

fn redis(lab: &Lab) {
    let server = tool("redis-server", "redis-server");
    let client = tool("redis-cli", "redis-tools");
    let port = free_port();
    let out = serve(
        lab,
        port,
        &format!("{} --port {port} --bind 127.0.0.1 ::1 --save '' --dir .", server.display()),
        || assert_eq!(answer(port, "SET key outside\r\nQUIT\r\n"), "+OK\r\n+OK\r\n"),
        &format!("echo heard=$({0} -p {port} get key) $({0} -h ::1 -p {port} incr number)", client.display()),
    );
    out.expect("heard", "outside 1").expect("ended", 0);
}

fn nginx(lab: &Lab) {
    let server = tool("nginx", "nginx");
    let curl = tool("curl", "curl");
    let port = free_port();
    lab.file("work/site/page", "the page");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};\n", lab.path("work").display()))
        .concat();
    let (user, root) =
        (if lab.user().is_root() { "user root;" } else { "" }, lab.path("work/site").display().to_string());
    let configuration = format!(
        "{user} daemon off; pid {root}/pid; worker_processes 2;\nevents {{ worker_connections 64; }}\n\
         http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}; listen [::1]:{port}; root {root}; }} }}\n"
    );
    lab.own(&lab.path("work/site"));
    let configuration = lab.file("work/nginx.conf", configuration);
    let out = serve(
        lab,
        port,
        &format!("{} -c {} -e stderr", server.display(), configuration.display()),
        || assert!(page(port).ends_with("the page")),
        &format!(
            "echo heard=$({0} -s http://127.0.0.1:{port}/page http://[::1]:{port}/page)",
            curl.display()
        ),
    );
    out.expect("heard", "the pagethe page").expect("ended", 0);
}

fn python_http_server(lab: &Lab) {
    let python = tool("python3", "python3");
    let curl = tool("curl", "curl");
    let port = free_port();
    lab.file("work/page", "the page");
    let out = serve(
        lab,
        port,
        &format!("{} -m http.server {port} --bind 127.0.0.1", python.display()),
        || assert!(page(port).ends_with("the page")),
        &format!("echo heard=$({} -s http://127.0.0.1:{port}/page)", curl.display()),
    );
    out.expect("heard", "the page").expect("ended", 143).expect_said("GET /page");
}

const NODE_SERVER: &str =
    "const server = require('http').createServer((request, response) => response.end('the page'));
process.on('SIGTERM', () => { server.close(); server.closeAllConnections(); });
server.listen(Number(process.argv[2]), '127.0.0.1');
";

fn node_http(lab: &Lab) {
    let node = tool("node", "nodejs");
    let curl = tool("curl", "curl");
    let port = free_port();
    let server = lab.file("work/server.js", NODE_SERVER);
    let out = serve(
        lab,
        port,
        &format!("{} {} {port}", node.display(), server.display()),
        || assert!(page(port).ends_with("the page")),
        &format!("echo heard=$({} -s http://127.0.0.1:{port}/page)", curl.display()),
    );
    out.expect("heard", "the page").expect("ended", 0);
}

/// It keeps a segment of System V shared memory, and its client comes over TCP and a unix socket. It refuses root.
fn postgresql(lab: &Lab) {
    let found = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = found.map(|version| version.path().join("bin")).find(|path| path.join("postgres").exists());
    let place = found.expect("this test needs PostgreSQL: apt-get install postgresql");
    if lab.user().is_root() {
        let out =
            lab.sandbox().write(lab.path("work")).command(place.join("initdb"), ["-D", "data"]).output();
        out.expect_code(1).expect_said("cannot be run as root");
        return;
    }
    let port = free_port();
    let (place, work) = (place.display(), lab.path("work").display().to_string());
    let psql = |host: &str, query: &str| {
        format!("$({place}/psql -X -h {host} -p {port} -U lab -Atc '{query}' postgres)")
    };
    let server = format!(
        "{{ {place}/initdb -D {work}/data -A trust -U lab -E UTF8 --locale=C --no-sync && \
         exec {place}/postgres -D {work}/data -p {port} -k {work} -h 127.0.0.1 -c fsync=off; }}"
    );
    // It listens a moment before it answers.
    let client = format!(
        "for n in 1 2 3 4 5 6 7 8 9 10; do {place}/pg_isready -q -h 127.0.0.1 -p {port} && break; sleep 0.3; done\n\
         echo by tcp={}\necho by unix={}\necho segment={}",
        psql("127.0.0.1", "create table t as select generate_series(1, 1000) as n; select sum(n) from t"),
        psql(&work, "select max(n) from t"),
        psql(&work, "show shared_memory_type"),
    );
    // The answer to a request for TLS: none.
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
        let mut answer = [0; 1];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"N");
    };
    let out = serve(lab, port, &server, ask, &client);
    out.expect("by tcp", "SELECT 1000 500500").expect("by unix", 1000).expect("ended", 0);
}

fn without_a_rule_nothing_listens(lab: &Lab) {
    let python = tool("python3", "python3");
    let port = free_port().to_string();
    let serve = ["-m", "http.server", &port, "--bind", "127.0.0.1"];
    let out = lab.sandbox().command(&python, serve).output();
    out.expect_code(1).expect_said("Permission denied").expect_said(&format!("--net-allow-bind {port}"));
}

fn a_listener_is_in_the_table_that_it_is_shown(lab: &Lab) {
    let _outside = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port().to_string();
    let run = lab.sandbox().option("--net-allow-bind").option(&port);
    run.run("listen_and_look", [&port]).expect("ports", &port);
    // In a port space of its own by the port that it asked for, though somebody outside has it.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let _outside = std::net::TcpListener::bind(format!("127.0.0.1:{taken}")).unwrap();
    let run = lab.sandbox().option("--port-remap").option("--net-allow-bind").option(&taken);
    run.run("listen_and_look", [&taken]).expect("ports", &taken);
    let bare = lab.bare().run("listen_and_look", [&port]);
    let ports: Vec<_> = bare.value("ports").split(',').collect();
    assert!(ports.contains(&&port[..]) && ports.len() > 1, "{bare}");
}

/// `listen_and_look PORT`.
fn listen_and_look(args: &lab::Args) {
    let _listener = std::net::TcpListener::bind(("127.0.0.1", args.get(0))).unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let listening = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (local, state) = (columns.next()?, columns.nth(1)?);
        let port = u16::from_str_radix(local.split_once(':')?.1, 16).ok()?;
        (state == "0A").then(|| port.to_string())
    });
    lab::report("ports", listening.collect::<Vec<_>>().join(","));
}
