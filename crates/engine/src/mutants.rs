//! Bugs that the simulator plants, one at a time, to see whether its invariants find them. Compiled only for it.

use std::cell::Cell;

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Entries of an epoch that has ended are processed (protocol rule 1).
    VoidRuleOff,
    /// A pending commit that has lost is kept and sent again.
    PendingCommitReused,
    /// The cursor is committed without the message that it stands for.
    CursorBeforeMessage,
    /// An intent is forgotten when its commit loses.
    LostIntent,
    /// An entry that has been processed is processed again.
    DoubleMerge,
    /// A removed member keeps its keys and goes on reading.
    RemovedKeyKept,
}

thread_local! {
    static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Plants a bug on this thread, or takes it away.
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}

/// True if this bug is planted on this thread.
pub fn is(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}
