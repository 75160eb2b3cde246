//! What members read: MIMI content (draft-ietf-mimi-content-08), the plaintext of a message, franking, attachments, padding.
//!
//! What always holds: bytes from another member never panic a parser and cost no more memory than a small multiple of their
//! own length; each value has one encoding, and a parser refuses every other one; a `Debug` output shows nothing that a user
//! wrote and no key (I10).
//! Deliberately absent: the network, clocks, storage, MLS, and anything that the relay knows about. The relay may not depend
//! on this crate, so "the relay can't parse what it carries" is checked when it is compiled.

// Bytes of strangers come through here: what can fail is an error, never a panic (I9).
#![deny(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    clippy::exit,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "input from the network must not end the program (I9)"
)]

pub mod attachment;
mod body;
mod cbor;
mod envelope;
pub mod franking;
mod kinds;
mod make;
mod markdown;
mod mentions;
pub mod mimi;
mod own_state;
pub mod padding;
pub mod picture;
mod receipts;
mod text;

pub use body::{Body, MAX_EMOJI, MAX_TEXT_BYTES, UNKNOWN_CONTENT, fallback, interpret, is_emoji};
pub use envelope::{Envelope, EnvelopeError, MAX_ENVELOPE_BYTES};
pub use kinds::{Contact, Location, MAX_OPTIONS, Poll, Preview};
pub use make::{
    contact, delete, edit, forwarded, is_forwarded, is_view_once, location, own_state, pin, poll, poll_closed,
    reaction, receipts, text, text_with_preview, unreaction, view_once, vote,
};
pub use mentions::{MAX_MENTIONS, Piece, account_of, account_uri, in_plain, link_mentions, mentions, pieces};
pub use mimi::{ContentError, Expiration, MAX_CONTENT_BYTES, MessageId, MimiContent, message_id};
pub use own_state::MAX_OWN_STATE;
pub use receipts::{MAX_RANGES, Receipts};
pub use text::line;
