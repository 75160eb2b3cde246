//! What messages are and what is done to them, as people on their devices see it.

use api::{Command, Message, MessageKind, Query, Revision, Role, View};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

/// The message that said this at first, or the only one of that kind.
#[track_caller]
fn said(story: &Story, device: DeviceId, id: &str, text: &str) -> Message {
    let found = story.messages(device, id).into_iter().find(|message| match &message.kind {
        MessageKind::Text { text: said } => said == text,
        MessageKind::Poll { poll } => poll.question == text,
        MessageKind::Contact { contact } => contact.name == text,
        MessageKind::Location { location } => location.label == text,
        _ => false,
    });
    found.unwrap_or_else(|| panic!("device {device} shows no {text}"))
}

/// A message by its id.
#[track_caller]
fn seen(story: &Story, device: DeviceId, id: &str, message: &str) -> Message {
    let query = Query::Message { conversation: id.into(), message: message.into() };
    match story.world.view(device, &query) {
        Some(View::Message(message)) => *message,
        other => panic!("device {device} shows {other:?} instead of a message"),
    }
}

fn is_deleted_by(message: &Message, who: &str) -> bool {
    matches!(&message.kind, MessageKind::Deleted { by } if by == who)
}

fn text_of(message: &Message) -> &str {
    match &message.kind {
        MessageKind::Text { text } => text,
        other => panic!("{other:?} is no text"),
    }
}

fn revisions(story: &Story, device: DeviceId, id: &str, message: &str) -> Vec<Revision> {
    let query = Query::Revisions { conversation: id.into(), message: message.into() };
    match story.world.view(device, &query) {
        Some(View::Revisions(revisions)) => revisions,
        other => panic!("device {device} shows {other:?} instead of revisions"),
    }
}

fn pinned(story: &Story, device: DeviceId, id: &str) -> Vec<String> {
    match story.world.view(device, &Query::Pins { conversation: id.into() }) {
        Some(View::Messages(messages)) => messages.into_iter().map(|message| message.id).collect(),
        other => panic!("device {device} shows {other:?} instead of pins"),
    }
}

fn edit(device: DeviceId, id: &str, message: &str, text: &str) -> Transition {
    let (conversation, message, text) = (id.into(), message.into(), text.into());
    Transition::Do { device, command: Command::Edit { conversation, message, text, preview: None } }
}

fn delete(device: DeviceId, id: &str, message: &str, for_everyone: bool) -> Transition {
    let (conversation, message) = (id.into(), message.into());
    Transition::Do { device, command: Command::Delete { conversation, message, for_everyone } }
}

fn react(device: DeviceId, id: &str, message: &str, emoji: &str, remove: bool) -> Transition {
    let (conversation, message, emoji) = (id.into(), message.into(), emoji.into());
    Transition::Do { device, command: Command::React { conversation, message, emoji, remove } }
}

fn pin(device: DeviceId, id: &str, message: &str, pinned: bool) -> Transition {
    let (conversation, message) = (id.into(), message.into());
    Transition::Do { device, command: Command::Pin { conversation, message, pinned } }
}

fn vote(device: DeviceId, id: &str, poll: &str, options: &[u32]) -> Transition {
    let (conversation, poll, options) = (id.into(), poll.into(), options.to_vec());
    Transition::Do { device, command: Command::Vote { conversation, poll, options } }
}

#[test]
fn an_edited_message_shows_its_last_text_and_keeps_its_history() {
    let mut story = Story::new(1, 2, 3);
    let id = story.direct(0, 1);
    story.does(Transition::Link { device: 2, by: 0 });
    story.settles();
    story.does(Transition::send(0, &id, "frist"));
    // At once, while the text itself is on its way.
    let message = said(&story, 0, &id, "frist").id;
    story.does(edit(0, &id, &message, "first"));
    assert_eq!(text_of(&seen(&story, 0, &id, &message)), "first");
    story.settles();
    // From another device of the account, and by naming what the edit made of it.
    story.does(edit(2, &id, &message, "first of all"));
    story.settles();
    for device in [0, 1, 2] {
        let shown = seen(&story, device, &id, &message);
        assert_eq!(text_of(&shown), "first of all", "device {device}");
        assert!(shown.edited.is_some());
        let texts: Vec<String> = revisions(&story, device, &id, &message).into_iter().map(|r| r.text).collect();
        assert_eq!(texts, ["frist", "first", "first of all"], "device {device}");
        assert_eq!(story.texts(device, &id).iter().filter(|text| text.starts_with("fr")).count(), 0);
    }
    // The other can't.
    story.does(edit(1, &id, &message, "forged"));
    story.settles();
    assert_eq!(text_of(&seen(&story, 0, &id, &message)), "first of all");
}

