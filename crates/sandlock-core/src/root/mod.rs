//! A root file system of a run's own, and who the command is there: namespaces, entered by the supervisor before it
//! confines itself. The launcher stays outside.

mod build;
mod device;
mod explain;
mod forbidden;
mod image;
mod inside;
mod mount;
mod number;
mod planned;
mod point;
mod told;

use std::path::PathBuf;

use sandlock_image::Image;

pub use explain::RootExplanation;
pub use mount::{Mount, MountError, Tmpfs};

pub(crate) use forbidden::forbidden;
pub(crate) use number::outside;
pub(crate) use planned::Planned;
pub(crate) use told::error_of;

/// The root file system of a run, and who the command is. The default is the machine's own, and the caller.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Root {
    /// The directory that is the root; readable, unless the policy is bare.
    pub directory: Option<PathBuf>,
    /// The image that is the root, in place of a directory: what is written in it is gone after the run.
    pub image: Option<Image>,
    /// Where images are kept, once they are unpacked.
    pub cache: Option<PathBuf>,
    /// Places of the machine, mounted in the root. Each grants what it says.
    pub mounts: Vec<Mount>,
    /// Empty places in memory, mounted in the root, which may be written.
    pub temporary: Vec<Tmpfs>,
    /// The user that the command takes itself for.
    pub user: Option<u32>,
    /// The group that the command takes itself to be of.
    pub group: Option<u32>,
    /// The host name that the command is told.
    pub host_name: Option<String>,
}

impl Root {
    /// The first flag that asks for something of this, if one does.
    pub(crate) fn first_flag(&self) -> Option<&'static str> {
        let asked = [
            (self.directory.is_some(), "--chroot"),
            (self.image.is_some(), "--image"),
            (!self.mounts.is_empty(), "--mount"),
            (!self.temporary.is_empty(), "--tmpfs"),
            (self.user.is_some(), "--uid"),
            (self.group.is_some(), "--gid"),
            (self.host_name.is_some(), "--hostname"),
        ];
        asked.into_iter().find_map(|(asked, flag)| asked.then_some(flag))
    }
}
