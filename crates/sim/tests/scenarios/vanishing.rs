//! Messages that vanish, and messages that open once (protocol rule 14), as people on their devices see them.

use api::{Command, Message, MessageKind, Query, View};
use sim::world::{DeviceId, Transition};

use crate::support::Story;

// To come to rest may take hours, so everything here stays for days.
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// A text that stays so many ms after it was seen, and opens once.
fn send(device: DeviceId, id: &str, text: &str, stays: u64, view_once: bool) -> Transition {
    let (conversation, text) = (id.into(), text.into());
    let command = Command::Send { conversation, text, reply_to: None, preview: None, stays, view_once };
    Transition::Do { device, command }
}

/// Everything there is seen.
fn read(story: &mut Story, device: DeviceId, id: &str) {
    let message = story.messages(device, id).last().expect("there is something").id.clone();
    story.does(Transition::Do { device, command: Command::MarkRead { conversation: id.into(), message } });
    story.settles();
}

fn open(device: DeviceId, id: &str, message: &str) -> Transition {
    Transition::Do { device, command: Command::Open { conversation: id.into(), message: message.into() } }
}

fn passes(story: &mut Story, ms: u64) {
    story.does(Transition::Advance(ms));
    story.settles();
}

fn shows(story: &Story, device: DeviceId, id: &str, text: &str) -> bool {
    story.texts(device, id).iter().any(|said| said == text)
}

/// The messages that open once.
fn secrets(story: &Story, device: DeviceId, id: &str) -> Vec<Message> {
    let messages = story.messages(device, id).into_iter();
    messages.filter(|message| matches!(message.kind, MessageKind::ViewOnce { .. })).collect()
}

fn found(story: &Story, device: DeviceId, text: &str) -> usize {
    let query = Query::Search { text: text.into(), limit: 10 };
    match story.world.view(device, &query) {
        Some(View::Messages(messages)) => messages.len(),
        other => panic!("device {device} shows {other:?} instead of what it found"),
    }
}

#[test]
fn rule_14_a_timer_of_two_people_is_either_ones_and_counts_from_reading() {
    let mut story = Story::new(1, 2, 2);
    let id = story.direct(0, 1);
    story.does(Transition::send(0, &id, "before"));
    story.settles();
    story.does(Transition::timer(1, &id, DAY));
    story.settles();
    for device in [0, 1] {
        assert_eq!(story.conversations(device)[0].timer, DAY, "device {device}");
    }
    story.does(Transition::send(0, &id, "secret"));
    story.settles();
    assert_eq!(found(&story, 1, "secret"), 1);
    // Its writer has seen it; its reader not yet, for days.
    passes(&mut story, 2 * DAY);
    assert!(!shows(&story, 0, &id, "secret"));
    assert!(shows(&story, 1, &id, "secret"));
    read(&mut story, 1, &id);
    passes(&mut story, DAY - 6 * HOUR);
    assert!(shows(&story, 1, &id, "secret"));
    passes(&mut story, 6 * HOUR);
    assert!(!shows(&story, 1, &id, "secret"));
    assert_eq!(found(&story, 1, "secret"), 0);
    // What was said before the timer stays.
    assert!(shows(&story, 0, &id, "before") && shows(&story, 1, &id, "before"));
    story.does(Transition::timer(0, &id, 0));
    story.settles();
    story.does(Transition::send(1, &id, "for good"));
    story.settles();
    read(&mut story, 0, &id);
    passes(&mut story, 400 * DAY);
    assert!(shows(&story, 0, &id, "for good") && shows(&story, 1, &id, "for good"));
}

#[test]
fn rule_14_a_groups_timer_is_for_those_who_run_it_and_each_may_hurry() {
    let mut story = Story::new(2, 3, 3);
    let id = story.group(0, "club", &[1, 2]);
    story.does(Transition::timer(1, &id, DAY));
    story.settles();
    assert_eq!(story.conversation(0, "club").timer, 0);
    story.does(Transition::timer(0, &id, 10 * DAY));
    story.settles();
    assert_eq!(story.conversation(2, "club").timer, 10 * DAY);
    story.does(send(1, &id, "hurried", DAY, false));
    story.does(send(1, &id, "dawdled", 100 * DAY, false));
    story.settles();
    for device in [0, 2] {
        read(&mut story, device, &id);
    }
    passes(&mut story, 2 * DAY);
    for device in [0, 1, 2] {
        assert!(!shows(&story, device, &id, "hurried"), "device {device}");
        assert!(shows(&story, device, &id, "dawdled"), "device {device}");
    }
    passes(&mut story, 9 * DAY);
    for device in [0, 1, 2] {
        assert!(!shows(&story, device, &id, "dawdled"), "device {device}");
    }
}

