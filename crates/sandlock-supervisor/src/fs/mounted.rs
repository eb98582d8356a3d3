//! Files of the run's own that are there by a mount, in runs with a root of their own: nobody has to look at `open`.

use std::os::fd::OwnedFd;

use sandlock_policy::{NetworkPolicy, hosts_file};
use sandlock_sys::Errno;

/// What of them changes while the command runs.
#[derive(Debug, Default)]
pub struct Mounted {
    /// `/etc/hosts`, in runs with names: open for writing, which nothing inside can have it.
    pub hosts: Option<OwnedFd>,
}

impl Mounted {
    /// Writes what the names stand for now. Who reads at the same moment may see lines of both.
    pub(crate) fn rewrite(&self, policy: &NetworkPolicy) {
        if let Some(hosts) = &self.hosts {
            // A file that cannot be written stays what it is: a convenience, and no guard.
            let _ = write_whole(hosts, hosts_file(None, policy).as_bytes());
        }
    }
}

/// Replaces the content of a file in place.
///
/// # Errors
///
/// That of `pwrite(2)` or `ftruncate(2)`.
pub fn write_whole(file: &OwnedFd, content: &[u8]) -> Result<(), Errno> {
    let mut written = 0;
    while written < content.len() {
        match rustix::io::pwrite(file, &content[written..], written as u64)? {
            0 => return Err(Errno::NOSPC),
            count => written += count,
        }
    }
    // Only now: shorter for a moment would be a file with a part of its lines.
    rustix::fs::ftruncate(file, content.len() as u64)
}
