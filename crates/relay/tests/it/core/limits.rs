//! Rates with the time to wait, sizes, retention, rendezvous, blobs.

use relay::core::{BlobState, BlobWrite, Peer, Quota, Rates};
use wire::{BlobId, BlobSecret, Bytes, Code, EntryId, Epoch, LogId, Request, Response, UnixMillis};

use super::rig::*;

const HERE: Peer = Peer { range: [1; 8] };

fn rated(change: impl FnOnce(&mut Rates)) -> Rig {
    let mut configured = config();
    change(&mut configured.rates);
    Rig::with(configured)
}

/// Asks until it is refused; then waiting as long as was said is enough, and a millisecond less is not.
fn refused_after(now: UnixMillis, mut ask: impl FnMut(UnixMillis) -> Answer) -> usize {
    let mut granted = 0;
    let refusal = loop {
        match ask(now) {
            Ok(_) => granted += 1,
            Err(refusal) => break refusal,
        }
        assert!(granted < 100, "there is no limit");
    };
    assert_eq!(refusal.code, Code::RateLimited);
    assert!(refusal.retry_after_ms > 0);
    assert_eq!(code(ask(now.plus(refusal.retry_after_ms - 1))), Code::RateLimited);
    ask(now.plus(refusal.retry_after_ms)).unwrap();
    granted
}

#[test]
fn appends_are_limited_by_connection_and_by_log() {
    let quota = Quota::per_second(5, 2);
    for change in [
        |rates: &mut Rates| rates.appends_per_connection = Quota::per_second(5, 2),
        |rates: &mut Rates| {
            rates.appends_per_log = Quota::per_second(5, 2);
        },
    ] {
        let mut rig = rated(change);
        let (alice, bob) = rig.pair();
        let mut pipe = 0;
        let granted = refused_after(rig.now, |now| {
            pipe += 1;
            alice.ask(now, append(LOG, 0, pipe, 1))
        });
        assert_eq!(granted, quota.burst as usize);
        // The other member is held up by what the log takes only.
        let limits_log = bob.append(rig.now.plus(500), 0, 0, 2).is_err();
        let mut probe = Rates::UNLIMITED;
        change(&mut probe);
        assert_eq!(limits_log, probe.appends_per_log == quota);
    }
}

#[test]
fn rule_11_messages_and_signals_never_use_up_what_a_removal_needs() {
    let one = Quota::per_second(1, 1);
    let mut rig = rated(|rates| {
        (rates.appends_per_connection, rates.appends_per_log) = (one, one);
        (rates.signals_per_connection, rates.signals_per_log) = (one, one);
        rates.commits_per_connection = one;
        (rates.bytes_per_log, rates.commit_bytes_per_log) = (20, 12);
    });
    let (mallory, alice) = rig.pair();
    let signal = || Request::Signal { log: LOG, epoch: Epoch(0), body: Bytes::new() };
    mallory.ask(rig.now, signal()).unwrap();
    assert_eq!(code(alice.ask(rig.now, signal())), Code::RateLimited);
    // Signals cost nobody a message, and messages that fill the log cost nobody a commit.
    alice.append(rig.now, 0, 0, 1).unwrap();
    let later = rig.now.plus(1000);
    assert_eq!(code(mallory.append(later, 0, 0, 2)), Code::RateLimited);
    assert_eq!(alice.commit(later, 0, 3), Ok(2));
    alice.open(later, LOG, 1);
    assert_eq!(code(alice.commit(later, 1, 4)), Code::RateLimited);
    mallory.open(later, LOG, 1);
    assert_eq!(mallory.commit(later, 1, 5), Ok(3));
    // What is kept for commits is bounded, too.
    mallory.open(later.plus(1000), LOG, 2);
    let refusal = mallory.commit(later.plus(1000), 2, 6).unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after_ms), (Code::RateLimited, 60_000));
}

#[test]
fn errands_are_limited_by_connection_and_by_range() {
    let look_up = || Request::LookUp { address: "alice@relay.example".parse().unwrap() };
    let mut rig = rated(|rates| rates.errands_per_connection = Quota::per_second(3, 1));
    let alice = Account::new("alice@relay.example", 40);
    rig.registered(&alice);
    let errand = rig.connect();
    assert_eq!(refused_after(rig.now, |now| errand.ask(now, look_up())), 3);
    assert!(rig.connect().ask(rig.now, look_up()).is_ok(), "a fresh connection has a fresh budget");

    let mut rig = rated(|rates| rates.errands_per_range = Quota::per_second(3, 1));
    rig.registered(&alice);
    let clients: Vec<Client> = (0..20).map(|_| rig.connect()).collect();
    let mut next = clients.iter().cycle();
    assert_eq!(refused_after(rig.now, |now| next.next().unwrap().ask(now, look_up())), 3);
    assert!(rig.connect_from(2).ask(rig.now, look_up()).is_ok());
}

