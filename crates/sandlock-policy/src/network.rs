//! The rules and the addresses of their names, combined into what a check consults.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::{
    Allowed, Approval, Denied, Destination, Destinations, KernelPorts, NameState, NetRule, Protocol, Resolved,
};
use crate::{Host, NetworkRules, Ports, Tree};

/// What the network rules of a run grant. The default grants nothing.
///
/// A value never changes: when a name comes to stand for other addresses, a [new one](NetworkPolicy::with) is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    allowed: ByProtocol,
    denied: ByProtocol,
    rules: Arc<NetworkRules>,
    names: Resolved,
    resolver: Option<u16>,
    proxy: Option<Arc<Proxy>>,
    /// The rules of each tree, and, made of them and the run's, what holds in each; at the end, what holds where the tree
    /// cannot be told.
    trees: Arc<[NetworkRules]>,
    of_trees: Vec<NetworkPolicy>,
    /// What is granted to the run or to any tree, and refused to the run.
    all: Arc<NetworkRules>,
}

/// Where a connection goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// Where the caller wants it to.
    Direct(Allowed<Destination>),
    /// To the run's own resolver, which is this destination; whoever listens there is to be told of the connection.
    Resolver(Allowed<Destination>),
    /// To the run's HTTP proxy; it is to be told of the connection, and of `original`.
    Proxy {
        /// The proxy. Its address has the family of the original one, so a socket that could connect there can connect
        /// here: by an IPv4-mapped address if it would have there. Only on a machine without IPv6 loopback it is IPv4
        /// always.
        to: Allowed<Destination>,
        /// Where the caller wants the connection to.
        original: Allowed<Destination>,
    },
}

impl NetworkPolicy {
    /// Combines `rules` with what their names resolved to. A name without addresses grants nothing.
    #[must_use]
    pub fn build(rules: impl Into<Arc<NetworkRules>>, names: Resolved) -> NetworkPolicy {
        let rules = rules.into();
        let mut policy = NetworkPolicy { names, ..NetworkPolicy::default() };
        rules.allow.iter().for_each(|rule| policy.allowed.add(rule, &policy.names));
        rules.deny.iter().for_each(|rule| policy.denied.add(rule, &policy.names));
        NetworkPolicy { all: Arc::clone(&rules), rules, ..policy }
    }

    /// The same rules, with something new known of one name.
    #[must_use]
    pub fn with(&self, state: NameState) -> NetworkPolicy {
        let mut names = self.names.clone();
        names.set(state);
        self.rebuilt(Arc::clone(&self.rules), names)
    }

    /// Other rules, with what is known of names.
    #[must_use]
    pub fn with_rules(&self, rules: impl Into<Arc<NetworkRules>>) -> NetworkPolicy {
        self.rebuilt(rules.into(), self.names.clone())
    }

    /// The same rules, with this known of names.
    #[must_use]
    pub fn with_names(&self, names: Resolved) -> NetworkPolicy {
        self.rebuilt(Arc::clone(&self.rules), names)
    }

    /// With rules for trees of processes, each besides those of the run.
    #[must_use]
    pub fn with_trees(self, trees: impl Into<Arc<[NetworkRules]>>) -> NetworkPolicy {
        NetworkPolicy { trees: trees.into(), ..self }.grown()
    }

    /// What holds for a process.
    #[must_use]
    pub fn of(&self, tree: Tree) -> &NetworkPolicy {
        let place = match tree {
            Tree::Run => return self,
            Tree::Of(place) => self.of_trees.get(place),
            Tree::Unknown => None,
        };
        place.or(self.of_trees.last()).unwrap_or(self)
    }

    fn rebuilt(&self, rules: Arc<NetworkRules>, names: Resolved) -> NetworkPolicy {
        let (resolver, proxy) = (self.resolver, self.proxy.clone());
        let trees = Arc::clone(&self.trees);
        NetworkPolicy { resolver, proxy, trees, ..NetworkPolicy::build(rules, names) }.grown()
    }

