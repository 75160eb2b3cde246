//! Rule 18, where somebody stands in the way: of what goes on, or of who comes along.

use api::{Command, Invitation, MessageStatus, Query, Role, Standing, View};
use engine::mutants::{Crime, Mutant, plant};
use sim::world::{Alteration, DeviceId, Transition};

use crate::succession::all_hold;
use crate::support::{Story, address, band, goes_on, shown};

/// Everything comes to rest, and what people were promised holds, what an insider has ended included.
#[track_caller]
fn rests(story: &mut Story) {
    story.settles();
}

#[test]
fn rule_18_each_of_what_nobody_may_do_ends_in_one_conversation_without_the_device_that_did_it() {
    for crime in Crime::ENDING.into_iter().filter(|crime| !matches!(crime, Crime::Junk | Crime::Leads)) {
        let (mut story, id) = band();
        story.does(Transition::crime(3, &id, crime));
        story.does(Transition::send(1, &id, "meanwhile"));
        rests(&mut story);
        let next = goes_on(&mut story, &[0, 1, 2], "band", &[(0, 1), (1, 1), (2, 1)]);
        assert_ne!(next, id, "{crime:?}");
        assert_eq!(story.texts(2, &next).iter().filter(|text| *text == "meanwhile").count(), 1, "{crime:?}");
        rests(&mut story);
    }
}

#[test]
fn rule_18_where_nobody_is_named_all_go_on_after_a_day() {
    let (mut story, id) = band();
    story.does(Transition::crime(3, &id, Crime::Junk));
    story.does(Transition::send(1, &id, "meanwhile"));
    all_hold(&mut story, &[0, 1, 2, 3], "band");
    for device in 0..4 {
        assert!(shown(&story, device, "band").ended.unwrap().by.is_none());
    }
    story.does(Transition::Settle);
    assert_eq!(shown(&story, 1, "band").standing, Standing::Held);
    story.does(Transition::Advance(86_400_000));
    rests(&mut story);
    let next = goes_on(&mut story, &[0, 1, 2, 3], "band", &[(0, 1), (1, 1), (2, 1), (3, 1)]);
    assert_eq!(story.texts(3, &next).iter().filter(|text| *text == "meanwhile").count(), 1);
}

#[test]
fn rule_18_whoever_has_blocked_the_maker_of_what_goes_on_comes_along() {
    let (mut story, id) = band();
    // The first in the tree makes it.
    story.does(Transition::block(1, &address(0)));
    story.settles();
    story.does(Transition::crime(3, &id, Crime::Removes));
    rests(&mut story);
    goes_on(&mut story, &[0, 1, 2], "band", &[(0, 1), (1, 1), (2, 1)]);
    // Blocked while what goes on is on its way, too.
    let (mut story, id) = band();
    story.does(Transition::crime(3, &id, Crime::Removes));
    all_hold(&mut story, &[0, 1, 2], "band");
    story.does(Transition::block(2, &address(0)));
    rests(&mut story);
    goes_on(&mut story, &[0, 1, 2], "band", &[(0, 1), (1, 1), (2, 1)]);
}

#[test]
fn rule_18_a_group_whose_only_owner_has_ended_it_has_an_heir() {
    let (mut story, id) = band();
    story.does(Transition::role(0, &id, &address(2), Role::Admin));
    story.settles();
    story.does(Transition::crime(0, &id, Crime::Policy));
    rests(&mut story);
    let next = goes_on(&mut story, &[1, 2, 3], "band", &[(1, 1), (2, 1), (3, 1)]);
    for device in [1, 2, 3] {
        let owners = shown(&story, device, "band").members.into_iter().filter(|member| member.role == Role::Owner);
        assert_eq!(owners.map(|owner| owner.address).collect::<Vec<_>>(), [address(2)]);
    }
    // Who was the owner before comes back as a member, if at all.
    story.does(Transition::add(2, &next, &address(0)));
    rests(&mut story);
    let back = shown(&story, 2, "band").members.into_iter().find(|member| member.address == address(0)).unwrap();
    assert_eq!(back.role, Role::Member);
}

