//! The Landlock domains of a run.

use std::os::fd::AsFd;
use std::path::Path;

use sandlock_policy::{BindPolicy, KernelPorts, NetworkPolicy, Protocol};
use sandlock_supervisor::table::{Binding, Needs};
use sandlock_sys::landlock::{FileAccess, Ruleset, RulesetBuilder, TcpPorts};

use crate::grants::Grant;
use crate::{Kernel, PlanError};

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

/// The TCP ports that the command's domain, and the supervisor's, lets be bound; `None` for all.
pub(crate) struct BoundPorts {
    /// They are of a port space of the run's own.
    anywhere: bool,
    command: Option<Vec<u16>>,
    supervisor: Option<Vec<u16>>,
}

pub(crate) fn bound_ports(bind: &BindPolicy, needs: &Needs) -> BoundPorts {
    let allowed = bind.allowed(Protocol::Tcp);
    let anywhere = needs.port_space;
    if allowed.is_everything() && !anywhere {
        return BoundPorts { anywhere, command: None, supervisor: None };
    }
    // The supervisor binds, and the command never does: which port of the machine it will be nobody knows yet, Landlock
    // cannot be widened by an answer, or so many rules would slow every bind down, and the start.
    if anywhere || needs.binds_asked || allowed.count() > MOST_BOUND_PORTS {
        debug_assert_eq!(needs.binding, Binding::Performed);
        return BoundPorts { anywhere, command: Some(vec![0]), supervisor: None };
    }
    // Port 0 may be bound: clients and runtimes probe with it, and `listen` is what makes a server.
    let listed: Vec<u16> = [0].into_iter().chain(allowed.iter().filter(|port| *port != 0)).collect();
    BoundPorts { anywhere, command: Some(listed.clone()), supervisor: Some(listed) }
}

/// More are not told to Landlock.
pub(crate) const MOST_BOUND_PORTS: usize = 1000;

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
