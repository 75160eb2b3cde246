//! Entries that were removed or altered behind the store's back: noticed at the next read, and never taken for retention.

use std::path::Path;

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use store::conformance::block_on;
use store::fjall::FjallStore;
use store::{LogKey, Store, StoreError};

use crate::{append, filled, seqs};

const LOG: LogKey = [7; 16];

fn key(seq: u64) -> Vec<u8> {
    [&LOG[..], &seq.to_be_bytes()].concat()
}

/// Changes the entries while nobody has them open.
fn edit(dir: &Path, change: impl FnOnce(&Keyspace)) {
    let database = Database::builder(dir.join("db")).open().expect("the database");
    let entries = database.keyspace("entries", KeyspaceCreateOptions::default).expect("the entries");
    change(&entries);
    database.persist(PersistMode::SyncAll).expect("a sync");
}

fn damaged(result: Result<Vec<u64>, StoreError>) -> String {
    match result {
        Err(StoreError::Damaged(what)) => what,
        other => panic!("the damage was not noticed: {other:?}"),
    }
}

#[test]
fn a_removed_middle_entry_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(&FjallStore::open(dir.path()).expect("a store"), LOG, 20);
    edit(dir.path(), |entries| {
        entries.remove(key(11)).expect("a removal");
        entries.remove(key(12)).expect("a removal");
    });
    let store = FjallStore::open(dir.path()).expect("the store");
    let what = damaged(seqs(&store, LOG));
    assert!(what.contains("entries 11 to 12 are missing") && what.contains("0707"), "{what}");
    for (from, until) in [(10, None), (11, None), (12, None), (1, Some(11)), (11, Some(11)), (12, Some(12))] {
        let page = block_on(store.read(LOG, from, until, usize::MAX));
        assert!(matches!(page, Err(StoreError::Damaged(_))), "{from} {until:?}: {page:?}");
    }
    // What is whole can still be read, and the log goes on.
    for (from, until) in [(1, Some(10)), (13, None)] {
        assert!(block_on(store.read(LOG, from, until, usize::MAX)).is_ok());
    }
    assert_eq!(append(&store, LOG, 21, 10), Ok(21));
}

#[test]
fn a_removed_first_entry_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(&FjallStore::open(dir.path()).expect("a store"), LOG, 3);
    edit(dir.path(), |entries| entries.remove(key(1)).expect("a removal"));
    let store = FjallStore::open(dir.path()).expect("the store");
    assert!(damaged(seqs(&store, LOG)).contains("entries 1 to 1 are missing"));
}

#[test]
fn an_altered_entry_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(&FjallStore::open(dir.path()).expect("a store"), LOG, 20);
    edit(dir.path(), |entries| {
        let mut value = entries.get(key(5)).expect("a read").expect("the entry").to_vec();
        let last = value.len() - 1;
        value[last] ^= 1;
        entries.insert(key(5), value).expect("a write");
    });
    let store = FjallStore::open(dir.path()).expect("the store");
    let what = damaged(seqs(&store, LOG));
    assert!(what.contains("entry 5: its checksum is wrong"), "{what}");
}

#[test]
fn an_entry_put_in_anothers_place_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(&FjallStore::open(dir.path()).expect("a store"), LOG, 20);
    edit(dir.path(), |entries| {
        let value = entries.get(key(5)).expect("a read").expect("the entry");
        entries.insert(key(6), value).expect("a write");
    });
    let store = FjallStore::open(dir.path()).expect("the store");
    assert!(damaged(seqs(&store, LOG)).contains("entry 6"));
}

#[test]
fn retention_is_not_damage_and_damage_is_not_retention() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let store = FjallStore::open(dir.path()).expect("a store");
        filled(&store, LOG, 20);
        block_on(store.sweep(None, 10, u64::MAX, &[(1, 11)])).expect("a sweep");
        assert_eq!(seqs(&store, LOG), Ok((11..=20).collect()));
    }
    let store = FjallStore::open(dir.path()).expect("the store");
    assert_eq!(seqs(&store, LOG), Ok((11..=20).collect()), "after a restart too");
    drop(store);
    edit(dir.path(), |entries| entries.remove(key(11)).expect("a removal"));
    let store = FjallStore::open(dir.path()).expect("the store");
    assert!(damaged(seqs(&store, LOG)).contains("entries 11 to 11 are missing"));
    // Retention neither trips over it nor hides it.
    assert_eq!(block_on(store.sweep(None, 10, u64::MAX, &[(1, 15)])), Ok(None));
    assert!(damaged(seqs(&store, LOG)).contains("entries 11 to 11 are missing"));
}

#[test]
fn a_missing_hole_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let store = FjallStore::open(dir.path()).expect("a store");
        filled(&store, LOG, 20);
        block_on(store.sweep(None, 10, u64::MAX, &[(1, 11)])).expect("a sweep");
    }
    edit(dir.path(), |entries| entries.remove(key(1)).expect("a removal"));
    let store = FjallStore::open(dir.path()).expect("the store");
    assert!(damaged(seqs(&store, LOG)).contains("entries 1 to 10 are missing"));
}

#[test]
fn a_shortened_blob_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FjallStore::open(dir.path()).expect("a store");
    block_on(store.put_blob([0xab; 32], 0, vec![1; 100].into(), true)).expect("a blob");
    let path = dir.path().join("blobs/ab/ab").join("ab".repeat(32));
    std::fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(50)).expect("a shorter file");
    assert_eq!(block_on(store.get_blob([0xab; 32], 0, 50)).map(|bytes| bytes.len()), Ok(50));
    let cut = block_on(store.get_blob([0xab; 32], 0, 100));
    assert!(matches!(cut, Err(StoreError::Damaged(_))), "{cut:?}");
}

/// What a crash leaves in a blob's file beyond what was acknowledged doesn't count.
#[test]
fn what_a_crash_left_in_a_blob_is_written_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FjallStore::open(dir.path()).expect("a store");
    let path = dir.path().join("blobs/ab/ab").join("ab".repeat(32));
    block_on(store.put_blob([0xab; 32], 0, vec![1; 10].into(), false)).expect("a piece");
    std::fs::write(&path, [9; 50]).expect("more than was acknowledged");
    std::fs::write(&path, [vec![1; 10], vec![9; 50]].concat()).expect("more than was acknowledged");
    assert_eq!(block_on(store.blob([0xab; 32])), Ok(Some((10, false))));
    assert_eq!(block_on(store.put_blob([0xab; 32], 10, vec![2; 10].into(), true)), Ok(20));
    let whole = block_on(store.get_blob([0xab; 32], 0, 100)).expect("the blob");
    assert_eq!(whole, [vec![1; 10], vec![2; 10]].concat());
}
