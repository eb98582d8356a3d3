//! The system call table, its compiler to seccomp BPF, and an interpreter of the result.
//!
//! A [`Table`] says for each system call what happens to it: one [`Row`] a call, with the reason beside it.
//! [`compile()`] turns the table into a classic BPF [`Program`] for `seccomp(2)`; [`evaluate()`] says directly what
//! the table means; [`Program::run`] interprets the compiled program. That the last two agree is what the tests
//! of this crate assert.
//!
//! Two things hold for every table. A call that is missing from it answers `ENOSYS`, so a new kernel opens no
//! hole. And a row that always allows is decided without a look at the arguments, so that the kernel (5.11 and
//! later, `seccomp_cache_prepare` in `kernel/seccomp.c`) allows the call without running the program at all.
//!
//! This crate knows no system call by name and no policy: both belong to those who fill the table. It installs
//! nothing and builds on any little-endian machine.
//!
//! ```
//! use sandlock_filter::{Action, Arch, Clause, Errno, Row, Rule, SeccompData, Table, Test, compile};
//!
//! let mut table = Table::new();
//! table.insert(Row {
//!     number: 41,
//!     name: "socket",
//!     rule: Rule::by_arguments([Clause::when([Test::eq(0, 1)], Action::Allow)], Action::Errno(Errno(97))),
//!     handler: None::<fn()>,
//!     why: "only unix sockets exist here",
//! })?;
//! let program = compile(&table, Arch::X86_64)?;
//! let call = SeccompData { nr: 41, arch: Arch::X86_64.audit, instruction_pointer: 0, args: [2, 1, 0, 0, 0, 0] };
//! assert_eq!(program.run(&call)?, Action::Errno(Errno(97)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(target_endian = "big")]
compile_error!("the compiler places the low word of an argument first: little-endian machines only");

mod abi;
mod action;
mod arch;
mod compile;
mod data;
mod evaluate;
mod instruction;
mod interpret;
mod program;
mod rule;
mod table;
mod validate;

pub use action::{Action, Errno};
pub use arch::Arch;
pub use compile::{CompileError, compile};
pub use data::SeccompData;
pub use evaluate::evaluate;
pub use instruction::Instruction;
pub use interpret::InterpretError;
pub use program::Program;
pub use rule::{Clause, Rule, Test};
pub use table::{Row, Table, TableError};
pub use validate::InvalidProgram;