#[test]
fn a_message_taken_back_is_gone_everywhere_and_stays_so() {
    let mut story = Story::new(2, 3, 3);
    let id = story.group(0, "club", &[1, 2]);
    story.does(Transition::send(1, &id, "regret"));
    story.settles();
    let message = said(&story, 1, &id, "regret").id;
    story.does(react(2, &id, &message, "👍", false));
    story.does(edit(1, &id, &message, "regret more"));
    story.settles();
    let reply = Command::Send {
        conversation: id.clone(),
        text: "why".into(),
        reply_to: Some(message.clone()),
        preview: None,
        stays: 0,
        view_once: false,
    };
    story.does(Transition::Do { device: 2, command: reply });
    story.settles();
    assert_eq!(said(&story, 0, &id, "why").quote.map(|quote| quote.excerpt), Some("regret more".into()));
    // A member may not take another's message back, its author and an owner may.
    story.does(delete(2, &id, &message, true));
    story.settles();
    assert_eq!(text_of(&seen(&story, 2, &id, &message)), "regret more");
    story.does(delete(0, &id, &message, true));
    story.settles();
    for device in [0, 1, 2] {
        let shown = seen(&story, device, &id, &message);
        assert!(is_deleted_by(&shown, &address(0)), "device {device}: {:?}", shown.kind);
        assert!(shown.reactions.is_empty() && shown.edited.is_none());
        assert_eq!(revisions(&story, device, &id, &message), []);
        let quote = said(&story, device, &id, "why").quote.expect("it answers");
        assert!(quote.known && quote.excerpt.is_empty());
        let found = story.world.view(device, &Query::Search { text: "regret".into(), limit: 10 });
        assert_eq!(found, Some(View::Messages(Vec::new())), "device {device} finds it");
    }
    story.does(edit(1, &id, &message, "again"));
    story.does(react(1, &id, &message, "👍", false));
    story.settles();
    assert!(is_deleted_by(&seen(&story, 1, &id, &message), &address(0)));
}

#[test]
fn out_of_sight_is_out_of_ones_own_sight_only() {
    let mut story = Story::new(3, 2, 2);
    let id = story.direct(0, 1);
    story.does(Transition::send(0, &id, "seen by one"));
    story.settles();
    let message = said(&story, 1, &id, "seen by one").id;
    story.does(delete(1, &id, &message, false));
    assert!(!story.texts(1, &id).contains(&"seen by one".into()));
    story.does(edit(0, &id, &message, "edited"));
    story.does(react(0, &id, &message, "👍", false));
    let reply = Command::Send {
        conversation: id.clone(),
        text: "re".into(),
        reply_to: Some(message.clone()),
        preview: None,
        stays: 0,
        view_once: false,
    };
    story.does(Transition::Do { device: 0, command: reply });
    story.does(Transition::Settle);
    assert_eq!(said(&story, 1, &id, "re").quote.map(|quote| quote.known), Some(false));
    assert_eq!(text_of(&seen(&story, 0, &id, &message)), "edited");
    let shown: Vec<String> = story.messages(1, &id).into_iter().map(|message| message.id).collect();
    assert!(!shown.contains(&message));
}

#[test]
fn reactions_are_counted_by_account() {
    let mut story = Story::new(4, 3, 4);
    let id = story.group(0, "club", &[1, 2]);
    story.does(Transition::Link { device: 3, by: 1 });
    story.settles();
    story.does(Transition::send(0, &id, "news"));
    story.settles();
    let message = said(&story, 0, &id, "news").id;
    // Two devices of one account give the same at the same moment.
    for (device, emoji) in [(1, "👍"), (3, "👍"), (2, "👍"), (2, "🎉")] {
        story.does(react(device, &id, &message, emoji, false));
    }
    story.settles();
    for device in 0..4 {
        let reactions = seen(&story, device, &id, &message).reactions;
        let mut counts: Vec<(&str, u32)> = reactions.iter().map(|r| (r.emoji.as_str(), r.count)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [("🎉", 1), ("👍", 2)], "device {device}");
        assert_eq!(reactions.iter().filter(|reaction| reaction.own).count(), [0, 1, 2, 1][device]);
    }
    // One device takes back what both have given.
    story.does(react(3, &id, &message, "👍", true));
    story.settles();
    for device in 0..4 {
        let reactions = seen(&story, device, &id, &message).reactions;
        assert!(reactions.iter().all(|r| r.count == 1 && r.by == [address(2)]), "device {device}: {reactions:?}");
    }
}

