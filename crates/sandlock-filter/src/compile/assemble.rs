//! From jumps between places to jumps over distances.
//!
//! A classic BPF program jumps forward only, so it is written from its end to its beginning: wherever a jump
//! leads is already there, and its distance is known. A conditional jump reaches 255 instructions; what lies
//! further is reached over an instruction put right behind the jump.

use super::CompileError;
use crate::abi::code;
use crate::instruction::Instruction;

/// An instruction of the program, counted from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(u32);

/// Where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Destination {
    Place(Place),
    /// Any return of this value.
    Return(u32),
}

/// How many instructions a conditional jump can skip.
const REACH: usize = u8::MAX as usize;

/// A program that grows from its end.
#[derive(Debug)]
pub(super) struct Assembler {
    reversed: Vec<Instruction>,
    /// The returns, and the jumps to what was out of reach, in the order in which they were put.
    ways: Vec<(Destination, Place)>,
}

impl Assembler {
    /// An empty program with room for so many instructions.
    pub(super) fn with_capacity(instructions: usize) -> Self {
        Self { reversed: Vec::with_capacity(instructions), ways: Vec::new() }
    }

    /// Puts an instruction that goes on to the one behind it.
    pub(super) fn plain(&mut self, code: u16, k: u32) -> Place {
        self.push(Instruction { code, jt: 0, jf: 0, k })
    }

    /// Puts a return.
    pub(super) fn ret(&mut self, value: u32) -> Place {
        let place = self.plain(code::RETURN, value);
        self.ways.push((Destination::Return(value), place));
        place
    }

    /// Puts a conditional jump.
    pub(super) fn branch(
        &mut self,
        code: u16,
        k: u32,
        yes: Destination,
        no: Destination,
    ) -> Result<Place, CompileError> {
        // Reaching `yes` may put one instruction between this jump and the way to `no`.
        let no = self.within_reach(no, REACH - 1)?;
        let yes = self.within_reach(yes, REACH)?;
        let short = |distance| u8::try_from(distance).map_err(|_| CompileError::JumpOutOfReach);
        let (jt, jf) = (short(self.distance(yes))?, short(self.distance(no))?);
        Ok(self.push(Instruction { code, jt, jf, k }))
    }

    /// The whole program, in the order in which it runs.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    /// A place that leads to `destination`, at most `reach` away from the instruction that is put next.
    fn within_reach(&mut self, destination: Destination, reach: usize) -> Result<Place, CompileError> {
        let close = |place: &Place| self.distance(*place) <= reach;
        if let Destination::Place(place) = destination
            && close(&place)
        {
            return Ok(place);
        }
        let mut ways = self.ways.iter().rev().take_while(|(_, place)| close(place));
        if let Some((_, place)) = ways.find(|(way, _)| *way == destination) {
            return Ok(*place);
        }
        match destination {
            Destination::Return(value) => Ok(self.ret(value)),
            Destination::Place(place) => {
                let distance =
                    u32::try_from(self.distance(place)).map_err(|_| CompileError::JumpOutOfReach)?;
                let over = self.plain(code::JUMP, distance);
                self.ways.push((destination, over));
                Ok(over)
            }
        }
    }

    /// How many instructions lie between the one that is put next and `place`.
    fn distance(&self, place: Place) -> usize {
        self.reversed.len() - place.0 as usize - 1
    }

    fn push(&mut self, instruction: Instruction) -> Place {
        self.reversed.push(instruction);
        Place(self.reversed.len() as u32 - 1)
    }
}
