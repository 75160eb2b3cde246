//! Blobs: one file each, and a record in the database that says how much of it counts.
//!
//! What always holds: the record follows the file. Bytes are written and synced, and the directory entries too, before the record
//! says that they are there; what a file holds beyond its record is what a crash left, and the next write starts over it. A record is
//! removed before its file; a file that a crash leaves without one goes when the blob is removed again or written anew.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::format::BlobState;
use super::queue::{Reply, answer};
use super::writer::Job;
use super::{FAILED, FULL, Shared};
use crate::StoreError;
use crate::wait::block_on;

type Id = [u8; 32];

/// Work for the thread that writes blobs: slow files must not hold up the logs.
pub(super) enum BlobJob {
    Put { id: Id, offset: u64, bytes: Bytes, last: bool, reply: Reply<u64> },
    Remove { id: Id, reply: Reply<()> },
}

/// Until the queue of blobs is closed and empty.
pub(super) fn run(shared: &Shared) {
    let mut jobs = Vec::new();
    while shared.blobs.take(&mut jobs, true) {
        for job in jobs.drain(..) {
            match job {
                BlobJob::Put { id, offset, bytes, last, reply } => reply.send(put(shared, id, offset, &bytes, last)),
                BlobJob::Remove { id, reply } => reply.send(remove(shared, id)),
            }
        }
    }
}

fn put(shared: &Shared, id: Id, offset: u64, bytes: &[u8], last: bool) -> Result<u64, StoreError> {
    let current = shared.view.blob(&id)?.unwrap_or(BlobState { length: 0, complete: false });
    if current.complete {
        return Err(StoreError::Exists);
    }
    if current.length != offset {
        return Err(StoreError::Conflict { current: current.length });
    }
    if shared.is_failed() {
        return Err(StoreError::Unavailable(FAILED));
    }
    shared.look_at_disk();
    if !shared.has_room(false) {
        return Err(StoreError::Unavailable(FULL));
    }
    write(shared, &path(&shared.dir, &id), offset, bytes)?;
    let length = offset + bytes.len() as u64;
    keep(shared, id, Some(BlobState { length, complete: last }))?;
    Ok(length)
}

fn write(shared: &Shared, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
    let unwritable = |error: io::Error| {
        tracing::warn!(%error, "a blob could not be written");
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        StoreError::Unavailable(if full { FULL } else { "a blob's file can't be written" })
    };
    let file = open(path, offset == 0).map_err(unwritable)?;
    let length = file.metadata().map_err(unwritable)?.len();
    if length < offset {
        return Err(StoreError::Damaged("a blob's file is shorter than what was acknowledged".to_owned()));
    }
    // What lies beyond was never acknowledged.
    if length > offset {
        file.set_len(offset).map_err(unwritable)?;
    }
    if let Err(error) = file.write_all_at(bytes, offset) {
        // Gives the room back; what remains if that fails too is cut off by the next write.
        file.set_len(offset).ok();
        return Err(unwritable(error));
    }
    file.sync_data().map_err(|error| {
        tracing::error!(%error, "a blob could not be made durable; the store accepts nothing more");
        shared.fail();
        StoreError::OutcomeUnknown
    })
}

/// A new file is durable with all directories above it.
fn open(path: &Path, new: bool) -> io::Result<File> {
    if !new {
        return OpenOptions::new().write(true).open(path);
    }
    let inner = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let outer = inner.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let root = outer.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(inner)?;
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    for dir in [inner, outer, root] {
        File::open(dir)?.sync_all()?;
    }
    Ok(file)
}

fn remove(shared: &Shared, id: Id) -> Result<(), StoreError> {
    if shared.view.blob(&id)?.is_some() {
        keep(shared, id, None)?;
    }
    match fs::remove_file(path(&shared.dir, &id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "a blob's file could not be removed");
            Err(StoreError::Unavailable("a blob's file can't be removed"))
        }
        _ => Ok(()),
    }
}

/// Waits, so that the next job for this blob finds the record.
fn keep(shared: &Shared, id: Id, state: Option<BlobState>) -> Result<(), StoreError> {
    let (reply, kept) = answer();
    shared.queue.push(Job::PutBlob { id, state, reply });
    block_on(kept)
}

/// Reads a piece of a complete blob; blocks.
pub(super) fn get(shared: &Arc<Shared>, id: Id, offset: u64, max: usize) -> Result<Bytes, StoreError> {
    let blob = shared.view.blob(&id)?.filter(|blob| blob.complete).ok_or(StoreError::NotFound)?;
    let left = usize::try_from(blob.length.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::zeroed(left.min(max));
    let read = File::open(path(&shared.dir, &id)).and_then(|file| file.read_exact_at(&mut bytes, offset));
    match read {
        Ok(()) => Ok(bytes.freeze()),
        // A removal may have come in between.
        Err(_) if shared.view.blob(&id)?.is_none() => Err(StoreError::NotFound),
        Err(error) => Err(StoreError::Damaged(format!("a blob's file can't be read: {error}"))),
    }
}

fn path(dir: &Path, id: &Id) -> PathBuf {
    let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    dir.join("blobs").join(&name[..2]).join(&name[2..4]).join(name)
}
