//! Transom: relay.
