//! Transom: api.
