//! The differences that are known: each with its reason, and each in docs/security/limits.md.

/// A difference that is expected.
pub(crate) struct Known {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Why it is so.
    pub(crate) reason: &'static str,
    /// Whether a pair of lines is it: the call (without its answer), the bare answer, the answer inside.
    pub(crate) is: fn(call: &str, bare: &str, inside: &str) -> bool,
}

pub(crate) const KNOWN: &[Known] = &[
    Known {
        name: "a name on a corked datagram",
        reason: "the kernel does not look at it while parts of a datagram wait (MSG_MORE, UDP_CORK); here it is checked",
        is: |call, _, inside| call.contains(" corked") && (fails(inside) || call.contains("sendmmsg")),
    },
    Known {
        name: "`::` on a socket for IPv4",
        reason: "on an IPv6 socket that is connected to a mapped address `::` means 127.0.0.1 bare, ::1 inside",
        is: |call, _, _| call.contains(":Udp6") && (call.contains("any6") || call.contains("~10")),
    },
    Known {
        name: "AT_FDCWD where a descriptor is wanted",
        reason: "from Linux 6.13 on fsetxattr and fremovexattr take it for the working directory; here it is EBADF",
        is: |call, _, inside| call.contains("xattr(cwd") && inside.starts_with("EBADF"),
    },
    Known {
        name: "links in /proc",
        reason: "magic links reached by other than their usual spelling are EACCES or ENOENT, and never changed themselves (EPERM)",
        is: |call, _, inside| {
            (call.contains("magic") && (inside.starts_with("EACCES") || inside.starts_with("ENOENT")))
                || (call.contains("/proc/self/fd/") && inside.starts_with("EPERM"))
        },
    },
    Known {
        name: "no name, on a socket for IPv6 that is connected to IPv4",
        reason: "an AF_UNSPEC name makes the kernel send to the peer as if it were of IPv6, past the peer; here it goes to the peer",
        is: |call, _, _| call.contains(":Udp6") && call.contains("~0"),
    },
];

fn fails(answer: &str) -> bool {
    answer.starts_with('E')
}
