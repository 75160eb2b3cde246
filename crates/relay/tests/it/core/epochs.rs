//! Strict epochs, the capability chain, order in the pipe (protocol rules 1, 2 and 4), pacing, restoring.

use std::task::Poll;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wire::{Bytes, Code, EntryId, Epoch, LogId, Push, Request, Response};

use super::rig::*;

#[test]
fn rule_1_what_comes_for_an_ended_epoch_is_refused() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    assert_eq!(alice.append(rig.now, 0, 0, 1), Ok(1));
    assert_eq!(alice.commit(rig.now, 0, 2), Ok(2));
    let refusal = bob.append(rig.now, 0, 0, 3).unwrap_err();
    assert_eq!((refusal.code, refusal.current), (Code::StaleEpoch, 1));
    let refusal = bob.commit(rig.now, 0, 4).unwrap_err();
    assert_eq!((refusal.code, refusal.current), (Code::StaleEpoch, 1));
    // The winner has not proven the next epoch either, though it has derived its key.
    assert_eq!(code(alice.append(rig.now, 1, 0, 5)), Code::NotOpened);
    assert_eq!(alice.open(rig.now, LOG, 1), None);
    assert_eq!(alice.append(rig.now, 1, 1, 5), Ok(3));
}

#[test]
fn i4_a_removed_member_reads_to_the_end_of_its_epoch_and_no_further() {
    let mut rig = Rig::new();
    let (alice, carol) = rig.pair();
    assert_eq!(alice.append(rig.now, 0, 0, 1), Ok(1));
    carol.subscribe(rig.now, 0, 1).unwrap();
    assert_eq!(alice.commit(rig.now, 0, 2), Ok(2));
    assert_eq!(alice.open(rig.now, LOG, 1), None);
    for id in 3..6 {
        assert_eq!(alice.append(rig.now, 1, 0, id), Ok(u64::from(id)));
    }

    // Her old connection, and a new one with her old key: reading, following, sending.
    let again = rig.connect();
    let state = again.open_with(rig.now, LOG, 0, &key(0));
    assert_eq!((state.error, state.head.0, state.epoch.0), (None, 2, 1));
    for (removed, pipe) in [(&carol, 0), (&again, 0)] {
        assert_eq!(removed.read(rig.now, 0, 1), Ok((vec![1, 2], 2, false)));
        assert_eq!(removed.read(rig.now, 0, 3), Ok((vec![], 2, false)));
        assert_eq!(code(removed.read(rig.now, 1, 1)), Code::NotOpened);
        assert_eq!(code(removed.subscribe(rig.now, 1, 1)), Code::NotOpened);
        assert_eq!(code(removed.append(rig.now, 0, pipe, 9)), Code::StaleEpoch);
        assert_eq!(code(removed.append(rig.now, 1, pipe + 1, 9)), Code::NotOpened);
        assert_eq!(code(removed.commit(rig.now, 0, 9)), Code::StaleEpoch);
        assert_eq!(code(removed.commit(rig.now, 1, 9)), Code::NotOpened);
        let signal = Request::Signal { log: LOG, epoch: Epoch(1), body: Bytes::new() };
        assert_eq!(code(removed.ask(rig.now, signal)), Code::NotOpened);
        // The old key doesn't open the new epoch, nor does a signature for the old one.
        assert_eq!(removed.open_with(rig.now, LOG, 1, &key(0)).error, Some(Code::NotFound));
    }
    assert_eq!(carol.seqs(), [1, 2]);
    again.subscribe(rig.now, 0, 1).unwrap();
    assert_eq!(alice.append(rig.now, 1, 0, 6), Ok(6));
    let pushes = again.pushes();
    assert!(matches!(&pushes[..], [Push::Entries { entries, head, .. }, Push::EpochEnded { epoch: Epoch(0), .. }]
        if entries.len() == 2 && head.0 == 2));
}

