//! What of `/proc` is shown, by its place there. Pure.
//!
//! Of processes: what tells about the process and gives no power over it, whoever opened it. Of the network: the
//! sandbox's own sockets, and what every process may know of interfaces, routes and counters. Of the machine:
//! everything but what is about other programs.

/// How a file is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// The kernel's own.
    AsItIs,
    /// Only the lines of the sandbox's own sockets.
    Sockets(SocketTable),
}

/// A table of sockets in `/proc/PID/net`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SocketTable {
    name: &'static str,
    /// The column of the inode.
    pub(super) inode: usize,
    /// Whether columns 1 and 2 are addresses with ports.
    pub(super) ports: Option<Ports>,
}

/// Whose ports they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ports {
    Tcp,
    Udp,
}

impl SocketTable {
    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

/// How the file or directory of these names is shown; `None`: not at all.
pub(super) fn shown(within: &[Vec<u8>]) -> Option<Shown> {
    let names: Vec<&str> = within.iter().map(|name| std::str::from_utf8(name).ok()).collect::<Option<_>>()?;
    match names.as_slice() {
        [process, "task", thread, rest @ ..] if is_number(process) && is_number(thread) => of_a_task(rest),
        [process, rest @ ..] if is_number(process) => match rest {
            ["task"] | ["map_files"] => Some(Shown::AsItIs),
            _ => of_a_task(rest),
        },
        [first, ..] if OF_OTHERS.contains(first) => None,
        _ => Some(Shown::AsItIs),
    }
}

fn of_a_task(names: &[&str]) -> Option<Shown> {
    match names {
        [] | ["fd" | "fdinfo" | "ns" | "attr" | "net"] => Some(Shown::AsItIs),
        ["fdinfo", number] if is_number(number) => Some(Shown::AsItIs),
        // As plain files, and one directory a security module.
        ["attr", ..] => Some(Shown::AsItIs),
        ["net", "dev_snmp6", ..] => Some(Shown::AsItIs),
        ["net", name] => match SOCKETS.iter().find(|table| table.name == *name) {
            Some(table) => Some(Shown::Sockets(*table)),
            None => NETWORK.contains(name).then_some(Shown::AsItIs),
        },
        [name] => TASK.contains(name).then_some(Shown::AsItIs),
        _ => None,
    }
}

fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Of a process or thread. Not: `mem`, which is its memory, and `pagemap`, `clear_refs`, `seccomp_cache`.
const TASK: &[&str] = &[
    "arch_status",
    "autogroup",
    "auxv",
    "cgroup",
    "children",
    "cmdline",
    "comm",
    "coredump_filter",
    "cpuset",
    "environ",
    "gid_map",
    "io",
    "ksm_stat",
    "limits",
    "loginuid",
    "maps",
    "mountinfo",
    "mounts",
    "mountstats",
    "numa_maps",
    "oom_adj",
    "oom_score",
    "oom_score_adj",
    "personality",
    "projid_map",
    "sched",
    "schedstat",
    "sessionid",
    "setgroups",
    "smaps",
    "smaps_rollup",
    "stack",
    "stat",
    "statm",
    "status",
    "syscall",
    "timens_offsets",
    "timers",
    "timerslack_ns",
    "uid_map",
    "wchan",
];

/// Interfaces, routes, groups, counters and tunables: nothing of them is a socket or a peer of one.
const NETWORK: &[&str] = &[
    "anycast6",
    "dev",
    "dev_mcast",
    "fib_trie",
    "fib_triestat",
    "if_inet6",
    "igmp",
    "igmp6",
    "ip6_mr_cache",
    "ip6_mr_vif",
    "ip_mr_cache",
    "ip_mr_vif",
    "ipv6_route",
    "mcfilter",
    "mcfilter6",
    "netstat",
    "protocols",
    "psched",
    "ptype",
    "route",
    "rt6_stats",
    "rt_cache",
    "snmp",
    "snmp6",
    "sockstat",
    "sockstat6",
    "softnet_stat",
    "tcp_available_congestion_control",
    "tls_stat",
    "wireless",
];

const SOCKETS: &[SocketTable] = &[
    internet("tcp", Some(Ports::Tcp)),
    internet("tcp6", Some(Ports::Tcp)),
    internet("udp", Some(Ports::Udp)),
    internet("udp6", Some(Ports::Udp)),
    internet("udplite", None),
    internet("udplite6", None),
    internet("raw", None),
    internet("raw6", None),
    internet("icmp", None),
    internet("icmp6", None),
    SocketTable { name: "unix", inode: 6, ports: None },
    SocketTable { name: "netlink", inode: 9, ports: None },
    SocketTable { name: "packet", inode: 8, ports: None },
];

const fn internet(name: &'static str, ports: Option<Ports>) -> SocketTable {
    SocketTable { name, inode: 9, ports }
}

/// Of the machine, about other programs: their keys, locks, timers, segments and queues; the kernel's memory and log.
const OF_OTHERS: &[&str] = &[
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "locks",
    "sched_debug",
    "slabinfo",
    "sysvipc",
    "timer_list",
    "vmallocinfo",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<Shown> {
        shown(
            &path
                .split('/')
                .filter(|name| !name.is_empty())
                .map(|name| name.as_bytes().to_vec())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn what_gives_power_or_is_about_others_is_absent() {
        for path in [
            "1/mem",
            "1/task/2/mem",
            "1/pagemap",
            "1/clear_refs",
            "1/nonsense",
            "1/task/2/task",
            "1/task/x/status",
            "1/net/tcp_metrics",
            "1/net/nf_conntrack",
            "1/net/arp",
            "1/net/stat/arp_cache",
            "1/net/rpc/x",
            "1/fd/3",
            "1/exe",
            "1/cwd",
            "1/root",
            "1/map_files/x",
            "1/ns/net",
            "kcore",
            "sysvipc/shm",
            "keys",
            "1/net/unix/x",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn what_programs_read_is_shown() {
        for path in [
            "",
            "1",
            "1/task",
            "1/task/2",
            "1/status",
            "1/task/2/stat",
            "1/fd",
            "1/task/2/fd",
            "1/fdinfo/3",
            "1/maps",
            "1/attr/current",
            "1/net",
            "1/net/dev",
            "1/task/2/net/route",
            "1/net/dev_snmp6/lo",
            "cpuinfo",
            "sys/kernel/osrelease",
        ] {
            assert_eq!(of(path), Some(Shown::AsItIs), "{path}");
        }
        for name in ["tcp", "tcp6", "udp", "udp6", "unix", "netlink", "packet", "icmp", "raw6", "udplite"] {
            for path in [format!("1/net/{name}"), format!("1/task/2/net/{name}")] {
                assert!(matches!(of(&path), Some(Shown::Sockets(table)) if table.name() == name), "{path}");
            }
        }
    }
}
