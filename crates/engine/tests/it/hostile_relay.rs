//! A relay that repeats, makes up and loses: what the person sees stays what was written.

use api::MessageStatus;
use wire::{Bytes, Entry, EntryId};

use crate::person::{Person, send};

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
