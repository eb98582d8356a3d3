//! `--kernel-only`: what Landlock and the filter carry by themselves.

use rustix::net::{getpeername, sockopt};
use sandlock_policy::{BindPolicy, Host, Protocol};

use crate::needs::standard_and;
use crate::{Kernel, Options, PlanError};

/// # Errors
///
/// The first rule that Landlock and the filter cannot carry by themselves.
pub(crate) fn carried_by_the_kernel_alone(options: &Options, kernel: &Kernel) -> Result<(), PlanError> {
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
    if options.policy.files.own_proc {
        return needs("--own-proc".to_owned());
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
