//! HTTP rules, as the programs that people run meet them: what is allowed arrives, what is not is told in words and never
//! reaches the server, in the clear and inside of TLS.

use std::path::Path;

use lab::{Lab, NameServer, Output, Run, WebServer, Zone, tool};

lab::suite! {
    tests: [
        curl_in_the_clear,
        curl_inside_of_tls,
        curl_by_http2,
        python_urllib,
        python_requests,
        wget,
        node_fetch,
        git_over_https,
        a_websocket_after_its_rule,
        events_are_not_held_back,
        trailers_come_through,
        bodies_come_back_whole,
        without_an_authority_tls_is_left_end_to_end,
        a_passthrough_host_is_left_end_to_end,
        a_secret_is_added_that_the_program_never_sees,
        a_denied_request_is_refused_whatever_allows_it,
        a_server_that_nobody_vouches_for_is_not_spoken_to,
    ],
}

/// A server, and the names that stand for it.
struct Site {
    web: WebServer,
    names: NameServer,
}

fn site(lab: &Lab, ip: &str) -> Site {
    for file in ["v1/page", "v2/page", "v1/private/page"] {
        lab.file(format!("site/{file}"), "the page\n");
    }
    let web = WebServer::start(lab, ip, &["api.test", "other.test"]);
    let names = NameServer::start();
    names.set("api.test", Zone::addresses([ip]));
    names.set("other.test", Zone::addresses([ip]));
    Site { web, names }
}

impl Site {
    fn run(&self, lab: &Lab) -> Run {
        let (resolver, authority) = (self.names.address().to_string(), self.web.authority());
        lab.sandbox()
            .options(["--resolver", &resolver, "--names-may-be-local", "--http-upstream-ca"])
            .option(authority)
    }

    /// `GET` below `/v1` alone, in the clear and over TLS.
    fn rules(&self, lab: &Lab) -> Run {
        let (clear, secure) = (self.web.clear, self.web.secure);
        self.run(lab)
            .option("--http-ca-inject")
            .options(["--http-allow".to_owned(), format!("GET api.test:{clear},{secure}/v1/*")])
    }

    fn clear(&self, path: &str) -> String {
        format!("http://api.test:{}{path}", self.web.clear)
    }

    fn secure(&self, path: &str) -> String {
        format!("https://api.test:{}{path}", self.web.secure)
    }

    /// What `fetch` makes of each URL: it gets the page below `/v1`, and nothing else reaches the server.
    fn fetches(&self, lab: &Lab, url: &dyn Fn(&str) -> String, fetch: &dyn Fn(Run, &str) -> Output) {
        let out = fetch(self.rules(lab), &url("/v1/page"));
        assert!(out.expect_code(0).stdout.contains("the page"), "{out}");
        let saw = self.web.saw();
        assert!(
            !saw.is_empty() && saw.iter().all(|line| line.contains(" GET ") && line.contains("/v1/page"))
        );
        for other in ["/v2/page", "/v1/../v2/page", "/", "/v1/%2e%2e/v2/page", "/v1page"] {
            let out = fetch(self.rules(lab), &url(other));
            assert!(!out.stdout.contains("the page"), "{out}");
            out.expect_said("--http-allow");
        }
        assert_eq!(self.web.saw(), saw);
    }
}

fn curl(options: &[&str]) -> impl Fn(Run, &str) -> Output {
    move |run, url| {
        let words = ["-sS", "--max-time", "10", "--path-as-is"];
        run.command(tool("curl", "curl"), words.iter().chain(options).chain(&[url])).output()
    }
}

fn curl_in_the_clear(lab: &Lab) {
    let site = site(lab, "127.0.63.1");
    site.fetches(lab, &|path| site.clear(path), &curl(&[]));
    // A refusal says what was refused, and what would allow it.
    let out = curl(&["-i", "-X", "POST"])(site.rules(lab), &site.clear("/v1/page"));
    assert!(out.stdout.contains("403") && out.stdout.contains("application/json"), "{out}");
    assert!(out.stdout.contains(&format!("POST api.test:{}/v1/page", site.web.clear)), "{out}");
    out.expect_said(&format!("--http-allow 'POST api.test:{}/v1/page'", site.web.clear));
    assert!(site.web.saw().iter().all(|line| !line.contains("POST")));
}

