//! A run: what is started, as whom, with what around it; and the wait for it, which is bounded.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::Binaries;
use crate::suite::PROGRAM_FLAG;
use crate::{Cgroups, Lab, Layer, Output, User, raw};

/// A run that is being described.
pub struct Run {
    user: User,
    kind: Kind,
    sandlock: PathBuf,
    program: PathBuf,
    binaries: PathBuf,
    options: Vec<OsString>,
    words: Vec<OsString>,
    directory: PathBuf,
    variables: Vec<(OsString, Option<OsString>)>,
    input: Option<Vec<u8>>,
    input_pipe: bool,
    passed: Vec<(RawFd, OwnedFd)>,
    own_group: bool,
    within: Option<OwnedFd>,
    around: Option<Layer>,
    longest: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sandboxed,
    Bare,
    Sandlock,
}

impl Run {
    pub(crate) fn sandboxed(lab: &Lab, binaries: &Binaries) -> Self {
        Self::new(lab, binaries, Kind::Sandboxed)
    }

    pub(crate) fn bare(lab: &Lab, binaries: &Binaries) -> Self {
        Self::new(lab, binaries, Kind::Bare)
    }

    pub(crate) fn of_sandlock(lab: &Lab, binaries: &Binaries) -> Self {
        Self::new(lab, binaries, Kind::Sandlock)
    }

    fn new(lab: &Lab, binaries: &Binaries, kind: Kind) -> Self {
        Run {
            user: lab.user(),
            kind,
            sandlock: binaries.sandlock(),
            program: binaries.program(),
            binaries: binaries.place().to_owned(),
            options: Vec::new(),
            words: Vec::new(),
            directory: lab.path("work"),
            variables: vec![
                ("HOME".into(), Some(lab.path("home").into())),
                ("TMPDIR".into(), Some(lab.path("tmp").into())),
                ("XDG_RUNTIME_DIR".into(), Some(lab.path("run").into())),
                ("PATH".into(), Some("/usr/local/bin:/usr/bin:/bin".into())),
                ("LANG".into(), Some("C".into())),
            ],
            input: None,
            input_pipe: false,
            passed: Vec::new(),
            own_group: false,
            within: None,
            around: None,
            longest: LONGEST * slowness(),
        }
    }

    /// `--net-allow RULE`. Without the sandbox, nothing.
    pub fn allow(self, rule: impl AsRef<OsStr>) -> Self {
        self.option("--net-allow").option(rule)
    }

    /// `-r PATH`.
    pub fn read(self, path: impl AsRef<Path>) -> Self {
        self.option("-r").option(path.as_ref())
    }

    /// `-w PATH`.
    pub fn write(self, path: impl AsRef<Path>) -> Self {
        self.option("-w").option(path.as_ref())
    }

    /// One more word of options for `sandlock run`.
    pub fn option(mut self, word: impl AsRef<OsStr>) -> Self {
        self.options.push(word.as_ref().to_owned());
        self
    }

    /// More words of options for `sandlock run`.
    pub fn options(self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        words.into_iter().fold(self, Run::option)
    }

    /// Sets a variable of the environment that `sandlock` gets (or the program, without the sandbox).
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Where `sandlock` is started.
    pub fn directory(mut self, path: impl AsRef<Path>) -> Self {
        self.directory = path.as_ref().to_owned();
        self
    }

    /// What is on its standard input; else that is `/dev/null`.
    pub fn input(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.input = Some(bytes.as_ref().to_owned());
        self
    }

    /// Its standard input is a pipe: see [`Child::send`].
    pub fn input_pipe(mut self) -> Self {
        self.input_pipe = true;
        self
    }

    /// Gives this descriptor to `sandlock`, under this number (above 2), without `--pass-fd`.
    pub fn descriptor(mut self, number: RawFd, descriptor: impl Into<OwnedFd>) -> Self {
        self.passed.push((number, descriptor.into()));
        self
    }

    /// In a process group of its own: for programs that signal their group.
    pub fn own_group(mut self) -> Self {
        self.own_group = true;
        self
    }

