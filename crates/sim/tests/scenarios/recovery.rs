//! All devices of an account are lost, and it comes back from a backup on a fresh one (protocol rule 16).

use api::{Binary, Command, Confirmation, MessageKind, Query, Standing, View};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

const DAY_MS: u64 = 86_400_000;

/// Three people with a group and, two of them, a 1:1 conversation; the first has a backup. The others are fresh devices.
fn told(seed: u64) -> (Story, String, String) {
    let mut story = Story::new(seed, 3, 6);
    let direct = story.direct(0, 1);
    let group = story.group(1, "band", &[0, 2]);
    for number in 0..6 {
        story.does(Transition::send(number % 2, &direct, &format!("direct {number}")));
        story.does(Transition::send(number % 3, &group, &format!("group {number}")));
    }
    story.settles();
    story.does(Transition::Do { device: 1, command: Command::Verify { address: address(0) } });
    story.does(Transition::BackUp(0));
    story.settles();
    (story, direct, group)
}

fn standing(story: &Story, device: DeviceId, id: &str) -> Option<(Standing, bool)> {
    story.conversations(device).into_iter().find(|c| c.id == id).map(|c| (c.standing, c.waiting))
}

/// How many devices of an account another one shows in a conversation.
fn devices(story: &Story, by: DeviceId, id: &str, of: DeviceId) -> Option<u32> {
    let conversation = story.conversations(by).into_iter().find(|c| c.id == id)?;
    conversation.members.into_iter().find(|member| member.address == address(of)).map(|member| member.devices)
}

fn lines(story: &Story, device: DeviceId, id: &str) -> Vec<String> {
    let messages = story.messages(device, id).into_iter();
    messages
        .filter_map(|message| match message.kind {
            MessageKind::System { text } => Some(text),
            _ => None,
        })
        .collect()
}

fn account(story: &Story, device: DeviceId) -> Option<api::Account> {
    match story.world.view(device, &Query::WhoAmI) {
        Some(View::WhoAmI(account)) => account,
        other => panic!("device {device} shows {other:?} instead of its account"),
    }
}

/// What somebody with a key and a file types.
fn restores(device: DeviceId, key: &str, file: &[u8]) -> Transition {
    let (key, file) = (key.to_owned(), Binary(file.to_vec()));
    Transition::Do { device, command: Command::Restore { key, file, confirm: true, keep_devices: false } }
}

/// Everybody reads what everybody writes from now on.
#[track_caller]
fn talks(story: &mut Story, id: &str, among: &[DeviceId]) {
    for device in among {
        story.does(Transition::send(*device, id, &format!("again from {device} at {}", story.world.now.0)));
        story.settles();
    }
    let last: Vec<Vec<String>> = among.iter().map(|device| story.texts(*device, id)).collect();
    for texts in &last {
        assert!(texts.ends_with(&last[0][last[0].len() - among.len()..]), "{texts:?}");
    }
}

#[test]
fn rule_16_an_account_without_devices_comes_back_with_what_was_said_and_into_its_conversations() {
    let (mut story, direct, group) = told(1);
    let (before_direct, before_group) = (story.texts(0, &direct), story.texts(0, &group));
    story.does(Transition::send(2, &group, "while nobody is there"));
    story.settles();
    story.does(Transition::Recover { device: 3, of: 0 });
    story.does(Transition::send(1, &group, "meanwhile"));
    story.settles();
    assert_eq!(account(&story, 3).map(|account| (account.address, account.certifies)), Some((address(0), true)));
    for (id, texts) in [(&direct, &before_direct), (&group, &before_group)] {
        assert_eq!(standing(&story, 3, id), Some((Standing::Active, false)));
        assert!(story.texts(3, id).starts_with(texts), "{:?}", story.texts(3, id));
        assert_eq!(devices(&story, 1, id, 0), Some(1));
        // What is missing is said where it would stand, and the others are told who is back.
        let told = lines(&story, 3, id);
        assert!(told.iter().any(|line| line.contains("backup that you have restored ends here")), "{told:?}");
        assert!(told.iter().any(|line| line.contains("is not on this device")), "{told:?}");
        let told = lines(&story, 1, id);
        assert!(
            told.iter().any(|line| line.starts_with(&address(0)) && line.contains("restored from a backup")),
            "{told:?}"
        );
    }
    assert!(!story.texts(3, &group).contains(&"while nobody is there".to_owned()));
    talks(&mut story, &group, &[1, 2, 3]);
    talks(&mut story, &direct, &[1, 3]);
    // It is the same account: what was verified stays so.
    let Some(View::SafetyNumber(number)) = story.world.view(1, &Query::SafetyNumber { address: address(0) }) else {
        panic!("a contact is known");
    };
    assert_eq!(number.confirmation, Confirmation::Verified);
}

