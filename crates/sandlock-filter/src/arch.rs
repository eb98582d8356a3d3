//! The instruction sets that a filter can be compiled for.

/// An instruction set, as seccomp names it to a filter.
///
/// The x32 variant of x86_64 shares its audit value and differs by bit 30 of the call's number. It needs no
/// mention here: no row can have so large a number (see [`Table::NUMBERS`](crate::Table::NUMBERS)), so all its calls answer `ENOSYS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arch {
    /// `AUDIT_ARCH_*` of `linux/audit.h`.
    pub audit: u32,
}

impl Arch {
    /// 64-bit Intel and AMD: `AUDIT_ARCH_X86_64`.
    pub const X86_64: Self = Self { audit: 0xc000_003e };

    /// 64-bit ARM: `AUDIT_ARCH_AARCH64`.
    pub const AARCH64: Self = Self { audit: 0xc000_00b7 };

    /// The instruction set that this crate was compiled for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;

    /// The instruction set that this crate was compiled for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::AARCH64;
}
