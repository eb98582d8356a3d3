//! Network rules for what descends from certain programs: where those are.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sandlock_policy::{Host, NetworkRules, Policy, ProcessRules};
use sandlock_supervisor::TreeRoot;

use crate::PlanError;
use crate::executable::{DEFAULT_PATH, Executable};

/// The rules of each, in their order.
pub(crate) fn rules(policy: &Policy) -> Vec<NetworkRules> {
    policy.processes.iter().map(|one| one.network.clone()).collect()
}

/// The programs of each, in the same order. In a root that is not there yet they are looked for later.
///
/// # Errors
///
/// [`PlanError::Process`].
pub(crate) fn roots(
    processes: &[ProcessRules],
    search: Option<&OsStr>,
    directory: &Path,
    inside: bool,
) -> Result<Vec<TreeRoot>, PlanError> {
    let mut found = Vec::new();
    for one in processes {
        let wrong = |why| Err(PlanError::Process { exec: one.exec.clone(), why });
        if !ProcessRules::names_a_program(&one.exec) {
            return wrong("it is neither a name nor an absolute path");
        }
        let named = |host: &Host| matches!(host, Host::Name(_) | Host::Subdomains(_));
        if one.network.deny.iter().any(|rule| named(rule.host())) {
            return wrong("a name cannot be refused to some processes: an address or a range can");
        }
        if processes.iter().filter(|other| other.exec == one.exec).count() > 1 {
            return wrong("its rules cannot both end at the next execution and hold on");
        }
        if !inside {
            let Ok(executable) = Executable::find(one.exec.as_ref(), search, directory) else {
                return wrong("there is no such program");
            };
            let file = std::fs::metadata(&executable.path).map(|file| (file.dev(), file.ino())).ok();
            if found.contains(&file) {
                return wrong("this is the same file as another program with rules");
            }
            found.push(file);
        }
    }
    let roots =
        processes.iter().map(|one| TreeRoot { places: places(&one.exec, search, directory), tree: one.tree });
    Ok(roots.collect())
}

fn places(exec: &str, search: Option<&OsStr>, directory: &Path) -> Vec<PathBuf> {
    if exec.starts_with('/') {
        return vec![PathBuf::from(exec)];
    }
    let default = OsString::from(DEFAULT_PATH);
    std::env::split_paths(search.unwrap_or(&default)).map(|place| directory.join(place).join(exec)).collect()
}
