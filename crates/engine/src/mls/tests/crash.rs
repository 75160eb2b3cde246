//! Crashes: whatever isn't in the database has not happened, and what is there is whole.

use super::super::delete_key_package;
use super::*;

fn rows(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM mls", [], |row| row.get(0)).unwrap()
}

#[test]
fn i5_a_crash_between_any_two_steps_leaves_the_state_before() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let mut carol = Device::new(3);
    let package = carol.package(false);

    // Receiving: the message is there again after the crash.
    let message = devices[0].send(b"one").unwrap();
    let bob = &mut devices[1];
    {
        let p = Provider::new(&bob.db, &mut bob.rng);
        bob.group.as_mut().unwrap().receive(&p, &message).unwrap();
    }
    bob.reload();
    assert!(bob.receive(&message).is_ok());

    // Staging, merging, following: as if never begun.
    let alice = &mut devices[0];
    let change = Change { adds: vec![package], ..Change::default() };
    {
        let p = Provider::new(&alice.db, &mut alice.rng);
        let group = alice.group.as_mut().unwrap();
        group.stage(&p, &alice.key, change.clone(), &relay()).unwrap();
        group.merge_staged(&p).unwrap();
    }
    alice.reload();
    assert!(!alice.group().staged());
    assert_eq!(alice.group().epoch(), 1);
    let staged = alice.stage(change).unwrap();
    alice.reload();
    assert!(alice.group().staged());
    alice.merge_staged();
    alice.reload();
    assert_eq!(alice.group().epoch(), 2);
    let bob = &mut devices[1];
    {
        let p = Provider::new(&bob.db, &mut bob.rng);
        let group = bob.group.as_mut().unwrap();
        let incoming = group.process(&p, &staged.commit).unwrap();
        group.merge(&p, incoming).unwrap();
    }
    bob.reload();
    assert_eq!(bob.group().epoch(), 1);
    bob.follow(&staged.commit).unwrap();

    // Joining: the key package is still there after the crash, and gone after the join.
    let (welcome, tree) = (&staged.welcomes[0].1, staged.tree.as_ref().unwrap());
    {
        let p = Provider::new(&carol.db, &mut carol.rng);
        Group::join(&p, &carol.key, welcome, tree).unwrap();
    }
    carol.reload();
    assert!(carol.group.is_none());
    carol.join(welcome, tree).unwrap();
    carol.turn(|p, _, group| group.take().unwrap().delete(p)).unwrap();
    assert!(matches!(carol.join(welcome, tree), Err(JoinError::NotForUs)));
    assert_eq!(rows(&carol.db), 0);
}

#[test]
fn i5_no_key_is_used_twice_across_restarts() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    // A key used twice would be one that the receiver has already deleted.
    for n in 0..5u8 {
        let message = devices[0].send(&[n]).unwrap();
        devices[0].reload();
        devices[1].receive(&message).unwrap();
        devices[1].reload();
        assert!(matches!(devices[1].receive(&message), Err(ReceiveError::Unreadable)));
    }
}

#[test]
fn i5_a_turn_that_forgets_a_changed_group_can_not_be_committed() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let message = devices[0].send(b"one").unwrap();
    let bob = &mut devices[1];
    let p = Provider::new(&bob.db, &mut bob.rng);
    let group = bob.group.as_mut().unwrap();
    group.receive(&p, &message).unwrap();
    assert!(matches!(p.flush([]), Err(MlsError::Unsaved)));
    assert!(matches!(Group::load(&p, LOG), Err(MlsError::Unsaved)));
    p.flush([group]).unwrap();
    assert!(Group::load(&p, LOG).unwrap().is_some());
}

