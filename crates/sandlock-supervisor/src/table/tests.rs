//! What the table means, asked of the compiled filter.

use rustix::fs::OFlags;
use sandlock_filter::{Action, Arch, Errno as Number, Program, SeccompData, compile};
use sandlock_sys::Errno;
use syscalls::Sysno;

use super::{Binding, Needs, table};

const TCP_ONLY: Needs = Needs {
    udp: false,
    icmp: false,
    unix_datagrams: false,
    datagrams_checked: false,
    supervised: true,
    scoped: true,
    binding: Binding::Guarded,
    listening_free: false,
    binds_asked: false,
    port_space: false,
    landlock_truncate: true,
    serves: false,
    own_proc: false,
    holes: false,
    counts_processes: false,
    keeps_processors: false,
    watches_memory_files: false,
    no_code_in_memory_files: false,
    thread_handles: true,
    takes_descriptors: true,
    execs_asked: None,
    trees: None,
};

const WITH_UDP: Needs = Needs { udp: true, datagrams_checked: true, ..TCP_ONLY };

fn filter(needs: &Needs) -> Program {
    compile(&table(needs).unwrap(), Arch::NATIVE).unwrap()
}

fn answer(program: &Program, call: Sysno, args: [u64; 6]) -> Action {
    let data = SeccompData { nr: call as i32, arch: Arch::NATIVE.audit, instruction_pointer: 0, args };
    program.run(&data).unwrap()
}

fn errno(errno: Errno) -> Action {
    Action::Errno(Number(errno.raw_os_error() as u16))
}

fn every_need() -> impl Iterator<Item = Needs> {
    (0..12288u32).map(|bits| Needs {
        udp: bits & 1 != 0,
        icmp: bits & 2 != 0,
        unix_datagrams: bits & 4 != 0,
        datagrams_checked: bits & 8 != 0,
        supervised: bits & 16 != 0,
        scoped: bits & 32 != 0,
        binding: [Binding::Free, Binding::Guarded, Binding::Performed][bits as usize / 4096],
        listening_free: bits & 64 != 0,
        binds_asked: false,
        port_space: bits & 1024 != 0,
        landlock_truncate: bits & 128 != 0,
        thread_handles: bits & 256 != 0,
        takes_descriptors: bits & 2 != 0,
        serves: bits & 512 != 0,
        own_proc: bits & 2048 != 0,
        // A row of its own, which no other need changes.
        execs_asked: (bits & 2048 != 0).then_some([1, 2, 3]),
        holes: bits & 1 != 0,
        counts_processes: bits & 1024 != 0,
        keeps_processors: bits & 1024 != 0,
        watches_memory_files: bits & 1024 != 0,
        no_code_in_memory_files: bits & 1 != 0,
        trees: (bits & 512 != 0).then_some([4, 5, 6]),
    })
}

#[test]
fn every_combination_of_needs_makes_a_table_that_compiles() {
    for needs in every_need() {
        let program = filter(&needs);
        assert!(
            program.instructions().len() < 400,
            "{needs:?}: {} instructions",
            program.instructions().len()
        );
    }
}

#[test]
fn without_a_supervisor_nothing_is_trapped() {
    for needs in every_need().filter(|needs| !needs.supervised) {
        assert!(table(&needs).unwrap().rows().all(|row| !row.rule.can_trap()), "{needs:?}");
    }
}

