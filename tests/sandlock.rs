//! The command under test: a package can only see binaries of its own.

fn main() -> std::process::ExitCode {
    sandlock_cli::main()
}
