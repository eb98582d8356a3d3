//! The documents of a layout: index, manifest, configuration.

use std::fs::File;
use std::io::Read;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::blob::Descriptor;
use crate::{Image, ImageError};

/// What an image says of how it is run.
#[derive(Clone, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// The variables, `NAME=value`.
    #[serde(deserialize_with = "none_is_empty")]
    pub env: Vec<String>,
    /// What is executed before the command's words.
    #[serde(deserialize_with = "none_is_empty")]
    pub entrypoint: Vec<String>,
    /// The command's words, if nobody gives others.
    #[serde(deserialize_with = "none_is_empty")]
    pub cmd: Vec<String>,
    /// Where it starts.
    pub working_dir: String,
    /// As whom: a name or a number, and a group after a colon.
    pub user: String,
}

fn none_is_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
pub(crate) struct Manifest {
    config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Configuration {
    config: Option<Config>,
}

/// Finds the manifest of an image, by its tag and for this machine.
///
/// # Errors
///
/// [`ImageError`].
pub(crate) fn manifest(image: &Image) -> Result<(Descriptor, Manifest), ImageError> {
    let mut content = Vec::new();
    let file = File::open(image.directory.join(INDEX));
    file.and_then(|file| file.take(LARGEST_INDEX).read_to_end(&mut content))
        .map_err(|source| ImageError::Read { name: INDEX.to_owned(), source })?;
    let mut index: Index = document(INDEX, &content)?;
    let mut tag = image.tag.as_deref();
    for _ in 0..DEEPEST {
        let found = choose(&index.manifests, tag)?;
        let content = found.read(&image.directory)?;
        if !found.media_type.contains("index") && !found.media_type.contains("manifest.list") {
            return Ok((found.clone(), document(&found.digest, &content)?));
        }
        index = document(&found.digest, &content)?;
        // Below are the same image for several machines.
        tag = None;
    }
    Err(ImageError::Choice("the index leads to an index, and that to another".to_owned()))
}

/// Reads the configuration of an image.
///
/// # Errors
///
/// [`ImageError`].
pub(crate) fn config(image: &Image, manifest: &Manifest) -> Result<Config, ImageError> {
    let content = manifest.config.read(&image.directory)?;
    let configuration: Configuration = document(&manifest.config.digest, &content)?;
    Ok(configuration.config.unwrap_or_default())
}

fn choose<'a>(manifests: &'a [Descriptor], tag: Option<&str>) -> Result<&'a Descriptor, ImageError> {
    let named = |one: &&Descriptor| tag.is_none() || one.annotations.get(NAME).map(String::as_str) == tag;
    let of_this_machine = |one: &&Descriptor| {
        one.platform
            .as_ref()
            .is_none_or(|platform| platform.os == "linux" && platform.architecture == architecture())
    };
    let mut fitting = manifests.iter().filter(named).filter(of_this_machine);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            let names = manifests.iter().filter_map(|one| one.annotations.get(NAME)).map(String::as_str);
            Err(ImageError::Choice(format!(
                "there are several images: {}",
                names.collect::<Vec<_>>().join(", ")
            )))
        }
        (None, _) => Err(ImageError::Choice(match tag {
            Some(tag) => format!("there is no image {tag:?} for this machine"),
            None => "there is no image for this machine".to_owned(),
        })),
    }
}

fn document<T: DeserializeOwned>(name: &str, content: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(content)
        .map_err(|source| ImageError::Document { name: name.to_owned(), source: Box::new(source) })
}

/// As Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

const INDEX: &str = "index.json";
const NAME: &str = "org.opencontainers.image.ref.name";
const LARGEST_INDEX: u64 = 4 << 20;
const DEEPEST: usize = 4;
