//! What the sandbox costs, as ratios to the bare command, measured side by side in one run.
//!
//! `cargo run --release -p sandlock-benches [FILTER]`; `files`, which take many minutes, only where they are named. Each line
//! is a median over interleaved rounds: machines are noisy, so only the ratio of neighbours means something. This binary is
//! at once the measuring program and the program that is measured (`--program`); the sandbox is the `sandlock` of the same
//! build.

mod asked;
mod beside;
mod files;
mod lookup;
mod measure;
/// The name server of the lab.
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]
#[path = "../../tests/lab/server/names.rs"]
mod name_server;
mod programs;
mod redis;
mod servers;
mod serving;
mod start;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(|first| first.to_str()) {
        Some("--program") => {
            let words: Vec<String> = args.map(|word| word.to_string_lossy().into_owned()).collect();
            programs::run(&words)
        }
        filter => {
            let filter = filter.unwrap_or("").to_owned();
            start::measure(&filter);
            start::measure_root(&filter);
            measure::measure(&filter);
            asked::measure(&filter);
            beside::measure(&filter);
            if !filter.is_empty() {
                files::measure(&filter);
            }
            lookup::measure(&filter);
            redis::measure(&filter);
            serving::measure(&filter);
            ExitCode::SUCCESS
        }
    }
}
