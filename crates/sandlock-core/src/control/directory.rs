//! The directory of the runs, and the files in it. Whoever can write it is trusted with the runs; a sandbox that was given
//! it to write is not, so nothing here follows a link, waits at a pipe, or believes a size.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sandlock_sys::Errno;

use super::{ControlError, Record, name};

/// The directory of this user's runs.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl Directory {
    /// Opens it, and makes it if it is not there: `sandlock` in the user's runtime directory, or one in `/tmp`.
    ///
    /// # Errors
    ///
    /// When it is a link, somebody else's, or open to others.
    pub fn open(runtime: Option<&Path>) -> Result<Directory, ControlError> {
        let path = place(runtime);
        open_own(&path)
            .map(Directory)
            .map_err(|source| ControlError::Directory { path, source: source.into() })
    }

    /// The records of the runs that are there, by name. Removes what runs that died have left.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn runs(&self) -> io::Result<Vec<Record>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy();
            match file.rsplit_once('.') {
                Some((name, "json" | "sock")) if name::check(name).is_ok() => names.push(name.to_owned()),
                _ if file.starts_with(UNFINISHED) => self.remove_if_old(&file),
                _ => {}
            }
        }
        names.sort();
        names.dedup();
        let live = names.into_iter().filter(|name| self.is_live(name));
        Ok(live.filter_map(|name| self.record(&name).ok()).collect())
    }

    /// The record of a run that is there.
    ///
    /// # Errors
    ///
    /// When there is none of that name, or it cannot be read.
    pub fn run(&self, name: &str) -> Result<Record, ControlError> {
        self.live(name)?;
        self.record(name).map_err(|source| ControlError::Unreachable { name: name.to_owned(), source })
    }

    fn live(&self, name: &str) -> Result<(), ControlError> {
        match name::check(name).is_ok() && self.is_live(name) {
            true => Ok(()),
            false => Err(ControlError::NoSuchRun { name: name.to_owned() }),
        }
    }

    /// Connects to a run's socket.
    pub(super) fn connect(&self, name: &str) -> Result<UnixStream, ControlError> {
        self.live(name)?;
        self.connect_to(&socket_of(name)).map_err(|errno| match errno {
            Errno::AGAIN => ControlError::NoAnswer { name: name.to_owned() },
            errno => ControlError::Unreachable { name: name.to_owned(), source: errno.into() },
        })
    }

    /// Takes a name: a socket that listens and is there under it, all at once.
    ///
    /// # Errors
    ///
    /// EEXIST when a run has it.
    pub(super) fn claim(&self, name: &str) -> Result<UnixListener, Errno> {
        let unfinished = format!("{UNFINISHED}{}.sock", std::process::id());
        let _ = rustix::fs::unlinkat(&self.0, &unfinished, AtFlags::empty());
        let socket = stream_socket()?;
        rustix::net::bind(&socket, &self.address(&unfinished)?)?;
        let made = self.mark_and_move(&socket, &unfinished, name);
        if let Err(errno) = made {
            let _ = rustix::fs::unlinkat(&self.0, &unfinished, AtFlags::empty());
            return Err(errno);
        }
        Ok(UnixListener::from(socket))
    }

    /// No program inside can connect to it, whatever it may write: see `CONTROL_SOCKET_MODE`. Before it listens.
    fn mark_and_move(&self, socket: &OwnedFd, unfinished: &str, name: &str) -> Result<(), Errno> {
        rustix::fs::chmodat(&self.0, unfinished, sandlock_supervisor::CONTROL_SOCKET_MODE, AtFlags::empty())?;
        // Not every file system keeps every bit.
        let made = rustix::fs::statat(&self.0, unfinished, AtFlags::SYMLINK_NOFOLLOW)?;
        if Mode::from_raw_mode(made.st_mode) != sandlock_supervisor::CONTROL_SOCKET_MODE {
            return Err(Errno::PERM);
        }
        rustix::net::listen(socket, BACKLOG)?;
        let to = socket_of(name);
        let move_there =
            || rustix::fs::renameat_with(&self.0, unfinished, &self.0, &to, RenameFlags::NOREPLACE);
        match move_there() {
            Err(Errno::EXIST) if !self.is_live(name) => move_there(),
            result => result,
        }
    }

    /// Writes what is to be known of a run, in place of what was.
    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let unfinished = format!("{UNFINISHED}{}.json", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.0, &unfinished, flags, Mode::RUSR | Mode::WUSR)?;
        std::fs::File::from(file).write_all(&serde_json::to_vec(record)?)?;
        Ok(rustix::fs::renameat(&self.0, &unfinished, &self.0, record_of(&record.name))?)
    }

    /// Gives a name back, of a run that still listens: so nobody takes its files for what was left over.
    pub(super) fn release(&self, name: &str) {
        for file in [record_of(name), socket_of(name)] {
            let _ = rustix::fs::unlinkat(&self.0, &file, AtFlags::empty());
        }
    }

    fn record(&self, name: &str) -> io::Result<Record> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.0, record_of(name), flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(LARGEST_RECORD).read_to_end(&mut bytes)?;
        let record: Record = serde_json::from_slice(&bytes)?;
        if record.name == name { Ok(record) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Whether somebody listens at the socket of this name. If not, what is left of the run is removed.
    fn is_live(&self, name: &str) -> bool {
        let listens = || !matches!(self.connect_to(&socket_of(name)), Err(Errno::CONNREFUSED | Errno::NOENT));
        if listens() {
            return true;
        }
        // A name is given to somebody else only after it was removed, and by one alone at a time.
        let Some(_lock) = self.lock() else {
            return false;
        };
        if listens() {
            return true;
        }
        self.release(name);
        false
    }

    /// Connects without waiting: what listens and has no room says EAGAIN.
    fn connect_to(&self, file: &str) -> Result<UnixStream, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pinned = rustix::fs::openat(&self.0, file, flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&pinned)?.st_mode) != FileType::Socket {
            return Err(Errno::CONNREFUSED);
        }
        let socket = stream_socket()?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", pinned.as_raw_fd()))?;
        rustix::net::connect(&socket, &address)?;
        Ok(UnixStream::from(socket))
    }

    /// Of whoever removes; `None` if somebody does not let go of it, such as a program that may read the directory.
    fn lock(&self) -> Option<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let lock = rustix::fs::openat(&self.0, LOCK, flags, Mode::RUSR | Mode::WUSR).ok()?;
        let until = Instant::now() + PATIENCE;
        while rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(lock)
    }

    /// Removes a file that somebody began and, this much later, cannot still be about to move into place.
    fn remove_if_old(&self, file: &str) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let old = |stat: Stat| now.saturating_sub(stat.st_mtime as u64) > 60;
        if rustix::fs::statat(&self.0, file, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(old) {
            let _ = rustix::fs::unlinkat(&self.0, file, AtFlags::empty());
        }
    }

    /// Of a file in it, short whatever the directory's path is.
    fn address(&self, file: &str) -> Result<SocketAddrUnix, Errno> {
        SocketAddrUnix::new(format!("/proc/self/fd/{}/{file}", self.0.as_raw_fd()))
    }
}

