//! Walks from one database into another, and items that nobody honest makes.

use rand_core::SeedableRng;
use rusqlite::Connection;
use wire::{Address, LogId};

use super::*;
use crate::db::{Database, acts, contacts, messages, open};
use api::{Confirmation, MessageKind, MessageStatus};

const ROOM: LogId = LogId([3; 16]);
const NOW: u64 = 1_000_000;

fn fresh(name: &str) -> Connection {
    let mut rng = rand_chacha::ChaCha20Rng::from_seed([1; 32]);
    open(&Database::Memory { name: format!("archive-{name}") }, &mut rng).unwrap()
}

fn say(db: &Connection, number: u8, change: impl FnOnce(&mut messages::Message)) {
    let kind = MessageKind::Text { text: format!("text {number}") };
    let mut message = messages::Message::new(ROOM, [number; 32], kind);
    (message.seq, message.time, message.content) = (u64::from(number), 100, vec![number; 40]);
    change(&mut message);
    assert!(messages::insert(db, &message).unwrap());
}

fn ids(db: &Connection) -> Vec<u8> {
    messages::page(db, ROOM, None, 1_000).unwrap().iter().map(|message| message.id[0]).collect()
}

/// Everything up to the wait, or from there to the end, in pieces that are as small as can be.
fn walked(db: &Connection, place: &mut Place) -> Vec<Item> {
    let mut items = Vec::new();
    if place.is_waiting() {
        place.next();
    }
    while !place.is_waiting() && !place.is_over() {
        items.extend(walk(db, place, NOW, 1).unwrap());
    }
    items
}

#[test]
fn rule_15_a_walk_leaves_out_what_is_gone_and_nothing_else() {
    let (from, to) = (fresh("from"), fresh("to"));
    for number in 1..=9 {
        say(&from, number, |message| match number {
            2 => message.kind = MessageKind::ViewOnce { opened: false },
            3 => message.expires = NOW,
            4 => message.expires = NOW + 1,
            5 => message.hidden = true,
            6 => (message.seq, message.status, message.own) = (0, MessageStatus::Sending, true),
            _ => {}
        });
    }
    let mut place = Place::begin(&from, NOW).unwrap();
    let items = walked(&from, &mut place);
    assert!(place.is_waiting());
    take_in(&to, &items, "me@relay.example", NOW).unwrap();
    assert_eq!(ids(&to), [1, 4, 7, 8, 9]);
    // What was on its way has its place now, and something was said meanwhile.
    messages::set_sent(&from, ROOM, &[6; 32], 6, 100).unwrap();
    say(&from, 10, |_| ());
    let late = walked(&from, &mut place);
    assert!(place.is_over());
    assert_eq!(take_in(&to, &late, "me@relay.example", NOW).unwrap().messages, 2);
    assert_eq!(ids(&to), [1, 4, 6, 7, 8, 9, 10]);
    // Once more changes nothing.
    assert_eq!(take_in(&to, &items, "me@relay.example", NOW).unwrap().messages, 0);
    assert_eq!(ids(&to), [1, 4, 6, 7, 8, 9, 10]);
    // What vanishes on the way is not taken in.
    let other = fresh("late");
    take_in(&other, &items, "me@relay.example", NOW + 1).unwrap();
    assert_eq!(ids(&other), [1, 7, 8, 9]);
    // What was taken out of sight here does not come back.
    let other = fresh("hidden");
    acts::hide(&other, ROOM, &[7; 32]).unwrap();
    take_in(&other, &items, "me@relay.example", NOW).unwrap();
    assert_eq!(ids(&other), [1, 4, 8, 9]);
}

#[test]
fn rule_15_what_has_moved_meanwhile_stands_where_it_came_last() {
    let (from, to) = (fresh("moved-from"), fresh("moved-to"));
    (1..=3).for_each(|number| say(&from, number, |_| ()));
    let mut place = Place::begin(&from, NOW).unwrap();
    take_in(&to, &walked(&from, &mut place), "me@relay.example", NOW).unwrap();
    // The first goes behind the others; the second has moved there already, as the other device knows by itself.
    assert!(messages::move_to(&from, ROOM, &[1; 32], 8, 300).unwrap());
    assert!(messages::move_to(&to, ROOM, &[2; 32], 9, 400).unwrap());
    let late = take_in(&to, &walked(&from, &mut place), "me@relay.example", NOW).unwrap();
    assert_eq!((late.messages, late.done_to.len()), (0, 1));
    let seq = |number: u8| messages::get(&to, ROOM, &[number; 32]).unwrap().unwrap().seq;
    assert_eq!([seq(1), seq(2), seq(3)], [8, 9, 3]);
}

