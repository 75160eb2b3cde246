//! Signatures (Ed25519, RFC 8032) with domain separation, and values that carry the bytes that were signed.

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use prost::Message;

use crate::proto;

/// What a signature is for. Every signature and every derivation of the protocol has a label of its own; the whole table,
/// with test vectors, is in `docs/protocol.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// The account key certifies a device.
    DeviceCertificate,
    /// The account key signs the account record.
    AccountRecord,
    /// The device key proves itself on the account lane.
    Authenticate,
    /// The key of an epoch opens a log for a connection.
    Open,
    /// The device key signs a key package and its expiry.
    KeyPackage,
    /// The device key signs what a message says (message franking).
    Message,
    /// The device key signs the envelope of a commit (protocol rule 7).
    CommitEnvelope,
    /// The device key signs an invitation.
    Invitation,
    /// The device key signs a request to be added again.
    Rejoin,
    /// The device key signs where an ended conversation goes on (protocol rule 18).
    GoesOn,
    /// The device key signs an invite link.
    InviteLink,
    /// The device key signs a request to be let in by a link.
    AskToJoin,
    /// The device key signs that it sends history to another device of its account.
    History,
    /// The device key signs that history on its way to it is gone at the relay.
    HistoryGone,
    /// The device key signs what it tells in passing (protocol rule 19).
    Signal,
    /// The account key signs that it puts a record at a relay, where no device of the account is left to do so.
    PutRecord,
    /// The device key signs that it hands the role of the certifying device over to another one of its account.
    HandOver,
}

impl Label {
    /// Every label, for the table of vectors.
    pub const ALL: [Self; 17] = [
        Self::DeviceCertificate,
        Self::AccountRecord,
        Self::Authenticate,
        Self::Open,
        Self::KeyPackage,
        Self::Message,
        Self::CommitEnvelope,
        Self::Invitation,
        Self::Rejoin,
        Self::GoesOn,
        Self::InviteLink,
        Self::AskToJoin,
        Self::History,
        Self::HistoryGone,
        Self::Signal,
        Self::PutRecord,
        Self::HandOver,
    ];

    /// The label as it is signed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeviceCertificate => "transom v1 device certificate",
            Self::AccountRecord => "transom v1 account record",
            Self::Authenticate => "transom v1 authenticate",
            Self::Open => "transom v1 open",
            Self::KeyPackage => "transom v1 key package",
            Self::Message => "transom v1 message",
            Self::CommitEnvelope => "transom v1 commit envelope",
            Self::Invitation => "transom v1 invitation",
            Self::Rejoin => "transom v1 rejoin",
            Self::InviteLink => "transom v1 invite link",
            Self::AskToJoin => "transom v1 ask to join",
            Self::History => "transom v1 history",
            Self::GoesOn => "transom v1 goes on",
            Self::HistoryGone => "transom v1 history gone",
            Self::Signal => "transom v1 signal",
            Self::PutRecord => "transom v1 put record",
            Self::HandOver => "transom v1 hand over",
        }
    }
}

/// A signature does not fit its bytes, its label or its key. The peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signature does not verify")]
pub struct SignatureError;

/// The bytes under a signature: the label and each part, each behind its length (32-bit big endian), so that no two
/// different lists of parts give the same bytes.
pub fn signing_input(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len() + 4).sum::<usize>() + label.len() + 4;
    let mut input = Vec::with_capacity(length);
    for part in std::iter::once(&label.as_bytes()).chain(parts) {
        input.extend_from_slice(&(part.len() as u32).to_be_bytes());
        input.extend_from_slice(part);
    }
    input
}

/// Signs `parts` under `label`.
pub fn sign(key: &SigningKey, label: Label, parts: &[&[u8]]) -> [u8; 64] {
    key.sign(&signing_input(label.as_str(), parts)).to_bytes()
}

/// Verifies a signature over `parts` under `label`, strictly: no small-order keys, no malleable signatures.
pub fn verify(key: &[u8; 32], label: Label, parts: &[&[u8]], signature: &[u8]) -> Result<(), SignatureError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| SignatureError)?;
    let signature = Signature::from_slice(signature).map_err(|_| SignatureError)?;
    key.verify_strict(&signing_input(label.as_str(), parts), &signature).map_err(|_| SignatureError)
}

/// Checks signatures over inputs together: about a third of the time that each takes alone. Keys of small order are refused, as by [`verify`];
/// parts of small order in others count for nothing, since whoever has made such a key knows its secret.
pub(crate) fn verify_together<'a>(
    signed: impl Iterator<Item = (&'a [u8; 32], Vec<u8>, &'a [u8; 64])>,
) -> Result<(), SignatureError> {
    let (mut keys, mut inputs, mut signatures) = (Vec::new(), Vec::new(), Vec::new());
    for (key, input, signature) in signed {
        let key = VerifyingKey::from_bytes(key).map_err(|_| SignatureError)?;
        if key.is_weak() {
            return Err(SignatureError);
        }
        keys.push(key);
        inputs.push(input);
        signatures.push(Signature::from_bytes(signature));
    }
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    ed25519_dalek::verify_batch(&inputs, &signatures, &keys).map_err(|_| SignatureError)
}

/// A value together with the very bytes that were signed. Made by signing, or by a parser that verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<T> {
    value: T,
    bytes: Bytes,
}

impl<T> Signed<T> {
    /// The value; it was signed.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Payload and signature as they arrived; what is stored and passed on.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn seal(value: T, payload: Vec<u8>, key: &SigningKey, label: Label) -> Self {
        let signature = sign(key, label, &[&payload]);
        let signed = proto::SignedBytes { payload: payload.into(), signature: Bytes::copy_from_slice(&signature) };
        Self { value, bytes: signed.encode_to_vec().into() }
    }

    pub(crate) fn verified(value: T, bytes: Bytes) -> Self {
        Self { value, bytes }
    }
}

impl<T> std::ops::Deref for Signed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// Splits signed bytes into payload and signature; says nothing about the signature yet.
pub(crate) fn split(bytes: Bytes) -> Option<proto::SignedBytes> {
    proto::SignedBytes::decode(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_bound_to_its_label_and_to_each_part() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = key.verifying_key().to_bytes();
        let signature = sign(&key, Label::Open, &[b"ab", b"c"]);
        assert_eq!(verify(&public, Label::Open, &[b"ab", b"c"], &signature), Ok(()));
        assert_eq!(verify(&public, Label::Open, &[b"a", b"bc"], &signature), Err(SignatureError));
        assert_eq!(verify(&public, Label::Authenticate, &[b"ab", b"c"], &signature), Err(SignatureError));
        assert_eq!(verify(&public, Label::Open, &[b"ab", b"c"], &signature[1..]), Err(SignatureError));
    }

    #[test]
    fn labels_are_distinct() {
        let mut labels = Label::ALL.map(Label::as_str).to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Label::ALL.len());
    }
}
