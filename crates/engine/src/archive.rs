//! The archive: what a device knows beside its keys, in sealed chunks. History travels so to a new device, and backups are kept so.
//!
//! A chunk is CBOR ({version, number, last, total, items}), sealed as an attachment (STREAM of ChaCha20-Poly1305, padded) under a key
//! of its own. Keys and, where chunks are blobs, their names come from one secret and the chunk's number, so that a chunk can't be taken
//! for another one, and whoever has the secret needs to be told nothing else. The last chunk says that it is the last.
//!
//! What always holds: no MLS secret, no key of a device, nothing that has vanished or opens only once is in an archive; bytes from
//! outside never panic a reader. Deliberately absent: which rows there are (`db::archive`), and moving chunks (`sync::history`).

use content::attachment::{self, AttachmentKey};
use hkdf::Hkdf;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use sha2::Sha256;
use wire::{BlobId, BlobSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::formats;

/// The version of chunks that this program writes, and the highest that it reads.
pub(crate) const VERSION: u8 = 1;
/// The largest chunk that is fetched, in bytes; writers stay far below it.
pub(crate) const MAX_CHUNK: u64 = 16 * 1024 * 1024;

/// Why a chunk can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    /// Another key, or altered. The fault of whoever kept it.
    #[error("a part does not verify")]
    Damaged,
    /// Sealed as it should be, and not what this version writes. A newer program, or a defect of ours.
    #[error("a part is of version {0}, which this program does not know")]
    Newer(u8),
}

/// From which names and keys of all chunks come: 32 random bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Secret(pub [u8; 32]);

impl Secret {
    fn derive(&self, what: &str, number: u64) -> [u8; 32] {
        let mut out = [0; 32];
        Hkdf::<Sha256>::new(Some(b"transom v1 archive"), &self.0)
            .expand(&wire::signing_input(what, &[&number.to_be_bytes()]), &mut out)
            .expect("32 bytes are not too many");
        out
    }

    /// The archive's own name, which tells nothing of the secret.
    pub(crate) fn id(&self) -> [u8; 32] {
        self.derive("id", 0)
    }

    /// The name of a chunk where chunks are blobs.
    pub(crate) fn blob(&self, number: u64) -> BlobId {
        BlobId(self.derive("blob", number))
    }

    /// What its upload is begun and gone on with.
    pub(crate) fn upload(&self, number: u64) -> BlobSecret {
        BlobSecret(self.derive("upload", number))
    }

    /// What it is sealed under.
    pub(crate) fn key(&self, number: u64) -> AttachmentKey {
        AttachmentKey::from_bytes(self.derive("key", number))
    }

    /// Seals a chunk. A number is sealed once: the caller keeps the sealed bytes, in the transaction that moves on to the next number.
    pub(crate) fn seal(&self, chunk: &Chunk) -> Vec<u8> {
        attachment::seal(&self.key(chunk.number), &formats::encode(chunk))
    }

    /// Opens the chunk of this number.
    pub(crate) fn open(&self, number: u64, sealed: &[u8]) -> Result<Chunk, ChunkError> {
        let plain = attachment::open(&self.key(number), sealed).map_err(|_| ChunkError::Damaged)?;
        let head: Head = minicbor::decode(&plain).map_err(|_| ChunkError::Damaged)?;
        if head.version > VERSION {
            return Err(ChunkError::Newer(head.version));
        }
        let chunk: Chunk = formats::decode(&plain).map_err(|_| ChunkError::Damaged)?;
        if chunk.number == number { Ok(chunk) } else { Err(ChunkError::Damaged) }
    }
}

/// What every version of a chunk begins with.
#[derive(Decode)]
#[cbor(map)]
struct Head {
    #[n(0)]
    version: u8,
}

/// One chunk.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Chunk {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub number: u64,
    /// Nothing follows.
    #[n(2)]
    pub last: bool,
    /// Messages in the whole archive, as far as they could be counted when it was begun.
    #[n(3)]
    pub total: u64,
    #[n(4)]
    pub items: Vec<Item>,
}

