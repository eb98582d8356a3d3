//! All that a user grants to one run.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Base, BindRule, BindRules, FileRules, HttpRule, HttpRuleError, HttpRules, Limits, NetRule, NetworkRules,
    PortSpace, ProcessRules, RootRules, RuleError,
};

/// What a run may do. The default is no network, and the standard base to read.
///
/// ```
/// use sandlock_policy::Policy;
/// let policy = Policy::new().allow("localhost:80")?.read("/srv/data").write("/tmp/work");
/// assert_eq!(policy.network.allow[0].to_string(), "localhost:80");
/// # Ok::<(), sandlock_policy::RuleError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Outbound traffic that is granted and refused.
    pub network: NetworkRules,
    /// Ports of its own that are granted and refused.
    pub bind: BindRules,
    /// Whether those are of a port space of its own.
    pub ports: PortSpace,
    /// HTTP requests that are granted and refused.
    pub http: HttpRules,
    /// How the names in those rules are understood.
    pub names: NameRules,
    /// Files that are granted; no others are.
    pub files: FileRules,
    /// The file system that the command finds, and whom it takes itself for. Paths of other rules are those of the root.
    #[serde(skip_serializing_if = "RootRules::is_empty")]
    pub root: RootRules,
    /// What the run may use up.
    pub limits: Limits,
    /// Unix datagram sockets may be made. Each send that could name a destination must be seen then.
    pub unix_datagrams: bool,
    /// Network rules for what descends from certain programs, nearest first.
    #[serde(rename = "process", skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessRules>,
}

/// How names in rules are understood. The default follows them, and trusts no answer that leads to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NameRules {
    /// A name means for the whole run what it meant at its start.
    pub pinned: bool,
    /// A name that does not resolve does not stop the run.
    pub may_fail: bool,
    /// Any name may stand for an address of loopback, not only `localhost` and those of the machine's `hosts` file.
    pub may_be_local: bool,
    /// How long an address may still be reached after its name has stopped to stand for it. Serialised as `"10m"`.
    #[serde(with = "crate::lossless::duration")]
    pub grace: Duration,
}

impl Default for NameRules {
    fn default() -> NameRules {
        let grace = Duration::from_secs(600);
        NameRules { pinned: false, may_fail: false, may_be_local: false, grace }
    }
}

impl Policy {
    /// The default policy.
    #[must_use]
    pub fn new() -> Policy {
        Policy::default()
    }

    /// Adds what `other` says. What it grants and refuses is granted and refused as well; of a setting, what is not its
    /// default counts, and `other`'s first.
    pub fn extend(&mut self, other: Policy) {
        let Policy { network, bind, ports, http, names, files, root, limits, unix_datagrams, processes } =
            other;
        processes.into_iter().for_each(|one| one.add_to(&mut self.processes));
        self.network.allow.extend(network.allow);
        self.network.deny.extend(network.deny);
        self.bind.allow.extend(bind.allow);
        self.bind.deny.extend(bind.deny);
        self.ports.remap |= ports.remap;
        self.ports.publish.extend(ports.publish);
        self.http.allow.extend(http.allow);
        self.http.deny.extend(http.deny);
        self.names.pinned |= names.pinned;
        self.names.may_fail |= names.may_fail;
        self.names.may_be_local |= names.may_be_local;
        if names.grace != NameRules::default().grace {
            self.names.grace = names.grace;
        }
        if files.base == Base::Bare {
            self.files.base = Base::Bare;
        }
        self.files.read.extend(files.read);
        self.files.write.extend(files.write);
        self.files.execute.extend(files.execute);
        self.files.deny.extend(files.deny);
        self.files.writable_not_executable |= files.writable_not_executable;
        self.files.own_proc |= files.own_proc;
        self.root.extend(root);
        self.limits.extend(limits);
        self.unix_datagrams |= unix_datagrams;
    }

    /// Grants the outbound traffic of one more rule.
    ///
    /// # Errors
    /// [`RuleError`] when `spec` is not in the grammar of [`NetRule`].
    pub fn allow(mut self, spec: &str) -> Result<Policy, RuleError> {
        self.network.allow.push(spec.parse()?);
        Ok(self)
    }

    /// Refuses the outbound traffic of one more rule, whatever grants it.
    ///
    /// # Errors
    /// [`RuleError`] when `spec` is not in the grammar of [`NetRule`].
    pub fn deny(mut self, spec: &str) -> Result<Policy, RuleError> {
        self.network.deny.push(NetRule::parse_flag("--net-deny", spec)?);
        Ok(self)
    }

    /// Grants the ports of one more rule to be bound.
    ///
    /// # Errors
    /// [`RuleError`] when `spec` is not in the grammar of [`BindRule`].
    pub fn allow_bind(mut self, spec: &str) -> Result<Policy, RuleError> {
        self.bind.allow.push(spec.parse()?);
        Ok(self)
    }

