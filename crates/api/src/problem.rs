//! What went wrong, in the words of the person it happened to.

use serde::{Deserialize, Serialize};

/// Whose fault a problem is, for programs; also the exit code of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The command can't be carried out as it was given.
    Usage,
    /// What it names does not exist.
    NotFound,
    /// The person's role or the other side's decision forbids it.
    Forbidden,
    /// It no longer applies: somebody else was faster.
    Conflict,
    /// The relay refused it.
    Refused,
    /// The relay can't be reached. What was asked is kept and goes on by itself, where that is said.
    Offline,
    /// Something does not verify: a signature, a record, a history.
    Trust,
    /// This machine: disk, database, passphrase.
    Local,
    /// A defect of ours.
    Bug,
}

/// What happened, why, and what to do next. Never holds keys or what others wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// For programs.
    pub kind: Kind,
    /// What happened, one sentence.
    pub what: String,
    /// Why, if that is known and not said yet; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What to do next; may be empty if there is nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
}

impl Problem {
    /// A problem with all three of its sentences.
    pub fn new(kind: Kind, what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self { kind, what: what.into(), why: why.into(), next: next.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        for more in [&self.why, &self.next] {
            if !more.is_empty() {
                write!(f, " {more}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
