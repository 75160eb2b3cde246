//! Who may do what in a commit (protocol rule 6). Pure: a function of the group's state and the commit's bytes.

use std::collections::{BTreeMap, BTreeSet};

use api::Role;
use wire::{AccountRecord, DeviceCertificate, Signed};

use crate::mls::Member;
use crate::state::{ConversationState, GroupKind};

/// The same device of the same account, with the same key. Ids of devices are their accounts' choice: alone they say nothing.
pub(super) fn same_device(a: &DeviceCertificate, b: &DeviceCertificate) -> bool {
    a.account_key == b.account_key && a.device == b.device && a.signature_key == b.signature_key
}

/// One account has one address, and one address is one account: otherwise a member could pass for somebody else, or hide in
/// somebody's list of devices.
pub(super) fn is_unmistakable<'c>(certificates: impl Iterator<Item = &'c DeviceCertificate>) -> bool {
    let (mut addresses, mut accounts) = (BTreeMap::new(), BTreeMap::new());
    certificates.into_iter().all(|certificate| {
        let (address, account) = (certificate.address.as_str(), certificate.account_key);
        *addresses.entry(account).or_insert(address) == address
            && *accounts.entry(address).or_insert(account) == account
    })
}

/// What [`judge`] looks at in a commit.
pub(super) struct Proposed<'i> {
    pub(super) author: u32,
    pub(super) added: &'i [Member],
    pub(super) removed: &'i [Member],
    pub(super) left: &'i [Member],
    pub(super) state: Option<&'i [u8]>,
    /// The device whose request to be added again, with the key package that the commit adds, came along.
    pub(super) asked: Option<Signed<DeviceCertificate>>,
}

/// Who may do what (protocol rule 6, and the state's own rules). `Err` says what is not allowed.
pub(super) fn judge(
    state: &[u8],
    members: &[Member],
    proposed: &Proposed<'_>,
    record: Option<&Signed<AccountRecord>>,
) -> Result<(), String> {
    let before = ConversationState::decode(state).map_err(|_| "the state before it can't be read".to_owned())?;
    let author = members.iter().find(|m| m.leaf == proposed.author).ok_or("its author is no member")?;
    let author = author.certificate.account_key;
    let role = match before.kind {
        // In a 1:1 conversation both are equal, and nobody else comes in.
        GroupKind::Direct => Role::Member,
        GroupKind::Group => before.role(&author),
    };
    let accounts: BTreeSet<[u8; 32]> = members.iter().map(|m| m.certificate.account_key).collect();
    for member in proposed.added {
        let account = member.certificate.account_key;
        if !accounts.contains(&account)
            && role < Role::Admin
            && !(before.kind == GroupKind::Direct && accounts.len() == 1)
        {
            return Err("only admins may add somebody".into());
        }
    }
    for member in proposed.removed {
        let account = member.certificate.account_key;
        // Otherwise any member could have any other start anew, and keep it waiting for the invitation.
        let comes_back = proposed.asked.as_ref().is_some_and(|asked| same_device(asked, &member.certificate))
            && proposed.added.iter().any(|added| same_device(&added.certificate, &member.certificate));
        let revoked = record.is_some_and(|record| {
            record.account_key == account
                && record.device(member.certificate.device).is_some_and(|device| device.revoked.is_some())
        });
        let allowed = account == author
            || comes_back
            || revoked
            || (role >= Role::Admin && (before.role(&account) < Role::Owner || role == Role::Owner));
        if !allowed {
            return Err("its author may not remove that member".into());
        }
    }
    if !proposed.added.is_empty() {
        let gone: BTreeSet<u32> = proposed.removed.iter().chain(proposed.left).map(|m| m.leaf).collect();
        let after = members.iter().filter(|m| !gone.contains(&m.leaf)).chain(proposed.added);
        let after: Vec<&DeviceCertificate> = after.map(|m| m.certificate.value()).collect();
        if !is_unmistakable(after.iter().copied()) {
            return Err("a new device bears the address of another account".into());
        }
        let accounts: BTreeSet<[u8; 32]> = after.iter().map(|certificate| certificate.account_key).collect();
        if before.kind == GroupKind::Direct && accounts.len() > 2 {
            return Err("a conversation of two stays one of two".into());
        }
    }
    let Some(after) = proposed.state else { return Ok(()) };
    if after == state {
        return Ok(());
    }
    let after = ConversationState::decode(after).map_err(|_| "the state that it sets can't be read".to_owned())?;
    judge_state(&before, &after, role)
}

