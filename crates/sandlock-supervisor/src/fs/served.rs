//! The files that are served instead of the machine's: which path means one of them, and what is in it.
//!
//! Serving is a convenience, and no guard: whoever gets the machine's own file instead learns nothing that Landlock
//! does not let it read. So whatever is unclear here means no served file, and nothing has to hold until the end of
//! the call.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Stat};
use sandlock_policy::{NetworkPolicy, hosts_file, resolver_file};
use sandlock_sys::Tid;

use super::path::{self, Base, Follow};
use crate::call::{Call, Failure};
use crate::context::Context;

/// A file of the run's own, which who opens its path for reading is given instead of the machine's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServedFile {
    /// Its path, absolute. Its directory must exist; the file itself may be missing on this machine.
    pub path: PathBuf,
    /// What is in it.
    pub content: Vec<u8>,
}

/// A file that is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Served<'a> {
    /// `/etc/hosts`, in runs with names.
    Hosts,
    /// `/etc/resolv.conf`, in runs with a resolver of their own.
    Resolver,
    /// One that the run was given.
    File(&'a ServedFile),
}

impl<'a> Served<'a> {
    /// What a path means to the caller, if that is one of the files.
    ///
    /// # Errors
    ///
    /// Those of looking it up, which say that it is none.
    pub(crate) fn meant(
        cx: &Context<'a>,
        call: &Call,
        base: &Base,
        path: &[u8],
        follow: Follow,
    ) -> Result<Option<Served<'a>>, Failure> {
        if !may_be_one(cx, call, base, path)? {
            return Ok(None);
        }
        let mut path = path.to_vec();
        let mut link_in = None;
        for _ in 0..MOST_LINKS {
            if path::is_own_descriptor(&path, call.tid) {
                return Ok(Served::with_inode(cx, &path::pin(cx, call, base, &path, Follow::Yes)?));
            }
            let Some((directory, name)) = split(&path) else {
                return Ok(None);
            };
            let start = |link_in: Option<OwnedFd>| match link_in {
                Some(directory) => Ok(directory),
                None => path::open_base(cx, call, base),
            };
            let directory = path::pin_from(cx, call, || start(link_in), directory, Follow::Yes)?;
            let target = rustix::fs::readlinkat(&directory, name, Vec::new());
            if let Some(served) = Served::named(cx, name).find(|served| served.is_in(&directory)) {
                // Whatever is there on this machine: a file, a link to one that may be missing, or nothing.
                return Ok(Some(served).filter(|_| follow == Follow::Yes || target.is_err()));
            }
            if follow == Follow::No {
                return Ok(None);
            }
            path = target?.into_bytes();
            link_in = Some(directory);
        }
        Ok(None)
    }

    /// As [`Served::meant`], for `openat2` with restrictions on the way.
    ///
    /// # Errors
    ///
    /// As [`Served::meant`].
    pub(crate) fn meant_within(
        cx: &Context<'a>,
        call: &Call,
        base: &Base,
        path: &[u8],
        follow: Follow,
        restrictions: ResolveFlags,
    ) -> Result<Option<Served<'a>>, Failure> {
        if !may_be_one(cx, call, base, path)? {
            return Ok(None);
        }
        let from_the_root = path.starts_with(b"/") && !restrictions.contains(ResolveFlags::IN_ROOT);
        let start = if from_the_root { None } else { Some(path::open_base(cx, call, base)?) };
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, follow == Follow::No);
        // What a magic link means here is not what it means to the caller; and what is in no cache is looked up.
        let restrictions = (restrictions | ResolveFlags::NO_MAGICLINKS) & !ResolveFlags::CACHED;
        let start = start.as_ref().map_or(CWD, AsFd::as_fd);
        let file = rustix::fs::openat2(start, path, flags, Mode::empty(), restrictions)?;
        Ok(Served::with_inode(cx, &file))
    }

    /// Its content, as of now.
    pub(crate) fn content(self, policy: &NetworkPolicy) -> Cow<'a, [u8]> {
        match self {
            Served::Hosts => hosts_file(None, policy).into_bytes().into(),
            Served::Resolver => resolver_file().into_bytes().into(),
            Served::File(file) => Cow::Borrowed(&file.content),
        }
    }

    /// Its last name, as `/proc` shows it.
    pub(crate) fn shown_name(self) -> String {
        // memfd_create(2) takes 249 bytes.
        self.name().to_string_lossy().chars().take(60).collect()
    }

    /// Its path.
    pub(crate) fn path(self) -> &'a Path {
        match self {
            Served::Hosts => Path::new("/etc/hosts"),
            Served::Resolver => Path::new("/etc/resolv.conf"),
            Served::File(file) => &file.path,
        }
    }

    fn name(self) -> &'a OsStr {
        self.path().file_name().unwrap_or_default()
    }

    fn is_in(self, directory: &OwnedFd) -> bool {
        let own = self.path().parent().map(rustix::fs::stat);
        match (own, rustix::fs::fstat(directory)) {
            (Some(Ok(own)), Ok(directory)) => same(&own, &directory),
            _ => false,
        }
    }

    fn named(cx: &Context<'a>, name: &[u8]) -> impl Iterator<Item = Served<'a>> {
        Served::all(cx).filter(move |served| served.name().as_bytes() == name)
    }

    fn with_inode(cx: &Context<'a>, file: &OwnedFd) -> Option<Served<'a>> {
        let file = rustix::fs::fstat(file).ok()?;
        Served::all(cx).find(|served| rustix::fs::stat(served.path()).is_ok_and(|real| same(&real, &file)))
    }

    fn all(cx: &Context<'a>) -> impl Iterator<Item = Served<'a>> + use<'a> {
        let network = cx.network.load();
        let hosts =
            (network.all_rules().have_names() || network.resolver().is_some()).then_some(Served::Hosts);
        let resolver = network.resolver().map(|_| Served::Resolver);
        hosts.into_iter().chain(resolver).chain(cx.run.served.iter().map(Served::File))
    }
}

/// Whether it is worth to look closer: the last name is that of a served file, or is a link to who knows what. This
/// is all that the opening of another file costs: nothing in the system's directories, where most files are opened and
/// links of other names are none of ours (those that programs use are served by their own names), and one look
/// elsewhere.
fn may_be_one(cx: &Context<'_>, call: &Call, base: &Base, path: &[u8]) -> Result<bool, Failure> {
    let Some((_, name)) = split(path) else {
        return Ok(false);
    };
    if Served::named(cx, name).next().is_some() || path::is_own_descriptor(path, call.tid) {
        return Ok(true);
    }
    if is_of_the_system(path) {
        return Ok(false);
    }
    let mut first = [MaybeUninit::uninit(); 1];
    let link = match base {
        _ if path.starts_with(b"/") => rustix::fs::readlinkat_raw(CWD, path, &mut first),
        Base::Descriptor(fd) if fd.get() != path::AT_FDCWD => {
            rustix::fs::readlinkat_raw(cx.pin_place(call, *fd)?, path, &mut first)
        }
        _ => rustix::fs::readlinkat_raw(CWD, &below_working_directory(call.tid, path)[..], &mut first),
    };
    Ok(link.is_ok())
}

/// Whether a path leads into the directories of the system.
pub(crate) fn is_of_the_system(path: &[u8]) -> bool {
    let starts = SYSTEM.iter().any(|directory| path.starts_with(directory.as_bytes()));
    starts && !path.windows(3).any(|part| part == b"/..")
}

/// One call less than opening the directory.
fn below_working_directory(tid: Tid, path: &[u8]) -> Vec<u8> {
    [format!("/proc/{tid}/cwd/").as_bytes(), path].concat()
}

/// The directory and the last name of a path; `None` when it can mean nothing but a directory.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) => (&b"/"[..], &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b"."[..], path),
    };
    (!matches!(name, b"" | b"." | b"..")).then_some((directory, name))
}

