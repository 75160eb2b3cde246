//! MLS (RFC 9420) in the engine's terms.
