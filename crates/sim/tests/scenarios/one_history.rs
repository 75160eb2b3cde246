//! A relay that shows members different histories (protocol rule 8).

use sim::world::{Alteration, Transition};

use crate::support::{Story, band, goes_on, shown};

fn log(id: &str) -> wire::LogId {
    id.parse().expect("conversations are named by their log")
}

/// Who was told that the relay shows different histories.
fn told(story: &Story) -> Vec<usize> {
    let told = story.world.model.alarms().filter(|(_, problem)| problem.what.contains("different histories"));
    let mut told: Vec<usize> = told.map(|(device, _)| *device).collect();
    told.dedup();
    told
}

/// One of three is not shown a message; the author of that message writes on.
fn withheld(renumber: bool) -> (Story, String) {
    let mut story = Story::new(1, 3, 3);
    let id = story.group(0, "trip", &[1, 2]);
    for (device, text) in [(0, "one"), (1, "two"), (2, "three")] {
        story.does(Transition::send(device, &id, text));
        story.settles();
    }
    story.does(Transition::Withhold { device: 2, log: log(&id), renumber });
    story.does(Transition::send(0, &id, "not for p2"));
    story.does(Transition::Settle);
    (story, id)
}

#[test]
fn rule_8_whoever_is_not_shown_a_message_learns_it_from_the_next_one() {
    for renumber in [true, false] {
        let (mut story, id) = withheld(renumber);
        // It has noticed nothing, and has said nothing from which others could.
        assert!(!story.texts(2, &id).contains(&"not for p2".to_owned()));
        story.does(Transition::send(0, &id, "four"));
        story.does(Transition::Settle);
        assert!(story.texts(2, &id).contains(&"four".to_owned()), "what can be read is shown");
        assert!(told(&story).contains(&2), "renumbered: {renumber}; told: {:?}", told(&story));
    }
}

#[test]
fn rule_8_the_others_learn_it_from_whoever_is_lied_to() {
    let (mut story, id) = withheld(true);
    story.does(Transition::send(2, &id, "I'm here, too"));
    story.does(Transition::Settle);
    story.does(Transition::send(2, &id, "and still am"));
    story.does(Transition::Settle);
    assert!(told(&story).contains(&0) && told(&story).contains(&1), "told: {:?}", told(&story));
}

#[test]
fn rule_8_a_commit_tells_it_as_well() {
    let (mut story, id) = withheld(true);
    story.does(Transition::rename(0, &id, "journey"));
    story.does(Transition::Settle);
    assert!(told(&story).contains(&2), "told: {:?}", told(&story));
}

#[test]
fn rule_8_it_is_told_once_and_not_with_each_message() {
    let (mut story, id) = withheld(true);
    for text in ["four", "five", "six"] {
        story.does(Transition::send(0, &id, text));
        story.does(Transition::Settle);
    }
    let of_two: Vec<&str> = story
        .world
        .model
        .alarms()
        .filter(|(device, _)| *device == 2)
        .map(|(_, problem)| problem.what.as_str())
        .collect();
    let by = |author: &str| of_two.iter().filter(|what| what.contains(author)).count();
    assert_eq!((by("p0@"), by("p1@")), (1, 1), "{of_two:?}");
}

#[test]
fn rule_7_a_relay_that_alters_a_commit_frames_nobody_and_keeps_nobody_out() {
    for how in Alteration::ALL {
        let (mut story, id) = band();
        story.does(Transition::Alter { device: 2, log: log(&id), how });
        story.does(Transition::rename(0, &id, "quartet"));
        story.does(Transition::Settle);
        for device in 0..4 {
            let all = story.conversations(device);
            let accused = all.iter().filter_map(|c| c.ended.as_ref()?.by.as_ref()).collect::<Vec<_>>();
            assert!(accused.is_empty(), "{how:?}: device {device} accuses {accused:?}");
        }
        for _ in 0..3 {
            story.does(Transition::Advance(86_400_000));
            story.does(Transition::Settle);
        }
        let name = shown(&story, 0, "quartet").name;
        goes_on(&mut story, &[0, 1, 2, 3], &name, &[(0, 1), (1, 1), (2, 1), (3, 1)]);
    }
}