#[test]
fn rule_16_a_restore_that_is_stopped_anywhere_is_nothing_or_finished_by_the_next_one() {
    for steps in (0..400).step_by(20) {
        let (mut story, direct, group) = told(2);
        story.does(Transition::Recover { device: 3, of: 0 });
        story.steps(steps);
        story.does(Transition::CrashDevice(3));
        story.does(Transition::send(1, &group, "meanwhile"));
        story.settles();
        assert_eq!(account(&story, 3).map(|account| account.address), Some(address(0)), "after {steps} steps");
        assert_eq!(devices(&story, 1, &group, 0), Some(1), "after {steps} steps");
        talks(&mut story, &group, &[1, 2, 3]);
        talks(&mut story, &direct, &[1, 3]);
    }
}

#[test]
fn rule_16_without_consent_nothing_is_done() {
    let (mut story, _, group) = told(3);
    let kept = story.world.kept[&0].clone();
    let command = Command::Restore { key: kept.key, file: Binary(kept.file), confirm: false, keep_devices: false };
    story.does(Transition::Do { device: 3, command });
    story.settles();
    assert_eq!(account(&story, 3), None);
    talks(&mut story, &group, &[0, 1, 2]);
}

#[test]
fn rule_16_who_was_removed_meanwhile_is_not_let_in() {
    let (mut story, direct, group) = told(4);
    story.does(Transition::remove(1, &group, &address(0)));
    story.settles();
    story.does(Transition::Recover { device: 3, of: 0 });
    story.settles();
    assert_eq!(standing(&story, 3, &group), Some((Standing::Held, true)));
    assert_eq!(standing(&story, 3, &direct), Some((Standing::Active, false)));
    assert_eq!(devices(&story, 1, &group, 0), None);
    for _ in 0..16 {
        story.does(Transition::Advance(DAY_MS));
        story.settles();
    }
    // It has asked for a week. The others were never told that it asks.
    assert_eq!(standing(&story, 3, &group), Some((Standing::Left, false)));
    assert_eq!(devices(&story, 1, &group, 0), None);
    assert!(!lines(&story, 1, &group).iter().any(|line| line.contains("restored")));
    // Somebody adds it: then it is in.
    story.does(Transition::add(1, &group, &address(0)));
    story.settles();
    story.accepts(3);
    talks(&mut story, &group, &[1, 2, 3]);
}

#[test]
fn rule_16_of_two_restores_at_once_one_wins_and_the_other_says_so() {
    let (mut story, direct, group) = told(5);
    let kept = story.world.kept[&0].clone();
    story.does(Transition::CrashDevice(0));
    story.does(restores(3, &kept.key, &kept.file));
    story.does(restores(4, &kept.key, &kept.file));
    story.settles();
    let (third, fourth) = (account(&story, 3), account(&story, 4));
    assert!(third.is_some() != fourth.is_some(), "{third:?}, {fourth:?}");
    let (won, lost) = if third.is_some() { (3, 4) } else { (4, 3) };
    assert_eq!(devices(&story, 1, &group, 0), Some(1));
    talks(&mut story, &group, &[1, 2, won]);
    // Once more, knowing of the other: it takes its place.
    story.does(restores(lost, &kept.key, &kept.file));
    story.settles();
    assert!(account(&story, lost).is_some());
    assert_eq!(devices(&story, 1, &group, 0), Some(1));
    talks(&mut story, &direct, &[1, lost]);
    assert!(!story.texts(won, &direct).iter().any(|text| text.starts_with("again")), "it is out");
}

