//! A device that alone can't follow a conversation is added again by those that it asks, also where some of them don't do it well. That
//! it can't follow, and that somebody answers badly, is the doing of the simulator's hooks.

use api::Standing;
use engine::mutants::{Mutant, plant};
use sim::world::Transition;

use crate::support::Story;

/// What device 1 shows of the group.
fn standing(story: &Story, id: &str) -> Option<Standing> {
    story
        .conversations(1)
        .into_iter()
        .find(|conversation| conversation.id == id)
        .map(|conversation| conversation.standing)
}

/// Goes on until device 1 shows the group like this.
#[track_caller]
fn comes_to(story: &mut Story, id: &str, wanted: Standing) {
    for _ in 0..20_000 {
        if standing(story, id) == Some(wanted) {
            return;
        }
        story.steps(1);
    }
    panic!("device 1 never comes to {wanted:?}");
}

/// A group of three, of whom device 1 could not follow the last change.
fn held() -> (Story, String) {
    let mut story = Story::new(1, 3, 3);
    let id = story.group(0, "band", &[1, 2]);
    story.does(Transition::CrashDevice(2));
    plant(Some(Mutant::CantFollow));
    story.does(Transition::rename(0, &id, "choir"));
    comes_to(&mut story, &id, Standing::Held);
    plant(None);
    (story, id)
}

/// Device 1 takes part again: it reads what others write, and others read it.
fn takes_part(story: &mut Story, id: &str) {
    assert_eq!(standing(story, id), Some(Standing::Active));
    for (device, text) in [(0, "welcome back"), (1, "here I am"), (2, "good")] {
        story.does(Transition::send(device, id, text));
        story.does(Transition::Settle);
    }
    for device in 0..3 {
        let texts = story.texts(device, id);
        assert!(texts.ends_with(&["welcome back".into(), "here I am".into(), "good".into()]), "{device}: {texts:?}");
    }
}

#[test]
fn a_device_that_cant_follow_is_added_again() {
    let (mut story, id) = held();
    story.does(Transition::Settle);
    takes_part(&mut story, &id);
}

#[test]
fn rule_6_a_member_that_keeps_the_invitation_to_itself_keeps_nobody_out_for_long() {
    let (mut story, id) = held();
    plant(Some(Mutant::InvitationWithheld));
    story.does(Transition::Settle);
    plant(None);
    assert_eq!(standing(&story, &id), Some(Standing::Held), "it was added and never told");
    story.does(Transition::Advance(3_600_000));
    story.does(Transition::Settle);
    takes_part(&mut story, &id);
}
