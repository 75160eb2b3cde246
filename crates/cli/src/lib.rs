//! The command line `transom`: what a person or a script at a terminal does with their account.
//!
//! What always holds: results go to standard output, everything else to standard error; with `--json` each line of output is
//! one object of the vocabulary in crate `api`; an error says what happened, why, and what to do next, and its exit code says
//! which kind it is; text from others can't move the cursor, change colours or reorder what is printed.
//! Deliberately absent: any knowledge of relays, keys or logs; all of that is behind [`client::Client`].

mod args;
mod bubble;
mod commands;
mod emphasis;
mod lines;
mod names;
mod profile;
mod qr;
mod session;
mod terminal;

use std::process::ExitCode;

use api::{Kind, Problem};
use clap::Parser;

use crate::args::{Args, Command};
use crate::terminal::Terminal;

/// Parses the arguments, does what they say, and returns the exit code.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return not_understood(&error),
    };
    let terminal = Terminal::new(args.json, args.color);
    match run(&args, &terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            terminal.problem(&problem);
            ExitCode::from(exit_code(problem.kind))
        }
    }
}

/// Help and versions are printed as they are; what can't be understood is a problem like any other for who reads JSON.
fn not_understood(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().take_while(|word| word != "--").any(|word| word == "--json");
    if !wants_json || !error.use_stderr() {
        // Printing can fail only where nobody reads any more.
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { exit_code(Kind::Usage) } else { 0 });
    }
    let text = error.render().to_string();
    let what = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    let problem =
        Problem::new(Kind::Usage, format!("{}.", what.trim_end_matches('.')), "", "Look it up with `transom --help`.");
    Terminal::new(true, args::Color::Never).problem(&problem);
    ExitCode::from(exit_code(Kind::Usage))
}

fn run(args: &Args, terminal: &Terminal) -> Result<(), Problem> {
    match &args.command {
        Command::Completions { shell } => commands::completions(terminal, *shell),
        Command::Passphrase { change } => commands::passphrase(args, terminal, *change),
        _ => commands::run(args, terminal),
    }
}

/// Scripts rely on these; they are listed in `--help`.
fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::Bug => 1,
        Kind::Usage => 2,
        Kind::NotFound => 3,
        Kind::Forbidden => 4,
        Kind::Conflict => 5,
        Kind::Refused => 6,
        Kind::Offline => 7,
        Kind::Trust => 8,
        Kind::Local => 9,
    }
}
