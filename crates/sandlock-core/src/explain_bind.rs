//! Which mechanism enforces which rule about ports of the run's own.

use sandlock_policy::{BindRule, Protocol};
use sandlock_supervisor::table::Binding;

use crate::{Explanation, Mechanism, Plan};

impl Plan {
    /// Each rule about ports of the run's own, and what enforces it on this machine: what is allowed, then what is
    /// denied. Nothing enforces rules that allow every port.
    #[must_use]
    pub fn explain_bind(&self) -> Vec<Explanation> {
        let rules = &self.policy.bind;
        let allowed = rules.allow.iter().map(|rule| self.explain_bind_rule("--net-allow-bind", rule));
        allowed.chain(rules.deny.iter().map(|rule| self.explain_bind_rule("--net-deny-bind", rule))).collect()
    }

    fn explain_bind_rule(&self, flag: &str, rule: &BindRule) -> Explanation {
        let mut mechanisms = Vec::new();
        let tcp = rule.protocol() == Protocol::Tcp;
        if tcp && self.kernel.landlock >= 4 && self.rulesets.binds_only_some_ports() {
            mechanisms.push(Mechanism::LandlockPorts);
        }
        let judged = if tcp { !self.needs.listening_free } else { self.needs.binding == Binding::Performed };
        if self.needs.supervised && judged {
            mechanisms.push(Mechanism::SupervisorOfPorts);
        }
        Explanation {
            rule: format!("{flag} {rule}"),
            mechanisms,
            addresses: Vec::new(),
            served_by: Vec::new(),
            fresh_until: None,
        }
    }
}
