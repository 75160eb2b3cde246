//! The contract, on every backend.

use store::conformance::{all, block_on};
use store::fjall::FjallStore;
use store::memory::MemoryStore;

#[test]
fn memory_keeps_the_contract() {
    block_on(all(&MemoryStore::new()));
}

#[test]
fn memory_keeps_the_contract_across_a_snapshot() {
    let store = MemoryStore::new();
    block_on(all(&store));
    let copy = MemoryStore::from_snapshot(store.snapshot());
    assert_eq!(copy.snapshot(), store.snapshot());
}

#[test]
fn fjall_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FjallStore::open(dir.path()).expect("a new store");
    block_on(all(&store));
    assert!(!store.failed());
}
