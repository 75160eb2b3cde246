//! State in step (protocol rule 17): what the person chooses on one device reaches the others through the notes to oneself.
//!
//! What always holds: a choice and its word are one transaction, and it is told until the notes have it; of two words on one thing
//! every device keeps the same one; only a device of the own account is believed, and only there. A choice of something that a device
//! does not have yet (a message, somebody whom it has never seen) waits until it comes.

use api::ConversationKind;
use wire::{Address, LogId, UnixMillis};

use super::bodies::Arrived;
use super::receipts::READ_RECEIPTS;
use super::{Done, State, Turn};
use crate::db::arrangements::{self, Arrangement};
use crate::db::conversations::{self, Conversation};
use crate::db::own_state::{self as rows, Kept};
use crate::db::{self, contacts, messages, outbox};
use crate::own_state::{self as words, Change, Head, OwnState, Word};

/// Own devices compare where they stand in their logs once in this time (protocol rule 8).
const HEADS_MS: u64 = 86_400_000;
/// When they last did: the name in the table `meta`.
const HEADS_TOLD: &str = "heads told";
/// Heads in one message.
const HEADS: usize = 256;

/// What is known in memory.
pub(super) struct OwnRun {
    /// There may be something to tell, or somebody to tell it to.
    look: bool,
    /// Not before this time: what is chosen in quick succession goes together.
    next: UnixMillis,
}

impl Default for OwnRun {
    fn default() -> Self {
        Self { look: true, next: UnixMillis(0) }
    }
}

impl State {
    /// The clock was set back.
    pub(super) fn own_state_set_back(&mut self, turn: &mut Turn<'_>, back: db::clock::Back) -> Done {
        back.set(&mut self.own_state.next);
        let Some(mut told) = db::meta::<u64>(turn.db, HEADS_TOLD)? else { return Ok(()) };
        back.set_ms(&mut told);
        Ok(db::set_meta(turn.db, HEADS_TOLD, &told)?)
    }

    /// The person has chosen something here.
    pub(super) fn chose(&mut self, turn: &Turn<'_>, change: &Change) -> Done {
        let before = self.last_word(turn, change)?.map_or(0, |kept| kept.time);
        // Behind all that was heard, however wrong the clock of another device was.
        self.say(turn, change, turn.now.0.max(before.saturating_add(1)))
    }

    /// The person has read a conversation up to this message. The time of the message orders these words: who has read further wins.
    pub(super) fn chose_read(&mut self, turn: &Turn<'_>, conversation: LogId, seq: u64) -> Done {
        let Some(message) = messages::last_up_to(turn.db, conversation, seq)? else { return Ok(()) };
        let room = conversations::room_of(turn.db, conversation)?;
        let change = Change::Read(room.0.to_vec().into(), message.id.to_vec().into(), turn.now.0);
        match self.last_word(turn, &change)? {
            Some(kept) if kept.time >= message.time => Ok(()),
            _ => self.say(turn, &change, message.time),
        }
    }

    fn last_word(&self, turn: &Turn<'_>, change: &Change) -> Done<Option<Kept>> {
        let (kind, about) = change.about();
        Ok(rows::get(turn.db, kind, &about)?)
    }

    fn say(&mut self, turn: &Turn<'_>, change: &Change, time: u64) -> Done {
        let (kind, about) = change.about();
        rows::put(turn.db, &Kept { kind, about, time, word: change.word() }, true)?;
        self.own_state.look = true;
        Ok(())
    }