fn judge_state(before: &ConversationState, after: &ConversationState, role: Role) -> Result<(), String> {
    if before.logging != after.logging || before.kind != after.kind {
        return Err("what a conversation is can't be changed".into());
    }
    if role < Role::Admin {
        return Err("only admins may change the group".into());
    }
    let sorted = |list: &[[u8; 32]]| list.iter().copied().collect::<BTreeSet<_>>();
    let roles_change =
        sorted(&before.owners) != sorted(&after.owners) || sorted(&before.admins) != sorted(&after.admins);
    if roles_change && role < Role::Owner {
        return Err("only owners may change roles".into());
    }
    if !before.owners.is_empty() && after.owners.is_empty() {
        return Err("a group keeps at least one owner".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(owners: &[u8], admins: &[u8]) -> ConversationState {
        let mut state = ConversationState::new(GroupKind::Group, "x", owners.iter().map(|n| [*n; 32]).collect());
        state.admins = admins.iter().map(|n| [*n; 32]).collect();
        state
    }

    #[test]
    fn rule_6_roles_decide_who_may_change_what() {
        let before = state(&[1], &[2]);
        let mut renamed = before.clone();
        renamed.name = "y".into();
        assert!(judge_state(&before, &renamed, Role::Admin).is_ok());
        assert!(judge_state(&before, &renamed, Role::Member).is_err());
        let promoted = state(&[1], &[2, 3]);
        assert!(judge_state(&before, &promoted, Role::Admin).is_err());
        assert!(judge_state(&before, &promoted, Role::Owner).is_ok());
        assert!(judge_state(&before, &state(&[], &[1, 2]), Role::Owner).is_err());
    }

    /// A device `device` of account `account` under a name, at a leaf.
    fn member(leaf: u32, account: u8, name: &str, device: u8) -> Member {
        let key = wire::SigningKey::from_bytes(&[account; 32]);
        let certificate = DeviceCertificate {
            account_key: key.verifying_key().to_bytes(),
            address: format!("{name}@relay.example").parse().unwrap(),
            device: wire::DeviceId([device; 16]),
            signature_key: wire::SigningKey::from_bytes(&[account ^ device ^ 0x80; 32]).verifying_key().to_bytes(),
            suites: vec![1],
            versions: vec![1],
            created: wire::UnixMillis(0),
        }
        .sign(&key);
        Member { leaf, certificate }
    }

    fn verdict(
        kind: GroupKind,
        owner: u8,
        members: &[Member],
        added: &[Member],
        removed: &[Member],
        asked: bool,
    ) -> Result<(), String> {
        let owner = wire::SigningKey::from_bytes(&[owner; 32]).verifying_key().to_bytes();
        let state = ConversationState::new(kind, "x", vec![owner]).encode();
        let asked = added.first().map(|member| member.certificate.clone()).filter(|_| asked);
        judge(&state, members, &Proposed { author: 1, added, removed, left: &[], state: None, asked }, None)
    }

    #[test]
    fn rule_6_a_plain_member_removes_nobody_by_naming_a_device_like_his() {
        let members = [member(0, 1, "bob", 7), member(1, 2, "mallory", 8)];
        let removed = [members[0].clone()];
        // Bob's device comes back: whoever answers his request may do that, and nobody without one.
        assert!(verdict(GroupKind::Group, 1, &members, &[member(0, 1, "bob", 7)], &removed, true).is_ok());
        assert!(verdict(GroupKind::Group, 1, &members, &[member(0, 1, "bob", 7)], &removed, false).is_err());
        // Another device under the same id is not Bob's.
        assert!(verdict(GroupKind::Group, 1, &members, &[member(0, 2, "mallory", 7)], &removed, true).is_err());
        assert!(verdict(GroupKind::Group, 1, &members, &[], &removed, true).is_err());
        assert!(verdict(GroupKind::Group, 2, &members, &[], &removed, false).is_ok());
    }

    #[test]
    fn rule_6_nobody_brings_in_a_device_under_another_accounts_address() {
        let members = [member(0, 1, "bob", 7), member(1, 2, "mallory", 8)];
        let judged = |added| verdict(GroupKind::Group, 2, &members, &[added], &[], false);
        assert!(judged(member(2, 2, "mallory", 9)).is_ok());
        assert!(judged(member(2, 3, "carol", 9)).is_ok());
        // An own device that calls itself Bob's, or anybody's; an account that calls itself Bob.
        assert!(judged(member(2, 2, "bob", 9)).is_err());
        assert!(judged(member(2, 2, "boss", 9)).is_err());
        assert!(judged(member(2, 3, "bob", 9)).is_err());
    }

    #[test]
    fn rule_6_a_conversation_of_two_stays_one_of_two() {
        let members = [member(0, 1, "bob", 7), member(1, 2, "mallory", 8)];
        assert!(verdict(GroupKind::Direct, 2, &members, &[member(2, 1, "bob", 9)], &[], false).is_ok());
        assert!(verdict(GroupKind::Direct, 2, &members, &[member(2, 3, "eve", 9)], &[], false).is_err());
        assert!(verdict(GroupKind::Direct, 2, &members, &[], &[members[0].clone()], false).is_err());
        let alone = [member(1, 2, "mallory", 8)];
        let (bob, eve) = (member(2, 1, "bob", 7), member(3, 3, "eve", 9));
        assert!(verdict(GroupKind::Direct, 2, &alone, std::slice::from_ref(&bob), &[], false).is_ok());
        assert!(verdict(GroupKind::Direct, 2, &alone, &[bob, eve], &[], false).is_err());
    }
}
