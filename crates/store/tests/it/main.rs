//! The store from outside: the contract on every backend, and what only a crash, a full disk or a damaged file shows.

mod conformance;
