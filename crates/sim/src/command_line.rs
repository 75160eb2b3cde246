//! The program `sim`: `run`, `mutants`, `hash`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use std::process::ExitCode;
use std::time::Instant;

use crate::mutants::Mutant;
use crate::run::{Options, Outcome};
use crate::search::search;
use crate::{scripted, world};

const USAGE: &str = "\
usage: sim run [--seeds N] [--seed S] [--steps N] [--world log|people] [--mutant NAME] [--trace] [--all] [--insiders]
       sim mutants [--seeds N] [--world log|people] [--mutant NAME]
       sim hash --seed S [--steps N] [--world log|people]

The world `log` has clients that hold epoch keys and nothing else; `people` has the whole client. Without --world: both.

run      runs N seeds from S on; a violated invariant ends it (with --all: is listed) and says how to see it again
mutants  plants one defect at a time; each must be found in each world that can have it within N seeds (2000), by a
         seed that holds without it
hash     prints the hash of one run's trace";

/// Which simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Log,
    People,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Log, Self::People];

    const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::People => "people",
        }
    }

    /// Steps of a run that nobody gave a number for.
    const fn steps(self) -> u64 {
        match self {
            Self::Log => 1_500,
            Self::People => 60,
        }
    }
}

/// What was asked on the command line.
struct Asked {
    seeds: Option<u64>,
    seed: u64,
    steps: Option<u64>,
    world: Option<Kind>,
    mutant: Option<Mutant>,
    trace: bool,
    all: bool,
    insiders: bool,
}

impl Asked {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self {
            seeds: None,
            seed: 1,
            steps: None,
            world: None,
            mutant: None,
            trace: false,
            all: false,
            insiders: false,
        };
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text} is not a number"));
            match option.as_str() {
                "--seeds" => asked.seeds = Some(number(value()?)?),
                "--seed" => asked.seed = number(value()?)?,
                "--steps" => asked.steps = Some(number(value()?)?),
                "--world" => {
                    let name = value()?;
                    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
                    asked.world = Some(kind.ok_or_else(|| format!("there is no world {name}"))?);
                }
                "--mutant" => {
                    let name = value()?;
                    asked.mutant = Some(Mutant::named(&name).ok_or_else(|| format!("there is no mutant {name}"))?);
                }
                "--trace" => asked.trace = true,
                "--all" => asked.all = true,
                "--insiders" => asked.insiders = true,
                _ => return Err(format!("{option} is not an option")),
            }
        }
        Ok(asked)
    }

    /// Why this can't be run, if it can't.
    fn problem(&self, all_mutants: bool) -> Option<&'static str> {
        if self.trace && self.seeds.is_some_and(|seeds| seeds > 1) {
            return Some("seeds run side by side: one at a time can be traced");
        }
        let engine = self.world != Some(Kind::Log) && (all_mutants || self.mutant.is_some_and(Mutant::is_in_engine));
        (engine && !cfg!(feature = "mutants"))
            .then_some("defects of the engine are not built in: scripts/sim.sh has them")
    }

    fn worlds(&self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(|kind| self.world.is_none_or(|only| only == *kind))
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
    if let Some(problem) = asked.problem(command == "mutants") {
        eprintln!("{problem}");
        return ExitCode::from(2);
    }
    match command.as_str() {
        "run" => run(&asked),
        "mutants" => mutants(&asked),
        "hash" => {
            for kind in asked.worlds() {
                println!("{} {}", kind.name(), hex(&one(kind, asked.seed, &asked).hash));
            }
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn one(kind: Kind, seed: u64, asked: &Asked) -> Outcome {
    let trace: Option<crate::trace::Listener> =
        if asked.trace { Some(Box::new(|line: &str| println!("{line}"))) } else { None };
    let steps = asked.steps.unwrap_or(kind.steps());
    let insiders = asked.insiders || asked.mutant.is_some_and(Mutant::needs_insiders);
    let options = Options { seed, steps, insiders, mutant: asked.mutant, trace };
    match kind {
        Kind::Log => scripted::run(options),
        Kind::People => world::run(options),
    }
}

fn run(asked: &Asked) -> ExitCode {
    let mut violated = 0;
    for kind in asked.worlds() {
        let (begun, seeds) = (Instant::now(), asked.seeds.unwrap_or(1));
        let found = search(kind.name(), asked.seed..asked.seed + seeds, asked.all, |seed| {
            let outcome = one(kind, seed, asked);
            let violation = outcome.verdict.as_ref().err()?;
            if asked.all {
                println!("{}, seed {seed}, step {}: {violation}", kind.name(), outcome.steps);
            }
            Some(outcome)
        });
        if let (Some((seed, outcome)), false) = (found.first(), asked.all) {
            report(kind, *seed, asked, outcome);
            return ExitCode::FAILURE;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let pace = seeds as f64 / seconds.max(0.001);
        violated += found.len();
        if !found.is_empty() {
            println!("{}: {} of {seeds} seeds violated something ({seconds:.1} s)", kind.name(), found.len());
            continue;
        }
        println!("{}: {seeds} seeds in {seconds:.1} s ({pace:.1}/s): I1 to I5 and I9 hold", kind.name());
    }
    if violated == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What was violated, what came before it, and how to see it again.
fn report(kind: Kind, seed: u64, asked: &Asked, outcome: &Outcome) {
    let Err(violation) = &outcome.verdict else { return };
    if !asked.trace {
        outcome.last.iter().for_each(|line| println!("{line}"));
    }
    let mutant = asked.mutant.map_or(String::new(), |mutant| format!(" --mutant {}", mutant.name()));
    let insiders = if asked.insiders { " --insiders" } else { "" };
    let steps = asked.steps.unwrap_or(kind.steps());
    println!("\n{}, seed {seed}, step {}: {violation}", kind.name(), outcome.steps);
    let world = kind.name();
    println!("again: scripts/sim.sh run --world {world} --seed {seed} --steps {steps}{mutant}{insiders} --trace");
}

fn mutants(asked: &Asked) -> ExitCode {
    let mut survivors = 0;
    println!("{:<26} {:<7} {:>6} {:>9}  found by", "mutant", "world", "seed", "seconds");
    for mutant in Mutant::ALL.into_iter().filter(|mutant| asked.mutant.is_none_or(|only| only == *mutant)) {
        let asked = Asked { mutant: Some(mutant), trace: false, insiders: mutant.needs_insiders(), ..*asked };
        for kind in asked.worlds().filter(|kind| *kind == Kind::People || mutant.is_in_log()) {
            let begun = Instant::now();
            // A seed that fails by itself finds nothing.
            let sound = Asked { mutant: None, ..asked };
            let (mutant, world) = (mutant.name(), kind.name());
            let seeds = asked.seed..asked.seed + asked.seeds.unwrap_or(2_000);
            let found = search(&format!("{mutant}, {world}"), seeds, false, |seed| {
                let violation = one(kind, seed, &asked).verdict.err()?;
                one(kind, seed, &sound).verdict.is_ok().then_some(violation)
            });
            let seconds = begun.elapsed().as_secs_f64();
            match found.first() {
                Some((seed, violation)) => println!("{mutant:<26} {world:<7} {seed:>6} {seconds:>9.1}  {violation}"),
                None => {
                    survivors += 1;
                    let none = "-";
                    println!("{mutant:<26} {world:<7} {none:>6} {seconds:>9.1}  SURVIVED: an invariant is missing");
                }
            }
        }
    }
    if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
