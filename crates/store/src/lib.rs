//! What a relay keeps, in its own terms: logs with epochs, versioned records, blobs.
//!
//! [`Store`] is the contract; [`conformance`] is its definition as plain functions that every backend runs; [`memory`] is the
//! reference and [`fjall`] the default. Ids and keys are plain bytes here: the store knows nothing of the protocol above it.
//!
//! What always holds: a write is durable when its future answers `Ok`; entries of a log have ascending `seq` and each names the one
//! before it; the first commit of an epoch wins and what arrives for an ended epoch is refused.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

pub mod conformance;
pub mod fjall;
pub mod memory;
mod wait;

/// Names a log.
pub type LogKey = [u8; 16];
/// The public key that opens an epoch.
pub type EpochKey = [u8; 32];

/// An entry as its writer hands it in.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The writer's id. The store keeps it and never looks at it: readers drop repetitions.
    pub id: [u8; 16],
    /// What the relay calls the entry (`wire::EntryKind`).
    pub kind: u8,
    /// Ciphertext. Must own its memory: it outlives the request.
    pub body: Bytes,
    /// The commitment to the content, all zero if there is none.
    pub commitment: [u8; 32],
    /// When the relay took it, milliseconds since 1970. What is kept may be later, see [`Placed::time`].
    pub time: u64,
}

/// Where an entry stands in its log, and with which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// See [`Entry::seq`].
    pub seq: u64,
    /// [`NewEntry::time`], or the time of the entry before where that is later: times of a log ascend, also where the clock is set
    /// back. Only where the entry before is more than [`AHEAD_MS`] ahead was the clock wrong then, and this entry has its own time.
    pub time: u64,
}

/// So far ahead of the clock may an entry be for those behind it to take its time. A clock that was further ahead must not give its
/// time to all that is ever written behind.
pub const AHEAD_MS: u64 = 3600 * 1000;

/// The time of an entry that comes at `time`, behind one that has `before`.
pub(crate) fn ascending(before: u64, time: u64) -> u64 {
    if before.saturating_sub(time) <= AHEAD_MS { before.max(time) } else { time }
}

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log; the first one has 1.
    pub seq: u64,
    /// The place of the entry before it, 0 for the first.
    pub prev: u64,
    /// The epoch that it was written in.
    pub epoch: u64,
    /// See [`Placed::time`].
    pub time: u64,
    /// See [`NewEntry::kind`].
    pub kind: u8,
    /// See [`NewEntry::id`].
    pub id: [u8; 16],
    /// See [`NewEntry::commitment`].
    pub commitment: [u8; 32],
    /// Commits: the key that opens the next epoch.
    pub next: Option<EpochKey>,
    /// See [`NewEntry::body`].
    pub body: Bytes,
}

/// What is known of an epoch of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochState {
    /// The key that opens it.
    pub key: EpochKey,
    /// The entry that opened it; 0 for the log's first epoch.
    pub opened_at: u64,
    /// The commit that ended it; `None` while it is the current one.
    pub ended_at: Option<u64>,
}

/// What is known of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogInfo {
    /// The current epoch.
    pub epoch: u64,
    /// The last entry, 0 if there is none.
    pub head: u64,
    /// Bytes of all bodies that are kept.
    pub bytes: u64,
    /// When it was created, milliseconds since 1970.
    pub created: u64,
}

/// Some entries of a log, and where they end for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In log order.
    pub entries: Vec<Entry>,
    /// The log's last entry, or `until` if that was asked for and is earlier.
    pub head: u64,
    /// There are entries up to `head` behind the last one here: `max_bytes` cut the page.
    pub more: bool,
}

/// A record with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// 1 when it was first put, then one more each time.
    pub version: u64,
    /// What was put.
    pub value: Bytes,
}

/// Which version a record must have for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// None: it must not exist.
    Absent,
    /// This one.
    Version(u64),
    /// Whatever is there.
    Any,
}

impl Expect {
    /// The version that a put gives to a record which has `current` (0: it does not exist), or why it may not be put.
    pub(crate) fn next_version(self, current: u64) -> Result<u64, StoreError> {
        let met = match self {
            Self::Absent => current == 0,
            Self::Version(version) => current == version && version != 0,
            Self::Any => true,
        };
        if met { Ok(current + 1) } else { Err(StoreError::Conflict { current }) }
    }
}

/// Appends that share a pipe are applied in the order in which they were handed in, and once one of them is refused, so are all
/// those behind it (protocol rule 4).
#[derive(Debug, Clone, Default)]
pub struct Pipe(Arc<AtomicBool>);

