//! Who is writing (protocol rule 19), as people on their devices see it. That nothing of it reaches a database, that nobody is said to
//! be writing who did not lately, and that it ends, is checked at each step of every story.

use api::{Command, Query, View};
use sim::world::{DeviceId, Fate, Transition};

use crate::support::{Story, address};

const HOUR: u64 = 3_600_000;

fn types(device: DeviceId, conversation: &str, typing: bool) -> Transition {
    Transition::Do { device, command: Command::Typing { conversation: conversation.into(), typing } }
}

fn tells(device: DeviceId, on: bool) -> Transition {
    Transition::Do { device, command: Command::TellTyping { on } }
}

/// Whom a device shows as writing.
fn writing(story: &Story, device: DeviceId) -> Vec<String> {
    let all = story.world.model.writing.keys();
    all.filter(|(shown, ..)| *shown == device).map(|(_, _, from)| from.clone()).collect()
}

/// Lets the network step until it is so, at most as long as a signal takes.
fn soon(story: &mut Story, so: impl Fn(&Story) -> bool) -> bool {
    (0..1_000).any(|_| {
        story.steps(1);
        so(story)
    })
}

fn fate(story: &Story, device: DeviceId) -> Fate {
    let last = story.world.model.given.iter().rfind(|((who, _), _)| *who == device);
    last.expect("something was asked for").1.fate
}

#[test]
fn rule_19_the_others_see_who_is_writing_until_it_is_sent_stopped_or_over() {
    let mut story = Story::new(1, 3, 4);
    let id = story.group(0, "club", &[1, 2]);
    story.does(Transition::Link { device: 3, by: 1 });
    story.settles();
    for end in [Some(Transition::send(0, &id, "there")), Some(types(0, &id, false)), None] {
        story.does(types(0, &id, true));
        for device in [1, 2, 3] {
            assert!(soon(&mut story, |story| writing(story, device) == [address(0)]), "device {device}, {end:?}");
        }
        assert_eq!(writing(&story, 0), Vec::<String>::new());
        match end {
            Some(end) => {
                story.does(end);
                assert!(soon(&mut story, |story| story.world.model.writing.is_empty()));
            }
            None => story.does(Transition::Advance(10_000)),
        }
        story.settles();
        assert!(story.world.model.writing.is_empty());
    }
    // Two own devices: neither hears the other.
    story.does(types(3, &id, true));
    assert!(soon(&mut story, |story| writing(story, 0) == [address(1)]));
    story.settles();
    assert!(writing(&story, 1).is_empty());
}

#[test]
fn rule_19_who_does_not_tell_is_not_told() {
    let mut story = Story::new(2, 2, 3);
    let id = story.direct(0, 1);
    story.does(Transition::Link { device: 2, by: 0 });
    story.settles();
    story.does(tells(0, false));
    story.settles();
    // It is the person's choice, not the device's.
    for device in [0, 2] {
        let settings = story.world.view(device, &Query::Settings);
        assert!(matches!(settings, Some(View::Settings(settings)) if !settings.typing), "device {device}");
        story.does(types(device, &id, true));
        assert!(matches!(fate(&story, device), Fate::Failed(_)), "device {device}");
    }
    story.does(types(1, &id, true));
    assert!(!soon(&mut story, |story| !story.world.model.writing.is_empty()));
    story.does(tells(2, true));
    story.settles();
    story.does(types(0, &id, true));
    assert!(soon(&mut story, |story| writing(story, 1) == [address(0)]));
    story.settles();
}

#[test]
fn rule_19_nobody_hears_it_later_or_from_outside() {
    let mut story = Story::new(3, 3, 3);
    let id = story.group(0, "club", &[1, 2]);
    // Off, and on again at once: it was not there.
    story.does(Transition::CrashDevice(1));
    story.does(types(0, &id, true));
    assert!(soon(&mut story, |story| writing(story, 2) == [address(0)]));
    story.does(Transition::OpenDevice(1));
    story.settles();
    // Removed.
    story.does(Transition::remove(0, &id, &address(2)));
    story.settles();
    story.does(types(0, &id, true));
    assert!(soon(&mut story, |story| writing(story, 1) == [address(0)]));
    assert!(writing(&story, 2).is_empty());
    story.settles();
    // Whoever is out tells nobody, and neither does one whose relay is not in reach.
    story.does(types(2, &id, true));
    assert!(matches!(fate(&story, 2), Fate::Failed(_)));
    story.does(Transition::Cut(0));
    story.does(types(0, &id, true));
    assert!(matches!(fate(&story, 0), Fate::Failed(_)));
    story.settles();
}

#[test]
fn rule_19_a_relay_that_keeps_a_signal_back_keeps_it_for_nothing() {
    let mut story = Story::new(4, 2, 2);
    let id = story.direct(0, 1);
    for steps in 0..60 {
        story.does(types(0, &id, true));
        story.steps(steps);
        story.does(Transition::Advance(HOUR));
        // The model objects to what comes too late.
        story.settles();
        assert!(story.world.model.writing.is_empty());
    }
}

#[test]
fn rule_19_nothing_is_heard_of_the_blocked_or_told_to_oneself() {
    let mut story = Story::new(5, 3, 3);
    let id = story.group(0, "club", &[1, 2]);
    story.does(Transition::block(1, &address(0)));
    story.does(Transition::send(0, &address(0), "to myself"));
    story.settles();
    let note = story.conversations(0).into_iter().find(|conversation| conversation.members.len() == 1);
    story.does(types(0, &note.expect("there are notes").id, true));
    assert!(matches!(fate(&story, 0), Fate::Done(_)));
    story.does(types(0, &id, true));
    assert!(soon(&mut story, |story| writing(story, 2) == [address(0)]));
    assert!(!soon(&mut story, |story| !writing(story, 1).is_empty()));
    story.settles();
}

/// A program says so with each key that is pressed.
#[test]
fn rule_19_a_signal_is_sent_every_few_seconds_at_most() {
    let mut story = Story::new(6, 2, 2);
    let id = story.direct(0, 1);
    story.does(types(0, &id, true));
    for _ in 0..1_000 {
        story.does(types(0, &id, true));
        // Said at once: nothing was asked of a relay.
        assert!(matches!(fate(&story, 0), Fate::Done(_)));
    }
    story.settles();
}
