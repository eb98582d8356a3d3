//! What holds for every HTTP rule, every request and every text.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test may fail loudly")]

use std::net::IpAddr;

use proptest::prelude::*;
use sandlock_policy::{
    Denied, HttpHost, HttpName, HttpRequest, HttpRule, HttpRules, Malformed, Method, RequestTarget, Resolved,
    Scheme, authority,
};

proptest! {
    #[test]
    fn the_text_of_a_rule_parses_to_the_rule(rule in rules()) {
        prop_assert_eq!(rule.to_string().parse(), Ok(rule));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".*", path in "[a/*.;%2eEfF0é?#\\\\]{0,16}") {
        for text in [text, format!("* h.test/{path}")] {
            if let Ok(rule) = text.parse::<HttpRule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
        }
    }

    #[test]
    fn a_target_is_a_fixed_point(raw in raw_targets()) {
        if let Ok(target) = RequestTarget::parse(&raw) {
            let again = RequestTarget::parse(target.as_str().as_bytes());
            prop_assert_eq!(again, Ok(target.clone()));
            prop_assert!(target.as_str().starts_with(target.forwarded_path()));
        }
    }

    #[test]
    fn a_target_that_is_forwarded_has_nothing_to_misread(raw in raw_targets()) {
        if let Ok(target) = RequestTarget::parse(&raw) {
            let path = target.forwarded_path();
            let uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte);
            prop_assert!(path.starts_with('/') && path.bytes().all(uri), "{}", path);
            prop_assert!(target.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
            let decoded = decode(path);
            prop_assert!(!decoded.contains("//") && !decoded.contains(['\\', '\0', '\n']), "{}", decoded);
            for segment in decoded.split('/').skip(1) {
                let name = segment.split(';').next().unwrap();
                prop_assert!(name != "." && name != "..", "{}", decoded);
                prop_assert!(!name.is_empty() || segment.is_empty(), "{}", decoded);
            }
            prop_assert_eq!(decode(&decoded.replace("%25", "")), decoded.replace("%25", ""), "decoding twice");
        }
    }

    /// What rules see is what a server sees that decodes once.
    #[test]
    fn the_path_that_is_judged_is_the_one_that_is_forwarded(raw in raw_targets()) {
        if let Ok(target) = RequestTarget::parse(&raw) {
            prop_assert_eq!(decode(target.forwarded_path()), decode(target.path()));
        }
    }

    #[test]
    fn resolving_dots_agrees_with_a_stack(segments in prop::collection::vec("\\.{0,3}|[ab]", 0..7)) {
        let raw = format!("/{}", segments.join("/"));
        let mut stack = Vec::new();
        let mut above = false;
        for segment in &segments {
            match segment.as_str() {
                "" | "." => {}
                ".." => above |= stack.pop().is_none(),
                name => stack.push(name),
            }
        }
        let directory = segments.last().is_none_or(|last| matches!(last.as_str(), "" | "." | ".."));
        let slash = if directory && !stack.is_empty() { "/" } else { "" };
        let expected = if above { Err(Malformed::AboveRoot) } else { Ok(format!("/{}{slash}", stack.join("/"))) };
        prop_assert_eq!(RequestTarget::parse(raw.as_bytes()).map(|target| target.path().to_owned()), expected);
    }

    #[test]
    fn matching_agrees_with_a_naive_walk(pattern in patterns(), path in paths(), deny: bool) {
        let request = request("GET", "h.test", 80, &path);
        let normal = request.target.path().to_owned();
        let rule: HttpRule = format!("* h.test{pattern}").parse().unwrap();
        let (expected, rules) = if deny {
            (!refuses(&pattern, &normal), HttpRules { allow: Vec::new(), deny: vec![rule] })
        } else {
            (grants(&pattern, &normal), HttpRules { allow: vec![rule], deny: Vec::new() })
        };
        prop_assert_eq!(rules.check(request).is_ok(), expected, "{} {}", pattern, normal);
    }

    #[test]
    fn what_a_rule_grants_the_same_rule_refuses_as_a_denial(rule in rules(), request in requests()) {
        let allows = HttpRules { allow: vec![rule.clone()], deny: Vec::new() };
        let denies = HttpRules { allow: Vec::new(), deny: vec![rule] };
        prop_assert!(allows.check(request.clone()).is_err() || denies.check(request).is_err());
    }

    #[test]
    fn the_check_agrees_with_a_walk_over_the_rules(
        allow in prop::collection::vec(rules(), 0..4),
        deny in prop::collection::vec(rules(), 0..2),
        request in requests(),
    ) {
        let granted = |rule: &HttpRule| {
            let method = match rule.method() {
                Method::Any => request.method != "CONNECT",
                Method::Named(name) => *name == request.method,
            };
            let path = path_of(rule).is_none_or(|pattern| grants(&pattern, request.target.path()));
            method && rule.ports().contains(&request.port) && names(rule.host(), &request.host) && path
        };
        let refused = |rule: &HttpRule| {
            let method = match rule.method() {
                Method::Any => true,
                Method::Named(name) => name.eq_ignore_ascii_case(&request.method),
            };
            let says_ports = rule.to_string().replace("[::1]", "").contains(':');
            let port = !says_ports || rule.ports().contains(&request.port);
            let path = path_of(rule).is_none_or(|pattern| refuses(&pattern, request.target.path()));
            method && port && names(rule.host(), &request.host) && path
        };
        let forbidden = deny.iter().any(refused);
        let any = |rule: &&HttpRule| *rule.host() == HttpHost::Any;
        let passes = |granted| !forbidden && granted;
        let unspoken = allow.is_empty() && request.method != "CONNECT";
        let known = passes(unspoken || allow.iter().any(granted));
        let unknown = passes(unspoken || allow.iter().filter(any).any(granted));
        let rules = HttpRules { allow, deny };
        prop_assert_eq!(rules.check(request.clone()).is_ok(), known);
        prop_assert_eq!(rules.check_unknown(request.clone()).is_ok(), unknown);
        if let Err(Denied::Http { forbidden: found, .. }) = rules.check(request) {
            prop_assert_eq!(found, forbidden);
        }
    }

    /// What is not looked into passes only if every request inside would.
    #[test]
    fn whoever_passes_by_name_alone_would_pass_with_every_request(
        allow in prop::collection::vec(rules(), 0..4),
        deny in prop::collection::vec(rules(), 0..2),
        request in requests(),
    ) {
        let rules = HttpRules { allow, deny };
        if rules.check_name(&request.host.to_string(), request.port).is_ok() && request.method != "CONNECT" {
            prop_assert!(rules.check(request.clone()).is_ok());
        }
        if rules.check_unknown_name(&request.host.to_string(), request.port).is_ok() && request.method != "CONNECT" {
            prop_assert!(rules.check_unknown(request).is_ok());
        }
    }

    #[test]
    fn every_rule_opens_only_ports_that_are_intercepted(
        allow in prop::collection::vec(rules(), 0..4),
        deny in prop::collection::vec(rules(), 0..4),
    ) {
        let rules = HttpRules { allow, deny };
        let intercepted = rules.intercepted_ports();
        let opened = rules.network_rules();
        prop_assert_eq!(opened.len(), rules.allow.iter().filter(|rule| *rule.host() != HttpHost::Any).count());
        for rule in opened {
            prop_assert_eq!(rule.protocol(), sandlock_policy::Protocol::Tcp);
            match rule.ports() {
                sandlock_policy::Ports::Any => panic!("{rule}"),
                sandlock_policy::Ports::List(ports) => {
                    prop_assert!(!ports.is_empty() && ports.iter().all(|port| intercepted.contains(port)));
                }
            }
        }
    }

    #[test]
    fn the_hint_of_a_refused_request_allows_it(request in requests(), raw in raw_targets()) {
        let target = RequestTarget::parse(&raw).unwrap_or(request.target);
        let request = HttpRequest { target, ..request };
        let nothing = HttpRules { allow: vec!["* nobody.invalid".parse().unwrap()], deny: Vec::new() };
        let denied = nothing.check(request.clone()).unwrap_err();
        let hint = denied.hint(&Resolved::new());
        if let Some(hint) = hint {
            let words = shell_words(&hint);
            prop_assert_eq!(&words[0], "--http-allow");
            let rules = HttpRules { allow: vec![words[1].parse().unwrap()], deny: Vec::new() };
            prop_assert!(rules.check(request).is_ok(), "{}", hint);
        } else {
            let meant = ["GET", "POST"].iter().any(|known| known.eq_ignore_ascii_case(&request.method));
            prop_assert!(meant && !["GET", "POST"].contains(&request.method.as_str()), "{}", denied);
        }
    }

    #[test]
    fn an_authority_is_read_back_as_it_is_written(host in hosts_of_requests(), port: u16, text in ".*") {
        prop_assert_eq!(authority(&host.to_string(), 80), Ok((host.clone(), 80)));
        if port != 0 {
            prop_assert_eq!(authority(&format!("{host}:{port}"), 80), Ok((host, port)));
        }
        if let Ok((host, port)) = authority(&text, 80) {
            prop_assert_eq!(authority(&format!("{host}:{port}"), 1), Ok((host, port)));
        }
    }

    #[test]
    fn what_was_refused_survives_serialisation_and_is_safe_to_print(
        request in requests(), text in ".*", port: u16, forbidden: bool,
    ) {
        let HttpRequest { scheme, host, .. } = request;
        let denials = [
            Denied::Http { scheme, method: text.clone(), host, port, path: text.clone(), forbidden },
            Denied::TlsName { name: text, port, forbidden },
        ];
        for denied in denials {
            let json = serde_json::to_string(&denied).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Denied>(&json).unwrap(), &denied);
            let hint = denied.hint(&Resolved::new()).unwrap_or_default();
            let shown = format!("{denied}{hint}");
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}

/// The oracle: what the documentation says of one pattern, by trying everything.
fn matches(pattern: &str, path: &str) -> bool {
    let Some(rest) = pattern.strip_suffix("/**").or_else(|| pattern.strip_suffix("/*")) else {
        return walk(pattern, path, false);
    };
    let ends = (0..=path.len()).filter(|end| *end == path.len() || path[*end..].starts_with('/'));
    ends.into_iter().any(|end| walk(rest, &path[..end], false))
}

fn walk(pattern: &str, path: &str, begins: bool) -> bool {
    if begins && let Some(rest) = pattern.strip_prefix("**/") {
        let after_slash = path.match_indices('/').map(|(at, _)| &path[at + 1..]);
        return std::iter::once(path).chain(after_slash).any(|path| walk(rest, path, true));
    }
    if let Some(rest) = pattern.strip_prefix("**") {
        return (0..=path.len()).any(|taken| walk(rest, &path[taken..], false));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        let least = usize::from(begins && (rest.is_empty() || rest.starts_with('/')));
        let most = path.find('/').unwrap_or(path.len());
        return (least..=most).any(|taken| walk(rest, &path[taken..], false));
    }
    let Some(first) = pattern.chars().next() else {
        return path.is_empty();
    };
    path.strip_prefix(first).is_some_and(|path| walk(&pattern[1..], path, first == '/'))
}

fn grants(pattern: &str, path: &str) -> bool {
    matches(pattern, path) && (pattern.contains(';') || matches(pattern, &plain(path)))
}

fn refuses(pattern: &str, path: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let spellings = [path.to_ascii_lowercase(), plain(&path.to_ascii_lowercase())];
    spellings.iter().any(|path| {
        let other = path.strip_suffix('/').map_or(format!("{path}/"), str::to_owned);
        matches(&pattern, path) || matches(&pattern, &other)
    })
}

fn plain(path: &str) -> String {
    let names = path.split('/').map(|segment| segment.split(';').next().unwrap());
    names.collect::<Vec<_>>().join("/")
}

/// As a server does it, once.
fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn names(rule: &HttpHost, host: &HttpName) -> bool {
    match rule {
        HttpHost::Any => true,
        HttpHost::Subdomains(domain) => {
            matches!(host, HttpName::Name(name) if name.ends_with(&format!(".{domain}")))
        }
        one => one.to_string() == host.to_string(),
    }
}

fn path_of(rule: &HttpRule) -> Option<String> {
    let text = rule.to_string();
    text.find('/').map(|at| text[at..].to_owned())
}

fn request(method: &str, host: &str, port: u16, target: &str) -> HttpRequest {
    let target = RequestTarget::parse(target.as_bytes()).unwrap_or_else(|why| panic!("{target}: {why}"));
    HttpRequest { scheme: Scheme::Http, method: method.into(), host: host.parse().unwrap(), port, target }
}

/// Words of a shell, as far as hints have them.
fn shell_words(line: &str) -> Vec<String> {
    let (flag, word) = line.split_once(' ').unwrap();
    let word = match word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(quoted) => quoted.replace(r"'\''", "'"),
        None => panic!("{line}"),
    };
    vec![flag.to_owned(), word]
}

