//! What members send one another beneath MLS application messages: the envelope of commits, invitations, requests to be added
//! again, and the state of a conversation. CBOR (RFC 8949), each with a version; unknown fields are passed over.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use wire::{EntryId, Epoch, EpochPublicKey, LogId, RelayName, Seq, signing_input};

/// Bytes of another member's making can't be read. The peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what another member sent can't be read")]
pub(crate) struct FormatError;

/// What a commit entry's body holds once it is opened (protocol rule 7).
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct CommitEnvelope {
    #[n(0)]
    pub version: u8,
    /// The author's leaf.
    #[n(1)]
    pub leaf: u32,
    /// The MLS commit, a PrivateMessage.
    #[n(2)]
    pub commit: ByteVec,
    /// The author's clock.
    #[n(3)]
    pub sent: u64,
    /// The author's device signs (relay, header, hash of the commit).
    #[n(4)]
    pub signature: ByteVec,
    /// The last entry that the author had processed (protocol rule 8).
    #[n(5)]
    pub head_seq: u64,
    #[n(6)]
    pub head: ByteVec,
    /// The account record that explains a change of devices.
    #[n(7)]
    pub record: Option<ByteVec>,
    /// What a device that is added again has asked for (a [`Rejoin`]), and the inbox that it had asked in.
    #[n(8)]
    pub asked: Option<ByteVec>,
    #[n(9)]
    pub asked_in: Option<ByteVec>,
}

/// The clear header of a commit entry; associated data of its envelope.
pub(crate) fn commit_header(log: LogId, epoch: Epoch, id: EntryId, next: &EpochPublicKey) -> Vec<u8> {
    signing_input("transom v1 commit header", &[&log.0, &epoch.0.to_be_bytes(), &id.0, &next.0])
}

/// What the author of a commit signs.
pub(crate) fn commit_parts<'a>(relay: &'a RelayName, header: &'a [u8], commit_hash: &'a [u8; 32]) -> [&'a [u8]; 3] {
    [relay.as_str().as_bytes(), header, commit_hash]
}

pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Seals under a key of an epoch with a random nonce, which goes in front.
pub(crate) fn seal(key: &[u8; 32], nonce: [u8; 24], associated: &[u8], plain: &[u8]) -> Result<Vec<u8>, FormatError> {
    let sealed = XChaCha20Poly1305::new(&(*key).into())
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: associated })
        .map_err(|_| FormatError)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Opens what [`seal`] made.
pub(crate) fn open(key: &[u8; 32], associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, FormatError> {
    let (nonce, sealed) = sealed.split_first_chunk::<24>().ok_or(FormatError)?;
    XChaCha20Poly1305::new(&(*key).into())
        .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: associated })
        .map_err(|_| FormatError)
}