impl Pipe {
    /// True once an append of this pipe was refused.
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Refuses whatever comes behind.
    pub fn break_off(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Why a store refuses or fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The log or the record does not exist. The caller's fault.
    #[error("there is no such log or record")]
    NotFound,
    /// A log of this id exists already. The caller's fault.
    #[error("the log exists already")]
    Exists,
    /// The log is in another epoch. The caller's fault, or a lost race.
    #[error("the log is in epoch {current}")]
    StaleEpoch {
        /// The epoch that the log is in.
        current: u64,
    },
    /// The record has another version. A lost race.
    #[error("the record has version {current}")]
    Conflict {
        /// The version that the record has; 0 if it does not exist.
        current: u64,
    },
    /// An earlier append of the same pipe was refused.
    #[error("an earlier append of this pipe was refused")]
    Aborted,
    /// Nothing was written and trying again later may help: the disk is full, or a node is away. The environment's fault.
    #[error("the store can't write at the moment: {0}")]
    Unavailable(&'static str),
    /// Whether it was written is not known; read the log to find out. The environment's fault.
    #[error("it is not known whether the write happened")]
    OutcomeUnknown,
    /// What was read is not what was written: a removed or an altered entry. The environment's fault; the operator must look.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// Hears of every entry once it is durable, in log order, before the writer's own answer. Called on the store's writer: be quick.
pub trait Observer: Send + Sync + 'static {
    /// `entry` is durable in `log`.
    fn durable(&self, log: LogKey, entry: &Entry);
}

/// What a relay needs kept. Generic, not `dyn`; every future is `Send`.
///
/// **Order**: a write takes its place when the method is *called and first polled*; two writes polled one after the other are applied
/// in that order. **Durable**: `Ok` means that the write survives kill -9 and power loss.
pub trait Store: Send + Sync + 'static {
    /// Who hears of durable entries. Called once, before the first write.
    fn observe(&self, observer: Arc<dyn Observer>);

    /// A new log in `epoch`, opened by `key`. `Exists` if the id is taken.
    fn create(
        &self,
        log: LogKey,
        epoch: u64,
        key: EpochKey,
        time: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Appends in the log's current epoch; answers with its place and its time. `NotFound`, `StaleEpoch`, `Aborted`, `Unavailable`, `OutcomeUnknown`.
    fn append(
        &self,
        log: LogKey,
        epoch: u64,
        pipe: &Pipe,
        entry: NewEntry,
    ) -> impl Future<Output = Result<Placed, StoreError>> + Send;

    /// Appends the commit that ends `epoch` and opens `epoch + 1` under `next`: the first one wins, the others get `StaleEpoch`.
    fn commit(
        &self,
        log: LogKey,
        epoch: u64,
        entry: NewEntry,
        next: EpochKey,
    ) -> impl Future<Output = Result<Placed, StoreError>> + Send;

    /// What is known of a log.
    fn info(&self, log: LogKey) -> impl Future<Output = Result<LogInfo, StoreError>> + Send;

    /// What is known of one epoch of a log. `NotFound` if the log or the epoch does not exist.
    fn epoch(&self, log: LogKey, epoch: u64) -> impl Future<Output = Result<EpochState, StoreError>> + Send;

    /// Entries from `from` on, never past `until`, about `max_bytes` of bodies but at least one entry if there is one. What
    /// retention removed is passed over; a removed or altered entry in the middle is `Damaged`.
    fn read(
        &self,
        log: LogKey,
        from: u64,
        until: Option<u64>,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Forgets a log and all that belongs to it. No error if there is none. The id is free again.
    fn remove_log(&self, log: LogKey) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// One slice of retention: visits at most `max_logs` logs (at least one) behind `cursor`, removes their entries of kind `kind`
    /// older than the time given for it, and says where to go on (`None`: all were visited). Goes through a log from its front and
    /// ends, for each kind, at the first entry that is young enough, since times ascend. An entry of a time after `now` was written
    /// while the clock was ahead: it is at least as old as the next one behind it that is not, and counts as if it had that time, so
    /// that it holds up nothing. A log whose entries are all gone keeps its head and its epochs.
    fn sweep(
        &self,
        cursor: Option<LogKey>,
        max_logs: usize,
        now: u64,
        older_than: &[(u8, u64)],
    ) -> impl Future<Output = Result<Option<LogKey>, StoreError>> + Send;

    /// The record under `key`.
    fn record(&self, key: &[u8]) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// Puts a record if its version is as expected; answers with the new version.
    fn put_record(
        &self,
        key: &[u8],
        expect: Expect,
        value: Bytes,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Removes the first record whose key starts with `prefix` and answers with its key and value: of many callers each gets
    /// another one.
    fn take(&self, prefix: &[u8]) -> impl Future<Output = Result<Option<(Bytes, Bytes)>, StoreError>> + Send;

    /// Removes a record. No error if there is none.
    fn remove_record(&self, key: &[u8]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// At most `limit` records whose keys start with `prefix`, in key order, behind `after`.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Bytes, Record)>, StoreError>> + Send;

    /// Writes `bytes` at `offset` of the blob, which must be its length so far (`Conflict{current: length}` otherwise); durable when
    /// it answers, and the answer is the new length. With `last` the blob is complete and never changes again (`Exists` on a later
    /// write).
    fn put_blob(
        &self,
        id: [u8; 32],
        offset: u64,
        bytes: Bytes,
        last: bool,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Length so far and whether it is complete; `None` if there is no such blob.
    fn blob(&self, id: [u8; 32]) -> impl Future<Output = Result<Option<(u64, bool)>, StoreError>> + Send;

    /// At most `max` bytes of a complete blob from `offset` on; none behind its end. `NotFound` if it isn't there or not complete.
    fn get_blob(&self, id: [u8; 32], offset: u64, max: usize)
    -> impl Future<Output = Result<Bytes, StoreError>> + Send;

    /// Removes a blob. No error if there is none.
    fn remove_blob(&self, id: [u8; 32]) -> impl Future<Output = Result<(), StoreError>> + Send;
}
