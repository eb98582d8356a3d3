//! Files: Landlock decides, so nothing of the data path is trapped.

use sandlock_filter::{Action, Clause, TableError, Test};
use sandlock_sys::Errno;
use syscalls::Sysno;

use super::{Needs, Rows, fail};
use crate::call::Handler;
use crate::fs::{entries, metadata, open};

pub(super) fn rows(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    rows.allow(
        "descriptors: opened under Landlock, used freely",
        &[
            Sysno::read,
            Sysno::write,
            Sysno::close,
            Sysno::fstat,
            Sysno::lseek,
            Sysno::pread64,
            Sysno::pwrite64,
            Sysno::readv,
            Sysno::writev,
            Sysno::preadv,
            Sysno::pwritev,
            Sysno::preadv2,
            Sysno::pwritev2,
            Sysno::dup,
            Sysno::dup3,
            Sysno::flock,
            Sysno::fsync,
            Sysno::fdatasync,
            Sysno::ftruncate,
            Sysno::getdents64,
            Sysno::fchdir,
            Sysno::sendfile,
            Sysno::splice,
            Sysno::tee,
            Sysno::vmsplice,
            Sysno::sync_file_range,
            Sysno::fallocate,
            Sysno::fadvise64,
            Sysno::readahead,
            Sysno::copy_file_range,
            Sysno::syncfs,
            Sysno::sync,
            Sysno::fstatfs,
            Sysno::pipe2,
            Sysno::io_setup,
            Sysno::io_destroy,
            Sysno::io_submit,
            Sysno::io_cancel,
            Sysno::io_getevents,
            Sysno::io_pgetevents,
            Sysno::cachestat,
        ],
    )?;
    #[cfg(target_arch = "x86_64")]
    rows.allow(
        "descriptors: opened under Landlock, used freely",
        &[Sysno::dup2, Sysno::pipe, Sysno::getdents],
    )?;
    rows.allow(
        "waiting on descriptors",
        &[
            Sysno::ppoll,
            Sysno::pselect6,
            Sysno::epoll_create1,
            Sysno::epoll_ctl,
            Sysno::epoll_pwait,
            Sysno::epoll_pwait2,
            Sysno::eventfd2,
            Sysno::signalfd4,
            Sysno::timerfd_create,
            Sysno::timerfd_settime,
            Sysno::timerfd_gettime,
            Sysno::inotify_init1,
            Sysno::inotify_add_watch,
            Sysno::inotify_rm_watch,
        ],
    )?;
    #[cfg(target_arch = "x86_64")]
    rows.allow(
        "waiting on descriptors",
        &[
            Sysno::poll,
            Sysno::select,
            Sysno::epoll_create,
            Sysno::epoll_wait,
            Sysno::eventfd,
            Sysno::signalfd,
            Sysno::inotify_init,
        ],
    )?;
    rows.allow(
        "paths: Landlock decides what they reach",
        &[
            Sysno::readlinkat,
            Sysno::faccessat,
            Sysno::faccessat2,
            Sysno::statx,
            Sysno::statfs,
            Sysno::getcwd,
            Sysno::chdir,
            Sysno::umask,
            Sysno::getxattr,
            Sysno::lgetxattr,
            Sysno::fgetxattr,
            Sysno::listxattr,
            Sysno::llistxattr,
            Sysno::flistxattr,
            Sysno::getxattrat,
            Sysno::listxattrat,
            Sysno::name_to_handle_at,
            Sysno::file_getattr,
        ],
    )?;
    #[cfg(target_arch = "x86_64")]
    rows.allow(
        "paths: Landlock decides what they reach",
        &[Sysno::stat, Sysno::lstat, Sysno::newfstatat, Sysno::access, Sysno::readlink, Sysno::ustat],
    )?;
    #[cfg(target_arch = "aarch64")]
    rows.allow("paths: Landlock decides what they reach", &[Sysno::fstatat])?;
    open(rows, needs)?;
    entries(rows, needs)?;
    descriptor_controls(rows, needs)?;
    metadata(rows, needs)?;
    rows.refuse(
        Errno::PERM,
        "reaches files past every path",
        &[
            Sysno::open_by_handle_at,
            Sysno::fanotify_init,
            Sysno::fanotify_mark,
            Sysno::quotactl,
            Sysno::quotactl_fd,
        ],
    )
}

