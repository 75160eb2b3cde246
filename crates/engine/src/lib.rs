//! The client as a state machine: identity, MLS groups, logs, database. Synchronous and sans-IO.
//!
//! What always holds: one [`Engine::handle`] is one database transaction, synced before any of its outputs can be seen; time and
//! randomness come in through [`Env`]; the engine never awaits, never opens a socket and never reads a clock.
//! Deliberately absent: connections and their retries, blob bytes of attachments, threads (crate `client`), and everything that is
//! drawn on a screen.

// Bytes of strangers come through here: what can fail is an error, never a panic (I9).
#![deny(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    clippy::exit,
    clippy::indexing_slicing,
    reason = "input from the network must not end the program (I9)"
)]
// Tests may; `clippy.toml` can say so for the ones above, and not for this one.
#![cfg_attr(not(test), deny(clippy::string_slice, reason = "input from the network must not end the program (I9)"))]

/// True only while the simulator has planted this bug, to see whether its invariants find it.
#[cfg(feature = "mutants")]
macro_rules! planted {
    ($name:ident) => {
        crate::mutants::is(crate::mutants::Mutant::$name)
    };
}
#[cfg(not(feature = "mutants"))]
macro_rules! planted {
    ($name:ident) => {
        false
    };
}

mod archive;
mod backup;
mod db;
#[cfg(test)]
mod derivations;
mod env;
mod formats;
mod identity;
mod invite_link;
mod io;
pub mod mls;
#[cfg(feature = "mutants")]
pub mod mutants;
mod options;
mod own_state;
mod picture;
mod shelf;
mod signal;
mod state;
mod sync;
mod view;
mod who;

#[cfg(not(target_family = "wasm"))]
pub use db::keyfile::{is_protected, set_passphrase};
pub use db::{Database, MemoryHandle, OpenError};
pub use env::Env;
pub use io::*;
pub use options::Options;

use std::collections::VecDeque;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use sync::{State, Turn};

/// Why an input could not be handled. The transaction was rolled back and nothing was handed out; the engine must be dropped and
/// opened again, since what it holds in memory may be ahead of the database.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The database can't be read or written: a full disk, most often. The environment's fault.
    #[error("the profile's database can't be written: check free space, then start again; nothing was lost")]
    Database(#[from] rusqlite::Error),
    /// MLS state can't be kept or has become inconsistent.
    #[error("the state of a conversation's encryption can't be kept")]
    Mls(#[from] mls::MlsError),
    /// What is stored contradicts itself. A defect of ours, or damage.
    #[error("the profile's database contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// An earlier call failed; open the engine again.
    #[error("the engine has failed before and must be opened again")]
    Closed,
}

/// The client of one device.
///
/// How to drive it: [`Engine::open`], then drain [`Engine::poll`] until it is `None`. Whenever something happens (a command, an
/// answer, a push, a connection, the time asked for) call [`Engine::handle`] once, then drain `poll` again. Outputs appear only
/// after the transaction that they belong to was committed; what is handed out and then lost (a crash, a cut connection) is handed
/// out again after the next `open` or the next [`LinkState::Up`]. Request and transfer numbers don't survive `open`.
pub struct Engine {
    db: Connection,
    state: State,
    outputs: VecDeque<Output>,
    failed: bool,
}

impl Engine {
    /// Opens a database and goes on where its last transaction ended.
    pub fn open(database: Database, env: &mut Env<'_>) -> Result<Self, OpenError> {
        Self::open_with(database, Options::default(), env)
    }

    /// The same with other choices than the default ones.
    pub fn open_with(database: Database, options: Options, env: &mut Env<'_>) -> Result<Self, OpenError> {
        let db = db::open(&database, env.rng)?;
        let state = State::load(&db, options)?;
        let mut engine = Self { db, state, outputs: VecDeque::new(), failed: false };
        engine.turn(env, |state, turn| state.start(turn)).map_err(|error| match error {
            EngineError::Database(error) => error.into(),
            EngineError::Inconsistent(what) => OpenError::Inconsistent(what),
            EngineError::Mls(_) | EngineError::Closed => OpenError::Inconsistent("conversation state"),
        })?;
        Ok(engine)
    }

    /// Takes one input in one transaction. On an error nothing of it has happened; see [`EngineError`].
    pub fn handle(&mut self, env: &mut Env<'_>, input: Input) -> Result<(), EngineError> {
        self.turn(env, |state, turn| state.input(turn, input))
    }

    /// The next thing to do for the caller.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What is known here, from the last committed state.
    pub fn view(&self, query: &api::Query) -> Result<api::View, api::Problem> {
        let mut view = view::view(&self.db, self.state.me(), query)?;
        self.state.show_presence(&self.db, &mut view);
        Ok(view)
    }

    /// How many rows of the database this engine has changed since it was opened: what leaves no trace changes none.
    pub fn changes(&self) -> u64 {
        self.db.total_changes()
    }

    fn turn(
        &mut self,
        env: &mut Env<'_>,
        work: impl FnOnce(&mut State, &mut Turn<'_>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        if self.failed {
            return Err(EngineError::Closed);
        }
        // Two streams from one seed: OpenMLS draws through a shared reference, the rest of the engine through its own.
        let mut for_mls = ChaCha20Rng::from_rng(&mut *env.rng);
        let own = ChaCha20Rng::from_rng(&mut *env.rng);
        let result = (|| {
            let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
            let mut turn = Turn::new(&tx, &mut for_mls, own, env.now);
            self.state.look_at_clock(&mut turn)?;
            work(&mut self.state, &mut turn)?;
            self.state.finish(&mut turn)?;
            let outputs = turn.into_outputs();
            tx.commit()?;
            Ok(outputs)
        })();
        match result {
            Ok(outputs) => {
                self.outputs.extend(outputs);
                Ok(())
            }
            Err(error) => {
                self.failed = true;
                self.outputs.clear();
                Err(error)
            }
        }
    }
}
