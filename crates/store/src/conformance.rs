//! The contract as plain functions: what [`Store`] says, one function a matter, each on logs and records of its own.
//!
//! A backend runs [`all`] on an empty store, with [`block_on`] or any runtime; a function panics with what was broken. The functions
//! are written in one list, so a new one is run without being named anywhere else. They use no clock, no threads and no files.
//!
//! Deliberately absent: what needs a crash, a second process or a broken disk. That is each backend's own to test.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::join_all;

pub use crate::wait::block_on;
use crate::{
    Entry, EpochKey, EpochState, Expect, LogInfo, LogKey, NewEntry, Observer, Page, Pipe, Placed, Record, Store,
    StoreError,
};

/// Plenty for any page here.
const ALL: usize = 1 << 20;

/// A log that no other function uses.
fn log(name: &str, number: u8) -> LogKey {
    let mut log = [0; 16];
    for (at, byte) in name.bytes().enumerate() {
        log[at % 15] ^= byte.rotate_left((at / 15) as u32);
    }
    log[15] = number;
    log
}

fn key(number: u8) -> EpochKey {
    [number; 32]
}

fn entry(number: u64, kind: u8, body: &str) -> NewEntry {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let body = Bytes::copy_from_slice(body.as_bytes());
    NewEntry { id, kind, body, commitment: [number as u8; 32], time: 1000 + number }
}

/// The entry that `new` is kept as.
fn kept(new: &NewEntry, seq: u64, epoch: u64, next: Option<EpochKey>) -> Entry {
    Entry {
        seq,
        prev: seq - 1,
        epoch,
        time: new.time,
        kind: new.kind,
        id: new.id,
        commitment: new.commitment,
        next,
        body: new.body.clone(),
    }
}

/// A new log in epoch 0 with so many entries of one byte.
async fn filled<S: Store>(store: &S, log: LogKey, entries: u64) {
    store.create(log, 0, key(1), 1).await.expect("a new log");
    let pipe = Pipe::default();
    for number in 1..=entries {
        assert_eq!(append(store, log, 0, &pipe, entry(number, 1, "x")).await, Ok(number));
    }
}

/// Most functions ask for the place only.
async fn append<S: Store>(store: &S, log: LogKey, epoch: u64, pipe: &Pipe, entry: NewEntry) -> Result<u64, StoreError> {
    store.append(log, epoch, pipe, entry).await.map(|placed| placed.seq)
}

async fn commit<S: Store>(
    store: &S,
    log: LogKey,
    epoch: u64,
    entry: NewEntry,
    next: EpochKey,
) -> Result<u64, StoreError> {
    store.commit(log, epoch, entry, next).await.map(|placed| placed.seq)
}

async fn page<S: Store>(store: &S, log: LogKey, from: u64, until: Option<u64>, max_bytes: usize) -> Page {
    store.read(log, from, until, max_bytes).await.expect("a page")
}

fn seqs(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.seq).collect()
}

async fn sweep<S: Store>(store: &S, older_than: &[(u8, u64)]) {
    let mut cursor = None;
    loop {
        cursor = store.sweep(cursor, 3, u64::MAX, older_than).await.expect("a slice of retention");
        if cursor.is_none() {
            return;
        }
    }
}

/// Writes down what it hears.
#[derive(Default)]
struct Recorder(Mutex<Vec<(LogKey, Entry)>>);

impl Observer for Recorder {
    fn durable(&self, log: LogKey, entry: &Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((log, entry.clone()));
    }
}

impl Recorder {
    fn of(&self, log: LogKey) -> Vec<Entry> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|(of, _)| *of == log).map(|(_, entry)| entry.clone()).collect()
    }
}

