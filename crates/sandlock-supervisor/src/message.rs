//! What the launcher and the supervisor tell each other: one JSON value a datagram over a `SOCK_SEQPACKET` pair.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};
use sandlock_policy::{Denied, NameState, NetworkRules, Protocol};
use sandlock_sys::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// From the launcher to the supervisor. Closing its end means: end the run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Send the command this signal.
    Signal(i32),
    /// This is all that is known of one name from now on.
    Name {
        /// What [`Report::Enforced`] is to say.
        serial: u64,
        /// The name, and what it stands for; without any address it is forgotten.
        state: NameState,
    },
    /// Stop every process of the run, or let those go on that were stopped so.
    Pause {
        /// What [`Report::Paused`] is to say.
        serial: u64,
        /// Whether to stop.
        stop: bool,
    },
    /// Say from now on who was refused something. That costs as much as the refusal.
    TellCallers,
    /// These are the network rules from now on.
    Rules {
        /// What [`Report::RulesEnforced`] is to say.
        serial: u64,
        /// All of them.
        rules: NetworkRules,
        /// Whether connections end that they do not grant.
        #[serde(default)]
        cut: bool,
    },
}

/// From the supervisor to the launcher.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The command was executed; its process id.
    Started(i32),
    /// Nothing was executed: at this step, with this error.
    NotStarted(NotStarted),
    /// Nothing was executed: the root of the run could not be made, or what the run names is not in it.
    NotPrepared(NotPrepared),
    /// The policy refused something.
    Denied {
        /// What.
        denied: Denied,
        /// To whom, if that is told, and known.
        who: Option<Who>,
    },
    /// The order of this number to stop, or to go on, was followed.
    Paused(u64),
    /// The command was stopped, as by Ctrl-Z.
    Stopped,
    /// Every later check goes by the order about a name of this number, and by all before.
    Enforced(u64),
    /// Every later check goes by the rules of this number.
    RulesEnforced(u64),
    /// A connection that was led to the run's own resolver comes from this address.
    Asking(SocketAddr),
    /// A connection that was led to the run's own proxy.
    Redirected {
        /// Where it comes from.
        from: SocketAddr,
        /// Where the program wanted it to go, which the policy allows.
        to: SocketAddr,
    },
    /// All ports of a run with a port space of its own that it chose, anew.
    Ports(Vec<PortMapping>),
    /// The command ended and nothing of its tree is left. The last report of a run.
    Ended {
        /// How it ended.
        ending: Ending,
        /// Denials that could not be reported, since the launcher did not keep up.
        unreported: u64,
    },
}

/// A port of a run, and the machine's port that stands for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PortMapping {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port that the run bound, and sees.
    pub virtual_port: u16,
    /// The machine's.
    pub real_port: u16,
    /// Where it is bound.
    pub address: IpAddr,
}

/// Who makes a call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Who {
    /// The process.
    pub pid: i32,
    /// The file that it executes, if that could be told. A program may have named it as it likes.
    pub exe: Option<String>,
}

/// How the command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It exited with this status.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
    /// The launcher ended the run.
    Cut,
    /// Its processes used more memory than the limit lets them, and were killed.
    OutOfMemory {
        /// The limit, in bytes.
        limit: u64,
    },
}

/// A step of setting up, and the errno that it failed with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotStarted {
    /// Which step.
    pub step: Step,
    /// The kernel's error number.
    pub errno: i32,
}

/// What a run with a root of its own could not have, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotPrepared {
    /// What kind of thing.
    pub what: Unprepared,
    /// Its path or name, as it was given.
    pub subject: String,
    /// The kernel's error number.
    pub errno: i32,
}

