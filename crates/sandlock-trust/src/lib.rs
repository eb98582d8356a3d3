//! Trust stores: where they are, and the same stores with one more certificate.
//!
//! A program that is to trust the certificates of a run's own authority reads a copy of the store that it would read
//! anyway, with that authority added. Nothing here writes a file, and nothing asks the network.

mod der;
mod error;
mod java;
mod jks;
mod pem;
mod pkcs12;
mod places;

pub use error::TrustError;
pub use java::splice_java;
pub use pem::splice_pem;
pub use places::{VARIABLES, java_stores, system_bundles};
