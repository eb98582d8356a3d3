//! What a file of tests registers, and the main function of a test binary.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use crate::lab::Binaries;
use crate::{Args, Lab, User, programs};

/// A test: its name, and what it does.
pub type Test = (&'static str, fn(&Lab));
/// A program that tests run: its name, and what it does.
pub type Program = (&'static str, fn(&Args));

/// The tests and programs of one file.
pub struct Suite {
    /// The file's module path.
    pub module: &'static str,
    /// Its tests, each run once for every user.
    pub tests: &'static [Test],
    /// Its programs.
    pub programs: &'static [Program],
}

inventory::collect!(Suite);

/// Registers the tests and the programs of a file, by the names of their functions.
///
/// ```ignore
/// lab::suite! { tests: [the_ring_is_refused], programs: [ring] }
/// ```
#[macro_export]
macro_rules! suite {
    { tests: [$($test:ident),* $(,)?] $(, programs: [$($program:ident),* $(,)?])? $(,)? } => {
        $crate::inventory::submit! {
            $crate::Suite {
                module: module_path!(),
                tests: &[$((stringify!($test), $test)),*],
                programs: &[$($((stringify!($program), $program)),*)?],
            }
        }
    };
}

impl Suite {
    fn name(&self) -> &'static str {
        self.module.split_once("::").map_or(self.module, |(_, file)| file)
    }
}

/// Runs a program when the first argument says so, else the tests.
///
/// `sandlock` is the command under test: `env!("CARGO_BIN_EXE_sandlock-under-test")`.
pub fn main(sandlock: &str) -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == PROGRAM_FLAG) {
        return run_program(args.collect());
    }
    let mut names = HashSet::new();
    for (name, _) in
        inventory::iter::<Suite>.into_iter().flat_map(|suite| suite.programs).chain(programs::ALL)
    {
        assert!(names.insert(name), "two programs are called {name}");
    }
    let binaries = Arc::new(Binaries::take(Path::new(sandlock)));
    let trials = inventory::iter::<Suite>.into_iter().flat_map(|suite| trials(suite, &binaries)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trials(suite: &'static Suite, binaries: &Arc<Binaries>) -> Vec<Trial> {
    let users = User::all();
    let each = |user: User, &(name, test): &Test| {
        let shown = match users.len() {
            1 => format!("{}::{name}", suite.name()),
            _ => format!("{}::{name} ({user})", suite.name()),
        };
        let binaries = Arc::clone(binaries);
        Trial::test(shown, move || {
            test(&Lab::new(user, binaries));
            Ok(())
        })
    };
    suite.tests.iter().flat_map(|test| users.iter().map(move |user| each(*user, test))).collect()
}

/// # Panics
///
/// When there is no such program.
fn run_program(mut words: Vec<OsString>) -> ExitCode {
    let wanted = if words.is_empty() { OsString::new() } else { words.remove(0) };
    let registered = inventory::iter::<Suite>.into_iter().flat_map(|suite| suite.programs);
    let (_, program) = registered
        .chain(programs::ALL)
        .find(|(name, _)| wanted == *name)
        .unwrap_or_else(|| panic!("no program {wanted:?} is registered"));
    program(&Args::new(words));
    ExitCode::SUCCESS
}

/// The first argument that makes a test binary a program.
pub(crate) const PROGRAM_FLAG: &str = "--program";
