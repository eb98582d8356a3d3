//! Whom upstreams may prove themselves by.

use std::io;
use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The certificates of these files. A file without any is an error: somebody meant something by it.
pub(crate) fn given(files: &[PathBuf]) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for file in files {
        let wrong = |why: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", file.display()))
        };
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
        let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| wrong(&error))?;
        if certificates.is_empty() {
            return Err(wrong(&"no certificate in it"));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
    }
    Ok(roots)
}

/// What the machine trusts, added to others. What of it cannot be read is trusted by nobody.
pub(crate) fn add_native(roots: &mut RootCertStore) {
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
}
