//! The part of a plan that only the root can answer: where the command is, and what the paths of rules are there.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sandlock_policy::{Base, Mount, NetworkPolicy, hosts_file, resolver_file};
use sandlock_supervisor::message::NotPrepared;
use sandlock_supervisor::{Hole, Holes, Mounted};
use sandlock_sys::landlock::FileAccess;

use super::planned::{Layout, Source};
use super::told;
use crate::environment::{as_string, as_strings};
use crate::executable::Executable;
use crate::grants::{self, Grant, Origin};
use crate::http::Stores;
use crate::rulesets::{Shape, bound_ports, rulesets};
use crate::{Plan, PlanError};

impl Plan {
    /// In the process that was forked for the run, with its namespaces: makes the root, moves there, and ends the plan.
    ///
    /// # Errors
    ///
    /// What could not be made or found, for the launcher.
    pub(crate) fn move_in(&mut self, stores: Option<Stores>, proxy: &[u16]) -> Result<Mounted, NotPrepared> {
        let Some(mut root) = self.root.take() else {
            return Ok(Mounted::default());
        };
        root.identify()?;
        match &mut root.layout {
            Some(layout) => {
                layout.build(root.namespaces.users)?;
                self.settle(layout, stores, proxy)
            }
            None => Ok(Mounted::default()),
        }
    }

    fn settle(
        &mut self,
        layout: &mut Layout,
        stores: Option<Stores>,
        proxy: &[u16],
    ) -> Result<Mounted, NotPrepared> {
        let mut variables = std::mem::take(&mut layout.surroundings.variables);
        let around = &layout.surroundings;
        let search = variables.get(std::ffi::OsStr::new("PATH")).cloned();
        let find = || -> Result<(Executable, Vec<Grant>), PlanError> {
            let command = self.command.first().ok_or(PlanError::NoCommand)?;
            let executable = Executable::find(command, search.as_deref(), &around.directory)?;
            let grants = layout.grants(&executable)?;
            Ok((executable, grants))
        };
        let (executable, mut grants) = find().map_err(told::told)?;
        let readable: Vec<_> = grants.iter().map(|grant| grant.path.clone()).collect();
        let mut files = about_names(&self.network, self.adjustable);
        if let Some(stores) = stores {
            let trust = stores
                .inside(&around.directory, &readable, around.temporary.as_deref())
                .map_err(told::told)?;
            // By what a link leads to as well: that is enough.
            let served = trust.served.into_iter().filter(|file| !is_link(&file.path));
            files.extend(served.map(|file| (file.path, file.content)));
            for (name, value) in trust.variables {
                variables.entry(name).or_insert(value);
            }
        }
        let handles = layout.mount_files(&files)?;
        for (path, _) in &files {
            grants.extend(grants::place(path, FileAccess::Read, Origin::Base));
        }
        let names = self.adjustable || self.network.all_rules().have_names();
        let finish = || -> Result<(), PlanError> {
            check_directory(&around.directory)?;
            self.directory = Some(as_string(around.directory.as_os_str())?);
            self.program = as_string(executable.path.as_os_str())?;
            self.environment = as_strings(variables)?;
            // Only here, where paths mean what they mean to the command.
            let grants = grants::execution::restrict(grants, &around.files, &around.directory)?;
            let (grants, holes) = grants::holes::dig(grants, &around.files.deny, &around.directory)?;
            layout.shows_nothing_denied(&holes)?;
            let bound = bound_ports(&self.bind, &self.needs);
            let proxy = proxy.iter().copied();
            let shape =
                Shape { kernel_only: false, own_proc: self.needs.own_proc, may_change: self.adjustable };
            self.rulesets = rulesets(&self.kernel, &self.network, &bound, &grants, shape, proxy)?;
            self.grants = grants;
            self.holes = holes;
            Ok(())
        };
        finish().map_err(told::told)?;
        Ok(Mounted { hosts: handles.into_iter().next().filter(|_| names) })
    }
}

