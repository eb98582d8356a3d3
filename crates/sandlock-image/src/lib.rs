//! Images in the layout of the Open Container Initiative: read, verified, and unpacked into a directory.
//!
//! An image is somebody else's word about everything: each blob is read once, and taken only if its digest is the one that
//! led to it. Unpacking leaves the directory by no name: see [`Layers`](layers). Nothing here executes, mounts or prints.

mod blob;
mod error;
mod layers;
mod layout;
mod place;
mod store;
mod zstd;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

pub use error::ImageError;
pub use layout::Config;
pub use store::{Unpacked, unpack};

/// Where an image is: a directory in the layout, and which of the images there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The directory.
    pub directory: PathBuf,
    /// The name that the index gives it; the only one there is if none.
    pub tag: Option<String>,
}

impl Image {
    /// An image from how it is written: `oci:DIR`, or `oci:DIR:TAG`.
    ///
    /// # Errors
    ///
    /// [`ImageError::Form`].
    pub fn parse(text: &OsStr) -> Result<Self, ImageError> {
        let rest = text.as_bytes().strip_prefix(b"oci:").ok_or(ImageError::Form)?;
        let (directory, tag) = match rest.iter().rposition(|byte| *byte == b':') {
            Some(colon) if !rest[colon..].contains(&b'/') => (&rest[..colon], Some(&rest[colon + 1..])),
            _ => (rest, None),
        };
        let tag = tag.map(|tag| String::from_utf8(tag.to_vec())).transpose().map_err(|_| ImageError::Form)?;
        if directory.is_empty() || tag.as_ref().is_some_and(String::is_empty) {
            return Err(ImageError::Form);
        }
        Ok(Image { directory: PathBuf::from(OsStr::from_bytes(directory)), tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_directory_and_perhaps_a_tag() {
        let parse = |text: &str| Image::parse(OsStr::new(text));
        let image = |directory: &str, tag: Option<&str>| Image {
            directory: PathBuf::from(directory),
            tag: tag.map(str::to_owned),
        };
        assert_eq!(parse("oci:/a/b").unwrap(), image("/a/b", None));
        assert_eq!(parse("oci:b:latest").unwrap(), image("b", Some("latest")));
        assert_eq!(parse("oci:/a:b/c").unwrap(), image("/a:b/c", None));
        for text in ["", "oci:", "/a", "oci::x", "oci:a:", "docker:a"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
