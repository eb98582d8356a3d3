//! `sandlock events`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sandlock_core::control::Client;
use sandlock_core::{Ending, Entry, What, escape_terminal};

use super::ps::directory;
use crate::failure::Failure;
use crate::output;

/// Prints what happens in a run until it is over.
pub(crate) fn events(name: &str, json: bool) -> ExitCode {
    match print(name, json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&[]),
    }
}

fn print(name: &str, json: bool) -> Result<(), Failure> {
    let mut pace = Pace::default();
    for line in Client::connect(&directory()?, name)?.events()? {
        if json {
            output::print(&format!("{line}\n"));
        } else if let Ok(entry) = serde_json::from_str::<Entry>(&line) {
            // An entry of a kind that came later is left to others.
            output::print(&pace.keep(&words(&entry), Instant::now()));
        }
    }
    output::print(&pace.end());
    Ok(())
}

/// An entry as a person reads it.
fn words(entry: &Entry) -> String {
    let text = match &entry.what {
        What::Started { pid, command } => format!("started    {} ({pid})", command.join(" ")),
        What::Denied { pid, exe, what, rule, hint, .. } => {
            let mut text = format!("denied     {what}");
            match (exe, pid) {
                (Some(exe), Some(pid)) => text.push_str(&format!(", to {exe} ({pid})")),
                (None, Some(pid)) => text.push_str(&format!(", to process {pid}")),
                _ => {}
            }
            match (rule, hint) {
                (Some(rule), _) => text.push_str(&format!(", by {rule}")),
                (None, Some(hint)) => text.push_str(&format!("; hint: {hint}")),
                _ => {}
            }
            text
        }
        What::Rule { verdict, rule } => format!("rule       {verdict} {rule}"),
        What::Paused => "paused".to_owned(),
        What::Resumed => "resumed".to_owned(),
        What::NotRefreshed { name, why } => format!("note       {name} did not resolve: {why}"),
        What::UpstreamFailed { host, why } => format!("note       no answer from {host}: {why}"),
        What::Dropped { count } => format!("dropped    {count} more, which came too fast"),
        What::Ended { ending: Ending::Exited(status) } => format!("ended      with status {status}"),
        What::Ended { ending: Ending::Signaled(signal) } => format!("ended      by signal {signal}"),
        What::Ended { ending: Ending::Cut } => "ended      by sandlock".to_owned(),
        _ => "something that this version of sandlock does not know".to_owned(),
    };
    escape_terminal(&text) + "\n"
}

/// Lets a person read: so many lines a second, and how many more there were.
#[derive(Default)]
struct Pace {
    began: Option<Instant>,
    shown: u32,
    left_out: u64,
}

impl Pace {
    fn keep(&mut self, line: &str, now: Instant) -> String {
        let mut text = String::new();
        if self.began.is_none_or(|began| now.duration_since(began) >= A_WHILE) {
            text = self.end();
            (self.began, self.shown) = (Some(now), 0);
        }
        if self.shown < MOST_SHOWN {
            self.shown += 1;
            text.push_str(line);
        } else {
            self.left_out += 1;
        }
        text
    }

    fn end(&mut self) -> String {
        match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            count => format!("           and {count} more (--json prints all)\n"),
        }
    }
}

const A_WHILE: Duration = Duration::from_secs(1);
const MOST_SHOWN: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(what: serde_json::Value) -> Entry {
        let mut entry = serde_json::json!({ "version": 1, "time": 1.5, "run": "npm" });
        entry.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn what_happened_is_a_line_and_what_programs_chose_is_escaped() {
        let denied = serde_json::json!({
            "event": "denied", "pid": 7, "exe": "/tmp/a\x1b[2J", "what": "tcp 192.0.2.1:80", "destination": null,
            "verdict": "denied", "rule": null, "hint": "--net-allow 192.0.2.1:80",
        });
        let expected =
            "denied     tcp 192.0.2.1:80, to /tmp/a\\u{1b}[2J (7); hint: --net-allow 192.0.2.1:80\n";
        assert_eq!(words(&entry(denied)), expected);
        let ended = serde_json::json!({ "event": "ended", "ending": { "exited": 3 } });
        assert_eq!(words(&entry(ended)), "ended      with status 3\n");
    }

    #[test]
    fn a_flood_is_shown_in_part_and_counted() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let shown: String = (0..100).map(|_| pace.keep("line\n", start)).collect();
        assert_eq!(shown.lines().count(), 20);
        assert_eq!(
            pace.keep("line\n", start + A_WHILE),
            "           and 80 more (--json prints all)\nline\n"
        );
        assert_eq!(pace.end(), "");
    }
}