/// The commit lands between the page that is read and the look at the epoch's end, or before, or after: never past the end.
#[test]
fn rule_2_no_interleaving_shows_an_entry_past_the_end() {
    for seed in 0..300 {
        let mut rig = Rig::new();
        let (alice, carol) = rig.pair();
        alice.append(rig.now, 0, 0, 1).unwrap();
        rig.store.start_dawdling(seed);
        let read = Request::Read { log: LOG, epoch: Epoch(0), from: wire::Seq(1), max_bytes: 1 << 20 };
        let mut reading = carol.start(rig.now, read);
        let (entries, head) = loop {
            if let Poll::Ready(answer) = step(&mut reading) {
                match answer {
                    Ok(Response::Page { entries, head, .. }) => break (entries, head),
                    other => panic!("{other:?}"),
                }
            }
            // One step of the others for each of hers.
            let next = ready(store::Store::info(&rig.store.inner, LOG.0)).unwrap();
            match next.epoch {
                0 if next.head == 1 => drop(step(&mut alice.start(rig.now, append(LOG, 0, 0, 2)))),
                0 => drop(step(&mut alice.start(rig.now, commit(LOG, 0, 3)))),
                _ => {
                    let entry =
                        store::NewEntry { id: [9; 16], kind: 1, body: Bytes::new(), commitment: [0; 32], time: 0 };
                    let pipe = store::Pipe::default();
                    ready(store::Store::append(&rig.store.inner, LOG.0, 1, &pipe, entry)).unwrap();
                }
            }
        };
        assert!(head.0 <= 3 && entries.iter().all(|entry| entry.seq.0 <= head.0), "seed {seed}");
    }
}

#[test]
fn rule_4_a_refusal_breaks_its_pipe_until_the_next_number() {
    let mut rig = Rig::new();
    let (alice, _) = rig.pair();
    assert_eq!(alice.append(rig.now, 0, 0, 1), Ok(1));
    let large = Request::Append {
        log: LOG,
        epoch: Epoch(0),
        pipe: 0,
        id: EntryId([2; 16]),
        body: vec![0; 65_537].into(),
        commitment: [0; 32],
    };
    assert_eq!(code(alice.ask(rig.now, large)), Code::TooLarge);
    assert_eq!(code(alice.append(rig.now, 0, 0, 3)), Code::Aborted);
    assert_eq!(code(alice.append(rig.now, 0, 0, 4)), Code::Aborted);
    assert_eq!(alice.append(rig.now, 0, 1, 3), Ok(2));
    // What was still under way in the old pipe stays refused.
    assert_eq!(code(alice.append(rig.now, 0, 0, 4)), Code::Aborted);
    assert_eq!(alice.append(rig.now, 0, 1, 4), Ok(3));
}

#[test]
fn rule_4_what_follows_a_refusal_does_not_slip_in_once_the_log_is_open() {
    let mut rig = Rig::new();
    rig.create(LOG);
    let alice = rig.connect();
    assert_eq!(code(alice.append(rig.now, 0, 0, 1)), Code::NotOpened);
    assert_eq!(alice.open(rig.now, LOG, 0), None);
    assert_eq!(code(alice.append(rig.now, 0, 0, 2)), Code::Aborted);
    assert_eq!(alice.append(rig.now, 0, 1, 1), Ok(1));
}

#[test]
fn rule_4_a_failed_write_breaks_its_pipe() {
    let mut rig = Rig::new();
    let (alice, _) = rig.pair();
    for (number, error) in
        [store::StoreError::Unavailable("the disk is full"), store::StoreError::OutcomeUnknown].into_iter().enumerate()
    {
        let pipe = number as u32;
        *rig.store.fail.lock().unwrap() = Some(error);
        assert!(alice.append(rig.now, 0, pipe, 1).unwrap_err().code.is_transient());
        assert_eq!(code(alice.append(rig.now, 0, pipe, 2)), Code::Aborted);
    }
    assert_eq!(alice.append(rig.now, 0, 2, 1), Ok(1));
}

