//! `sandlock __trial`: what `check` runs inside a sandbox. It tries what must fail and what must not.

use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::args::TrialArgs;

/// The file that was not granted could be read.
pub(crate) const FILE_WAS_READ: u8 = 10;
/// The destination that was granted could not be reached.
pub(crate) const ALLOWED_WAS_REFUSED: u8 = 11;
/// The destination that was not granted could be reached.
pub(crate) const REFUSED_WAS_REACHED: u8 = 12;

/// Exits with 0 when the sandbox does what it should.
pub(crate) fn trial(args: &TrialArgs) -> ExitCode {
    if std::fs::read(&args.hidden).is_ok() {
        return ExitCode::from(FILE_WAS_READ);
    }
    if let [allowed, refused] = args.servers[..] {
        if !reaches(allowed) {
            return ExitCode::from(ALLOWED_WAS_REFUSED);
        }
        if reaches(refused) {
            return ExitCode::from(REFUSED_WAS_REACHED);
        }
    }
    ExitCode::SUCCESS
}

fn reaches(server: SocketAddr) -> bool {
    TcpStream::connect_timeout(&server, PATIENCE).is_ok()
}

const PATIENCE: Duration = Duration::from_secs(2);