macro_rules! conformance {
    ($($(#[$doc:meta])* pub async fn $name:ident<S: Store>($store:ident: &S) $body:block)*) => {
        $($(#[$doc])* pub async fn $name<S: Store>($store: &S) $body)*

        /// Every function above, on one store that nothing was written to yet, and what its observer heard of it all.
        pub async fn all<S: Store>(store: &S) {
            let recorder = Arc::new(Recorder::default());
            store.observe(Arc::clone(&recorder) as Arc<dyn Observer>);
            $(
                tracing::debug!(check = stringify!($name), "conformance");
                $name(store).await;
            )*
            the_observer_hears_in_log_order_before_the_answer(store, &recorder).await;
        }
    };
}

conformance! {
    /// A log is created once, in the epoch that is asked for.
    pub async fn a_log_is_created_once<S: Store>(store: &S) {
        let log = log("created once", 0);
        assert_eq!(store.info(log).await, Err(StoreError::NotFound));
        assert_eq!(store.create(log, 7, key(1), 5).await, Ok(()));
        assert_eq!(store.create(log, 0, key(2), 6).await, Err(StoreError::Exists));
        assert_eq!(store.info(log).await, Ok(LogInfo { epoch: 7, head: 0, bytes: 0, created: 5 }));
        assert_eq!(store.epoch(log, 7).await, Ok(EpochState { key: key(1), opened_at: 0, ended_at: None }));
        assert_eq!(store.epoch(log, 6).await, Err(StoreError::NotFound));
        assert_eq!(store.epoch(log, 8).await, Err(StoreError::NotFound));
        assert_eq!(page(store, log, 0, None, ALL).await, Page { entries: vec![], head: 0, more: false });
    }

    /// Of several that create one log at a time, one does.
    pub async fn one_of_many_creates<S: Store>(store: &S) {
        let log = log("one of many creates", 0);
        let results = join_all((0..10).map(|number| store.create(log, 0, key(number), 1))).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert_eq!(results.iter().filter(|result| **result == Err(StoreError::Exists)).count(), 9);
    }

    /// A log that isn't there takes and gives nothing.
    pub async fn a_missing_log_is_not_found<S: Store>(store: &S) {
        let log = log("missing", 0);
        let pipe = Pipe::default();
        assert_eq!(append(store, log, 0, &pipe, entry(1, 1, "x")).await, Err(StoreError::NotFound));
        assert!(pipe.is_broken());
        assert_eq!(commit(store, log, 0, entry(1, 2, "x"), key(2)).await, Err(StoreError::NotFound));
        assert_eq!(store.epoch(log, 0).await, Err(StoreError::NotFound));
        assert_eq!(store.read(log, 1, None, ALL).await, Err(StoreError::NotFound));
        assert_eq!(store.remove_log(log).await, Ok(()));
    }

    /// Entries have ascending places, each names the one before it, and all that was handed in comes back.
    pub async fn entries_keep_their_order_and_content<S: Store>(store: &S) {
        let log = log("order and content", 0);
        store.create(log, 3, key(1), 1).await.expect("a new log");
        let pipe = Pipe::default();
        let new: Vec<_> = (1..=5).map(|number| entry(number, number as u8, &"x".repeat(number as usize))).collect();
        for (before, new) in new.iter().enumerate() {
            assert_eq!(append(store, log, 3, &pipe, new.clone()).await, Ok(before as u64 + 1));
        }
        let expected: Vec<_> = new.iter().zip(1..).map(|(new, seq)| kept(new, seq, 3, None)).collect();
        assert_eq!(page(store, log, 1, None, ALL).await, Page { entries: expected, head: 5, more: false });
        assert_eq!(store.info(log).await, Ok(LogInfo { epoch: 3, head: 5, bytes: 15, created: 1 }));
    }

    /// An entry without a body, without a commitment and of every kind is an entry.
    pub async fn an_empty_entry_is_kept<S: Store>(store: &S) {
        let log = log("empty entry", 0);
        store.create(log, 0, key(1), 0).await.expect("a new log");
        let new = NewEntry { id: [0; 16], kind: 255, body: Bytes::new(), commitment: [0; 32], time: 0 };
        assert_eq!(append(store, log, 0, &Pipe::default(), new.clone()).await, Ok(1));
        assert_eq!(page(store, log, 1, None, ALL).await.entries, vec![kept(&new, 1, 0, None)]);
    }

    /// The store never looks at the writer's id: a repetition is another entry.
    pub async fn a_repeated_id_is_another_entry<S: Store>(store: &S) {
        let log = log("repeated id", 0);
        filled(store, log, 1).await;
        assert_eq!(append(store, log, 0, &Pipe::default(), entry(1, 1, "x")).await, Ok(2));
        let entries = page(store, log, 1, None, ALL).await.entries;
        assert_eq!(entries[0].id, entries[1].id);
    }

    /// Writes that are polled one after the other are applied in that order, and logs don't mix.
    pub async fn writes_are_applied_in_the_order_of_their_first_poll<S: Store>(store: &S) {
        let logs = [log("first poll", 0), log("first poll", 1)];
        for log in logs {
            filled(store, log, 0).await;
        }
        let pipe = Pipe::default();
        let answers = join_all((0..200_u64).map(|number| {
            append(store, logs[(number % 2) as usize], 0, &pipe, entry(number, 1, "x"))
        }));
        let answers: Vec<_> = answers.await.into_iter().map(|answer| answer.expect("an append")).collect();
        assert_eq!(answers, (0..200).map(|number| number / 2 + 1).collect::<Vec<u64>>());
        for (parity, log) in logs.into_iter().enumerate() {
            let entries = page(store, log, 1, None, ALL).await.entries;
            let numbers: Vec<_> = entries.iter().map(|entry| entry.time - 1000).collect();
            assert_eq!(numbers, (0..100).map(|number| number * 2 + parity as u64).collect::<Vec<u64>>());
        }
    }

    /// What is answered can be read at once.
    pub async fn a_write_is_read_at_once<S: Store>(store: &S) {
        let log = log("read at once", 0);
        filled(store, log, 0).await;
        for number in 1..=20 {
            let seq = append(store, log, 0, &Pipe::default(), entry(number, 1, "x")).await.expect("an append");
            let page = page(store, log, seq, None, ALL).await;
            assert_eq!((seqs(&page), page.head), (vec![seq], seq));
        }
    }

    /// Protocol rule 1: only the current epoch takes entries, the ended and the coming ones are stale.
    pub async fn rule_1_an_append_of_another_epoch_is_stale<S: Store>(store: &S) {
        let log = log("stale epoch", 0);
        store.create(log, 5, key(1), 1).await.expect("a new log");
        let stale = |current| Err(StoreError::StaleEpoch { current });
        for epoch in [0, 4, 6, u64::MAX] {
            assert_eq!(append(store, log, epoch, &Pipe::default(), entry(1, 1, "x")).await, stale(5));
            assert_eq!(commit(store, log, epoch, entry(1, 2, "x"), key(2)).await, stale(5));
        }
        assert_eq!(commit(store, log, 5, entry(1, 2, "commit"), key(2)).await, Ok(1));
        assert_eq!(append(store, log, 5, &Pipe::default(), entry(2, 1, "x")).await, stale(6));
        assert_eq!(append(store, log, 6, &Pipe::default(), entry(3, 1, "x")).await, Ok(2));
        assert_eq!(store.info(log).await.map(|info| info.head), Ok(2));
    }

    /// A commit ends its epoch and opens the next under the key that it names.
    pub async fn a_commit_opens_the_next_epoch<S: Store>(store: &S) {
        let log = log("commit opens", 0);
        filled(store, log, 2).await;
        let new = entry(3, 2, "commit");
        assert_eq!(commit(store, log, 0, new.clone(), key(2)).await, Ok(3));
        assert_eq!(page(store, log, 3, None, ALL).await.entries, vec![kept(&new, 3, 0, Some(key(2)))]);
        assert_eq!(store.epoch(log, 0).await, Ok(EpochState { key: key(1), opened_at: 0, ended_at: Some(3) }));
        assert_eq!(store.epoch(log, 1).await, Ok(EpochState { key: key(2), opened_at: 3, ended_at: None }));
        assert_eq!(store.info(log).await.map(|info| info.epoch), Ok(1));
        assert_eq!(commit(store, log, 1, entry(4, 2, "commit"), key(3)).await, Ok(4));
        assert_eq!(store.epoch(log, 1).await, Ok(EpochState { key: key(2), opened_at: 3, ended_at: Some(4) }));
        assert_eq!(store.epoch(log, 0).await.map(|epoch| epoch.ended_at), Ok(Some(3)));
    }

    /// The first commit of an epoch wins, the others learn which epoch it is now.
    pub async fn i3_the_first_commit_of_an_epoch_wins<S: Store>(store: &S) {
        let log = log("first commit", 0);
        filled(store, log, 0).await;
        for epoch in 0..5 {
            let commits = (0..20).map(|number| commit(store, log, epoch, entry(number, 2, "commit"), key(number as u8)));
            let results = join_all(commits).await;
            let winners: Vec<_> = (0..20).filter(|number| results[*number].is_ok()).collect();
            assert_eq!(winners.len(), 1, "epoch {epoch}");
            let lost = Err(StoreError::StaleEpoch { current: epoch + 1 });
            assert_eq!(results.iter().filter(|result| **result == lost).count(), 19);
            let opened = store.epoch(log, epoch + 1).await.expect("the next epoch");
            assert_eq!(opened.key, key(winners[0] as u8));
        }
        assert_eq!(store.info(log).await.map(|info| (info.head, info.epoch)), Ok((5, 5)));
    }

    /// The last epoch that there is a number for can't be ended.
    pub async fn the_last_epoch_does_not_end<S: Store>(store: &S) {
        let log = log("last epoch", 0);
        store.create(log, u64::MAX, key(1), 1).await.expect("a new log");
        let stale = Err(StoreError::StaleEpoch { current: u64::MAX });
        assert_eq!(commit(store, log, u64::MAX, entry(1, 2, "commit"), key(2)).await, stale);
        assert_eq!(append(store, log, u64::MAX, &Pipe::default(), entry(1, 1, "x")).await, Ok(1));
    }

    /// Protocol rule 4: when an append of a pipe is refused, so are those behind it, and other pipes go on.
    pub async fn rule_4_a_refusal_aborts_what_follows_in_its_pipe<S: Store>(store: &S) {
        let log = log("pipe", 0);
        filled(store, log, 0).await;
        let (broken, whole) = (Pipe::default(), Pipe::default());
        let answers = join_all([
            append(store, log, 0, &broken, entry(1, 1, "x")),
            append(store, log, 9, &broken, entry(2, 1, "x")),
            append(store, log, 0, &whole, entry(3, 1, "x")),
            append(store, log, 0, &broken, entry(4, 1, "x")),
            append(store, log, 9, &broken, entry(5, 1, "x")),
            append(store, log, 0, &whole, entry(6, 1, "x")),
        ]);
        let stale = Err(StoreError::StaleEpoch { current: 0 });
        let aborted = Err(StoreError::Aborted);
        assert_eq!(answers.await, vec![Ok(1), stale, Ok(2), aborted.clone(), aborted.clone(), Ok(3)]);
        assert!(broken.is_broken() && !whole.is_broken());
        assert_eq!(append(store, log, 0, &broken, entry(7, 1, "x")).await, aborted);
        let left = Pipe::default();
        left.break_off();
        assert_eq!(append(store, log, 0, &left, entry(8, 1, "x")).await, aborted);
    }

    /// A commit that comes first makes the appends behind it stale, those before it stay.
    pub async fn a_commit_cuts_between_appends<S: Store>(store: &S) {
        let log = log("commit cuts", 0);
        filled(store, log, 0).await;
        let pipes: Vec<_> = (0..6).map(|_| Pipe::default()).collect();
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        for pipe in &pipes[..3] {
            before.push(append(store, log, 0, pipe, entry(1, 1, "x")));
        }
        for pipe in &pipes[3..] {
            behind.push(append(store, log, 0, pipe, entry(1, 1, "x")));
        }
        let commit = commit(store, log, 0, entry(2, 2, "commit"), key(2));
        let (before, (commit, behind)) = futures_util::future::join(
            join_all(before),
            futures_util::future::join(commit, join_all(behind)),
        )
        .await;
        assert_eq!(before, vec![Ok(1), Ok(2), Ok(3)]);
        assert_eq!(commit, Ok(4));
        assert_eq!(behind, vec![Err(StoreError::StaleEpoch { current: 1 }); 3]);
    }

    /// A page begins where it is asked to, ends at `until`, and knows the head.
    pub async fn a_page_keeps_to_its_bounds<S: Store>(store: &S) {
        let log = log("page bounds", 0);
        filled(store, log, 10).await;
        let cases = [
            (0, None, 1..=10, 10),
            (1, None, 1..=10, 10),
            (4, None, 4..=10, 10),
            (4, Some(6), 4..=6, 6),
            (10, None, 10..=10, 10),
            (1, Some(99), 1..=10, 10),
            (3, Some(3), 3..=3, 3),
        ];
        for (from, until, expected, head) in cases {
            let page = page(store, log, from, until, ALL).await;
            assert_eq!(seqs(&page), expected.collect::<Vec<u64>>(), "{from} {until:?}");
            assert_eq!((page.head, page.more), (head, false), "{from} {until:?}");
        }
        for (from, until, head) in [(11, None, 10), (u64::MAX, None, 10), (7, Some(5), 5), (1, Some(0), 0)] {
            let page = page(store, log, from, until, ALL).await;
            assert_eq!((seqs(&page), page.head, page.more), (vec![], head, false), "{from} {until:?}");
        }
    }

    /// About `max_bytes` of bodies, but one entry at least; `more` says that the page was cut, and pages add up to the log.
    pub async fn a_page_is_cut_by_bytes_but_never_empty<S: Store>(store: &S) {
        let log = log("page bytes", 0);
        store.create(log, 0, key(1), 1).await.expect("a new log");
        for number in 1..=10 {
            let new = entry(number, 1, &"x".repeat(100));
            append(store, log, 0, &Pipe::default(), new).await.expect("an append");
        }
        for (max_bytes, expected) in [(0, 1), (1, 1), (100, 1), (199, 1), (200, 2), (999, 9)] {
            let page = page(store, log, 1, None, max_bytes).await;
            assert_eq!((page.entries.len(), page.head, page.more), (expected, 10, true), "{max_bytes} bytes");
        }
        assert!(!page(store, log, 1, None, 1000).await.more);
        let cut = page(store, log, 1, Some(3), 200).await;
        assert_eq!((seqs(&cut), cut.head, cut.more), (vec![1, 2], 3, true));
        assert!(!page(store, log, 1, Some(2), 200).await.more);
        let (mut from, mut read) = (1, Vec::new());
        loop {
            let page = page(store, log, from, None, 250).await;
            read.extend(seqs(&page));
            if !page.more {
                break;
            }
            from = read.last().expect("a page is never empty") + 1;
        }
        assert_eq!(read, (1..=10).collect::<Vec<u64>>());
    }

    /// A log that is removed is gone with its entries and epochs, and a new one of its id starts anew.
    pub async fn a_removed_log_is_gone<S: Store>(store: &S) {
        let (log, other) = (log("removed", 0), log("removed", 1));
        filled(store, log, 50).await;
        filled(store, other, 2).await;
        commit(store, log, 0, entry(51, 2, "commit"), key(2)).await.expect("a commit");
        assert_eq!(store.remove_log(log).await, Ok(()));
        assert_eq!(store.info(log).await, Err(StoreError::NotFound));
        assert_eq!(store.epoch(log, 0).await, Err(StoreError::NotFound));
        assert_eq!(store.read(log, 1, None, ALL).await, Err(StoreError::NotFound));
        assert_eq!(append(store, log, 1, &Pipe::default(), entry(1, 1, "x")).await, Err(StoreError::NotFound));
        assert_eq!(store.remove_log(log).await, Ok(()));
        assert_eq!(seqs(&page(store, other, 1, None, ALL).await), vec![1, 2]);
        assert_eq!(store.create(log, 9, key(3), 8).await, Ok(()));
        assert_eq!(store.info(log).await, Ok(LogInfo { epoch: 9, head: 0, bytes: 0, created: 8 }));
        assert_eq!(store.epoch(log, 1).await, Err(StoreError::NotFound));
        assert_eq!(append(store, log, 9, &Pipe::default(), entry(1, 1, "x")).await, Ok(1));
        assert_eq!(seqs(&page(store, log, 1, None, ALL).await), vec![1]);
    }

    /// Removing and creating are in the order of their first poll too.
    pub async fn a_log_is_replaced_in_order<S: Store>(store: &S) {
        let log = log("replaced", 0);
        filled(store, log, 3).await;
        let pipe = Pipe::default();
        let (removed, (created, appended)) = futures_util::future::join(
            store.remove_log(log),
            futures_util::future::join(store.create(log, 1, key(2), 2), append(store, log, 1, &pipe, entry(1, 1, "x"))),
        )
        .await;
        assert_eq!((removed, created, appended), (Ok(()), Ok(()), Ok(1)));
        assert_eq!(seqs(&page(store, log, 1, None, ALL).await), vec![1]);
    }

    /// Retention removes what is older, of the kinds that are named; the rest stays readable from every place.
    pub async fn retention_removes_old_entries_of_a_kind<S: Store>(store: &S) {
        const KIND: u8 = 201;
        let log = log("retention", 0);
        store.create(log, 0, key(1), 1).await.expect("a new log");
        let pipe = Pipe::default();
        // Places 5, 10, 15 and 20 are of another kind.
        for number in 1..=20 {
            let kind = if number % 5 == 0 { 202 } else { KIND };
            append(store, log, 0, &pipe, entry(number, kind, "xy")).await.expect("an append");
        }
        sweep(store, &[(KIND, 1000)]).await;
        assert_eq!(store.info(log).await.map(|info| info.bytes), Ok(40));
        sweep(store, &[(KIND, 1001)]).await;
        assert_eq!(store.info(log).await.map(|info| info.bytes), Ok(40), "an entry of that very time is not older");
        for (time, left) in [
            (1003, vec![3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]),
            (1008, vec![5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]),
            (1013, vec![5, 10, 13, 14, 15, 16, 17, 18, 19, 20]),
        ] {
            sweep(store, &[(KIND, time)]).await;
            for from in 0..=21 {
                let page = page(store, log, from, None, ALL).await;
                let expected: Vec<u64> = left.iter().copied().filter(|seq| *seq >= from).collect();
                assert_eq!((seqs(&page), page.head, page.more), (expected, 20, false), "{time} {from}");
            }
            let bytes = left.len() as u64 * 2;
            assert_eq!(store.info(log).await, Ok(LogInfo { epoch: 0, head: 20, bytes, created: 1 }));
        }
        let gone = page(store, log, 6, Some(9), ALL).await;
        assert_eq!((seqs(&gone), gone.head, gone.more), (vec![], 9, false));
        let before = page(store, log, 5, Some(9), 1).await;
        assert_eq!((seqs(&before), before.more), (vec![5], false), "what was removed is not more");
        // The places before the removed ones are still named.
        assert_eq!(page(store, log, 13, Some(13), ALL).await.entries[0].prev, 12);
        sweep(store, &[(202, 1016), (KIND, 1018)]).await;
        assert_eq!(seqs(&page(store, log, 1, None, ALL).await), vec![18, 19, 20]);
    }

    /// A log that is swept empty keeps head and epochs, and goes on where it was.
    pub async fn a_log_that_is_swept_empty_goes_on<S: Store>(store: &S) {
        const KIND: u8 = 203;
        let log = log("swept empty", 0);
        store.create(log, 0, key(1), 1).await.expect("a new log");
        let pipe = Pipe::default();
        for round in 0..3_u64 {
            for number in 1..=4 {
                append(store, log, round, &pipe, entry(round * 10 + number, KIND, "x")).await.expect("an append");
            }
            let last = entry(round * 10 + 5, KIND, "commit");
            commit(store, log, round, last, key(2)).await.expect("a commit");
            sweep(store, &[(KIND, u64::MAX)]).await;
            let head = (round + 1) * 5;
            let info = LogInfo { epoch: round + 1, head, bytes: 0, created: 1 };
            assert_eq!(store.info(log).await, Ok(info));
            for from in 0..=head + 1 {
                let page = page(store, log, from, None, ALL).await;
                assert_eq!((seqs(&page), page.head, page.more), (vec![], head, false));
            }
        }
        assert_eq!(store.epoch(log, 1).await.map(|epoch| epoch.ended_at), Ok(Some(10)));
        assert_eq!(append(store, log, 3, &pipe, entry(99, KIND, "x")).await, Ok(16));
        let last = page(store, log, 1, None, ALL).await;
        assert_eq!((seqs(&last), last.entries[0].prev), (vec![16], 15));
    }

    /// Retention goes through a log from its front and ends at the first that is young enough.
    pub async fn retention_ends_at_the_first_young_entry<S: Store>(store: &S) {
        const KIND: u8 = 204;
        let log = log("clock set back", 0);
        store.create(log, 0, key(1), 1).await.expect("a new log");
        for time in [10, 50, 20] {
            let new = NewEntry { time, ..entry(1, KIND, "x") };
            append(store, log, 0, &Pipe::default(), new).await.expect("an append");
        }
        sweep(store, &[(KIND, 30)]).await;
        assert_eq!(seqs(&page(store, log, 1, None, ALL).await), vec![2, 3]);
    }

    /// Times of a log ascend, whatever the clock does, and the answer has the time of the entry.
    pub async fn times_ascend<S: Store>(store: &S) {
        let log = log("times ascend", 0);
        store.create(log, 0, key(1), 1).await.expect("a new log");
        let hour = crate::AHEAD_MS;
        let mut expected = Vec::new();
        for (number, (time, kept)) in [(10, 10), (50, 50), (20, 50), (60, 60), (59, 60)].into_iter().enumerate() {
            let new = NewEntry { time, ..entry(number as u64, 1, "x") };
            let placed = match number {
                4 => store.commit(log, 0, new, key(2)).await,
                _ => store.append(log, 0, &Pipe::default(), new).await,
            };
            assert_eq!(placed, Ok(Placed { seq: number as u64 + 1, time: kept }));
            expected.push(kept);
        }
        // A clock that was further ahead was wrong, and doesn't give its time to all that ever comes behind.
        for (time, kept) in [(61 + hour, 61 + hour), (61, 61 + hour), (60, 60), (59, 60)] {
            let new = NewEntry { time, ..entry(9, 1, "x") };
            store.append(log, 1, &Pipe::default(), new).await.expect("an append");
            expected.push(kept);
        }
        let entries = page(store, log, 1, None, ALL).await.entries;
        assert_eq!(entries.iter().map(|entry| entry.time).collect::<Vec<_>>(), expected);
    }

    /// What was written while the clock was ahead is as old as what comes behind it, and holds up nothing.
    pub async fn retention_passes_what_a_clock_that_was_ahead_wrote<S: Store>(store: &S) {
        const KIND: u8 = 209;
        let log = log("clock ahead", 0);
        let ahead = 1 << 40;
        store.create(log, 0, key(1), 1).await.expect("a new log");
        for (number, time) in [10, ahead, ahead, 20, 30, ahead, 40, ahead].into_iter().enumerate() {
            let kind = if number == 2 { 210 } else { KIND };
            let new = NewEntry { time, ..entry(number as u64, kind, "x") };
            store.append(log, 0, &Pipe::default(), new).await.expect("an append");
        }
        // Nothing behind the last one says how old it is.
        for (before, left) in [(20, &[2, 3, 4, 5, 6, 7, 8][..]), (21, &[3, 5, 6, 7, 8]), (50, &[3, 8]), (21, &[3, 8])] {
            assert_eq!(store.sweep(None, 1000, 50, &[(KIND, before), (210, 5)]).await, Ok(None));
            assert_eq!(seqs(&page(store, log, 1, None, ALL).await), left, "before {before}");
        }
    }

    /// Slices visit every log once, whatever their size, and none before the cursor.
    pub async fn a_sweep_visits_every_log<S: Store>(store: &S) {
        const KIND: u8 = 205;
        let logs: Vec<_> = (0..7).map(|number| log("swept", number)).collect();
        for slice in [1, 2, 7, 1000] {
            for log in &logs {
                store.remove_log(*log).await.expect("a removal");
                store.create(*log, 0, key(1), 1).await.expect("a new log");
                append(store, *log, 0, &Pipe::default(), entry(1, KIND, "x")).await.expect("an append");
            }
            let mut cursor = None;
            let mut slices = 0;
            loop {
                let next = store.sweep(cursor, slice, u64::MAX, &[(KIND, u64::MAX)]).await.expect("a slice");
                slices += 1;
                let Some(next) = next else { break };
                assert!(cursor.is_none_or(|before| before < next), "the cursor goes forward");
                cursor = Some(next);
            }
            assert!(slice > 1 || slices >= logs.len());
            for log in &logs {
                assert_eq!(store.info(*log).await.map(|info| info.bytes), Ok(0), "slices of {slice}");
            }
        }
        let untouched = log("swept", 9);
        store.create(untouched, 0, key(1), 1).await.expect("a new log");
        append(store, untouched, 0, &Pipe::default(), entry(1, KIND, "x")).await.expect("an append");
        assert_eq!(store.sweep(Some([255; 16]), 10, u64::MAX, &[(KIND, u64::MAX)]).await, Ok(None));
        store.sweep(Some(untouched), 1000, u64::MAX, &[(KIND, u64::MAX)]).await.expect("a slice");
        assert_eq!(store.info(untouched).await.map(|info| info.bytes), Ok(1), "behind the cursor means not at it");
    }

    /// Retention of more than one slice's worth in one log.
    pub async fn a_long_log_is_swept_whole<S: Store>(store: &S) {
        const KIND: u8 = 206;
        const LENGTH: u64 = 3000;
        let log = log("long", 0);
        store.create(log, 0, key(1), 1).await.expect("a new log");
        let pipe = Pipe::default();
        // Every seventh stays, so there are holes at every edge of a slice.
        let appends = (1..=LENGTH).map(|number| {
            let kind = if number % 7 == 0 { 207 } else { KIND };
            append(store, log, 0, &pipe, entry(number, kind, "x"))
        });
        assert!(join_all(appends).await.iter().all(Result::is_ok));
        let sevenths: Vec<_> = (1..=LENGTH).filter(|number| number % 7 == 0).collect();
        sweep(store, &[(KIND, 1000 + LENGTH)]).await;
        let left = page(store, log, 1, None, ALL).await;
        let expected: Vec<_> = sevenths.iter().copied().chain([LENGTH]).collect();
        assert_eq!(seqs(&left), expected);
        sweep(store, &[(KIND, u64::MAX), (207, u64::MAX)]).await;
        let left = page(store, log, 1, None, ALL).await;
        assert_eq!((seqs(&left), left.head, left.more), (vec![], LENGTH, false));
    }

    /// A record is put if its version is as expected, and each put is one version more.
    pub async fn a_record_is_compared_and_swapped<S: Store>(store: &S) {
        let name = b"conformance/swap";
        let value = Bytes::from_static;
        let conflict = |current| Err(StoreError::Conflict { current });
        assert_eq!(store.record(name).await, Ok(None));
        for expect in [Expect::Version(1), Expect::Version(0)] {
            assert_eq!(store.put_record(name, expect, value(b"a")).await, conflict(0));
        }
        assert_eq!(store.put_record(name, Expect::Absent, value(b"a")).await, Ok(1));
        assert_eq!(store.put_record(name, Expect::Absent, value(b"b")).await, conflict(1));
        assert_eq!(store.put_record(name, Expect::Version(2), value(b"b")).await, conflict(1));
        assert_eq!(store.record(name).await, Ok(Some(Record { version: 1, value: value(b"a") })));
        assert_eq!(store.put_record(name, Expect::Version(1), value(b"b")).await, Ok(2));
        assert_eq!(store.put_record(name, Expect::Any, value(b"")).await, Ok(3));
        assert_eq!(store.record(name).await, Ok(Some(Record { version: 3, value: value(b"") })));
        assert_eq!(store.remove_record(name).await, Ok(()));
        assert_eq!(store.remove_record(name).await, Ok(()));
        assert_eq!(store.record(name).await, Ok(None));
        assert_eq!(store.put_record(name, Expect::Any, value(b"c")).await, Ok(1));
        assert_eq!(store.record(b"").await, Ok(None));
        store.remove_record(name).await.expect("a removal");
    }

    /// Of many that swap from one version, one does.
    pub async fn one_of_many_swaps<S: Store>(store: &S) {
        let name = b"conformance/one of many";
        store.put_record(name, Expect::Absent, Bytes::new()).await.expect("a put");
        for version in 1..5 {
            let puts = (0..10).map(|number| store.put_record(name, Expect::Version(version), Bytes::from(vec![number])));
            let results = join_all(puts).await;
            let winners: Vec<_> = (0..10_u8).filter(|number| results[usize::from(*number)].is_ok()).collect();
            assert_eq!(winners.len(), 1);
            let current = Err(StoreError::Conflict { current: version + 1 });
            assert_eq!(results.iter().filter(|result| **result == current).count(), 9);
            let record = store.record(name).await.expect("a read").expect("the record");
            assert_eq!((record.version, &record.value[..]), (version + 1, &winners[..]));
        }
        store.remove_record(name).await.expect("a removal");
    }

    /// Puts and removals of one record at a time are applied in their order.
    pub async fn changes_of_a_record_are_applied_in_order<S: Store>(store: &S) {
        let name = b"conformance/in order";
        let value = Bytes::from_static;
        let (put, (removed, (again, taken))) = futures_util::future::join(
            store.put_record(name, Expect::Absent, value(b"a")),
            futures_util::future::join(
                store.remove_record(name),
                futures_util::future::join(
                    store.put_record(name, Expect::Absent, value(b"b")),
                    store.take(name),
                ),
            ),
        )
        .await;
        assert_eq!((put, removed, again), (Ok(1), Ok(()), Ok(1)));
        assert_eq!(taken, Ok(Some((value(name), value(b"b")))));
        assert_eq!(store.record(name).await, Ok(None));
    }

    /// Of many that take at a time, each gets another record, in key order, and none twice.
    pub async fn a_record_is_taken_once<S: Store>(store: &S) {
        let prefix = b"conformance/take/";
        let name = |number: u8| Bytes::from([&prefix[..], &[number]].concat());
        store.put_record(b"conformance/take", Expect::Any, Bytes::new()).await.expect("a neighbour");
        store.put_record(b"conformance/take0", Expect::Any, Bytes::new()).await.expect("a neighbour");
        for number in 0..60 {
            store.put_record(&name(number), Expect::Absent, Bytes::from(vec![number])).await.expect("a put");
        }
        let first = store.take(prefix).await;
        assert_eq!(first, Ok(Some((name(0), Bytes::from_static(&[0])))));
        let taken = join_all((0..80).map(|_| store.take(prefix))).await;
        let taken: Vec<_> = taken.into_iter().map(|taken| taken.expect("a take")).collect();
        assert_eq!(taken.iter().filter(|taken| taken.is_none()).count(), 21);
        let names: BTreeSet<_> = taken.into_iter().flatten().map(|(name, _)| name).collect();
        assert_eq!(names, (1..60).map(name).collect());
        assert_eq!(store.scan(prefix, None, 100).await, Ok(vec![]));
        assert_eq!(store.take(b"conformance/nothing").await, Ok(None));
        for neighbour in [&b"conformance/take"[..], b"conformance/take0"] {
            assert_eq!(store.record(neighbour).await.map(|record| record.is_some()), Ok(true));
            store.remove_record(neighbour).await.expect("a removal");
        }
    }

    /// A scan gives the records of a prefix in key order, behind `after`, up to its limit.
    pub async fn a_scan_is_ordered_and_bounded<S: Store>(store: &S) {
        let prefix = b"conformance/scan/";
        let name = |suffix: &[u8]| Bytes::from([&prefix[..], suffix].concat());
        let suffixes: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0", b"b", b"\xff\xff"];
        for suffix in suffixes.iter().rev() {
            store.put_record(&name(suffix), Expect::Absent, Bytes::copy_from_slice(suffix)).await.expect("a put");
        }
        for neighbour in [&b"conformance/scan"[..], b"conformance/scan0"] {
            store.put_record(neighbour, Expect::Any, Bytes::new()).await.expect("a neighbour");
        }
        let scan = async |after: Option<&[u8]>, limit| {
            let found = store.scan(prefix, after, limit).await.expect("a scan");
            found.into_iter().map(|(name, record)| (name, record.version, record.value)).collect::<Vec<_>>()
        };
        let expected: Vec<_> =
            suffixes.iter().map(|suffix| (name(suffix), 1, Bytes::copy_from_slice(suffix))).collect();
        assert_eq!(scan(None, 100).await, expected);
        assert_eq!(scan(None, 2).await, expected[..2]);
        assert_eq!(scan(None, 0).await, expected[..0]);
        for at in 0..suffixes.len() {
            assert_eq!(scan(Some(&expected[at].0), 100).await, expected[at + 1..]);
        }
        assert_eq!(scan(Some(&name(b"aa")), 100).await, expected[4..], "a key that isn't there");
        assert_eq!(scan(Some(b"a"), 100).await, expected, "a key before the prefix");
        assert_eq!(scan(Some(b"d"), 100).await, expected[..0], "a key behind the prefix");
        for name in suffixes.map(name).into_iter().chain([&b"conformance/scan"[..], b"conformance/scan0"].map(Bytes::from)) {
            store.remove_record(&name).await.expect("a removal");
        }
    }

    /// A blob is written piece by piece at its end, and can be read when it is complete.
    pub async fn a_blob_is_written_at_its_end<S: Store>(store: &S) {
        let id = [1; 32];
        let piece = Bytes::from_static;
        let conflict = |current| Err(StoreError::Conflict { current });
        assert_eq!(store.blob(id).await, Ok(None));
        assert_eq!(store.get_blob(id, 0, 10).await, Err(StoreError::NotFound));
        assert_eq!(store.put_blob(id, 1, piece(b"x"), false).await, conflict(0));
        assert_eq!(store.put_blob(id, 0, piece(b"hello "), false).await, Ok(6));
        assert_eq!(store.blob(id).await, Ok(Some((6, false))));
        assert_eq!(store.get_blob(id, 0, 10).await, Err(StoreError::NotFound), "not complete");
        for offset in [0, 5, 7] {
            assert_eq!(store.put_blob(id, offset, piece(b"x"), true).await, conflict(6));
        }
        assert_eq!(store.put_blob(id, 6, piece(b"world"), true).await, Ok(11));
        assert_eq!(store.blob(id).await, Ok(Some((11, true))));
        let cases: [(u64, usize, &[u8]); 7] = [
            (0, 100, b"hello world"),
            (0, 5, b"hello"),
            (6, 5, b"world"),
            (6, 2, b"wo"),
            (11, 5, b""),
            (u64::MAX, 5, b""),
            (3, 0, b""),
        ];
        for (offset, max, expected) in cases {
            assert_eq!(store.get_blob(id, offset, max).await, Ok(piece(expected)), "{offset} {max}");
        }
    }

    /// A complete blob never changes; a removed one is gone and its id is free.
    pub async fn a_complete_blob_is_immutable<S: Store>(store: &S) {
        let id = [2; 32];
        let piece = Bytes::from_static;
        assert_eq!(store.put_blob(id, 0, piece(b"abc"), true).await, Ok(3));
        for (offset, last) in [(0, false), (3, false), (3, true), (9, true)] {
            assert_eq!(store.put_blob(id, offset, piece(b"x"), last).await, Err(StoreError::Exists));
        }
        assert_eq!(store.get_blob(id, 0, 10).await, Ok(piece(b"abc")));
        assert_eq!(store.remove_blob(id).await, Ok(()));
        assert_eq!(store.remove_blob(id).await, Ok(()));
        assert_eq!(store.blob(id).await, Ok(None));
        assert_eq!(store.get_blob(id, 0, 10).await, Err(StoreError::NotFound));
        assert_eq!(store.put_blob(id, 0, piece(b"de"), false).await, Ok(2));
        assert_eq!(store.put_blob(id, 2, piece(b""), true).await, Ok(2));
        assert_eq!(store.get_blob(id, 0, 10).await, Ok(piece(b"de")));
        assert_eq!(store.put_blob([3; 32], 0, Bytes::new(), true).await, Ok(0), "an empty one is one too");
        assert_eq!(store.get_blob([3; 32], 0, 10).await, Ok(Bytes::new()));
    }

    /// Of many that write one piece at a time, one does.
    pub async fn one_of_many_writes_a_piece<S: Store>(store: &S) {
        let id = [4; 32];
        let puts = (0..10_u8).map(|number| store.put_blob(id, 0, Bytes::from(vec![number; 100]), false));
        let results = join_all(puts).await;
        let winners: Vec<_> = (0..10_u8).filter(|number| results[usize::from(*number)] == Ok(100)).collect();
        assert_eq!(winners.len(), 1);
        let lost = Err(StoreError::Conflict { current: 100 });
        assert_eq!(results.iter().filter(|result| **result == lost).count(), 9);
        assert_eq!(store.put_blob(id, 100, Bytes::new(), true).await, Ok(100));
        assert_eq!(store.get_blob(id, 0, 200).await, Ok(Bytes::from(vec![winners[0]; 100])));
    }
}

/// The observer hears of every entry that was appended, in log order, each before its writer's answer. Run by [`all`], which gives
/// the store its observer before the first write.
async fn the_observer_hears_in_log_order_before_the_answer<S: Store>(store: &S, recorder: &Recorder) {
    let log = log("observer", 0);
    filled(store, log, 0).await;
    let pipe = Pipe::default();
    for number in 1..=10 {
        let seq = append(store, log, 0, &pipe, entry(number, 1, "x")).await.expect("an append");
        assert_eq!(recorder.of(log).last().map(|entry| entry.seq), Some(seq), "heard before the answer");
    }
    let appends = join_all((11..=100).map(|number| append(store, log, 0, &pipe, entry(number, 1, "x")))).await;
    assert!(appends.iter().all(Result::is_ok));
    commit(store, log, 0, entry(101, 2, "commit"), key(2)).await.expect("a commit");
    let refused = append(store, log, 0, &pipe, entry(102, 1, "x")).await;
    assert_eq!(refused, Err(StoreError::StaleEpoch { current: 1 }));
    assert_eq!(recorder.of(log), page(store, log, 1, None, ALL).await.entries);
    // Those of the functions before, too.
    for (name, number) in [("order and content", 0), ("first poll", 0), ("first poll", 1), ("first commit", 0)] {
        let log = self::log(name, number);
        assert_eq!(recorder.of(log), page(store, log, 1, None, ALL).await.entries, "{name}");
    }
    let heard: Vec<_> = recorder.of(self::log("long", 0)).iter().map(|entry| entry.seq).collect();
    assert_eq!(heard, (1..=3000).collect::<Vec<u64>>());
}
