//! `sandlock inspect`.

use std::process::ExitCode;

use sandlock_core::control::Record;
use sandlock_core::escape_terminal;

use super::ps::{command, directory, uptime};
use crate::args::InspectArgs;
use crate::failure::Failure;
use crate::{output, profile};

/// Prints what is known of a run.
pub(crate) fn inspect(args: &InspectArgs) -> ExitCode {
    match inspected(args) {
        Ok(text) => {
            output::print(&text);
            ExitCode::SUCCESS
        }
        Err(failure) => failure.report(&[]),
    }
}

fn inspected(args: &InspectArgs) -> Result<String, Failure> {
    let run = directory()?.run(&args.name)?;
    if args.json {
        let value = serde_json::to_value(&run).unwrap_or_default();
        return Ok(format!("{value:#}\n"));
    }
    let policy = policy(&run)?;
    if args.toml { Ok(policy) } else { Ok(words(&run, &policy)) }
}

fn policy(run: &Record) -> Result<String, Failure> {
    match &run.policy {
        Some(policy) => Ok(profile::written(policy)?),
        None => Ok("# a path in it is not text, so that it cannot be written down\n".to_owned()),
    }
}

fn words(run: &Record, policy: &str) -> String {
    let mut text = format!("name      {}\n", escape_terminal(&run.name));
    text.push_str(&format!("pid       {} (the command: {})\n", run.pid, run.command_pid));
    text.push_str(&format!("uptime    {}\n", uptime(run.uptime())));
    text.push_str(&format!("command   {}\n", command(run)));
    if run.paused {
        text.push_str("state     paused\n");
    }
    text.push_str("\npolicy\n");
    for line in policy.lines() {
        let line = escape_terminal(line);
        text.push_str(&if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") });
    }
    if !run.names.is_empty() {
        text.push_str("\nnames\n");
    }
    for (name, addresses) in &run.names {
        let addresses = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        text.push_str(&format!("  {} is {addresses}\n", escape_terminal(name)));
    }
    if !run.ports.is_empty() {
        text.push_str("\nports\n");
    }
    for port in &run.ports {
        let at = std::net::SocketAddr::new(port.address, port.real_port);
        text.push_str(&format!("  {} {} inside is {at}\n", port.protocol, port.virtual_port));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_told_in_words() {
        let run: Record = serde_json::from_value(serde_json::json!({
            "version": 1, "name": "npm", "pid": 7, "start_time": 1, "of_a_command": true, "command_pid": 9,
            "command": ["npm", "ci\x1b"], "started": u64::MAX, "policy": { "network": { "allow": ["a.test:443"] } },
            "names": { "a.test": ["192.0.2.1", "2001:db8::1"] },
            "ports": [{ "protocol": "tcp", "virtual_port": 8080, "real_port": 40123, "address": "127.0.0.1" }],
        }))
        .unwrap();
        let text = words(&run, &policy(&run).unwrap());
        assert!(text.starts_with("name      npm\npid       7 (the command: 9)\n"), "{text}");
        assert!(text.contains("\ncommand   npm ci\\u{1b}\n\npolicy\n"), "{text}");
        assert!(text.contains("\n  allow = [\"a.test:443\"]\n"), "{text}");
        assert!(text.contains("\nnames\n  a.test is 192.0.2.1, 2001:db8::1\n"), "{text}");
        assert!(text.ends_with("\nports\n  tcp 8080 inside is 127.0.0.1:40123\n"), "{text}");
    }
}
