//! Landlock rulesets: `landlock(7)`.
//!
//! Made by the `landlock` crate with hard requirements, so that a right which this kernel lacks is an error and
//! never dropped in silence; entered by a bare system call, since that happens between fork and exec.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    Ruleset as Builder, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::io::Errno;

use crate::listener::last_errno;
use crate::{process, signal};

/// The newest Landlock version that this program knows (Linux 6.15). What newer ones add is not asked for.
pub const NEWEST_KNOWN: u32 = 7;

/// The Landlock version of this kernel, at most [`NEWEST_KNOWN`]; 0 when there is none or it is switched off.
pub fn version() -> u32 {
    // SAFETY: a null attribute of size 0 with this flag only asks for the version.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0).min(NEWEST_KNOWN)
}

/// What may be done with a file or below a directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FileAccess {
    /// Read, list, execute.
    Read,
    /// All of that; and write, create, remove, rename, and control the devices that are there. Not: make device
    /// nodes.
    Write,
    /// Read, write and control a device.
    Device,
}

/// A ruleset under construction.
#[derive(Debug)]
pub struct RulesetBuilder {
    created: landlock::RulesetCreated,
    abi: ABI,
    scoped: bool,
}

/// Which TCP ports the kernel lets through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TcpPorts<'a> {
    /// The ruleset has no say.
    Unhandled,
    /// Only these.
    Only(&'a [u16]),
}

/// A complete ruleset.
#[derive(Debug)]
pub struct Ruleset {
    fd: OwnedFd,
    scoped: bool,
}

/// Proof that signals of this process stay within its Landlock domain.
#[derive(Debug)]
pub struct SignalScope(());

impl RulesetBuilder {
    /// Begins a ruleset that handles every file right of Landlock version `version`, TCP ports from version 4 on,
    /// and the signal and abstract socket scopes from version 6 on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it.
    pub fn new(version: u32, connect: &TcpPorts<'_>, bind: &TcpPorts<'_>) -> Result<Self, RulesetError> {
        let abi = ABI::from(i32::try_from(version).unwrap_or(0));
        let mut ruleset = Builder::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))?;
        let handled = |ports: &TcpPorts<'_>| version >= 4 && *ports != TcpPorts::Unhandled;
        if handled(connect) {
            ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
        }
        if handled(bind) {
            ruleset = ruleset.handle_access(AccessNet::BindTcp)?;
        }
        let scoped = version >= 6;
        if scoped {
            ruleset = ruleset.scope(Scope::Signal | Scope::AbstractUnixSocket)?;
        }
        let mut created = ruleset.create()?;
        for (ports, access) in [(connect, AccessNet::ConnectTcp), (bind, AccessNet::BindTcp)] {
            if let (true, TcpPorts::Only(ports)) = (handled(ports), ports) {
                for &port in *ports {
                    created = created.add_rule(NetPort::new(port, access))?;
                }
            }
        }
        // From here on one thing may be dropped: the rights of directories, where a place is a file. Others cannot,
        // as only what this version knows is asked for.
        let created = created.set_compatibility(CompatLevel::BestEffort);
        Ok(RulesetBuilder { created, abi, scoped })
    }

    /// Grants access to an open file, or to all below an open directory (`O_PATH` is enough).
    ///
    /// # Errors
    ///
    /// When the kernel refuses the rule.
    pub fn grant(&mut self, place: BorrowedFd<'_>, access: FileAccess) -> Result<(), RulesetError> {
        let rights = rights(access, self.abi);
        (&mut self.created).add_rule(PathBeneath::new(place, rights))?;
        Ok(())
    }

    /// As [`RulesetBuilder::grant`], but nothing there may be executed by this rule.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the rule.
    pub fn grant_without_execution(
        &mut self,
        place: BorrowedFd<'_>,
        access: FileAccess,
    ) -> Result<(), RulesetError> {
        let rights = rights(access, self.abi) & !AccessFs::Execute;
        (&mut self.created).add_rule(PathBeneath::new(place, rights))?;
        Ok(())
    }

    /// Ends the construction. `None` when the kernel has no Landlock.
    pub fn finish(self) -> Option<Ruleset> {
        let scoped = self.scoped;
        Option::<OwnedFd>::from(self.created).map(|fd| Ruleset { fd, scoped })
    }
}

impl Ruleset {
    /// Confines the calling thread, and all that it makes from now on, for good. Needs no_new_privs.
    /// Async-signal-safe.
    ///
    /// # Errors
    ///
    /// That of `landlock_restrict_self(2)`: E2BIG after sixteen nested domains.
    pub fn restrict_self(&self) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.fd.as_raw_fd(), 0) };
        if done == 0 { Ok(()) } else { Err(last_errno()) }
    }

    /// After [`Ruleset::restrict_self`]: the proof that signals stay inside, when the ruleset has the scope *and*
    /// `outsider`, a process of the same user outside the domain, turns out to be out of reach; or when this process is
    /// the first of its process namespace, which no signal leaves.
    pub fn prove_signal_scope(&self, outsider: i32) -> Option<SignalScope> {
        let scoped = || self.scoped && signal::may_signal(outsider) == Err(Errno::PERM);
        (process::is_first() || scoped()).then_some(SignalScope(()))
    }
}

impl AsFd for Ruleset {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn rights(access: FileAccess, abi: ABI) -> BitFlags<AccessFs> {
    let read = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
    // A device node made inside would be a way out: never granted, whoever asks.
    let write = AccessFs::from_all(ABI::V4) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let wanted = match access {
        FileAccess::Read => read,
        FileAccess::Write => write | AccessFs::IoctlDev,
        FileAccess::Device => AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev,
    };
    wanted & AccessFs::from_all(abi)
}

/// `include/uapi/linux/landlock.h`.
const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
