//! Transom: content.
