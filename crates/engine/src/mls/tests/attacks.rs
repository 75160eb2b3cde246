//! What members, removed members and relays must not get away with.

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::*;

use super::super::provider::DeviceSigner;
use super::super::{LeafError, check_key_package, config, leaf};
use super::*;

/// A commit made by the library itself, past all checks of ours; staged, not merged.
fn forge(
    device: &mut Device,
    make: impl FnOnce(&mut MlsGroup, &Provider<'_>, &DeviceSigner<'_>) -> MlsMessageOut,
) -> Vec<u8> {
    device
        .turn(|p, key, group| {
            let message = make(group.as_mut().unwrap().inner_mut(), p, &DeviceSigner(key));
            Ok::<_, MlsError>(message.to_bytes().unwrap())
        })
        .unwrap()
}

/// A key package with any credential, lifetime and capabilities.
fn package(
    device: &mut Device,
    credential: CredentialWithKey,
    lifetime: Option<Lifetime>,
    capabilities: Option<Capabilities>,
) -> KeyPackage {
    let suite = config::suite(device.suite).unwrap();
    device
        .turn(|p, key, _| {
            let bundle = KeyPackage::builder()
                .key_package_lifetime(lifetime.unwrap_or_else(|| config::lifetime(now())))
                .leaf_node_capabilities(capabilities.unwrap_or_else(|| config::capabilities(p.rand())))
                .build(suite, p, &DeviceSigner(key), credential)
                .unwrap();
            Ok::<_, MlsError>(bundle.key_package().clone())
        })
        .unwrap()
}

fn encoded(package: &KeyPackage) -> Bytes {
    package.tls_serialize_detached().unwrap().into()
}

#[test]
fn a_leaf_is_its_certificate_s_device_or_nothing() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let mut mallory = Device::new(6);
    let victim = Device::new(9);
    let own = leaf::credential(&mallory.certificate);
    let with = |credential: &[u8]| CredentialWithKey {
        credential: BasicCredential::new(credential.to_vec()).into(),
        signature_key: own.signature_key.clone(),
    };
    let only_pq = certify(&mallory.account, &mallory.key, "user6", 6, &[0x4f]);
    let mut cut = mallory.certificate.bytes().to_vec();
    cut.truncate(cut.len() - 1);
    let plain = Capabilities::new(None, None, None, None, Some(&[CredentialType::Basic]));
    let year = Lifetime::init(now().0 / 1000 - 3600, now().0 / 1000 + 365 * 24 * 3600);

    let cases = [
        (with(victim.certificate.bytes()), None, None, LeafError::Key),
        (with(only_pq.bytes()), None, None, LeafError::Suite),
        (with(b"mallory"), None, None, LeafError::Certificate(wire::RecordError::Malformed)),
        (with(&cut), None, None, LeafError::Certificate(wire::RecordError::Malformed)),
        (own.clone(), Some(year), None, LeafError::Lifetime),
        (own.clone(), None, Some(plain), LeafError::Capabilities),
    ];
    for (credential, lifetime, capabilities, why) in cases {
        let bad = package(&mut mallory, credential, lifetime, capabilities);
        // Who adds refuses,
        let change = Change { adds: vec![encoded(&bad)], ..Change::default() };
        match devices[0].stage(change) {
            Err(MlsError::KeyPackage { index: 0, source }) => assert_eq!(source, why),
            other => panic!("{why}: {other:?}"),
        }
        // who is to follow one who doesn't, refuses,
        let mut accomplice = None;
        let added = devices[0].turn(|p, key, group| {
            let mls = group.as_mut().unwrap().inner_mut();
            match mls.add_members_without_update(p, &DeviceSigner(key), std::slice::from_ref(&bad)) {
                Ok((commit, welcome, _)) => {
                    let tree = mls.pending_commit().unwrap().export_ratchet_tree(p.crypto(), mls.export_ratchet_tree());
                    let tree = tree.unwrap().unwrap().tls_serialize_detached().unwrap();
                    accomplice = Some((commit.to_bytes().unwrap(), welcome.to_bytes().unwrap(), tree));
                    Ok(())
                }
                // The library refuses by itself that a leaf lacks what the group needs.
                Err(_) => Err(MlsError::NotStaged),
            }
        });
        if added.is_err() {
            assert_eq!(why, LeafError::Capabilities);
            continue;
        }
        let (commit, welcome, tree) = accomplice.unwrap();
        match devices[1].process(&commit) {
            Err(ProcessError::Leaf(source)) => assert_eq!(source, why),
            other => panic!("{why}: {:?}", other.map(drop)),
        }
        assert_eq!(devices[1].group().epoch(), 1);
        // and who is invited into such a group doesn't join it. (A lifetime is no reason: by then it is past.)
        if why != LeafError::Lifetime {
            match mallory.join(&welcome, &tree) {
                Err(JoinError::Leaf { leaf: 2, source }) => assert_eq!(source, why),
                other => panic!("{why}: {other:?}"),
            }
        }
        devices[0].turn(|p, _, group| group.as_mut().unwrap().drop_staged(p)).unwrap();
    }
    talk(&mut devices);
}

