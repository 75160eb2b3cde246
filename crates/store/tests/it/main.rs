//! The store from outside: the contract on every backend, and what only a crash, a full disk or a damaged file shows.

mod conformance;
mod crash;
mod damage;
mod full;
mod opening;
mod reading;

use bytes::Bytes;
use store::conformance::block_on;
use store::fjall::FjallStore;
use store::{LogKey, NewEntry, Pipe, Store, StoreError};

/// An entry that is told from others by its number.
fn entry(number: u64, kind: u8, length: usize) -> NewEntry {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let body = Bytes::from(vec![number as u8; length]);
    NewEntry { id, kind, body, commitment: [1; 32], time: number }
}

fn append(store: &FjallStore, log: LogKey, number: u64, length: usize) -> Result<u64, StoreError> {
    block_on(store.append(log, 0, &Pipe::default(), entry(number, 1, length))).map(|placed| placed.seq)
}

/// A new log in epoch 0 with the entries 1 to `entries`.
fn filled(store: &FjallStore, log: LogKey, entries: u64) {
    block_on(store.create(log, 0, [1; 32], 1)).expect("a new log");
    for number in 1..=entries {
        assert_eq!(append(store, log, number, 100), Ok(number));
    }
}

/// The places of a log's entries.
fn seqs(store: &FjallStore, log: LogKey) -> Result<Vec<u64>, StoreError> {
    let page = block_on(store.read(log, 1, None, usize::MAX))?;
    Ok(page.entries.iter().map(|entry| entry.seq).collect())
}
