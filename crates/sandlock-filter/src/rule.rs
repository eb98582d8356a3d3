//! What a row says: an action, or actions by the values of the argument registers.
//!
//! Registers only. What an argument points at cannot be decided here: the caller can change it after the look.

use std::fmt;

use crate::action::Action;

/// One test of an argument register.
///
/// An `int` argument carries garbage above bit 31, so the `Masked` tests look at the low 32 bits only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// `(u32)args[arg] & mask == value`.
    MaskedEq {
        /// Which argument, from 0 to 5.
        arg: u8,
        /// Which bits count.
        mask: u32,
        /// What they must be; no bit outside `mask`.
        value: u32,
    },
    /// `(u32)args[arg] & mask != value`.
    MaskedNe {
        /// Which argument, from 0 to 5.
        arg: u8,
        /// Which bits count.
        mask: u32,
        /// What they must not be; no bit outside `mask`.
        value: u32,
    },
    /// `args[arg] == 0`, all 64 bits: a pointer is null.
    Null {
        /// Which argument, from 0 to 5.
        arg: u8,
    },
    /// `args[arg] != 0`, all 64 bits: a pointer is not null.
    NotNull {
        /// Which argument, from 0 to 5.
        arg: u8,
    },
}

impl Test {
    /// The `int` argument equals `value`.
    #[must_use]
    pub const fn eq(arg: u8, value: u32) -> Self {
        Self::MaskedEq { arg, mask: u32::MAX, value }
    }

    /// The `int` argument differs from `value`.
    #[must_use]
    pub const fn ne(arg: u8, value: u32) -> Self {
        Self::MaskedNe { arg, mask: u32::MAX, value }
    }

    /// At least one bit of `mask` is set.
    #[must_use]
    pub const fn any_bit(arg: u8, mask: u32) -> Self {
        Self::MaskedNe { arg, mask, value: 0 }
    }

    /// No bit of `mask` is set.
    #[must_use]
    pub const fn no_bit(arg: u8, mask: u32) -> Self {
        Self::MaskedEq { arg, mask, value: 0 }
    }

    /// Which argument is tested.
    #[must_use]
    pub const fn arg(self) -> u8 {
        match self {
            Self::MaskedEq { arg, .. }
            | Self::MaskedNe { arg, .. }
            | Self::Null { arg }
            | Self::NotNull { arg } => arg,
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MaskedEq { arg, mask: u32::MAX, value } => write!(f, "args[{arg}] == {value:#x}"),
            Self::MaskedNe { arg, mask: u32::MAX, value } => write!(f, "args[{arg}] != {value:#x}"),
            Self::MaskedEq { arg, mask, value } => write!(f, "args[{arg}] & {mask:#x} == {value:#x}"),
            Self::MaskedNe { arg, mask, value } => write!(f, "args[{arg}] & {mask:#x} != {value:#x}"),
            Self::Null { arg } => write!(f, "args[{arg}] is null"),
            Self::NotNull { arg } => write!(f, "args[{arg}] is not null"),
        }
    }
}

/// A conjunction of tests and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clause {
    /// The clause matches when every one of these holds; with none, always.
    pub all: Vec<Test>,
    /// What happens when the clause matches and none before it did.
    pub action: Action,
}

impl Clause {
    /// `action`, when all these tests hold.
    #[must_use]
    pub fn when(all: impl Into<Vec<Test>>, action: Action) -> Self {
        Self { all: all.into(), action }
    }
}

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Whatever the arguments.
    Always(Action),
    /// By the argument registers.
    ByArguments {
        /// The first that matches decides.
        clauses: Vec<Clause>,
        /// What happens when none matches.
        otherwise: Action,
    },
}

impl Rule {
    /// Always allow.
    pub const ALLOW: Self = Self::Always(Action::Allow);

    /// Always trap.
    pub const TRAP: Self = Self::Always(Action::Trap);

    /// The first clause that matches decides, or else `otherwise`.
    #[must_use]
    pub fn by_arguments(clauses: impl Into<Vec<Clause>>, otherwise: Action) -> Self {
        Self::ByArguments { clauses: clauses.into(), otherwise }
    }

    /// Every action that the rule names, in order.
    pub fn actions(&self) -> impl Iterator<Item = Action> + '_ {
        let (clauses, last) = self.parts();
        clauses.iter().map(|clause| clause.action).chain([last])
    }

    /// Every test that the rule makes, in order.
    pub fn tests(&self) -> impl Iterator<Item = Test> + '_ {
        self.parts().0.iter().flat_map(|clause| clause.all.iter().copied())
    }

    /// The clauses, and what happens when none matches.
    pub(crate) fn parts(&self) -> (&[Clause], Action) {
        match self {
            Self::Always(action) => (&[], *action),
            Self::ByArguments { clauses, otherwise } => (clauses, *otherwise),
        }
    }

    /// Whether the rule can hand a call to the supervisor.
    #[must_use]
    pub fn can_trap(&self) -> bool {
        self.actions().any(|action| action == Action::Trap)
    }
}