#[test]
fn an_update_keeps_account_and_device() {
    let mut devices = group_of(3, CLASSICAL_SUITE);
    let other_account = SigningKey::from_bytes(&[77; 32]);
    let key = devices[1].key.clone();
    let account = devices[1].account.clone();
    for (certificate, allowed) in [
        (certify(&other_account, &key, "user2", 2, &SUITES), false),
        (certify(&account, &key, "user2", 200, &SUITES), false),
        (certify(&account, &key, "other", 2, &SUITES), false),
        (certify(&account, &key, "user2", 2, &[1]), true),
    ] {
        let parameters = LeafNodeParameters::builder().with_credential_with_key(leaf::credential(&certificate)).build();
        let commit =
            forge(&mut devices[1], |mls, p, signer| mls.self_update(p, signer, parameters).unwrap().into_commit());
        match devices[0].process(&commit) {
            Ok(incoming) => {
                assert!(allowed);
                assert_eq!(incoming.updated[0].certificate, certificate);
            }
            Err(ProcessError::Leaf(LeafError::Device)) => assert!(!allowed),
            Err(other) => panic!("{other:?}"),
        }
        devices[1].turn(|p, _, group| group.as_mut().unwrap().drop_staged(p)).unwrap();
    }
}

#[test]
fn no_proposal_but_the_own_removal_stands_alone() {
    let mut devices = group_of(3, CLASSICAL_SUITE);
    let mut dave = Device::new(4);
    let credential = leaf::credential(&dave.certificate);
    let package = package(&mut dave, credential, None, None);
    let extensions = config::context(b"other").unwrap();
    let forged = [
        forge(&mut devices[1], |mls, p, signer| mls.propose_add_member(p, signer, &package).unwrap().0),
        forge(&mut devices[1], |mls, p, signer| mls.propose_remove_member(p, signer, LeafNodeIndex::new(2)).unwrap().0),
        forge(&mut devices[1], |mls, p, signer| {
            mls.propose_self_update(p, signer, LeafNodeParameters::default()).unwrap().0
        }),
        forge(&mut devices[1], |mls, p, signer| mls.propose_group_context_extensions(p, extensions, signer).unwrap().0),
    ];
    for proposal in &forged {
        assert!(matches!(devices[0].receive(proposal), Err(ReceiveError::Refused { leaf: 1 })));
        assert!(matches!(devices[0].process(proposal), Err(ProcessError::Invalid(_))));
    }
    assert_eq!(devices[0].group().leaving().count(), 0);
    devices[0].send(b"nothing is pending").unwrap();
    // A commit of such proposals refers to what nobody else has. Each reader for itself can't tell that from a relay that kept a
    // proposal back from it alone, so it convicts nobody (protocol rule 7).
    let commit = forge(&mut devices[1], |mls, p, signer| mls.commit_to_pending_proposals(p, signer).unwrap().0);
    assert!(matches!(devices[0].process(&commit), Err(ProcessError::Unproven(_))));
    assert!(matches!(devices[2].process(&commit), Err(ProcessError::Unproven(_))));
}

#[test]
fn a_second_request_to_leave_is_refused() {
    let mut devices = group_of(3, CLASSICAL_SUITE);
    let first = devices[2].leave().unwrap();
    let second = forge(&mut devices[2], |mls, p, signer| mls.leave_group(p, signer).unwrap());
    assert!(devices[0].receive(&first).is_ok());
    assert!(matches!(devices[0].receive(&second), Err(ReceiveError::Refused { leaf: 2 })));
    assert!(devices[1].receive(&first).is_ok());
    assert!(matches!(devices[1].receive(&second), Err(ReceiveError::Refused { leaf: 2 })));
    let staged = devices[0].stage(Change::default()).unwrap();
    devices[0].merge_staged();
    assert_eq!(devices[1].follow(&staged.commit).unwrap().left, [2]);
    talk(&mut devices[..2]);
}

