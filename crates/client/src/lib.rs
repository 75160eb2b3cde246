//! Transom: client.
