//! The trust stores that a run is served, with the authority's certificate in them, and the variables that lead there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sandlock_supervisor::ServedFile;
use sandlock_trust::{TrustError, VARIABLES, java_stores, splice_java, splice_pem, system_bundles};

use crate::PlanError;

/// What the program trusts.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    /// The stores, each by every path that it has.
    pub(crate) served: Vec<ServedFile>,
    /// Set unless the person set them.
    pub(crate) variables: Vec<(OsString, OsString)>,
}

impl Trust {
    /// Reads the system's bundles, those that are `named`, and the stores of a JDK below what is `readable`; adds the
    /// certificate to each. Without any bundle, one is made in `temporary`.
    ///
    /// # Errors
    ///
    /// A named bundle that cannot be read or is of no known kind, or a bundle that cannot be made.
    pub(crate) fn with(
        certificate: &Certificate,
        named: &[PathBuf],
        readable: &[PathBuf],
        temporary: Option<&Path>,
    ) -> Result<Trust, PlanError> {
        let mut trust = Trust::default();
        let mut first = None;
        for path in system_bundles() {
            // What cannot be read here cannot be read by the program either, or is no business of ours.
            if let Ok(content) = std::fs::read(&path) {
                trust.serve(&path, splice_pem(&content, &certificate.pem));
                first.get_or_insert(path);
            }
        }
        for path in java_stores(readable) {
            // A store of a kind that is not known stays what it is: its programs refuse what the proxy shows them.
            let spliced = std::fs::read(&path).ok().and_then(|store| certificate.spliced(&store).ok());
            if let Some(content) = spliced {
                trust.serve(&path, content);
            }
        }
        for path in named {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let store = std::fs::read(&path).map_err(|source| PlanError::Path {
                flag: "--http-ca-bundle",
                path: path.clone(),
                source,
            })?;
            let content = certificate
                .spliced(&store)
                .map_err(|source| PlanError::Bundle { path: path.clone(), source: Box::new(source) })?;
            trust.serve(&path, content);
            if is_pem(&store) {
                first.get_or_insert(path);
            }
        }
        if let (None, Some(temporary)) = (&first, temporary) {
            let path = temporary.join(OWN_BUNDLE);
            std::fs::write(&path, &certificate.pem).map_err(PlanError::Temporary)?;
            first = Some(path);
        }
        if let Some(bundle) = first {
            trust.variables = VARIABLES.map(|name| (name.into(), bundle.clone().into())).to_vec();
        }
        Ok(trust)
    }

    /// By the path and by what it leads to: the program may go either way.
    fn serve(&mut self, path: &Path, content: Vec<u8>) {
        if let Ok(real) = path.canonicalize()
            && real != path
        {
            self.add(real, content.clone());
        }
        self.add(path.to_owned(), content);
    }

    fn add(&mut self, path: PathBuf, content: Vec<u8>) {
        if !self.served.iter().any(|served| served.path == path) {
            self.served.push(ServedFile { path, content });
        }
    }
}

/// What trust stores are to hold, where they can be read only in a root of the run's own.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    pub(super) certificate: Certificate,
    pub(super) bundles: Vec<PathBuf>,
}

impl Stores {
    /// As [`Trust::with`], of what this process finds in the root that it is in.
    ///
    /// # Errors
    ///
    /// As [`Trust::with`].
    pub(crate) fn inside(
        &self,
        directory: &Path,
        readable: &[PathBuf],
        temporary: Option<&Path>,
    ) -> Result<Trust, PlanError> {
        let named: Vec<_> = self.bundles.iter().map(|path| directory.join(path)).collect();
        Trust::with(&self.certificate, &named, readable, temporary)
    }
}

/// The certificate of an authority.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
}

impl Certificate {
    fn spliced(&self, store: &[u8]) -> Result<Vec<u8>, TrustError> {
        if is_pem(store) { Ok(splice_pem(store, &self.pem)) } else { splice_java(store, &self.der, PASSWORD) }
    }
}

/// Text, as opposed to the formats of Java. A bundle may be empty, and begin with comments.
fn is_pem(store: &[u8]) -> bool {
    store.is_empty() || store.windows(BEGIN.len()).any(|window| window == BEGIN)
}

const BEGIN: &[u8] = b"-----BEGIN ";
/// What every JDK ships its store with; it protects nothing.
const PASSWORD: &str = "changeit";
const OWN_BUNDLE: &str = "sandlock-ca.pem";

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Certificate {
        Certificate { pem: "-----BEGIN CERTIFICATE-----\nown\n".to_owned(), der: vec![0x30, 0] }
    }

    #[test]
    fn a_named_bundle_is_served_by_its_path_and_by_what_that_leads_to() {
        let place = tempfile::tempdir().unwrap();
        let real = place.path().canonicalize().unwrap().join("real.pem");
        std::fs::write(&real, "-----BEGIN CERTIFICATE-----\ntheirs").unwrap();
        let link = real.with_file_name("link.pem");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let trust = Trust::with(&certificate(), std::slice::from_ref(&link), &[], None).unwrap();
        for path in [real, link] {
            let served = trust.served.iter().find(|served| served.path == path).unwrap();
            let text = String::from_utf8(served.content.clone()).unwrap();
            assert!(text.contains("\ntheirs\n") && text.ends_with("\nown\n"), "{text}");
        }
        assert_eq!(trust.variables.len(), VARIABLES.len());
    }

    #[test]
    fn a_named_bundle_that_is_none_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("text");
        let with = |path: &Path| Trust::with(&certificate(), &[path.to_owned()], &[], None);
        assert!(matches!(with(&path), Err(PlanError::Path { flag: "--http-ca-bundle", .. })));
        std::fs::write(&path, "nothing of the kind").unwrap();
        assert!(matches!(with(&path), Err(PlanError::Bundle { .. })));
    }
}
