//! JKS, the older format of Java's stores.
//!
//! ```text
//! magic u32, version u32, count u32, then count entries, then SHA-1 of (password, whitener, all before)
//! trusted certificate: 2 u32, alias, milliseconds since 1970 u64, type ("X.509", not in version 1), length u32, DER
//! ```
//!
//! Numbers are big-endian; a string is its length (u16) and its characters. The format is that of OpenJDK's
//! `JavaKeyStore.java`. Entries follow each other without any table, so one is added without understanding the others.

use sha1::{Digest, Sha1};

use crate::TrustError;

/// JKS, and JCEKS, which differs in the entries of keys alone.
pub(crate) const MAGIC: [[u8; 4]; 2] = [[0xfe, 0xed, 0xfe, 0xed], [0xce, 0xce, 0xce, 0xce]];

const WHITENER: &[u8] = b"Mighty Aphrodite";
const TRUSTED_CERTIFICATE: u32 = 2;
const DIGEST_LENGTH: usize = 20;

pub(crate) fn splice(
    store: &[u8],
    ca_der: &[u8],
    password: &str,
    alias: &str,
) -> Result<Vec<u8>, TrustError> {
    let end = store.len().checked_sub(DIGEST_LENGTH).ok_or(TrustError::Damaged)?;
    let (body, own_digest) = store.split_at(end);
    let (head, entries) = body.split_at_checked(12).ok_or(TrustError::Damaged)?;
    let version = number(head, 4).filter(|version| [1, 2].contains(version)).ok_or(TrustError::Damaged)?;
    let count = number(head, 8).and_then(|count| count.checked_add(1)).ok_or(TrustError::Damaged)?;
    if digest(body, password) != own_digest {
        return Err(TrustError::Password);
    }
    let mut spliced = [&head[..8], &count.to_be_bytes(), entries].concat();
    spliced.extend(TRUSTED_CERTIFICATE.to_be_bytes());
    write_string(&mut spliced, alias)?;
    spliced.extend([0; 8]);
    if version == 2 {
        write_string(&mut spliced, "X.509")?;
    }
    let length = u32::try_from(ca_der.len()).map_err(|_| TrustError::Damaged)?;
    spliced.extend(length.to_be_bytes());
    spliced.extend(ca_der);
    let digest = digest(&spliced, password);
    spliced.extend(digest);
    Ok(spliced)
}

fn number(head: &[u8], at: usize) -> Option<u32> {
    head.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Of ASCII, which Java's modified UTF-8 leaves as it is.
fn write_string(store: &mut Vec<u8>, text: &str) -> Result<(), TrustError> {
    let length = u16::try_from(text.len()).map_err(|_| TrustError::Damaged)?;
    store.extend(length.to_be_bytes());
    store.extend(text.bytes());
    Ok(())
}

fn digest(body: &[u8], password: &str) -> [u8; DIGEST_LENGTH] {
    let password: Vec<u8> = password.encode_utf16().flat_map(u16::to_be_bytes).collect();
    Sha1::new().chain_update(password).chain_update(WHITENER).chain_update(body).finalize().into()
}
