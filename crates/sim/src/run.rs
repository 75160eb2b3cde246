//! What a run is asked and what it answers, whichever world it runs in.

use crate::mutants::Mutant;
use crate::violation::Violation;

/// A run.
pub struct Options {
    /// Everything random follows from this.
    pub seed: u64,
    /// Steps under faults; then everything must come to rest.
    pub steps: u64,
    /// Some runs of the world `people` have insiders, who do what nobody may do (feature `mutants`).
    pub insiders: bool,
    /// The planted defect.
    pub mutant: Option<Mutant>,
    /// Gets every line of the trace.
    pub trace: Option<crate::trace::Listener>,
}

/// What became of it.
pub struct Outcome {
    /// The hash of the trace.
    pub hash: [u8; 32],
    /// Steps until it came to rest, or to the violation.
    pub steps: u64,
    /// The last lines of the trace.
    pub last: Vec<String>,
    /// The invariant that doesn't hold, if there is one.
    pub verdict: Result<(), Violation>,
}
