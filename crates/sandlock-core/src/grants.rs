//! File rules made into grants: open places, the access to each, and where it comes from.

pub(crate) mod execution;
pub(crate) mod holes;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use sandlock_policy::{Base, FileRules, base, installation_prefixes};
use sandlock_sys::landlock::FileAccess;

use crate::PlanError;
use crate::executable::Executable;

/// One place and what may be done there.
#[derive(Debug)]
pub struct Grant {
    /// The path, as the rule or the base has it.
    pub path: PathBuf,
    /// What may be done.
    pub access: FileAccess,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether what is there may be executed as well.
    pub executable: bool,
    /// Whether something below it is denied.
    pub holed: bool,
    /// What is beside the holes, where it has some: the command is granted these instead.
    pub(crate) beside: Vec<OwnedFd>,
    pub(crate) place: OwnedFd,
}

/// Where a grant comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// `-r` or `-w`.
    Flag,
    /// `-x`.
    ExecuteFlag,
    /// The standard base.
    Base,
    /// The working directory, which the base makes readable.
    WorkingDirectory,
    /// The installation of the command or of its interpreter.
    Installation,
    /// The private temporary directory.
    Temporary,
    /// `--chroot` or `--image`: the root itself.
    Root,
    /// `--mount` or `--tmpfs`.
    Mount,
}

impl Grant {
    /// Whether it is `/proc`, or below.
    pub(crate) fn is_in_proc(&self) -> bool {
        self.path.starts_with("/proc") || self.path.canonicalize().is_ok_and(|real| real.starts_with("/proc"))
    }

    pub(crate) fn holds_proc(&self) -> bool {
        self.is_in_proc() || self.path.canonicalize().is_ok_and(|real| Path::new("/proc").starts_with(real))
    }
}

/// Whether the base grants `/proc`, and no flag: what a person names is granted as it is.
pub(crate) fn only_the_base_grants_proc(grants: &[Grant]) -> bool {
    let mut of_proc = grants.iter().filter(|grant| grant.holds_proc()).peekable();
    of_proc.peek().is_some() && of_proc.all(|grant| grant.origin != Origin::Flag && grant.is_in_proc())
}

/// Opens every place that the command may reach.
///
/// # Errors
///
/// [`PlanError::Path`] for a path of a flag that cannot be opened. Places of the base may be missing.
pub(crate) fn grants(
    rules: &FileRules,
    executable: &Executable,
    directory: &Path,
    home: Option<&Path>,
    temporary: Option<&Path>,
) -> Result<Vec<Grant>, PlanError> {
    let by_root = rustix::process::geteuid().is_root();
    let mut grants = of_base(rules, executable, directory, home, temporary, by_root);
    grants.extend(of_flags(rules, directory)?);
    execution::restrict(grants, rules, directory)
}

/// Opens the places that need not be named. `by_root`: whether the system's files are the caller's own.
pub(crate) fn of_base(
    rules: &FileRules,
    executable: &Executable,
    directory: &Path,
    home: Option<&Path>,
    temporary: Option<&Path>,
    by_root: bool,
) -> Vec<Grant> {
    let mut grants = Vec::new();
    if rules.base == Base::Standard {
        add_base(&mut grants, by_root);
        if !holds_the_home(directory, home) {
            add_if_there(&mut grants, directory, FileAccess::Read, Origin::WorkingDirectory);
        }
        let mut prefixes: Vec<PathBuf> =
            executable.files.iter().flat_map(|file| installation_prefixes(file, home)).collect();
        prefixes.sort();
        prefixes.dedup();
        for prefix in prefixes {
            add_if_there(&mut grants, &prefix, FileAccess::Read, Origin::Installation);
        }
    }
    if let Some(temporary) = temporary {
        add_if_there(&mut grants, temporary, FileAccess::Write, Origin::Temporary);
    }
    grants
}

/// Opens the places that flags name.
///
/// # Errors
///
/// [`PlanError::Path`].
pub(crate) fn of_flags(rules: &FileRules, directory: &Path) -> Result<Vec<Grant>, PlanError> {
    let mut grants = Vec::new();
    let flags = [("-r", &rules.read, FileAccess::Read), ("-w", &rules.write, FileAccess::Write)];
    for (flag, paths, access) in flags {
        for path in paths {
            let grant = place(&directory.join(path), access, Origin::Flag)
                .map_err(|errno| PlanError::Path { flag, path: path.clone(), source: errno.into() })?;
            grants.push(grant);
        }
    }
    Ok(grants)
}

