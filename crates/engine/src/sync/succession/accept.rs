//! Whether a group is what an ended conversation goes on in (protocol rule 18): functions of what everybody who was in it can see.

use std::collections::{BTreeMap, BTreeSet};

use api::Role;
use wire::{AccountRecord, LogId, Signed};

use super::DECIDED_MS;
use crate::db::conversations::Line;
use crate::db::endings::Ending;
use crate::formats;
use crate::mls::Member;
use crate::state::{ConversationState, SuccessorOf};
use crate::sync::validity::in_order;

/// What this device itself has found out about the end of a conversation: what [`accept`] holds a successor against.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub log: LogId,
    /// The hash of the entry that has ended it.
    pub ending: [u8; 32],
    /// The place of that entry.
    pub place: u64,
    /// The log in which the line began.
    pub room: LogId,
    /// The leaf that has signed the entry, if that is certain.
    pub convicted: Option<u32>,
}

/// The state that a successor has: what the conversation's was, and that it goes on for it. An account none of whose devices comes along
/// leaves no role behind, and a group that was its alone has an heir, as behind any removal: there is one outcome.
pub(super) fn state_after(
    found: &Found,
    members: &[Member],
    stays: &[&Member],
    state: &[u8],
) -> Option<ConversationState> {
    let mut after = ConversationState::decode(state).ok()?;
    let stays = in_order(stays.iter().map(|member| member.certificate.account_key));
    if members.iter().any(|member| !stays.contains(&member.certificate.account_key)) {
        after = after.settled(&stays);
    }
    let Found { log, ending, place, room, .. } = found;
    after.succeeds = Some(SuccessorOf { log: log.0, ending: *ending, offset: *place, room: room.0 });
    Some(after)
}

/// This account has revoked this device, as the account's own list of its devices says.
pub(super) fn is_revoked(member: &Member, records: &[Signed<AccountRecord>]) -> bool {
    let certificate = &member.certificate;
    records.iter().any(|record| {
        record.account_key == certificate.account_key
            && record.device(certificate.device).is_some_and(|device| device.revoked.is_some())
    })
}

/// Whether a group is the successor of an ended one (protocol rule 18): a function of what this device has found itself, of the two
/// trees and states, and of accounts' own lists of devices that came along. That its maker was in the ended epoch is proven by the
/// pre-shared key, without which nobody gets here. Answers with the leaf that its maker had in the old tree; `Err` says what is wrong.
pub(super) fn accept(
    found: &Found,
    (old, old_state): (&[Member], &[u8]),
    (new, new_state, epoch): (&[Member], &[u8], u64),
    records: &[Signed<AccountRecord>],
) -> Result<u32, &'static str> {
    if epoch != 1 {
        return Err("It is no successor in its first epoch.");
    }
    let device = |member: &Member| {
        (member.certificate.account_key, member.certificate.device.0, member.certificate.signature_key)
    };
    let comes: BTreeSet<_> = new.iter().map(device).collect();
    let may = old.iter().filter(|member| Some(member.leaf) != found.convicted);
    let (stays, gone): (Vec<&Member>, Vec<&Member>) = may.partition(|member| comes.contains(&device(member)));
    let all = gone.iter().all(|member| is_revoked(member, records));
    if !all || stays.len() != comes.len() || comes.len() != new.len() {
        return Err("Who is in it is not who was in the conversation that it is to go on for.");
    }
    if state_after(found, old, &stays, old_state).is_none_or(|after| after.encode() != new_state) {
        return Err("It is not what the conversation was that it is to go on for.");
    }
    // Whoever makes a group has its first leaf.
    let maker = new.iter().find(|member| member.leaf == 0).map(device);
    let maker = old.iter().find(|member| maker == Some(device(member)));
    maker.map(|member| member.leaf).ok_or("Nobody who was in the conversation has made it.")
}

