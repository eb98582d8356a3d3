//! Secrets that are added to requests, and proxies on the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test may fail loudly")]

mod lab;

use std::net::SocketAddr;

use lab::{Lab, Upstream};
use sandlock_proxy::{Auth, Secret};

fn with_auth(to: SocketAddr, spec: &str) -> Lab {
    let rule = spec.replace("PORT", &to.port().to_string()).parse().unwrap();
    Lab::with(&[&format!("* *:{}", to.port())], &[], |settings| {
        settings.auths = vec![Auth { rule, secret: Secret::Value(b"hush\n".to_vec()) }];
    })
}

fn came(upstream: &Upstream) -> String {
    String::from_utf8_lossy(upstream.came.lock().unwrap().last().unwrap()).into_owned()
}

#[test]
fn a_secret_is_added_to_the_requests_that_it_is_for_and_no_other() {
    let upstream = Upstream::start();
    let lab = with_auth(upstream.address, "GET a.test:PORT/v1/* bearer key");
    for (request, has) in [
        ("GET /v1/x HTTP/1.1\r\nHost: a.test\r\n", true),
        (
            "GET /v1/x HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer mine\r\nauthorization: Bearer mine\r\n",
            true,
        ),
        ("GET /v1/x HTTP/1.1\r\nHost: a.test\r\nConnection: Authorization\r\n", true),
        ("GET /v2/x HTTP/1.1\r\nHost: a.test\r\n", false),
        ("POST /v1/x HTTP/1.1\r\nHost: a.test\r\n", false),
        ("GET /v1/x HTTP/1.1\r\nHost: b.test\r\n", false),
        ("GET /v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\n", false),
    ] {
        let answer = lab.talk(upstream.address, format!("{request}Connection: close\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("hush"), "{request}: {answer}");
        let came = came(&upstream);
        assert_eq!(came.contains("authorization: Bearer hush\r\n"), has, "{came}");
        assert!(!has || !came.contains("mine"), "{came}");
    }
}

#[test]
fn a_request_whose_answer_is_the_request_gets_no_secret() {
    let upstream = Upstream::start();
    let lab = with_auth(upstream.address, "* a.test:PORT header:x-key key");
    for (method, has) in [("GET", true), ("TRACE", false), ("trace", false)] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        assert!(lab.talk(upstream.address, request.as_bytes()).starts_with("HTTP/1.1 200 "));
        assert_eq!(came(&upstream).contains("x-key: hush"), has, "{method}");
    }
}

#[test]
fn a_name_that_nobody_knows_gets_no_secret() {
    let upstream = Upstream::start();
    let lab = with_auth(upstream.address, "GET unheard-of.test:PORT query:key key");
    let request = b"GET /?a=b HTTP/1.1\r\nHost: unheard-of.test\r\nConnection: close\r\n\r\n";
    assert!(lab.talk(upstream.address, request).starts_with("HTTP/1.1 200 "));
    assert!(!came(&upstream).contains("hush"));
    let lab = with_auth(upstream.address, "GET a.test:PORT query:key key");
    let request = b"GET /?a=b&key=mine HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    assert!(lab.talk(upstream.address, request).starts_with("HTTP/1.1 200 "));
    assert!(came(&upstream).starts_with("GET /?a=b&key=hush HTTP/1.1\r\n"));
}

#[test]
fn in_the_clear_a_secret_goes_to_loopback_alone_unless_somebody_says_so() {
    // A proxy on the way lets one see what goes to an address that is nowhere.
    let proxy = Upstream::start();
    let to: SocketAddr = "192.0.2.1:80".parse().unwrap();
    for danger in [false, true] {
        let lab = Lab::with(&["* *"], &[], |settings| {
            let rule = "GET 192.0.2.1 bearer key".parse().unwrap();
            settings.auths = vec![Auth { rule, secret: Secret::Value(b"hush".to_vec()) }];
            settings.cleartext_credentials = danger;
            settings.upstream_proxy = Some(format!("http://u:p@{}", proxy.address).parse().unwrap());
        });
        proxy.came.lock().unwrap().clear();
        let request = b"GET /x HTTP/1.1\r\nHost: 192.0.2.1\r\nConnection: close\r\n\r\n";
        // The head of its answer has a body that is no answer: what matters is what came.
        let _ = lab.talk(to, request);
        let all = proxy.came.lock().unwrap().concat();
        let all = String::from_utf8_lossy(&all);
        assert!(all.starts_with("CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: 192.0.2.1:80\r\n"), "{all}");
        assert!(all.contains("Proxy-Authorization: Basic dTpw\r\n"), "{all}");
        assert_eq!(all.contains("Bearer hush"), danger, "{all}");
    }
}

#[test]
fn a_proxy_on_the_way_that_refuses_is_told_of() {
    let proxy = Upstream::answering(|_, _| b"HTTP/1.1 407 \x1b[2J\r\n\r\n".to_vec());
    let lab = Lab::with(&["* *"], &[], |settings| {
        settings.upstream_proxy = Some(format!("http://{}", proxy.address).parse().unwrap());
    });
    let request = b"GET /x HTTP/1.1\r\nHost: 192.0.2.1\r\nConnection: close\r\n\r\n";
    let answer = lab.talk("192.0.2.1:80".parse().unwrap(), request);
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("answers 407"), "{answer}");
}
