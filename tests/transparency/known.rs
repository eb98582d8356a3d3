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

/// Whether what is sent goes elsewhere, though both answers say that it went.
pub(crate) fn goes_elsewhere(call: &str, answer: &str) -> bool {
    (WITHOUT_A_NAME.is)(call, answer, answer) && succeeds(answer)
}

const WITHOUT_A_NAME: Known = Known {
    name: "no name, on a socket for IPv6 that is connected to IPv4",
    reason: "an AF_UNSPEC name makes the kernel send to the peer as if it were of IPv6, past the peer; here it goes to the peer",
    is: |call, _, _| call.contains(":Udp6") && call.contains("~0"),
};

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
        name: "another name for a directory that itself is a grant",
        reason: "Landlock looks at what is above before the kernel refuses another name for a directory",
        is: |call, bare, inside| {
            (call.contains(" link(") || call.contains(" linkat("))
                && call.contains("`..`, ")
                && bare.starts_with("EPERM")
                && inside.starts_with("EXDEV")
        },
    },
    WITHOUT_A_NAME,
];

/// In places that have a hole.
pub(crate) const BESIDE_A_HOLE: &[Known] = &[
    Known {
        name: "truncate beside a hole",
        reason: "Landlock refuses it there, and it is not performed on behalf",
        is: |call, bare, inside| {
            call.contains(" truncate(")
                && (succeeds(bare) || bare.starts_with("EFBIG"))
                && inside.starts_with("EACCES")
        },
    },
    Known {
        name: "FIFOs and sockets beside a hole",
        reason: "they are not opened on behalf, and Landlock refuses them",
        is: |call, bare, inside| {
            OPENS.iter().any(|open| call.contains(open))
                && inside.starts_with("EACCES")
                && (["ENXIO", "EINTR"].iter().any(|errno| bare.starts_with(errno))
                    // What cannot be sought in is a FIFO, whatever it is called by now.
                    || (succeeds(bare) && (call.contains("fifo") || bare.contains("ESPIPE"))))
        },
    },
    Known {
        name: "O_NOFOLLOW that F_GETFL does not tell",
        reason: "what is opened was held before, and is opened by that",
        is: |_, bare, inside| {
            let flags = |answer: &str| {
                let (number, rest) = answer.split_once(" [")?;
                let (flags, rest) = rest.split_once(' ')?;
                Some((number.to_owned(), u32::from_str_radix(flags, 8).ok()?, rest.to_owned()))
            };
            flags(bare)
                .zip(flags(inside))
                .is_some_and(|(bare, inside)| (bare.0, bare.1 & !(libc::O_NOFOLLOW as u32), bare.2) == inside)
        },
    },
    Known {
        name: "another name for a directory, with a slash or an empty path",
        reason: "that is left to the kernel, where Landlock refuses it first",
        is: |call, bare, inside| {
            (call.contains(" link(") || call.contains(" linkat("))
                && (call.contains("/`, ") || call.contains("``, "))
                && bare.starts_with("EPERM")
                && inside.starts_with("EACCES")
        },
    },
    Known {
        name: "linkat with AT_EMPTY_PATH beside a hole",
        reason: "the kernel wants a descriptor that its caller opened (Linux 6.10), and the supervisor opened it",
        is: |call, _, inside| {
            let by_descriptor =
                call.contains(" linkat(") && (call.ends_with("0x1000)") || call.ends_with("0x1400)"));
            (by_descriptor && inside.starts_with("ENOENT"))
                || (call.contains(" tmpfile(") && call.ends_with("true)") && inside.contains(" ENOENT ["))
        },
    },
];

const OPENS: &[&str] = &[" open(", " openat(", " openat2(", " creat("];

/// In a root of the run's own.
pub(crate) const IN_A_ROOT: &[Known] = &[
    // Where the run has a user namespace.
    Known {
        name: "an owner that is not mapped",
        reason: "one user and one group have a meaning there; others are EINVAL, not EPERM",
        is: |call, bare, inside| {
            call.contains("chown")
                && call.contains("4242")
                && bare.starts_with("EPERM")
                && inside.starts_with("EINVAL")
        },
    },
    Known {
        name: "RESOLVE_NO_XDEV from the root",
        reason: "what is mounted there is another mount",
        is: |call, bare, inside| {
            call.contains(" openat2(")
                && call.contains("`(here)/")
                && call.contains(", 0x1, ")
                && !bare.starts_with("EXDEV")
                && inside.starts_with("EXDEV")
        },
    },
];

fn succeeds(answer: &str) -> bool {
    !fails(answer)
}

fn fails(answer: &str) -> bool {
    answer.starts_with('E')
}
