//! The one thread that changes the keyspaces.
//!
//! It takes the whole queue, decides every job in memory in the order in which they were handed in, writes one batch, syncs it, tells
//! the observer in log order, answers, and takes the queue again: no timer and no minimum, a batch is what came while the last one
//! was synced. It has a thread of its own because the database below sleeps when it is behind.
//!
//! What always holds: nothing is answered, announced or published before the sync that makes it durable. A write or a sync that
//! fails is the end: what the disk holds then is known only after a restart, so the batch is answered `OutcomeUnknown` and
//! everything later is refused. A full disk is found before a batch is written, and refuses it without any harm.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ::fjall::{OwnedWriteBatch, PersistMode, UserValue};
use bytes::Bytes;

use super::format::{self, BlobState, Meta, key};
use super::open::Mark;
use super::queue::Reply;
use super::read::{LogState, View, damaged, unreadable};
use super::sweep::{self, Walk};
use super::{FAILED, FULL, Shared};
use crate::{Entry, EpochKey, EpochState, Expect, LogKey, NewEntry, Pipe, Placed, Record, StoreError, ascending};

/// A batch is written once it has so many bytes, even if more is queued: it bounds memory and what a full disk must still hold.
const BATCH_BYTES: usize = 8 << 20;
/// Keys that are removed in one batch when a log is forgotten.
const PURGE_KEYS: usize = 1024;

/// Work for the writer.
pub(super) enum Job {
    Create {
        log: LogKey,
        epoch: u64,
        key: EpochKey,
        time: u64,
        reply: Reply<()>,
    },
    Append(Append),
    RemoveLog {
        log: LogKey,
        reply: Reply<()>,
    },
    Sweep {
        log: LogKey,
        walk: Walk,
        reply: Reply<Option<Walk>>,
    },
    PutRecord {
        name: Bytes,
        expect: Expect,
        value: Bytes,
        reply: Reply<u64>,
    },
    Take {
        prefix: Bytes,
        reply: Reply<Option<(Bytes, Bytes)>>,
    },
    RemoveRecord {
        name: Bytes,
        reply: Reply<()>,
    },
    /// `None`: the blob is gone.
    PutBlob {
        id: [u8; 32],
        state: Option<BlobState>,
        reply: Reply<()>,
    },
}

/// An append, or a commit if there is a `next`.
pub(super) struct Append {
    pub(super) log: LogKey,
    pub(super) epoch: u64,
    pub(super) pipe: Option<Pipe>,
    pub(super) entry: NewEntry,
    pub(super) next: Option<EpochKey>,
    pub(super) reply: Reply<Placed>,
}

impl Job {
    /// It makes room rather than taking it, so it may use half of what is kept free.
    fn makes_room(&self) -> bool {
        match self {
            Self::RemoveLog { .. } | Self::Sweep { .. } | Self::RemoveRecord { .. } => true,
            Self::PutBlob { state, .. } => state.is_none(),
            Self::Create { .. } | Self::Append(_) | Self::PutRecord { .. } | Self::Take { .. } => false,
        }
    }

    fn refuse(self, error: StoreError) {
        match self {
            Self::Create { reply, .. }
            | Self::RemoveLog { reply, .. }
            | Self::RemoveRecord { reply, .. }
            | Self::PutBlob { reply, .. } => reply.send(Err(error)),
            Self::Append(Append { pipe, reply, .. }) => {
                let aborted = pipe.as_ref().is_some_and(Pipe::is_broken);
                if let Some(pipe) = pipe {
                    pipe.break_off();
                }
                reply.send(Err(if aborted { StoreError::Aborted } else { error }));
            }
            Self::PutRecord { reply, .. } => reply.send(Err(error)),
            Self::Sweep { reply, .. } => reply.send(Err(error)),
            Self::Take { reply, .. } => reply.send(Err(error)),
        }
    }
}