#[test]
fn rule_18_whoever_is_left_alone_is_told_so_and_nothing_waits_for_ever() {
    let mut story = Story::new(1, 2, 2);
    let id = story.direct(0, 1);
    story.does(Transition::crime(1, &id, Crime::Kind));
    // The commit is in the log before this is.
    while story.world.view(1, &Query::Conversations).is_some_and(
        |view| matches!(view, View::Conversations(shown) if shown.iter().any(|c| c.standing != Standing::Left)),
    ) {
        story.steps(1);
    }
    story.does(Transition::send(0, &id, "to nobody"));
    story.does(Transition::send(0, &id, "to nobody either"));
    rests(&mut story);
    let conversation = shown(&story, 0, &address(1));
    assert_eq!(conversation.standing, Standing::Held);
    for message in story.messages(0, &id).iter().filter(|message| message.own && message.seq == 0) {
        assert_eq!(message.status, MessageStatus::Failed, "{message:?}");
    }
    let told: Vec<String> = story.world.model.alarms().map(|(_, problem)| problem.to_string()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("Nobody is left in it but you"), "{told:?}");
    story.does(Transition::Advance(2 * 86_400_000));
    rests(&mut story);
    assert_eq!(shown(&story, 0, &address(1)).standing, Standing::Held);
}

/// A group of four in which device 2 has not answered yet, and device 3 does wrong.
fn with_somebody_who_has_not_answered() -> (Story, String) {
    let mut story = Story::new(1, 4, 4);
    let members: Vec<String> = [1, 2, 3].map(address).to_vec();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    story.does(Transition::create_group(0, "band", &members));
    story.settles();
    for device in [1, 3] {
        story.accepts(device);
    }
    let id = story.conversation(0, "band").id;
    story.does(Transition::send(0, &id, "before"));
    story.settles();
    assert_eq!(shown(&story, 2, "band").standing, Standing::Requested);
    (story, id)
}

fn asked(story: &Story, device: DeviceId) -> Vec<Invitation> {
    match story.world.view(device, &Query::Invitations) {
        Some(View::Invitations(invitations)) => invitations,
        other => panic!("device {device} shows {other:?} instead of invitations"),
    }
}

/// Found by seed 4: what goes on was dropped by whoever had not followed the invitation to what it goes on for.
#[test]
fn rule_18_whoever_was_away_since_the_invitation_comes_along_and_is_asked_where_it_goes_on() {
    let mut story = Story::new(1, 4, 4);
    story.does(Transition::GoAway(2));
    let members: Vec<String> = [1, 2, 3].map(address).to_vec();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    story.does(Transition::create_group(0, "band", &members));
    story.does(Transition::Settle);
    let id = story.conversation(0, "band").id;
    for device in [1, 3] {
        story.does(Transition::accept(device, &id));
    }
    story.does(Transition::Settle);
    story.does(Transition::crime(3, &id, Crime::Removes));
    story.does(Transition::Settle);
    story.does(Transition::Advance(3_600_000));
    story.does(Transition::Settle);
    let next = shown(&story, 0, "band").id;
    assert_ne!(next, id);
    story.does(Transition::ComeBack(2));
    rests(&mut story);
    let invitations = asked(&story, 2);
    assert_eq!(invitations.len(), 1, "{invitations:?}");
    assert_eq!((&invitations[0].conversation, &invitations[0].from), (&next, &address(0)));
    story.does(Transition::accept(2, &next));
    rests(&mut story);
    goes_on(&mut story, &[0, 1, 2], "band", &[(0, 1), (1, 1), (2, 1)]);
}

