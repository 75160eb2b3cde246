//! A relay that repeats, makes up and loses: what the person sees stays what was written.

use api::{Command, MessageStatus};
use wire::{
    AccountRecord, Bytes, Device, DeviceCertificate, DeviceId, Entry, EntryId, LogId, RecordHash, SigningKey,
    UnixMillis,
};

use crate::person::{BOB, Person, send};

#[test]
fn rule_3_a_message_whose_answer_was_lost_is_found_in_the_log_and_not_sent_again() {
    let mut person = Person::new("answer lost");
    person.registers();
    let group = person.makes_group();
    person.lose_the_next_answer = true;
    person.command(send(&group));
    assert_eq!(person.entries.len(), 1, "it is in the log once");
    let seen = person.messages(&group);
    assert_eq!(seen.len(), 1);
    assert_ne!(seen[0].status, MessageStatus::Sending, "the log says that it arrived");
}

#[test]
fn rule_3_the_first_entry_of_an_id_counts() {
    let mut person = Person::new("repeated entry");
    person.registers();
    let group = person.makes_group();
    person.command(send(&group));
    person.is_pushed(1);
    let before = person.messages(&group);
    // The same bytes again, and other bytes under the same id.
    let first = person.entries[0].clone();
    person.leaves(first.clone());
    person.leaves(Entry { body: Bytes::from_static(b"another body"), ..first });
    person.is_pushed(2);
    assert_eq!(person.messages(&group), before);
    assert_eq!(person.read, [""; 0], "nobody is told of it");
    // What comes behind it counts again.
    person.command(send(&group));
    person.is_pushed(4);
    let after = person.messages(&group);
    assert_eq!((before.len(), after.len()), (1, 2));
    assert_ne!(after[1].status, MessageStatus::Sending);
}

#[test]
fn rule_9_what_does_not_open_is_void_and_nobody_is_told() {
    let mut person = Person::new("made-up entries");
    person.registers();
    let group = person.makes_group();
    person.command(send(&group));
    person.is_pushed(1);
    let before = person.messages(&group);
    let first = person.entries[0].clone();
    for (number, body) in
        [&b""[..], b"hello in the clear", &[0xff; 300], &first.body[..100], &first.body].iter().enumerate()
    {
        let (id, body) = (EntryId([number as u8; 16]), Bytes::copy_from_slice(body));
        person.leaves(Entry { id, body, ..first.clone() });
    }
    let past_epoch = Entry { id: EntryId([99; 16]), epoch: wire::Epoch(first.epoch.0 + 1), ..first };
    person.leaves(past_epoch);
    person.is_pushed(2);
    assert_eq!(person.messages(&group), before);
    assert_eq!(person.read, [""; 0], "a relay can't make this program say that it can't decrypt");
    person.command(send(&group));
    person.is_pushed(8);
    assert_eq!(person.messages(&group).len(), 2, "what is real goes on");
}

/// Bob's record of this version, by this account key; `inbox` tells two of one version apart.
fn record_of_bob(key: u8, version: u64, inbox: u8) -> Bytes {
    let account = SigningKey::from_bytes(&[key; 32]);
    let (account_key, address) = (account.verifying_key().to_bytes(), BOB.parse().unwrap());
    let certificate = DeviceCertificate {
        account_key,
        address,
        device: DeviceId([1; 16]),
        signature_key: SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes(),
        suites: vec![1],
        versions: vec![1],
        created: UnixMillis(1),
    };
    let device = Device {
        certificate: certificate.sign(&account),
        inbox: LogId([inbox; 16]),
        hpke_key: vec![1; wire::HPKE_KEY_BYTES].into(),
        added: UnixMillis(1),
        revoked: None,
    };
    let predecessor = if version == 1 { RecordHash::default() } else { RecordHash([5; 32]) };
    let (address, devices) = (BOB.parse().unwrap(), vec![device]);
    let record = AccountRecord { address, account_key, version, predecessor, devices, certifier: None };
    record.sign(&account).bytes().clone()
}

#[test]
fn i7_what_a_relay_says_of_somebody_is_held_against_what_it_said_before() {
    let mut person = Person::new("records");
    person.registers();
    let group = person.makes_group();
    let mut adds_bob = |record: Bytes| {
        person.is_shown_of_bob(record);
        person.command(Command::AddMembers { conversation: group.clone(), members: vec![BOB.into()] });
        std::mem::take(&mut person.read)
    };
    let nothing_bad: [&str; 0] = [];
    let mut untrue = record_of_bob(1, 2, 1).to_vec();
    *untrue.last_mut().unwrap() ^= 1;
    let does_not_verify = "What the relay says of bob@a.example does not verify. The record that it sent is not signed by that account. \
                           Do not trust this relay; tell whoever runs it.";
    assert_eq!(adds_bob(untrue.into()), [does_not_verify]);
    assert_eq!(adds_bob(Bytes::from_static(b"no record")), [does_not_verify]);
    // Of a record that holds nothing of the device can be used: it is waited for.
    assert_eq!(adds_bob(record_of_bob(1, 2, 1)), nothing_bad);
    assert_eq!(
        adds_bob(record_of_bob(1, 1, 1)),
        [
            "The relay shows an older list of bob@a.example's devices than it did before. Try again later; if it stays so, tell whoever \
          runs that relay."
        ]
    );
    assert_eq!(
        adds_bob(record_of_bob(1, 2, 2)),
        [
            "Two different lists of bob@a.example's devices bear the same number. Somebody else may hold the keys of that account. Ask \
          bob@a.example by another way before you go on."
        ]
    );
    let told = adds_bob(record_of_bob(2, 3, 1));
    assert!(told.iter().all(|told| told.contains("another identity")) && !told.is_empty(), "{told:?}");
}

#[test]
fn i7_the_record_of_somebody_else_is_nobodys() {
    let mut person = Person::new("records of others");
    person.registers();
    let group = person.makes_group();
    let own = person.own_record();
    person.is_shown_of_bob(own);
    person.command(Command::AddMembers { conversation: group, members: vec![BOB.into()] });
    assert_eq!(person.read.len(), 1);
    assert!(person.read[0].contains("does not verify"), "{:?}", person.read);
}
