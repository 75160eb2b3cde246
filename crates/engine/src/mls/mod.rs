//! MLS (RFC 9420) in the engine's terms: one [`Group`] for each conversation, its members are devices.
//!
//! Everything that OpenMLS leaves to its caller is decided here: what a leaf's credential must be, which proposals exist, when a
//! commit is invalid for everybody, where state is kept and when it is written.
//!
//! How to drive it: make a [`Provider`] for each database transaction; call the groups with it; before the transaction commits,
//! call [`Provider::flush`] with the groups that were used. When the transaction is rolled back, drop these groups and
//! [`Group::load`] them again: in memory they are ahead of the database.
//!
//! What always holds:
//! - A leaf's credential is a device certificate that its account key signed; the leaf's key is the certificate's, and the
//!   certificate lists the group's suite. No group in memory or in the database has another leaf.
//! - Nothing reaches the database but through `flush`, so a transaction holds all of a change or none of it (I5).
//! - Only Add, Remove and a change of the conversation's state are ever committed; only one's own Remove may stand alone.
//!
//! Deliberately absent: who may do what (roles), what addresses mean (directory), when to update (policy), the envelope of a
//! commit, past epochs (protocol rule 1 makes them unnecessary), and the clock (only OpenMLS itself reads it, for lifetimes).

mod config;
mod error;
mod group;
mod incoming;
mod key_package;
mod leaf;
mod packed;
mod provider;
pub mod storage;
#[cfg(test)]
mod tests;
mod welcome;

pub use config::{CLASSICAL_SUITE, DEFAULT_SUITE, SUITES};
pub use error::{JoinError, LeafError, MlsError, ProcessError, ReceiveError, StorageError};
#[cfg(test)]
pub(crate) use group::exporter_context;
pub use group::{Change, Derive, Group, Member, Received, Staged, SuccessionKey};
pub use incoming::Incoming;
#[cfg(feature = "mutants")]
pub use key_package::uncertified_key_package;
pub use key_package::{check_key_package, delete_key_package, has_key_package, key_package, leaf_key};
pub use provider::Provider;
pub use storage::SCHEMA;

/// Below this OpenMLS logs whole group contexts and credentials, names and all, which nobody who embeds this is to get to see (I10).
const _: () = assert!(log::STATIC_MAX_LEVEL as usize <= log::LevelFilter::Warn as usize);
