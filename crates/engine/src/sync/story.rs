//! What commits did, in words for the conversation.

use std::collections::BTreeSet;

use api::Role;

use super::sleep::{back_story, sleep_story};
use super::validity::same_device;
use crate::mls::{Group, Incoming, Member};
use crate::state::ConversationState;

/// What a commit did, in words for the conversation.
pub(super) fn story(group: &Group, incoming: &Incoming) -> Vec<String> {
    let name = |leaf: u32| group.member(leaf).map(|m| m.certificate.address.to_string()).unwrap_or_default();
    let author = name(incoming.author);
    let accounts: BTreeSet<_> = group.members().iter().map(|m| m.certificate.account_key).collect();
    let before = ConversationState::decode(&group.state());
    let after = incoming.state.as_deref().map(ConversationState::decode);
    // A commit that counts a use of a link adds who came by it, and nobody else.
    let by_link = match (&before, &after) {
        (Ok(before), Some(Ok(after))) => used_link(before, after),
        _ => false,
    };
    let mut lines = Vec::new();
    let mut told = BTreeSet::new();
    for member in &incoming.added {
        let certificate = &member.certificate;
        if !told.insert(certificate.account_key) {
            continue;
        }
        if accounts.contains(&certificate.account_key) {
            let back = incoming.removed.iter().any(|m| same_device(&m.certificate, certificate));
            let is_gone = |leaf| incoming.removed.iter().chain(&incoming.left).any(|m| m.leaf == leaf);
            let of_account = |m: &&Member| m.certificate.account_key == certificate.account_key;
            let starts_anew = group.members().iter().filter(of_account).all(|m| is_gone(m.leaf));
            if starts_anew && !back {
                lines.push(new_device_alone(certificate.address.as_str()));
            } else if !back {
                lines.push(format!("{} has a new device.", certificate.address));
            }
        } else if before.as_ref().is_ok_and(|before| before.is_asleep(&certificate.account_key)) {
            lines.push(back_story(certificate.address.as_str()));
        } else if by_link {
            lines.push(format!("{} came by a link of {author}.", certificate.address));
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
            let sleeps = matches!(&after, Some(Ok(after)) if after.is_asleep(&certificate.account_key));
            if sleeps || staying.contains(&certificate.account_key) || !told.insert(certificate.account_key) {
                continue;
            }
            lines.push(match verb {
                "removed" => format!("{author} removed {}.", certificate.address),
                _ => format!("{} left.", certificate.address),
            });
        }
    }
    if let (Ok(before), Some(Ok(after))) = (before, after) {
        lines.extend(sleep_story(&author, &before, &after, &staying));
        // That roles end with who bore them goes without saying.
        let name = |key: &[u8; 32]| {
            let mut members = group.members().into_iter().filter(|_| staying.contains(key));
            members.find(|m| m.certificate.account_key == *key).map(|m| m.certificate.address.to_string())
        };
        let author_key = group.member(incoming.author).map(|m| m.certificate.account_key);
        lines.extend(state_story((&author, author_key), &before, &after, &name));
    }
    lines
}

/// That an account has lost all of its devices and is back with another one, in words.
pub(super) fn new_device_alone(who: &str) -> String {
    format!("{who} has a new device, restored from a backup. All earlier ones are gone.")
}

/// Somebody has come in by a link: it was used once more. Only who has made a link counts its uses.
fn used_link(before: &ConversationState, after: &ConversationState) -> bool {
    after.links.iter().any(|link| before.links.iter().any(|old| old.id == link.id && old.used < link.used))
}

/// Who inherited a group by an own commit, in words.
pub(super) fn heirs(before: &[u8], group: &Group) -> Vec<String> {
    let (Ok(before), Ok(after)) = (ConversationState::decode(before), ConversationState::decode(&group.state())) else {
        return Vec::new();
    };
    let is_heir = |key: &[u8; 32]| after.role(key) == Role::Owner && before.role(key) < Role::Owner;
    let accounts: std::collections::BTreeMap<[u8; 32], String> =
        group.members().iter().map(|m| (m.certificate.account_key, m.certificate.address.to_string())).collect();
    let heirs = accounts.iter().filter(|(key, _)| is_heir(key));
    heirs.map(|(_, who)| format!("{who} is an owner now, since no other is left.")).collect()
}