#[test]
fn pins_are_the_admins_in_a_group_and_everybodys_in_a_pair() {
    let mut story = Story::new(5, 3, 3);
    let group = story.group(0, "club", &[1, 2]);
    story.does(Transition::send(1, &group, "rules"));
    story.settles();
    let rules = said(&story, 1, &group, "rules").id;
    story.does(pin(1, &group, &rules, true));
    story.settles();
    assert_eq!(pinned(&story, 1, &group), [""; 0]);
    story.does(Transition::role(0, &group, &address(1), Role::Admin));
    story.settles();
    story.does(pin(1, &group, &rules, true));
    story.settles();
    for device in 0..3 {
        assert_eq!(pinned(&story, device, &group).join(" "), rules, "device {device}");
        assert!(seen(&story, device, &group, &rules).pinned);
    }
    story.does(pin(0, &group, &rules, false));
    story.settles();
    assert_eq!(pinned(&story, 2, &group), [""; 0]);
    let pair = story.direct(0, 2);
    let hello = said(&story, 2, &pair, "hello").id;
    story.does(pin(2, &pair, &hello, true));
    story.settles();
    assert_eq!(pinned(&story, 0, &pair), [hello]);
}

#[test]
fn an_admin_who_is_none_any_more_deletes_nothing() {
    for steps in [0, 20, 40, 60, 80, 120] {
        let mut story = Story::new(steps.into(), 3, 3);
        let id = story.group(0, "club", &[1, 2]);
        story.does(Transition::role(0, &id, &address(1), Role::Admin));
        story.does(Transition::send(2, &id, "inconvenient"));
        story.settles();
        let message = said(&story, 1, &id, "inconvenient").id;
        // Demoted while the deletion is on its way: where each stands in the log decides, for everybody.
        story.does(Transition::role(0, &id, &address(1), Role::Member));
        story.steps(steps);
        story.does(delete(1, &id, &message, true));
        story.settles();
        let kinds: Vec<MessageKind> = (0..3).map(|device| seen(&story, device, &id, &message).kind).collect();
        assert!(kinds.iter().all(|kind| *kind == kinds[0]), "{kinds:?}");
    }
}

#[test]
fn edits_race_deletions_and_all_devices_agree() {
    for seed in 0..40 {
        let mut story = Story::new(seed, 2, 4);
        let id = story.direct(0, 1);
        for (device, by) in [(2, 0), (3, 1)] {
            story.does(Transition::Link { device, by });
            story.settles();
        }
        story.does(Transition::send(0, &id, "race"));
        story.settles();
        let message = said(&story, 0, &id, "race").id;
        let acts = [
            edit(0, &id, &message, "from one device"),
            edit(2, &id, &message, "from the other"),
            delete(2, &id, &message, true),
            react(1, &id, &message, "👍", false),
            edit(0, &id, &message, "too late?"),
            react(3, &id, &message, "👍", true),
        ];
        for (at, act) in acts.into_iter().enumerate() {
            story.does(act);
            story.steps((seed as u32 * 7 + at as u32 * 13) % 60);
            if seed % 5 == 0 {
                story.does(Transition::CrashDevice(at % 4));
                story.does(Transition::OpenDevice(at % 4));
            }
        }
        story.settles();
        for device in 0..4 {
            let shown = seen(&story, device, &id, &message);
            assert!(is_deleted_by(&shown, &address(0)), "seed {seed}, device {device}: {:?}", shown.kind);
        }
    }
}

#[test]
fn the_last_of_two_edits_is_the_last_in_the_log() {
    for seed in 0..40 {
        let mut story = Story::new(seed, 2, 3);
        let id = story.direct(0, 1);
        story.does(Transition::Link { device: 2, by: 0 });
        story.settles();
        story.does(Transition::send(0, &id, "race"));
        story.settles();
        let message = said(&story, 0, &id, "race").id;
        story.does(edit(0, &id, &message, "one"));
        story.does(edit(2, &id, &message, "two"));
        story.steps(seed as u32 * 5);
        story.does(edit(0, &id, &message, "three"));
        story.settles();
        let texts: Vec<String> =
            (0..3).map(|device| text_of(&seen(&story, device, &id, &message)).to_owned()).collect();
        assert!(texts.iter().all(|text| *text == texts[0]), "seed {seed}: {texts:?}");
        assert_ne!(texts[0], "one", "seed {seed}: nobody's last word");
        assert_eq!(revisions(&story, 1, &id, &message), revisions(&story, 0, &id, &message));
    }
}

