//! What commits did, in words for the conversation.

use std::collections::BTreeSet;

use api::Role;

use super::validity::same_device;
use crate::mls::{Group, Incoming};
use crate::state::ConversationState;

/// What a commit did, in words for the conversation.
pub(super) fn story(group: &Group, incoming: &Incoming) -> Vec<String> {
    let name = |leaf: u32| group.member(leaf).map(|m| m.certificate.address.to_string()).unwrap_or_default();
    let author = name(incoming.author);
    let accounts: BTreeSet<_> = group.members().iter().map(|m| m.certificate.account_key).collect();
    let mut lines = Vec::new();
    let mut told = BTreeSet::new();
    for member in &incoming.added {
        let certificate = &member.certificate;
        if !told.insert(certificate.account_key) {
            continue;
        }
        if accounts.contains(&certificate.account_key) {
            let back = incoming.removed.iter().any(|m| same_device(&m.certificate, certificate));
            if !back {
                lines.push(format!("{} has a new device.", certificate.address));
            }
        } else {
            lines.push(format!("{author} added {}.", certificate.address));
        }
    }
    let gone: BTreeSet<_> = incoming.removed.iter().chain(&incoming.left).map(|m| m.leaf).collect();
    let staying: BTreeSet<_> = group
        .members()
        .iter()
        .filter(|m| !gone.contains(&m.leaf))
        .chain(&incoming.added)
        .map(|m| m.certificate.account_key)
        .collect();
    let mut told = BTreeSet::new();
    for (list, verb) in [(&incoming.removed, "removed"), (&incoming.left, "left")] {
        for member in list {
            let certificate = &member.certificate;
            if staying.contains(&certificate.account_key) || !told.insert(certificate.account_key) {
                continue;
            }
            lines.push(match verb {
                "removed" => format!("{author} removed {}.", certificate.address),
                _ => format!("{} left.", certificate.address),
            });
        }
    }
    let before = ConversationState::decode(&group.state());
    let after = incoming.state.as_deref().map(ConversationState::decode);
    if let (Ok(before), Some(Ok(after))) = (before, after) {
        lines.extend(state_story(&author, &before, &after, &|key| {
            group
                .members()
                .iter()
                .find(|m| m.certificate.account_key == *key)
                .map(|m| m.certificate.address.to_string())
        }));
    }
    lines
}

/// What changed between two states, in words.
pub(super) fn state_story(
    author: &str,
    before: &ConversationState,
    after: &ConversationState,
    name: &dyn Fn(&[u8; 32]) -> Option<String>,
) -> Vec<String> {
    let mut lines = Vec::new();
    if before.name != after.name {
        lines.push(format!("{author} named the group “{}”.", after.name));
    }
    let mut accounts: Vec<[u8; 32]> =
        [&before.owners, &before.admins, &after.owners, &after.admins].into_iter().flatten().copied().collect();
    accounts.sort_unstable();
    accounts.dedup();
    for account in accounts {
        let role = after.role(&account);
        if let (true, Some(who)) = (before.role(&account) != role, name(&account)) {
            let role = match role {
                Role::Owner => "an owner",
                Role::Admin => "an admin",
                Role::Member => "a member",
            };
            lines.push(format!("{author} made {who} {role}."));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::GroupKind;

    fn state(owners: &[u8], admins: &[u8]) -> ConversationState {
        let mut state = ConversationState::new(GroupKind::Group, "x", owners.iter().map(|n| [*n; 32]).collect());
        state.admins = admins.iter().map(|n| [*n; 32]).collect();
        state
    }

    #[test]
    fn state_changes_are_told_in_words() {
        let names = |key: &[u8; 32]| Some(format!("n{}", key[0]));
        let mut after = state(&[1, 2], &[]);
        after.name = "y".into();
        let lines = state_story("alice", &state(&[1], &[2]), &after, &names);
        assert_eq!(lines, ["alice named the group “y”.", "alice made n2 an owner."]);
    }
}