fn curl_inside_of_tls(lab: &Lab) {
    let site = site(lab, "127.0.63.2");
    site.fetches(lab, &|path| site.secure(path), &curl(&["--http1.1"]));
    assert!(site.web.saw()[0].starts_with("https "));
}

fn curl_by_http2(lab: &Lab) {
    let site = site(lab, "127.0.63.3");
    site.fetches(lab, &|path| site.secure(path), &curl(&["--http2"]));
    let out = curl(&["--http2", "-w", "by %{http_version}"])(site.rules(lab), &site.secure("/v1/page"));
    assert!(out.stdout.contains("by 2"), "{out}");
    assert!(site.web.saw().iter().all(|line| line.starts_with("https 2.0 ")), "{:?}", site.web.saw());
}

fn python(script: &'static str) -> impl Fn(Run, &str) -> Output {
    move |run, url| run.command(tool("python3", "python3"), ["-c", script, url]).output()
}

const URLLIB: &str = "
import sys, urllib.request, urllib.error
try: print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())
except urllib.error.HTTPError as error: print(error.code, error.read().decode()); sys.exit(1)
";

fn python_urllib(lab: &Lab) {
    let site = site(lab, "127.0.63.4");
    site.fetches(lab, &|path| site.clear(path), &python(URLLIB));
    let other = Site { web: WebServer::start(lab, "127.0.63.5", &["api.test"]), names: NameServer::start() };
    other.names.set("api.test", Zone::addresses(["127.0.63.5"]));
    other.fetches(lab, &|path| other.secure(path), &python(URLLIB));
}

fn python_requests(lab: &Lab) {
    let script =
        "import sys, requests; r = requests.get(sys.argv[1], timeout=10); print(r.status_code, r.text)";
    let site = site(lab, "127.0.63.6");
    site.fetches(lab, &|path| site.secure(path), &|run, url| {
        // `requests` resolves dot segments itself, so that some of the others are not what they were meant to be.
        run.command("/usr/bin/python3", ["-c", script, url]).output()
    });
}

fn wget(lab: &Lab) {
    let site = site(lab, "127.0.63.7");
    site.fetches(lab, &|path| site.secure(path), &|run, url| {
        run.command(tool("wget", "wget"), ["-q", "-O", "-", "-T", "10", "-t", "1", url]).output()
    });
}

fn node_fetch(lab: &Lab) {
    let script = "fetch(process.argv[1]).then(r => r.text()).then(t => console.log(t))
                  .catch(e => { console.error(e); process.exit(1); })";
    let site = site(lab, "127.0.63.8");
    site.fetches(lab, &|path| site.secure(path), &|run, url| {
        run.command(tool("node", "nodejs"), ["-e", script, url]).output()
    });
}

