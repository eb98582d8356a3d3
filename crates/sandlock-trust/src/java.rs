//! Stores of Java, of whichever format.

use sha1::{Digest, Sha1};

use crate::{TrustError, jks, pkcs12};

const SEQUENCE: u8 = 0x30;

/// `store` with one more trusted certificate. Java's own stores have the password `changeit`, or none.
///
/// # Errors
/// [`TrustError`] when the store is of no known format, damaged, or has another password.
pub fn splice_java(store: &[u8], ca_der: &[u8], password: &str) -> Result<Vec<u8>, TrustError> {
    let alias = alias(ca_der);
    match store.first_chunk::<4>() {
        Some(magic) if jks::MAGIC.contains(magic) => jks::splice(store, ca_der, password, &alias),
        Some([SEQUENCE, ..]) => pkcs12::splice(store, ca_der, password, &alias),
        _ => Err(TrustError::UnknownFormat),
    }
}

/// An alias for each certificate: an entry with an alias that exists would replace the other.
fn alias(ca_der: &[u8]) -> String {
    let digest = Sha1::digest(ca_der);
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("sandlock-{hex}")
}