    /// Says of an arrangement what is different from before.
    pub(super) fn chose_arrangement(
        &mut self,
        turn: &Turn<'_>,
        id: LogId,
        before: &Arrangement,
        now: &Arrangement,
    ) -> Done {
        let room = conversations::room_of(turn.db, id)?;
        let log = || room.0.to_vec().into();
        if before.muted_until != now.muted_until {
            self.chose(turn, &Change::Muted(log(), now.muted_until))?;
        }
        if before.archived != now.archived {
            self.chose(turn, &Change::Archived(log(), now.archived))?;
        }
        if before.pinned != now.pinned {
            self.chose(turn, &Change::Pinned(log(), now.pinned))?;
        }
        if before.unread != now.unread {
            self.chose(turn, &Change::Unread(log(), now.unread))?;
        }
        if before.draft != now.draft {
            self.chose(turn, &Change::Draft(log(), now.draft.clone()))?;
        }
        Ok(())
    }

    /// The person has archived a conversation knowing of what was written until `time`, or later.
    pub(super) fn archived_since(&self, turn: &Turn<'_>, id: LogId, time: u64) -> Done<bool> {
        let room = conversations::room_of(turn.db, id)?;
        let word = self.last_word(turn, &Change::Archived(room.0.to_vec().into(), true))?;
        Ok(word.is_some_and(|kept| kept.time > time))
    }

    /// An own device is in the notes that was not, or the account has another device.
    pub(super) fn own_device_came(&mut self, turn: &Turn<'_>) -> Done {
        self.own_state.look = true;
        Ok(rows::tell_all(turn.db)?)
    }

    /// The own record has changed, or a day has passed: there may be somebody to tell, a place to make for it, or heads to compare.
    pub(super) fn look_at_own_state(&mut self) {
        self.own_state.look = true;
    }

    /// Tells the other devices what they have not heard.
    pub(super) fn drive_own_state(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(me) = self.me.as_ref().filter(|me| !me.revoked()) else { return Ok(()) };
        if !self.own_state.look || me.record.active().count() < 2 {
            return Ok(());
        }
        let (address, makes, device) = (me.address.clone(), me.certifies() && me.published(), me.device());
        let notes = conversations::notes(turn.db)?;
        let Some(id) = notes.first().copied() else {
            // One device makes the notes, so that there are not two of them.
            if makes {
                let (id, _) = self.start_direct(turn, &address)?;
                self.drive_intents(turn, id)?;
            }
            self.own_state.look = false;
            return Ok(());
        };
        let others = db::leaves::list(turn.db, id)?.iter().any(|leaf| leaf.device != device);
        if !others {
            // Looked at again when one comes.
            self.own_state.look = false;
            return Ok(());
        }
        if self.own_state.next > turn.now {
            turn.wake_at(self.own_state.next);
            return Ok(());
        }
        let mut untold = rows::untold(turn.db)?;
        let heads = self.heads_to_compare(turn)?;
        if untold.is_empty() && heads.is_empty() {
            self.own_state.look = false;
            return Ok(());
        }
        let mut messages = Vec::new();
        while !untold.is_empty() {
            let mut words = Vec::new();
            for kept in fitting(&mut untold) {
                if matches!(kept.kind, Change::OPENED | Change::HIDDEN) {
                    // What is gone here is gone; nothing needs its word again.
                    rows::remove(turn.db, kept.kind, &kept.about)?;
                } else {
                    rows::set_told(turn.db, &kept)?;
                }
                words.push(Word { time: kept.time, change: kept.word.into() });
            }
            messages.push(OwnState::new(words, Vec::new()));
        }
        if !heads.is_empty() {
            messages.push(OwnState::new(Vec::new(), heads));
        }
        for message in messages {
            let content = content::own_state(turn.random(), &message.encode()).encode();
            outbox::push(turn.db, id, None, &content, turn.now.0, false)?;
        }
        self.own_state.next = turn.now.plus(self.options.receipt_pause_ms);
        // There may be more than was looked up at once.
        turn.wake_at(self.own_state.next);
        self.pump(turn, id)
    }