#[test]
fn the_data_path_and_files_are_not_trapped() {
    let program = filter(&TCP_ONLY);
    let registers = [3, 0x7fff_0000_0000, 64, 0, 0, 0];
    for call in [
        Sysno::read,
        Sysno::write,
        Sysno::readv,
        Sysno::writev,
        Sysno::close,
        Sysno::openat,
        Sysno::openat2,
        Sysno::statx,
        Sysno::fstat,
        Sysno::recvfrom,
        Sysno::recvmsg,
        Sysno::sendto,
        Sysno::sendmsg,
        Sysno::sendmmsg,
        Sysno::sendfile,
        Sysno::splice,
        Sysno::accept4,
        Sysno::shutdown,
        Sysno::clone,
        Sysno::execve,
        Sysno::wait4,
        Sysno::getpid,
        Sysno::futex,
        Sysno::mmap,
        Sysno::ppoll,
        Sysno::epoll_pwait,
        Sysno::fcntl,
        Sysno::getdents64,
        Sysno::getsockname,
    ] {
        assert_eq!(answer(&program, call, registers), Action::Allow, "{call}");
    }
    #[cfg(target_arch = "x86_64")]
    for call in [Sysno::open, Sysno::stat, Sysno::lstat, Sysno::fork, Sysno::vfork, Sysno::poll] {
        assert_eq!(answer(&program, call, registers), Action::Allow, "{call}");
    }
    // With UDP rules, a connected send still passes: libc's send(2) is sendto with a null address.
    assert_eq!(answer(&filter(&WITH_UDP), Sysno::sendto, registers), Action::Allow);
}

#[test]
fn only_what_must_be_seen_is_trapped() {
    let trapped = |needs: &Needs| {
        let table = table(needs).unwrap();
        table.rows().filter(|row| row.rule.can_trap()).map(|row| row.name).collect::<Vec<_>>()
    };
    let every_port = Needs { binding: Binding::Free, listening_free: true, ..TCP_ONLY };
    assert!(["bind", "listen"].iter().all(|call| trapped(&TCP_ONLY).contains(call)));
    assert!(["bind", "listen"].iter().all(|call| !trapped(&every_port).contains(call)));
    let datagrams = ["sendto", "sendmsg", "sendmmsg"];
    assert!(trapped(&TCP_ONLY).contains(&"connect") && trapped(&TCP_ONLY).contains(&"listen"));
    assert!(datagrams.iter().all(|call| !trapped(&TCP_ONLY).contains(call)));
    assert!(datagrams.iter().all(|call| trapped(&WITH_UDP).contains(call)));
    let udp_anywhere = Needs { udp: true, ..TCP_ONLY };
    assert!(datagrams.iter().all(|call| !trapped(&udp_anywhere).contains(call)));
    let to_memory = [4, 0x7fff_0000_0000, 64, 0, 0x7fff_0000_1000, 16];
    assert_eq!(answer(&filter(&WITH_UDP), Sysno::sendto, to_memory), Action::Trap);
    // A pointer whose low half is zero is no null pointer.
    let high_only = [4, 0x7fff_0000_0000, 64, 0, 0x7fff_0000_0000_0000, 16];
    assert_eq!(answer(&filter(&WITH_UDP), Sysno::sendto, high_only), Action::Trap);
}

#[test]
fn where_files_are_served_only_what_reads_is_looked_at() {
    let program = filter(&Needs { serves: true, ..TCP_ONLY });
    let flags_of = |flags: OFlags| u64::from(flags.bits()) | 0xffff_ffff_0000_0000;
    for (flags, expected) in [
        (OFlags::RDONLY, Action::Trap),
        (OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK, Action::Trap),
        (OFlags::WRONLY, Action::Allow),
        (OFlags::RDWR | OFlags::CLOEXEC, Action::Allow),
        (OFlags::CREATE, Action::Allow),
        (OFlags::TRUNC, Action::Allow),
        (OFlags::PATH, Action::Allow),
        (OFlags::DIRECTORY, Action::Allow),
    ] {
        assert_eq!(answer(&program, Sysno::openat, [0, 0x1000, flags_of(flags), 0, 0, 0]), expected);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(answer(&program, Sysno::open, [0x1000, flags_of(flags), 0, 0, 0, 0]), expected);
    }
    assert_eq!(answer(&program, Sysno::openat2, [0, 0x1000, 0x2000, 24, 0, 0]), Action::Trap);
}