#[test]
fn rule_16_a_device_that_was_left_behind_is_out() {
    let (mut story, direct, group) = told(6);
    let kept = story.world.kept[&0].clone();
    // The old device was stolen, and runs.
    story.does(restores(3, &kept.key, &kept.file));
    story.settles();
    assert_eq!((devices(&story, 1, &group, 0), devices(&story, 1, &direct, 0)), (Some(1), Some(1)));
    talks(&mut story, &group, &[1, 2, 3]);
    assert!(!story.texts(0, &group).iter().any(|text| text.starts_with("again")));
    assert!(story.conversations(0).iter().all(|c| c.standing != Standing::Active), "{:?}", story.conversations(0));
}

#[test]
fn rule_16_devices_that_are_still_there_are_kept_if_the_person_wants_that() {
    let (mut story, direct, group) = told(7);
    let kept = story.world.kept[&0].clone();
    let command = Command::Restore { key: kept.key, file: Binary(kept.file), confirm: true, keep_devices: true };
    story.does(Transition::Do { device: 3, command });
    story.settles();
    assert_eq!(devices(&story, 1, &group, 0), Some(2));
    talks(&mut story, &group, &[0, 1, 2, 3]);
    talks(&mut story, &direct, &[0, 1, 3]);
}

#[test]
fn rule_16_file_without_key_key_without_file_and_the_key_of_another_are_nothing() {
    let (mut story, _, group) = told(8);
    story.does(Transition::BackUp(1));
    story.settles();
    let (own, other) = (story.world.kept[&0].clone(), story.world.kept[&1].clone());
    let mut altered = own.file.clone();
    altered[600] ^= 1;
    for attempt in [
        restores(3, &other.key, &own.file),
        restores(3, "", &own.file),
        restores(3, &own.key, b""),
        restores(3, &own.key, &other.file),
        restores(3, &own.key, &altered),
        restores(3, &own.key, &own.file[..own.file.len() - 1]),
    ] {
        story.does(attempt);
        story.settles();
        assert_eq!(account(&story, 3), None);
        assert_eq!(devices(&story, 1, &group, 0), Some(1));
    }
    talks(&mut story, &group, &[0, 1, 2]);
}

#[test]
fn rule_16_an_old_backup_takes_nothing_back_of_what_the_account_has_become() {
    let (mut story, direct, group) = told(9);
    story.world.links_without_history();
    story.does(Transition::Link { device: 4, by: 0 });
    story.settles();
    story.does(Transition::Recover { device: 3, of: 0 });
    story.settles();
    let Some(View::Devices(listed)) = story.world.view(3, &Query::Devices) else { panic!("its devices are shown") };
    assert_eq!((listed.len(), listed.iter().filter(|device| device.revoked.is_none()).count()), (3, 1));
    assert_eq!((devices(&story, 1, &group, 0), devices(&story, 1, &direct, 0)), (Some(1), Some(1)));
    talks(&mut story, &group, &[1, 2, 3]);
}

#[test]
fn rule_16_what_the_relay_leaves_again_lets_nobody_in_again() {
    let (mut story, _, group) = told(10);
    story.does(Transition::Recover { device: 3, of: 0 });
    story.settles();
    talks(&mut story, &group, &[1, 2, 3]);
    let epoch = |story: &Story| story.conversations(1).iter().find(|c| c.id == group).map(|c| c.epoch);
    let before = epoch(&story);
    story.world.deposits_again();
    story.settles();
    assert_eq!(epoch(&story), before);
    // Not even who has been removed since. That its own invitation of then comes again it hears of.
    story.does(Transition::remove(1, &group, &address(0)));
    story.settles();
    let before = epoch(&story);
    story.world.deposits_again();
    story.does(Transition::Settle);
    assert_eq!((epoch(&story), devices(&story, 1, &group, 0)), (before, None));
    assert_ne!(standing(&story, 3, &group), Some((Standing::Active, false)));
}

