//! Which directories a program needs that is installed outside of the system directories.

use std::path::{Path, PathBuf};

use crate::base;

/// Directories of a home that hold credentials or private data (beside the programs that some tools put there).
const PRIVATE_IN_HOME: &[&str] = &[
    ".aws",
    ".azure",
    ".cargo",
    ".claude",
    ".codex",
    ".config",
    ".docker",
    ".fly",
    ".gemini",
    ".gnupg",
    ".kube",
    ".local/share/keyrings",
    ".mozilla",
    ".ssh",
];

/// Directories that people share: what is there besides the program is not the program's.
const SHARED: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/home"];

/// What must be readable so that `executable` can run with the libraries and data that were installed with it.
/// Empty when the [base](base::READ) covers it.
///
/// `executable` is absolute and without links and `..`; `home` is the user's home directory in the same form.
/// A link and what it leads to can be installations of their own (a virtual environment and its interpreter): ask
/// for both.
///
/// `PREFIX/bin/x` and `PREFIX/sbin/x` need PREFIX, `ROOT/shims/x` needs ROOT, any other program the directory that
/// it is in. Never what would open more than an installation: of a home, of what holds one, of a directory with
/// credentials or one that people share, only the directory of the program, or the program alone.
#[must_use]
pub fn installation_prefixes(executable: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    if base::READ.iter().any(|directory| executable.starts_with(directory)) {
        return Vec::new();
    }
    let Some(directory) = executable.parent() else {
        return Vec::new();
    };
    let installed =
        directory.file_name().is_some_and(|name| name == "bin" || name == "sbin" || name == "shims");
    match directory.parent() {
        Some(prefix) if installed => of_prefix(prefix, directory, home),
        _ if is_private(directory, home) => vec![executable.to_owned()],
        _ => vec![directory.to_owned()],
    }
}

fn of_prefix(prefix: &Path, programs: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    if !is_private(prefix, home) {
        return vec![prefix.to_owned()];
    }
    let mut directories = vec![programs.to_owned()];
    if let Some(home) = home {
        if prefix == home.join(".local") {
            // Not `share`: desktop keyrings are there.
            directories.push(prefix.join("lib"));
        } else if prefix == home.join(".cargo") {
            // The programs here are rustup in disguise, and start the ones there.
            directories.push(home.join(".rustup"));
        }
    }
    directories
}

/// Whether reading all below `directory` would open a home, credentials, or what people share.
fn is_private(directory: &Path, home: Option<&Path>) -> bool {
    let holds = |path: &Path| path.starts_with(directory);
    SHARED.iter().any(|shared| holds(Path::new(shared)))
        || home.is_some_and(|home| PRIVATE_IN_HOME.iter().any(|private| holds(&home.join(private))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(executable: &str, expected: &[&str]) {
        let found = installation_prefixes(Path::new(executable), Some(Path::new("/home/u")));
        assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{executable}");
    }

    #[test]
    fn the_base_covers_the_system_directories() {
        check("/usr/bin/env", &[]);
        check("/usr/local/bin/node", &[]);
        check("/bin/sh", &[]);
        check("/nix/store/abc-hello/bin/hello", &[]);
        check("/usrlocal/bin/x", &["/usrlocal"]);
    }

    #[test]
    fn a_program_in_bin_needs_its_prefix() {
        check("/srv/node/bin/node", &["/srv/node"]);
        check("/srv/node/sbin/noded", &["/srv/node"]);
        check("/home/u/.nvm/versions/node/v20/bin/node", &["/home/u/.nvm/versions/node/v20"]);
        check("/home/u/project/.venv/bin/python", &["/home/u/project/.venv"]);
        check("/home/linuxbrew/.linuxbrew/bin/jq", &["/home/linuxbrew/.linuxbrew"]);
        check("/tmp/venv/bin/python", &["/tmp/venv"]);
    }

    #[test]
    fn a_home_that_is_a_prefix_opens_only_its_bin() {
        check("/home/u/bin/x", &["/home/u/bin"]);
        check("/home/u/.local/bin/x", &["/home/u/.local/bin", "/home/u/.local/lib"]);
    }

    #[test]
    fn cargo_opens_its_programs_and_the_toolchains_not_its_credentials() {
        check("/home/u/.cargo/bin/cargo", &["/home/u/.cargo/bin", "/home/u/.rustup"]);
        check("/home/u/.rustup/toolchains/s/bin/cargo", &["/home/u/.rustup/toolchains/s"]);
    }

    #[test]
    fn a_prefix_that_holds_a_home_or_is_shared_opens_only_its_bin() {
        check("/home/bin/x", &["/home/bin"]);
        check("/shims/x", &["/shims"]);
        check("/tmp/bin/x", &["/tmp/bin"]);
        check("/home/u/.docker/bin/docker", &["/home/u/.docker/bin"]);
        let home = Path::new("/data/people/u");
        let found = installation_prefixes(Path::new("/data/bin/x"), Some(home));
        assert_eq!(found, [Path::new("/data/bin")]);
    }

    #[test]
    fn shims_need_their_root() {
        check("/home/u/.pyenv/shims/python", &["/home/u/.pyenv"]);
        check("/home/u/shims/x", &["/home/u/shims"]);
    }

    #[test]
    fn any_other_program_needs_its_directory() {
        check("/srv/app/run", &["/srv/app"]);
        check("/home/u/project/run.sh", &["/home/u/project"]);
    }

    #[test]
    fn a_program_beside_what_is_not_its_own_comes_alone() {
        for executable in [
            "/home/u/x",
            "/home/x",
            "/x",
            "/tmp/x",
            "/var/tmp/x",
            "/var/x",
            "/home/u/.ssh/x",
            "/home/u/.local/x",
            "/home/u/.local/share/x",
            "/dev/shm/x",
        ] {
            check(executable, &[executable]);
        }
    }

    #[test]
    fn without_a_home_the_shared_directories_stay_private() {
        let found = |executable: &str| installation_prefixes(Path::new(executable), None);
        assert_eq!(found("/home/bin/x"), [Path::new("/home/bin")]);
        assert_eq!(found("/srv/app/bin/x"), [Path::new("/srv/app")]);
        assert_eq!(found("/x"), [Path::new("/x")]);
    }
}
