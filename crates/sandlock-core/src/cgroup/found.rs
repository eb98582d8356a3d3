//! Where the cgroup of this process is in the file system.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A place where the unified hierarchy is mounted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The mount point.
    pub(super) at: PathBuf,
    /// What of the hierarchy is there.
    root: PathBuf,
}

/// The mounts of the unified hierarchy (`cgroup2`) in `/proc/self/mountinfo`: proc_pid_mountinfo(5).
pub(super) fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (fields, of_the_file_system) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let mount = Mount { root: unescaped(fields.next()?), at: unescaped(fields.next()?) };
        (of_the_file_system.split(' ').next() == Some("cgroup2")).then_some(mount)
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// The directory of the cgroup that `/proc/self/cgroup` tells, if it is seen from here: cgroups(7).
pub(super) fn own(mounts: &[Mount], cgroup: &str) -> Option<PathBuf> {
    let path = Path::new(cgroup.lines().find_map(|line| line.strip_prefix("0::"))?);
    // One that is not below the root of the cgroup namespace begins with dots, and one that was removed ends in words.
    if path.components().any(|part| part.as_os_str() == "..") {
        return None;
    }
    let seen = |mount: &Mount| Some(mount.at.join(path.strip_prefix(&mount.root).ok()?));
    mounts.iter().find_map(seen).filter(|directory| directory.is_dir())
}

/// Spaces, tabs, ends of lines and backslashes are written as three octal digits.
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal =
            after.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal.filter(|_| first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 20 0:22 / /sys rw,nosuid - sysfs sysfs rw
31 25 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
32 25 0:27 /a\\040b /srv/c\\134d rw - cgroup2 cgroup2 rw
33 25 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";

    #[test]
    fn only_the_unified_hierarchy_counts() {
        let mount = |at: &str, root: &str| Mount { at: PathBuf::from(at), root: PathBuf::from(root) };
        assert_eq!(mounts(MOUNTS), [mount("/sys/fs/cgroup", "/"), mount("/srv/c\\d", "/a b")]);
    }

    #[test]
    fn the_own_cgroup_is_below_what_is_mounted() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("user/scope")).unwrap();
        let mounted = |root: &str| [Mount { at: place.path().to_owned(), root: PathBuf::from(root) }];
        let own = |root: &str, text: &str| own(&mounted(root), text);
        assert_eq!(own("/", "4:memory:/x\n0::/user/scope\n"), Some(place.path().join("user/scope")));
        assert_eq!(own("/other", "0::/other/user\n"), Some(place.path().join("user")));
        assert_eq!(own("/other", "0::/user/scope\n"), None);
        for text in ["", "4:memory:/user\n", "0::/../user\n", "0::/gone (deleted)\n"] {
            assert_eq!(own("/", text), None, "{text}");
        }
    }
}