/// The dumb protocol: files that are fetched.
fn git_over_https(lab: &Lab) {
    let site = site(lab, "127.0.63.9");
    let git = tool("git", "git");
    let repository = lab.path("site/v1/repository");
    let source = lab.path("source");
    for words in [
        vec!["init", "-q", "source"],
        vec![
            "-C",
            "source",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "one",
        ],
        vec!["clone", "-q", "--bare", "source", "site/v1/repository"],
        vec!["-C", "site/v1/repository", "update-server-info"],
    ] {
        let done = std::process::Command::new(&git).args(&words).current_dir(lab.root()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert!(source.exists() && repository.exists());
    let clone = |path: &str, to: &str| {
        let work = lab.path("work");
        let run = site.rules(lab).write(&work).env("GIT_CONFIG_NOSYSTEM", "1");
        run.command(&git, ["clone", "-q", &site.secure(path), to]).output()
    };
    clone("/v1/repository", "cloned").expect_code(0);
    assert!(lab.path("work/cloned/.git").exists());
    let before = site.web.saw().len();
    assert_ne!(clone("/v2/repository", "other").code(), 0);
    assert_eq!(site.web.saw().len(), before);
}

const WEBSOCKET: &str = "
const u = new URL(process.argv[1]), lib = require(u.protocol == 'https:' ? 'https' : 'http');
const r = lib.request({ host: u.hostname, port: u.port, path: u.pathname,
  headers: { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version': 13 } });
r.on('response', s => { console.log('status', s.statusCode); process.exit(1); });
r.on('upgrade', (s, socket) => {
  console.log('accepted', s.headers['sec-websocket-accept']);
  socket.write('ping'); socket.on('data', d => { console.log('back', d.toString()); process.exit(0); });
});
r.on('error', e => { console.error(e); process.exit(1); });
r.end();
";

fn a_websocket_after_its_rule(lab: &Lab) {
    let site = site(lab, "127.0.63.10");
    let speak =
        |url: String| site.rules(lab).command(tool("node", "nodejs"), ["-e", WEBSOCKET, &url]).output();
    for url in [site.clear("/v1/socket"), site.secure("/v1/socket")] {
        let out = speak(url);
        assert!(out.expect_code(0).stdout.contains("back ping"), "{out}");
        assert!(out.stdout.contains("accepted s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{out}");
    }
    let before = site.web.saw().len();
    for url in [site.clear("/v2/socket"), site.secure("/v2/socket")] {
        assert!(speak(url).stdout.contains("status 403"));
    }
    assert_eq!(site.web.saw().len(), before);
}

fn allow_all(site: &Site, lab: &Lab) -> Run {
    let (clear, secure) = (site.web.clear, site.web.secure);
    site.run(lab)
        .option("--http-ca-inject")
        .options(["--http-allow".to_owned(), format!("* api.test:{clear},{secure}/*")])
}

fn events_are_not_held_back(lab: &Lab) {
    let site = site(lab, "127.0.63.11");
    let script = "
import sys, time, urllib.request
s = urllib.request.urlopen(sys.argv[1], timeout=10)
a = s.readline(); t = time.time(); s.readline(); b = s.readline()
print(a.decode().strip(), b.decode().strip(), 'apart' if time.time() - t > 0.15 else 'together')
";
    for url in [site.clear("/events"), site.secure("/events")] {
        let out = python_run(allow_all(&site, lab), script, &url);
        assert!(out.stdout.contains("data: one data: two apart"), "{out}");
    }
}

fn python_run(run: Run, script: &str, url: &str) -> Output {
    run.command(tool("python3", "python3"), ["-c", script, url]).output()
}

fn trailers_come_through(lab: &Lab) {
    let site = site(lab, "127.0.63.12");
    let script = "
const http2 = require('http2'), u = new URL(process.argv[1]);
const fs = require('fs'), c = http2.connect(u.origin, { ca: fs.readFileSync(process.env.NODE_EXTRA_CA_CERTS) });
const r = c.request({ ':path': u.pathname, te: 'trailers' });
r.on('trailers', t => console.log('sum', t['x-sum'])); r.on('data', () => {}); r.on('end', () => c.close());
c.on('error', e => { console.error(e); process.exit(1); });
";
    let out = allow_all(&site, lab)
        .command(tool("node", "nodejs"), ["-e", script, &site.secure("/trailers")])
        .output();
    assert!(out.stdout.contains("sum 42"), "{out}");
}

fn bodies_come_back_whole(lab: &Lab) {
    let site = site(lab, "127.0.63.13");
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 + n / 251) as u8).collect();
    let file = lab.file("work/body", &body);
    for (url, how) in [
        (site.clear("/echo"), "--http1.1"),
        (site.secure("/echo"), "--http1.1"),
        (site.secure("/echo"), "--http2"),
    ] {
        for coding in [&["-H", "Expect: 100-continue"][..], &["-H", "Transfer-Encoding: chunked"]] {
            let back = lab.path("work/back");
            let data = format!("@{}", file.display());
            let mut words =
                vec!["-sS", "--max-time", "15", how, "--data-binary", &data, "-o", back.to_str().unwrap()];
            words.extend(coding);
            words.push(&url);
            let run = allow_all(&site, lab).write(lab.path("work"));
            run.command(tool("curl", "curl"), words).output().expect_code(0);
            assert!(std::fs::read(&back).unwrap() == body, "{url} {how} {coding:?}");
            std::fs::remove_file(back).unwrap();
        }
    }
}

fn without_an_authority_tls_is_left_end_to_end(lab: &Lab) {
    let site = site(lab, "127.0.63.14");
    let secure = site.web.secure;
    let rule = format!("* api.test:{secure}");
    let authority = site.web.authority();
    let fetch = |run: Run, url: &str| {
        let words = ["-sS", "--max-time", "10", "--cacert", authority.to_str().unwrap(), url];
        run.read(&authority).command(tool("curl", "curl"), words).output()
    };
    let run = || site.run(lab).options(["--http-allow", &rule]);
    let out = fetch(run(), &site.secure("/v2/page"));
    assert!(out.expect_code(0).stdout.contains("the page"), "{out}");
    let before = site.web.saw().len();
    // Another name of the same address.
    let also = run().options(["--net-allow", &format!("other.test:{secure}")]);
    let out = fetch(also, &format!("https://other.test:{secure}/v2/page"));
    assert_ne!(out.code(), 0, "{out}");
    out.expect_said("other.test");
    assert_eq!(site.web.saw().len(), before);
    // What is inside cannot be judged.
    for rule in
        [format!("GET api.test:{secure}"), format!("* api.test:{secure}/v1/*"), "GET api.test".to_owned()]
    {
        let out = site.run(lab).options(["--http-allow", &rule]).sh("echo ran");
        // A port says nothing of the protocol: only 443, which is one of those without a port, is known to be TLS.
        if rule == "GET api.test" {
            out.expect_code(125).expect_said("--http-ca-inject");
        }
    }
}

fn a_passthrough_host_is_left_end_to_end(lab: &Lab) {
    let site = site(lab, "127.0.63.15");
    let authority = site.web.authority();
    let rule = format!("* api.test:{}", site.web.secure);
    let run =
        site.run(lab).options(["--http-ca-inject", "--http-passthrough", "api.test", "--http-allow", &rule]);
    let words = ["-sS", "--max-time", "10", "--cacert", authority.to_str().unwrap()];
    let out = run
        .read(&authority)
        .command(tool("curl", "curl"), words.iter().copied().chain([&*site.secure("/v1/page")]))
        .output();
    assert!(out.expect_code(0).stdout.contains("the page"), "{out}");
}

fn a_secret_is_added_that_the_program_never_sees(lab: &Lab) {
    let site = site(lab, "127.0.63.16");
    let (clear, secure) = (site.web.clear, site.web.secure);
    let line = format!(
        "env; cat /proc/self/environ; for u in {} {}; do curl -sS --max-time 10 $u; done",
        site.clear("/v1/page"),
        site.secure("/v1/page")
    );
    let out = site
        .rules(lab)
        .env("THE_TOKEN", "swordfish")
        .options(["--credential", "token=env:THE_TOKEN", "--http-auth"])
        .option(format!("GET api.test:{clear},{secure}/v1/* bearer token"))
        .sh(&line);
    assert!(out.stdout.matches("the page").count() == 2 && !out.stdout.contains("swordfish"), "{out}");
    assert!(!out.stderr.contains("swordfish"), "{out}");
    let saw = site.web.saw();
    // On loopback in the clear as well.
    assert!(saw.len() == 2 && saw.iter().all(|line| line.ends_with(" Bearer swordfish")), "{saw:?}");
}

fn a_denied_request_is_refused_whatever_allows_it(lab: &Lab) {
    let site = site(lab, "127.0.63.17");
    let (clear, secure) = (site.web.clear, site.web.secure);
    let run = || {
        allow_all(&site, lab)
            .options(["--http-deny".to_owned(), format!("* api.test:{clear},{secure}/v1/private/*")])
    };
    for url in [site.clear("/v1/page"), site.secure("/v1/page")] {
        assert!(curl(&[])(run(), &url).stdout.contains("the page"));
    }
    let before = site.web.saw().len();
    for path in
        ["/v1/private/page", "/v1/PRIVATE/page", "/v1//private/page", "/v1/x/../private/page", "/v1/private"]
    {
        for url in [site.clear(path), site.secure(path)] {
            let out = curl(&["-i"])(run(), &url);
            assert!(out.stdout.contains(" 403"), "{out}");
        }
    }
    assert_eq!(site.web.saw().len(), before);
}

fn a_server_that_nobody_vouches_for_is_not_spoken_to(lab: &Lab) {
    let site = site(lab, "127.0.63.18");
    let rule = format!("* api.test:{}/*", site.web.secure);
    let run = |more: &[&Path]| {
        let run =
            lab.sandbox().options(["--resolver", &site.names.address().to_string(), "--names-may-be-local"]);
        let run = run.options(["--http-ca-inject", "--http-allow", &rule]);
        more.iter().fold(run, |run, path| run.option("--http-upstream-ca").option(path))
    };
    let out = curl(&["-i"])(run(&[]), &site.secure("/v1/page"));
    assert!(!out.stdout.contains("the page"), "{out}");
    assert!(site.web.saw().is_empty());
    let out = curl(&[])(run(&[&site.web.authority()]), &site.secure("/v1/page"));
    assert!(out.stdout.contains("the page"), "{out}");
}