#[test]
fn a_commit_may_change_the_state_and_no_other_extension() {
    let mut devices = group_of(3, CLASSICAL_SUITE);
    let outsider = ExternalSender::new(SignaturePublicKey::from(vec![1; 32]), BasicCredential::new(vec![]).into());
    let mut with_senders = config::context(b"state").unwrap();
    with_senders.add(Extension::ExternalSenders(vec![outsider])).unwrap();
    let mut other_demand = config::context(b"other").unwrap();
    let types = [ExtensionType::Unknown(config::STATE_EXTENSION), ExtensionType::LastResort];
    other_demand
        .add_or_replace(Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(&types, &[], &[])))
        .unwrap();
    let mut without_state = config::context(b"other").unwrap();
    without_state.remove(ExtensionType::Unknown(config::STATE_EXTENSION));
    for extensions in [with_senders, without_state, other_demand, Extensions::default()] {
        let commit = forge(&mut devices[1], |mls, p, signer| {
            mls.update_group_context_extensions(p, extensions, signer).unwrap().0
        });
        assert!(matches!(devices[0].process(&commit), Err(ProcessError::Invalid(_))));
        assert_eq!(devices[0].group().state(), b"state");
        devices[1].turn(|p, _, group| group.as_mut().unwrap().drop_staged(p)).unwrap();
    }
    // Into a group without the state nobody goes.
    let mut mallory = Device::new(6);
    mallory.create(b"");
    forge(&mut mallory, |mls, p, signer| {
        mls.update_group_context_extensions(p, Extensions::default(), signer).unwrap().0
    });
    mallory.turn(|p, _, group| group.as_mut().unwrap().inner_mut().merge_pending_commit(p)).unwrap();
    let mut dave = Device::new(4);
    let staged = mallory.stage(adding(&mut [&mut dave])).unwrap();
    let joined = dave.join(&staged.welcomes[0].1, staged.tree.as_ref().unwrap());
    assert!(matches!(joined, Err(JoinError::Invalid(_))));
}

#[test]
fn i9_every_flipped_bit_of_a_welcome_or_its_tree_is_noticed_and_costs_no_key_package() {
    let mut devices = group_of(3, CLASSICAL_SUITE);
    commit(&mut devices, 1, Change { update_path: true, ..Change::default() });
    let mut dave = Device::new(4);
    let staged = devices[0].stage(adding(&mut [&mut dave])).unwrap();
    let (welcome, tree) = (&staged.welcomes[0].1, staged.tree.as_ref().unwrap());
    for at in 0..welcome.len() {
        for bit in [1, 0x40, 0x80] {
            let mut bytes = welcome.clone();
            bytes[at] ^= bit;
            assert!(dave.join(&bytes, tree).is_err(), "byte {at}");
        }
        assert!(dave.join(&welcome[..at], tree).is_err());
    }
    for at in 0..tree.len() {
        for bit in [1, 0x40, 0x80] {
            let mut bytes = tree.clone();
            bytes[at] ^= bit;
            assert!(dave.join(welcome, &bytes).is_err(), "byte {at}");
        }
        assert!(dave.join(welcome, &tree[..at]).is_err());
    }
    dave.join(welcome, tree).unwrap();
}

