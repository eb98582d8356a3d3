//! What `--fs-deny` takes out of the grants.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sandlock_supervisor::{Held, Hole, Holes, hold_hole};

use super::Grant;
use crate::PlanError;

/// Takes the denied paths out of the grants: a grant in such a place is dropped, one above has a hole.
///
/// # Errors
///
/// [`PlanError::Path`] for a path that cannot be looked at, or that is everything.
pub(crate) fn dig(
    grants: Vec<Grant>,
    denied: &[PathBuf],
    directory: &Path,
) -> Result<(Vec<Grant>, Holes), PlanError> {
    let mut holes = Holes::default();
    if denied.is_empty() {
        return Ok((grants, holes));
    }
    for path in denied {
        let failed = |source| PlanError::Path { flag: "--fs-deny", path: path.clone(), source };
        let hole = hold(&directory.join(path)).map_err(failed)?;
        holes.holes.push(hole.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?);
    }
    let above: HashMap<_, _> = holes
        .holes
        .iter()
        .flat_map(|hole| hole.path.ancestors().map(|path| (path, hole.path.clone())))
        .filter_map(|(path, hole)| Some((numbers(&std::fs::metadata(path).ok()?), hole)))
        .collect();
    let mut kept = Vec::with_capacity(grants.len());
    for mut grant in grants {
        let real = grant.path.canonicalize().unwrap_or_else(|_| grant.path.clone());
        if holes.holes.iter().any(|hole| real.starts_with(&hole.path)) {
            continue;
        }
        // The same directory by another mount: rules about it are one to Landlock.
        if let Some(hole) = above.get(&identity(&grant.place)?)
            && !holes.holes.iter().any(|hole| hole.path.starts_with(&real))
        {
            return Err(PlanError::ShownTwice { denied: hole.clone(), granted: grant.path.clone() });
        }
        grant.holed = holes.holes.iter().any(|hole| hole.path.starts_with(&real));
        if grant.holed {
            let path = grant.path.clone();
            let failed = |errno: Errno| PlanError::Path {
                flag: "--fs-deny",
                path: path.clone(),
                source: errno.into(),
            };
            let handle = rustix::io::fcntl_dupfd_cloexec(grant.place.as_fd(), 0).map_err(failed)?;
            holes.areas.push(Held::new(handle).map_err(failed)?);
            add_beside(&mut grant, &real, &mut holes).map_err(failed)?;
        }
        kept.push(grant);
    }
    Ok((kept, holes))
}

fn numbers(found: &std::fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn identity(place: &OwnedFd) -> Result<(u64, u64), PlanError> {
    let found =
        rustix::fs::fstat(place).map_err(|errno| PlanError::Ruleset(Box::new(io::Error::from(errno))))?;
    #[allow(clippy::unnecessary_cast)] // Their types are the architecture's.
    Ok((found.st_dev as u64, found.st_ino as u64))
}

/// Adds what is there beside the holes, in the directories that lead to them: directories, and files that can be
/// executed. What the kernel can be told of needs nobody's help, and executing is the one thing that cannot be done on
/// somebody's behalf.
fn add_beside(grant: &mut Grant, area: &Path, holes: &mut Holes) -> Result<(), Errno> {
    let mut above = vec![area.to_owned()];
    while let Some(directory) = above.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if holes.holes.iter().any(|hole| hole.path == path) || grant.beside.len() >= MOST_BESIDE {
                continue;
            }
            let Ok(found) = entry.metadata() else {
                continue;
            };
            if found.is_dir() && holes.holes.iter().any(|hole| hole.path.starts_with(&path)) {
                above.push(path);
            } else if found.is_dir() || (found.is_file() && found.mode() & 0o111 != 0) {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let place = rustix::fs::open(&path, flags, Mode::empty())?;
                // Another name of what is denied.
                if holes.add_beside(&place)? {
                    grant.beside.push(place);
                }
            }
        }
    }
    Ok(())
}

/// Holds what a path leads to; of one that leads nowhere, the first name that is missing.
fn hold(path: &Path) -> io::Result<Option<Hole>> {
    let mut path = path.to_owned();
    loop {
        match path.canonicalize() {
            Ok(real) => return Ok(hold_hole(&real)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(None);
        };
        match parent.canonicalize() {
            Ok(real) => return Ok(hold_hole(&real.join(name))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => path = parent.to_owned(),
            Err(error) => return Err(error),
        }
    }
}

/// Landlock keeps a rule for each.
const MOST_BESIDE: usize = 4096;
