//! A commit that is not valid has ended a conversation's epoch (protocol rules 7 and 18): the evidence is kept, the device that has signed
//! it is named where that is certain, and the others go on in a successor.
//!
//! What always holds: whoever is named has signed the very bytes that are kept, and every member who holds the same group finds the same;
//! a successor is one only for who has found the ending itself, with all who were in the epoch but the one who is named, and nobody new;
//! what it is (roles, name, everything in its state) is what it was, but for what follows from the account being gone whose only device
//! was named; what was not in the log is sent again once, under the same ids.

use std::collections::{BTreeMap, BTreeSet};

use api::{ConversationKind, Kind, Problem, Standing};
use rusqlite::params;
use wire::{AccountRecord, Bytes, DeviceId, Entry, LogId, Seq, Signed, UnixMillis};

mod accept;
mod elsewhere;

use self::accept::{Found, accept, is_revoked, state_after};
pub(super) use self::accept::{differences, goes_before, line};
pub(super) use self::elsewhere::set_refused;
use super::intents::Intent;
use super::{Done, State, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::endings::{self, Ending};
use crate::db::{messages, outbox};
use crate::formats::{self, Invitation};
use crate::mls::{Group, Member, SuccessionKey};

/// Whoever is first in the tree waits so long before it makes a successor, so that all have heard of the ending; each other one longer
/// by the second, so that mostly one makes it.
const FIRST_MS: u64 = 60_000;
const EACH_MS: u64 = 30_000;
/// Those behind this many wait no longer than the last of these.
const STAGGERED: u64 = 60;
/// What clocks of devices and relays may differ by.
const CLOCKS_MS: u64 = 3_600_000;
/// Between attempts of one device.
const AGAIN_MS: u64 = 3_600_000;
/// Behind this time who was away makes no successor of a 1:1 conversation: relays keep what is in inboxes for 30 days.
const LONG_AGO_MS: u64 = 14 * 86_400_000;
/// A successor that goes before another one by its maker takes its place for so long; then the keys of the ended epoch go.
const DECIDED_MS: u64 = 86_400_000;

const LEFT_ALONE: &str = "Nobody is left in it but you, so that nothing more can be sent here. What was said stays.";

impl State {
    /// This entry has ended the epoch and is no valid commit; `by` has signed it.
    pub(super) fn ended(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        entry: &Entry,
        why: &str,
        by: Option<Member>,
    ) -> Done {
        let id = conversation.id;
        let convicted = by.as_ref().map(|by| by.leaf);
        let seen = self.with_group(turn, id, |state, _, group| {
            let mut stays = group.members();
            stays.retain(|member| Some(member.leaf) != convicted);
            let is_alone = !state.can_go_on(conversation, stays.iter());
            Ok((group.context_hash()?, waits_for(group, convicted), is_alone))
        })?;
        let (context, waits, is_alone) = seen.unwrap_or_default();
        let is_unanswered = conversation.standing == Standing::Requested;
        let due = turn.now.plus(waits);
        // Whoever has not taken the invitation makes no successor, but comes along, and is asked there; nor does who would be alone in it.
        let due = if is_unanswered || is_alone { UnixMillis(0) } else { due };
        let hash = formats::ending(id, entry);
        endings::put(turn.db, id, entry, (&hash, &context), why, by.as_ref(), due.0)?;
        if due.0 > 0 {
            turn.wake_at(due);
        }
        self.give_up_intents(turn, id, &was_ended())?;
        if is_unanswered {
            if by.is_none() {
                self.ask_round(turn, conversation, 0)?;
                self.ask_later(turn, id, 1, super::rejoin::ROUND_MS)?;
            }
            endings::set_unanswered(turn.db, id, true)?;
            self.hold_quietly(
                turn,
                id,
                "This conversation can't go on as it is.",
                "You are asked again where it goes on.",
            )?;
            return self.drive_invitations(turn);
        }
        let (what, why) = match &by {
            Some(by) => {
                let device = by.certificate.device.to_string();
                let device = device.get(..8).unwrap_or(&device);
                let why = format!("{} did it, with the device {device}: {why}.", by.certificate.address);
                ("A member has changed this conversation in a way that is not allowed.", why)
            }
            None => {
                if !is_alone {
                    self.ask_round(turn, conversation, 0)?;
                    self.ask_later(turn, id, 1, super::rejoin::ROUND_MS)?;
                }
                let why = format!("It was ended by something that is no valid change of it: {why}.");
                ("This conversation can't go on as it is.", format!("{why} Whose doing that is can't be told."))
            }
        };
        if is_alone {
            self.hold_all(turn, id, (what, &why, LEFT_ALONE), Vec::new())?;
            // Nobody is there for whom it could wait.
            self.fail_outbox(turn, id, &Problem::new(Kind::Trust, what, why, LEFT_ALONE))?;
            return self.drive_invitations(turn);
        }
        let next = "The others go on by themselves as soon as one of them has made a new beginning. Your messages are kept, and sent there.";
        self.hold_all(turn, id, (what, &why, next), Vec::new())?;
        self.drive_invitations(turn)
    }

    /// This device can't follow a commit, alone as far as it knows: it asks to be added again, and keeps what it can't follow.
    pub(super) fn lost_the_thread(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, entry: &Entry) -> Done {
        let id = conversation.id;
        let context = self.with_group(turn, id, |_, _, group| Ok(group.context_hash()?))?;
        if let Some(context) = context {
            let hash = formats::ending(id, entry);
            endings::put(turn.db, id, entry, (&hash, &context), "a change that can't be followed", None, 0)?;
        }
        self.ask_to_rejoin(turn, conversation)
    }

    /// Another device of a held conversation asks to be added again: where this one can't follow either, it has ended for both.
    pub(super) fn others_lost_it_too(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, asked: u64) -> Done {
        let id = conversation.id;
        let Some(ending) = endings::get(turn.db, id)?.filter(|ending| {
            let is_open = ending.leaf.is_none() && ending.due == 0 && ending.successor.is_none();
            is_open && ending.epoch == conversation.epoch.0 && asked.saturating_add(CLOCKS_MS) >= ending.time
        }) else {
            return Ok(());
        };
        let seen = self.with_group(turn, id, |state, _, group| {
            let members = group.members();
            Ok((waits_for(group, None), state.can_go_on(conversation, members.iter())))
        })?;
        let Some((waits, true)) = seen else { return Ok(()) };
        // Somebody may have followed who is not there for some days, and would bring both in again.
        let due = turn.now.plus(super::rejoin::LIFE_MS + waits);
        endings::set_due(turn.db, &ending, due.0)?;
        turn.wake_at(due);
        self.conversation_changed(turn, id)
    }

    /// What is known here of the end of a conversation, and the key that its successor has.
    pub(super) fn succession_key(&mut self, turn: &mut Turn<'_>, of: LogId) -> Done<Option<(Ending, SuccessionKey)>> {
        let (Some(ending), Some(conversation)) = (endings::get(turn.db, of)?, conversations::get(turn.db, of)?) else {
            return Ok(None);
        };
        let over = conversation.standing == Standing::Held || conversation.line.next.is_some();
        let key = self.with_group(turn, of, |_, turn, group| match over && group.epoch() == ending.epoch {
            true => Ok(Some(group.succession(&turn.mls, &conversation.relay, &ending.hash)?)),
            false => Ok(None),
        })?;
        Ok(key.flatten().map(|key| (ending.clone(), (ending.hash, key))))
    }

    /// Somebody is left to go on with: a 1:1 conversation is none without the other account.
    fn can_go_on<'a>(&self, conversation: &Conversation, stays: impl Iterator<Item = &'a Member>) -> bool {
        let Some(me) = &self.me else { return false };
        let is_direct = conversation.kind == ConversationKind::Direct;
        let is_other = |member: &Member| match is_direct {
            true => member.certificate.account_key != me.account_key(),
            false => member.certificate.device != me.device(),
        };
        stays.into_iter().any(is_other)
    }

    fn found(turn: &Turn<'_>, ending: &Ending) -> Done<Option<Found>> {
        let conversation = conversations::get(turn.db, ending.conversation)?;
        Ok(conversation.map(|conversation| Found {
            log: conversation.id,
            ending: ending.hash,
            place: conversation.place(Seq(ending.seq)),
            room: conversation.room(),
            convicted: ending.leaf,
        }))
    }

    /// Holds a group that this device was invited into against the conversation that it is to go on for.
    pub(super) fn accept_successor(
        &mut self,
        turn: &mut Turn<'_>,
        ending: &Ending,
        group: &Group,
        invitation: &Invitation,
    ) -> Done<Result<u32, &'static str>> {
        let Some(found) = Self::found(turn, ending)? else { return Ok(Err("It is not known what it goes on for.")) };
        if planted!(SuccessorUnchecked) {
            return Ok(Ok(group.own_leaf()));
        }
        let old = self.with_group(turn, ending.conversation, |_, _, old| Ok((old.members(), old.state())))?;
        let Some((members, state)) = old else { return Ok(Err("It is not known any more what it goes on for.")) };
        let new = group.members();
        let records = invitation.revoking.iter().flatten();
        let records = records.filter_map(|record| Signed::<AccountRecord>::parse(Bytes::copy_from_slice(record)).ok());
        let records: Vec<_> = records.collect();
        Ok(accept(&found, (&members, &state), (&new, &group.state(), group.epoch()), &records))
    }

    /// Nobody may lead this device back into a conversation whose last valid epoch is known for certain.
    pub(super) fn is_forfeit(&self, turn: &Turn<'_>, id: LogId) -> Done<bool> {
        let held = conversations::get(turn.db, id)?.filter(|conversation| conversation.standing == Standing::Held);
        let ending = endings::get(turn.db, id)?;
        Ok(held.zip(ending).is_some_and(|(held, ending)| ending.leaf.is_some() && ending.epoch == held.epoch.0))
    }

    /// A conversation is held behind something that ended it, and nobody knows whose doing that is.
    pub(super) fn was_led_astray(&self, turn: &Turn<'_>, id: LogId) -> Done<bool> {
        let held = conversations::get(turn.db, id)?.filter(|conversation| conversation.standing == Standing::Held);
        let ending = endings::get(turn.db, id)?;
        Ok(held.zip(ending).is_some_and(|(held, ending)| ending.leaf.is_none() && ending.epoch == held.epoch.0))
    }

    /// Whether an invitation that says what it goes on for is by somebody of that conversation, or may be; `None` if it doesn't say so.
    pub(super) fn succeeds_here(
        &self,
        turn: &Turn<'_>,
        invitation: &Invitation,
        by: &AccountRecord,
    ) -> Done<Option<bool>> {
        let Some(of) = invitation.succeeds.as_ref().map(|log| formats::array(log)) else { return Ok(None) };
        let Ok(of) = of.map(LogId) else { return Ok(Some(false)) };
        let Some(conversation) = conversations::get(turn.db, of)? else {
            // The invitation to what has ended waits here itself: who is in it is seen once that is taken.
            return Ok(Some(super::invitations::waits(turn.db, of)?));
        };
        let ended = endings::get(turn.db, of)?.is_some();
        let here = matches!(conversation.standing, Standing::Requested | Standing::Active) || ended;
        let member = conversations::members(turn.db, of)?.iter().any(|member| member.account_key == by.account_key);
        Ok(Some(here && member && conversation.relay.as_str() == invitation.relay))
    }

    /// False while this device has not found out itself how the conversation ended that an invitation is to go on for.
    pub(super) fn is_decided(&self, turn: &Turn<'_>, invitation: &Invitation) -> Done<bool> {
        let Some(of) = invitation.succeeds.as_ref().and_then(|log| formats::array(log).ok()) else { return Ok(true) };
        let followed = conversations::get(turn.db, LogId(of))?.is_some_and(|conversation| conversation.is_followed());
        Ok(!followed && endings::get(turn.db, LogId(of))?.is_some())
    }

    /// Devices of the own account but for those that have ended a conversation: nobody is brought back by its own other devices.
    pub(super) fn unconvicted(&self, turn: &Turn<'_>, mut devices: Vec<DeviceId>) -> Done<Vec<DeviceId>> {
        let Some(account) = self.me.as_ref().map(|me| me.account_key()) else { return Ok(devices) };
        let mut out = Vec::with_capacity(devices.len());
        for device in devices.drain(..) {
            if !endings::convicted(turn.db, &account, &device.0)? {
                out.push(device);
            }
        }
        Ok(out)
    }

    /// Makes successors where nobody has made one in time, and forgets the keys of what was decided long ago.
    pub(super) fn drive_successions(&mut self, turn: &mut Turn<'_>) -> Done {
        for ending in endings::open(turn.db)? {
            if ending.due > turn.now.0 {
                turn.wake_at(UnixMillis(ending.due));
                continue;
            }
            self.scheduling = true;
            let of = ending.conversation;
            let Some(conversation) = conversations::get(turn.db, of)? else { continue };
            if ending.successor.is_some() {
                self.forget_group(turn, of)?;
                endings::set_due(turn.db, &ending, 0)?;
            } else if conversation.standing != Standing::Held || conversation.epoch.0 != ending.epoch {
                // It goes on after all.
                endings::set_due(turn.db, &ending, 0)?;
            } else if self.is_too_late(turn, &conversation, &ending) {
                // What the other side has left in the inbox may be gone, and with it the way to where that goes on.
                if self.account.inbox_caught_up {
                    self.went_on_without(turn, &conversation)?;
                }
            } else if super::invitations::waits(turn.db, of)? {
                // The person is asked where it goes on, or is about to be.
                let again = turn.now.plus(AGAIN_MS);
                endings::set_due(turn.db, &ending, again.0)?;
                turn.wake_at(again);
            } else if conversations::in_making(turn.db, of)?.is_empty() {
                let again = turn.now.plus(AGAIN_MS);
                endings::set_due(turn.db, &ending, again.0)?;
                turn.wake_at(again);
                self.make_successor(turn, &conversation, &ending)?;
            }
        }
        Ok(())
    }

    /// A 1:1 conversation begins anew instead, as any does: the other side may have gone on long ago, in one that this device can't find.
    fn is_too_late(&self, turn: &Turn<'_>, conversation: &Conversation, ending: &Ending) -> bool {
        conversation.kind == ConversationKind::Direct && turn.now.0 > ending.time.saturating_add(LONG_AGO_MS)
    }

    fn went_on_without(&mut self, turn: &mut Turn<'_>, conversation: &Conversation) -> Done {
        let what =
            "This conversation was ended by something that is no valid change of it, while this device was away.";
        self.system_message(turn, conversation, &format!("{what} What you write next begins a new one."))?;
        self.end_conversation(turn, conversation.id, &Problem::new(Kind::Conflict, what, "", "Send it again."))
    }

    fn make_successor(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, ending: &Ending) -> Done {
        let of = conversation.id;
        let Some(found) = Self::found(turn, ending)? else { return Ok(()) };
        let old = self.with_group(turn, of, |_, _, group| Ok((group.own_leaf(), group.members(), group.state())))?;
        let Some((own, members, state)) = old else { return Ok(()) };
        // What an account has revoked does not come along, nor does it keep the others from going on.
        let records = self.records_of(turn, &members)?;
        let stays = |m: &&Member| Some(m.leaf) != found.convicted && (m.leaf == own || !is_revoked(m, &records));
        let stays: Vec<&Member> = members.iter().filter(stays).collect();
        let Some(state) = state_after(&found, &members, &stays, &state) else { return Ok(()) };
        let mut devices: BTreeMap<String, Vec<[u8; 16]>> = BTreeMap::new();
        for member in stays.iter().filter(|member| member.leaf != own) {
            let address = member.certificate.address.to_string();
            devices.entry(address).or_default().push(member.certificate.device.0);
        }
        if !self.can_go_on(conversation, stays.iter().copied()) {
            endings::set_due(turn.db, ending, 0)?;
            let problem = Problem::new(Kind::Trust, "This conversation can't go on.", "", LEFT_ALONE);
            return self.fail_outbox(turn, of, &problem);
        }
        #[cfg(feature = "mutants")]
        let (state, devices) = {
            let (mut state, mut devices) = (state, devices);
            let own = self.me.as_ref().map(|me| me.account_key()).unwrap_or_default();
            super::insider::tampered_successor(of, own, &mut state, &mut devices);
            (state, devices)
        };
        let id = self.new_conversation(turn, &state, |new| {
            new.relay = conversation.relay.clone();
            new.kind = conversation.kind;
            new.name.clone_from(&conversation.name);
            new.peer.clone_from(&conversation.peer);
            new.created = conversation.created;
            new.touched = conversation.touched;
            new.line = line(&state);
        })?;
        let devices = devices.into_iter().collect();
        self.intend(turn, id, &Intent::Succeed { of: of.0, devices }, 0)?;
        self.drive_intents(turn, id)
    }

    /// The newest lists of devices that are known here of these members' accounts.
    fn records_of(&self, turn: &Turn<'_>, members: &[Member]) -> Done<Vec<Signed<AccountRecord>>> {
        let own = self.me.as_ref().map(|me| me.record.clone());
        let addresses: BTreeSet<_> = members.iter().map(|member| member.certificate.address.clone()).collect();
        let mut records = Vec::new();
        for address in addresses {
            match &own {
                Some(own) if own.address == address => records.push(own.clone()),
                _ => records.extend(super::outline::known_record(turn, address.as_str())?),
            }
        }
        Ok(records)
    }

    /// The lists of devices that a successor's invitations carry: those that revoke who was in the ended epoch.
    pub(super) fn revoking(&mut self, turn: &mut Turn<'_>, of: LogId) -> Done<Vec<Vec<u8>>> {
        let Some(members) = self.with_group(turn, of, |_, _, group| Ok(group.members()))? else {
            return Ok(Vec::new());
        };
        let mut records = self.records_of(turn, &members)?;
        records.retain(|record| members.iter().any(|member| is_revoked(member, std::slice::from_ref(record))));
        Ok(records.iter().map(|record| record.bytes().to_vec()).collect())
    }

    /// Not all could be gathered who are to come along. Where some of them turn out to be revoked it is begun anew at once without them.
    pub(super) fn succeed_again(
        &mut self,
        turn: &mut Turn<'_>,
        of: LogId,
        devices: &[(String, Vec<[u8; 16]>)],
    ) -> Done {
        let Some(members) = self.with_group(turn, of, |_, _, group| Ok(group.members()))? else { return Ok(()) };
        let records = self.records_of(turn, &members)?;
        let wanted = |m: &&Member| {
            let (address, device) = (m.certificate.address.as_str(), m.certificate.device.0);
            devices.iter().any(|(of, devices)| of == address && devices.contains(&device))
        };
        let revoked = members.iter().filter(wanted).any(|member| is_revoked(member, &records));
        if let Some(ending) = endings::get(turn.db, of)?.filter(|_| revoked) {
            endings::set_due(turn.db, &ending, turn.now.plus(1).0)?;
            turn.wake_at(turn.now.plus(1));
        }
        Ok(())
    }

    /// The first commit of a successor that this device has made is in its log.
    pub(super) fn successor_made(&mut self, turn: &mut Turn<'_>, of: LogId, id: LogId, at: u64) -> Done {
        let Some(ending) = endings::get(turn.db, of)? else { return Ok(()) };
        let leaf = self.with_group(turn, of, |_, _, group| Ok(group.own_leaf()))?;
        match leaf.filter(|leaf| goes_before(&ending, (*leaf, id), at)) {
            Some(leaf) => {
                self.take_over(turn, &ending, (id, leaf), at)?;
                // One may have been linked since the epoch ended.
                self.own_devices_follow(turn, id)
            }
            None => self.abandon(turn, id),
        }
    }

    /// What was said and chosen in an ended conversation goes on in its successor, which this device has made or accepted.
    pub(super) fn take_over(
        &mut self,
        turn: &mut Turn<'_>,
        ending: &Ending,
        (to, leaf): (LogId, u32),
        at: u64,
    ) -> Done {
        let of = ending.conversation;
        let from = ending.successor.map_or(of, |(log, ..)| log);
        if from == to {
            return Ok(());
        }
        for other in conversations::in_making(turn.db, of)?.into_iter().filter(|other| *other != to) {
            self.abandon(turn, other)?;
        }
        let Some(successor) = conversations::get(turn.db, to)? else { return Ok(()) };
        self.lay_down(turn, from)?;
        if from != of {
            self.tell_those_left(turn, ending, from, to)?;
            self.take_along(turn, from, successor.line.offset)?;
        } else if let Some(over) = conversations::get(turn.db, of)?.filter(|over| over.line.of.is_some()) {
            conversations::shelve_on(turn.db, of, over.line.offset, successor.line.offset)?;
        }
        conversations::move_into(turn.db, from, to)?;
        for over in BTreeSet::from([of.0, from.0]).into_iter().map(LogId) {
            let Some(mut over) = conversations::get(turn.db, over)? else { continue };
            self.unfollow(turn, over.id, &over.relay.clone())?;
            (over.standing, over.line.next) = (Standing::Left, Some(to));
            conversations::put(turn.db, &over)?;
            self.conversation_changed(turn, over.id)?;
        }
        endings::set_successor(turn.db, ending, to, leaf, at)?;
        endings::set_unanswered(turn.db, of, false)?;
        let decided = UnixMillis(at.max(turn.now.0)).plus(DECIDED_MS);
        endings::set_due(turn.db, ending, decided.0)?;
        if from == of {
            let by =
                self.with_group(turn, of, |_, _, group| Ok(ending.leaf.and_then(|leaf| group.member(leaf).cloned())))?;
            let line = match by.flatten() {
                Some(by) => {
                    let device = by.certificate.device.to_string();
                    let (address, device) = (&by.certificate.address, device.get(..8).unwrap_or(&device));
                    format!("{address} ended this conversation by a change that is not allowed. It goes on without the device {device} that did it.")
                }
                None => "This conversation was ended by something that is no valid change of it. It goes on with all who were in it.".into(),
            };
            self.system_message(turn, &successor, &line)?;
            for line in self.heirs_of(turn, of, to)? {
                self.system_message(turn, &successor, &line)?;
            }
        }
        self.something_vanishes();
        self.scheduling = true;
        self.conversation_changed(turn, to)?;
        self.pump(turn, to)
    }

    /// Nothing more is done in a conversation that is over; what was to be sent there goes on waiting.
    fn lay_down(&mut self, turn: &mut Turn<'_>, from: LogId) -> Done {
        self.give_up_intents(turn, from, &was_ended())?;
        outbox::remove_pending_commit(turn.db, from)?;
        outbox::remove_requests(turn.db, from)?;
        super::rejoin::forget_rejoin(turn, from)?;
        messages::forgive(turn.db, from)?;
        outbox::remove_leaving(turn.db, from)?;
        self.unseal_all(turn, from)
    }

    /// What was said in a successor that does not last is said again.
    fn take_along(&mut self, turn: &mut Turn<'_>, from: LogId, place: u64) -> Done {
        say_again(turn, from, place)?;
        conversations::shelve(turn.db, from, place)?;
        self.forget_group(turn, from)
    }

    /// Who owns the successor that did not own what it goes on for, in words.
    fn heirs_of(&mut self, turn: &mut Turn<'_>, of: LogId, to: LogId) -> Done<Vec<String>> {
        let before = self.with_group(turn, of, |_, _, group| Ok(group.state()))?;
        let heirs =
            self.with_group(turn, to, |_, _, group| Ok(before.map(|before| super::story::heirs(&before, group))))?;
        Ok(heirs.flatten().unwrap_or_default())
    }

    /// The person has answered an invitation to a conversation that has ended meanwhile: it is one like any other that has.
    pub(super) fn accept_ended(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        endings::set_unanswered(turn.db, id, false)?;
        let Some(ending) = endings::get(turn.db, id)? else { return Ok(()) };
        let due = turn.now.plus(if ending.leaf.is_some() { FIRST_MS } else { DECIDED_MS + FIRST_MS });
        endings::set_due(turn.db, &ending, due.0)?;
        turn.wake_at(due);
        Ok(())
    }

    /// True if the person has taken the invitation to what a successor goes on for, or to the successor that was there before.
    pub(super) fn has_taken(&self, turn: &Turn<'_>, ending: &Ending) -> Done<bool> {
        let before = match ending.successor {
            Some((log, ..)) => conversations::get(turn.db, log)?,
            None => None,
        };
        Ok(match before {
            Some(before) => before.standing != Standing::Requested,
            None => !endings::is_unanswered(turn.db, ending.conversation)?,
        })
    }

    /// A successor that this device was about to make is not needed.
    pub(super) fn abandon(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        for row in outbox::intents(turn.db, id)? {
            outbox::remove_intent(turn.db, row.n)?;
            self.gathers.remove(&row.n);
        }
        outbox::remove_pending_commit(turn.db, id)?;
        if let Some(conversation) = conversations::get(turn.db, id)? {
            self.unfollow(turn, id, &conversation.relay)?;
        }
        self.forget_group(turn, id)?;
        Ok(conversations::forget(turn.db, id)?)
    }

    fn forget_group(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        self.with_group(turn, id, |_, _, _| Ok(()))?;
        if let Some(group) = self.groups.remove(&id) {
            group.delete(&turn.mls)?;
        }
        Ok(())
    }
}