/// `/etc/hosts` comes first, in runs with names, or that may come to have some.
fn about_names(network: &NetworkPolicy, adjustable: bool) -> Vec<(PathBuf, Vec<u8>)> {
    let hosts = || (PathBuf::from("/etc/hosts"), hosts_file(None, network).into_bytes());
    let resolver = |_| (PathBuf::from("/etc/resolv.conf"), resolver_file().into_bytes());
    let hosts = (adjustable || network.all_rules().have_names()).then(hosts);
    hosts.into_iter().chain(network.resolver().map(resolver)).collect()
}

fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

fn check_directory(path: &Path) -> Result<(), PlanError> {
    let found = std::fs::metadata(path).and_then(|found| match found.is_dir() {
        true => Ok(()),
        false => Err(std::io::Error::from(Errno::NOTDIR)),
    });
    found.map_err(|source| PlanError::Directory { path: path.to_owned(), source })
}

impl Layout {
    /// What the command may reach, in the root that this process is in now.
    fn grants(&self, executable: &Executable) -> Result<Vec<Grant>, PlanError> {
        let around = &self.surroundings;
        let temporary = around.temporary.as_deref();
        let home = around.home.as_deref();
        let mut all = match self.is_apart() {
            true => self.grants_apart(),
            false => {
                grants::of_base(&around.files, executable, &around.directory, home, temporary, around.by_root)
            }
        };
        for (mount, _) in &self.mounts {
            let access = if mount.read_only { FileAccess::Read } else { FileAccess::Write };
            all.push(mounted("--mount", &mount.at, access)?);
        }
        for tmpfs in &self.temporary {
            all.push(mounted("--tmpfs", &tmpfs.at, FileAccess::Write)?);
        }
        all.extend(grants::of_flags(&around.files, &around.directory)?);
        Ok(all)
    }

    /// What is mounted from a denied place would be there under another name.
    fn shows_nothing_denied(&self, holes: &Holes) -> Result<(), PlanError> {
        let shown = |hole: &Hole| {
            let outside = self.outside(&hole.path)?;
            let shows = |(mount, source): &&(Mount, Source)| {
                // What is mounted in a denied place is denied with it.
                source.path.starts_with(&outside) && !real(&mount.at).starts_with(&hole.path)
            };
            self.mounts.iter().find(shows).map(|(mount, _)| mount.at.clone())
        };
        match holes.holes.iter().find_map(|hole| Some((hole, shown(hole)?))) {
            Some((hole, granted)) => Err(PlanError::ShownTwice { denied: hole.path.clone(), granted }),
            None => Ok(()),
        }
    }

    /// What a real path of the root is on the machine; none of what is in memory.
    fn outside(&self, path: &Path) -> Option<PathBuf> {
        let mounts = self.mounts.iter().map(|(mount, source)| (real(&mount.at), Some(&source.path)));
        let temporary = self.temporary.iter().map(|tmpfs| (real(&tmpfs.at), None));
        let root = self.directory.as_ref().map_or(Path::new("/"), |directory| &directory.path);
        let root = (PathBuf::from("/"), Some(root));
        let all =
            mounts.map(|(at, source)| (at, source.map(PathBuf::as_path))).chain(temporary).chain([root]);
        let above = all.filter(|(at, _)| path.starts_with(at));
        let (at, source) = above.max_by_key(|(at, _)| at.components().count())?;
        Some(source?.join(path.strip_prefix(at).ok()?))
    }

    fn grants_apart(&self) -> Vec<Grant> {
        let around = &self.surroundings;
        // All that is not to be executed is below the root: so what is to stay executable is named apart.
        let apart = around.files.base == Base::Standard && around.files.restrict_execution();
        let top = apart.then(|| std::fs::read_dir("/")).into_iter().flatten().flatten().flatten();
        let top = top.map(|entry| (entry.path(), FileAccess::Read, Origin::Root));
        let all = self.places_apart().into_iter().chain(top);
        all.flat_map(|(path, access, origin)| grants::place(&path, access, origin)).collect()
    }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn mounted(flag: &'static str, at: &Path, access: FileAccess) -> Result<Grant, PlanError> {
    let refused = |errno: Errno| PlanError::Path { flag, path: at.to_owned(), source: errno.into() };
    grants::place(at, access, Origin::Mount).map_err(refused)
}