fn open(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    for (call, flags, handler) in [
        #[cfg(target_arch = "x86_64")]
        (Sysno::open, 1, open::open as crate::call::Handler),
        (Sysno::openat, 2, open::openat),
    ] {
        let mut clauses = if needs.landlock_truncate { Vec::new() } else { truncating(flags) };
        if needs.holes && needs.supervised {
            rows.trap_unless(call, clauses, Action::Trap, handler, WHY_HOLES)?;
        } else if needs.looks_at_open() {
            let passes = if needs.own_proc { open::NOT_READING } else { open::NOT_ONLY_READING };
            clauses.push(Clause::when([Test::any_bit(flags, passes)], Action::Allow));
            rows.trap_unless(call, clauses, Action::Trap, handler, needs.why_open_is_looked_at())?;
        } else if clauses.is_empty() {
            rows.allow(WHY, &[call])?;
        } else {
            rows.by_registers(call, clauses, Action::Allow, WHY_NOT_TRUNCATING)?;
        }
    }
    if !needs.landlock_truncate {
        rows.refuse(Errno::NOSYS, WHY_NOT_OPENAT2, &[Sysno::openat2])?;
        return rows.refuse(Errno::ACCESS, WHY_NOT_TRUNCATE, &[Sysno::truncate]);
    }
    rows.allow(WHY, &[Sysno::truncate])?;
    if needs.looks_at_open() || (needs.holes && needs.supervised) {
        let why = if needs.holes { WHY_HOLES } else { needs.why_open_is_looked_at() };
        rows.trap(Sysno::openat2, open::openat2, why)
    } else {
        rows.allow(WHY, &[Sysno::openat2])
    }
}

impl Needs {
    fn looks_at_open(&self) -> bool {
        (self.serves || self.own_proc) && self.supervised
    }

    fn why_open_is_looked_at(&self) -> &'static str {
        if self.own_proc { WHY_OWN_PROC } else { WHY_SERVED }
    }
}

/// Names in directories: Landlock's, but where a place that is granted has holes.
fn entries(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    let calls: &[(Sysno, Handler)] = &[
        (Sysno::mkdirat, entries::mkdirat),
        (Sysno::mknodat, entries::mknodat),
        (Sysno::unlinkat, entries::unlinkat),
        (Sysno::renameat, entries::renameat),
        (Sysno::renameat2, entries::renameat2),
        (Sysno::linkat, entries::linkat),
        (Sysno::symlinkat, entries::symlinkat),
        #[cfg(target_arch = "x86_64")]
        (Sysno::creat, open::creat),
        #[cfg(target_arch = "x86_64")]
        (Sysno::mkdir, entries::mkdir),
        #[cfg(target_arch = "x86_64")]
        (Sysno::mknod, entries::mknod),
        #[cfg(target_arch = "x86_64")]
        (Sysno::unlink, entries::unlink),
        #[cfg(target_arch = "x86_64")]
        (Sysno::rmdir, entries::rmdir),
        #[cfg(target_arch = "x86_64")]
        (Sysno::rename, entries::rename),
        #[cfg(target_arch = "x86_64")]
        (Sysno::link, entries::link),
        #[cfg(target_arch = "x86_64")]
        (Sysno::symlink, entries::symlink),
    ];
    for &(call, handler) in calls {
        match needs.holes && needs.supervised {
            true => rows.trap(call, handler, WHY_HOLES)?,
            false => rows.allow("paths: Landlock decides what they reach", &[call])?,
        }
    }
    Ok(())
}

/// Landlock before version 3 does not see truncation, and O_TRUNC truncates without write access (open(2)).
fn truncating(flags: u8) -> Vec<Clause> {
    let wants = |mode| {
        Clause::when(
            [Test::any_bit(flags, O_TRUNC), Test::MaskedEq { arg: flags, mask: 3, value: mode }],
            fail(Errno::ACCESS),
        )
    };
    vec![wants(0), wants(3)]
}

const WHY: &str = "opening: Landlock decides";
const WHY_HOLES: &str =
    "places that are granted have holes: performed on behalf there. Landlock decides on the rest, as ever";
