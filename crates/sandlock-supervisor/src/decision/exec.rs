//! `execve(2)`, `execveat(2)`, in runs where somebody wants to be asked about them.
//!
//! The path and the arguments are in memory, and the kernel reads them again after the answer: another thread of the
//! program can change them in between. So an answer is about what a program *says* that it executes. What may be
//! executed at all, Landlock decides; and what a process executes in truth is told with its next question.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use sandlock_policy::Matter;
use sandlock_sys::{ChildPtr, Errno, Tid, memory};

use super::decide;
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::fs::path;

/// `execve(path, arguments, environment)`.
pub(crate) fn execve(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let path = path::read_string(call.tid, call.pointer(0))?;
    ask(cx, call, path, call.pointer(1))
}

/// `execveat(dirfd, path, arguments, environment, flags)`.
pub(crate) fn execveat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let path = path::read_string(call.tid, call.pointer(1))?;
    let dirfd = call.descriptor(0).get();
    if path.first() == Some(&b'/') || dirfd == AT_FDCWD {
        return ask(cx, call, path, call.pointer(2));
    }
    // Told by where the descriptor leads, as far as that can be said by a path.
    let base = rustix::fs::readlink(format!("/proc/{}/fd/{dirfd}", call.tid), Vec::new());
    let mut base = base.map_err(|_| Errno::BADF)?.into_bytes();
    if !path.is_empty() {
        base.push(b'/');
        base.extend(path);
    }
    ask(cx, call, base, call.pointer(2))
}

fn ask(cx: &Context<'_>, call: &Call, path: Vec<u8>, arguments: ChildPtr) -> Result<Done, Failure> {
    let arguments = read_arguments(call.tid, arguments)?;
    let path = PathBuf::from(OsString::from_vec(path));
    // The kernel's own errors first where they are sure: shells try one directory after the other.
    if path.is_absolute() && matches!(rustix::fs::stat(path.as_os_str().as_bytes()), Err(Errno::NOENT)) {
        return Ok(Done::Continue);
    }
    decide(cx, call, Matter::Exec { path, arguments }, Box::new(|_, _| Ok(Done::Continue)))
}

/// The first arguments, each cut at some length.
fn read_arguments(tid: Tid, from: ChildPtr) -> Result<Vec<Vec<u8>>, Errno> {
    let mut arguments = Vec::new();
    // Linux takes no vector for an empty one.
    if from.is_null() {
        return Ok(arguments);
    }
    let mut pointers = [[0u8; 8]; MOST];
    let read = memory::read_some(tid, from, pointers.as_flattened_mut())?;
    for pointer in &pointers[..read / 8] {
        let pointer = ChildPtr::from_register(u64::from_ne_bytes(*pointer));
        if pointer.is_null() {
            break;
        }
        let mut bytes = vec![0; LONGEST];
        let read = memory::read_some(tid, pointer, &mut bytes)?;
        let end = bytes[..read].iter().position(|byte| *byte == 0).unwrap_or(read);
        bytes.truncate(end);
        arguments.push(bytes);
    }
    Ok(arguments)
}

const AT_FDCWD: i32 = -100;
const MOST: usize = 64;
const LONGEST: usize = 256;
