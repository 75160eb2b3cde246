//! Which directories are opened, and what is said of the others.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use store::conformance::block_on;
use store::fjall::{FjallStore, OpenError, Options};
use store::{Expect, Pipe, Store, StoreError};

use crate::{append, entry, filled, seqs};

fn refused(dir: &Path) -> OpenError {
    match FjallStore::open(dir) {
        Err(error) => error,
        Ok(_) => panic!("the directory was opened"),
    }
}

fn with_a_log() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    filled(&FjallStore::open(dir.path()).expect("a store"), [1; 16], 3);
    dir
}

#[test]
fn all_is_there_after_a_restart() {
    let dir = with_a_log();
    {
        let store = FjallStore::open(dir.path()).expect("the store");
        assert_eq!(seqs(&store, [1; 16]), Ok(vec![1, 2, 3]));
        assert_eq!(block_on(store.commit([1; 16], 0, entry(4, 2, 10), [2; 32])).map(|placed| placed.seq), Ok(4));
        assert_eq!(block_on(store.put_record(b"name", Expect::Absent, vec![1].into())), Ok(1));
        assert_eq!(block_on(store.put_blob([5; 32], 0, vec![1; 10].into(), false)), Ok(10));
    }
    let store = FjallStore::open(dir.path()).expect("the store");
    let info = block_on(store.info([1; 16])).expect("the log");
    assert_eq!((info.epoch, info.head, info.bytes, info.created), (1, 4, 310, 1));
    assert_eq!(block_on(store.epoch([1; 16], 0)).map(|epoch| epoch.ended_at), Ok(Some(4)));
    assert_eq!(append(&store, [1; 16], 5, 10), Err(StoreError::StaleEpoch { current: 1 }));
    assert_eq!(block_on(store.append([1; 16], 1, &Pipe::default(), entry(5, 1, 10))).map(|placed| placed.seq), Ok(5));
    assert_eq!(block_on(store.put_record(b"name", Expect::Version(1), vec![2].into())), Ok(2));
    assert_eq!(block_on(store.put_blob([5; 32], 10, vec![2; 10].into(), true)), Ok(20));
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = FjallStore::open(dir.path()).expect("a store");
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    assert!(error.to_string().contains("stop that one first"));
    drop(first);
    FjallStore::open(dir.path()).expect("free again");
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = with_a_log();
    fs::write(dir.path().join("FORMAT"), "transom store 2\n").expect("a newer format");
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    fs::write(dir.path().join("FORMAT"), "transom store 1\n").expect("the format that it has");
    let store = FjallStore::open(dir.path()).expect("nothing was changed");
    assert_eq!(seqs(&store, [1; 16]), Ok(vec![1, 2, 3]));
}

