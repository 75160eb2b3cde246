//! Protocol rule 22: who an address is.

use api::{Command, Confirmation, Query, View};
use sim::store::Faults;
use sim::trace::Trace;
use sim::world::{DeviceId, Transition, World};

use crate::support::{RELAY, Story, address};

fn confirmation(story: &Story, device: DeviceId, of: &str) -> Confirmation {
    match story.world.view(device, &Query::Contacts) {
        Some(View::Contacts(contacts)) => {
            contacts.into_iter().find(|contact| contact.address == of).expect("a contact").confirmation
        }
        other => panic!("device {device} shows {other:?} instead of contacts"),
    }
}

/// All texts that a device shows, wherever.
fn all_texts(story: &Story, device: DeviceId) -> Vec<String> {
    story.conversations(device).iter().flat_map(|conversation| story.texts(device, &conversation.id)).collect()
}

fn was_told(story: &Story, device: DeviceId, what: &str) -> bool {
    let notices = &story.world.model.notices;
    notices.iter().any(|(at, problem)| *at == device && problem.to_string().contains(what))
}

/// A relay loses everything, and somebody takes a name there whose owner is away.
#[test]
fn rule_22_another_identity_under_a_known_name_gets_nothing_before_it_is_accepted() {
    let world = World::new(22, &[RELAY], 3, Faults::default(), None, Trace::default()).unwrap();
    let mut story = Story::in_world(world, 0);
    story.does(Transition::BackUpRelay(0));
    for device in [0, 1] {
        story.does(Transition::register(device, &address(device)));
    }
    story.settles();
    let id = story.direct(0, 1);
    story.does(Transition::GoAway(1));
    story.does(Transition::RestoreRelay(0));
    story.does(Transition::Settle);
    story.does(Transition::register(2, &address(1)));
    story.does(Transition::Settle);
    story.does(Transition::send(2, &address(0), "it's me, on my new phone"));
    story.does(Transition::Settle);

    // It is told, nothing of it is shown, and what is written goes to the one who is known.
    assert!(was_told(&story, 0, "appears with another identity"));
    assert_eq!(confirmation(&story, 0, &address(1)), Confirmation::Conflict);
    assert!(matches!(story.world.view(0, &Query::Invitations), Some(View::Invitations(none)) if none.is_empty()));
    let number = |story: &Story, device| match story.world.view(device, &Query::SafetyNumber { address: address(1) }) {
        Some(View::SafetyNumber(number)) => number,
        other => panic!("device {device} shows {other:?}"),
    };
    let both = number(&story, 0);
    assert!(both.other.is_some_and(|other| other != both.digits));
    story.does(Transition::send(0, &address(1), "for the real one"));
    story.does(Transition::Settle);
    assert_eq!(story.conversation(0, &address(1)).id, id);
    story.does(Transition::ComeBack(1));
    story.does(Transition::Settle);
    assert!(all_texts(&story, 1).contains(&"for the real one".into()));
    assert!(!all_texts(&story, 2).contains(&"for the real one".into()));
    // The one whose name was taken hears of it, and still talks.
    assert!(was_told(&story, 1, "has another account under your address"));
    story.does(Transition::send(1, &address(0), "that is not me"));
    story.does(Transition::Settle);
    assert!(all_texts(&story, 0).contains(&"that is not me".into()));

    // Accepted, the new one gets what is written, and the other one does not.
    story.does(Transition::Do { device: 0, command: Command::AcceptIdentity { address: address(1) } });
    story.does(Transition::send(0, &address(1), "for the new one"));
    story.does(Transition::Settle);
    assert!(all_texts(&story, 2).contains(&"for the new one".into()));
    assert!(!all_texts(&story, 1).contains(&"for the new one".into()));
    assert_eq!(confirmation(&story, 0, &address(1)), Confirmation::Confirmed);
}

