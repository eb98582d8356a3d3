//! One test's surroundings: its user, its directories, and the runs that it makes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::{Args, Child, Run, User, raw, report};

/// One test's surroundings. All of it is gone when it is dropped.
pub struct Lab {
    user: User,
    binaries: Arc<Binaries>,
    place: TempDir,
}

/// No arguments.
pub const NONE: [&str; 0] = [];

impl Lab {
    pub(crate) fn new(user: User, binaries: Arc<Binaries>) -> Self {
        let place = tempfile::Builder::new().prefix("sandlock-lab-").tempdir().unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        user.own(place.path());
        let lab = Lab { user, binaries, place };
        for name in ["work", "home", "tmp", "run"] {
            lab.directory(name);
        }
        lab
    }

    /// As whom the runs are made.
    pub fn user(&self) -> User {
        self.user
    }

    /// The directory of this test, with `work` (where runs start), `home` (their `HOME`), `tmp` (their `TMPDIR`)
    /// and `run` (their `XDG_RUNTIME_DIR`) in it. Owned by the user. The sandbox lets only `work` be read unless told.
    pub fn root(&self) -> PathBuf {
        // Where /tmp is a link, rules and messages have the real path.
        self.place.path().canonicalize().unwrap()
    }

    /// A path below [`Lab::root`].
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    /// Makes a directory below the root, and those that lead to it.
    pub fn directory(&self, name: impl AsRef<Path>) -> PathBuf {
        let mut path = self.root();
        for part in name.as_ref() {
            path.push(part);
            if !path.exists() {
                fs::create_dir(&path).unwrap();
                self.user.own(&path);
            }
        }
        path
    }

    /// Makes a file of the user below the root, and the directories that lead to it.
    pub fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let name = name.as_ref();
        let path = self.directory(name.parent().unwrap()).join(name.file_name().unwrap());
        fs::write(&path, content).unwrap();
        self.user.own(&path);
        path
    }

    /// As [`Lab::file`], executable. Write scripts, not programs: see `ETXTBSY` in execve(2).
    pub fn script(&self, name: impl AsRef<Path>, content: &str) -> PathBuf {
        // A descriptor open for writing, inherited by another test's fork, would make exec fail: so a program that
        // is only read is made by a process of its own.
        let path = self.file(name, content);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Gives something below the root to the user.
    pub fn own(&self, path: &Path) {
        self.user.own(path);
    }

    /// A run of `sandlock run`.
    pub fn sandbox(&self) -> Run {
        Run::sandboxed(self, &self.binaries)
    }

    /// A run of the same things, as the same user, without the sandbox.
    pub fn bare(&self) -> Run {
        Run::bare(self, &self.binaries)
    }

    /// A run of the `sandlock` command, with whatever arguments: `lab.sandlock().arguments(["check"])`.
    pub fn sandlock(&self) -> Run {
        Run::of_sandlock(self, &self.binaries)
    }

    /// A process of the same user outside of the sandbox, with this text in its environment and in a file that it
    /// has open as descriptor 9.
    pub fn outsider(&self, secret: &str) -> Outsider {
        let file = self.file("outsider-secret", secret);
        let mut child =
            self.bare().env("LAB_SECRET", secret).program("lab-outsider", [file.as_os_str()]).start();
        let secret_at = child.wait_for("ready").parse().unwrap();
        Outsider { child, secret_at }
    }
}

/// A process that does nothing but be there, until it is dropped.
pub struct Outsider {
    child: Child,
    secret_at: usize,
}

impl Outsider {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Where in its memory the secret is.
    pub fn secret_at(&self) -> usize {
        self.secret_at
    }

    /// Whether it lives.
    pub fn is_alive(&mut self) -> bool {
        self.child.is_running()
    }
}

/// The program of [`Lab::outsider`]: may be traced by every process of its user, and waits.
pub(crate) fn outsider(args: &Args) {
    let secret = fs::read(args.path(0)).unwrap();
    let file = fs::File::open(args.path(0)).unwrap();
    raw::call(libc::SYS_dup2, &[std::os::fd::AsRawFd::as_raw_fd(&file) as usize, 9]).unwrap();
    // Yama, where it is there, else lets only ancestors trace. Where it is not, the option is unknown.
    let _ = raw::call(libc::SYS_prctl, &[libc::PR_SET_PTRACER as usize, libc::PR_SET_PTRACER_ANY as usize]);
    report("ready", secret.as_ptr() as usize);
    loop {
        std::thread::park();
    }
}

/// The two programs, where every user can execute them.
pub(crate) struct Binaries {
    place: TempDir,
}

impl Binaries {
    /// Takes them out of the build tree, which may be closed to other users.
    pub(crate) fn take(sandlock: &Path) -> Self {
        let place = tempfile::Builder::new().prefix("sandlock-lab-bin-").tempdir().unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let own = std::env::current_exe().unwrap();
        for (from, name) in [(sandlock, "sandlock"), (&own, "program")] {
            let to = place.path().join(name);
            if fs::hard_link(from, &to).is_err() {
                fs::copy(from, &to).unwrap();
            }
        }
        Binaries { place }
    }

    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    pub(crate) fn sandlock(&self) -> PathBuf {
        self.place.path().join("sandlock")
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.place.path().join("program")
    }
}
