//! An invariant that does not hold.

/// Which invariant, and how it was seen to be broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `I1` to `I5`, `I9`, or `live` if a run doesn't come to rest.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl Violation {
    /// A violation.
    pub fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

impl std::error::Error for Violation {}

/// Fails with a violation unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $invariant:literal, $($what:tt)+) => {
        if !$condition {
            return Err($crate::violation::Violation::new($invariant, format!($($what)+)));
        }
    };
}
pub(crate) use ensure;