/// Who fell asleep by an own commit, in words. Who was removed for good one knows oneself.
pub(super) fn fallen_asleep(before: &[u8], group: &Group) -> Vec<String> {
    let (Ok(before), Ok(after)) = (ConversationState::decode(before), ConversationState::decode(&group.state())) else {
        return Vec::new();
    };
    let everybody: BTreeSet<_> = before.asleep.iter().map(|asleep| asleep.account).collect();
    sleep_story("", &before, &after, &everybody)
}

/// What changed between two states, in words.
pub(super) fn state_story(
    (author, author_key): (&str, Option<[u8; 32]>),
    before: &ConversationState,
    after: &ConversationState,
    name: &dyn Fn(&[u8; 32]) -> Option<String>,
) -> Vec<String> {
    let mut lines = Vec::new();
    if before.name != after.name {
        lines.push(format!("{author} named the group “{}”.", after.shown_name()));
    }
    if before.description != after.description {
        lines.push(match after.description.as_str() {
            "" => format!("{author} took the group's description off."),
            text => format!("{author} described the group: “{text}”."),
        });
    }
    if before.picture != after.picture {
        lines.push(picture_story(author, after.picture.is_some()));
    }
    if before.timer != after.timer {
        lines.push(timer_story(author, after.timer));
    }
    let has = |state: &ConversationState, id: &[u8; 16]| state.links.iter().any(|link| link.id == *id);
    if after.links.iter().any(|link| !has(before, &link.id)) {
        // Those that have ended go with it.
        lines.push(format!("{author} made an invite link."));
    } else if before.links.iter().any(|link| !has(after, &link.id) && after.role(&link.by) >= Role::Admin) {
        lines.push(format!("{author} took an invite link back."));
    }
    // Whoever makes somebody else an owner and himself less hands the group over; whoever could not have done so notes an heir.
    let was = author_key.map_or(Role::Member, |key| before.role(&key));
    let steps_back = was == Role::Owner && author_key.is_some_and(|key| after.role(&key) < Role::Owner);
    let mut accounts: Vec<[u8; 32]> =
        [&before.owners, &before.admins, &after.owners, &after.admins].into_iter().flatten().copied().collect();
    accounts.sort_unstable();
    accounts.dedup();
    for account in accounts {
        let role = after.role(&account);
        if let (true, Some(who)) = (before.role(&account) != role, name(&account)) {
            lines.push(match role {
                Role::Owner if steps_back => format!("{author} handed the group over to {who}."),
                Role::Owner if was < Role::Owner => format!("{who} is an owner now, since no other is left."),
                _ if steps_back && Some(account) == author_key => continue,
                Role::Owner => format!("{author} made {who} an owner."),
                Role::Admin => format!("{author} made {who} an admin."),
                Role::Member => format!("{author} made {who} a member."),
            });
        }
    }
    lines
}

/// That somebody has set the group's picture, in words.
pub(super) fn picture_story(author: &str, there: bool) -> String {
    match there {
        true => format!("{author} changed the group's picture."),
        false => format!("{author} took the group's picture off."),
    }
}

/// That somebody has set the timer, in words.
pub(super) fn timer_story(author: &str, seconds: u32) -> String {
    match seconds {
        0 => format!("{author} turned disappearing messages off."),
        seconds => format!("{author} set messages to disappear {} after they were seen.", in_words(seconds)),
    }
}

/// A length of time in the largest unit that gives a whole number.
fn in_words(seconds: u32) -> String {
    const UNITS: [(u32, &str); 5] =
        [(604_800, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)).unwrap_or((1, "second"));
    match seconds / unit {
        1 => format!("1 {name}"),
        several => format!("{several} {name}s"),
    }
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
        after.timer = 129_600;
        let lines = state_story(("alice", Some([1; 32])), &state(&[1], &[2]), &after, &names);
        let timed = "alice set messages to disappear 36 hours after they were seen.";
        assert_eq!(lines, ["alice named the group “y”.", timed, "alice made n2 an owner."]);
        let lines = state_story(("alice", Some([1; 32])), &state(&[1], &[2]), &state(&[2], &[1]), &names);
        assert_eq!(lines, ["alice handed the group over to n2."]);
        let lines = state_story(("bob", Some([3; 32])), &state(&[1], &[2]), &state(&[2], &[]), &|key| {
            (key[0] != 1).then(|| names(key)).flatten()
        });
        assert_eq!(lines, ["n2 is an owner now, since no other is left."]);
    }
}
