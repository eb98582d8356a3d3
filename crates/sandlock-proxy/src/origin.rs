//! Where a program's connection was to go.

use std::net::SocketAddr;

use sandlock_policy::{Destination, HttpName, Protocol, Scheme};

/// Where a program's connection was to go, as the supervisor knows it, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// In canonical form.
    pub(crate) to: SocketAddr,
    /// Whom the other side of TLS has to prove to be; `None` in the clear.
    pub(crate) tls: Option<HttpName>,
}

impl Origin {
    pub(crate) fn clear(to: SocketAddr) -> Origin {
        Origin { to: SocketAddr::new(to.ip().to_canonical(), to.port()), tls: None }
    }

    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// The same, in the words of the policy.
    pub(crate) fn destination(&self) -> Destination {
        Destination::new(Protocol::Tcp, self.to.ip(), self.to.port())
    }
}
