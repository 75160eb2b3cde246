//! Messages that are sent later, as people on their devices see them.

use api::{Command, Kind, Message, MessageKind, Query, Scheduled, View};
use sim::world::{DeviceId, Transition};

use crate::support::{RELAY, Story, address};

// To come to rest may take hours, so everything here waits for days.
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn waiting(story: &Story, device: DeviceId) -> Vec<Scheduled> {
    match story.world.view(device, &Query::Scheduled { conversation: None }) {
        Some(View::Scheduled(waiting)) => waiting,
        other => panic!("device {device} shows {other:?} instead of what is to be sent"),
    }
}

fn passes(story: &mut Story, ms: u64) {
    story.does(Transition::Advance(ms));
    story.settles();
}

fn in_days(story: &Story, days: u64) -> u64 {
    story.world.now.0 + days * DAY
}

fn said(story: &Story, device: DeviceId, id: &str, text: &str) -> usize {
    story.texts(device, id).iter().filter(|said| *said == text).count()
}

fn notices(story: &Story, device: DeviceId) -> Vec<&str> {
    let all = story.world.model.notices.iter();
    all.filter(|(who, _)| *who == device).map(|(_, problem)| problem.what.as_str()).collect()
}

fn last(story: &Story, device: DeviceId, id: &str) -> Message {
    story.messages(device, id).pop().expect("something was said")
}

#[test]
fn a_message_is_sent_when_its_time_has_come_and_not_before() {
    let mut story = Story::new(1, 2, 2);
    let id = story.direct(0, 1);
    let at = in_days(&story, 2);
    story.does(Transition::schedule(0, &address(1), "happy birthday", at));
    story.does(Transition::schedule(0, &id, "and many more", at));
    passes(&mut story, DAY);
    assert_eq!(said(&story, 0, &id, "happy birthday") + said(&story, 1, &id, "happy birthday"), 0);
    assert_eq!(waiting(&story, 0).len(), 2);
    assert_eq!(waiting(&story, 0)[0].to, address(1));
    passes(&mut story, DAY + HOUR);
    assert_eq!(waiting(&story, 0), []);
    for device in [0, 1] {
        let texts = story.texts(device, &id);
        assert_eq!(texts[texts.len() - 2..], ["happy birthday", "and many more"], "device {device}");
    }
    assert!(last(&story, 0, &id).sent >= at);
}

#[test]
fn a_device_that_was_off_sends_once_when_it_is_on_whatever_crashes() {
    for steps in 0..40 {
        let mut story = Story::new(steps, 2, 2);
        let id = story.direct(0, 1);
        story.does(Transition::schedule(0, &id, "late", in_days(&story, 1)));
        story.does(Transition::CrashDevice(0));
        story.does(Transition::Advance(2 * DAY));
        story.does(Transition::OpenDevice(0));
        story.steps(steps as u32);
        story.does(Transition::CrashDevice(0));
        story.settles();
        assert_eq!((said(&story, 0, &id, "late"), said(&story, 1, &id, "late")), (1, 1), "after {steps} steps");
        assert_eq!(waiting(&story, 0), []);
    }
}

#[test]
fn what_is_late_is_said_to_be() {
    let mut story = Story::new(3, 2, 2);
    let id = story.direct(0, 1);
    story.does(Transition::schedule(0, &id, "late", in_days(&story, 1)));
    story.does(Transition::CrashDevice(0));
    story.does(Transition::Advance(3 * DAY));
    story.settles();
    assert_eq!(notices(&story, 0), ["A message goes out 2 days late."]);
}

#[test]
fn what_can_not_be_sent_when_its_time_comes_is_kept_and_says_why() {
    let mut story = Story::new(4, 3, 3);
    let (id, club) = (story.direct(0, 1), story.group(0, "club", &[1, 2]));
    let at = in_days(&story, 1);
    story.does(Transition::schedule(1, &club, "to the club", at));
    story.does(Transition::schedule(0, &id, "to the blocked", at));
    story.does(Transition::schedule(2, &address(1), "to a stranger", at));
    story.does(Transition::leave(1, &club));
    story.does(Transition::block(0, &address(1)));
    story.does(Transition::block(2, &address(1)));
    story.settles();
    passes(&mut story, 2 * DAY);
    for (device, conversation, text) in [(1, &club, "to the club"), (0, &id, "to the blocked")] {
        assert_eq!(said(&story, device, conversation, text), 0, "{text}");
        assert_eq!(notices(&story, device), ["A message that was to go out now was not sent."], "{text}");
    }
    for device in 0..3 {
        let kept = waiting(&story, device);
        let problem = kept[0].problem.as_ref().expect("it says why");
        assert_eq!((kept.len(), problem.kind), (1, Kind::Forbidden), "device {device}");
        let scheduled = kept[0].id.clone();
        story.does(Transition::Do { device, command: Command::Unschedule { scheduled } });
        assert_eq!(waiting(&story, device), []);
    }
    // Once told, it is not tried again by itself.
    story.does(Transition::schedule(0, &club, "for all", in_days(&story, 1)));
    passes(&mut story, 2 * DAY);
    assert_eq!(said(&story, 2, &club, "for all"), 1);
    assert_eq!(notices(&story, 1).len(), 1);
}

