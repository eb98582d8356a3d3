//! Sockets: which kinds may exist is decided by registers; where they connect and send, by the handlers.

use sandlock_filter::{Action, Clause, TableError, Test};
use sandlock_sys::Errno;
use syscalls::Sysno;

use super::{Binding, Needs, Rows, fail};
use crate::net::{batch, bind, connect, listen, made, own_address, send, sharing};

pub(super) fn rows(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    const KINDS: &str =
        "an allowlist of (family, type, protocol): Landlock and the handlers know these and no others";
    if needs.makes_sockets() {
        const MADE: &str = "the same allowlist, and made on behalf: something around refuses to take a descriptor of the caller, so the supervisor keeps its own";
        let kinds = socket_kinds(needs, Action::Trap);
        rows.trap_unless(Sysno::socket, kinds, fail(Errno::AFNOSUPPORT), made::socket, MADE)?;
    } else {
        let kinds = socket_kinds(needs, Action::Allow);
        rows.by_registers(Sysno::socket, kinds, fail(Errno::AFNOSUPPORT), KINDS)?;
    }
    let mut pairs = vec![
        Clause::when([is(0, AF_UNIX), kind(SOCK_STREAM)], Action::Allow),
        Clause::when([is(0, AF_UNIX), kind(SOCK_SEQPACKET)], Action::Allow),
        Clause::when([is(0, AF_UNIX)], fail(Errno::ACCESS)),
    ];
    if needs.unix_datagrams {
        pairs.insert(0, Clause::when([is(0, AF_UNIX), kind(SOCK_DGRAM)], Action::Allow));
    }
    rows.by_registers(
        Sysno::socketpair,
        pairs,
        fail(Errno::AFNOSUPPORT),
        "unix streams and seqpackets; one of a datagram pair could send to any socket",
    )?;
    rows.allow(
        "the data path of sockets that exist",
        &[
            Sysno::accept,
            Sysno::accept4,
            Sysno::recvfrom,
            Sysno::recvmsg,
            Sysno::recvmmsg,
            Sysno::shutdown,
            Sysno::getsockopt,
        ],
    )?;
    names(rows, needs)?;
    const OPTIONS: &str = "no source routes, no connect deferred to a later send, no protocol laid over the socket; in a port space of the run's own, sharing of a port is looked at";
    if needs.supervised && needs.port_space {
        let reuse = [sharing::SO_REUSEADDR, sharing::SO_REUSEPORT]
            .map(|name| Clause::when([is(1, SOL_SOCKET), is(2, name)], Action::Trap));
        let clauses = refused_options().into_iter().chain(reuse).collect();
        rows.trap_unless(Sysno::setsockopt, clauses, Action::Allow, sharing::setsockopt, OPTIONS)?;
    } else {
        rows.by_registers(Sysno::setsockopt, refused_options(), Action::Allow, OPTIONS)?;
    }
    if needs.supervised { supervised(rows, needs) } else { kernel_only(rows, needs) }
}

fn names(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    if !(needs.supervised && needs.port_space) {
        return rows.allow("tells where a socket is", &[Sysno::getsockname, Sysno::getpeername]);
    }
    const WHY: &str = "tells the run's own ports";
    rows.trap(Sysno::getsockname, own_address::getsockname, WHY)?;
    rows.trap(Sysno::getpeername, own_address::getpeername, WHY)
}

fn supervised(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    const DESTINATION: &str = "the destination is in memory: performed on behalf";
    if needs.makes_sockets() {
        const WHY: &str = "performed on a socket that was made on behalf, which is then let go";
        rows.trap(Sysno::connect, made::connect, DESTINATION)?;
        rows.trap(Sysno::listen, made::listen, WHY)?;
        rows.trap(Sysno::bind, made::bind, "closed sockets that were made on behalf are let go first")?;
        return sends(rows, needs);
    }
    rows.trap(Sysno::connect, connect::connect, DESTINATION)?;
    if needs.listening_free {
        rows.allow("every TCP port may be bound", &[Sysno::listen])?;
    } else {
        rows.trap(
            Sysno::listen,
            listen::listen,
            "makes a server, and binds by itself, which Landlock does not see: performed on behalf",
        )?;
    }
    match needs.binding {
        Binding::Free => {
            rows.allow(
                "every port may be bound; Landlock decides on where unix sockets are made",
                &[Sysno::bind],
            )?;
        }
        Binding::Guarded => {
            rows.trap(Sysno::bind, bind::bind, "looked at, so that a refusal can be told; Landlock decides")?;
        }
        Binding::Performed => rows.trap(
            Sysno::bind,
            bind::bind,
            "the port is in memory, and Landlock does not decide on all of them: performed on behalf",
        )?,
    }
    sends(rows, needs)
}

fn sends(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    let fast_open = |flags| Clause::when([Test::any_bit(flags, MSG_FASTOPEN)], fail(Errno::OPNOTSUPP));
    const FREE: &str = "no socket whose destination a message names can exist here, or all may go anywhere; fast open would connect";
    if needs.datagrams_checked {
        rows.trap_unless(
            Sysno::sendto,
            vec![fast_open(3), Clause::when([Test::Null { arg: 4 }], Action::Allow)],
            Action::Trap,
            send::sendto,
            "trapped with an address, which is in memory; without one it is the data path. Fast open would connect",
        )?;
    } else {
        rows.by_registers(Sysno::sendto, vec![fast_open(3)], Action::Allow, FREE)?;
    }
    for (call, handler, flags) in
        [(Sysno::sendmsg, send::sendmsg as crate::call::Handler, 2), (Sysno::sendmmsg, batch::sendmmsg, 3)]
    {
        let fast_open = vec![fast_open(flags)];
        if needs.datagrams_checked {
            rows.trap_unless(
                call,
                fast_open,
                Action::Trap,
                handler,
                "a datagram's destination is in memory",
            )?;
        } else {
            rows.by_registers(call, fast_open, Action::Allow, FREE)?;
        }
    }
    Ok(())
}

