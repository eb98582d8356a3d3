//! The tables of sockets, with the lines of the sandbox's own only.

use std::collections::HashSet;

use sandlock_policy::Protocol;
use sandlock_sys::Errno;

use super::shown::{Ports, SocketTable};
use crate::context::Context;
use crate::task::tree;

/// A table as the sandbox is shown it.
///
/// # Errors
///
/// ENOENT where the kernel has no such table.
pub(super) fn of_the_sandbox(cx: &Context<'_>, table: SocketTable) -> Result<Vec<u8>, Errno> {
    // All processes of the sandbox are in this network namespace: no call leads out of it.
    let whole = std::fs::read(format!("/proc/self/net/{}", table.name()))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOENT))?;
    Ok(only(&whole, table, &tree::sockets(), |protocol, port| cx.virtual_port(protocol, port)))
}

/// The heading, and the lines of these sockets, with the ports that the sandbox knows.
fn only(
    whole: &[u8],
    table: SocketTable,
    inodes: &HashSet<u64>,
    known_as: impl Fn(Protocol, u16) -> u16,
) -> Vec<u8> {
    let mut kept = Vec::new();
    for (index, line) in whole.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let mut line = line.to_vec();
        if index > 0 {
            let columns = columns(&line);
            let inode = columns.get(table.inode).and_then(|(from, to)| number(&line[*from..*to]));
            // Number 0 is nobody's: what has been closed, or not been accepted yet.
            if !inode.is_some_and(|inode| inode != 0 && inodes.contains(&inode)) {
                continue;
            }
            if let (Some(ports), Some(&local), Some(&remote)) = (table.ports, columns.get(1), columns.get(2))
            {
                // A peer is one of the sandbox's own only where both ends are here.
                let here = host(&line, local) == host(&line, remote);
                rename_port(&mut line, local.1, ports, &known_as);
                if here {
                    rename_port(&mut line, remote.1, ports, &known_as);
                }
            }
        }
        kept.extend(line);
    }
    kept
}

/// Where the columns of a line are.
fn columns(line: &[u8]) -> Vec<(usize, usize)> {
    let mut columns = Vec::new();
    let mut start = None;
    for (at, byte) in line.iter().enumerate() {
        match (byte.is_ascii_whitespace(), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                columns.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    columns.extend(start.map(|from| (from, line.len())));
    columns
}

fn host(line: &[u8], (from, to): (usize, usize)) -> &[u8] {
    line[from..to].rsplitn(2, |byte| *byte == b':').last().unwrap_or_default()
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An address ends with its port: a colon and four hexadecimal digits.
fn rename_port(line: &mut [u8], end: usize, ports: Ports, known_as: impl Fn(Protocol, u16) -> u16) {
    let Some(digits) = end.checked_sub(4).and_then(|from| line.get_mut(from..end)) else { return };
    let port = std::str::from_utf8(digits).ok().and_then(|text| u16::from_str_radix(text, 16).ok());
    let Some(port) = port.filter(|port| *port != 0) else { return };
    let protocol = match ports {
        Ports::Tcp => Protocol::Tcp,
        Ports::Udp => Protocol::Udp,
    };
    digits.copy_from_slice(format!("{:04X}", known_as(protocol, port)).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::shown::{Shown, shown};
    use super::*;

    fn view(name: &str, whole: &str, inodes: &[u64]) -> String {
        let names = ["1", "net", name].map(|name| name.as_bytes().to_vec());
        let Some(Shown::Sockets(table)) = shown(&names) else { panic!("{name}") };
        let inodes = inodes.iter().copied().collect();
        let renamed = |_: Protocol, port: u16| if port == 0x1F91 { 80 } else { port };
        String::from_utf8(only(whole.as_bytes(), table, &inodes, renamed)).unwrap()
    }

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0000000000000000 100 0 0 10 0\n   1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 78 1\n   2: 0100007F:1F92 00000000:0000 06 00000000:00000000 00:00000000 00000000     0        0 0 1\n";

    #[test]
    fn lines_of_others_and_of_nobody_are_left_out() {
        let lines: Vec<&str> = TCP.lines().collect();
        assert_eq!(view("tcp", TCP, &[77]), format!("{}\n{}\n", lines[0], lines[1]));
        assert_eq!(view("tcp", TCP, &[0]), format!("{}\n", lines[0]));
        let unix = "Num       RefCount Protocol Flags    Type St Inode Path\n0000000000000000: 00000002 00000000 00010000 0001 01 20 /a\n0000000000000000: 00000002 00000000 00010000 0001 01 21 /20\n";
        assert!(view("unix", unix, &[21]).ends_with("21 /20\n"));
        assert_eq!(view("unix", unix, &[21]).lines().count(), 2);
    }

    #[test]
    fn ports_are_shown_as_the_sandbox_knows_them() {
        let shown = view("tcp", TCP, &[78]);
        assert!(shown.contains("0100007F:0050 0100007F:1F90 01"), "{shown}");
    }
}
