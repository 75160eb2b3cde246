//! Who is there (protocol rule 19), as people on their devices see it. That nobody is shown who has not chosen so, or who was not there lately, and
//! that nothing is shown to who doesn't tell, is checked at each step of every story.

use api::{Command, Query, View};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

const MINUTE: u64 = 60_000;

fn there(device: DeviceId, here: bool) -> Transition {
    Transition::Do { device, command: Command::Presence { here } }
}

fn tells(device: DeviceId, on: bool) -> Transition {
    Transition::Do { device, command: Command::TellPresence { on } }
}

/// Whom a device was told to be online, as a program that listens has it.
fn online(story: &Story, device: DeviceId) -> Vec<String> {
    let all = story.world.model.online.keys();
    all.filter(|(shown, _)| *shown == device).map(|(_, from)| from.clone()).collect()
}

/// What a program that looks is shown of somebody: online, last seen.
fn shown(story: &Story, device: DeviceId, conversation: &str, who: DeviceId) -> (bool, u64) {
    let query = Query::Conversation { conversation: conversation.into() };
    let Some(View::Conversation(conversation)) = story.world.view(device, &query) else { panic!("nothing is shown") };
    let member = conversation.members.into_iter().find(|member| member.address == address(who)).expect("a member");
    (member.online, member.last_seen)
}

/// Everybody in it tells and is there.
fn all_there(story: &mut Story, devices: &[DeviceId]) {
    for device in devices {
        story.does(tells(*device, true));
        story.does(there(*device, true));
    }
    story.settles();
}

#[test]
fn rule_19_presence_is_off_until_both_have_chosen_it() {
    let mut story = Story::new(11, 3, 3);
    let id = story.group(0, "club", &[1, 2]);
    (0..3).for_each(|device| story.does(there(device, true)));
    story.settles();
    story.does(tells(0, true));
    story.settles();
    assert!((0..3).all(|device| online(&story, device).is_empty()), "nobody but one tells");
    story.does(tells(1, true));
    story.settles();
    assert_eq!((online(&story, 0), online(&story, 1)), (vec![address(1)], vec![address(0)]));
    assert_eq!(online(&story, 2), Vec::<String>::new());
    assert_eq!(shown(&story, 2, &id, 0), (false, 0));
    assert!(shown(&story, 0, &id, 1).0 && shown(&story, 0, &id, 1).1 > 0);
    // Who takes it back is gone for the others, and sees nothing more, not even what was.
    story.does(tells(1, false));
    assert_eq!(shown(&story, 1, &id, 0), (false, 0));
    story.settles();
    assert_eq!(online(&story, 0), Vec::<String>::new());
    story.does(there(0, false));
    story.settles();
    story.does(tells(1, true));
    story.settles();
    assert_eq!(shown(&story, 1, &id, 0), (false, 0));
}

#[test]
fn rule_19_who_comes_sees_who_is_there_and_who_goes_is_gone() {
    let mut story = Story::new(12, 3, 3);
    let id = story.direct(0, 1);
    story.group(0, "club", &[1, 2]);
    all_there(&mut story, &[0]);
    story.does(Transition::Advance(MINUTE));
    // Long before the first one says so again.
    all_there(&mut story, &[1]);
    assert_eq!((online(&story, 0), online(&story, 1)), (vec![address(1)], vec![address(0)]));
    let came = story.world.now.0;
    story.does(Transition::Advance(MINUTE));
    story.does(there(1, false));
    story.settles();
    assert_eq!(online(&story, 0), Vec::<String>::new());
    let (is_online, seen) = shown(&story, 0, &id, 1);
    assert!(!is_online && (came..=story.world.now.0).contains(&seen), "{seen}");
    // It is known to the next program, too.
    story.does(there(0, false));
    story.does(Transition::CrashDevice(0));
    story.does(Transition::OpenDevice(0));
    assert_eq!(shown(&story, 0, &id, 1), (false, seen));
}

#[test]
fn rule_19_who_dies_is_gone_after_some_minutes_and_who_stays_is_not() {
    let mut story = Story::new(13, 3, 3);
    story.group(0, "club", &[1, 2]);
    all_there(&mut story, &[0, 1, 2]);
    story.does(Transition::CrashDevice(1));
    for minutes in 1..=12 {
        story.does(Transition::Advance(MINUTE));
        (0..40).for_each(|_| story.steps(50));
        let seen = online(&story, 0);
        assert!(seen.contains(&address(2)), "after {minutes} minutes");
        assert!(minutes < 6 || !seen.contains(&address(1)), "after {minutes} minutes");
    }
    // It is back, and nobody looks at it: that a device is connected tells nothing.
    story.does(Transition::OpenDevice(1));
    story.settles();
    assert_eq!(online(&story, 0), [address(2)]);
}

