//! What a compiled program promises: it means what the table means, the kernel can cache it, and it is short.

mod agreement;
mod cacheable;
mod distance;
mod rows;
mod size;

use crate::{Action, Arch, Errno, Row, Rule, SeccompData, Table, evaluate};

const ARCH: Arch = Arch::X86_64;
const ENOSYS: Action = Action::Errno(Errno::ENOSYS);

fn table(rows: impl IntoIterator<Item = (u32, Rule)>) -> Table<()> {
    let mut table = Table::new();
    for (number, rule) in rows {
        table.insert(Row { number, name: "call", rule, handler: Some(()), why: "" }).unwrap();
    }
    table
}

fn call(number: u32, args: [u64; 6]) -> SeccompData {
    SeccompData { nr: number.cast_signed(), arch: ARCH.audit, instruction_pointer: 0x1234, args }
}

/// A table with the shape of the one that the supervisor has: 380 rows, 40 of them with arguments.
fn realistic() -> Table<()> {
    let errno = |number| Rule::Always(Action::Errno(Errno(number)));
    let numbers = (0..335).chain(424..469);
    table(numbers.map(|number: u32| {
        let rule = match number {
            41 => rows::socket(),
            44 => rows::sendto(),
            _ if number % 10 == 3 => rows::with_arguments(number),
            42 | 49 | 50 => Rule::TRAP,
            _ if number % 11 == 7 => errno(1),
            _ if number % 17 == 5 => errno(38),
            200..206 => errno(1),
            _ => Rule::ALLOW,
        };
        (number, rule)
    }))
}

/// Asserts that the program says what the table says, for these arguments and every number near the table.
fn assert_agreement(table: &Table<()>, args: &[[u64; 6]]) {
    let program = crate::compile(table, ARCH).unwrap();
    let last = table.rows().next_back().map_or(0, |row| row.number);
    for number in (0..last + 3).chain([0x4000_0000, 0x4000_0001, 0x7fff_ffff, 0x8000_0000, u32::MAX]) {
        for &args in args {
            let data = call(number, args);
            let said = program.run(&data).unwrap();
            assert_eq!(said, evaluate(table, ARCH, &data), "call {number} {args:x?}\n{program}");
        }
    }
}