/// Without a supervisor whatever needs one is refused.
fn kernel_only(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    rows.allow(
        "Landlock decides on TCP ports; UDP and ICMP are either free or absent",
        &[Sysno::connect, Sysno::bind],
    )?;
    if needs.listening_free {
        rows.allow("every TCP port may be bound", &[Sysno::listen])?;
    } else {
        rows.refuse(Errno::ACCESS, "binds by itself, which Landlock does not see", &[Sysno::listen])?;
    }
    let calls = if needs.datagrams_checked { fail(Errno::ACCESS) } else { Action::Allow };
    for (call, flags) in [(Sysno::sendto, 3), (Sysno::sendmsg, 2), (Sysno::sendmmsg, 3)] {
        rows.by_registers(
            call,
            vec![Clause::when([Test::any_bit(flags, MSG_FASTOPEN)], fail(Errno::OPNOTSUPP))],
            calls,
            "UDP and ICMP are either free or absent; fast open would connect",
        )?;
    }
    Ok(())
}

fn socket_kinds(needs: &Needs, made: Action) -> Vec<Clause> {
    let mut clauses = Vec::new();
    // Unix first: most used. Without a supervisor nobody checks where a unix socket connects to.
    if needs.supervised {
        clauses.push(Clause::when([is(0, AF_UNIX), kind(SOCK_STREAM)], made));
        clauses.push(Clause::when([is(0, AF_UNIX), kind(SOCK_SEQPACKET)], made));
        if needs.unix_datagrams {
            clauses.push(Clause::when([is(0, AF_UNIX), kind(SOCK_DGRAM)], made));
        }
    }
    clauses.push(Clause::when([is(0, AF_UNIX)], fail(Errno::ACCESS)));
    for (family, ping) in [(AF_INET, IPPROTO_ICMP), (AF_INET6, IPPROTO_ICMPV6)] {
        clauses.push(Clause::when([is(0, family), kind(SOCK_STREAM), is(2, 0)], made));
        clauses.push(Clause::when([is(0, family), kind(SOCK_STREAM), is(2, IPPROTO_TCP)], made));
        // The errno by which runtimes fall back to TCP.
        clauses.push(Clause::when([is(0, family), is(2, IPPROTO_MPTCP)], fail(Errno::PROTONOSUPPORT)));
        if needs.udp {
            clauses.push(Clause::when([is(0, family), kind(SOCK_DGRAM), is(2, 0)], made));
            clauses.push(Clause::when([is(0, family), kind(SOCK_DGRAM), is(2, IPPROTO_UDP)], made));
        }
        if needs.icmp {
            clauses.push(Clause::when([is(0, family), kind(SOCK_DGRAM), is(2, ping)], made));
        }
        clauses.push(Clause::when([is(0, family)], fail(Errno::ACCESS)));
    }
    clauses.push(Clause::when([is(0, AF_NETLINK), kind(SOCK_RAW), is(2, NETLINK_ROUTE)], made));
    clauses.push(Clause::when([is(0, AF_NETLINK), kind(SOCK_DGRAM), is(2, NETLINK_ROUTE)], made));
    clauses.push(Clause::when([is(0, AF_NETLINK)], fail(Errno::ACCESS)));
    clauses
}

fn refused_options() -> Vec<Clause> {
    let option = |level, name, errno| Clause::when([is(1, level), is(2, name)], fail(errno));
    let mut clauses = vec![
        option(IPPROTO_IP, IP_OPTIONS, Errno::PERM),
        // Defers the connect to a later send, which nobody would look at.
        option(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, Errno::NOPROTOOPT),
        // Turns the socket into another protocol's (SMC); the name is in memory. As if there were none.
        option(IPPROTO_TCP, TCP_ULP, Errno::NOENT),
    ];
    clauses.extend(IPV6_ROUTING_OPTIONS.map(|name| option(IPPROTO_IPV6, name, Errno::PERM)));
    clauses
}

fn is(arg: u8, value: u32) -> Test {
    Test::eq(arg, value)
}

/// The socket type, without SOCK_NONBLOCK and SOCK_CLOEXEC.
fn kind(value: u32) -> Test {
    Test::MaskedEq { arg: 1, mask: SOCK_TYPE_MASK, value }
}

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;
const SOCK_SEQPACKET: u32 = 5;
/// All but the two flags: a type with any other bit is none that the kernel knows (`net/socket.c`).
const SOCK_TYPE_MASK: u32 = !(0o4000 | 0o2000000);
const IPPROTO_IP: u32 = 0;
const IPPROTO_ICMP: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_IPV6: u32 = 41;
const IPPROTO_ICMPV6: u32 = 58;
const IPPROTO_MPTCP: u32 = 262;
const NETLINK_ROUTE: u32 = 0;
const MSG_FASTOPEN: u32 = 0x2000_0000;
const SOL_SOCKET: u32 = 1;
const IP_OPTIONS: u32 = 4;
const TCP_FASTOPEN_CONNECT: u32 = 30;
const TCP_ULP: u32 = 31;
/// `include/uapi/linux/in6.h`: 2292HOPOPTS, 2292DSTOPTS, 2292RTHDR, 2292PKTOPTIONS, FLOWLABEL_MGR (a label can
/// carry a routing header), HOPOPTS, RTHDRDSTOPTS, RTHDR, DSTOPTS.
const IPV6_ROUTING_OPTIONS: [u32; 9] = [3, 4, 5, 6, 32, 54, 55, 57, 59];
