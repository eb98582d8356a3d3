//! Secrets that are added to requests: where they come from, so that the program never has them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

use sandlock_policy::{Credential, CredentialSource, HttpAuth};
use sandlock_proxy::{Auth, Secret};

use super::Http;
use crate::PlanError;

/// What is added to requests.
///
/// # Errors
///
/// A credential that nobody defined, or that cannot be read.
pub(crate) fn auths(http: &Http) -> Result<Vec<Auth>, PlanError> {
    http.auths.iter().map(|auth| Ok(Auth { rule: auth.clone(), secret: secret(http, auth)? })).collect()
}

/// The variables that hold secrets, which the program is not to have.
pub(crate) fn variables(http: &Http) -> impl Iterator<Item = &OsStr> {
    http.credentials.iter().filter_map(|credential| match &credential.source {
        CredentialSource::Variable(name) => Some(OsStr::new(name)),
        _ => None,
    })
}

fn secret(http: &Http, auth: &HttpAuth) -> Result<Secret, PlanError> {
    let named = |credential: &&Credential| credential.name == auth.credential();
    let credential = http.credentials.iter().find(named).ok_or_else(|| PlanError::NoCredential {
        auth: auth.to_string(),
        name: auth.credential().to_owned(),
    })?;
    read(credential).map_err(|source| PlanError::Credential { name: credential.name.clone(), source })
}

fn read(credential: &Credential) -> io::Result<Secret> {
    match &credential.source {
        CredentialSource::Variable(name) => {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            let unset = || io::Error::new(io::ErrorKind::NotFound, "the variable is not set");
            Ok(Secret::Value(value.ok_or_else(unset)?.into_vec()))
        }
        CredentialSource::File(path) => {
            // Read by the proxy, again and again; a mistake is better found now.
            File::open(path)?;
            Ok(Secret::File(std::path::absolute(path)?))
        }
        CredentialSource::Descriptor(number) => {
            let mut value = Vec::new();
            File::from(crate::take_inherited(*number)?).read_to_end(&mut value)?;
            Ok(Secret::Value(value))
        }
    }
}
