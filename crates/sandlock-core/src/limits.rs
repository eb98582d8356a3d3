//! Limits on what a run may use up: which the kernel keeps by itself, and which the supervisor keeps.

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};
use sandlock_policy::{Limits, Processors};

use crate::cgroup::Cgroup;
use crate::{Plan, PlanError};

/// Limits that are set on the command before it is executed, and that it cannot raise.
#[derive(Debug, Default)]
pub(crate) struct KernelLimits {
    pub(crate) open_files: Option<(u64, u64)>,
    pub(crate) file_size: Option<u64>,
    pub(crate) processors: Option<CpuSet>,
}

impl KernelLimits {
    /// # Errors
    ///
    /// [`PlanError::Limit`] for more than the caller may have itself.
    pub(crate) fn of(limits: &Limits) -> Result<Self, PlanError> {
        let open_files = limits.open_files.map(|wanted| {
            at_most(Resource::Nofile, wanted, format!("--open-files {wanted}")).map(|limit| (limit, limit))
        });
        let file_size = limits
            .file_size
            .map(|wanted| at_most(Resource::Fsize, wanted.bytes(), format!("--file-size {wanted}")));
        let processors = limits.processors.as_ref().map(usable);
        Ok(KernelLimits {
            open_files: open_files.transpose()?,
            file_size: file_size.transpose()?,
            processors: processors.transpose()?,
        })
    }
}

fn at_most(resource: Resource, wanted: u64, flag: String) -> Result<u64, PlanError> {
    match getrlimit(resource).maximum {
        Some(hard) if hard < wanted => Err(PlanError::Limit {
            flag,
            why: format!("the hard limit of this process is {hard} (see ulimit -H)"),
        }),
        _ => Ok(wanted),
    }
}

fn usable(processors: &Processors) -> Result<CpuSet, PlanError> {
    let refused = |why| PlanError::Limit { flag: format!("--cpus {processors}"), why };
    let own = sched_getaffinity(None).map_err(|errno| refused(errno.to_string()))?;
    match processors.numbers().find(|number| *number >= CpuSet::MAX_CPU || !own.is_set(*number)) {
        Some(number) => Err(refused(format!("processor {number} is not one that this process may run on"))),
        None => Ok(sandlock_supervisor::processor_set(processors)),
    }
}

/// A limit that needs the supervisor, as its flag.
pub(crate) fn of_the_supervisor(limits: &Limits) -> Option<String> {
    let memory = limits.memory.map(|size| format!("--memory {size}"));
    let processes = || limits.processes.map(|number| format!("--processes {number}"));
    memory.or_else(processes).or_else(|| limits.processor_time.map(|share| format!("--cpu {share}")))
}

/// # Errors
///
/// [`PlanError::Limit`] for a limit that only a cgroup keeps, where there is none.
pub(crate) fn check_left(left: &Limits) -> Result<(), PlanError> {
    match left.processor_time {
        Some(share) => Err(PlanError::Limit { flag: format!("--cpu {share}"), why: NO_CGROUP.to_owned() }),
        None => Ok(()),
    }
}

impl Plan {
    /// Each limit, and what keeps it on this machine.
    #[must_use]
    pub fn explain_limits(&self) -> Vec<(String, &'static str)> {
        let limits = &self.policy.limits;
        let supervised = self.needs.supervised;
        let kept = self.cgroup.as_ref().map(Cgroup::limits);
        let kept = |has: fn(&Limits) -> bool| kept.is_some_and(has);
        let memory = if kept(|limits| limits.memory.is_some()) { MEMORY_CGROUP } else { MEMORY };
        let processes = if kept(|limits| limits.processes.is_some()) { PROCESSES_CGROUP } else { PROCESSES };
        let each = [
            limits.memory.map(|size| (format!("--memory {size}"), memory)),
            limits.processes.map(|number| (format!("--processes {number}"), processes)),
            limits.open_files.map(|number| (format!("--open-files {number}"), OPEN_FILES)),
            limits.file_size.map(|size| (format!("--file-size {size}"), FILE_SIZE)),
            limits.processors.as_ref().map(|processors| {
                (format!("--cpus {processors}"), if supervised { PROCESSORS } else { PROCESSORS_ALONE })
            }),
            limits.processor_time.map(|share| (format!("--cpu {share}"), PROCESSOR_TIME)),
        ];
        each.into_iter().flatten().collect()
    }
}

impl Plan {
    /// Whether the supervisor keeps a limit that the kernel would, had it a cgroup for that.
    #[must_use]
    pub fn a_cgroup_would_keep_more(&self) -> bool {
        self.left.memory.is_some() || self.left.processes.is_some()
    }
}

const MEMORY: &str =
    "supervisor: measured by the kernel's accounts of all processes, which are killed when it is more";
const MEMORY_CGROUP: &str =
    "kernel (cgroup v2: memory.max, without swap), which kills all processes when they need more";
const PROCESSES_CGROUP: &str = "kernel (cgroup v2: pids.max), for processes and threads of all";
const PROCESSES: &str = "supervisor: counts processes and threads of all at each clone, fork and vfork";
const OPEN_FILES: &str = "kernel (RLIMIT_NOFILE), for each process";
const FILE_SIZE: &str = "kernel (RLIMIT_FSIZE), for each file that is written";
const PROCESSOR_TIME: &str = "kernel (cgroup v2: cpu.max)";
const NO_CGROUP: &str = "no cgroup (version 2) with the cpu controller is delegated to this process alone; start it in one: \
                         systemd-run --user --scope -p Delegate=yes sandlock ...";
const PROCESSORS: &str = "kernel (sched_setaffinity), and the supervisor for who asks for others";
const PROCESSORS_ALONE: &str = "kernel (sched_setaffinity); the filter refuses to ask for others";
