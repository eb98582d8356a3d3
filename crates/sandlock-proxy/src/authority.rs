//! The authority that certificates of the run are of.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use rustls::crypto::ring::{default_provider, sign};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use sandlock_policy::{HttpHost, HttpName};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Clocks are not all the same.
const BEFORE: Duration = Duration::from_secs(24 * 3600);
/// How long the authority of a run is good, and certificates. Some clients take none that is longer.
const AFTER: Duration = Duration::from_secs(390 * 24 * 3600);

/// Why there is no authority.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file cannot be read.
    #[error("{} cannot be read", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// No key or certificate can be made.
    #[error("the certificate of an authority cannot be made")]
    Make(#[source] rcgen::Error),
    /// The machine has no random numbers, or a key is of an unknown kind.
    #[error("a key cannot be used")]
    Key(#[source] rustls::Error),
    /// What was given as its certificate is none.
    #[error("the certificate of the authority cannot be read")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// What was given as its certificate cannot issue others.
    #[error("the certificate of the authority is not one of an authority")]
    NoAuthority(#[source] rcgen::Error),
    /// What was given as its key is none.
    #[error("the key of the authority cannot be read")]
    PrivateKey(#[source] rcgen::Error),
    /// They do not belong together.
    #[error("the key of the authority is not the key of its certificate")]
    Mismatch,
}

/// An authority, whose key is nowhere but in memory, if it was made here.
pub struct Authority {
    issuer: Issuer<'static, Key>,
    pem: String,
    der: CertificateDer<'static>,
    /// Whom it may speak of; `None` for all.
    hosts: Option<Vec<HttpHost>>,
    /// The key of all its certificates.
    leaf: Key,
    leaf_signer: Arc<dyn rustls::sign::SigningKey>,
}

impl Authority {
    /// Makes one. Its certificate says that it may speak of `hosts` alone, if none of them is any.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn generate(hosts: &[HttpHost]) -> Result<Authority, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "sandlock");
        params.distinguished_name.push(DnType::CommonName, "sandlock, for one run");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?);
        (params.not_before, params.not_after) =
            ((SystemTime::now() - BEFORE).into(), (SystemTime::now() + AFTER).into());
        let bounded = !hosts.is_empty() && !hosts.contains(&HttpHost::Any);
        params.name_constraints = bounded.then(|| constraints(hosts));
        let key = Key::generate()?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::Make)?;
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Authority::with(Issuer::new(params, key), pem, der, bounded.then(|| hosts.to_vec()))
    }

    /// Takes one that is given, in two files in PEM.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Authority, AuthorityError> {
        let read = |path: &Path| {
            let text = fs::read_to_string(path);
            text.map(Zeroizing::new).map_err(|error| AuthorityError::File(path.to_owned(), error))
        };
        Authority::of(&read(certificate)?, &read(key)?)
    }

    fn of(certificate: &str, key: &str) -> Result<Authority, AuthorityError> {
        let der =
            CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(AuthorityError::Certificate)?;
        let key = Key(KeyPair::from_pem(key).map_err(AuthorityError::PrivateKey)?);
        let public = key.subject_public_key_info();
        if !der.windows(public.len()).any(|window| window == public) {
            return Err(AuthorityError::Mismatch);
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(AuthorityError::NoAuthority)?;
        Authority::with(issuer, certificate.to_owned(), der, None)
    }

    fn with(
        issuer: Issuer<'static, Key>,
        pem: String,
        der: CertificateDer<'static>,
        hosts: Option<Vec<HttpHost>>,
    ) -> Result<Authority, AuthorityError> {
        let leaf = Key::generate()?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.0.serialized_der()));
        let leaf_signer = sign::any_supported_type(&private).map_err(AuthorityError::Key)?;
        Ok(Authority { issuer, pem, der, hosts, leaf, leaf_signer })
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn cert_pem(&self) -> String {
        self.pem.clone()
    }

    /// Its certificate, in DER.
    #[must_use]
    pub fn cert_der(&self) -> Vec<u8> {
        self.der.to_vec()
    }

    /// Whether its word for this host is good.
    pub(crate) fn covers(&self, host: &HttpName) -> bool {
        self.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|own| own.matches(host)))
    }

    /// A certificate for a host, with its key and the authority's own.
    pub(crate) fn issue(&self, host: &HttpName) -> Result<CertifiedKey, AuthorityError> {
        let certificate = self.certificate(host).map_err(AuthorityError::Make)?;
        let chain = vec![certificate.der().clone(), self.der.clone()];
        Ok(CertifiedKey::new(chain, Arc::clone(&self.leaf_signer)))
    }

    fn certificate(&self, host: &HttpName) -> Result<Certificate, rcgen::Error> {
        let mut params = CertificateParams::default();
        let name = match host {
            HttpName::Name(name) => SanType::DnsName(name.as_str().try_into()?),
            HttpName::Address(address) => SanType::IpAddress(*address),
        };
        params.subject_alt_names = vec![name];
        // A common name may have 64 characters at most; nobody reads it.
        params.distinguished_name.push(DnType::CommonName, "sandlock");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = serial().ok();
        (params.not_before, params.not_after) =
            ((SystemTime::now() - BEFORE).into(), (SystemTime::now() + AFTER - BEFORE).into());
        params.signed_by(&self.leaf, &self.issuer)
    }
}

