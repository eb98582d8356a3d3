//! TLS that is looked into, and TLS that is not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test may fail loudly")]

mod lab;

use lab::Lab;
use lab::tls::{TlsUpstream, ask, connect};
use sandlock_policy::HttpHost;
use sandlock_proxy::{Authority, Happened, Tls};

/// A lab that looks into TLS, and the authority that programs have to trust.
fn looking(upstream: &TlsUpstream, allow: &[&str], hosts: &[&str]) -> (Lab, Vec<u8>) {
    let hosts: Vec<HttpHost> = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let authority = Authority::generate(&hosts).unwrap();
    let pem = authority.cert_pem().as_bytes().to_vec();
    let allow: Vec<String> =
        allow.iter().map(|rule| rule.replace("PORT", &upstream.address.port().to_string())).collect();
    let allow: Vec<&str> = allow.iter().map(String::as_str).collect();
    let roots = upstream.roots.clone();
    let lab = Lab::with(&allow, &[], |settings| {
        settings.tls = Tls::Inject(authority);
        settings.upstream_roots = vec![roots];
    });
    (lab, pem)
}

#[tokio::test]
async fn what_is_spoken_is_what_the_upstream_chooses() {
    for (theirs, ours, is_h2) in [
        (&["h2", "http/1.1"][..], &["h2", "http/1.1"][..], true),
        (&["http/1.1"], &["h2", "http/1.1"], false),
        (&["h2", "http/1.1"], &["http/1.1"], false),
        (&[], &["http/1.1"], false),
        (&["http/1.1"], &[], false),
    ] {
        let upstream = TlsUpstream::start(&["a.test"], theirs).await;
        let (lab, pem) = looking(&upstream, &["* a.test:PORT/ok/*"], &["a.test"]);
        let stream = connect(&lab, upstream.address, "a.test", &pem, ours).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), is_h2);
        let url = |path: &str| format!("https://a.test:{}{path}", upstream.address.port());
        let (ok, no, again) = (url("/ok/1?q"), url("/no"), url("/ok//2"));
        let requests = [("GET", &ok[..], ""), ("GET", &no, ""), ("POST", &again, "abc")];
        let answers = ask(stream, is_h2, &requests).await;
        let version = if is_h2 { "HTTP/2.0" } else { "HTTP/1.1" };
        assert_eq!(answers.iter().map(|answer| answer.0).collect::<Vec<_>>(), [200, 403, 200], "{answers:?}");
        assert!(answers[0].1.contains("/ok/1?q") && answers[0].1.contains(version), "{answers:?}");
        assert!(answers[1].1.contains("--http-allow"), "{answers:?}");
        assert!(answers[2].1.contains("/ok/2 ") && answers[2].1.ends_with(" 3"), "{answers:?}");
        assert_eq!(upstream.came.lock().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_request_for_another_name_on_the_same_connection_is_misdirected() {
    let upstream = TlsUpstream::start(&["a.test", "b.test"], &["h2", "http/1.1"]).await;
    let (lab, pem) = looking(&upstream, &["* *:PORT"], &["*"]);
    for is_h2 in [true, false] {
        let protocols: &[&str] = if is_h2 { &["h2"] } else { &["http/1.1"] };
        let stream = connect(&lab, upstream.address, "a.test", &pem, protocols).await.unwrap();
        let url = |host: &str| format!("https://{host}:{}/", upstream.address.port());
        let (a, b, c) = (url("a.test"), url("b.test"), url("127.0.0.1"));
        let answers = ask(stream, is_h2, &[("GET", &a, ""), ("GET", &b, ""), ("GET", &c, "")]).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.0).collect();
        assert_eq!(statuses, [200, 421, 421], "{answers:?}");
    }
    assert_eq!(upstream.came.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_upstream_that_does_not_prove_itself_gets_nothing() {
    let upstream = TlsUpstream::start(&["other.test"], &["http/1.1"]).await;
    let (lab, pem) = looking(&upstream, &["* *:PORT"], &["*"]);
    let stream = connect(&lab, upstream.address, "a.test", &pem, &["http/1.1"]).await.unwrap();
    let url = format!("https://a.test:{}/", upstream.address.port());
    let answers = ask(stream, false, &[("GET", &url, "")]).await;
    assert_eq!(answers[0].0, 502, "{answers:?}");
    assert!(answers[0].1.contains("certificate"), "{answers:?}");
    assert!(upstream.came.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_without_a_name_is_to_its_address() {
    let upstream = TlsUpstream::start(&["127.0.0.1"], &["h2", "http/1.1"]).await;
    let (lab, pem) = looking(&upstream, &["GET 127.0.0.1:PORT/ok"], &["127.0.0.1"]);
    let stream = connect(&lab, upstream.address, "127.0.0.1", &pem, &["h2"]).await.unwrap();
    let url = |path: &str| format!("https://127.0.0.1:{}/{path}", upstream.address.port());
    let answers = ask(stream, true, &[("GET", &url("ok"), ""), ("GET", &url("no"), "")]).await;
    assert_eq!((answers[0].0, answers[1].0), (200, 403), "{answers:?}");
}

#[tokio::test]
async fn names_that_are_not_of_the_destination_get_no_handshake() {
    let upstream = TlsUpstream::start(&["a.test", "elsewhere.test"], &["http/1.1"]).await;
    let (lab, pem) =
        looking(&upstream, &["* a.test:PORT", "* elsewhere.test:PORT"], &["a.test", "elsewhere.test"]);
    assert!(connect(&lab, upstream.address, "a.test", &pem, &["http/1.1"]).await.is_ok());
    for name in ["elsewhere.test", "b.test"] {
        assert!(connect(&lab, upstream.address, name, &pem, &["http/1.1"]).await.is_err(), "{name}");
    }
    assert_eq!(lab.told.lock().unwrap().len(), 2);
    assert!(lab.told.lock().unwrap().iter().all(|happened| matches!(happened, Happened::Refused(_))));
}

#[tokio::test]
async fn tls_that_is_not_looked_into_goes_by_its_name() {
    let upstream = TlsUpstream::start(&["a.test", "b.test", "127.0.0.1"], &["h2", "http/1.1"]).await;
    let roots = std::fs::read(&upstream.roots).unwrap();
    let port = upstream.address.port();
    let (by_name, by_address) = (format!("* a.test:{port}"), format!("* 127.0.0.1:{port}"));
    let lab = Lab::new(&[&by_name, &format!("GET b.test:{port}/x")], &[]);
    let stream = connect(&lab, upstream.address, "a.test", &roots, &["h2"]).await.unwrap();
    let url = format!("https://a.test:{port}/whatever");
    assert_eq!(ask(stream, true, &[("DELETE", &url, "")]).await[0].0, 200);
    for name in ["b.test", "elsewhere.test", "unheard-of.test", "127.0.0.1"] {
        assert!(connect(&lab, upstream.address, name, &roots, &["h2"]).await.is_err(), "{name}");
    }
    let lab = Lab::new(&[&by_address], &[]);
    assert!(connect(&lab, upstream.address, "127.0.0.1", &roots, &["h2"]).await.is_ok());
    assert!(connect(&lab, upstream.address, "a.test", &roots, &["h2"]).await.is_err());
}

#[tokio::test]
async fn a_host_that_is_passed_through_is_left_end_to_end() {
    let upstream = TlsUpstream::start(&["a.test", "b.test"], &["h2", "http/1.1"]).await;
    let theirs = std::fs::read(&upstream.roots).unwrap();
    let port = upstream.address.port();
    let authority = Authority::generate(&[]).unwrap();
    let ours = authority.cert_pem().as_bytes().to_vec();
    let lab = Lab::with(&[&format!("* a.test:{port}"), &format!("* b.test:{port}")], &[], |settings| {
        settings.tls = Tls::Inject(authority);
        settings.passthrough = vec!["b.test".parse().unwrap()];
    });
    assert!(connect(&lab, upstream.address, "b.test", &theirs, &["h2"]).await.is_ok());
    assert!(connect(&lab, upstream.address, "b.test", &ours, &["h2"]).await.is_err());
    assert!(connect(&lab, upstream.address, "a.test", &ours, &["h2"]).await.is_ok());
    assert!(connect(&lab, upstream.address, "a.test", &theirs, &["h2"]).await.is_err());
}

#[tokio::test]
async fn a_denied_host_is_not_got_at_by_another_name_in_tls() {
    let upstream = TlsUpstream::start(&["a.test", "b.test", "unheard-of.test"], &["h2"]).await;
    let roots = std::fs::read(&upstream.roots).unwrap();
    let port = upstream.address.port();
    for (deny, name, passes) in [
        ("* a.test", "a.test", false),
        ("* a.test", "unheard-of.test", false),
        ("* a.test", "b.test", true),
        ("* 127.0.0.1", "b.test", false),
        ("* elsewhere.test", "unheard-of.test", true),
    ] {
        let lab = Lab::new(&[&format!("* *:{port}")], &[&format!("{deny}:{port}")]);
        let connected = connect(&lab, upstream.address, name, &roots, &["h2"]).await;
        assert_eq!(connected.is_ok(), passes, "{deny}, {name}");
    }
}
