//! Every refusal that the core can give, and what it says.

use std::collections::BTreeMap;

use relay::core::{Quota, Registration};
use wire::{Bytes, Code, Epoch, EpochPublicKey, Error, LogId, Request, Seq};

use super::rig::*;

const NAME: &str = "quintessa";

#[derive(Default)]
struct Seen(BTreeMap<u32, Error>);

impl Seen {
    fn add(&mut self, code: Code, answer: Answer) {
        let refusal = answer.unwrap_err();
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(
            refusal.detail.contains([';', ',']) || refusal.detail.contains(" to "),
            "says what to do next: {refusal}"
        );
        // Nothing of the user: no name, no id.
        assert!(!refusal.detail.contains(NAME) && !refusal.detail.contains("0101"), "{refusal}");
        if matches!(code, Code::RateLimited | Code::Restoring | Code::Unavailable) {
            assert!(refusal.retry_after_ms > 0, "{refusal}");
        }
        self.0.insert(code as u32, refusal);
    }
}

#[test]
fn every_code_is_given_where_it_belongs() {
    let mut seen = Seen::default();
    let address = || format!("{NAME}@relay.example").parse().unwrap();
    let mut rig = Rig::new();
    let now = rig.now;
    let (alice, bob) = rig.pair();
    let account = Account::new("quintessa@relay.example", 40);
    let device = rig.registered(&account);
    let create = |next| Request::Create { log: LOG, epoch: Epoch(0), next };
    let errand = rig.connect();

    seen.add(Code::Malformed, errand.ask(now, create(EpochPublicKey([0; 32]))));
    seen.add(Code::WrongLane, errand.ask(now, append(LOG, 0, 0, 1)));
    seen.add(Code::NotOpened, alice.ask(now, append(LOG, 7, 0, 1)));
    seen.add(Code::Aborted, alice.ask(now, append(LOG, 0, 0, 1)));
    seen.add(Code::AlreadyExists, errand.ask(now, create(key(0).public())));
    seen.add(Code::NotFound, errand.ask(now, Request::LookUp { address: "nobody@relay.example".parse().unwrap() }));
    let long = Request::Signal { log: LOG, epoch: Epoch(0), body: vec![0; 70_000].into() };
    seen.add(Code::TooLarge, alice.ask(now, long));
    let forged = account.sign(3, wire::RecordHash([1; 32]), vec![account.device(1)]);
    seen.add(
        Code::Conflict,
        device.ask(now, Request::PutRecord { record: forged.bytes().clone(), account_proof: None }),
    );
    let stranger = rig.connect();
    seen.add(Code::BadProof, stranger.ask(now, account.authenticate(alice.nonce, 1)));
    seen.add(Code::NotAuthenticated, stranger.ask(now, Request::ReadInbox { from: Seq(1), max_bytes: 1 }));
    let claim = Request::ClaimKeyPackage { address: address(), device: wire::DeviceId([1; 16]) };
    seen.add(Code::NoKeyPackage, errand.ask(now, claim));
    let elsewhere = Request::LookUp { address: format!("{NAME}@elsewhere.example").parse().unwrap() };
    seen.add(Code::Refused, errand.ask(now, elsewhere));
    *rig.store.fail.lock().unwrap() = Some(store::StoreError::Unavailable("the disk is full"));
    seen.add(Code::Unavailable, alice.ask(now, append(LOG, 0, 1, 1)));
    *rig.store.fail.lock().unwrap() = Some(store::StoreError::OutcomeUnknown);
    seen.add(Code::OutcomeUnknown, alice.ask(now, append(LOG, 0, 2, 1)));
    *rig.store.fail.lock().unwrap() = Some(store::StoreError::Damaged("0101".into()));
    seen.add(Code::Internal, alice.ask(now, append(LOG, 0, 3, 1)));
    alice.commit(now, 0, 1).unwrap();
    seen.add(Code::StaleEpoch, bob.ask(now, commit(LOG, 0, 2)));
    let logs = vec![wire::OpenLog { log: LOG, epoch: Epoch(0), signature: [0; 64] }; 2_001];
    seen.add(Code::TooMany, bob.ask(now, Request::Open { logs }));

    let mut configured = config();
    configured.rates.errands_per_range = Quota::per_second(1, 1);
    configured.restoring_until = Some(START.plus(1));
    configured.registration = Registration::Closed;
    let mut rig = Rig::with(configured);
    let (alice, _) = rig.pair();
    seen.add(Code::Restoring, alice.ask(now, commit(LOG, 0, 1)));
    let again = Request::Create { log: LogId([2; 16]), epoch: Epoch(0), next: key(0).public() };
    seen.add(Code::RateLimited, rig.connect().ask(now, again));
    let record = account.record(&[1]).bytes().clone();
    seen.add(Code::Refused, rig.connect().ask(now, Request::Register { record, invite: NAME.into() }));

    // What is left is said before a request reaches the core: it can't be read.
    let missing: Vec<Code> = Code::ALL.into_iter().filter(|code| !seen.0.contains_key(&(*code as u32))).collect();
    assert_eq!(missing, [Code::Unsupported]);
}

#[test]
fn lanes_are_never_mixed() {
    let mut rig = Rig::new();
    rig.create(LOG);
    let account = Account::new("quintessa@relay.example", 40);
    rig.registered(&account);
    let of_each_lane = [
        Request::Unsubscribe { logs: vec![] },
        Request::CountKeyPackages,
        Request::LookUp { address: "quintessa@relay.example".parse().unwrap() },
    ];
    for (begun, first) in of_each_lane.iter().enumerate() {
        let client = rig.connect();
        let _first = client.ask(rig.now, first.clone());
        for (other, request) in of_each_lane.iter().enumerate() {
            let is_wrong = matches!(client.ask(rig.now, request.clone()), Err(error) if error.code == Code::WrongLane);
            assert_eq!(is_wrong, begun != other);
        }
    }
}

#[test]
fn requests_of_a_closed_connection_are_refused() {
    let mut rig = Rig::new();
    let (alice, bob) = rig.pair();
    bob.subscribe(rig.now, 0, 1).unwrap();
    bob.hang_up();
    alice.append(rig.now, 0, 0, 1).unwrap();
    assert!(bob.pushes().is_empty());
    assert_eq!(code(bob.append(rig.now, 0, 0, 2)), Code::Unavailable);
    bob.hang_up();
    bob.drained(rig.now);
    let body = Bytes::new();
    assert_eq!(code(bob.ask(rig.now, Request::Signal { log: LOG, epoch: Epoch(0), body })), Code::Unavailable);
}