    /// Where this device stands in its logs, once a day.
    fn heads_to_compare(&self, turn: &mut Turn<'_>) -> Done<Vec<Head>> {
        let due = db::meta::<u64>(turn.db, HEADS_TOLD)?.unwrap_or(0).saturating_add(HEADS_MS);
        turn.wake_at(UnixMillis(due).max(turn.now.plus(1)));
        if due > turn.now.0 {
            return Ok(Vec::new());
        }
        db::set_meta(turn.db, HEADS_TOLD, &turn.now.0)?;
        let followed = conversations::all(turn.db)?.into_iter().filter(|c| c.is_followed() && c.chain_known);
        let stands = followed.filter(|c| c.cursor.0 > 0 && !self.healing.contains_key(&c.id)).take(HEADS);
        Ok(stands
            .map(|c| Head { conversation: c.id.0.to_vec().into(), seq: c.cursor.0, hash: c.chain.0.to_vec().into() })
            .collect())
    }

    /// Another device has said something. Only the own account's is believed, and only in its notes.
    pub(super) fn own_state_received(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        arrived: &Arrived,
        bytes: &[u8],
    ) -> Done {
        if !arrived.own || conversation.kind != ConversationKind::Note {
            return Ok(());
        }
        let Ok(state) = OwnState::decode(bytes) else { return Ok(()) };
        for word in state.words {
            let Some(change) = word.heard() else { continue };
            let before = self.last_word(turn, &change)?;
            let is_later = before.is_none_or(|kept| (word.time, word.change.as_slice()) > (kept.time, &kept.word));
            if is_later || planted!(LastHeardCounts) {
                let (kind, about) = change.about();
                rows::put(turn.db, &Kept { kind, about, time: word.time, word: word.change.into() }, false)?;
                self.apply(turn, &change)?;
            }
        }
        for head in state.heads {
            let known = words::log(&head.conversation).map(|id| conversations::get(turn.db, id)).transpose()?.flatten();
            if let Some(known) = known.filter(|known| !self.healing.contains_key(&known.id)) {
                self.compare_heads(turn, &known, None, (head.seq, &head.hash), "another device of yours")?;
            }
        }
        Ok(())
    }