/// Something that an archive holds. Numbers of kinds and states are those of the database, which never change meaning.
#[derive(Clone, Encode, Decode)]
pub(crate) enum Item {
    #[n(0)]
    Contact(#[n(0)] Contact),
    #[n(1)]
    Conversation(#[n(0)] Conversation),
    #[n(2)]
    Message(#[n(0)] Message),
    #[n(3)]
    Act(#[n(0)] Act),
    /// Taken out of sight by the own account.
    #[n(4)]
    Hidden(#[n(0)] ByteVec, #[n(1)] ByteVec),
    #[n(5)]
    Ticks(#[n(0)] Ticks),
    #[n(6)]
    Arrangement(#[n(0)] Arrangement),
    /// What the person saw when they last looked at who can read a conversation: conversation, time, people.
    #[n(7)]
    Looked(#[n(0)] ByteVec, #[n(1)] u64, #[n(2)] String),
    /// Whether others hear what was read, where the person has chosen.
    #[n(8)]
    ReadReceipts(#[n(0)] bool),
    /// Where a message of the first pass stands by now.
    #[n(9)]
    Place(#[n(0)] Place),
    /// When a message of an earlier set vanishes: conversation, message, time in ms. In backups on a relay only.
    #[n(10)]
    Vanishes(#[n(0)] ByteVec, #[n(1)] ByteVec, #[n(2)] u64),
}

impl Item {
    /// A message that somebody wrote, as people count them; what only says what happened is none.
    pub(crate) fn is_written(&self) -> bool {
        matches!(self, Self::Message(message) if message.kind != 2)
    }
}

/// Where a message stands in its log.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Place {
    #[n(0)]
    pub conversation: ByteVec,
    #[n(1)]
    pub message: ByteVec,
    #[n(2)]
    pub seq: u64,
    #[n(3)]
    pub time: u64,
}

/// An account, with the key that is pinned for it.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Contact {
    #[n(0)]
    pub address: String,
    #[n(1)]
    pub key: ByteVec,
    #[n(2)]
    pub record: Option<ByteVec>,
    #[n(3)]
    pub version: u64,
    #[n(4)]
    pub confirmation: u8,
    #[n(5)]
    pub other_key: Option<ByteVec>,
    #[n(6)]
    pub known: bool,
    #[n(7)]
    pub blocked: bool,
    #[n(8)]
    pub changed: u64,
    /// What the own account calls it.
    #[n(9)]
    pub name: String,
}

/// A conversation's outline. Its keys come by an invitation, never by an archive.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Conversation {
    #[n(0)]
    pub id: ByteVec,
    #[n(1)]
    pub relay: String,
    #[n(2)]
    pub kind: u8,
    #[n(3)]
    pub name: String,
    #[n(4)]
    pub peer: Option<String>,
    #[n(5)]
    pub standing: u8,
    #[n(6)]
    pub inviter: String,
    #[n(7)]
    pub created: u64,
    #[n(8)]
    pub touched: u64,
    #[n(9)]
    pub members: Vec<Member>,
    /// What a group was called before. Versions before 0.2 wrote none.
    #[n(10)]
    #[cbor(default)]
    pub formerly: Vec<String>,
}

/// An account of a conversation.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Member {
    #[n(0)]
    pub address: String,
    #[n(1)]
    pub key: ByteVec,
    #[n(2)]
    pub role: u8,
    #[n(3)]
    pub devices: u32,
}

/// A message as it is kept.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Message {
    #[n(0)]
    pub id: ByteVec,
    #[n(1)]
    pub conversation: ByteVec,
    #[n(2)]
    pub sender: String,
    #[n(3)]
    pub own: bool,
    #[n(4)]
    pub sent: u64,
    #[n(5)]
    pub time: u64,
    #[n(6)]
    pub seq: u64,
    #[n(7)]
    pub status: u8,
    #[n(8)]
    pub kind: u8,
    #[n(9)]
    pub text: String,
    #[n(10)]
    pub reply_to: Option<ByteVec>,
    #[n(11)]
    pub content: ByteVec,
    #[n(12)]
    pub evidence: ByteVec,
    #[n(13)]
    pub extra: String,
    #[n(14)]
    pub edited: u64,
    #[n(15)]
    pub deleted_by: String,
    #[n(16)]
    pub ttl: u64,
    #[n(17)]
    pub expires: u64,
}

/// What was done to a message.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Act {
    #[n(0)]
    pub conversation: ByteVec,
    #[n(1)]
    pub id: ByteVec,
    #[n(2)]
    pub part: u32,
    #[n(3)]
    pub target: ByteVec,
    #[n(4)]
    pub kind: u8,
    #[n(5)]
    pub sender: String,
    #[n(6)]
    pub own: bool,
    #[n(7)]
    pub power: bool,
    #[n(8)]
    pub sent: u64,
    #[n(9)]
    pub time: u64,
    #[n(10)]
    pub seq: u64,
    #[n(11)]
    pub value: String,
    #[n(12)]
    pub content: ByteVec,
    #[n(13)]
    pub evidence: ByteVec,
}

/// How far an account has got with an own message, and what the message shows of it.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Ticks {
    #[n(0)]
    pub conversation: ByteVec,
    #[n(1)]
    pub seq: u64,
    #[n(2)]
    pub address: String,
    #[n(3)]
    pub level: u8,
    #[n(4)]
    pub status: u8,
}

/// How the own account keeps a conversation.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Arrangement {
    #[n(0)]
    pub conversation: ByteVec,
    #[n(1)]
    pub muted_until: u64,
    #[n(2)]
    pub archived: bool,
    #[n(3)]
    pub pinned: u64,
    #[n(4)]
    pub unread: bool,
    #[n(5)]
    pub draft: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> Chunk {
        Chunk {
            version: VERSION,
            number: 3,
            last: true,
            total: 2,
            items: vec![Item::Hidden(vec![1; 16].into(), vec![2; 32].into())],
        }
    }

    #[test]
    fn a_chunk_has_these_bytes() {
        let hex = data_encoding::HEXLOWER.encode(&formats::encode(&chunk()));
        let (log, message) = ("01".repeat(16), "02".repeat(32));
        assert_eq!(hex, format!("a5000101030 2f5030204818204825 0{log}5820{message}").replace(' ', ""));
    }

    #[test]
    fn a_chunk_opens_under_its_number_and_key_only() {
        let secret = Secret([7; 32]);
        let sealed = secret.seal(&chunk());
        assert_eq!(secret.open(3, &sealed).map(|chunk| (chunk.last, chunk.total, chunk.items.len())), Ok((true, 2, 1)));
        let errors = [secret.open(2, &sealed), Secret([8; 32]).open(3, &sealed), secret.open(3, &sealed[..40])];
        assert!(errors.into_iter().all(|opened| opened.is_err_and(|error| error == ChunkError::Damaged)));
        // A chunk under another number than its own: only a defective writer makes one.
        let moved = attachment::seal(&secret.key(2), &formats::encode(&chunk()));
        assert!(secret.open(2, &moved).is_err_and(|error| error == ChunkError::Damaged));
        let newer = attachment::seal(&secret.key(3), &formats::encode(&Chunk { version: 2, ..chunk() }));
        assert!(secret.open(3, &newer).is_err_and(|error| error == ChunkError::Newer(2)));
    }
}
