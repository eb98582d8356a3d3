//! Everything that a run needs, prepared while nothing runs yet.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, getpeername, sockopt};
use sandlock_filter::{Arch, Table, compile};
use sandlock_policy::{Base, BindPolicy, FileRules, Host, KernelPorts, NetworkPolicy, Protocol, Resolved};
use sandlock_supervisor::table::{Binding, Needs, table};
use sandlock_supervisor::{Handler, Holes, ServedFile, TreeRoot};
use sandlock_sys::command::ExecKey;
use sandlock_sys::landlock::{FileAccess, Ruleset, RulesetBuilder, TcpPorts};
use sandlock_sys::seccomp::Instruction;

use crate::environment::{as_string, as_strings};
use crate::executable::Executable;
use crate::grants::{self, Grant};
use crate::http;
use crate::limits::KernelLimits;
use crate::names::Planned;
use crate::processes;
use crate::published;
use crate::root;
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
    /// Limits that the kernel keeps once they are set.
    pub(crate) limits: KernelLimits,
    /// Removed when the run is over.
    pub(crate) temporary: Option<Temporary>,
}

/// The domain of the command, and that of its supervisor around it.
#[derive(Debug)]
pub(crate) struct Rulesets {
    /// Whether they have a say on which TCP ports are bound.
    binds_only_some_ports: bool,
    command: Ruleset,
    /// `None` when the command's says all that the supervisor needs.
    supervisor: Option<Ruleset>,
}

impl Rulesets {
    pub(crate) fn binds_only_some_ports(&self) -> bool {
        self.binds_only_some_ports
    }

    pub(crate) fn command(&self) -> &Ruleset {
        &self.command
    }

