//! Blobs: read once, and true only when all of them is read and the digest is the one that was wanted.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::ImageError;

/// What leads to a blob.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
    pub(crate) platform: Option<Platform>,
}

/// The machines that an image is for.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
}

impl Descriptor {
    /// The digits of its digest, which are fit for a name of a file.
    ///
    /// # Errors
    ///
    /// [`ImageError::Digest`].
    pub(crate) fn hex(&self) -> Result<&str, ImageError> {
        let hex = self.digest.strip_prefix("sha256:").ok_or(ImageError::Digest)?;
        let digits = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits { Ok(hex) } else { Err(ImageError::Digest) }
    }

    /// Opens the blob below the directory of the layout.
    ///
    /// # Errors
    ///
    /// [`ImageError::Digest`], [`ImageError::Read`].
    pub(crate) fn open(&self, layout: &Path) -> Result<Blob, ImageError> {
        let hex = self.hex()?.to_owned();
        let name = format!("blobs/sha256/{hex}");
        let file = File::open(layout.join(&name)).map_err(|source| ImageError::Read { name, source })?;
        Ok(Blob { rest: file.take(self.size), hash: Sha256::new(), hex })
    }

    /// Reads a small blob whole, which is a document.
    ///
    /// # Errors
    ///
    /// As [`Descriptor::open`], and [`ImageError::Mismatch`].
    pub(crate) fn read(&self, layout: &Path) -> Result<Vec<u8>, ImageError> {
        if self.size > LARGEST_DOCUMENT {
            return Err(ImageError::TooLarge("a document"));
        }
        let mut blob = self.open(layout)?;
        let mut content = Vec::new();
        let name = format!("blobs/sha256/{}", blob.hex);
        blob.read_to_end(&mut content).map_err(|source| ImageError::Read { name, source })?;
        blob.finish()?;
        Ok(content)
    }
}

/// An open blob, hashed while it is read.
pub(crate) struct Blob {
    rest: io::Take<File>,
    hash: Sha256,
    hex: String,
}

impl Blob {
    /// Reads what is left, and says whether it was the one that was wanted.
    ///
    /// # Errors
    ///
    /// [`ImageError::Mismatch`], [`ImageError::Read`].
    pub(crate) fn finish(mut self) -> Result<(), ImageError> {
        let name = format!("blobs/sha256/{}", self.hex);
        io::copy(&mut self, &mut io::sink()).map_err(|source| ImageError::Read { name, source })?;
        let found: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found == self.hex { Ok(()) } else { Err(ImageError::Mismatch(self.hex)) }
    }
}

impl Read for Blob {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.rest.read(into)?;
        self.hash.update(&into[..read]);
        Ok(read)
    }
}

const LARGEST_DOCUMENT: u64 = 4 << 20;
