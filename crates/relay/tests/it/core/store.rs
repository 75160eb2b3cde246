//! The store in memory, made difficult: reads that take their time, and writes that fail.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use store::memory::MemoryStore;
use store::{
    EpochKey, EpochState, Expect, LogInfo, LogKey, NewEntry, Observer, Page, Pipe, Placed, Record, Store, StoreError,
};

#[derive(Default)]
pub struct Tricky {
    pub inner: MemoryStore,
    /// What the next append or commit fails with.
    pub fail: Mutex<Option<StoreError>>,
    /// Reads take a random number of polls, before and after they look.
    dice: Mutex<Option<ChaCha20Rng>>,
    held: Mutex<bool>,
    /// Logs and records can't be read: what was written is not on the disk yet.
    pub unreadable: Mutex<bool>,
}

/// Pending so many times.
struct Polls(u32);

impl Future for Polls {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        Poll::Pending
    }
}

impl Tricky {
    pub fn start_dawdling(&self, seed: u64) {
        *self.dice.lock().unwrap() = Some(ChaCha20Rng::seed_from_u64(seed));
    }

    /// Appends are written but not answered until [`Tricky::stop_dawdling`].
    pub fn hold_appends(&self) {
        *self.held.lock().unwrap() = true;
    }

    pub fn stop_dawdling(&self) {
        *self.dice.lock().unwrap() = None;
        *self.held.lock().unwrap() = false;
    }

    async fn answer(&self) {
        std::future::poll_fn(|_| if *self.held.lock().unwrap() { Poll::Pending } else { Poll::Ready(()) }).await;
        self.dawdle().await;
    }

    fn dawdle(&self) -> Polls {
        Polls(self.dice.lock().unwrap().as_mut().map_or(0, |dice| dice.next_u32() % 3))
    }

    fn is_unreadable(&self) -> bool {
        *self.unreadable.lock().unwrap()
    }

    fn failure(&self) -> Result<(), StoreError> {
        self.fail.lock().unwrap().take().map_or(Ok(()), Err)
    }
}

impl Store for Tricky {
    fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner.observe(observer);
    }

    async fn create(&self, log: LogKey, epoch: u64, key: EpochKey, time: u64) -> Result<(), StoreError> {
        self.inner.create(log, epoch, key, time).await
    }

    async fn append(&self, log: LogKey, epoch: u64, pipe: &Pipe, entry: NewEntry) -> Result<Placed, StoreError> {
        self.failure()?;
        let seq = self.inner.append(log, epoch, pipe, entry).await;
        self.answer().await;
        seq
    }

    async fn commit(&self, log: LogKey, epoch: u64, entry: NewEntry, next: EpochKey) -> Result<Placed, StoreError> {
        self.failure()?;
        let seq = self.inner.commit(log, epoch, entry, next).await;
        self.answer().await;
        seq
    }

    async fn info(&self, log: LogKey) -> Result<LogInfo, StoreError> {
        if self.is_unreadable() {
            return Err(StoreError::NotFound);
        }
        self.inner.info(log).await
    }

    async fn epoch(&self, log: LogKey, epoch: u64) -> Result<EpochState, StoreError> {
        if self.is_unreadable() {
            return Err(StoreError::NotFound);
        }
        self.dawdle().await;
        let state = self.inner.epoch(log, epoch).await;
        self.dawdle().await;
        state
    }

    async fn read(&self, log: LogKey, from: u64, until: Option<u64>, max_bytes: usize) -> Result<Page, StoreError> {
        self.dawdle().await;
        let page = self.inner.read(log, from, until, max_bytes).await;
        self.dawdle().await;
        page
    }

    async fn remove_log(&self, log: LogKey) -> Result<(), StoreError> {
        self.inner.remove_log(log).await
    }

    async fn sweep(
        &self,
        cursor: Option<LogKey>,
        max_logs: usize,
        now: u64,
        older_than: &[(u8, u64)],
    ) -> Result<Option<LogKey>, StoreError> {
        self.inner.sweep(cursor, max_logs, now, older_than).await
    }

    async fn record(&self, key: &[u8]) -> Result<Option<Record>, StoreError> {
        if self.is_unreadable() && !key.starts_with(b"b") {
            return Ok(None);
        }
        self.inner.record(key).await
    }

    async fn put_record(&self, key: &[u8], expect: Expect, value: Bytes) -> Result<u64, StoreError> {
        self.inner.put_record(key, expect, value).await
    }

    async fn take(&self, prefix: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.inner.take(prefix).await
    }

    async fn remove_record(&self, key: &[u8]) -> Result<(), StoreError> {
        self.inner.remove_record(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Record)>, StoreError> {
        self.inner.scan(prefix, after, limit).await
    }

    async fn put_blob(&self, id: [u8; 32], offset: u64, bytes: Bytes, last: bool) -> Result<u64, StoreError> {
        self.inner.put_blob(id, offset, bytes, last).await
    }

    async fn blob(&self, id: [u8; 32]) -> Result<Option<(u64, bool)>, StoreError> {
        if self.is_unreadable() {
            return Ok(None);
        }
        self.inner.blob(id).await
    }

    async fn get_blob(&self, id: [u8; 32], offset: u64, max: usize) -> Result<Bytes, StoreError> {
        self.inner.get_blob(id, offset, max).await
    }

    async fn remove_blob(&self, id: [u8; 32]) -> Result<(), StoreError> {
        self.inner.remove_blob(id).await
    }
}
