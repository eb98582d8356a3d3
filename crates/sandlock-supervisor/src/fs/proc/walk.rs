//! Following a path as the caller would: what it meets in `/proc` means what it means to the caller.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use sandlock_sys::Errno;

use super::{HANDLE, MOUNT, Root, Wanted, same};
use crate::call::{Call, Failure};
use crate::context::Context;
use crate::fs::path;
use crate::task::tree;

/// A path being followed, and for whom.
pub(super) struct Walk<'a, 'c> {
    pub(super) cx: &'a Context<'c>,
    pub(super) call: &'a Call,
    pub(super) root: &'a Root,
    /// The process of the caller.
    pub(super) caller: i32,
}

/// Where a path has come to.
pub(super) struct Place {
    pub(super) handle: OwnedFd,
    /// The names from `/proc` on, if it is in there.
    pub(super) within: Option<Vec<Vec<u8>>>,
}

impl Walk<'_, '_> {
    /// Where a path leads; `None` where the kernel's answer is the right one: it fails, or ends in a link that is not
    /// followed.
    ///
    /// # Errors
    ///
    /// ENOENT for a way through a process that is not of the sandbox.
    pub(super) fn to(&self, wanted: &Wanted<'_>) -> Result<Option<Place>, Failure> {
        let scoped = wanted.restrictions.intersects(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT);
        let absolute = wanted.path.starts_with(b"/");
        let start = if absolute && !scoped {
            open_root()?
        } else {
            path::open_base(self.cx, self.call, wanted.base)?
        };
        if absolute && wanted.restrictions.contains(ResolveFlags::BENEATH) {
            return Ok(None);
        }
        let ceiling = scoped.then(|| rustix::io::fcntl_dupfd_cloexec(&start, 0)).transpose()?;
        let mut place = self.place(start)?;
        let mut todo = names(wanted.path);
        let mut links = 0;
        while let Some(name) = todo.pop() {
            let next = match &name[..] {
                b"." => continue,
                b".." => match &ceiling {
                    Some(ceiling) if same(ceiling, &place.handle)? => {
                        if wanted.restrictions.contains(ResolveFlags::BENEATH) {
                            return Ok(None);
                        }
                        continue;
                    }
                    _ => self.up(&place)?,
                },
                _ => self.down(&place, &name)?,
            };
            let next = match next {
                Step::To(next) => next,
                Step::Nowhere => return Ok(None),
                Step::Link(link) => {
                    links += 1;
                    let stays = todo.is_empty()
                        && wanted.flags.contains(OFlags::NOFOLLOW)
                        && !wanted.path.ends_with(b"/");
                    if stays || links > MOST_LINKS || wanted.restrictions.contains(ResolveFlags::NO_SYMLINKS)
                    {
                        return Ok(None);
                    }
                    match link {
                        Link::Magic
                            if scoped || wanted.restrictions.contains(ResolveFlags::NO_MAGICLINKS) =>
                        {
                            return Ok(None);
                        }
                        // What it leads to is what the caller would find: the process is of the sandbox.
                        Link::Magic => {
                            match rustix::fs::openat(&place.handle, &name[..], HANDLE, Mode::empty()) {
                                Ok(handle) => self.place(handle)?,
                                Err(_) => return Ok(None),
                            }
                        }
                        Link::Path(target) => {
                            let absolute = target.starts_with(b"/");
                            todo.extend(names(&target));
                            if !absolute {
                                continue;
                            }
                            match &ceiling {
                                None => self.place(open_root()?)?,
                                Some(_) if wanted.restrictions.contains(ResolveFlags::BENEATH) => {
                                    return Ok(None);
                                }
                                Some(ceiling) => self.place(rustix::io::fcntl_dupfd_cloexec(ceiling, 0)?)?,
                            }
                        }
                    }
                }
            };
            if wanted.restrictions.contains(ResolveFlags::NO_XDEV)
                && next.within.is_some() != place.within.is_some()
            {
                return Ok(None);
            }
            place = next;
        }
        Ok(Some(place))
    }