/// Appends reach the store in their first poll, whatever becomes of their futures: that is what keeps them in order.
#[test]
fn rule_4_the_first_poll_decides_the_order() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    rig.store.start_dawdling(5);
    let mut flying: Vec<Pending> = (0..16).map(|id| alice.start(rig.now, append(LOG, 0, 0, id))).collect();
    let mut waiting: Vec<usize> = Vec::new();
    for (at, pending) in flying.iter_mut().enumerate() {
        if step(pending).is_pending() {
            waiting.push(at);
        }
    }
    assert!(!waiting.is_empty());
    drop(flying);
    rig.store.stop_dawdling();
    bob.subscribe(rig.now, 0, 1).unwrap();
    let ids: Vec<u8> = bob.entries().iter().map(|entry| entry.id.0[0]).collect();
    assert_eq!(ids, (0..16).collect::<Vec<u8>>());
    // Futures that were dropped have given their places in flight back.
    assert_eq!(alice.append(rig.now, 0, 0, 20), Ok(17));
}

#[test]
fn rule_5_a_stamp_is_the_same_wherever_it_is_read() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    bob.subscribe(rig.now, 0, 1).unwrap();
    let mut answered = Vec::new();
    for id in 0..2 {
        let Ok(Response::Appended { stamp, time, .. }) = alice.ask(rig.now, append(LOG, 0, 0, id)) else { panic!() };
        answered.push((stamp, time));
        if id == 0 {
            // The second one is written while nobody follows.
            let pushed = bob.entries().remove(0);
            assert_eq!((pushed.stamp, pushed.time), (stamp, time));
            bob.ask(rig.now, Request::Unsubscribe { logs: vec![LOG] }).unwrap();
        }
    }
    let read = Request::Read { log: LOG, epoch: Epoch(0), from: wire::Seq(1), max_bytes: 1 << 20 };
    let Ok(Response::Page { entries, .. }) = bob.ask(rig.now, read) else { panic!() };
    assert_eq!(entries.iter().map(|entry| (entry.stamp, entry.time)).collect::<Vec<_>>(), answered);
    assert_ne!(answered[0].0, answered[1].0);
}

#[test]
fn an_outsider_can_not_tell_whether_a_log_exists() {
    let mut rig = Rig::new();
    rig.create(LOG);
    let mallory = rig.connect();
    let there = mallory.open_with(rig.now, LOG, 0, &key(77));
    let not_there = mallory.open_with(rig.now, LogId([2; 16]), 0, &key(77));
    assert_eq!(there, wire::LogState { log: LOG, ..not_there.clone() });
    assert_eq!(not_there.error, Some(Code::NotFound));
}

