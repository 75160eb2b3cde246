//! The bytes on disk: keys and values of the two keyspaces.
//!
//! What always holds: every value is `version ∥ crc32c ∥ fields`, and the checksum covers the key too, so a value that was altered,
//! cut short or put under another key is told from a good one. Integers in keys are big-endian (their order is the log's), in
//! values little-endian.
//!
//! The items of a log lie side by side without a gap: an item is an entry, which covers its own place, or a [`Hole`], which
//! retention leaves and which covers a range of places. So a gap is always damage, however much retention took.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Entry, EpochKey, EpochState, LogKey, Record};

/// The first byte of every value that this version writes.
const VERSION: u8 = 1;
/// The version byte and the checksum.
const SEAL: usize = 5;

const HAS_NEXT: u8 = 1;
const HAS_COMMITMENT: u8 = 2;
const IS_HOLE: u8 = 128;

/// What is wrong with a stored value; the caller adds which one it is.
pub(super) type Flaw = &'static str;

/// One item of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// An entry and the bytes of all bodies up to and with it, removed ones too.
    Entry(Entry, u64),
    /// Places that retention emptied.
    Hole(Hole),
}

impl Item {
    /// The first place that it covers.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Entry(entry, _) => entry.seq,
            Self::Hole(hole) => hole.first,
        }
    }

    /// The last place that it covers.
    pub(super) fn last(&self) -> u64 {
        match self {
            Self::Entry(entry, _) => entry.seq,
            Self::Hole(hole) => hole.last,
        }
    }

    /// Bytes of all bodies up to its last place, removed ones too.
    pub(super) fn total(&self) -> u64 {
        match self {
            Self::Entry(_, total) => *total,
            Self::Hole(hole) => hole.total,
        }
    }
}

/// Places of a log that retention emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    /// The first of them; the item lies at its key.
    pub(super) first: u64,
    /// The last of them.
    pub(super) last: u64,
    /// See [`Item::total`].
    pub(super) total: u64,
}

/// What belongs to a log as a whole and changes only with retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// Milliseconds since 1970.
    pub(super) created: u64,
    /// Bytes of the bodies that retention removed.
    pub(super) removed: u64,
}

/// What is known of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlobState {
    /// Bytes that are durable.
    pub(super) length: u64,
    /// It never changes again.
    pub(super) complete: bool,
}

