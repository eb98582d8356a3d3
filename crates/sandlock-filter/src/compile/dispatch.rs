//! The search for a call's row by its number.
//!
//! Only `nr` is looked at, and only with instructions that `seccomp_is_const_allow` in `kernel/seccomp.c`
//! emulates. Fewer decisions matter more than a shallow search: the kernel compiles the program at each start of
//! a sandbox, and does not run it at all for a call that is always allowed.

use super::graph::{Branch, Graph, Question, Target, Word};
use crate::abi::offset;

const NUMBER: Word = Word(offset::NUMBER);

/// The search for the range of a number; `missing` if there are no ranges.
pub(super) fn search(graph: &mut Graph, ranges: &[Range], missing: Target) -> Target {
    halve(graph, &stretches(ranges)).unwrap_or(missing)
}

/// Numbers from `first` to the next range, all of which lead to one target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    first: u32,
    target: Target,
}

/// All numbers as ranges, as few as possible. The last one has no end: it holds the numbers of x32, and -1.
///
/// The rows are sorted by number; the numbers between and behind them lead to `missing`.
pub(super) fn ranges(rows: impl Iterator<Item = (u32, Target)>, missing: Target) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut next = 0;
    for (number, target) in rows {
        if number > next {
            extend(&mut ranges, next, missing);
        }
        extend(&mut ranges, number, target);
        next = number + 1;
    }
    extend(&mut ranges, next, missing);
    ranges
}

fn extend(ranges: &mut Vec<Range>, first: u32, target: Target) {
    if ranges.last().is_none_or(|range| range.target != target) {
        ranges.push(Range { first, target });
    }
}

/// A range in which some single numbers lead elsewhere: one comparison each, where bounds would be two.
#[derive(Clone, Copy, Debug)]
struct Stretch<'a> {
    /// The range up to the first exception.
    range: Range,
    /// The exceptions, and the rest of the range between and behind them.
    inside: &'a [Range],
}

/// More exceptions make the search longer without making the program shorter.
const MOST_EXCEPTIONS: usize = 3;

fn stretches(mut ranges: &[Range]) -> Vec<Stretch<'_>> {
    let mut stretches = Vec::with_capacity(ranges.len());
    while let &[range, ref rest @ ..] = ranges {
        let (mut exceptions, mut length) = (0, 0);
        while let Some(singles) = singles_before(&rest[length..], range.target)
            && exceptions + singles <= MOST_EXCEPTIONS
        {
            exceptions += singles;
            length += singles + 1;
        }
        stretches.push(Stretch { range, inside: &rest[..length] });
        ranges = &rest[length..];
    }
    stretches
}

/// How many ranges lie before the next one that leads to `target`, if each of them is a single number.
fn singles_before(ranges: &[Range], target: Target) -> Option<usize> {
    let end = ranges.iter().take(MOST_EXCEPTIONS + 1).position(|range| range.target == target)?;
    let single = |pair: &[Range]| matches!(pair, [one, next] if one.first + 1 == next.first);
    ranges[..=end].windows(2).all(single).then_some(end)
}

fn halve(graph: &mut Graph, stretches: &[Stretch<'_>]) -> Option<Target> {
    let (left, right) = stretches.split_at(stretches.len() / 2);
    let [middle, ..] = right else { return None };
    if left.is_empty() {
        return Some(among(graph, middle));
    }
    let (no, yes) = (halve(graph, left)?, halve(graph, right)?);
    Some(graph.add(Branch { word: NUMBER, question: Question::AtLeast(middle.range.first), yes, no }))
}

fn among(graph: &mut Graph, stretch: &Stretch<'_>) -> Target {
    let own = stretch.range.target;
    let exceptions = stretch.inside.iter().filter(|range| range.target != own);
    exceptions.rev().fold(own, |others, exception| {
        let question = Question::Equal(exception.first);
        graph.add(Branch { word: NUMBER, question, yes: exception.target, no: others })
    })
}
