//! What went wrong inside, told to the launcher and made an error there.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use sandlock_supervisor::message::{NotPrepared, Unprepared};
use sandlock_sys::Errno;

use super::forbidden;
use crate::PlanError;

pub(super) fn failed(what: Unprepared, subject: &str, errno: Errno) -> NotPrepared {
    NotPrepared { what, subject: subject.to_owned(), errno: errno.raw_os_error() }
}

/// An error of the rest of the plan, as the launcher is to know of it.
pub(super) fn told(error: PlanError) -> NotPrepared {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let number = |error: &io::Error| {
        error.raw_os_error().unwrap_or(match error.kind() {
            io::ErrorKind::NotADirectory => Errno::NOTDIR.raw_os_error(),
            io::ErrorKind::NotFound => Errno::NOENT.raw_os_error(),
            _ => Errno::ACCESS.raw_os_error(),
        })
    };
    let (what, subject, errno) = match error {
        PlanError::CommandNotFound(command) => (Unprepared::CommandNotFound, text(command), 0),
        PlanError::CommandNotExecutable { command, source } => {
            (Unprepared::CommandNotExecutable, text(command), number(&source))
        }
        PlanError::Directory { path, source } => (Unprepared::Directory, text(path.into()), number(&source)),
        PlanError::Path { flag, path, source } => {
            (Unprepared::Path(flag.to_owned()), text(path.into()), number(&source))
        }
        other => (Unprepared::Other, in_words(&other), 0),
    };
    NotPrepared { what, subject, errno }
}

/// What the launcher makes of it.
pub(crate) fn error_of(why: &NotPrepared) -> PlanError {
    let source = io::Error::from_raw_os_error(why.errno);
    let subject = why.subject.clone();
    match &why.what {
        Unprepared::CommandNotFound => PlanError::CommandNotFound(subject.into()),
        Unprepared::CommandNotExecutable => {
            PlanError::CommandNotExecutable { command: subject.into(), source }
        }
        Unprepared::Directory => PlanError::Directory { path: subject.into(), source },
        Unprepared::Path(flag) => {
            let flag = FLAGS.into_iter().find(|known| known == flag).unwrap_or("a path");
            PlanError::Path { flag, path: subject.into(), source }
        }
        Unprepared::MountPoint => PlanError::MountPoint { path: PathBuf::from(subject), source },
        Unprepared::Identity => forbidden::forbidden("a user namespace", source),
        Unprepared::HostName => forbidden::forbidden("a host name", source),
        Unprepared::Mount if subject == "/proc" && why.errno == Errno::PERM.raw_os_error() => {
            forbidden::forbidden("a /proc of its own", source)
        }
        Unprepared::Mount
            if [Errno::PERM, Errno::ACCESS].iter().any(|errno| errno.raw_os_error() == why.errno) =>
        {
            forbidden::forbidden("mounts", source)
        }
        Unprepared::Mount => PlanError::Mount { path: PathBuf::from(subject), source },
        _ => PlanError::Inside(subject),
    }
}

/// The error and its causes on one line.
fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

const FLAGS: [&str; 3] = ["-r", "-w", "--http-ca-bundle"];
