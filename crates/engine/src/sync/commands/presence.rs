//! "… is online" (protocol rule 19): told in passing to those who are connected now, if the person has chosen so.
//!
//! What always holds: nobody is told whom the person has not chosen to tell, and nothing is shown to who doesn't tell; hearing it changes nothing in
//! the database. When somebody was last heard of is kept, now and then, for programs that run for a moment only.

use std::collections::{BTreeMap, BTreeSet};

use api::{ConversationKind, Event, Standing, View};
use rusqlite::Connection;
use wire::{Address, LogId, Request, UnixMillis};

use super::{State, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::{self, contacts, presence as seen};
use crate::signal::Kind as Told;
use crate::sync::{Ask, Done};

/// Whether others are told: the name of the choice in the table `meta`.
const PRESENCE: &str = "presence";
/// Who is there says so again after so many ms.
const AGAIN_MS: u64 = 120_000;
/// Nothing makes it say so sooner after the last time than this.
const PAUSE_MS: u64 = 10_000;
/// Whoever says nothing for so many ms is not there any more.
const LASTS_MS: u64 = 300_000;
/// So many conversations are told at once; the next ones a second later.
const TOGETHER: usize = 16;
/// When others were last heard of is written so often at most.
const KEPT_MS: u64 = 60_000;

/// What the person has chosen; off from the start.
pub(crate) fn is_told(db: &Connection) -> rusqlite::Result<bool> {
    Ok(db::meta(db, PRESENCE)?.unwrap_or(false))
}

/// Telling one conversation.
#[derive(Clone, Copy)]
struct Telling {
    /// When it was last told that the person is there, and not that they have gone.
    last: Option<UnixMillis>,
    due: UnixMillis,
}

/// What of this lives in memory.
#[derive(Default)]
pub(in crate::sync) struct PresenceRun {
    /// What the person has chosen.
    on: bool,
    /// A program of this device is being looked at.
    here: bool,
    /// The conversations that are followed on a connection that is up.
    tellings: BTreeMap<LogId, Telling>,
    /// Nothing is due before.
    next: UnixMillis,
    /// The devices of others that are there (by their signature keys), until when if nothing more comes.
    online: BTreeMap<String, BTreeMap<[u8; 32], UnixMillis>>,
    /// When others were last heard of, as far as it is not kept yet.
    heard: BTreeMap<String, UnixMillis>,
    kept: UnixMillis,
}

impl PresenceRun {
    pub(in crate::sync) fn load(db: &Connection) -> rusqlite::Result<Self> {
        Ok(Self { on: is_told(db)?, ..Self::default() })
    }

    pub(super) fn is_on(&self) -> bool {
        self.on || planted!(PresenceUnasked)
    }

    /// A conversation is followed, in a new epoch or on a new connection, or may be told from now on.
    pub(in crate::sync) fn joined(&mut self, log: LogId, now: UnixMillis) {
        let telling = self.tellings.entry(log).or_insert(Telling { last: None, due: now });
        telling.due = telling.due.min(telling.last.map_or(now, |last| last.plus(PAUSE_MS).max(now)));
        self.next = self.next.min(telling.due);
    }

    pub(in crate::sync) fn parted(&mut self, log: &LogId) {
        self.tellings.remove(log);
    }

    /// The clock was set back.
    pub(in crate::sync) fn set_back(&mut self, back: db::clock::Back) {
        let tellings = self.tellings.values_mut().flat_map(|telling| [Some(&mut telling.due), telling.last.as_mut()]);
        let online = self.online.values_mut().flat_map(|devices| devices.values_mut());
        let once = [&mut self.next, &mut self.kept];
        tellings.flatten().chain(online).chain(once).for_each(|at| back.set(at));
    }

    /// All that can be told is told soon.
    fn hurry(&mut self, now: UnixMillis) {
        let all: Vec<LogId> = self.tellings.keys().copied().collect();
        all.into_iter().for_each(|log| self.joined(log, now));
    }
}

impl State {
    /// A program of this device is being looked at, or no longer.
    pub(super) fn is_here(&mut self, turn: &mut Turn<'_>, here: bool) -> Done {
        if self.presence.here == here {
            return Ok(());
        }
        if !here {
            self.tell_gone(turn)?;
            self.keep_heard(turn)?;
        }
        self.presence.here = here;
        self.presence.hurry(turn.now);
        Ok(())
    }

    /// The person has chosen, here or on another own device.
    pub(in crate::sync) fn set_presence_told(&mut self, turn: &mut Turn<'_>, on: bool) -> Done {
        if !on {
            self.tell_gone(turn)?;
            // Who doesn't tell isn't told.
            let shown: Vec<String> = self.presence.online.keys().cloned().collect();
            shown.iter().for_each(|address| self.no_longer_here(turn, address));
            self.presence.heard.clear();
            seen::forget_all(turn.db)?;
        }
        db::set_meta(turn.db, PRESENCE, &on)?;
        self.presence.on = on;
        self.presence.hurry(turn.now);
        Ok(())
    }

    /// Somebody is about to be blocked: nothing more of them is shown, and what they were told ends.
    pub(super) fn hide_presence(&mut self, turn: &mut Turn<'_>, address: &Address) -> Done {
        for log in self.told() {
            if conversations::members(turn.db, log)?.iter().any(|member| member.address == address.as_str()) {
                self.tell_whether_here(turn, log, false)?;
            }
        }
        self.no_longer_here(turn, address.as_str());
        self.presence.heard.remove(address.as_str());
        Ok(seen::forget(turn.db, address.as_str())?)
    }

    /// Tells where it is due that the person is there.
    pub(in crate::sync) fn tell_presence(&mut self, turn: &mut Turn<'_>) -> Done {
        if !(self.presence.here && self.presence.is_on()) {
            return Ok(());
        }
        if self.presence.next <= turn.now {
            let due = self.presence.tellings.iter().filter(|(_, telling)| telling.due <= turn.now);
            let due: Vec<LogId> = due.map(|(log, _)| *log).collect();
            for (n, log) in due.into_iter().enumerate() {
                let due = if n < TOGETHER {
                    self.tell_whether_here(turn, log, true)?;
                    turn.now.plus(AGAIN_MS)
                } else {
                    turn.now.plus(1_000)
                };
                if let Some(telling) = self.presence.tellings.get_mut(&log) {
                    telling.due = due;
                }
            }
            let next = self.presence.tellings.values().map(|telling| telling.due).min();
            self.presence.next = next.unwrap_or(turn.now.plus(AGAIN_MS));
        }
        turn.wake_at(self.presence.next);
        Ok(())
    }

    /// Says to all who were told otherwise that the person is not there any more.
    fn tell_gone(&mut self, turn: &mut Turn<'_>) -> Done {
        self.told().into_iter().try_for_each(|log| self.tell_whether_here(turn, log, false))
    }

    /// Where it was told that the person is there.
    fn told(&self) -> Vec<LogId> {
        let told = self.presence.tellings.iter().filter(|(_, telling)| telling.last.is_some());
        told.map(|(log, _)| *log).collect()
    }

    fn tell_whether_here(&mut self, turn: &mut Turn<'_>, log: LogId, here: bool) -> Done {
        let Some(conversation) = conversations::get(turn.db, log)? else { return Ok(()) };
        let said = if self.is_told_presence(turn, &conversation)? {
            self.sealed_signal(turn, &conversation, if here { Told::Here } else { Told::Gone })?
        } else {
            None
        };
        let Some(body) = said else { return Ok(()) };
        let request = Request::Signal { log, epoch: conversation.epoch, body };
        // What is not said is said again, or over by itself: nobody waits for the answer.
        self.ask(turn, Self::logs_route(&conversation), request, Ask::Ignored);
        if let Some(telling) = self.presence.tellings.get_mut(&log) {
            telling.last = here.then_some(turn.now);
        }
        Ok(())
    }

    /// True where everybody may know. That they are at most so many is seen to where it is sealed.
    fn is_told_presence(&self, turn: &Turn<'_>, conversation: &Conversation) -> Done<bool> {
        if conversation.standing != Standing::Active
            || conversation.kind == ConversationKind::Note
            || !self.is_caught_up(conversation)
            || contacts::conflict_in(turn.db, &conversation.id.0)?.is_some()
        {
            return Ok(false);
        }
        for member in conversations::members(turn.db, conversation.id)? {
            let Ok(address) = member.address.parse() else { return Ok(false) };
            if contacts::is_blocked(turn.db, &address)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A device of somebody else has said, in a conversation, that it is there or that it goes.
    pub(super) fn hears_of(
        &mut self,
        turn: &mut Turn<'_>,
        log: LogId,
        (address, account_key, device): (Address, [u8; 32], [u8; 32]),
        here: bool,
    ) -> Done {
        // It is shown wherever the account is, so it must be that account: a member can put anybody's address into a group of its own.
        let pinned = contacts::get(turn.db, &address)?.is_some_and(|contact| contact.account_key == account_key);
        if !pinned || contacts::conflict_in(turn.db, &log.0)?.is_some() {
            return Ok(());
        }
        let from = address.to_string();
        self.presence.heard.insert(from.clone(), turn.now);
        let devices = self.presence.online.entry(from.clone()).or_default();
        let was_online = !devices.is_empty();
        if !here {
            devices.remove(&device);
            if devices.is_empty() {
                self.presence.online.remove(&from);
                self.tell_of(turn, &from, was_online.then_some(false));
            }
            return Ok(());
        }
        let until = turn.now.plus(LASTS_MS);
        turn.wake_at(until);
        if devices.insert(device, until).is_none() {
            // It has just come, and does not know who else is there.
            self.presence.joined(log, turn.now);
        }
        self.tell_of(turn, &from, (!was_online).then_some(true));
        Ok(())
    }

    fn no_longer_here(&mut self, turn: &mut Turn<'_>, address: &str) {
        let was_online = self.presence.online.remove(address).is_some();
        self.tell_of(turn, address, was_online.then_some(false));
    }

    fn tell_of(&self, turn: &mut Turn<'_>, address: &str, change: Option<bool>) {
        if let Some(online) = change {
            let last_seen = self.presence.heard.get(address).map_or(0, |heard| heard.0);
            turn.event(Event::Presence { address: address.to_owned(), online, last_seen });
        }
    }

    /// Ends what nobody has renewed, and keeps when others were last heard of.
    pub(in crate::sync) fn drive_presence(&mut self, turn: &mut Turn<'_>) -> Done {
        let mut over = BTreeSet::new();
        for (address, devices) in &mut self.presence.online {
            devices.retain(|_, until| *until > turn.now);
            match devices.values().min() {
                Some(until) => turn.wake_at(*until),
                None => drop(over.insert(address.clone())),
            }
        }
        over.iter().for_each(|address| self.no_longer_here(turn, address));
        if turn.now.since(self.presence.kept) >= KEPT_MS {
            self.keep_heard(turn)?;
        }
        Ok(())
    }

    fn keep_heard(&mut self, turn: &mut Turn<'_>) -> Done {
        self.presence.kept = turn.now;
        seen::put(turn.db, &self.presence.heard)?;
        // Who is there is heard of again; of the others it is known in the database now.
        let online = &self.presence.online;
        self.presence.heard.retain(|address, _| online.contains_key(address));
        Ok(())
    }

    /// Puts into a view what is known of who is there.
    pub(crate) fn show_presence(&self, db: &Connection, view: &mut View) {
        let conversations: &mut [api::Conversation] = match view {
            View::Conversation(conversation) => std::slice::from_mut(&mut **conversation),
            View::Conversations(conversations) => conversations,
            _ => return,
        };
        if !self.presence.is_on() {
            return;
        }
        for member in conversations.iter_mut().flat_map(|conversation| &mut conversation.members) {
            let kept = seen::last(db, &member.address).ok().flatten();
            let last = self.presence.heard.get(&member.address).copied().max(kept);
            member.online = self.presence.online.contains_key(&member.address);
            member.last_seen = last.map_or(0, |last| last.0);
        }
    }
}
