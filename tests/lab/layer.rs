//! What is around a run: the seccomp filters of containers and units, as far as `sandlock` could meet them.
//!
//! Of each profile those calls are refused that `sandlock` makes, or that what it makes of a run stands on; all else passes.

use crate::raw;

/// A filter that refuses calls.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Whose it is.
    pub name: &'static str,
    refused: &'static [i64],
    errno: i32,
}

/// The default profile of Docker, and of containerd and so of Kubernetes (`RuntimeDefault`), without `CAP_SYS_PTRACE` and
/// `CAP_SYS_ADMIN`, from Linux 4.8 on. `clone3` is ENOSYS there, by which the C library takes `clone`.
pub const DOCKER: Layer = Layer {
    name: "Docker's profile",
    refused: &[
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_process_madvise,
        libc::SYS_userfaultfd,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_mount_setattr,
        libc::SYS_bpf,
        libc::SYS_sethostname,
        libc::SYS_quotactl,
        libc::SYS_perf_event_open,
        libc::SYS_add_key,
        libc::SYS_keyctl,
        libc::SYS_request_key,
    ],
    errno: libc::EPERM,
};

/// The default profile of Podman and CRI-O, without `CAP_SYS_PTRACE` and `CAP_SYS_ADMIN`.
pub const PODMAN: Layer = Layer {
    name: "Podman's profile",
    refused: &[
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kcmp,
        libc::SYS_ptrace,
        libc::SYS_process_madvise,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
    ],
    errno: libc::EPERM,
};

/// A systemd unit with `SystemCallFilter=@system-service` and `SystemCallErrorNumber=EPERM`, to which the calls of Landlock
/// and `seccomp` were added.
pub const UNIT: Layer = Layer {
    name: "a unit's SystemCallFilter",
    refused: &[
        libc::SYS_pidfd_getfd,
        libc::SYS_ptrace,
        libc::SYS_perf_event_open,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_mount_setattr,
        libc::SYS_bpf,
        libc::SYS_quotactl,
        libc::SYS_userfaultfd,
    ],
    errno: libc::EPERM,
};

impl Layer {
    /// One that refuses these, by this errno.
    pub const fn refusing(name: &'static str, refused: &'static [i64], errno: i32) -> Self {
        Layer { name, refused, errno }
    }

    /// Installs it, for this process and all that it makes. Only system calls, on memory that was prepared.
    pub(crate) fn enter(filter: &mut [libc::sock_filter]) -> std::io::Result<()> {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        let no_new_privileges = [libc::PR_SET_NO_NEW_PRIVS as usize, 1];
        let install = [libc::SECCOMP_SET_MODE_FILTER as usize, 0, raw::at(&program)];
        raw::call(libc::SYS_prctl, &no_new_privileges)
            .and_then(|_| raw::call(libc::SYS_seccomp, &install))
            .map(drop)
            .map_err(|errno| std::io::Error::from_raw_os_error(errno.0))
    }

    pub(crate) fn filter(&self) -> Vec<libc::sock_filter> {
        let one = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let mut filter = vec![one(0x20, 0, 0, 0)];
        for call in self.refused {
            filter.push(one(0x15, 0, 1, *call as u32));
            filter.push(one(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | self.errno as u32));
        }
        filter.push(one(0x06, 0, 0, libc::SECCOMP_RET_ALLOW));
        filter
    }
}
