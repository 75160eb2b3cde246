//! What is printed, and what is appended to the file of JSON lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::cpu::{NOISY, Used};

/// Which way a figure is better.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    /// There is none: a baseline.
    None,
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// One figure.
pub struct Row<'a> {
    /// What was measured.
    pub what: &'a str,
    /// The figure.
    pub figure: f64,
    /// Its unit.
    pub unit: &'a str,
    /// What it should be.
    pub aim: Aim,
    /// A figure of the same run to hold it against, and what that is.
    pub baseline: Option<(&'a str, f64)>,
    /// Processor time, and the number of things it was used for.
    pub used: Option<(Used, f64)>,
    /// More about it, for the JSON line and, short, for people.
    pub more: Vec<(&'static str, f64)>,
}

impl<'a> Row<'a> {
    /// A row with nothing but a figure.
    pub fn new(what: &'a str, figure: f64, unit: &'a str) -> Self {
        Self { what, figure, unit, aim: Aim::None, baseline: None, used: None, more: Vec::new() }
    }

    /// With an aim.
    #[must_use]
    pub fn aim(self, aim: Aim) -> Self {
        Self { aim, ..self }
    }

    /// With what it is held against.
    #[must_use]
    pub fn against(self, what: &'a str, figure: f64) -> Self {
        Self { baseline: Some((what, figure)), ..self }
    }

    /// With the processor time that so many things took.
    #[must_use]
    pub fn used(self, used: Used, things: f64) -> Self {
        Self { used: Some((used, things)), ..self }
    }

    /// With another figure beside it.
    #[must_use]
    pub fn more(mut self, name: &'static str, figure: f64) -> Self {
        self.more.push((name, figure));
        self
    }
}

/// Where figures go.
pub struct Report {
    json: File,
    missed: Vec<String>,
    noisy: usize,
    rows: usize,
}

impl Report {
    /// Appends to `path`.
    pub fn to(path: &Path) -> io::Result<Self> {
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above)?;
        }
        let json = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { json, missed: Vec::new(), noisy: 0, rows: 0 })
    }

    /// A heading with the names of the columns.
    pub fn heading(&mut self, text: &str) {
        println!("\n{text}");
        println!(
            "  {:<46}{:>12} {:<14}{:>16}{:>9}{:>10}{:>10}{:>9}",
            "", "figure", "unit", "aim", "ratio", "srv s/1k", "gen s/1k", "foreign"
        );
    }

    /// A sentence between the rows.
    pub fn note(&mut self, text: &str) {
        println!("  {text}");
    }

    /// One row.
    pub fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.rows += 1;
        let (aim, met) = match row.aim {
            Aim::None => (String::new(), None),
            Aim::AtLeast(aim) => (format!(">= {}", short(aim)), Some(row.figure >= aim)),
            Aim::AtMost(aim) => (format!("<= {}", short(aim)), Some(row.figure <= aim)),
        };
        let mut line = Map::new();
        line.insert("bench".into(), json!("end-to-end"));
        line.insert("what".into(), json!(row.what));
        line.insert("figure".into(), json!(row.figure));
        line.insert("unit".into(), json!(row.unit));
        if let Aim::AtLeast(aim) | Aim::AtMost(aim) = row.aim {
            line.insert("aim".into(), json!(aim));
            line.insert("met".into(), json!(met));
        }
        let mut text = format!("  {:<46}{:>12} {:<14}{aim:>16}", row.what, short(row.figure), row.unit);
        match row.baseline {
            Some((name, baseline)) if baseline > 0.0 => {
                let ratio = row.figure / baseline;
                text += &format!("{ratio:>9.3}");
                line.insert("baseline".into(), json!(name));
                line.insert("ratio".into(), json!(ratio));
            }
            _ => text += &format!("{:>9}", ""),
        }
        if let Some((used, things)) = row.used {
            let thousands = (things / 1000.0).max(1e-9);
            text += &format!(
                "{:>10.4}{:>10.4}{:>8.1}%",
                used.server / thousands,
                used.generator / thousands,
                used.foreign * 100.0
            );
            line.insert("server_cpu_s_per_1000".into(), json!(used.server / thousands));
            line.insert("generator_cpu_s_per_1000".into(), json!(used.generator / thousands));
            line.insert("foreign".into(), json!(used.foreign));
            line.insert("noisy".into(), json!(used.foreign > NOISY));
            if used.foreign > NOISY {
                self.noisy += 1;
                text += " NOISY";
            }
        }
        for (name, figure) in &row.more {
            text += &format!("  {name} {}", short(*figure));
            line.insert((*name).into(), json!(figure));
        }
        if met == Some(false) {
            text += "  MISSED";
            self.missed.push(row.what.to_owned());
        }
        println!("{text}");
        writeln!(self.json, "{}", Value::Object(line))
    }

    /// What a bench could not measure.
    pub fn failed(&mut self, what: &str, why: &str) -> io::Result<()> {
        println!("  {what}: NOT MEASURED: {why}");
        writeln!(self.json, "{}", json!({"bench": "end-to-end", "what": what, "failed": why}))
    }

    /// The last lines.
    pub fn end(&self) {
        println!("\n{} figures; {} missed their aim: {}", self.rows, self.missed.len(), self.missed.join("; "));
        if self.noisy > 0 {
            println!("{} figures were taken while more than 5 % of the machine was busy with other things", self.noisy);
        }
    }
}

fn short(figure: f64) -> String {
    match figure.abs() {
        f if f >= 10_000.0 => format!("{figure:.0}"),
        f if f >= 100.0 => format!("{figure:.1}"),
        f if f >= 1.0 => format!("{figure:.2}"),
        _ => format!("{figure:.4}"),
    }
}
