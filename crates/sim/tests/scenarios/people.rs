//! Two people and their devices.

use api::{Command, MessageStatus, Query, Standing, View};
use sim::world::Transition;

use crate::support::{Story, address};

#[test]
fn i2_two_people_talk_and_both_see_the_same_after_closing_and_opening() {
    let mut story = Story::new(1, 2, 2);
    let id = story.direct(0, 1);
    story.does(Transition::send(1, &id, "hello yourself"));
    story.settles();
    for device in [0, 1] {
        assert_eq!(story.texts(device, &id), ["hello", "hello yourself"]);
        story.does(Transition::CrashDevice(device));
        story.does(Transition::OpenDevice(device));
        assert_eq!(story.texts(device, &id), ["hello", "hello yourself"]);
    }
    story.settles();
    let delivered = story.messages(0, &id).into_iter().find(|message| message.own).map(|message| message.status);
    assert_eq!(delivered, Some(MessageStatus::Delivered));
}

#[test]
fn both_begin_a_conversation_at_the_same_moment_and_nothing_is_lost() {
    for seed in 0..20 {
        let mut story = Story::new(seed, 2, 2);
        story.does(Transition::send(0, &address(1), "from the one"));
        story.does(Transition::send(1, &address(0), "from the other"));
        story.steps(seed as u32 * 10);
        story.settles();
        story.accepts(0);
        story.accepts(1);
        for device in [0, 1] {
            let mut texts: Vec<String> = story
                .conversations(device)
                .iter()
                .flat_map(|conversation| story.texts(device, &conversation.id))
                .collect();
            texts.sort();
            assert_eq!(texts, ["from the one", "from the other"], "seed {seed}, device {device}");
        }
    }
}

#[test]
fn i5_the_senders_program_dies_between_any_two_steps() {
    for step in 0..60 {
        let mut story = Story::new(step, 2, 2);
        let id = story.direct(0, 1);
        story.does(Transition::send(0, &id, "before"));
        story.does(Transition::send(0, &id, "between"));
        story.steps(step as u32);
        story.does(Transition::CrashDevice(0));
        story.does(Transition::OpenDevice(0));
        story.does(Transition::send(0, &id, "after"));
        story.settles();
        for device in [0, 1] {
            assert_eq!(
                story.texts(device, &id),
                ["hello", "before", "between", "after"],
                "step {step}, device {device}"
            );
        }
    }
}

#[test]
fn i1_the_relay_loses_power_with_unsynced_writes() {
    for step in 0..60 {
        let mut story = Story::new(step, 2, 2);
        let id = story.direct(0, 1);
        for text in ["one", "two", "three"] {
            story.does(Transition::send(0, &id, text));
        }
        story.steps(step as u32);
        story.does(Transition::CrashRelay(0));
        story.steps(5);
        story.does(Transition::StartRelay(0));
        story.settles();
        for device in [0, 1] {
            assert_eq!(story.texts(device, &id), ["hello", "one", "two", "three"], "step {step}, device {device}");
        }
    }
}

#[test]
fn a_full_disk_at_the_relay_delays_and_loses_nothing() {
    let mut story = Story::new(3, 2, 2);
    let id = story.direct(0, 1);
    story.does(Transition::DiskFull(0, true));
    story.does(Transition::send(0, &id, "patience"));
    story.steps(400);
    let waits = story.messages(0, &id).into_iter().next_back().map(|message| message.status);
    assert_eq!(waits, Some(MessageStatus::Sending));
    assert_eq!(story.texts(1, &id), ["hello"]);
    story.does(Transition::DiskFull(0, false));
    story.settles();
    assert_eq!(story.texts(1, &id), ["hello", "patience"]);
}

#[test]
fn a_linked_device_takes_part_until_it_is_revoked() {
    let mut story = Story::new(4, 2, 3);
    let id = story.direct(0, 1);
    story.does(Transition::Link { device: 2, by: 0 });
    story.settles();
    story.does(Transition::send(1, &id, "to both devices"));
    story.does(Transition::send(2, &id, "from the new one"));
    story.settles();
    assert!(story.texts(2, &id).contains(&"to both devices".to_owned()));
    assert!(story.texts(1, &id).contains(&"from the new one".to_owned()));
    let Some(View::WhoAmI(Some(account))) = story.world.view(2, &Query::WhoAmI) else { panic!("device 2 is linked") };
    story.does(Transition::Do { device: 0, command: Command::RevokeDevice { device: account.device } });
    story.settles();
    story.does(Transition::send(1, &id, "not for the lost one"));
    story.settles();
    assert!(story.texts(0, &id).contains(&"not for the lost one".to_owned()));
    assert!(!story.texts(2, &id).contains(&"not for the lost one".to_owned()));
}

#[test]
fn a_device_revoked_while_an_invitation_waits_is_out_once_it_is_taken() {
    let mut story = Story::new(8, 2, 3);
    story.does(Transition::Link { device: 2, by: 1 });
    story.settles();
    story.does(Transition::send(0, &address(1), "an invitation"));
    story.settles();
    let id = story.conversation(2, &address(0)).id;
    let Some(View::WhoAmI(Some(account))) = story.world.view(2, &Query::WhoAmI) else { panic!("device 2 is linked") };
    story.does(Transition::Do { device: 1, command: Command::RevokeDevice { device: account.device } });
    story.settles();
    story.accepts(1);
    story.does(Transition::send(0, &id, "not for the lost one"));
    story.settles();
    assert_eq!(story.texts(1, &id), ["an invitation", "not for the lost one"]);
    assert_eq!(story.texts(2, &id), ["an invitation"]);
}

#[test]
fn a_declined_invitation_shows_nothing_more() {
    let mut story = Story::new(5, 2, 2);
    story.does(Transition::send(0, &address(1), "please"));
    story.settles();
    let id = story.conversation(1, &address(0)).id;
    story.does(Transition::decline(1, &id));
    story.settles();
    story.does(Transition::send(0, &id, "pretty please"));
    story.settles();
    let shown: Vec<_> = story.conversations(1).into_iter().filter(|c| c.standing == Standing::Active).collect();
    assert!(shown.is_empty(), "{shown:?}");
}

#[test]
fn a_blocked_account_is_not_shown_and_an_unblocked_one_is() {
    let mut story = Story::new(6, 2, 2);
    let id = story.direct(0, 1);
    story.does(Transition::block(1, &address(0)));
    story.settles();
    story.does(Transition::send(0, &id, "unseen"));
    story.settles();
    assert_eq!(story.texts(1, &id), ["hello"]);
    story.does(Transition::Do { device: 1, command: Command::Unblock { address: address(0) } });
    story.settles();
    story.does(Transition::send(0, &id, "seen"));
    story.settles();
    assert_eq!(story.texts(1, &id), ["hello", "seen"]);
}
