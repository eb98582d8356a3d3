//! The order of the decisions in the program, and what each must load.

use super::CompileError;
use super::assemble::{Assembler, Destination, Place};
use super::graph::{Branch, BranchId, Graph, Question, Target, Word};
use crate::abi::code;
use crate::instruction::Instruction;

/// The instructions of all that can be reached from `root`.
pub(super) fn emit(graph: &Graph, root: Target) -> Result<Vec<Instruction>, CompileError> {
    let order = targets_first(graph, root);
    let entries = entries(graph, &order, root);
    let mut places = vec![None; graph.len()];
    let mut assembler = Assembler::with_capacity(2 * order.len());
    for &id in &order {
        let placed = emit_branch(&mut assembler, graph, id, entries[id.index()], &places)?;
        places[id.index()] = Some(placed);
    }
    if let Target::Return(action) = root {
        assembler.ret(action.to_ret());
    }
    Ok(assembler.finish())
}

/// Every reachable branch, its targets before it.
fn targets_first(graph: &Graph, root: Target) -> Vec<BranchId> {
    let mut order = Vec::with_capacity(graph.len());
    let mut seen = vec![false; graph.len()];
    let mut stack = vec![(root, false)];
    while let Some((target, targets_done)) = stack.pop() {
        let Target::Branch(id) = target else { continue };
        if targets_done {
            order.push(id);
        } else if !std::mem::replace(&mut seen[id.index()], true) {
            let Branch { yes, no, .. } = graph.get(id);
            stack.extend([(target, true), (no, false), (yes, false)]);
        }
    }
    order
}

/// What the accumulator holds: a word, or the bits of it that a mask left.
#[derive(Clone, Copy, Debug)]
struct Register {
    word: Word,
    mask: u32,
}

impl Register {
    const fn after(branch: Branch) -> Self {
        let mask = match branch.question {
            Question::MaskedEqual { mask, .. } => mask,
            _ => u32::MAX,
        };
        Self { word: branch.word, mask }
    }
}

/// Where a branch is entered, by what the accumulator already holds. A later one has more before the jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Jump,
    Mask,
    Load,
}

impl Entry {
    fn with(register: Option<Register>, branch: Branch) -> Self {
        let wanted = Register::after(branch);
        match register {
            Some(Register { word, mask }) if word == wanted.word => match mask & wanted.mask {
                _ if mask == wanted.mask => Self::Jump,
                kept if kept == wanted.mask => Self::Mask,
                _ => Self::Load,
            },
            _ => Self::Load,
        }
    }
}

/// How much each branch needs before its jump: as much as the most needy way to it.
fn entries(graph: &Graph, order: &[BranchId], root: Target) -> Vec<Entry> {
    let mut entries = vec![Entry::Jump; graph.len()];
    let mut enter = |register, target| {
        if let Target::Branch(id) = target {
            let entry = &mut entries[id.index()];
            *entry = Entry::with(register, graph.get(id)).max(*entry);
        }
    };
    enter(None, root);
    for &id in order {
        let branch = graph.get(id);
        let register = Some(Register::after(branch));
        enter(register, branch.yes);
        enter(register, branch.no);
    }
    entries
}

/// Where each instruction of a branch lies. Those that it does not have lie where the next one does.
#[derive(Clone, Copy, Debug)]
struct Placed {
    jump: Place,
    mask: Place,
    load: Place,
}

impl Placed {
    fn entered_at(self, entry: Entry) -> Place {
        match entry {
            Entry::Jump => self.jump,
            Entry::Mask => self.mask,
            Entry::Load => self.load,
        }
    }
}

fn emit_branch(
    assembler: &mut Assembler,
    graph: &Graph,
    id: BranchId,
    entry: Entry,
    places: &[Option<Placed>],
) -> Result<Placed, CompileError> {
    let branch = graph.get(id);
    let register = Some(Register::after(branch));
    let destination = |target| match target {
        Target::Return(action) => Ok(Destination::Return(action.to_ret())),
        Target::Branch(id) => places[id.index()]
            .map(|placed| Destination::Place(placed.entered_at(Entry::with(register, graph.get(id)))))
            .ok_or(CompileError::JumpOutOfReach),
    };
    let (code, k) = match branch.question {
        Question::Equal(value) | Question::MaskedEqual { value, .. } => (code::JUMP_EQUAL, value),
        Question::AtLeast(value) => (code::JUMP_AT_LEAST, value),
        Question::AnyBit(mask) => (code::JUMP_ANY_BIT, mask),
    };
    let jump = assembler.branch(code, k, destination(branch.yes)?, destination(branch.no)?)?;
    let mask = match branch.question {
        Question::MaskedEqual { mask, .. } if entry >= Entry::Mask => assembler.plain(code::AND, mask),
        _ => jump,
    };
    let load = if entry == Entry::Load { assembler.plain(code::LOAD, branch.word.0) } else { mask };
    Ok(Placed { jump, mask, load })
}