/// Found by seed 75.
#[test]
fn rule_18_what_is_to_be_sent_between_the_end_and_what_goes_on_goes_out_there() {
    let (mut story, id) = band();
    let command = Command::Schedule {
        at: story.world.now.0 + 7_200_000,
        conversation: id.clone(),
        text: "in two hours".into(),
        reply_to: None,
        preview: None,
        stays: 0,
        view_once: false,
    };
    story.does(Transition::Do { device: 1, command });
    story.settles();
    // Where nobody is named it takes a day.
    story.does(Transition::crime(3, &id, Crime::Junk));
    all_hold(&mut story, &[0, 1, 2, 3], "band");
    story.does(Transition::Advance(3 * 3_600_000));
    story.does(Transition::Settle);
    let Some(View::Scheduled(waiting)) = story.world.view(1, &Query::Scheduled { conversation: None }) else {
        panic!("what waits can be asked for");
    };
    assert!(waiting.len() == 1 && waiting[0].problem.is_none(), "{waiting:?}");
    story.does(Transition::Advance(86_400_000));
    rests(&mut story);
    let next = goes_on(&mut story, &[0, 1, 2, 3], "band", &[(0, 1), (1, 1), (2, 1), (3, 1)]);
    assert_eq!(story.texts(0, &next).iter().filter(|text| *text == "in two hours").count(), 1);
}

#[test]
fn rule_18_whoever_has_not_answered_comes_along_and_is_asked_there() {
    let (mut story, id) = with_somebody_who_has_not_answered();
    story.does(Transition::crime(3, &id, Crime::Removes));
    rests(&mut story);
    let next = goes_on(&mut story, &[0, 1], "band", &[(0, 1), (1, 1), (2, 1)]);
    assert_ne!(next, id);
    // Nobody has taken the invitation for them, and it says who had asked.
    assert_eq!(shown(&story, 2, "band").standing, Standing::Requested);
    let invitations = asked(&story, 2);
    assert_eq!(invitations.len(), 1, "{invitations:?}");
    assert_eq!((&invitations[0].conversation, &invitations[0].from), (&next, &address(0)));
    story.does(Transition::accept(2, &next));
    rests(&mut story);
    assert_eq!(shown(&story, 2, "band").standing, Standing::Active);
    assert_eq!(story.texts(2, &next), story.texts(0, &next));
    assert!(story.texts(2, &next).contains(&"before".into()));
}

#[test]
fn rule_18_an_invitation_can_be_answered_when_what_it_is_for_has_ended() {
    let (mut story, id) = with_somebody_who_has_not_answered();
    story.does(Transition::crime(3, &id, Crime::Removes));
    all_hold(&mut story, &[0, 1, 2], "band");
    story.does(Transition::accept(2, &id));
    rests(&mut story);
    goes_on(&mut story, &[0, 1, 2], "band", &[(0, 1), (1, 1), (2, 1)]);
    // Refused, it does not come back.
    let (mut story, id) = with_somebody_who_has_not_answered();
    story.does(Transition::crime(3, &id, Crime::Removes));
    all_hold(&mut story, &[0, 1, 2], "band");
    story.does(Transition::decline(2, &id));
    rests(&mut story);
    assert!(story.conversations(2).is_empty(), "{:?}", story.conversations(2));
    assert!(asked(&story, 2).is_empty());
}

#[test]
fn rule_18_all_that_is_kept_of_a_conversation_is_kept_on_each_device() {
    let (mut story, id) = band();
    let draft = |text: &str| Command::Draft { conversation: id.clone(), text: text.into() };
    story.does(Transition::Do { device: 1, command: draft("half a thought") });
    story.does(Transition::crime(3, &id, Crime::Removes));
    rests(&mut story);
    assert_eq!(shown(&story, 1, "band").draft, "half a thought");
}

