//! The shell around the engine: connections to relays, timers, blob transfers, and the handle that programs hold.
//!
//! What always holds: the engine lives on one thread and is fed one input at a time; nothing here looks into what requests,
//! logs or blobs mean; the same inputs, times and random numbers give the same actions ([`driver`] names no runtime).
//! Deliberately absent: cryptography, storage, and any decision about conversations (all of it is the engine's).

mod backoff;
pub mod driver;
mod fault;
#[cfg(not(target_family = "wasm"))]
mod handle;
#[cfg(not(target_family = "wasm"))]
mod io;
pub mod picture;
mod pump;

pub use engine::{CommandId, Database, OpenError};
pub use fault::Fault;
#[cfg(not(target_family = "wasm"))]
pub use handle::{Client, Options, StartError, is_protected, set_passphrase};
pub use pump::Pump;
