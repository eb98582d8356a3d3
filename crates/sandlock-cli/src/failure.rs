//! What kept a command from running: in words, with what to do about it, and as an exit status.

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use sandlock_core::{ControlError, LaunchError, PlanError, ResolveError, Resolved, Step, escape_terminal};

use crate::profile::ProfileError;
use crate::{exit, output};

/// What kept the command from running.
#[derive(Debug)]
pub(crate) enum Failure {
    Plan(PlanError),
    Launch(LaunchError),
    Profile(ProfileError),
    PassFd(i32, io::Error),
    Control(ControlError),
    /// The runs cannot be listed.
    Runs(io::Error),
    Ask(io::Error),
    Log(PathBuf, io::Error),
    AskCommand(PathBuf, io::Error),
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Failure::Plan(error)
    }
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        Failure::Profile(error)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Failure::Control(error)
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        match error {
            // The rest of the plan, which only the run's own root could answer.
            LaunchError::Root(error) => Failure::Plan(*error),
            error => Failure::Launch(error),
        }
    }
}

impl Failure {
    /// Says what is wrong and what to do. `command` is what was to run.
    pub(crate) fn report(&self, command: &[OsString]) -> ExitCode {
        let hint = self.hint(command);
        output::say(&in_words(&self.text(), hint.as_deref()));
        ExitCode::from(self.status())
    }

    /// The error and its causes on one line.
    pub(crate) fn text(&self) -> String {
        match self {
            Failure::Plan(error) => chain(error),
            Failure::Launch(LaunchError::Control(error)) => format!("--name: {}", chain(error)),
            Failure::Launch(error) => chain(error),
            Failure::Control(error) => chain(error),
            Failure::Runs(error) => format!("the runs cannot be listed: {}", chain(error)),
            Failure::Profile(error) => chain(error),
            Failure::Log(path, error) => format!("--log {}: {}", path.display(), chain(error)),
            Failure::Ask(error) => format!("--ask: there is no terminal to ask on: {}", chain(error)),
            Failure::AskCommand(path, error) => {
                format!("--ask-command {}: it cannot be executed: {}", path.display(), chain(error))
            }
            Failure::PassFd(fd, error) => format!("--pass-fd {fd}: {}", chain(error)),
        }
    }

    fn hint(&self, command: &[OsString]) -> Option<String> {
        let hint = match self {
            Failure::Plan(PlanError::CommandNotFound(_)) if command.iter().any(|word| word == "--") => {
                return command.first().map(|first| {
                    let first = first.to_string_lossy();
                    format!("{first:?} was taken for the command; is the flag missing that it belongs to?")
                });
            }
            Failure::Plan(PlanError::Path { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                "a path must exist when the run starts; grant the directory that it will be made in"
            }
            Failure::Launch(LaunchError::Step { step: Step::Filter, source })
                if source.kind() == io::ErrorKind::ResourceBusy =>
            {
                "something around, such as another sandlock run, watches calls already, and the kernel allows one to do so: --kernel-only works in a run that is --kernel-only too"
            }
            Failure::Plan(PlanError::Kernel { .. }) | Failure::Launch(LaunchError::Step { .. }) => {
                "`sandlock check` tries each thing that a run needs"
            }
            Failure::Plan(PlanError::Resolve(ResolveError::Refused { denied, .. })) => {
                return denied.hint(&Resolved::new()).map(|flag| format!("allow it with {flag}"));
            }
            Failure::Plan(PlanError::Resolve(
                ResolveError::Unresolved { .. } | ResolveError::TimedOut { .. },
            )) => "--names-may-fail runs it all the same; --resolver asks another name server",
            Failure::Plan(PlanError::NeedsAuthority { .. }) => {
                "--http-ca-inject looks into TLS; a rule for other ports (HOST:80), or \"* HOST\", needs no look"
            }
            Failure::Plan(PlanError::Namespaces { remedy, .. }) => remedy,
            Failure::Plan(PlanError::Around { .. }) => {
                "have it allowed: docker run --cap-add SYS_PTRACE; Kubernetes capabilities: {add: [SYS_PTRACE]}; a systemd unit SystemCallFilter=CALL"
            }
            Failure::Plan(PlanError::MountPoint { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                "the path must exist in the machine's root; in one of --chroot it is made"
            }
            Failure::Plan(PlanError::NeedsSupervisor(_)) => "leave out --kernel-only",
            Failure::Control(ControlError::NoSuchRun { .. })
            | Failure::Launch(LaunchError::Control(ControlError::Taken { .. })) => {
                "`sandlock ps` lists the runs that are there"
            }
            Failure::Ask(_) => "--ask-command PROGRAM asks a program instead",
            Failure::PassFd(..) => "open it in the calling shell, such as 5<file",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    fn status(&self) -> u8 {
        match self {
            Failure::Plan(PlanError::CommandNotFound(_)) => exit::NOT_FOUND,
            Failure::Plan(PlanError::CommandNotExecutable { .. }) => exit::NOT_EXECUTABLE,
            Failure::Launch(LaunchError::Exec { source, .. }) => match source.kind() {
                io::ErrorKind::NotFound => exit::NOT_FOUND,
                _ => exit::NOT_EXECUTABLE,
            },
            _ => exit::OUR_FAILURE,
        }
    }
}

/// An error as a person reads it. What came from elsewhere is escaped.
pub(crate) fn in_words(text: &str, hint: Option<&str>) -> String {
    let mut words = format!("sandlock: error: {}\n", escape_terminal(text));
    if let Some(hint) = hint {
        words.push_str(&format!("  hint: {}\n", escape_terminal(hint)));
    }
    words
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once_and_control_characters_are_shown() {
        let source = io::Error::from_raw_os_error(2);
        let failure = Failure::from(PlanError::Path { flag: "-w", path: "/no\x1b[2J".into(), source });
        let words = in_words(&failure.text(), failure.hint(&[]).as_deref());
        assert!(words.starts_with("sandlock: error: -w /no\\u{1b}[2J: "), "{words}");
        assert_eq!(words.matches("No such file").count(), 1, "{words}");
        assert!(words.contains("\n  hint: "), "{words}");
    }

    #[test]
    fn a_word_in_the_place_of_the_command_is_pointed_at() {
        let command = ["b:2", "--", "make"].map(OsString::from);
        let failure = Failure::from(PlanError::CommandNotFound("b:2".into()));
        assert!(failure.hint(&command).unwrap().contains("\"b:2\" was taken for the command"));
        assert_eq!(failure.hint(&command[..1]), None);
        assert_eq!(failure.status(), exit::NOT_FOUND);
    }
}
