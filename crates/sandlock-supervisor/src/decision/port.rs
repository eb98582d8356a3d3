//! How ports of the run's own stand before anybody is asked.

use std::os::fd::BorrowedFd;

use sandlock_policy::{Allowed, Denied, LocalPort, Matter};

use super::{About, Desk};
use crate::context::Context;

/// How a port stands.
pub(crate) enum PortStanding {
    /// It may be had: by the rules, or because somebody was asked before.
    Allowed(Allowed<LocalPort>),
    /// It is to be asked about.
    Open(Matter),
}

/// How binding to a port stands.
///
/// # Errors
///
/// The refusal, when the rules decide.
pub(crate) fn binding(cx: &Context<'_>, local: LocalPort) -> Result<PortStanding, Denied> {
    let LocalPort { protocol, port } = local;
    let checked = cx.bind.check_bind(protocol, port);
    let Some(desk) = asked_about(cx) else {
        return checked.map(PortStanding::Allowed);
    };
    match checked {
        Ok(allowed) if !desk.asks.granted => Ok(PortStanding::Allowed(allowed)),
        Err(denied) if cx.bind.forbids(protocol, port) => Err(denied),
        checked => match desk.approved(About::Port(local)) {
            Some(approval) => cx.bind.approved_bind(local, approval).map(PortStanding::Allowed),
            None => Ok(PortStanding::Open(Matter::Bind { protocol, port, granted: checked.is_ok() })),
        },
    }
}

/// How listening on a port stands that `socket` is bound to, or for 0 on one that the kernel will choose. A port that a
/// program has chosen was asked about when it was bound, and is not again.
///
/// # Errors
///
/// The refusal, when the rules decide.
pub(crate) fn listening(
    cx: &Context<'_>,
    socket: BorrowedFd<'_>,
    local: LocalPort,
) -> Result<PortStanding, Denied> {
    let LocalPort { protocol, port } = local;
    let checked = cx.bind.check_listen(protocol, port);
    let Some(desk) = asked_about(cx) else {
        return checked.map(PortStanding::Allowed);
    };
    let chosen = port != 0 && cx.bind.allowed(protocol).contains(port);
    match checked {
        Ok(allowed) if chosen || !desk.asks.granted => Ok(PortStanding::Allowed(allowed)),
        checked => {
            let before = desk.approved_of(socket, local).or_else(|| desk.approved(About::Port(local)));
            if let Some(approval) = before {
                return cx.bind.approved_listen(local, approval).map(PortStanding::Allowed);
            }
            match (checked, desk.approved(About::Listening)) {
                (Err(denied), _) if cx.bind.forbids(protocol, port) || cx.bind.forbids(protocol, 0) => {
                    Err(denied)
                }
                (_, Some(approval)) => cx.bind.approved_listen(local, approval).map(PortStanding::Allowed),
                (checked, None) => {
                    Ok(PortStanding::Open(Matter::Listen { protocol, port, granted: checked.is_ok() }))
                }
            }
        }
    }
}

fn asked_about<'a>(cx: &'a Context<'_>) -> Option<&'a Desk> {
    cx.desk.as_deref().filter(|desk| desk.asks.binds)
}
