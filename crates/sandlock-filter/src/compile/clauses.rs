//! The decisions of one row.

use super::graph::{Fact, Graph, Question, Target, Word};
use crate::abi::offset;
use crate::rule::{Clause, Rule, Test};

/// The decisions of a rule. Those that always end in one action need none, and so load no argument.
pub(super) fn rule(graph: &mut Graph, rule: &Rule) -> Target {
    let (clauses, otherwise) = rule.parts();
    let mut known = Vec::new();
    clauses.iter().rev().fold(Target::Return(otherwise), |next, each| clause(graph, &mut known, each, next))
}

/// The decisions of a clause: its action when all tests hold, `next` when one does not.
fn clause(graph: &mut Graph, known: &mut Vec<Fact>, clause: &Clause, next: Target) -> Target {
    // A test is only reached when those before it hold. Where it leads need not ask about them again.
    known.clear();
    known.extend(clause.all.iter().copied().flat_map(facts));
    clause.all.iter().rev().fold(Target::Return(clause.action), |pass, &test| {
        known.truncate(known.len() - facts(test).count());
        decide(graph, known, test, pass, next)
    })
}

/// What is known when the test holds.
fn facts(test: Test) -> impl Iterator<Item = Fact> {
    let fact = |word, (question, answer)| Some(Fact { word, question, answer });
    let zero = (Question::Equal(0), true);
    let facts = match test {
        Test::MaskedEq { arg, mask, value } => [fact(low(arg), Question::masked_equal(mask, value)), None],
        Test::MaskedNe { arg, mask, value } => {
            let (question, answer) = Question::masked_equal(mask, value);
            [fact(low(arg), (question, !answer)), None]
        }
        Test::Null { arg } => [fact(low(arg), zero), fact(high(arg), zero)],
        // One of two words is not zero: nothing about either.
        Test::NotNull { .. } => [None, None],
    };
    facts.into_iter().flatten()
}

fn decide(graph: &mut Graph, known: &mut Vec<Fact>, test: Test, pass: Target, fail: Target) -> Target {
    match test {
        Test::MaskedEq { arg, mask, value } => masked_equal(graph, known, (arg, mask, value), pass, fail),
        Test::MaskedNe { arg, mask, value } => masked_equal(graph, known, (arg, mask, value), fail, pass),
        Test::Null { arg } => null(graph, known, arg, pass, fail),
        Test::NotNull { arg } => null(graph, known, arg, fail, pass),
    }
}

fn masked_equal(
    graph: &mut Graph,
    known: &mut Vec<Fact>,
    (arg, mask, value): (u8, u32, u32),
    equal: Target,
    different: Target,
) -> Target {
    match Question::masked_equal(mask, value) {
        (question, true) => graph.branch(known, low(arg), question, equal, different),
        (question, false) => graph.branch(known, low(arg), question, different, equal),
    }
}

fn null(graph: &mut Graph, known: &mut Vec<Fact>, arg: u8, null: Target, not_null: Target) -> Target {
    let question = Question::Equal(0);
    known.push(Fact { word: low(arg), question, answer: true });
    let low_was_zero = graph.branch(known, high(arg), question, null, not_null);
    known.pop();
    graph.branch(known, low(arg), question, low_was_zero, not_null)
}

/// Little endian: the low half of an argument comes first.
fn low(arg: u8) -> Word {
    Word(offset::ARGS + 8 * u32::from(arg))
}

fn high(arg: u8) -> Word {
    Word(low(arg).0 + 4)
}