#[test]
fn a_turn_sees_what_it_has_changed_itself() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let (mut alice, bob) = (devices.remove(0), &mut devices[0]);
    let messages: Vec<Vec<u8>> = (0..3u8).map(|n| alice.send(&[n]).unwrap()).collect();
    let staged = alice.stage(Change { update_path: true, ..Change::default() }).unwrap();
    alice.merge_staged();
    let after = alice.send(b"after").unwrap();
    // Messages, a commit, and a message of the next epoch in one transaction.
    bob.turn(|p, _, group| {
        let bob = group.as_mut().unwrap();
        for message in &messages {
            bob.receive(p, message).unwrap();
        }
        let incoming = bob.process(p, &staged.commit).unwrap();
        bob.merge(p, incoming).unwrap();
        *group = Group::load(p, LOG).unwrap();
        group.as_mut().unwrap().receive(p, &after).map(drop)
    })
    .unwrap();
    bob.reload();
    assert_eq!(bob.group().epoch(), 2);
}

#[test]
fn deleting_leaves_nothing_of_the_group_and_everything_of_others() {
    let mut devices = group_of(3, CLASSICAL_SUITE);
    devices[2].package(true);
    let request = devices[2].leave().unwrap();
    devices[1].receive(&request).unwrap();
    for (device, left) in devices[1..].iter_mut().zip([0, 1]) {
        device.turn(|p, _, group| group.take().unwrap().delete(p)).unwrap();
        assert_eq!(rows(&device.db), left);
        device.reload();
        assert!(device.group.is_none());
    }
}

#[test]
fn a_last_resort_package_serves_more_than_once_until_it_is_deleted() {
    let mut carol = Device::new(3);
    let certificate = carol.certificate.clone();
    let (package, reference) =
        carol.turn(|p, key, _| key_package(p, key, &certificate, CLASSICAL_SUITE, now(), true)).unwrap();
    let package: Bytes = package.into();
    for round in 0..3 {
        let mut alice = Device::new(1);
        alice.create(b"");
        let staged = alice.stage(Change { adds: vec![package.clone()], ..Change::default() }).unwrap();
        let joined = carol.join(&staged.welcomes[0].1, staged.tree.as_ref().unwrap());
        if round == 2 {
            assert!(matches!(joined, Err(JoinError::NotForUs)));
        } else {
            joined.unwrap();
            carol.turn(|p, _, group| group.take().unwrap().delete(p)).unwrap();
        }
        if round == 1 {
            carol.turn(|p, _, _| delete_key_package(p, &reference)).unwrap();
            assert_eq!(rows(&carol.db), 0);
        }
    }
}

#[test]
fn damaged_rows_are_errors_and_never_panics() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let message = devices[0].send(b"one").unwrap();
    devices[1].receive(&message).unwrap();
    let kinds: Vec<u8> = {
        let mut rows = devices[1].db.prepare("SELECT DISTINCT kind FROM mls").unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    for kind in kinds {
        for damage in ["X'ff'", "X''", "substr(value, 1, length(value) / 2)"] {
            let bob = &mut devices[1];
            let tx = bob.db.unchecked_transaction().unwrap();
            tx.execute(&format!("UPDATE mls SET value = {damage} WHERE kind = ?1"), [kind]).unwrap();
            let p = Provider::new(&tx, &mut bob.rng);
            // What is needed at once fails here; the rest when it is needed.
            if let Ok(Some(mut group)) = Group::load(&p, LOG) {
                let _ = group.stage(&p, &bob.key, Change::default(), &relay()).and_then(|_| group.merge_staged(&p));
            }
        }
    }
}

/// Stands for any of the library's types.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Any(u8);

mod any {
    use openmls_traits::storage::{CURRENT_VERSION, Entity, Key, traits};

    use super::Any;

