//! A proxy on the way to upstreams, by `CONNECT` (RFC 9110, 9.3.6).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sandlock_policy::{HttpName, authority};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::escapes::unescape;
use crate::limits::MOST_PROXY_HEAD;

/// A proxy through which upstreams are reached: `http://[USER:PASSWORD@]HOST[:PORT]`.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamProxy {
    host: HttpName,
    port: u16,
    /// What it is told of whom it serves.
    authorization: Option<Zeroizing<String>>,
}

/// What is no proxy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected http://[USER:PASSWORD@]HOST[:PORT]")]
pub struct UpstreamProxyError;

impl FromStr for UpstreamProxy {
    type Err = UpstreamProxyError;

    fn from_str(text: &str) -> Result<UpstreamProxy, UpstreamProxyError> {
        let rest = text.strip_prefix("http://").ok_or(UpstreamProxyError)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        let (host, port) = authority(place, 80).map_err(|_| UpstreamProxyError)?;
        let authorization =
            user.map(|user| Zeroizing::new(BASE64_STANDARD.encode(&*Zeroizing::new(unescape(user)))));
        Ok(UpstreamProxy { host, port, authorization })
    }
}

/// Without the user.
impl fmt::Display for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpstreamProxy({self})")
    }
}

impl UpstreamProxy {
    /// A connection through it. A name is given only where the other end has to prove that it is that: the proxy asks
    /// what it stands for by itself.
    pub(crate) async fn connect(&self, to: SocketAddr, host: Option<&HttpName>) -> io::Result<TcpStream> {
        let mut stream = match &self.host {
            HttpName::Name(name) => TcpStream::connect((name.as_str(), self.port)).await?,
            HttpName::Address(address) => TcpStream::connect((*address, self.port)).await?,
        };
        stream.set_nodelay(true)?;
        let target = host.map_or_else(|| to.to_string(), |host| format!("{host}:{}", to.port()));
        let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
        if let Some(authorization) = &self.authorization {
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(authorization);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        answered(&mut stream)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("{self}: {error}")))?;
        Ok(stream)
    }
}

async fn answered(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    // The other end does not speak first: all that comes is of the proxy.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MOST_PROXY_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no answer of a proxy"));
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', b'2', _, _, ..] => Ok(()),
        _ => {
            let status = String::from_utf8_lossy(line.get(9..12).unwrap_or_default()).into_owned();
            let status = sandlock_policy::escape_terminal(&status);
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("the proxy answers {status}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_written_as_a_url_and_shown_without_its_user() {
        for (text, shown) in [
            ("http://proxy.test:3128", "http://proxy.test:3128"),
            ("http://proxy.test/", "http://proxy.test:80"),
            ("http://u:p%40x@[::1]:8080", "http://[::1]:8080"),
        ] {
            let proxy: UpstreamProxy = text.parse().unwrap();
            assert_eq!(proxy.to_string(), shown);
        }
        let proxy: UpstreamProxy = "http://u:p%40x@h:1".parse().unwrap();
        assert_eq!(**proxy.authorization.as_ref().unwrap(), *BASE64_STANDARD.encode("u:p@x"));
        for text in ["proxy:1", "https://p:1", "socks5://p:1", "http://", "http://p:0", "http://p:1/x"] {
            assert!(text.parse::<UpstreamProxy>().is_err(), "{text}");
        }
    }
}
