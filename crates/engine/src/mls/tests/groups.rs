//! What members do together.

use super::super::{DEFAULT_SUITE, Derive, LeafError};
use super::*;

#[test]
fn two_members_talk_in_every_suite() {
    for suite in SUITES {
        let mut devices = group_of(2, suite);
        talk(&mut devices);
        for device in &devices {
            assert_eq!(device.group().epoch(), 1);
            assert_eq!(device.group().suite(), suite);
            assert_eq!(device.group().log(), LOG);
            assert_eq!(device.group().state(), b"state");
            let members = device.group().members();
            assert_eq!(members.iter().map(|member| member.leaf).collect::<Vec<_>>(), [0, 1]);
            assert_eq!(members[0].certificate, devices[0].certificate);
            assert_eq!(members[1].certificate, devices[1].certificate);
        }
    }
}

#[test]
fn an_addition_has_no_path_and_everything_else_has_one() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let mut carol = Device::new(3);
    let staged = devices[0].stage(adding(&mut [&mut carol])).unwrap();
    devices[0].merge_staged();
    let seen = devices[1].follow(&staged.commit).unwrap();
    assert_eq!(
        seen,
        Seen {
            author: 0,
            added: vec![2],
            removed: vec![],
            left: vec![],
            updated: vec![],
            state: None,
            removes_self: false,
            next: Some(staged.next),
        }
    );
    carol.join(&staged.welcomes[0].1, staged.tree.as_ref().unwrap()).unwrap();
    devices.push(carol);
    talk(&mut devices);

    for (change, removed, state) in [
        (Change::default(), vec![], None),
        (Change { update_path: true, ..Change::default() }, vec![], None),
        (Change { state: Some(b"renamed".to_vec()), ..Change::default() }, vec![], Some(b"renamed".to_vec())),
        (Change { removes: vec![2], ..Change::default() }, vec![2], None),
    ] {
        let staged = devices[1].stage(change).unwrap();
        assert!(staged.welcomes.is_empty() && staged.tree.is_none());
        devices[1].merge_staged();
        let seen = devices[0].follow(&staged.commit).unwrap();
        assert_eq!((seen.author, &seen.updated, &seen.removed, &seen.state), (1, &vec![1], &removed, &state));
        if devices[2].group().is_active() {
            devices[2].follow(&staged.commit).unwrap();
        }
    }
    assert_eq!(devices[0].group().state(), b"renamed");
    assert_eq!(devices[1].group().state(), b"renamed");
    assert!(!devices[2].group().is_active());
    talk(&mut devices);
}

#[test]
fn everything_in_one_commit() {
    let mut devices = group_of(4, CLASSICAL_SUITE);
    let mut new = Device::new(5);
    let mut change = adding(&mut [&mut new]);
    change.removes = vec![1];
    change.state = Some(b"after".to_vec());
    let staged = devices[3].stage(change).unwrap();
    devices[3].merge_staged();
    let seen = devices[0].follow(&staged.commit).unwrap();
    // The new member takes the place that the removal leaves.
    assert_eq!(
        (seen.added, seen.removed, seen.updated, seen.state),
        (vec![1], vec![1], vec![3], Some(b"after".to_vec()))
    );
    devices[2].follow(&staged.commit).unwrap();
    assert!(devices[1].follow(&staged.commit).unwrap().removes_self);
    new.join(&staged.welcomes[0].1, staged.tree.as_ref().unwrap()).unwrap();
    assert_eq!(new.group().own_leaf(), 1);
    devices.push(new);
    talk(&mut devices);
}

#[test]
fn a_device_is_removed_and_added_again_by_one_commit() {
    let mut devices = group_of(3, CLASSICAL_SUITE);
    let mut change = adding(&mut [&mut devices[1]]);
    change.removes = vec![1];
    let staged = devices[0].stage(change).unwrap();
    devices[0].merge_staged();
    let seen = devices[2].follow(&staged.commit).unwrap();
    assert_eq!((seen.added, seen.removed), (vec![1], vec![1]));
    let welcome = &staged.welcomes[0].1;
    assert!(matches!(devices[1].join(welcome, staged.tree.as_ref().unwrap()), Err(JoinError::Exists)));
    devices[1].turn(|p, _, group| group.take().unwrap().delete(p)).unwrap();
    devices[1].join(welcome, staged.tree.as_ref().unwrap()).unwrap();
    talk(&mut devices);
}

