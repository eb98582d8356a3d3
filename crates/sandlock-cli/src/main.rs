//! The `sandlock` command.

fn main() -> std::process::ExitCode {
    sandlock_cli::main()
}
