//! One transaction: database, MLS state, clock, randomness, and what it hands out once it is committed.

use std::collections::BTreeSet;

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use rusqlite::Connection;
use wire::{LogId, UnixMillis};

use crate::io::Output;
use crate::mls::Provider;

/// One transaction in progress.
pub(crate) struct Turn<'t> {
    pub(crate) db: &'t Connection,
    pub(crate) mls: Provider<'t>,
    pub(crate) now: UnixMillis,
    /// The log's time of the entry that is being processed.
    pub(crate) entry_time: Option<UnixMillis>,
    /// When its author made it, if it is somebody else's commit: by the author's clock, and signed.
    pub(crate) commit_time: Option<UnixMillis>,
    pub(crate) rng: ChaCha20Rng,
    outputs: Vec<Output>,
    touched: BTreeSet<LogId>,
    wake: Option<UnixMillis>,
}

impl<'t> Turn<'t> {
    pub(crate) fn new(db: &'t Connection, for_mls: &'t mut ChaCha20Rng, own: ChaCha20Rng, now: UnixMillis) -> Self {
        Self {
            db,
            mls: Provider::new(db, for_mls),
            now,
            entry_time: None,
            commit_time: None,
            rng: own,
            outputs: Vec::new(),
            touched: BTreeSet::new(),
            wake: None,
        }
    }

    /// Handed out once the transaction is committed.
    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// For people's programs.
    pub(crate) fn event(&mut self, event: api::Event) {
        self.outputs.push(Output::Event(event));
    }

    /// The engine wants to be woken at this time at the latest.
    pub(crate) fn wake_at(&mut self, at: UnixMillis) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    pub(crate) fn wanted_wake(&self) -> Option<UnixMillis> {
        self.wake
    }

    /// This group was used and is to be written.
    pub(crate) fn touch(&mut self, id: LogId) {
        self.touched.insert(id);
    }

    pub(crate) fn touched(&self, id: &LogId) -> bool {
        self.touched.contains(id)
    }

    /// Random bytes.
    pub(crate) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A random number below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is of no account for spreading things in time.
        if bound == 0 { 0 } else { self.rng.next_u64() % bound }
    }

    pub(crate) fn into_outputs(self) -> Vec<Output> {
        self.outputs
    }
}
