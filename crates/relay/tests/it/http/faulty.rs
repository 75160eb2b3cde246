//! A store that fails or waits when it is told to.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use store::memory::MemoryStore;
use store::{
    EpochKey, EpochState, Expect, LogInfo, LogKey, NewEntry, Observer, Page, Pipe, Placed, Record, Store, StoreError,
};
use tokio::sync::watch;

pub struct Faulty {
    inner: MemoryStore,
    fault: Mutex<Option<StoreError>>,
    open: watch::Sender<bool>,
}

impl Default for Faulty {
    fn default() -> Self {
        Self { inner: MemoryStore::new(), fault: Mutex::default(), open: watch::Sender::new(true) }
    }
}

impl Faulty {
    /// What appends, commits and reads of logs answer from now on.
    pub fn fail(&self, fault: Option<StoreError>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Appends take their place but are not answered until [`Faulty::release`].
    pub fn hold(&self) {
        self.open.send_replace(false);
    }

    pub fn release(&self) {
        self.open.send_replace(true);
    }

    fn fault(&self) -> Result<(), StoreError> {
        self.fault.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    async fn wait(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

impl Store for Faulty {
    fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner.observe(observer);
    }

    async fn create(&self, log: LogKey, epoch: u64, key: EpochKey, time: u64) -> Result<(), StoreError> {
        self.inner.create(log, epoch, key, time).await
    }

    async fn append(&self, log: LogKey, epoch: u64, pipe: &Pipe, entry: NewEntry) -> Result<Placed, StoreError> {
        self.fault()?;
        let answer = self.inner.append(log, epoch, pipe, entry).await;
        self.wait().await;
        answer
    }

    async fn commit(&self, log: LogKey, epoch: u64, entry: NewEntry, next: EpochKey) -> Result<Placed, StoreError> {
        self.fault()?;
        self.inner.commit(log, epoch, entry, next).await
    }

    async fn info(&self, log: LogKey) -> Result<LogInfo, StoreError> {
        self.inner.info(log).await
    }

    async fn epoch(&self, log: LogKey, epoch: u64) -> Result<EpochState, StoreError> {
        self.inner.epoch(log, epoch).await
    }

    async fn read(&self, log: LogKey, from: u64, until: Option<u64>, max_bytes: usize) -> Result<Page, StoreError> {
        self.fault()?;
        self.inner.read(log, from, until, max_bytes).await
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
        self.inner.blob(id).await
    }

    async fn get_blob(&self, id: [u8; 32], offset: u64, max: usize) -> Result<Bytes, StoreError> {
        self.inner.get_blob(id, offset, max).await
    }

    async fn remove_blob(&self, id: [u8; 32]) -> Result<(), StoreError> {
        self.inner.remove_blob(id).await
    }
}
