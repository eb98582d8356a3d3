//! The command line: what it prints and how it ends.

mod check;
mod explain;
mod limits;
mod mistakes;
mod profiles;
mod refusals;
mod root;
mod runs;
mod tour;

fn main() -> std::process::ExitCode {
    lab::main(env!("CARGO_BIN_EXE_sandlock-under-test"))
}
