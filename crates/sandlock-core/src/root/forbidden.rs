//! Why this machine lets no namespace be made, and what to do about it: one error that names the setting.

use std::io;

use crate::PlanError;

/// The error for a namespace, or something in it, that was refused.
pub(crate) fn forbidden(what: &'static str, source: io::Error) -> PlanError {
    let (why, remedy) = reason(&|path| std::fs::read_to_string(path).ok(), what);
    PlanError::Namespaces { what, why, remedy, source }
}

/// The setting that is the likely reason, as far as files tell.
fn reason(read: &dyn Fn(&str) -> Option<String>, what: &str) -> (String, &'static str) {
    let number = |path: &str| read(path).and_then(|text| text.trim().parse::<u64>().ok());
    for (path, wrong, remedy) in SETTINGS {
        if number(path) == Some(wrong) {
            let name = path.trim_start_matches("/proc/sys/").replace('/', ".");
            return (format!("{name} is {wrong}"), remedy);
        }
    }
    if what == "a /proc of its own" {
        return (
            "parts of this machine's /proc are covered, as container runtimes do it".to_owned(),
            CONTAINER,
        );
    }
    let filtered = read("/proc/self/status").is_some_and(|status| status.contains("\nSeccomp:\t2"));
    if filtered {
        return (
            "a seccomp filter is around this process, as container runtimes install it".to_owned(),
            CONTAINER,
        );
    }
    (
        "the kernel or a security module refuses it".to_owned(),
        "run as root, or without the flags for a root, a user or a host name",
    )
}

const SETTINGS: [(&str, u64, &str); 6] = [
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        0,
        "as root: sysctl kernel.unprivileged_userns_clone=1; or run sandlock as root",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        0,
        "as root: sysctl user.max_user_namespaces=10000; or run sandlock as root",
    ),
    ("/proc/sys/user/max_mnt_namespaces", 0, "as root: sysctl user.max_mnt_namespaces=10000"),
    ("/proc/sys/user/max_pid_namespaces", 0, "as root: sysctl user.max_pid_namespaces=10000"),
    ("/proc/sys/user/max_uts_namespaces", 0, "as root: sysctl user.max_uts_namespaces=10000"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        1,
        "give sandlock an AppArmor profile with `userns,`; or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0; or run sandlock as root",
    ),
];
const CONTAINER: &str = "start the container with a profile that allows it (docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined --cap-add SYS_ADMIN), or make the root by the container itself";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_named() {
        let with = |wanted: &'static str, text: &'static str| {
            reason(&move |path| (path == wanted).then(|| text.to_owned()), "a user namespace").0
        };
        let settings = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        assert_eq!(with(settings, "1\n"), "kernel.apparmor_restrict_unprivileged_userns is 1");
        assert_eq!(with("/proc/sys/user/max_user_namespaces", "0\n"), "user.max_user_namespaces is 0");
        assert!(with("/proc/self/status", "Name:\tx\nSeccomp:\t2\n").contains("seccomp filter"));
        assert!(with("/nothing", "").contains("security module"));
        assert!(reason(&|_| None, "a /proc of its own").0.contains("/proc"));
    }
}