    /// Started in this cgroup.
    pub fn within(mut self, cgroup: &Path) -> Self {
        self.within = Some(Cgroups::entrance(cgroup).into());
        self
    }

    /// Below this filter.
    pub fn around(mut self, layer: Option<Layer>) -> Self {
        self.around = layer;
        self
    }

    /// It may run for longer than tests do.
    pub fn for_longer(mut self, more: Duration) -> Self {
        self.longest += more;
        self
    }

    /// What runs is this registered program of the lab.
    pub fn program(mut self, name: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.words = vec![self.program.clone().into(), PROGRAM_FLAG.into(), name.into()];
        self.arguments(args)
    }

    /// What runs is this command.
    pub fn command(
        mut self,
        command: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        self.words = vec![command.as_ref().to_owned()];
        self.arguments(args)
    }

    /// More arguments, of whatever runs.
    pub fn arguments(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.words.extend(args.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Runs a registered program of the lab to its end.
    pub fn run(self, name: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.program(name, args).output()
    }

    /// Runs a line of `sh` to its end.
    pub fn sh(self, line: &str) -> Output {
        self.command("/bin/sh", ["-c", line]).output()
    }

    /// Runs to the end.
    ///
    /// # Panics
    ///
    /// When that does not come in time, or when something of a sandbox outlives it.
    pub fn output(self) -> Output {
        self.start().finish()
    }

    /// Starts it.
    pub fn start(self) -> Child {
        let words = self.words();
        let shown = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&self.directory).env_clear();
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(self.standard_input()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.user.become_in(&mut command);
        if self.own_group {
            command.process_group(0);
        }
        let numbers: Vec<_> = self.passed.iter().map(|(number, fd)| (*number, fd.as_raw_fd())).collect();
        let within = self.within.as_ref().map(AsRawFd::as_raw_fd);
        let place = move || {
            // Whoever opened it may move there.
            if let Some(entrance) = within {
                let entered = raw::call(libc::SYS_write, &[entrance as usize, raw::at(b"0"), 1]);
                entered.map_err(|errno| std::io::Error::from_raw_os_error(errno.0))?;
            }
            numbers.iter().try_for_each(|&(number, fd)| raw::place_descriptor(fd, number))
        };
        // SAFETY: the closure only makes system calls, so it may run between fork and exec.
        unsafe { command.pre_exec(place) };
        if let Some(layer) = &self.around {
            let mut filter = layer.filter();
            // SAFETY: the closure only makes system calls, so it may run between fork and exec.
            unsafe { command.pre_exec(move || Layer::enter(&mut filter)) };
        }
        let mut process = command.spawn().unwrap_or_else(|error| panic!("$ {shown}\n{error}"));
        let (out, err) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
        raw::set_nonblocking(out.as_raw_fd());
        raw::set_nonblocking(err.as_raw_fd());
        Child {
            shown,
            sandboxed: self.kind == Kind::Sandboxed,
            input: process.stdin.take(),
            pipes: [Pipe::new(out), Pipe::new(err)],
            process,
            limit: Instant::now() + self.longest,
        }
    }

    /// Where `sandlock` and the lab's programs are.
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    fn words(&self) -> Vec<OsString> {
        match self.kind {
            Kind::Bare => self.words.clone(),
            Kind::Sandlock => [vec![self.sandlock.clone().into()], self.words.clone()].concat(),
            Kind::Sandboxed => [
                vec![self.sandlock.clone().into(), "run".into()],
                // The lab's own program must be readable, whatever the policy.
                vec!["-r".into(), self.binaries.clone().into()],
                self.options.clone(),
                vec!["--".into()],
                self.words.clone(),
            ]
            .concat(),
        }
    }

    fn standard_input(&self) -> Stdio {
        let Some(input) = &self.input else {
            return if self.input_pipe { Stdio::piped() } else { Stdio::null() };
        };
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        file.into()
    }
}

/// A run under way. Dropped, it is killed.
pub struct Child {
    shown: String,
    sandboxed: bool,
    process: std::process::Child,
    input: Option<ChildStdin>,
    pipes: [Pipe; 2],
    limit: Instant,
}

impl Child {
    /// The process id of what was started: the launcher, or the bare program.
    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Sends to its standard input, a pipe.
    pub fn send(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        // Not reaped yet, so the number is still its own.
        raw::call(libc::SYS_kill, &[self.pid() as usize, signal as usize]).unwrap();
    }

    /// Waits until a program inside reported this key, and returns the value.
    ///
    /// # Panics
    ///
    /// When it ends first, or the time is up.
    #[track_caller]
    pub fn wait_for(&mut self, key: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.pipes[0].read);
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            if let Some(value) = whole.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')) {
                return value.to_owned();
            }
            assert!(!self.pipes[0].ended, "`{key}=` never came\n{}", self.transcript());
            self.sleep(self.limit);
        }
    }

    /// Waits until it has printed this.
    ///
    /// # Panics
    ///
    /// When it ends first, or the time is up.
    #[track_caller]
    pub fn wait_for_text(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.pipes[0].read).contains(text) {
            assert!(!self.pipes[0].ended, "{text:?} never came\n{}", self.transcript());
            self.sleep(self.limit);
        }
    }

    /// Waits for the end.
    ///
    /// # Panics
    ///
    /// When that does not come in time, or when something of a sandbox outlives it.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        self.input = None;
        let mut status = None;
        while !self.pipes.iter().all(|pipe| pipe.ended) && status.is_none() {
            self.sleep(self.limit);
            status = self.process.try_wait().unwrap();
        }
        let status = status.unwrap_or_else(|| self.wait());
        // What outlives a sandbox would hold the pipes open.
        let grace = Instant::now() + GRACE * slowness();
        while !self.pipes.iter().all(|pipe| pipe.ended) && Instant::now() < grace {
            self.sleep_at_most(grace);
        }
        let held = !self.pipes.iter().all(|pipe| pipe.ended);
        assert!(!(self.sandboxed && held), "something outlives the sandbox\n{}", self.transcript());
        let [out, err] = &mut self.pipes;
        Output { shown: std::mem::take(&mut self.shown), status, stdout: out.take(), stderr: err.take() }
    }

    /// The outputs are closed, so the end is near.
    fn wait(&mut self) -> std::process::ExitStatus {
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < self.limit, "it ran too long\n{}", self.transcript());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[track_caller]
    fn sleep(&mut self, until: Instant) {
        self.sleep_at_most(until);
        assert!(Instant::now() < until, "it ran too long\n{}", self.transcript());
    }

    /// Until there is output, at most a moment: an end without one is not told.
    fn sleep_at_most(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now()).min(Duration::from_millis(20));
        let fds: Vec<_> =
            self.pipes.iter().filter(|pipe| !pipe.ended).map(|pipe| pipe.source.as_raw_fd()).collect();
        raw::poll_readable(&fds, left);
        self.pipes.iter_mut().for_each(Pipe::pump);
    }

    fn transcript(&self) -> String {
        let [out, err] = self.pipes.each_ref().map(|pipe| String::from_utf8_lossy(&pipe.read));
        format!("$ {}\n{out}{err}", self.shown)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One output of a child, and what came of it so far.
struct Pipe {
    source: Box<dyn Source>,
    read: Vec<u8>,
    ended: bool,
}

trait Source: Read + AsRawFd {}
impl<T: Read + AsRawFd> Source for T {}

impl Pipe {
    fn new(source: impl Source + 'static) -> Self {
        Pipe { source: Box::new(source), read: Vec::new(), ended: false }
    }

    fn pump(&mut self) {
        let mut buffer = [0; 65536];
        while !self.ended {
            match self.source.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => self.read.extend(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn take(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }
}

/// How many times slower than usual the machine may be: `SANDLOCK_TESTS_SLOWNESS`, for emulated ones.
fn slowness() -> u32 {
    std::env::var("SANDLOCK_TESTS_SLOWNESS").map_or(1, |text| text.parse().unwrap())
}

/// The longest that a run may take.
const LONGEST: Duration = Duration::from_secs(20);
/// How long the outputs of what ended may stay open.
const GRACE: Duration = Duration::from_secs(2);
