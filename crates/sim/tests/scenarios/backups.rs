//! What was said is kept in a file that only a recovery key opens, and comes back from it: all of it or nothing (protocol rule 16).

use api::{BackupState, Command, Query, View};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

fn state(story: &Story, device: DeviceId) -> BackupState {
    match story.world.view(device, &Query::Backup) {
        Some(View::Backup(state)) => state,
        other => panic!("device {device} shows {other:?} instead of the state of its backups"),
    }
}

/// Two people with a 1:1 conversation of many messages.
fn told(seed: u64) -> (Story, String) {
    let mut story = Story::new(seed, 2, 3);
    let id = story.direct(0, 1);
    for number in 0..30 {
        story.does(Transition::send(number % 2, &id, &format!("text {number} of before")));
        if number % 10 == 9 {
            story.settles();
        }
    }
    story.settles();
    (story, id)
}

/// The third device becomes one of the first account, without its history.
fn linked(story: &mut Story) {
    story.world.links_without_history();
    story.does(Transition::Link { device: 2, by: 0 });
    story.settles();
}

fn deletes(message: &str, id: &str, for_everyone: bool) -> Command {
    Command::Delete { conversation: id.into(), message: message.into(), for_everyone }
}

#[test]
fn rule_16_what_was_said_comes_back_from_a_backup_and_nothing_twice() {
    let (mut story, id) = told(1);
    let last = story.messages(0, &id).last().expect("much was said").id.clone();
    let emoji = Command::React { conversation: id.clone(), message: last, emoji: "👍".into(), remove: false };
    story.does(Transition::Do { device: 1, command: emoji });
    story.does(Transition::Do { device: 0, command: Command::Verify { address: address(1) } });
    story.settles();
    assert_eq!((state(&story, 0).key_made, state(&story, 0).made), (None, None));
    story.does(Transition::BackUp(0));
    story.settles();
    assert!(state(&story, 0).key_made.is_some() && state(&story, 0).made.is_none());
    story.does(Transition::Do { device: 0, command: Command::BackupKept });
    story.does(Transition::send(1, &id, "after the backup"));
    story.settles();
    let (kept, all) = (state(&story, 0), story.messages(0, &id).len() as u64);
    assert_eq!((kept.messages, kept.since), (all - 1, 1));
    linked(&mut story);
    assert!(story.texts(2, &id).is_empty());
    for _ in 0..2 {
        story.does(Transition::Restore { device: 2, of: 0 });
        story.settles();
        let mut texts = story.texts(0, &id);
        texts.pop();
        assert_eq!(story.texts(2, &id), texts);
    }
    let thumbs = |device| story.messages(device, &id).iter().map(|m| m.reactions.len()).sum::<usize>();
    assert_eq!((thumbs(0), thumbs(2)), (1, 1));
    let Some(View::SafetyNumber(number)) = story.world.view(2, &Query::SafetyNumber { address: address(1) }) else {
        panic!("a contact is known");
    };
    assert_eq!(number.confirmation, api::Confirmation::Verified);
    // Where it was made everything is here already.
    let before = story.messages(0, &id);
    story.does(Transition::Restore { device: 0, of: 0 });
    story.settles();
    assert_eq!(story.messages(0, &id), before);
}

#[test]
fn rule_16_what_was_deleted_since_the_backup_stays_deleted() {
    let (mut story, id) = told(2);
    story.does(Transition::BackUp(0));
    story.settles();
    let messages = story.messages(0, &id);
    let own: Vec<String> = messages.iter().filter(|m| m.own && m.edited.is_none()).map(|m| m.id.clone()).collect();
    story.does(Transition::Do { device: 0, command: deletes(&own[1], &id, false) });
    story.does(Transition::Do { device: 0, command: deletes(&own[2], &id, true) });
    story.settles();
    let before = story.messages(0, &id);
    story.does(Transition::Restore { device: 0, of: 0 });
    story.settles();
    assert_eq!(story.messages(0, &id), before);
}

#[test]
fn rule_16_a_backup_that_races_everything_is_whole() {
    for seed in 0..6 {
        let (mut story, id) = told(100 + seed);
        let first = story.messages(0, &id).into_iter().find(|m| m.own && m.edited.is_none()).expect("an own one").id;
        let edit = Command::Edit { conversation: id.clone(), message: first, text: "put better".into(), preview: None };
        story.does(Transition::Do { device: 0, command: edit });
        story.settles();
        story.does(Transition::BackUp(0));
        let texts = story.texts(0, &id);
        for number in 0..12 {
            story.does(Transition::send(number % 2, &id, &format!("meanwhile {number}")));
            story.steps(3);
            story.does(Transition::Advance(1));
        }
        story.settles();
        linked(&mut story);
        story.does(Transition::send(1, &id, "while it is restored"));
        story.does(Transition::Restore { device: 2, of: 0 });
        story.steps(20);
        story.does(Transition::CrashDevice(2));
        story.does(Transition::OpenDevice(2));
        story.settles();
        // All that was there when it began is back.
        let back = story.texts(2, &id);
        assert!(texts.iter().all(|text| back.contains(text)), "{back:?}");
        assert_eq!(back.last().map(String::as_str), Some("while it is restored"));
    }
}

#[test]
fn rule_16_a_program_that_dies_at_a_backup_leaves_nothing_that_counts() {
    let (mut story, id) = told(3);
    story.does(Transition::BackUp(0));
    story.does(Transition::CrashDevice(0));
    story.does(Transition::OpenDevice(0));
    story.settles();
    let begun = story.world.kept[&0].clone();
    linked(&mut story);
    story.does(Transition::Restore { device: 2, of: 0 });
    story.settles();
    assert!(story.texts(2, &id).is_empty() || !begun.file.is_empty());
    // The next one is whole.
    story.does(Transition::BackUp(0));
    story.settles();
    story.does(Transition::Restore { device: 2, of: 0 });
    story.settles();
    assert_eq!(story.texts(2, &id), story.texts(0, &id));
}

#[test]
fn rule_16_a_file_that_is_not_whole_or_not_ours_changes_nothing() {
    let (mut story, id) = told(4);
    story.does(Transition::BackUp(0));
    story.does(Transition::BackUp(1));
    story.settles();
    // A profile without an account, and one of another account.
    story.does(Transition::Restore { device: 2, of: 0 });
    let before = story.messages(1, &id);
    story.does(Transition::Restore { device: 1, of: 0 });
    story.settles();
    assert_eq!(story.messages(1, &id), before);
    linked(&mut story);
    let whole = story.world.kept[&0].clone();
    let other_key = story.world.kept[&1].key.clone();
    let cut = whole.file[..whole.file.len() - 1].to_vec();
    let mut altered = whole.file.clone();
    let at = altered.len() - 20;
    altered[at] ^= 1;
    let restores = |key: &str, file: &[u8]| Command::Restore {
        key: key.into(),
        file: api::Binary(file.to_vec()),
        confirm: false,
        keep_devices: false,
    };
    for command in [
        restores(&other_key, &whole.file),
        restores("a word", &whole.file),
        restores(&whole.key, &cut),
        restores(&whole.key, &altered),
        restores(&whole.key, b""),
    ] {
        story.does(Transition::Do { device: 2, command });
        story.settles();
        assert!(story.texts(2, &id).is_empty());
    }
    story.does(Transition::Restore { device: 2, of: 0 });
    story.settles();
    assert_eq!(story.texts(2, &id), story.texts(0, &id));
}
