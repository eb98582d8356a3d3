//! What a run with HTTP rules needs, prepared while nothing runs yet.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandlock_policy::{HttpHost, HttpName, HttpRules, NetworkPolicy, Policy};
use sandlock_proxy::{Auth, Authority};
use sandlock_supervisor::ServedFile;

use super::trust::{Certificate, Stores, Trust};
use super::{Http, HttpAuthority, secret};
use crate::PlanError;

/// A proxy that is ready to be started.
pub(crate) struct Planned {
    pub(super) rules: Arc<HttpRules>,
    pub(super) http: Http,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) authority: Option<Authority>,
    pub(super) auths: Vec<Auth>,
    pub(super) certificate: Option<Certificate>,
    trust: Trust,
    v4: u16,
    v6: Option<u16>,
}

impl Planned {
    /// Checks what goes together, makes or loads the authority, reads the trust stores and the secrets, and binds the
    /// proxy's sockets. `None` when there are no HTTP rules. Without `readable` the stores are not where this process
    /// could read them: see [`Planned::stores`].
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub(crate) fn new(
        policy: &Policy,
        http: Http,
        readable: Option<&[PathBuf]>,
        temporary: Option<&Path>,
    ) -> Result<Option<Planned>, PlanError> {
        if policy.http.is_empty() {
            return http.first_flag().map_or(Ok(None), |flag| Err(PlanError::NoHttpRules(flag)));
        }
        check(&policy.http, &http)?;
        let authority = http.authority.as_ref().map(|wanted| authority(wanted, &policy.http)).transpose()?;
        let certificate = authority
            .as_ref()
            .map(|authority| Certificate { pem: authority.cert_pem(), der: authority.cert_der() });
        let trust = match (&certificate, readable) {
            (Some(certificate), Some(readable)) => {
                Trust::with(certificate, &http.bundles, readable, temporary)?
            }
            _ => Trust::default(),
        };
        let (v4, v4_port) = listen(Ipv4Addr::LOCALHOST.into()).map_err(PlanError::ProxyListener)?;
        // A machine without IPv6 has nobody who connects by it.
        let v6 = listen(Ipv6Addr::LOCALHOST.into()).ok();
        let v6_port = v6.as_ref().map(|(_, port)| *port);
        Ok(Some(Planned {
            rules: Arc::new(policy.http.clone()),
            auths: secret::auths(&http)?,
            listeners: [v4].into_iter().chain(v6.map(|(listener, _)| listener)).collect(),
            certificate,
            v4: v4_port,
            v6: v6_port,
            http,
            authority,
            trust,
        }))
    }

    /// The policy that leads connections there.
    pub(crate) fn route(&self, network: NetworkPolicy) -> NetworkPolicy {
        network.with_proxy(self.rules.intercepted_ports(), self.v4, self.v6)
    }

    /// Whether requests inside of TLS are seen.
    pub(crate) fn looks_into_tls(&self) -> bool {
        self.authority.is_some()
    }

    /// The ports of loopback where the proxy listens.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        [self.v4].into_iter().chain(self.v6)
    }

    /// Variables that the program is given unless the person set them.
    pub(crate) fn variables(&self) -> &[(OsString, OsString)] {
        &self.trust.variables
    }

    /// Variables that the program is not to have.
    pub(crate) fn secret_variables(&self) -> impl Iterator<Item = &std::ffi::OsStr> {
        secret::variables(&self.http)
    }

    /// The trust stores, as the program is to see them.
    pub(crate) fn served(&self) -> &[ServedFile] {
        &self.trust.served
    }

    /// What stores are to hold that are found in a root of the run's own.
    pub(crate) fn stores(&self) -> Option<Stores> {
        let certificate = self.certificate.clone()?;
        Some(Stores { certificate, bundles: self.http.bundles.clone() })
    }

    /// Writes the certificate where the person wants it.
    ///
    /// # Errors
    ///
    /// The path, and why it cannot be written.
    pub(crate) fn write_certificate(&self) -> Result<(), (PathBuf, std::io::Error)> {
        match (&self.http.authority_out, &self.certificate) {
            (Some(path), Some(certificate)) => {
                std::fs::write(path, &certificate.pem).map_err(|error| (path.clone(), error))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Planned {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planned").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Http {
    /// Something that was asked for, and that means nothing without a rule.
    fn first_flag(&self) -> Option<&'static str> {
        let asked = [
            (self.authority == Some(HttpAuthority::OfTheRun), "--http-ca-inject"),
            (self.authority.is_some(), "--http-ca"),
            (self.authority_out.is_some(), "--http-ca-out"),
            (!self.bundles.is_empty(), "--http-ca-bundle"),
            (!self.upstream_roots.is_empty(), "--http-upstream-ca"),
            (self.upstream_proxy.is_some(), "--http-upstream-proxy"),
            (!self.passthrough.is_empty(), "--http-passthrough"),
            (!self.credentials.is_empty(), "--credential"),
            (!self.auths.is_empty(), "--http-auth"),
            (self.cleartext_credentials, "--danger-cleartext-credentials"),
        ];
        asked.into_iter().find_map(|(asked, flag)| asked.then_some(flag))
    }
}

/// # Errors
///
/// The first rule that could not be enforced, or a file that is not there.
fn check(rules: &HttpRules, http: &Http) -> Result<(), PlanError> {
    for rule in rules.iter().filter(|rule| rule.needs_content() && rule.ports().contains(&HTTPS)) {
        if http.authority.is_none() {
            return Err(PlanError::NeedsAuthority { rule: rule.written() });
        }
        if http.passthrough.iter().any(|passed| covers(passed, rule.host())) {
            return Err(PlanError::PassedThrough { rule: rule.written(), host: rule.host().to_string() });
        }
    }
    for path in &http.upstream_roots {
        std::fs::File::open(path).map_err(|source| PlanError::Path {
            flag: "--http-upstream-ca",
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

/// Whether all that a rule speaks of is left end to end. One host of many may be.
fn covers(passed: &HttpHost, host: &HttpHost) -> bool {
    match host {
        HttpHost::Name(name) => passed.matches(&HttpName::Name(name.clone())),
        HttpHost::Address(address) => passed.matches(&HttpName::Address(*address)),
        _ => passed == host,
    }
}

fn authority(wanted: &HttpAuthority, rules: &HttpRules) -> Result<Authority, PlanError> {
    let refused = |source| PlanError::Authority(Box::new(source));
    match wanted {
        HttpAuthority::OfTheRun => Authority::generate(&hosts(rules)).map_err(refused),
        HttpAuthority::Of { certificate, key } => Authority::load(certificate, key).map_err(refused),
    }
}

/// Whom requests may be for: nobody else needs the authority's word. Without rules that allow, it is anybody.
fn hosts(rules: &HttpRules) -> Vec<HttpHost> {
    rules.allow.iter().map(|rule| rule.host().clone()).collect()
}

fn listen(address: IpAddr) -> std::io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((address, 0))?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

const HTTPS: u16 = 443;