#[test]
fn rule_16_who_was_away_till_nobody_asked_any_more_lets_in_who_has_come_back_from_a_backup() {
    let (mut story, direct, _) = told(13);
    story.does(Transition::GoAway(1));
    story.does(Transition::Recover { device: 3, of: 0 });
    story.does(Transition::Settle);
    for _ in 0..40 {
        story.does(Transition::Advance(DAY_MS));
        story.does(Transition::Settle);
    }
    // It has asked for a week, and what it left in the other's inbox says nothing any more.
    assert_eq!(standing(&story, 3, &direct), Some((Standing::Left, false)));
    story.does(Transition::ComeBack(1));
    for _ in 0..4 {
        story.does(Transition::Advance(DAY_MS / 24));
        story.does(Transition::Settle);
    }
    story.settles();
    assert_eq!(devices(&story, 1, &direct, 0), Some(1));
    assert_eq!(standing(&story, 3, &direct), Some((Standing::Active, false)));
    talks(&mut story, &direct, &[1, 3]);
}

#[test]
fn rule_16_two_who_have_both_lost_everything_wait_and_can_begin_anew() {
    let (mut story, direct, group) = told(11);
    story.does(Transition::BackUp(1));
    story.settles();
    story.does(Transition::Recover { device: 3, of: 0 });
    story.does(Transition::Recover { device: 4, of: 1 });
    story.settles();
    // In the group a third one lets both in.
    assert_eq!(
        (standing(&story, 3, &group), standing(&story, 4, &group)),
        (Some((Standing::Active, false)), Some((Standing::Active, false)))
    );
    assert_eq!(
        (standing(&story, 3, &direct), standing(&story, 4, &direct)),
        (Some((Standing::Held, true)), Some((Standing::Held, true)))
    );
    talks(&mut story, &group, &[2, 3, 4]);
    for _ in 0..16 {
        story.does(Transition::Advance(DAY_MS));
        story.settles();
    }
    assert_eq!(standing(&story, 3, &direct), Some((Standing::Left, false)));
    let anew = {
        story.does(Transition::send(3, &address(1), "let us begin anew"));
        story.settles();
        story.accepts(4);
        story.conversation(4, &address(0)).id
    };
    assert_ne!(anew, direct);
}

#[test]
fn rule_16_a_relay_that_has_lost_versions_of_the_record_or_all_of_the_account_gets_them_back() {
    for registered_before in [false, true] {
        let mut story = Story::new(12, 0, 6);
        if !registered_before {
            story.does(Transition::BackUpRelay(0));
        }
        for device in 0..2 {
            story.does(Transition::register(device, &address(device)));
        }
        story.settles();
        if registered_before {
            story.does(Transition::BackUpRelay(0));
        }
        let direct = story.direct(0, 1);
        story.world.links_without_history();
        story.does(Transition::Link { device: 2, by: 0 });
        story.settles();
        story.does(Transition::BackUp(0));
        story.settles();
        story.does(Transition::RestoreRelay(0));
        story.does(Transition::Recover { device: 3, of: 0 });
        story.does(Transition::Settle);
        assert_eq!(account(&story, 3).map(|account| account.address), Some(address(0)));
        let Some(View::Devices(listed)) = story.world.view(3, &Query::Devices) else { panic!("its devices are shown") };
        assert_eq!((listed.len(), listed.iter().filter(|device| device.revoked.is_none()).count()), (3, 1));
        for _ in 0..4 {
            story.does(Transition::Advance(3_600_000));
            story.does(Transition::Settle);
        }
        // The log begins anew, so what the backup holds does not stand where the others show it.
        for (device, text) in [(1, "welcome back"), (3, "here I am")] {
            story.does(Transition::send(device, &direct, text));
            story.does(Transition::Settle);
        }
        for device in [1, 3] {
            let texts = story.texts(device, &direct);
            assert!(
                texts.contains(&"hello".into()) && texts.ends_with(&["welcome back".into(), "here I am".into()]),
                "{texts:?}"
            );
        }
    }
}

