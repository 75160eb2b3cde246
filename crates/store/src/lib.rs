//! Transom: store.
