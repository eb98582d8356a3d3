//! How a control socket of a run is known, of whichever run: by a mark on its inode, which no rename and no hard link takes
//! off. A path would say nothing, since who may write the directory may move what is in it.

use rustix::fs::{FileType, Mode, Stat};

/// The mode of a control socket. Writing is all that connecting takes, the kernel gives the sticky bit no meaning on a
/// socket, and no program sets just these two on one of its own.
pub const MARKED: Mode = Mode::WUSR.union(Mode::SVTX);

/// Whether this is a control socket: its mode is changed by nobody inside.
pub(crate) fn is_marked(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Socket && Mode::from_raw_mode(stat.st_mode) == MARKED
}
