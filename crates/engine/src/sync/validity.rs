//! Who may do what in a commit (protocol rule 6). Pure: a function of the group's state and the commit's bytes.

use std::collections::{BTreeMap, BTreeSet};

use api::Role;
use wire::{AccountRecord, DeviceCertificate, Signed};

use crate::mls::Member;
use crate::state::{ConversationState, GroupKind, InviteLink};

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
            return Err("a member was removed, without a record or a request that would allow it".into());
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
    let staying = accounts_after(members, proposed);
    let after = match proposed.state {
        Some(after) if after != state => {
            ConversationState::decode(after).map_err(|_| "the state that it sets can't be read".to_owned())?
        }
        _ => before.clone(),
    };
    // A role that somebody has left behind must not come back with him, unless an owner wants that.
    let returns = proposed.added.iter().map(|member| member.certificate.account_key);
    let mut returns = returns.filter(|account| !accounts.contains(account));
    if role < Role::Owner && returns.any(|account| after.role(&account) > Role::Member) {
        return Err("somebody who is added comes as a member".into());
    }
    judge_state(&before, &after, role, &staying)?;
    judge_links(&before, &after, &author)
}

/// A link is made in one's own name and unused, and from then on nothing of it changes but how often it was used.
fn judge_links(before: &ConversationState, after: &ConversationState, author: &[u8; 32]) -> Result<(), String> {
    for link in &after.links {
        let fits = match before.links.iter().find(|old| old.id == link.id) {
            Some(old) => InviteLink { used: old.used, ..link.clone() } == *old && link.used >= old.used,
            None => link.by == *author && link.used == 0,
        };
        if !fits || (link.uses != 0 && link.used > link.uses) {
            return Err("an invite link is not what its maker has made".into());
        }
    }
    Ok(())
}

/// The accounts that are members behind the commit, in the order of their leaves; new ones last.
fn accounts_after(members: &[Member], proposed: &Proposed<'_>) -> Vec<[u8; 32]> {
    let gone: BTreeSet<u32> = proposed.removed.iter().chain(proposed.left).map(|m| m.leaf).collect();
    let staying = members.iter().filter(|m| !gone.contains(&m.leaf)).chain(proposed.added);
    in_order(staying.map(|m| m.certificate.account_key))
}

/// Each account once, in the order given.
pub(super) fn in_order(accounts: impl Iterator<Item = [u8; 32]>) -> Vec<[u8; 32]> {
    let mut told = BTreeSet::new();
    accounts.filter(|account| told.insert(*account)).collect()
}