    pub(crate) fn supervisor(&self) -> &Ruleset {
        self.supervisor.as_ref().unwrap_or(&self.command)
    }
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
        if inside && let Some(flag) = not_kept_in_a_root(&options.policy.files) {
            return Err(PlanError::NotInRoot(flag));
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
        let mut needs = needs(&network, &bind, &kernel, &options, !served.is_empty(), &grants)?;
        if inside {
            // Files are there by a mount, and processes by a namespace: nobody has to look at `open`.
            needs.serves = false;
            needs.own_proc = false;
        }
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

/// What is looked up before the root is entered, and would not hold there.
fn not_kept_in_a_root(rules: &FileRules) -> Option<&'static str> {
    [
        ("--fs-deny", !rules.deny.is_empty()),
        ("-x", !rules.execute.is_empty()),
        ("--noexec-writable", rules.writable_not_executable),
    ]
    .into_iter()
    .find_map(|(flag, given)| given.then_some(flag))
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

fn needs(
    network: &NetworkPolicy,
    bind: &BindPolicy,
    kernel: &Kernel,
    options: &Options,
    serves: bool,
    grants: &[Grant],
) -> Result<Needs, PlanError> {
    // What rules may come to grant must be makeable from the start, and looked at.
    let may_change = options.may_change();
    let port_space = options.policy.ports.is_private();
    // Where `open` is looked at anyway, and where there are servers.
    let serves_others = !options.policy.bind.allow.is_empty() || port_space;
    let serves = serves || network.all_rules().have_names() || may_change;
    let may_bind_udp = !bind.allowed(Protocol::Udp).is_empty();
    let restricted = network.restricts(Protocol::Udp)
        || network.restricts(Protocol::Icmp)
        || (may_bind_udp && !network.uses(Protocol::Udp));
    let udp = network.uses(Protocol::Udp) || may_bind_udp || may_change;
    let inherits_a_datagram_socket = inherits_a_datagram_socket(&options.inherited);
    let asks = options.decisions.as_ref().map(|decisions| decisions.asks);
    let execs = asks.is_some_and(|asks| asks.execs);
    let binds_asked = asks.is_some_and(|asks| asks.binds);
    Ok(Needs {
        udp,
        icmp: network.uses(Protocol::Icmp) || may_change,
        unix_datagrams: options.policy.unix_datagrams,
        execs_asked: execs.then(exec_key).transpose()?,
        trees: (!options.policy.processes.is_empty()).then(exec_key).transpose()?,
        // Where to is another port in a port space of the run's own.
        datagrams_checked: restricted
            || may_change
            || options.policy.unix_datagrams
            || inherits_a_datagram_socket
            || (port_space && udp),
        supervised: !options.kernel_only,
        scoped: kernel.landlock >= 6,
        // An answer is about a port that was read: nobody else reads another afterwards.
        binding: binding(bind, kernel, port_space || binds_asked, udp || inherits_a_datagram_socket),
        binds_asked,
        port_space,
        listening_free: !port_space && !binds_asked && bind.allowed(Protocol::Tcp).is_everything(),
        landlock_truncate: kernel.landlock >= 3,
        serves,
        own_proc: (serves || serves_others)
            && !options.kernel_only
            && grants::only_the_base_grants_proc(grants),
        holes: grants.iter().any(|grant| grant.holed),
        counts_processes: options.policy.limits.processes.is_some(),
        keeps_processors: options.policy.limits.processors.is_some(),
        no_code_in_memory_files: options.policy.files.restrict_execution(),
        watches_memory_files: options.policy.limits.memory.is_some(),
        thread_handles: kernel.thread_handles,
    })
}

fn exec_key() -> Result<ExecKey, PlanError> {
    let mut bytes = [[0; 4]; 3];
    let filled = rustix::rand::getrandom(bytes.as_flattened_mut(), rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(12) => Ok(bytes.map(u32::from_ne_bytes)),
        Ok(_) => Err(PlanError::Random(std::io::ErrorKind::UnexpectedEof.into())),
        Err(errno) => Err(PlanError::Random(errno.into())),
    }
}

fn binding(bind: &BindPolicy, kernel: &Kernel, performed: bool, udp_sockets: bool) -> Binding {
    let everything = |protocol| bind.allowed(protocol).is_everything();
    if performed {
        Binding::Performed
    } else if everything(Protocol::Tcp) && (!udp_sockets || everything(Protocol::Udp)) {
        Binding::Free
    } else if kernel.landlock >= 4 && !udp_sockets && bind.allowed(Protocol::Tcp).count() <= MOST_BOUND_PORTS
    {
        Binding::Guarded
    } else {
        Binding::Performed
    }
}

/// The TCP ports that the command's domain, and the supervisor's, lets be bound; `None` for all.
pub(crate) struct BoundPorts {
    /// They are of a port space of the run's own.
    anywhere: bool,
    command: Option<Vec<u16>>,
    supervisor: Option<Vec<u16>>,
}

pub(crate) fn bound_ports(bind: &BindPolicy, needs: &Needs) -> BoundPorts {
    let allowed = bind.allowed(Protocol::Tcp);
    // Port 0 may be bound: clients and runtimes probe with it, and `listen` is what makes a server.
    let listed = || [0].into_iter().chain(allowed.iter().filter(|port| *port != 0)).collect();
    if needs.port_space {
        // Which port of the machine it will be nobody knows yet. The supervisor binds.
        BoundPorts { anywhere: needs.port_space, command: Some(vec![0]), supervisor: None }
    } else if allowed.is_everything() {
        BoundPorts { anywhere: needs.port_space, command: None, supervisor: None }
    } else if needs.binds_asked {
        // Landlock cannot be widened by an answer. The supervisor binds, and the command never does.
        debug_assert_eq!(needs.binding, Binding::Performed);
        BoundPorts { anywhere: needs.port_space, command: Some(vec![0]), supervisor: None }
    } else if allowed.count() <= MOST_BOUND_PORTS {
        BoundPorts { anywhere: needs.port_space, command: Some(listed()), supervisor: Some(listed()) }
    } else {
        // So many rules would slow every bind down, and the start. The supervisor binds.
        debug_assert_eq!(needs.binding, Binding::Performed);
        BoundPorts { anywhere: needs.port_space, command: Some(vec![0]), supervisor: None }
    }
}

/// More are not told to Landlock.
const MOST_BOUND_PORTS: usize = 1000;

/// A socket that nobody could make inside may still be inherited: then sends must be seen after all.
fn inherits_a_datagram_socket(inherited: &[OwnedFd]) -> bool {
    standard_and(inherited).any(|fd| needs_watching(fd))
}

fn standard_and(inherited: &[OwnedFd]) -> impl Iterator<Item = BorrowedFd<'_>> {
    let standard = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    standard.into_iter().chain(inherited.iter().map(AsFd::as_fd))
}

fn needs_watching(fd: BorrowedFd<'_>) -> bool {
    let Ok(kind) = sockopt::socket_type(fd) else {
        return false;
    };
    let stream_of = |family| sockopt::socket_domain(fd) == Ok(family) && kind == SocketType::STREAM;
    !(stream_of(AddressFamily::UNIX) || stream_of(AddressFamily::INET) || stream_of(AddressFamily::INET6))
}

/// What of a run shapes its Landlock domains beyond its rules.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) kernel_only: bool,
    pub(crate) own_proc: bool,
    pub(crate) may_change: bool,
}