#[test]
fn sockets_are_an_allowlist() {
    const STREAM: u64 = 1;
    const DGRAM: u64 = 2;
    const RAW: u64 = 3;
    const SEQPACKET: u64 = 5;
    const FLAGS: u64 = 0o2004000;
    const GARBAGE: u64 = 0xdead_beef_0000_0000;
    let tcp = filter(&TCP_ONLY);
    let udp = filter(&WITH_UDP);
    let ping = filter(&Needs { icmp: true, ..TCP_ONLY });
    let unix = filter(&Needs { unix_datagrams: true, ..TCP_ONLY });
    let socket = |program: &Program, family: u64, kind: u64, protocol: u64| {
        let args = [family | GARBAGE, kind | FLAGS | GARBAGE, protocol | GARBAGE, 0, 0, 0];
        answer(program, Sysno::socket, args)
    };
    for family in [2, 10] {
        assert_eq!(socket(&tcp, family, STREAM, 0), Action::Allow);
        assert_eq!(socket(&tcp, family, STREAM, 6), Action::Allow);
        assert_eq!(socket(&tcp, family, STREAM, 262), errno(Errno::PROTONOSUPPORT), "MPTCP");
        for (kind, protocol) in
            [(DGRAM, 0), (DGRAM, 17), (DGRAM, 1), (DGRAM, 58), (RAW, 255), (RAW, 1), (10, 0x300)]
        {
            assert_eq!(
                socket(&tcp, family, kind, protocol),
                errno(Errno::ACCESS),
                "{family} {kind} {protocol}"
            );
        }
        for protocol in [132, 33, 136, 256] {
            for kind in [STREAM, DGRAM, SEQPACKET, 6] {
                assert_eq!(socket(&udp, family, kind, protocol), errno(Errno::ACCESS), "{kind} {protocol}");
            }
        }
        assert_eq!(socket(&udp, family, DGRAM, 0), Action::Allow);
        assert_eq!(socket(&udp, family, DGRAM, 17), Action::Allow);
        assert_eq!(socket(&udp, family, DGRAM, 136), errno(Errno::ACCESS), "UDP-Lite");
        // A type with an unknown bit is no known type.
        assert_eq!(socket(&udp, family, DGRAM | 0x10, 0), errno(Errno::ACCESS));
    }
    assert_eq!(socket(&ping, 2, DGRAM, 1), Action::Allow);
    assert_eq!(socket(&ping, 10, DGRAM, 58), Action::Allow);
    assert_eq!(socket(&ping, 2, DGRAM, 58), errno(Errno::ACCESS));
    assert_eq!(socket(&ping, 2, RAW, 1), errno(Errno::ACCESS));
    assert_eq!(socket(&tcp, 1, STREAM, 0), Action::Allow);
    assert_eq!(socket(&tcp, 1, SEQPACKET, 0), Action::Allow);
    for kind in [DGRAM, RAW] {
        assert_eq!(socket(&tcp, 1, kind, 0), errno(Errno::ACCESS), "RAW is another name of DGRAM there");
    }
    assert_eq!(socket(&unix, 1, DGRAM, 0), Action::Allow);
    assert_eq!(socket(&unix, 1, RAW, 0), errno(Errno::ACCESS));
    assert_eq!(socket(&tcp, 16, RAW, 0), Action::Allow, "NETLINK_ROUTE");
    for protocol in [4, 12, 15, 16] {
        assert_eq!(socket(&tcp, 16, RAW, protocol), errno(Errno::ACCESS), "netlink {protocol}");
    }
    for family in [17, 38, 40, 43, 44, 29, 31, 45, 0, 255] {
        assert_eq!(socket(&udp, family, STREAM, 0), errno(Errno::AFNOSUPPORT), "family {family}");
    }
}