#[test]
fn rule_18_only_who_was_in_the_ended_epoch_makes_a_successor_or_comes_into_one() {
    let mut old = group_of(3, CLASSICAL_SUITE);
    let (ending, other_ending) = ([7; 32], [8; 32]);
    let key = |device: &mut Device, ending: &[u8; 32]| {
        device.turn(|p, _, group| group.as_ref().unwrap().succession(p, &relay(), ending)).unwrap()
    };
    let secret = key(&mut old[0], &ending);
    // The same for all who were in the epoch, another one for each ending, and none of the other keys.
    assert_eq!(secret, key(&mut old[1], &ending));
    assert_ne!(secret, key(&mut old[0], &other_ending));
    for what in super::super::Derive::ALL {
        let derived = old[0].turn(|p, _, group| group.as_ref().unwrap().secret(p, what, &relay())).unwrap();
        assert_ne!(derived, secret);
    }
    let successor = |psk: Option<([u8; 32], zeroize::Zeroizing<[u8; 32]>)>| {
        let (mut maker, mut joiner) = (Device::new(11), Device::new(12));
        maker.create(b"state");
        let change = Change { psk, ..adding(&mut [&mut joiner]) };
        let staged = maker.stage(change).unwrap();
        maker.merge_staged();
        (maker, joiner, staged)
    };
    let join = |joiner: &mut Device, staged: &Staged, key: ([u8; 32], zeroize::Zeroizing<[u8; 32]>)| {
        joiner.turn(|p, signer, group| {
            let (welcome, tree) = (&staged.welcomes[0].1, staged.tree.as_ref().unwrap());
            *group = Some(Group::join_successor(p, signer, welcome, tree, &key)?);
            Ok::<_, JoinError>(())
        })
    };
    let forged = zeroize::Zeroizing::new([9; 32]);
    let (maker, mut joiner, staged) = successor(Some((ending, secret.clone())));
    // With a forged key, under another ending, or as an ordinary invitation nobody comes in, and it costs no key package.
    assert!(join(&mut joiner, &staged, (ending, forged.clone())).is_err());
    assert!(join(&mut joiner, &staged, (other_ending, secret.clone())).is_err());
    assert!(joiner.join(&staged.welcomes[0].1, staged.tree.as_ref().unwrap()).is_err());
    join(&mut joiner, &staged, (ending, secret.clone())).unwrap();
    talk(&mut [maker, joiner]);
    // One that somebody has made who was not in the epoch, or without any key.
    for psk in [Some((ending, forged)), None] {
        let (_, mut joiner, staged) = successor(psk);
        assert!(join(&mut joiner, &staged, (ending, secret.clone())).is_err());
    }
    // In a group that is under way no such commit counts, whoever knows the key.
    let staged = old[0].stage(Change { psk: Some((ending, secret.clone())), ..Change::default() }).unwrap();
    assert!(matches!(
        old[1].process(&staged.commit),
        Err(ProcessError::Invalid(_) | ProcessError::OnlyMe(_) | ProcessError::Unproven(_))
    ));
}

#[test]
fn i8_nobody_commits_from_outside() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let info = forge(&mut devices[0], |mls, p, signer| mls.export_group_info(p.crypto(), signer, true).unwrap());
    let MlsMessageBodyIn::GroupInfo(info) = MlsMessageIn::tls_deserialize_exact(&info[..]).unwrap().extract() else {
        panic!("not a GroupInfo")
    };
    let mut mallory = Device::new(6);
    let credential = leaf::credential(&mallory.certificate);
    let commit = mallory
        .turn(|p, key, _| {
            let (_, bundle) = MlsGroup::external_commit_builder()
                .with_config(config::join())
                .build_group(p, info, credential)
                .unwrap()
                .leaf_node_parameters(
                    LeafNodeParameters::builder().with_capabilities(config::capabilities(p.rand())).build(),
                )
                .load_psks(p.storage())
                .unwrap()
                .build(p.rand(), p.crypto(), &DeviceSigner(key), |_| true)
                .unwrap()
                .finalize(p)
                .unwrap();
            Ok::<_, MlsError>(bundle.commit().to_bytes().unwrap())
        })
        .unwrap();
    assert!(matches!(devices[0].process(&commit), Err(ProcessError::Invalid(_))));
    assert!(matches!(devices[0].receive(&commit), Err(ReceiveError::Unreadable)));
}

#[test]
fn i4_a_removed_member_reads_nothing_that_comes_after() {
    let mut devices = group_of(3, CLASSICAL_SUITE);
    let before = devices[0].send(b"before").unwrap();
    let staged = devices[0].stage(Change { removes: vec![2], ..Change::default() }).unwrap();
    devices[0].merge_staged();
    devices[1].follow(&staged.commit).unwrap();
    let after = devices[0].send(b"after").unwrap();
    let next = devices[1].stage(Change { update_path: true, ..Change::default() }).unwrap();

    // With the keys of the last epoch that it was in, and the epoch's number made to fit.
    let removed = &mut devices[2];
    assert!(matches!(removed.receive(&after), Err(ReceiveError::Stale(2))));
    assert!(matches!(removed.process(&next.commit), Err(ProcessError::Stale(2))));
    for forged in [&after, &next.commit] {
        // `struct { version; wire_format; group_id<V>; uint64 epoch; … }`: the epoch's last byte is at 2 + 2 + 17 + 7.
        let mut forged = forged.to_vec();
        assert_eq!(forged[28], 2);
        forged[28] = 1;
        assert!(matches!(removed.receive(&forged), Err(ReceiveError::Unreadable)));
        assert!(removed.process(&forged).is_err());
    }
    removed.receive(&before).unwrap();

    // It learns of its removal, and that is all.
    let seen = removed.follow(&staged.commit).unwrap();
    assert_eq!((seen.removed, seen.removes_self, seen.next), (vec![2], true, None));
    assert!(!removed.group().is_active());
    removed.reload();
    assert!(!removed.group().is_active());
    assert!(matches!(removed.receive(&after), Err(ReceiveError::Removed | ReceiveError::Stale(_))));
    assert!(matches!(removed.process(&next.commit), Err(ProcessError::Removed | ProcessError::Stale(_))));
    assert!(matches!(removed.send(b"x"), Err(MlsError::Removed)));
    assert!(matches!(removed.stage(Change::default()), Err(MlsError::Removed)));
    assert!(matches!(removed.leave(), Err(MlsError::Removed)));
    let secret = removed
        .turn(|p, _, group| group.as_ref().unwrap().secret(p, super::super::Derive::Delivery, &relay()).map(drop));
    assert!(secret.is_err());
}

