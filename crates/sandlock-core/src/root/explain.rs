//! What makes the root of a run, and who the command is there.

use super::Planned;
use crate::Plan;

/// One thing that a run asks of its root, and what makes it so on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootExplanation {
    /// As a flag.
    pub rule: String,
    /// By what.
    pub mechanism: &'static str,
}

impl Plan {
    /// What a run with a root or an identity of its own has, and by what.
    #[must_use]
    pub fn explain_root(&self) -> Vec<RootExplanation> {
        self.root.as_ref().map(Planned::explain).unwrap_or_default()
    }

    /// Whether the paths of rules are looked up in the root of the run, when it starts.
    #[must_use]
    pub fn ends_inside(&self) -> bool {
        self.root.as_ref().is_some_and(Planned::ends_inside)
    }
}

impl Planned {
    fn explain(&self) -> Vec<RootExplanation> {
        let mut all = Vec::new();
        let mut say = |rule: String, mechanism| all.push(RootExplanation { rule, mechanism });
        if let Some(layout) = &self.layout {
            if let Some(directory) = &layout.directory {
                say(format!("--chroot {}", directory.path.display()), "a mount namespace, pivot_root");
            }
            for (mount, source) in &layout.mounts {
                let (at, source) = (mount.at.display(), source.path.display());
                match mount.read_only {
                    true => say(
                        format!("--mount {at}:{source}:ro"),
                        "a mount that can only be read, and Landlock",
                    ),
                    false => say(format!("--mount {at}:{source}"), "a mount, and Landlock"),
                }
            }
            for tmpfs in &layout.temporary {
                let size = tmpfs.size.map_or_else(String::new, |size| format!(":{size}"));
                say(format!("--tmpfs {}{size}", tmpfs.at.display()), "a mount in memory, and Landlock");
            }
            say("processes".to_owned(), "a process namespace, a /proc of its own");
        }
        match self.identity {
            Some((inside, outside)) if inside != outside => {
                say(format!("--uid {} --gid {}", inside.user, inside.group), "a user namespace");
            }
            Some(_) => say("who is not root".to_owned(), "a user namespace"),
            None => {}
        }
        if let Some(name) = &self.host_name {
            say(format!("--hostname {name}"), "a namespace for the host name");
        }
        all
    }
}
