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
    /// the run knows to stand for that. [`HttpRules::check_destination`] is to be asked too.
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

    /// Whether a rule that denies speaks of `request` by another host than it names: `is_of` says whether a host of a
    /// rule is one of the connection's destination. Servers answer for the host that they take for their own, whatever a
    /// request calls it.
    ///
    /// # Errors
    /// [`Denied::Http`].
    pub fn check_destination(
        &self,
        request: &HttpRequest,
        is_of: impl Fn(&HttpHost) -> bool,
    ) -> Result<(), Denied> {
        match self.deny.iter().any(|rule| is_of(rule.host()) && rule.refuses_but_for_host(request)) {
            true => Err(denied(request.clone(), true)),
            false => Ok(()),
        }
    }

    /// Whether a rule that denies speaks of TLS to `name`, which is not looked into, by another host: as
    /// [`HttpRules::check_destination`].
    ///
    /// # Errors
    /// [`Denied::TlsName`].
    pub fn check_name_destination(
        &self,
        name: &str,
        port: u16,
        is_of: impl Fn(&HttpHost) -> bool,
    ) -> Result<(), Denied> {
        match self.deny.iter().any(|rule| rule.refuses_on(port) && is_of(rule.host())) {
            true => Err(Denied::TlsName { name: name.to_owned(), port, forbidden: true }),
            false => Ok(()),
        }
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
        Err(denied(request, forbidden))
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

fn denied(request: HttpRequest, forbidden: bool) -> Denied {
    let HttpRequest { scheme, method, host, port, target } = request;
    Denied::Http { scheme, method, host, port, path: target.path().to_owned(), forbidden }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestTarget;

    fn rules(allow: &[&str], deny: &[&str]) -> HttpRules {
        let parse = |specs: &[&str]| specs.iter().map(|spec| spec.parse().unwrap()).collect();
        HttpRules { allow: parse(allow), deny: parse(deny) }
    }

    fn request(method: &str, host: &str, path: &str) -> HttpRequest {
        let target = RequestTarget::parse(path.as_bytes()).unwrap();
        HttpRequest {
            scheme: Scheme::Http,
            method: method.into(),
            host: host.parse().unwrap(),
            port: 80,
            target,
        }
    }

    #[test]
    fn a_denied_host_stays_denied_by_another_name() {
        let rules = rules(&["* *"], &["DELETE api.test/x/*", "* 10.0.0.9"]);
        let of_api = |host: &HttpHost| *host == HttpHost::Name("api.test".into());
        let by_address = request("DELETE", "10.0.0.1", "/x/y");
        assert!(rules.check(by_address.clone()).is_ok());
        assert!(rules.check_destination(&by_address, |_| false).is_ok());
        let denied = rules.check_destination(&by_address, of_api).unwrap_err();
        assert_eq!(denied.to_string(), "DELETE http://10.0.0.1/x/y, which --http-deny refuses");
        assert!(rules.check_destination(&request("GET", "10.0.0.1", "/x/y"), of_api).is_ok());
        assert!(rules.check_destination(&request("DELETE", "other.test", "/y"), of_api).is_ok());
        assert!(rules.check_name("other.test", 443).is_ok());
        assert!(rules.check_name_destination("other.test", 443, |_| false).is_ok());
        let denied = Denied::TlsName { name: "other.test".into(), port: 443, forbidden: true };
        assert_eq!(rules.check_name_destination("other.test", 443, of_api), Err(denied));
    }

    #[test]
    fn a_name_that_nobody_knows_is_granted_only_by_rules_for_any_host() {
        let rules = rules(&["* api.test", "GET */public"], &["* evil.test"]);
        assert!(rules.check(request("POST", "api.test", "/")).is_ok());
        assert!(rules.check_unknown(request("POST", "api.test", "/")).is_err());
        assert!(rules.check_unknown(request("GET", "api.test", "/public")).is_ok());
        assert!(rules.check_unknown(request("GET", "evil.test", "/public")).is_err());
    }

    #[test]
    fn by_name_alone_passes_what_is_granted_whole_and_denied_nowhere() {
        let rules = rules(
            &["* api.test", "* *.wild.test:8443", "GET get.test", "* path.test/x", "* [::1]", "* both.test"],
            &["POST both.test/x", "* x.wild.test:443"],
        );
        for (name, port) in [("api.test", 443), ("API.test.", 80), ("x.wild.test", 8443), ("[::1]", 443)] {
            assert_eq!(rules.check_name(name, port), Ok(()), "{name}");
        }
        for (name, port, forbidden) in [
            ("api.test", 8443, false),
            ("wild.test", 8443, false),
            ("get.test", 443, false),
            ("path.test", 443, false),
            ("both.test", 443, true),
            ("x.wild.test", 443, true),
            ("", 443, false),
            ("::1", 443, false),
            ("api.test:443", 443, false),
            ("user@api.test", 443, false),
        ] {
            let denied = Denied::TlsName { name: name.into(), port, forbidden };
            assert_eq!(rules.check_name(name, port), Err(denied));
        }
        assert!(rules.check_unknown_name("api.test", 443).is_err());
        assert!(
            HttpRules { allow: Vec::new(), deny: vec!["* evil.test".parse().unwrap()] }
                .check_name("", 443)
                .is_err()
        );
    }
}
