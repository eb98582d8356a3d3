//! PKCS12 ([RFC 7292](https://www.rfc-editor.org/rfc/rfc7292)), the newer format of Java's stores.
//!
//! A store is a list of safes, each encrypted or not, and a MAC over all of them by a key that is made of the password.
//! One more safe is added, not encrypted as a certificate is no secret, so the others need not be understood. Java takes
//! a certificate for trusted by an attribute of its own.

use hmac::digest::Digest;
use hmac::digest::block_api::EagerHash;
use hmac::digest::common::BlockSizeUser;
use hmac::digest::typenum::Unsigned;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::TrustError;
use crate::der::{BMP_STRING, Element, INTEGER, OCTETS, OID, Reader, SEQUENCE, SET, ZERO, write};

// 1.2.840.113549.1.7.1
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
// 1.2.840.113549.1.12.10.1.3
const CERTIFICATE_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
// 1.2.840.113549.1.9.22.1
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
// 1.2.840.113549.1.9.20
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
// 2.16.840.1.113894.746875.1.1, Oracle's trustedKeyUsage
const TRUSTED: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01];
// 2.5.29.37.0, for every purpose
const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
// 1.3.14.3.2.26
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
// 2.16.840.1.101.3.4.2.1
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// Java makes 10,000; a store with more than this is made to keep us busy.
const MOST_ITERATIONS: u32 = 5_000_000;

pub(crate) fn splice(
    store: &[u8],
    ca_der: &[u8],
    password: &str,
    alias: &str,
) -> Result<Vec<u8>, TrustError> {
    let mut store = only(store, SEQUENCE)?.inside();
    let version = store.take(INTEGER)?;
    let safes = data(store.take(SEQUENCE)?)?;
    let mut spliced = only(safes, SEQUENCE)?.contents.to_vec();
    spliced.extend(data_of(&safe_of(ca_der, alias)));
    let spliced = write(SEQUENCE, &[&spliced]);
    let mac = if store.is_empty() {
        Vec::new()
    } else {
        let mac = MacData::read(store.take(SEQUENCE)?)?;
        if mac.over(safes, password)? != mac.digest {
            return Err(TrustError::Password);
        }
        mac.write(&mac.over(&spliced, password)?)
    };
    Ok(write(SEQUENCE, &[version.raw, &data_of(&spliced), &mac]))
}

/// The one element that `bytes` are.
fn only(bytes: &[u8], tag: u8) -> Result<Element<'_>, TrustError> {
    let mut reader = Reader(bytes);
    let element = reader.take(tag)?;
    if reader.is_empty() { Ok(element) } else { Err(TrustError::Damaged) }
}

/// What is in a `ContentInfo` that is neither signed nor encrypted.
fn data(info: Element<'_>) -> Result<&[u8], TrustError> {
    let mut info = info.inside();
    if info.take(OID)?.contents != DATA {
        return Err(TrustError::Unsupported("a signature instead of a password"));
    }
    Ok(only(info.take(ZERO)?.contents, OCTETS)?.contents)
}

fn data_of(contents: &[u8]) -> Vec<u8> {
    let octets = write(OCTETS, &[contents]);
    write(SEQUENCE, &[&write(OID, &[DATA]), &write(ZERO, &[&octets])])
}

/// A safe that holds a trusted certificate.
fn safe_of(ca_der: &[u8], alias: &str) -> Vec<u8> {
    let octets = write(OCTETS, &[ca_der]);
    let certificate = write(SEQUENCE, &[&write(OID, &[X509]), &write(ZERO, &[&octets])]);
    let alias: Vec<u8> = alias.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let name = attribute(FRIENDLY_NAME, &write(BMP_STRING, &[&alias]));
    let trusted = attribute(TRUSTED, &write(OID, &[ANY_PURPOSE]));
    // DER wants the members of a set in the order of their encodings.
    let mut attributes = [name, trusted];
    attributes.sort();
    let attributes = write(SET, &[&attributes.concat()]);
    let bag = [write(OID, &[CERTIFICATE_BAG]), write(ZERO, &[&certificate]), attributes].concat();
    write(SEQUENCE, &[&write(SEQUENCE, &[&bag])])
}

fn attribute(kind: &[u8], value: &[u8]) -> Vec<u8> {
    write(SEQUENCE, &[&write(OID, &[kind]), &write(SET, &[value])])
}

/// What vouches for the safes.
struct MacData<'a> {
    algorithm: Element<'a>,
    digest: &'a [u8],
    salt: Element<'a>,
    iterations: Option<Element<'a>>,
}

impl<'a> MacData<'a> {
    fn read(data: Element<'a>) -> Result<MacData<'a>, TrustError> {
        let mut data = data.inside();
        let mut info = data.take(SEQUENCE)?.inside();
        Ok(MacData {
            algorithm: info.take(SEQUENCE)?,
            digest: info.take(OCTETS)?.contents,
            salt: data.take(OCTETS)?,
            iterations: if data.is_empty() { None } else { Some(data.take(INTEGER)?) },
        })
    }

    fn write(&self, digest: &[u8]) -> Vec<u8> {
        let info = write(SEQUENCE, &[self.algorithm.raw, &write(OCTETS, &[digest])]);
        write(SEQUENCE, &[&info, self.salt.raw, self.iterations.map_or(&[], |number| number.raw)])
    }

    fn over(&self, safes: &[u8], password: &str) -> Result<Vec<u8>, TrustError> {
        let iterations = self.iterations()?;
        match self.algorithm.inside().take(OID)?.contents {
            SHA1 => mac::<Sha1>(safes, password, self.salt.contents, iterations),
            SHA256 => mac::<Sha256>(safes, password, self.salt.contents, iterations),
            _ => Err(TrustError::Unsupported("a MAC other than by SHA-1 or SHA-256")),
        }
    }

    fn iterations(&self) -> Result<u32, TrustError> {
        let digits = self.iterations.map_or(&[1][..], |number| number.contents);
        let small = digits.len() <= 4 && digits.first().is_some_and(|first| *first < 0x80);
        let number = digits.iter().fold(0, |number, digit| number << 8 | u32::from(*digit));
        match (small, number) {
            (true, 1..=MOST_ITERATIONS) => Ok(number),
            (true, 0) => Err(TrustError::Damaged),
            _ => Err(TrustError::Unsupported("too many iterations")),
        }
    }
}

fn mac<D>(safes: &[u8], password: &str, salt: &[u8], iterations: u32) -> Result<Vec<u8>, TrustError>
where
    D: EagerHash + Digest + BlockSizeUser,
    Hmac<D>: KeyInit + Mac,
{
    let key = key::<D>(password, salt, iterations);
    let mut mac = <Hmac<D> as KeyInit>::new_from_slice(&key).map_err(|_| TrustError::Damaged)?;
    Mac::update(&mut mac, safes);
    Ok(mac.finalize().into_bytes().to_vec())
}

/// The key of a MAC: RFC 7292, appendix B.2, for the purpose 3. It is as long as the hash is, so one round makes it.
fn key<D: Digest + BlockSizeUser>(password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
    let block = D::BlockSize::USIZE;
    let password: Vec<u8> = password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
    let filled = |bytes: &[u8]| {
        let length = bytes.len().next_multiple_of(block);
        bytes.iter().copied().cycle().take(length).collect::<Vec<u8>>()
    };
    let mut key = D::new()
        .chain_update(vec![3; block])
        .chain_update(filled(salt))
        .chain_update(filled(&password))
        .finalize();
    for _ in 1..iterations {
        key = D::digest(&key);
    }
    key.to_vec()
}