#[test]
fn what_was_taken_back_is_not_sent() {
    let mut story = Story::new(5, 2, 2);
    let id = story.direct(0, 1);
    story.does(Transition::schedule(0, &id, "on second thought", in_days(&story, 1)));
    let scheduled = waiting(&story, 0)[0].id.clone();
    // Too little of an id, and another device's.
    for (device, scheduled) in [(0, "abc".to_owned()), (1, scheduled.clone()), (0, scheduled)] {
        story.does(Transition::Do { device, command: Command::Unschedule { scheduled } });
    }
    passes(&mut story, 2 * DAY);
    assert_eq!(said(&story, 0, &id, "on second thought") + said(&story, 1, &id, "on second thought"), 0);
}

#[test]
fn a_conversation_is_begun_by_what_was_to_be_sent_later() {
    let mut story = Story::new(6, 2, 2);
    story.does(Transition::schedule(0, &address(1), "hello at last", in_days(&story, 1)));
    assert_eq!(story.conversations(0).len(), 0);
    passes(&mut story, 2 * DAY);
    story.accepts(1);
    let id = story.conversation(0, &address(1)).id;
    assert_eq!(said(&story, 1, &id, "hello at last"), 1);
}

#[test]
fn what_begins_a_conversation_that_comes_to_nothing_is_kept() {
    let mut story = Story::new(8, 2, 2);
    let nobody = format!("nobody@{RELAY}");
    story.does(Transition::schedule(0, &nobody, "planned", in_days(&story, 1)));
    passes(&mut story, 2 * DAY);
    // Whoever sees it fail has the text at hand; nobody does behind a crash.
    story.does(Transition::send(0, &nobody, "answered"));
    story.settles();
    story.does(Transition::CrashRelay(0));
    story.does(Transition::send(0, &nobody, "unanswered"));
    story.does(Transition::CrashDevice(0));
    story.settles();
    let kept = waiting(&story, 0);
    assert_eq!(kept.iter().map(|kept| kept.text.as_str()).collect::<Vec<_>>(), ["planned", "unanswered"]);
    for kept in kept {
        assert_eq!((kept.to, kept.conversation), (nobody.clone(), None));
        assert_eq!(kept.problem.expect("it says why").what, format!("There is no account {nobody}."));
    }
    assert_eq!(story.conversations(0).len(), 0);
    let told = notices(&story, 0).into_iter().filter(|what| *what == "A message that was to go out now was not sent.");
    assert_eq!(told.count(), 2);
}

#[test]
fn it_goes_with_all_that_a_message_goes_with() {
    let mut story = Story::new(7, 2, 2);
    let id = story.direct(0, 1);
    let hello = last(&story, 0, &id).id;
    let at = in_days(&story, 1);
    let text = format!("@p1 see https://example.org, {}", address(1));
    let preview = api::Preview { url: "https://example.org".into(), title: "A title".into(), description: "".into() };
    let schedule = |text: String, view_once: bool| Command::Schedule {
        at,
        conversation: id.clone(),
        text,
        reply_to: Some(hello.clone()),
        preview: (!view_once).then(|| preview.clone()),
        stays: 100 * DAY,
        view_once,
    };
    story.does(Transition::Do { device: 0, command: schedule(text, false) });
    story.does(Transition::Do { device: 0, command: schedule("once".into(), true) });
    passes(&mut story, 2 * DAY);
    let messages = story.messages(1, &id);
    let [.., first, second] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!((first.stays, &first.preview), (100 * DAY, &Some(preview)));
    assert!(first.mentions_me && first.quote.is_some(), "{first:?}");
    assert!(matches!(second.kind, MessageKind::ViewOnce { opened: false }), "{second:?}");
}

#[test]
fn times_that_make_no_sense_are_refused() {
    let mut story = Story::new(8, 2, 2);
    let id = story.direct(0, 1);
    let now = story.world.now.0;
    for at in [0, now, now + 367 * DAY, u64::MAX] {
        story.does(Transition::schedule(0, &id, "never", at));
    }
    for (text, to) in [("", id.as_str()), ("nobody", "nobody"), ("no group", "0123456789abcdef")] {
        story.does(Transition::schedule(0, to, text, now + DAY));
    }
    assert_eq!(waiting(&story, 0), []);
    passes(&mut story, DAY);
    assert_eq!(said(&story, 1, &id, "never"), 0);
}

/// It waits in one database: linking a device, or restoring a backup, doubles nothing.
#[test]
fn no_other_device_of_the_account_sends_it_too() {
    let mut story = Story::new(9, 2, 3);
    let id = story.direct(0, 1);
    story.does(Transition::schedule(0, &id, "from one device", in_days(&story, 2)));
    story.does(Transition::Link { device: 2, by: 0 });
    story.settles();
    story.does(Transition::BackUp(0));
    story.settles();
    story.does(Transition::Restore { device: 2, of: 0 });
    story.settles();
    assert_eq!(waiting(&story, 2), []);
    passes(&mut story, 3 * DAY);
    for device in 0..3 {
        assert_eq!(said(&story, device, &id, "from one device"), 1, "device {device}");
    }
}
