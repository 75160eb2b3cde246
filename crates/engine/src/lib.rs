//! The client as a state machine: identity, MLS groups, logs, database. Synchronous and sans-IO.

mod env;
mod io;
pub mod mls;

pub use env::Env;
pub use io::*;
