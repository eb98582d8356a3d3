//! What starting a command costs: the whole of `sandlock run -- /bin/true` beside `/bin/true`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::measure::median;

/// The `sandlock` of the same build.
pub(crate) fn sandlock() -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name("sandlock")
}

/// Measures starts, if `filter` is for them.
pub(crate) fn measure(filter: &str) {
    if !"start".contains(filter) {
        return;
    }
    let mut bare = Vec::new();
    let mut sandboxed = Vec::new();
    for _ in 0..ROUNDS {
        bare.push(time(&mut Command::new("/bin/true")));
        let mut run = Command::new(sandlock());
        run.args(["run", "--net-allow", "127.0.0.1:9", "--", "/bin/true"]);
        sandboxed.push(time(&mut run));
    }
    let (bare, sandboxed) = (median(&mut bare), median(&mut sandboxed));
    let added = sandboxed - bare;
    let verdict = if added <= 1.5 { "" } else { "  OVER" };
    let _ = writeln!(
        std::io::stdout(),
        "{:<20} bare {bare:>9.2} ms  sandboxed {sandboxed:>9.2} ms  added {added:>4.2} ms (at most 1.5){verdict}",
        "start"
    );
}

/// Measures what a root of its own adds to a start.
pub(crate) fn measure_root(filter: &str) {
    if !"start in a root".contains(filter) {
        return;
    }
    let mut without = Vec::new();
    let mut within = Vec::new();
    for _ in 0..ROUNDS {
        for (options, times) in [(&[][..], &mut without), (&["--chroot", "/"], &mut within)] {
            let mut run = Command::new(sandlock());
            run.arg("run").args(options).args(["--net-allow", "127.0.0.1:9", "--", "/bin/true"]);
            times.push(time(&mut run));
        }
    }
    let (without, within) = (median(&mut without), median(&mut within));
    let added = within - without;
    let verdict = if added <= 2.0 { "" } else { "  OVER" };
    let _ = writeln!(
        std::io::stdout(),
        "{:<20} without {without:>6.2} ms  within {within:>11.2} ms  added {added:>4.2} ms (at most 2.0){verdict}",
        "start in a root"
    );
}

fn time(command: &mut Command) -> f64 {
    let started = Instant::now();
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    started.elapsed().as_secs_f64() * 1000.0
}

const ROUNDS: usize = 300;
