//! A request as it was understood.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{HttpName, RequestTarget};

/// How a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The port that it has by default.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        })
    }
}

/// A request as it was understood, and as it is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// How it travels.
    pub scheme: Scheme,
    /// Its method, as it was written.
    pub method: String,
    /// The host that it names.
    pub host: HttpName,
    /// The port of its connection.
    pub port: u16,
    /// Its path and query.
    pub target: RequestTarget,
}

impl HttpRequest {
    /// Its host, and its port unless that is the scheme's own: what a `Host` header or `:authority` says.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port {
            port if port == self.scheme.default_port() => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }
}
