//! The default backend: one process, one data directory, a log-structured database under it and blobs as files.
//!
//! All changes go through one thread ([`writer`]) that syncs what came in while it synced the last batch; reads go straight to the
//! database and check every value ([`read`]), on the caller's thread or, where they may wait for the disk for long, on others
//! ([`reader`]). Needs no runtime: a future waits for its slot to be filled.
//!
//! What always holds: see the contract, [`crate::Store`]. Beyond it: a removed or altered entry is `Damaged`, told apart from what
//! retention removed ([`format`]); a journal that lost acknowledged batches is noticed at the start ([`open`]); when the disk is full
//! writes are refused before anything is written, and accepted again when there is room; after a failed sync nothing is accepted
//! until the process starts anew ([`FjallStore::failed`]).
//!
//! Deliberately absent: transactions of the database (the one writer decides in memory), several processes in one directory.

mod blobs;
mod format;
mod open;
mod queue;
mod read;
mod reader;
mod sweep;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::blobs::BlobJob;
pub use self::open::OpenError;
use self::queue::{Answer, Queue, Reply, answer};
use self::read::View;
use self::reader::{READERS, ReadJob};
use self::sweep::Walk;
use self::writer::{Append, Job, Writer};
use crate::{
    EpochKey, EpochState, Expect, LogInfo, LogKey, NewEntry, Observer, Page, Pipe, Placed, Record, Store, StoreError,
};

const FULL: &str = "the disk is full";
const WRITER: &str = "store-writer";
const FAILED: &str = "an earlier write failed, the relay must be restarted";

/// How long a batch may take before [`FjallStore::failed`] asks the database whether it is still alive.
const LONG: Duration = Duration::from_secs(5);

/// Tells how many bytes are left on the disk of a directory.
pub type FreeSpace = Arc<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// How a store is opened. [`Options::default`] is right for a relay.
#[derive(Clone)]
pub struct Options {
    /// Writes are refused when the disk has fewer bytes left than this: it is what the database needs to write out what it has in
    /// memory and to compact, so that a full disk never hits it in the middle.
    pub reserve: u64,
    /// Bytes of blocks that are kept in memory for readers.
    pub cache_bytes: u64,
    /// Bytes left on the disk of a directory.
    pub free_space: FreeSpace,
    /// Asked before each batch; an error counts as a failed sync. For tests of what happens then.
    pub gate: Arc<dyn Fn() -> io::Result<()> + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self { reserve: 512 << 20, cache_bytes: 64 << 20, free_space: Arc::new(free_space), gate: Arc::new(|| Ok(())) }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("reserve", &self.reserve).field("cache_bytes", &self.cache_bytes).finish()
    }
}

/// What the system lets an ordinary process still write.
fn free_space(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Counts since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Batches that were synced.
    pub batches: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes in them, keys not counted.
    pub bytes: u64,
    /// Time spent on writing and syncing them.
    pub commit_time: Duration,
    /// Writes that were refused because the disk was full.
    pub refused: u64,
}

