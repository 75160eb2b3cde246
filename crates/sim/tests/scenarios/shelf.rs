//! Backups at the relay: complete once, then what has changed; and back from there on a fresh device (protocol rule 16).

use api::{Command, Query, RelayBackup, Standing, View};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

const DAY_MS: u64 = 86_400_000;

fn at_relay(story: &Story, device: DeviceId) -> RelayBackup {
    match story.world.view(device, &Query::Backup) {
        Some(View::Backup(state)) => state.relay.expect("something was wanted at the relay"),
        other => panic!("device {device} shows {other:?} instead of the state of its backups"),
    }
}

/// Three people with a group and, two of them, a 1:1 conversation; the first has a recovery key. The fourth device is fresh.
fn told(seed: u64) -> (Story, String, String) {
    let mut story = Story::new(seed, 3, 5);
    let direct = story.direct(0, 1);
    let group = story.group(1, "band", &[0, 2]);
    for number in 0..8 {
        story.does(Transition::send(number % 2, &direct, &format!("direct {number}")));
        story.does(Transition::send(number % 3, &group, &format!("group {number}")));
    }
    story.settles();
    story.does(Transition::BackUp(0));
    story.settles();
    (story, direct, group)
}

fn edits(message: &str, conversation: &str, text: &str) -> Command {
    Command::Edit { conversation: conversation.into(), message: message.into(), text: text.into(), preview: None }
}

/// Nothing was taken in, and the reason was told.
#[track_caller]
fn refuses(story: &Story, device: DeviceId, why: &str) {
    let mut failed = story.world.model.problems.iter().filter(|(of, _)| *of == device);
    assert!(failed.any(|(_, problem)| problem.what.contains(why)), "{:?}", story.world.model.problems);
    assert!(matches!(story.world.view(device, &Query::WhoAmI), Some(View::WhoAmI(None))));
}

fn is_back(story: &Story, device: DeviceId) -> bool {
    matches!(story.world.view(device, &Query::WhoAmI), Some(View::WhoAmI(Some(account))) if account.address == address(0))
}

#[test]
fn rule_16_a_first_backup_at_the_relay_holds_all_and_the_next_ones_what_has_changed() {
    let (mut story, direct, group) = told(1);
    story.does(Transition::BackUpToRelay(0));
    story.settles();
    let full = at_relay(&story, 0);
    assert_eq!((full.sets, full.under_way), (1, false));
    let mut sizes = vec![full.bytes];
    for day in 0..3 {
        story.does(Transition::send(1, &direct, &format!("later {day}")));
        story.settles();
        story.does(Transition::BackUpToRelay(0));
        story.settles();
        sizes.push(at_relay(&story, 0).bytes);
    }
    assert_eq!(at_relay(&story, 0).sets, 4);
    let grown: Vec<u64> = sizes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(grown.iter().all(|more| *more < full.bytes), "{sizes:?}");
    // What is done to old messages, and to how things are kept, is what has changed, too.
    let first = story.messages(0, &direct).first().expect("much was said").id.clone();
    story.does(Transition::Do { device: 0, command: edits(&first, &direct, "direct 0, mended") });
    story.does(Transition::Do { device: 0, command: Command::Verify { address: address(1) } });
    let last = story.messages(0, &direct).last().expect("much was said").id.clone();
    let gone = Command::Delete { conversation: direct.clone(), message: last, for_everyone: false };
    story.does(Transition::Do { device: 0, command: gone });
    story.settles();
    story.does(Transition::BackUpToRelay(0));
    story.settles();
    let (before, before_group) = (story.texts(0, &direct), story.texts(0, &group));
    story.does(Transition::RecoverFromRelay { device: 3, of: 0 });
    story.does(Transition::send(1, &group, "meanwhile"));
    story.settles();
    assert!(is_back(&story, 3));
    assert_eq!(story.texts(3, &direct), before);
    assert!(story.texts(3, &direct).contains(&"direct 0, mended".to_owned()));
    assert!(story.texts(3, &group).starts_with(&before_group));
    let Some(View::SafetyNumber(number)) = story.world.view(3, &Query::SafetyNumber { address: address(1) }) else {
        panic!("a contact is known");
    };
    assert_eq!(number.confirmation, api::Confirmation::Verified);
    for id in [&direct, &group] {
        let standing = story.conversations(3).into_iter().find(|c| c.id == *id).map(|c| c.standing);
        assert_eq!(standing, Some(Standing::Active));
        story.does(Transition::send(3, id, &format!("back again in {id}")));
        story.settles();
        assert!(story.texts(1, id).contains(&format!("back again in {id}")));
    }
}