#[test]
fn registrations_rendezvous_and_account_requests_are_limited() {
    let mut rig = rated(|rates| {
        rates.registrations_per_range = Quota::per_hour(2, 1);
        rates.rendezvous_per_range = Quota::per_hour(3, 1);
    });
    let names = ["a@relay.example", "b@relay.example", "c@relay.example"];
    let mut outcomes = names.iter().zip(40..).map(|(name, seed)| {
        let record = Account::new(name, seed).record(&[1]).bytes().clone();
        rig.connect().ask(rig.now, Request::Register { record, invite: String::new() })
    });
    assert!(outcomes.next().unwrap().is_ok() && outcomes.next().unwrap().is_ok());
    let refusal = outcomes.next().unwrap().unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after_ms), (Code::RateLimited, 3_600_000));
    drop(outcomes);
    let errand = rig.connect();
    let mut log = 10;
    let granted = refused_after(rig.now, |now| {
        log += 1;
        errand.ask(now, Request::CreateRendezvous { log: LogId([log; 16]), next: key(0).public() })
    });
    assert_eq!(granted, 3);

    let mut rig = rated(|rates| rates.account_per_connection = Quota::per_second(6, 1));
    let client = rig.registered(&Account::new("a@relay.example", 40));
    assert_eq!(refused_after(rig.now, |now| client.ask(now, Request::CountKeyPackages)), 4);
}

#[test]
fn failed_proofs_are_limited_by_range() {
    let mut rig = rated(|rates| rates.failed_proofs_per_range = Quota::per_second(3, 1));
    rig.create(LOG);
    let mallory = rig.connect();
    let guess = |now| {
        let signature = key(5).open(&mallory.nonce, &name(), LOG, Epoch(0));
        mallory.ask(now, Request::Open { logs: vec![wire::OpenLog { log: LOG, epoch: Epoch(0), signature }] })
    };
    assert_eq!(refused_after(rig.now, guess), 3);
    let elsewhere = rig.connect_from(2);
    assert_eq!(elsewhere.open(rig.now, LOG, 0), None);
    // Who shares the address and has got nothing wrong is let in all the same.
    assert_eq!(rig.connect().open(rig.now, LOG, 0), None);
}

#[test]
fn rule_11_failed_proofs_are_limited_by_connection() {
    let mut rig = rated(|rates| rates.failed_proofs_per_connection = Quota::per_second(2, 1));
    rig.create(LOG);
    let alice = Account::new("alice@relay.example", 40);
    rig.registered(&alice);
    let mallory = rig.connect();
    let guess = |now| {
        let signature = key(5).open(&mallory.nonce, &name(), LOG, Epoch(0));
        mallory.ask(now, Request::Open { logs: vec![wire::OpenLog { log: LOG, epoch: Epoch(0), signature }] })
    };
    assert_eq!(refused_after(rig.now, guess), 2);
    let guesser = rig.connect();
    for _ in 0..2 {
        assert_eq!(code(guesser.ask(rig.now, alice.authenticate(mallory.nonce, 1))), Code::BadProof);
    }
    assert_eq!(code(guesser.ask(rig.now, alice.authenticate(guesser.nonce, 1))), Code::RateLimited);
    let client = rig.connect();
    assert_eq!(client.ask(rig.now, alice.authenticate(client.nonce, 1)), Ok(Response::Done));
}

#[test]
fn claims_are_limited_by_their_target() {
    let mut rig = rated(|rates| rates.claims_per_device = Quota::per_hour(2, 1));
    let alice = Account::new("alice@relay.example", 40);
    let client = rig.registered(&alice);
    let packages = (0..9).map(|content| alice.key_package(1, content, UnixMillis(u64::MAX))).collect();
    client.ask(rig.now, Request::PutKeyPackages { packages, last_resort: None, replace: false }).unwrap();
    let mut range = 0;
    let granted = refused_after(rig.now, |now| {
        range += 1;
        let claim = Request::ClaimKeyPackage {
            address: "alice@relay.example".parse().unwrap(),
            device: wire::DeviceId([1; 16]),
        };
        rig.connect_from(range).ask(now, claim)
    });
    assert_eq!(granted, 2);
}

