//! The shared vectors of the rule grammar, as assertions. A vector without one fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test may fail loudly")]

use std::net::IpAddr;

use sandlock_policy::{
    Destination, Destinations, Host, NetRule, NetworkPolicy, NetworkRules, Ports, Protocol, Resolved,
    RuleError, hosts_file, names_to_resolve,
};
use serde::Deserialize;

const LOCALHOST: [&str; 2] = ["127.0.0.1", "::1"];
const ELSEWHERE: [&str; 3] = ["127.0.0.2", "93.184.216.34", "2001:db8::1"];

#[derive(Deserialize)]
struct Vectors {
    rule: Vec<Accepted>,
    reject: Vec<Rejected>,
    resolve: Vec<Resolution>,
    hosts: Vec<Hosts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    spec: String,
    protocol: Protocol,
    host: String,
    ports: ExpectedPorts,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ExpectedPorts {
    Any(String),
    List(Vec<u16>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejected {
    spec: String,
    error: String,
}

#[derive(Deserialize)]
struct Resolution {
    specs: Vec<String>,
    tcp: String,
    udp: String,
    icmp: String,
    hosts: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hosts {
    rootfs: String,
    pinned: String,
    file: String,
}

#[test]
fn accepted_rules_mean_what_the_vectors_say() {
    for vector in vectors().rule {
        let rule: NetRule = vector.spec.parse().unwrap();
        assert_eq!(rule.protocol(), vector.protocol, "{}", vector.spec);
        assert_eq!(plain_host(rule.host()), vector.host, "{}", vector.spec);
        match (rule.ports(), &vector.ports) {
            (Ports::Any, ExpectedPorts::Any(word)) => assert_eq!(word, "any"),
            (Ports::List(found), ExpectedPorts::List(expected)) => assert_eq!(found, expected),
            (found, _) => panic!("{}: {found:?}", vector.spec),
        }
    }
}

#[test]
fn accepted_rules_survive_their_text_and_serialisation() {
    for vector in vectors().rule {
        let rule: NetRule = vector.spec.parse().unwrap();
        assert_eq!(rule.to_string().parse(), Ok(rule.clone()), "{}", vector.spec);
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(json, format!("\"{rule}\""));
        assert_eq!(serde_json::from_str::<NetRule>(&json).unwrap(), rule);
    }
}

#[test]
fn rejected_rules_say_why() {
    for vector in vectors().reject {
        let error: RuleError = vector.spec.parse::<NetRule>().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&vector.error), "{text} lacks {:?}", vector.error);
        assert!(text.starts_with(&format!("--net-allow {:?}: ", vector.spec)), "{text}");
        assert_eq!((error.flag(), error.spec()), ("--net-allow", vector.spec.as_str()));
        let error = NetRule::parse_flag("--other", &vector.spec).unwrap_err();
        assert!(error.to_string().starts_with("--other \""), "{error}");
    }
}

#[test]
fn resolved_rules_grant_what_the_vectors_say() {
    for vector in vectors().resolve {
        let rules: Vec<NetRule> = vector.specs.iter().map(|spec| spec.parse().unwrap()).collect();
        let resolved = resolve(&rules);
        let policy = NetworkPolicy::build(NetworkRules { allow: rules, deny: Vec::new() }, resolved);
        for (protocol, expected) in
            [(Protocol::Tcp, &vector.tcp), (Protocol::Udp, &vector.udp), (Protocol::Icmp, &vector.icmp)]
        {
            let grants =
                Grants { policy: &policy, protocol, context: format!("{:?} {protocol}", vector.specs) };
            grants.assert(expected);
        }
        let names: Vec<_> = policy.names().names().collect();
        let mentioned = vector.specs.iter().any(|spec| spec.contains("localhost"));
        assert_eq!(names, if mentioned { vec!["localhost"] } else { vec![] });
        let hosts = hosts_file(None, &policy);
        match vector.hosts.as_str() {
            "none" => assert_eq!(names.len(), 0),
            _ => assert!(LOCALHOST.iter().all(|address| hosts.contains(&format!("{address} localhost\n")))),
        }
    }
}

#[test]
fn hosts_files_are_what_the_vectors_say() {
    for Hosts { rootfs, pinned, file } in vectors().hosts {
        let image = match rootfs.as_str() {
            "no rootfs" => None,
            "a rootfs without the file, or an unreadable one" => Some(""),
            image => Some(image),
        };
        let mut names = Resolved::new();
        let mut allow = Vec::new();
        for line in pinned.lines() {
            let (address, name) = line.split_once(' ').unwrap();
            names.insert(name, [address.parse().unwrap()]);
            allow.push(format!("{name}:443").parse().unwrap());
        }
        let policy = NetworkPolicy::build(NetworkRules { allow, deny: Vec::new() }, names);
        assert_eq!(hosts_file(image, &policy), file, "{rootfs:?} {pinned:?}");
    }
}

/// One allowlist, looked at both directly and through the check.
struct Grants<'a> {
    policy: &'a NetworkPolicy,
    protocol: Protocol,
    context: String,
}

impl Grants<'_> {
    fn assert(&self, expected: &str) {
        let (summary, used) = match expected {
            "none" => {
                self.allows(&[], &[]);
                ("none", false)
            }
            "unrestricted" | "unrestricted (the name is still resolved and pinned)" => {
                self.allows(&[LOCALHOST.as_slice(), &ELSEWHERE].concat(), &[1, 22, 53, 80, 443, 65535]);
                ("everything", true)
            }
            "every address of localhost: ports 80 and 443" => {
                self.allows(&LOCALHOST, &[80, 443]);
                ("127.0.0.1:80,443 [::1]:80,443", true)
            }
            "port 8080 on any address" => {
                self.allows(&[LOCALHOST.as_slice(), &ELSEWHERE].concat(), &[8080]);
                ("*:8080", true)
            }
            "every address of localhost: any port" | "every address of localhost" => {
                self.allows(&LOCALHOST, &[1, 22, 53, 80, 443, 8080, 65535]);
                ("127.0.0.1:* [::1]:*", true)
            }
            "every address of localhost: port 443; never port 53" => {
                self.allows(&LOCALHOST, &[443]);
                ("127.0.0.1:443 [::1]:443", true)
            }
            "port 53 on any address; never port 443" => {
                self.allows(&[LOCALHOST.as_slice(), &ELSEWHERE].concat(), &[53]);
                ("*:53", true)
            }
            _ => panic!("{}: no assertion for {expected:?}", self.context),
        };
        assert_eq!(self.list().to_string(), summary, "{}", self.context);
        assert_eq!(self.list().is_empty(), !used, "{}", self.context);
        assert_eq!(self.list().is_everything(), summary == "everything", "{}", self.context);
        assert_eq!(self.policy.uses(self.protocol), used, "{}", self.context);
        assert_eq!(self.policy.restricts(self.protocol), used && summary != "everything", "{}", self.context);
    }

