//! Installing a filter, and what this kernel offers: `seccomp(2)`.

use rustix::io::Errno;

use crate::listener::last_errno;

/// One instruction of classic BPF: `struct sock_filter` of `linux/filter.h`.
pub use libc::sock_filter as Instruction;

/// What the kernel's seccomp can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// `SECCOMP_RET_USER_NOTIF` (Linux 5.0).
    pub user_notification: bool,
    /// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (Linux 5.19): a caller is not interrupted half-way.
    pub wait_killable: bool,
}

impl Features {
    /// Asks the kernel. Costs a few system calls and changes nothing.
    pub fn probe() -> Self {
        let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
        // SAFETY: the kernel reads one `u32` from the pointer, which is to a live value.
        let available =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
        Features { user_notification: available == 0, wait_killable: knows_flags(with_wait_killable()) }
    }
}

/// Installs the filter on the calling thread, for good, and returns the raw number of its new listener.
/// Async-signal-safe: called between fork and exec.
pub(crate) fn install_with_listener(filter: &[Instruction], wait_killable: bool) -> Result<i32, Errno> {
    let flags = if wait_killable { with_wait_killable() } else { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER };
    install_with(filter, flags)
}

/// Installs the filter on the calling thread, for good, without a listener: a call that it would trap fails
/// with ENOSYS.
///
/// # Errors
///
/// EINVAL for a program that the kernel refuses, EACCES without no_new_privs.
pub fn install(filter: &[Instruction]) -> Result<(), Errno> {
    install_with(filter, 0).map(|_| ())
}

fn install_with(filter: &[Instruction], flags: libc::c_ulong) -> Result<i32, Errno> {
    let program =
        libc::sock_fprog { len: filter.len() as libc::c_ushort, filter: filter.as_ptr() as *mut Instruction };
    // SAFETY: `program` describes `filter`, which outlives the call; the kernel copies and only reads it.
    let installed =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if installed >= 0 { Ok(installed as i32) } else { Err(last_errno()) }
}

fn with_wait_killable() -> libc::c_ulong {
    libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
}

/// Known flags with a program that cannot be read are EFAULT, unknown flags EINVAL, and nothing is installed.
fn knows_flags(flags: libc::c_ulong) -> bool {
    let nothing: *const libc::sock_fprog = std::ptr::null();
    // SAFETY: the kernel is given a null program on purpose and answers EFAULT or EINVAL.
    let refused = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, nothing) };
    refused < 0 && last_errno() == Errno::FAULT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_flag_is_not_taken_for_a_known_one() {
        assert!(!knows_flags(1 << 30));
        assert!(knows_flags(libc::SECCOMP_FILTER_FLAG_LOG));
    }
}
