//! "Who can read this?": what a person is told of people, devices and keys.

use api::{Command, Confirmation, Query, View, Who, WhoChange};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

fn who(story: &Story, device: DeviceId, conversation: &str) -> Who {
    match story.world.view(device, &Query::Who { conversation: conversation.into() }) {
        Some(View::Who(who)) => *who,
        other => panic!("device {device} shows {other:?} instead of who can read"),
    }
}

fn looks(story: &mut Story, device: DeviceId, conversation: &str) {
    story.does(Transition::Do { device, command: Command::Look { conversation: conversation.into() } });
    story.settles();
}

#[test]
fn a_new_device_a_new_member_and_a_verification_are_told_until_one_has_looked() {
    let mut story = Story::new(1, 3, 4);
    let id = story.group(0, "Team", &[1]);
    let panel = who(&story, 0, &id);
    assert_eq!((panel.looked, panel.changes.as_slice(), panel.custodians.as_slice()), (None, &[][..], &[][..]));
    // The simulator's groups have the classical suite, and the panel says so.
    assert!(!panel.post_quantum);
    assert_eq!(panel.people.iter().map(|reader| reader.devices.len()).collect::<Vec<_>>(), [1, 1]);
    looks(&mut story, 0, &id);
    assert_eq!(who(&story, 0, &id).changes, []);

    story.does(Transition::Link { device: 3, by: 1 });
    story.settles();
    story.does(Transition::add(0, &id, &address(2)));
    story.settles();
    story.does(Transition::Do { device: 0, command: Command::Verify { address: address(1) } });
    story.settles();
    let panel = who(&story, 0, &id);
    let (p1, p2) = (address(1), address(2));
    let seen = |wanted: &dyn Fn(&WhoChange) -> bool| panel.changes.iter().filter(|change| wanted(change)).count();
    assert_eq!(panel.changes.len(), 3, "{:?}", panel.changes);
    assert_eq!(seen(&|c| matches!(c, WhoChange::DeviceCame { address, since, .. } if *address == p1 && *since > 0)), 1);
    assert_eq!(seen(&|c| matches!(c, WhoChange::Came { address } if *address == p2)), 1);
    let verified = Confirmation::Verified;
    assert_eq!(seen(&|c| matches!(c, WhoChange::Confirmation { confirmation, .. } if *confirmation == verified)), 1);
    looks(&mut story, 0, &id);
    assert_eq!(who(&story, 0, &id).changes, []);

    story.does(Transition::CrashDevice(0));
    story.does(Transition::OpenDevice(0));
    story.does(Transition::remove(0, &id, &p2));
    story.settles();
    assert_eq!(who(&story, 0, &id).changes, [WhoChange::Went { address: p2 }]);
}

#[test]
fn keys_are_renewed_each_week_and_the_stalest_device_is_named() {
    let mut story = Story::new(2, 2, 2);
    let id = story.group(0, "Team", &[1]);
    let before = who(&story, 0, &id);
    // Bob joined by a key package and has renewed nothing yet; Alice made the group at the same time.
    let renewed = |panel: &Who| panel.people.iter().map(|reader| reader.devices[0].renewed).collect::<Vec<_>>();
    assert!(renewed(&before).iter().all(|time| *time > 0), "{before:?}");
    // To whoever joins, what was before is not known.
    let joined = who(&story, 1, &id);
    assert_eq!(
        joined.stalest.as_ref().map(|stalest| (stalest.address.clone(), stalest.renewed)),
        Some((address(0), 0))
    );
    for _ in 0..9 * 24 {
        story.does(Transition::Advance(3_600_000));
        story.does(Transition::Network(20));
    }
    story.settles();
    for device in [0, 1] {
        let after = who(&story, device, &id);
        assert!(renewed(&after).iter().zip(renewed(&before)).all(|(after, before)| *after > before), "{after:?}");
        assert_eq!(after.stalest.map(|stalest| stalest.renewed), renewed(&who(&story, device, &id)).into_iter().min());
    }
}

#[test]
fn after_a_thousand_own_messages_keys_are_renewed_once() {
    let mut story = Story::new(3, 2, 2);
    let id = story.group(0, "Team", &[1]);
    let epoch = |story: &Story| story.conversation(0, "Team").epoch;
    let before = epoch(&story);
    for number in 0..1_000 {
        story.does(Transition::send(0, &id, &format!("{number}")));
        story.does(Transition::Network(12));
    }
    story.settles();
    for _ in 0..6 {
        story.does(Transition::Advance(3_600_000));
        story.settles();
    }
    assert_eq!(epoch(&story), before + 1);
}