/// Somebody brings the new account under a known name into a group, where the other is known.
#[test]
fn rule_22_a_group_with_another_identity_is_told_nothing_and_can_be_rid_of_it() {
    let world = World::new(23, &[RELAY], 4, Faults::default(), None, Trace::default()).unwrap();
    let mut story = Story::in_world(world, 0);
    story.does(Transition::BackUpRelay(0));
    for device in [0, 1] {
        story.does(Transition::register(device, &address(device)));
    }
    story.settles();
    story.direct(0, 1);
    story.does(Transition::GoAway(1));
    story.does(Transition::RestoreRelay(0));
    story.does(Transition::Settle);
    story.does(Transition::register(2, &address(1)));
    story.does(Transition::register(3, &address(3)));
    story.does(Transition::Settle);
    story.does(Transition::create_group(3, "band", &[&address(0), &address(1)]));
    story.does(Transition::Settle);
    for device in [0, 2] {
        let Some(View::Invitations(asked)) = story.world.view(device, &Query::Invitations) else {
            panic!("it is asked")
        };
        story.does(Transition::accept(device, &asked[0].conversation));
    }
    story.does(Transition::Settle);
    let group = story.conversation(3, "band").id;
    let role = Command::SetRole { conversation: group.clone(), member: address(0), role: api::Role::Owner };
    story.does(Transition::Do { device: 3, command: role });
    story.does(Transition::Settle);
    assert_eq!(confirmation(&story, 0, &address(1)), Confirmation::Conflict);

    let rename = |name: &str| Transition::Do {
        device: 0,
        command: Command::Rename { conversation: group.clone(), name: name.into() },
    };
    let epoch =
        |story: &Story| story.conversations(3).iter().find(|c| c.id == group).map(|c| (c.epoch, c.name.clone()));
    let before = epoch(&story);
    story.does(rename("a secret"));
    story.does(Transition::send(0, &group, "another one"));
    story.does(Transition::Settle);
    assert_eq!(epoch(&story), before);
    assert!(all_texts(&story, 2).is_empty());
    // Taking that one out is no secret, and ends the conflict there.
    story.does(Transition::remove(0, &group, &address(1)));
    story.does(Transition::Settle);
    story.does(rename("ours"));
    story.does(Transition::Settle);
    assert_eq!(story.conversation(3, "ours").id, group);
    assert!(all_texts(&story, 3).contains(&"another one".into()));
    assert!(all_texts(&story, 2).is_empty());
}

/// A group knows somebody by the account of before.
#[test]
fn rule_22_whoever_accepts_another_identity_hears_where_the_one_of_before_still_is() {
    let world = World::new(24, &[RELAY], 4, Faults::default(), None, Trace::default()).unwrap();
    let mut story = Story::in_world(world, 0);
    story.does(Transition::BackUpRelay(0));
    for device in [0, 1, 3] {
        story.does(Transition::register(device, &address(device)));
    }
    story.settles();
    let group = story.group(0, "band", &[1, 3]);
    story.does(Transition::GoAway(1));
    story.does(Transition::RestoreRelay(0));
    story.does(Transition::Settle);
    story.does(Transition::register(2, &address(1)));
    story.does(Transition::Settle);
    story.does(Transition::send(2, &address(0), "it's me, on my new phone"));
    story.does(Transition::Settle);
    story.does(Transition::Do { device: 0, command: Command::AcceptIdentity { address: address(1) } });
    story.does(Transition::Settle);
    let told = |story: &Story| {
        let said = story.messages(0, &group).into_iter();
        said.filter(|m| matches!(&m.kind, api::MessageKind::System { text } if text.contains("of before"))).count()
    };
    assert_eq!(told(&story), 1);
    story.does(Transition::remove(0, &group, &address(1)));
    story.does(Transition::Settle);
    let add = Command::AddMembers { conversation: group.clone(), members: vec![address(1)] };
    story.does(Transition::Do { device: 0, command: add });
    story.does(Transition::Settle);
    story.does(Transition::accept(2, &group));
    story.does(Transition::send(0, &group, "for the new one"));
    story.does(Transition::Settle);
    assert!(story.texts(2, &group).contains(&"for the new one".into()));
}