    /// Makes what holds in trees anew.
    fn grown(mut self) -> NetworkPolicy {
        if self.trees.is_empty() {
            return self;
        }
        let (mut all, mut unknown) = (NetworkRules::clone(&self.rules), NetworkRules::clone(&self.rules));
        let mut rules = Vec::new();
        for tree in &*self.trees {
            all.allow.extend_from_slice(&tree.allow);
            unknown.deny.extend_from_slice(&tree.deny);
            let mut here = NetworkRules::clone(&self.rules);
            here.allow.extend_from_slice(&tree.allow);
            here.deny.extend_from_slice(&tree.deny);
            rules.push(here);
        }
        rules.push(unknown);
        let (resolver, proxy) = (self.resolver, &self.proxy);
        let policy = |rules| NetworkPolicy {
            resolver,
            proxy: proxy.clone(),
            ..NetworkPolicy::build(rules, self.names.clone())
        };
        self.of_trees = rules.into_iter().map(policy).collect();
        self.all = Arc::new(all);
        self
    }

    /// Connections to [`RESOLVER`] go to this TCP port of 127.0.0.1.
    #[must_use]
    pub fn with_resolver(self, port: u16) -> NetworkPolicy {
        NetworkPolicy { resolver: Some(port), ..self }.grown()
    }

    /// Connections to these TCP ports go to the proxy: to the port `v4` of 127.0.0.1, or `v6` of `[::1]`. UDP to the same
    /// ports, which is QUIC, is refused whatever grants it.
    #[must_use]
    pub fn with_proxy(self, ports: BTreeSet<u16>, v4: u16, v6: Option<u16>) -> NetworkPolicy {
        NetworkPolicy { proxy: Some(Arc::new(Proxy { ports, v4, v6 })), ..self }.grown()
    }

    /// Whether traffic to `destination` is allowed.
    ///
    /// # Errors
    /// [`Denied::Destination`] when no rule grants it, [`Denied::Forbidden`] when one forbids it, [`Denied::Quic`] for
    /// UDP to a port whose connections go to the proxy.
    pub fn check(&self, destination: Destination) -> Result<Allowed<Destination>, Denied> {
        let is_in = |lists: &ByProtocol| {
            lists.of(destination.protocol()).contains(destination.address(), destination.port())
        };
        match (is_in(&self.allowed), is_in(&self.denied)) {
            (true, false)
                if destination.protocol() == Protocol::Udp && self.is_intercepted(destination.port()) =>
            {
                Err(Denied::Quic(destination))
            }
            (true, false) => Ok(Allowed::new(destination)),
            (true, true) => Err(Denied::Forbidden(destination)),
            (false, _) => Err(Denied::Destination(destination)),
        }
    }

    /// Where a connection that is wanted to `destination` goes.
    ///
    /// # Errors
    /// As [`NetworkPolicy::check`].
    pub fn route(&self, destination: Destination) -> Result<Route, Denied> {
        match self.resolver {
            Some(port) if destination == Destination::new(Protocol::Tcp, RESOLVER.into(), RESOLVER_PORT) => {
                let real = Destination::new(Protocol::Tcp, Ipv4Addr::LOCALHOST.into(), port);
                Ok(Route::Resolver(Allowed::new(real)))
            }
            _ => Ok(self.by_proxy(self.check(destination)?)),
        }
    }

    /// Where a connection or a datagram goes that somebody approved who was asked, whether or not a rule grants it.
    ///
    /// # Errors
    /// [`Denied::Forbidden`] when a rule forbids it, [`Denied::Quic`] for UDP to a port whose connections go to the
    /// proxy: nobody's word opens those.
    pub fn approved(&self, destination: Destination, _: Approval) -> Result<Route, Denied> {
        match self.check(destination) {
            Ok(allowed) => Ok(self.by_proxy(allowed)),
            Err(Denied::Destination(_)) if self.forbids(destination) => Err(Denied::Forbidden(destination)),
            Err(Denied::Destination(_))
                if destination.protocol() == Protocol::Udp && self.is_intercepted(destination.port()) =>
            {
                Err(Denied::Quic(destination))
            }
            Err(Denied::Destination(_)) => Ok(self.by_proxy(Allowed::new(destination))),
            Err(denied) => Err(denied),
        }
    }

