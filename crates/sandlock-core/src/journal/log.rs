//! Where entries are written down while a run lasts. Nobody waits for it: what there is no room for is dropped, and counted.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::SendFlags;

/// A log of what happens in a run: one JSON object a line, of the schema in `docs/reference.md`.
#[derive(Debug)]
pub struct Log {
    to: To,
    /// The end of a line that was written in part.
    rest: Vec<u8>,
    dropped: u64,
}

#[derive(Debug)]
enum To {
    /// A file, and where it is made anew: its directory, which stays the one it was, and its name there.
    File {
        file: OwnedFd,
        directory: OwnedFd,
        name: Vec<u8>,
    },
    /// A pipe, or what else can be opened a second time.
    Opened(OwnedFd),
    /// What others opened, and this process may not: it is asked for room before each piece.
    Shared(OwnedFd),
    Socket(OwnedFd),
}

impl Log {
    /// Appends to a file, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn file(path: &Path) -> io::Result<Log> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Ok(Log::to(To::Opened(file)));
        }
        let real = path.canonicalize()?;
        let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())?;
        Ok(Log::to(To::File { file, directory, name: name.as_bytes().to_vec() }))
    }

    /// Writes to a descriptor.
    ///
    /// # Errors
    ///
    /// When it is not open for writing.
    pub fn descriptor(descriptor: OwnedFd) -> io::Result<Log> {
        if FileType::from_raw_mode(rustix::fs::fstat(&descriptor)?.st_mode) == FileType::Socket {
            return Ok(Log::to(To::Socket(descriptor)));
        }
        // Whether it blocks is a matter of the open file, which others share: so it is opened a second time.
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(opened) => Ok(Log::to(To::Opened(opened))),
            Err(rustix::io::Errno::ACCESS)
                if rustix::fs::fcntl_getfl(&descriptor)?.intersects(OFlags::WRONLY | OFlags::RDWR) =>
            {
                Ok(Log::to(To::Shared(descriptor)))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn to(to: To) -> Log {
        Log { to, rest: Vec::new(), dropped: 0 }
    }

    /// Whether it is a file that others rotate.
    pub(crate) fn is_a_file(&self) -> bool {
        matches!(self.to, To::File { .. })
    }

    /// Opens the file anew, in the same directory, by the same name. A link there may be the program's work, and is not
    /// followed; what cannot be opened leaves the log where it is.
    pub(crate) fn reopen(&mut self) {
        if let To::File { file, directory, name } = &mut self.to {
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK;
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&*directory, &name[..], flags, Mode::RUSR | Mode::WUSR);
            let is_regular = |new: &OwnedFd| {
                rustix::fs::fstat(new).is_ok_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1
                })
            };
            if let Some(new) = opened.ok().filter(is_regular) {
                *file = new;
            }
        }
    }

    /// Writes a line, if there is room. `told_of` makes the line that says how many there was none for.
    pub(crate) fn write(&mut self, line: &[u8], told_of: impl FnOnce(u64) -> Vec<u8>) {
        if !self.flush() {
            self.dropped += 1;
            return;
        }
        if self.dropped > 0 {
            let told = told_of(self.dropped);
            self.rest.clone_from(&told);
            if !self.flush() && self.rest.len() == told.len() {
                self.rest.clear();
                self.dropped += 1;
                return;
            }
            self.dropped = 0;
        }
        if !self.rest.is_empty() {
            self.dropped += 1;
            return;
        }
        self.rest = line.to_vec();
        if !self.flush() && self.rest.len() == line.len() {
            self.rest.clear();
            self.dropped += 1;
        }
    }

    /// Waits a moment for room, so that the last line is there, now that the program is over.
    pub(crate) fn wait_for_room(&mut self, told_of: impl FnOnce(u64) -> Vec<u8>) {
        let limit = Instant::now() + LAST_MOMENT;
        let waits = |log: &mut Log| {
            while !log.flush() {
                if Instant::now() >= limit {
                    return false;
                }
                std::thread::sleep(PAUSE);
            }
            true
        };
        if waits(self) && self.dropped > 0 {
            self.rest = told_of(std::mem::take(&mut self.dropped));
            waits(self);
        }
        // Of a pipe that has room for a page.
        let (To::File { file, .. } | To::Opened(file) | To::Shared(file) | To::Socket(file)) = &self.to;
        while !has_room(file) && Instant::now() < limit {
            std::thread::sleep(PAUSE);
        }
    }

    /// Writes what is left of a line. Whether nothing is.
    fn flush(&mut self) -> bool {
        while !self.rest.is_empty() {
            let piece = &self.rest[..self.rest.len().min(PIPE_BUF)];
            let written = match &self.to {
                To::Shared(file) if !has_room(file) => return false,
                To::File { file, .. } | To::Opened(file) | To::Shared(file) => rustix::io::write(file, piece),
                To::Socket(socket) => {
                    rustix::net::send(socket, piece, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
                }
            };
            match written {
                Ok(count) if count > 0 => drop(self.rest.drain(..count)),
                Err(rustix::io::Errno::INTR) => {}
                _ => return false,
            }
        }
        true
    }
}

/// Whether a piece can be written without waiting: `pipe_poll` in fs/pipe.c says so of a page.
fn has_room(file: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::OUT)
}

const LAST_MOMENT: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(1);
/// What a pipe takes as a whole: `pipe(7)`.
const PIPE_BUF: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn told_of(count: u64) -> Vec<u8> {
        format!("dropped {count}\n").into_bytes()
    }

    #[test]
    fn what_there_is_no_room_for_is_dropped_in_whole_lines_and_counted() {
        for shared in [false, true] {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let mut log = match shared {
                true => Log::to(To::Shared(writer.into())),
                false => Log::descriptor(writer.into()).unwrap(),
            };
            let line = [&[b'x'; 6999][..], b"\n"].concat();
            for _ in 0..100 {
                log.write(&line, told_of);
            }
            // Room again: the rest of a line that was begun, the count, the next line.
            let mut said = vec![0; 1 << 15];
            reader.read_exact(&mut said).unwrap();
            log.write(b"last\n", told_of);
            drop(log);
            reader.read_to_end(&mut said).unwrap();
            let said = String::from_utf8(said).unwrap();
            let lines: Vec<_> = said.lines().collect();
            let whole = lines.iter().filter(|line| line.starts_with('x')).count();
            assert!(lines.iter().all(|line| !line.starts_with('x') || line.len() == 6999), "{shared}");
            let counts = lines.iter().filter_map(|line| line.strip_prefix("dropped ")?.parse::<usize>().ok());
            assert_eq!((whole + counts.sum::<usize>(), lines.last()), (100, Some(&"last")));
        }
    }
}
