//! What a root needs, looked up while nothing runs yet.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use sandlock_policy::{FileRules, Mount, RootRules, Tmpfs};
use sandlock_sys::namespace::{Identity, Namespaces};
use sandlock_sys::{Errno, privileges};

use super::image;
use crate::{Options, PlanError};

/// A root that is ready to be made.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) namespaces: Namespaces,
    /// Whom the command takes itself for, and who it is, where there is a user namespace.
    pub(super) identity: Option<(Identity, Identity)>,
    pub(super) host_name: Option<String>,
    /// `None` when the file system is the machine's own.
    pub(crate) layout: Option<Layout>,
}

/// A file system: what is the root, and what is mounted in it.
#[derive(Debug)]
pub(crate) struct Layout {
    /// `None` for the machine's own.
    pub(crate) directory: Option<Source>,
    /// Whether the directory is an image, which nobody may change.
    pub(super) of_image: bool,
    /// Where what is written in it is kept for the time of the run.
    pub(super) written: Option<PathBuf>,
    pub(super) mounts: Vec<(Mount, Source)>,
    pub(super) temporary: Vec<Tmpfs>,
    /// What the rest of the plan is made from, once the root is there.
    pub(crate) surroundings: Surroundings,
}

/// What a plan is made from that can only be looked up inside.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) variables: BTreeMap<OsString, OsString>,
    pub(crate) directory: PathBuf,
    pub(crate) home: Option<PathBuf>,
    /// The private temporary directory: where the command finds it, and what it is on the machine; `None` where it is
    /// found by the path that it has anyway.
    pub(super) private: Option<(PathBuf, Source)>,
    /// Where the command finds it.
    pub(crate) temporary: Option<PathBuf>,
    pub(crate) files: FileRules,
    /// Whether the system's files are the caller's own, whoever the command takes itself for.
    pub(crate) by_root: bool,
}

/// A place of the machine, by its path and by what was there when it was looked at.
#[derive(Debug)]
pub(crate) struct Source {
    pub(super) path: PathBuf,
    device: u64,
    inode: u64,
    pub(super) is_directory: bool,
}

impl Planned {
    /// Looks up what the options ask for. `None` when that is nothing.
    ///
    /// # Errors
    ///
    /// A place that is not there, or a name that is none.
    pub(crate) fn new(options: &mut Options) -> Result<Option<Planned>, PlanError> {
        let mut root = options.policy.root.clone();
        let Some(flag) = root.first_flag() else {
            return Ok(None);
        };
        if options.kernel_only {
            return Err(PlanError::NeedsSupervisor(flag.to_owned()));
        }
        let of_image = root.image.is_some();
        image::take_over(&mut root, options)?;
        check_host_name(root.host_name.as_deref())?;
        let mut layout = Layout::of(&root)?;
        if let Some(layout) = &mut layout {
            layout.of_image = of_image;
        }
        let administers = privileges::administers_the_system().unwrap_or(false);
        let outside = Identity::own();
        let is_another = |wanted: Option<u32>, own| wanted.is_some_and(|wanted| !of_image || wanted != own);
        let users =
            is_another(root.user, outside.user) || is_another(root.group, outside.group) || !administers;
        let inside =
            Identity { user: root.user.unwrap_or(outside.user), group: root.group.unwrap_or(outside.group) };
        Ok(Some(Planned {
            namespaces: Namespaces {
                users,
                mounts: layout.is_some(),
                processes: layout.is_some(),
                host_name: root.host_name.is_some(),
            },
            identity: users.then_some((inside, outside)),
            host_name: root.host_name,
            layout,
        }))
    }
}

impl Planned {
    /// Where the command starts, if that is a path of a root which is not there yet.
    pub(crate) fn directory(&self, given: Option<&Path>) -> Option<PathBuf> {
        let root = Path::new("/");
        self.layout.as_ref().filter(|layout| layout.is_apart())?;
        Some(given.map_or(root.to_owned(), |given| root.join(given)))
    }

