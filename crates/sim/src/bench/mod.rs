//! The end-to-end benches: the real relay as a process of its own under loads that speak the wire with made-up epoch keys, and the
//! engine and its groups in this process; each beside a baseline that was taken in the same run.
//!
//! What always holds: load generators are processes of their own; every loop is bounded in time and count; only loopback is used;
//! children are ended by their ids; who else used the machine is said. Deliberately absent: judgement. A missed aim is printed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program that prints")]

mod cpu;
mod engine;
mod groups;
mod history;
mod large;
mod lively;
mod load;
mod memory;
mod null;
mod person;
mod process;
mod relay;
mod report;
mod socket;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use report::Report;

const HELP: &str = "bench [--only NAME,...] [--quick] [--seconds N] [--json FILE] [--dir DIR]

Measures the relay (the `transomd` beside this program), the engine and its groups, beside baselines of the same run.
  --only NAMES   only these, of those named below
  --quick        a tenth of everything: to see that it runs, not for figures
  --seconds N    how long each load is measured [default: 8]
  --json FILE    append JSON lines here [default: target/bench.jsonl]
  --dir DIR      the disk that is measured [default: target/bench-data]";

type Bench = fn(&Settings, &mut Report) -> io::Result<()>;

/// Every bench, in the order in which they run.
const BENCHES: [(&str, &str, Bench); 15] = [
    ("pairs", "relay: 200 pairs, 500 B, durable before the answer, 16 in flight each", relay::pairs),
    ("pairs1", "relay: the same, one in flight", relay::pairs_one),
    ("fanout", "relay: one writer, 100 and 1,000 readers", relay::fan_out),
    ("absent", "relay: 200 absent receivers, 50 senders", relay::absent),
    ("idle", "relay: connections with 10 subscriptions that wait, after 64 KiB were received", relay::idle),
    ("storm", "relay: everybody comes back", relay::storm),
    ("restart", "relay: started again after kill -9", relay::restart),
    ("engine", "engine: messages out and in over a synced, encrypted database", engine::messages),
    ("groups", "groups: beside OpenMLS alone (aim: no more than 20 % above it)", groups::groups),
    ("memory", "groups: memory of loaded ones, beside OpenMLS's own part", memory::groups),
    ("large", "groups: one of 1,024 accounts", large::large),
    ("open", "engine: opening a large database", engine::open),
    ("catchup", "engine: coming back after a long absence", lively::catching_up),
    ("receipts", "engine: what receipts cost in a lively group", lively::receipts),
    ("history", "engine: what was said before goes to a new device, to a backup and back", history::history),
];

/// How to measure.
pub struct Settings {
    only: Vec<String>,
    quick: bool,
    seconds: u64,
    json: PathBuf,
    dir: PathBuf,
}

impl Settings {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut settings = Self {
            only: Vec::new(),
            quick: false,
            seconds: 8,
            json: PathBuf::from("target/bench.jsonl"),
            dir: PathBuf::from("target/bench-data"),
        };
        let mut seconds = None;
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            if name == "--quick" {
                settings.quick = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value, or is unknown"))?;
            match name.as_str() {
                "--only" => settings.only = value.split(',').map(str::to_owned).collect(),
                "--seconds" => seconds = Some(value.parse().map_err(|_| format!("--seconds {value} is no number"))?),
                "--json" => settings.json = PathBuf::from(value),
                "--dir" => settings.dir = PathBuf::from(value),
                _ => return Err(format!("{name} is unknown")),
            }
        }
        settings.seconds = seconds.unwrap_or(if settings.quick { 2 } else { 8 }).clamp(1, 60);
        if let Some(unknown) = settings.only.iter().find(|only| BENCHES.iter().all(|(name, ..)| name != only)) {
            return Err(format!("there is no bench {unknown}"));
        }
        Ok(settings)
    }

    /// An empty directory on the disk that is measured.
    fn fresh(&self, name: &str) -> io::Result<PathBuf> {
        let dir = self.dir.join(name);
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(&dir)?,
        }
        std::path::absolute(dir)
    }

    fn settle(&self) -> Duration {
        relay::SETTLE
    }
}

/// Each connection is an open file; the usual soft limit is for programs that use `select`.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _as_it_is = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn run(settings: &Settings) -> io::Result<()> {
    let mut report = Report::to(&settings.json)?;
    for (name, heading, bench) in BENCHES {
        if !settings.only.is_empty() && !settings.only.iter().any(|only| only == name) {
            continue;
        }
        report.heading(heading);
        if let Err(error) = bench(settings, &mut report) {
            report.failed(name, &error.to_string())?;
        }
    }
    report.end();
    match std::fs::remove_dir_all(&settings.dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The program `bench`; a load generator or the null relay, when it is called as one by itself.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.first().map(String::as_str) {
        Some("generate") if arguments.len() > 1 => load::run(&arguments[1], &arguments[2..]),
        Some("hold-groups") => memory::hold(&arguments[1..]),
        Some("null-relay") => null::serve(arguments.get(1).map(Path::new)),
        Some("--help" | "-h") => {
            println!("{HELP}\n\nThere are:");
            BENCHES.iter().for_each(|(name, heading, _)| println!("  {name:<10} {heading}"));
            Ok(())
        }
        _ => match Settings::parse(&arguments) {
            Ok(settings) => run(&settings),
            Err(error) => {
                eprintln!("bench: {error}\n\n{HELP}");
                return ExitCode::from(2);
            }
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