#[test]
fn who_can_not_open_its_path_secret_knows_that_it_is_alone() {
    let mut devices = group_of(3, CLASSICAL_SUITE);
    // Its private keys of the tree are gone; all else is as it was.
    devices[2].db.execute("DELETE FROM mls WHERE kind = 15", []).unwrap();
    devices[2].reload();
    let staged = devices[0].stage(Change { update_path: true, ..Change::default() }).unwrap();
    assert!(devices[1].process(&staged.commit).is_ok());
    assert!(matches!(devices[2].process(&staged.commit), Err(ProcessError::OnlyMe(_))));
    assert_eq!(devices[2].group().epoch(), 1);
}

#[test]
fn rule_9_every_flipped_bit_of_a_commit_or_message_is_noticed_and_costs_nothing() {
    let mut devices = group_of(2, CLASSICAL_SUITE);
    let message = devices[0].send(b"hello").unwrap();
    let staged = devices[0].stage(Change { update_path: true, ..Change::default() }).unwrap();
    let bob = &mut devices[1];
    for at in 0..message.len() {
        let mut bytes = message.clone();
        bytes[at] ^= 1;
        assert!(bob.receive(&bytes).is_err(), "byte {at}");
    }
    for at in 0..staged.commit.len() {
        let mut bytes = staged.commit.clone();
        bytes[at] ^= 1;
        assert!(bob.process(&bytes).is_err(), "byte {at}");
    }
    bob.receive(&message).unwrap();
    bob.follow(&staged.commit).unwrap();
}

#[test]
fn a_key_package_is_checked_against_the_record() {
    let mut bob = Device::new(2);
    let package = bob.package(false);
    let listed = |certificate: &Signed<DeviceCertificate>| wire::Device {
        certificate: certificate.clone(),
        inbox: LogId([0; 16]),
        hpke_key: Bytes::new(),
        added: UnixMillis(1),
        revoked: None,
    };
    let newer = certify(&bob.account, &bob.key, "user2", 2, &[1]);
    let (same, other) = (listed(&bob.certificate), listed(&newer));
    bob.turn(|p, _, _| {
        assert_eq!(check_key_package(p, &package, &same, now()), Ok(()));
        assert_eq!(check_key_package(p, &package, &other, now()), Err(LeafError::Device));
        let mut flipped = package.to_vec();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        assert_eq!(check_key_package(p, &flipped, &same, now()), Err(LeafError::Malformed));
        Ok::<_, MlsError>(())
    })
    .unwrap();
}

#[test]
fn a_key_package_whose_leaf_is_about_to_end_is_not_added() {
    let mut mallory = Device::new(6);
    let own = leaf::credential(&mallory.certificate);
    let listed = wire::Device {
        certificate: mallory.certificate.clone(),
        inbox: LogId([0; 16]),
        hpke_key: Bytes::new(),
        added: UnixMillis(1),
        revoked: None,
    };
    let years = |years: u64| UnixMillis(now().0 - years * 365 * 24 * 3_600_000);
    for (made, fresh) in [(years(0), true), (years(2), false), (years(10), false)] {
        let package = encoded(&package(&mut mallory, own.clone(), Some(config::lifetime(made)), None));
        let checked =
            mallory.turn(|p, _, _| Ok::<_, MlsError>(check_key_package(p, &package, &listed, now()))).unwrap();
        assert_eq!(checked.is_ok(), fresh, "{checked:?}");
    }
}