/// The key of an item in the keyspace of entries.
pub(super) fn item_key(log: &LogKey, seq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(log);
    key[16..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The place that an item's key names.
pub(super) fn seq_of(key: &[u8]) -> Result<u64, Flaw> {
    let place = key.get(16..).and_then(|place| place.try_into().ok());
    place.map(u64::from_be_bytes).ok_or("its key has another length")
}

/// The epoch that the key of one names.
pub(super) fn epoch_of(key: &[u8]) -> Result<u64, Flaw> {
    let epoch = key.get(17..).and_then(|epoch| epoch.try_into().ok());
    epoch.map(u64::from_be_bytes).ok_or("its key has another length")
}

/// Keys of the keyspace of state.
pub(super) mod key {
    use super::LogKey;

    /// Where the records start.
    pub(in super::super) const RECORD: u8 = b'r';
    /// Where the logs start.
    pub(in super::super) const LOG: u8 = b'l';
    /// Where the logs start that are being removed.
    pub(in super::super) const DEAD: u8 = b'd';
    /// The number of the last batch.
    pub(in super::super) const BATCH: [u8; 1] = [b'm'];

    pub(in super::super) fn log(log: &LogKey) -> [u8; 17] {
        under(LOG, log)
    }

    pub(in super::super) fn dead(log: &LogKey) -> [u8; 17] {
        under(DEAD, log)
    }

    pub(in super::super) fn epochs(log: &LogKey) -> [u8; 17] {
        under(b'e', log)
    }

    pub(in super::super) fn epoch(log: &LogKey, epoch: u64) -> [u8; 25] {
        let mut key = [0; 25];
        key[..17].copy_from_slice(&epochs(log));
        key[17..].copy_from_slice(&epoch.to_be_bytes());
        key
    }

    pub(in super::super) fn blob(id: &[u8; 32]) -> [u8; 33] {
        let mut key = [b'b'; 33];
        key[1..].copy_from_slice(id);
        key
    }

    pub(in super::super) fn record(key: &[u8]) -> Vec<u8> {
        let mut full = Vec::with_capacity(key.len() + 1);
        full.push(RECORD);
        full.extend_from_slice(key);
        full
    }

    fn under(space: u8, log: &LogKey) -> [u8; 17] {
        let mut key = [space; 17];
        key[1..].copy_from_slice(log);
        key
    }
}

/// Room for a value of `length` field bytes, the checksum still open.
fn open_seal(length: usize) -> BytesMut {
    let mut value = BytesMut::with_capacity(SEAL + length);
    value.put_u8(VERSION);
    value.put_u32_le(0);
    value
}

fn seal(key: &[u8], mut value: BytesMut) -> Bytes {
    let sum = checksum(key, &value);
    value[1..SEAL].copy_from_slice(&sum.to_le_bytes());
    value.freeze()
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let sum = crc32c::crc32c_append(crc32c::crc32c(key), &value[..1]);
    crc32c::crc32c_append(sum, &value[SEAL..])
}

/// The fields of a value, once version and checksum are right.
fn unseal(key: &[u8], value: &Bytes) -> Result<Bytes, Flaw> {
    let mut head = value.clone();
    let version = head.try_get_u8().map_err(|_| "it is empty")?;
    if version != VERSION {
        return Err("its version is unknown");
    }
    let sum = head.try_get_u32_le().map_err(|_| "it was cut short")?;
    if sum != checksum(key, value) {
        return Err("its checksum is wrong");
    }
    Ok(head)
}

const SHORT: Flaw = "it was cut short";

fn array<const N: usize>(fields: &mut Bytes) -> Result<[u8; N], Flaw> {
    let mut bytes = [0; N];
    fields.try_copy_to_slice(&mut bytes).map_err(|_| SHORT)?;
    Ok(bytes)
}

fn number(fields: &mut Bytes) -> Result<u64, Flaw> {
    fields.try_get_u64_le().map_err(|_| SHORT)
}

fn byte(fields: &mut Bytes) -> Result<u8, Flaw> {
    fields.try_get_u8().map_err(|_| SHORT)
}

/// `total` is the sum up to and with this entry, see [`Item::total`].
pub(super) fn encode_entry(key: &[u8; 24], entry: &Entry, total: u64) -> Bytes {
    let commitment = entry.commitment != [0; 32];
    let mut flags = 0;
    if entry.next.is_some() {
        flags |= HAS_NEXT;
    }
    if commitment {
        flags |= HAS_COMMITMENT;
    }
    let mut value = open_seal(1 + 4 * 8 + 1 + 16 + 32 + 32 + entry.body.len());
    value.put_u8(flags);
    value.put_u64_le(entry.prev);
    value.put_u64_le(entry.epoch);
    value.put_u64_le(entry.time);
    value.put_u64_le(total);
    value.put_u8(entry.kind);
    value.put_slice(&entry.id);
    if commitment {
        value.put_slice(&entry.commitment);
    }
    if let Some(next) = &entry.next {
        value.put_slice(next);
    }
    value.put_slice(&entry.body);
    seal(key, value)
}

pub(super) fn encode_hole(key: &[u8; 24], hole: &Hole) -> Bytes {
    let mut value = open_seal(1 + 8 + 8);
    value.put_u8(IS_HOLE);
    value.put_u64_le(hole.last);
    value.put_u64_le(hole.total);
    seal(key, value)
}

/// Reads an item; the body shares memory with `value`.
pub(super) fn decode_item(key: &[u8], value: &Bytes) -> Result<Item, Flaw> {
    let seq = seq_of(key)?;
    let mut fields = unseal(key, value)?;
    let flags = byte(&mut fields)?;
    if flags == IS_HOLE {
        let (last, total) = (number(&mut fields)?, number(&mut fields)?);
        if last < seq {
            return Err("it ends before it starts");
        }
        return Ok(Item::Hole(Hole { first: seq, last, total }));
    }
    if flags & !(HAS_NEXT | HAS_COMMITMENT) != 0 {
        return Err("its flags are unknown");
    }
    let prev = number(&mut fields)?;
    let epoch = number(&mut fields)?;
    let time = number(&mut fields)?;
    let total = number(&mut fields)?;
    let kind = byte(&mut fields)?;
    let id = array(&mut fields)?;
    let commitment = if flags & HAS_COMMITMENT != 0 { array(&mut fields)? } else { [0; 32] };
    let next = if flags & HAS_NEXT != 0 { Some(array(&mut fields)?) } else { None };
    let entry = Entry { seq, prev, epoch, time, kind, id, commitment, next, body: fields };
    Ok(Item::Entry(entry, total))
}

pub(super) fn encode_meta(key: &[u8], meta: &Meta) -> Bytes {
    let mut value = open_seal(16);
    value.put_u64_le(meta.created);
    value.put_u64_le(meta.removed);
    seal(key, value)
}

pub(super) fn decode_meta(key: &[u8], value: &Bytes) -> Result<Meta, Flaw> {
    let mut fields = unseal(key, value)?;
    Ok(Meta { created: number(&mut fields)?, removed: number(&mut fields)? })
}

pub(super) fn encode_epoch(key: &[u8], epoch: &EpochState) -> Bytes {
    let mut value = open_seal(32 + 8 + 8);
    value.put_slice(&epoch.key);
    value.put_u64_le(epoch.opened_at);
    // No entry has place 0, so 0 says that the epoch goes on.
    value.put_u64_le(epoch.ended_at.unwrap_or(0));
    seal(key, value)
}

pub(super) fn decode_epoch(key: &[u8], value: &Bytes) -> Result<EpochState, Flaw> {
    let mut fields = unseal(key, value)?;
    let epoch_key: EpochKey = array(&mut fields)?;
    let opened_at = number(&mut fields)?;
    let ended_at = Some(number(&mut fields)?).filter(|seq| *seq != 0);
    Ok(EpochState { key: epoch_key, opened_at, ended_at })
}

pub(super) fn encode_record(key: &[u8], record: &Record) -> Bytes {
    let mut value = open_seal(8 + record.value.len());
    value.put_u64_le(record.version);
    value.put_slice(&record.value);
    seal(key, value)
}

pub(super) fn decode_record(key: &[u8], value: &Bytes) -> Result<Record, Flaw> {
    let mut fields = unseal(key, value)?;
    let version = number(&mut fields)?;
    Ok(Record { version, value: fields })
}

pub(super) fn encode_blob(key: &[u8], blob: &BlobState) -> Bytes {
    let mut value = open_seal(9);
    value.put_u64_le(blob.length);
    value.put_u8(u8::from(blob.complete));
    seal(key, value)
}

pub(super) fn decode_blob(key: &[u8], value: &Bytes) -> Result<BlobState, Flaw> {
    let mut fields = unseal(key, value)?;
    Ok(BlobState { length: number(&mut fields)?, complete: byte(&mut fields)? == 1 })
}

/// A value that is one number: the last batch's, or nothing but a mark.
pub(super) fn encode_number(key: &[u8], number: u64) -> Bytes {
    let mut value = open_seal(8);
    value.put_u64_le(number);
    seal(key, value)
}

pub(super) fn decode_number(key: &[u8], value: &Bytes) -> Result<u64, Flaw> {
    number(&mut unseal(key, value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            seq: 258,
            prev: 257,
            epoch: 3,
            time: 1_700_000_000_000,
            kind: 2,
            id: [7; 16],
            commitment: [8; 32],
            next: Some([9; 32]),
            body: Bytes::from_static(b"sealed"),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn an_entry_reads_as_it_was_written() {
        let key = item_key(&[1; 16], 258);
        for (commitment, next) in [([0; 32], None), ([8; 32], None), ([0; 32], Some([9; 32])), ([8; 32], Some([9; 32]))]
        {
            let entry = Entry { commitment, next, ..entry() };
            let value = encode_entry(&key, &entry, 999);
            assert_eq!(decode_item(&key, &value), Ok(Item::Entry(entry, 999)));
        }
    }

    #[test]
    fn any_altered_bit_and_any_cut_is_noticed() {
        let key = item_key(&[1; 16], 258);
        let value = encode_entry(&key, &entry(), 999);
        for bit in 0..value.len() * 8 {
            let mut altered = value.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_item(&key, &Bytes::from(altered)).is_err(), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(decode_item(&key, &value.slice(..length)).is_err(), "cut to {length}");
        }
        assert!(decode_item(&item_key(&[1; 16], 259), &value).is_err());
        assert!(decode_item(&item_key(&[2; 16], 258), &value).is_err());
    }

    /// What version 1 wrote must be readable for ever: a change here needs a new version.
    #[test]
    fn version_1_is_these_bytes() {
        let key = item_key(&[1; 16], 258);
        let hole = Hole { first: 258, last: 300, total: 999 };
        let meta = Meta { created: 5, removed: 6 };
        let epoch = EpochState { key: [9; 32], opened_at: 1, ended_at: Some(2) };
        let record = Record { version: 4, value: Bytes::from_static(b"value") };
        let blob = BlobState { length: 77, complete: true };
        let written = [
            hex(&encode_entry(&key, &entry(), 999)),
            hex(&encode_hole(&key, &hole)),
            hex(&encode_meta(&key::log(&[1; 16]), &meta)),
            hex(&encode_epoch(&key::epoch(&[1; 16], 3), &epoch)),
            hex(&encode_record(&key::record(b"name"), &record)),
            hex(&encode_blob(&key::blob(&[3; 32]), &blob)),
            hex(&encode_number(&key::BATCH, 12)),
        ];
        assert_eq!(written.join("\n"), include_str!("format-1.hex").trim_end());
    }
}
