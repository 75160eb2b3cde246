//! The role of the device that certifies the others goes to another one (protocol section 8, rule 21).

use api::{Command, Query, View};
use sim::world::{DeviceId, Transition};

use crate::support::Story;

/// An account with three devices (0, 2 and 3), somebody else (1), and a fresh device (4).
fn linked(seed: u64) -> (Story, String) {
    let mut story = Story::new(seed, 2, 5);
    let direct = story.direct(0, 1);
    for device in [2, 3] {
        story.does(Transition::Link { device, by: 0 });
        story.settles();
    }
    (story, direct)
}

fn id(story: &Story, device: DeviceId) -> String {
    devices(story, device).into_iter().find(|listed| listed.this).expect("it lists itself").id
}

fn devices(story: &Story, device: DeviceId) -> Vec<api::Device> {
    match story.world.view(device, &Query::Devices) {
        Some(View::Devices(devices)) => devices,
        other => panic!("device {device} shows {other:?} instead of its account's"),
    }
}

/// Which device each of these shows as the one that certifies.
fn shown(story: &Story, among: &[DeviceId]) -> Vec<String> {
    let certifying = |device: &DeviceId| devices(story, *device).into_iter().find(|listed| listed.certifies);
    among.iter().map(|device| certifying(device).expect("one certifies").id).collect()
}

/// Which of these hold the account's key.
fn hold(story: &Story, among: &[DeviceId]) -> Vec<DeviceId> {
    let holds = |device: &&DeviceId| matches!(story.world.view(**device, &Query::WhoAmI), Some(View::WhoAmI(Some(account))) if account.certifies);
    among.iter().filter(holds).copied().collect()
}

fn hands_over(story: &Story, from: DeviceId, to: DeviceId) -> Transition {
    Transition::Do { device: from, command: Command::CertifyBy { device: id(story, to) } }
}

#[test]
fn rule_21_another_device_certifies_and_all_devices_show_it() {
    let (mut story, direct) = linked(1);
    assert_eq!((hold(&story, &[0, 2, 3]), shown(&story, &[0, 2, 3])), (vec![0], vec![id(&story, 0); 3]));
    let over = hands_over(&story, 0, 2);
    story.does(over);
    story.settles();
    assert_eq!((hold(&story, &[0, 2, 3]), shown(&story, &[0, 2, 3])), (vec![2], vec![id(&story, 2); 3]));
    // It does what the role is for, and the one that had it does not any more.
    let first = id(&story, 0);
    story.does(Transition::Do { device: 0, command: Command::RevokeDevice { device: id(&story, 3) } });
    story.does(Transition::Link { device: 4, by: 2 });
    story.settles();
    assert!(devices(&story, 2).iter().all(|device| device.revoked.is_none()));
    story.does(Transition::Do { device: 2, command: Command::RevokeDevice { device: first.clone() } });
    story.settles();
    let revoked = |device: &api::Device| device.id == first && device.revoked.is_some();
    assert!(devices(&story, 4).iter().any(revoked) && devices(&story, 3).iter().any(revoked));
    story.does(Transition::send(4, &direct, "from the new one"));
    story.settles();
    assert!(story.texts(1, &direct).contains(&"from the new one".to_owned()));
    // And back, as often as one likes.
    for (from, to) in [(2, 3), (3, 4), (4, 2)] {
        let over = hands_over(&story, from, to);
        story.does(over);
        story.settles();
        assert_eq!((hold(&story, &[2, 3, 4]), shown(&story, &[2, 3, 4])), (vec![to], vec![id(&story, to); 3]));
    }
}

#[test]
fn rule_21_whatever_dies_when_exactly_one_device_holds_the_key_in_the_end() {
    for steps in (0..40).step_by(3) {
        for dies in [0, 2] {
            let (mut story, _) = linked(2);
            let over = hands_over(&story, 0, 2);
            story.does(over);
            story.steps(steps);
            // It is never nowhere.
            assert!(!hold(&story, &[0, 2]).is_empty(), "after {steps} steps");
            story.does(Transition::CutPower(dies));
            story.does(Transition::OpenDevice(dies));
            story.settles();
            assert_eq!(hold(&story, &[0, 2, 3]), [2], "device {dies} died after {steps} steps");
            assert_eq!(shown(&story, &[0, 2, 3]), vec![id(&story, 2); 3], "device {dies} died after {steps} steps");
        }
    }
}

#[test]
fn rule_21_what_is_on_its_way_can_be_taken_back_and_one_of_both_counts() {
    let mut ends = std::collections::BTreeSet::new();
    for steps in (0..240).step_by(12) {
        let (mut story, _) = linked(3);
        let (own, other) = (id(&story, 0), hands_over(&story, 0, 2));
        story.does(Transition::CrashDevice(2));
        story.does(other);
        story.steps(200);
        assert!(devices(&story, 0).iter().any(|device| device.takes_over));
        // Nobody certifies meanwhile.
        story.does(Transition::Do { device: 0, command: Command::RevokeDevice { device: id(&story, 3) } });
        story.steps(50);
        assert!(devices(&story, 0).iter().all(|device| device.revoked.is_none()));
        story.does(Transition::OpenDevice(2));
        story.steps(steps);
        story.does(Transition::Do { device: 0, command: Command::CertifyBy { device: own } });
        story.settles();
        let holds = hold(&story, &[0, 2, 3]);
        assert_eq!(holds.len(), 1, "after {steps} steps: {holds:?}");
        assert_eq!(shown(&story, &[0, 2, 3]), vec![id(&story, holds[0]); 3], "after {steps} steps");
        assert!(devices(&story, 0).iter().all(|device| !device.takes_over));
        ends.insert(holds[0]);
    }
    assert_eq!(ends.len(), 2, "only one of the two was ever first: {ends:?}");
}

#[test]
fn rule_21_nobody_but_the_one_that_holds_the_key_hands_it_over() {
    let (mut story, _) = linked(4);
    let over = hands_over(&story, 2, 3);
    story.does(over);
    story.settles();
    assert_eq!(hold(&story, &[0, 2, 3]), [0]);
    // What lies in an inbox again, after the role has gone on, changes nothing.
    for (from, to) in [(0, 2), (2, 3)] {
        let over = hands_over(&story, from, to);
        story.does(over);
        story.settles();
    }
    story.world.deposits_again();
    story.settles();
    assert_eq!((hold(&story, &[0, 2, 3]), shown(&story, &[0, 2, 3])), (vec![3], vec![id(&story, 3); 3]));
}

/// A device that was off finds both offers, and begins with the first, which no longer counts.
#[test]
fn rule_21_a_role_that_is_offered_again_after_it_was_taken_back_arrives() {
    let (mut story, _) = linked(9);
    let (own, other) = (hands_over(&story, 0, 0), hands_over(&story, 0, 2));
    story.does(Transition::GoAway(2));
    for offer in [other.clone(), own, other] {
        story.does(offer);
        story.does(Transition::Settle);
    }
    story.does(Transition::ComeBack(2));
    story.settles();
    assert_eq!((hold(&story, &[0, 2, 3]), shown(&story, &[0, 2, 3])), (vec![2], vec![id(&story, 2); 3]));
}
