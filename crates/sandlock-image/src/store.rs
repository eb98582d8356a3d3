//! Where images are kept, each unpacked once, by the digest of its manifest: what that leads to is the same for ever.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::layers::{self, Limits};
use crate::{Config, Image, ImageError, layout};

/// An image, ready to be a root.
#[derive(Debug)]
pub struct Unpacked {
    /// The directory. Nobody may change it: others run from it as well.
    pub root: PathBuf,
    /// What the image says of how it is run.
    pub config: Config,
}

/// Unpacks an image below `cache`, unless it is there.
///
/// # Errors
///
/// [`ImageError`]. Nothing of it is left then.
pub fn unpack(image: &Image, cache: &Path) -> Result<Unpacked, ImageError> {
    let (descriptor, manifest) = layout::manifest(image)?;
    let config = layout::config(image, &manifest)?;
    let store = open_store(cache).map_err(ImageError::Store)?;
    let place = store.join(format!("{FORMAT}-{}", descriptor.hex()?));
    let root = place.join(ROOT);
    if root.is_dir() {
        return Ok(Unpacked { root, config });
    }
    if manifest.layers.len() > MOST_LAYERS {
        return Err(ImageError::TooLarge("layers"));
    }
    let fresh = tempfile::Builder::new().prefix(".new-").tempdir_in(&store).map_err(ImageError::Store)?;
    let made = fresh.path().join(ROOT);
    fs::create_dir(&made).map_err(ImageError::Store)?;
    fs::set_permissions(&made, Permissions::from_mode(0o755)).map_err(ImageError::Store)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(&made, flags, Mode::empty()).map_err(store_error)?;
    let mut limits = Limits::default();
    for layer in &manifest.layers {
        layers::apply(handle.as_fd(), &image.directory, layer, &mut limits)?;
    }
    for point in POINTS {
        // What is there is of the image; a run says what is wrong with it.
        if let Ok(Some(point)) = crate::place::find(handle.as_fd(), Path::new(point)) {
            let _ = rustix::fs::mkdirat(&point.directory, &point.name, Mode::from_raw_mode(0o755));
        }
    }
    for file in FILES {
        if let Ok(Some(point)) = crate::place::find(handle.as_fd(), Path::new(file)) {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let _ = rustix::fs::openat(&point.directory, &point.name, flags, Mode::from_raw_mode(0o644));
        }
    }
    match fs::rename(fresh.path(), &place) {
        Ok(()) => drop(fresh.keep()),
        // Another run was faster, with the same content.
        Err(_) if root.is_dir() => {}
        Err(error) => return Err(ImageError::Store(error)),
    }
    Ok(Unpacked { root, config })
}

/// The user's alone: who could write there would choose what runs.
fn open_store(cache: &Path) -> io::Result<PathBuf> {
    let store = cache.join("images");
    fs::create_dir_all(&store)?;
    fs::set_permissions(&store, Permissions::from_mode(0o700))?;
    let found = fs::symlink_metadata(&store)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    store.canonicalize()
}

fn store_error(errno: rustix::io::Errno) -> ImageError {
    ImageError::Store(errno.into())
}

/// Another number when images are unpacked otherwise.
const FORMAT: &str = "2";
const ROOT: &str = "root";
/// What every run mounts.
const POINTS: [&str; 4] = ["proc", "dev", "sys", "tmp"];
/// What runs with names mount.
const FILES: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];
const MOST_LAYERS: usize = 500;
