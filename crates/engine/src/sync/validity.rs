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
    // Who is asleep comes back by a request of one of its devices, whoever answers it.
    let wakes = |member: &Member| {
        let certificate = &member.certificate;
        let listed = before.sleeper(certificate.address.as_str());
        listed.is_some_and(|asleep| asleep.account == certificate.account_key)
            && proposed.asked.as_ref().is_some_and(|asked| same_device(asked, certificate))
    };
    for member in proposed.added {
        let account = member.certificate.account_key;
        let joins_who_is_alone = before.kind == GroupKind::Direct && accounts.len() == 1;
        let may = accounts.contains(&account) || role >= Role::Admin || wakes(member) || joins_who_is_alone;
        if !may {
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
    // A role that somebody has left behind must not come back with him, unless an owner wants that. Who was asleep has left none behind.
    let returns = proposed.added.iter().map(|member| member.certificate.account_key);
    let mut returns = returns.filter(|account| !accounts.contains(account) && !before.is_asleep(account));
    if role < Role::Owner && returns.any(|account| after.role(&account) > Role::Member) {
        return Err("somebody who is added comes as a member".into());
    }
    judge_state(&before, &after, role, &staying)?;
    judge_sleep(&before, &after, role, (members, proposed), &staying)?;
    judge_links(&before, &after, &author)
}

/// Who is listed as asleep is no member, and nobody else bears the address; who comes to be listed was removed by the same commit, by an
/// admin; who is not listed any more has come back, or was removed as a member is (protocol rule 10). How long a device was away is no
/// part of it: that is the relay's to say, and an admin may remove anybody anyway.
fn judge_sleep(
    before: &ConversationState,
    after: &ConversationState,
    role: Role,
    (members, proposed): (&[Member], &Proposed<'_>),
    staying: &[[u8; 32]],
) -> Result<(), String> {
    if before.asleep.is_empty() && after.asleep.is_empty() {
        return Ok(());
    }
    let gone: BTreeSet<u32> = proposed.removed.iter().chain(proposed.left).map(|m| m.leaf).collect();
    let here = || members.iter().filter(|m| !gone.contains(&m.leaf)).chain(proposed.added);
    for asleep in &after.asleep {
        if here()
            .any(|m| m.certificate.account_key == asleep.account || m.certificate.address.as_str() == asleep.address)
        {
            return Err("somebody who is there is listed as asleep".into());
        }
        let removed = |m: &Member| {
            m.certificate.account_key == asleep.account && m.certificate.address.as_str() == asleep.address
        };
        if !before.asleep.contains(asleep) && (role < Role::Admin || !proposed.removed.iter().any(removed)) {
            return Err("somebody is listed as asleep whom no admin has removed".into());
        }
    }
    for asleep in before.asleep.iter().filter(|asleep| !after.is_asleep(&asleep.account)) {
        let may = role >= Role::Admin && (before.role(&asleep.account) < Role::Owner || role == Role::Owner);
        if !staying.contains(&asleep.account) && !may {
            return Err("somebody who is asleep was removed by somebody who may not do that".into());
        }
    }
    Ok(())
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
    // In their order, which says who inherits.
    let roles = |state: &ConversationState| (state.owners.clone(), state.admins.clone());
    // Roles are the owners' alone to give and to take; so is the group, which is given by making somebody else its owner. With who falls
    // asleep the role stays, with who is removed while asleep it goes.
    let settled = before.with_asleep(&after.asleep).settled(staying);
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
    use crate::state::Asleep;

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
        let mut pictured = before.clone();
        pictured.picture = Some(crate::picture::Picture { secret: [1; 32], hash: [2; 32], size: 3, kind: 1 });
        assert!(judged(&pictured, Role::Admin).is_ok());
        assert!(judged(&pictured, Role::Member).is_err());
        let promoted = state(&[1], &[2, 3]);
        assert!(judged(&promoted, Role::Admin).is_err());
        assert!(judged(&promoted, Role::Owner).is_ok());
        assert!(judged(&state(&[], &[1, 2]), Role::Owner).is_err());
        // Nor who inherits: the order is the owners' as well, and nobody is listed twice.
        let before = state(&[1], &[2, 3]);
        let judged = |after: &ConversationState, role| judge_state(&before, after, role, &all);
        assert!(judged(&state(&[1], &[3, 2]), Role::Admin).is_err());
        assert!(judged(&state(&[1], &[2, 3, 2]), Role::Admin).is_err());
        assert!(judged(&state(&[1], &[3, 2]), Role::Owner).is_ok());
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

    /// A group of an owner (1), an admin (2) and members (3, 4), of whom those are there that are named, and those asleep that are named.
    struct Band {
        state: ConversationState,
        members: Vec<Member>,
    }

    impl Band {
        fn of(here: &[u8], asleep: &[u8]) -> Self {
            let mut state = ConversationState::new(GroupKind::Group, "x", vec![key(1)]);
            state.admins = vec![key(2)];
            state.asleep = asleep.iter().map(|n| sleeper(*n)).collect();
            let members = here.iter().zip(0..).map(|(n, leaf)| member(leaf, *n, &format!("p{n}"), *n)).collect();
            Self { state, members }
        }

        /// The verdict on a commit by account `author` that removes and adds these accounts' devices, and leaves this state.
        fn judged(
            &self,
            author: u8,
            (removed, added): (&[u8], &[u8]),
            after: &ConversationState,
            asked: bool,
        ) -> Result<(), String> {
            let leaf = |n: u8| self.members.iter().find(|m| m.certificate.account_key == key(n)).unwrap();
            let removed: Vec<Member> = removed.iter().map(|n| leaf(*n).clone()).collect();
            let added: Vec<Member> =
                added.iter().map(|n| member(20 + u32::from(*n), *n, &format!("p{n}"), *n)).collect();
            let asked = added.first().map(|member| member.certificate.clone()).filter(|_| asked);
            let state = after.encode();
            let (author, state) = (leaf(author).leaf, Some(state.as_slice()));
            let proposed = Proposed { author, added: &added, removed: &removed, left: &[], state, asked };
            judge(&self.state.encode(), &self.members, &proposed, None)
        }
    }

    fn key(account: u8) -> [u8; 32] {
        wire::SigningKey::from_bytes(&[account; 32]).verifying_key().to_bytes()
    }

    fn sleeper(account: u8) -> Asleep {
        Asleep { account: key(account), address: format!("p{account}@relay.example") }
    }

    #[test]
    fn rule_10_admins_put_to_sleep_whom_they_may_remove_and_nobody_else_does() {
        let band = Band::of(&[1, 2, 3, 4], &[]);
        let asleep = |n: u8| band.state.with_asleep(&[sleeper(n)]);
        for (author, who, may) in
            [(1, 4, true), (2, 4, true), (1, 2, true), (3, 4, false), (2, 1, false), (3, 1, false)]
        {
            assert_eq!(band.judged(author, (&[who], &[]), &asleep(who), false).is_ok(), may, "{author} puts {who}");
        }
        // Not who stays, not somebody else than who was removed, not somebody who never was there, not under another's address.
        assert!(band.judged(1, (&[], &[]), &asleep(4), false).is_err());
        assert!(band.judged(1, (&[3], &[]), &asleep(4), false).is_err());
        assert!(band.judged(1, (&[4], &[]), &asleep(9), false).is_err());
        let mut other = asleep(4);
        other.asleep[0].address = "p9@relay.example".into();
        assert!(band.judged(1, (&[4], &[]), &other, false).is_err());
        // The role stays: taking it on the occasion is the owners'.
        let mut less = asleep(4);
        less.admins.clear();
        assert!(band.judged(2, (&[4], &[]), &less, false).is_err());
        // A member whose own other device is removed is not asleep.
        let mut two = Band::of(&[1, 2, 4], &[]);
        two.members.push(member(9, 4, "p4", 5));
        assert!(two.judged(1, (&[4], &[]), &asleep(4), false).is_err());
    }

    #[test]
    fn rule_10_who_sleeps_comes_back_by_asking_and_as_what_it_was() {
        let band = Band::of(&[1, 3], &[2, 4]);
        let awake = |n: u8| {
            let mut state = band.state.clone();
            state.asleep.retain(|asleep| asleep.account != key(n));
            state
        };
        // Any member answers a request, an admin needs none, and an admin who slept is one again.
        assert!(band.judged(3, (&[], &[4]), &awake(4), true).is_ok());
        assert!(band.judged(3, (&[], &[2]), &awake(2), true).is_ok());
        assert!(band.judged(1, (&[], &[2]), &awake(2), false).is_ok());
        assert!(band.judged(3, (&[], &[4]), &awake(4), false).is_err());
        // Not while it stays listed, and nobody else with it; not who isn't listed, whatever he asks.
        assert!(band.judged(3, (&[], &[4]), &band.state, true).is_err());
        assert!(band.judged(3, (&[], &[4, 2]), &Band::of(&[1, 3], &[]).state, true).is_err());
        assert!(band.judged(3, (&[], &[9]), &band.state, true).is_err());
        let mut promoted = awake(4);
        promoted.admins.push(key(4));
        assert!(band.judged(3, (&[], &[4]), &promoted, true).is_err());
        // Under the sleeper's address comes nobody else.
        let eve = [member(30, 9, "p4", 9)];
        let state = band.state.encode();
        let proposed = Proposed { author: 0, added: &eve, removed: &[], left: &[], state: Some(&state), asked: None };
        assert!(judge(&state, &band.members, &proposed, None).is_err());
    }

    #[test]
    fn rule_10_who_sleeps_is_removed_by_whom_may_remove_it() {
        let without = |of: &Band, n: u8| {
            let mut state = of.state.clone();
            state.asleep.retain(|asleep| asleep.account != key(n));
            state.set_role(key(n), Role::Member);
            state
        };
        let band = Band::of(&[1, 2, 3], &[4]);
        for (author, may) in [(1, true), (2, true), (3, false)] {
            assert_eq!(band.judged(author, (&[], &[]), &without(&band, 4), false).is_ok(), may, "{author}");
        }
        // An admin's role goes with him, and no other one's; an owner who sleeps is the owners'.
        let band = Band::of(&[1, 3], &[2, 4]);
        assert!(band.judged(1, (&[], &[]), &without(&band, 2), false).is_ok());
        let mut band = Band::of(&[2, 3], &[1]);
        band.state.owners.push(key(3));
        assert!(band.judged(2, (&[], &[]), &without(&band, 1), false).is_err());
        assert!(band.judged(3, (&[], &[]), &without(&band, 1), false).is_ok());
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
