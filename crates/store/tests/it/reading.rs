//! Slow files hold up nobody but their readers.

use std::pin::pin;
use std::task::{Context, Waker};

use bytes::Bytes;
use rustix::fs::{CWD, FileType, Mode};
use store::conformance::block_on;
use store::fjall::FjallStore;
use store::{Store, StoreError};

#[test]
fn a_blob_on_a_slow_disk_is_awaited_not_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FjallStore::open(dir.path()).expect("a store");
    let id = [0xab; 32];
    block_on(store.put_blob(id, 0, Bytes::from_static(b"sealed"), true)).expect("a blob");
    let path = dir.path().join("blobs/ab/ab").join("ab".repeat(32));
    // Opening a pipe for reading waits until somebody opens it for writing: the slowest of disks.
    std::fs::remove_file(&path).expect("the blob's file");
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let mut slow = pin!(store.get_blob(id, 0, 100));
    assert!(slow.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    // Meanwhile other reads and writes go on.
    assert_eq!(block_on(store.blob(id)), Ok(Some((6, true))));
    let other = [0xac; 32];
    block_on(store.put_blob(other, 0, Bytes::from_static(b"other"), true)).expect("another blob");
    assert_eq!(block_on(store.get_blob(other, 1, 100)), Ok(Bytes::from_static(b"ther")));
    let _writer = std::fs::OpenOptions::new().write(true).open(&path).expect("the pipe");
    assert!(matches!(block_on(slow), Err(StoreError::Damaged(_))), "a pipe is no blob");
}