/// An answer that waits for the sync.
enum Decided {
    Unit(Reply<()>, Result<(), StoreError>),
    Number(Reply<u64>, Result<u64, StoreError>),
    Placed(Reply<Placed>, Result<Placed, StoreError>),
    Taken(Reply<Option<(Bytes, Bytes)>>, Result<Option<(Bytes, Bytes)>, StoreError>),
    Walked(Reply<Option<Walk>>, Result<Option<Walk>, StoreError>),
}

impl Decided {
    fn answer(self) {
        match self {
            Self::Unit(reply, outcome) => reply.send(outcome),
            Self::Number(reply, outcome) => reply.send(outcome),
            Self::Placed(reply, outcome) => reply.send(outcome),
            Self::Taken(reply, outcome) => reply.send(outcome),
            Self::Walked(reply, outcome) => reply.send(outcome),
        }
    }
}

/// A log that is forgotten already, and how far its keys are gone.
struct Purge {
    log: LogKey,
    entries_from: u64,
    epochs_from: u64,
}

/// What was decided since the last sync.
struct Pending {
    /// Items of logs; no key comes twice.
    batch: OwnedWriteBatch,
    /// Everything else. All of a batch has one place in the database's order, so only the last word on a key may go into it.
    state: BTreeMap<Vec<u8>, Option<Bytes>>,
    bytes: usize,
    logs: HashMap<LogKey, Option<LogState>>,
    records: BTreeMap<Bytes, Option<Record>>,
    entries: Vec<(LogKey, Entry)>,
    decided: Vec<Decided>,
}

impl Pending {
    fn new(view: &View) -> Self {
        let batch = OwnedWriteBatch::with_capacity(view.database.clone(), 64);
        Self {
            batch: batch.durability(Some(PersistMode::SyncData)),
            state: BTreeMap::new(),
            bytes: 0,
            logs: HashMap::new(),
            records: BTreeMap::new(),
            entries: Vec::new(),
            decided: Vec::new(),
        }
    }

    fn put_item(&mut self, view: &View, key: [u8; 24], value: Bytes) {
        self.bytes += value.len();
        self.batch.insert(&view.entries, key, UserValue::from(value));
    }

    fn put_state(&mut self, key: &[u8], value: Bytes) {
        self.bytes += value.len();
        self.state.insert(key.to_vec(), Some(value));
    }

    fn remove_state(&mut self, key: &[u8]) {
        self.state.insert(key.to_vec(), None);
    }

    fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.state.is_empty()
    }
}

/// The writer's own state; [`Writer::run`] is its thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    mark: Mark,
    pending: Pending,
    purges: VecDeque<Purge>,
}

impl Writer {
    /// `dead`: logs that were forgotten before the last stop and not all of whose keys are gone.
    pub(super) fn new(shared: Arc<Shared>, mark: Mark, dead: Vec<LogKey>) -> Self {
        let pending = Pending::new(&shared.view);
        let purges = dead.into_iter().map(|log| Purge { log, entries_from: 0, epochs_from: 0 }).collect();
        Self { shared, mark, pending, purges }
    }

