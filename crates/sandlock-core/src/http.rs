//! HTTP rules: what a run with some needs besides, and the proxy that it has.
//!
//! The proxy judges, and runs in threads of the launcher, outside of the sandbox. Here it is given all that it needs,
//! and what it tells is passed on. Nothing here looks at a request.

mod planned;
mod proxied;
mod secret;
mod trust;

use std::path::PathBuf;

use sandlock_policy::{Credential, HttpAuth, HttpHost};
use sandlock_proxy::UpstreamProxy;

pub(crate) use planned::Planned;
pub(crate) use proxied::Proxied;
pub(crate) use trust::Stores;

/// How a run with HTTP rules enforces them, and what it adds to requests.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Http {
    /// The authority by which TLS is looked into; without one, rules see of it the server's name alone.
    pub authority: Option<HttpAuthority>,
    /// Where its certificate is written when the run starts.
    pub authority_out: Option<PathBuf>,
    /// Bundles of certificates that the program opens, besides the system's: its certificate is added to what is read.
    pub bundles: Vec<PathBuf>,
    /// Files of certificates that vouch for servers, besides the system's.
    pub upstream_roots: Vec<PathBuf>,
    /// The proxy through which servers are reached.
    pub upstream_proxy: Option<UpstreamProxy>,
    /// Hosts whose TLS is left end to end.
    pub passthrough: Vec<HttpHost>,
    /// Secrets that the program does not hold.
    pub credentials: Vec<Credential>,
    /// The requests to which they are added.
    pub auths: Vec<HttpAuth>,
    /// Add them to what travels in the clear as well.
    pub cleartext_credentials: bool,
}

/// Whose certificates a program is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpAuthority {
    /// One made for the run, whose key is in memory only.
    OfTheRun,
    /// One of the person's.
    Of {
        /// Its certificate, a PEM file.
        certificate: PathBuf,
        /// Its key, a PEM file.
        key: PathBuf,
    },
}