#[test]
fn i3_the_loser_of_a_race_follows_the_winner_and_does_its_own_on_top() {
    let mut devices = group_of(3, CLASSICAL_SUITE);
    let winner = devices[0].stage(Change { state: Some(b"winner".to_vec()), ..Change::default() }).unwrap();
    let loser = devices[1].stage(Change { removes: vec![2], ..Change::default() }).unwrap();
    devices[0].merge_staged();
    // A message of the ending epoch can still be sent while a commit is staged.
    let message = devices[1].send(b"meanwhile").unwrap();
    assert!(devices[2].receive(&message).is_ok());
    assert!(devices[1].group().staged());
    devices[1].follow(&winner.commit).unwrap();
    assert!(!devices[1].group().staged());
    devices[2].follow(&winner.commit).unwrap();
    assert!(matches!(devices[0].process(&loser.commit), Err(ProcessError::Stale(1))));
    assert!(matches!(devices[2].process(&loser.commit), Err(ProcessError::Stale(1))));
    talk(&mut devices);
    commit(&mut devices, 1, Change { removes: vec![2], ..Change::default() });
    assert_eq!(devices[0].group().state(), b"winner");
    assert_eq!(devices[0].group().members().len(), 2);
    talk(&mut devices);
}

#[test]
fn only_one_commit_is_staged_at_a_time_and_it_can_be_dropped() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    devices[0].stage(Change::default()).unwrap();
    assert!(matches!(devices[0].stage(Change::default()), Err(MlsError::Staged)));
    assert!(matches!(devices[0].leave(), Err(MlsError::Staged)));
    devices[0].turn(|p, _, group| group.as_mut().unwrap().drop_staged(p)).unwrap();
    assert!(!devices[0].group().staged());
    let not_staged = devices[0].turn(|p, _, group| group.as_mut().unwrap().merge_staged(p));
    assert!(matches!(not_staged, Err(MlsError::NotStaged)));
    commit(&mut devices, 0, Change::default());
    talk(&mut devices);
}

#[test]
fn whoever_asks_to_leave_goes_with_the_next_commit() {
    let mut devices = group_of(4, CLASSICAL_SUITE);
    let request = devices[3].leave().unwrap();
    for device in &mut devices[..3] {
        assert_eq!(device.receive(&request).unwrap(), Received::Leave { leaf: 3 });
        assert_eq!(device.group().leaving().collect::<Vec<_>>(), [3]);
        device.reload();
        assert_eq!(device.group().leaving().collect::<Vec<_>>(), [3]);
        assert!(matches!(device.send(b"not now"), Err(MlsError::ProposalsPending)));
    }
    assert!(matches!(devices[3].leave(), Err(MlsError::Leaving)));
    assert!(matches!(devices[3].send(b"x"), Err(MlsError::Leaving)));
    assert!(matches!(devices[3].stage(Change::default()), Err(MlsError::Leaving)));

    // Even a commit that names it once more, and removes another one.
    let staged = devices[1].stage(Change { removes: vec![3, 2], ..Change::default() }).unwrap();
    devices[1].merge_staged();
    let seen = devices[0].follow(&staged.commit).unwrap();
    assert_eq!((&seen.removed, &seen.left), (&vec![2], &vec![3]));
    assert!(devices[3].follow(&staged.commit).unwrap().removes_self);
    assert!(devices[2].follow(&staged.commit).unwrap().removes_self);
    assert!(!devices[3].group().is_active());
    talk(&mut devices);
}

#[test]
fn a_request_to_leave_ends_with_its_epoch() {
    let mut devices = group_of(3, CLASSICAL_SUITE);
    let staged = devices[0].stage(Change::default()).unwrap();
    let request = devices[2].leave().unwrap();
    devices[0].merge_staged();
    // The commit comes first in the log: the request is of a past epoch, for its author too.
    devices[1].follow(&staged.commit).unwrap();
    devices[2].follow(&staged.commit).unwrap();
    assert!(matches!(devices[0].receive(&request), Err(ReceiveError::Stale(1))));
    assert_eq!(devices[2].group().leaving().count(), 0);
    talk(&mut devices);
}

#[test]
fn secrets_are_common_and_each_purpose_relay_and_epoch_has_its_own() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let elsewhere: RelayName = "other.example".parse().unwrap();
    let mut all = std::collections::BTreeSet::new();
    for _ in 0..2 {
        for what in Derive::ALL {
            for relay in [relay(), elsewhere.clone()] {
                let secrets: Vec<[u8; 32]> = devices
                    .iter_mut()
                    .map(|device| *device.turn(|p, _, group| group.as_ref().unwrap().secret(p, what, &relay)).unwrap())
                    .collect();
                assert_eq!(secrets[0], secrets[1]);
                assert!(all.insert(secrets[0]), "{what:?} {relay}");
            }
        }
        commit(&mut devices, 0, Change::default());
    }
}

#[test]
fn the_next_delivery_key_is_known_before_and_after_the_merge() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let staged = commit(&mut devices, 0, Change::default());
    for device in &mut devices {
        let seed = device.turn(|p, _, group| group.as_ref().unwrap().secret(p, Derive::Delivery, &relay())).unwrap();
        assert_eq!(wire::EpochKey::from_seed(&seed).public(), staged.next);
    }
}

#[test]
fn messages_survive_disorder_and_gaps() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let messages: Vec<Vec<u8>> = (0..40u8).map(|n| devices[0].send(&[n]).unwrap()).collect();
    // The 16 in flight in any order, then one that follows a gap.
    for n in (0..16).rev().chain([39]) {
        let received = devices[1].receive(&messages[n]).unwrap();
        assert_eq!(received, Received::Message { leaf: 0, plaintext: vec![n as u8] });
    }
    assert!(matches!(devices[1].receive(&messages[39]), Err(ReceiveError::Unreadable)));
    talk(&mut devices);
}

