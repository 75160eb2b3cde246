//! Receipts: which entries of a log have arrived at a member's device, and which ones its user has read.
//!
//! A content type of our own, because entries are named by their sequence numbers, so that a batch of any size is a few
//! ranges (the draft draft-mahy-mimi-message-status-01 lists each message id). Programs that don't know it show nothing.

use crate::cbor::{Reader, Writer};

/// The media type.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.transom.receipts+cbor";

/// The version of this format; the first item of the array.
const VERSION: u64 = 1;

/// How many ranges one message may carry, both lists together.
pub const MAX_RANGES: usize = 1000;

/// Entries that arrived and entries that were read. Ranges are inclusive sequence numbers of the log, the first being 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipts {
    /// Arrived at the sender's device. Sorted and merged once decoded or [`Receipts::normalize`]d.
    pub delivered: Vec<(u64, u64)>,
    /// Read by the sender. Sorted and merged likewise.
    pub read: Vec<(u64, u64)>,
}

impl Receipts {
    /// Sorts the ranges, joins those that touch, drops empty ones and the number 0, which is no entry. If more than
    /// [`MAX_RANGES`] remain, the ones with the highest numbers are kept: what is newest matters, and older entries can go
    /// with the next batch.
    pub fn normalize(&mut self) {
        merge(&mut self.delivered);
        merge(&mut self.read);
        let spare = (self.delivered.len() + self.read.len()).saturating_sub(MAX_RANGES);
        let from_delivered = spare.min(self.delivered.len().saturating_sub(MAX_RANGES / 2));
        self.delivered.drain(..from_delivered);
        self.read.drain(..spare - from_delivered);
    }

    /// True if there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.delivered.is_empty() && self.read.is_empty()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut sorted = self.clone();
        sorted.normalize();
        let mut writer = Writer::new();
        writer.array(3);
        writer.uint(VERSION);
        for ranges in [&sorted.delivered, &sorted.read] {
            writer.array(ranges.len());
            for (first, last) in ranges {
                writer.array(2);
                writer.uint(*first);
                writer.uint(*last);
            }
        }
        writer.finish()
    }

    /// None for bytes that are not receipts, that are of another version, or whose ranges are not sorted and merged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.array().ok()? != 3 || reader.uint().ok()? != VERSION {
            return None;
        }
        let mut left = MAX_RANGES as u64;
        let mut lists = [Vec::new(), Vec::new()];
        for ranges in &mut lists {
            let count = reader.array().ok()?;
            left = left.checked_sub(count)?;
            for _ in 0..count {
                if reader.array().ok()? != 2 {
                    return None;
                }
                ranges.push((reader.uint().ok()?, reader.uint().ok()?));
            }
        }
        let [delivered, read] = lists;
        let receipts = Self { delivered, read };
        (reader.at_end() && receipts.encode() == bytes).then_some(receipts)
    }
}

fn merge(ranges: &mut Vec<(u64, u64)>) {
    let mut sorted = std::mem::take(ranges);
    for range in &mut sorted {
        range.0 = range.0.max(1);
    }
    sorted.retain(|(first, last)| first <= last);
    sorted.sort_unstable();
    for (first, last) in sorted {
        match ranges.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
            _ => ranges.push((first, last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_sorted_and_merged() {
        let mut receipts = Receipts { delivered: vec![(7, 9), (0, 2), (3, 4), (8, 12), (6, 5)], read: vec![] };
        receipts.normalize();
        assert_eq!(receipts.delivered, [(1, 4), (7, 12)]);
        let mut receipts = Receipts { delivered: vec![(0, 0), (5, u64::MAX), (u64::MAX, u64::MAX)], read: vec![] };
        receipts.normalize();
        assert_eq!(receipts.delivered, [(5, u64::MAX)]);
    }

    #[test]
    fn too_many_ranges_lose_the_oldest_of_the_longer_lists() {
        let many = |count: u64| (1..=count).map(|n| (n * 2, n * 2)).collect::<Vec<_>>();
        for (delivered, read, kept_delivered, kept_read) in
            [(2000, 0, 1000, 0), (0, 2000, 0, 1000), (2000, 2000, 500, 500), (800, 300, 700, 300), (100, 950, 100, 900)]
        {
            let mut receipts = Receipts { delivered: many(delivered), read: many(read) };
            receipts.normalize();
            assert_eq!((receipts.delivered.len(), receipts.read.len()), (kept_delivered, kept_read));
            assert_eq!(receipts.delivered.last().map(|range| range.1), (delivered > 0).then_some(delivered * 2));
            assert_eq!(Receipts::decode(&receipts.encode()), Some(receipts));
        }
    }

    #[test]
    fn what_is_not_sorted_or_too_long_is_refused() {
        let encoded = |ranges: &[(u64, u64)], version: u64| {
            let mut writer = Writer::new();
            writer.array(3);
            writer.uint(version);
            writer.array(ranges.len());
            for (first, last) in ranges {
                writer.array(2);
                writer.uint(*first);
                writer.uint(*last);
            }
            writer.array(0);
            writer.finish()
        };
        assert!(Receipts::decode(&encoded(&[(1, 2), (4, 4)], 1)).is_some());
        for wrong in [&[(4, 4), (1, 2)][..], &[(1, 2), (3, 4)], &[(1, 2), (2, 4)], &[(2, 1)], &[(0, 1)]] {
            assert_eq!(Receipts::decode(&encoded(wrong, 1)), None, "{wrong:?}");
        }
        assert_eq!(Receipts::decode(&encoded(&[(1, 2)], 2)), None);
        let many: Vec<_> = (1..=1001).map(|n| (n * 2, n * 2)).collect();
        assert_eq!(Receipts::decode(&encoded(&many, 1)), None);
        let mut trailing = encoded(&[(1, 2)], 1);
        trailing.push(0);
        assert_eq!(Receipts::decode(&trailing), None);
    }
}
