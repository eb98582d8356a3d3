//! Layers: archives, each applied over those before, with the marks by which it takes away what they brought.
//!
//! Everything becomes the unpacking user's: owners, set-user-id bits and attributes are not kept, devices and FIFOs are left
//! out. Directories stay enterable and files readable for the owner.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType, PaxExtensions};

use crate::ImageError;
use crate::blob::Descriptor;
use crate::place::{self, Place};
use crate::zstd::Frames;

/// How much all layers of an image may hold.
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 64 << 30, entries: 4_000_000 }
    }
}

/// Unpacks one layer over what is in the root.
///
/// # Errors
///
/// [`ImageError`]; what was unpacked by then is not to be used.
pub(crate) fn apply(
    root: BorrowedFd<'_>,
    layout: &Path,
    layer: &Descriptor,
    limits: &mut Limits,
) -> Result<(), ImageError> {
    let mut blob = layer.open(layout)?;
    let kind = layer.media_type.as_str();
    match kind.rsplit(['.', '+']).next() {
        Some("gzip") => {
            let plain = flate2::bufread::MultiGzDecoder::new(BufReader::new(&mut blob));
            unpack(root, plain, limits)?;
        }
        Some("zstd") => unpack(root, Frames::new(BufReader::new(&mut blob)), limits)?,
        Some("tar") => unpack(root, BufReader::new(&mut blob), limits)?,
        _ => return Err(ImageError::Layer(kind.to_owned())),
    }
    // Only what was whole counts.
    blob.finish()
}

fn unpack(root: BorrowedFd<'_>, plain: impl Read, limits: &mut Limits) -> Result<(), ImageError> {
    let mut archive = Archive::new(plain);
    let mut layer = Layer { root, made: HashSet::new(), next: Extensions::default() };
    let entries = archive.entries().map_err(broken)?;
    // Raw: what extends an entry is bounded here, and would be held in memory whole there.
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(broken)?;
        limits.entries = limits.entries.checked_sub(1).ok_or(ImageError::TooLarge("entries"))?;
        limits.bytes = limits.bytes.checked_sub(entry.size()).ok_or(ImageError::TooLarge("bytes"))?;
        if layer.extends(&mut entry)? {
            continue;
        }
        layer.add(&mut entry)?;
        layer.next = Extensions::default();
    }
    Ok(())
}

/// What an entry before says of the next one.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

struct Layer<'a> {
    root: BorrowedFd<'a>,
    /// What this layer brought: its marks are about those before.
    made: HashSet<PathBuf>,
    next: Extensions,
}