/// How long this device waits before it makes a successor. Where nobody is convicted it may be so for this device alone, by its relay's
/// doing: the others have a day to add it again.
fn waits_for(group: &Group, convicted: Option<u32>) -> u64 {
    let before = |member: &Member| member.leaf < group.own_leaf() && Some(member.leaf) != convicted;
    let before = group.members().iter().filter(|member| before(member)).count() as u64;
    let patience = if convicted.is_some() { 0 } else { DECIDED_MS };
    patience + FIRST_MS + before.min(STAGGERED) * EACH_MS
}

fn was_ended() -> Problem {
    Problem::new(Kind::Conflict, "The conversation was ended before that could be done.", "", "Try again.")
}

/// What the own account has written behind a place is sent again where the conversation goes on now, in order, under the ids that it has.
fn say_again(turn: &Turn<'_>, from: LogId, place: u64) -> Done {
    let mut said: Vec<(u64, [u8; 32], Vec<u8>, u64)> = Vec::new();
    for table in ["messages", "acts"] {
        let kind = if table == "messages" { "AND kind != 2" } else { "" };
        let mut rows = turn.db.prepare_cached(&format!(
            "SELECT seq, id, content, sent FROM {table} WHERE conversation = ?1 AND own = 1 AND seq > ?2 AND seq > 0 {kind} AND length(content) > 0"
        ))?;
        let rows = rows.query_map(params![from.0, crate::db::int(place)], |row| {
            Ok((crate::db::uint(row, 0)?, crate::db::fixed(row, 1)?, row.get(2)?, crate::db::uint(row, 3)?))
        })?;
        for row in rows {
            said.push(row?);
        }
    }
    said.sort_unstable();
    said.dedup_by_key(|(_, id, ..)| *id);
    let waiting = outbox::list(turn.db, from, 0, usize::MAX >> 1)?;
    for (_, id, content, sent) in said {
        outbox::push(turn.db, from, Some(&id), &content, sent, false)?;
    }
    // It was written before all that waits.
    for row in waiting {
        outbox::push_again(turn.db, from, &row)?;
    }
    Ok(())
}