#[test]
fn rule_18_a_revoked_device_that_is_still_a_leaf_keeps_nobody_from_going_on() {
    let mut story = Story::new(1, 4, 5);
    let id = story.group(0, "band", &[1, 2, 3]);
    story.does(Transition::Link { device: 4, by: 2 });
    story.settles();
    // Nobody in the group has heard of it when it ends, the maker least of all.
    let lost = match story.world.view(4, &Query::WhoAmI) {
        Some(View::WhoAmI(Some(account))) => account.device,
        other => panic!("{other:?}"),
    };
    story.does(Transition::crime(3, &id, Crime::Kind));
    all_hold(&mut story, &[0, 1, 2, 4], "band");
    story.does(Transition::Do { device: 2, command: Command::RevokeDevice { device: lost } });
    story.does(Transition::Settle);
    story.does(Transition::Advance(3_600_000));
    story.does(Transition::Settle);
    let next = goes_on(&mut story, &[0, 1, 2], "band", &[(0, 1), (1, 1), (2, 1)]);
    assert_ne!(next, id);
}

#[test]
fn rule_18_a_group_of_more_than_one_commit_adds_goes_on_as_one() {
    // Of these a commit adds three at most, as one does four hundred outside of the simulator.
    let mut story = Story::new(1, 7, 7);
    let id = story.group(0, "band", &[1, 2, 3, 4, 5, 6]);
    story.does(Transition::crime(6, &id, Crime::Crowns));
    rests(&mut story);
    let members: Vec<(usize, u32)> = (0..6).map(|person| (person, 1)).collect();
    goes_on(&mut story, &[0, 1, 2, 3, 4, 5], "band", &members);
}

#[test]
fn rule_17_what_was_chosen_on_either_side_of_an_ending_holds_on_both_devices() {
    let mut story = Story::new(1, 3, 4);
    let id = story.group(0, "band", &[1, 2]);
    story.does(Transition::Link { device: 3, by: 1 });
    story.settles();
    let mute = |conversation: &str, until| Command::Mute { conversation: conversation.into(), until };
    story.does(Transition::Do { device: 1, command: mute(&id, api::FOREVER) });
    story.settles();
    assert_eq!(shown(&story, 3, "band").muted_until, api::FOREVER);
    story.does(Transition::crime(2, &id, Crime::Kind));
    all_hold(&mut story, &[0, 1, 3], "band");
    // One of them is off while the other goes on, and chooses something of what it still has.
    story.does(Transition::CrashDevice(3));
    story.does(Transition::OpenDevice(3));
    story.does(Transition::Do { device: 3, command: mute(&id, 0) });
    rests(&mut story);
    goes_on(&mut story, &[0, 1, 3], "band", &[(0, 1), (1, 2)]);
    for device in [1, 3] {
        assert_eq!(shown(&story, device, "band").muted_until, 0, "device {device}");
    }
    // What is chosen now is heard as well.
    let next = shown(&story, 1, "band").id;
    story.does(Transition::Do { device: 1, command: mute(&next, api::FOREVER) });
    rests(&mut story);
    assert_eq!(shown(&story, 3, "band").muted_until, api::FOREVER);
}

#[test]
fn rule_18_what_is_no_successor_takes_nobody_along() {
    for crime in Crime::SUCCEEDING {
        let (mut story, id) = band();
        // Whoever is first in the tree makes it, and is in it alone.
        story.does(Transition::crime(0, &id, crime));
        story.does(Transition::crime(3, &id, Crime::Kind));
        rests(&mut story);
        story.does(Transition::Advance(3_600_000));
        rests(&mut story);
        let (one, other) = (shown(&story, 1, "band"), shown(&story, 2, "band"));
        assert_eq!(
            (&one.id, one.standing, other.standing),
            (&other.id, Standing::Active, Standing::Active),
            "{crime:?}"
        );
        assert_ne!(one.id, id, "{crime:?}");
        // It is not a way to put anybody out: whoever has made it is a member as before.
        let inside: Vec<String> = one.members.iter().map(|member| member.address.clone()).collect();
        assert_eq!(inside, [address(0), address(1), address(2)], "{crime:?}");
        let owners = one.members.iter().filter(|member| member.role == Role::Owner).count();
        assert_eq!(owners, 1, "{crime:?}");
        story.does(Transition::send(1, &one.id, "among us"));
        rests(&mut story);
        assert!(story.texts(2, &one.id).contains(&"among us".into()), "{crime:?}");
    }
}