/// What is left in a device's inbox, sealed to its HPKE key.
#[derive(Clone, Encode, Decode)]
pub(crate) enum Deposit {
    /// Come into this conversation.
    #[n(0)]
    Invitation(#[n(0)] Box<Invitation>),
    /// Add me again: I can't follow.
    #[n(1)]
    Rejoin(#[n(0)] Box<Rejoin>),
    /// Let me in: I was given a link.
    #[n(2)]
    AskToJoin(#[n(0)] Box<crate::invite_link::AskToJoin>),
    /// Here is what I know, for another device of the same account.
    #[n(3)]
    History(#[n(0)] Box<HistoryOffer>),
}

/// An invitation to one device.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Invitation {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub relay: String,
    #[n(2)]
    pub log: ByteVec,
    /// The commit that adds the device, and the hash head behind it.
    #[n(3)]
    pub seq: u64,
    #[n(4)]
    pub head: ByteVec,
    /// The device's own Welcome.
    #[n(5)]
    pub welcome: ByteVec,
    /// Where the ratchet tree is, and its key.
    #[n(6)]
    pub tree: ByteVec,
    #[n(7)]
    pub tree_key: ByteVec,
    /// Who invites: the signed account record and the device in it that signed this.
    #[n(8)]
    pub record: ByteVec,
    #[n(9)]
    pub device: ByteVec,
    #[n(10)]
    pub signature: ByteVec,
    /// The relay's incarnation in which the commit was read: in a later one `seq` and `head` are of before a restore (protocol rule 12).
    #[n(11)]
    pub incarnation: Option<ByteVec>,
}

impl Invitation {
    /// What the inviting device signs: all of it, and whose inbox it is for.
    pub(crate) fn parts(&self, inbox: LogId) -> Vec<u8> {
        let seq = self.seq.to_be_bytes();
        let mut parts: Vec<&[u8]> = vec![
            &inbox.0,
            self.relay.as_bytes(),
            &self.log,
            &seq,
            &self.head,
            &self.welcome,
            &self.tree,
            &self.tree_key,
            &self.record,
            &self.device,
        ];
        parts.extend(self.incarnation.as_ref().map(|incarnation| incarnation.as_slice()));
        signing_input("invitation", &parts)
    }
}

/// A member that alone can't process a commit, or was away too long, asks to be added again.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Rejoin {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub relay: String,
    #[n(2)]
    pub log: ByteVec,
    /// An MLS KeyPackage of the device.
    #[n(3)]
    pub package: ByteVec,
    #[n(4)]
    pub record: ByteVec,
    #[n(5)]
    pub device: ByteVec,
    #[n(6)]
    pub time: u64,
    #[n(7)]
    pub signature: ByteVec,
}

impl Rejoin {
    /// What the device signs, bound to the addressee's inbox.
    pub(crate) fn parts(&self, inbox: LogId) -> Vec<u8> {
        signing_input(
            "rejoin",
            &[
                &inbox.0,
                self.relay.as_bytes(),
                &self.log,
                &hash(&self.package),
                &self.record,
                &self.device,
                &self.time.to_be_bytes(),
            ],
        )
    }
}

/// A device sends history to another one of its account: from the secret come names and keys of all chunks (`crate::archive`).
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct HistoryOffer {
    #[n(0)]
    pub version: u8,
    /// The relay that keeps the chunks.
    #[n(1)]
    pub relay: String,
    #[n(2)]
    pub secret: ByteVec,
    /// The device that sends.
    #[n(3)]
    pub device: ByteVec,
    #[n(4)]
    pub time: u64,
    #[n(5)]
    pub signature: ByteVec,
}

impl HistoryOffer {
    /// What the device signs, bound to the addressee's inbox.
    pub(crate) fn parts(&self, inbox: LogId) -> Vec<u8> {
        signing_input(
            "history",
            &[&inbox.0, self.relay.as_bytes(), &self.secret, &self.device, &self.time.to_be_bytes()],
        )
    }
}

/// What a new device gets once the commit that adds it has won; kept beside the pending commit.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct PendingInvite {
    /// The account's record, and the device in it.
    #[n(0)]
    pub record: ByteVec,
    #[n(1)]
    pub device: ByteVec,
    #[n(2)]
    pub welcome: ByteVec,
    /// It asked to be added again.
    #[n(3)]
    pub readd: bool,
}

/// The first thing that a device which wants to be linked says in the rendezvous log.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct LinkHello {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub device: ByteVec,
    #[n(2)]
    pub signature_key: ByteVec,
    #[n(3)]
    pub hpke_key: ByteVec,
    #[n(4)]
    pub inbox: ByteVec,
    #[n(5)]
    pub suites: Vec<u16>,
}

/// The certifying device's answer.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct LinkAnswer {
    #[n(0)]
    pub version: u8,
    /// The new account record, which lists the new device.
    #[n(1)]
    pub record: ByteVec,
    /// History follows.
    #[n(2)]
    pub history: Option<bool>,
}

/// CBOR bytes of any of these.
pub(crate) fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("encoding into memory can't fail")
}

/// Reads any of these; the whole input must be used.
pub(crate) fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, FormatError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().map_err(|_| FormatError)?;
    if decoder.position() == bytes.len() { Ok(value) } else { Err(FormatError) }
}

pub(crate) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], FormatError> {
    bytes.try_into().map_err(|_| FormatError)
}

/// A place in a log with the hash head there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub seq: Seq,
    pub hash: wire::ChainHash,
}