#[test]
fn fast_open_is_refused_whatever_else_is_allowed() {
    const FAST_OPEN: u64 = 0x2000_0000;
    for needs in every_need() {
        let program = filter(&needs);
        for (call, flags) in [(Sysno::sendto, 3), (Sysno::sendmsg, 2), (Sysno::sendmmsg, 3)] {
            let mut args = [3, 0x1000, 1, 0, 0x1000, 16];
            args[flags] = FAST_OPEN | 0x4040 | 0xffff_ffff_0000_0000;
            assert_eq!(answer(&program, call, args), errno(Errno::OPNOTSUPP), "{call} {needs:?}");
        }
        let deferred = [3, 6, 30, 0x1000, 4, 0];
        assert_eq!(answer(&program, Sysno::setsockopt, deferred), errno(Errno::NOPROTOOPT));
    }
}

#[test]
fn routes_cannot_be_set_by_options() {
    let program = filter(&WITH_UDP);
    let option = |level: u64, name: u64| answer(&program, Sysno::setsockopt, [3, level, name, 0x1000, 4, 0]);
    assert_eq!(option(0, 4), errno(Errno::PERM));
    for name in [3, 4, 5, 6, 32, 54, 55, 57, 59] {
        assert_eq!(option(41, name), errno(Errno::PERM), "IPV6 {name}");
    }
    for (level, name) in [(0, 1), (0, 8), (41, 26), (6, 1), (1, 2), (17, 103)] {
        assert_eq!(option(level, name), Action::Allow, "{level} {name}");
    }
}

#[test]
fn namespaces_and_other_processes_are_out_of_reach() {
    let program = filter(&TCP_ONLY);
    for flag in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000u64] {
        assert_eq!(
            answer(&program, Sysno::clone, [flag | 17, 0, 0, 0, 0, 0]),
            errno(Errno::PERM),
            "{flag:#x}"
        );
        assert_eq!(answer(&program, Sysno::unshare, [flag, 0, 0, 0, 0, 0]), errno(Errno::PERM), "{flag:#x}");
    }
    assert_eq!(answer(&program, Sysno::unshare, [0x80, 0, 0, 0, 0, 0]), errno(Errno::PERM), "NEWTIME");
    assert_eq!(answer(&program, Sysno::clone3, [0x1000, 88, 0, 0, 0, 0]), errno(Errno::NOSYS));
    for call in
        [Sysno::ptrace, Sysno::process_vm_readv, Sysno::pidfd_getfd, Sysno::setns, Sysno::mount, Sysno::bpf]
    {
        assert_eq!(answer(&program, call, [0; 6]), errno(Errno::PERM), "{call}");
    }
    for call in [Sysno::io_uring_setup, Sysno::io_uring_enter, Sysno::semget, Sysno::mq_open] {
        assert_eq!(answer(&program, call, [0; 6]), errno(Errno::NOSYS), "{call}");
    }
    assert_eq!(answer(&program, Sysno::prlimit64, [0, 7, 0, 0, 0, 0]), Action::Allow);
    assert_eq!(answer(&program, Sysno::prlimit64, [1, 7, 0, 0, 0, 0]), Action::Trap);
    // A group or a user is more than the sandbox, and 0 means the group that the launcher is in.
    assert_eq!(answer(&program, Sysno::setpriority, [0, 0, 5, 0, 0, 0]), Action::Allow);
    assert_eq!(answer(&program, Sysno::setpriority, [1, 0, 5, 0, 0, 0]), errno(Errno::PERM));
    assert_eq!(answer(&program, Sysno::setpriority, [2, 0, 5, 0, 0, 0]), errno(Errno::PERM));
}

#[test]
fn a_process_cannot_hide_from_its_supervisor() {
    let program = filter(&TCP_ONLY);
    assert_eq!(answer(&program, Sysno::prctl, [4, 0, 0, 0, 0, 0]), Action::Errno(Number::SUCCESS));
    assert_eq!(answer(&program, Sysno::prctl, [4, 1, 0, 0, 0, 0]), Action::Allow);
}

