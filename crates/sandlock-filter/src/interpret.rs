//! An interpreter of filters: what the kernel would do with a program, without a kernel.

use crate::abi::code;
use crate::action::Action;
use crate::data::SeccompData;
use crate::instruction::Instruction;
use crate::program::Program;

/// Why a program came to no answer. A [`Program`] is valid, so each of these is a mistake of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterpretError {
    /// No instruction is there.
    #[error("the program was left at {at}")]
    LeftProgram {
        /// The index.
        at: usize,
    },
    /// An instruction that this crate never emits.
    #[error("instruction {at} has the unknown code {code:#x}")]
    UnknownInstruction {
        /// Its index.
        at: usize,
        /// Its code.
        code: u16,
    },
    /// A load that is not aligned or lies outside `struct seccomp_data`.
    #[error("instruction {at} loads at offset {offset}")]
    LoadOutsideData {
        /// Its index.
        at: usize,
        /// What it would load.
        offset: u32,
    },
    /// A return of something that is no [`Action`].
    #[error("instruction {at} returns {value:#x}, which is no action")]
    UnknownAction {
        /// Its index.
        at: usize,
        /// What it returns.
        value: u32,
    },
}

impl Program {
    /// What the program answers to this call.
    ///
    /// # Errors
    ///
    /// Never for a program that [`compile`](crate::compile()) made.
    pub fn run(&self, data: &SeccompData) -> Result<Action, InterpretError> {
        let mut accumulator = 0;
        let mut at = 0;
        loop {
            let &Instruction { code, jt, jf, k } =
                self.instructions().get(at).ok_or(InterpretError::LeftProgram { at })?;
            let branch = |holds: bool| usize::from(if holds { jt } else { jf });
            let skipped = match code {
                code::LOAD => {
                    accumulator = data.word(k).ok_or(InterpretError::LoadOutsideData { at, offset: k })?;
                    0
                }
                code::AND => {
                    accumulator &= k;
                    0
                }
                code::JUMP => k as usize,
                code::JUMP_EQUAL => branch(accumulator == k),
                code::JUMP_ABOVE => branch(accumulator > k),
                code::JUMP_AT_LEAST => branch(accumulator >= k),
                code::JUMP_ANY_BIT => branch(accumulator & k != 0),
                code::RETURN => {
                    return Action::from_ret(k).ok_or(InterpretError::UnknownAction { at, value: k });
                }
                code => return Err(InterpretError::UnknownInstruction { at, code }),
            };
            // Every jump goes forward, so a program of n instructions ends after n steps.
            at += 1 + skipped;
        }
    }
}
