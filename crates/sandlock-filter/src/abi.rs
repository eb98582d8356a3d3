//! The numbers that classic BPF and seccomp fix, each with its header.
//!
//! Written here rather than taken from libc, which lacks some of them on some targets.

/// Operation codes: `linux/bpf_common.h`, as combinations that `seccomp_check_filter` in `kernel/seccomp.c`
/// accepts and `seccomp_is_const_allow` emulates.
pub(crate) mod code {
    const LD: u16 = 0x00;
    const ALU: u16 = 0x04;
    const JMP: u16 = 0x05;
    const RET: u16 = 0x06;
    const W: u16 = 0x00;
    const ABS: u16 = 0x20;
    const K: u16 = 0x00;

    /// `A = data[k]`, one 32-bit word.
    pub(crate) const LOAD: u16 = LD | W | ABS;
    /// `A &= k`.
    pub(crate) const AND: u16 = ALU | 0x50 | K;
    /// Go on `k` instructions further.
    pub(crate) const JUMP: u16 = JMP;
    /// `A == k`?
    pub(crate) const JUMP_EQUAL: u16 = JMP | 0x10 | K;
    /// `A > k`?
    pub(crate) const JUMP_ABOVE: u16 = JMP | 0x20 | K;
    /// `A >= k`?
    pub(crate) const JUMP_AT_LEAST: u16 = JMP | 0x30 | K;
    /// `A & k != 0`?
    pub(crate) const JUMP_ANY_BIT: u16 = JMP | 0x40 | K;
    /// Answer `k`.
    pub(crate) const RETURN: u16 = RET | K;
}

/// `BPF_MAXINSNS`: `linux/bpf_common.h`.
pub(crate) const MAX_INSTRUCTIONS: usize = 4096;

/// What a filter can answer: `linux/seccomp.h`.
pub(crate) mod ret {
    pub(crate) const KILL_PROCESS: u32 = 0x8000_0000;
    pub(crate) const ERRNO: u32 = 0x0005_0000;
    pub(crate) const USER_NOTIF: u32 = 0x7fc0_0000;
    pub(crate) const ALLOW: u32 = 0x7fff_0000;
    /// `SECCOMP_RET_ACTION_FULL`: which bits are the action.
    pub(crate) const ACTION: u32 = 0xffff_0000;
    /// `SECCOMP_RET_DATA`: which bits are its argument.
    pub(crate) const DATA: u32 = 0x0000_ffff;
}

/// `MAX_ERRNO` in `linux/err.h`; seccomp answers this one for every larger number.
pub(crate) const MAX_ERRNO: u16 = 4095;

/// Where the fields of `struct seccomp_data` lie: `linux/seccomp.h`.
pub(crate) mod offset {
    pub(crate) const NUMBER: u32 = 0;
    pub(crate) const ARCH: u32 = 4;
    pub(crate) const ARGS: u32 = 16;
    /// `sizeof(struct seccomp_data)`.
    pub(crate) const END: u32 = 64;
}

/// How many arguments a system call has.
pub(crate) const ARGUMENTS: u8 = 6;
