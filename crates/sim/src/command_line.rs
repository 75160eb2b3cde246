//! The program `sim`: `run`, `mutants`, `hash`.

#![allow(clippy::print_stdout, clippy::print_stderr)] // its output is what it is for

use std::process::ExitCode;
use std::time::Instant;

use crate::mutants::Mutant;
use crate::run::{Options, Outcome};
use crate::scripted;

const USAGE: &str = "\
usage: sim run [--seeds N] [--seed S] [--steps N] [--mutant NAME] [--trace]
       sim mutants [--seeds N] [--mutant NAME]
       sim hash --seed S [--steps N]

run      runs N seeds from S on; a violated invariant ends it and says how to see it again
mutants  plants one defect at a time; each must be found within N seeds (2000), or the exit code says so
hash     prints the hash of one run's trace";

/// What was asked on the command line.
struct Asked {
    seeds: Option<u64>,
    seed: u64,
    steps: u64,
    mutant: Option<Mutant>,
    trace: bool,
}

impl Asked {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self { seeds: None, seed: 1, steps: 1_500, mutant: None, trace: false };
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text} is not a number"));
            match option.as_str() {
                "--seeds" => asked.seeds = Some(number(value()?)?),
                "--seed" => asked.seed = number(value()?)?,
                "--steps" => asked.steps = number(value()?)?,
                "--mutant" => {
                    let name = value()?;
                    asked.mutant = Some(Mutant::named(&name).ok_or_else(|| format!("there is no mutant {name}"))?);
                }
                "--trace" => asked.trace = true,
                _ => return Err(format!("{option} is not an option")),
            }
        }
        Ok(asked)
    }
}

/// Runs the program.
pub fn main(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let command = arguments.next().unwrap_or_default();
    let asked = match Asked::parse(arguments) {
        Ok(asked) => asked,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match command.as_str() {
        "run" => run(&asked),
        "mutants" => mutants(&asked),
        "hash" => {
            println!("{}", hex(&one(asked.seed, &asked).hash));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn one(seed: u64, asked: &Asked) -> Outcome {
    let trace: Option<Box<dyn FnMut(&str)>> =
        if asked.trace { Some(Box::new(|line: &str| println!("{line}"))) } else { None };
    scripted::run(Options { seed, steps: asked.steps, mutant: asked.mutant, trace })
}

fn run(asked: &Asked) -> ExitCode {
    let (begun, seeds) = (Instant::now(), asked.seeds.unwrap_or(1));
    for seed in asked.seed..asked.seed + seeds {
        let outcome = one(seed, asked);
        if let Err(violation) = &outcome.verdict {
            if !asked.trace {
                outcome.last.iter().for_each(|line| println!("{line}"));
            }
            let mutant = asked.mutant.map_or(String::new(), |mutant| format!(" --mutant {}", mutant.name()));
            println!("\nseed {seed}, step {}: {violation}", outcome.steps);
            println!("again: cargo run -p transom-sim -- run --seed {seed} --steps {}{mutant} --trace", asked.steps);
            return ExitCode::FAILURE;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{seeds} seeds in {seconds:.1} s ({:.1}/s): I1 to I5 and I9 hold", seeds as f64 / seconds.max(0.001));
    ExitCode::SUCCESS
}

fn mutants(asked: &Asked) -> ExitCode {
    let mut survivors = 0;
    println!("{:<26} {:>6} {:>9}  found by", "mutant", "seed", "seconds");
    for mutant in Mutant::ALL.into_iter().filter(|mutant| asked.mutant.is_none_or(|only| only == *mutant)) {
        let begun = Instant::now();
        let asked = Asked { mutant: Some(mutant), trace: false, ..*asked };
        let found = (asked.seed..asked.seed + asked.seeds.unwrap_or(2_000))
            .find_map(|seed| one(seed, &asked).verdict.err().map(|violation| (seed, violation)));
        let seconds = begun.elapsed().as_secs_f64();
        match found {
            Some((seed, violation)) => println!("{:<26} {seed:>6} {seconds:>9.1}  {violation}", mutant.name()),
            None => {
                survivors += 1;
                println!("{:<26} {:>6} {seconds:>9.1}  SURVIVED: an invariant is missing", mutant.name(), "-");
            }
        }
    }
    if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