    /// Whether a rule takes `destination` away, whatever grants it.
    #[must_use]
    pub fn forbids(&self, destination: Destination) -> bool {
        self.denied.of(destination.protocol()).contains(destination.address(), destination.port())
    }

    fn by_proxy(&self, original: Allowed<Destination>) -> Route {
        let wanted = original.get();
        match &self.proxy {
            Some(proxy) if wanted.protocol() == Protocol::Tcp && proxy.ports.contains(&wanted.port()) => {
                Route::Proxy { to: Allowed::new(proxy.beside(*wanted)), original }
            }
            _ => Route::Direct(original),
        }
    }

    fn is_intercepted(&self, port: u16) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.ports.contains(&port))
    }

    /// The port of 127.0.0.1 where the run's own resolver listens.
    #[must_use]
    pub fn resolver(&self) -> Option<u16> {
        self.resolver
    }

    /// What the rules of one protocol allow, before any is denied.
    #[must_use]
    pub fn allowed(&self, protocol: Protocol) -> &Destinations {
        self.allowed.of(protocol)
    }

    /// The ports of all TCP rules together, without their addresses: what a kernel that knows only ports can
    /// be told. [`KernelPorts::Any`] when some TCP rule grants any port.
    #[must_use]
    pub fn kernel_tcp_ports(&self) -> KernelPorts {
        let mut ports = KernelPorts::default();
        let tcp = self.all.allow.iter().filter(|rule| rule.protocol() == Protocol::Tcp);
        tcp.for_each(|rule| ports.extend(rule.ports()));
        ports
    }

    /// Whether some rule allows something of this protocol.
    #[must_use]
    pub fn uses(&self, protocol: Protocol) -> bool {
        self.all.allow.iter().any(|rule| rule.protocol() == protocol)
    }

    /// Whether the protocol is used and not everything is allowed: its destinations have to be looked at.
    #[must_use]
    pub fn restricts(&self, protocol: Protocol) -> bool {
        let denies = self.rules.deny.iter().any(|rule| rule.protocol() == protocol);
        let intercepts = protocol != Protocol::Icmp && self.proxy.is_some();
        let differs = !self.trees.is_empty();
        self.uses(protocol) && (differs || denies || intercepts || !self.allowed(protocol).is_everything())
    }

    /// The names and addresses that it was built from.
    #[must_use]
    pub fn names(&self) -> &Resolved {
        &self.names
    }

    /// What is granted to the run or to any tree, and refused to the run.
    #[must_use]
    pub fn all_rules(&self) -> &NetworkRules {
        &self.all
    }

    /// The rules of the run that it was built from.
    #[must_use]
    pub fn rules(&self) -> &NetworkRules {
        &self.rules
    }
}

/// The run's HTTP proxy.
#[derive(Debug, PartialEq, Eq)]
struct Proxy {
    /// Connections to these go to it.
    ports: BTreeSet<u16>,
    /// Its port on 127.0.0.1.
    v4: u16,
    /// Its port on [::1].
    v6: Option<u16>,
}

impl Proxy {
    /// Its own address in the family of `original`.
    fn beside(&self, original: Destination) -> Destination {
        let (address, port) = match self.v6 {
            Some(port) if original.address().is_ipv6() => (Ipv6Addr::LOCALHOST.into(), port),
            _ => (Ipv4Addr::LOCALHOST.into(), self.v4),
        };
        Destination::new(Protocol::Tcp, address, port)
    }
}

/// The address at which programs find the run's own resolver: in the synthetic `resolv.conf`. Nobody listens there:
/// connections to it are led to the resolver. Of loopback, and of no use to anybody else.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 53, 53, 53);
/// Its port, that of DNS.
pub const RESOLVER_PORT: u16 = 53;

/// Destinations, protocol by protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ByProtocol {
    tcp: Destinations,
    udp: Destinations,
    icmp: Destinations,
}

