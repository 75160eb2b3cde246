//! Following a log: without a gap, without repetition, never past the epoch, and nobody waits for the slow.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wire::{Bytes, Code, Epoch, LogId, Push, Request, Response, Seq};

use super::rig::*;

#[test]
fn backlog_then_live_then_the_end_of_the_epoch() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    alice.fill(rig.now, 1..4);
    assert_eq!(bob.subscribe(rig.now, 0, 2), Ok(Response::Done));
    assert_eq!(bob.seqs(), [2, 3]);
    alice.append(rig.now, 0, 0, 4).unwrap();
    assert_eq!(bob.seqs(), [4]);
    alice.commit(rig.now, 0, 5).unwrap();
    let pushes = bob.pushes();
    assert!(matches!(&pushes[..], [Push::Entries { entries, .. }, Push::EpochEnded { log: LOG, epoch: Epoch(0) }]
        if entries[0].seq == Seq(5) && entries[0].next == Some(key(1).public())));
    alice.open(rig.now, LOG, 1);
    alice.append(rig.now, 1, 0, 6).unwrap();
    assert!(bob.pushes().is_empty());
    bob.open(rig.now, LOG, 1);
    bob.subscribe(rig.now, 1, 6).unwrap();
    assert_eq!(bob.seqs(), [6]);
}

/// Whatever the order in which the subscriber's reads, appends and the commit that ends the epoch go on.
#[test]
fn i2_no_interleaving_leaves_a_gap_or_repeats_an_entry() {
    for seed in 0..400 {
        let mut dice = ChaCha20Rng::seed_from_u64(seed);
        let mut rig = Rig::new();
        let (alice, bob) = rig.pair();
        let before = dice.next_u32() % 4;
        alice.fill(rig.now, 0..before as u8);
        let from = u64::from(dice.next_u32() % 4);
        rig.store.start_dawdling(seed);

        let mut following = bob.start(rig.now, subscribe(LOG, 0, from));
        let mut writes: Vec<Request> = (10..15).map(|id| append(LOG, 0, 0, id)).collect();
        writes.push(commit(LOG, 0, 99));
        let mut writes = writes.into_iter();
        let (mut followed, mut written) = (false, false);
        while !(followed && written) {
            if !followed && (written || dice.next_u32() % 2 == 0) {
                followed = step(&mut following).is_ready();
            } else if !written {
                match writes.next() {
                    Some(write) => drop(step(&mut alice.start(rig.now, write))),
                    None => written = true,
                }
            }
        }
        let last = u64::from(before) + 6;
        let mut pushes = bob.pushes();
        assert_eq!(pushes.pop(), Some(Push::EpochEnded { log: LOG, epoch: Epoch(0) }), "seed {seed}");
        let mut seqs = Vec::new();
        for push in pushes {
            let Push::Entries { entries, .. } = push else { panic!("seed {seed}: {push:?}") };
            seqs.extend(entries.iter().map(|entry| entry.seq.0));
        }
        assert_eq!(seqs, (from.max(1)..=last).collect::<Vec<u64>>(), "seed {seed}");
    }
}

#[test]
fn more_than_can_wait_is_read_from_the_store() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    let large = |id: u8| Request::Append {
        log: LOG,
        epoch: Epoch(0),
        pipe: 0,
        id: wire::EntryId([id; 16]),
        body: vec![id; 30_000].into(),
        commitment: [0; 32],
    };
    alice.ask(rig.now, large(1)).unwrap();
    rig.store.start_dawdling(3);
    let mut following = bob.start(rig.now, subscribe(LOG, 0, 1));
    // The first look at the store is under way when far more comes than the buffer takes.
    let _waiting = step(&mut following);
    for id in 2..20 {
        drop(step(&mut alice.start(rig.now, large(id))));
    }
    while step(&mut following).is_pending() {}
    rig.store.stop_dawdling();
    alice.ask(rig.now, large(20)).unwrap();
    assert_eq!(bob.seqs(), (1..=20).collect::<Vec<u64>>());
}

#[test]
fn who_is_too_slow_is_told_where_to_read_on() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    let carol = rig.connect();
    carol.open(rig.now, LOG, 0);
    bob.subscribe(rig.now, 0, 1).unwrap();
    carol.subscribe(rig.now, 0, 1).unwrap();
    bob.room(2);
    for id in 1..6 {
        alice.append(rig.now, 0, 0, id).unwrap();
    }
    assert_eq!(carol.seqs(), [1, 2, 3, 4, 5]);
    // There was no room even for the notice; it comes when the queue has run empty.
    assert_eq!(bob.seqs(), [1, 2]);
    bob.drained(rig.now);
    assert_eq!(bob.pushes(), [Push::Lagged { log: LOG, seq: Seq(3) }]);
    bob.drained(rig.now);
    assert_eq!(bob.pushes(), []);
    assert_eq!(bob.read(rig.now, 0, 3), Ok((vec![3, 4, 5], 5, false)));
    bob.subscribe(rig.now, 0, 6).unwrap();
    alice.append(rig.now, 0, 0, 6).unwrap();
    assert_eq!(bob.seqs(), [6]);
}

