//! Protocol rule 17: the devices of one account are in step.

use api::{Command, FOREVER, MessageStatus, Query, View};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

fn does(story: &mut Story, device: DeviceId, command: Command) {
    story.does(Transition::Do { device, command });
}

/// Two people with a group; the second has devices 1 and 2.
fn two_devices(seed: u64) -> (Story, String) {
    let mut story = Story::new(seed, 2, 4);
    let id = story.group(0, "Team", &[1]);
    story.does(Transition::Link { device: 2, by: 1 });
    story.settles();
    (story, id)
}

fn kept(story: &Story, device: DeviceId, id: &str) -> (bool, bool, bool, bool, String) {
    let all = story.conversations(device);
    let c = all.into_iter().find(|c| c.id == id).expect("it is in the list");
    (c.muted_until == FOREVER, c.archived, c.pinned_to_top, c.marked_unread, c.draft)
}

fn receipts_are_on(story: &Story, device: DeviceId) -> bool {
    match story.world.view(device, &Query::Settings) {
        Some(View::Settings(settings)) => settings.read_receipts,
        other => panic!("device {device} shows {other:?} instead of settings"),
    }
}

#[test]
fn rule_17_what_is_chosen_on_one_device_is_so_on_the_other() {
    let (mut story, id) = two_devices(1);
    does(&mut story, 2, Command::Mute { conversation: id.clone(), until: FOREVER });
    does(&mut story, 1, Command::PinToTop { conversation: id.clone(), pinned: true });
    does(&mut story, 2, Command::MarkUnread { conversation: id.clone() });
    does(&mut story, 1, Command::Draft { conversation: id.clone(), text: "I think".into() });
    does(&mut story, 2, Command::NameContact { address: address(0), name: "Boss".into() });
    does(&mut story, 1, Command::ReadReceipts { on: false });
    story.settles();
    for device in [1, 2] {
        assert_eq!(kept(&story, device, &id), (true, false, true, true, "I think".into()));
        assert!(!receipts_are_on(&story, device));
        let Some(View::Contacts(people)) = story.world.view(device, &Query::Contacts) else { panic!("contacts") };
        assert_eq!(people[0].name, "Boss");
    }
    // It is sent on one: on the other there is no draft any more either.
    story.does(Transition::send(2, &id, "I think so"));
    story.settles();
    assert_eq!(kept(&story, 1, &id), (true, false, true, false, String::new()));
    // Nobody else is told, and there is nothing to look at that nobody has written.
    assert_eq!(kept(&story, 0, &id), (false, false, false, false, String::new()));
    assert!(story.conversations(1).iter().all(|conversation| conversation.id == id));
}

#[test]
fn rule_17_what_was_read_taken_out_of_sight_and_opened_is_so_everywhere_without_receipts() {
    let (mut story, id) = two_devices(2);
    does(&mut story, 1, Command::ReadReceipts { on: false });
    story.settles();
    let once = Command::Send {
        conversation: id.clone(),
        text: "once".into(),
        reply_to: None,
        preview: None,
        stays: 0,
        view_once: true,
    };
    story.does(Transition::send(0, &id, "first"));
    does(&mut story, 0, once);
    story.does(Transition::send(0, &id, "last"));
    story.settles();
    let messages = story.messages(1, &id);
    let of = |text: &str| messages.iter().find(|m| matches!(&m.kind, api::MessageKind::Text { text: t } if t == text));
    let (first, last) = (of("first").expect("it came").id.clone(), of("last").expect("it came").id.clone());
    let opens = messages.iter().find(|m| matches!(m.kind, api::MessageKind::ViewOnce { .. })).expect("it came");
    does(&mut story, 1, Command::MarkRead { conversation: id.clone(), message: last });
    does(&mut story, 1, Command::Open { conversation: id.clone(), message: opens.id.clone() });
    does(&mut story, 1, Command::Delete { conversation: id.clone(), message: first, for_everyone: false });
    story.settles();
    let there = story.messages(2, &id);
    assert!(there.iter().all(|message| message.own || message.status != MessageStatus::Received));
    assert_eq!(story.texts(2, &id), ["last"]);
    assert!(there.iter().any(|m| m.kind == api::MessageKind::ViewOnce { opened: true }));
    // Whoever wrote it hears nothing of it.
    let ticks: Vec<MessageStatus> = story.messages(0, &id).iter().filter(|m| m.own).map(|m| m.status).collect();
    assert!(ticks.iter().all(|status| *status == MessageStatus::Delivered), "{ticks:?}");
}

