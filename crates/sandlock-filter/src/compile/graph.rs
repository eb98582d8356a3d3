//! The graph of decisions: what is asked of which word, and where each answer leads.
//!
//! Equal decisions are one node, so rows with equal rules, and clauses with equal ends, share their code.

use std::collections::HashMap;

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

/// Where an answer leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Return(Action),
    Branch(BranchId),
}

/// A branch of the graph that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BranchId(usize);

impl BranchId {
    pub(super) const fn index(self) -> usize {
        self.0
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

/// All decisions. Without cycles: the targets of a branch are older than it is.
#[derive(Debug, Default)]
pub(super) struct Graph {
    branches: Vec<Branch>,
    ids: HashMap<Branch, BranchId>,
}

impl Graph {
    pub(super) fn len(&self) -> usize {
        self.branches.len()
    }

    pub(super) fn get(&self, id: BranchId) -> Branch {
        self.branches[id.0]
    }

    /// A decision in a place where `known` holds. No branch is made for a question that is settled there, and no
    /// answer leads to a question that it settles.
    pub(super) fn branch(
        &mut self,
        known: &[Fact],
        word: Word,
        question: Question,
        yes: Target,
        no: Target,
    ) -> Target {
        let yes = self.follow(known, Fact { word, question, answer: true }, yes);
        let no = self.follow(known, Fact { word, question, answer: false }, no);
        match known.iter().find_map(|fact| fact.settles(word, question)) {
            Some(true) => yes,
            Some(false) => no,
            None if yes == no => yes,
            None => self.share(Branch { word, question, yes, no }),
        }
    }

    /// The first decision from `target` on that these facts do not settle.
    fn follow(&self, known: &[Fact], last: Fact, mut target: Target) -> Target {
        while let Target::Branch(id) = target {
            let Branch { word, question, yes, no } = self.get(id);
            let answer = known.iter().chain([&last]).find_map(|fact| fact.settles(word, question));
            target = match answer {
                Some(true) => yes,
                Some(false) => no,
                None => break,
            };
        }
        target
    }

    fn share(&mut self, branch: Branch) -> Target {
        let next = BranchId(self.branches.len());
        let id = *self.ids.entry(branch).or_insert(next);
        if id == next {
            self.branches.push(branch);
        }
        Target::Branch(id)
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
