//! Commands as a person types them, and what came of them.

use std::io::{self, PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Where commands are typed: a directory, and a PATH in which `sandlock` is this program.
pub(super) struct Shell {
    itself: PathBuf,
    directory: PathBuf,
}

/// What a command printed, both streams in their order, and how it ended.
pub(super) struct Printed {
    pub(super) text: String,
    /// `None` when a signal or the time limit ended it.
    pub(super) status: Option<i32>,
}

impl Shell {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        Ok(Shell { itself: std::env::current_exe()?, directory: directory.to_owned() })
    }

    /// Runs `sandlock` with these words.
    pub(super) fn sandlock(&self, words: &[String]) -> io::Result<Printed> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(&self.itself);
        command.args(words).current_dir(&self.directory).env("PATH", self.path());
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        // The servers are here, whatever the way to others is.
        for name in PROXIES {
            command.env_remove(name);
        }
        let child = command.spawn()?;
        // It holds the pipe's other end, which would never close.
        drop(command);
        wait(child, reader)
    }

    fn path(&self) -> std::ffi::OsString {
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        if let Some(directory) = self.itself.parent() {
            path.push(":");
            path.push(directory);
        }
        path
    }
}

fn wait(mut child: Child, mut reader: PipeReader) -> io::Result<Printed> {
    let (sender, printed) = mpsc::channel();
    std::thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes);
        sender.send(bytes)
    })?;
    let started = Instant::now();
    let bytes = printed.recv_timeout(PATIENCE).unwrap_or_default();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Printed { text: String::from_utf8_lossy(&bytes).into_owned(), status: status.code() });
        }
        if started.elapsed() > PATIENCE {
            // Its sandbox ends with it.
            child.kill()?;
            child.wait()?;
            return Ok(Printed { text: "(ended for taking too long)\n".to_owned(), status: None });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A command line that a shell takes for these words.
pub(super) fn line(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

const PROXIES: [&str; 6] =
    ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"];
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_pasted_into_a_shell() {
        let words = ["run", "--", "sh", "-c", "echo it's > a", ""].map(str::to_owned);
        assert_eq!(line(&words), r"run -- sh -c 'echo it'\''s > a' ''");
    }
}
