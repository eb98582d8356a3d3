//! Which grants let things be executed, where not all do.
//!
//! Landlock adds up the rights of all rules above a file. So a place loses the right only if every rule that covers it
//! does.

use std::path::{Path, PathBuf};

use sandlock_policy::FileRules;
use sandlock_sys::landlock::FileAccess;

use super::{Grant, Origin, place};
use crate::PlanError;

/// Adds what `-x` names, and takes execution away where it is not to be.
///
/// # Errors
///
/// [`PlanError::Path`] for a path of `-x` that cannot be opened, [`PlanError::Execution`] for rules that contradict each
/// other.
pub(crate) fn restrict(
    mut grants: Vec<Grant>,
    rules: &FileRules,
    directory: &Path,
) -> Result<Vec<Grant>, PlanError> {
    if !rules.restrict_execution() {
        return Ok(grants);
    }
    for path in &rules.execute {
        let grant = place(&directory.join(path), FileAccess::Read, Origin::ExecuteFlag)
            .map_err(|errno| PlanError::Path { flag: "-x", path: path.clone(), source: errno.into() })?;
        grants.push(grant);
    }
    if !rules.execute.is_empty() {
        let named = |origin| {
            matches!(origin, Origin::Base | Origin::Root | Origin::Installation | Origin::ExecuteFlag)
        };
        grants.iter_mut().for_each(|grant| grant.executable &= named(grant.origin));
        // A root of the run's own is its base, but for what was mounted in it, or granted besides.
        let besides: Vec<PathBuf> = grants.iter().filter(|grant| !named(grant.origin)).map(real).collect();
        for grant in grants.iter_mut().filter(|grant| grant.origin == Origin::Root) {
            let real = real(grant);
            grant.executable &= !besides.iter().any(|place| overlap(place, &real));
        }
    }
    if rules.writable_not_executable {
        let writable: Vec<PathBuf> =
            grants.iter().filter(|grant| grant.access == FileAccess::Write).map(real).collect();
        for grant in &mut grants {
            let real = real(grant);
            let overlapping = writable.iter().find(|place| overlap(place, &real));
            let Some(place) = overlapping.filter(|_| grant.executable) else {
                continue;
            };
            // What the command needs to start, or what the person named: taking it away would not be what they want.
            let needed = matches!(grant.origin, Origin::Base | Origin::ExecuteFlag);
            if needed && grant.access != FileAccess::Write {
                return Err(PlanError::Execution { executable: grant.path.clone(), writable: place.clone() });
            }
            grant.executable = false;
        }
    }
    Ok(grants)
}

/// Whether one is in the other.
fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn real(grant: &Grant) -> PathBuf {
    grant.path.canonicalize().unwrap_or_else(|_| grant.path.clone())
}
