//! Short, because the kernel compiles the program at each start of a sandbox; and never longer than it takes.

use super::{ARCH, realistic, rows, table};
use crate::{Action, Clause, CompileError, Errno, Rule, Table, Test, compile};

#[test]
fn a_realistic_table_is_short() {
    let table = realistic();
    let with_arguments = table.rows().filter(|row| matches!(row.rule, Rule::ByArguments { .. })).count();
    let length = compile(&table, ARCH).unwrap().instructions().len();
    println!("{} rows, {with_arguments} with arguments: {length} instructions", table.rows().count());
    assert!(length < 500);
}

#[test]
fn equal_rules_share_their_code() {
    let one = compile(&table([(10, rows::socket())]), ARCH).unwrap().instructions().len();
    let many = table((10..60).step_by(2).map(|number| (number, rows::socket())));
    let many = compile(&many, ARCH).unwrap().instructions().len();
    // What grows is the search: at most two comparisons a row.
    assert!(many - one <= 2 * 25, "{many} instructions, {one} for one of 25 rows");
}

#[test]
fn a_clause_that_goes_on_with_the_same_argument_loads_it_once() {
    let requests = (1..9).map(|value| Clause::when([Test::eq(1, value)], Action::Trap));
    let table = table([(0, Rule::by_arguments(requests.collect::<Vec<_>>(), Action::Allow))]);
    let program = compile(&table, ARCH).unwrap();
    // Two loads and two tests for the row, a load and a test for each value, and three returns.
    assert_eq!(program.instructions().len(), 2 + 2 + 1 + 8 + 3, "{program}");
}

#[test]
fn an_empty_table_is_one_instruction() {
    let program = compile(&Table::<()>::new(), ARCH).unwrap();
    assert_eq!(program.to_string(), "   0: ret  errno 38\n");
}

#[test]
fn a_program_that_the_kernel_would_not_take_is_an_error() {
    let one_of_many =
        |number: u32| Clause::when([Test::eq(0, number)], Action::Errno(Errno((number % 4000) as u16)));
    let clauses: Vec<_> = (0..5000).map(one_of_many).collect();
    let error = compile(&table([(1, Rule::by_arguments(clauses, Action::Allow))]), ARCH);
    assert!(matches!(error, Err(CompileError::TooLong { instructions: 5000.. })), "{error:?}");
}

#[test]
fn a_program_of_nearly_the_greatest_length_is_right() {
    let one_of_many =
        |number: u32| Clause::when([Test::eq(0, number)], Action::Errno(Errno((number % 2) as u16)));
    let clauses: Vec<_> = (0..4000).map(one_of_many).collect();
    let table = table([(1, Rule::by_arguments(clauses, Action::Allow))]);
    assert!(compile(&table, ARCH).unwrap().instructions().len() > 4000);
    super::assert_agreement(&table, &[0, 1, 2000, 3998, 3999, 4000].map(|arg| [arg, 0, 0, 0, 0, 0]));
}
