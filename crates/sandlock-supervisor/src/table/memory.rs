//! The caller's own memory.

use sandlock_filter::{Action, Clause, TableError, Test};
use sandlock_sys::Errno;
use syscalls::Sysno;

use super::{Rows, fail};

pub(super) fn rows(rows: &mut Rows) -> Result<(), TableError> {
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
            Sysno::memfd_create,
            Sysno::memfd_secret,
            Sysno::pkey_mprotect,
            Sysno::pkey_alloc,
            Sysno::pkey_free,
            Sysno::membarrier,
            Sysno::mseal,
            Sysno::map_shadow_stack,
        ],
    )?;
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
