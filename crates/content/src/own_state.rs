//! What a device tells the other devices of its account, in the notes to oneself: how the account keeps its conversations.
//!
//! Its bytes are the engine's business; for everybody else it is a message that shows nothing.

/// The media type.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.transom.own-state+cbor";

/// The longest, in bytes: the longest draft and room beside it.
pub const MAX_OWN_STATE: usize = 40 * 1024;