    fn down(&self, place: &Place, name: &[u8]) -> Result<Step, Failure> {
        if let Some([]) = place.within.as_deref() {
            match name {
                b"self" => return Ok(Step::to_path(self.caller.to_string())),
                b"thread-self" => {
                    return Ok(Step::to_path(format!("{}/task/{}", self.caller, self.call.tid)));
                }
                _ => {}
            }
        }
        let Ok(handle) = rustix::fs::openat(&place.handle, name, HANDLE | OFlags::NOFOLLOW, Mode::empty())
        else {
            return Ok(Step::Nowhere);
        };
        let stat = rustix::fs::fstat(&handle)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Ok(match &place.within {
                Some(within) if is_of_a_process(within) => Step::Link(Link::Magic),
                within => match rustix::fs::readlinkat(&handle, "", Vec::new()) {
                    Ok(target) => {
                        if within.is_none() && !self.cx.holes.is_empty() {
                            self.cx.holes.of_entry(place.handle.as_fd(), name)?.is_area()?;
                        }
                        Step::Link(Link::Path(target.into_bytes()))
                    }
                    Err(_) => Step::Nowhere,
                },
            });
        }
        let within = match &place.within {
            _ if stat.st_dev != self.root.device => None,
            // A mount of its own in between: by its whole path.
            None => return Ok(Step::To(self.place(handle)?)),
            Some(within) => {
                let mut within = within.clone();
                within.push(name.to_vec());
                if within.len() == 1 && is_of_a_process(&within) {
                    self.demand_of_the_sandbox(&handle, name)?;
                }
                Some(within)
            }
        };
        Ok(Step::To(Place { handle, within }))
    }

    fn up(&self, place: &Place) -> Result<Step, Failure> {
        let Ok(handle) = rustix::fs::openat(&place.handle, "..", HANDLE, Mode::empty()) else {
            return Ok(Step::Nowhere);
        };
        match &place.within {
            Some(within) if !within.is_empty() => {
                let within = Some(within[..within.len() - 1].to_vec());
                Ok(Step::To(Place { handle, within }))
            }
            _ => Ok(Step::To(self.place(handle)?)),
        }
    }

    /// Where a handle is.
    fn place(&self, handle: OwnedFd) -> Result<Place, Failure> {
        if !self.root.holds(&handle)? {
            return Ok(Place { handle, within: None });
        }
        // The kernel's own path of it, which is text: so it is followed, and must lead to the same again.
        let path = rustix::fs::readlink(path::of(handle.as_fd()), Vec::new())?.into_bytes();
        let below =
            path.strip_prefix(MOUNT.as_bytes()).filter(|rest| rest.is_empty() || rest.starts_with(b"/"));
        let Some(below) = below else {
            // Mounted somewhere else as well, which is for Landlock to decide on.
            return Ok(Place { handle, within: None });
        };
        let mut within = names(below);
        within.reverse();
        let again = self.reach(&within)?;
        if !same(&again, &handle)? {
            return Err(Errno::NOENT.into());
        }
        Ok(Place { handle, within: Some(within) })
    }

    /// Opens what is at a place of `/proc`, through no link; if it is of a process, of one of the sandbox.
    pub(super) fn reach(&self, within: &[Vec<u8>]) -> Result<OwnedFd, Failure> {
        let open = |start: &OwnedFd, names: &[Vec<u8>]| {
            let path = if names.is_empty() { b".".to_vec() } else { names.join(&b'/') };
            let restrictions =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            rustix::fs::openat2(start, path, HANDLE | OFlags::NOFOLLOW, Mode::empty(), restrictions)
        };
        let (start, rest) = match within.split_first() {
            Some((first, rest)) if is_of_a_process(within) => {
                let directory = open(&self.root.handle, std::slice::from_ref(first))?;
                self.demand_of_the_sandbox(&directory, first)?;
                (Some(directory), rest)
            }
            _ => (None, within),
        };
        Ok(open(start.as_ref().unwrap_or(&self.root.handle), rest)?)
    }

    /// # Errors
    ///
    /// ENOENT: as if there were no such process (`hidepid=2` of proc(5)).
    fn demand_of_the_sandbox(&self, directory: &OwnedFd, number: &[u8]) -> Result<(), Failure> {
        let is = |pid: i32| number == pid.to_string().as_bytes();
        // The caller waits for its answer, which is confirmed before anything is given.
        let allowed = is(self.caller) || is(self.call.tid.get()) || tree::holds_directory(directory.as_fd());
        if allowed { Ok(()) } else { Err(Errno::NOENT.into()) }
    }
}

/// What one name of a path is.
enum Step {
    To(Place),
    Link(Link),
    /// The kernel has an error for it.
    Nowhere,
}

impl Step {
    fn to_path(path: String) -> Step {
        Step::Link(Link::Path(path.into_bytes()))
    }
}

enum Link {
    /// It leads to an object, whatever path it shows.
    Magic,
    Path(Vec<u8>),
}

/// The names of a path, the first one last.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).rev().map(<[u8]>::to_vec).collect()
}

/// Whether a place in `/proc` is below the directory of a process.
pub(super) fn is_of_a_process(within: &[Vec<u8>]) -> bool {
    within.first().is_some_and(|first| first.iter().all(u8::is_ascii_digit))
}

fn open_root() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/", HANDLE | OFlags::DIRECTORY, Mode::empty())
}

/// `MAXSYMLINKS`.
const MOST_LINKS: usize = 40;
