//! Asks a program: a question on its standard input, an answer on its standard output, one JSON object each.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::{Choice, Put, Wish};

/// A program that answers.
pub(super) struct Program {
    path: PathBuf,
    over: AtomicBool,
}

impl Program {
    /// # Errors
    ///
    /// When there is no such file.
    pub(super) fn find(path: PathBuf) -> io::Result<Program> {
        let found = std::fs::metadata(&path)?;
        if !found.is_file() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Program { path: std::path::absolute(path)?, over: AtomicBool::new(false) })
    }

    /// `None` when it said nothing that is an answer, in time.
    pub(super) fn ask(&self, put: &Put<'_>) -> Option<Choice> {
        let mut command = Command::new(&self.path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        // So that what it has started ends with it.
        command.process_group(0);
        let mut child = Asked(command.spawn().ok()?);
        let question = question(put).to_string() + "\n";
        let (mut input, mut output) = (child.0.stdin.take()?, child.0.stdout.take()?);
        // Each in a thread, which ends when the program does: it may read nothing, and say nothing.
        let _ = std::thread::Builder::new().spawn(move || input.write_all(question.as_bytes()));
        let (sender, said) = std::sync::mpsc::channel();
        let read = move || {
            let mut text = Vec::new();
            let _ = output.by_ref().take(LONGEST_ANSWER).read_to_end(&mut text);
            let _ = sender.send(text);
        };
        std::thread::Builder::new().spawn(read).ok()?;
        loop {
            match said.recv_timeout(LOOK_EVERY) {
                Ok(text) => return answer(&text),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                    if Instant::now() < put.until && (put.wanted)() && !self.over.load(Ordering::Relaxed) => {
                }
                Err(_) => return None,
            }
        }
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        // Those that ask look now, and kill their programs.
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A program that runs: killed when it is dropped, with its group.
struct Asked(Child);

impl Drop for Asked {
    fn drop(&mut self) {
        // Not reaped yet, so that the number is its own.
        if let Some(group) = Pid::from_raw(self.0.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

fn question(put: &Put<'_>) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut question = json!({ "version": 1, "run": put.run });
    let Some(fields) = question.as_object_mut() else {
        return question;
    };
    match put.wish {
        Wish::Reach(destination, names) => {
            fields.insert("what".into(), "reach".into());
            fields.insert("protocol".into(), destination.protocol().to_string().into());
            fields.insert("address".into(), destination.address().to_string().into());
            fields.insert("port".into(), destination.port().into());
            fields.insert("names".into(), names.clone().into());
        }
        Wish::LookUp(name) => {
            fields.insert("what".into(), "look_up".into());
            fields.insert("name".into(), name.clone().into());
        }
        Wish::Bind(local) => {
            fields.insert("what".into(), "bind".into());
            fields.insert("protocol".into(), local.protocol.to_string().into());
            fields.insert("port".into(), local.port.into());
        }
        Wish::Listen(protocol) => {
            fields.insert("what".into(), "listen".into());
            fields.insert("protocol".into(), protocol.to_string().into());
        }
    }
    if let Some(rule) = put.wish.rule() {
        fields.insert("rule".into(), rule.to_string().into());
    }
    if let Some(caller) = &put.caller {
        let words: Vec<Value> = caller.command_line.iter().map(|word| text(word).into()).collect();
        fields.insert("pid".into(), put.pid.into());
        fields.insert("executable".into(), caller.executable.to_string_lossy().into());
        fields.insert("command_line".into(), words.into());
    }
    let choices = if put.profile.is_some() { &CHOICES[..] } else { &CHOICES[..3] };
    fields.insert("choices".into(), choices.into());
    question
}

fn answer(text: &[u8]) -> Option<Choice> {
    let answer: Value = serde_json::from_slice(text).ok()?;
    match answer.get("verdict")?.as_str()? {
        "once" => Some(Choice::Once),
        "run" => Some(Choice::Run),
        "always" => Some(Choice::Always),
        "no" => Some(Choice::No),
        _ => None,
    }
}

const CHOICES: [&str; 4] = ["once", "run", "no", "always"];
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LONGEST_ANSWER: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_is_none() {
        assert_eq!(answer(br#"{"verdict": "once", "more": 1}"#), Some(Choice::Once));
        for text in
            ["", "once", "{}", r#"{"verdict": true}"#, r#"{"verdict": "yes"}"#, r#"{"verdict": "no"} x"#]
        {
            assert_eq!(answer(text.as_bytes()), None, "{text}");
        }
    }
}
