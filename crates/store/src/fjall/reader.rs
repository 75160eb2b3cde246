//! Reads that may have to wait for the disk, on threads of their own: pieces of blobs, and pages of logs from far behind their end.
//!
//! What was appended lately is in memory, and its readers are many: they read on the thread that asks. Everything else would hold up all
//! whose futures that thread polls. Deliberately absent: an order among reads.

use std::sync::Arc;

use bytes::Bytes;

use super::queue::Reply;
use super::{Shared, blobs};
use crate::{LogKey, Page};

/// Threads that read.
pub(super) const READERS: usize = 2;

/// One read.
pub(super) enum ReadJob {
    Blob { id: [u8; 32], offset: u64, max: usize, reply: Reply<Bytes> },
    Page { log: LogKey, from: u64, until: Option<u64>, max_bytes: usize, reply: Reply<Page> },
}

/// Until the queue of reads is closed and empty.
pub(super) fn run(shared: &Arc<Shared>) {
    while let Some(job) = shared.reads.take_one() {
        match job {
            ReadJob::Blob { id, offset, max, reply } => reply.send(blobs::get(shared, id, offset, max)),
            ReadJob::Page { log, from, until, max_bytes, reply } => {
                reply.send(shared.view.page(&log, from, until, max_bytes));
            }
        }
    }
}
