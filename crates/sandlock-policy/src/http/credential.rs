//! Where a secret comes from. Never the secret itself.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{HttpRuleError, HttpRuleErrorKind};

const DEFAULT_FLAG: &str = "--credential";

/// A secret by its name, and where it comes from: `NAME=env:VAR`, `NAME=file:PATH` or `NAME=fd:N`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credential {
    /// Its name, by which an [`HttpAuth`](super::HttpAuth) speaks of it.
    pub name: String,
    /// Where it comes from.
    pub source: CredentialSource,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialSource {
    /// A variable of the caller's environment. The program does not get it.
    Variable(String),
    /// A file, read again when it changes.
    File(PathBuf),
    /// A descriptor, read to its end.
    Descriptor(i32),
}

impl Credential {
    /// Parses `spec`, which the user gave with `flag`: an error names both.
    ///
    /// # Errors
    /// [`HttpRuleError`] when `spec` is not in the grammar.
    pub fn parse_flag(flag: &str, spec: &str) -> Result<Credential, HttpRuleError> {
        let parsed = parse(spec).ok_or(HttpRuleErrorKind::Credential);
        parsed.map_err(|kind| HttpRuleError::new(flag, spec, kind))
    }
}

impl FromStr for Credential {
    type Err = HttpRuleError;

    fn from_str(spec: &str) -> Result<Credential, HttpRuleError> {
        Credential::parse_flag(DEFAULT_FLAG, spec)
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            CredentialSource::Variable(variable) => write!(f, "{}=env:{variable}", self.name),
            CredentialSource::File(path) => write!(f, "{}=file:{}", self.name, path.display()),
            CredentialSource::Descriptor(number) => write!(f, "{}=fd:{number}", self.name),
        }
    }
}

impl Serialize for Credential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Credential, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Whether `text` can name a credential.
pub(crate) fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(known)
}

fn parse(spec: &str) -> Option<Credential> {
    let (name, source) = spec.split_once('=').filter(|(name, _)| is_name(name))?;
    let (kind, place) = source.split_once(':').filter(|(_, place)| !place.is_empty())?;
    let source = match kind {
        "env" if !place.contains(['=', '\0']) => CredentialSource::Variable(place.to_owned()),
        "file" if !place.contains('\0') => CredentialSource::File(place.into()),
        "fd" if place.bytes().all(|byte| byte.is_ascii_digit()) => {
            CredentialSource::Descriptor(place.parse().ok()?)
        }
        _ => return None,
    };
    Some(Credential { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_name_and_a_place() {
        for (spec, source) in [
            ("key=env:API_KEY", CredentialSource::Variable("API_KEY".into())),
            ("my-key.1=file:/run/s e:c=ret", CredentialSource::File("/run/s e:c=ret".into())),
            ("k=fd:7", CredentialSource::Descriptor(7)),
        ] {
            let credential: Credential = spec.parse().unwrap();
            assert_eq!(credential.source, source);
            assert_eq!(credential.to_string(), spec);
            let json = serde_json::to_string(&credential).unwrap();
            assert_eq!(serde_json::from_str::<Credential>(&json).unwrap(), credential);
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for spec in [
            "",
            "key",
            "key=",
            "key=secret",
            "key=env:",
            "=env:A",
            "a b=env:A",
            "k=env:A=B",
            "k=fd:-1",
            "k=fd:+1",
            "k=fd:x",
            "k=fd:99999999999",
            "k=Env:A",
            "k=file:",
        ] {
            let error = spec.parse::<Credential>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("--credential {spec:?}: expected NAME=env:VAR")), "{error}");
        }
    }
}
