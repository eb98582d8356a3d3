//! What holds for every rule, every destination and every text.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test may fail loudly")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use proptest::prelude::*;
use sandlock_policy::{
    Denied, Destination, Host, NetRule, NetworkPolicy, NetworkRules, Ports, Protocol, Resolved,
    escape_terminal, names_to_resolve,
};

proptest! {
    #[test]
    fn the_text_of_a_rule_parses_to_the_rule(rule in rules()) {
        prop_assert_eq!(rule.to_string().parse(), Ok(rule));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".*") {
        let _ = text.parse::<NetRule>();
    }

    #[test]
    fn no_text_of_the_grammar_s_characters_makes_the_parser_panic(text in "(tcp://|udp://|icmp://)?[\\[\\]a0-9x.:/*,%é -]{0,24}") {
        if let Ok(rule) = text.parse::<NetRule>() {
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }

    #[test]
    fn the_check_agrees_with_a_walk_over_the_rules(
        allow in prop::collection::vec(rules(), 0..6),
        deny in prop::collection::vec(rules(), 0..3),
        destination in destinations(),
    ) {
        let rules = NetworkRules { allow, deny };
        let resolved = resolve(rules.iter());
        let policy = NetworkPolicy::build(rules.clone(), resolved.clone());
        let some = |rules: &[NetRule]| rules.iter().any(|rule| grants(rule, &resolved, &destination));
        let (allowed, denied) = (some(&rules.allow), some(&rules.deny));
        prop_assert_eq!(policy.check(destination).is_ok(), allowed && !denied);
        let list = policy.allowed(destination.protocol());
        prop_assert_eq!(list.contains(destination.address(), destination.port()), allowed);
        if allowed && destination.protocol() == Protocol::Tcp {
            prop_assert!(policy.kernel_tcp_ports().contains(destination.port()));
        }
    }

    #[test]
    fn a_rule_of_one_protocol_grants_no_other(rule in rules(), destination in destinations()) {
        let policy = build(rule.clone(), resolve([&rule]));
        prop_assert!(policy.uses(rule.protocol()));
        if rule.protocol() != destination.protocol() {
            prop_assert!(policy.check(destination).is_err());
            prop_assert!(!policy.uses(destination.protocol()));
        }
    }

    #[test]
    fn making_a_destination_canonical_twice_changes_nothing(destination in destinations()) {
        let again = Destination::new(destination.protocol(), destination.address(), destination.port());
        prop_assert_eq!(again, destination);
    }

    #[test]
    fn the_hint_of_a_refused_destination_allows_it(destination in destinations(), known: bool) {
        let mut names = Resolved::new();
        if known {
            names.insert("api.test", [destination.address()]);
        }
        if let Some(hint) = Denied::Destination(destination).hint(&names) {
            let policy = build(hint.strip_prefix("--net-allow ").unwrap().parse().unwrap(), names);
            prop_assert!(policy.check(destination).is_ok(), "{hint}");
        } else {
            prop_assert_eq!(destination.port(), 0);
        }
    }

    #[test]
    fn what_was_refused_survives_serialisation(denied in denials()) {
        let json = serde_json::to_string(&denied).unwrap();
        prop_assert_eq!(serde_json::from_str::<Denied>(&json).unwrap(), denied);
    }

    #[test]
    fn no_control_character_is_shown(denied in denials()) {
        prop_assert!(!denied.to_string().chars().any(char::is_control));
        let hint = denied.hint(&Resolved::new()).unwrap_or_default();
        prop_assert!(!hint.chars().any(char::is_control));
    }

    #[test]
    fn escaping_twice_changes_nothing(text: String) {
        let shown = escape_terminal(&text);
        prop_assert_eq!(escape_terminal(&shown), shown);
    }
}

/// The oracle: what the documentation says of one rule, with no tables.
fn grants(rule: &NetRule, resolved: &Resolved, to: &Destination) -> bool {
    let host = match rule.host() {
        Host::Any => true,
        Host::Name(name) => resolved.addresses(name).contains(&to.address()),
        Host::Range(range) if range.to_string() == "0.0.0.0/32" => to.address() == Ipv4Addr::LOCALHOST,
        Host::Range(range) if range.to_string() == "::/128" => to.address() == Ipv6Addr::LOCALHOST,
        Host::Range(range) => range.contains(&to.address()),
        Host::Subdomains(domain) => {
            let below = |name: &str| name.ends_with(&format!(".{domain}"));
            resolved.names().any(|name| below(name) && resolved.addresses(name).contains(&to.address()))
        }
    };
    let port = match rule.ports() {
        _ if rule.protocol() == Protocol::Icmp => true,
        Ports::Any => true,
        Ports::List(ports) => ports.contains(&to.port()),
    };
    rule.protocol() == to.protocol() && host && port
}

fn build(rule: NetRule, names: Resolved) -> NetworkPolicy {
    NetworkPolicy::build(NetworkRules { allow: vec![rule], deny: Vec::new() }, names)
}

fn resolve<'a>(rules: impl IntoIterator<Item = &'a NetRule>) -> Resolved {
    let mut resolved = Resolved::new();
    for (index, (name, _)) in names_to_resolve(rules).into_iter().enumerate() {
        let last = u8::try_from(index % 4).unwrap();
        resolved.insert(name, [Ipv4Addr::new(10, 0, 0, last).into(), Ipv6Addr::LOCALHOST.into()]);
    }
    resolved
}

