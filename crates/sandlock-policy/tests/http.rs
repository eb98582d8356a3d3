//! The corpus of HTTP rules, targets and authorities, as assertions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test may fail loudly")]

use sandlock_policy::{HttpRequest, HttpRule, HttpRules, Malformed, RequestTarget, Scheme, authority};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    rule: Vec<Accepted>,
    reject: Vec<Rejected>,
    target: Vec<Target>,
    malformed: Vec<Refused>,
    authority: Vec<Authority>,
    decide: Vec<Decision>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    spec: String,
    text: String,
    ports: Vec<u16>,
    content: bool,
    /// What it opens in the network; nothing unless it is said.
    opens: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejected {
    spec: String,
    error: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    raw: String,
    forwarded: String,
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    raw: String,
    why: Malformed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authority {
    text: String,
    is: Option<String>,
    why: Option<Malformed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    #[serde(default)]
    allow: Vec<HttpRule>,
    #[serde(default)]
    deny: Vec<HttpRule>,
    #[serde(default)]
    passes: Vec<String>,
    #[serde(default)]
    refused: Vec<String>,
}

#[test]
fn accepted_rules_mean_what_the_corpus_says() {
    for vector in corpus().rule {
        let rule: HttpRule = vector.spec.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(rule.to_string(), vector.text, "{}", vector.spec);
        assert_eq!(rule.ports(), vector.ports, "{}", vector.spec);
        assert_eq!(rule.needs_content(), vector.content, "{}", vector.spec);
        assert_eq!(vector.text.parse(), Ok(rule.clone()));
        assert_eq!(serde_json::from_str::<HttpRule>(&format!("{:?}", vector.text)).unwrap(), rule);
        let rules = HttpRules { allow: vec![rule.clone()], deny: Vec::new() };
        let opened = rules.network_rules();
        assert_eq!(opened.first().map(ToString::to_string), vector.opens, "{}", vector.spec);
        assert!(opened.iter().all(|opened| opened.written() == rule.written()));
        assert_eq!(rules.intercepted_ports().into_iter().collect::<Vec<_>>(), vector.ports);
        let rules = HttpRules { allow: Vec::new(), deny: vec![rule] };
        assert!(rules.network_rules().is_empty());
    }
}

#[test]
fn rejected_rules_say_why() {
    for vector in corpus().reject {
        let error = HttpRule::parse_flag("--http-deny", &vector.spec).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&vector.error), "{text} lacks {:?}", vector.error);
        assert!(text.starts_with(&format!("--http-deny {:?}: ", vector.spec)), "{text}");
        assert_eq!((error.flag(), error.spec()), ("--http-deny", vector.spec.as_str()));
    }
}

#[test]
fn targets_are_understood_as_the_corpus_says() {
    for vector in corpus().target {
        let target =
            RequestTarget::parse(vector.raw.as_bytes()).unwrap_or_else(|why| panic!("{}: {why}", vector.raw));
        assert_eq!((target.as_str(), target.path()), (vector.forwarded.as_str(), vector.path.as_str()));
        assert_eq!(RequestTarget::parse(target.as_str().as_bytes()), Ok(target), "{}", vector.raw);
    }
}

#[test]
fn targets_that_two_parsers_read_differently_are_malformed() {
    for vector in corpus().malformed {
        assert_eq!(RequestTarget::parse(vector.raw.as_bytes()), Err(vector.why), "{:?}", vector.raw);
    }
    assert_eq!(RequestTarget::parse(b"/\xff"), Err(Malformed::NonAscii));
}

#[test]
fn authorities_are_read_as_the_corpus_says() {
    for Authority { text, is, why } in corpus().authority {
        let read = authority(&text, 80).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(read, is.ok_or_else(|| why.unwrap()), "{text:?}");
    }
}

#[test]
fn requests_are_decided_on_as_the_corpus_says() {
    for Decision { allow, deny, passes, refused } in corpus().decide {
        let rules = HttpRules { allow, deny };
        assert!(!passes.is_empty() && !refused.is_empty(), "a refusal proves something beside what passes");
        for (requests, expected) in [(passes, true), (refused, false)] {
            for text in requests {
                let request = request(&text);
                let answer = rules.check(request.clone());
                assert_eq!(answer.is_ok(), expected, "{text:?} by {rules:?}");
                assert!(answer.is_err() || answer.unwrap().into_inner() == request);
            }
        }
    }
}

/// `METHOD http[s]://HOST[:PORT]/PATH`.
fn request(text: &str) -> HttpRequest {
    let (method, url) = text.split_once(' ').unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let (host, port) = authority(host, scheme.default_port()).unwrap();
    let target = RequestTarget::parse(path.as_bytes()).unwrap_or_else(|why| panic!("{text}: {why}"));
    HttpRequest { scheme, method: method.to_owned(), host, port, target }
}

fn corpus() -> Corpus {
    toml::from_str(include_str!("http.toml")).unwrap()
}
