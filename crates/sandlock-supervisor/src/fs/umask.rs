//! Files are made with the file mode creation mask of the caller, where no access list says otherwise (umask(2)).

use rustix::fs::Mode;
use sandlock_sys::Errno;

use crate::call::{Call, Failure};
use crate::context::Context;

/// The mask of a caller.
pub(crate) struct Umask(Mode);

impl Umask {
    /// That of a caller that still waits.
    ///
    /// # Errors
    ///
    /// When the caller is gone; EACCES when it cannot be told.
    pub(crate) fn of(cx: &Context<'_>, call: &Call) -> Result<Self, Failure> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", call.tid)).map_err(|_| Failure::Gone)?;
        let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let mask = mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
        cx.confirm(call)?;
        Ok(Umask(Mode::from_bits_truncate(mask.ok_or(Errno::ACCESS)?)))
    }

    /// Makes something under it. The mask is this thread's own, or no other one makes anything that has a name.
    pub(crate) fn during<T>(&self, make: impl FnOnce() -> T) -> T {
        let before = rustix::process::umask(self.0);
        let made = make();
        rustix::process::umask(before);
        made
    }
}