#[test]
fn a_backlog_without_room_lags_and_a_new_subscription_forgets_the_notice() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    alice.fill(rig.now, 1..4);
    bob.room(0);
    bob.subscribe(rig.now, 0, 1).unwrap();
    bob.room(9);
    bob.subscribe(rig.now, 0, 1).unwrap();
    bob.drained(rig.now);
    assert_eq!(bob.seqs(), [1, 2, 3]);
}

#[test]
fn subscribing_again_takes_the_place_of_the_first_and_unsubscribing_ends_it() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    alice.append(rig.now, 0, 0, 1).unwrap();
    bob.subscribe(rig.now, 0, 1).unwrap();
    bob.subscribe(rig.now, 0, 2).unwrap();
    alice.append(rig.now, 0, 0, 2).unwrap();
    assert_eq!(bob.seqs(), [1, 2]);
    bob.ask(rig.now, Request::Unsubscribe { logs: vec![LOG, LogId([8; 16])] }).unwrap();
    alice.append(rig.now, 0, 0, 3).unwrap();
    assert!(bob.pushes().is_empty());
}

#[test]
fn a_subscription_that_begins_later_waits_for_its_first_entry() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    bob.subscribe(rig.now, 0, 3).unwrap();
    for id in 1..4 {
        alice.append(rig.now, 0, 0, id).unwrap();
    }
    assert_eq!(bob.seqs(), [3]);
}

#[test]
fn who_hung_up_gets_nothing_even_if_its_subscription_was_under_way() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    alice.append(rig.now, 0, 0, 1).unwrap();
    rig.store.start_dawdling(11);
    let mut following = bob.start(rig.now, subscribe(LOG, 0, 1));
    let _waiting = step(&mut following);
    bob.hang_up();
    while step(&mut following).is_pending() {}
    rig.store.stop_dawdling();
    alice.append(rig.now, 0, 0, 2).unwrap();
    assert!(bob.pushes().is_empty());
    assert!(bob.subscribe(rig.now, 0, 1).is_err());
}

#[test]
fn subscriptions_are_limited_and_those_that_have_ended_do_not_count() {
    let mut configured = config();
    configured.limits.subscriptions = 2;
    let mut rig = Rig::with(configured);
    let logs = [LogId([1; 16]), LogId([2; 16]), LogId([3; 16])];
    let (alice, bob) = (rig.connect(), rig.connect());
    for log in logs {
        rig.create(log);
        assert_eq!((alice.open(rig.now, log, 0), bob.open(rig.now, log, 0)), (None, None));
    }
    bob.ask(rig.now, subscribe(logs[0], 0, 1)).unwrap();
    bob.ask(rig.now, subscribe(logs[1], 0, 1)).unwrap();
    assert_eq!(code(bob.ask(rig.now, subscribe(logs[2], 0, 1))), Code::TooMany);
    alice.ask(rig.now, commit(logs[0], 0, 1)).unwrap();
    bob.ask(rig.now, subscribe(logs[2], 0, 1)).unwrap();
}

#[test]
fn signals_reach_those_present_in_the_epoch_but_not_their_sender_and_are_not_kept() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    let absent = rig.connect();
    absent.open(rig.now, LOG, 0);
    alice.subscribe(rig.now, 0, 1).unwrap();
    bob.subscribe(rig.now, 0, 1).unwrap();
    let body = Bytes::from_static(b"typing");
    let signal = Request::Signal { log: LOG, epoch: Epoch(0), body: body.clone() };
    alice.ask(rig.now, signal.clone()).unwrap();
    assert_eq!(bob.pushes(), [Push::Signal { log: LOG, epoch: Epoch(0), body }]);
    assert!(alice.pushes().is_empty() && absent.pushes().is_empty());
    assert_eq!(absent.read(rig.now, 0, 1), Ok((vec![], 0, false)));
    // Bob is in the next epoch: a signal of the old one is not for him.
    alice.commit(rig.now, 0, 1).unwrap();
    bob.open(rig.now, LOG, 1);
    bob.subscribe(rig.now, 1, 2).unwrap();
    bob.pushes();
    absent.ask(rig.now, signal).unwrap();
    assert!(bob.pushes().is_empty());
}

#[test]
fn pages_follow_one_another_to_the_head() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    alice.fill(rig.now, 1..11);
    let (mut from, mut seen) = (0, Vec::new());
    loop {
        let read = Request::Read { log: LOG, epoch: Epoch(0), from: Seq(from), max_bytes: 50 };
        let Ok(Response::Page { entries, head, more }) = bob.ask(rig.now, read) else { panic!() };
        assert_eq!(head, Seq(10));
        seen.extend(entries.iter().map(|entry| (entry.seq.0, entry.prev.0)));
        from = seen.last().unwrap().0 + 1;
        if !more {
            break;
        }
    }
    assert_eq!(seen, (1..11).map(|seq| (seq, seq - 1)).collect::<Vec<_>>());
}

#[test]
fn a_subscription_to_what_can_not_be_read_is_refused_and_leaves_nothing_behind() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    ready(store::Store::remove_log(&rig.store.inner, LOG.0)).unwrap();
    assert_eq!(code(bob.subscribe(rig.now, 0, 1)), Code::NotOpened);
    assert_eq!(code(alice.append(rig.now, 0, 0, 1)), Code::NotOpened);
    assert!(bob.pushes().is_empty());
}