/// Whether making it readable would make the home directory readable.
pub(crate) fn holds_the_home(directory: &Path, home: Option<&Path>) -> bool {
    let real = directory.canonicalize();
    let directory = real.as_deref().unwrap_or(directory);
    home.is_some_and(|home| {
        home.starts_with(directory) || home.canonicalize().is_ok_and(|home| home.starts_with(directory))
    })
}

fn add_base(grants: &mut Vec<Grant>, by_root: bool) {
    for path in base::READ {
        // Most distributions have /bin and the like as links into /usr, which is granted already.
        let is_short = path.rfind('/') == Some(0);
        let leads_to = || rustix::fs::readlink(*path, Vec::new());
        if is_short && leads_to().is_ok_and(|target| target.to_bytes().starts_with(b"usr/")) {
            continue;
        }
        add_if_there(grants, Path::new(path), FileAccess::Read, Origin::Base);
    }
    if by_root {
        for path in expand(base::READ_ETC_AS_ROOT) {
            add_if_there(grants, &path, FileAccess::Read, Origin::Base);
        }
    } else {
        for path in base::READ_ETC {
            add_if_there(grants, Path::new(path), FileAccess::Read, Origin::Base);
        }
    }
    for path in base::WRITE_DEVICES.iter().chain(base::TERMINAL_DEVICES) {
        add_if_there(grants, Path::new(path), FileAccess::Device, Origin::Base);
    }
    for terminal in own_terminals() {
        add_if_there(grants, &terminal, FileAccess::Device, Origin::Base);
    }
}

/// The terminals that the command inherits, so that it can open them again by name.
fn own_terminals() -> Vec<PathBuf> {
    let mut terminals: Vec<PathBuf> =
        [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()]
            .into_iter()
            .filter(|fd| rustix::termios::isatty(fd))
            .filter_map(|fd| rustix::termios::ttyname(fd, Vec::new()).ok())
            .map(|name| PathBuf::from(OsStr::from_bytes(name.to_bytes())))
            .collect();
    terminals.dedup();
    terminals
}

/// Replaces each entry that ends in `*` by the files that it stands for.
fn expand(entries: &[&str]) -> Vec<PathBuf> {
    let names: Vec<_> =
        std::fs::read_dir("/etc").into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    let mut paths = Vec::new();
    for entry in entries {
        match entry.strip_suffix('*') {
            Some(start) => {
                let of_etc = start.strip_prefix("/etc/").unwrap_or(start).as_bytes();
                let matching = names.iter().filter(|name| name.as_bytes().starts_with(of_etc));
                paths.extend(matching.map(|name| Path::new("/etc").join(name)));
            }
            // Asking the directory once is cheaper than asking for each of a hundred entries.
            None if first_component(entry).is_some_and(|first| !names.iter().any(|name| name == first)) => {}
            None => paths.push(PathBuf::from(entry)),
        }
    }
    paths
}

fn first_component(entry: &str) -> Option<&OsStr> {
    entry.strip_prefix("/etc/")?.split('/').next().map(OsStr::new)
}

fn add_if_there(grants: &mut Vec<Grant>, path: &Path, access: FileAccess, origin: Origin) {
    grants.extend(place(path, access, origin));
}

/// Opens one place.
///
/// # Errors
///
/// That of `open(2)`.
pub(crate) fn place(path: &Path, access: FileAccess, origin: Origin) -> Result<Grant, rustix::io::Errno> {
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let executable = access != FileAccess::Device;
    Ok(Grant { path: path.to_owned(), access, origin, executable, holed: false, beside: Vec::new(), place })
}

/// The real paths of what may be written.
pub(crate) fn writable(grants: &[Grant]) -> Vec<PathBuf> {
    grants
        .iter()
        .filter(|grant| grant.access == FileAccess::Write)
        .filter_map(|grant| grant.path.canonicalize().ok())
        .collect()
}