    /// Puts all words into effect again, behind something that may have brought older ones: history, a backup.
    pub(super) fn apply_again(&mut self, turn: &mut Turn<'_>) -> Done {
        for kept in rows::all(turn.db)? {
            if let Some(change) = Change::of(&kept.word) {
                self.apply(turn, &change)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, turn: &mut Turn<'_>, change: &Change) -> Done {
        // Words name the log in which the line of a conversation began, so that they are of one thing on whichever side of an ending.
        let log = match change.log() {
            Some(room) => Some(conversations::of_room(turn.db, room)?),
            None => None,
        };
        match change {
            Change::Muted(_, until) => self.arrange_too(turn, log, |kept| kept.muted_until = *until),
            Change::Archived(_, archived) => self.arrange_too(turn, log, |kept| kept.archived = *archived),
            Change::Pinned(_, at) => self.arrange_too(turn, log, |kept| kept.pinned = *at),
            Change::Unread(_, unread) => self.arrange_too(turn, log, |kept| kept.unread = *unread),
            Change::Draft(_, text) => self.arrange_too(turn, log, |kept| kept.draft.clone_from(text)),
            Change::Read(_, message, at) => match (log, message.as_slice().try_into()) {
                (Some(id), Ok(message)) => self.read_elsewhere(turn, id, &message, *at),
                _ => Ok(()),
            },
            Change::Named(address, name) => {
                let Ok(address) = address.parse::<Address>() else { return Ok(()) };
                let Some(mut contact) = contacts::get(turn.db, &address)? else { return Ok(()) };
                if contact.name != *name && contacts::is_name(name) {
                    contact.name.clone_from(name);
                    contacts::put(turn.db, &contact)?;
                }
                Ok(())
            }
            Change::Blocked(address, blocked) => match address.parse::<Address>() {
                Ok(address) => self.set_blocked(turn, &address, *blocked),
                Err(_) => Ok(()),
            },
            Change::ReadReceipts(on) => Ok(db::set_meta(turn.db, READ_RECEIPTS, on)?),
            // The word itself is what is shown.
            Change::DeviceName(..) => {
                turn.event(api::Event::Devices);
                Ok(())
            }
            Change::Typing(on) => self.set_typing_told(turn, *on),
            Change::Presence(on) => self.set_presence_told(turn, *on),
            Change::Opened(_, message) => match (log, message.as_slice().try_into()) {
                (Some(id), Ok(message)) => self.opened_elsewhere(turn, id, &message).map(|_| ()),
                _ => Ok(()),
            },
            Change::Hidden(_, message) => {
                let (Some(id), Ok(message)) = (log, message.as_slice().try_into()) else { return Ok(()) };
                // The table of what is hidden knows it from here on, whether the message is here or still to come.
                let (kind, about) = change.about();
                rows::remove(turn.db, kind, &about)?;
                self.hide_message(turn, id, &message).map(|_| ())
            }
        }
    }

    /// Changes how a conversation is kept, here too.
    fn arrange_too(&mut self, turn: &mut Turn<'_>, id: Option<LogId>, change: impl FnOnce(&mut Arrangement)) -> Done {
        let Some(id) = id else { return Ok(()) };
        let mut kept = arrangements::get(turn.db, id)?;
        let before = kept.clone();
        change(&mut kept);
        if kept == before {
            return Ok(());
        }
        arrangements::put(turn.db, id, &kept)?;
        self.conversation_changed(turn, id)
    }

    fn read_elsewhere(&mut self, turn: &mut Turn<'_>, id: LogId, message: &[u8; 32], at: u64) -> Done {
        let Some(message) = messages::get(turn.db, id, message)? else { return Ok(()) };
        // What another own device has shown need not be reported again.
        if !messages::mark_read(turn.db, id, message.seq, at.min(turn.now.0))?.is_empty() {
            self.something_vanishes();
            self.conversation_changed(turn, id)?;
        }
        Ok(())
    }

    /// A message is here that another own device may have spoken of before.
    pub(super) fn spoken_of(&mut self, turn: &mut Turn<'_>, message: &messages::Message) -> Done {
        let id = message.conversation;
        let room = conversations::room_of(turn.db, id)?;
        let read = rows::get(turn.db, Change::READ, &room.0)?.and_then(|kept| Change::of(&kept.word));
        if let Some(Change::Read(_, last, at)) = read
            && last.as_slice() == message.id
        {
            self.read_elsewhere(turn, id, &message.id, at)?;
        }
        if matches!(message.kind, api::MessageKind::ViewOnce { opened: false }) {
            let about = [room.0.as_slice(), &message.id].concat();
            if rows::get(turn.db, Change::OPENED, &about)?.is_some() && self.opened_elsewhere(turn, id, &message.id)? {
                rows::remove(turn.db, Change::OPENED, &about)?;
            }
        }
        Ok(())
    }

    /// Acts of other devices on what is not here are kept for the day when it comes. True if it is here.
    fn opened_elsewhere(&mut self, turn: &mut Turn<'_>, id: LogId, message: &[u8; 32]) -> Done<bool> {
        let Some(message) = messages::get(turn.db, id, message)? else { return Ok(false) };
        if matches!(message.kind, api::MessageKind::ViewOnce { opened: false }) && !message.own {
            self.set_opened(turn, message)?;
        }
        Ok(true)
    }
}

/// Takes off as many words as fit into one message; one at least, since the longest word alone always does.
fn fitting(untold: &mut Vec<Kept>) -> Vec<Kept> {
    const ROOM: usize = content::MAX_OWN_STATE - 1_024;
    let mut taken = 0;
    let fits = |kept: &&Kept| {
        taken += kept.word.len() + 16;
        taken <= ROOM
    };
    let count = untold.iter().take_while(fits).count();
    let rest = untold.split_off(count.max(1).min(untold.len()));
    std::mem::replace(untold, rest)
}