/// What is another one in a group than in the epoch that this device knows of it, in words: who is in it, and with which role.
pub(in crate::sync) fn differences(
    old: &[Member],
    old_state: &[u8],
    new: &[Member],
    new_state: &ConversationState,
) -> Vec<String> {
    let Ok(old_state) = ConversationState::decode(old_state) else {
        return vec!["What it was can't be read any more.".into()];
    };
    let accounts = |members: &[Member]| -> BTreeMap<[u8; 32], String> {
        members.iter().map(|m| (m.certificate.account_key, m.certificate.address.to_string())).collect()
    };
    let (was, is) = (accounts(old), accounts(new));
    let mut differs = Vec::new();
    for (account, address) in &is {
        let role = new_state.role(account);
        match was.contains_key(account) {
            false => differs.push(format!("{address} is new in it.")),
            true if role > old_state.role(account) => {
                let role = if role == Role::Owner { "an owner" } else { "an admin" };
                differs.push(format!("{address} is {role} in it, and was not."));
            }
            true if role < old_state.role(account) => differs.push(format!("{address} has a lower role in it.")),
            true => {}
        }
    }
    let gone = was.iter().filter(|(account, _)| !is.contains_key(*account));
    differs.extend(gone.map(|(_, address)| format!("{address} is not in it any more.")));
    if (old_state.kind, old_state.logging, &old_state.succeeds)
        != (new_state.kind, new_state.logging, &new_state.succeeds)
    {
        differs.push("It is a conversation of another kind.".into());
    }
    differs
}

/// Of two successors the one by the lower leaf goes on, then the one with the lower hash of its log, if it comes within a day.
pub(in crate::sync) fn goes_before(ending: &Ending, (leaf, log): (u32, LogId), at: u64) -> bool {
    let Some((there, its_leaf, chosen)) = ending.successor else { return true };
    let order = |leaf: u32, log: LogId| (leaf, formats::hash(&log.0));
    there == log || (order(leaf, log) < order(its_leaf, there) && at <= chosen.saturating_add(DECIDED_MS))
}

