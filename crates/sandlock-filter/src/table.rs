//! The table: one row a system call.
//!
//! A table is right by construction: what the compiler could not honour, [`Table::insert`] refuses.

use crate::abi;
use crate::action::{Action, Errno};
use crate::rule::{Rule, Test};

/// What happens to one system call, and why.
#[derive(Clone, Debug)]
pub struct Row<H> {
    /// The call's number on the machine that the table is for.
    pub number: u32,
    /// The kernel's name for the call.
    pub name: &'static str,
    /// What happens to it.
    pub rule: Rule,
    /// What answers it when it traps.
    pub handler: Option<H>,
    /// The reason, for people.
    pub why: &'static str,
}

/// What happens to every system call; one that is missing answers `ENOSYS`.
#[derive(Clone, Debug)]
pub struct Table<H> {
    /// In the order in which they came: without gaps, because fresh memory is most of what a table costs.
    rows: Vec<Row<H>>,
    /// By number, where its row is, so that a trapped call finds its handler in one step.
    places: Vec<Option<u16>>,
}

impl<H> Table<H> {
    /// Numbers of rows are below this. The kernel's own end at about 470; x32 numbers begin at 2³⁰.
    pub const NUMBERS: u32 = 4096;

    /// A little more than the kernel has calls.
    const USUAL: usize = 512;

    /// A table in which every call answers `ENOSYS`.
    #[must_use]
    pub fn new() -> Self {
        Self { rows: Vec::with_capacity(Self::USUAL), places: Vec::with_capacity(Self::USUAL) }
    }

    /// Adds a row for a number that has none.
    ///
    /// # Errors
    ///
    /// If the number has a row, or if the row could not be honoured: see [`TableError`].
    pub fn insert(&mut self, row: Row<H>) -> Result<(), TableError> {
        check(&row)?;
        if let Some(present) = self.get(row.number) {
            return Err(TableError::NumberTaken { number: row.number, name: row.name, by: present.name });
        }
        let number = row.number as usize;
        if self.places.len() <= number {
            self.places.resize(number + 1, None);
        }
        self.places[number] = Some(self.rows.len() as u16);
        self.rows.push(row);
        Ok(())
    }

    /// Puts a row in the place of the one with its number, which is returned: for rows that depend on policy.
    ///
    /// # Errors
    ///
    /// If the number has no row, or if the row could not be honoured: see [`TableError`].
    pub fn replace(&mut self, row: Row<H>) -> Result<Row<H>, TableError> {
        check(&row)?;
        let (number, name) = (row.number, row.name);
        let present = self.place(number).and_then(|place| self.rows.get_mut(place));
        let present = present.ok_or(TableError::NothingToReplace { number, name })?;
        Ok(std::mem::replace(present, row))
    }

    /// The rows, by number.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &Row<H>> {
        self.places.iter().flatten().filter_map(|&place| self.rows.get(usize::from(place)))
    }

    /// The row for this number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Row<H>> {
        self.rows.get(self.place(number)?)
    }

    /// What answers this call when it traps.
    #[must_use]
    pub fn handler(&self, number: u32) -> Option<&H> {
        self.get(number)?.handler.as_ref()
    }

    fn place(&self, number: u32) -> Option<usize> {
        self.places.get(number as usize)?.map(usize::from)
    }
}

impl<H> Default for Table<H> {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a row was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Two rows have one number.
    #[error("{name} has number {number}, which is {by}")]
    NumberTaken {
        /// The number of both.
        number: u32,
        /// The row that was refused.
        name: &'static str,
        /// The row that is there.
        by: &'static str,
    },
    /// A row was to be replaced that is not there.
    #[error("there is no row {number} for {name} to replace")]
    NothingToReplace {
        /// The number without a row.
        number: u32,
        /// The row that was refused.
        name: &'static str,
    },
    /// The number is not one that the kernel gives to a call.
    #[error("{name} has number {number}, too large for a system call")]
    NumberTooLarge {
        /// The number.
        number: u32,
        /// The row that was refused.
        name: &'static str,
    },
    /// A call would trap that nothing answers.
    #[error("{name} can trap but has no handler")]
    TrapWithoutHandler {
        /// The row that was refused.
        name: &'static str,
    },
    /// A test looks at an argument after the sixth.
    #[error("{name} tests \"{test}\", but arguments end at 5")]
    NoSuchArgument {
        /// The row that was refused.
        name: &'static str,
        /// The test in question.
        test: Test,
    },
    /// A test has one outcome whatever the argument is, because its value has bits outside its mask.
    #[error("{name} tests \"{test}\", whose mask hides a part of its value")]
    ValueOutsideMask {
        /// The row that was refused.
        name: &'static str,
        /// The test in question.
        test: Test,
    },
    /// The kernel would answer 4095 instead.
    #[error("{name} answers errno {}, but errnos end at 4095", errno.0)]
    ErrnoTooLarge {
        /// The row that was refused.
        name: &'static str,
        /// The number in question.
        errno: Errno,
    },
}