#[test]
fn rule_19_of_several_devices_one_is_enough() {
    let mut story = Story::new(14, 2, 3);
    let id = story.direct(0, 1);
    story.does(Transition::Link { device: 2, by: 0 });
    story.settles();
    // The choice is the person's.
    all_there(&mut story, &[0, 1]);
    story.does(there(2, true));
    story.settles();
    assert_eq!(online(&story, 1), [address(0)]);
    assert!(!shown(&story, 2, &id, 0).0, "nobody sees themselves");
    story.does(there(0, false));
    story.settles();
    assert_eq!(online(&story, 1), [address(0)]);
    story.does(there(2, false));
    story.settles();
    assert_eq!(online(&story, 1), Vec::<String>::new());
}

#[test]
fn rule_19_the_blocked_and_strangers_are_told_nothing_of_presence() {
    let mut story = Story::new(15, 4, 4);
    let id = story.group(0, "club", &[1, 2]);
    all_there(&mut story, &[0, 1, 2, 3]);
    assert_eq!(online(&story, 1), [address(0), address(2)]);
    // A stranger's request is not accepted yet.
    story.does(Transition::send(3, &address(0), "you don't know me"));
    story.settles();
    story.does(Transition::Advance(3 * MINUTE));
    story.settles();
    assert_eq!((online(&story, 3), online(&story, 0).contains(&address(3))), (vec![], false));
    story.accepts(0);
    story.does(Transition::Advance(3 * MINUTE));
    story.settles();
    assert_eq!(online(&story, 3), [address(0)]);
    // In a group with somebody who is blocked nobody is told, since all members can read it; and it ends at once.
    story.does(Transition::block(0, &address(1)));
    story.settles();
    assert!(!online(&story, 1).contains(&address(0)));
    assert!(!online(&story, 0).contains(&address(1)));
    assert_eq!(shown(&story, 0, &id, 1), (false, 0));
    for _ in 0..4 {
        story.does(Transition::Advance(2 * MINUTE));
        story.settles();
        assert!(!online(&story, 1).contains(&address(0)));
    }
    assert_eq!(online(&story, 3), [address(0)]);
}

/// What is told in passing is void when it comes late, whoever keeps it back.
#[test]
fn rule_19_presence_that_a_relay_keeps_back_is_kept_for_nothing() {
    let mut story = Story::new(16, 2, 2);
    story.direct(0, 1);
    all_there(&mut story, &[1]);
    story.does(tells(0, true));
    story.settles();
    for steps in 0..40 {
        story.does(there(0, true));
        story.steps(steps);
        story.does(there(0, false));
        story.does(Transition::Advance(MINUTE));
        // The model objects to somebody coming who went a minute ago.
        story.steps(200);
        story.does(Transition::Advance(6 * MINUTE));
        story.settles();
        assert_eq!(online(&story, 1), Vec::<String>::new());
    }
}

#[test]
fn rule_19_in_conversations_of_more_than_32_nobody_is_told_anything() {
    let mut story = Story::new(17, 33, 33);
    let others: Vec<DeviceId> = (1..32).collect();
    let id = story.group(0, "fair", &others);
    let types = |device| Transition::Do { device, command: Command::Typing { conversation: id.clone(), typing: true } };
    let writes = |story: &Story| story.world.model.writing.len();
    all_there(&mut story, &[0, 1, 31]);
    assert_eq!(online(&story, 31), [address(0), address(1)]);
    story.does(types(0));
    assert!((0..2_000).any(|_| {
        story.steps(1);
        writes(&story) == 31
    }));
    story.does(Transition::Advance(10_000));
    story.settles();
    // One more.
    story.does(Transition::add(0, &id, &address(32)));
    story.settles();
    story.accepts(32);
    all_there(&mut story, &[32]);
    story.does(types(0));
    let last = story.world.model.given.iter().rfind(|((who, _), _)| *who == 0).expect("something was asked for");
    assert!(matches!(last.1.fate, sim::world::Fate::Failed(_)));
    story.settles();
    assert_eq!(writes(&story), 0);
    assert_eq!(online(&story, 32), Vec::<String>::new());
    story.does(Transition::Advance(6 * MINUTE));
    story.settles();
    assert_eq!(online(&story, 31), Vec::<String>::new());
}
