//! The machine: clocks that are read, and what no sandbox has business with.

use sandlock_filter::TableError;
use sandlock_sys::Errno;
use syscalls::Sysno;

use super::Rows;

pub(super) fn rows(rows: &mut Rows) -> Result<(), TableError> {
    rows.allow(
        "time and facts that are read",
        &[
            Sysno::clock_gettime,
            Sysno::clock_getres,
            Sysno::clock_nanosleep,
            Sysno::nanosleep,
            Sysno::gettimeofday,
            Sysno::getitimer,
            Sysno::setitimer,
            Sysno::timer_create,
            Sysno::timer_settime,
            Sysno::timer_gettime,
            Sysno::timer_getoverrun,
            Sysno::timer_delete,
            Sysno::uname,
            Sysno::sysinfo,
            Sysno::getrandom,
        ],
    )?;
    #[cfg(target_arch = "x86_64")]
    rows.allow("time and facts that are read", &[Sysno::time, Sysno::alarm])?;
    rows.refuse(
        Errno::NOSYS,
        "performs calls that the filter does not see",
        &[Sysno::io_uring_setup, Sysno::io_uring_enter, Sysno::io_uring_register],
    )?;
    rows.refuse(
        Errno::PERM,
        "mounts and roots",
        &[
            Sysno::mount,
            Sysno::umount2,
            Sysno::pivot_root,
            Sysno::chroot,
            Sysno::open_tree,
            Sysno::open_tree_attr,
            Sysno::move_mount,
            Sysno::fsopen,
            Sysno::fsconfig,
            Sysno::fsmount,
            Sysno::fspick,
            Sysno::mount_setattr,
            Sysno::statmount,
            Sysno::listmount,
        ],
    )?;
    rows.refuse(
        Errno::PERM,
        "the machine's administration",
        &[
            Sysno::bpf,
            Sysno::syslog,
            Sysno::acct,
            Sysno::settimeofday,
            Sysno::adjtimex,
            Sysno::clock_settime,
            Sysno::clock_adjtime,
            Sysno::swapon,
            Sysno::swapoff,
            Sysno::reboot,
            Sysno::sethostname,
            Sysno::setdomainname,
            Sysno::init_module,
            Sysno::finit_module,
            Sysno::delete_module,
            Sysno::kexec_load,
            Sysno::kexec_file_load,
            Sysno::vhangup,
            Sysno::lookup_dcookie,
            Sysno::nfsservctl,
        ],
    )?;
    #[cfg(target_arch = "x86_64")]
    rows.refuse(Errno::PERM, "the machine's ports", &[Sysno::iopl, Sysno::ioperm])?;
    #[cfg(target_arch = "x86_64")]
    rows.refuse(
        Errno::NOSYS,
        "segments of the caller: absent, as kernels may be built",
        &[Sysno::modify_ldt],
    )?;
    Ok(())
}
