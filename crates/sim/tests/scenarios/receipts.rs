//! What others hear of what was read, as people choose it; and what people call each other.

use api::{Command, Message, MessageStatus, Person, Query, View};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

fn does(story: &mut Story, device: DeviceId, command: Command) {
    story.does(Transition::Do { device, command });
    story.settles();
}

fn last(story: &Story, device: DeviceId, id: &str) -> Message {
    story.messages(device, id).pop().expect("something was said")
}

/// The device writes, the other one reads: how far it got, as its author sees it.
fn read_by_other(story: &mut Story, author: DeviceId, reader: DeviceId, id: &str) -> MessageStatus {
    let text = format!("{author} says {}", story.messages(author, id).len());
    story.does(Transition::send(author, id, &text));
    story.settles();
    let message = last(story, reader, id).id;
    does(story, reader, Command::MarkRead { conversation: id.into(), message });
    last(story, author, id).status
}

#[test]
fn who_does_not_tell_what_was_read_is_not_told_either() {
    let mut story = Story::new(1, 2, 2);
    let id = story.direct(0, 1);
    assert_eq!(read_by_other(&mut story, 0, 1, &id), MessageStatus::Read);
    does(&mut story, 1, Command::ReadReceipts { on: false });
    assert_eq!(read_by_other(&mut story, 0, 1, &id), MessageStatus::Delivered);
    assert_eq!(read_by_other(&mut story, 1, 0, &id), MessageStatus::Delivered);
    // What was read while they were off stays untold.
    does(&mut story, 1, Command::ReadReceipts { on: true });
    assert_eq!(story.conversations(1)[0].unread, 0);
    assert_eq!(read_by_other(&mut story, 1, 0, &id), MessageStatus::Read);
    let read = story.messages(0, &id).iter().filter(|m| m.own && m.status == MessageStatus::Read).count();
    assert_eq!(read, 2, "the greeting and the first one");
}

#[test]
fn what_one_calls_somebody_names_them_and_nobody_twice() {
    let mut story = Story::new(2, 3, 3);
    let one = story.direct(0, 1);
    story.does(Transition::send(0, &address(2), "good day"));
    story.settles();
    story.accepts(2);
    let other = story.conversation(0, &address(2)).id;
    let call = |who: DeviceId, name: &str| Command::NameContact { address: address(who), name: name.into() };
    does(&mut story, 0, call(1, "  Uncle\u{202e}\n Bob "));
    does(&mut story, 0, call(2, "uncle bob"));
    does(&mut story, 0, call(2, "eve@a.example"));
    story.does(Transition::CrashDevice(0));
    story.does(Transition::OpenDevice(0));
    story.settles();
    let Some(View::Contacts(people)) = story.world.view(0, &Query::Contacts) else { panic!("no contacts") };
    let names: Vec<(&str, &str)> = people.iter().map(|p: &Person| (p.address.as_str(), p.name.as_str())).collect();
    assert_eq!(names, [("p1@a.example", "Uncle Bob"), ("p2@a.example", "")]);
    story.does(Transition::send(0, "UNCLE BOB", "to the right one"));
    story.settles();
    assert!(story.texts(1, &one).contains(&"to the right one".to_owned()));
    assert!(!story.texts(2, &other).contains(&"to the right one".to_owned()));
}
