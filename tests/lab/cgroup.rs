//! Cgroups (version 2) that runs are started in: without controllers, which a machine may lack.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Lab;

/// Two cgroups, one beside the other, that the user of the lab may move processes between. Removed when this is dropped.
pub struct Cgroups {
    above: PathBuf,
}

impl Lab {
    /// Makes them. `None` where the hierarchy cannot be written.
    pub fn cgroups(&self) -> Option<Cgroups> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = |line: &str| {
            let mut fields = line.split(' ');
            let at = fields.nth(1)?.to_owned();
            (fields.next() == Some("cgroup2")).then_some(at)
        };
        let hierarchy = mounts.lines().find_map(mount)?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let above = Path::new(&hierarchy).join(format!("sandlock-lab-{}-{number}", std::process::id()));
        fs::create_dir(&above).ok()?;
        let cgroups = Cgroups { above };
        for one in [cgroups.above.clone(), cgroups.first(), cgroups.other()] {
            let _ = fs::create_dir(&one);
            self.own(&one);
            for file in ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
                self.own(&one.join(file));
            }
        }
        Some(cgroups)
    }
}

impl Cgroups {
    /// What both are in.
    pub fn above(&self) -> &Path {
        &self.above
    }

    /// The one that a run is started in: see [`Run::within`](crate::Run::within).
    pub fn first(&self) -> PathBuf {
        self.above.join("first")
    }

    /// The one beside.
    pub fn other(&self) -> PathBuf {
        self.above.join("other")
    }

    /// The processes that are in one.
    pub fn processes(cgroup: &Path) -> Vec<i32> {
        let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Whoever writes `0` there enters.
    pub(crate) fn entrance(cgroup: &Path) -> File {
        File::options().write(true).open(cgroup.join("cgroup.procs")).unwrap()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        fn remove(directory: &Path) {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove(&entry.path());
                }
            }
            for _ in 0..100 {
                if fs::remove_dir(directory).is_ok() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        assert!(self.above.as_os_str().as_bytes().len() > 1);
        remove(&self.above);
    }
}

static MADE: AtomicU32 = AtomicU32::new(0);