    impl Key<CURRENT_VERSION> for Any {}
    impl Entity<CURRENT_VERSION> for Any {}
    impl traits::GroupId<CURRENT_VERSION> for Any {}
    impl traits::ProposalRef<CURRENT_VERSION> for Any {}
    impl traits::QueuedProposal<CURRENT_VERSION> for Any {}
    impl traits::LeafNode<CURRENT_VERSION> for Any {}
    impl traits::EncryptionKey<CURRENT_VERSION> for Any {}
    impl traits::EpochKey<CURRENT_VERSION> for Any {}
    impl traits::HpkeKeyPair<CURRENT_VERSION> for Any {}
    impl traits::SignaturePublicKey<CURRENT_VERSION> for Any {}
    impl traits::SignatureKeyPair<CURRENT_VERSION> for Any {}
}

/// One step of a storage, and the outcome as seen by all getters; run with and without a flush after each step.
fn walk(flush: bool) -> Vec<String> {
    use openmls_traits::OpenMlsProvider as _;
    use openmls_traits::storage::StorageProvider as _;

    let mut device = Device::new(1);
    let p = Provider::new(&device.db, &mut device.rng);
    let s = p.storage();
    let group = Any(7);
    let steps: [&dyn Fn() -> Result<(), super::super::StorageError>; 17] = [
        &|| s.queue_proposal(&group, &Any(2), &Any(20)),
        &|| s.queue_proposal(&group, &Any(1), &Any(10)),
        &|| s.queue_proposal(&group, &Any(2), &Any(21)),
        &|| s.queue_proposal(&Any(8), &Any(3), &Any(30)),
        &|| s.append_own_leaf_node(&group, &Any(1)),
        &|| s.append_own_leaf_node(&group, &Any(2)),
        &|| s.write_encryption_epoch_key_pairs(&group, &Any(1), 5, &[Any(1), Any(2)]),
        &|| s.write_encryption_epoch_key_pairs(&group, &Any(2), 5, &[Any(3)]),
        &|| s.write_signature_key_pair(&Any(1), &Any(2)),
        &|| s.write_encryption_key_pair(&Any(1), &Any(3)),
        &|| s.remove_proposal(&group, &Any(2)),
        &|| s.delete_encryption_epoch_key_pairs(&group, &Any(1), 5),
        &|| s.delete_own_leaf_nodes(&group),
        &|| s.clear_proposal_queue::<_, Any>(&group),
        &|| s.delete_signature_key_pair(&Any(1)),
        &|| s.delete_encryption_key_pair(&Any(1)),
        &|| s.append_own_leaf_node(&group, &Any(3)),
    ];
    let mut seen = Vec::new();
    for step in steps {
        step().unwrap();
        if flush {
            p.flush([]).unwrap();
        }
        let refs: Vec<Any> = s.queued_proposal_refs(&group).unwrap();
        let proposals: Vec<(Any, Any)> = s.queued_proposals(&group).unwrap();
        let others: Vec<Any> = s.queued_proposal_refs(&Any(8)).unwrap();
        let leaves: Vec<Any> = s.own_leaf_nodes(&group).unwrap();
        let pairs: [Vec<Any>; 3] = [(1, 5), (2, 5), (2, 6)]
            .map(|(epoch, leaf)| s.encryption_epoch_key_pairs(&group, &Any(epoch), leaf).unwrap());
        let signature: Option<Any> = s.signature_key_pair(&Any(1)).unwrap();
        let encryption: Option<Any> = s.encryption_key_pair(&Any(1)).unwrap();
        seen.push(format!("{refs:?} {proposals:?} {others:?} {leaves:?} {pairs:?} {signature:?} {encryption:?}"));
    }
    seen
}

#[test]
fn the_overlay_and_the_table_say_the_same() {
    let seen = walk(false);
    assert_eq!(seen, walk(true));
    // The order of proposals is that of their arrival, and each is there once.
    assert!(seen[2].starts_with("[Any(2), Any(1)] [(Any(2), Any(21)), (Any(1), Any(10))] []"));
    assert!(seen[9].contains("[[Any(1), Any(2)], [Any(3)], []] Some(Any(2)) Some(Any(3))"));
    assert_eq!(seen[16], "[] [] [Any(3)] [Any(3)] [[], [Any(3)], []] None None");
}
