//! Random tables and random calls: the program says what the table says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{ARCH, assert_agreement, call, realistic, table};
use crate::{Action, Arch, Clause, Errno, Rule, SeccompData, Test, compile, evaluate};

/// Few, so that tests of one argument imply and exclude each other often.
const VALUES: [u32; 8] = [0, 1, 2, 6, 0x11, 0x80, 0x8000_0000, u32::MAX];
const MASKS: [u32; 7] = [0, 1, 0xf, 0x80, 0xff, 0x8000_0000, u32::MAX];

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Allow),
        3 => select(vec![0, 1, 13, 38, 4095]).prop_map(|number| Action::Errno(Errno(number))),
        1 => Just(Action::Trap),
        1 => Just(Action::KillProcess),
    ]
}

fn test() -> impl Strategy<Value = Test> {
    // Mostly two arguments, for the same reason.
    let arg = prop_oneof![4 => 0..2_u8, 1 => 0..6_u8];
    (arg, select(&MASKS), select(&VALUES), 0..6).prop_map(|(arg, mask, value, kind)| match kind {
        0 | 1 => Test::MaskedEq { arg, mask, value: value & mask },
        2 | 3 => Test::MaskedNe { arg, mask, value: value & mask },
        4 => Test::Null { arg },
        _ => Test::NotNull { arg },
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let clause =
        (prop::collection::vec(test(), 0..=4), action()).prop_map(|(all, action)| Clause { all, action });
    let clauses = prop::collection::vec(clause, 0..=6);
    prop_oneof![
        3 => action().prop_map(Rule::Always),
        1 => (clauses, action()).prop_map(|(clauses, otherwise)| Rule::ByArguments { clauses, otherwise }),
    ]
}

/// Dense tables of up to 600 rows. At least some have rows next to each other and gaps between others.
fn rows() -> impl Strategy<Value = BTreeMap<u32, Rule>> {
    (prop_oneof![2..40_u32, 100..900_u32])
        .prop_flat_map(|end| prop::collection::btree_map(0..end, rule(), 0..=(end as usize).min(600)))
}

fn arg() -> impl Strategy<Value = u64> {
    let low = prop_oneof![
        4 => select(&VALUES),
        2 => select(&MASKS),
        1 => (select(&VALUES), select(&VALUES)).prop_map(|(one, other)| one ^ other),
        1 => any::<u32>(),
    ];
    let high = prop_oneof![3 => Just(0), 1 => Just(1), 1 => any::<u32>()];
    (low, high).prop_map(|(low, high)| u64::from(high) << 32 | u64::from(low))
}

/// A call that is placed when the table is known.
#[derive(Clone, Debug)]
struct Call {
    row: Index,
    beside: i32,
    anywhere: Option<u32>,
    arch: u32,
    args: [u64; 6],
}

impl Call {
    /// A call of a row, of a neighbour of one, or of anything.
    fn of(&self, rows: &[u32]) -> SeccompData {
        let near = if rows.is_empty() { 0 } else { *self.row.get(rows) };
        let nr = self.anywhere.map_or(near.cast_signed() + self.beside, u32::cast_signed);
        SeccompData { nr, arch: self.arch, instruction_pointer: 0, args: self.args }
    }
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let anywhere = prop_oneof![
        30 => Just(None),
        1 => any::<u32>().prop_map(Some),
        1 => (0..1000_u32).prop_map(|number| Some(number | 0x4000_0000)),
        1 => Just(Some(u32::MAX)),
    ];
    let beside = prop_oneof![3 => Just(0), 1 => -1..=1];
    let arch = prop_oneof![20 => Just(ARCH.audit), 1 => Just(Arch::AARCH64.audit), 1 => any::<u32>()];
    let call = (any::<Index>(), beside, anywhere, arch, prop::array::uniform6(arg()));
    let call =
        call.prop_map(|(row, beside, anywhere, arch, args)| Call { row, beside, anywhere, arch, args });
    prop::collection::vec(call, 200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_program_says_what_the_table_says(rows in rows(), calls in calls()) {
        let numbers: Vec<u32> = rows.keys().copied().collect();
        let table = table(rows);
        let program = match compile(&table, ARCH) {
            Ok(program) => program,
            Err(crate::CompileError::TooLong { .. }) => return Ok(()),
            Err(error) => panic!("{error}"),
        };
        for call in calls {
            let data = call.of(&numbers);
            prop_assert_eq!(program.run(&data), Ok(evaluate(&table, ARCH, &data)), "{:x?}\n{}", data, program);
        }
    }

    #[test]
    fn one_rule_is_decided_rightly(rule in rule(), args in prop::collection::vec(prop::array::uniform6(arg()), 300)) {
        assert_agreement(&table([(1, rule)]), &args);
    }

    #[test]
    fn garbage_above_an_int_changes_nothing(
        number in 0..470_u32,
        args in prop::array::uniform6(select(&VALUES)),
        garbage in prop::array::uniform6(any::<u32>()),
    ) {
        // The destination of `sendto` is the one argument of this table that is a pointer.
        prop_assume!(number != 44);
        let table = realistic();
        let program = compile(&table, ARCH).unwrap();
        let clean = args.map(u64::from);
        let dirty = std::array::from_fn(|n| clean[n] | u64::from(garbage[n]) << 32);
        prop_assert_eq!(program.run(&call(number, clean)), program.run(&call(number, dirty)));
    }
}

#[test]
fn a_pointer_is_null_when_all_its_bits_are_zero() {
    for (test, when_null) in [(Test::Null { arg: 2 }, true), (Test::NotNull { arg: 2 }, false)] {
        let table =
            table([(1, Rule::by_arguments([Clause::when([test], Action::Allow)], Action::KillProcess))]);
        let program = compile(&table, ARCH).unwrap();
        for pointer in [0, 1, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
            let allowed = program.run(&call(1, [9, 9, pointer, 9, 9, 9])).unwrap() == Action::Allow;
            assert_eq!(allowed, (pointer == 0) == when_null, "{pointer:#x}\n{program}");
        }
    }
}

#[test]
fn the_first_clause_that_matches_decides() {
    let rule = Rule::by_arguments(
        [
            Clause::when([Test::eq(0, 1), Test::eq(1, 2)], Action::Trap),
            Clause::when([Test::eq(0, 1)], Action::KillProcess),
            Clause::when([Test::eq(0, 1), Test::eq(1, 3)], Action::Errno(Errno(5))),
        ],
        Action::Allow,
    );
    let program = compile(&table([(0, rule)]), ARCH).unwrap();
    let said = |first, second| program.run(&call(0, [first, second, 0, 0, 0, 0])).unwrap();
    assert_eq!((said(1, 2), said(1, 3), said(2, 3)), (Action::Trap, Action::KillProcess, Action::Allow));
}
