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
        name: "which of several errors",
        reason: "a call that is wrong in several ways fails as bare, but may be told another of its errors",
        is: |call, bare, inside| {
            let state = STATES.contains(&first(bare)) || STATES.contains(&first(inside));
            fails(bare) && fails(inside) && oddities(call) + u32::from(state) > 1
        },
    },
    Known {
        name: "control messages that are not on the list",
        reason: "an unknown one may lead a packet elsewhere: EINVAL, or the end of the batch",
        is: |call, bare, inside| {
            call.contains("unknown") && (inside.starts_with("EINVAL") || count(inside) < count(bare))
        },
    },
    Known {
        name: "a name on a corked datagram",
        reason: "the kernel does not look at it while parts of a datagram wait (MSG_MORE, UDP_CORK); here it is checked",
        is: |call, _, inside| call.contains(" corked") && (fails(inside) || call.contains("sendmmsg")),
    },
    Known {
        name: "`::` on a socket for IPv4",
        reason: "on an IPv6 socket that is connected to a mapped address `::` means 127.0.0.1 bare, ::1 inside",
        is: |call, _, _| call.contains("any6") || call.contains("~10"),
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
        name: "a batch whose lengths cannot be told",
        reason: "where msg_len cannot be written the kernel ends the batch there; here it goes on",
        is: |call, _, _| call.contains("sendmmsg(frozen") || call.contains("sendmmsg(edge"),
    },
];

/// What a socket says to a good call at the wrong time.
const STATES: [&str; 8] =
    ["EPIPE", "ENOTCONN", "EDESTADDRREQ", "EISCONN", "EOPNOTSUPP", "ENETUNREACH", "EALREADY", "ECONNRESET"];

fn first(answer: &str) -> &str {
    answer.split(' ').next().unwrap_or(answer)
}

fn fails(answer: &str) -> bool {
    answer.starts_with('E')
}

/// How many messages of a batch were sent.
fn count(answer: &str) -> u32 {
    first(answer).parse().unwrap_or(0)
}

/// What the program says of the call.
fn oddities(call: &str) -> u32 {
    call.split(' ').find_map(|word| word.strip_prefix("odd")?.parse().ok()).unwrap_or(0)
}
