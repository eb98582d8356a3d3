//! Ports that are to be the run's: whether they can be had, found out before anything is executed.

use std::collections::HashSet;
use std::io;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use sandlock_policy::{Protocol, Publish};
use sandlock_sys::Errno;

use crate::PlanError;

/// # Errors
///
/// The first port that somebody has, or that this user may not have.
pub(crate) fn are_free(published: &[Publish]) -> Result<(), PlanError> {
    let mut seen = HashSet::new();
    for publish in published {
        let twice = !seen.insert((publish.protocol, publish.host_port));
        let taken = if twice { Err(Errno::ADDRINUSE) } else { is_free(publish) };
        taken.map_err(|errno| PlanError::Published { publish: *publish, source: io::Error::from(errno) })?;
    }
    Ok(())
}

fn is_free(publish: &Publish) -> Result<(), Errno> {
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        let tcp = publish.protocol == Protocol::Tcp;
        let kind = if tcp { SocketType::STREAM } else { SocketType::DGRAM };
        let socket = match rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None) {
            // A machine without IPv6.
            Err(Errno::AFNOSUPPORT) => continue,
            socket => socket?,
        };
        // Past connections are not in the way of a server.
        sockopt::set_socket_reuseaddr(&socket, tcp)?;
        let address: std::net::SocketAddr = if family == AddressFamily::INET {
            ([0, 0, 0, 0], publish.host_port).into()
        } else {
            sockopt::set_ipv6_v6only(&socket, true)?;
            ([0u16; 8], publish.host_port).into()
        };
        match rustix::net::bind(&socket, &address) {
            Err(Errno::ADDRNOTAVAIL) if family == AddressFamily::INET6 => {}
            result => result?,
        }
    }
    Ok(())
}
