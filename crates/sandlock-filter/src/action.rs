//! What happens to a system call.

use std::fmt;

use crate::abi::ret;

/// An error number, from 0 to 4095.
///
/// `Errno(0)` means "reports success and does nothing".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(pub u16);

impl Errno {
    /// The call reports success and does nothing.
    pub const SUCCESS: Self = Self(0);

    /// "Function not implemented": what a call answers that is missing from the table.
    pub const ENOSYS: Self = Self(38);
}

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The kernel performs the call.
    Allow,
    /// The kernel performs nothing and answers this number.
    Errno(Errno),
    /// The supervisor is asked: `SECCOMP_RET_USER_NOTIF`.
    Trap,
    /// The whole process dies with SIGSYS.
    KillProcess,
}

impl Action {
    /// The value that a filter returns for this action: `SECCOMP_RET_*`, [seccomp(2)].
    ///
    /// [seccomp(2)]: https://man7.org/linux/man-pages/man2/seccomp.2.html
    #[must_use]
    pub const fn to_ret(self) -> u32 {
        match self {
            Self::Allow => ret::ALLOW,
            Self::Errno(Errno(number)) => ret::ERRNO | number as u32,
            Self::Trap => ret::USER_NOTIF,
            Self::KillProcess => ret::KILL_PROCESS,
        }
    }

    /// The action that a filter's return value stands for; `None` if it is none of ours.
    #[must_use]
    pub const fn from_ret(value: u32) -> Option<Self> {
        match (value & ret::ACTION, value & ret::DATA) {
            (ret::ALLOW, 0) => Some(Self::Allow),
            (ret::ERRNO, number) => Some(Self::Errno(Errno(number as u16))),
            (ret::USER_NOTIF, 0) => Some(Self::Trap),
            (ret::KILL_PROCESS, 0) => Some(Self::KillProcess),
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allow"),
            Self::Errno(Errno(number)) => write!(f, "errno {number}"),
            Self::Trap => f.write_str("trap"),
            Self::KillProcess => f.write_str("kill the process"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_survives_the_way_through_a_return_value() {
        let errnos = (0..=4095).map(|number| Action::Errno(Errno(number)));
        for action in [Action::Allow, Action::Trap, Action::KillProcess].into_iter().chain(errnos) {
            assert_eq!(Action::from_ret(action.to_ret()), Some(action));
        }
    }

    #[test]
    fn a_return_value_that_we_never_emit_is_no_action() {
        const KILL_THREAD: u32 = 0;
        const TRACE: u32 = 0x7ff0_0000;
        for value in [KILL_THREAD, TRACE, 0x7fff_0001] {
            assert_eq!(Action::from_ret(value), None);
        }
    }
}