#[test]
fn rule_16_a_profile_that_has_begun_to_restore_does_nothing_else_before() {
    let mut begun = 0;
    for steps in (0..120).step_by(6) {
        let (mut story, _, group) = told(13);
        story.does(Transition::BackUp(1));
        story.settles();
        let (own, other) = (story.world.kept[&0].clone(), story.world.kept[&1].clone());
        story.does(restores(3, &own.key, &own.file));
        story.steps(steps);
        story.does(Transition::CrashDevice(3));
        story.does(Transition::OpenDevice(3));
        if account(&story, 3).is_some() {
            continue;
        }
        story.does(Transition::register(3, "p9@a.example"));
        story.does(Transition::Settle);
        match account(&story, 3).map(|account| account.address) {
            // Nothing was kept: whoever has another account now is not restored any more, and the old device is in.
            Some(address) => {
                assert_eq!(address, "p9@a.example");
                talks(&mut story, &group, &[0, 1, 2]);
            }
            None => {
                begun += 1;
                story.does(restores(3, &other.key, &other.file));
                story.does(Transition::Settle);
                assert_eq!(account(&story, 3), None);
                story.does(restores(3, &own.key, &own.file));
                story.does(Transition::Settle);
                assert_eq!(account(&story, 3).map(|account| account.address), Some(address(0)));
                talks(&mut story, &group, &[1, 2, 3]);
            }
        }
    }
    assert!(begun > 0, "the program never died in between");
}

/// A backup does not hold what was begun after it. Whoever hears that the account's devices are gone brings the new one in.
#[test]
fn rule_16_what_was_begun_after_the_backup_comes_back_by_the_others() {
    let (mut story, _, group) = told(14);
    story.does(Transition::send(2, &address(0), "begun later"));
    story.settles();
    story.accepts(0);
    let later = story.conversation(2, &address(0)).id;
    let alone = story.group(1, "later", &[0]);
    story.does(Transition::send(0, &later, "not in the backup"));
    story.settles();
    story.does(Transition::Recover { device: 3, of: 0 });
    story.settles();
    assert_eq!((standing(&story, 3, &later), standing(&story, 3, &alone)), (None, None));
    assert_eq!(devices(&story, 2, &group, 0), Some(1));
    for _ in 0..3 {
        story.does(Transition::Advance(20 * 60_000));
        story.settles();
    }
    story.accepts(3);
    for (id, among) in [(&later, [2, 3]), (&alone, [1, 3])] {
        assert_eq!(devices(&story, among[0], id, 0), Some(1));
        talks(&mut story, id, &among);
    }
    assert!(!story.texts(3, &later).contains(&"not in the backup".to_owned()));
}

/// A device that has asked to be let in, and comes in by another way before the request is answered, is not answered again: it would
/// have to start anew, and be told of it. What the admin does stands in his queue before the request (seed 860 of the people).
#[test]
fn rule_16_a_request_is_not_answered_again_once_the_device_has_come_in_otherwise() {
    let mut later = 0;
    for steps in (0..120).step_by(6) {
        let (mut story, _, group) = told(15);
        story.does(Transition::Recover { device: 3, of: 0 });
        story.steps(steps);
        for _ in 0..3 {
            story.does(Transition::rename(1, &group, "band again"));
            story.does(Transition::rename(1, &group, "band"));
        }
        story.does(Transition::remove(1, &group, &address(0)));
        story.does(Transition::add(1, &group, &address(0)));
        story.settles();
        let told = lines(&story, 3, &group);
        later += usize::from(told.iter().any(|line| line.contains("added you")));
        let again = story.world.model.alarms().find(|(_, problem)| problem.what.contains("start anew"));
        assert_eq!(again, None, "after {steps} steps");
        talks(&mut story, &group, &[1, 2, 3]);
    }
    assert!(later > 0, "the request was never first");
}
