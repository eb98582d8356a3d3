//! From a table to a filter.
//!
//! Three steps, a file each. [`clauses`] and [`dispatch`] build a [`graph`] of decisions: rows by their clauses,
//! and above them a search for the row. [`emit`] chooses what to load and in which order the decisions lie, and
//! [`assemble`] turns them into instructions.

mod assemble;
mod clauses;
mod dispatch;
mod emit;
mod graph;
#[cfg(test)]
mod tests;

use crate::abi::{MAX_INSTRUCTIONS, offset};
use crate::action::{Action, Errno};
use crate::arch::Arch;
use crate::program::Program;
use crate::table::Table;
use crate::validate::InvalidProgram;
use graph::{Graph, Question, Target, Word};

/// Why a table has no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The kernel takes 4096 instructions (`BPF_MAXINSNS`).
    #[error("the table compiles to {instructions} instructions, the kernel takes 4096")]
    TooLong {
        /// How many it would be.
        instructions: usize,
    },
    /// A mistake of the compiler: a conditional jump cannot reach its target.
    #[error("the compiler made a jump that it cannot encode")]
    JumpOutOfReach,
    /// A mistake of the compiler: the kernel would refuse the program.
    #[error("the compiler made an invalid program")]
    Invalid(#[from] InvalidProgram),
}

/// Compiles the table to a filter for this instruction set.
///
/// A call of another instruction set, and a call that is missing from the table, answers `ENOSYS`.
///
/// # Errors
///
/// If the program would be too long for the kernel.
pub fn compile<H>(table: &Table<H>, arch: Arch) -> Result<Program, CompileError> {
    let enosys = Target::Return(Action::Errno(Errno::ENOSYS));
    let mut graph = Graph::new();
    let rows = table.rows().map(|row| (row.number, clauses::rule(&mut graph, &row.rule)));
    let ranges = dispatch::ranges(rows, enosys);
    let search = dispatch::search(&mut graph, &ranges, enosys);
    let root = graph.branch(&mut Vec::new(), Word(offset::ARCH), Question::Equal(arch.audit), search, enosys);
    let instructions = emit::emit(&graph, root)?;
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong { instructions: instructions.len() });
    }
    Ok(Program::new(instructions)?)
}
