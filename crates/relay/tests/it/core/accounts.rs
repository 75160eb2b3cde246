//! Accounts, their records, key packages and inboxes.

use wire::{Bytes, Code, DeviceId, EntryId, EntryKind, Epoch, LogId, Push, Request, Response, Seq, UnixMillis};

use super::rig::*;

fn alice() -> Account {
    Account::new("alice@relay.example", 40)
}

fn register(record: Bytes) -> Request {
    Request::Register { record, invite: String::new() }
}

fn put(record: Bytes) -> Request {
    Request::PutRecord { record, account_proof: None }
}

fn look_up() -> Request {
    Request::LookUp { address: "alice@relay.example".parse().unwrap() }
}

fn deposit(inbox: LogId) -> Request {
    Request::Deposit { inbox, id: EntryId([5; 16]), body: Bytes::from_static(b"sealed") }
}

fn claim() -> Request {
    Request::ClaimKeyPackage { address: "alice@relay.example".parse().unwrap(), device: DeviceId([1; 16]) }
}

#[test]
fn a_registration_is_found_and_the_same_bytes_again_are_no_error() {
    let mut rig = Rig::new();
    let client = rig.connect();
    let record = alice().record(&[1]).bytes().clone();
    assert_eq!(code(rig.connect().ask(rig.now, look_up())), Code::NotFound);
    assert_eq!(client.ask(rig.now, register(record.clone())), Ok(Response::Done));
    assert_eq!(client.ask(rig.now, register(record.clone())), Ok(Response::Done));
    assert_eq!(rig.connect().ask(rig.now, look_up()), Ok(Response::Record(record)));
    let other = Account::new("alice@relay.example", 41).record(&[1]).bytes().clone();
    assert_eq!(code(rig.connect().ask(rig.now, register(other))), Code::AlreadyExists);
}

/// Found by seed 470: whoever was told that the id is taken went on as if its log were there, which the disk did not have yet.
#[test]
fn of_what_is_not_on_the_disk_yet_nothing_is_said() {
    let mut rig = Rig::new();
    let create = || Request::Create { log: LOG, epoch: Epoch(0), next: key(0).public() };
    let record = alice().record(&[1]).bytes().clone();
    let (errand, client) = (rig.connect(), rig.connect());
    *rig.store.unreadable.lock().unwrap() = true;
    assert_eq!(errand.ask(rig.now, create()), Ok(Response::Done));
    assert_eq!(code(errand.ask(rig.now, create())), Code::Unavailable);
    assert_eq!(client.ask(rig.now, register(record.clone())), Ok(Response::Done));
    assert_eq!(code(client.ask(rig.now, register(record.clone()))), Code::Unavailable);
    *rig.store.unreadable.lock().unwrap() = false;
    assert_eq!(code(errand.ask(rig.now, create())), Code::AlreadyExists);
    assert_eq!(client.ask(rig.now, register(record)), Ok(Response::Done));
}

#[test]
fn an_account_of_another_relay_or_without_devices_is_refused() {
    let mut rig = Rig::new();
    let client = rig.connect();
    let elsewhere = Account::new("alice@elsewhere.example", 40).record(&[1]).bytes().clone();
    assert_eq!(code(client.ask(rig.now, register(elsewhere))), Code::Refused);
    assert_eq!(code(client.ask(rig.now, register(alice().record(&[]).bytes().clone()))), Code::Malformed);
    let mut forged = alice().record(&[1]).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(code(client.ask(rig.now, register(forged.into()))), Code::BadProof);
    assert_eq!(code(client.ask(rig.now, register(Bytes::from_static(b"\xff")))), Code::Malformed);
}

#[test]
fn an_invitation_admits_one_account() {
    let mut configured = config();
    configured.registration = relay::core::Registration::Invite(vec!["first".into(), "second".into()]);
    let mut rig = Rig::with(configured);
    let client = rig.connect();
    let with = |account: &Account, invite: &str| Request::Register {
        record: account.record(&[1]).bytes().clone(),
        invite: invite.into(),
    };
    let bob = Account::new("bob@relay.example", 50);
    assert_eq!(code(client.ask(rig.now, with(&alice(), ""))), Code::Refused);
    assert_eq!(client.ask(rig.now, with(&alice(), "first")), Ok(Response::Done));
    assert_eq!(client.ask(rig.now, with(&alice(), "first")), Ok(Response::Done));
    assert_eq!(code(client.ask(rig.now, with(&bob, "first"))), Code::Refused);
    assert_eq!(client.ask(rig.now, with(&bob, "second")), Ok(Response::Done));
}