fn same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Of [`sandlock_policy::base`], but for `/etc`.
const SYSTEM: [&str; 9] =
    ["/usr/", "/lib/", "/lib64/", "/lib32/", "/bin/", "/sbin/", "/nix/", "/gnu/", "/sys/"];
/// `MAXSYMLINKS`.
pub(super) const MOST_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_out_of_the_systems_directories_is_none_of_theirs() {
        for path in ["/usr/lib/x", "/lib64/ld.so", "/sys/kernel", "/usr/lib/..x"] {
            assert_eq!(is_of_the_system(path.as_bytes()), !path.contains("/.."), "{path}");
        }
        for path in ["/usr/../tmp/x", "/home/x", "usr/x", "/usrx", "/etc/x", "/proc/self/cwd/x"] {
            assert!(!is_of_the_system(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn paths_are_split_at_their_last_name() {
        let parts = |path: &'static str| split(path.as_bytes());
        assert_eq!(parts("/etc/hosts"), Some((&b"/etc"[..], &b"hosts"[..])));
        assert_eq!(parts("/hosts"), Some((&b"/"[..], &b"hosts"[..])));
        assert_eq!(parts("hosts"), Some((&b"."[..], &b"hosts"[..])));
        assert_eq!(parts("//etc/.//hosts"), Some((&b"//etc/./"[..], &b"hosts"[..])));
        for directory in ["", "/", "etc/", ".", "/etc/..", "/etc/hosts/", "/etc/hosts/."] {
            assert_eq!(parts(directory), None, "{directory}");
        }
    }
}