impl Layer<'_> {
    fn extends(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<bool, ImageError> {
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => self.next.path = Some(trimmed(text(entry)?)),
            EntryType::GNULongLink => self.next.link = Some(trimmed(text(entry)?)),
            EntryType::XHeader => {
                let content = text(entry)?;
                for extension in PaxExtensions::new(&content) {
                    let extension = extension.map_err(broken)?;
                    match extension.key_bytes() {
                        b"path" => self.next.path = Some(extension.value_bytes().to_vec()),
                        b"linkpath" => self.next.link = Some(extension.value_bytes().to_vec()),
                        // Files of more than 8 GiB, and with holes: the archive would be read wrongly.
                        b"size" => return Err(refused("a size of its own", &content)),
                        key if key.starts_with(b"GNU.sparse") => {
                            return Err(refused("a file with holes", &content));
                        }
                        _ => {}
                    }
                }
            }
            EntryType::XGlobalHeader => drop(text(entry)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), ImageError> {
        let path = self.next.path.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let link = self.next.link.take().or_else(|| entry.link_name_bytes().map(|name| name.into_owned()));
        if path.contains(&0) || link.as_ref().is_some_and(|link| link.contains(&0)) {
            return Err(refused("a NUL in a name", &path));
        }
        let failed = |errno: Errno| ImageError::Store(io::Error::other(format!("{}: {errno}", shown(&path))));
        let found = place::find(self.root, Path::new(OsStr::from_bytes(&path))).map_err(failed)?;
        let Some(place) = found else {
            // The root itself is there already. Nothing else has no name.
            return if entry.header().entry_type() == EntryType::Directory {
                Ok(())
            } else {
                Err(refused("a file", &path))
            };
        };
        if let Some(hidden) = place.name.as_bytes().strip_prefix(b".wh.") {
            return self
                .take_away(&place, hidden)
                .map_err(failed)?
                .ok_or_else(|| refused("a mark of nothing", &path));
        }
        let header = entry.header();
        let mode = header.mode().map_err(broken)? & 0o777;
        let time = header.mtime().unwrap_or(0);
        match header.entry_type() {
            EntryType::Directory => directory(&place, mode).map_err(failed)?,
            EntryType::Regular | EntryType::Continuous => file(&place, entry, mode)?,
            EntryType::Symlink => {
                let target = link.ok_or_else(|| refused("a link to nothing", &path))?;
                place.remove().map_err(failed)?;
                rustix::fs::symlinkat(&target[..], &place.directory, &place.name).map_err(failed)?;
            }
            EntryType::Link => {
                let target = link.ok_or_else(|| refused("a link to nothing", &path))?;
                self.hard_link(&place, &target)?;
            }
            // No device is anybody's in a root of its own, and nobody is at the other end of a FIFO.
            EntryType::Char | EntryType::Block | EntryType::Fifo => return Ok(()),
            _ => return Err(refused("an entry of no known kind", &path)),
        }
        set_time(&place, time);
        self.made.insert(place.key);
        Ok(())
    }

    /// `.wh.NAME` takes away what layers before brought by that name, `.wh..wh..opq` all that they brought to its
    /// directory.
    fn take_away(&self, place: &Place, hidden: &[u8]) -> Result<Option<()>, Errno> {
        let kept = |key: &Path| self.made.contains(key);
        if hidden == b".wh..opq" {
            return place.empty_directory_but(&kept).map(Some);
        }
        if hidden.starts_with(b".wh.") {
            // Marks of the storage drivers of old.
            return Ok(Some(()));
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Ok(None);
        }
        let name = OsString::from_vec(hidden.to_vec());
        let key = place.key.with_file_name(&name);
        let directory = rustix::io::fcntl_dupfd_cloexec(&place.directory, 0)?;
        Place { directory, name, key }.remove_but(&kept).map(Some)
    }

    /// To a file of the root, whatever its name says. A link to a link is one, and is not followed.
    fn hard_link(&self, place: &Place, target: &[u8]) -> Result<(), ImageError> {
        let failed =
            |errno: Errno| ImageError::Store(io::Error::other(format!("{}: {errno}", shown(target))));
        let found = place::find(self.root, Path::new(OsStr::from_bytes(target))).map_err(failed)?;
        let target = found.ok_or_else(|| refused("a link to nothing", target))?;
        if !matches!(target.kind(), Some(FileType::RegularFile | FileType::Symlink)) {
            return Err(refused("a link to what is no file", target.name.as_bytes()));
        }
        if target.key == place.key {
            return Ok(());
        }
        place.remove().map_err(failed)?;
        rustix::fs::linkat(&target.directory, &target.name, &place.directory, &place.name, AtFlags::empty())
            .map_err(failed)
    }
}

fn directory(place: &Place, mode: u32) -> Result<(), Errno> {
    if place.kind() != Some(FileType::Directory) {
        place.remove()?;
        rustix::fs::mkdirat(&place.directory, &place.name, Mode::from_raw_mode(0o700))?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(&place.directory, &place.name, flags, Mode::empty())?;
    rustix::fs::fchmod(opened, Mode::from_raw_mode(mode | 0o700))
}

fn file(place: &Place, entry: &mut Entry<'_, impl Read>, mode: u32) -> Result<(), ImageError> {
    let store = |errno: Errno| ImageError::Store(io::Error::from(errno));
    place.remove().map_err(store)?;
    // Somebody who made a link there in between would be the same user, and O_EXCL does not follow it.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made: OwnedFd = rustix::fs::openat(&place.directory, &place.name, flags, Mode::from_raw_mode(0o600))
        .map_err(store)?;
    let mut made = std::fs::File::from(made);
    let wanted = entry.size();
    let copied = io::copy(entry, &mut made).map_err(ImageError::Store)?;
    if copied != wanted {
        return Err(refused("an end in the middle", place.name.as_bytes()));
    }
    rustix::fs::fchmod(&made, Mode::from_raw_mode(mode | 0o400)).map_err(store)
}

fn set_time(place: &Place, seconds: u64) {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    // A file without its time is a file still.
    let _ = rustix::fs::utimensat(&place.directory, &place.name, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// What extends another entry: names, which are short.
fn text(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, ImageError> {
    if entry.size() > LONGEST_EXTENSION {
        return Err(ImageError::TooLarge("a name"));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(broken)?;
    Ok(text)
}

fn trimmed(mut name: Vec<u8>) -> Vec<u8> {
    while name.last() == Some(&0) {
        name.pop();
    }
    name
}

fn refused(what: &'static str, path: &[u8]) -> ImageError {
    ImageError::Entry { what, path: shown(path) }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned()
}

fn broken(source: io::Error) -> ImageError {
    ImageError::Read { name: "a layer".to_owned(), source }
}

const LONGEST_EXTENSION: u64 = 1 << 20;

#[cfg(test)]
mod tests;
