//! The bytes that clients and relays exchange: frames, identifiers, addresses, signed envelopes and log capabilities.
//!
//! What always holds: bytes from outside become one of the public types here exactly once, by a parser that checks every
//! length and range; what is signed is verified over the bytes that arrived and those bytes are kept, never re-encoded.
//! Deliberately absent: sockets, clocks, storage, and anything of what members read (crate `content`).

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

mod address;
mod codec;
mod entry;
mod error;
mod frame;
mod ids;
mod proof;
mod record;
mod signed;

#[allow(
    missing_docs,
    clippy::all,
    unused_qualifications,
    reason = "generated from proto/transom.proto, private to this crate"
)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/transom.v1.rs"));
}

pub use address::{Address, AddressError, RelayName};
pub use entry::{ChainHash, Entry, EntryKind, StampInput};
pub use error::{Code, Error};
pub use frame::{
    ClientFrame, Hello, Lane, Limits, LogState, OpenLog, PROTOCOL_VERSION, Push, Request, Response, ServerFrame,
    Subscription, WireError,
};
pub use ids::{BlobId, BlobSecret, DeviceId, EntryId, Epoch, IdError, Incarnation, LogId, Nonce, Seq, UnixMillis};
pub use proof::{
    EpochKey, EpochPublicKey, OpenProof, authenticate_input, sign_put_record, verify_authenticate, verify_opens,
    verify_put_record,
};
pub use record::{
    AccountRecord, Device, DeviceCertificate, HPKE_KEY_BYTES, MAX_DEVICES, OfferedKeyPackage, RecordError, RecordHash,
};
pub use signed::{Label, SignatureError, Signed, sign, signing_input, verify};

pub use bytes::Bytes;
pub use ed25519_dalek::{SigningKey, VerifyingKey};
