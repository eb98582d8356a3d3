//! What performs a call after a yes: in the receiving thread, or in the waiting one when the answer took a while.

use std::sync::Arc;

use arc_swap::ArcSwap;
use sandlock_policy::NetworkPolicy;
use sandlock_sys::Errno;
use sandlock_sys::interrupt::Interrupter;

use super::Desk;
use crate::context::{Context, PATIENCE};
use crate::message::{Link, Report};
use crate::net::connections::Connections;
use crate::waiting::Turn;

/// What a call that is performed needs of its surroundings.
pub(crate) struct Hands<'a> {
    /// The rules of the moment.
    pub(crate) network: &'a ArcSwap<NetworkPolicy>,
    /// Whether the caller still waits.
    pub(crate) caller_waits: &'a dyn Fn() -> bool,
    /// In runs whose rules may change, to which those belong in which somebody is asked.
    pub(crate) connections: Option<&'a Arc<Connections>>,
    link: &'a Link,
    whose: Whose<'a>,
}

enum Whose<'a> {
    Receiver(&'a Context<'a>),
    Waiting(&'a Interrupter),
}

impl<'a> Hands<'a> {
    /// The receiving thread's.
    pub(crate) fn of_context(cx: &'a Context<'a>, caller_waits: &'a dyn Fn() -> bool) -> Self {
        Hands {
            network: &cx.network,
            caller_waits,
            connections: cx.connections.as_ref(),
            link: &cx.link,
            whose: Whose::Receiver(cx),
        }
    }

    /// The waiting thread's.
    pub(super) fn of_turn(turn: &'a Turn<'a>, desk: &'a Desk) -> Self {
        Hands {
            network: &desk.network,
            caller_waits: turn.caller_waits,
            connections: Some(&desk.connections),
            link: &desk.events.link,
            whose: Whose::Waiting(turn.interrupter),
        }
    }

    /// As [`Context::briefly`].
    pub(crate) fn briefly<T>(
        &self,
        on_this_machine: bool,
        call: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match self.whose {
            Whose::Receiver(cx) => cx.briefly(on_this_machine, call),
            Whose::Waiting(interrupter) => interrupter.within(PATIENCE, call),
        }
    }

    /// Tells the launcher something. If it does not keep up, it goes without; a connection that was led to it is nobody's
    /// then, and is closed. Whether it was told.
    pub(crate) fn announce(&self, report: &Report) -> bool {
        self.link.try_send(report).is_ok()
    }
}
