//! What makes the root of a run, who the command is there, and what it will find.

use std::path::{Path, PathBuf};

use sandlock_policy::{Base, base};
use sandlock_sys::landlock::FileAccess;

use super::Planned;
use super::planned::Layout;
use crate::Plan;
use crate::executable::Executable;
use crate::grants::{self, Grant, Origin};

/// A place that the command may reach, as far as that is known before the root is there: by its path in the root, where links
/// may lead elsewhere, and perhaps nothing is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Foreseen {
    /// The path.
    pub path: PathBuf,
    /// What may be done.
    pub access: FileAccess,
    /// Where it comes from.
    pub origin: Origin,
}

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

    /// Whether the command sees nothing of the machine's file system but what is named.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.root.as_ref().is_some_and(Planned::is_apart)
    }

    /// What the command may reach in a root of the run's own; none where the file system is the machine's, of which
    /// [`Plan::grants`] tells more.
    #[must_use]
    pub fn foreseen_grants(&self) -> Vec<Foreseen> {
        let layout = self.root.as_ref().and_then(|root| root.layout.as_ref());
        layout.map(|layout| layout.foreseen(&self.command[0])).unwrap_or_default()
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

impl Layout {
    /// The places of a root that is not the machine's which need not be named. All of it is the person's word, as with `-r`,
    /// and the devices of the run's own hold nobody's secrets.
    pub(super) fn places_apart(&self) -> Vec<(PathBuf, FileAccess, Origin)> {
        let around = &self.surroundings;
        if around.files.base != Base::Standard {
            return Vec::new();
        }
        let of_base = |path: &&str, access| (PathBuf::from(path), access, Origin::Base);
        let devices = base::WRITE_DEVICES.iter().chain(base::TERMINAL_DEVICES).chain(&["/dev/pts"]);
        let devices = devices.map(|path| of_base(path, FileAccess::Device));
        let temporary =
            around.temporary.iter().cloned().map(|path| (path, FileAccess::Write, Origin::Temporary));
        [(PathBuf::from("/"), FileAccess::Read, Origin::Root), of_base(&"/proc", FileAccess::Read)]
            .into_iter()
            .chain(devices)
            .chain([of_base(&"/dev/shm", FileAccess::Write)])
            .chain(temporary)
            .collect()
    }

    fn foreseen(&self, command: &std::ffi::OsStr) -> Vec<Foreseen> {
        let around = &self.surroundings;
        let mut all = match self.is_apart() {
            true => self.places_apart(),
            false => self.seen_of_the_machine(command),
        };
        let mounts = self.mounts.iter().map(|(mount, _)| match mount.read_only {
            true => (mount.at.clone(), FileAccess::Read),
            false => (mount.at.clone(), FileAccess::Write),
        });
        let mounts = mounts.chain(self.temporary.iter().map(|tmpfs| (tmpfs.at.clone(), FileAccess::Write)));
        all.extend(mounts.map(|(at, access)| (at, access, Origin::Mount)));
        for (paths, access, origin) in [
            (&around.files.read, FileAccess::Read, Origin::Flag),
            (&around.files.write, FileAccess::Write, Origin::Flag),
            (&around.files.execute, FileAccess::Read, Origin::ExecuteFlag),
        ] {
            all.extend(paths.iter().map(|path| (around.directory.join(path), access, origin)));
        }
        all.into_iter().map(|(path, access, origin)| Foreseen { path, access, origin }).collect()
    }

    /// What the base has of the machine's own root, but for what mounts will cover.
    fn seen_of_the_machine(&self, command: &std::ffi::OsStr) -> Vec<(PathBuf, FileAccess, Origin)> {
        let around = &self.surroundings;
        let search = around.variables.get(std::ffi::OsStr::new("PATH"));
        let executable = Executable::find(command, search.map(AsRef::as_ref), &around.directory)
            .unwrap_or_else(|_| Executable::unknown(command));
        let (home, temporary) = (around.home.as_deref(), around.temporary.as_deref());
        let of_base =
            grants::of_base(&around.files, &executable, &around.directory, home, temporary, around.by_root);
        let is_seen = |path: &Path| !self.covers(path);
        let seen = of_base.into_iter().filter(|grant| is_seen(&grant.path));
        seen.map(|Grant { path, access, origin, .. }| (path, access, origin)).collect()
    }
}
