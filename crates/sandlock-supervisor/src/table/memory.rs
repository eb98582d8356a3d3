//! The caller's own memory.

use sandlock_filter::{Action, Clause, TableError, Test};
use sandlock_sys::Errno;
use syscalls::Sysno;

use super::{Needs, Rows, fail};
use crate::task::memory_files;

pub(super) fn rows(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    rows.allow(
        "the caller's own memory",
        &[
            Sysno::mmap,
            Sysno::mprotect,
            Sysno::munmap,
            Sysno::brk,
            Sysno::mremap,
            Sysno::msync,
            Sysno::mincore,
            Sysno::madvise,
            Sysno::mlock,
            Sysno::mlock2,
            Sysno::munlock,
            Sysno::mlockall,
            Sysno::munlockall,
            Sysno::remap_file_pages,
            Sysno::mbind,
            Sysno::set_mempolicy,
            Sysno::get_mempolicy,
            Sysno::set_mempolicy_home_node,
            Sysno::pkey_mprotect,
            Sysno::pkey_alloc,
            Sysno::pkey_free,
            Sysno::membarrier,
            Sysno::mseal,
            Sysno::map_shadow_stack,
        ],
    )?;
    let without_code = needs.no_code_in_memory_files;
    if (needs.watches_memory_files || without_code) && needs.supervised {
        const WHY: &str = "made on behalf: files in memory are kept in sight, or cannot be executed";
        rows.trap(Sysno::memfd_create, memory_files::create, WHY)?;
        rows.refuse(Errno::NOSYS, "memory that nobody can see", &[Sysno::memfd_secret])?;
    } else if without_code {
        rows.by_registers(
            Sysno::memfd_create,
            vec![Clause::when([Test::any_bit(1, MFD_NOEXEC_SEAL), Test::no_bit(1, MFD_EXEC)], Action::Allow)],
            fail(Errno::ACCESS),
            "files in memory that cannot be executed",
        )?;
        rows.refuse(Errno::NOSYS, "memory that nobody can see", &[Sysno::memfd_secret])?;
    } else {
        rows.allow("the caller's own memory", &[Sysno::memfd_create, Sysno::memfd_secret])?;
    }
    for call in [Sysno::move_pages, Sysno::migrate_pages] {
        rows.by_registers(
            call,
            vec![Clause::when([Test::eq(0, 0)], Action::Allow)],
            fail(Errno::PERM),
            "pages of the caller only",
        )?;
    }
    rows.refuse(
        Errno::PERM,
        "other processes' memory; or a way to widen races",
        &[
            Sysno::process_vm_readv,
            Sysno::process_vm_writev,
            Sysno::process_madvise,
            Sysno::process_mrelease,
            Sysno::userfaultfd,
        ],
    )
}

/// `include/uapi/linux/memfd.h`, Linux 6.3.
const MFD_NOEXEC_SEAL: u32 = 8;
const MFD_EXEC: u32 = 0x10;
