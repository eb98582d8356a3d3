//! Certificates that were made, kept for the next connection to the same host.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, version};
use sandlock_policy::HttpName;

use crate::limits::MOST_CERTIFICATES;
use crate::upstream::Protocols;
use crate::{Authority, AuthorityError};

/// What TLS of programs is served with.
pub(crate) struct Certificates {
    authority: Authority,
    provider: Arc<CryptoProvider>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    configs: HashMap<(HttpName, Protocols), Arc<ServerConfig>>,
    order: VecDeque<(HttpName, Protocols)>,
}

impl Certificates {
    pub(crate) fn new(authority: Authority, provider: Arc<CryptoProvider>) -> Certificates {
        Certificates { authority, provider, kept: Mutex::default() }
    }

    /// Whether programs would believe it.
    pub(crate) fn covers(&self, host: &HttpName) -> bool {
        self.authority.covers(host)
    }

    /// What a connection to this host is served with, on which these protocols may be spoken.
    pub(crate) fn config(
        &self,
        host: &HttpName,
        protocols: Protocols,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        let key = (host.clone(), protocols);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = kept.configs.get(&key) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.make(host, protocols)?);
        if kept.order.len() == MOST_CERTIFICATES
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.configs.remove(&oldest);
        }
        kept.order.push_back(key.clone());
        kept.configs.insert(key, Arc::clone(&config));
        Ok(config)
    }

    fn make(&self, host: &HttpName, protocols: Protocols) -> Result<ServerConfig, AuthorityError> {
        let certified = self.authority.issue(host)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(AuthorityError::Key)?
            .with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = protocols.names();
        // A handshake on loopback costs less than to remember it.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}