#[test]
fn what_was_sent_by_oneself_is_told_apart() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let message = devices[0].send(b"mine").unwrap();
    assert!(matches!(devices[0].receive(&message), Err(ReceiveError::Own)));
    let staged = devices[0].stage(Change::default()).unwrap();
    assert!(matches!(devices[0].process(&staged.commit), Err(ProcessError::Own)));
    devices[0].merge_staged();
    devices[1].receive(&message).unwrap();
    devices[1].follow(&staged.commit).unwrap();
    talk(&mut devices);
}

#[test]
fn fifty_members() {
    let mut devices = group_of(50, CLASSICAL_SUITE);
    for author in [0, 17, 49] {
        commit(&mut devices, author, Change { update_path: true, ..Change::default() });
        let message = devices[author].send(b"to all").unwrap();
        for (index, device) in devices.iter_mut().enumerate().filter(|(index, _)| *index != author) {
            assert!(device.receive(&message).is_ok(), "{index}");
        }
    }
    commit(&mut devices, 3, Change { removes: (30..40).collect(), ..Change::default() });
    let sizes: Vec<usize> = devices
        .iter()
        .filter(|device| device.group().is_active())
        .map(|device| device.group().members().len())
        .collect();
    assert_eq!(sizes, vec![40; 40]);
}

#[test]
fn a_package_of_another_suite_is_refused_and_nothing_changes() {
    let mut alice = Device::with_suite(1, DEFAULT_SUITE);
    alice.create(b"");
    let mut bob = Device::new(2);
    let change = adding(&mut [&mut bob]);
    assert!(matches!(alice.stage(change), Err(MlsError::KeyPackage { index: 0, .. })));
    assert!(!alice.group().staged());
    assert!(matches!(alice.stage(Change { removes: vec![0], ..Change::default() }), Err(MlsError::RemovesSelf)));
    assert!(matches!(alice.stage(Change { removes: vec![9], ..Change::default() }), Err(MlsError::UnknownLeaf(9))));
    let (certificate, key) = (alice.certificate.clone(), alice.key.clone());
    let twice = alice.turn(|p, _, _| Group::create(p, &key, &certificate, LOG, DEFAULT_SUITE, b"", now()).map(drop));
    assert!(matches!(twice, Err(MlsError::Exists)));
    let suite = alice.turn(|p, _, _| Group::create(p, &key, &certificate, LogId([8; 16]), 2, b"", now()).map(drop));
    assert!(matches!(suite, Err(MlsError::Suite(2))));
}

#[test]
fn new_members_get_the_leaves_that_are_foretold() {
    let mut devices = group_of(6, CLASSICAL_SUITE);
    commit(&mut devices, 0, Change { removes: vec![4], ..Change::default() });
    let request = devices[5].leave().unwrap();
    for device in &mut devices[..4] {
        device.receive(&request).unwrap();
    }
    let mut new: Vec<Device> = (11..=15).map(Device::new).collect();
    let mut change = adding(&mut new.iter_mut().collect::<Vec<_>>());
    change.removes = vec![2];
    let staged = devices[1].stage(change).unwrap();
    devices[1].merge_staged();
    let seen = devices[0].follow(&staged.commit).unwrap();
    assert_eq!((seen.added, seen.removed, seen.left), (vec![2, 4, 5, 6, 7], vec![2], vec![5]));
    for (device, (leaf, (_, welcome))) in new.iter_mut().zip([2, 4, 5, 6, 7].into_iter().zip(&staged.welcomes)) {
        device.join(welcome, staged.tree.as_ref().unwrap()).unwrap();
        assert_eq!(device.group().own_leaf(), leaf);
    }
}

#[test]
fn who_is_there_already_is_not_added() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let mut carol = Device::new(3);
    let again = adding(&mut [&mut devices[1]]);
    let package = carol.package(false);
    for (adds, at) in [(again.adds, 0), (vec![package.clone(), package.clone()], 1)] {
        match devices[0].stage(Change { adds, ..Change::default() }) {
            Err(MlsError::KeyPackage { index, source: LeafError::Duplicate }) => assert_eq!(index, at),
            other => panic!("{other:?}"),
        }
    }
    let staged = devices[0].stage(Change { adds: vec![package], ..Change::default() }).unwrap();
    assert_eq!(staged.welcomes.len(), 1);
}

#[test]
fn i10_debug_says_nothing_of_what_was_written() {
    let received = Received::Message { leaf: 3, plaintext: b"secret".to_vec() };
    assert_eq!(format!("{received:?}"), "Message(3, 6 bytes)");
    let member = group_of(1, CLASSICAL_SUITE)[0].group().members().remove(0);
    assert_eq!(format!("{member:?}"), "Member(0)");
}
