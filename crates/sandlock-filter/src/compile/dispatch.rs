//! The search for a call's row by its number.
//!
//! Only `nr` is looked at, and only with instructions that `seccomp_is_const_allow` in `kernel/seccomp.c`
//! emulates. Fewer decisions matter more than a shallow search: the kernel compiles the program at each start of
//! a sandbox, and does not run it at all for a call that is always allowed.

use super::graph::{Graph, Question, Target, Word};
use crate::abi::offset;

const NUMBER: Word = Word(offset::NUMBER);

/// The search over `rows`, which are sorted by number; the numbers between and behind them lead to `missing`.
pub(super) fn search(graph: &mut Graph, rows: &[(u32, Target)], missing: Target) -> Target {
    let stretches = stretches(&ranges(rows, missing));
    halve(graph, &stretches).unwrap_or(missing)
}

/// Numbers from `first` to the next range, all of which lead to one target.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: u32,
    target: Target,
}

/// All numbers as ranges, as few as possible. The last one has no end: it holds the numbers of x32, and -1.
fn ranges(rows: &[(u32, Target)], missing: Target) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut next = 0;
    for &(number, target) in rows {
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
#[derive(Debug)]
struct Stretch {
    first: u32,
    target: Target,
    exceptions: Vec<Range>,
}

/// More exceptions make the search longer without making the program shorter.
const MOST_EXCEPTIONS: usize = 3;

fn stretches(mut ranges: &[Range]) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    while let &[Range { first, target }, ref rest @ ..] = ranges {
        let mut stretch = Stretch { first, target, exceptions: Vec::new() };
        ranges = rest;
        while let Some(singles) = singles_before(ranges, target)
            && stretch.exceptions.len() + singles.len() <= MOST_EXCEPTIONS
        {
            stretch.exceptions.extend_from_slice(singles);
            ranges = &ranges[singles.len() + 1..];
        }
        stretches.push(stretch);
    }
    stretches
}

/// The ranges up to the next one that leads to `target`, if each of them is a single number.
fn singles_before(ranges: &[Range], target: Target) -> Option<&[Range]> {
    let end = ranges.iter().take(MOST_EXCEPTIONS + 1).position(|range| range.target == target)?;
    let single = |pair: &[Range]| matches!(pair, [one, next] if one.first + 1 == next.first);
    ranges[..=end].windows(2).all(single).then_some(&ranges[..end])
}

fn halve(graph: &mut Graph, stretches: &[Stretch]) -> Option<Target> {
    let (left, right) = stretches.split_at(stretches.len() / 2);
    let [middle, ..] = right else { return None };
    if left.is_empty() {
        return Some(among(graph, middle));
    }
    let (no, yes) = (halve(graph, left)?, halve(graph, right)?);
    Some(graph.branch(&[], NUMBER, Question::AtLeast(middle.first), yes, no))
}

fn among(graph: &mut Graph, stretch: &Stretch) -> Target {
    stretch.exceptions.iter().rev().fold(stretch.target, |others, exception| {
        graph.branch(&[], NUMBER, Question::Equal(exception.first), exception.target, others)
    })
}
