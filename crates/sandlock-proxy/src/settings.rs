//! What a proxy is started with.

use std::fmt;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use sandlock_policy::{HttpHost, HttpRules};

use crate::{Auth, Authority, Happened, UpstreamProxy};

/// What the names of the run stand for, at the moment of asking.
pub trait NamesOf: Send + Sync {
    /// Whether the run knows the name: lower-cased, without a trailing dot.
    fn knows(&self, name: &str) -> bool;
    /// Whether it stands for this address, which is in canonical form.
    fn is_of(&self, name: &str, address: IpAddr) -> bool;
}

/// What is done with TLS.
#[allow(clippy::large_enum_variant, reason = "there is one of it in a run")]
#[derive(Debug)]
pub enum Tls {
    /// It is not looked into: a rule for the name allows or refuses all of it.
    ByName,
    /// It ends here, with a certificate of this authority, which programs have to trust.
    Inject(Authority),
}

/// What a proxy is started with.
pub struct Settings {
    /// Which requests are allowed.
    pub rules: Arc<HttpRules>,
    /// Where the connections of programs come.
    pub listeners: Vec<TcpListener>,
    /// What is done with TLS.
    pub tls: Tls,
    /// Files of certificates, in PEM, that upstreams may prove themselves by, besides the machine's own.
    pub upstream_roots: Vec<PathBuf>,
    /// Through what upstreams are reached, unless they are on loopback.
    pub upstream_proxy: Option<UpstreamProxy>,
    /// What is added to requests once they are allowed.
    pub auths: Vec<Auth>,
    /// Whether it is added in the clear too, where others could read it.
    pub cleartext_credentials: bool,
    /// Hosts whose TLS is not looked into even so.
    pub passthrough: Vec<HttpHost>,
    /// What the run's names stand for.
    pub names: Arc<dyn NamesOf>,
    /// Called in the proxy's thread; it must not block.
    pub outbox: Box<dyn Fn(Happened) + Send + Sync>,
}

impl Settings {
    /// With what there has to be, and nothing else.
    #[must_use]
    pub fn new(
        rules: Arc<HttpRules>,
        names: Arc<dyn NamesOf>,
        outbox: Box<dyn Fn(Happened) + Send + Sync>,
    ) -> Settings {
        Settings {
            rules,
            listeners: Vec::new(),
            tls: Tls::ByName,
            upstream_roots: Vec::new(),
            upstream_proxy: None,
            auths: Vec::new(),
            cleartext_credentials: false,
            passthrough: Vec::new(),
            names,
            outbox,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("rules", &self.rules)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}
