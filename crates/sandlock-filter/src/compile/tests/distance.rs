//! Conditional jumps reach 255 instructions: programs in which most targets are further.

use super::{assert_agreement, rows, table};
use crate::{Action, Errno, Rule};

const ARGS: [[u64; 6]; 6] = [
    [0, 0, 0, 0, 0, 0],
    [1, 2, 3, 4, 5, 6],
    [2, 0x8_0001, 6, 0x2000_0000, 0, 0],
    [10, 2, 17, 0, 1 << 32, 0],
    [0xdead_0000_0002, 0xbeef_0000_0001, 1 << 32, 0, 0, 0],
    [u64::MAX; 6],
];

/// Denied rows that cannot be merged.
fn denied(numbers: std::ops::Range<u32>) -> impl Iterator<Item = (u32, Rule)> {
    numbers.map(|number| (number, Rule::Always(Action::Errno(Errno((number % 7) as u16 + 1)))))
}

#[test]
fn hundreds_of_denied_rows_are_each_found() {
    assert_agreement(&table(denied(1000..1900)), &ARGS[..1]);
}

#[test]
fn rows_with_arguments_are_found_at_both_ends_of_a_long_program() {
    let ends = [0, 1, 2, 3, 995, 1900, 1901, 1902, 1905].map(|number| (number, rows::with_arguments(number)));
    let kinds =
        [(996, rows::socket()), (997, rows::sendto()), (1910, rows::socket()), (1911, rows::sendto())];
    let long = table(denied(1000..1900).chain(ends).chain(kinds));
    let length = crate::compile(&long, super::ARCH).unwrap().instructions().len();
    assert!(length > 900, "{length}");
    assert_agreement(&long, &ARGS);
}

#[test]
fn a_shared_row_is_found_from_everywhere_in_a_long_program() {
    let shared = (1000..2200).map(|number| match number % 3 {
        0 => (number, rows::socket()),
        1 => (number, rows::with_arguments(3)),
        _ => (number, Rule::Always(Action::Errno(Errno((number % 5) as u16)))),
    });
    assert_agreement(&table(shared), &ARGS);
}
