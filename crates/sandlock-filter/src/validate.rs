//! The kernel's checks of a filter, made before the kernel makes them.
//!
//! `bpf_check_classic` in `net/core/filter.c` and `seccomp_check_filter` in `kernel/seccomp.c`; the kernel only says EINVAL.

use crate::abi::{MAX_INSTRUCTIONS, code, offset};
use crate::action::Action;
use crate::instruction::Instruction;

/// Why instructions are not a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProgram {
    /// There are none.
    #[error("the program is empty")]
    Empty,
    /// There are more than `BPF_MAXINSNS`.
    #[error("the program has {instructions} instructions, the kernel takes 4096")]
    TooLong {
        /// How many there are.
        instructions: usize,
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
    /// A jump to behind the last instruction.
    #[error("instruction {at} jumps out of the program")]
    JumpOutside {
        /// Its index.
        at: usize,
    },
    /// A return of something that is no [`Action`].
    #[error("instruction {at} returns {value:#x}, which is no action")]
    UnknownAction {
        /// Its index.
        at: usize,
        /// What it returns.
        value: u32,
    },
    /// The last instruction would be left by its end.
    #[error("the last instruction is not a return")]
    NoReturnAtEnd,
}

pub(crate) fn validate(instructions: &[Instruction]) -> Result<(), InvalidProgram> {
    let Some(last) = instructions.last() else {
        return Err(InvalidProgram::Empty);
    };
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(InvalidProgram::TooLong { instructions: instructions.len() });
    }
    for (at, instruction) in instructions.iter().enumerate() {
        check(*instruction, at, instructions.len() - at - 1)?;
    }
    if last.code != code::RETURN {
        return Err(InvalidProgram::NoReturnAtEnd);
    }
    Ok(())
}

/// Checks the instruction at this index, which has so many instructions behind it.
fn check(instruction: Instruction, at: usize, behind: usize) -> Result<(), InvalidProgram> {
    let Instruction { code, jt, jf, k } = instruction;
    let error = match code {
        code::AND => None,
        code::LOAD => {
            let inside = k < offset::END && k.is_multiple_of(4);
            (!inside).then_some(InvalidProgram::LoadOutsideData { at, offset: k })
        }
        code::JUMP => (k as usize >= behind).then_some(InvalidProgram::JumpOutside { at }),
        code::JUMP_EQUAL | code::JUMP_ABOVE | code::JUMP_AT_LEAST | code::JUMP_ANY_BIT => {
            (usize::from(jt.max(jf)) >= behind).then_some(InvalidProgram::JumpOutside { at })
        }
        code::RETURN => {
            Action::from_ret(k).is_none().then_some(InvalidProgram::UnknownAction { at, value: k })
        }
        _ => Some(InvalidProgram::UnknownInstruction { at, code }),
    };
    error.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(code: u16, k: u32) -> Instruction {
        Instruction { code, jt: 0, jf: 0, k }
    }

    fn allow() -> Instruction {
        plain(code::RETURN, Action::Allow.to_ret())
    }

    #[test]
    fn a_program_that_ends_in_a_return_is_valid() {
        let jump = Instruction { code: code::JUMP_EQUAL, jt: 1, jf: 0, k: 7 };
        let program = [plain(code::LOAD, 60), jump, plain(code::JUMP, 0), allow()];
        assert_eq!(validate(&program), Ok(()));
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        use InvalidProgram as No;
        let far = Instruction { code: code::JUMP_EQUAL, jt: 0, jf: 1, k: 0 };
        let kill_thread = plain(code::RETURN, 0);
        let load_half_word = plain(code::LOAD | 0x08, 0);
        let cases = [
            (vec![], No::Empty),
            (vec![allow(); 4097], No::TooLong { instructions: 4097 }),
            (vec![load_half_word, allow()], No::UnknownInstruction { at: 0, code: 0x28 }),
            (vec![plain(code::LOAD, 64), allow()], No::LoadOutsideData { at: 0, offset: 64 }),
            (vec![plain(code::LOAD, 18), allow()], No::LoadOutsideData { at: 0, offset: 18 }),
            (vec![far, allow()], No::JumpOutside { at: 0 }),
            (vec![allow(), plain(code::JUMP, 1), allow()], No::JumpOutside { at: 1 }),
            (vec![plain(code::JUMP, u32::MAX), allow()], No::JumpOutside { at: 0 }),
            (vec![kill_thread], No::UnknownAction { at: 0, value: 0 }),
            (vec![allow(), plain(code::AND, 1)], No::NoReturnAtEnd),
        ];
        for (program, error) in cases {
            assert_eq!(validate(&program), Err(error));
        }
    }
}
