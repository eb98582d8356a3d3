//! What a seccomp filter around this process refuses, and what cannot be kept then: asked before anything runs, since a call
//! that failed in the middle would look to the program like a rule of its policy.

use sandlock_supervisor::table::Needs;
use sandlock_sys::memory;

use crate::{Kernel, PlanError};

/// # Errors
///
/// [`PlanError::Around`].
pub(crate) fn check(kernel: &Kernel, needs: &Needs) -> Result<(), PlanError> {
    // Sockets that are made on behalf are held for as long as they are not connected, and no longer: a datagram can be sent on
    // any, and a port of the run's own is told of any.
    let needed_by = match () {
        () if !needs.supervised => return Ok(()),
        () if needs.datagrams_checked => DATAGRAMS,
        () if needs.port_space => PORTS,
        () => return Ok(()),
    };
    match () {
        () if !kernel.takes_descriptors => Err(PlanError::Around { call: "pidfd_getfd", needed_by }),
        () if !memory::may_be_written() => Err(PlanError::Around { call: "process_vm_writev", needed_by }),
        () => Ok(()),
    }
}

const DATAGRAMS: &str = "rules that speak of datagrams (UDP, ping, --unix-dgram, an inherited datagram socket) or that may change";
const PORTS: &str = "ports of the run's own (--port-remap, --publish)";
