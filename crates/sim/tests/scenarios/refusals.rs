//! What can't be done, and what the person reads then: limits, things that are not there, and names that mean several. The whole words
//! are in `told.txt`.

use api::{Command, Query, Role, View};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

/// What the person reads who wants this; what it does takes as long as it takes.
#[track_caller]
fn refused(story: &mut Story, device: DeviceId, command: Command) -> String {
    let before = story.world.model.problems.len();
    story.does(Transition::Do { device, command: command.clone() });
    if story.world.model.problems.len() == before {
        story.settles();
    }
    let told: Vec<_> = story.world.model.problems.drain(before..).collect();
    story.world.model.problems.extend(told.iter().cloned());
    match told.as_slice() {
        [(at, problem)] if *at == device => problem.what.clone(),
        other => panic!("{command:?} was answered with {other:?}"),
    }
}

/// It is done.
#[track_caller]
fn done(story: &mut Story, device: DeviceId, command: Command) {
    let before = story.world.model.problems.len();
    story.does(Transition::Do { device, command });
    story.settles();
    assert_eq!(story.world.model.problems.len(), before, "{:?}", story.world.model.problems.last());
}

#[test]
fn a_profile_without_an_account_says_so() {
    let mut story = Story::new(900, 1, 2);
    let none = "This profile has no account yet.";
    for command in [
        Command::CreateGroup { name: "club".into(), members: Vec::new() },
        Command::Block { address: address(0) },
        Command::MakeRecoveryKey,
        Command::Join { link: "nothing".into() },
    ] {
        assert_eq!(refused(&mut story, 1, command), none);
    }
    let no_relay = Command::BeginLink { relay: "not a relay".into() };
    assert_eq!(refused(&mut story, 1, no_relay), "That is not a relay's name.");
}

#[test]
fn without_a_recovery_key_there_is_no_backup() {
    let mut story = Story::new(901, 1, 1);
    assert_eq!(refused(&mut story, 0, Command::Backup), "There is no recovery key yet.");
    assert_eq!(refused(&mut story, 0, Command::BackUpToRelay), "There is no recovery key yet.");
    let keep = Command::KeepRecoveryKey { last: "aaaa".into() };
    assert_eq!(refused(&mut story, 0, keep), "No recovery key waits to be kept.");
}

#[test]
fn the_relay_takes_eight_backups_a_day() {
    let mut story = Story::new(902, 1, 1);
    story.does(Transition::BackUp(0));
    story.settles();
    for number in 0..8 {
        story.does(Transition::send(0, &address(0), &format!("note {number}")));
        story.settles();
        done(&mut story, 0, Command::BackUpToRelay);
    }
    story.does(Transition::send(0, &address(0), "one more"));
    let full = refused(&mut story, 0, Command::BackUpToRelay);
    assert_eq!(full, "Today's backups on the relay are all used up.");
}

#[test]
fn what_is_not_there_or_taken_is_said_to_be() {
    let mut story = Story::new(903, 4, 4);
    let id = story.group(0, "club", &[1, 2]);
    let carl = |member| Command::NameContact { address: address(member), name: "Carl".into() };
    done(&mut story, 0, carl(1));
    assert_eq!(refused(&mut story, 0, carl(2)), format!("You call {} so already.", address(1)));
    let edit = |message: &str| Command::Edit {
        conversation: id.clone(),
        message: message.into(),
        text: "other words".into(),
        preview: None,
    };
    assert_eq!(refused(&mut story, 0, edit("00000000")), "There is no such message in this conversation.");
    // Every id of a message begins with the same byte, which says how it was made.
    story.does(Transition::send(0, &id, "one"));
    story.does(Transition::send(0, &id, "two"));
    story.settles();
    assert_eq!(refused(&mut story, 0, edit("01")), "There is no such message in this conversation.");
    let card = Command::SendContact { conversation: id.clone(), address: String::new(), name: "Nobody".into() };
    assert_eq!(refused(&mut story, 0, card), "“” is not an address.");
}

#[test]
fn an_invitation_that_was_declined_is_gone() {
    let mut story = Story::new(904, 2, 2);
    story.does(Transition::create_group(0, "club", &[&address(1)]));
    story.settles();
    let Some(View::Invitations(waiting)) = story.world.view(1, &Query::Invitations) else { panic!("invitations") };
    let id = waiting[0].conversation.clone();
    story.does(Transition::decline(1, &id));
    story.settles();
    let again = Command::Accept { conversation: id.clone() };
    assert_eq!(refused(&mut story, 1, again), format!("There is no conversation “{id}”."));
}

#[test]
fn links_into_a_group_have_limits() {
    let mut story = Story::new(905, 2, 2);
    let id = story.group(0, "club", &[1]);
    let link = |expires| Command::MakeLink { conversation: id.clone(), expires, uses: 1, direct: true };
    assert_eq!(refused(&mut story, 0, link(1)), "That link would have ended already.");
    for _ in 0..16 {
        done(&mut story, 0, link(0));
    }
    assert_eq!(refused(&mut story, 0, link(0)), "A group has at most 16 links.");
    story.does(Transition::role(0, &id, &address(1), Role::Admin));
    story.settles();
    assert_eq!(refused(&mut story, 1, link(0)), "A group has at most 16 links.");
}

#[test]
fn a_message_is_edited_a_hundred_times_at_most() {
    let mut story = Story::new(906, 2, 2);
    let id = story.direct(0, 1);
    story.does(Transition::send(0, &id, "draft 0"));
    story.settles();
    let message = story.messages(0, &id).pop().expect("it is there").id;
    let edit = |number: u32| Command::Edit {
        conversation: id.clone(),
        message: message.clone(),
        text: format!("draft {number}"),
        preview: None,
    };
    for number in 1..=100 {
        story.does(Transition::Do { device: 0, command: edit(number) });
    }
    story.settles();
    assert_eq!(refused(&mut story, 0, edit(101)), "This message can't be edited any more.");
    assert_eq!(story.texts(1, &id).last().map(String::as_str), Some("draft 100"));
}

#[test]
fn a_thousand_messages_wait_to_be_sent_later() {
    let mut story = Story::new(907, 2, 2);
    let id = story.direct(0, 1);
    let at = story.world.now.0 + 86_400_000;
    for number in 0..1_000 {
        story.does(Transition::schedule(0, &id, &format!("reminder {number}"), at + number));
    }
    let one_more = Command::Schedule {
        at,
        conversation: id,
        text: "one too many".into(),
        reply_to: None,
        preview: None,
        stays: 0,
        view_once: false,
    };
    assert_eq!(refused(&mut story, 0, one_more), "Too much is to be sent later.");
}
