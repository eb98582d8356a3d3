//! What is wrong with an image.

use std::io;

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It is not written as images are.
    #[error("an image is written oci:DIR or oci:DIR:TAG")]
    Form,
    /// A file of the layout cannot be read.
    #[error("{name} cannot be read")]
    Read {
        /// Its name in the layout.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A document says something else than such documents do.
    #[error("{name} is not what it should be")]
    Document {
        /// Its name in the layout.
        name: String,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A digest that is no SHA-256.
    #[error("a digest is written sha256: and 64 hexadecimal digits")]
    Digest,
    /// A blob is not the one whose digest was wanted.
    #[error("the blob {0} is another one than its digest says")]
    Mismatch(String),
    /// There is no image, or none of that name, or there are several.
    #[error("{0}")]
    Choice(String),
    /// A layer of a kind that is not known.
    #[error("a layer is of the kind {0:?}, which is not known")]
    Layer(String),
    /// Something in a layer that no honest image has, or that cannot be unpacked.
    #[error("a layer has {what} at {path:?}")]
    Entry {
        /// What.
        what: &'static str,
        /// Where.
        path: String,
    },
    /// More than images have.
    #[error("the image is larger than what is unpacked: {0}")]
    TooLarge(&'static str),
    /// The place where images are kept.
    #[error("the image cannot be unpacked")]
    Store(#[source] io::Error),
}