#[test]
fn rule_11_claims_beyond_the_quota_get_the_last_resort() {
    let mut rig = rated(|rates| {
        rates.claims_per_device = Quota::per_hour(4, 1);
        rates.claims_per_range = Quota::per_hour(2, 1);
    });
    let alice = Account::new("alice@relay.example", 40);
    let client = rig.registered(&alice);
    let package = |content| alice.key_package(1, content, UnixMillis(u64::MAX));
    let (packages, last_resort) = ((0..9).map(package).collect(), Some(package(99)));
    client.ask(rig.now, Request::PutKeyPackages { packages, last_resort, replace: false }).unwrap();
    let address: wire::Address = "alice@relay.example".parse().unwrap();
    let mut claim = |range| {
        let claim = Request::ClaimKeyPackage { address: address.clone(), device: wire::DeviceId([1; 16]) };
        match rig.connect_from(range).ask(rig.now, claim) {
            Ok(Response::KeyPackage { last_resort, .. }) => last_resort,
            other => panic!("{other:?}"),
        }
    };
    // One range takes its share and no more, then nobody is refused.
    assert_eq!([1, 1, 1, 2, 2, 2, 3].map(&mut claim), [false, false, true, false, false, true, true]);
    let left = client.ask(rig.now, Request::CountKeyPackages);
    assert_eq!(left, Ok(Response::KeyPackageCount { count: 5, last_resort_used: true }));
}

#[test]
fn rule_11_no_range_can_fill_an_inbox_or_its_rates_by_itself() {
    let deposit = |inbox, id| Request::Deposit { inbox, id: EntryId([id; 16]), body: vec![id; 2000].into() };
    let alice = Account::new("alice@relay.example", 40);
    let mut rig = rated(|rates| (rates.bytes_per_inbox, rates.inbox_bytes_per_range) = (10_000, 5 * 1024));
    rig.registered(&alice);
    let flood = rig.connect_from(2);
    assert!(flood.ask(rig.now, deposit(alice.inbox(1), 1)).is_ok());
    assert!(flood.ask(rig.now, deposit(alice.inbox(1), 2)).is_ok());
    let refusal = flood.ask(rig.now, deposit(alice.inbox(1), 3)).unwrap_err();
    assert!(refusal.code == Code::RateLimited && refusal.retry_after_ms > 3_600_000);
    assert_eq!(code(rig.connect_from(2).ask(rig.now, deposit(alice.inbox(1), 3))), Code::RateLimited);
    assert!(rig.connect_from(3).ask(rig.now, deposit(alice.inbox(1), 4)).is_ok());
    // Another inbox is another matter, and so is the same one once retention is over.
    let bob = Account::new("bob@relay.example", 50);
    rig.registered(&bob);
    assert!(flood.ask(rig.now, deposit(bob.inbox(1), 1)).is_ok());
    let later = rig.now.plus(91 * 24 * 3_600_000);
    assert!(flood.ask(later, deposit(alice.inbox(1), 5)).is_ok());

    let mut rig = rated(|rates| rates.deposits_per_range = Quota::per_hour(3, 1));
    rig.registered(&alice);
    let flood = rig.connect_from(2);
    assert_eq!(refused_after(rig.now, |now| flood.ask(now, deposit(alice.inbox(1), 1))), 3);
    assert!(rig.connect_from(3).ask(rig.now, deposit(alice.inbox(1), 2)).is_ok());
}

#[test]
fn rule_11_a_log_holds_so_many_bytes_until_retention_makes_room() {
    let mut configured = config();
    configured.rates.bytes_per_log = 100;
    configured.limits.message_retention_ms = 1_000;
    let mut rig = Rig::with(configured);
    let (alice, _) = rig.pair();
    alice.fill(rig.now, 0..5);
    let refusal = alice.append(rig.now, 0, 0, 6).unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after_ms), (Code::RateLimited, 60_000));
    rig.now = rig.now.plus(2_000);
    rig.sweep();
    // The first attempt after that asks the store, the next one finds room.
    assert!(alice.append(rig.now, 0, 1, 7).is_err());
    assert_eq!(alice.append(rig.now, 0, 2, 7), Ok(6));
}

#[test]
fn rule_11_sixteen_appends_are_in_flight_and_no_more() {
    let mut rig = Rig::new();
    let (alice, _) = rig.pair();
    rig.store.hold_appends();
    let mut flying: Vec<Pending> = (0..16).map(|id| alice.start(rig.now, append(LOG, 0, 0, id))).collect();
    assert!(flying.iter_mut().all(|append| step(append).is_pending()));
    assert_eq!(code(alice.append(rig.now, 0, 0, 17)), Code::TooMany);
    assert_eq!(code(alice.append(rig.now, 0, 0, 18)), Code::Aborted);
    rig.store.stop_dawdling();
    assert!(flying.iter_mut().all(|append| step(append).is_ready() || step(append).is_ready()));
    assert_eq!(alice.append(rig.now, 0, 1, 17), Ok(17));
}

