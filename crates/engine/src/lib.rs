//! Transom: engine.
