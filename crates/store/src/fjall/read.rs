//! Reading: straight from the keyspaces, every value checked, and the bounded cache of what is known of a log.
//!
//! What always holds: the cache is never ahead of what is durable, and what a reader answers is one consistent state: the head comes
//! first, the snapshot that must hold everything up to it comes after.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::fjall::{Database, Keyspace, Readable, Snapshot};
use bytes::Bytes;

use super::format::{self, Item, Meta, key};
use crate::{EpochKey, EpochState, LogInfo, LogKey, Page, Record, StoreError};

/// What the writer decides an append by, and readers ask first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogState {
    /// The current epoch.
    pub(super) epoch: u64,
    /// The key that opened it.
    pub(super) key: EpochKey,
    /// The commit that opened it.
    pub(super) opened_at: u64,
    /// The last entry.
    pub(super) head: u64,
    /// Its time; 0 if it is not there any more, and then nothing can be seen to go back.
    pub(super) time: u64,
    /// Bytes of all bodies ever appended.
    pub(super) total: u64,
    /// Creation time and removed bytes.
    pub(super) meta: Meta,
}

impl LogState {
    pub(super) fn info(&self) -> LogInfo {
        LogInfo {
            epoch: self.epoch,
            head: self.head,
            bytes: self.total.saturating_sub(self.meta.removed),
            created: self.meta.created,
        }
    }

    pub(super) fn current(&self) -> EpochState {
        EpochState { key: self.key, opened_at: self.opened_at, ended_at: None }
    }
}

/// A log in a message to the operator: its name says nothing of who writes in it, the place says where to look.
pub(super) fn damaged(log: &LogKey, what: &str) -> StoreError {
    let name: String = log.iter().map(|byte| format!("{byte:02x}")).collect();
    StoreError::Damaged(format!("log {name}: {what}"))
}

fn flawed(log: &LogKey, part: &str, flaw: format::Flaw) -> StoreError {
    damaged(log, &format!("{part}: {flaw}"))
}

/// An error of the database below: its tables or the disk.
pub(super) fn unreadable(error: ::fjall::Error) -> StoreError {
    StoreError::Damaged(format!("the database can't be read: {error}"))
}

/// The keyspaces, for readers and the writer.
pub(super) struct View {
    pub(super) database: Database,
    pub(super) entries: Keyspace,
    pub(super) state: Keyspace,
    cache: Cache,
}

impl View {
    pub(super) fn new(database: Database, entries: Keyspace, state: Keyspace) -> Self {
        Self { database, entries, state, cache: Cache::new() }
    }

    /// What is known of a log; from memory if it was asked for lately.
    pub(super) fn log(&self, log: &LogKey) -> Result<LogState, StoreError> {
        let mut shard = self.cache.shard(log);
        if let Some(state) = shard.get(log) {
            return Ok(state);
        }
        // Loaded under the lock: the writer makes a newer state visible first and publishes it after, so what is put here is
        // either the newest or replaced at once.
        let state = self.load(&self.database.snapshot(), log)?;
        shard.insert(*log, state);
        Ok(state)
    }

    /// The writer made `state` durable (`None`: it removed the log).
    pub(super) fn publish(&self, log: LogKey, state: Option<LogState>) {
        let mut shard = self.cache.shard(&log);
        match state {
            Some(state) => shard.insert(log, state),
            None => shard.remove(&log),
        }
    }

    fn load(&self, snapshot: &Snapshot, log: &LogKey) -> Result<LogState, StoreError> {
        let meta = self.meta(snapshot, log)?.ok_or(StoreError::NotFound)?;
        let mut epochs = snapshot.prefix(&self.state, key::epochs(log));
        let (at, value) = match epochs.next_back() {
            Some(last) => last.into_inner().map_err(unreadable)?,
            None => return Err(damaged(log, "its epochs are missing")),
        };
        let current = format::decode_epoch(&at, &value.into()).map_err(|flaw| flawed(log, "an epoch", flaw))?;
        let epoch = format::epoch_of(&at).map_err(|flaw| flawed(log, "an epoch", flaw))?;
        let last = self.item_before(snapshot, log, u64::MAX)?;
        let (head, total) = last.as_ref().map_or((0, 0), |item| (item.last(), item.total()));
        let time = match last {
            Some(Item::Entry(entry, _)) => entry.time,
            Some(Item::Hole(_)) | None => 0,
        };
        if head < current.opened_at || current.ended_at.is_some() {
            return Err(damaged(log, &format!("entries behind {head} are missing")));
        }
        Ok(LogState { epoch, key: current.key, opened_at: current.opened_at, head, time, total, meta })
    }