#[test]
fn rule_18_an_invitation_of_before_that_is_left_again_leads_nobody_back() {
    let (mut story, id) = band();
    story.does(Transition::crime(3, &id, Crime::Removes));
    rests(&mut story);
    let next = goes_on(&mut story, &[0, 1, 2], "band", &[(0, 1), (1, 1), (2, 1)]);
    story.does(Transition::crime(2, &next, Crime::Kind));
    rests(&mut story);
    let last = shown(&story, 0, "band").id;
    // A relay leaves all that it has ever had for anybody in the inboxes again: also what led from the first to the second.
    story.world.deposits_again();
    rests(&mut story);
    for device in [0, 1] {
        assert_eq!(shown(&story, device, "band").id, last);
    }
    story.does(Transition::send(0, &last, "here"));
    rests(&mut story);
    assert!(story.texts(1, &last).contains(&"here".into()));
}

#[test]
fn rule_18_what_is_said_behind_the_end_waits_and_is_said_where_the_others_go_on() {
    let (mut story, id) = band();
    story.does(Transition::crime(3, &id, Crime::Junk));
    story.does(Transition::send(1, &id, "before I know"));
    all_hold(&mut story, &[0, 1, 2, 3], "band");
    // Nobody goes on for a day; who writes meanwhile is not turned away.
    story.does(Transition::send(1, &id, "written behind the end"));
    let message = story.messages(0, &id).into_iter().find(|message| message.own).unwrap().id;
    let command =
        Command::React { conversation: id.clone(), message: message.clone(), emoji: "👍".into(), remove: false };
    story.does(Transition::Do { device: 2, command });
    story.does(Transition::Settle);
    let waiting = story.messages(1, &id).into_iter().find(|message| message.seq == 0).unwrap();
    assert_eq!(waiting.status, MessageStatus::Sending);
    // It outlasts the program.
    story.does(Transition::CrashDevice(1));
    story.does(Transition::OpenDevice(1));
    story.does(Transition::Advance(86_400_000));
    rests(&mut story);
    let next = goes_on(&mut story, &[0, 1, 2, 3], "band", &[(0, 1), (1, 1), (2, 1), (3, 1)]);
    for device in 0..4 {
        let texts = story.texts(device, &next);
        assert_eq!(texts.iter().filter(|text| *text == "written behind the end").count(), 1, "{texts:?}");
        let liked = story.messages(device, &next).into_iter().find(|shown| shown.id == message).unwrap();
        assert_eq!(liked.reactions.len(), 1, "device {device}");
    }
}

#[test]
fn rule_18_a_conversation_of_two_does_not_go_on_between_the_devices_of_one() {
    let mut story = Story::new(1, 2, 3);
    let id = story.direct(0, 1);
    story.does(Transition::Link { device: 2, by: 0 });
    story.settles();
    story.does(Transition::crime(1, &id, Crime::Kind));
    rests(&mut story);
    for device in [0, 2] {
        let conversation = shown(&story, device, &address(1));
        assert_eq!((conversation.id, conversation.standing), (id.clone(), Standing::Held), "device {device}");
    }
    // Nothing of it has become a note to oneself, and nothing waits for nobody.
    story.does(Transition::send(0, &id, "to nobody"));
    rests(&mut story);
    assert!(story.messages(0, &id).iter().all(|message| message.seq != 0 || message.status == MessageStatus::Failed));
    let notes = story.conversations(0).into_iter().filter(|c| c.kind == api::ConversationKind::Note);
    assert!(notes.flat_map(|note| story.texts(0, &note.id)).all(|text| text != "hello"));
}