#[test]
fn rule_16_a_backup_that_is_stopped_anywhere_goes_on_and_so_does_a_restore() {
    for steps in (0..120).step_by(12) {
        let (mut story, direct, group) = told(2);
        story.does(Transition::BackUpToRelay(0));
        story.settles();
        story.does(Transition::send(0, &direct, "later"));
        story.settles();
        story.does(Transition::BackUpToRelay(0));
        story.steps(steps);
        story.does(Transition::CrashDevice(0));
        story.does(Transition::send(1, &group, "meanwhile"));
        story.settles();
        story.does(Transition::OpenDevice(0));
        story.settles();
        story.does(Transition::BackUpToRelay(0));
        story.settles();
        assert!(!at_relay(&story, 0).under_way, "after {steps} steps");
        let texts = (story.texts(0, &direct), story.texts(0, &group));
        story.does(Transition::RecoverFromRelay { device: 3, of: 0 });
        story.steps(steps * 3);
        story.does(Transition::CrashDevice(3));
        story.settles();
        assert!(is_back(&story, 3), "after {steps} steps");
        assert_eq!((story.texts(3, &direct), story.texts(3, &group)), texts, "after {steps} steps");
    }
}

#[test]
fn rule_16_each_day_one_by_itself_and_a_full_one_before_the_relay_clears_the_old_one_away() {
    let (mut story, direct, _) = told(3);
    story.does(Transition::Do { device: 0, command: Command::RelayBackups { daily: true } });
    story.settles();
    assert_eq!((at_relay(&story, 0).sets, at_relay(&story, 0).daily), (1, true));
    let mut most = 0;
    for day in 0..34 {
        story.does(Transition::Advance(DAY_MS + 1_000));
        if day % 8 == 0 {
            story.does(Transition::send(1, &direct, &format!("day {day}")));
        }
        story.settles();
        most = most.max(at_relay(&story, 0).sets);
    }
    // It has been full again: otherwise there would be one set for each day.
    assert!(most > 2 && at_relay(&story, 0).sets < 30, "{most} sets, {} now", at_relay(&story, 0).sets);
    story.does(Transition::Do { device: 0, command: Command::RelayBackups { daily: false } });
    let made = at_relay(&story, 0).made;
    story.does(Transition::Advance(3 * DAY_MS));
    story.settles();
    assert_eq!(at_relay(&story, 0).made, made);
    // Much later it is still found. (Members can't let anybody in so far ahead of the machine's clock, which MLS reads.)
    story.does(Transition::Advance(40 * DAY_MS));
    story.settles();
    let texts = story.texts(0, &direct);
    story.does(Transition::RecoverFromRelay { device: 3, of: 0 });
    for _ in 0..20 {
        story.does(Transition::Advance(1_000));
        story.steps(1_000);
    }
    assert!(is_back(&story, 3));
    assert_eq!(story.texts(3, &direct), texts);
}

#[test]
fn rule_16_a_relay_that_has_lost_a_part_gets_a_full_backup_again() {
    let (mut story, direct, _) = told(4);
    story.does(Transition::BackUpRelay(0));
    story.does(Transition::BackUpToRelay(0));
    story.settles();
    story.does(Transition::RestoreRelay(0));
    story.settles();
    story.does(Transition::Advance(2 * 3_600_000));
    story.settles();
    story.does(Transition::send(1, &direct, "after the restore"));
    story.settles();
    story.does(Transition::BackUpToRelay(0));
    story.settles();
    assert_eq!(at_relay(&story, 0).sets, 1);
    let texts = story.texts(0, &direct);
    story.does(Transition::RecoverFromRelay { device: 3, of: 0 });
    story.settles();
    assert!(is_back(&story, 3));
    assert_eq!(story.texts(3, &direct), texts);
}

#[test]
fn rule_16_without_the_key_or_with_a_part_missing_nothing_is_taken_in() {
    let (mut story, ..) = told(5);
    let key = story.world.kept[&0].key.clone();
    let restore = |key: &str, of: &str| Command::RestoreFromRelay {
        key: key.into(),
        address: Some(of.into()),
        confirm: true,
        keep_devices: false,
    };
    // Nothing is there yet.
    story.does(Transition::Do { device: 3, command: restore(&key, &address(0)) });
    story.settles();
    refuses(&story, 3, "no backup that this key opens");
    story.does(Transition::BackUpToRelay(0));
    story.settles();
    story.does(Transition::BackUp(1));
    story.settles();
    let other = story.world.kept[&1].key.clone();
    story.does(Transition::Do { device: 3, command: restore(&other, &address(0)) });
    story.does(Transition::Do { device: 4, command: restore("abcd-efgh", &address(0)) });
    story.settles();
    refuses(&story, 3, "no backup that this key opens");
    refuses(&story, 4, "not a recovery key");
    // The key is right, and the address is somebody else's at the same relay.
    story.does(Transition::Do { device: 4, command: restore(&key, &address(1)) });
    story.settles();
    refuses(&story, 4, "of another account");
}
