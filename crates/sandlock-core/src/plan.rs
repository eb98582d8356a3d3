//! Everything that a run needs, prepared while nothing runs yet.

use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandlock_filter::{Arch, Table, compile};
use sandlock_policy::{Base, BindPolicy, Limits, NetworkPolicy, Resolved};
use sandlock_supervisor::table::{Needs, table};
use sandlock_supervisor::{Handler, Holes, ServedFile, TreeRoot};
use sandlock_sys::seccomp::Instruction;

use crate::around;
use crate::cgroup::{self, Cgroup};
use crate::environment::{as_string, as_strings};
use crate::executable::Executable;
use crate::grants::{self, Grant};
use crate::http;
use crate::kernel_only::carried_by_the_kernel_alone;
use crate::limits::{KernelLimits, check_left};
use crate::names::Planned;
use crate::needs::needs;
use crate::processes;
use crate::published;
use crate::root;
use crate::rulesets::{Rulesets, Shape, bound_ports, rulesets};
use crate::temporary::Temporary;
use crate::{Decisions, Kernel, Options, PlanError};

/// A run that is ready to be launched.
#[derive(Debug)]
pub struct Plan {
    pub(crate) network: NetworkPolicy,
    pub(crate) bind: BindPolicy,
    pub(crate) grants: Vec<Grant>,
    pub(crate) holes: Holes,
    pub(crate) kernel: Kernel,
    pub(crate) needs: Needs,
    pub(crate) table: Table<Handler>,
    pub(crate) filter: Vec<Instruction>,
    pub(crate) rulesets: Rulesets,
    pub(crate) command: Vec<OsString>,
    pub(crate) program: CString,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    pub(crate) directory: Option<CString>,
    pub(crate) inherited: Vec<OwnedFd>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) no_core_dump: bool,
    /// `None` when the file system is the machine's and the command is whom it seems to be.
    pub(crate) root: Option<root::Planned>,
    pub(crate) grace: Option<Duration>,
    pub(crate) keep_background: bool,
    pub(crate) policy: sandlock_policy::Policy,
    /// Under which name it can be found.
    pub(crate) control: Option<crate::Control>,
    pub(crate) working_directory_hidden: bool,
    /// `None` when no rule has a name.
    pub(crate) names: Option<Planned>,
    /// `None` when there are no HTTP rules.
    pub(crate) http: Option<http::Planned>,
    /// Files that the command is served, besides those about names.
    pub(crate) served: Vec<ServedFile>,
    /// Who is asked, and about what.
    pub(crate) decisions: Option<Decisions>,
    /// Programs whose descendants have rules of their own.
    pub(crate) roots: Vec<TreeRoot>,
    /// Whether the network rules may change.
    pub(crate) adjustable: bool,
    /// Where what happens is written down.
    pub(crate) log: Option<crate::Log>,
    /// The cgroup of the run, which keeps some of its limits.
    pub(crate) cgroup: Option<Cgroup>,
    /// Limits that the kernel keeps once they are set.
    pub(crate) limits: KernelLimits,
    /// The limits that the supervisor has to keep, and those that it only hands on.
    pub(crate) left: Limits,
    /// Removed when the run is over.
    pub(crate) temporary: Option<Temporary>,
}

