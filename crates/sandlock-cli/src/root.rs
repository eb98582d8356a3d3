//! The flags for a root of the run's own, and for whom the command takes itself.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use sandlock_core::{Image, ImageError, Mount, MountError, RootRules, Tmpfs};

/// The file system that the command finds, and who it is there.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct RootArgs {
    /// Make this directory the root: readable, with a /proc and a /dev of its own. Paths of other flags are those of the
    /// new root [default: the machine's root].
    #[arg(long, value_name = "DIR", help_heading = ROOT)]
    pub(crate) chroot: Option<PathBuf>,
    /// Make this image the root: a directory in the layout of the Open Container Initiative. Its variables, entry point,
    /// working directory and user are those of the run; without a COMMAND its own is run. What is written in it (-w) is gone
    /// afterwards.
    #[arg(long, value_name = "oci:DIR[:TAG]", help_heading = ROOT, conflicts_with = "chroot",
        value_parser = OsStringValueParser::new().try_map(image))]
    pub(crate) image: Option<PathBuf>,
    /// Mount a directory or file of the machine in the root, and allow writing it; with :ro, reading alone: nothing there
    /// can be changed in any way. Repeatable.
    #[arg(long, value_name = "VIRTUAL:HOST[:ro]", help_heading = ROOT,
        value_parser = OsStringValueParser::new().try_map(mount))]
    pub(crate) mount: Vec<Mount>,
    /// Mount an empty place in memory in the root, and allow writing it. SIZE is in bytes, or with K, M, G, T. Repeatable.
    #[arg(long, value_name = "VIRTUAL[:SIZE]", help_heading = ROOT,
        value_parser = OsStringValueParser::new().try_map(tmpfs))]
    pub(crate) tmpfs: Vec<Tmpfs>,
    /// Let the command take itself for this user [default: who it is]. To everybody else it stays who started it.
    #[arg(long, value_name = "UID", help_heading = ROOT, value_parser = number)]
    pub(crate) uid: Option<u32>,
    /// Let the command take itself to be of this group.
    #[arg(long, value_name = "GID", help_heading = ROOT, value_parser = number)]
    pub(crate) gid: Option<u32>,
    /// Tell the command this host name [default: the machine's].
    #[arg(long, value_name = "NAME", help_heading = ROOT)]
    pub(crate) hostname: Option<String>,
}

impl RootArgs {
    pub(crate) fn into_root(self) -> RootRules {
        RootRules {
            directory: self.chroot,
            image: self.image,
            mounts: self.mount,
            temporary: self.tmpfs,
            user: self.uid,
            group: self.gid,
            host_name: self.hostname,
        }
    }
}

fn image(text: OsString) -> Result<PathBuf, ImageError> {
    Image::parse(&text).map(|_| text.into())
}

/// Where what can be had again is kept, as the XDG Base Directory Specification has it.
pub(crate) fn cache() -> Option<PathBuf> {
    let absolute = |path: PathBuf| Some(path).filter(|path| path.is_absolute());
    let said = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).and_then(absolute);
    let usual = || std::env::home_dir().and_then(absolute).map(|home| home.join(".cache"));
    said.or_else(usual).map(|cache| cache.join("sandlock"))
}

fn mount(text: OsString) -> Result<Mount, MountError> {
    Mount::parse(&text)
}

fn tmpfs(text: OsString) -> Result<Tmpfs, MountError> {
    Tmpfs::parse(&text)
}

/// The last one of 32 bits is none: chown(2).
fn number(text: &str) -> Result<u32, &'static str> {
    text.parse()
        .ok()
        .filter(|number| *number != u32::MAX)
        .ok_or("a user or group is a number up to 4294967294")
}

const ROOT: &str = "Where it runs, and as whom";
