//! What a filter sees of a system call.

/// What a filter sees of a system call: `struct seccomp_data` of `linux/seccomp.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SeccompData {
    /// The call's number; -1 when a tracer has cancelled the call.
    pub nr: i32,
    /// `AUDIT_ARCH_*`: how the call entered the kernel.
    pub arch: u32,
    /// The address of the instruction that made the call.
    pub instruction_pointer: u64,
    /// The argument registers, all 64 bits, whatever the argument's type.
    pub args: [u64; 6],
}

impl SeccompData {
    /// The 32-bit word at `offset`, or `None` if `offset` is not aligned or lies outside.
    pub(crate) fn word(&self, offset: u32) -> Option<u32> {
        if !offset.is_multiple_of(4) {
            return None;
        }
        match offset / 4 {
            0 => Some(self.nr.cast_unsigned()),
            1 => Some(self.arch),
            word @ 2..4 => Some(half(self.instruction_pointer, word)),
            word @ 4..16 => self.args.get((word as usize - 4) / 2).map(|&arg| half(arg, word)),
            _ => None,
        }
    }
}

/// Little endian: the low half lies at the even word.
fn half(value: u64, word: u32) -> u32 {
    if word.is_multiple_of(2) { value as u32 } else { (value >> 32) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lie_where_the_kernel_lays_them() {
        let data = SeccompData {
            nr: -1,
            arch: 2,
            instruction_pointer: 0x4_0000_0003,
            args: [0x6_0000_0005, 0x8_0000_0007, 0, 0, 0, 0xb_0000_000a],
        };
        let words: Vec<_> = (0..64).step_by(4).map(|offset| data.word(offset).unwrap()).collect();
        assert_eq!(words, [u32::MAX, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 10, 11]);
        assert_eq!(std::mem::size_of::<SeccompData>(), 64);
        assert_eq!((data.word(64), data.word(2)), (None, None));
    }
}
