//! `sim`: runs seeds, and mutants that the seeds must find.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use std::process::ExitCode;

fn main() -> ExitCode {
    sim::command_line::main(std::env::args().skip(1))
}
