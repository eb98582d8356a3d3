//! A filter program that the kernel accepts.

use std::fmt;

use crate::instruction::Instruction;
use crate::validate::{InvalidProgram, validate};

/// A filter program that the kernel accepts: [`Program::new`] is the only way to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
}

impl Program {
    /// Takes instructions that pass [`Program::validate`].
    ///
    /// # Errors
    ///
    /// If the kernel would refuse them, or if they are not of the kinds that this crate emits.
    pub fn new(instructions: Vec<Instruction>) -> Result<Self, InvalidProgram> {
        let program = Self { instructions };
        program.validate()?;
        Ok(program)
    }

    /// The instructions, as `seccomp(2)` takes them.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Checks what the kernel checks: `bpf_check_classic` in `net/core/filter.c` and `seccomp_check_filter` in
    /// `kernel/seccomp.c`. Stricter in one point: only the instructions that this crate emits pass.
    ///
    /// # Errors
    ///
    /// The first instruction that is wrong, and how.
    pub fn validate(&self) -> Result<(), InvalidProgram> {
        validate(&self.instructions)
    }
}

/// The disassembly, one line an instruction.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, instruction) in self.instructions.iter().enumerate() {
            write!(f, "{index:4}: ")?;
            instruction.write_at(index, f)?;
            writeln!(f)?;
        }
        Ok(())
    }
}
