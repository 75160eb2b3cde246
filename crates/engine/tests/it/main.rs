//! Tests of the engine from outside.

mod hostile_relay;
mod mls_vectors;
mod patience;
mod person;
mod refusals;
