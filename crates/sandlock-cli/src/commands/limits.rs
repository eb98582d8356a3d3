//! What `explain` says of limits, and of files that are denied.

use sandlock_core::{Plan, escape_terminal};

/// Each limit with what keeps it; nothing where there is none.
pub(super) fn explained(plan: &Plan) -> String {
    let limits = plan.explain_limits();
    if limits.is_empty() {
        return String::new();
    }
    let line = |(limit, mechanism): &(String, &str)| format!("  {limit}\n    enforced by  {mechanism}\n");
    let hint = match plan.a_cgroup_would_keep_more() {
        true => {
            "  hint: the kernel keeps them where a cgroup is delegated: systemd-run --user --scope -p Delegate=yes sandlock ...\n"
        }
        false => "",
    };
    format!("\nlimits\n{}{hint}", limits.iter().map(line).collect::<String>())
}

/// What `--fs-deny` takes away, with what keeps it.
pub(super) fn denied(plan: &Plan) -> String {
    let holed = plan.ends_inside() || plan.grants().iter().any(|grant| grant.holed);
    let mechanism = match holed {
        true => "the supervisor opens what is beside it",
        false => "nothing grants it",
    };
    let line = |path: &std::path::Path| {
        format!("  denied  {}  (--fs-deny: {mechanism})\n", escape_terminal(&path.to_string_lossy()))
    };
    match plan.ends_inside() {
        // As they were said: what they are is found out inside.
        true => plan.policy().files.deny.iter().map(|path| line(path)).collect(),
        false => plan.denied_files().map(line).collect(),
    }
}
