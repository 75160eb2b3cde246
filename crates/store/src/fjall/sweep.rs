//! Retention within one log: which entries go, and the holes that say so.
//!
//! What always holds: after a slice the items of the log still lie side by side (see [`super::format`]), neighbouring holes are one,
//! and the bytes that went are counted, all in the one batch that the slice is.

use ::fjall::Snapshot;
use bytes::Bytes;

use super::format::{self, Hole, Item};
use super::read::View;
use crate::{Entry, LogKey, StoreError};

/// A slice ends after so many items or bytes: the writer has others to serve.
const SLICE_ITEMS: usize = 1024;
const SLICE_BYTES: usize = 4 << 20;

/// A walk through a log, from slice to slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walk {
    /// Where to go on.
    pub(super) next: u64,
    /// What the clock says. What has a later time was written while the clock was ahead.
    pub(super) now: u64,
    /// Kinds that may still be removed, with the time before which they are too old.
    pub(super) older_than: Vec<(u8, u64)>,
}

/// What one slice does.
#[derive(Debug, Default)]
pub(super) struct Slice {
    /// Keys of items and their new values (`None`: it goes).
    pub(super) writes: Vec<([u8; 24], Option<Bytes>)>,
    /// Bytes of the bodies that go.
    pub(super) removed: u64,
    /// What is left of the walk.
    pub(super) rest: Option<Walk>,
}

/// A hole that is being extended.
struct Open {
    hole: Hole,
    changed: bool,
}

/// The next entry that is not of a time to come, which is looked for once for all those before it.
struct Behind {
    seq: u64,
    time: u64,
}

impl Behind {
    /// The time that an entry of a time to come counts by.
    fn time(
        &mut self,
        view: &View,
        snapshot: &Snapshot,
        log: &LogKey,
        now: u64,
        ahead: &Entry,
    ) -> Result<u64, StoreError> {
        if self.seq < ahead.seq {
            // Where all that is in sight is ahead, it stays until something is written behind it.
            *self = Self { seq: ahead.seq, time: u64::MAX };
            for item in view.items(snapshot, log, ahead.seq, u64::MAX).take(SLICE_ITEMS) {
                let Item::Entry(entry, _) = item? else { continue };
                self.seq = entry.seq;
                if entry.time <= now {
                    self.time = entry.time;
                    break;
                }
            }
        }
        Ok(self.time)
    }
}

impl Slice {
    fn close(&mut self, log: &LogKey, open: &mut Option<Open>) {
        if let Some(Open { hole, changed: true }) = open.take() {
            let key = format::item_key(log, hole.first);
            self.writes.push((key, Some(format::encode_hole(&key, &hole))));
        }
    }
}

/// Plans the next slice of `walk`; writes nothing.
pub(super) fn plan(view: &View, snapshot: &Snapshot, log: &LogKey, walk: Walk) -> Result<Slice, StoreError> {
    let Walk { next, now, mut older_than } = walk;
    let mut slice = Slice::default();
    let mut open = match view.item_before(snapshot, log, next)? {
        Some(Item::Hole(hole)) => Some(Open { hole, changed: false }),
        _ => None,
    };
    let mut bytes = 0;
    let mut behind = Behind { seq: 0, time: 0 };
    for (seen, item) in view.items(snapshot, log, next, u64::MAX).enumerate() {
        let item = item?;
        if seen == SLICE_ITEMS || bytes >= SLICE_BYTES {
            slice.rest = Some(Walk { next: item.first(), now, older_than });
            break;
        }
        if open.as_ref().is_some_and(|open| open.hole.last + 1 != item.first()) {
            slice.close(log, &mut open);
        }
        let (hole, stays) = match &item {
            Item::Hole(hole) => (*hole, true),
            Item::Entry(entry, total) => {
                bytes += entry.body.len();
                let time = if entry.time <= now { entry.time } else { behind.time(view, snapshot, log, now, entry)? };
                // Times ascend, so behind an entry that is young enough for every kind there is nothing to remove.
                if older_than.iter().all(|(_, before)| time >= *before) {
                    slice.close(log, &mut open);
                    break;
                }
                let limit = older_than.iter().position(|(kind, _)| *kind == entry.kind);
                let too_old = limit.is_some_and(|limit| time < older_than[limit].1);
                if !too_old {
                    slice.close(log, &mut open);
                    if let Some(limit) = limit {
                        older_than.swap_remove(limit);
                    }
                    if older_than.is_empty() {
                        break;
                    }
                    continue;
                }
                slice.removed += entry.body.len() as u64;
                (Hole { first: entry.seq, last: entry.seq, total: *total }, false)
            }
        };
        match &mut open {
            Some(open) => {
                slice.writes.push((format::item_key(log, hole.first), None));
                open.hole.last = hole.last;
                open.hole.total = hole.total;
                open.changed = true;
            }
            None => open = Some(Open { hole, changed: !stays }),
        }
    }
    slice.close(log, &mut open);
    Ok(slice)
}
