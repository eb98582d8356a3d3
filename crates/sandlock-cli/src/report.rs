//! What is said after a run, on standard error.

use std::collections::BTreeMap;
use std::time::Duration;

use sandlock_core::{Denied, Ending, Outcome, Resolved, Size, escape_terminal};

/// What was refused, once each, and what would allow it; names that went unanswered; servers that failed; and that the
/// time was up. Empty when there is nothing.
pub(crate) fn of(name: &str, outcome: &Outcome, names: &Resolved, limit: Option<Duration>) -> String {
    let mut text = denials(name, &outcome.denials, outcome.more_denials, names);
    text.push_str(&not_refreshed(&outcome.not_refreshed));
    text.push_str(&upstream_failed(&outcome.upstream_failed));
    if outcome.timed_out {
        let limit = limit.map_or_else(String::new, |limit| humantime::format_duration(limit).to_string());
        text.push_str(&format!("sandlock: {} was ended after {limit} (--timeout)\n", escape_terminal(name)));
    }
    if let Ending::OutOfMemory { limit } = outcome.ending {
        let limit = Size::of_bytes(limit).map_or_else(String::new, |limit| format!(" {limit}"));
        let name = escape_terminal(name);
        text.push_str(&format!(
            "sandlock: {name} was ended: it used more memory than it may (--memory{limit})\n"
        ));
    }
    text
}

fn denials(name: &str, denials: &BTreeMap<Denied, u64>, more: u64, names: &Resolved) -> String {
    if denials.is_empty() && more == 0 {
        return String::new();
    }
    let mut text = format!("sandlock: {} was refused:\n", escape_terminal(name));
    for (denied, count) in denials {
        let times = if *count == 1 { String::new() } else { format!(" ({count} times)") };
        text.push_str(&format!("  {denied}{times}\n"));
        text.push_str(&match denied.hint(names) {
            Some(flag) => format!("    hint: allow it with {flag}\n"),
            None => "    hint: no flag allows this\n".to_owned(),
        });
    }
    if more > 0 {
        text.push_str(&format!("  and {more} more\n"));
    }
    text
}

/// Names that could not be asked for again while the command ran.
fn not_refreshed(names: &BTreeMap<String, String>) -> String {
    let line = |(name, why): (&String, &String)| {
        let (name, why) = (escape_terminal(name), escape_terminal(why));
        format!("sandlock: note: {name} did not resolve for a time, and kept what it stood for: {why}\n")
    };
    names.iter().map(line).collect()
}

/// Servers of allowed requests that did not do their part: the program saw an answer of the proxy's.
fn upstream_failed(hosts: &BTreeMap<String, String>) -> String {
    let line = |(host, why): (&String, &String)| {
        format!("sandlock: note: no answer from {}: {}\n", escape_terminal(host), escape_terminal(why))
    };
    hosts.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandlock_core::{Destination, Protocol};

    fn refused(protocol: Protocol, address: &str, port: u16) -> Denied {
        Denied::Destination(Destination::new(protocol, address.parse().unwrap(), port))
    }

    #[test]
    fn each_destination_is_told_once_with_its_flag() {
        let mut names = Resolved::new();
        names.insert("api.example.com", ["192.0.2.1".parse().unwrap()]);
        let counts = BTreeMap::from([
            (refused(Protocol::Tcp, "192.0.2.1", 80), 3),
            (refused(Protocol::Udp, "2001:db8::1", 53), 1),
            (Denied::UnixAbstract(b"x\x1b]0;owned\x07".to_vec()), 1),
        ]);
        let expected = "\
sandlock: npm\\n was refused:
  tcp 192.0.2.1:80 (3 times)
    hint: allow it with --net-allow api.example.com:80
  udp [2001:db8::1]:53
    hint: allow it with --net-allow udp://[2001:db8::1]:53
  abstract unix @x\\u{1b}]0;owned\\u{7}
    hint: no flag allows this
  and 7 more
";
        assert_eq!(denials("npm\n", &counts, 7, &names), expected);
    }

    #[test]
    fn what_is_denied_by_a_rule_says_so_and_has_no_flag() {
        let names = Resolved::new();
        let to = Destination::new(Protocol::Tcp, "192.0.2.1".parse().unwrap(), 80);
        let counts = BTreeMap::from([
            (Denied::Forbidden(to), 1),
            (Denied::Name { name: "evil.test".into(), forbidden: false }, 2),
        ]);
        let expected = "\
sandlock: sh was refused:
  tcp 192.0.2.1:80, which --net-deny refuses
    hint: no flag allows this
  the name evil.test (2 times)
    hint: allow it with --net-allow evil.test:443
";
        assert_eq!(denials("sh", &counts, 0, &names), expected);
    }

    #[test]
    fn names_that_went_unanswered_are_told() {
        let names = BTreeMap::from([("api.test".to_owned(), "the name server\n did not answer".to_owned())]);
        let expected = "sandlock: note: api.test did not resolve for a time, and kept what it stood for: the name \
                        server\\n did not answer\n";
        assert_eq!(not_refreshed(&names), expected);
    }

    #[test]
    fn servers_that_failed_are_told() {
        let hosts = BTreeMap::from([("api.test\x1b".to_owned(), "no certificate vouches for it".to_owned())]);
        let expected = "sandlock: note: no answer from api.test\\u{1b}: no certificate vouches for it\n";
        assert_eq!(upstream_failed(&hosts), expected);
    }

    #[test]
    fn a_run_without_refusals_is_silent() {
        assert_eq!(denials("true", &BTreeMap::new(), 0, &Resolved::new()), "");
    }
}