#[test]
fn a_poll_counts_the_last_vote_of_each_account_until_it_is_closed() {
    let mut story = Story::new(6, 3, 4);
    let id = story.group(0, "club", &[1, 2]);
    story.does(Transition::Link { device: 3, by: 1 });
    story.settles();
    let options = ["Pizza", "Soup"].map(str::to_owned).to_vec();
    let poll = Command::CreatePoll { conversation: id.clone(), question: "Lunch?".into(), options, multiple: false };
    story.does(Transition::Do { device: 0, command: poll });
    story.settles();
    let poll = said(&story, 1, &id, "Lunch?").id;
    story.does(vote(1, &id, &poll, &[0]));
    story.does(vote(2, &id, &poll, &[0]));
    story.settles();
    // Voted twice, from another device: the last one counts.
    story.does(vote(3, &id, &poll, &[1]));
    story.settles();
    let closed = Command::ClosePoll { conversation: id.clone(), poll: poll.clone() };
    story.does(Transition::Do { device: 0, command: closed });
    story.does(vote(2, &id, &poll, &[1]));
    story.settles();
    let results = |device: DeviceId| match seen(&story, device, &id, &poll).kind {
        MessageKind::Poll { poll } => poll,
        other => panic!("{other:?} is no poll"),
    };
    for device in 0..4 {
        let poll = results(device);
        assert!(poll.closed && poll.voters == 2, "device {device}");
        assert_eq!(poll.options[1].own, device == 1 || device == 3 || (device == 2 && poll.options[1].votes == 2));
        let votes = |poll: &api::Poll| poll.options.iter().map(|option| option.by.clone()).collect::<Vec<_>>();
        assert_eq!(votes(&poll), votes(&results(0)), "device {device}");
    }
}

#[test]
fn cards_places_mentions_and_previews_arrive_as_they_were_sent() {
    let mut story = Story::new(7, 3, 3);
    let id = story.group(0, "club", &[1, 2]);
    let contact = Command::SendContact { conversation: id.clone(), address: address(2), name: "Carol".into() };
    story.does(Transition::Do { device: 0, command: contact });
    let place =
        api::Location { latitude_e7: 482_010_000, longitude_e7: 163_695_000, accuracy: 30, label: "Café".into() };
    story.does(Transition::Do {
        device: 0,
        command: Command::SendLocation { conversation: id.clone(), location: place.clone() },
    });
    let preview =
        api::Preview { url: "https://transom.example/x".into(), title: "A title".into(), description: String::new() };
    let text = "look, @p1: https://transom.example/x".to_owned();
    let send = Command::Send {
        conversation: id.clone(),
        text,
        reply_to: None,
        preview: Some(preview.clone()),
        stays: 0,
        view_once: false,
    };
    story.does(Transition::Do { device: 0, command: send });
    story.settles();
    let card = said(&story, 1, &id, "Carol");
    assert_eq!(card.kind, MessageKind::Contact { contact: api::Contact { name: "Carol".into(), address: address(2) } });
    assert_eq!(said(&story, 1, &id, "Café").kind, MessageKind::Location { location: place });
    let text = "look, [@p1](mimi://a.example/u/p1): https://transom.example/x";
    for (device, mentioned) in [(0, false), (1, true), (2, false)] {
        let message = said(&story, device, &id, text);
        assert_eq!((message.mentions_me, &message.mentions), (mentioned, &vec![address(1)]), "device {device}");
        assert_eq!(message.preview, Some(preview.clone()));
    }
    // Passed on: marked, without its author, and nobody is called.
    let pair = story.direct(2, 1);
    let message = said(&story, 2, &id, text).id;
    let forward = Command::Forward { conversation: id.clone(), message, to: pair.clone() };
    story.does(Transition::Do { device: 2, command: forward });
    story.settles();
    let passed_on = said(&story, 1, &pair, text);
    assert!(passed_on.forwarded && !passed_on.mentions_me);
    assert_eq!((passed_on.from, passed_on.preview), (address(2), Some(preview)));
}
