//! Giving up privileges for good: `prctl(2)`, `capabilities(7)`.

use rustix::io::Errno;

use crate::listener::last_errno;

/// Sets no_new_privs: from here on no exec gains anything, and filters may be installed.
///
/// # Errors
///
/// That of `prctl(2)`.
pub fn set_no_new_privileges() -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)
}

/// Drops every capability, and pins the secure bits so that user 0 is a user like any other.
///
/// The bounding set stays: no_new_privs, which must be set, keeps an exec from drawing on it, and without it files
/// with capabilities of their own, such as `ping`, could not be executed at all
/// (`bprm_caps_from_vfs_caps` of security/commoncap.c).
///
/// # Errors
///
/// That of the failed step; EPERM if a capability is left at the end.
pub fn drop_capabilities() -> Result<(), Errno> {
    let before = capabilities()?;
    if before.is_empty() {
        return Ok(());
    }
    if before.effective & (1 << CAP_SETPCAP) != 0 {
        prctl(libc::PR_SET_SECUREBITS, SECURE_BITS)?;
    }
    // Kernels before 4.3 have no ambient set; the final look decides.
    let _ = rustix::thread::clear_ambient_capability_set();
    set_no_capabilities()?;
    if capabilities()?.is_empty() { Ok(()) } else { Err(Errno::PERM) }
}

/// Makes this process impossible to trace, dump or look into, for processes of the same user as well.
///
/// # Errors
///
/// That of `prctl(2)`.
pub fn set_not_dumpable() -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, 0)
}

/// Adopts orphans below this process, so that none of the tree gets away.
///
/// # Errors
///
/// That of `prctl(2)`.
pub fn become_subreaper() -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Whether this process may make namespaces and mounts as it is.
///
/// # Errors
///
/// That of `capget(2)`.
pub fn administers_the_system() -> Result<bool, Errno> {
    Ok(capabilities()?.effective & (1 << CAP_SYS_ADMIN) != 0)
}

#[derive(Clone, Copy)]
struct Capabilities {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

impl Capabilities {
    fn is_empty(self) -> bool {
        self.effective | self.permitted | self.inheritable == 0
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn capabilities() -> Result<Capabilities, Errno> {
    let mut header = Header { version: LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 makes the kernel write two `__user_cap_data_struct`, which `data` has room for.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    if done != 0 {
        return Err(last_errno());
    }
    let join = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    Ok(Capabilities {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

fn set_no_capabilities() -> Result<(), Errno> {
    let mut header = Header { version: LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let data = [Data::default(); 2];
    // SAFETY: version 3 makes the kernel read two `__user_cap_data_struct`, which `data` has.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

fn prctl(option: i32, argument: libc::c_ulong) -> Result<(), Errno> {
    // SAFETY: none of the options used in this module takes a pointer.
    let done = unsafe { libc::prctl(option, argument, 0, 0, 0) };
    if done >= 0 { Ok(()) } else { Err(last_errno()) }
}

const CAP_SETPCAP: u32 = 8;
const CAP_SYS_ADMIN: u32 = 21;
/// `include/uapi/linux/capability.h`.
const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// `include/uapi/linux/securebits.h`: NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, each with its lock. Not
/// KEEP_CAPS: programs set it, and there is nothing to keep.
const SECURE_BITS: libc::c_ulong = 0b1100_1111;