#[test]
fn a_record_is_followed_by_its_successor_only() {
    let mut rig = Rig::new();
    let alice = alice();
    let client = rig.registered(&alice);
    let first = alice.record(&[1]);
    let second = alice.successor(&first, vec![alice.device(1), alice.device(2)]);
    let rival = alice.successor(&first, vec![alice.device(1), alice.device(3)]);
    let skipping = alice.sign(3, first.hash(), vec![alice.device(1)]);
    let refusal = client.ask(rig.now, put(skipping.bytes().clone())).unwrap_err();
    assert_eq!((refusal.code, refusal.current), (Code::Conflict, 1));
    assert_eq!(client.ask(rig.now, put(second.bytes().clone())), Ok(Response::Done));
    assert_eq!(client.ask(rig.now, put(second.bytes().clone())), Ok(Response::Done));
    let refusal = client.ask(rig.now, put(rival.bytes().clone())).unwrap_err();
    assert_eq!((refusal.code, refusal.current), (Code::Conflict, 2));
    let wrong_hash = alice.sign(3, first.hash(), vec![alice.device(1), alice.device(2)]);
    assert_eq!(code(client.ask(rig.now, put(wrong_hash.bytes().clone()))), Code::Conflict);
    assert_eq!(rig.connect().ask(rig.now, look_up()), Ok(Response::Record(second.bytes().clone())));
    // The new device is one from now on.
    let linked = rig.connect();
    assert_eq!(linked.ask(rig.now, alice.authenticate(linked.nonce, 2)), Ok(Response::Done));
}

/// All devices are lost, and the account's key is not: it puts a record that lists a new device and revokes the old one.
#[test]
fn rule_16_the_account_key_alone_puts_a_record_and_only_its_own() {
    let mut rig = Rig::new();
    let alice = alice();
    let old = rig.registered(&alice);
    let first = alice.record(&[1]);
    let revoked = wire::Device { revoked: Some(rig.now), ..alice.device(1) };
    let second = alice.successor(&first, vec![revoked, alice.device(2)]);
    let client = rig.connect();
    let put = |record: &wire::Signed<wire::AccountRecord>, by: &Account, nonce| by.put_record(record, nonce);
    // Another connection's proof, another record's, another account's key, a record of another account, an address that nobody has.
    let other = rig.connect();
    assert_eq!(code(client.ask(rig.now, put(&second, &alice, other.nonce))), Code::BadProof);
    let Request::PutRecord { account_proof, .. } = put(&first, &alice, client.nonce) else { panic!() };
    let moved = Request::PutRecord { record: second.bytes().clone(), account_proof };
    assert_eq!(code(client.ask(rig.now, moved)), Code::BadProof);
    let usurper = Account::new("alice@relay.example", 66);
    let usurped = usurper.successor(&first, vec![usurper.device(1)]);
    let taken = client.ask(rig.now, put(&usurped, &usurper, client.nonce)).unwrap_err();
    let nobody = Account::new("nobody@relay.example", 67);
    let absent = client.ask(rig.now, put(&nobody.record(&[1]), &nobody, client.nonce)).unwrap_err();
    assert_eq!((taken.code, &taken.detail), (Code::BadProof, &absent.detail), "whether an address exists is not told");
    assert_eq!(absent.code, Code::BadProof);
    assert_eq!(rig.connect().ask(rig.now, look_up()), Ok(Response::Record(first.bytes().clone())));
    // Compare-and-swap holds as always.
    let skipping = alice.sign(3, first.hash(), vec![alice.device(1), alice.device(2)]);
    let refusal = client.ask(rig.now, put(&skipping, &alice, client.nonce)).unwrap_err();
    assert_eq!((refusal.code, refusal.current), (Code::Conflict, 1));
    let dropped = alice.successor(&first, vec![alice.device(2)]);
    assert_eq!(code(client.ask(rig.now, put(&dropped, &alice, client.nonce))), Code::Refused);
    assert_eq!(client.ask(rig.now, put(&second, &alice, client.nonce)), Ok(Response::Done));
    assert_eq!(client.ask(rig.now, put(&second, &alice, client.nonce)), Ok(Response::Done));
    let rival = alice.successor(&first, vec![alice.device(1), alice.device(3)]);
    let refusal = other.ask(rig.now, put(&rival, &alice, other.nonce)).unwrap_err();
    assert_eq!((refusal.code, refusal.current), (Code::Conflict, 2));
    // The proof makes no device of this connection, the old device is out, and the new one is in.
    assert_eq!(code(client.ask(rig.now, Request::CountKeyPackages)), Code::NotAuthenticated);
    assert_eq!(code(old.ask(rig.now, Request::CountKeyPackages)), Code::Refused);
    assert_eq!(client.ask(rig.now, alice.authenticate(client.nonce, 2)), Ok(Response::Done));
}

