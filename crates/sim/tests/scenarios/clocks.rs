//! Clocks that are wrong and are set: nothing waits for ever, nothing is lost.

use api::{Query, View};
use sim::store::Faults;
use sim::trace::Trace;
use sim::world::{Transition, World};

use crate::support::{RELAY, Story, address};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

#[test]
fn what_waits_does_not_wait_for_a_clock_that_was_ahead() {
    for is_open in [true, false] {
        let mut story = Story::new(1, 2, 2);
        story.does(Transition::SetClock(0, 800 * DAY));
        story.does(Transition::send(0, &address(1), "from another year"));
        story.steps(300);
        // It is set right while the program runs, or while it does not.
        if !is_open {
            story.does(Transition::CrashDevice(0));
        }
        story.does(Transition::SetClock(0, 0));
        story.settles();
        story.accepts(1);
        assert_eq!(story.texts(1, &story.conversation(1, &address(0)).id), ["from another year"], "open: {is_open}");
    }
}

#[test]
fn a_clock_that_leaps_costs_no_keys_that_invitations_are_for() {
    let mut story = Story::new(2, 3, 3);
    let id = story.group(0, "club", &[1]);
    // Their answers to what it asked are on their way when the clock of the one who is to be added leaps by two years, and back.
    story.does(Transition::Cut(2));
    story.steps(40);
    story.does(Transition::SetClock(2, 800 * DAY));
    story.does(Transition::add(0, &id, &address(2)));
    story.steps(400);
    story.does(Transition::SetClock(2, 0));
    story.settles();
    story.accepts(2);
    story.does(Transition::send(2, &id, "I am here"));
    story.settles();
    assert_eq!(story.texts(1, &id), ["I am here"]);
}

#[test]
fn a_scheduled_message_goes_out_by_the_clock_of_its_device() {
    let mut story = Story::new(3, 2, 2);
    let id = story.direct(0, 1);
    let in_a_day = story.world.now.0 + DAY as u64;
    story.does(Transition::schedule(0, &id, "tomorrow", in_a_day));
    story.settles();
    assert_eq!(story.texts(1, &id), ["hello"]);
    // A clock that goes back changes nothing of what the person has chosen, one that is set to the time has it sent.
    story.does(Transition::SetClock(0, -3 * HOUR));
    story.settles();
    let Some(View::Scheduled(waiting)) = story.world.view(0, &Query::Scheduled { conversation: None }) else {
        panic!("it waits");
    };
    assert_eq!(waiting.iter().map(|one| one.at).collect::<Vec<_>>(), [in_a_day]);
    story.does(Transition::SetClock(0, DAY + HOUR));
    story.settles();
    assert_eq!(story.texts(1, &id), ["hello", "tomorrow"]);
}

#[test]
fn a_picture_that_was_set_by_a_wrong_clock_is_there_for_the_others() {
    let mut story = Story::new(4, 2, 2);
    let id = story.group(0, "club", &[1]);
    story.does(Transition::SetClock(0, 40 * DAY));
    story.does(Transition::picture(0, &id, "by a wrong clock"));
    story.steps(300);
    story.does(Transition::SetClock(0, 0));
    story.settles();
    let Some(View::Picture(shown)) = story.world.view(1, &Query::Picture { conversation: id }) else {
        panic!("it shows no picture");
    };
    assert_eq!(shown.file.0, Transition::jpeg("by a wrong clock"));
}

#[test]
fn an_account_that_was_made_by_a_wrong_clock_can_be_invited_once_it_is_right() {
    for wrong in [800 * DAY, -800 * DAY] {
        let world = World::new(5, &[RELAY], 2, Faults::default(), None, Trace::default());
        let mut story = Story::in_world(world.expect("a world can be made"), 0);
        story.does(Transition::SetClock(1, wrong));
        story.does(Transition::register(0, &address(0)));
        story.does(Transition::register(1, &address(1)));
        story.settles();
        story.does(Transition::SetClock(1, 0));
        story.settles();
        story.does(Transition::send(0, &address(1), "hello"));
        story.settles();
        story.accepts(1);
        assert_eq!(story.texts(1, &story.conversation(1, &address(0)).id), ["hello"], "{wrong}");
    }
}

#[test]
fn a_relay_that_lies_about_the_time_holds_nothing_up_at_others() {
    let mut story = Story::at(6, &["a.example", "b.example"], &[0, 0, 1]);
    story.does(Transition::send(2, "p0@a.example", "hello"));
    story.settles();
    story.accepts(0);
    story.does(Transition::LieAboutTime(1, 800 * DAY));
    (0..3).for_each(|device| story.does(Transition::Cut(device)));
    story.settles();
    // At the own relay people are added, more often than there were key packages.
    for number in 0..12 {
        story.does(Transition::create_group(1, &format!("group {number}"), &["p0@a.example"]));
        story.settles();
        story.accepts(0);
    }
    story.does(Transition::create_group(0, "other way", &["p1@a.example"]));
    story.settles();
    story.accepts(1);
    assert_eq!(story.conversation(1, "other way").members.len(), 2);
    // Whoever is at home where the clock is wrong is told so, and waits.
    let told = story.world.model.notices.iter().filter(|(_, problem)| problem.what.contains("more than an hour apart"));
    assert!(told.map(|(device, _)| *device).any(|device| device == 2));
}