    /// Takes in the private temporary directory.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub(crate) fn hold(&mut self, temporary: Option<&Path>) -> Result<(), PlanError> {
        let (Some(layout), Some(temporary)) = (&mut self.layout, temporary) else {
            return Ok(());
        };
        let usual = Path::new(TEMPORARY);
        let mut temporary = temporary.to_owned();
        if layout.of_image {
            for name in ["tmp", "upper", "work"] {
                std::fs::create_dir(temporary.join(name)).map_err(PlanError::Temporary)?;
            }
            layout.written = Some(temporary.clone());
            temporary.push("tmp");
        }
        if !layout.is_apart() {
            layout.surroundings.temporary = Some(temporary);
        } else if !layout.covers(usual) {
            layout.surroundings.temporary = Some(usual.to_owned());
            layout.surroundings.private = Some((usual.to_owned(), Source::find("-w", &temporary)?));
        }
        Ok(())
    }

    /// Where the command finds what it may leave files in.
    pub(crate) fn temporary(&self) -> Option<&Path> {
        let layout = self.layout.as_ref()?;
        // Where something else is mounted there, it is for that.
        let usual = layout.is_apart().then_some(Path::new(TEMPORARY));
        layout.surroundings.temporary.as_deref().or(usual)
    }

    /// Takes in what the plan is ended with inside.
    pub(crate) fn surround(
        &mut self,
        variables: &BTreeMap<OsString, OsString>,
        directory: &Path,
        home: Option<&Path>,
        files: &FileRules,
    ) {
        if let Some(layout) = &mut self.layout {
            let around = &mut layout.surroundings;
            around.variables.clone_from(variables);
            around.directory = directory.to_owned();
            around.home = home.map(Path::to_owned);
            around.files = files.clone();
            around.by_root = rustix::process::geteuid().is_root();
        }
    }

    /// Whether the root is not the machine's own.
    pub(crate) fn is_apart(&self) -> bool {
        self.layout.as_ref().is_some_and(Layout::is_apart)
    }

    /// Places of the machine that are mounted so that they may be written, if a rule says so: all that is mounted below the
    /// root is there as well, wherever its links lead.
    pub(crate) fn may_be_written(&self) -> impl Iterator<Item = &Path> {
        let layout = self.layout.as_ref();
        let mounts =
            layout.into_iter().flat_map(|layout| &layout.mounts).filter(|(mount, _)| !mount.read_only);
        let root = layout.and_then(|layout| layout.directory.as_ref());
        mounts.map(|(_, source)| source).chain(root).map(|source| source.path.as_path())
    }

    /// Whether the plan ends inside.
    pub(crate) fn ends_inside(&self) -> bool {
        self.layout.is_some()
    }
}

impl Layout {
    fn of(root: &RootRules) -> Result<Option<Layout>, PlanError> {
        if root.directory.is_none() && root.mounts.is_empty() && root.temporary.is_empty() {
            return Ok(None);
        }
        let directory =
            root.directory.as_deref().map(|path| Source::directory("--chroot", path)).transpose()?;
        let with_source = |mount: &Mount| Ok((mount.clone(), Source::find("--mount", &mount.source)?));
        Ok(Some(Layout {
            directory,
            of_image: false,
            written: None,
            mounts: root.mounts.iter().map(with_source).collect::<Result<_, PlanError>>()?,
            temporary: root.temporary.clone(),
            surroundings: Surroundings::default(),
        }))
    }

    /// Whether the command sees nothing of the machine's file system but what is named.
    pub(crate) fn is_apart(&self) -> bool {
        self.directory.is_some()
    }

    /// Whether something is mounted just there, or above.
    pub(super) fn covers(&self, path: &Path) -> bool {
        let mounts = self.mounts.iter().map(|(mount, _)| &mount.at);
        mounts.chain(self.temporary.iter().map(|tmpfs| &tmpfs.at)).any(|at| path.starts_with(at))
    }
}

impl Source {
    pub(super) fn directory(flag: &'static str, path: &Path) -> Result<Source, PlanError> {
        let source = Self::find(flag, path)?;
        if source.is_directory {
            return Ok(source);
        }
        let not_one = std::io::ErrorKind::NotADirectory.into();
        Err(PlanError::Path { flag, path: path.to_owned(), source: not_one })
    }

    fn find(flag: &'static str, path: &Path) -> Result<Source, PlanError> {
        let find = || -> std::io::Result<Source> {
            let path = path.canonicalize()?;
            let stat = rustix::fs::stat(&path)?;
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            Ok(Source { path, device: stat.st_dev, inode: stat.st_ino, is_directory })
        };
        find().map_err(|source| PlanError::Path { flag, path: path.to_owned(), source })
    }

    /// Opens it in the namespace that this process is in now: handles of another one cannot be mounted.
    ///
    /// # Errors
    ///
    /// That of `open(2)`; ESTALE when something else is there by now.
    pub(super) fn open(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let place = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&place)?;
        if (stat.st_dev, stat.st_ino) == (self.device, self.inode) { Ok(place) } else { Err(Errno::STALE) }
    }
}

fn check_host_name(name: Option<&str>) -> Result<(), PlanError> {
    let is_one = |name: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !name.is_empty() && name.len() <= LONGEST_HOST_NAME && name.bytes().all(known)
    };
    match name.filter(|name| !is_one(name)) {
        Some(name) => Err(PlanError::HostName(name.to_owned())),
        None => Ok(()),
    }
}

/// Where programs look for it if nobody tells them otherwise.
const TEMPORARY: &str = "/tmp";
/// `__NEW_UTS_LEN`.
const LONGEST_HOST_NAME: usize = 64;
