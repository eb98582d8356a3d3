//! The processes of the sandbox, counted again and again: who was looked at once is known again by the number of its
//! directory in `/proc`, which the kernel gives to one process only.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt};

use super::tree::parent_of;

/// Who is in the sandbox, as far as it was looked at.
pub(crate) struct Census {
    /// The supervisor, which all are below.
    root: i32,
    known: HashMap<i32, Known>,
}

#[derive(Clone, Copy)]
struct Known {
    directory: u64,
    inside: bool,
}

impl Census {
    pub(crate) fn new() -> Self {
        Census { root: std::process::id() as i32, known: HashMap::new() }
    }

    /// The processes that are inside now, zombies too. One that was there before this was called, and still is when it
    /// returns, is among them.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be listed.
    pub(crate) fn inside(&mut self) -> io::Result<Vec<i32>> {
        let mut now = HashMap::with_capacity(self.known.len() + 16);
        let mut new = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            match self.known.get(&pid).filter(|known| known.directory == entry.ino()) {
                Some(known) => _ = now.insert(pid, *known),
                None => new.push((pid, entry.ino())),
            }
        }
        self.known = now;
        // Parents mostly come before their children.
        for (pid, directory) in new {
            if let Some(inside) = self.judge(pid, DEEPEST) {
                self.known.insert(pid, Known { directory, inside });
            }
        }
        Ok(self.known.iter().filter(|(_, known)| known.inside).map(|(pid, _)| *pid).collect())
    }

    /// Whether a process is below the supervisor; `None` for one that is gone.
    fn judge(&self, pid: i32, depth: usize) -> Option<bool> {
        if pid == self.root {
            return Some(false);
        }
        // A parent that ends meanwhile leaves its children to another: asked again, the child says whom.
        for _ in 0..MOST_PARENTS {
            let parent = parent_of(pid)?;
            if parent == self.root {
                return Some(true);
            }
            if parent <= 1 {
                return Some(false);
            }
            if let Some(known) = self.known.get(&parent) {
                return Some(known.inside);
            }
            if depth > 0
                && let Some(inside) = self.judge(parent, depth - 1)
            {
                return Some(inside);
            }
        }
        // Too unsteady to be told: what is outside has no reason to be.
        Some(true)
    }
}

/// How many threads a process has; 0 when it is gone. By the links of its directory of tasks.
pub(crate) fn threads_of(pid: i32) -> u64 {
    // Two links belong to the directory itself.
    std::fs::metadata(format!("/proc/{pid}/task")).map_or(0, |task| task.nlink().saturating_sub(2))
}

const DEEPEST: usize = 64;
const MOST_PARENTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn children_and_what_is_below_them_are_inside_and_others_are_not() {
        let mut census = Census::new();
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line)
            .unwrap();
        let below: i32 = line.trim().parse().unwrap();
        let shell_pid = shell.id() as i32;
        for _ in 0..2 {
            let inside = census.inside().unwrap();
            assert!(inside.contains(&shell_pid) && inside.contains(&below), "{inside:?}");
            assert!(!inside.contains(&1) && !inside.contains(&(std::process::id() as i32)));
        }
        assert_eq!(threads_of(shell_pid), 1);
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(below).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        shell.wait().unwrap();
        let inside = census.inside().unwrap();
        assert!(!inside.contains(&shell_pid) && !inside.contains(&below), "{inside:?}");
        assert_eq!(threads_of(shell_pid), 0);
    }
}
