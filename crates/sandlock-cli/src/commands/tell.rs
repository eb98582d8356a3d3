//! `sandlock kill`, `allow`, `deny`, `pause`, `resume`: what runs are told.

use std::process::ExitCode;

use sandlock_core::control::{Client, Request};

use super::ps::directory;
use crate::exit;
use crate::failure::Failure;

/// Tells runs something. The others are told, too, when one cannot be.
pub(crate) fn tell(names: &[String], request: &Request) -> ExitCode {
    let failures: Vec<_> = names.iter().filter_map(|name| tell_one(name, request).err()).collect();
    for failure in &failures {
        failure.report(&[]);
    }
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::OUR_FAILURE),
    }
}

fn tell_one(name: &str, request: &Request) -> Result<(), Failure> {
    Ok(Client::connect(&directory()?, name)?.tell(request)?)
}
