//! Whether two threads have one table of descriptors: `kcmp(2)`.

/// Whether two threads share their descriptors. False where the kernel does not tell.
pub fn are_shared(one: i32, other: i32) -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) == 0 }
}

/// `include/uapi/linux/kcmp.h`.
const KCMP_FILES: libc::c_int = 2;