pub(crate) fn rulesets(
    kernel: &Kernel,
    network: &NetworkPolicy,
    bound: &BoundPorts,
    grants: &[Grant],
    Shape { kernel_only, own_proc, may_change }: Shape,
    proxy: impl Iterator<Item = u16>,
) -> Result<Rulesets, PlanError> {
    let of_the_rules: Option<Vec<u16>> = match network.kernel_tcp_ports() {
        KernelPorts::Any => None,
        KernelPorts::Only(only) => Some(only.into_iter().collect()),
    };
    // To the run's own resolver and proxy only the supervisor connects, which leads there who may go there.
    let own_ports: Vec<u16> = network.resolver().into_iter().chain(proxy).collect();
    // And to the run's own sockets, wherever they are. Landlock cannot be widened: where rules may change, the supervisor
    // alone decides on them.
    let of_the_supervisor: Option<Vec<u16>> = of_the_rules
        .as_ref()
        .filter(|_| !bound.anywhere && !may_change)
        .map(|ports| ports.iter().chain(&own_ports).copied().collect());
    let build = |ports: &Option<Vec<u16>>, bound: &Option<Vec<u16>>, with_proc: bool| {
        let mut builder =
            RulesetBuilder::new(kernel.landlock, &only(ports.as_deref()), &only(bound.as_deref()))
                .map_err(refused)?;
        // What is in /proc only the supervisor opens, for who may see it.
        for grant in grants.iter().filter(|grant| with_proc || !own_proc || !grant.is_in_proc()) {
            // Of a place with holes the supervisor has all, and the command what is beside them.
            let places = match grant.holed && !with_proc {
                true => &grant.beside[..],
                false => std::slice::from_ref(&grant.place),
            };
            for place in places.iter().map(AsFd::as_fd) {
                match grant.executable {
                    true => builder.grant(place, grant.access),
                    false => builder.grant_without_execution(place, grant.access),
                }
                .map_err(refused)?;
            }
        }
        if with_proc {
            let proc = rustix::fs::open(
                "/proc",
                rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            )
            .map_err(|errno| PlanError::Ruleset(Box::new(std::io::Error::from(errno))))?;
            builder.grant(proc.as_fd(), FileAccess::Read).map_err(refused)?;
        }
        builder.finish().ok_or(PlanError::Kernel {
            what: "files and directories",
            remedy: "boot Linux 5.13 or later with Landlock",
        })
    };
    let has_proc = grants.iter().any(|grant| grant.path == Path::new("/proc"));
    let has_holes = grants.iter().any(|grant| grant.holed);
    let needs_more = !kernel_only
        && (!has_proc
            || own_proc
            || may_change
            || has_holes
            || !own_ports.is_empty()
            || bound.anywhere
            || bound.command != bound.supervisor);
    let supervisor = needs_more.then(|| build(&of_the_supervisor, &bound.supervisor, true)).transpose()?;
    let binds_only_some_ports = bound.supervisor.is_some();
    Ok(Rulesets { binds_only_some_ports, command: build(&of_the_rules, &bound.command, false)?, supervisor })
}

