//! A full disk: refused before anything is written, nothing lost, and over when there is room. Once with a disk that only says that
//! it is full, once with a small one that really is.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store::conformance::block_on;
use store::fjall::{FjallStore, Options};
use store::{Expect, LogKey, Pipe, Store, StoreError};

use crate::{append, entry, filled, seqs};

const LOG: LogKey = [1; 16];
/// What is kept free on the small disk.
const RESERVE: u64 = 96 << 20;

#[test]
fn a_full_disk_refuses_writes_and_recovers() {
    let dir = tempfile::tempdir().expect("a directory");
    let free = Arc::new(AtomicU64::new(1000));
    let free_space = {
        let free = Arc::clone(&free);
        Arc::new(move |_: &Path| Ok(free.load(Ordering::SeqCst)))
    };
    let options = Options { reserve: 1000, free_space, ..Options::default() };
    let store = FjallStore::open_with(dir.path(), options).expect("a store");
    filled(&store, LOG, 10);
    block_on(store.put_record(b"old", Expect::Absent, vec![1].into())).expect("a put");
    block_on(store.put_blob([1; 32], 0, vec![1; 10].into(), false)).expect("a piece");

    free.store(999, Ordering::SeqCst);
    let pipe = Pipe::default();
    let answers =
        futures_util::future::join_all((0..5).map(|number| store.append(LOG, 0, &pipe, entry(number, 1, 10))));
    let answers = block_on(answers);
    assert!(matches!(answers[0], Err(StoreError::Unavailable(_))));
    assert!(answers[1..].iter().all(|answer| *answer == Err(StoreError::Aborted)), "rule 4: {answers:?}");
    let unavailable = |result: Result<u64, StoreError>| assert!(matches!(result, Err(StoreError::Unavailable(_))));
    unavailable(block_on(store.commit(LOG, 0, entry(1, 2, 10), [2; 32])).map(|placed| placed.seq));
    unavailable(block_on(store.put_record(b"new", Expect::Absent, vec![1].into())));
    unavailable(block_on(store.put_blob([1; 32], 10, vec![1; 10].into(), true)));
    assert!(matches!(block_on(store.create([2; 16], 0, [1; 32], 1)), Err(StoreError::Unavailable(_))));
    assert!(store.metrics().refused > 0 && !store.failed());
    // Reading goes on, and so does what makes room.
    assert_eq!(seqs(&store, LOG), Ok((1..=10).collect()));
    assert_eq!(block_on(store.sweep(None, 10, u64::MAX, &[(1, 3)])), Ok(None));
    assert_eq!(block_on(store.remove_record(b"old")), Ok(()));
    assert_eq!(block_on(store.remove_blob([1; 32])), Ok(()));
    free.store(499, Ordering::SeqCst);
    assert!(matches!(block_on(store.remove_record(b"old")), Err(StoreError::Unavailable(_))));

    free.store(1000, Ordering::SeqCst);
    assert_eq!(append(&store, LOG, 11, 100), Ok(11));
    assert_eq!(seqs(&store, LOG), Ok((3..=11).collect()));
    assert_eq!(block_on(store.put_blob([1; 32], 0, vec![1; 10].into(), true)), Ok(10));
}

/// A file system in memory that is unmounted at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None` where mounting isn't permitted.
    fn new(megabytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(dir.path())
            .output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }

    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.0.path()).expect("a mounted disk");
        disk.f_bavail * disk.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0.path()).status().ok();
    }
}

#[test]
fn i1_a_disk_that_is_really_full_loses_nothing() {
    let Some(disk) = Disk::new(512) else {
        // The test above says the same with a disk that only claims to be full. Straight to the stream, since the test harness swallows
        // `eprintln!` of a test that passes; scripts/test.sh counts these lines.
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ = writeln!(std::io::stderr(), "\nSKIPPED {name}: mounting a small disk takes root");
        return;
    };
    let data = disk.0.path().join("data");
    let ballast = disk.0.path().join("ballast");
    let open = || FjallStore::open_with(&data, Options { reserve: RESERVE, ..Options::default() });
    let store = open().expect("a store");
    filled(&store, LOG, 0);
    let mut acked = 0;
    for round in 0..3 {
        // Somebody else takes the disk but for 16 MiB, so that it is full soon.
        let room = disk.free() - RESERVE - (16 << 20);
        std::fs::write(&ballast, vec![0; room as usize]).expect("ballast");
        let before = acked;
        let refused = loop {
            match append(&store, LOG, acked + 1, 40_000) {
                Ok(seq) => {
                    acked += 1;
                    assert_eq!(seq, acked);
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, StoreError::Unavailable(_)), "round {round}: {refused}");
        assert!(acked > before && !store.failed());
        assert_eq!(seqs(&store, LOG).map(|seqs| seqs.len() as u64), Ok(acked));
        std::fs::remove_file(&ballast).expect("room");
        assert_eq!(append(&store, LOG, acked + 1, 40_000), Ok(acked + 1), "there is room again");
        acked += 1;
    }
    drop(store);
    assert_eq!(seqs(&open().expect("the store"), LOG), Ok((1..=acked).collect()));
}