    /// Until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let mut jobs = Vec::new();
        while self.shared.queue.take(&mut jobs, self.purges.is_empty()) {
            let shared = jobs.len() > 1;
            for job in jobs.drain(..) {
                match self.admit(&job) {
                    Ok(()) => self.decide(job),
                    Err(error) => {
                        // What was decided before it is answered before it.
                        self.flush();
                        job.refuse(error);
                    }
                }
                if self.pending.bytes >= BATCH_BYTES {
                    self.flush();
                }
            }
            self.flush();
            self.purge();
            // One writer alone would only wait.
            if shared {
                self.shared.queue.settle();
            }
        }
    }

    /// Whether anything may be written now.
    fn admit(&self, job: &Job) -> Result<(), StoreError> {
        if self.shared.is_failed() {
            return Err(StoreError::Unavailable(FAILED));
        }
        // Looked at once a batch: a batch is small against what is kept free.
        if self.pending.decided.is_empty() {
            self.shared.look_at_disk();
        }
        if !self.shared.has_room(job.makes_room()) {
            self.shared.counters.count_refused();
            return Err(StoreError::Unavailable(FULL));
        }
        Ok(())
    }

    fn decide(&mut self, job: Job) {
        let decided = match job {
            Job::Append(append) => self.append(append),
            Job::Create { log, epoch, key, time, reply } => Decided::Unit(reply, self.create(log, epoch, key, time)),
            Job::PutRecord { name, expect, value, reply } => {
                Decided::Number(reply, self.put_record(name, expect, value))
            }
            Job::Take { prefix, reply } => Decided::Taken(reply, self.take(&prefix)),
            Job::RemoveRecord { name, reply } => {
                self.pending.remove_state(&key::record(&name));
                self.pending.records.insert(name, None);
                Decided::Unit(reply, Ok(()))
            }
            Job::PutBlob { id, state, reply } => {
                let at = key::blob(&id);
                match state {
                    Some(state) => self.pending.put_state(&at, format::encode_blob(&at, &state)),
                    None => self.pending.remove_state(&at),
                }
                Decided::Unit(reply, Ok(()))
            }
            Job::RemoveLog { log, reply } => Decided::Unit(reply, self.remove_log(log)),
            Job::Sweep { log, walk, reply } => Decided::Walked(reply, self.sweep(log, walk)),
        };
        self.pending.decided.push(decided);
    }

    /// The state that the jobs before this one leave a log in.
    fn log(&self, log: &LogKey) -> Result<LogState, StoreError> {
        match self.pending.logs.get(log) {
            Some(state) => state.ok_or(StoreError::NotFound),
            None => self.shared.view.log(log),
        }
    }

    fn create(&mut self, log: LogKey, epoch: u64, epoch_key: EpochKey, time: u64) -> Result<(), StoreError> {
        match self.log(&log) {
            Err(StoreError::NotFound) => {}
            Ok(_) => return Err(StoreError::Exists),
            Err(error) => return Err(error),
        }
        self.finish_purge(&log);
        let meta = Meta { created: time, removed: 0 };
        let state = LogState { epoch, key: epoch_key, opened_at: 0, head: 0, time: 0, total: 0, meta };
        self.put_meta(&log, &meta);
        self.put_epoch(&log, epoch, &state.current());
        self.pending.logs.insert(log, Some(state));
        Ok(())
    }

    fn append(&mut self, append: Append) -> Decided {
        let Append { log, epoch, pipe, entry, next, reply } = append;
        if pipe.as_ref().is_some_and(Pipe::is_broken) {
            return Decided::Placed(reply, Err(StoreError::Aborted));
        }
        let outcome = self.add(log, epoch, entry, next);
        if let (Err(_), Some(pipe)) = (&outcome, pipe) {
            pipe.break_off();
        }
        Decided::Placed(reply, outcome)
    }

    fn add(&mut self, log: LogKey, epoch: u64, entry: NewEntry, next: Option<EpochKey>) -> Result<Placed, StoreError> {
        let mut state = self.log(&log)?;
        let stale = StoreError::StaleEpoch { current: state.epoch };
        if epoch != state.epoch {
            return Err(stale);
        }
        let seq = state.head + 1;
        if let Some(next) = next {
            // Nothing can follow the last epoch that there is a number for.
            let following = epoch.checked_add(1).ok_or(stale)?;
            self.put_epoch(&log, epoch, &EpochState { ended_at: Some(seq), ..state.current() });
            state = LogState { epoch: following, key: next, opened_at: seq, ..state };
            self.put_epoch(&log, following, &state.current());
        }
        let kept = Entry {
            seq,
            prev: state.head,
            epoch,
            time: ascending(state.time, entry.time),
            kind: entry.kind,
            id: entry.id,
            commitment: entry.commitment,
            next,
            body: entry.body,
        };
        let placed = Placed { seq, time: kept.time };
        (state.head, state.time) = (seq, kept.time);
        state.total = state.total.saturating_add(kept.body.len() as u64);
        let at = format::item_key(&log, seq);
        self.pending.put_item(&self.shared.view, at, format::encode_entry(&at, &kept, state.total));
        self.pending.logs.insert(log, Some(state));
        self.pending.entries.push((log, kept));
        Ok(placed)
    }

    fn put_meta(&mut self, log: &LogKey, meta: &Meta) {
        let at = key::log(log);
        self.pending.put_state(&at, format::encode_meta(&at, meta));
    }

    fn put_epoch(&mut self, log: &LogKey, epoch: u64, state: &EpochState) {
        let at = key::epoch(log, epoch);
        self.pending.put_state(&at, format::encode_epoch(&at, state));
    }

    /// The log is gone at once; its keys go slice by slice, also after a restart.
    fn remove_log(&mut self, log: LogKey) -> Result<(), StoreError> {
        match self.log(&log) {
            // What can't be read can still be removed.
            Ok(_) | Err(StoreError::Damaged(_)) => {}
            Err(StoreError::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        }
        let at = key::dead(&log);
        self.pending.remove_state(&key::log(&log));
        self.pending.put_state(&at, format::encode_number(&at, 0));
        self.pending.logs.insert(log, None);
        self.purges.push_back(Purge { log, entries_from: 0, epochs_from: 0 });
        Ok(())
    }

    /// Removes the next keys of a log that was forgotten.
    fn purge(&mut self) {
        if self.shared.is_failed() {
            self.purges.clear();
        }
        let Some(mut purge) = self.purges.pop_front() else { return };
        if !self.purge_slice(&mut purge) {
            self.purges.push_front(purge);
        }
        self.flush();
    }

    /// An id is free again only when nothing of the old log is left under it.
    fn finish_purge(&mut self, log: &LogKey) {
        let Some(at) = self.purges.iter().position(|purge| purge.log == *log) else { return };
        let Some(mut purge) = self.purges.remove(at) else { return };
        self.flush();
        while !self.purge_slice(&mut purge) {
            self.flush();
        }
        self.flush();
    }

    /// True when nothing is left.
    fn purge_slice(&mut self, purge: &mut Purge) -> bool {
        let shared = Arc::clone(&self.shared);
        let view = &shared.view;
        let Purge { log, entries_from, epochs_from } = purge;
        let entries = view.entries.range(format::item_key(log, *entries_from)..=format::item_key(log, u64::MAX));
        let epochs = view.state.range(key::epoch(log, *epochs_from)..=key::epoch(log, u64::MAX));
        let mut found = 0;
        for guard in entries.take(PURGE_KEYS) {
            // What can't be read stays where it is, under an id that nobody has: the mark below would only try for ever.
            let Ok(at) = guard.key() else { break };
            *entries_from = format::seq_of(&at).map_or(u64::MAX, |seq| seq.saturating_add(1));
            self.pending.batch.remove(&view.entries, at);
            found += 1;
        }
        for guard in epochs.take(PURGE_KEYS) {
            let Ok(at) = guard.key() else { break };
            *epochs_from = format::epoch_of(&at).map_or(u64::MAX, |epoch| epoch.saturating_add(1));
            self.pending.remove_state(&at);
            found += 1;
        }
        if found == 0 {
            self.pending.remove_state(&key::dead(log));
        }
        found == 0
    }

    fn sweep(&mut self, log: LogKey, walk: Walk) -> Result<Option<Walk>, StoreError> {
        // The plan is made from what is on disk, so that must be all.
        self.flush();
        let mut state = match self.log(&log) {
            Err(StoreError::NotFound) => return Ok(None),
            state => state?,
        };
        let shared = Arc::clone(&self.shared);
        let view = &shared.view;
        let slice = sweep::plan(view, &view.database.snapshot(), &log, walk)?;
        if slice.writes.is_empty() {
            return Ok(slice.rest);
        }
        state.meta.removed = state.meta.removed.saturating_add(slice.removed);
        if state.meta.removed > state.total {
            return Err(damaged(&log, "more bytes were removed than appended"));
        }
        for (at, value) in slice.writes {
            match value {
                Some(value) => self.pending.put_item(view, at, value),
                None => self.pending.batch.remove(&view.entries, at),
            }
        }
        self.put_meta(&log, &state.meta);
        self.pending.logs.insert(log, Some(state));
        Ok(slice.rest)
    }

    fn put_record(&mut self, name: Bytes, expect: Expect, value: Bytes) -> Result<u64, StoreError> {
        let current = match self.pending.records.get(&name) {
            Some(record) => record.as_ref().map(|record| record.version),
            None => self.shared.view.record(&name)?.map(|record| record.version),
        };
        let version = expect.next_version(current.unwrap_or(0))?;
        let record = Record { version, value };
        let at = key::record(&name);
        let encoded = format::encode_record(&at, &record);
        self.pending.put_state(&at, encoded);
        self.pending.records.insert(name, Some(record));
        Ok(version)
    }

    fn take(&mut self, prefix: &Bytes) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let view = &self.shared.view;
        let records = &self.pending.records;
        let mut kept = view
            .records(&view.database.snapshot(), prefix, None)
            .filter(|pair| pair.as_ref().map_or(true, |(name, _)| !records.contains_key(name)));
        let kept = kept.next().transpose()?;
        let added = records
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(prefix))
            .find_map(|(name, record)| Some((name.clone(), record.clone()?)));
        let first = match (kept, added) {
            (Some(kept), Some(added)) => Some(if kept.0 < added.0 { kept } else { added }),
            (kept, added) => kept.or(added),
        };
        let Some((name, record)) = first else { return Ok(None) };
        self.pending.remove_state(&key::record(&name));
        self.pending.records.insert(name.clone(), None);
        Ok(Some((name, record.value)))
    }

    /// Makes durable what was decided, then says so.
    fn flush(&mut self) {
        if self.pending.is_empty() && self.pending.decided.is_empty() {
            return;
        }
        let mut pending = std::mem::replace(&mut self.pending, Pending::new(&self.shared.view));
        let written = if pending.is_empty() { Ok(()) } else { self.write(&mut pending) };
        if written.is_err() {
            self.shared.fail();
            for decided in pending.decided {
                // Dropped without an answer, a reply says that the outcome is unknown.
                drop(decided);
            }
            return;
        }
        for (log, state) in pending.logs {
            self.shared.view.publish(log, state);
        }
        if let Some(observer) = self.shared.observer.get() {
            for (log, entry) in &pending.entries {
                observer.durable(*log, entry);
            }
        }
        for decided in pending.decided {
            decided.answer();
        }
    }

    fn write(&mut self, pending: &mut Pending) -> Result<(), StoreError> {
        let number = self.mark.next();
        let view = &self.shared.view;
        pending.put_state(&key::BATCH, format::encode_number(&key::BATCH, number));
        let empty = OwnedWriteBatch::with_capacity(view.database.clone(), 0);
        let mut batch = std::mem::replace(&mut pending.batch, empty);
        for (at, value) in std::mem::take(&mut pending.state) {
            match value {
                Some(value) => batch.insert(&view.state, at, UserValue::from(value)),
                None => batch.remove(&view.state, at),
            }
        }
        let started = Instant::now();
        self.shared.writing(true);
        let committed = match (self.shared.options.gate)() {
            Ok(()) => batch.commit().map_err(unreadable),
            Err(error) => Err(unreadable(error.into())),
        };
        self.shared.writing(false);
        if let Err(error) = &committed {
            tracing::error!(%error, "a batch could not be made durable; the store accepts nothing more");
            return committed;
        }
        self.shared.counters.count_batch(pending.entries.len(), pending.bytes, started.elapsed());
        self.mark.reached(number);
        Ok(())
    }
}
