//! Who is not on for months falls asleep in groups, and comes back by itself (protocol rule 10).

use api::{Command, MessageKind, Query, Role, Standing, View};
use sim::world::{DeviceId, Transition};

use crate::support::{Story, address};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// So many weeks in which everybody else is on.
fn weeks(story: &mut Story, weeks: u64) {
    for _ in 0..weeks {
        story.does(Transition::Advance(7 * DAY));
        story.does(Transition::Settle);
        story.does(Transition::Advance(2 * HOUR));
        story.does(Transition::Settle);
    }
}

/// Who is asleep in a group, as a device shows it.
fn asleep(story: &Story, device: DeviceId, name: &str) -> Vec<(String, Role)> {
    story.conversation(device, name).asleep.into_iter().map(|one| (one.address, one.role)).collect()
}

/// The accounts of a group and on how many devices they are, as a device shows it.
fn members(story: &Story, device: DeviceId, name: &str) -> Vec<(String, Role, u32)> {
    let mut members = story.conversation(device, name).members;
    members.sort_by(|a, b| a.address.cmp(&b.address));
    members.into_iter().map(|member| (member.address, member.role, member.devices)).collect()
}

/// What a device shows was said about the conversation itself.
fn lines(story: &Story, device: DeviceId, id: &str) -> Vec<String> {
    let system = |message: api::Message| match message.kind {
        MessageKind::System { text } => Some(text),
        _ => None,
    };
    story.messages(device, id).into_iter().filter_map(system).collect()
}

#[test]
fn rule_10_who_is_away_for_months_is_asleep_and_comes_back_as_what_it_was() {
    let mut story = Story::new(1, 4, 4);
    let id = story.group(0, "band", &[1, 2, 3]);
    story.does(Transition::role(0, &id, &address(2), Role::Admin));
    story.does(Transition::send(1, &id, "before"));
    story.settles();
    story.does(Transition::GoAway(2));
    story.does(Transition::GoAway(3));
    weeks(&mut story, 8);
    assert_eq!(asleep(&story, 0, "band"), []);
    weeks(&mut story, 3);
    let sleepers = [(address(2), Role::Admin), (address(3), Role::Member)];
    assert_eq!(asleep(&story, 0, "band"), sleepers);
    assert_eq!(asleep(&story, 1, "band"), sleepers);
    let here = [(address(0), Role::Owner, 1), (address(1), Role::Member, 1)];
    assert_eq!(members(&story, 1, "band"), here);
    let Some(View::Who(who)) = story.world.view(1, &Query::Who { conversation: id.clone() }) else {
        panic!("it shows")
    };
    assert_eq!((who.people.len(), who.asleep.len()), (2, 2));
    let fell = format!("{} is asleep: none of its devices was here for months. It comes back when one is.", address(3));
    for device in [0, 1] {
        assert_eq!(lines(&story, device, &id).iter().filter(|line| **line == fell).count(), 1);
    }
    story.does(Transition::send(1, &id, "while two sleep"));
    story.does(Transition::Settle);

    // Whoever answers, the admin is one again.
    story.does(Transition::ComeBack(2));
    story.does(Transition::Settle);
    assert_eq!(asleep(&story, 1, "band"), sleepers[1..]);
    story.does(Transition::ComeBack(3));
    story.settles();
    let all = [
        (address(0), Role::Owner, 1),
        (address(1), Role::Member, 1),
        (address(2), Role::Admin, 1),
        (address(3), Role::Member, 1),
    ];
    for device in 0..4 {
        assert_eq!((members(&story, device, "band"), asleep(&story, device, "band")), (all.to_vec(), vec![]));
    }
    assert!(lines(&story, 1, &id).contains(&format!("{} is back.", address(2))));
    let missed = lines(&story, 2, &id).into_iter().find(|line| line.contains("What was written here")).expect("a line");
    assert!(missed.contains("has let this device in again") && missed.contains("in the last "), "{missed}");
    story.does(Transition::rename(2, &id, "choir"));
    story.does(Transition::send(3, &id, "good to be back"));
    story.settles();
    for device in 0..4 {
        assert_eq!(story.conversation(device, "choir").standing, Standing::Active);
        assert_eq!(story.texts(device, &id).last().map(String::as_str), Some("good to be back"), "device {device}");
    }
    // What was written meanwhile it had no keys for.
    assert_eq!(story.texts(2, &id), ["before", "good to be back"]);
}

#[test]
fn rule_10_one_device_of_several_sleeps_without_its_account() {
    let mut story = Story::new(2, 2, 3);
    let id = story.group(0, "band", &[1]);
    story.does(Transition::Link { device: 2, by: 1 });
    story.settles();
    story.does(Transition::GoAway(2));
    weeks(&mut story, 11);
    assert_eq!(members(&story, 0, "band"), [(address(0), Role::Owner, 1), (address(1), Role::Member, 1)]);
    assert_eq!(asleep(&story, 0, "band"), []);
    story.does(Transition::ComeBack(2));
    story.settles();
    assert_eq!(members(&story, 0, "band"), [(address(0), Role::Owner, 1), (address(1), Role::Member, 2)]);
    story.does(Transition::send(0, &id, "both of you"));
    story.settles();
    assert_eq!(story.texts(2, &id), ["both of you"]);
}

