//! Transom: cli.
