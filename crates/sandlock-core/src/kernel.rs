//! What this kernel offers, and what carries what.

use sandlock_sys::{landlock, memory, pidfd, seccomp};

/// What the kernel offers to sandboxes of ordinary users.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// The Landlock version, 0 when there is none.
    pub landlock: u32,
    /// `SECCOMP_RET_USER_NOTIF`.
    pub user_notification: bool,
    /// Trapped calls are not interrupted half-way (Linux 5.19).
    pub wait_killable: bool,
    /// Threads can be told apart by handle (Linux 6.9).
    pub thread_handles: bool,
    /// A process may look into its own descendants: Yama, where there is one, forbids it from mode 2 on.
    pub looks_into_descendants: bool,
    /// `pidfd_getfd(2)` is refused by nobody around, such as a container's seccomp profile.
    pub takes_descriptors: bool,
    /// Memory of a process can be read.
    pub reads_memory: bool,
}

/// One thing that a run needs, and what carries it here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ability {
    /// What is enforced.
    pub what: &'static str,
    /// By which mechanism; `None` when nothing here can.
    pub carried_by: Option<&'static str>,
    /// What to do about it when nothing can.
    pub otherwise: &'static str,
    /// Whether only runs with a supervisor need it.
    pub of_the_supervisor: bool,
}

impl Kernel {
    /// Asks the kernel. Changes nothing.
    #[must_use]
    pub fn probe() -> Self {
        let seccomp = seccomp::Features::probe();
        Kernel {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            landlock: landlock::version(),
            user_notification: seccomp.user_notification,
            wait_killable: seccomp.wait_killable,
            thread_handles: pidfd::has_thread_handles(),
            looks_into_descendants: yama_mode() < 2,
            takes_descriptors: pidfd::may_take_descriptors(),
            reads_memory: memory::may_be_read(),
        }
    }

    /// As if Landlock were no newer than this.
    #[must_use]
    pub fn with_landlock_at_most(mut self, version: Option<u32>) -> Self {
        self.landlock = version.map_or(self.landlock, |version| version.min(self.landlock));
        self
    }

    /// What a run needs and what carries it here.
    #[must_use]
    pub fn abilities(&self) -> Vec<Ability> {
        let by = |available: bool, mechanism| available.then_some(mechanism);
        let either = |available, mechanism, other| Some(if available { mechanism } else { other });
        let landlock = |version| self.landlock >= version;
        vec![
            Ability {
                what: "files and directories",
                carried_by: by(landlock(1), "Landlock"),
                otherwise: "boot Linux 5.13 or later with Landlock (CONFIG_SECURITY_LANDLOCK=y, and `landlock` in the lsm= list); a container's own seccomp profile must allow landlock_*",
                of_the_supervisor: false,
            },
            Ability {
                what: "destinations of connect and send",
                carried_by: by(
                    self.user_notification,
                    "seccomp user notification: the supervisor performs the call",
                ),
                otherwise: "boot Linux 5.13 or later with CONFIG_SECCOMP_FILTER=y; a container's own seccomp profile must allow seccomp(2)",
                of_the_supervisor: true,
            },
            Ability {
                what: "what a call on behalf is about",
                carried_by: by(
                    self.looks_into_descendants && self.reads_memory,
                    match self.takes_descriptors {
                        true => "the open file itself (pidfd_getfd)",
                        false => {
                            "sockets that the supervisor makes, since something around refuses pidfd_getfd: no datagrams, no --port-remap"
                        }
                    },
                ),
                otherwise: match self.reads_memory {
                    true => {
                        "set kernel.yama.ptrace_scope to 0 or 1: from 2 on no process may look into its own children"
                    }
                    false => {
                        "process_vm_readv is refused by a seccomp filter around (a container's profile, a systemd unit), and /proc/PID/mem cannot be read; mount /proc, have the call allowed, or run with --kernel-only"
                    }
                },
                of_the_supervisor: true,
            },
            Ability {
                what: "kinds of sockets, dangerous calls",
                carried_by: by(self.user_notification, "seccomp filter"),
                otherwise: "boot Linux 5.13 or later with CONFIG_SECCOMP_FILTER=y",
                of_the_supervisor: false,
            },
            Ability {
                what: "TCP ports, a second time in the kernel",
                carried_by: either(
                    landlock(4),
                    "Landlock",
                    "the supervisor alone (Landlock 4, Linux 6.7, would add the kernel)",
                ),
                otherwise: "",
                of_the_supervisor: false,
            },
            Ability {
                what: "renaming and linking across directories",
                carried_by: either(
                    landlock(2),
                    "Landlock",
                    "refused (Landlock 2, Linux 5.19, can tell where it is safe)",
                ),
                otherwise: "",
                of_the_supervisor: false,
            },
            Ability {
                what: "truncation",
                carried_by: either(
                    landlock(3),
                    "Landlock",
                    "the filter: only together with write access (Landlock 3 is Linux 6.2)",
                ),
                otherwise: "",
                of_the_supervisor: false,
            },
            Ability {
                what: "signals to processes outside",
                carried_by: either(
                    landlock(6),
                    "Landlock",
                    "the supervisor looks up each target (Landlock 6, Linux 6.12, would do it in the kernel)",
                ),
                otherwise: "",
                of_the_supervisor: false,
            },
            Ability {
                what: "abstract unix sockets outside",
                carried_by: either(
                    landlock(6),
                    "Landlock",
                    "the supervisor refuses all abstract names (Landlock 6, Linux 6.12, tells inside from outside)",
                ),
                otherwise: "",
                of_the_supervisor: false,
            },
            Ability {
                what: "descriptors of threads",
                carried_by: either(
                    self.thread_handles,
                    "handles of single threads",
                    "the filter: threads must share their table (Linux 6.9 has handles of single threads)",
                ),
                otherwise: "",
                of_the_supervisor: true,
            },
            Ability {
                what: "calls on behalf, whole or not at all",
                carried_by: either(
                    self.wait_killable,
                    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
                    "not guaranteed: a signal may restart one (Linux 5.19 has the flag)",
                ),
                otherwise: "",
                of_the_supervisor: true,
            },
        ]
    }
}

/// `kernel.yama.ptrace_scope`; 0 where there is no Yama.
fn yama_mode() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
        .ok()
        .and_then(|mode| mode.trim().parse().ok())
        .unwrap_or(0)
}
