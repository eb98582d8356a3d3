//! The decisions of one row.

use super::graph::{Fact, Graph, Question, Target, Word};
use crate::abi::offset;
use crate::rule::{Clause, Rule, Test};

/// The decisions of a rule. Those that always end in one action need none, and so load no argument.
pub(super) fn rule(graph: &mut Graph, rule: &Rule) -> Target {
    match rule {
        Rule::Always(action) => Target::Return(*action),
        Rule::ByArguments { clauses, otherwise } => {
            let last = Target::Return(*otherwise);
            clauses.iter().rev().fold(last, |next, each| clause(graph, each, next))
        }
    }
}

/// The decisions of a clause: its action when all tests hold, `next` when one does not.
fn clause(graph: &mut Graph, clause: &Clause, next: Target) -> Target {
    // A test is only reached when those before it hold. Where it leads need not ask about them again.
    let mut known = Vec::new();
    let mut known_before = Vec::with_capacity(clause.all.len());
    for test in &clause.all {
        known_before.push(known.len());
        learn(*test, &mut known);
    }
    let matched = Target::Return(clause.action);
    clause
        .all
        .iter()
        .zip(known_before)
        .rev()
        .fold(matched, |pass, (test, before)| decide(graph, &known[..before], *test, pass, next))
}

/// Adds what is known when the test holds.
fn learn(test: Test, known: &mut Vec<Fact>) {
    match test {
        Test::MaskedEq { arg, mask, value } => {
            let (question, answer) = Question::masked_equal(mask, value);
            known.push(Fact { word: low(arg), question, answer });
        }
        Test::MaskedNe { arg, mask, value } => {
            let (question, answer) = Question::masked_equal(mask, value);
            known.push(Fact { word: low(arg), question, answer: !answer });
        }
        Test::Null { arg } => {
            let zero = |word| Fact { word, question: Question::Equal(0), answer: true };
            known.extend([zero(low(arg)), zero(high(arg))]);
        }
        // One of two words is not zero: nothing about either.
        Test::NotNull { .. } => {}
    }
}

fn decide(graph: &mut Graph, known: &[Fact], test: Test, pass: Target, fail: Target) -> Target {
    match test {
        Test::MaskedEq { arg, mask, value } => masked_equal(graph, known, (arg, mask, value), pass, fail),
        Test::MaskedNe { arg, mask, value } => masked_equal(graph, known, (arg, mask, value), fail, pass),
        Test::Null { arg } => null(graph, known, arg, pass, fail),
        Test::NotNull { arg } => null(graph, known, arg, fail, pass),
    }
}

fn masked_equal(
    graph: &mut Graph,
    known: &[Fact],
    (arg, mask, value): (u8, u32, u32),
    equal: Target,
    different: Target,
) -> Target {
    match Question::masked_equal(mask, value) {
        (question, true) => graph.branch(known, low(arg), question, equal, different),
        (question, false) => graph.branch(known, low(arg), question, different, equal),
    }
}

fn null(graph: &mut Graph, known: &[Fact], arg: u8, null: Target, not_null: Target) -> Target {
    let question = Question::Equal(0);
    let low_is_zero: Vec<_> =
        known.iter().copied().chain([Fact { word: low(arg), question, answer: true }]).collect();
    let low_was_zero = graph.branch(&low_is_zero, high(arg), question, null, not_null);
    graph.branch(known, low(arg), question, low_was_zero, not_null)
}

/// Little endian: the low half of an argument comes first.
fn low(arg: u8) -> Word {
    Word(offset::ARGS + 8 * u32::from(arg))
}

fn high(arg: u8) -> Word {
    Word(low(arg).0 + 4)
}
