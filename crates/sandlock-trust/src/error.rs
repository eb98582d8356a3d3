//! Why a store could not be read.

/// A store that nothing was added to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Neither JKS nor PKCS12.
    #[error("neither a JKS nor a PKCS12 store")]
    UnknownFormat,
    /// It ends too early, or contradicts itself.
    #[error("the store is damaged, or not in DER")]
    Damaged,
    /// Its digest is not that of its contents and the password.
    #[error("the store is damaged, or has another password")]
    Password,
    /// It uses what is not supported.
    #[error("the store uses {0}, which is not supported")]
    Unsupported(&'static str),
}
