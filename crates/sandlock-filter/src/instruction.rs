//! One instruction of classic BPF.

use std::fmt;

use crate::abi::{code, offset};
use crate::action::Action;

/// One instruction: `struct sock_filter` of `linux/filter.h`, with its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions a conditional jump skips when its condition holds.
    pub jt: u8,
    /// How many it skips when not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

const _: () = assert!(std::mem::size_of::<Instruction>() == 8 && std::mem::align_of::<Instruction>() == 4);

impl Instruction {
    /// Writes the instruction as the one at `index` of a program, with the targets of its jumps as indexes.
    pub(crate) fn write_at(self, index: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, k, .. } = self;
        let condition = match code {
            code::LOAD => return write!(f, "ld   {}", Field(k)),
            code::AND => return write!(f, "and  {k:#x}"),
            code::JUMP => return write!(f, "ja   {}", index + 1 + k as usize),
            code::RETURN => {
                return match Action::from_ret(k) {
                    Some(action) => write!(f, "ret  {action}"),
                    None => write!(f, "ret  {k:#x}"),
                };
            }
            code::JUMP_EQUAL => "jeq ",
            code::JUMP_ABOVE => "jgt ",
            code::JUMP_AT_LEAST => "jge ",
            code::JUMP_ANY_BIT => "jset",
            _ => return write!(f, "?    {code:#x} {k:#x}"),
        };
        let (yes, no) = (index + 1 + usize::from(self.jt), index + 1 + usize::from(self.jf));
        write!(f, "{condition} {k:#x} ? {yes} : {no}")
    }
}

/// A field of `struct seccomp_data`, by its offset.
struct Field(u32);

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            offset::NUMBER => f.write_str("nr"),
            offset::ARCH => f.write_str("arch"),
            at @ offset::ARGS..offset::END if at.is_multiple_of(4) => {
                let half = if at.is_multiple_of(8) { "low" } else { "high" };
                write!(f, "args[{}].{half}", (at - offset::ARGS) / 8)
            }
            other => write!(f, "[{other}]"),
        }
    }
}