impl ByProtocol {
    fn of(&self, protocol: Protocol) -> &Destinations {
        match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
            Protocol::Icmp => &self.icmp,
        }
    }

    fn add(&mut self, rule: &NetRule, names: &Resolved) {
        let (list, ports) = match rule.protocol() {
            Protocol::Tcp => (&mut self.tcp, rule.ports()),
            Protocol::Udp => (&mut self.udp, rule.ports()),
            Protocol::Icmp => (&mut self.icmp, &Ports::Any),
        };
        match rule.host() {
            Host::Any => list.add_any(ports),
            Host::Range(range) => list.add_range(*range, ports),
            named => {
                let states = names.states().filter(|state| named.matches_name(&state.name));
                states.flat_map(NameState::addresses).for_each(|address| list.add_address(address, ports));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(specs: &[&str]) -> Vec<NetRule> {
        specs.iter().map(|spec| spec.parse().unwrap()).collect()
    }

    fn build(allow: &[&str], deny: &[&str]) -> NetworkPolicy {
        NetworkPolicy::build(NetworkRules { allow: parse(allow), deny: parse(deny) }, Resolved::new())
    }

    fn to(address: &str, port: u16) -> Destination {
        Destination::new(Protocol::Tcp, address.parse().unwrap(), port)
    }

    fn state(name: &str, current: &[&str], retiring: &[&str]) -> NameState {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        NameState { name: name.into(), current: parse(current), retiring: parse(retiring) }
    }

    #[test]
    fn the_kernel_is_told_the_ports_of_tcp_rules_alone() {
        let ports = |specs: &[&str]| build(specs, &[]).kernel_tcp_ports();
        assert_eq!(ports(&[]), KernelPorts::Only([].into()));
        assert_eq!(ports(&["1.1.1.1:80", ":22", "udp://*:53"]), KernelPorts::Only([22, 80].into()));
        assert_eq!(ports(&["udp://*:*", "icmp://*"]), KernelPorts::Only([].into()));
        assert_eq!(ports(&["1.1.1.1:80", "10.0.0.0/8:*"]), KernelPorts::Any);
        assert_eq!(ports(&["a.test:80", "*.test:443"]), KernelPorts::Only([80, 443].into()));
    }

    #[test]
    fn a_protocol_restricts_when_it_is_used_for_less_than_everything() {
        let policy = build(&["1.1.1.1:80", "udp://*:*", "icmp://*"], &["icmp://10.0.0.1", "udp://[::1]:5"]);
        let of = |protocol| (policy.uses(protocol), policy.restricts(protocol));
        assert_eq!(of(Protocol::Tcp), (true, true));
        assert_eq!(of(Protocol::Udp), (true, true));
        assert_eq!(of(Protocol::Icmp), (true, true));
        let policy = build(&["udp://*:*"], &[":25"]);
        assert!(!policy.restricts(Protocol::Udp) && !policy.uses(Protocol::Tcp));
        assert!(build(&["udp://*:*"], &["udp://evil.test:1"]).restricts(Protocol::Udp));
        assert!(build(&["udp://later.test:1"], &[]).uses(Protocol::Udp));
    }

    #[test]
    fn a_rule_for_the_unspecified_address_is_a_rule_for_loopback() {
        let policy = build(&["0.0.0.0:80", "[::]:81"], &[]);
        assert_eq!(policy.allowed(Protocol::Tcp).to_string(), "127.0.0.1:80 [::1]:81");
        assert!(policy.check(to("0.0.0.0", 80)).is_ok());
        assert!(policy.check(to("::ffff:127.0.0.1", 80)).is_ok());
        assert_eq!(policy.check(to("::1", 80)), Err(Denied::Destination(to("::", 80))));
    }

    #[test]
    fn what_is_denied_stays_denied_whatever_allows_it() {
        let policy = build(&[":*", "10.0.0.1:80"], &["10.0.0.0/8:80,443", "[::1]:*", ":25"]);
        for (address, port) in [("10.0.0.1", 80), ("10.9.9.9", 443), ("::", 7), ("1.1.1.1", 25)] {
            assert_eq!(policy.check(to(address, port)), Err(Denied::Forbidden(to(address, port))));
        }
        assert!(policy.check(to("10.0.0.1", 81)).is_ok() && policy.check(to("1.1.1.1", 80)).is_ok());
    }

    #[test]
    fn names_are_followed_under_allow_and_deny() {
        let policy = build(&["api.test:80", "*.wild.test:443"], &["*.bad.wild.test:443", "evil.test:*"]);
        assert_eq!(policy.check(to("10.0.0.1", 80)), Err(Denied::Destination(to("10.0.0.1", 80))));
        let policy = policy
            .with(state("api.test", &["10.0.0.1"], &["10.0.0.9"]))
            .with(state("x.wild.test", &["10.0.0.2"], &[]))
            .with(state("x.bad.wild.test", &["10.0.0.3"], &[]))
            .with(state("wild.test", &["10.0.0.4"], &[]));
        for (address, port) in [("10.0.0.1", 80), ("10.0.0.9", 80), ("10.0.0.2", 443)] {
            assert!(policy.check(to(address, port)).is_ok(), "{address}");
        }
        assert_eq!(policy.check(to("10.0.0.3", 443)), Err(Denied::Forbidden(to("10.0.0.3", 443))));
        for (address, port) in [("10.0.0.1", 443), ("10.0.0.4", 443), ("10.0.0.2", 80)] {
            assert_eq!(policy.check(to(address, port)), Err(Denied::Destination(to(address, port))));
        }
        let moved = policy.with(state("evil.test", &["10.0.0.1"], &[]));
        assert_eq!(moved.check(to("10.0.0.1", 80)), Err(Denied::Forbidden(to("10.0.0.1", 80))));
        let gone = policy.with(state("api.test", &[], &[]));
        assert!(gone.check(to("10.0.0.1", 80)).is_err());
    }

    #[test]
    fn each_tree_has_its_rules_besides_those_of_the_run() {
        let rules = |allow: &[&str], deny: &[&str]| NetworkRules { allow: parse(allow), deny: parse(deny) };
        let trees = [rules(&["10.0.0.2:80", "a.test:80"], &[]), rules(&["10.0.0.3:81"], &["10.0.0.1:80"])];
        let policy = build(&["10.0.0.1:80"], &[]).with_trees(trees);
        let changed = policy.with_rules(rules(&["10.0.0.1:80"], &["10.0.0.2:80"])).with(state(
            "a.test",
            &["10.0.0.4"],
            &[],
        ));
        let reached = |policy: &NetworkPolicy, tree| {
            let ends = [("10.0.0.1", 80), ("10.0.0.2", 80), ("10.0.0.3", 81), ("10.0.0.4", 80)];
            ends.map(|(address, port)| policy.of(tree).check(to(address, port)).is_ok())
        };
        assert_eq!(reached(&policy, Tree::Run), [true, false, false, false]);
        assert_eq!(reached(&policy, Tree::Of(0)), [true, true, false, false]);
        assert_eq!(reached(&policy, Tree::Of(1)), [false, false, true, false]);
        for unknown in [Tree::Unknown, Tree::Of(7)] {
            assert_eq!(reached(&policy, unknown), [false; 4]);
        }
        assert_eq!(reached(&changed, Tree::Of(0)), [true, false, false, true]);
        assert_eq!(reached(&changed, Tree::Run), [true, false, false, false]);
        assert_eq!(policy.kernel_tcp_ports(), KernelPorts::Only([80, 81].into()));
        assert!(policy.restricts(Protocol::Tcp) && policy.all_rules().have_names());
        assert!(!policy.rules().have_names());
    }

    #[test]
    fn an_approval_opens_what_no_rule_grants_and_nothing_that_one_forbids() {
        let yes = crate::Verdict::AllowOnce.approval().unwrap();
        let policy = proxied(&["1.1.1.1:80"], None);
        match policy.approved(to("10.0.0.1", 22), yes) {
            Ok(Route::Direct(allowed)) => assert_eq!(*allowed.get(), to("10.0.0.1", 22)),
            other => panic!("{other:?}"),
        }
        assert!(matches!(policy.approved(to("10.0.0.1", 80), yes), Ok(Route::Proxy { .. })));
        assert_eq!(policy.approved(to("10.9.9.9", 22), yes), Err(Denied::Forbidden(to("10.9.9.9", 22))));
        let quic = Destination::new(Protocol::Udp, [10, 0, 0, 1].into(), 443);
        assert_eq!(policy.approved(quic, yes), Err(Denied::Quic(quic)));
        let stricter = policy.with_rules(NetworkRules { allow: Vec::new(), deny: parse(&["10.0.0.1:22"]) });
        assert!(stricter.approved(to("10.0.0.1", 22), yes).is_err());
        assert!(matches!(stricter.approved(to("10.0.0.1", 80), yes), Ok(Route::Proxy { .. })));
    }

    #[test]
    fn the_resolver_is_led_to_and_cannot_be_reached_by_itself() {
        let policy = build(&["1.1.1.1:80"], &[]).with_resolver(4053).with(state("a", &["10.0.0.1"], &[]));
        match policy.route(to("127.53.53.53", 53)) {
            Ok(Route::Resolver(real)) => assert_eq!(*real.get(), to("127.0.0.1", 4053)),
            other => panic!("{other:?}"),
        }
        for (address, port) in [("127.53.53.53", 54), ("127.0.0.1", 4053), ("127.0.0.1", 53)] {
            assert!(policy.route(to(address, port)).is_err());
        }
        let udp = Destination::new(Protocol::Udp, RESOLVER.into(), 53);
        assert!(policy.route(udp).is_err());
        assert!(build(&[], &[]).route(to("127.53.53.53", 53)).is_err());
    }
    fn proxied(allow: &[&str], v6: Option<u16>) -> NetworkPolicy {
        build(allow, &["10.9.9.9:*"]).with_proxy([80, 443].into(), 4000, v6)
    }

    #[test]
    fn allowed_connections_to_intercepted_ports_are_led_to_the_proxy_of_their_family() {
        let policy = proxied(&[":*"], Some(6000)).with(state("a.test", &["10.0.0.1"], &[]));
        for (address, port, proxy) in [
            ("10.0.0.1", 80, to("127.0.0.1", 4000)),
            ("::ffff:10.0.0.1", 443, to("127.0.0.1", 4000)),
            ("0.0.0.0", 80, to("127.0.0.1", 4000)),
            ("::1", 443, to("::1", 6000)),
            ("2001:db8::1", 80, to("::1", 6000)),
        ] {
            match policy.route(to(address, port)) {
                Ok(Route::Proxy { to: led, original }) => {
                    assert_eq!((*led.get(), *original.get()), (proxy, to(address, port)));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(policy.route(to("10.0.0.1", 81)), Ok(Route::Direct(_))));
        assert_eq!(policy.route(to("10.9.9.9", 80)), Err(Denied::Forbidden(to("10.9.9.9", 80))));
        match proxied(&[":*"], None).route(to("::1", 80)) {
            Ok(Route::Proxy { to: led, .. }) => assert_eq!(*led.get(), to("127.0.0.1", 4000)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_proxy_opens_nothing_by_itself() {
        let policy = proxied(&["10.0.0.1:80"], Some(6000)).with_resolver(4053);
        for (address, port) in [("10.0.0.1", 443), ("10.0.0.2", 80), ("127.0.0.1", 4000), ("::1", 6000)] {
            assert_eq!(policy.route(to(address, port)), Err(Denied::Destination(to(address, port))));
        }
        assert!(matches!(policy.route(to("127.53.53.53", 53)), Ok(Route::Resolver(_))));
    }

    #[test]
    fn quic_to_intercepted_ports_is_refused_whatever_grants_it() {
        let udp = |port| Destination::new(Protocol::Udp, [10, 0, 0, 1].into(), port);
        let allow = ["udp://*:*", "udp://10.0.0.1:443"];
        assert!(!build(&allow, &[]).restricts(Protocol::Udp));
        assert!(build(&allow, &[]).check(udp(443)).is_ok());
        let policy = proxied(&allow, None).with(state("a.test", &["10.0.0.1"], &[]));
        assert!(policy.restricts(Protocol::Udp) && !policy.restricts(Protocol::Icmp));
        assert_eq!(policy.check(udp(443)), Err(Denied::Quic(udp(443))));
        assert!(policy.check(udp(444)).is_ok());
        assert!(!proxied(&["10.0.0.1:80"], None).restricts(Protocol::Udp), "no UDP socket can be made");
    }
}
