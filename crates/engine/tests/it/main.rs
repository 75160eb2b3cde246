//! Tests of the engine from outside.

mod hostile_relay;
mod mls_vectors;
mod pages;
mod patience;
mod person;
mod refusals;