#[derive(Default)]
struct Counters {
    batches: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    commit_nanos: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    fn count_batch(&self, entries: usize, bytes: usize, time: Duration) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.entries.fetch_add(entries as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.commit_nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the threads and the store's handle have in common.
struct Shared {
    dir: PathBuf,
    options: Options,
    view: View,
    queue: Queue<Job>,
    blobs: Queue<BlobJob>,
    reads: Queue<ReadJob>,
    observer: OnceLock<Arc<dyn Observer>>,
    counters: Counters,
    failed: AtomicBool,
    /// Bytes that were left on the disk at the last look.
    free: AtomicU64,
    started: Instant,
    /// Milliseconds from `started` to the begin of the batch that is being written, plus one; 0 if none is.
    writing_since: AtomicU64,
    /// Held until the last thread has ended.
    _lock: Arc<File>,
}

impl Shared {
    fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    fn look_at_disk(&self) {
        let free = (self.options.free_space)(&self.dir).unwrap_or_else(|error| {
            tracing::warn!(%error, "can't tell how much room the disk has; writes are refused");
            0
        });
        let before = self.free.swap(free, Ordering::Relaxed);
        let reserve = self.options.reserve;
        if free < reserve && before >= reserve {
            tracing::warn!(free, reserve, "the disk is full: writes are refused until there is room");
        } else if free >= reserve && before < reserve {
            tracing::info!(free, "the disk has room again");
        }
    }

    fn has_room(&self, makes_room: bool) -> bool {
        let reserve = self.options.reserve;
        self.free.load(Ordering::Relaxed) >= if makes_room { reserve / 2 } else { reserve }
    }

    fn writing(&self, now: bool) {
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.writing_since.store(if now { since } else { 0 }, Ordering::Relaxed);
    }

    fn writes_for_long(&self) -> bool {
        let since = self.writing_since.load(Ordering::Relaxed);
        since != 0 && self.started.elapsed() > Duration::from_millis(since - 1) + LONG
    }
}

/// The store in a data directory. Dropping it closes the directory; writes that were handed in are finished first.
pub struct FjallStore {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl FjallStore {
    /// Opens the directory, or makes it. Blocks: reads what the last run didn't write out.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(dir, Options::default())
    }

    /// The same with other options.
    pub fn open_with(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let opened = open::open(dir, options.cache_bytes)?;
        let dead = opened.view.dead();
        let dead = dead.map_err(|error| OpenError::Damaged { dir: dir.to_owned(), what: error.to_string() })?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            free: AtomicU64::new(options.reserve),
            options,
            view: opened.view,
            queue: Queue::new(),
            blobs: Queue::new(),
            reads: Queue::new(),
            observer: OnceLock::new(),
            counters: Counters::default(),
            failed: AtomicBool::new(false),
            started: Instant::now(),
            writing_since: AtomicU64::new(0),
            _lock: opened.lock,
        });
        let writer = Writer::new(Arc::clone(&shared), opened.mark, dead);
        let mut store = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let refused = |source| OpenError::Io { path: dir.to_owned(), source };
        for _ in 0..READERS {
            let shared = Arc::clone(&shared);
            store.threads.push(spawn("store-reader", move || reader::run(&shared)).map_err(refused)?);
        }
        store.threads.push(spawn("store-blobs", move || blobs::run(&shared)).map_err(refused)?);
        store.threads.push(spawn(WRITER, move || writer.run()).map_err(refused)?);
        Ok(store)
    }

    /// True once a write or a sync has failed: nothing is accepted any more and the process must be started anew, which finds out
    /// what is durable. Also true when the database's own threads have died under a batch that therefore never ends.
    pub fn failed(&self) -> bool {
        if !self.shared.is_failed() && self.shared.writes_for_long() {
            let alive = self.shared.view.database.persist(::fjall::PersistMode::Buffer);
            if let Err(error) = alive {
                tracing::error!(%error, "the database has stopped; the store accepts nothing more");
                self.shared.fail();
            }
        }
        self.shared.is_failed()
    }

    /// Counts since it was opened.
    pub fn metrics(&self) -> Metrics {
        let counters = &self.shared.counters;
        Metrics {
            batches: counters.batches.load(Ordering::Relaxed),
            entries: counters.entries.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            commit_time: Duration::from_nanos(counters.commit_nanos.load(Ordering::Relaxed)),
            refused: counters.refused.load(Ordering::Relaxed),
        }
    }

    /// Hands a job to the writer; its answer is to be awaited.
    fn submit<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Answer<T> {
        let (reply, answer) = answer();
        self.shared.queue.push(job(reply));
        answer
    }