#[test]
fn rule_17_a_device_that_comes_later_and_one_that_was_off_hear_of_it() {
    let (mut story, id) = two_devices(3);
    story.does(Transition::CrashDevice(2));
    does(&mut story, 1, Command::Block { address: address(0) });
    does(&mut story, 1, Command::Archive { conversation: id.clone(), archived: true });
    does(&mut story, 1, Command::Archive { conversation: id.clone(), archived: false });
    does(&mut story, 1, Command::Mute { conversation: id.clone(), until: FOREVER });
    story.steps(400);
    story.does(Transition::OpenDevice(2));
    story.settles();
    story.world.links_without_history();
    story.does(Transition::Link { device: 3, by: 1 });
    story.settles();
    for device in [1, 2, 3] {
        assert_eq!(kept(&story, device, &id), (true, false, false, false, String::new()), "device {device}");
        let Some(View::Contacts(people)) = story.world.view(device, &Query::Contacts) else { panic!("contacts") };
        assert!(people.iter().any(|person| person.address == address(0) && person.blocked), "device {device}");
    }
}

#[test]
fn rule_17_of_two_choices_at_the_same_moment_one_counts_on_both() {
    for seed in 10..20 {
        let (mut story, id) = two_devices(seed);
        story.does(Transition::Cut(2));
        for (device, archived) in [(1, true), (2, false), (2, true), (1, false), (2, true)] {
            does(&mut story, device, Command::Archive { conversation: id.clone(), archived });
            does(&mut story, device, Command::Draft { conversation: id.clone(), text: format!("of {device}") });
            story.steps(5);
        }
        story.does(Transition::CrashDevice(1));
        story.does(Transition::OpenDevice(1));
        story.settles();
        assert_eq!(kept(&story, 1, &id), kept(&story, 2, &id), "seed {seed}");
    }
}

fn names(story: &Story, device: DeviceId) -> Vec<String> {
    match story.world.view(device, &Query::Devices) {
        Some(View::Devices(devices)) => devices.into_iter().map(|device| device.name).collect(),
        other => panic!("device {device} shows {other:?} instead of devices"),
    }
}

#[test]
fn rule_17_devices_have_names_among_themselves() {
    let (mut story, id) = two_devices(5);
    let Some(View::Devices(devices)) = story.world.view(1, &Query::Devices) else { panic!("it shows its devices") };
    let name = |device: &str, name: &str| Command::NameDevice { device: device.into(), name: name.into() };
    does(&mut story, 1, name(&devices[0].id, "Phone"));
    does(&mut story, 2, name(&devices[1].id[..8], " Lap\ntop "));
    // Not what a device can be called, and nobody's.
    for command in [name(&devices[0].id, "who@ever"), name(&devices[0].id, &"x".repeat(101)), name("00000000", "x")] {
        does(&mut story, 1, command);
    }
    story.settles();
    for device in [1, 2] {
        assert_eq!(names(&story, device), ["Phone", "Lap top"], "device {device}");
    }
    // One that comes later hears of it, others don't: neither in who can read, nor anywhere.
    story.does(Transition::Link { device: 3, by: 1 });
    story.settles();
    assert_eq!(names(&story, 3), ["Phone", "Lap top", ""]);
    let called = |device: DeviceId| match story.world.view(device, &Query::Who { conversation: id.clone() }) {
        Some(View::Who(who)) => {
            who.people.into_iter().flat_map(|reader| reader.devices).filter(|d| !d.name.is_empty()).count()
        }
        other => panic!("device {device} shows {other:?}"),
    };
    assert_eq!((called(0), called(1), called(3)), (0, 2, 2));
    does(&mut story, 2, name(&devices[0].id, ""));
    story.settles();
    assert_eq!(names(&story, 1), ["", "Lap top", ""]);
}