#[test]
fn a_rendezvous_dies_after_ten_minutes_and_takes_no_conversation_with_it() {
    let mut rig = Rig::new();
    rig.create(LogId([2; 16]));
    let errand = rig.connect();
    let rendezvous = |log| Request::CreateRendezvous { log, next: key(0).public() };
    assert_eq!(errand.ask(rig.now, rendezvous(LOG)), Ok(Response::Done));
    assert_eq!(code(errand.ask(rig.now, rendezvous(LogId([2; 16])))), Code::AlreadyExists);
    let device = rig.connect();
    assert_eq!(device.open(rig.now, LOG, 0), None);
    device.subscribe(rig.now, 0, 1).unwrap();
    device.append(rig.now, 0, 0, 1).unwrap();
    device.pushes();

    rig.now = rig.now.plus(600_000);
    // Gone for whoever opens it even before it is swept.
    assert_eq!(rig.connect().open(rig.now, LOG, 0), Some(Code::NotFound));
    rig.sweep();
    assert!(matches!(&device.pushes()[..], [wire::Push::EpochEnded { .. }]));
    assert_eq!(code(device.append(rig.now, 0, 0, 2)), Code::NotOpened);
    assert_eq!(code(device.read(rig.now, 0, 1)), Code::NotOpened);
    assert_eq!(rig.connect().open(rig.now, LogId([2; 16]), 0), None);
}

#[test]
fn a_rendezvous_dies_though_the_relay_was_restarted() {
    let mut rig = Rig::new();
    let next = key(0).public();
    rig.connect().ask(rig.now, Request::CreateRendezvous { log: LOG, next }).unwrap();
    let mut rig = Rig::over(rig.store.clone(), config());
    rig.now = START.plus(600_000);
    rig.sweep();
    assert_eq!(rig.connect().open(rig.now, LOG, 0), Some(Code::NotFound));
}

#[test]
fn rule_10_retention_removes_messages_before_commits() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    alice.append(rig.now, 0, 0, 1).unwrap();
    alice.commit(rig.now, 0, 2).unwrap();
    let day = 24 * 3_600_000;
    rig.now = rig.now.plus(31 * day);
    rig.sweep();
    assert_eq!(bob.read(rig.now, 0, 1), Ok((vec![2], 2, false)));
    rig.now = rig.now.plus(60 * day);
    rig.sweep();
    assert_eq!(bob.read(rig.now, 0, 1), Ok((vec![], 2, false)));
    // A subscription to an epoch whose end is beyond retention still ends.
    bob.subscribe(rig.now, 0, 1).unwrap();
    assert!(matches!(&bob.pushes()[..], [wire::Push::EpochEnded { .. }]));
}

fn write(offset: u64, bytes: &'static [u8]) -> BlobWrite {
    BlobWrite { id: BlobId([1; 32]), secret: BlobSecret([2; 32]), offset, total: 10, bytes: Bytes::from_static(bytes) }
}

#[test]
fn a_blob_is_written_in_pieces_and_never_changes_again() {
    let rig = Rig::new();
    let put = |write| ready(rig.relay.put_blob(rig.now, HERE, write));
    let id = BlobId([1; 32]);
    assert_eq!(code(put(write(4, b"56789"))), Code::NotFound);
    assert_eq!(put(write(0, b"0123")), Ok(BlobState { length: 4, total: 10, complete: false }));
    assert_eq!(code(ready(rig.relay.get_blob(id, 0, 100))), Code::NotFound);
    let refusal = put(write(3, b"3456")).unwrap_err();
    assert_eq!((refusal.code, refusal.current), (Code::Conflict, 4));
    assert_eq!(code(put(BlobWrite { secret: BlobSecret([3; 32]), ..write(4, b"456789") })), Code::BadProof);
    assert_eq!(code(put(BlobWrite { total: 11, ..write(4, b"456789") })), Code::Malformed);
    assert_eq!(code(put(write(4, b"4567890"))), Code::Malformed);
    assert_eq!(ready(rig.relay.blob(id)), Ok(BlobState { length: 4, total: 10, complete: false }));
    assert_eq!(put(write(4, b"456789")), Ok(BlobState { length: 10, total: 10, complete: true }));
    assert_eq!(code(put(write(4, b"456789"))), Code::AlreadyExists);
    assert_eq!(ready(rig.relay.get_blob(id, 8, 100)), Ok(Bytes::from_static(b"89")));
    assert_eq!(code(ready(rig.relay.blob(BlobId([9; 32])))), Code::NotFound);
}