#[test]
fn rule_18_a_device_is_linked_while_a_conversation_waits_for_what_goes_on() {
    let mut story = Story::new(1, 4, 5);
    let id = story.group(0, "band", &[1, 2, 3]);
    let pair = story.direct(0, 1);
    story.does(Transition::crime(3, &id, Crime::Junk));
    all_hold(&mut story, &[0, 1, 2, 3], "band");
    story.does(Transition::Link { device: 4, by: 0 });
    story.does(Transition::Settle);
    // It is in everywhere else at once, and there as soon as the others go on.
    assert_eq!(shown(&story, 4, &address(1)).id, pair);
    story.does(Transition::Advance(86_400_000));
    rests(&mut story);
    goes_on(&mut story, &[0, 1, 2, 3, 4], "band", &[(0, 2), (1, 1), (2, 1), (3, 1)]);
}

#[test]
fn rule_18_who_was_away_for_weeks_begins_a_conversation_of_two_anew() {
    let mut story = Story::new(1, 2, 2);
    let id = story.direct(0, 1);
    story.does(Transition::crime(1, &id, Crime::Junk));
    story.does(Transition::send(0, &id, "meanwhile"));
    all_hold(&mut story, &[0], &address(1));
    all_hold(&mut story, &[1], &address(0));
    story.does(Transition::GoAway(1));
    // The other side goes on, and its invitation is gone by the time that this one is back.
    for _ in 0..15 {
        story.does(Transition::Advance(7 * 86_400_000));
        story.does(Transition::Settle);
    }
    story.does(Transition::ComeBack(1));
    rests(&mut story);
    story.does(Transition::send(1, &address(0), "I am back"));
    rests(&mut story);
    story.does(Transition::send(0, &address(1), "I have missed you"));
    rests(&mut story);
    for (device, other) in [(0, 1), (1, 0)] {
        let query = Query::Messages { conversation: address(other), before: None, limit: 100 };
        let Some(View::Messages(messages)) = story.world.view(device, &query) else { panic!("no messages") };
        let texts = messages.into_iter().filter_map(|message| match message.kind {
            api::MessageKind::Text { text } => Some(text),
            _ => None,
        });
        let texts: Vec<String> = texts.collect();
        assert!(texts.ends_with(&["I am back".into(), "I have missed you".into()]), "device {device} shows {texts:?}");
    }
}

#[test]
fn rule_18_an_insider_and_the_relay_together_frame_nobody_and_whoever_is_cut_off_is_told() {
    for (how, crime) in Alteration::ALL.into_iter().flat_map(|how| [Crime::Removes, Crime::Next].map(|c| (how, c))) {
        let (mut story, id) = band();
        story.does(Transition::Alter { device: 2, log: id.parse().expect("it is a log's"), how });
        story.does(Transition::crime(3, &id, crime));
        story.does(Transition::Settle);
        for device in 0..4 {
            let all = story.conversations(device);
            let accused = all.iter().filter_map(|c| c.ended.as_ref()?.by.as_ref()).map(|by| by.address.clone());
            assert!(accused.into_iter().all(|by| by == address(3)), "{how:?}, {crime:?}: device {device}");
        }
        for _ in 0..2 {
            story.does(Transition::Advance(86_400_000));
            story.does(Transition::Settle);
        }
        let told = story.world.model.alarms().filter(|(device, _)| *device == 2);
        let told = told.filter(|(_, problem)| problem.what.contains("goes on with “band” in a way")).count();
        let (one, other) = (shown(&story, 0, "band").id, shown(&story, 2, "band").id);
        match one == other {
            // What was altered is no part of the end.
            true => _ = goes_on(&mut story, &[0, 1, 2], "band", &[(0, 1), (1, 1), (2, 1)]),
            false => {
                assert!(told > 0, "{how:?}, {crime:?}: nobody tells device 2");
                assert!(story.messages(2, &other).iter().any(|m| matches!(&m.kind, api::MessageKind::System { text }
                    if text.contains("ask them by another way"))));
            }
        }
    }
}

/// Nobody but device 3 is where device 3 has made itself the owner.
#[track_caller]
fn nobody_follows(story: &Story) {
    for device in 0..3 {
        let shown = shown(story, device, "band");
        let owner = shown.members.iter().find(|member| member.role == Role::Owner).map(|member| &member.address);
        assert_eq!(owner, Some(&address(0)), "device {device}: {shown:?}");
    }
}

