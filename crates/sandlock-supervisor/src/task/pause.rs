//! Stopping every process of the run, and letting them go on.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use sandlock_sys::landlock::SignalScope;
use sandlock_sys::process_stat::{ProcessStat, start_time};
use sandlock_sys::signal;

use super::tree;

/// That the processes of the run were stopped.
pub(crate) struct Paused {
    /// Those that were stopped before, by number and start: they are not this order's to continue.
    before: HashSet<(i32, u64)>,
}

impl Paused {
    /// Stops every process below this one. With the proof that signals stay inside it is one stroke, which no new process
    /// escapes: the kernel looks for signals of a process that forks under the lock that the stroke holds. Without it they
    /// are stopped one by one, until two looks in a row find none that runs.
    ///
    /// A process stops when it leaves the kernel; one that waits there for longer is not waited for.
    pub(crate) fn stop(scope: Option<&SignalScope>, already: Option<Paused>) -> Paused {
        let before = already.map_or_else(stopped, |paused| paused.before);
        let limit = Instant::now() + LONGEST;
        let mut quiet = 0;
        while quiet < 2 && Instant::now() < limit {
            let running: Vec<i32> = tree::descendants().into_iter().filter(|pid| runs(*pid)).collect();
            quiet = if running.is_empty() { quiet + 1 } else { 0 };
            match scope {
                Some(proof) if !running.is_empty() => signal::stop_all_in_scope(proof),
                _ => running.into_iter().for_each(|pid| signal::send(pid, signal::STOP)),
            }
            if quiet == 0 {
                std::thread::sleep(PAUSE);
            }
        }
        Paused { before }
    }

    /// Lets those go on that were stopped by this. Children first: a parent that goes on is not to see a stopped one.
    pub(crate) fn go_on(self) {
        for pid in tree::descendants().into_iter().rev() {
            if !start_time(pid).is_some_and(|start| self.before.contains(&(pid, start))) {
                signal::send(pid, signal::CONTINUE);
            }
        }
    }
}

fn stopped() -> HashSet<(i32, u64)> {
    let stopped = |pid| ProcessStat::of(pid).filter(is_stopped).map(|stat| (pid, stat.start_time));
    tree::descendants().into_iter().filter_map(stopped).collect()
}

/// Whether a process neither is stopped nor has ended. What cannot be looked at has.
fn runs(pid: i32) -> bool {
    ProcessStat::of(pid).is_some_and(|stat| !is_stopped(&stat))
}

fn is_stopped(stat: &ProcessStat) -> bool {
    matches!(stat.state, 'T' | 't' | 'Z' | 'X')
}

const PAUSE: Duration = Duration::from_micros(200);
/// For what does not leave the kernel.
const LONGEST: Duration = Duration::from_millis(50);