#[test]
fn what_was_to_vanish_while_a_device_was_off_is_gone_when_it_is_on() {
    let mut story = Story::new(3, 2, 3);
    let id = story.direct(0, 1);
    story.does(Transition::Link { device: 2, by: 1 });
    story.settles();
    story.does(send(0, &id, "brief", DAY, false));
    story.settles();
    read(&mut story, 1, &id);
    story.does(Transition::CrashDevice(1));
    story.does(Transition::Advance(2 * DAY));
    story.does(Transition::OpenDevice(1));
    story.settles();
    assert!(!shows(&story, 1, &id, "brief"));
    // The writer's: off while the message was on its way.
    story.does(send(0, &id, "slow", DAY, false));
    story.does(Transition::CrashDevice(0));
    story.does(Transition::Advance(3 * DAY));
    story.settles();
    assert!(shows(&story, 1, &id, "slow"));
    passes(&mut story, 2 * DAY);
    assert!(!shows(&story, 0, &id, "slow"));
    assert!(shows(&story, 1, &id, "slow"), "nobody has read it");
}

#[test]
fn an_edit_or_a_deletion_keeps_nothing_longer() {
    let mut story = Story::new(4, 2, 2);
    let id = story.direct(0, 1);
    story.does(send(0, &id, "draft", DAY, false));
    story.settles();
    read(&mut story, 1, &id);
    passes(&mut story, 10 * HOUR);
    let message = story.messages(0, &id).last().expect("it is there").id.clone();
    let edit = Command::Edit { conversation: id.clone(), message, text: "final".into(), preview: None };
    story.does(Transition::Do { device: 0, command: edit });
    story.settles();
    assert!(shows(&story, 1, &id, "final"));
    passes(&mut story, 14 * HOUR);
    for device in [0, 1] {
        assert!(!shows(&story, device, &id, "final"), "device {device}");
        assert_eq!(found(&story, device, "final") + found(&story, device, "draft"), 0, "device {device}");
    }
}

#[test]
fn what_opens_once_opens_once_whatever_crashes() {
    let mut story = Story::new(5, 2, 2);
    let id = story.direct(0, 1);
    story.does(send(0, &id, "burn this", 0, true));
    story.settles();
    assert!(!shows(&story, 0, &id, "burn this") && !shows(&story, 1, &id, "burn this"));
    assert_eq!(found(&story, 1, "burn"), 0);
    let message = secrets(&story, 1, &id)[0].id.clone();
    // Its writer can't open it, and nobody can pass it on.
    story.does(open(0, &id, &message));
    let to = story.conversation(1, "p0@a.example").id;
    story.does(Transition::Do {
        device: 1,
        command: Command::Forward { conversation: id.clone(), message: message.clone(), to },
    });
    story.settles();
    assert_eq!(story.world.opened(1), Vec::<String>::new());
    story.does(open(1, &id, &message));
    story.does(Transition::CrashDevice(1));
    story.does(Transition::OpenDevice(1));
    story.settles();
    assert!(matches!(secrets(&story, 1, &id)[0].kind, MessageKind::ViewOnce { opened: true }));
    assert_eq!(story.world.opened(1), ["burn this"]);
    story.does(open(1, &id, &message));
    story.settles();
    assert_eq!(story.world.opened(1), ["burn this"]);
    assert_eq!(secrets(&story, 1, &id).len() + secrets(&story, 0, &id).len(), 2);
}

#[test]
fn what_nobody_opens_is_gone_after_two_weeks() {
    let mut story = Story::new(6, 2, 2);
    let id = story.direct(0, 1);
    story.does(send(0, &id, "never mind", 0, true));
    story.settles();
    passes(&mut story, 13 * DAY);
    assert_eq!(secrets(&story, 1, &id).len(), 1);
    passes(&mut story, 2 * DAY);
    assert_eq!(secrets(&story, 1, &id).len(), 0);
}