#[test]
fn rule_16_what_the_account_key_alone_does_has_a_small_quota() {
    let mut configured = config();
    configured.rates.account_proofs_per_account = relay::core::Quota::per_hour(2, 1);
    configured.rates.account_proofs_per_range = relay::core::Quota::per_hour(3, 1);
    let mut rig = Rig::with(configured);
    let alice = alice();
    rig.registered(&alice);
    let mut current = alice.record(&[1]);
    let mut devices = vec![alice.device(1)];
    let client = rig.connect();
    for device in 2..4 {
        devices.push(alice.device(device));
        current = alice.successor(&current, devices.clone());
        assert_eq!(client.ask(rig.now, alice.put_record(&current, client.nonce)), Ok(Response::Done));
    }
    // The same again costs nothing.
    assert_eq!(client.ask(rig.now, alice.put_record(&current, client.nonce)), Ok(Response::Done));
    devices.push(alice.device(4));
    let next = alice.successor(&current, devices);
    let refusal = client.ask(rig.now, alice.put_record(&next, client.nonce)).unwrap_err();
    assert!(refusal.code == Code::RateLimited && refusal.retry_after_ms > 0, "{refusal}");
    let later = rig.now.plus(refusal.retry_after_ms);
    assert_eq!(client.ask(later, alice.put_record(&next, client.nonce)), Ok(Response::Done));
}

#[test]
fn a_record_keeps_its_account_key_its_devices_and_their_inboxes() {
    let mut rig = Rig::new();
    let alice = alice();
    let client = rig.registered(&alice);
    let first = alice.record(&[1]);
    let usurper = Account::new("alice@relay.example", 66);
    let usurped = usurper.successor(&first, vec![usurper.device(1)]);
    assert_eq!(code(client.ask(rig.now, put(usurped.bytes().clone()))), Code::Refused);
    let dropped = alice.successor(&first, vec![alice.device(2)]);
    assert_eq!(code(client.ask(rig.now, put(dropped.bytes().clone()))), Code::Refused);
    let mut moved = alice.device(1);
    moved.inbox = LogId([77; 16]);
    let moved = alice.successor(&first, vec![moved]);
    assert_eq!(code(client.ask(rig.now, put(moved.bytes().clone()))), Code::Refused);
}

#[test]
fn an_inbox_is_nobody_elses_and_no_conversation() {
    let mut rig = Rig::new();
    rig.create(LOG);
    let alice = alice();
    rig.registered(&alice);
    let bob = Account::new("bob@relay.example", 50);
    for taken in [LOG, alice.inbox(1)] {
        let mut device = bob.device(1);
        device.inbox = taken;
        let record = bob.sign(1, wire::RecordHash::default(), vec![device]);
        assert_eq!(code(rig.connect().ask(rig.now, register(record.bytes().clone()))), Code::AlreadyExists);
    }
    // And no key opens one.
    let mallory = rig.connect();
    assert_eq!(mallory.open(rig.now, alice.inbox(1), 0), Some(Code::NotFound));
    let signature = [0; 64];
    let open = wire::OpenLog { log: alice.inbox(1), epoch: Epoch(0), signature };
    let Ok(Response::Opened(states)) = mallory.ask(rig.now, Request::Open { logs: vec![open] }) else { panic!() };
    assert_eq!(states[0].error, Some(Code::NotFound));
}

