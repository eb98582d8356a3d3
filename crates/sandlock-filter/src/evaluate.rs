//! What a table means, said directly: the oracle of the compiler's tests, and the answer of `explain`.

use crate::action::{Action, Errno};
use crate::arch::Arch;
use crate::data::SeccompData;
use crate::rule::{Clause, Rule, Test};
use crate::table::Table;

/// What the table says about this call.
#[must_use]
pub fn evaluate<H>(table: &Table<H>, arch: Arch, data: &SeccompData) -> Action {
    let number = u32::try_from(data.nr).ok().filter(|_| data.arch == arch.audit);
    match number.and_then(|number| table.get(number)) {
        Some(row) => decide(&row.rule, &data.args),
        None => Action::Errno(Errno::ENOSYS),
    }
}

fn decide(rule: &Rule, args: &[u64; 6]) -> Action {
    let (clauses, otherwise) = rule.parts();
    clauses.iter().find(|clause| matches(clause, args)).map_or(otherwise, |clause| clause.action)
}

fn matches(clause: &Clause, args: &[u64; 6]) -> bool {
    clause.all.iter().all(|test| {
        let arg = args[usize::from(test.arg())];
        match *test {
            Test::MaskedEq { mask, value, .. } => arg as u32 & mask == value,
            Test::MaskedNe { mask, value, .. } => arg as u32 & mask != value,
            Test::Null { .. } => arg == 0,
            Test::NotNull { .. } => arg != 0,
        }
    })
}