#[test]
fn rule_18_an_insider_leads_nobody_elsewhere_behind_an_end_that_names_nobody() {
    let (mut story, id) = band();
    story.does(Transition::crime(3, &id, Crime::Leads));
    story.does(Transition::send(1, &id, "meanwhile"));
    all_hold(&mut story, &[0, 1, 2], "band");
    // They ask to be added again, and the insider does that: into a group of its own, without the owner.
    story.does(Transition::Settle);
    story.does(Transition::Advance(4 * 3_600_000));
    story.does(Transition::Settle);
    nobody_follows(&story);
    let told = story.world.model.alarms().filter(|(_, problem)| problem.what.contains("leads you to another “band”"));
    let told: Vec<_> = told.collect();
    assert!(!told.is_empty());
    assert!(told.iter().all(|(_, problem)| problem.why.contains("p3@a.example is an owner in it, and was not.")));
    story.does(Transition::Advance(86_400_000));
    story.does(Transition::Settle);
    nobody_follows(&story);
    // Whoever refuses goes on with the others, with all that it takes for that still there.
    for device in 1..3 {
        story.does(Transition::decline(device, &id));
    }
    story.does(Transition::Advance(86_400_000));
    story.does(Transition::Settle);
    let next = shown(&story, 0, "band").id;
    assert_ne!(next, id);
    for device in 0..3 {
        let shown = shown(&story, device, "band");
        assert_eq!((&shown.id, shown.standing), (&next, Standing::Active), "device {device}");
    }
    assert_eq!(story.texts(2, &next).iter().filter(|text| *text == "meanwhile").count(), 1);
    nobody_follows(&story);
}

#[test]
fn rule_18_what_nobody_can_follow_though_it_opens_ends_for_all() {
    let (mut story, id) = band();
    // It is its author's doing, who answers nobody.
    plant(Some(Mutant::CantFollow));
    story.does(Transition::rename(0, &id, "quartet"));
    for _ in 0..20_000 {
        if (1..4).all(|device| shown(&story, device, "band").standing == Standing::Held) {
            break;
        }
        story.steps(1);
    }
    plant(None);
    story.does(Transition::GoAway(0));
    for _ in 0..10 {
        story.does(Transition::Advance(86_400_000));
        story.does(Transition::Settle);
    }
    let next = shown(&story, 1, "band").id;
    for device in 1..4 {
        let shown = shown(&story, device, "band");
        assert_eq!((&shown.id, shown.standing), (&next, Standing::Active), "device {device}");
    }
    assert_ne!(next, id);
    story.does(Transition::send(2, &next, "on"));
    story.does(Transition::Settle);
    assert!(story.texts(3, &next).contains(&"on".into()));
}

#[test]
fn rule_18_whoever_was_not_invited_to_what_goes_on_is_told_and_comes_in() {
    let (mut story, id) = band();
    // The first in the tree makes it, and keeps the last one's invitation; that one makes its own.
    story.does(Transition::crime(0, &id, Crime::SuccessorKeeps));
    story.does(Transition::crime(3, &id, Crime::Crowns));
    story.does(Transition::Settle);
    story.does(Transition::send(2, &address(0), "is anybody there?"));
    for _ in 0..4 {
        story.does(Transition::Advance(3_600_000));
        story.does(Transition::Settle);
    }
    let (one, other) = (shown(&story, 1, "band"), shown(&story, 2, "band"));
    assert_eq!((&one.id, one.standing, other.standing), (&other.id, Standing::Active, Standing::Active));
    story.does(Transition::send(1, &one.id, "among us"));
    story.does(Transition::send(2, &one.id, "me too"));
    story.does(Transition::Settle);
    for device in 0..3 {
        let texts = story.texts(device, &one.id);
        for text in ["among us", "me too", "before from 0"] {
            assert_eq!(texts.iter().filter(|said| *said == text).count(), 1, "device {device}: {texts:?}");
        }
    }
}