const WHY_SERVED: &str = "files of the run's own are served to who reads them: about names, or certificates. Landlock decides on the rest, as ever";
const WHY_OWN_PROC: &str = "/proc is opened on behalf, for what is the sandbox's own, and files of the run's own are served. Landlock decides on the rest, as ever";
const WHY_NOT_TRUNCATING: &str =
    "this kernel's Landlock does not cover truncation: only with write access, by flags in a register";
const WHY_NOT_OPENAT2: &str = "its flags are in memory, and this kernel's Landlock does not cover truncation";
const WHY_NOT_TRUNCATE: &str = "this kernel's Landlock does not cover truncation";

fn descriptor_controls(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    let refused = |commands: &[u32], errno| {
        commands.iter().map(|&command| Clause::when([Test::eq(1, command)], fail(errno))).collect::<Vec<_>>()
    };
    let mut ioctl = refused(&[TIOCSTI, TIOCLINUX], Errno::PERM);
    ioctl.extend(refused(&[FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR], Errno::OPNOTSUPP));
    if needs.scoped {
        rows.allow("descriptors: opened under Landlock, used freely", &[Sysno::fcntl])?;
    } else {
        // A descriptor's owner is sent signals, of any number, and may be any process of the same user.
        ioctl.extend(refused(&[FIOSETOWN, SIOCSPGRP], Errno::PERM));
        rows.by_registers(
            Sysno::fcntl,
            refused(&[F_SETOWN, F_SETSIG, F_SETOWN_EX], Errno::PERM),
            Action::Allow,
            "this kernel's Landlock does not scope signals: a descriptor's owner could be anybody",
        )?;
    }
    rows.by_registers(
        Sysno::ioctl,
        ioctl,
        Action::Allow,
        "no typing into the terminal (TIOCSTI, TIOCLINUX); no attributes set through a descriptor opened for reading",
    )
}

/// Landlock has no right for these, so the supervisor performs them on what it looked at.
fn metadata(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    const WHY: &str = "metadata has no Landlock right: performed on behalf, below writable paths only";
    let calls: &[(Sysno, crate::call::Handler)] = &[
        (Sysno::fchmod, metadata::fchmod),
        (Sysno::fchmodat, metadata::fchmodat),
        (Sysno::fchmodat2, metadata::fchmodat2),
        (Sysno::fchown, metadata::fchown),
        (Sysno::fchownat, metadata::fchownat),
        (Sysno::utimensat, metadata::utimensat),
        (Sysno::setxattr, metadata::setxattr),
        (Sysno::lsetxattr, metadata::lsetxattr),
        (Sysno::fsetxattr, metadata::fsetxattr),
        (Sysno::removexattr, metadata::removexattr),
        (Sysno::lremovexattr, metadata::lremovexattr),
        (Sysno::fremovexattr, metadata::fremovexattr),
        #[cfg(target_arch = "x86_64")]
        (Sysno::chmod, metadata::chmod),
        #[cfg(target_arch = "x86_64")]
        (Sysno::chown, metadata::chown),
        #[cfg(target_arch = "x86_64")]
        (Sysno::lchown, metadata::lchown),
        #[cfg(target_arch = "x86_64")]
        (Sysno::utime, metadata::utime),
        #[cfg(target_arch = "x86_64")]
        (Sysno::utimes, metadata::utimes),
        #[cfg(target_arch = "x86_64")]
        (Sysno::futimesat, metadata::futimesat),
    ];
    for &(call, handler) in calls {
        if needs.supervised {
            rows.trap(call, handler, WHY)?;
        } else {
            rows.refuse(
                Errno::PERM,
                "metadata has no Landlock right, and this run has no supervisor",
                &[call],
            )?;
        }
    }
    rows.refuse(
        Errno::NOSYS,
        "newer spelling of a metadata call: programs fall back",
        &[Sysno::setxattrat, Sysno::removexattrat, Sysno::file_setattr],
    )
}

const O_TRUNC: u32 = 0o1000;
/// `include/uapi/asm-generic/ioctls.h`.
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541C;
/// `include/uapi/linux/fs.h`: they ask for ownership, not for a descriptor open for writing.
const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
const FS_IOC_FSSETXATTR: u32 = 0x401C_5820;
/// `include/uapi/asm-generic/sockios.h`, `include/uapi/asm-generic/fcntl.h`.
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
const F_SETOWN: u32 = 8;
const F_SETSIG: u32 = 10;
const F_SETOWN_EX: u32 = 15;