fn rules() -> impl Strategy<Value = HttpRule> {
    let ports = prop_oneof![Just(""), Just(":80"), Just(":443,8080")];
    let method = prop_oneof![Just("*"), Just("GET"), Just("POST"), Just("CONNECT"), Just("x-y")];
    let host = prop_oneof![
        Just("*"),
        Just("a.test"),
        Just("*.test"),
        Just("*.a.test"),
        Just("10.0.0.1"),
        Just("[::1]"),
    ];
    let path = prop_oneof![Just(String::new()), patterns()];
    (method, host, ports, path).prop_map(|(method, host, ports, path)| {
        let spec = format!("{method} {host}{ports}{path}");
        spec.parse().unwrap_or_else(|error| panic!("{error}"))
    })
}

fn patterns() -> impl Strategy<Value = String> {
    let segment = "[abA*]{1,3}(;[a*]{0,2})?|\\*|\\*\\*";
    (prop::collection::vec(segment, 0..4), prop_oneof![Just(""), Just("/"), Just("/*")]).prop_map(
        |(segments, end)| {
            let text: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            if text.is_empty() && end.is_empty() { "/".to_owned() } else { text + end }
        },
    )
}

fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec("[abAB]{1,3}(;[ab]{0,2})?", 0..5)
        .prop_flat_map(|segments| prop_oneof![Just(segments.join("/")), Just(segments.join("/") + "/")])
        .prop_map(|path| format!("/{path}"))
}