    async fn sweep_log(&self, log: LogKey, now: u64, older_than: &[(u8, u64)]) -> Result<(), StoreError> {
        let view = &self.shared.view;
        let mut walk = Some(Walk { next: 1, now, older_than: older_than.to_vec() });
        while let Some(here) = walk {
            // Most slices change nothing, and that is seen without the writer.
            let slice = sweep::plan(view, &view.database.snapshot(), &log, here.clone())?;
            walk = if slice.writes.is_empty() {
                slice.rest
            } else {
                self.submit(|reply| Job::Sweep { log, walk: here, reply }).await?
            };
        }
        Ok(())
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

impl Drop for FjallStore {
    fn drop(&mut self) {
        // Blobs before the writer, for which they wait.
        self.shared.reads.close();
        self.shared.blobs.close();
        let stuck = self.failed() && self.shared.writes_for_long();
        for thread in self.threads.drain(..) {
            if thread.thread().name() == Some(WRITER) {
                self.shared.queue.close();
            }
            if !stuck {
                // A thread that panicked has dropped its jobs, which answers them.
                thread.join().ok();
            }
        }
        self.shared.queue.close();
    }
}

impl Store for FjallStore {
    fn observe(&self, observer: Arc<dyn Observer>) {
        if self.shared.observer.set(observer).is_err() {
            tracing::warn!("the store has an observer already; it keeps that one");
        }
    }

    async fn create(&self, log: LogKey, epoch: u64, key: EpochKey, time: u64) -> Result<(), StoreError> {
        self.submit(|reply| Job::Create { log, epoch, key, time, reply }).await
    }

    async fn append(&self, log: LogKey, epoch: u64, pipe: &Pipe, entry: NewEntry) -> Result<Placed, StoreError> {
        let pipe = Some(pipe.clone());
        self.submit(|reply| Job::Append(Append { log, epoch, pipe, entry, next: None, reply })).await
    }

    async fn commit(&self, log: LogKey, epoch: u64, entry: NewEntry, next: EpochKey) -> Result<Placed, StoreError> {
        let next = Some(next);
        self.submit(|reply| Job::Append(Append { log, epoch, pipe: None, entry, next, reply })).await
    }

    async fn info(&self, log: LogKey) -> Result<LogInfo, StoreError> {
        self.shared.view.log(&log).map(|state| state.info())
    }

    async fn epoch(&self, log: LogKey, epoch: u64) -> Result<EpochState, StoreError> {
        self.shared.view.epoch(&log, epoch)
    }

    async fn read(&self, log: LogKey, from: u64, until: Option<u64>, max_bytes: usize) -> Result<Page, StoreError> {
        if self.shared.view.is_at_hand(&log, from) {
            return self.shared.view.page(&log, from, until, max_bytes);
        }
        let (reply, answer) = answer();
        self.shared.reads.push(ReadJob::Page { log, from, until, max_bytes, reply });
        answer.await
    }

    async fn remove_log(&self, log: LogKey) -> Result<(), StoreError> {
        self.submit(|reply| Job::RemoveLog { log, reply }).await
    }

    async fn sweep(
        &self,
        cursor: Option<LogKey>,
        max_logs: usize,
        now: u64,
        older_than: &[(u8, u64)],
    ) -> Result<Option<LogKey>, StoreError> {
        let max_logs = max_logs.max(1);
        let logs: Result<Vec<_>, _> = self.shared.view.logs(cursor).take(max_logs.saturating_add(1)).collect();
        let logs = logs?;
        for log in logs.iter().take(max_logs) {
            match self.sweep_log(*log, now, older_than).await {
                // One damaged log must not end the retention of all behind it. Its readers hear of it too.
                Err(StoreError::Damaged(what)) => tracing::error!(what, "retention passes over a log"),
                swept => swept?,
            }
        }
        Ok(if logs.len() > max_logs { logs.get(max_logs - 1).copied() } else { None })
    }

    async fn record(&self, key: &[u8]) -> Result<Option<Record>, StoreError> {
        self.shared.view.record(key)
    }

    async fn put_record(&self, key: &[u8], expect: Expect, value: Bytes) -> Result<u64, StoreError> {
        let name = Bytes::copy_from_slice(key);
        self.submit(|reply| Job::PutRecord { name, expect, value, reply }).await
    }

    async fn take(&self, prefix: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let prefix = Bytes::copy_from_slice(prefix);
        self.submit(|reply| Job::Take { prefix, reply }).await
    }

    async fn remove_record(&self, key: &[u8]) -> Result<(), StoreError> {
        let name = Bytes::copy_from_slice(key);
        self.submit(|reply| Job::RemoveRecord { name, reply }).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>, StoreError> {
        self.shared.view.scan(prefix, after, limit)
    }

    async fn put_blob(&self, id: [u8; 32], offset: u64, bytes: Bytes, last: bool) -> Result<u64, StoreError> {
        let (reply, answer) = answer();
        self.shared.blobs.push(BlobJob::Put { id, offset, bytes, last, reply });
        answer.await
    }

    async fn blob(&self, id: [u8; 32]) -> Result<Option<(u64, bool)>, StoreError> {
        Ok(self.shared.view.blob(&id)?.map(|blob| (blob.length, blob.complete)))
    }

    async fn get_blob(&self, id: [u8; 32], offset: u64, max: usize) -> Result<Bytes, StoreError> {
        let (reply, answer) = answer();
        self.shared.reads.push(ReadJob::Blob { id, offset, max, reply });
        answer.await
    }

    async fn remove_blob(&self, id: [u8; 32]) -> Result<(), StoreError> {
        let (reply, answer) = answer();
        self.shared.blobs.push(BlobJob::Remove { id, reply });
        answer.await
    }
}
