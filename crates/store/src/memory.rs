//! The reference: a store in memory, for tests, the simulator and as the plainest reading of the contract.
//!
//! What always holds: every future is complete at its first poll, nothing depends on time, threads or hashing, and two stores that
//! were given the same calls in the same order are equal. [`MemoryStore::snapshot`] copies the whole state at the cost of one
//! pointer a log, so that a simulator can keep a durable and a volatile half and drop one of them.
//!
//! Deliberately absent: durability, faults and limits. Who wants them wraps this store.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{
    Entry, EpochKey, EpochState, Expect, LogInfo, LogKey, NewEntry, Observer, Page, Pipe, Placed, Record, Store,
    StoreError, ascending,
};

/// All that a [`MemoryStore`] holds. Opaque: it goes back in through [`MemoryStore::from_snapshot`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    logs: BTreeMap<LogKey, Arc<Log>>,
    records: BTreeMap<Bytes, Record>,
    blobs: BTreeMap<[u8; 32], Arc<Blob>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Log {
    info: LogInfo,
    /// The time of the last entry.
    time: u64,
    epochs: BTreeMap<u64, EpochState>,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Blob {
    bytes: Vec<u8>,
    complete: bool,
}

/// The store in memory. Share it in an `Arc`; to copy what it holds, take a [`MemoryStore::snapshot`].
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<Snapshot>,
    /// Held over a write and its announcement, so that the observer hears in log order and may still read the store.
    order: Mutex<Option<Arc<dyn Observer>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that holds what `snapshot` held. It has no observer yet.
    pub fn from_snapshot(snapshot: Snapshot) -> Self {
        Self { state: Mutex::new(snapshot), order: Mutex::default() }
    }

    /// A copy of all that is held now.
    pub fn snapshot(&self) -> Snapshot {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, Snapshot> {
        // Nothing below panics between two changes that belong together, so a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry and announces it; `next` makes it the commit that ends `epoch`.
    fn add(&self, log: LogKey, epoch: u64, entry: NewEntry, next: Option<EpochKey>) -> Result<Placed, StoreError> {
        let observer = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = {
            let mut state = self.state();
            let log = state.logs.get_mut(&log).ok_or(StoreError::NotFound)?;
            Arc::make_mut(log).add(epoch, entry, next)?
        };
        if let Some(observer) = observer.as_ref() {
            observer.durable(log, &kept);
        }
        Ok(Placed { seq: kept.seq, time: kept.time })
    }
}

impl Log {
    fn add(&mut self, epoch: u64, entry: NewEntry, next: Option<EpochKey>) -> Result<Entry, StoreError> {
        let stale = StoreError::StaleEpoch { current: self.info.epoch };
        if epoch != self.info.epoch {
            return Err(stale);
        }
        let seq = self.info.head + 1;
        if let Some(key) = next {
            // Nothing can follow the last epoch that there is a number for.
            let following = epoch.checked_add(1).ok_or(stale)?;
            if let Some(ended) = self.epochs.get_mut(&epoch) {
                ended.ended_at = Some(seq);
            }
            self.epochs.insert(following, EpochState { key, opened_at: seq, ended_at: None });
            self.info.epoch = following;
        }
        let kept = Entry {
            seq,
            prev: self.info.head,
            epoch,
            time: ascending(self.time, entry.time),
            kind: entry.kind,
            id: entry.id,
            commitment: entry.commitment,
            next,
            body: entry.body,
        };
        self.info.head = seq;
        self.time = kept.time;
        self.info.bytes += kept.body.len() as u64;
        self.entries.insert(seq, kept.clone());
        Ok(kept)
    }

    fn page(&self, from: u64, until: Option<u64>, max_bytes: usize) -> Page {
        let head = until.map_or(self.info.head, |until| until.min(self.info.head));
        let mut page = Page { entries: Vec::new(), head, more: false };
        if from > head {
            return page;
        }
        let mut bytes = 0_usize;
        for entry in self.entries.range(from..=head).map(|(_, entry)| entry) {
            bytes = bytes.saturating_add(entry.body.len());
            if bytes > max_bytes && !page.entries.is_empty() {
                page.more = true;
                break;
            }
            page.entries.push(entry.clone());
        }
        page
    }

    fn sweep(&mut self, now: u64, older_than: &[(u8, u64)]) {
        for (kind, before) in older_than {
            // From the back, so that each entry of a time to come finds the time of the next one that is not.
            let mut behind = None;
            let mut aged: Vec<(u64, u8, u64)> = Vec::new();
            for entry in self.entries.values().rev() {
                let time = if entry.time > now { behind.unwrap_or(entry.time) } else { entry.time };
                behind = if entry.time > now { behind } else { Some(entry.time) };
                aged.push((entry.seq, entry.kind, time));
            }
            let old: Vec<u64> = (aged.into_iter().rev())
                .filter(|(_, of, _)| of == kind)
                .take_while(|(_, _, time)| time < before)
                .map(|(seq, _, _)| seq)
                .collect();
            for seq in old {
                if let Some(entry) = self.entries.remove(&seq) {
                    self.info.bytes -= entry.body.len() as u64;
                }
            }
        }
    }
}

impl Store for MemoryStore {
    fn observe(&self, observer: Arc<dyn Observer>) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(observer);
    }

    async fn create(&self, log: LogKey, epoch: u64, key: EpochKey, time: u64) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.logs.contains_key(&log) {
            return Err(StoreError::Exists);
        }
        let first = EpochState { key, opened_at: 0, ended_at: None };
        let created = Log {
            info: LogInfo { epoch, head: 0, bytes: 0, created: time },
            time: 0,
            epochs: BTreeMap::from([(epoch, first)]),
            entries: BTreeMap::new(),
        };
        state.logs.insert(log, Arc::new(created));
        Ok(())
    }

    async fn append(&self, log: LogKey, epoch: u64, pipe: &Pipe, entry: NewEntry) -> Result<Placed, StoreError> {
        if pipe.is_broken() {
            return Err(StoreError::Aborted);
        }
        let added = self.add(log, epoch, entry, None);
        if added.is_err() {
            pipe.break_off();
        }
        added
    }

    async fn commit(&self, log: LogKey, epoch: u64, entry: NewEntry, next: EpochKey) -> Result<Placed, StoreError> {
        self.add(log, epoch, entry, Some(next))
    }

    async fn info(&self, log: LogKey) -> Result<LogInfo, StoreError> {
        let state = self.state();
        state.logs.get(&log).map(|log| log.info).ok_or(StoreError::NotFound)
    }

    async fn epoch(&self, log: LogKey, epoch: u64) -> Result<EpochState, StoreError> {
        let state = self.state();
        let log = state.logs.get(&log).ok_or(StoreError::NotFound)?;
        log.epochs.get(&epoch).copied().ok_or(StoreError::NotFound)
    }

    async fn read(&self, log: LogKey, from: u64, until: Option<u64>, max_bytes: usize) -> Result<Page, StoreError> {
        let state = self.state();
        let log = state.logs.get(&log).ok_or(StoreError::NotFound)?;
        Ok(log.page(from, until, max_bytes))
    }

    async fn remove_log(&self, log: LogKey) -> Result<(), StoreError> {
        self.state().logs.remove(&log);
        Ok(())
    }

    async fn sweep(
        &self,
        cursor: Option<LogKey>,
        max_logs: usize,
        now: u64,
        older_than: &[(u8, u64)],
    ) -> Result<Option<LogKey>, StoreError> {
        let mut state = self.state();
        let behind = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut logs = state.logs.range_mut((behind, Bound::Unbounded));
        let mut last = None;
        for (key, log) in logs.by_ref().take(max_logs.max(1)) {
            Arc::make_mut(log).sweep(now, older_than);
            last = Some(*key);
        }
        Ok(if logs.next().is_some() { last } else { None })
    }

    async fn record(&self, key: &[u8]) -> Result<Option<Record>, StoreError> {
        Ok(self.state().records.get(key).cloned())
    }

    async fn put_record(&self, key: &[u8], expect: Expect, value: Bytes) -> Result<u64, StoreError> {
        let mut state = self.state();
        let current = state.records.get(key).map_or(0, |record| record.version);
        let version = expect.next_version(current)?;
        state.records.insert(Bytes::copy_from_slice(key), Record { version, value });
        Ok(version)
    }

    async fn take(&self, prefix: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let mut state = self.state();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let first = state.records.range::<[u8], _>(from).next();
        let Some(key) = first.map(|(key, _)| key.clone()).filter(|key| key.starts_with(prefix)) else {
            return Ok(None);
        };
        Ok(state.records.remove(&key).map(|record| (key, record.value)))
    }

    async fn remove_record(&self, key: &[u8]) -> Result<(), StoreError> {
        self.state().records.remove(key);
        Ok(())
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>, StoreError> {
        let state = self.state();
        // What is to come after a key that lies before the prefix is the whole prefix.
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        Ok(state
            .records
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, record)| (key.clone(), record.clone()))
            .collect())
    }

    async fn put_blob(&self, id: [u8; 32], offset: u64, bytes: Bytes, last: bool) -> Result<u64, StoreError> {
        let mut state = self.state();
        let (current, complete) =
            state.blobs.get(&id).map_or((0, false), |blob| (blob.bytes.len() as u64, blob.complete));
        if complete {
            return Err(StoreError::Exists);
        }
        if offset != current {
            return Err(StoreError::Conflict { current });
        }
        let blob = Arc::make_mut(state.blobs.entry(id).or_default());
        blob.bytes.extend_from_slice(&bytes);
        blob.complete = last;
        Ok(blob.bytes.len() as u64)
    }

    async fn blob(&self, id: [u8; 32]) -> Result<Option<(u64, bool)>, StoreError> {
        let state = self.state();
        Ok(state.blobs.get(&id).map(|blob| (blob.bytes.len() as u64, blob.complete)))
    }

    async fn get_blob(&self, id: [u8; 32], offset: u64, max: usize) -> Result<Bytes, StoreError> {
        let state = self.state();
        let blob = state.blobs.get(&id).filter(|blob| blob.complete);
        let blob = blob.ok_or(StoreError::NotFound)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(blob.bytes.len());
        let end = start.saturating_add(max).min(blob.bytes.len());
        Ok(Bytes::copy_from_slice(&blob.bytes[start..end]))
    }

    async fn remove_blob(&self, id: [u8; 32]) -> Result<(), StoreError> {
        self.state().blobs.remove(&id);
        Ok(())
    }
}
