//! What happened in a run: a running hash for comparing two runs, the last lines for the one who looks for the cause.

use std::collections::VecDeque;
use std::fmt;

use sha2::{Digest, Sha256};

/// Lines kept for the report of a violation.
const KEPT: usize = 60;

/// Gets every line of a trace.
pub type Listener = Box<dyn FnMut(&str)>;

/// The course of a run.
pub struct Trace {
    hash: Sha256,
    step: u64,
    last: VecDeque<String>,
    all: Option<Listener>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: Sha256::new(), step: 0, last: VecDeque::new(), all: None }
    }
}

impl Trace {
    /// A trace that also hands every line to `sink`.
    pub fn to(sink: Box<dyn FnMut(&str)>) -> Self {
        Self { all: Some(sink), ..Self::default() }
    }

    /// Starts the next step.
    pub fn next_step(&mut self) {
        self.step += 1;
    }

    /// The number of the step that the run is in.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// One line.
    pub fn line(&mut self, line: fmt::Arguments<'_>) {
        let line = format!("{:>6} {line}", self.step);
        self.hash.update(line.as_bytes());
        self.hash.update(b"\n");
        if let Some(all) = &mut self.all {
            all(&line);
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Bytes that two runs of one seed must have in common without being worth a line.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    /// The hash of all that happened so far.
    pub fn hash(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// The last lines.
    pub fn last(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }
}
