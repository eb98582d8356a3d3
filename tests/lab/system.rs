//! Directories that can be the root of a run: the machine's own programs, mounted in them.

use std::path::{Path, PathBuf};

use crate::{Lab, Run};

impl Lab {
    /// A directory that can be a root, for [`Run::in_root`]: `/usr` is to be mounted, and the short names lead there.
    pub fn system(&self, name: &str) -> PathBuf {
        let root = self.directory(name);
        self.directory(format!("{name}/etc"));
        for short in SHORT {
            if let Ok(target) = std::fs::read_link(Path::new("/").join(short)) {
                let link = root.join(short);
                std::os::unix::fs::symlink(target, &link).unwrap();
                self.own(&link);
            }
        }
        root
    }
}

impl Run {
    /// `--chroot ROOT`, with the machine's programs and the lab's own mounted in it.
    pub fn in_root(self, root: impl AsRef<Path>) -> Self {
        self.option("--chroot").option(root.as_ref()).with_programs()
    }

    /// The machine's programs and the lab's own, mounted in a root.
    pub fn with_programs(self) -> Self {
        let binaries = self.binaries().to_owned();
        let real = SHORT.map(|short| Path::new("/").join(short));
        let real = real.into_iter().filter(|path| path.is_dir() && !path.is_symlink());
        let mounted = real.chain([PathBuf::from("/usr"), binaries]);
        mounted.fold(self, |run, path| run.mount(&path, &path, ":ro"))
    }

    /// `--mount AT:WHAT` and what follows.
    pub fn mount(self, at: impl AsRef<Path>, what: impl AsRef<Path>, how: &str) -> Self {
        let mut word = at.as_ref().as_os_str().to_owned();
        word.push(":");
        word.push(what.as_ref());
        word.push(how);
        self.option("--mount").option(word)
    }
}

const SHORT: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
