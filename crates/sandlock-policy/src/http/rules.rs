//! The HTTP rules of a run, and what they answer.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::method::is_token;
use super::{HttpHost, HttpName, HttpRequest, HttpRule, Scheme};
use crate::{Allowed, Denied, NetRule};

/// Requests that are granted, and what is taken away from them again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpRules {
    /// What is granted. With any such rule nothing else is.
    pub allow: Vec<HttpRule>,
    /// What is refused, whatever grants it.
    pub deny: Vec<HttpRule>,
}

impl HttpRules {
    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// All rules.
    pub fn iter(&self) -> impl Iterator<Item = &HttpRule> {
        self.allow.iter().chain(&self.deny)
    }

    /// What rules that allow open in the network: the TCP ports of their hosts. Rules for any host open nothing, and
    /// neither do rules that deny.
    #[must_use]
    pub fn network_rules(&self) -> Vec<NetRule> {
        self.allow.iter().filter_map(HttpRule::network_rule).collect()
    }

    /// The TCP ports whose connections have to be looked at: those of all rules.
    #[must_use]
    pub fn intercepted_ports(&self) -> BTreeSet<u16> {
        self.iter().flat_map(HttpRule::ports).copied().collect()
    }

    /// Whether `request` is allowed. Its host is known to be one of its connection: the address of it, or a name that
    /// the run knows to stand for that.
    ///
    /// # Errors
    /// [`Denied::Http`].
    pub fn check(&self, request: HttpRequest) -> Result<Allowed<HttpRequest>, Denied> {
        self.judge(request, |_| true)
    }

    /// Whether `request` is allowed when nobody knows what the name of its host stands for: only rules for any host
    /// grant it.
    ///
    /// # Errors
    /// [`Denied::Http`].
    pub fn check_unknown(&self, request: HttpRequest) -> Result<Allowed<HttpRequest>, Denied> {
        self.judge(request, for_any_host)
    }

    /// Whether all of TLS to `name`, which is not looked into, is allowed: by the name that its client hello says, or
    /// by the address (IPv6 in brackets). Rules that speak of a method or a path grant nothing here, and refuse everything.
    ///
    /// # Errors
    /// [`Denied::TlsName`].
    pub fn check_name(&self, name: &str, port: u16) -> Result<(), Denied> {
        self.judge_name(name, port, |_| true)
    }

    /// As [`HttpRules::check_name`], when nobody knows what `name` stands for: only rules for any host grant it.
    ///
    /// # Errors
    /// [`Denied::TlsName`].
    pub fn check_unknown_name(&self, name: &str, port: u16) -> Result<(), Denied> {
        self.judge_name(name, port, for_any_host)
    }

    fn judge(
        &self,
        request: HttpRequest,
        counts: fn(&HttpRule) -> bool,
    ) -> Result<Allowed<HttpRequest>, Denied> {
        let forbidden = self.deny.iter().any(|rule| rule.refuses(&request));
        let granted = self.allow.iter().any(|rule| counts(rule) && rule.grants(&request));
        let unspoken = self.allow.is_empty() && request.method != "CONNECT";
        if is_token(&request.method) && !forbidden && (granted || unspoken) {
            return Ok(Allowed::new(request));
        }
        let HttpRequest { scheme, method, host, port, target } = request;
        Err(Denied::Http { scheme, method, host, port, path: target.path().to_owned(), forbidden })
    }

    fn judge_name(&self, name: &str, port: u16, counts: fn(&HttpRule) -> bool) -> Result<(), Denied> {
        let refused = |forbidden| Denied::TlsName { name: name.to_owned(), port, forbidden };
        let host: HttpName = name.parse().map_err(|_| refused(false))?;
        let grants = |rule: &HttpRule| counts(rule) && !rule.needs_content() && rule.grants_host(&host, port);
        if self.deny.iter().any(|rule| rule.refuses_of(&host, port)) {
            return Err(refused(true));
        }
        match self.allow.is_empty() || self.allow.iter().any(grants) {
            true => Ok(()),
            false => Err(refused(false)),
        }
    }
}

fn for_any_host(rule: &HttpRule) -> bool {
    *rule.host() == HttpHost::Any
}

/// The flag that would allow a request, unless no rule can.
pub(crate) fn request_hint(
    method: &str,
    scheme: Scheme,
    host: &HttpName,
    port: u16,
    path: &str,
) -> Option<String> {
    let path = path.replace('*', "%2A").replace('?', "%3F").replace('#', "%23");
    hint(method, host, port, port == scheme.default_port(), &path)
}

/// The flag that would allow TLS to a name, unless no rule can.
pub(crate) fn name_hint(name: &str, port: u16) -> Option<String> {
    hint("*", &name.parse().ok()?, port, port == Scheme::Https.default_port(), "")
}

/// Parsed before it is shown: a hint that sandlock itself refuses helps nobody.
fn hint(method: &str, host: &HttpName, port: u16, usual: bool, path: &str) -> Option<String> {
    let short = || format!("{method} {host}{path}").parse().ok();
    let long = || format!("{method} {host}:{port}{path}").parse().ok();
    let rule: HttpRule = usual.then(short).flatten().or_else(long)?;
    Some(format!("--http-allow {}", crate::shell::shell_word(rule.to_string().as_bytes())))
}