    /// Exactly `addresses` × `ports` is allowed; of ICMP, exactly `addresses`. A port next to an expected one is
    /// tried as well, unless all ports are granted.
    fn allows(&self, addresses: &[&str], ports: &[u16]) {
        let icmp = self.protocol == Protocol::Icmp;
        let any = ports.contains(&1);
        let tried: &[u16] = if icmp { &[0] } else { &[1, 22, 53, 80, 81, 443, 8080, 65535] };
        for address in LOCALHOST.iter().chain(&ELSEWHERE) {
            let ip: IpAddr = address.parse().unwrap();
            for port in tried {
                let expected = addresses.contains(address) && (icmp || any || ports.contains(port));
                assert_eq!(self.list().contains(ip, *port), expected, "{} {address} {port}", self.context);
                let checked = self.policy.check(Destination::new(self.protocol, ip, *port));
                assert_eq!(checked.is_ok(), expected, "{} {address} {port}", self.context);
            }
        }
    }

    fn list(&self) -> &Destinations {
        self.policy.allowed(self.protocol)
    }
}

fn vectors() -> Vectors {
    let vectors: Vectors = toml::from_str(include_str!("network-rules.toml")).unwrap();
    assert!(!vectors.rule.is_empty() && !vectors.reject.is_empty() && !vectors.resolve.is_empty());
    vectors
}

fn resolve(rules: &[NetRule]) -> Resolved {
    let mut resolved = Resolved::new();
    for (name, _) in names_to_resolve(rules) {
        assert_eq!(name, "localhost");
        resolved.insert(name, LOCALHOST.map(|address| address.parse().unwrap()));
    }
    resolved
}

/// The vectors write hosts without brackets.
fn plain_host(host: &Host) -> String {
    host.to_string().replace(['[', ']'], "")
}
