//! Tests of the engine from outside.

mod mls_vectors;
mod patience;
mod refusals;