#[test]
fn a_directory_with_parts_missing_is_refused() {
    for part in ["FORMAT", "db", "db/version", "blobs"] {
        let dir = with_a_log();
        let path = dir.path().join(part);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("a removal");
        let error = refused(dir.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{part}: {error}");
        assert!(error.to_string().contains(part.split('/').next().expect("a part")), "{part}: {error}");
    }
}

#[test]
fn a_directory_with_altered_parts_is_refused() {
    for (part, bytes) in [
        ("FORMAT", &b"\xff\xfe"[..]),
        ("FORMAT", b"transom store x"),
        ("FORMAT", b""),
        ("db/version", b"FJL\x02"),
        ("db/version", b"junk"),
    ] {
        let dir = with_a_log();
        fs::write(dir.path().join(part), bytes).expect("a change");
        let error = refused(dir.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{part} {bytes:?}: {error}");
    }
}

/// The database below takes a journal that is cut or broken in the middle for one that ends there.
#[test]
fn i1_a_journal_that_lost_acknowledged_batches_is_refused() {
    let journal = |dir: &Path| {
        let files = fs::read_dir(dir.join("db")).expect("the database").flatten().map(|file| file.path());
        let journal = files.filter(|path| path.extension().is_some_and(|ext| ext == "jnl")).max();
        journal.expect("a journal")
    };
    let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).expect("a journal that isn't empty");

    let cut = with_a_log();
    let bytes = fs::read(journal(cut.path())).expect("the journal");
    fs::write(journal(cut.path()), &bytes[..end(&bytes) / 2]).expect("a change");
    for _ in 0..2 {
        let error = refused(cut.path());
        assert!(matches!(error, OpenError::Lost { acknowledged: 4, .. }), "{error}");
        assert!(error.to_string().contains("restore it from a backup"));
    }
    fs::remove_file(cut.path().join("MARK")).expect("the operator's decision");
    let store = FjallStore::open(cut.path()).expect("what is left");
    assert!(seqs(&store, [1; 16]).expect("what is left").len() < 3);

    let broken = with_a_log();
    let mut bytes = fs::read(journal(broken.path())).expect("the journal");
    let middle = end(&bytes) / 2;
    bytes[middle..middle + 64].fill(0xff);
    fs::write(journal(broken.path()), bytes).expect("a change");
    let error = refused(broken.path());
    assert!(matches!(error, OpenError::Lost { .. } | OpenError::Damaged { .. }), "{error}");
}

#[test]
fn an_interrupted_first_start_is_made_good() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("CREATING"), "").expect("a mark");
    fs::create_dir(dir.path().join("db")).expect("a part of it");
    fs::write(dir.path().join("db/0.jnl"), "half").expect("a part of it");
    fs::write(dir.path().join("ca.pem"), "somebody else's").expect("a neighbour");
    filled(&FjallStore::open(dir.path()).expect("a store"), [1; 16], 3);
    assert!(!dir.path().join("CREATING").exists());
    assert!(dir.path().join("ca.pem").exists());
}

/// One failed sync and the store accepts nothing until it is opened anew.
#[test]
fn rule_5_a_failed_sync_is_the_end() {
    let dir = with_a_log();
    let broken = Arc::new(AtomicBool::new(false));
    let gate = {
        let broken = Arc::clone(&broken);
        Arc::new(move || if broken.load(Ordering::SeqCst) { Err(io::Error::other("broken")) } else { Ok(()) })
    };
    let store = FjallStore::open_with(dir.path(), Options { gate, ..Options::default() }).expect("the store");
    assert_eq!(append(&store, [1; 16], 4, 10), Ok(4));
    broken.store(true, Ordering::SeqCst);
    let pipe = Pipe::default();
    let outcome = block_on(store.append([1; 16], 0, &pipe, entry(5, 1, 10)));
    assert_eq!(outcome, Err(StoreError::OutcomeUnknown));
    assert!(store.failed());
    broken.store(false, Ordering::SeqCst);
    assert!(matches!(append(&store, [1; 16], 6, 10), Err(StoreError::Unavailable(_))));
    assert!(matches!(block_on(store.put_record(b"x", Expect::Any, vec![].into())), Err(StoreError::Unavailable(_))));
    assert!(matches!(block_on(store.put_blob([1; 32], 0, vec![].into(), true)), Err(StoreError::Unavailable(_))));
    // Reading goes on, and shows what was durable.
    assert_eq!(seqs(&store, [1; 16]), Ok(vec![1, 2, 3, 4]));
    drop(store);
    let store = FjallStore::open(dir.path()).expect("the store");
    assert_eq!(append(&store, [1; 16], 7, 10), Ok(5));
}

/// A log that was being removed when the process ended doesn't come back, and its id is free.
#[test]
fn a_removal_is_finished_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let store = FjallStore::open(dir.path()).expect("a store");
        block_on(store.create([1; 16], 0, [1; 32], 1)).expect("a new log");
        let pipe = Pipe::default();
        let appends = (0..5000).map(|number| store.append([1; 16], 0, &pipe, entry(number, 1, 10)));
        block_on(futures_util::future::join_all(appends));
        block_on(store.remove_log([1; 16])).expect("a removal");
    }
    let store = FjallStore::open(dir.path()).expect("the store");
    assert_eq!(seqs(&store, [1; 16]), Err(StoreError::NotFound));
    filled(&store, [1; 16], 2);
    assert_eq!(seqs(&store, [1; 16]), Ok(vec![1, 2]));
}
