//! What is said to the person, on standard error.

use std::error::Error;
use std::io::Write;

use sandlock_core::{Outcome, Resolved, escape_terminal};

/// Prints an error with its causes on one line.
pub(crate) fn error(error: &dyn Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    say(&format!("sandlock: error: {}\n", escape_terminal(&text)));
}

/// Prints what was refused, once each, and what would allow it.
pub(crate) fn denials(name: &str, outcome: &Outcome, names: &Resolved) {
    if outcome.denials.is_empty() && outcome.more_denials == 0 {
        return;
    }
    let mut text = format!("sandlock: {} was refused:\n", escape_terminal(name));
    for (denied, count) in &outcome.denials {
        let times = if *count == 1 { String::new() } else { format!(" ({count} times)") };
        text.push_str(&format!("  {denied}{times}\n"));
        if let Some(hint) = denied.hint(names) {
            text.push_str(&format!("    hint: allow it with {hint}\n"));
        }
    }
    if outcome.more_denials > 0 {
        text.push_str(&format!("  and {} more\n", outcome.more_denials));
    }
    say(&text);
}

/// Writes to standard error; there is nobody to tell when that fails.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