fn place(runtime: Option<&Path>) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    let own = |path: &&Path| {
        path.is_absolute()
            && rustix::fs::stat(*path).is_ok_and(|stat| {
                stat.st_uid == user && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            })
    };
    match runtime.filter(own) {
        Some(runtime) => runtime.join("sandlock"),
        None => PathBuf::from(format!("/tmp/sandlock-{user}")),
    }
}

/// Anybody can have made something of this name in `/tmp`.
fn open_own(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            match rustix::fs::mkdir(path, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            rustix::fs::open(path, flags, Mode::empty())?
        }
        opened => opened?,
    };
    let stat = rustix::fs::fstat(opened.as_fd())?;
    let others = Mode::RWXG | Mode::RWXO;
    if stat.st_uid != rustix::process::geteuid().as_raw()
        || Mode::from_raw_mode(stat.st_mode).intersects(others)
    {
        return Err(Errno::PERM);
    }
    Ok(opened)
}

fn stream_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn record_of(name: &str) -> String {
    format!("{name}.json")
}

fn socket_of(name: &str) -> String {
    format!("{name}.sock")
}

/// Begins the names of files that are not in their place yet; no run's name begins so.
const UNFINISHED: &str = ".new-";
const LOCK: &str = ".lock";
const BACKLOG: i32 = 16;
/// A policy may name thousands of hosts, and a name stand for thousands of addresses.
const LARGEST_RECORD: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn at(place: &Path) -> Result<Directory, ControlError> {
        Directory::open(Some(place))
    }

    #[test]
    fn a_directory_that_is_a_link_or_open_to_others_is_not_used() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("sandlock");
        assert!(at(place.path()).is_ok() && at(place.path()).is_ok());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(at(place.path()).is_err());
        std::fs::remove_dir(&path).unwrap();
        let other = tempfile::tempdir().unwrap();
        symlink(other.path(), &path).unwrap();
        assert!(at(place.path()).is_err());
    }

    #[test]
    fn a_name_is_one_runs_until_that_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let directory = at(place.path()).unwrap();
        let first = directory.claim("a").unwrap();
        assert_eq!(directory.claim("a").err(), Some(Errno::EXIST));
        assert!(directory.is_live("a") && !directory.is_live("b"));
        // As when the launcher is killed: nobody gave the name back.
        drop(first);
        let second = directory.claim("a").unwrap();
        directory.release("a");
        drop(second);
        assert!(!directory.is_live("a"));
    }

    #[test]
    fn what_is_no_record_is_passed_over_and_what_is_left_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let directory = at(place.path()).unwrap();
        let inside = place.path().join("sandlock");
        let _live = directory.claim("live").unwrap();
        std::fs::write(inside.join("live.json"), "{").unwrap();
        std::fs::write(inside.join("dead.json"), "{}").unwrap();
        symlink("live.sock", inside.join("link.sock")).unwrap();
        std::fs::write(inside.join("other"), "").unwrap();
        assert_eq!(directory.runs().unwrap(), []);
        let mut left: Vec<_> =
            std::fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".lock", "live.json", "live.sock", "other"]);
    }
}
