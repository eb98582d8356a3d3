//! `sandlock ps`.

use std::process::ExitCode;
use std::time::Duration;

use sandlock_core::Control;
use sandlock_core::control::{Directory, Record};
use sandlock_core::escape_terminal;

use crate::failure::Failure;
use crate::output;

/// Lists the runs of this user.
pub(crate) fn ps(json: bool) -> ExitCode {
    match runs() {
        Ok(runs) => {
            output::print(&if json { as_json(&runs) } else { table(&runs) });
            ExitCode::SUCCESS
        }
        Err(failure) => failure.report(&[]),
    }
}

/// Where the runs of this user are found.
///
/// # Errors
///
/// When there is no such place.
pub(crate) fn directory() -> Result<Directory, Failure> {
    Ok(Directory::open(Control::of_environment().runtime_directory.as_deref())?)
}

fn runs() -> Result<Vec<Record>, Failure> {
    directory()?.runs().map_err(Failure::Runs)
}

fn as_json(runs: &[Record]) -> String {
    let line = |run: &Record| {
        serde_json::json!({
            "name": run.name,
            "pid": run.pid,
            "command_pid": run.command_pid,
            "started": run.started,
            "paused": run.paused,
            "command": run.command,
        })
    };
    format!("{:#}\n", serde_json::Value::from_iter(runs.iter().map(line)))
}

fn table(runs: &[Record]) -> String {
    let heads = ["NAME", "PID", "UPTIME"].map(str::to_owned);
    let mut lines = vec![(heads, "COMMAND".to_owned())];
    lines.extend(runs.iter().map(|run| {
        let columns = [escape_terminal(&run.name), run.pid.to_string(), uptime(run.uptime())];
        (columns, command(run))
    }));
    let width =
        |column: usize| lines.iter().map(|(columns, _)| columns[column].len()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    lines.iter().fold(String::new(), |text, ([name, pid, uptime], command)| {
        let [name_width, pid_width, uptime_width] = widths;
        text + &format!("{name:name_width$}  {pid:>pid_width$}  {uptime:>uptime_width$}  {command}\n")
    })
}

/// The command as a line; what it chose is shown escaped.
pub(crate) fn command(run: &Record) -> String {
    escape_terminal(&run.command.join(" "))
}

/// In the two largest units.
pub(crate) fn uptime(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, pid: i32, command: &[&str]) -> Record {
        serde_json::from_value(serde_json::json!({
            "version": 1, "name": name, "pid": pid, "start_time": 1, "of_a_command": true, "command_pid": 2,
            "command": command, "started": u64::MAX, "policy": null, "names": {}, "ports": [],
        }))
        .unwrap()
    }

    #[test]
    fn runs_are_a_table_and_what_programs_chose_is_escaped() {
        let runs = [run("npm", 7, &["npm", "a\x1b[2J"]), run("python3-2", 12345, &["python3"])];
        let expected = "\
NAME         PID  UPTIME  COMMAND
npm            7      0s  npm a\\u{1b}[2J
python3-2  12345      0s  python3
";
        assert_eq!(table(&runs), expected);
        let json: serde_json::Value = serde_json::from_str(&as_json(&runs)).unwrap();
        assert_eq!(json[1]["name"], "python3-2");
        assert_eq!(as_json(&[]), "[]\n");
    }

    #[test]
    fn uptimes_have_two_units() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3660, "1h 1m"), (90_000, "1d 1h")] {
            assert_eq!(uptime(Duration::from_secs(seconds)), text);
        }
    }
}
