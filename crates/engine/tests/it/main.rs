//! Tests of the engine from outside.

mod hostile_relay;
mod making;
mod mls_vectors;
mod pages;
mod patience;
mod person;
mod refusals;