#[test]
fn rule_10_who_was_away_for_longer_than_commits_are_kept_comes_back_too() {
    for (seed, owner_is_away) in [(3, false), (4, true)] {
        let mut story = Story::new(seed, 3, 3);
        let id = story.group(0, "band", &[1, 2]);
        let away = if owner_is_away { 0 } else { 2 };
        story.does(Transition::GoAway(away));
        weeks(&mut story, 15);
        // Nobody puts an owner to sleep but an owner.
        let slept = asleep(&story, 1, "band").len();
        assert_eq!(slept, usize::from(!owner_is_away));
        story.does(Transition::ComeBack(away));
        story.settles();
        assert_eq!(members(&story, 1, "band").len(), 3);
        story.does(Transition::send(1, &id, "there you are"));
        story.settles();
        assert_eq!(story.texts(away, &id), ["there you are"]);
        let missed = lines(&story, away, &id);
        assert!(missed.iter().any(|line| line.contains("in the months before")), "{missed:?}");
    }
}

#[test]
fn rule_10_who_is_removed_while_asleep_stays_out() {
    let mut story = Story::new(5, 3, 3);
    let id = story.group(0, "band", &[1, 2]);
    story.does(Transition::GoAway(2));
    weeks(&mut story, 11);
    assert_eq!(asleep(&story, 1, "band").len(), 1);
    // A plain member may not.
    story.does(Transition::remove(1, &id, &address(2)));
    story.does(Transition::Settle);
    assert_eq!(asleep(&story, 1, "band").len(), 1);
    story.does(Transition::remove(0, &id, &address(2)));
    story.does(Transition::Settle);
    assert_eq!(asleep(&story, 1, "band"), []);
    let gone = format!("{} removed {}, who was asleep.", address(0), address(2));
    assert_eq!(lines(&story, 1, &id).last(), Some(&gone));
    story.does(Transition::ComeBack(2));
    for _ in 0..14 {
        story.settles();
        story.does(Transition::Advance(DAY));
    }
    story.settles();
    assert_eq!(story.conversation(2, "band").standing, Standing::Left);
    assert_eq!(members(&story, 0, "band").len(), 2);
}

#[test]
fn rule_10_an_invitation_that_nobody_takes_for_months_is_over() {
    let mut story = Story::new(8, 3, 3);
    let id = story.group(0, "band", &[1]);
    story.does(Transition::add(0, &id, &address(2)));
    story.settles();
    assert_eq!(story.conversation(2, "band").standing, Standing::Requested);
    weeks(&mut story, 11);
    story.settles();
    // It is not in by having waited.
    assert_eq!(story.conversation(2, "band").standing, Standing::Left);
    assert_eq!(members(&story, 0, "band").len(), 2);
}

#[test]
fn rule_10_an_admin_wakes_somebody_by_adding_him() {
    let mut story = Story::new(6, 3, 3);
    let id = story.group(0, "band", &[1, 2]);
    story.does(Transition::role(0, &id, &address(2), Role::Admin));
    story.settles();
    story.does(Transition::GoAway(2));
    weeks(&mut story, 11);
    story.does(Transition::add(0, &id, &address(2)));
    story.does(Transition::Settle);
    assert_eq!((members(&story, 1, "band").len(), asleep(&story, 1, "band").len()), (3, 0));
    story.does(Transition::ComeBack(2));
    story.settles();
    let shown = story.conversation(2, "band");
    assert_eq!((shown.standing, members(&story, 1, "band")[2].1), (Standing::Active, Role::Admin));
    story.does(Transition::Do { device: 1, command: Command::Leave { conversation: id } });
    story.settles();
}

#[test]
fn rule_10_where_all_were_away_at_once_nobody_is_put_to_sleep_by_who_is_back_first() {
    let mut story = Story::new(7, 3, 3);
    story.group(0, "band", &[1, 2]);
    (0..3).for_each(|device| story.does(Transition::GoAway(device)));
    weeks(&mut story, 12);
    for device in 0..3 {
        story.does(Transition::ComeBack(device));
        story.does(Transition::Settle);
        story.does(Transition::Advance(12 * HOUR));
        story.does(Transition::Settle);
    }
    weeks(&mut story, 2);
    story.settles();
    for device in 0..3 {
        assert_eq!((members(&story, device, "band").len(), asleep(&story, device, "band").len()), (3, 0));
        let slept = lines(&story, device, &story.conversation(device, "band").id);
        assert!(slept.iter().all(|line| !line.contains("asleep") && !line.contains("let this device in")), "{slept:?}");
    }
}

/// The bug of forgetting who sleeps is found: whoever comes back is out for good.
#[test]
#[cfg(feature = "mutants")]
fn rule_10_a_sleeper_that_is_forgotten_is_found() {
    engine::mutants::plant(Some(engine::mutants::Mutant::SleeperForgotten));
    let mut story = Story::new(1, 3, 3);
    story.group(0, "band", &[1, 2]);
    story.does(Transition::GoAway(2));
    weeks(&mut story, 11);
    story.does(Transition::ComeBack(2));
    story.does(Transition::Settle);
    let verdict = story.world.check();
    engine::mutants::plant(None);
    assert_eq!(verdict.map_err(|violation| violation.invariant), Err("10"));
}
