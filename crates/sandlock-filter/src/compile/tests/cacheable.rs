//! The kernel's cache of calls that are always allowed: `seccomp_is_const_allow` in `kernel/seccomp.c`, Linux 5.11.

use super::{ARCH, call, realistic};
use crate::abi::{code, offset};
use crate::{Action, Program, Rule, compile};

/// What the kernel's emulation answers for a number, step by step.
fn is_const_allow(program: &Program, number: u32) -> bool {
    let mut register = 0;
    let mut at = 0;
    while let Some(instruction) = program.instructions().get(at) {
        let k = instruction.k;
        let jump = |holds| usize::from(if holds { instruction.jt } else { instruction.jf });
        match instruction.code {
            code::LOAD if k == offset::NUMBER => register = number,
            code::LOAD if k == offset::ARCH => register = ARCH.audit,
            code::RETURN => return k == Action::Allow.to_ret(),
            code::JUMP => at += k as usize,
            code::JUMP_EQUAL => at += jump(register == k),
            code::JUMP_AT_LEAST => at += jump(register >= k),
            code::JUMP_ABOVE => at += jump(register > k),
            code::JUMP_ANY_BIT => at += jump(register & k != 0),
            code::AND => register &= k,
            // A load of anything else, or an instruction that the kernel's emulation does not know.
            _ => return false,
        }
        at += 1;
    }
    panic!("ran off the end");
}

#[test]
fn every_row_that_always_allows_is_cached_and_no_other() {
    let table = realistic();
    let program = compile(&table, ARCH).unwrap();
    for number in 0..500 {
        let always = table.get(number).is_some_and(|row| row.rule == Rule::ALLOW);
        assert_eq!(is_const_allow(&program, number), always, "call {number}\n{program}");
    }
}

#[test]
fn a_rule_whose_ways_all_end_in_allow_is_cached() {
    let mut table = super::table([]);
    let allowed_twice = Rule::by_arguments(
        [crate::Clause::when([crate::Test::NotNull { arg: 3 }], Action::Allow)],
        Action::Allow,
    );
    table
        .insert(crate::Row { number: 5, name: "call", rule: allowed_twice, handler: None, why: "" })
        .unwrap();
    assert!(is_const_allow(&compile(&table, ARCH).unwrap(), 5));
}

#[test]
fn a_call_of_another_architecture_answers_enosys() {
    let program = compile(&realistic(), ARCH).unwrap();
    let data = crate::SeccompData { arch: crate::Arch::AARCH64.audit, ..call(0, [0; 6]) };
    assert_eq!(program.run(&data).unwrap(), super::ENOSYS);
    assert_eq!(program.run(&call(0, [0; 6])).unwrap(), Action::Allow);
}

#[test]
fn a_call_of_x32_and_a_cancelled_call_answer_enosys() {
    let program = compile(&realistic(), ARCH).unwrap();
    for number in [0x4000_0000, 0x4000_0001, 0x4000_0000 + 512, u32::MAX] {
        assert_eq!(program.run(&call(number, [0; 6])).unwrap(), super::ENOSYS);
    }
}
