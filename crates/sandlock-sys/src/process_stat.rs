//! What `/proc/PID/stat` tells of a process (`proc_pid_stat(5)`).

/// The state of a process, and when it was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcessStat {
    /// A letter: `R` for one that runs, `T` for one that a signal stopped, `Z` for a zombie.
    pub state: char,
    /// In the kernel's ticks since the machine was started: with the number it names one process for good.
    pub start_time: u64,
}

impl ProcessStat {
    /// Asks the kernel; `None` if there is no such process.
    #[must_use]
    pub fn of(pid: i32) -> Option<ProcessStat> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name of the program, which may hold anything.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        // Field 22, of which the third was the first here.
        Some(ProcessStat { state, start_time: fields.nth(18)?.parse().ok()? })
    }
}

/// When a process was started; `None` if it is not there. See [`ProcessStat::start_time`].
#[must_use]
pub fn start_time(pid: i32) -> Option<u64> {
    ProcessStat::of(pid).map(|stat| stat.start_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_who_has_its_number_later() {
        let own = ProcessStat::of(std::process::id() as i32).unwrap();
        let first = ProcessStat::of(1).unwrap();
        // The first thread of a test program waits for the others.
        assert!(matches!(own.state, 'R' | 'S') && own.start_time > first.start_time, "{own:?} {first:?}");
        assert_eq!(ProcessStat::of(i32::MAX), None);
    }
}
