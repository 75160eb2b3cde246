//! The relay's integration tests: one binary, one module for each side of it.

mod core;
mod http;
