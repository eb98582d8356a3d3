//! A rule and a target: the text of the rule is canonical, and refusing is never narrower than granting.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use sandlock_policy::{HttpHost, HttpName, HttpRequest, HttpRule, HttpRules, Method, RequestTarget, Scheme};

fuzz_target!(|input: &[u8]| {
    let (spec, target) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let Ok(rule) = String::from_utf8_lossy(spec).parse::<HttpRule>() else {
        return;
    };
    assert_eq!(rule.to_string().parse(), Ok(rule.clone()));
    let Ok(target) = RequestTarget::parse(target.get(1..).unwrap_or_default()) else {
        return;
    };
    let request = request_for(&rule, target);
    let allows = HttpRules { allow: vec![rule.clone()], deny: Vec::new() };
    let denies = HttpRules { allow: Vec::new(), deny: vec![rule] };
    let granted = allows.check(request.clone()).is_ok();
    let refused = denies.check(request).is_err();
    assert!(!granted || refused, "a rule that refuses is at least as broad as one that grants");
});

fn request_for(rule: &HttpRule, target: RequestTarget) -> HttpRequest {
    let method = match rule.method() {
        Method::Any => "GET".to_owned(),
        Method::Named(name) => name.clone(),
    };
    let host = match rule.host() {
        HttpHost::Any => "any.test".to_owned(),
        HttpHost::Subdomains(domain) => format!("x.{domain}"),
        one => one.to_string(),
    };
    // A domain that is nearly too long has no names below it.
    let host = host.parse().unwrap_or_else(|_| HttpName::from(IpAddr::from([10, 0, 0, 1])));
    HttpRequest { scheme: Scheme::Http, method, host, port: rule.ports()[0], target }
}