    /// Refuses the ports of one more rule, whatever grants them.
    ///
    /// # Errors
    /// [`RuleError`] when `spec` is not in the grammar of [`BindRule`].
    pub fn deny_bind(mut self, spec: &str) -> Result<Policy, RuleError> {
        self.bind.deny.push(BindRule::parse_flag("--net-deny-bind", spec)?);
        Ok(self)
    }

    /// Gives the run a port space of its own.
    #[must_use]
    pub fn remap_ports(mut self) -> Policy {
        self.ports.remap = true;
        self
    }

    /// Gives the run a port space of its own, of which one port is the machine's, and may be bound.
    ///
    /// # Errors
    /// [`RuleError`] when `spec` is not in the grammar of [`Publish`](crate::Publish).
    pub fn publish(mut self, spec: &str) -> Result<Policy, RuleError> {
        self.ports.publish.push(spec.parse()?);
        Ok(self)
    }

    /// Grants the HTTP requests of one more rule, and opens its host's ports.
    ///
    /// # Errors
    /// [`HttpRuleError`] when `spec` is not in the grammar of [`HttpRule`].
    pub fn http_allow(mut self, spec: &str) -> Result<Policy, HttpRuleError> {
        self.http.allow.push(spec.parse()?);
        Ok(self)
    }

    /// Refuses the HTTP requests of one more rule, whatever grants them.
    ///
    /// # Errors
    /// [`HttpRuleError`] when `spec` is not in the grammar of [`HttpRule`].
    pub fn http_deny(mut self, spec: &str) -> Result<Policy, HttpRuleError> {
        self.http.deny.push(HttpRule::parse_flag("--http-deny", spec)?);
        Ok(self)
    }

    /// Grants reading and executing `path` and all below it.
    #[must_use]
    pub fn read(mut self, path: impl Into<PathBuf>) -> Policy {
        self.files.read.push(path.into());
        self
    }

    /// Grants reading, executing and writing `path` and all below it.
    #[must_use]
    pub fn write(mut self, path: impl Into<PathBuf>) -> Policy {
        self.files.write.push(path.into());
        self
    }

    /// Grants unix datagram sockets.
    #[must_use]
    pub fn unix_datagrams(mut self) -> Policy {
        self.unix_datagrams = true;
        self
    }

    /// Takes the standard base away: only what is named can be reached.
    #[must_use]
    pub fn bare(mut self) -> Policy {
        self.files.base = Base::Bare;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_survives_toml_and_json() {
        let policy = Policy::new()
            .allow("udp://[::1]:53")
            .unwrap()
            .deny("a.test:1")
            .unwrap()
            .allow_bind("0,8000-8099")
            .unwrap()
            .deny_bind("udp://*")
            .unwrap()
            .publish("udp://53:5353")
            .unwrap()
            .http_allow("GET a.test/x/*")
            .unwrap()
            .http_deny("* *:8080")
            .unwrap()
            .read("/a")
            .write("/b")
            .bare();
        let text = toml::to_string(&policy).unwrap();
        assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy);
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
        assert_eq!(toml::from_str::<Policy>("").unwrap(), Policy::default());
    }

    #[test]
    fn a_policy_is_extended_by_what_another_says() {
        let mut policy = Policy::new().allow("a.test:1").unwrap().read("/a").bare();
        let mut other = Policy::new().allow("b.test:2").unwrap().deny("c.test:3").unwrap().write("/b");
        other.names.grace = Duration::from_secs(5);
        other.limits.processes = Some(9);
        policy.extend(other.clone());
        let mut both = Policy::new().allow("a.test:1").unwrap().allow("b.test:2").unwrap();
        both = both.deny("c.test:3").unwrap().read("/a").write("/b").bare();
        both.names.grace = Duration::from_secs(5);
        both.limits.processes = Some(9);
        assert_eq!(policy, both);
        policy.extend(Policy::new());
        assert_eq!(policy, both);
    }

    #[test]
    fn times_are_written_as_people_do() {
        let policy = toml::from_str::<Policy>(r#"names.grace = "1m 30s""#).unwrap();
        assert_eq!(policy.names.grace, Duration::from_secs(90));
        assert!(toml::to_string(&policy).unwrap().contains(r#"grace = "1m 30s""#));
        assert!(toml::from_str::<Policy>(r#"names.grace = "soon""#).is_err());
    }

    #[test]
    fn an_unknown_field_or_a_wrong_rule_is_refused() {
        assert!(toml::from_str::<Policy>("netwrok = {}").is_err());
        assert!(toml::from_str::<Policy>("files.reed = []").is_err());
        let error = toml::from_str::<Policy>(r#"network.allow = ["example.com:http"]"#).unwrap_err();
        assert!(error.to_string().contains(r#"invalid port "http""#), "{error}");
    }
}