fn rules() -> impl Strategy<Value = NetRule> {
    let ports = prop_oneof![
        Just("*".to_owned()),
        prop::collection::vec(few_ports().prop_filter("0 is no port", |port| *port != 0), 1..4)
            .prop_map(|ports| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")),
    ];
    let scheme = prop_oneof![Just(""), Just("tcp://"), Just("udp://"), Just("icmp://")];
    (scheme, hosts(), ports).prop_map(|(scheme, host, ports)| {
        let spec =
            if scheme == "icmp://" { format!("{scheme}{host}") } else { format!("{scheme}{host}:{ports}") };
        spec.parse().unwrap_or_else(|error| panic!("{error}"))
    })
}

fn hosts() -> impl Strategy<Value = String> {
    let name = "[A-Za-z_][A-Za-z0-9_]{0,8}(\\.[a-z][a-z0-9]{0,5}){0,2}\\.?";
    prop_oneof![
        Just("*".to_owned()),
        name,
        name.prop_map(|domain| format!("*.{domain}")),
        addresses().prop_map(written),
        (addresses(), 0..=128_u8).prop_map(|(address, prefix)| match address {
            IpAddr::V4(v4) => format!("{v4}/{}", prefix % 33),
            IpAddr::V6(v6) => format!("[{v6}/{prefix}]"),
        }),
    ]
}

fn written(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// Addresses that often meet: a few neighbours, their mapped forms, and any.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let near = (0..4_u8).prop_map(|last| Ipv4Addr::new(10, 0, 0, last));
    prop_oneof![
        near.clone().prop_map(IpAddr::V4),
        near.prop_map(|v4| IpAddr::V6(v4.to_ipv6_mapped())),
        Just(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        Just(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Just(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        Just(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        any::<IpAddr>(),
    ]
}

fn few_ports() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(22), Just(80), Just(443), any::<u16>()]
}

fn destinations() -> impl Strategy<Value = Destination> {
    (protocols(), addresses(), few_ports())
        .prop_map(|(protocol, address, port)| Destination::new(protocol, address, port))
}

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Icmp)]
}

fn denials() -> impl Strategy<Value = Denied> {
    prop_oneof![
        destinations().prop_map(Denied::Destination),
        any::<PathBuf>().prop_map(Denied::UnixPath),
        any::<PathBuf>().prop_map(Denied::UnixName),
        any::<Vec<u8>>().prop_map(Denied::UnixAbstract),
        (protocols(), any::<Option<u16>>(), any::<bool>())
            .prop_map(|(protocol, port, forbidden)| Denied::Listen { protocol, port, forbidden }),
        (protocols(), any::<u16>(), any::<bool>()).prop_map(|(protocol, port, forbidden)| Denied::Bind {
            protocol,
            port,
            forbidden
        }),
    ]
}
