//! The relay against clients that hold epoch keys and nothing else: what the relay and the log's rules promise, without MLS.

mod client;
mod group;
mod world;

pub use group::{Change, Member};
pub use world::{World, run};
