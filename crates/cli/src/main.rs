//! The command `transom`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
