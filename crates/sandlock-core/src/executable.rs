//! Which file a command is, and what must be readable so that it can start.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use crate::PlanError;

/// A command that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Executable {
    /// The path that is executed.
    pub(crate) path: PathBuf,
    /// Every file on the way to the code that runs: each link to the program, its script interpreter and the
    /// links to that.
    pub(crate) files: Vec<PathBuf>,
}

impl Executable {
    /// Finds a command as `execvp(3)` does, in `search` (a `PATH`).
    ///
    /// # Errors
    ///
    /// [`PlanError::CommandNotFound`], [`PlanError::CommandNotExecutable`].
    pub(crate) fn find(command: &OsStr, search: Option<&OsStr>, directory: &Path) -> Result<Self, PlanError> {
        let path = find(command, search, directory)?;
        let mut files = Vec::new();
        follow(&path, search, directory, &mut files, DEEPEST);
        Ok(Executable { path, files })
    }

    /// A command that can be found only in a root which is not there yet.
    pub(crate) fn unknown(command: &OsStr) -> Self {
        Executable { path: PathBuf::from(command), files: Vec::new() }
    }
}

fn find(command: &OsStr, search: Option<&OsStr>, directory: &Path) -> Result<PathBuf, PlanError> {
    if command.is_empty() {
        return Err(PlanError::CommandNotFound(command.to_owned()));
    }
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => PlanError::CommandNotFound(command.to_owned()),
        _ => PlanError::CommandNotExecutable { command: command.to_owned(), source },
    };
    if command.as_bytes().contains(&b'/') {
        let path = directory.join(command);
        executable(&path).map_err(refused)?;
        return Ok(path);
    }
    let default = OsString::from(DEFAULT_PATH);
    let mut denied = None;
    for place in std::env::split_paths(search.unwrap_or(&default)) {
        let path = directory.join(place).join(command);
        match executable(&path) {
            Ok(()) => return Ok(path),
            // As execvp(3): remembered, in case nothing better is found.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(error),
            Err(_) => {}
        }
    }
    Err(denied.map_or_else(|| PlanError::CommandNotFound(command.to_owned()), refused))
}

fn executable(path: &Path) -> io::Result<()> {
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    if std::fs::metadata(path)?.is_file() { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// Adds the links to a program one by one, the program, and its interpreter likewise.
fn follow(path: &Path, search: Option<&OsStr>, directory: &Path, files: &mut Vec<PathBuf>, depth: usize) {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        files.push(path.clone());
        let Ok(target) = std::fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    if let Ok(real) = path.canonicalize()
        && real != path
    {
        files.push(real.clone());
        path = real;
    }
    if depth > 0
        && let Some(interpreter) = interpreter(&path)
        && let Ok(interpreter) = find(&interpreter, search, directory)
    {
        follow(&interpreter, search, directory, files, depth - 1);
    }
}

/// The program of a `#!` line; what `env` would run, if it is that.
fn interpreter(script: &Path) -> Option<OsString> {
    let mut start = Vec::new();
    std::fs::File::open(script).ok()?.take(LONGEST_LINE).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let program = words.next()?;
    let program = if program.ends_with(b"/env") {
        words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='))?
    } else {
        program
    };
    Some(OsStr::from_bytes(program).to_owned())
}

/// What the C library uses when there is no `PATH` (`confstr(_CS_PATH)`), with the usual local additions.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const DEEPEST: usize = 4;
/// `MAXSYMLINKS`.
const MOST_LINKS: usize = 40;
/// `BINPRM_BUF_SIZE`.
const LONGEST_LINE: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_script_leads_to_its_interpreter_through_env_and_links() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        write(&root.join("real/bin/python3.11"), "", 0o755);
        std::fs::create_dir_all(root.join("venv/bin")).unwrap();
        symlink("../../real/bin/python3.11", root.join("venv/bin/python3")).unwrap();
        write(&root.join("tool/bin/run"), "#!/usr/bin/env -S FOO=1 python3 -I\n", 0o755);
        let search = root.join("venv/bin").into_os_string();
        let found = Executable::find(root.join("tool/bin/run").as_os_str(), Some(&search), &root).unwrap();
        assert_eq!(found.path, root.join("tool/bin/run"));
        for file in ["tool/bin/run", "venv/bin/python3", "real/bin/python3.11"] {
            assert!(found.files.contains(&root.join(file)), "{file} is missing in {:?}", found.files);
        }
    }

    #[test]
    fn what_cannot_run_is_told_from_what_is_not_there() {
        let place = tempfile::tempdir().unwrap();
        write(&place.path().join("text"), "", 0o644);
        let find =
            |name: &str| Executable::find(OsStr::new(name), Some(place.path().as_os_str()), place.path());
        assert!(matches!(find("text"), Err(PlanError::CommandNotExecutable { .. })));
        assert!(matches!(find("./text"), Err(PlanError::CommandNotExecutable { .. })));
        assert!(matches!(find("none"), Err(PlanError::CommandNotFound(_))));
        assert!(matches!(find("./none"), Err(PlanError::CommandNotFound(_))));
        assert!(matches!(
            find("."),
            Err(PlanError::CommandNotFound(_) | PlanError::CommandNotExecutable { .. })
        ));
    }
}