    fn meta(&self, snapshot: &Snapshot, log: &LogKey) -> Result<Option<Meta>, StoreError> {
        let at = key::log(log);
        let Some(value) = snapshot.get(&self.state, at).map_err(unreadable)? else { return Ok(None) };
        let meta = format::decode_meta(&at, &value.into()).map_err(|flaw| flawed(log, "its record", flaw))?;
        Ok(Some(meta))
    }

    /// The last item whose key is before place `seq`.
    pub(super) fn item_before(&self, snapshot: &Snapshot, log: &LogKey, seq: u64) -> Result<Option<Item>, StoreError> {
        let range = format::item_key(log, 0)..format::item_key(log, seq);
        snapshot.range(&self.entries, range).next_back().map(|guard| item(log, guard)).transpose()
    }

    /// The items whose keys are at places `from` to `to`.
    pub(super) fn items(
        &self,
        snapshot: &Snapshot,
        log: &LogKey,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = Result<Item, StoreError>> + use<> {
        let log = *log;
        let range = format::item_key(&log, from)..=format::item_key(&log, to);
        snapshot.range(&self.entries, range).map(move |guard| item(&log, guard))
    }

    pub(super) fn epoch(&self, log: &LogKey, epoch: u64) -> Result<EpochState, StoreError> {
        let current = self.log(log)?;
        if epoch == current.epoch {
            return Ok(current.current());
        }
        let at = key::epoch(log, epoch);
        let value = self.state.get(at).map_err(unreadable)?.ok_or(StoreError::NotFound)?;
        format::decode_epoch(&at, &value.into()).map_err(|flaw| flawed(log, &format!("epoch {epoch}"), flaw))
    }

    /// True if a page from here on is most likely in memory: the log was used lately, and this is near its end.
    pub(super) fn is_at_hand(&self, log: &LogKey, from: u64) -> bool {
        self.cache.shard(log).get(log).is_some_and(|state| from.saturating_add(AT_HAND) > state.head)
    }

    pub(super) fn page(
        &self,
        log: &LogKey,
        from: u64,
        until: Option<u64>,
        max_bytes: usize,
    ) -> Result<Page, StoreError> {
        let head = self.log(log)?.head;
        match self.page_up_to(&self.database.snapshot(), log, head, from, until, max_bytes) {
            // It may have been removed between the two looks; one snapshot for both decides.
            Err(StoreError::Damaged(_)) => {
                let snapshot = self.database.snapshot();
                let head = self.load(&snapshot, log)?.head;
                self.page_up_to(&snapshot, log, head, from, until, max_bytes)
            }
            page => page,
        }
    }

    fn page_up_to(
        &self,
        snapshot: &Snapshot,
        log: &LogKey,
        head: u64,
        from: u64,
        until: Option<u64>,
        max_bytes: usize,
    ) -> Result<Page, StoreError> {
        let head = until.map_or(head, |until| until.min(head));
        let from = from.max(1);
        let mut page = Page { entries: Vec::new(), head, more: false };
        if from > head {
            return Ok(page);
        }
        let mut bytes = 0_usize;
        // The next place that must be covered, by an entry or by a hole that retention left.
        let mut expected = from;
        for item in self.items(snapshot, log, from, head) {
            let item = item?;
            if item.first() != expected && expected == from {
                expected = self.end_of_hole(snapshot, log, from)?;
            }
            if item.first() != expected {
                return Err(damaged(log, &format!("entries {expected} to {} are missing", item.first() - 1)));
            }
            expected = item.last().saturating_add(1);
            let Item::Entry(entry, _) = item else { continue };
            if entry.prev != entry.seq - 1 {
                return Err(damaged(log, &format!("entry {} names another one before it", entry.seq)));
            }
            bytes = bytes.saturating_add(entry.body.len());
            if bytes > max_bytes && !page.entries.is_empty() {
                page.more = true;
                return Ok(page);
            }
            page.entries.push(entry);
        }
        if expected == from {
            expected = self.end_of_hole(snapshot, log, from)?;
        }
        if expected <= head {
            return Err(damaged(log, &format!("entries {expected} to {head} are missing")));
        }
        Ok(page)
    }

    /// Where the hole ends in which `from` lies, or `from` if it lies in none.
    fn end_of_hole(&self, snapshot: &Snapshot, log: &LogKey, from: u64) -> Result<u64, StoreError> {
        let before = self.item_before(snapshot, log, from)?;
        Ok(before.map_or(from, |item| from.max(item.last().saturating_add(1))))
    }

    pub(super) fn record(&self, name: &[u8]) -> Result<Option<Record>, StoreError> {
        let at = key::record(name);
        let Some(value) = self.state.get(&at).map_err(unreadable)? else { return Ok(None) };
        record(&at, value.into()).map(Some)
    }

    pub(super) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>, StoreError> {
        let mut found = Vec::new();
        for pair in self.records(&self.database.snapshot(), prefix, after).take(limit) {
            found.push(pair?);
        }
        Ok(found)
    }

    /// Records whose keys start with `prefix`, in key order, behind `after`.
    pub(super) fn records(
        &self,
        snapshot: &Snapshot,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(Bytes, Record), StoreError>> + use<> {
        let from = match after {
            // The least key behind a key is that key and a zero byte.
            Some(after) if after >= prefix => [&key::record(after)[..], &[0]].concat(),
            _ => key::record(prefix),
        };
        let prefix = key::record(prefix);
        snapshot.range(&self.state, from..).map_while(move |guard| match guard.into_inner() {
            Ok((at, _)) if !at.starts_with(&prefix) => None,
            Ok((at, value)) => {
                let at = Bytes::from(at);
                Some(record(&at, value.into()).map(|record| (at.slice(1..), record)))
            }
            Err(error) => Some(Err(unreadable(error))),
        })
    }

    pub(super) fn blob(&self, id: &[u8; 32]) -> Result<Option<format::BlobState>, StoreError> {
        let at = key::blob(id);
        let Some(value) = self.state.get(at).map_err(unreadable)? else { return Ok(None) };
        let blob = format::decode_blob(&at, &value.into());
        blob.map(Some).map_err(|flaw| StoreError::Damaged(format!("the record of a blob: {flaw}")))
    }

    /// The number of the last batch that is there.
    pub(super) fn last_batch(&self) -> Result<u64, StoreError> {
        let Some(value) = self.state.get(key::BATCH).map_err(unreadable)? else { return Ok(0) };
        let number = format::decode_number(&key::BATCH, &value.into());
        number.map_err(|flaw| StoreError::Damaged(format!("the number of the last batch: {flaw}")))
    }

    /// Logs that were removed and not all of whose keys are gone.
    pub(super) fn dead(&self) -> Result<Vec<LogKey>, StoreError> {
        self.state.range([key::DEAD]..[key::DEAD + 1]).map(log_of).collect()
    }

    /// Logs behind `cursor`, in key order.
    pub(super) fn logs(&self, cursor: Option<LogKey>) -> impl Iterator<Item = Result<LogKey, StoreError>> + use<> {
        let from = cursor.map_or(vec![key::LOG], |log| [&key::log(&log)[..], &[0]].concat());
        let snapshot = self.database.snapshot();
        snapshot.range(&self.state, from..vec![key::LOG + 1]).map(log_of)
    }
}

/// The log that a key of its own names.
fn log_of(guard: ::fjall::Guard) -> Result<LogKey, StoreError> {
    let at = guard.key().map_err(unreadable)?;
    let log = at.get(1..).and_then(|log| log.try_into().ok());
    log.ok_or_else(|| StoreError::Damaged("the key of a log has another length".to_owned()))
}

fn item(log: &LogKey, guard: ::fjall::Guard) -> Result<Item, StoreError> {
    let (at, value) = guard.into_inner().map_err(unreadable)?;
    format::decode_item(&at, &value.into()).map_err(|flaw| match format::seq_of(&at) {
        Ok(seq) => flawed(log, &format!("entry {seq}"), flaw),
        Err(_) => flawed(log, "an entry", flaw),
    })
}

/// A record's name says whose it is, so the message has none.
fn record(at: &[u8], value: Bytes) -> Result<Record, StoreError> {
    format::decode_record(at, &value).map_err(|flaw| StoreError::Damaged(format!("a record: {flaw}")))
}

/// Entries at the end of a log that are most likely in memory.
const AT_HAND: u64 = 256;
const SHARDS: usize = 16;
/// Of each of two generations; a state takes about 150 bytes, so the whole takes at most 20 MiB.
const STATES_IN_SHARD: usize = 4096;

/// What is known of the logs that were used lately. When a generation is full it becomes the old one, and what isn't used until
/// the next is full too is forgotten.
struct Cache {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    young: HashMap<LogKey, LogState>,
    old: HashMap<LogKey, LogState>,
}

impl Cache {
    fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    fn shard(&self, log: &LogKey) -> MutexGuard<'_, Shard> {
        // Ids are random, so any byte spreads them.
        let shard = &self.shards[usize::from(log[15]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn get(&mut self, log: &LogKey) -> Option<LogState> {
        if let Some(state) = self.young.get(log) {
            return Some(*state);
        }
        let state = self.old.remove(log)?;
        self.insert(*log, state);
        Some(state)
    }

    fn insert(&mut self, log: LogKey, state: LogState) {
        if self.young.len() >= STATES_IN_SHARD && !self.young.contains_key(&log) {
            self.old = std::mem::take(&mut self.young);
        }
        if !self.old.is_empty() {
            self.old.remove(&log);
        }
        self.young.insert(log, state);
    }

    fn remove(&mut self, log: &LogKey) {
        self.young.remove(log);
        self.old.remove(log);
    }
}