/// Never its keys.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("pem", &self.pem)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// What certificates may speak of. Kinds of names that are not spoken of would not be bounded (RFC 5280, 4.2.1.10).
fn constraints(hosts: &[HttpHost]) -> NameConstraints {
    let permitted: Vec<GeneralSubtree> = hosts
        .iter()
        .filter_map(|host| match host {
            HttpHost::Any => None,
            HttpHost::Name(name) | HttpHost::Subdomains(name) => Some(GeneralSubtree::DnsName(name.clone())),
            HttpHost::Address(address) => Some(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(
                *address,
                if address.is_ipv4() { 32 } else { 128 },
            ))),
        })
        .collect();
    let any =
        |is: fn(&IpAddr) -> bool| hosts.iter().any(|host| matches!(host, HttpHost::Address(own) if is(own)));
    let mut excluded = Vec::new();
    if !any(IpAddr::is_ipv4) && !any(IpAddr::is_ipv6) {
        for all in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            excluded.push(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(all, 0)));
        }
    }
    if !permitted.iter().any(|subtree| matches!(subtree, GeneralSubtree::DnsName(_))) {
        excluded.push(GeneralSubtree::DnsName(String::new()));
    }
    NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded }
}

/// All certificates have one key, from which the library would make one number.
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    let filled = default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|error| AuthorityError::Key(error.into()))?;
    // Positive, and of the same length always.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// A private key, whose bytes are overwritten when it is not needed any more.
struct Key(KeyPair);

impl Key {
    fn generate() -> Result<Key, AuthorityError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Key).map_err(AuthorityError::Make)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_is_given_has_the_key_of_its_certificate() {
        let (own, other) = (Authority::generate(&[]).unwrap(), Key::generate().unwrap());
        let wrong = Authority::of(&own.cert_pem(), &other.0.serialize_pem());
        assert!(matches!(wrong, Err(AuthorityError::Mismatch)));
        let key = own.issuer.key().0.serialize_pem();
        let loaded = Authority::of(&own.cert_pem(), &key).unwrap();
        assert_eq!(loaded.cert_der(), own.cert_der());
        assert!(loaded.issue(&"a.test".parse().unwrap()).is_ok());
        assert!(matches!(Authority::of("", &key), Err(AuthorityError::Certificate(_))));
        assert!(matches!(Authority::of(&own.cert_pem(), "x"), Err(AuthorityError::PrivateKey(_))));
        assert!(!format!("{own:?}").contains("PRIVATE"));
    }

    #[test]
    fn it_speaks_of_the_hosts_of_rules_alone() {
        let authority =
            Authority::generate(&["a.test".parse().unwrap(), "*.b.test".parse().unwrap()]).unwrap();
        for (host, covered) in
            [("a.test", true), ("x.b.test", true), ("b.test", false), ("c.test", false), ("1.2.3.4", false)]
        {
            assert_eq!(authority.covers(&host.parse().unwrap()), covered, "{host}");
        }
        assert!(Authority::generate(&[HttpHost::Any]).unwrap().covers(&"c.test".parse().unwrap()));
    }
}