impl Plan {
    /// Resolves the names, opens the paths, finds the command, compiles the filter. Executes nothing.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong: see [`PlanError`].
    pub fn new(mut options: Options) -> Result<Self, PlanError> {
        let kernel = Kernel::probe().with_landlock_at_most(options.landlock_at_most);
        if let Some(lacking) = kernel
            .abilities()
            .into_iter()
            .filter(|ability| !(options.kernel_only && ability.of_the_supervisor))
            .find(|ability| ability.carried_by.is_none())
        {
            return Err(PlanError::Kernel { what: lacking.what, remedy: lacking.otherwise });
        }
        let mut root = root::Planned::new(&mut options)?;
        let inside = root.as_ref().is_some_and(root::Planned::ends_inside);
        if inside && options.policy.files.own_proc {
            // Its processes are the run's own there, and nobody looks at `open`, which could hide sockets.
            return Err(PlanError::NotInRoot("--own-proc"));
        }
        let directory = match root.as_ref().and_then(|root| root.directory(options.directory.as_deref())) {
            Some(directory) => directory,
            None => working_directory(options.directory.as_deref())?,
        };
        let temporary = match options.policy.files.base {
            // Without a supervisor nobody would be left to remove it.
            Base::Standard if !options.kernel_only => Some(Temporary::make().map_err(PlanError::Temporary)?),
            _ => None,
        };
        // What HTTP rules open is one with what the others do.
        let mut rules = options.policy.network.clone();
        rules.allow.extend(options.policy.http.network_rules());
        if let Some(root) = &mut root {
            root.hold(temporary.as_ref().map(Temporary::path))?;
        }
        let private: Vec<_> = temporary
            .iter()
            .map(|place| root.as_ref().and_then(root::Planned::temporary).unwrap_or(place.path()))
            .map(|place| (OsString::from("TMPDIR"), place.as_os_str().to_owned()))
            .collect();
        let mut variables = options.environment.variables(&private);
        let command = options.command.first().ok_or(PlanError::NoCommand)?;
        let search = variables.get(std::ffi::OsStr::new("PATH")).cloned();
        let executable = match inside {
            true => Executable::unknown(command),
            false => Executable::find(command, search.as_deref(), &directory)?,
        };
        let home = options.home.take();
        let home = home.as_deref();
        let granted = match inside {
            true => Vec::new(),
            false => grants::grants(
                &options.policy.files,
                &executable,
                &directory,
                home,
                temporary.as_ref().map(Temporary::path),
            )?,
        };
        let (grants, holes) = grants::holes::dig(granted, &options.policy.files.deny, &directory)?;
        if options.kernel_only {
            carried_by_the_kernel_alone(&options, &kernel)?;
        }
        let roots = processes::roots(&options.policy.processes, search.as_deref(), &directory, inside)?;
        let rules =
            NetworkPolicy::build(rules, Resolved::new()).with_trees(processes::rules(&options.policy));
        let names = Planned::resolve(&options, rules.all_rules())?;
        let http = plan_http(&mut options, &directory, &grants, temporary.as_ref(), inside)?;
        let network = network(&rules, names.as_ref(), http.as_ref())?;
        let served = http.iter().flat_map(http::Planned::served).cloned().collect::<Vec<_>>();
        if let Some(http) = &http {
            options.environment.adapt(&mut variables, http.variables(), http.secret_variables());
        }
        published::are_free(&options.policy.ports.publish)?;
        let bind = BindPolicy::build(&options.policy.bind, &options.policy.ports.publish);
        if let Some(root) = &mut root {
            root.surround(&variables, &directory, home, &options.policy.files);
        }
        let cgroup = match options.kernel_only {
            // Nobody would be left to remove it.
            true => None,
            false => {
                Cgroup::make(&options.policy.limits, &may_be_written(&options, root.as_ref(), &directory))
            }
        };
        let left = cgroup::left(&options.policy.limits, cgroup.as_ref().map(Cgroup::limits));
        check_left(&left)?;
        let mut needs = needs(&network, &bind, &kernel, &options, !served.is_empty(), &grants, &left)?;
        if inside {
            // Files are there by a mount, and processes by a namespace: nobody has to look at `open`.
            needs.serves = false;
            needs.own_proc = false;
            // Whether some grant there is around what is denied is found out too late.
            needs.holes = !options.policy.files.deny.is_empty();
        }
        around::check(&kernel, &needs)?;
        let table = table(&needs)?;
        let filter = compile(&table, Arch::NATIVE)?;
        Ok(Plan {
            rulesets: rulesets(
                &kernel,
                &network,
                &bound_ports(&bind, &needs),
                &grants,
                Shape {
                    kernel_only: options.kernel_only,
                    own_proc: needs.own_proc,
                    may_change: options.may_change(),
                },
                http.iter().flat_map(http::Planned::ports),
            )?,
            working_directory_hidden: !root.as_ref().is_some_and(root::Planned::is_apart)
                && options.policy.files.base == Base::Standard
                && grants::holds_the_home(&directory, home),
            filter: filter
                .instructions()
                .iter()
                .map(|one| Instruction { code: one.code, jt: one.jt, jf: one.jf, k: one.k })
                .collect(),
            program: as_string(executable.path.as_os_str())?,
            arguments: options.command.iter().map(|word| as_string(word)).collect::<Result<_, _>>()?,
            environment: as_strings(variables)?,
            directory: options.directory.as_deref().map(|path| as_string(path.as_os_str())).transpose()?,
            adjustable: options.may_change(),
            log: options.log,
            roots,
            decisions: options.decisions,
            limits: KernelLimits::of(&options.policy.limits)?,
            left,
            inherited: options.inherited,
            timeout: options.timeout,
            no_core_dump: options.no_core_dump,
            root,
            grace: options.grace,
            keep_background: options.keep_background,
            command: options.command,
            policy: options.policy,
            control: options.control,
            names,
            http,
            served,
            network,
            bind,
            grants,
            holes,
            kernel,
            needs,
            table,
            temporary,
            cgroup,
        })
    }

