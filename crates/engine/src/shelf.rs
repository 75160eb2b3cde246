//! Where backups on a relay stand, and how those that belong together become one.
//!
//! A *set* is an archive (`crate::archive`) whose chunks are blobs, with a head (`crate::backup`) that is a blob of its own. A set is full,
//! or it holds what has changed since the one before, which its head names by place and hash. Places are days, and numbers within a day:
//! whoever has the recovery key looks from today backwards for the newest head and goes from there to the full set.
//!
//! What always holds: names and upload secrets of heads come from the shelf's secret, which opens none of them; a head says itself where it
//! stands, so that a relay can't pass off an older one as a newer one. Deliberately absent: moving blobs (`sync::shelf`, `sync::fetch`).

use std::collections::{HashMap, HashSet};

use hkdf::Hkdf;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use wire::{BlobId, BlobSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::archive::{Chunk, Item, VERSION};

const DAY_MS: u64 = 86_400_000;
/// Sets of one day.
pub(crate) const SLOTS: u8 = 8;
/// How many days whoever looks for a backup goes back: relays keep blobs no longer, as they are set by default.
pub(crate) const DAYS: u64 = 91;

/// Names and upload secrets of heads: 32 bytes that come from the recovery key.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Shelf(pub [u8; 32]);

/// A place on a shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Slot {
    /// Days since 1970-01-01 UTC.
    #[n(0)]
    pub day: u64,
    #[n(1)]
    pub number: u8,
}

/// A set's place among others.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Set {
    #[n(0)]
    pub slot: Slot,
    /// How many chunks it has.
    #[n(1)]
    pub chunks: u64,
    /// The set that this one goes on from, with the SHA-256 of its head as it lies there; `None` if this one is full.
    #[n(2)]
    pub before: Option<Before>,
}

/// The set before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Before {
    #[n(0)]
    pub slot: Slot,
    #[n(1)]
    pub hash: ByteVec32,
}

/// A hash as it is kept and sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ByteVec32(pub [u8; 32]);

impl<C> Encode<C> for ByteVec32 {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ByteVec32 {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message("32 bytes are wanted"))?;
        Ok(Self(bytes))
    }
}

/// The day of a time in ms.
pub(crate) fn day(now: u64) -> u64 {
    now / DAY_MS
}

impl Slot {
    /// The first place behind this one that a set of this day may have; `None` if the day is full.
    pub(crate) fn next(last: Option<Self>, now: u64) -> Option<Self> {
        let day = day(now);
        let number = match last {
            Some(last) if last.day >= day => {
                last.number.checked_add(1).filter(|number| last.day == day && *number < SLOTS)?
            }
            _ => 0,
        };
        Some(Self { day, number })
    }
}

impl Shelf {
    fn derive(&self, what: &str, slot: Slot) -> [u8; 32] {
        let mut out = [0; 32];
        Hkdf::<Sha256>::new(Some(b"transom v1 shelf"), &self.0)
            .expand(&wire::signing_input(what, &[&slot.day.to_be_bytes(), &[slot.number]]), &mut out)
            .expect("32 bytes are not too many");
        out
    }

    /// The name of a head.
    pub(crate) fn blob(&self, slot: Slot) -> BlobId {
        BlobId(self.derive("blob", slot))
    }

    /// What its upload is begun and gone on with.
    pub(crate) fn upload(&self, slot: Slot) -> BlobSecret {
        BlobSecret(self.derive("upload", slot))
    }
}

/// By what an item is known that describes how something is, and not something that has happened: the newest of a key counts.
pub(crate) fn key(item: &Item) -> Option<Vec<u8>> {
    let (kind, parts): (u8, [&[u8]; 2]) = match item {
        Item::Contact(contact) => (0, [contact.address.as_bytes(), b""]),
        Item::Conversation(conversation) => (1, [&conversation.id, b""]),
        Item::Hidden(conversation, message) => (4, [conversation, message]),
        Item::Arrangement(arrangement) => (6, [&arrangement.conversation, b""]),
        Item::Looked(conversation, ..) => (7, [conversation, b""]),
        Item::ReadReceipts(_) => (8, [b"", b""]),
        Item::Vanishes(conversation, message, _) => (10, [conversation, message]),
        Item::Message(_) | Item::Act(_) | Item::Ticks(_) | Item::Place(_) => return None,
    };
    Some(wire::signing_input("", &[&[kind], parts[0], parts[1]]))
}

/// One chunk of all that a full set and those that go on from it hold, the oldest first.
pub(crate) fn merged(sets: Vec<Vec<Chunk>>) -> Chunk {
    let mut seen = HashSet::new();
    let mut vanishes: HashMap<(ByteVec, ByteVec), u64> = HashMap::new();
    let (mut items, mut acts) = (Vec::new(), Vec::new());
    for set in sets.into_iter().rev() {
        let mut behind = Vec::new();
        for item in set.into_iter().flat_map(|chunk| chunk.items) {
            if key(&item).is_some_and(|key| !seen.insert(key)) {
                continue;
            }
            match item {
                Item::Vanishes(conversation, message, at) => {
                    vanishes.insert((conversation, message), at);
                }
                Item::Message(mut message) => {
                    let of = (message.conversation.clone(), message.id.clone());
                    message.expires = vanishes.get(&of).copied().unwrap_or(message.expires);
                    items.push(Item::Message(message));
                }
                // What was done to messages comes behind all messages, in its order.
                Item::Act(_) | Item::Place(_) => behind.push(item),
                other => items.push(other),
            }
        }
        acts.push(behind);
    }
    items.extend(acts.into_iter().rev().flatten());
    Chunk { version: VERSION, number: 0, last: true, total: 0, items }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_so_many_places_and_a_clock_that_goes_back_takes_none_twice() {
        let now = 20_000 * DAY_MS + 5;
        let mut last = None;
        for number in 0..SLOTS {
            last = Slot::next(last, now);
            assert_eq!(last, Some(Slot { day: 20_000, number }));
        }
        assert_eq!(Slot::next(last, now), None);
        assert_eq!(Slot::next(last, now - DAY_MS), None);
        assert_eq!(Slot::next(last, now + DAY_MS), Some(Slot { day: 20_001, number: 0 }));
    }

    #[test]
    fn the_newest_word_on_a_thing_counts_and_acts_come_last_in_their_order() {
        let hidden = |n: u8| Item::Hidden(vec![n; 16].into(), vec![n; 32].into());
        let receipts = Item::ReadReceipts;
        let place = |n: u8| {
            let (conversation, message) = (vec![n; 16].into(), vec![n; 32].into());
            Item::Place(crate::archive::Place { conversation, message, seq: 1, time: 1 })
        };
        let chunk = |items| vec![Chunk { version: VERSION, number: 0, last: true, total: 0, items }];
        let merged = merged(vec![
            chunk(vec![receipts(true), place(1), hidden(1)]),
            chunk(vec![place(2), receipts(false), hidden(1), hidden(2)]),
        ]);
        let kinds: Vec<String> = merged
            .items
            .iter()
            .map(|item| match item {
                Item::ReadReceipts(on) => format!("receipts {on}"),
                Item::Hidden(log, _) => format!("hidden {}", log[0]),
                Item::Place(place) => format!("place {}", place.conversation[0]),
                _ => "other".into(),
            })
            .collect();
        assert_eq!(kinds, ["receipts false", "hidden 1", "hidden 2", "place 1", "place 2"]);
    }
}
