//! Rows like those of the real table.

use crate::{Action, Clause, Errno, Rule, Test};

const EPERM: Action = Action::Errno(Errno(1));

/// `socket`: an allowlist of (family, type, protocol).
pub(super) fn socket() -> Rule {
    let kind = |family, kind, protocol| {
        let kind = Test::MaskedEq { arg: 1, mask: 0xf, value: kind };
        Clause::when([Test::eq(0, family), kind, Test::eq(2, protocol)], Action::Allow)
    };
    let mut clauses = vec![Clause::when([Test::eq(0, 1)], Action::Allow)];
    for family in [2, 10] {
        clauses.extend([kind(family, 1, 0), kind(family, 1, 6), kind(family, 2, 0), kind(family, 2, 17)]);
        let mptcp = Clause::when([Test::eq(0, family), Test::eq(2, 262)], Action::Errno(Errno(93)));
        clauses.extend([mptcp, Clause::when([Test::eq(0, family)], Action::Errno(Errno(13)))]);
    }
    Rule::by_arguments(clauses, Action::Errno(Errno(97)))
}

/// `sendto`: trapped when it names a destination or opens a connection.
pub(super) fn sendto() -> Rule {
    const MSG_FASTOPEN: u32 = 0x2000_0000;
    let to_someone = Clause::when([Test::NotNull { arg: 4 }], Action::Trap);
    let fast_open = Clause::when([Test::any_bit(3, MSG_FASTOPEN)], Action::Trap);
    Rule::by_arguments([to_someone, fast_open], Action::Allow)
}

/// Rules of several shapes, by number.
pub(super) fn with_arguments(number: u32) -> Rule {
    match number % 4 {
        0 => Rule::by_arguments([Clause::when([Test::eq(0, 0)], Action::Allow)], EPERM),
        1 => Rule::by_arguments([Clause::when([Test::any_bit(0, 0x7e02_0000)], EPERM)], Action::Allow),
        2 => {
            // Like `ioctl`: some requests out of all.
            let request = |value| Clause::when([Test::eq(1, value)], EPERM);
            Rule::by_arguments([request(0x5412), request(0x541c), request(number)], Action::Allow)
        }
        _ => {
            // Like `setsockopt`: some options of some levels.
            let option = |level, name| Clause::when([Test::eq(1, level), Test::eq(2, name)], EPERM);
            Rule::by_arguments(
                [option(6, 30), option(0, 4), option(41, 57), option(41, number)],
                Action::Allow,
            )
        }
    }
}