fn only(ports: Option<&[u16]>) -> TcpPorts<'_> {
    ports.map_or(TcpPorts::Unhandled, TcpPorts::Only)
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> PlanError {
    PlanError::Ruleset(Box::new(error))
}

/// # Errors
///
/// The first rule that Landlock and the filter cannot carry by themselves.
fn carried_by_the_kernel_alone(options: &Options, kernel: &Kernel) -> Result<(), PlanError> {
    let needs = |what: String| Err(PlanError::NeedsSupervisor(what));
    if let Some(rule) = options.policy.http.iter().next() {
        return needs(rule.written());
    }
    if let Some(rule) = options.policy.network.deny.first() {
        return needs(format!("--net-deny {rule}"));
    }
    if let Some(rule) = options.policy.processes.iter().flat_map(|one| one.written()).next() {
        return needs(rule);
    }
    for rule in &options.policy.network.allow {
        if rule.host() != &Host::Any {
            return needs(format!("--net-allow {rule} (a destination's address)"));
        }
        if rule.protocol() == Protocol::Udp && rule.ports() != &sandlock_policy::Ports::Any {
            return needs(format!("--net-allow {rule} (a port of UDP)"));
        }
    }
    binds_by_the_kernel_alone(options).or_else(needs)?;
    if kernel.landlock < 4 {
        return needs("TCP ports on a kernel before 6.7".to_owned());
    }
    if kernel.landlock < 6 {
        return needs("signals on a kernel before 6.12".to_owned());
    }
    if options.may_change() {
        return needs("rules that may change".to_owned());
    }
    if options.log.is_some() {
        return needs("--log".to_owned());
    }
    if options.timeout.is_some() {
        return needs("--timeout".to_owned());
    }
    if let Some(path) = options.policy.files.deny.first() {
        return needs(format!("--fs-deny {}", sandlock_policy::escape_terminal(&path.to_string_lossy())));
    }
    if options.keep_background {
        return needs("--keep-background".to_owned());
    }
    if let Some(limit) = crate::limits::of_the_supervisor(&options.policy.limits) {
        return needs(limit);
    }
    if options.policy.unix_datagrams {
        return needs("--unix-dgram".to_owned());
    }
    if standard_and(&options.inherited).any(|fd| sockopt::socket_type(fd).is_ok() && getpeername(fd).is_err())
    {
        return needs("an inherited socket that is not connected".to_owned());
    }
    Ok(())
}

/// # Errors
///
/// The first rule about ports of the run's own that Landlock and the filter cannot carry by themselves.
fn binds_by_the_kernel_alone(options: &Options) -> Result<(), String> {
    let ports = &options.policy.ports;
    if ports.is_private() {
        return Err(ports
            .publish
            .first()
            .map_or("--port-remap".to_owned(), |one| format!("--publish {one}")));
    }
    let bind = BindPolicy::build(&options.policy.bind, &[]);
    if let Some(rule) = options.policy.bind.iter().next()
        && !bind.allowed(Protocol::Tcp).is_everything()
        && options.policy.bind.allow.iter().any(|rule| rule.protocol() == Protocol::Tcp)
    {
        return Err(format!("{} (a port to listen on)", rule.written()));
    }
    let uses_udp = options.policy.network.allow.iter().any(|rule| rule.protocol() == Protocol::Udp);
    let binds_udp = bind.allowed(Protocol::Udp);
    if let Some(rule) = options.policy.bind.iter().find(|rule| rule.protocol() == Protocol::Udp)
        && !(uses_udp && binds_udp.is_everything())
    {
        return Err(format!("{} (a port of UDP)", rule.written()));
    }
    if uses_udp && !binds_udp.is_everything() {
        return Err("UDP without --net-allow-bind udp://* (a port of UDP)".to_owned());
    }
    Ok(())
}
