//! What the process executes that makes a call, as the machine tells: asked while the caller waits.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use sandlock_policy::Caller;
use sandlock_sys::Tid;

/// The process that `tid` belongs to. What cannot be told is left out: the question is asked all the same.
pub(super) fn of(tid: Tid) -> Caller {
    let executable = rustix::fs::readlink(format!("/proc/{tid}/exe"), Vec::new())
        .map(|path| PathBuf::from(OsStr::from_bytes(path.to_bytes())))
        .unwrap_or_default();
    let mut text = [0; LONGEST];
    let read = File::open(format!("/proc/{tid}/cmdline")).and_then(|mut file| file.read(&mut text));
    let text = &text[..read.unwrap_or(0)];
    // The last argument ends in a NUL as well.
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    let words = text.split(|byte| *byte == 0).take(MOST_WORDS).map(<[u8]>::to_vec).collect();
    Caller::new(executable, words)
}

/// Of a command line that is told.
const LONGEST: usize = 1024;
const MOST_WORDS: usize = 64;