#[test]
fn a_revoked_device_is_shut_out_at_once() {
    let mut rig = Rig::new();
    let alice = alice();
    let client = rig.registered(&alice);
    let first = alice.record(&[1]);
    let second = alice.successor(&first, vec![alice.device(1), alice.device(2)]);
    client.ask(rig.now, put(second.bytes().clone())).unwrap();
    let stolen = rig.connect();
    stolen.ask(rig.now, alice.authenticate(stolen.nonce, 2)).unwrap();
    stolen.ask(rig.now, Request::SubscribeInbox { from: Seq(1) }).unwrap();
    assert!(rig.connect().ask(rig.now, deposit(alice.inbox(2))).is_ok());
    assert_eq!(stolen.seqs(), [1]);

    let mut revoked = alice.device(2);
    revoked.revoked = Some(rig.now);
    let third = alice.successor(&second, vec![alice.device(1), revoked]);
    client.ask(rig.now, put(third.bytes().clone())).unwrap();
    assert!(matches!(&stolen.pushes()[..], [Push::EpochEnded { .. }]));
    assert_eq!(code(stolen.ask(rig.now, Request::ReadInbox { from: Seq(1), max_bytes: 1000 })), Code::Refused);
    assert_eq!(code(stolen.ask(rig.now, Request::CountKeyPackages)), Code::Refused);
    let again = rig.connect();
    assert_eq!(code(again.ask(rig.now, alice.authenticate(again.nonce, 2))), Code::Refused);
    assert_eq!(code(rig.connect().ask(rig.now, deposit(alice.inbox(2)))), Code::NotFound);
    // A revocation is not taken back.
    let back = alice.successor(&third, vec![alice.device(1), alice.device(2)]);
    assert_eq!(code(client.ask(rig.now, put(back.bytes().clone()))), Code::Refused);
}

#[test]
fn a_proof_of_a_device_is_bound_to_its_connection() {
    let mut rig = Rig::new();
    let alice = alice();
    let client = rig.registered(&alice);
    let other = rig.connect();
    assert_eq!(code(other.ask(rig.now, Request::CountKeyPackages)), Code::NotAuthenticated);
    assert_eq!(code(other.ask(rig.now, alice.authenticate(client.nonce, 1))), Code::BadProof);
    assert_eq!(code(other.ask(rig.now, alice.authenticate(other.nonce, 9))), Code::BadProof);
    assert_eq!(code(other.ask(rig.now, Request::CountKeyPackages)), Code::NotAuthenticated);
    assert_eq!(other.ask(rig.now, alice.authenticate(other.nonce, 1)), Ok(Response::Done));
}

#[test]
fn rule_11_whether_an_address_exists_is_told_for_nothing_nowhere() {
    let mut configured = config();
    configured.rates.registrations_per_range = relay::core::Quota::per_hour(2, 1);
    let mut rig = Rig::with(configured);
    let alice = alice();
    rig.registered(&alice);
    let (there, not_there) = (rig.connect(), rig.connect());
    let nobody = Account::new("nobody@relay.example", 67);
    let wrong = there.ask(rig.now, alice.authenticate(not_there.nonce, 1)).unwrap_err();
    let unlisted = there.ask(rig.now, alice.authenticate(there.nonce, 9)).unwrap_err();
    let absent = not_there.ask(rig.now, nobody.authenticate(not_there.nonce, 1)).unwrap_err();
    assert_eq!(wrong.code, Code::BadProof);
    assert_eq!((&wrong, &wrong), (&unlisted, &absent));
    // To hear that an address is taken costs what it costs to take one; one's own record again costs nothing.
    let usurper = Account::new("alice@relay.example", 66).record(&[1]).bytes().clone();
    assert_eq!(rig.connect().ask(rig.now, register(alice.record(&[1]).bytes().clone())), Ok(Response::Done));
    assert_eq!(code(rig.connect().ask(rig.now, register(usurper.clone()))), Code::AlreadyExists);
    assert_eq!(code(rig.connect().ask(rig.now, register(usurper))), Code::RateLimited);
}

#[test]
fn each_key_package_is_handed_out_once_then_the_last_resort() {
    let mut rig = Rig::new();
    let alice = alice();
    let client = rig.registered(&alice);
    let later = rig.now.plus(1_000_000);
    let package = |content| alice.key_package(1, content, later);
    let packages: Vec<Bytes> = (1..=4).map(package).collect();
    let put = Request::PutKeyPackages { packages: packages.clone(), last_resort: Some(package(99)), replace: false };
    let count = |count, last_resort_used| Ok(Response::KeyPackageCount { count, last_resort_used });
    assert_eq!(client.ask(rig.now, put.clone()), count(4, false));
    assert_eq!(client.ask(rig.now, put), count(4, false), "the same request again adds nothing");
    let mut claimed = Vec::new();
    for _ in 0..4 {
        match rig.connect().ask(rig.now, claim()) {
            Ok(Response::KeyPackage { package, last_resort: false }) => claimed.push(package),
            other => panic!("{other:?}"),
        }
    }
    claimed.sort();
    let mut expected = packages;
    expected.sort();
    assert_eq!(claimed, expected);
    assert_eq!(client.ask(rig.now, Request::CountKeyPackages), count(0, false));
    let last = Ok(Response::KeyPackage { package: package(99), last_resort: true });
    assert_eq!(rig.connect().ask(rig.now, claim()), last);
    assert_eq!(rig.connect().ask(rig.now, claim()), last);
    assert_eq!(client.ask(rig.now, Request::CountKeyPackages), count(0, true));
    let fresh = Request::PutKeyPackages { packages: vec![], last_resort: Some(package(98)), replace: false };
    assert_eq!(client.ask(rig.now, fresh), count(0, false));
}