/// Found by seed 5521: whoever was told that a blob is complete told others of it, and a power cut took its last piece.
#[test]
fn a_blob_whose_last_piece_is_not_on_the_disk_yet_is_not_called_complete() {
    let rig = Rig::new();
    let put = |write| ready(rig.relay.put_blob(rig.now, HERE, write));
    put(write(0, b"0123")).unwrap();
    put(write(4, b"456789")).unwrap();
    *rig.store.unreadable.lock().unwrap() = true;
    assert_eq!(code(put(write(4, b"456789"))), Code::Unavailable);
    *rig.store.unreadable.lock().unwrap() = false;
    assert_eq!(code(put(write(4, b"456789"))), Code::AlreadyExists);
}

#[test]
fn blobs_are_limited_in_size_and_number_and_expire() {
    let mut rig = rated(|rates| rates.errands_per_range = Quota::per_second(2, 1));
    let large = BlobWrite { total: 1 << 40, ..write(0, b"") };
    assert_eq!(code(ready(rig.relay.put_blob(rig.now, HERE, large))), Code::TooLarge);
    let begin = |rig: &Rig, id| {
        ready(rig.relay.put_blob(rig.now, HERE, BlobWrite { id: BlobId([id; 32]), ..write(0, b"0123456789") }))
    };
    assert!(begin(&rig, 1).is_ok() && begin(&rig, 2).is_ok());
    let refusal = begin(&rig, 3).unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after_ms), (Code::RateLimited, 1000));
    rig.now = rig.now.plus(91 * 24 * 3_600_000);
    rig.sweep();
    assert_eq!(code(ready(rig.relay.blob(BlobId([1; 32])))), Code::NotFound);
    assert_eq!(code(ready(rig.relay.get_blob(BlobId([1; 32]), 0, 1))), Code::NotFound);
}

#[test]
fn rule_11_each_piece_of_a_blob_is_paid_for_and_an_empty_one_writes_nothing() {
    let rig = rated(|rates| rates.blob_writes_per_range = Quota::per_second(4, 1));
    let put = |write| ready(rig.relay.put_blob(rig.now, HERE, write));
    let begun = BlobState { length: 0, total: 10, complete: false };
    assert_eq!(put(write(0, b"")), Ok(begun));
    assert_eq!(ready(store::Store::blob(&rig.store.inner, [1; 32])), Ok(None), "nothing was written");
    assert_eq!(put(write(0, b"0123")), Ok(BlobState { length: 4, ..begun }));
    assert_eq!(put(write(3, b"")).unwrap_err().current, 4);
    assert_eq!(put(write(4, b"")), Ok(BlobState { length: 4, ..begun }));
    let refusal = put(write(4, b"")).unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after_ms), (Code::RateLimited, 1000));

    let rig = rated(|rates| rates.blob_bytes_per_range = 3 * 1024);
    let put = |range, id, bytes: usize| {
        let piece = BlobWrite { id: BlobId([id; 32]), total: 5000, bytes: vec![id; bytes].into(), ..write(0, b"") };
        ready(rig.relay.put_blob(rig.now, Peer { range: [range; 8] }, piece))
    };
    assert!(put(1, 1, 2048).is_ok());
    assert_eq!(code(put(1, 2, 1025)), Code::RateLimited);
    assert!(put(1, 3, 1024).is_ok() && put(2, 4, 2048).is_ok());
}

#[test]
fn ticks_forget_what_is_idle_and_nothing_else() {
    let mut rig = rated(|rates| rates.appends_per_log = Quota::per_second(2, 1));
    let (alice, bob) = rig.pair();
    bob.subscribe(rig.now, 0, 1).unwrap();
    alice.fill(rig.now, 0..2);
    (0..300).for_each(|_| rig.tick());
    assert_eq!(code(alice.append(rig.now, 0, 0, 3)), Code::RateLimited);
    rig.now = rig.now.plus(10_000);
    (0..300).for_each(|_| rig.tick());
    let again = Request::Append {
        log: LOG,
        epoch: Epoch(0),
        pipe: 1,
        id: EntryId([4; 16]),
        body: Bytes::new(),
        commitment: [0; 32],
    };
    alice.ask(rig.now, again).unwrap();
    assert_eq!(bob.seqs(), [1, 2, 3]);
}
