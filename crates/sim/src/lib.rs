//! The whole system on one thread, from one seed: relays over a store that loses what it may lose, clients over a network that cuts,
//! delays and reorders what it may, a plain model of what people were promised, and the invariants I1 to I5 and I9 checked after
//! every run (ARCHITECTURE.md, "Invariants").
//!
//! What always holds: a run is a function of its seed; checks look at what users and the relay's readers see, never inside an
//! engine. Deliberately absent: sockets, threads, real time (seeds run side by side, each on a thread of its own). Never shipped.

pub mod bench;
mod brief;
pub mod chance;
pub mod command_line;
pub mod mutants;
pub mod net;
pub mod run;
pub mod scripted;
mod search;
pub mod store;
pub mod trace;
pub mod violation;
pub mod world;