/// The kinds of things that only the root of a run can tell of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unprepared {
    /// User and group in the user namespace, or what goes with it.
    Identity,
    /// The host name.
    HostName,
    /// The root, or one of its mounts.
    Mount,
    /// Where something is to be mounted.
    MountPoint,
    /// The command is not there.
    CommandNotFound,
    /// The command is there and cannot be executed.
    CommandNotExecutable,
    /// The working directory.
    Directory,
    /// A path of this flag.
    Path(String),
    /// Something else, in words.
    Other,
}

/// The steps that can fail before the command is executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// Setting up the supervisor itself.
    Supervisor,
    /// Giving up capabilities.
    Capabilities,
    /// Entering a Landlock domain.
    Landlock,
    /// Making the process.
    Process,
    /// Installing the filter.
    Filter,
    /// Entering the working directory.
    Directory,
    /// Executing the command.
    Exec,
}

/// One end of the pair.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Makes the pair: the launcher's end and the supervisor's.
    ///
    /// # Errors
    ///
    /// That of `socketpair(2)`.
    pub fn pair() -> Result<(Link, Link), Errno> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Link(one), Link(other)))
    }

    /// Sends, waiting for room.
    ///
    /// # Errors
    ///
    /// EPIPE when the other end is gone.
    pub fn send(&self, message: &impl Serialize) -> Result<(), Errno> {
        self.send_with(message, SendFlags::NOSIGNAL)
    }

    /// Sends if there is room.
    ///
    /// # Errors
    ///
    /// EAGAIN when there is none, EPIPE when the other end is gone.
    pub fn try_send(&self, message: &impl Serialize) -> Result<(), Errno> {
        self.send_with(message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    /// The next message, waiting for it. `None` when the other end is closed.
    ///
    /// # Errors
    ///
    /// That of `recv(2)`; EBADMSG for what is no such message.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Option<T>, Errno> {
        self.receive_with(RecvFlags::empty())
    }

    /// The next message, if there is one: EAGAIN when there is none.
    ///
    /// # Errors
    ///
    /// As [`Link::receive`], and EAGAIN.
    pub fn try_receive<T: DeserializeOwned>(&self) -> Result<Option<T>, Errno> {
        self.receive_with(RecvFlags::DONTWAIT)
    }

    /// Tells the other end that nothing more will come, while still listening to it.
    pub fn finish_sending(&self) {
        // A peer that is gone needs no telling.
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Write);
    }

    fn send_with(&self, message: &impl Serialize, flags: SendFlags) -> Result<(), Errno> {
        let bytes = serde_json::to_vec(message).map_err(|_| Errno::BADMSG)?;
        rustix::net::send(&self.0, &bytes, flags).map(|_| ())
    }

    fn receive_with<T: DeserializeOwned>(&self, flags: RecvFlags) -> Result<Option<T>, Errno> {
        // A name may stand for thousands of addresses: the length is asked for first.
        let (_, len) =
            rustix::net::recv(&self.0, &mut [0; 0][..], flags | RecvFlags::PEEK | RecvFlags::TRUNC)?;
        if len == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        let (read, _) = rustix::net::recv(&self.0, &mut bytes[..], flags)?;
        serde_json::from_slice(&bytes[..read]).map(Some).map_err(|_| Errno::BADMSG)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_thousands_of_addresses_is_one_message() {
        let (launcher, supervisor) = Link::pair().unwrap();
        let current = (0..3000u32).map(|number| std::net::Ipv4Addr::from(0xffff_0000 + number).into());
        let state = NameState { name: "a.test".into(), current: current.collect(), retiring: Vec::new() };
        let order = Order::Name { serial: u64::MAX, state };
        launcher.send(&order).unwrap();
        launcher.send(&Order::Signal(1)).unwrap();
        launcher.finish_sending();
        assert_eq!(supervisor.receive(), Ok(Some(order)));
        assert_eq!(supervisor.receive(), Ok(Some(Order::Signal(1))));
        assert_eq!(supervisor.receive::<Order>(), Ok(None));
        assert_eq!(launcher.try_receive::<Report>(), Err(Errno::AGAIN));
    }
}
