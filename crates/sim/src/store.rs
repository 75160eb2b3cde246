//! A store that keeps its promises and nothing more: what is written sits in a volatile half until [`FaultyStore::sync`], a crash
//! keeps the synced half and a prefix of the rest, and outcomes can be unknown.
//!
//! What always holds (unless a mutant is on): a write's future answers only after the sync that made it durable; reads and
//! observers see the durable half alone. Both halves are [`MemoryStore`]s, so what an operation means is said in one place.

use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use store::memory::{MemoryStore, Snapshot};
use store::{
    Entry, EpochKey, EpochState, Expect, LogInfo, LogKey, NewEntry, Observer, Page, Pipe, Placed, Record, Store,
    StoreError,
};

use crate::chance::Chance;
use crate::mutants::Mutant;

/// What survives a crash; also what a backup holds.
#[derive(Clone, Default)]
pub struct Disk {
    snapshot: Snapshot,
    late: Late,
}

/// Entries that slipped in behind the commit that ended their epoch: the epoch and the next key that they claim.
type Late = HashMap<(LogKey, u64), (u64, Option<EpochKey>)>;

/// How a store misbehaves within its contract. In a thousand writes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Refused, nothing written.
    pub unavailable: u32,
    /// The outcome is not known; half of them were written.
    pub unknown: u32,
    /// Of the appends and commits that come too late for their epoch: written behind the commit that ended it all the same, and
    /// refused. This is what a race of two relay nodes leaves in a log (protocol rule 1); every reader holds such an entry void.
    pub race: u32,
    /// Every write that needs space is refused.
    pub full: bool,
}

/// One write that can be carried out again.
#[derive(Debug, Clone)]
enum Write {
    Create { log: LogKey, epoch: u64, key: EpochKey, time: u64 },
    Append { log: LogKey, epoch: u64, entry: NewEntry },
    Commit { log: LogKey, epoch: u64, entry: NewEntry, next: EpochKey },
    RemoveLog { log: LogKey },
    Sweep { cursor: Option<LogKey>, max_logs: usize, now: u64, older_than: Vec<(u8, u64)> },
    PutRecord { key: Vec<u8>, expect: Expect, value: Bytes },
    Take { prefix: Vec<u8> },
    RemoveRecord { key: Vec<u8> },
    PutBlob { id: [u8; 32], offset: u64, bytes: Bytes, last: bool },
    RemoveBlob { id: [u8; 32] },
}

/// What a write answered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Nothing,
    Number(u64),
    Placed(Placed),
    Cursor(Option<LogKey>),
    Taken(Option<(Bytes, Bytes)>),
}

impl Write {
    fn apply(&self, store: &MemoryStore, pipe: &Pipe) -> Result<Answer, StoreError> {
        match self.clone() {
            Self::Create { log, epoch, key, time } => {
                now(store.create(log, epoch, key, time)).map(|()| Answer::Nothing)
            }
            Self::Append { log, epoch, entry } => now(store.append(log, epoch, pipe, entry)).map(Answer::Placed),
            Self::Commit { log, epoch, entry, next } => now(store.commit(log, epoch, entry, next)).map(Answer::Placed),
            Self::RemoveLog { log } => now(store.remove_log(log)).map(|()| Answer::Nothing),
            Self::Sweep { cursor, max_logs, now: at, older_than } => {
                now(store.sweep(cursor, max_logs, at, &older_than)).map(Answer::Cursor)
            }
            Self::PutRecord { key, expect, value } => now(store.put_record(&key, expect, value)).map(Answer::Number),
            Self::Take { prefix } => now(store.take(&prefix)).map(Answer::Taken),
            Self::RemoveRecord { key } => now(store.remove_record(&key)).map(|()| Answer::Nothing),
            Self::PutBlob { id, offset, bytes, last } => {
                now(store.put_blob(id, offset, bytes, last)).map(Answer::Number)
            }
            Self::RemoveBlob { id } => now(store.remove_blob(id)).map(|()| Answer::Nothing),
        }
    }

    /// True if it needs space, so that a full disk refuses it.
    const fn grows(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::Append { .. }
                | Self::Commit { .. }
                | Self::PutRecord { .. }
                | Self::PutBlob { .. }
        )
    }
}

/// Polls what is there at once: all of a memory store, and the reads of a [`FaultyStore`].
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

/// Where a write's answer appears.
#[derive(Default)]
struct Slot(Mutex<Waiting>);