/// Where a conversation of this state stands in a line of successors.
pub(in crate::sync) fn line(state: &ConversationState) -> Line {
    match &state.succeeds {
        None => Line::default(),
        Some(SuccessorOf { log, offset, room, .. }) => {
            Line { of: Some(LogId(*log)), room: Some(LogId(*room)), offset: *offset, next: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::{DeviceCertificate, DeviceId, UnixMillis};

    use super::*;
    use crate::state::GroupKind;

    fn member(leaf: u32, account: u8, device: u8, key: u8) -> Member {
        let account = wire::SigningKey::from_bytes(&[account; 32]);
        let certificate = DeviceCertificate {
            account_key: account.verifying_key().to_bytes(),
            address: "somebody@relay.example".parse().unwrap(),
            device: DeviceId([device; 16]),
            signature_key: wire::SigningKey::from_bytes(&[key; 32]).verifying_key().to_bytes(),
            suites: vec![1],
            versions: vec![1],
            created: UnixMillis(0),
        };
        Member { leaf, certificate: certificate.sign(&account) }
    }

    /// Alice, Bob with two devices, Mallory with two, of which leaf 4 has ended the conversation.
    fn old() -> Vec<Member> {
        vec![
            member(0, 1, 11, 21),
            member(2, 2, 12, 22),
            member(3, 2, 13, 23),
            member(4, 3, 14, 24),
            member(5, 3, 15, 25),
        ]
    }

    fn found(convicted: Option<u32>) -> Found {
        Found { log: LogId([7; 16]), ending: [8; 32], place: 90, room: LogId([6; 16]), convicted }
    }

    fn state() -> ConversationState {
        let mut state = ConversationState::new(GroupKind::Group, "band", vec![old()[0].certificate.account_key]);
        state.admins = vec![old()[1].certificate.account_key];
        state
    }

    /// The old tree's members of these places, one after the other.
    fn successor(places: &[usize]) -> Vec<Member> {
        let old = old();
        places
            .iter()
            .zip(0..)
            .map(|(place, leaf)| Member { leaf, certificate: old[*place].certificate.clone() })
            .collect()
    }

    /// All of the old tree but the convicted one.
    fn staying(found: &Found) -> Vec<Member> {
        old().into_iter().filter(|member| Some(member.leaf) != found.convicted).collect()
    }

    fn judged(found: &Found, new: &[Member], change: impl FnOnce(&mut ConversationState)) -> Result<u32, &'static str> {
        let mut after =
            state_after(found, &old(), &staying(found).iter().collect::<Vec<_>>(), &state().encode()).unwrap();
        change(&mut after);
        accept(found, (&old(), &state().encode()), (new, &after.encode(), 1), &[])
    }

    #[test]
    fn rule_18_all_but_the_convicted_device_go_on_whoever_makes_it() {
        let found = found(Some(4));
        assert_eq!(judged(&found, &successor(&[0, 1, 2, 4]), |_| {}), Ok(0));
        assert_eq!(judged(&found, &successor(&[2, 4, 0, 1]), |_| {}), Ok(3));
        // The convicted device's account goes on with its other one.
        assert_eq!(judged(&found, &successor(&[4, 0, 1, 2]), |_| {}), Ok(5));
        // Where nobody can be convicted, all are in it.
        let nobody = Found { convicted: None, ..found };
        assert_eq!(judged(&nobody, &successor(&[1, 0, 2, 3, 4]), |_| {}), Ok(2));
    }

    #[test]
    fn rule_18_nobody_is_ejected_added_or_brought_back_on_the_way() {
        let convicting = found(Some(4));
        let refused = |found: &Found, places: &[usize]| judged(found, &successor(places), |_| {}).is_err();
        assert!(refused(&convicting, &[1, 2, 4]), "Alice ejected");
        assert!(refused(&convicting, &[0, 1, 4]), "one device of Bob ejected");
        assert!(refused(&convicting, &[0, 1, 2]), "the convicted account's other device ejected");
        assert!(refused(&convicting, &[3, 0, 1, 2, 4]), "the convicted device makes one with itself in it");
        assert!(refused(&convicting, &[0, 1, 2, 3, 4]), "the convicted device brought back");
        assert!(refused(&found(None), &[0, 1, 2, 4]), "somebody ejected whom this device does not convict");
        assert!(refused(&convicting, &[0, 1, 2, 4, 4]), "a device twice");
        let with = |extra: Member| [successor(&[0, 1, 2, 4]), vec![extra]].concat();
        assert!(judged(&convicting, &with(member(9, 9, 31, 41)), |_| {}).is_err(), "a stranger");
        assert!(judged(&convicting, &with(member(9, 3, 31, 41)), |_| {}).is_err(), "another device of a member");
        // The same device under another key, or of another account.
        let instead = |other: Member| [vec![other], successor(&[0, 1, 2])].concat();
        for other in [member(0, 3, 15, 99), member(0, 9, 15, 25), member(0, 3, 99, 25)] {
            assert!(judged(&convicting, &instead(other), |_| {}).is_err());
        }
        assert!(judged(&convicting, &[], |_| {}).is_err());
    }

    /// What account 2 says of Bob's devices: that this one is revoked.
    fn revoking(account: u8, device: u8) -> Signed<AccountRecord> {
        let key = wire::SigningKey::from_bytes(&[account; 32]);
        let listed =
            old().into_iter().filter(|member| member.certificate.account_key == key.verifying_key().to_bytes());
        let devices = listed.map(|member| wire::Device {
            revoked: (member.certificate.device.0[0] == device).then_some(UnixMillis(9)),
            inbox: LogId([1; 16]),
            hpke_key: vec![0; wire::HPKE_KEY_BYTES].into(),
            added: UnixMillis(0),
            certificate: member.certificate,
        });
        AccountRecord {
            address: "somebody@relay.example".parse().unwrap(),
            account_key: key.verifying_key().to_bytes(),
            version: 2,
            predecessor: wire::RecordHash([0; 32]),
            devices: devices.collect(),
            certifier: None,
        }
        .sign(&key)
    }

    #[test]
    fn rule_18_who_is_revoked_may_be_missing_on_the_accounts_own_word_alone() {
        let found = found(Some(4));
        let judged = |places: &[usize], records: &[Signed<AccountRecord>]| {
            let new = successor(places);
            let stays: Vec<Member> = places.iter().map(|place| old()[*place].clone()).collect();
            let after = state_after(&found, &old(), &stays.iter().collect::<Vec<_>>(), &state().encode()).unwrap();
            accept(&found, (&old(), &state().encode()), (&new, &after.encode(), 1), records)
        };
        // Bob has revoked his second device: it may be missing, and may be there still where nobody has heard of it.
        assert_eq!(judged(&[0, 1, 4], &[revoking(2, 13)]), Ok(0));
        assert_eq!(judged(&[0, 1, 2, 4], &[revoking(2, 13)]), Ok(0));
        // Not the first one, nobody without a word, and nobody on another account's word.
        assert!(judged(&[0, 2, 4], &[revoking(2, 13)]).is_err());
        assert!(judged(&[0, 1, 4], &[]).is_err());
        assert!(judged(&[0, 1, 4], &[revoking(3, 13)]).is_err());
        assert!(judged(&[1, 2, 4], &[revoking(2, 13), revoking(3, 14)]).is_err());
    }

    #[test]
    fn rule_18_an_account_of_which_no_device_comes_along_leaves_no_role_and_one_heir() {
        // Alice, the only owner, has ended it: Bob, an admin, inherits, and nobody else.
        let found = found(Some(0));
        let owned = |owner: usize| {
            let mut after =
                state_after(&found, &old(), &old()[1..].iter().collect::<Vec<_>>(), &state().encode()).unwrap();
            after.owners = vec![old()[owner].certificate.account_key];
            after.admins.clear();
            let mut before = ConversationState::new(GroupKind::Group, "band", vec![old()[0].certificate.account_key]);
            before.admins = vec![old()[1].certificate.account_key];
            accept(&found, (&old(), &before.encode()), (&successor(&[1, 2, 3, 4]), &after.encode(), 1), &[])
        };
        assert_eq!(owned(1), Ok(2));
        assert!(owned(3).is_err());
        assert!(owned(0).is_err());
    }

    #[test]
    fn rule_18_nothing_of_the_state_changes_on_the_way() {
        type Changes = fn(&mut ConversationState);
        let changes: [(&str, Changes); 11] = [
            ("an owner more", |s| s.owners.push([3; 32])),
            ("an owner less", |s| s.owners.clear()),
            ("an admin less", |s| s.admins.clear()),
            ("another name", |s| s.name = "other".into()),
            ("a timer", |s| s.timer = 60),
            ("a description", |s| s.description = "x".into()),
            ("another kind", |s| s.kind = GroupKind::Direct),
            ("another predecessor", |s| s.succeeds.as_mut().unwrap().log = [9; 16]),
            ("another ending", |s| s.succeeds.as_mut().unwrap().ending = [9; 32]),
            ("other places", |s| s.succeeds.as_mut().unwrap().offset = 1),
            ("no predecessor", |s| s.succeeds = None),
        ];
        let found = found(Some(4));
        for (what, change) in changes {
            assert!(judged(&found, &successor(&[0, 1, 2, 4]), change).is_err(), "{what}");
        }
        let other_room = |s: &mut ConversationState| s.succeeds.as_mut().unwrap().room = [9; 16];
        assert!(judged(&found, &successor(&[0, 1, 2, 4]), other_room).is_err());
        // Nor is a later epoch one, in which anything may have happened already.
        let after = state_after(&found, &old(), &staying(&found).iter().collect::<Vec<_>>(), &state().encode())
            .unwrap()
            .encode();
        for epoch in [0, 2, u64::MAX] {
            let new = successor(&[0, 1, 2, 4]);
            assert!(accept(&found, (&old(), &state().encode()), (&new, &after, epoch), &[]).is_err());
        }
        assert!(accept(&found, (&old(), b"junk"), (&successor(&[0, 1, 2, 4]), &after, 1), &[]).is_err());
    }

    #[test]
    fn rule_18_of_several_successors_all_choose_the_same() {
        let (one, other) = (LogId([1; 16]), LogId([2; 16]));
        let chosen = |log, leaf| Ending {
            conversation: LogId([7; 16]),
            epoch: 1,
            seq: 5,
            hash: [8; 32],
            leaf: None,
            successor: Some((log, leaf, 1_000)),
            due: 0,
            time: 0,
        };
        assert!(goes_before(&Ending { successor: None, ..chosen(one, 0) }, (9, other), u64::MAX));
        assert!(goes_before(&chosen(one, 3), (2, other), 2_000));
        assert!(!goes_before(&chosen(one, 2), (3, other), 2_000));
        // By one leaf: one of the two, whichever came first.
        assert_ne!(goes_before(&chosen(one, 2), (2, other), 0), goes_before(&chosen(other, 2), (2, one), 0));
        // What was decided stays so after a day.
        assert!(goes_before(&chosen(one, 3), (2, other), 1_000 + DECIDED_MS));
        assert!(!goes_before(&chosen(one, 3), (2, other), 1_001 + DECIDED_MS));
    }
}
