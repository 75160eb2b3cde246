//! Stamps: the relay's word that it took an entry, an HMAC under a key of its own (protocol rule 5).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wire::{Entry, EntryId, EntryKind, Epoch, EpochPublicKey, LogId, Seq, StampInput, UnixMillis};

/// Makes stamps; the key schedule is done once.
pub(super) struct Stamper(Hmac<Sha256>);

impl Stamper {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The stamp over `input`.
    pub(super) fn stamp(&self, input: &StampInput) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(&input.to_bytes());
        mac.finalize().into_bytes().into()
    }

    /// An entry as readers get it. `None` if the store holds a kind that this version does not know.
    pub(super) fn stamped(&self, log: LogId, entry: &store::Entry) -> Option<Entry> {
        let mut stamped = Entry {
            seq: Seq(entry.seq),
            prev: Seq(entry.prev),
            time: UnixMillis(entry.time),
            kind: EntryKind::from_number(u32::from(entry.kind))?,
            epoch: Epoch(entry.epoch),
            id: EntryId(entry.id),
            body: entry.body.clone(),
            commitment: entry.commitment,
            next: entry.next.map(EpochPublicKey),
            stamp: [0; 32],
        };
        stamped.stamp = self.stamp(&StampInput::of(log, &stamped));
        Some(stamped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes never change: clients keep stamps, and a later version of the relay must recognise its own.
    #[test]
    fn a_stamp_is_hmac_sha256_over_the_input() {
        let input = StampInput {
            log: LogId([1; 16]),
            epoch: Epoch(2),
            seq: Seq(3),
            id: EntryId([4; 16]),
            body_hash: [5; 32],
            commitment: [6; 32],
            time: UnixMillis(7),
        };
        let mut expected = Hmac::<Sha256>::new_from_slice(&[9; 32]).unwrap();
        expected.update(&input.to_bytes());
        assert_eq!(Stamper::new(&[9; 32]).stamp(&input)[..], expected.finalize().into_bytes()[..]);
        assert_ne!(Stamper::new(&[8; 32]).stamp(&input), Stamper::new(&[9; 32]).stamp(&input));
    }
}
