//! Whoever makes a successor can keep its invitation from somebody, who then makes one of its own that nobody takes (protocol rule 18).
//! Those who are where it goes on tell that device, which asks to be added there.
//!
//! What always holds: such a word is a reason to ask, no more; what it leads to is held against the ended epoch, as a successor is in its
//! first epoch, and where anything differs the person is asked.

use wire::{DeviceId, EntryId, Label, RelayName, sign, verify};

use super::*;
use crate::db::outbox::NewDeposit;
use crate::db::{self, contacts};
use crate::formats::{Deposit, GoesOn};
use crate::identity::seal_deposit;
use crate::sync::invitations::{Refused, waits};
use crate::sync::rejoin::LIFE_MS;

/// So many of the first in the tree tell: one of them is honest, as far as one can hope.
const TELLERS: usize = 4;
/// An invitation that is only late comes before.
const TELL_AFTER_MS: u64 = 600_000;
/// Between two requests for one conversation.
const ASK_AGAIN_MS: u64 = 3_600_000;

/// A conversation that this device was told of, in the table `meta`.
#[derive(serde::Serialize, serde::Deserialize)]
struct Elsewhere {
    of: [u8; 16],
    asked: u64,
}

fn key(log: LogId) -> String {
    format!("elsewhere {log}")
}

/// An invitation to this conversation was no successor's: no word of anybody leads there.
pub(in crate::sync) fn set_refused(turn: &Turn<'_>, log: LogId) -> Done {
    Ok(db::set_meta(turn.db, &refused(log), &true)?)
}

fn refused(log: LogId) -> String {
    format!("no successor {log}")
}

