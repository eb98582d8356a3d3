//! What a policy and a kernel make of the table of system calls.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, sockopt};
use sandlock_policy::{BindPolicy, Limits, NetworkPolicy, Protocol};
use sandlock_supervisor::table::{Binding, Needs};
use sandlock_sys::command::ExecKey;

use crate::grants::{self, Grant, Origin};
use crate::rulesets::MOST_BOUND_PORTS;
use crate::{Kernel, Options, PlanError};

/// # Errors
///
/// When the kernel has no random numbers; [`PlanError::OwnProc`].
pub(crate) fn needs(
    network: &NetworkPolicy,
    bind: &BindPolicy,
    kernel: &Kernel,
    options: &Options,
    serves: bool,
    grants: &[Grant],
    limits: &Limits,
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
        own_proc: own_proc(options, serves || serves_others, grants)?,
        holes: grants.iter().any(|grant| grant.holed),
        counts_processes: limits.processes.is_some(),
        keeps_processors: options.policy.limits.processors.is_some(),
        no_code_in_memory_files: options.policy.files.restrict_execution(),
        watches_memory_files: limits.memory.is_some(),
        thread_handles: kernel.thread_handles,
        takes_descriptors: kernel.takes_descriptors,
    })
}

/// Where `open` is looked at anyway, and where somebody asks for it.
fn own_proc(options: &Options, looked_at: bool, grants: &[Grant]) -> Result<bool, PlanError> {
    if options.policy.files.own_proc {
        return match grants.iter().find(|grant| grant.holds_proc() && grant.origin == Origin::Flag) {
            Some(grant) => Err(PlanError::OwnProc { granted: grant.path.clone() }),
            None => Ok(true),
        };
    }
    Ok(looked_at && !options.kernel_only && grants::only_the_base_grants_proc(grants))
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

/// A socket that nobody could make inside may still be inherited: then sends must be seen after all.
fn inherits_a_datagram_socket(inherited: &[OwnedFd]) -> bool {
    standard_and(inherited).any(|fd| needs_watching(fd))
}

/// The descriptors that the command will have.
pub(crate) fn standard_and(inherited: &[OwnedFd]) -> impl Iterator<Item = BorrowedFd<'_>> {
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
