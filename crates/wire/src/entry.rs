//! Entries of logs, the hash chain that every reader computes over them, and what a relay's stamp covers.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::signed::signing_input;
use crate::{EntryId, Epoch, EpochPublicKey, LogId, Seq, UnixMillis};

/// What an entry is. The relay knows this much and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// An MLS application message, or bytes in a rendezvous log.
    Message = 1,
    /// A sealed commit; it ends its epoch if it is the first one of that epoch.
    Commit = 2,
    /// What somebody left in a device's inbox.
    Deposit = 3,
}

impl EntryKind {
    /// From its number on the wire or on disk.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Message),
            2 => Some(Self::Commit),
            3 => Some(Self::Deposit),
            _ => None,
        }
    }
}

/// One entry of a log as readers get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub seq: Seq,
    /// The place of the entry before it; a reader that holds another one misses something. 0 for the first.
    pub prev: Seq,
    /// When the relay took it, by the relay's clock.
    pub time: UnixMillis,
    /// What it is.
    pub kind: EntryKind,
    /// The epoch that it was written in.
    pub epoch: Epoch,
    /// The writer's id for it; the first one of an id in its log counts.
    pub id: EntryId,
    /// Ciphertext.
    pub body: Bytes,
    /// Messages: the commitment to the content (message franking), all zero elsewhere.
    pub commitment: [u8; 32],
    /// Commits: the public key that opens the next epoch.
    pub next: Option<EpochPublicKey>,
    /// The relay's stamp, an HMAC under a key of its own over [`StampInput`].
    pub stamp: [u8; 32],
}

/// The hash head of a log: `h_i = SHA-256(h_{i-1}, seq, entry)`; `h_0` is all zero.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ChainHash(pub [u8; 32]);

impl std::fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChainHash({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

impl ChainHash {
    /// The head after `entry`. Everything that readers get is covered, but for the stamp, which is the relay's alone to check.
    #[must_use]
    pub fn after(&self, entry: &Entry) -> Self {
        let body = Sha256::digest(&entry.body);
        let input = signing_input(
            "transom v1 chain",
            &[
                &self.0,
                &entry.seq.0.to_be_bytes(),
                &entry.time.0.to_be_bytes(),
                &[entry.kind as u8],
                &entry.epoch.0.to_be_bytes(),
                &entry.id.0,
                &body,
                &entry.commitment,
                entry.next.as_ref().map_or(&[][..], |next| &next.0),
            ],
        );
        Self(Sha256::digest(input).into())
    }
}

/// What a stamp covers: (log, epoch, seq, id, H(body), commitment, time).
#[derive(Debug, Clone, Copy)]
pub struct StampInput {
    /// The log.
    pub log: LogId,
    /// The entry's epoch.
    pub epoch: Epoch,
    /// Its place.
    pub seq: Seq,
    /// Its id.
    pub id: EntryId,
    /// SHA-256 of its body.
    pub body_hash: [u8; 32],
    /// Its commitment.
    pub commitment: [u8; 32],
    /// When the relay took it.
    pub time: UnixMillis,
}

impl StampInput {
    /// What the stamp of `entry` in `log` covers.
    pub fn of(log: LogId, entry: &Entry) -> Self {
        Self {
            log,
            epoch: entry.epoch,
            seq: entry.seq,
            id: entry.id,
            body_hash: Sha256::digest(&entry.body).into(),
            commitment: entry.commitment,
            time: entry.time,
        }
    }

    /// Fixed-length bytes for the HMAC.
    pub fn to_bytes(&self) -> [u8; 120] {
        let mut out = [0; 120];
        let parts: [&[u8]; 7] = [
            &self.log.0,
            &self.epoch.0.to_be_bytes(),
            &self.seq.0.to_be_bytes(),
            &self.id.0,
            &self.body_hash,
            &self.commitment,
            &self.time.0.to_be_bytes(),
        ];
        for (byte, part) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *byte = *part;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            seq: Seq(1),
            prev: Seq(0),
            time: UnixMillis(5),
            kind: EntryKind::Message,
            epoch: Epoch(2),
            id: EntryId([3; 16]),
            body: Bytes::from_static(b"body"),
            commitment: [4; 32],
            next: None,
            stamp: [0; 32],
        }
    }

    #[test]
    fn the_chain_covers_every_field_but_the_stamp() {
        let base = ChainHash::default().after(&entry());
        let changed: [fn(&mut Entry); 8] = [
            |e| e.seq = Seq(2),
            |e| e.time = UnixMillis(6),
            |e| e.kind = EntryKind::Commit,
            |e| e.epoch = Epoch(3),
            |e| e.id = EntryId([9; 16]),
            |e| e.body = Bytes::from_static(b"bodz"),
            |e| e.commitment = [5; 32],
            |e| e.next = Some(EpochPublicKey([0; 32])),
        ];
        for change in changed {
            let mut other = entry();
            change(&mut other);
            assert_ne!(ChainHash::default().after(&other), base);
        }
        let mut restamped = entry();
        restamped.stamp = [9; 32];
        assert_eq!(ChainHash::default().after(&restamped), base);
        assert_ne!(base.after(&entry()), base);
    }
}
