//! Devices that were off for long: admins' clients take them out of groups, accounts without any device left stay listed as asleep, and
//! who comes back asks to be let in (protocol rule 10).
//!
//! What always holds: how old a device's keys are is read off the log's own times, so that a clock or a program that was off says nothing of
//! others; it is never a part of validity (rule 6). Nobody waits here for anybody: whoever is back asks, and any member answers.

use std::collections::{BTreeMap, BTreeSet};

use api::{ConversationKind, Role, Standing};
use wire::{LogId, UnixMillis};

use super::intents::Intent;
use super::rejoin::ROUND_MS;
use super::{Done, State, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::leaves::{self, Leaf};
use crate::db::outbox;
use crate::mls::{Change, Incoming, Member};
use crate::state::{Asleep, ConversationState, MAX_ASLEEP, MAX_BYTES};

const DAY_MS: u64 = 86_400_000;
/// Whoever has not renewed its keys for so long is idle, in a group in which keys are renewed every week.
const IDLE_MS: u64 = 60 * DAY_MS;
/// Beyond the time in which each device renews its keys, in larger ones.
const BEYOND_MS: u64 = 30 * DAY_MS;
/// Devices of the group in which a renewal takes an hour each.
const RENEWAL_MS: u64 = 3_600_000;
/// Between finding somebody idle and taking it out: where all were away at once, those who come back a little later are not shut out by who was first.
const GRACE_MS: u64 = 3 * DAY_MS;
/// Between two admins' clients: if the first does it, the others need not.
const SPREAD_MS: u64 = 600_000;
/// How often it is looked whether somebody is idle.
const LOOK_MS: u64 = 3_600_000;
/// Devices that one commit takes out at most.
const AT_ONCE: usize = 200;
/// Room in the state that sleepers leave to everything else, in bytes.
const ROOM: usize = 2 * 1_024;

/// How long a device's keys may be unchanged in a group of so many devices before it counts as idle. One that is on has renewed them twice
/// by then, but for very large groups.
fn idle_after(devices: usize) -> u64 {
    let renewal = (devices as u64).saturating_mul(RENEWAL_MS).max(7 * DAY_MS);
    IDLE_MS.max(renewal.saturating_add(BEYOND_MS))
}

/// The leaves that are idle, by the log's time: the last time at which anybody is known to have renewed a key. Keys that were there before
/// this device came in (`own_since`) count as renewed then.
fn idle(leaves: &[Leaf], own_since: u64, now: UnixMillis) -> BTreeSet<u32> {
    let renewed = |leaf: &Leaf| leaf.renewed.max(if leaf.renewed == 0 { own_since } else { 0 });
    let log_time = leaves.iter().map(renewed).max().unwrap_or(0).min(now.0);
    let after = idle_after(leaves.len());
    leaves.iter().filter(|leaf| renewed(leaf).saturating_add(after) <= log_time).map(|leaf| leaf.leaf).collect()
}

/// Takes the idle leaves out that `role` may remove, and lists the accounts of which nothing is left; `None` if there is nothing to do. What
/// the list has no room for stays as it is.
pub(super) fn put_to_sleep(
    before: &ConversationState,
    members: &[Member],
    (own_leaf, role): (u32, Role),
    idle: &BTreeSet<u32>,
) -> Option<Change> {
    let mut after = before.clone();
    let mut removes = Vec::new();
    let mut accounts: BTreeMap<[u8; 32], (bool, Vec<u32>)> = BTreeMap::new();
    for member in members {
        let account = accounts.entry(member.certificate.account_key).or_insert((true, Vec::new()));
        match idle.contains(&member.leaf) && member.leaf != own_leaf {
            true => account.1.push(member.leaf),
            false => account.0 = false,
        }
    }
    for member in members {
        let key = member.certificate.account_key;
        let Some((all, leaves)) = accounts.remove(&key) else { continue };
        let may = role >= Role::Admin && (before.role(&key) < Role::Owner || role == Role::Owner);
        if !may || leaves.is_empty() || removes.len() + leaves.len() > AT_ONCE {
            continue;
        }
        if all && !planted!(SleeperForgotten) {
            let asleep = Asleep { account: key, address: member.certificate.address.to_string() };
            after.asleep.push(asleep);
            if after.asleep.len() > MAX_ASLEEP || after.encode().len() > MAX_BYTES - ROOM {
                after.asleep.pop();
                continue;
            }
        }
        removes.extend(leaves);
    }
    let state = (after != *before).then(|| after.encode());
    (!removes.is_empty()).then(|| Change { removes, state, ..Change::default() })
}

/// Who has fallen asleep between two states, and who was removed while asleep, in words; `here` are those who are members then.
pub(super) fn sleep_story(
    author: &str,
    before: &ConversationState,
    after: &ConversationState,
    here: &BTreeSet<[u8; 32]>,
) -> Vec<String> {
    let fell = after.asleep.iter().filter(|asleep| !before.is_asleep(&asleep.account));
    let fell = fell.map(|asleep| {
        format!("{} is asleep: none of its devices was here for months. It comes back when one is.", asleep.address)
    });
    let gone =
        before.asleep.iter().filter(|asleep| !after.is_asleep(&asleep.account) && !here.contains(&asleep.account));
    let gone = gone.map(|asleep| format!("{author} removed {}, who was asleep.", asleep.address));
    fell.chain(gone).collect()
}

/// That somebody is back, in words.
pub(super) fn back_story(who: &str) -> String {
    format!("{who} is back.")
}

impl State {
    /// Now and then: in groups that are this account's to look after, those who were not there for long are to be taken out.
    pub(super) fn drive_sleep(&mut self, turn: &mut Turn<'_>) -> Done {
        if self.looked_for_idle.is_some_and(|at| turn.now < at.plus(LOOK_MS)) || !self.clock_agrees() {
            return Ok(());
        }
        self.looked_for_idle = Some(turn.now);
        let Some(own) = self.me.as_ref().map(|me| me.account_key()) else { return Ok(()) };
        for conversation in conversations::all(turn.db)? {
            if conversation.kind != ConversationKind::Group || conversation.standing != Standing::Active {
                continue;
            }
            let members = conversations::members(turn.db, conversation.id)?;
            let looks_after = members.iter().any(|member| member.account_key == own && member.role >= Role::Admin);
            if !looks_after || self.idle_leaves(turn, conversation.id)?.is_empty() {
                continue;
            }
            let is_there =
                |row: &outbox::IntentRow| matches!(serde_json::from_slice(&row.intent), Ok(Intent::PutToSleep));
            if outbox::intents(turn.db, conversation.id)?.iter().any(is_there) {
                continue;
            }
            let place = self.place(turn, conversation.id)?.min(144);
            self.intend(turn, conversation.id, &Intent::PutToSleep, GRACE_MS + place * SPREAD_MS)?;
        }
        Ok(())
    }

    /// The devices of a group that are idle, by their leaves; never this one.
    pub(super) fn idle_leaves(&self, turn: &Turn<'_>, id: LogId) -> Done<BTreeSet<u32>> {
        let Some(me) = &self.me else { return Ok(BTreeSet::new()) };
        let leaves = leaves::list(turn.db, id)?;
        let own = leaves.iter().find(|leaf| leaf.device == me.device() && leaf.address == me.address.as_str());
        let Some(own) = own.cloned() else { return Ok(BTreeSet::new()) };
        let mut idle = idle(&leaves, own.since, turn.now);
        idle.remove(&own.leaf);
        Ok(idle)
    }

    /// How many devices of a group stand before this one.
    fn place(&self, turn: &Turn<'_>, id: LogId) -> Done<u64> {
        let own = self.me.as_ref().map(|me| me.device());
        let place = leaves::list(turn.db, id)?.iter().position(|leaf| Some(leaf.device) == own);
        Ok(place.unwrap_or_default() as u64)
    }

    /// A commit that removes this device, because it was not on for long: its account is listed as asleep, or goes on with other devices.
    /// A device that was on hears in the same way that it was revoked, or that its account has left, and stays out.
    pub(super) fn is_put_to_sleep(
        &self,
        turn: &Turn<'_>,
        id: LogId,
        members: &[Member],
        incoming: &Incoming,
    ) -> Done<bool> {
        let Some(me) = &self.me else { return Ok(false) };
        let own = me.account_key();
        let state = incoming.state.as_deref().and_then(|state| ConversationState::decode(state).ok());
        if state.is_some_and(|state| state.is_asleep(&own)) {
            return Ok(true);
        }
        let goes = |m: &Member| incoming.removed.iter().chain(&incoming.left).any(|gone| gone.leaf == m.leaf);
        let goes_on = members.iter().any(|m| m.certificate.account_key == own && !goes(m));
        let at = turn.entry_time.unwrap_or(turn.now).0;
        let leaves = leaves::list(turn.db, id)?;
        let keys = leaves.iter().find(|leaf| leaf.device == me.device() && leaf.address == me.address.as_str());
        let was_idle = keys.is_some_and(|leaf| leaf.renewed.saturating_add(IDLE_MS) <= at);
        Ok(goes_on && was_idle && !me.revoked())
    }

    /// This device was taken out while it was off: it asks to be let in again. What it was to send waits.
    pub(super) fn fell_asleep(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, since: u64) -> Done {
        if conversation.standing == Standing::Requested {
            // Who has not taken an invitation for months is not asking to be in.
            return self.removed_from(turn, conversation);
        }
        let id = conversation.id;
        conversations::set_slept(turn.db, id, since)?;
        outbox::remove_pending_commit(turn.db, id)?;
        self.ask_round(turn, conversation, 0)?;
        self.ask_later(turn, id, 1, ROUND_MS)?;
        let what = "This device was off for so long that this conversation has gone on without it.";
        let why = "It has asked the others to let it in again, which happens by itself when one of them is online.";
        self.hold_quietly(turn, id, what, why)
    }

    /// This device is in again; what it has missed is said.
    pub(super) fn woke_up(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, by: &str, since: u64) -> Done {
        conversations::forget_slept(turn.db, conversation.id)?;
        let missed = match turn.now.since(UnixMillis(since)).div_ceil(DAY_MS) {
            _ if since == 0 => "in the months before".to_owned(),
            0 | 1 => "in the last day".to_owned(),
            days => format!("in the last {days} days"),
        };
        let text = format!(
            "{by} has let this device in again, which was off for so long that it had been taken out. What was written here {missed} \
             is not on it."
        );
        self.system_message(turn, conversation, &text)
    }
}

#[cfg(test)]
mod tests {
    use wire::DeviceId;

    use super::*;
    use crate::state::GroupKind;

    fn leaf(leaf: u32, since: u64, renewed: u64) -> Leaf {
        let (since, renewed) = (since * DAY_MS, renewed * DAY_MS);
        Leaf { leaf, address: "p@a.example".into(), device: DeviceId([leaf as u8; 16]), key: [0; 32], since, renewed }
    }

    fn idle_at(leaves: &[Leaf], own_since: u64, day: u64) -> Vec<u32> {
        idle(leaves, own_since * DAY_MS, UnixMillis(day * DAY_MS)).into_iter().collect()
    }

    #[test]
    fn rule_10_idle_is_who_renewed_nothing_for_60_days_of_log_time() {
        let leaves = [leaf(0, 1, 100), leaf(1, 1, 41), leaf(2, 1, 40), leaf(3, 39, 39)];
        assert_eq!(idle_at(&leaves, 1, 100), [2, 3]);
        // The log's time counts, not that of whoever looks: a year in which nobody came says nothing of anybody.
        assert_eq!(idle_at(&leaves, 1, 465), [2, 3]);
        assert_eq!(idle_at(&leaves[1..], 1, 465), [] as [u32; 0]);
        // A relay whose clock is ahead puts nobody to sleep.
        assert_eq!(idle_at(&leaves, 1, 99), [3]);
        // Of keys that were there before one came oneself nothing is known but that.
        let unknown = [leaf(0, 50, 100), leaf(1, 0, 0)];
        assert_eq!(idle_at(&unknown, 50, 109), [] as [u32; 0]);
        let unknown = [leaf(0, 50, 110), leaf(1, 0, 0)];
        assert_eq!(idle_at(&unknown, 50, 110), [1]);
    }

    #[test]
    fn rule_10_in_large_groups_who_is_on_has_time_to_renew_its_keys() {
        assert_eq!(idle_after(2), 60 * DAY_MS);
        assert_eq!(idle_after(720), 60 * DAY_MS);
        assert_eq!(idle_after(1_440), 90 * DAY_MS);
        assert!(
            [1, 1_024, 4_096].iter().all(|devices| idle_after(*devices) >= *devices as u64 * RENEWAL_MS + BEYOND_MS)
        );
    }

    fn member(leaf: u32, account: u8) -> Member {
        let key = wire::SigningKey::from_bytes(&[account; 32]);
        let certificate = wire::DeviceCertificate {
            account_key: key.verifying_key().to_bytes(),
            address: format!("p{account}@a.example").parse().unwrap(),
            device: DeviceId([leaf as u8; 16]),
            signature_key: key.verifying_key().to_bytes(),
            suites: vec![1],
            versions: vec![1],
            created: UnixMillis(0),
        };
        Member { leaf, certificate: certificate.sign(&key) }
    }

    #[test]
    fn rule_10_an_account_is_asleep_when_its_last_device_goes() {
        let key = |n: u8| member(0, n).certificate.account_key;
        let mut state = ConversationState::new(GroupKind::Group, "x", vec![key(1)]);
        state.admins = vec![key(2)];
        let members = [member(0, 1), member(1, 2), member(2, 3), member(3, 3), member(4, 4)];
        let plan = |role, own, idle: &[u32]| {
            let change = put_to_sleep(&state, &members, (own, role), &idle.iter().copied().collect())?;
            let after = change.state.map(|state| ConversationState::decode(&state).unwrap());
            let asleep = after.map(|after| after.asleep.into_iter().map(|asleep| asleep.address).collect());
            Some((change.removes, asleep.unwrap_or_else(Vec::new)))
        };
        let names = |names: &[&str]| names.iter().map(|name| format!("{name}@a.example")).collect::<Vec<_>>();
        assert_eq!(plan(Role::Owner, 0, &[1, 2, 4]), Some((vec![1, 2, 4], names(&["p2", "p4"]))));
        assert_eq!(plan(Role::Owner, 0, &[3, 2]), Some((vec![2, 3], names(&["p3"]))));
        assert_eq!(plan(Role::Owner, 0, &[3]), Some((vec![3], vec![])));
        // An owner stays, where only an admin looks, and so does who looks.
        assert_eq!(plan(Role::Admin, 1, &[0, 4]), Some((vec![4], names(&["p4"]))));
        assert_eq!(plan(Role::Admin, 1, &[0, 1]), None);
        assert_eq!(plan(Role::Member, 4, &[2, 3]), None);
    }

    #[test]
    fn rule_10_who_has_no_room_in_the_list_stays() {
        let state = ConversationState::new(GroupKind::Group, "x", vec![member(0, 1).certificate.account_key]);
        let members: Vec<Member> = (0..200).map(|leaf| member(leaf, leaf as u8 + 1)).collect();
        let change = put_to_sleep(&state, &members, (0, Role::Owner), &(1..200).collect()).unwrap();
        let after = ConversationState::decode(&change.state.unwrap()).unwrap();
        assert_eq!(after.asleep.len(), change.removes.len());
        assert!((80..=MAX_ASLEEP).contains(&after.asleep.len()), "{}", after.asleep.len());
    }

    #[test]
    fn rule_10_what_happened_is_told() {
        let asleep = |n: u8| Asleep { account: [n; 32], address: format!("p{n}@a.example") };
        let before = ConversationState::new(GroupKind::Group, "x", vec![[1; 32]]).with_asleep(&[asleep(2), asleep(3)]);
        let after = before.with_asleep(&[asleep(4)]);
        let lines = sleep_story("p1@a.example", &before, &after, &[[1; 32], [2; 32]].into());
        let fell = "p4@a.example is asleep: none of its devices was here for months. It comes back when one is.";
        assert_eq!(lines, [fell, "p1@a.example removed p3@a.example, who was asleep."]);
    }
}