impl State {
    /// The maker of another successor is told where the others are.
    pub(in crate::sync) fn tell_its_maker(
        &mut self,
        turn: &mut Turn<'_>,
        ending: &Ending,
        invitation: &Invitation,
    ) -> Done {
        let Some((to, ..)) = ending.successor else { return Ok(()) };
        let record = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&invitation.record)).ok();
        let device = formats::array(&invitation.device).ok().map(DeviceId);
        let Some((record, device)) = record.zip(device) else { return Ok(()) };
        let Some(device) = record.device(device).cloned() else { return Ok(()) };
        self.tell(turn, ending, to, vec![(record.address.relay().clone(), device)])
    }

    /// Another successor takes the place of one that others are in, too: they may not have been invited.
    pub(super) fn tell_those_left(&mut self, turn: &mut Turn<'_>, ending: &Ending, from: LogId, to: LogId) -> Done {
        let members = self.with_group(turn, from, |_, _, group| Ok(group.members()))?.unwrap_or_default();
        let own = self.me.as_ref().map(|me| me.device());
        let mut devices = Vec::new();
        for member in members.iter().filter(|member| Some(member.certificate.device) != own) {
            let record = match contacts::get(turn.db, &member.certificate.address)?.and_then(|contact| contact.record) {
                Some(bytes) => Signed::<AccountRecord>::parse(bytes.into()).ok(),
                None => None,
            };
            let device = record.as_ref().and_then(|record| record.device(member.certificate.device)).cloned();
            devices.extend(record.zip(device).map(|(record, device)| (record.address.relay().clone(), device)));
        }
        self.tell(turn, ending, to, devices)
    }

    fn tell(
        &mut self,
        turn: &mut Turn<'_>,
        ending: &Ending,
        to: LogId,
        devices: Vec<(RelayName, wire::Device)>,
    ) -> Done {
        let place = self.with_group(turn, to, |_, _, group| {
            Ok(group.members().iter().filter(|member| member.leaf < group.own_leaf()).count())
        })?;
        let Some(conversation) = conversations::get(turn.db, to)? else { return Ok(()) };
        if place.is_none_or(|place| place > TELLERS) {
            return Ok(());
        }
        for (relay, device) in devices {
            let Some(me) = &self.me else { return Ok(()) };
            let mut note = GoesOn {
                version: 1,
                relay: conversation.relay.to_string(),
                of: ending.conversation.0.to_vec().into(),
                log: to.0.to_vec().into(),
                record: me.record.bytes().to_vec().into(),
                device: me.device().0.to_vec().into(),
                time: turn.now.0,
                signature: Vec::new().into(),
            };
            note.signature = sign(&me.signer, Label::GoesOn, &[&note.parts(device.inbox)]).to_vec().into();
            let plain = formats::encode(&Deposit::GoesOn(Box::new(note)));
            let Ok(body) = seal_deposit(&device, &plain, &mut turn.rng) else { continue };
            let deposit = NewDeposit {
                conversation: outbox::UNAWAITED,
                relay: relay.as_str(),
                inbox: device.inbox,
                entry: EntryId(turn.random()),
                body: &body,
                blob: None,
                not_before: turn.now.plus(TELL_AFTER_MS).0,
            };
            outbox::push_deposit(turn.db, &deposit)?;
        }
        self.drive_deposits(turn)
    }

    /// Somebody who was in an ended conversation says where it goes on: this device asks to be added there.
    pub(in crate::sync) fn on_goes_on(&mut self, turn: &mut Turn<'_>, note: &GoesOn) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let Ok(record) = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&note.record)) else { return Ok(()) };
        let (Ok(device), Ok(of), Ok(log)) =
            (formats::array(&note.device), formats::array(&note.of), formats::array(&note.log))
        else {
            return Ok(());
        };
        let (device, of, log) = (DeviceId(device), LogId(of), LogId(log));
        let Some(device) = record.active().find(|d| d.certificate.device == device).cloned() else { return Ok(()) };
        let signed =
            verify(&device.certificate.signature_key, Label::GoesOn, &[&note.parts(me.inbox())], &note.signature);
        let age = turn.now.since(UnixMillis(note.time)).max(UnixMillis(note.time).since(turn.now));
        if note.version != 1 || signed.is_err() || age > LIFE_MS {
            return Ok(());
        }
        let (Some(over), Some(_)) = (conversations::get(turn.db, of)?, endings::get(turn.db, of)?) else {
            return Ok(());
        };
        let is_member =
            conversations::members(turn.db, of)?.iter().any(|member| member.account_key == record.account_key);
        let is_out = endings::convicted(turn.db, &record.account_key, &device.certificate.device.0)?;
        let is_here = conversations::get(turn.db, log)?.is_some() || waits(turn.db, log)?;
        let is_none = db::meta::<bool>(turn.db, &refused(log))?.unwrap_or(false);
        let is_decided = self.with_group(turn, of, |_, _, _| Ok(()))?.is_none();
        if !is_member || is_out || is_here || is_none || is_decided || over.relay.as_str() != note.relay {
            return Ok(());
        }
        let asked = db::meta::<Elsewhere>(turn.db, &key(log))?;
        if asked.is_some_and(|before| turn.now.0 < before.asked.saturating_add(ASK_AGAIN_MS)) {
            return Ok(());
        }
        db::set_meta(turn.db, &key(log), &Elsewhere { of: of.0, asked: turn.now.0 })?;
        self.ask_there(turn, (&over.relay, log), (record.address.relay(), &device))
    }

    /// The ended conversation for which this one was said to go on.
    pub(in crate::sync) fn told_of(&self, turn: &Turn<'_>, log: LogId) -> Done<Option<LogId>> {
        Ok(db::meta::<Elsewhere>(turn.db, &key(log))?.map(|elsewhere| LogId(elsewhere.of)))
    }

    /// Holds a group in which a conversation is said to go on against the epoch in which it ended. Answers with the ending and the leaf
    /// there of whoever made it.
    pub(in crate::sync) fn accept_elsewhere(
        &mut self,
        turn: &mut Turn<'_>,
        of: LogId,
        (new, new_state): (&[Member], &crate::state::ConversationState),
        chosen: bool,
    ) -> Done<Result<(Ending, u32), Refused>> {
        let Some(ending) = endings::get(turn.db, of)? else { return Ok(Err(Refused::Late)) };
        let Some(found) = Self::found(turn, &ending)? else { return Ok(Err(Refused::Late)) };
        let old = self.with_group(turn, of, |_, _, old| Ok((old.members(), old.state())))?;
        let Some((members, state)) = old else { return Ok(Err(Refused::Late)) };
        let stays: Vec<Member> =
            members.iter().filter(|member| Some(member.leaf) != found.convicted).cloned().collect();
        let Some(wanted) = state_after(&found, &members, &stays.iter().collect::<Vec<_>>(), &state) else {
            return Ok(Err(Refused::Late));
        };
        if wanted.succeeds != new_state.succeeds {
            return Ok(Err(Refused::Void("It does not go on for the end that this device has found.")));
        }
        let differs = differences(&stays, &wanted.encode(), new, new_state);
        if !differs.is_empty() && !chosen {
            return Ok(Err(Refused::Asks(differs)));
        }
        let maker = new.iter().find(|member| member.leaf == 0);
        let maker = maker.and_then(|maker| {
            members.iter().find(|m| crate::sync::validity::same_device(&m.certificate, &maker.certificate))
        });
        Ok(Ok((ending, maker.map_or(u32::MAX, |maker| maker.leaf))))
    }

    /// Of several successors an own device has brought this one into one after the other, which came in later and has seen no end: the
    /// later word counts. Answers with the one that is over then, if this invitation is the later one.
    pub(in crate::sync) fn outdated(
        &self,
        turn: &Turn<'_>,
        (id, of): (LogId, Option<LogId>),
        (sender, time): (&str, u64),
    ) -> Done<Result<Option<LogId>, Refused>> {
        let is_own = self.me.as_ref().is_some_and(|me| me.address.as_str() == sender);
        let Some(of) = of.filter(|_| is_own) else { return Ok(Ok(None)) };
        if endings::get(turn.db, of)?.is_some() {
            return Ok(Ok(None));
        }
        let is_other = |c: &Conversation| c.id != id && c.line.of == Some(of);
        let Some(other) = conversations::all(turn.db)?.into_iter().find(is_other) else { return Ok(Ok(None)) };
        match db::meta::<u64>(turn.db, &led(other.id))? {
            Some(before) if before > time => Ok(Err(Refused::Late)),
            Some(_) => Ok(Ok(Some(other.id))),
            None => Ok(Ok(None)),
        }
    }

    /// An own device has led this one here, past `before`.
    pub(in crate::sync) fn led_here(&mut self, turn: &mut Turn<'_>, to: LogId, before: Option<LogId>, at: u64) -> Done {
        db::set_meta(turn.db, &led(to), &at)?;
        let (Some(from), Some(successor)) = (before, conversations::get(turn.db, to)?) else { return Ok(()) };
        self.lay_down(turn, from)?;
        self.take_along(turn, from, successor.line.offset)?;
        conversations::move_into(turn.db, from, to)?;
        if let Some(mut over) = conversations::get(turn.db, from)? {
            self.unfollow(turn, from, &over.relay.clone())?;
            (over.standing, over.line.next) = (Standing::Left, Some(to));
            conversations::put(turn.db, &over)?;
            self.conversation_changed(turn, from)?;
        }
        Ok(())
    }
}

/// Where it is noted when an own device has left the invitation to a successor by which this one has come in.
fn led(log: LogId) -> String {
    format!("led to {log}")
}
