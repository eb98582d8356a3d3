//! The flags about what a run may use up.

use clap::Args;
use sandlock_core::{Limits, Processors, Size};

/// What a run may use up.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct LimitArgs {
    /// End the run when its processes together use more memory than this: 512M, 2G [default: no limit].
    #[arg(short = 'm', long, value_name = "SIZE", help_heading = LIMITS)]
    pub(crate) memory: Option<Size>,
    /// Let there be this many processes and threads at once, in all [default: no limit].
    #[arg(short = 'P', long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..),
        help_heading = LIMITS)]
    pub(crate) processes: Option<u32>,
    /// Let each process have this many descriptors open [default: the caller's limit].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..), help_heading = LIMITS)]
    pub(crate) open_files: Option<u64>,
    /// Let no file become longer than this by writing [default: the caller's limit].
    #[arg(long, value_name = "SIZE", help_heading = LIMITS)]
    pub(crate) file_size: Option<Size>,
    /// Run on these processors only: 0,2-3 [default: all].
    #[arg(long, value_name = "LIST", help_heading = LIMITS)]
    pub(crate) cpus: Option<Processors>,
    /// Let all processes together have this much time on processors: 50 is half of one, 250 two and a half. It takes a
    /// cgroup: see `sandlock explain` [default: no limit].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        help_heading = LIMITS)]
    pub(crate) cpu: Option<u32>,
}

impl LimitArgs {
    pub(crate) fn into_limits(self) -> Limits {
        Limits {
            memory: self.memory,
            processes: self.processes,
            open_files: self.open_files,
            file_size: self.file_size,
            processors: self.cpus,
            processor_time: self.cpu,
        }
    }
}

const LIMITS: &str = "What it may use up";