#[test]
fn one_wrong_proof_among_many_opens_nothing_and_keeps_nothing_shut() {
    let mut rig = Rig::new();
    let logs: Vec<LogId> = (1..=120).map(|n| LogId([n; 16])).collect();
    logs.iter().for_each(|log| rig.create(*log));
    let client = rig.connect();
    let open = |log: LogId, with: &wire::EpochKey| wire::OpenLog {
        log,
        epoch: Epoch(0),
        signature: with.open(&client.nonce, &name(), log, Epoch(0)),
    };
    let asked = |wrong: &[u8]| {
        let opens: Vec<_> = logs
            .iter()
            .map(|log| open(*log, &key(if wrong.contains(&log.0[0]) { 77 } else { 0 })))
            .chain([open(LogId([200; 16]), &key(0))])
            .collect();
        let opens = if wrong.is_empty() { opens[..120].to_vec() } else { opens };
        // It lets others have their turn in between.
        let mut asked = client.start(rig.now, Request::Open { logs: opens });
        let answer = loop {
            if let Poll::Ready(answer) = step(&mut asked) {
                break answer;
            }
        };
        let Ok(Response::Opened(states)) = answer else { panic!("{answer:?}") };
        states.into_iter().filter(|state| state.error.is_some()).map(|state| state.log.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(asked(&[1, 60, 61, 120]), [1, 60, 61, 120, 200]);
    let read = Request::Read { log: LogId([60; 16]), epoch: Epoch(0), from: wire::Seq(1), max_bytes: 1 };
    assert_eq!(code(client.ask(rig.now, read)), Code::NotOpened);
    assert_eq!(asked(&[]), Vec::<u8>::new());
}

#[test]
fn a_proof_for_an_alias_is_a_proof() {
    let mut configured = config();
    configured.aliases = vec!["localhost:8080".parse().unwrap(), "127.0.0.1:8080".parse().unwrap()];
    let mut rig = Rig::with(configured);
    rig.create(LOG);
    let client = rig.connect();
    for (dialled, opens) in [("127.0.0.1:8080", true), ("localhost:8080", true), ("elsewhere", false)] {
        let signature = key(0).open(&client.nonce, &dialled.parse().unwrap(), LOG, Epoch(0));
        let open = wire::OpenLog { log: LOG, epoch: Epoch(0), signature };
        let Ok(Response::Opened(states)) = client.ask(rig.now, Request::Open { logs: vec![open] }) else { panic!() };
        assert_eq!(states[0].error.is_none(), opens, "{dialled}");
    }
}

#[test]
fn rule_11_paced_commits_are_drawn_and_the_others_are_stale() {
    let mut winners = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut rig = Rig::new();
        rig.rng = ChaCha20Rng::seed_from_u64(seed);
        let (alice, bob) = rig.pair();
        for epoch in 0..6 {
            assert_eq!(alice.commit(rig.now, epoch, epoch as u8), Ok(epoch + 1));
            assert_eq!((alice.open(rig.now, LOG, epoch + 1), bob.open(rig.now, LOG, epoch + 1)), (None, None));
        }
        // Alice is first by far, but that does not help her now.
        let mut racing = [alice.start(rig.now, commit(LOG, 6, 70)), bob.start(rig.now.plus(1900), commit(LOG, 6, 71))];
        assert!(racing.iter_mut().all(|commit| step(commit).is_pending()));
        rig.now = rig.now.plus(1999);
        rig.tick();
        assert!(racing.iter_mut().all(|commit| step(commit).is_pending()));
        rig.now = rig.now.plus(1);
        rig.tick();
        // The first one of the draw wins, then the other one hears from the store that it came too late.
        let mut outcomes = [None, None];
        while outcomes.iter().any(Option::is_none) {
            for (commit, outcome) in racing.iter_mut().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_none()) {
                if let Poll::Ready(answer) = step(commit) {
                    *outcome = Some(seq(answer).map_err(|refusal| (refusal.code, refusal.current)));
                }
            }
        }
        let winner = outcomes.iter().position(|outcome| *outcome == Some(Ok(7))).unwrap();
        assert_eq!(outcomes[1 - winner], Some(Err((Code::StaleEpoch, 7))), "seed {seed}");
        winners.insert(winner);
        // A minute later the log is not paced any more.
        rig.now = rig.now.plus(60_000);
        assert_eq!(alice.open(rig.now, LOG, 7), None);
        assert_eq!(alice.commit(rig.now, 7, 80), Ok(8));
    }
    assert_eq!(winners.len(), 2, "both must win at times");
}

#[test]
fn rule_10_a_paced_commit_has_one_time_and_times_ascend() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    for epoch in 0..6 {
        alice.commit(rig.now, epoch, epoch as u8).unwrap();
        alice.open(rig.now, LOG, epoch + 1);
    }
    bob.open(rig.now, LOG, 6);
    let mut paced = alice.start(rig.now, commit(LOG, 6, 70));
    assert!(step(&mut paced).is_pending());
    let mut answered = vec![];
    let mut answer = |answer| {
        let Ok(Response::Appended { stamp, time, .. }) = answer else { panic!("{answer:?}") };
        answered.push((stamp, time));
    };
    answer(bob.ask(rig.now.plus(1500), append(LOG, 6, 0, 71)));
    rig.now = rig.now.plus(2000);
    rig.tick();
    match step(&mut paced) {
        Poll::Ready(committed) => answer(committed),
        Poll::Pending => panic!("its turn has come"),
    }
    // The clock is set back a little.
    alice.open(rig.now, LOG, 7);
    answer(alice.ask(rig.now.plus(1), append(LOG, 7, 0, 72)));
    answer(alice.ask(START, append(LOG, 7, 0, 73)));
    let read = Request::Read { log: LOG, epoch: Epoch(7), from: wire::Seq(7), max_bytes: 1 << 20 };
    let Ok(Response::Page { entries, .. }) = alice.ask(rig.now, read) else { panic!() };
    assert_eq!(entries.iter().map(|entry| (entry.stamp, entry.time)).collect::<Vec<_>>(), answered);
    let times: Vec<u64> = entries.iter().map(|entry| entry.time.since(START)).collect();
    assert_eq!(times, [1500, 2000, 2001, 2001]);
}