#[test]
fn key_packages_are_checked_limited_replaced_and_never_stale() {
    let mut rig = Rig::new();
    let alice = alice();
    let client = rig.registered(&alice);
    let later = rig.now.plus(1_000_000);
    let put = |packages: Vec<Bytes>, replace| Request::PutKeyPackages { packages, last_resort: None, replace };
    assert_eq!(code(client.ask(rig.now, put(vec![alice.key_package(2, 1, later)], false))), Code::BadProof);
    assert_eq!(code(client.ask(rig.now, put(vec![alice.key_package(1, 1, rig.now)], false))), Code::Refused);
    assert_eq!(code(client.ask(rig.now, put(vec![vec![0; 20_000].into()], false))), Code::TooLarge);
    let fifty: Vec<Bytes> = (0..50).map(|content| alice.key_package(1, content, later)).collect();
    client.ask(rig.now, put(fifty, false)).unwrap();
    assert_eq!(code(client.ask(rig.now, put(vec![alice.key_package(1, 60, later)], false))), Code::TooMany);
    let soon = alice.key_package(1, 61, rig.now.plus(10));
    let counted = client.ask(rig.now, put(vec![soon], true));
    assert_eq!(counted, Ok(Response::KeyPackageCount { count: 1, last_resort_used: false }));
    // What has expired is no stock, or its device would not offer any more; and it takes up no room.
    let counted = client.ask(rig.now.plus(10), Request::CountKeyPackages);
    assert_eq!(counted, Ok(Response::KeyPackageCount { count: 0, last_resort_used: false }));
    let fifty: Vec<Bytes> = (0..49).map(|content| alice.key_package(1, content, rig.now.plus(20))).collect();
    client.ask(rig.now.plus(10), put(fifty, false)).unwrap();
    let counted = client.ask(rig.now.plus(20), put(vec![alice.key_package(1, 70, rig.now.plus(30))], false));
    assert_eq!(counted, Ok(Response::KeyPackageCount { count: 1, last_resort_used: false }));
    let rig_now = rig.now.plus(20);
    assert_eq!(code(rig.connect().ask(rig_now.plus(10), claim())), Code::NoKeyPackage);
    assert_eq!(code(rig.connect().ask(rig.now.plus(10), claim())), Code::NoKeyPackage);
    let nobody =
        Request::ClaimKeyPackage { address: "alice@relay.example".parse().unwrap(), device: DeviceId([9; 16]) };
    assert_eq!(code(rig.connect().ask(rig.now, nobody)), Code::NotFound);
}

#[test]
fn a_deposit_is_read_by_its_device_and_goes_nowhere_else() {
    let mut rig = Rig::new();
    rig.create(LOG);
    let alice = alice();
    let client = rig.registered(&alice);
    client.ask(rig.now, Request::SubscribeInbox { from: Seq(1) }).unwrap();
    let Ok(Response::Appended { seq: Seq(1), stamp, .. }) = rig.connect().ask(rig.now, deposit(alice.inbox(1))) else {
        panic!("the deposit was refused")
    };
    let pushed = client.entries().remove(0);
    assert_eq!((pushed.kind, &pushed.body[..], pushed.stamp), (EntryKind::Deposit, &b"sealed"[..], stamp));
    let Ok(Response::Page { entries, .. }) = client.ask(rig.now, Request::ReadInbox { from: Seq(0), max_bytes: 9 })
    else {
        panic!()
    };
    assert_eq!(entries, [pushed]);
    // A conversation is no inbox, nor is an id that nobody has.
    for inbox in [LOG, LogId([200; 16])] {
        assert_eq!(code(rig.connect().ask(rig.now, deposit(inbox))), Code::NotFound);
    }
}

#[test]
fn records_survive_a_restart_and_proofs_do_not() {
    let mut rig = Rig::new();
    let alice = alice();
    rig.registered(&alice);
    let mut rig = Rig::over(rig.store.clone(), config());
    let client = rig.connect();
    assert_eq!(code(client.ask(rig.now, Request::CountKeyPackages)), Code::NotAuthenticated);
    assert_eq!(client.ask(rig.now, alice.authenticate(client.nonce, 1)), Ok(Response::Done));
    assert!(rig.now > UnixMillis(0));
}