    /// What the run was asked to keep to.
    #[must_use]
    pub fn policy(&self) -> &sandlock_policy::Policy {
        &self.policy
    }

    /// The places that the command may reach, in the order in which they were found.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// What is denied in the places that are granted, or outside of them.
    pub fn denied_files(&self) -> impl Iterator<Item = &Path> {
        self.holes.holes.iter().map(|hole| hole.path.as_path())
    }

    /// What the names in the rules resolved to.
    #[must_use]
    pub fn names(&self) -> &sandlock_policy::Resolved {
        self.network.names()
    }

    /// Whether the working directory is left out of the base because it holds the home directory.
    #[must_use]
    pub fn working_directory_hidden(&self) -> bool {
        self.working_directory_hidden
    }
}

/// Places of the machine that the command may come to write, and what rules say of a root of its own, which is not there yet.
fn may_be_written(options: &Options, root: Option<&root::Planned>, directory: &Path) -> Vec<PathBuf> {
    let real = |path: &PathBuf| {
        let path = directory.join(path);
        path.canonicalize().unwrap_or(path)
    };
    let mounted = root.into_iter().flat_map(root::Planned::may_be_written).map(Path::to_owned);
    options.policy.files.write.iter().map(real).chain(mounted).collect()
}

fn working_directory(given: Option<&Path>) -> Result<PathBuf, PlanError> {
    let current = std::env::current_dir();
    let Some(given) = given else {
        return current.map_err(|source| PlanError::Directory { path: PathBuf::from("."), source });
    };
    let path = current.map_or_else(|_| given.to_owned(), |current| current.join(given));
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err(PlanError::Directory { path, source: std::io::ErrorKind::NotADirectory.into() }),
        Err(source) => Err(PlanError::Directory { path, source }),
    }
}

fn plan_http(
    options: &mut Options,
    directory: &Path,
    grants: &[Grant],
    temporary: Option<&Temporary>,
    inside: bool,
) -> Result<Option<http::Planned>, PlanError> {
    let mut http = std::mem::take(&mut options.http);
    // As the command sees them.
    http.bundles.iter_mut().for_each(|path| *path = directory.join(&*path));
    // Where no JDK is, and the kernel would have to make up a list.
    let made_up = |path: &Path| ["/proc", "/sys", "/dev"].iter().any(|place| path.starts_with(place));
    let readable: Vec<_> =
        grants.iter().map(|grant| grant.path.clone()).filter(|path| !made_up(path)).collect();
    let readable = (!inside).then_some(&readable[..]);
    http::Planned::new(&options.policy, http, readable, temporary.map(Temporary::path))
}

fn network(
    rules: &NetworkPolicy,
    names: Option<&Planned>,
    http: Option<&http::Planned>,
) -> Result<NetworkPolicy, PlanError> {
    let resolved = names.map_or_else(Resolved::new, |planned| planned.resolution.names.clone());
    let mut network = rules.with_names(resolved);
    if let Some(listener) = names.and_then(|planned| planned.listener.as_ref()) {
        network = network.with_resolver(listener.local_addr().map_err(PlanError::Listener)?.port());
    }
    Ok(match http {
        Some(http) => http.route(network),
        None => network,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandlock_policy::Mount;

    #[test]
    fn what_is_mounted_to_be_written_is_known_before_the_root_is_there() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let mount = |text: &str| Mount::parse(text.as_ref()).unwrap();
        for name in ["root", "written", "read"] {
            std::fs::create_dir(place.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("written", place.join("link")).unwrap();
        let known = |mounts: &[Mount], directory: Option<PathBuf>| {
            let mut options = Options::new(sandlock_policy::Policy::new().write("given"), ["true"]);
            options.policy.root.mounts = mounts.to_vec();
            options.policy.root.directory = directory;
            let root = root::Planned::new(&mut options).unwrap();
            may_be_written(&options, root.as_ref(), &place)
        };
        let shown = place.display();
        let written = mount(&format!("/a:{shown}/link"));
        let read = mount(&format!("/b:{shown}/read:ro"));
        let below = |names: &[&str]| names.iter().map(|name| place.join(name)).collect::<Vec<_>>();
        assert_eq!(known(&[], None), below(&["given"]));
        assert_eq!(known(std::slice::from_ref(&read), None), below(&["given"]));
        assert_eq!(known(&[written, read.clone()], None), below(&["given", "written"]));
        // All that is below a root of its own.
        assert_eq!(known(&[read], Some(place.join("root"))), below(&["given", "root"]));
    }
}