/// Bytes that often are a target, or nearly.
fn raw_targets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just("/".to_owned()),
        4 => "[ab.;]{1,2}",
        2 => "%[2345][0-9a-fA-F]",
        1 => Just("%C3%a9".to_owned()),
        1 => "[ -~]",
        1 => "%[0-9a-f]{2}",
    ];
    prop_oneof![
        9 => prop::collection::vec(piece, 0..9).prop_map(|pieces| format!("/{}", pieces.concat()).into_bytes()),
        1 => any::<Vec<u8>>(),
    ]
}

fn requests() -> impl Strategy<Value = HttpRequest> {
    let method =
        prop_oneof![Just("GET"), Just("get"), Just("POST"), Just("CONNECT"), Just("x-y"), Just("HEAD")];
    let port = prop_oneof![Just(80), Just(443), Just(8080), Just(9)];
    let scheme = prop_oneof![Just(Scheme::Http), Just(Scheme::Https)];
    (scheme, method, hosts_of_requests(), port, paths()).prop_map(|(scheme, method, host, port, path)| {
        HttpRequest { scheme, host, ..request(method, "a.test", port, &path) }
    })
}

fn hosts_of_requests() -> impl Strategy<Value = HttpName> {
    let known = prop_oneof![
        Just("a.test"),
        Just("b.test"),
        Just("x.a.test"),
        Just("test"),
        Just("10.0.0.1"),
        Just("[::1]"),
    ];
    prop_oneof![known.prop_map(|text| text.parse().unwrap()), any::<IpAddr>().prop_map(HttpName::from)]
}
