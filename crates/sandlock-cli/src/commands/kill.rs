//! `sandlock kill`.

use std::process::ExitCode;

use sandlock_core::control::Client;

use super::ps::directory;
use crate::exit;
use crate::failure::Failure;

/// Ends runs. The others are ended, too, when one cannot be.
pub(crate) fn kill(names: &[String]) -> ExitCode {
    let failures: Vec<_> = names.iter().filter_map(|name| end(name).err()).collect();
    for failure in &failures {
        failure.report(&[]);
    }
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::OUR_FAILURE),
    }
}

fn end(name: &str) -> Result<(), Failure> {
    Ok(Client::connect(&directory()?, name)?.kill()?)
}
