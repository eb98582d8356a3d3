//! The first message of TLS, as far as it says whom the client means (RFC 8446, 4.1.2). Pure.

use std::net::IpAddr;

use sandlock_policy::{HttpName, Malformed};

use crate::limits::MOST_HELLO;

/// What a client says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientHello {
    /// Whom it means; not an address, which nobody may say here (RFC 6066, 3).
    pub(crate) name: Option<HttpName>,
    /// The protocols that it offers to speak.
    pub(crate) protocols: Vec<Vec<u8>>,
    /// Whether it may mean somebody else, which it says in secret.
    pub(crate) encrypted: bool,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// How many bytes of plain text a record may have.
const MOST_RECORD: usize = 1 << 14;

/// Reads the message that `bytes` begin with; `None` when it has not come whole.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<ClientHello>, Malformed> {
    let (mut records, mut message) = (Reader(bytes), Vec::new());
    loop {
        let Some((kind, version, length)) = records.record_head() else {
            return too_long(bytes);
        };
        if kind != HANDSHAKE || version >> 8 != 3 || length == 0 || length > MOST_RECORD {
            return Err(Malformed::UnknownProtocol);
        }
        let Ok(fragment) = records.take(length) else {
            return too_long(bytes);
        };
        message.extend_from_slice(fragment);
        if message.first() != Some(&CLIENT_HELLO) {
            return Err(Malformed::UnknownProtocol);
        }
        if let Some(length) = message.get(1..4) {
            let length = length.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
            match message.len() - 4 {
                all if all == length => return hello(&message[4..]).map(Some),
                // More in the same record would be another message, which cannot be yet.
                more if more > length => return Err(Malformed::UnknownProtocol),
                _ if length > MOST_HELLO => return Err(Malformed::TooLarge),
                _ => {}
            }
        }
    }
}

fn too_long(bytes: &[u8]) -> Result<Option<ClientHello>, Malformed> {
    if bytes.len() >= MOST_HELLO { Err(Malformed::TooLarge) } else { Ok(None) }
}

fn hello(body: &[u8]) -> Result<ClientHello, Malformed> {
    let mut body = Reader(body);
    body.take(2 + 32)?;
    body.vector(1)?;
    body.vector(2)?;
    body.vector(1)?;
    let mut hello = ClientHello::default();
    if body.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = body.vector(2)?;
    body.ended()?;
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)? as u16;
        let mut content = extensions.vector(2)?;
        if seen.contains(&kind) || seen.len() > 100 {
            return Err(Malformed::UnknownProtocol);
        }
        seen.push(kind);
        match kind {
            SERVER_NAME => hello.name = server_name(&mut content)?,
            ALPN => hello.protocols = protocols(&mut content)?,
            ENCRYPTED_CLIENT_HELLO => hello.encrypted = true,
            _ => {}
        }
    }
    Ok(hello)
}

/// One name: of several, each server would take another.
fn server_name(content: &mut Reader<'_>) -> Result<Option<HttpName>, Malformed> {
    let mut list = content.vector(2)?;
    content.ended()?;
    let kind = list.number(1)?;
    let name = list.vector(2)?;
    list.ended()?;
    let text = std::str::from_utf8(name.0).map_err(|_| Malformed::BadHost)?;
    // RFC 6066 forbids addresses. Some say them nevertheless, and servers pass over that.
    if kind == 0 && text.parse::<IpAddr>().is_ok() {
        return Ok(None);
    }
    match text.parse() {
        // A dot at the end is not allowed either, and would be lost.
        Ok(HttpName::Name(name)) if kind == 0 && name.eq_ignore_ascii_case(text) => {
            Ok(Some(HttpName::Name(name)))
        }
        _ => Err(Malformed::BadHost),
    }
}

fn protocols(content: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut list = content.vector(2)?;
    content.ended()?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        protocols.push(list.vector(1)?.0.to_vec());
    }
    Ok(protocols)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::UnknownProtocol)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Malformed> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| (number << 8) | usize::from(*byte)))
    }

    /// What follows its own length, in so many bytes.
    fn vector(&mut self, bytes: usize) -> Result<Reader<'a>, Malformed> {
        let length = self.number(bytes)?;
        self.take(length).map(Reader)
    }

    fn ended(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::UnknownProtocol) }
    }

    fn record_head(&mut self) -> Option<(u8, usize, usize)> {
        let head = self.take(5).ok()?;
        let number = |high: u8, low: u8| (usize::from(high) << 8) | usize::from(low);
        Some((head[0], number(head[1], head[2]), number(head[3], head[4])))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn real(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from(name).unwrap();
        let mut bytes = Vec::new();
        ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_real_one_is_read_once_it_is_whole() {
        let bytes = real("a.test");
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Ok(None));
        }
        let hello = read(&bytes).unwrap().unwrap();
        assert_eq!(hello.name, Some("a.test".parse().unwrap()));
        assert_eq!(hello.protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(!hello.encrypted);
        assert_eq!(read(&real("127.0.0.1")).unwrap().unwrap().name, None);
    }

    #[test]
    fn it_may_come_in_several_records() {
        let whole = real("a.test");
        let message = &whole[5..];
        let record = |part: &[u8]| [&[22, 3, 1], &(part.len() as u16).to_be_bytes()[..], part].concat();
        let (first, second) = message.split_at(50);
        let cut = [record(first), record(second)].concat();
        assert_eq!(read(&cut), read(&whole));
        assert!(read(&record(&[message, b"x"].concat())).is_err());
        assert!(read(b"\x16\x03\x01\x00\x00").is_err());
        assert!(read(b"\x16\x03\x01\x00\x04\x02\0\0\0").is_err());
    }

    fn with_extensions(extensions: &[u8]) -> Result<Option<ClientHello>, Malformed> {
        let mut body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let message = [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
        read(&[&[22, 3, 1][..], &(message.len() as u16).to_be_bytes(), &message].concat())
    }

    #[test]
    fn what_two_servers_read_differently_is_refused() {
        let one = b"\0\0\0\x06\0\x04\0\0\x01a";
        assert_eq!(with_extensions(one).unwrap().unwrap().name, Some("a".parse().unwrap()));
        for bad in [
            &[&one[..], one].concat()[..],
            b"\0\0\0\x0a\0\x08\0\0\x01a\0\0\x01b",
            b"\0\0\0\x07\0\x04\0\0\x01ab",
            b"\0\0\0\x06\0\x04\x01\0\x01a",
            b"\0\0\0\x07\0\x05\0\0\x02a\0",
            b"\0\0\0\x07\0\x05\0\0\x02a.",
            b"\0\0\0\x02\0\0",
        ] {
            assert!(with_extensions(bad).is_err(), "{bad:?}");
        }
        assert!(with_extensions(b"\xfe\x0d\0\0").unwrap().unwrap().encrypted);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = with_extensions(&bytes);
        }
    }
}
