//! All that a user grants to one run.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Base, FileRules, NetRule, RuleError};

/// What a run may do. The default is no network, and the standard base to read.
///
/// ```
/// use sandlock_policy::Policy;
/// let policy = Policy::new().allow("localhost:80")?.read("/srv/data").write("/tmp/work");
/// assert_eq!(policy.network[0].to_string(), "localhost:80");
/// # Ok::<(), sandlock_policy::RuleError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Outbound traffic that is granted; no other is.
    pub network: Vec<NetRule>,
    /// Files that are granted; no others are.
    pub files: FileRules,
    /// Unix datagram sockets may be made. Each send that could name a destination must be seen then.
    pub unix_datagrams: bool,
}

impl Policy {
    /// The default policy.
    #[must_use]
    pub fn new() -> Policy {
        Policy::default()
    }

    /// Grants the outbound traffic of one more rule.
    ///
    /// # Errors
    /// [`RuleError`] when `spec` is not in the grammar of [`NetRule`].
    pub fn allow(mut self, spec: &str) -> Result<Policy, RuleError> {
        self.network.push(spec.parse()?);
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
        let policy = Policy::new().allow("udp://[::1]:53").unwrap().read("/a").write("/b").bare();
        let text = toml::to_string(&policy).unwrap();
        assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy);
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
        assert_eq!(toml::from_str::<Policy>("").unwrap(), Policy::default());
    }

    #[test]
    fn an_unknown_field_or_a_wrong_rule_is_refused() {
        assert!(toml::from_str::<Policy>("netwrok = []").is_err());
        assert!(toml::from_str::<Policy>("files.reed = []").is_err());
        let error = toml::from_str::<Policy>(r#"network = ["example.com:http"]"#).unwrap_err();
        assert!(error.to_string().contains(r#"invalid port "http""#), "{error}");
    }
}
