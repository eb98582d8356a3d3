//! Asks a person on the controlling terminal, never on the command's standard input.
//!
//! The command may have the terminal as well. It cannot type (TIOCSTI is refused), and what was typed before the question
//! could be read is thrown away; but it can write, as every program on a terminal can. All that a program chose is escaped.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, getpgrp};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector, Termios, tcflush, tcgetattr,
    tcgetpgrp, tcsetattr, tcsetpgrp,
};
use sandlock_core::escape_terminal;

use super::{Choice, Put, Wish};

/// The controlling terminal.
pub(super) struct Terminal {
    tty: File,
    /// Readable when the run is over.
    over: OwnedFd,
    /// Held while a question is on the screen.
    busy: Mutex<()>,
}

impl Terminal {
    /// # Errors
    ///
    /// When this process has none.
    pub(super) fn open() -> io::Result<Terminal> {
        let tty = File::options().read(true).write(true).open("/dev/tty")?;
        let over = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Terminal { tty, over, busy: Mutex::new(()) })
    }

    /// `None` when nobody answered: in time, or at all.
    pub(super) fn ask(&self, put: &Put<'_>) -> Option<Choice> {
        let _busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let _taken = Taken::take(&self.tty)?;
        self.say_all(&in_words(put));
        // Whatever was typed was not meant for a question that nobody could have read.
        self.wait(put, Instant::now() + READING_TIME, false)?;
        loop {
            let _ = tcflush(&self.tty, QueueSelector::IFlush);
            self.say_all(&choices(put));
            let line = self.read_line(put)?;
            match understood(&line, put) {
                Some(choice) => return Some(choice),
                None => self.say_all("sandlock: that is none of the answers\n"),
            }
        }
    }

    /// Says something that is not a question.
    pub(super) fn say(&self, what: &str) {
        self.say_all(&format!("sandlock: {}\n", escape_terminal(what)));
    }

    /// Takes the question from the screen's business, and waits until the terminal is as it was.
    pub(super) fn end(&self) {
        let _ = rustix::io::write(&self.over, &1u64.to_ne_bytes());
        drop(self.busy.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn say_all(&self, text: &str) {
        let _ = (&self.tty).write_all(text.as_bytes());
    }

    /// One line, at most as long as any answer is.
    fn read_line(&self, put: &Put<'_>) -> Option<Vec<u8>> {
        let mut bytes = [0; 256];
        self.wait(put, put.until, true)?;
        match (&self.tty).read(&mut bytes) {
            // The terminal is gone, or somebody pressed Ctrl-D.
            Ok(0) | Err(_) => None,
            Ok(read) => Some(bytes[..read].to_vec()),
        }
    }

    /// Waits for input, or without `input` for the time to pass. `None` when there is no more to ask.
    fn wait(&self, put: &Put<'_>, until: Instant, input: bool) -> Option<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if input {
                    self.say_all("\nsandlock: no answer in time: refused\n");
                    return None;
                }
                return Some(());
            }
            if !(put.wanted)() {
                self.say_all("\nsandlock: nobody waits for the answer any more\n");
                return None;
            }
            let left = left.min(LOOK_EVERY);
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let watched = if input { PollFlags::IN } else { PollFlags::empty() };
            let mut fds = [
                PollFd::from_borrowed_fd(self.over.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.tty.as_fd(), watched),
            ];
            if poll(&mut fds, Some(&left)).is_err() {
                continue;
            }
            let [over, typed] = fds.map(|fd| fd.revents());
            if !over.is_empty() {
                self.say_all("\n");
                return None;
            }
            if typed.intersects(PollFlags::HUP | PollFlags::ERR) {
                return None;
            }
            if !typed.is_empty() {
                return Some(());
            }
        }
    }
}

/// The terminal in a state in which a line can be read from it; given back when dropped. Signals of job control are
/// blocked in this process, so that it may do this from the background as well.
struct Taken<'a> {
    tty: &'a File,
    modes: Termios,
    foreground: Option<Pid>,
}

impl<'a> Taken<'a> {
    fn take(tty: &'a File) -> Option<Taken<'a>> {
        let modes = tcgetattr(tty).ok()?;
        let own = getpgrp();
        let foreground = tcgetpgrp(tty).ok().filter(|group| *group != own);
        if foreground.is_some() {
            tcsetpgrp(tty, own).ok()?;
        }
        let taken = Taken { tty, modes, foreground };
        // A program may have left it raw.
        let mut plain = taken.modes.clone();
        plain.input_modes |= InputModes::ICRNL;
        plain.input_modes -= InputModes::INLCR | InputModes::IGNCR;
        plain.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        plain.local_modes |= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(tty, OptionalActions::Now, &plain).ok()?;
        Some(taken)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty, OptionalActions::Now, &self.modes);
        if let Some(foreground) = self.foreground {
            let _ = tcsetpgrp(self.tty, foreground);
        }
    }
}

fn in_words(put: &Put<'_>) -> String {
    let wants = match put.wish {
        Wish::Reach(destination, names) => match names.first() {
            Some(name) => format!("wants to reach {} ({destination})", shown(name)),
            None => format!("wants to reach {destination}"),
        },
        Wish::LookUp(name) => format!("wants to ask a name server for {}", shown(name)),
        Wish::Bind(local) => format!("wants to have {} port {} of its own", local.protocol, local.port),
        Wish::Listen(protocol) => format!("wants to listen on a {protocol} port that the kernel chooses"),
    };
    // On a line of its own, whatever the command has left there.
    let mut text = format!("\r\nsandlock: {} {wants}\n", shown(put.run));
    if let Some(caller) = &put.caller {
        let pid = if put.pid > 0 { format!(", process {}", put.pid) } else { String::new() };
        let words: Vec<_> = caller.command_line.iter().map(|word| String::from_utf8_lossy(word)).collect();
        text.push_str(&format!("  program  {}{pid}\n", shown(&caller.executable.to_string_lossy())));
        text.push_str(&format!("  command  {}\n", shown(&words.join(" "))));
    }
    if let Some(rule) = put.wish.rule() {
        text.push_str(&format!("  rule     {} {rule}\n", rule.flag()));
    }
    text
}

fn choices(put: &Put<'_>) -> String {
    let always = match (put.profile, put.wish.rule()) {
        (Some(profile), Some(_)) => format!(", [a]lways ({})", shown(&profile.to_string_lossy())),
        _ => String::new(),
    };
    format!("  allow it [o]nce, for this [r]un{always}, or [n]ot? ")
}

fn understood(line: &[u8], put: &Put<'_>) -> Option<Choice> {
    let word = String::from_utf8_lossy(line).trim().to_ascii_lowercase();
    match word.as_str() {
        "o" | "once" => Some(Choice::Once),
        "r" | "run" => Some(Choice::Run),
        "a" | "always" if put.profile.is_some() && put.wish.rule().is_some() => Some(Choice::Always),
        "n" | "no" | "not" => Some(Choice::No),
        _ => None,
    }
}

/// Escaped, and cut where it would push the rest from the screen.
fn shown(text: &str) -> String {
    let escaped = escape_terminal(text);
    match escaped.char_indices().nth(LONGEST_SHOWN) {
        Some((at, _)) => format!("{}…", &escaped[..at]),
        None => escaped,
    }
}

/// What was typed until then was typed by somebody who could not have read the question.
const READING_TIME: Duration = Duration::from_millis(400);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const LONGEST_SHOWN: usize = 200;