fn check<H>(row: &Row<H>) -> Result<(), TableError> {
    let name = row.name;
    if row.number >= Table::<H>::NUMBERS {
        return Err(TableError::NumberTooLarge { number: row.number, name });
    }
    let check_action = |action| match action {
        Action::Trap if row.handler.is_none() => Err(TableError::TrapWithoutHandler { name }),
        Action::Errno(errno) if errno.0 > abi::MAX_ERRNO => Err(TableError::ErrnoTooLarge { name, errno }),
        _ => Ok(()),
    };
    let (clauses, otherwise) = row.rule.parts();
    for clause in clauses {
        clause.all.iter().try_for_each(|&test| check_test(name, test))?;
        check_action(clause.action)?;
    }
    check_action(otherwise)
}

fn check_test(name: &'static str, test: Test) -> Result<(), TableError> {
    if test.arg() >= abi::ARGUMENTS {
        return Err(TableError::NoSuchArgument { name, test });
    }
    match test {
        Test::MaskedEq { mask, value, .. } | Test::MaskedNe { mask, value, .. } if value & !mask != 0 => {
            Err(TableError::ValueOutsideMask { name, test })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Clause;

    fn row(number: u32, rule: Rule) -> Row<&'static str> {
        Row { number, name: "call", rule, handler: None, why: "" }
    }

    fn when(test: Test) -> Rule {
        Rule::by_arguments([Clause::when([test], Action::Allow)], Action::Errno(Errno(1)))
    }

    #[test]
    fn a_number_has_one_row() {
        let mut table = Table::new();
        table.insert(row(7, Rule::ALLOW)).unwrap();
        let second = Row { name: "other", ..row(7, Rule::ALLOW) };
        assert_eq!(
            table.insert(second),
            Err(TableError::NumberTaken { number: 7, name: "other", by: "call" })
        );
    }

    #[test]
    fn replace_needs_a_row_and_returns_it() {
        let mut table = Table::new();
        assert!(matches!(
            table.replace(row(7, Rule::ALLOW)),
            Err(TableError::NothingToReplace { number: 7, .. })
        ));
        table.insert(row(7, Rule::ALLOW)).unwrap();
        assert_eq!(table.replace(row(7, Rule::Always(Action::KillProcess))).unwrap().rule, Rule::ALLOW);
        assert_eq!(table.get(7).unwrap().rule, Rule::Always(Action::KillProcess));
    }

    #[test]
    fn rows_come_by_number_and_handlers_are_found_by_it() {
        let mut table = Table::new();
        for (number, handler) in [(9, "nine"), (2, "two"), (5, "five")] {
            table.insert(Row { handler: Some(handler), ..row(number, Rule::TRAP) }).unwrap();
        }
        assert_eq!(table.rows().map(|row| row.number).collect::<Vec<_>>(), [2, 5, 9]);
        assert_eq!(table.handler(5), Some(&"five"));
        assert_eq!((table.handler(6), table.handler(u32::MAX)), (None, None));
    }

    #[test]
    fn a_rule_that_can_trap_needs_a_handler() {
        let in_a_clause = Rule::by_arguments([Clause::when([], Action::Trap)], Action::Allow);
        let otherwise = Rule::by_arguments([], Action::Trap);
        for rule in [Rule::TRAP, in_a_clause, otherwise] {
            let mut table = Table::new();
            let refused = table.insert(row(1, rule.clone()));
            assert_eq!(refused, Err(TableError::TrapWithoutHandler { name: "call" }));
            table.insert(Row { handler: Some("handler"), ..row(1, rule) }).unwrap();
        }
    }

    #[test]
    fn a_row_that_could_not_be_honoured_is_refused() {
        let mut table = Table::new();
        let x32 = table.insert(row(0x4000_0000, Rule::ALLOW));
        assert!(matches!(x32, Err(TableError::NumberTooLarge { .. })));
        let seventh = table.insert(row(1, when(Test::eq(6, 0))));
        assert!(matches!(seventh, Err(TableError::NoSuchArgument { .. })));
        let hidden = table.insert(row(1, when(Test::MaskedNe { arg: 0, mask: 0xf, value: 0x10 })));
        assert!(matches!(hidden, Err(TableError::ValueOutsideMask { .. })));
        let errno = table.insert(row(1, Rule::Always(Action::Errno(Errno(4096)))));
        assert!(matches!(errno, Err(TableError::ErrnoTooLarge { .. })));
        assert_eq!(table.rows().count(), 0);
    }
}