/// An answer that is there, or whoever waits for it.
#[derive(Default)]
struct Waiting {
    answer: Option<Result<Answer, StoreError>>,
    waker: Option<Waker>,
}

impl Slot {
    fn fill(&self, answer: Result<Answer, StoreError>) {
        let waker = {
            let mut slot = locked(&self.0);
            slot.answer = Some(answer);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Answered(Arc<Slot>);

impl Future for Answered {
    type Output = Result<Answer, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = locked(&self.0.0);
        match slot.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Takes down what a memory store says has been written.
#[derive(Default)]
struct Collector(Mutex<Vec<(LogKey, Entry)>>);

impl Observer for Collector {
    fn durable(&self, log: LogKey, entry: &Entry) {
        locked(&self.0).push((log, entry.clone()));
    }
}

struct Queued {
    /// What the next sync makes durable; `None` if only the answer waits.
    write: Option<Write>,
    /// Who waits for it; `None` if the answer was given already.
    slot: Option<(Arc<Slot>, Result<Answer, StoreError>)>,
}

struct State {
    disk: MemoryStore,
    cache: MemoryStore,
    queue: Vec<Queued>,
    observer: Option<Arc<dyn Observer>>,
    disk_saw: Arc<Collector>,
    cache_saw: Arc<Collector>,
    faults: Faults,
    chance: Chance,
    mutant: Option<Mutant>,
    /// Entries behind the commit that ended their epoch.
    late: Late,
}

/// See the module's documentation.
pub struct FaultyStore {
    state: Mutex<State>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultyStore {
    /// Opens what `disk` holds.
    pub fn open(disk: Disk, chance: Chance, faults: Faults, mutant: Option<Mutant>) -> Self {
        let on_disk = MemoryStore::from_snapshot(disk.snapshot.clone());
        let in_cache = MemoryStore::from_snapshot(disk.snapshot);
        let (disk_saw, cache_saw) = (Arc::new(Collector::default()), Arc::new(Collector::default()));
        on_disk.observe(disk_saw.clone());
        in_cache.observe(cache_saw.clone());
        Self {
            state: Mutex::new(State {
                disk: on_disk,
                cache: in_cache,
                queue: Vec::new(),
                observer: None,
                disk_saw,
                cache_saw,
                faults,
                chance,
                mutant,
                late: disk.late,
            }),
        }
    }

    /// Makes everything written so far durable, tells the observer, then answers.
    pub fn sync(&self) {
        let (queue, observer) = {
            let mut state = locked(&self.state);
            (std::mem::take(&mut state.queue), state.observer.clone())
        };
        for Queued { write, slot } in queue {
            let mut durable = Vec::new();
            if let Some(write) = write {
                let state = locked(&self.state);
                write
                    .apply(&state.disk, &Pipe::default())
                    .expect("what the cache took the disk takes, in the same order");
                durable = std::mem::take(&mut *locked(&state.disk_saw.0));
                for (log, entry) in &mut durable {
                    state.unmask(*log, entry);
                }
                if state.mutant == Some(Mutant::TailBeforeDurable) {
                    durable.clear();
                }
            }
            if let Some(observer) = &observer {
                for (log, entry) in &durable {
                    observer.durable(*log, entry);
                }
            }
            if let Some((slot, answer)) = slot {
                slot.fill(answer);
            }
        }
    }

    /// How many writes wait for a sync.
    pub fn unsynced(&self) -> usize {
        locked(&self.state).queue.len()
    }

    /// Sets how it misbehaves from now on.
    pub fn set_faults(&self, faults: Faults) {
        locked(&self.state).faults = faults;
    }

    /// What a backup taken now holds.
    pub fn backup(&self) -> Disk {
        locked(&self.state).on_disk()
    }

    /// What a power cut leaves: all that was synced, and of the rest a prefix of any length.
    pub fn crash(&self) -> Disk {
        let mut state = locked(&self.state);
        let unsynced: Vec<Write> =
            std::mem::take(&mut state.queue).into_iter().filter_map(|queued| queued.write).collect();
        let kept = state.chance.below(unsynced.len() + 1);
        for write in &unsynced[..kept] {
            write.apply(&state.disk, &Pipe::default()).expect("what the cache took the disk takes, in the same order");
        }
        state.on_disk()
    }

    async fn write(&self, write: Write, pipe: &Pipe) -> Result<Answer, StoreError> {
        let slot = Arc::new(Slot::default());
        let early = locked(&self.state).submit(write, pipe, &slot);
        let observer = locked(&self.state).observer.clone();
        if let Some(observer) = observer {
            for (log, entry) in early {
                observer.durable(log, &entry);
            }
        }
        Answered(slot).await
    }

    async fn placed(&self, write: Write, pipe: &Pipe) -> Result<Placed, StoreError> {
        match self.write(write, pipe).await? {
            Answer::Placed(placed) => Ok(placed),
            other => unreachable!("this write answers with a place, not {other:?}"),
        }
    }

    async fn number(&self, write: Write, pipe: &Pipe) -> Result<u64, StoreError> {
        match self.write(write, pipe).await? {
            Answer::Number(number) => Ok(number),
            other => unreachable!("this write answers with a number, not {other:?}"),
        }
    }
}

impl State {
    /// Writes to the volatile half. Answers with what a mutant shows to observers too early.
    fn submit(&mut self, write: Write, pipe: &Pipe, slot: &Arc<Slot>) -> Vec<(LogKey, Entry)> {
        if pipe.is_broken() && matches!(write, Write::Append { .. }) {
            slot.fill(Err(StoreError::Aborted));
            return Vec::new();
        }
        if self.faults.full && write.grows() {
            pipe.break_off();
            slot.fill(Err(StoreError::Unavailable("the disk is full")));
            return Vec::new();
        }
        if self.chance.per_mille(self.faults.unavailable) {
            pipe.break_off();
            slot.fill(Err(StoreError::Unavailable("the store is away")));
            return Vec::new();
        }
        let unknown = self.chance.per_mille(self.faults.unknown);
        if unknown && self.chance.per_mille(500) {
            pipe.break_off();
            self.answer_some_time(slot, Err(StoreError::OutcomeUnknown));
            return Vec::new();
        }
        let (write, slipped) = self.slip(write);
        match write.apply(&self.cache, pipe) {
            Ok(answer) => {
                let answer = slipped.map_or(Ok(answer), |current| {
                    pipe.break_off();
                    Err(StoreError::StaleEpoch { current })
                });
                let written = std::mem::take(&mut *locked(&self.cache_saw.0));
                let mut queued = Queued { write: Some(write), slot: None };
                if unknown {
                    pipe.break_off();
                    queued.slot = Some((slot.clone(), Err(StoreError::OutcomeUnknown)));
                } else if self.mutant == Some(Mutant::AcknowledgeBeforeSync) {
                    slot.fill(answer);
                } else {
                    queued.slot = Some((slot.clone(), answer));
                }
                self.queue.push(queued);
                if self.mutant == Some(Mutant::TailBeforeDurable) { written } else { Vec::new() }
            }
            Err(error) => {
                self.answer_some_time(slot, Err(error));
                Vec::new()
            }
        }
    }

    /// A refusal says nothing about durability: it may come at once or with the next sync.
    fn answer_some_time(&mut self, slot: &Arc<Slot>, answer: Result<Answer, StoreError>) {
        if self.chance.per_mille(500) {
            slot.fill(answer);
        } else {
            self.queue.push(Queued { write: None, slot: Some((slot.clone(), answer)) });
        }
    }

    /// What is on the disk. An entry that slipped in and was not synced will be another one at its place.
    fn on_disk(&self) -> Disk {
        let is_synced = |log: LogKey, seq: u64| now(self.disk.info(log)).is_ok_and(|info| info.head >= seq);
        let late = self.late.iter().filter(|((log, seq), _)| is_synced(*log, *seq));
        Disk { snapshot: self.disk.snapshot(), late: late.map(|(place, what)| (*place, *what)).collect() }
    }

    /// Lets an entry that comes too late slip in. With the epoch to refuse it with, unless a mutant acknowledges it.
    fn slip(&mut self, write: Write) -> (Write, Option<u64>) {
        let (log, epoch, entry, next) = match &write {
            Write::Append { log, epoch, entry } => (*log, *epoch, entry, None),
            Write::Commit { log, epoch, entry, next } => (*log, *epoch, entry, Some(*next)),
            _ => return (write, None),
        };
        let Ok(info) = now(self.cache.info(log)) else { return (write, None) };
        if info.epoch != epoch + 1 {
            return (write, None);
        }
        let acknowledged = self.mutant == Some(Mutant::PastEpochAccepted) && next.is_none();
        if !acknowledged && !self.chance.per_mille(self.faults.race) {
            return (write, None);
        }
        self.late.insert((log, info.head + 1), (epoch, next));
        let write = Write::Append { log, epoch: info.epoch, entry: entry.clone() };
        (write, (!acknowledged).then_some(info.epoch))
    }

    fn unmask(&self, log: LogKey, entry: &mut Entry) {
        if let Some((epoch, next)) = self.late.get(&(log, entry.seq)) {
            (entry.epoch, entry.next) = (*epoch, *next);
        }
    }
}

impl Store for FaultyStore {
    fn observe(&self, observer: Arc<dyn Observer>) {
        locked(&self.state).observer = Some(observer);
    }

    async fn create(&self, log: LogKey, epoch: u64, key: EpochKey, time: u64) -> Result<(), StoreError> {
        self.write(Write::Create { log, epoch, key, time }, &Pipe::default()).await.map(drop)
    }

    async fn append(&self, log: LogKey, epoch: u64, pipe: &Pipe, entry: NewEntry) -> Result<Placed, StoreError> {
        self.placed(Write::Append { log, epoch, entry }, pipe).await
    }

    async fn commit(&self, log: LogKey, epoch: u64, entry: NewEntry, next: EpochKey) -> Result<Placed, StoreError> {
        self.placed(Write::Commit { log, epoch, entry, next }, &Pipe::default()).await
    }

    async fn info(&self, log: LogKey) -> Result<LogInfo, StoreError> {
        now(locked(&self.state).disk.info(log))
    }

    async fn epoch(&self, log: LogKey, epoch: u64) -> Result<EpochState, StoreError> {
        now(locked(&self.state).disk.epoch(log, epoch))
    }

    async fn read(&self, log: LogKey, from: u64, until: Option<u64>, max_bytes: usize) -> Result<Page, StoreError> {
        let state = locked(&self.state);
        let mut page = now(state.disk.read(log, from, until, max_bytes))?;
        for entry in &mut page.entries {
            state.unmask(log, entry);
        }
        Ok(page)
    }

    async fn remove_log(&self, log: LogKey) -> Result<(), StoreError> {
        self.write(Write::RemoveLog { log }, &Pipe::default()).await.map(drop)
    }

    async fn sweep(
        &self,
        cursor: Option<LogKey>,
        max_logs: usize,
        now: u64,
        older_than: &[(u8, u64)],
    ) -> Result<Option<LogKey>, StoreError> {
        let write = Write::Sweep { cursor, max_logs, now, older_than: older_than.to_vec() };
        match self.write(write, &Pipe::default()).await? {
            Answer::Cursor(cursor) => Ok(cursor),
            other => unreachable!("a sweep answers with a cursor, not {other:?}"),
        }
    }

    async fn record(&self, key: &[u8]) -> Result<Option<Record>, StoreError> {
        now(locked(&self.state).disk.record(key))
    }

    async fn put_record(&self, key: &[u8], expect: Expect, value: Bytes) -> Result<u64, StoreError> {
        self.number(Write::PutRecord { key: key.to_vec(), expect, value }, &Pipe::default()).await
    }

    async fn take(&self, prefix: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        match self.write(Write::Take { prefix: prefix.to_vec() }, &Pipe::default()).await? {
            Answer::Taken(taken) => Ok(taken),
            other => unreachable!("a take answers with what it took, not {other:?}"),
        }
    }

    async fn remove_record(&self, key: &[u8]) -> Result<(), StoreError> {
        self.write(Write::RemoveRecord { key: key.to_vec() }, &Pipe::default()).await.map(drop)
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>, StoreError> {
        now(locked(&self.state).disk.scan(prefix, after, limit))
    }

    async fn put_blob(&self, id: [u8; 32], offset: u64, bytes: Bytes, last: bool) -> Result<u64, StoreError> {
        self.number(Write::PutBlob { id, offset, bytes, last }, &Pipe::default()).await
    }

    async fn blob(&self, id: [u8; 32]) -> Result<Option<(u64, bool)>, StoreError> {
        now(locked(&self.state).disk.blob(id))
    }

    async fn get_blob(&self, id: [u8; 32], offset: u64, max: usize) -> Result<Bytes, StoreError> {
        now(locked(&self.state).disk.get_blob(id, offset, max))
    }

    async fn remove_blob(&self, id: [u8; 32]) -> Result<(), StoreError> {
        self.write(Write::RemoveBlob { id }, &Pipe::default()).await.map(drop)
    }
}
