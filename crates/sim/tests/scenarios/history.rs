//! What was said before comes to a new device, whatever is cut and whoever dies on the way (protocol section 8).

use api::{Command, Confirmation, HistoryState, HistoryTransfer, Query, View};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

fn transfers(story: &Story, device: DeviceId) -> Vec<HistoryTransfer> {
    match story.world.view(device, &Query::History) {
        Some(View::History(transfers)) => transfers,
        other => panic!("device {device} shows {other:?} instead of transfers"),
    }
}

/// Two people with a 1:1 conversation of many messages, and a fresh third device.
fn told(seed: u64) -> (Story, String) {
    let mut story = Story::new(seed, 2, 3);
    let id = story.direct(0, 1);
    for number in 0..30 {
        story.does(Transition::send(number % 2, &id, &format!("text {number} of before")));
        if number % 10 == 9 {
            story.settles();
        }
    }
    story.settles();
    (story, id)
}

#[track_caller]
fn has_all(story: &Story, id: &str) {
    assert_eq!(story.texts(2, id), story.texts(0, id));
    let (ours, theirs) = (story.messages(0, id), story.messages(2, id));
    let looks = |messages: &[api::Message]| {
        messages.iter().map(|m| (m.id.clone(), m.seq, m.kind.clone(), m.reactions.clone())).collect::<Vec<_>>()
    };
    // What happened to the conversation is told once, on both in the same place.
    let missing: Vec<_> = looks(&ours).into_iter().filter(|look| !looks(&theirs).contains(look)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn history_contacts_and_what_was_done_to_messages_come_with_a_link() {
    let (mut story, id) = told(1);
    let last = story.messages(0, &id).last().expect("much was said").id.clone();
    let react = |emoji: &str| Command::React {
        conversation: id.clone(),
        message: last.clone(),
        emoji: emoji.into(),
        remove: false,
    };
    story.does(Transition::Do { device: 0, command: react("👍") });
    story.does(Transition::Do { device: 1, command: react("🎉") });
    story.does(Transition::Do { device: 0, command: Command::Verify { address: address(1) } });
    let draft = Command::Draft { conversation: id.clone(), text: "begun".into() };
    story.does(Transition::Do { device: 0, command: draft });
    story.settles();
    story.does(Transition::Link { device: 2, by: 0 });
    story.settles();
    has_all(&story, &id);
    assert_eq!(story.conversation(2, &address(1)).draft, story.conversation(0, &address(1)).draft);
    for device in [0, 2] {
        let transfer = &transfers(&story, device)[0];
        assert_eq!((transfer.state, transfer.sending), (HistoryState::Complete, device == 0));
    }
    let Some(View::SafetyNumber(number)) = story.world.view(2, &Query::SafetyNumber { address: address(1) }) else {
        panic!("a contact is known");
    };
    assert_eq!(number.confirmation, Confirmation::Verified);
    // What the new device does to what it did not see itself counts.
    let first = story.messages(2, &id).into_iter().find(|m| m.own && m.edited.is_none()).expect("an own one").id;
    let delete = Command::Delete { conversation: id.clone(), message: first, for_everyone: true };
    story.does(Transition::Do { device: 2, command: delete });
    story.settles();
    has_all(&story, &id);
}

#[test]
fn a_transfer_goes_on_wherever_it_is_cut() {
    for seed in 0..6 {
        let (mut story, id) = told(100 + seed);
        story.does(Transition::Link { device: 2, by: 0 });
        for round in 0..40 {
            story.steps(7 + (seed as u32 * 5 + round) % 23);
            match (seed as u32 + round) % 5 {
                0 => {
                    story.does(Transition::CrashDevice(0));
                    story.does(Transition::OpenDevice(0));
                }
                1 => {
                    // A device that is not part of an account yet begins anew, which is its person's to do.
                    if story.world.view(2, &Query::WhoAmI) != Some(View::WhoAmI(None)) {
                        story.does(Transition::CrashDevice(2));
                        story.does(Transition::OpenDevice(2));
                    }
                }
                2 => story.does(Transition::Cut(2)),
                3 => story.does(Transition::send(1, &id, &format!("meanwhile {round}"))),
                _ => story.does(Transition::Advance(2_000)),
            }
        }
        story.settles();
        if story.world.view(2, &Query::WhoAmI) == Some(View::WhoAmI(None)) {
            continue; // the link itself was given up
        }
        has_all(&story, &id);
    }
}

#[test]
fn what_is_written_between_the_walk_and_the_new_devices_coming_in_is_not_lost() {
    for seed in 0..8 {
        let (mut story, id) = told(200 + seed);
        story.does(Transition::Link { device: 2, by: 0 });
        for number in 0..25 {
            story.steps(10);
            story.does(Transition::send(number % 2, &id, &format!("between {number}")));
        }
        story.settles();
        has_all(&story, &id);
    }
}

#[test]
fn what_opens_once_and_what_has_vanished_stays_where_it_is() {
    const DAY: u64 = 86_400_000;
    let (mut story, id) = told(3);
    let send = |text: &str, stays, view_once| Transition::Do {
        device: 1,
        command: Command::Send {
            conversation: id.clone(),
            text: text.into(),
            reply_to: None,
            preview: None,
            stays,
            view_once,
        },
    };
    story.does(send("opens once", 0, true));
    story.does(send("vanishes", DAY, false));
    story.does(send("vanishes later", 90 * DAY, false));
    story.settles();
    let last = story.messages(0, &id).last().expect("much was said").id.clone();
    story.does(Transition::Do { device: 0, command: Command::MarkRead { conversation: id.clone(), message: last } });
    story.does(Transition::Advance(2 * DAY));
    story.settles();
    story.does(Transition::Link { device: 2, by: 0 });
    story.settles();
    let texts = story.texts(2, &id);
    assert!(texts.iter().any(|text| text == "vanishes later"));
    assert!(!texts.iter().any(|text| text == "vanishes"));
    assert!(!story.messages(2, &id).iter().any(|m| matches!(m.kind, api::MessageKind::ViewOnce { .. })));
}

#[test]
fn without_history_nothing_comes_until_it_is_sent() {
    let (mut story, id) = told(4);
    story.world.links_without_history();
    story.does(Transition::Link { device: 2, by: 0 });
    story.settles();
    assert!(story.texts(2, &id).is_empty() && transfers(&story, 2).is_empty());
    let Some(View::WhoAmI(Some(account))) = story.world.view(2, &Query::WhoAmI) else { panic!("it is linked") };
    story.does(Transition::Do { device: 0, command: Command::SendHistory { device: account.device } });
    story.settles();
    has_all(&story, &id);
}

#[test]
fn rule_15_history_that_a_restored_relay_has_lost_begins_anew_by_itself() {
    let (mut story, id) = told(301);
    story.does(Transition::BackUpRelay(0));
    story.does(Transition::Link { device: 2, by: 0 });
    let mut steps = 0;
    let mut until = |story: &mut Story, is_so: &dyn Fn(&Story) -> bool| {
        while !is_so(story) {
            story.steps(1);
            steps += 1;
            assert!(steps < 5_000, "it never comes to that");
        }
    };
    until(&mut story, &|story| story.world.view(2, &Query::WhoAmI) != Some(View::WhoAmI(None)));
    story.does(Transition::CrashDevice(2));
    // All parts but the last one, which waits for the new device, are at the relay when it is lost.
    until(&mut story, &|story| transfers(story, 0).first().is_some_and(|transfer| transfer.waiting));
    story.does(Transition::RestoreRelay(0));
    story.does(Transition::OpenDevice(2));
    story.settles();
    has_all(&story, &id);
    for device in [0, 2] {
        let states: Vec<HistoryState> = transfers(&story, device).into_iter().map(|transfer| transfer.state).collect();
        assert_eq!(states, [HistoryState::Complete, HistoryState::GivenUp], "device {device}");
    }
}

#[test]
fn rule_15_a_relay_that_is_restored_while_history_is_on_its_way_loses_none_of_it() {
    for seed in 0..8 {
        let (mut story, id) = told(310 + seed);
        story.does(Transition::BackUpRelay(0));
        story.does(Transition::Link { device: 2, by: 0 });
        story.steps(150 + 60 * seed as u32);
        story.does(Transition::RestoreRelay(0));
        story.settles();
        if story.world.view(2, &Query::WhoAmI) == Some(View::WhoAmI(None)) {
            continue; // the link itself was given up
        }
        // An invitation that the relay has lost before it was fetched is not given back, and what was said waits for the next one.
        if story.world.view(2, &Query::Conversation { conversation: id.clone() }).is_some() {
            has_all(&story, &id);
        }
        for device in [0, 2] {
            assert_eq!(transfers(&story, device)[0].state, HistoryState::Complete, "device {device}, seed {seed}");
        }
    }
}

/// The scenarios above would find these defects.
#[cfg(feature = "mutants")]
#[test]
fn history_defects_that_are_planted_are_seen() {
    use engine::mutants::{Mutant, plant};
    let shows = |mutant, between: u32, once| {
        plant(Some(mutant));
        let (mut story, id) = told(5);
        if once {
            let (conversation, text) = (id.clone(), "opens once".into());
            let command =
                Command::Send { conversation, text, reply_to: None, preview: None, stays: 0, view_once: true };
            story.does(Transition::Do { device: 1, command });
            story.settles();
        }
        story.does(Transition::Link { device: 2, by: 0 });
        for number in 0..between {
            story.steps(10);
            story.does(Transition::send(number as usize % 2, &id, &format!("between {number}")));
        }
        let settled = story.world.apply(&Transition::Settle);
        plant(None);
        settled.expect("everything comes to rest");
        (story.texts(0, &id).len(), story.texts(2, &id).len(), story.messages(2, &id))
    };
    let (ours, theirs, _) = shows(Mutant::HistorySkipsAChunk, 0, false);
    assert!(theirs < ours);
    let (ours, theirs, _) = shows(Mutant::HistoryEndsEarly, 25, false);
    assert!(theirs < ours);
    let (_, _, messages) = shows(Mutant::HistoryTakesAll, 0, true);
    assert!(messages.iter().any(|m| matches!(m.kind, api::MessageKind::ViewOnce { .. })));
}

#[test]
fn a_new_device_knows_what_groups_were_called_before() {
    let mut story = Story::new(9, 1, 2);
    let id = story.group(0, "bob", &[]);
    story.does(Transition::rename(0, &id, "Bob's party"));
    story.settles();
    assert_eq!(story.conversation(0, "Bob's party").formerly, ["bob"]);
    story.does(Transition::Link { device: 1, by: 0 });
    story.settles();
    assert_eq!(story.conversation(1, "Bob's party").formerly, ["bob"]);
    // It is called so again.
    story.does(Transition::rename(1, &id, "bob"));
    story.settles();
    assert_eq!(story.conversation(0, "bob").formerly, ["Bob's party"]);
    story.does(Transition::rename(0, &id, "Bob's party"));
    story.settles();
    assert_eq!(story.conversation(1, "Bob's party").formerly, ["bob"]);
}
