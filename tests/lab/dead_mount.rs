//! A mount whose server does not answer: a file system in user space (`/dev/fuse`) that takes requests and is silent.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::raw;

/// Runs a test with such a mount at `at`, a directory, in a mount namespace of the test's own. Only root can make one:
/// others are told that nothing of it was tested.
///
/// In it every name that begins with `dead` is looked up for ever. One that begins with `there` is a file of one page,
/// that all may open and map; reading it, and changing its mode, owner or times, takes for ever. No other name is there.
pub fn with_dead_mount(at: &Path, test: impl FnOnce(&DeadMount) + Send) {
    if raw::euid() != 0 {
        let _ = writeln!(std::io::stderr(), "note: only root can make a mount: no dead one was tested");
        return;
    }
    let result = std::thread::scope(|scope| {
        let in_thread = || {
            raw::call(libc::SYS_unshare, &[libc::CLONE_NEWNS as usize]).unwrap();
            let device = mount(at);
            let mount = DeadMount { over: AtomicBool::new(false) };
            std::thread::scope(|scope| {
                scope.spawn(|| serve(device, &mount.over));
                let _end = End(&mount);
                test(&mount);
            });
        };
        scope.spawn(in_thread).join()
    });
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// The server of such a mount.
pub struct DeadMount {
    over: AtomicBool,
}

impl DeadMount {
    /// Ends it: who waits for it hears that (ECONNABORTED).
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Whatever became of the test.
struct End<'a>(&'a DeadMount);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn mount(at: &Path) -> File {
    let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let make = |what: &str, at: &Path, kind: &str, flags: u64, options: &str| {
        let [what, kind, options] = [what, kind, options].map(|text| std::ffi::CString::new(text).unwrap());
        let at = std::ffi::CString::new(at.to_str().unwrap()).unwrap();
        let [what, at, kind, options] = [&what, &at, &kind, &options].map(|text| text.as_ptr() as usize);
        raw::call(libc::SYS_mount, &[what, at, kind, flags as usize, options]).unwrap();
    };
    // What is mounted here is seen by nobody else.
    make("none", Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE, "");
    let options = format!(
        "fd={},rootmode=40777,user_id=0,group_id=0,default_permissions,allow_other",
        device.as_raw_fd()
    );
    make("dead", at, "fuse", libc::MS_NOSUID | libc::MS_NODEV, &options);
    device
}

/// Answers what it takes to have a root and a file, until it is `over`.
fn serve(mut device: File, over: &AtomicBool) {
    let mut request = vec![0; LONGEST];
    while !over.load(Ordering::Relaxed) {
        if !raw::poll_readable(&[device.as_raw_fd()], Duration::from_millis(20)) {
            continue;
        }
        let Ok(len) = device.read(&mut request) else {
            return;
        };
        if let Some((error, body)) = answer(&request[..len]) {
            let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
            bytes.extend((-error).to_ne_bytes());
            bytes.extend(&request[8..16]);
            bytes.extend(body);
            let _ = device.write(&bytes);
        }
    }
}

/// The answer to a request: an error and a body. `None` is silence.
fn answer(request: &[u8]) -> Option<(i32, Vec<u8>)> {
    let number = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
    // The number of the request that found it is that of a file.
    let (unique, node) = (long(8).max(ROOT + 1), long(16));
    match number(4) {
        INIT => {
            let mut body = vec![0; 64];
            body[..4].copy_from_slice(&7u32.to_ne_bytes());
            body[4..8].copy_from_slice(&31u32.to_ne_bytes());
            body[12..16].copy_from_slice(&PARALLEL_DIROPS.to_ne_bytes());
            body[20..24].copy_from_slice(&4096u32.to_ne_bytes());
            Some((0, body))
        }
        LOOKUP if request[HEADER..].starts_with(b"dead") => None,
        LOOKUP if request[HEADER..].starts_with(b"there") => {
            // node, generation, for how long both the name and what is known of it hold.
            let mut body = unique.to_ne_bytes().to_vec();
            body.extend([0; 8]);
            body.extend(3600u64.to_ne_bytes().repeat(2));
            body.extend([0; 8]);
            body.extend(attributes(unique, &request[24..32]));
            Some((0, body))
        }
        LOOKUP => Some((libc::ENOENT, Vec::new())),
        GETATTR => {
            let mut body = 3600u64.to_ne_bytes().to_vec();
            body.extend([0; 8]);
            body.extend(attributes(node, &request[24..32]));
            Some((0, body))
        }
        OPEN => Some((0, [[0; 8], u64::from(NOFLUSH).to_ne_bytes()].concat())),
        FORGET | BATCH_FORGET | INTERRUPT | READ | SETATTR => None,
        _ => Some((libc::ENOSYS, Vec::new())),
    }
}

/// `struct fuse_attr`. All is of whoever asks.
fn attributes(node: u64, user_and_group: &[u8]) -> Vec<u8> {
    let (size, mode) = if node == ROOT { (0, 0o040_777u32) } else { (4096, 0o100_666) };
    let mut bytes = node.to_ne_bytes().to_vec();
    bytes.extend(u64::to_ne_bytes(size));
    bytes.extend([0; 44]);
    bytes.extend(mode.to_ne_bytes());
    bytes.extend(1u32.to_ne_bytes());
    bytes.extend(user_and_group);
    bytes.extend([0; 4]);
    bytes.extend(4096u32.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// `include/uapi/linux/fuse.h`.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
/// Who looks up one name does not wait for who looks up another.
const PARALLEL_DIROPS: u32 = 1 << 18;
/// Who closes a file does not wait for who changes it.
const NOFLUSH: u32 = 1 << 5;
/// `struct fuse_in_header`.
const HEADER: usize = 40;
/// FUSE_ROOT_ID.
const ROOT: u64 = 1;
const LONGEST: usize = 1 << 17;
