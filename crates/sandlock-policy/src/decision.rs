//! Questions that a run puts to somebody while its program waits, and what may be answered.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Denied, Destination, Protocol};

/// A call that waits for a verdict, as data. What a program chose is in it as it was: it must be
/// [escaped](crate::escape_terminal) before a person sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Question {
    /// The process that makes the call, as the launcher sees it; 0 when that is not known.
    pub pid: i32,
    /// What it is about.
    pub matter: Matter,
}

/// What the process that makes a call executes. It costs as much as the rest of a question to find out, so it is told to
/// who wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Caller {
    /// The file that it executes; empty when that cannot be told.
    #[serde(with = "crate::lossless::path")]
    pub executable: PathBuf,
    /// Its command line, cut at some length. A program can write what it likes there.
    #[serde(with = "crate::lossless::list")]
    pub command_line: Vec<Vec<u8>>,
}

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Matter {
    /// Traffic to a destination.
    Destination {
        /// Where to.
        destination: Destination,
        /// Names that stand for the address, as far as rules or questions made them known.
        names: Vec<String>,
        /// Whether the rules grant it.
        granted: bool,
    },
    /// Asking a name server for a name that no rule grants.
    Name {
        /// The name.
        name: String,
    },
    /// Taking a port of the run's own; to listen on it is no question of its own.
    Bind {
        /// The protocol of the socket.
        protocol: Protocol,
        /// The port; 0 when the kernel is to choose one.
        port: u16,
        /// Whether the rules grant it.
        granted: bool,
    },
    /// Listening on a port that the kernel chooses.
    Listen {
        /// The protocol of the socket.
        protocol: Protocol,
        /// The port; 0 when the kernel has not chosen yet.
        port: u16,
        /// Whether the rules grant it.
        granted: bool,
    },
    /// Executing a file. Path and arguments are what the program had in memory at one moment: another thread of it can
    /// change them before the kernel reads them.
    Exec {
        /// The path, as the program wrote it.
        #[serde(with = "crate::lossless::path")]
        path: PathBuf,
        /// The arguments, cut at some length.
        #[serde(with = "crate::lossless::list")]
        arguments: Vec<Vec<u8>>,
    },
    /// Something that is refused whatever the answer is; that may choose another errno.
    Denied(Denied),
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may go on, and so may whoever in the run wants the same destination or port: nobody is asked about that again.
    Allow,
    /// It may go on, this time.
    AllowOnce,
    /// It fails: with the errno that a refusal has, or with this one.
    Deny(Option<i32>),
    /// Nobody answered, which is a refusal.
    Unanswered,
}

/// What is sent about a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// The answer.
    Verdict(Verdict),
    /// The answer comes within this time; if not, that is a refusal.
    Later(Duration),
    /// Who asks?
    Describe,
}

/// The witness that somebody who was asked said yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval(());

impl Question {
    /// A question.
    #[must_use]
    pub fn new(pid: i32, matter: Matter) -> Question {
        Question { pid, matter }
    }
}

impl Caller {
    /// A process.
    #[must_use]
    pub fn new(executable: PathBuf, command_line: Vec<Vec<u8>>) -> Caller {
        Caller { executable, command_line }
    }
}

impl Verdict {
    /// The approval, if it is one.
    ///
    /// # Errors
    /// The errno that was chosen, if any.
    pub fn approval(self) -> Result<Approval, Option<i32>> {
        match self {
            Verdict::Allow | Verdict::AllowOnce => Ok(Approval(())),
            Verdict::Deny(errno) => Err(errno),
            Verdict::Unanswered => Err(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_survives_json_whatever_bytes_are_in_it() {
        let caller = Caller::new("/bin/\u{1b}x".into(), vec![b"a\xff".to_vec(), Vec::new(), b"\\".to_vec()]);
        let text = serde_json::to_string(&caller).unwrap();
        assert_eq!(serde_json::from_str::<Caller>(&text).unwrap(), caller);
        for matter in [
            Matter::Destination {
                destination: Destination::new(Protocol::Tcp, [10, 0, 0, 1].into(), 80),
                names: vec!["a.test".to_owned()],
                granted: false,
            },
            Matter::Exec { path: "/bin/sh".into(), arguments: vec![b"\0".to_vec()] },
            Matter::Bind { protocol: Protocol::Udp, port: 0, granted: true },
            Matter::Listen { protocol: Protocol::Tcp, port: 0, granted: false },
            Matter::Denied(Denied::UnixAbstract(b"\xff".to_vec())),
        ] {
            let question = Question::new(7, matter);
            let text = serde_json::to_string(&question).unwrap();
            assert_eq!(serde_json::from_str::<Question>(&text).unwrap(), question);
        }
    }

    #[test]
    fn only_a_yes_is_an_approval() {
        assert!(Verdict::Allow.approval().is_ok() && Verdict::AllowOnce.approval().is_ok());
        assert_eq!(Verdict::Deny(Some(5)).approval(), Err(Some(5)));
        assert_eq!(Verdict::Deny(None).approval(), Err(None));
        assert_eq!(Verdict::Unanswered.approval(), Err(None));
    }
}