/// What may become of the state, by `role` of who changes it; `staying` are the accounts that are members then.
fn judge_state(
    before: &ConversationState,
    after: &ConversationState,
    role: Role,
    staying: &[[u8; 32]],
) -> Result<(), String> {
    if before == after {
        return Ok(());
    }
    if before.logging != after.logging || before.kind != after.kind || before.succeeds != after.succeeds {
        return Err("what a conversation is can't be changed".into());
    }
    // Anybody may note that somebody is gone, with the one outcome that this has.
    let settled = before.settled(staying);
    if *after == settled {
        return Ok(());
    }
    // In a conversation of two both set the timer, and there is nothing else to set.
    if before.kind == GroupKind::Direct {
        return if after.with_timer(before.timer) == *before {
            Ok(())
        } else {
            Err("only the timer of a conversation of two can change".into())
        };
    }
    if role < Role::Admin && !planted!(AnyMemberTransfers) {
        return Err("only admins may change the group".into());
    }
    let roles = |state: &ConversationState| {
        let sorted = |list: &[[u8; 32]]| list.iter().copied().collect::<BTreeSet<_>>();
        (sorted(&state.owners), sorted(&state.admins))
    };
    // Roles are the owners' alone to give and to take; so is the group, which is given by making somebody else its owner.
    let roles_change = roles(after) != roles(before) && roles(after) != roles(&settled);
    if roles_change && role < Role::Owner && !planted!(AnyMemberTransfers) {
        return Err("only owners may change roles".into());
    }
    if !roles_change {
        return Ok(());
    }
    let (owners, admins) = (&after.owners, &after.admins);
    if owners.len() + admins.len() != in_order(owners.iter().chain(admins).copied()).len() {
        return Err("an account has one role".into());
    }
    let had = |account: &[u8; 32]| before.role(account) > Role::Member;
    if owners.iter().chain(admins).any(|account| !staying.contains(account) && !had(account)) {
        return Err("a role is given to somebody who is no member".into());
    }
    if !before.owners.is_empty() && !owners.iter().any(|owner| staying.contains(owner)) {
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
        let all = [[1; 32], [2; 32], [3; 32]];
        let judged = |after: &ConversationState, role| judge_state(&before, after, role, &all);
        assert!(judged(&renamed, Role::Admin).is_ok());
        assert!(judged(&renamed, Role::Member).is_err());
        let mut described = before.clone();
        described.description = "y".into();
        assert!(judged(&described, Role::Admin).is_ok());
        assert!(judged(&described, Role::Member).is_err());
        let promoted = state(&[1], &[2, 3]);
        assert!(judged(&promoted, Role::Admin).is_err());
        assert!(judged(&promoted, Role::Owner).is_ok());
        assert!(judged(&state(&[], &[1, 2]), Role::Owner).is_err());
    }

    #[test]
    fn rule_6_a_group_is_its_owners_to_hand_over() {
        let before = state(&[1], &[2]);
        let all = [[1; 32], [2; 32], [3; 32]];
        let handed_over = state(&[3], &[2, 1]);
        assert!(judge_state(&before, &handed_over, Role::Owner, &all).is_ok());
        // Not by whoever would like it, an admin for himself least of all.
        assert!(judge_state(&before, &handed_over, Role::Admin, &all).is_err());
        assert!(judge_state(&before, &handed_over, Role::Member, &all).is_err());
        assert!(judge_state(&before, &state(&[1, 2], &[]), Role::Admin, &all).is_err());
        // Not to somebody who isn't there, not twice to one, and not away from everybody who is there.
        assert!(judge_state(&before, &state(&[9], &[2, 1]), Role::Owner, &all).is_err());
        assert!(judge_state(&before, &state(&[1, 3], &[2, 3]), Role::Owner, &all).is_err());
        assert!(judge_state(&state(&[1, 9], &[]), &state(&[9], &[1]), Role::Owner, &all).is_err());
    }

    #[test]
    fn rule_6_whoever_is_gone_leaves_no_role_and_one_heir() {
        let before = state(&[1], &[2]);
        let without_owner = [[3; 32], [2; 32]];
        // Anybody may note it, and only as it is.
        for role in [Role::Member, Role::Admin] {
            assert!(judge_state(&before, &state(&[2], &[]), role, &without_owner).is_ok());
            assert!(judge_state(&before, &state(&[3], &[]), role, &without_owner).is_err());
            assert!(judge_state(&before, &state(&[3], &[2]), role, &without_owner).is_err());
            // While the owner is there nobody inherits.
            assert!(judge_state(&before, &state(&[2], &[]), role, &[[1; 32], [2; 32]]).is_err());
        }
        assert!(judge_state(&before, &state(&[1], &[]), Role::Member, &[[1; 32], [3; 32]]).is_ok());
        assert!(judge_state(&before, &state(&[1], &[]), Role::Member, &[[1; 32], [2; 32]]).is_err());
    }

    #[test]
    fn rule_6_a_link_is_its_makers() {
        let link =
            |n: u8, by: u8, used| InviteLink { id: [n; 16], by: [by; 32], direct: false, expires: 0, uses: 2, used };
        let with = |links: &[InviteLink]| {
            let mut state = state(&[1], &[2]);
            state.links = links.to_vec();
            state
        };
        let (none, one) = (with(&[]), with(&[link(1, 1, 1)]));
        assert!(judge_links(&none, &with(&[link(1, 2, 0)]), &[2; 32]).is_ok());
        // In another's name, or used before it is made.
        assert!(judge_links(&none, &with(&[link(1, 1, 0)]), &[2; 32]).is_err());
        assert!(judge_links(&none, &with(&[link(1, 2, 1)]), &[2; 32]).is_err());
        // Used once more, taken back, but not used less, more than it is good for, or opened to all.
        assert!(judge_links(&one, &with(&[link(1, 1, 2)]), &[2; 32]).is_ok());
        assert!(judge_links(&one, &none, &[2; 32]).is_ok());
        assert!(judge_links(&one, &with(&[link(1, 1, 0)]), &[2; 32]).is_err());
        assert!(judge_links(&one, &with(&[link(1, 1, 3)]), &[2; 32]).is_err());
        let opened = InviteLink { direct: true, ..link(1, 1, 1) };
        assert!(judge_links(&one, &with(&[opened]), &[1; 32]).is_err());
        // Links are admins' affair.
        let all = [[1; 32], [2; 32], [3; 32]];
        assert!(judge_state(&none, &one, Role::Member, &all).is_err());
        assert!(judge_state(&one, &none, Role::Member, &all).is_err());
        assert!(judge_state(&one, &none, Role::Admin, &all).is_ok());
    }

    #[test]
    fn rule_6_nobody_comes_back_with_a_role_that_he_has_left() {
        let key = |account: u8| wire::SigningKey::from_bytes(&[account; 32]).verifying_key().to_bytes();
        let mut before = ConversationState::new(GroupKind::Group, "x", vec![key(1)]);
        // Carol was an admin, and is gone.
        before.admins = vec![key(2), key(3)];
        let members = [member(0, 1, "bob", 7), member(1, 2, "mallory", 8)];
        let carol = [member(2, 3, "carol", 9)];
        let judged = |author, after: Option<&ConversationState>| {
            let state = after.map(ConversationState::encode);
            let state = state.as_deref();
            let proposed = Proposed { author, added: &carol, removed: &[], left: &[], state, asked: None };
            judge(&before.encode(), &members, &proposed, None)
        };
        let mut without = before.clone();
        without.set_role(key(3), Role::Member);
        assert!(judged(1, None).is_err());
        assert!(judged(0, None).is_ok());
        // Her role goes first.
        let proposed =
            Proposed { author: 1, added: &[], removed: &[], left: &[], state: Some(&without.encode()), asked: None };
        assert!(judge(&before.encode(), &members, &proposed, None).is_ok());
        assert!(judge(&without.encode(), &members, &Proposed { added: &carol, state: None, ..proposed }, None).is_ok());
    }

    #[test]
    fn rule_14_in_a_conversation_of_two_both_set_the_timer_and_nothing_else() {
        let all = [[1; 32], [2; 32]];
        let before = ConversationState::new(GroupKind::Direct, "", Vec::new());
        assert!(judge_state(&before, &before.with_timer(60), Role::Member, &all).is_ok());
        let named = {
            let mut named = before.with_timer(60);
            named.name = "x".into();
            named
        };
        assert!(judge_state(&before, &named, Role::Member, &all).is_err());
        let owned = ConversationState::new(GroupKind::Direct, "", vec![[1; 32]]);
        assert!(judge_state(&before, &owned, Role::Member, &all).is_err());
        // In a group it is the admins'.
        let group = state(&[1], &[2]);
        assert!(judge_state(&group, &group.with_timer(60), Role::Member, &all).is_err());
        assert!(judge_state(&group, &group.with_timer(60), Role::Admin, &all).is_ok());
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