#[test]
fn rule_15_pins_come_along_and_are_never_lost() {
    let contact = |key: u8, confirmation| contacts::Contact {
        address: "bob@relay.example".parse().unwrap(),
        account_key: [key; 32],
        record: None,
        version: 0,
        confirmation,
        other_key: None,
        known: false,
        blocked: false,
        changed: 5,
        looked_up: 0,
        name: String::new(),
    };
    use Confirmation::{Confirmed, Conflict, NotConfirmedYet, Verified};
    // There, here; what is pinned then, how sure, and what contradicts it.
    let cases = [
        (contact(1, Verified), None, 1, Verified, None),
        (contact(1, Verified), Some(contact(1, NotConfirmedYet)), 1, Verified, None),
        (contact(1, NotConfirmedYet), Some(contact(1, Verified)), 1, Verified, None),
        (contact(1, Confirmed), Some(contact(2, NotConfirmedYet)), 1, Conflict, Some(2)),
        (contact(1, Verified), Some(contact(2, Confirmed)), 1, Conflict, Some(2)),
        (contact(1, Confirmed), Some(contact(2, Verified)), 2, Verified, None),
    ];
    for (at, (theirs, ours, key, confirmation, other)) in cases.into_iter().enumerate() {
        let (from, to) = (fresh(&format!("pins-from-{at}")), fresh(&format!("pins-to-{at}")));
        contacts::put(&from, &contacts::Contact { blocked: true, ..theirs }).unwrap();
        if let Some(ours) = &ours {
            contacts::put(&to, ours).unwrap();
        }
        let items = walked(&from, &mut Place::begin(&from, NOW).unwrap());
        take_in(&to, &items, "me@relay.example", NOW).unwrap();
        let address: Address = "bob@relay.example".parse().unwrap();
        let merged = contacts::get(&to, &address).unwrap().unwrap();
        let pinned = (merged.account_key[0], merged.confirmation, merged.other_key.map(|key| key[0]));
        assert_eq!(pinned, (key, confirmation, other), "case {at}");
        assert!(merged.blocked, "case {at}");
        // The own account is nobody's contact.
        let own = fresh(&format!("pins-own-{at}"));
        take_in(&own, &items, "bob@relay.example", NOW).unwrap();
        assert!(contacts::get(&own, &address).unwrap().is_none());
    }
}

#[test]
fn items_that_nobody_honest_makes_are_passed_over() {
    let db = fresh("hostile");
    say(&db, 1, |_| ());
    let message = Message {
        id: vec![2; 32].into(),
        conversation: ROOM.0.to_vec().into(),
        sender: "x".into(),
        own: false,
        sent: u64::MAX,
        time: u64::MAX,
        seq: u64::MAX,
        status: 5,
        kind: 0,
        text: "hello".into(),
        reply_to: None,
        content: vec![].into(),
        evidence: vec![].into(),
        extra: String::new(),
        edited: 0,
        deleted_by: String::new(),
        ttl: u64::MAX,
        expires: 0,
    };
    let bad = [
        Message { id: vec![2; 31].into(), ..message.clone() },
        Message { conversation: vec![].into(), ..message.clone() },
        Message { kind: 6, ..message.clone() },
        Message { kind: 200, ..message.clone() },
        Message { status: 0, ..message.clone() },
        Message { status: 9, ..message.clone() },
        Message { reply_to: Some(vec![1; 3].into()), ..message.clone() },
        Message { extra: "{".into(), ..message.clone() },
        Message { expires: 1, ..message.clone() },
    ];
    let act = Act {
        conversation: ROOM.0.to_vec().into(),
        id: vec![7; 32].into(),
        part: 0,
        target: vec![1; 32].into(),
        kind: 2,
        sender: "x".into(),
        own: false,
        power: false,
        sent: 0,
        time: 0,
        seq: 5,
        value: "👍".into(),
        content: vec![].into(),
        evidence: vec![].into(),
    };
    let acts = [
        Act { kind: 8, ..act.clone() },
        Act { seq: 0, ..act.clone() },
        Act { target: vec![9; 32].into(), ..act.clone() },
        Act { id: vec![].into(), ..act.clone() },
    ];
    let mut items: Vec<Item> = bad.into_iter().map(Item::Message).chain(acts.into_iter().map(Item::Act)).collect();
    items.push(Item::Hidden(vec![1].into(), vec![2].into()));
    items.push(Item::Looked(vec![1].into(), u64::MAX, "{".into()));
    let taken = take_in(&db, &items, "me@relay.example", NOW).unwrap();
    assert_eq!((taken.messages, taken.done_to.len()), (0, 0));
    assert_eq!(ids(&db), [1]);
    // What is only strange is taken in, and read back.
    let taken = take_in(&db, &[Item::Message(message), Item::Act(act)], "me@relay.example", NOW).unwrap();
    assert_eq!((taken.messages, taken.done_to.len()), (1, 1));
    assert_eq!(ids(&db).len(), 2);
}
