//! What the exit statuses mean, as `env(1)` and `timeout(1)` have them.

use std::process::ExitCode;

use sandlock_core::{Ending, Outcome};

/// The command ran too long.
pub(crate) const TIMED_OUT: u8 = 124;
/// sandlock failed; nothing was executed.
pub(crate) const OUR_FAILURE: u8 = 125;
/// The command was found and cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub(crate) const NOT_FOUND: u8 = 127;

/// How the command went.
pub(crate) fn of(outcome: &Outcome) -> ExitCode {
    if outcome.timed_out {
        return ExitCode::from(TIMED_OUT);
    }
    ExitCode::from(match outcome.ending {
        Ending::Exited(status) => status as u8,
        Ending::Signaled(signal) => 128u8.wrapping_add(signal as u8),
        Ending::Cut | Ending::OutOfMemory { .. } => 128 + 9,
    })
}