#[test]
fn threads_share_their_descriptors_where_they_cannot_be_told_apart() {
    let older = filter(&Needs { thread_handles: false, ..TCP_ONLY });
    const THREAD: u64 = 0x1_0000;
    const FILES: u64 = 0x400;
    assert_eq!(answer(&older, Sysno::clone, [THREAD, 0, 0, 0, 0, 0]), errno(Errno::INVAL));
    assert_eq!(answer(&older, Sysno::clone, [THREAD | FILES, 0, 0, 0, 0, 0]), Action::Allow);
    assert_eq!(answer(&older, Sysno::unshare, [FILES, 0, 0, 0, 0, 0]), errno(Errno::PERM));
    assert_eq!(answer(&older, Sysno::close_range, [3, 9, 2, 0, 0, 0]), errno(Errno::INVAL));
    assert_eq!(answer(&filter(&TCP_ONLY), Sysno::unshare, [FILES, 0, 0, 0, 0, 0]), Action::Allow);
}

#[test]
fn truncation_without_write_access_is_refused_where_landlock_does_not_see_it() {
    let older = filter(&Needs { landlock_truncate: false, ..TCP_ONLY });
    let serving = filter(&Needs { landlock_truncate: false, serves: true, ..TCP_ONLY });
    for (flags, expected) in [
        (0o1000, errno(Errno::ACCESS)),
        (0o1003, errno(Errno::ACCESS)),
        (0o1001, Action::Allow),
        (0o1002, Action::Allow),
        (0, Action::Allow),
    ] {
        let args = [0, 0x1000, flags, 0, 0, 0];
        assert_eq!(answer(&older, Sysno::openat, args), expected, "{flags:o}");
        let expected = if flags == 0 { Action::Trap } else { expected };
        assert_eq!(answer(&serving, Sysno::openat, args), expected, "{flags:o}");
    }
    assert_eq!(answer(&serving, Sysno::openat2, [0; 6]), errno(Errno::NOSYS));
    assert_eq!(answer(&older, Sysno::truncate, [0x1000, 0, 0, 0, 0, 0]), errno(Errno::ACCESS));
    assert_eq!(answer(&older, Sysno::openat2, [0; 6]), errno(Errno::NOSYS));
}

#[test]
fn a_descriptors_owner_cannot_be_an_outsider_where_signals_are_not_scoped() {
    let older = filter(&Needs { scoped: false, ..TCP_ONLY });
    for (call, command) in [
        (Sysno::fcntl, 8),
        (Sysno::fcntl, 10),
        (Sysno::fcntl, 15),
        (Sysno::ioctl, 0x8901),
        (Sysno::ioctl, 0x8902),
    ] {
        let args = [0, command | 0xffff_ffff_0000_0000, 1, 0, 0, 0];
        assert_eq!(answer(&older, call, args), errno(Errno::PERM), "{call} {command:#x}");
        assert_eq!(answer(&filter(&TCP_ONLY), call, args), Action::Allow, "{call} {command:#x}");
    }
    assert_eq!(answer(&older, Sysno::fcntl, [0, 4, 0, 0, 0, 0]), Action::Allow);
}

#[test]
fn another_architecture_and_unknown_numbers_answer_enosys() {
    let program = filter(&TCP_ONLY);
    let run = |nr: i32, arch: u32| {
        program.run(&SeccompData { nr, arch, instruction_pointer: 0, args: [0; 6] }).unwrap()
    };
    const I386: u32 = 0x4000_0003;
    assert_eq!(run(4, I386), errno(Errno::NOSYS));
    for number in [470, 500, 4095, 0x4000_0000, 0x4000_0001, -1] {
        assert_eq!(run(number, Arch::NATIVE.audit), errno(Errno::NOSYS), "{number:#x}");
    }
}