#[test]
fn rule_10_a_clock_that_was_ahead_stops_no_retention() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    let years = 50 * 365 * 24 * 3_600_000;
    alice.append(rig.now.plus(years), 0, 0, 1).unwrap();
    alice.append(rig.now, 0, 0, 2).unwrap();
    rig.now = rig.now.plus(31 * 24 * 3_600_000);
    alice.append(rig.now, 0, 0, 3).unwrap();
    rig.sweep();
    assert_eq!(bob.read(rig.now, 0, 1), Ok((vec![3], 3, false)));
}

#[test]
fn rule_11_more_connections_than_a_draw_holds_keep_nobody_out() {
    let mut rig = Rig::new();
    let (mallory, _) = rig.pair();
    for epoch in 0..6 {
        mallory.commit(rig.now, epoch, epoch as u8).unwrap();
        mallory.open(rig.now, LOG, epoch + 1);
    }
    let mut crowd = Vec::new();
    for id in 0..80 {
        let client = rig.connect_from(2);
        client.open(rig.now, LOG, 6);
        let mut waiting = client.start(rig.now, commit(LOG, 6, id));
        let _step = step(&mut waiting);
        crowd.push(waiting);
    }
    let alice = rig.connect_from(3);
    alice.open(rig.now, LOG, 6);
    let mut honest = alice.start(rig.now, commit(LOG, 6, 100));
    assert!(step(&mut honest).is_pending(), "she is in the draw");
    // The one whose place she got is told when to try again.
    let mut refused = crowd.iter_mut().take(64).filter_map(|commit| match step(commit) {
        Poll::Ready(answer) => Some(answer.unwrap_err()),
        Poll::Pending => None,
    });
    let refusal = refused.next().unwrap();
    assert!(refusal.code == Code::RateLimited && refusal.retry_after_ms > 0 && refused.next().is_none());
}

#[test]
fn a_paced_commit_whose_connection_is_gone_does_not_cost_the_others_theirs() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    for epoch in 0..6 {
        alice.commit(rig.now, epoch, epoch as u8).unwrap();
        alice.open(rig.now, LOG, epoch + 1);
    }
    bob.open(rig.now, LOG, 6);
    let mut racing = [alice.start(rig.now, commit(LOG, 6, 70)), bob.start(rig.now, commit(LOG, 6, 71))];
    assert!(racing.iter_mut().all(|commit| step(commit).is_pending()));
    rig.now = rig.now.plus(2000);
    rig.tick();
    let [first, mut second] = racing;
    drop(first); // drawn or not
    assert!(matches!(step(&mut second), Poll::Ready(Ok(_))));
}

#[test]
fn rule_12_a_restored_relay_takes_reposted_commits_only() {
    let mut configured = config();
    configured.restoring_until = Some(START.plus(3_600_000));
    let mut rig = Rig::with(configured);
    let (alice, bob) = rig.pair();
    let refusal = alice.commit(rig.now.plus(600_000), 0, 1).unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after_ms), (Code::Restoring, 3_000_000));
    assert_eq!(alice.append(rig.now, 0, 0, 2), Ok(1));
    let Request::Commit { log, epoch, id, next, body, end_watches, .. } = commit(LOG, 0, 3) else { panic!() };
    let repost = Request::Commit { log, epoch, id, next, body, end_watches, repost: true };
    assert_eq!(seq(alice.ask(rig.now, repost.clone())), Ok(2));
    assert_eq!(code(bob.ask(rig.now, repost)), Code::StaleEpoch);
    assert_eq!(alice.open(rig.now, LOG, 1), None);
    assert_eq!(alice.commit(rig.now.plus(3_600_000), 1, 4), Ok(3));
}
