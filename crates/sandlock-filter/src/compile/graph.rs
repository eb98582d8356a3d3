//! The graph of decisions: what is asked of which word, and where each answer leads.
//!
//! Equal decisions are one node, so rows with equal rules, and clauses with equal ends, share their code.

use crate::action::Action;

/// A 32-bit word of `struct seccomp_data`, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Word(pub(super) u32);

/// What can be asked of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Equal(u32),
    AtLeast(u32),
    AnyBit(u32),
    /// Costs an instruction more than the others, and the word is lost: see [`Question::masked_equal`].
    MaskedEqual {
        mask: u32,
        value: u32,
    },
}

impl Question {
    /// Asks whether `word & mask == value`, in the cheapest way. The second value is the answer that means yes.
    pub(super) const fn masked_equal(mask: u32, value: u32) -> (Self, bool) {
        match (mask, value) {
            (u32::MAX, _) => (Self::Equal(value), true),
            (_, 0) => (Self::AnyBit(mask), false),
            _ if mask == value && mask.is_power_of_two() => (Self::AnyBit(mask), true),
            _ => (Self::MaskedEqual { mask, value }, true),
        }
    }

    const fn answer(self, word: u32) -> bool {
        match self {
            Self::Equal(value) => word == value,
            Self::AtLeast(value) => word >= value,
            Self::AnyBit(mask) => word & mask != 0,
            Self::MaskedEqual { mask, value } => word & mask == value,
        }
    }
}

/// An answer that is known on the way to a place in the graph.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact {
    pub(super) word: Word,
    pub(super) question: Question,
    pub(super) answer: bool,
}

impl Fact {
    /// The answer to a question, as far as it follows from this fact alone.
    fn settles(self, word: Word, question: Question) -> Option<bool> {
        if self.word != word {
            return None;
        }
        if self.question == question {
            return Some(self.answer);
        }
        match (self.question, self.answer, question) {
            (Question::Equal(value), true, _) => Some(question.answer(value)),
            // The same bits cannot have two values; that the values differ is known, as the questions do.
            (Question::MaskedEqual { mask, .. }, true, Question::MaskedEqual { mask: other, .. })
                if mask == other =>
            {
                Some(false)
            }
            // No bit at all, so none of a part of them.
            (Question::AnyBit(mask), false, Question::AnyBit(part)) if part & !mask == 0 => Some(false),
            _ => None,
        }
    }
}

/// The answer to a question, as far as one of the facts settles it.
fn settled(known: &[Fact], word: Word, question: Question) -> Option<bool> {
    known.iter().find_map(|fact| fact.settles(word, question))
}

/// Where an answer leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Return(Action),
    Branch(BranchId),
}

/// A branch of the graph that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BranchId(u32);

impl BranchId {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Branch {
    pub(super) word: Word,
    pub(super) question: Question,
    pub(super) yes: Target,
    pub(super) no: Target,
}

impl Branch {
    /// A number that equal branches have in common, and few others.
    fn bucket(&self) -> usize {
        let (Question::Equal(k)
        | Question::AtLeast(k)
        | Question::AnyBit(k)
        | Question::MaskedEqual { value: k, .. }) = self.question;
        let code = |target| match target {
            Target::Return(action) => Action::to_ret(action),
            Target::Branch(BranchId(id)) => id,
        };
        let mixed = [self.word.0, code(self.yes), code(self.no)]
            .into_iter()
            .fold(k, |mixed, part| (mixed ^ part).wrapping_mul(0x9e37_79b1));
        // The upper bits are the ones that all of the parts have changed.
        (mixed >> (u32::BITS - BUCKETS.ilog2())) as usize
    }
}

const BUCKETS: usize = 128;

/// All decisions. Without cycles: the targets of a branch are older than it is.
///
/// Equal ones are found by chains, one a bucket: compiling is a part of each start of a sandbox, and the
/// standard library's map would be most of its time.
#[derive(Debug)]
pub(super) struct Graph {
    /// Each with the next older one of its bucket.
    branches: Vec<(Branch, Option<BranchId>)>,
    /// The newest of each bucket.
    newest: [Option<BranchId>; BUCKETS],
}

impl Graph {
    pub(super) fn new() -> Self {
        Self { branches: Vec::with_capacity(2 * BUCKETS), newest: [None; BUCKETS] }
    }

    pub(super) fn len(&self) -> usize {
        self.branches.len()
    }

    pub(super) fn get(&self, id: BranchId) -> Branch {
        self.branches[id.index()].0
    }

    /// A decision in a place where `known` holds. No branch is made for a question that is settled there, and no
    /// answer leads to a question that it settles.
    pub(super) fn branch(
        &mut self,
        known: &mut Vec<Fact>,
        word: Word,
        question: Question,
        yes: Target,
        no: Target,
    ) -> Target {
        match settled(known, word, question) {
            Some(true) => return self.follow(known, yes),
            Some(false) => return self.follow(known, no),
            None => {}
        }
        let mut follow_answer = |answer, target| {
            known.push(Fact { word, question, answer });
            let target = self.follow(known, target);
            known.pop();
            target
        };
        let (yes, no) = (follow_answer(true, yes), follow_answer(false, no));
        if yes == no { yes } else { self.share(Branch { word, question, yes, no }) }
    }

    /// The first decision from `target` on that these facts do not settle.
    fn follow(&self, known: &[Fact], mut target: Target) -> Target {
        while let Target::Branch(id) = target {
            let Branch { word, question, yes, no } = self.get(id);
            target = match settled(known, word, question) {
                Some(true) => yes,
                Some(false) => no,
                None => break,
            };
        }
        target
    }

    /// The decision that there is, or a new one.
    fn share(&mut self, branch: Branch) -> Target {
        let bucket = branch.bucket();
        let mut candidate = self.newest[bucket];
        while let Some(id) = candidate {
            let (other, older) = self.branches[id.index()];
            if other == branch {
                return Target::Branch(id);
            }
            candidate = older;
        }
        let id = self.push(branch, self.newest[bucket]);
        self.newest[bucket] = Some(id);
        Target::Branch(id)
    }

    /// A decision of which there is no equal: it is not looked for, and will not be found.
    pub(super) fn add(&mut self, branch: Branch) -> Target {
        Target::Branch(self.push(branch, None))
    }

    fn push(&mut self, branch: Branch, older: Option<BranchId>) -> BranchId {
        self.branches.push((branch, older));
        BranchId(self.branches.len() as u32 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fact_settles_holds_for_every_word() {
        const WORDS: std::ops::Range<u32> = 0..64;
        let word = Word(16);
        let masked =
            WORDS.flat_map(|mask| WORDS.map(move |value| Question::masked_equal(mask, value & mask).0));
        let questions: std::collections::HashSet<_> =
            masked.chain(WORDS.map(Question::Equal)).chain(WORDS.step_by(7).map(Question::AtLeast)).collect();
        for &question in &questions {
            for answer in [true, false] {
                let fact = Fact { word, question, answer };
                let words: Vec<_> = WORDS.filter(|&word| question.answer(word) == answer).collect();
                for &other in &questions {
                    let Some(settled) = fact.settles(word, other) else { continue };
                    assert!(words.iter().all(|&word| other.answer(word) == settled), "{fact:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn a_fact_settles_nothing_about_another_word() {
        let fact = Fact { word: Word(16), question: Question::Equal(0), answer: true };
        assert_eq!(fact.settles(Word(20), Question::Equal(0)), None);
    }
}
