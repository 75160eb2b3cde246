//! What messages are and what they do to one another: each kind is applied here, behind the checks of [`super::entries`].
//!
//! What always holds: who may do what is decided from the MLS sender's account and the role that it has at the place of the entry
//! in the log, by every device in the same way; own acts show at once and are decided again when the log brings them back; what a
//! message looks like is a function of its acts ([`fold`]).

mod fold;
mod shown;
#[cfg(test)]
mod tests;
mod vanishing;
mod view;

use std::collections::BTreeSet;

use api::{ConversationKind, Event, Kind, MessageKind, MessageStatus, Problem, Role};
use content::{Body, MessageId, MimiContent, interpret};
use wire::{Address, LogId, Seq, UnixMillis};

use super::{Done, State, Turn};
use crate::db::acts::{self, Act, ActKind};
use crate::db::contacts;
use crate::db::conversations::{self, Conversation};
use crate::db::messages::{self, Message};

pub(crate) use fold::{MAX_EDITS, MAX_EMOJI_OF_ONE, chosen, fold, pinned, reactions, votes};
pub(crate) use shown::shown;
pub(crate) use vanishing::stay;
pub(crate) use view::{message as message_view, pins, revisions};

/// Reactions that are kept for one message, of all accounts: in the largest group, two for each.
const MAX_REACTIONS: u32 = 2_048;
/// The same of one account, reactions that were taken back included.
const MAX_REACTIONS_OF_ONE: u32 = 64;

/// A message that has passed the checks of its entry.
pub(super) struct Arrived {
    pub id: [u8; 32],
    pub sender: Address,
    /// Whose address that is, by the group.
    pub account: [u8; 32],
    /// The own account wrote it, on another device.
    pub own: bool,
    pub sent: u64,
    pub time: UnixMillis,
    pub seq: Seq,
    pub content: Vec<u8>,
    pub evidence: Vec<u8>,
}

impl State {
    /// Applies a message of another device. True if there is a new message to show.
    pub(super) fn arrived(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        arrived: Arrived,
        content: &MimiContent,
    ) -> Done<bool> {
        let body = interpret(content);
        if let Body::Receipts(receipts) = &body {
            self.receipts_received(turn, conversation, &arrived.sender, arrived.own, receipts)?;
            return Ok(false);
        }
        if let Body::OwnState(bytes) = &body {
            self.own_state_received(turn, conversation, &arrived, bytes)?;
            return Ok(false);
        }
        // What came before somebody was blocked goes on standing where all others see it.
        let is_known = || -> Done<bool> {
            Ok(messages::get(turn.db, conversation.id, &arrived.id)?.is_some()
                || !acts::get(turn.db, conversation.id, &arrived.id)?.is_empty())
        };
        if self.ignores(turn, conversation, &arrived.sender)? && !is_known()? {
            return Ok(false);
        }
        match shown(content, &body, self.me.as_ref().map(|me| &me.address)) {
            Some((kind, more)) => {
                let (ttl, mut at) = stay(content, conversation.timer, arrived.time);
                if matches!(kind, MessageKind::ViewOnce { .. }) {
                    at = vanishing::unopened(at, arrived.time);
                }
                let message = Message {
                    ttl,
                    expires: at,
                    sender: arrived.sender.to_string(),
                    own: arrived.own,
                    sent: arrived.sent,
                    time: arrived.time.0,
                    seq: arrived.seq.0,
                    status: if arrived.own { MessageStatus::Sent } else { MessageStatus::Received },
                    reply_to: content.in_reply_to.map(|id| id.0),
                    content: arrived.content,
                    evidence: arrived.evidence,
                    more,
                    ..Message::new(conversation.id, arrived.id, kind)
                };
                let is_new = self.store_message(turn, &message)?;
                if is_new && message.own {
                    self.sent_to_vanish(turn, conversation, &message.id, message.time)?;
                }
                if at != 0 {
                    self.drive_vanishing(turn)?;
                }
                Ok(is_new)
            }
            None => {
                // Whoever bears the address of somebody else has no say over what that one wrote.
                let known = contacts::get(turn.db, &arrived.sender)?;
                if !arrived.own && known.is_some_and(|known| known.account_key != arrived.account) {
                    return Ok(false);
                }
                self.acts_again(turn, conversation.id, &arrived.id)?;
                let power = is_moderator(turn, conversation, arrived.sender.as_str())?;
                let acts = self.acts_of(
                    turn,
                    conversation.id,
                    &body,
                    arrived.sender.as_str(),
                    |kind, target, value, part| Act {
                        id: arrived.id,
                        part,
                        target,
                        kind,
                        sender: arrived.sender.to_string(),
                        own: arrived.own,
                        power,
                        sent: arrived.sent,
                        time: arrived.time.0,
                        seq: arrived.seq.0,
                        value,
                        content: if kind == ActKind::Edit { arrived.content.clone() } else { Vec::new() },
                        evidence: if kind == ActKind::Edit { arrived.evidence.clone() } else { Vec::new() },
                    },
                )?;
                for act in acts {
                    if self.counts(turn, conversation, &act)? {
                        self.keep(turn, conversation, &act)?;
                        self.show_again(turn, conversation.id, &act)?;
                    }
                }
                Ok(false)
            }
        }
    }

    /// Stores a message and shows it, unless the own account has taken it out of sight already. True if it is new.
    pub(super) fn store_message(&mut self, turn: &mut Turn<'_>, message: &Message) -> Done<bool> {
        if !messages::insert(turn.db, message)? {
            self.message_again(turn, message)?;
            return Ok(false);
        }
        // What was done to it before it was there is void.
        acts::purge(turn.db, message.conversation, &message.id, None)?;
        if acts::is_hidden(turn.db, message.conversation, &message.id)? {
            messages::purge(turn.db, message.conversation, &message.id)?;
            messages::set_hidden(turn.db, message.conversation, &message.id)?;
            return Ok(true);
        }
        let view = message_view(turn.db, message)?;
        turn.event(Event::Message { message: Box::new(view) });
        if !message.own {
            self.no_longer_types(turn, message.conversation, &message.sender);
            self.unarchive(turn, message.conversation, message.time)?;
            self.spoken_of(turn, message)?;
        }
        Ok(true)
    }

    /// The acts that a body stands for. Where it names an edit, the message behind that is meant.
    pub(super) fn acts_of(
        &self,
        turn: &Turn<'_>,
        log: LogId,
        body: &Body,
        sender: &str,
        act: impl Fn(ActKind, [u8; 32], String, u32) -> Act,
    ) -> Done<Vec<Act>> {
        let named = |id: &MessageId| acts::get(turn.db, log, &id.0);
        let one = |kind, target, value: String| vec![act(kind, target, value, 0)];
        let behind = |id: &MessageId| -> Done<Option<[u8; 32]>> {
            Ok(match named(id)?.first() {
                None => Some(id.0),
                Some(edit) if edit.kind == ActKind::Edit => Some(edit.target),
                Some(_) => None,
            })
        };
        Ok(match body {
            Body::Delete { replaces, .. } => {
                let known = named(replaces)?;
                match known.first() {
                    Some(first) if first.kind == ActKind::Reaction => known
                        .iter()
                        .filter(|reaction| reaction.sender == sender)
                        .map(|r| act(ActKind::Unreaction, r.target, r.value.clone(), r.part))
                        .collect(),
                    _ => behind(replaces)?.map_or_else(Vec::new, |target| one(ActKind::Delete, target, String::new())),
                }
            }
            Body::Edit { replaces, .. } => {
                behind(replaces)?.map_or_else(Vec::new, |target| one(ActKind::Edit, target, String::new()))
            }
            Body::Reaction { to, emoji } => match behind(to)? {
                Some(target) => emoji
                    .iter()
                    .zip(0..)
                    .map(|(emoji, part)| act(ActKind::Reaction, target, emoji.clone(), part))
                    .collect(),
                None => Vec::new(),
            },
            Body::Vote { poll, choices } => {
                let value = choices.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
                one(ActKind::Vote, poll.0, value)
            }
            Body::PollClosed { poll } => one(ActKind::PollClosed, poll.0, String::new()),
            Body::Pin { message, pinned } => {
                let kind = if *pinned { ActKind::Pin } else { ActKind::Unpin };
                behind(message)?.map_or_else(Vec::new, |target| one(kind, target, String::new()))
            }
            _ => Vec::new(),
        })
    }

    /// Whether an act counts that the log has brought (protocol rule 13). Of a message that is not known here, only what that message must decide
    /// is left open.
    fn counts(&self, turn: &Turn<'_>, conversation: &Conversation, act: &Act) -> Done<bool> {
        let (db, id) = (turn.db, conversation.id);
        let pins = matches!(act.kind, ActKind::Pin | ActKind::Unpin);
        if pins && conversation.kind == ConversationKind::Group && !act.power {
            return Ok(false);
        }
        let before = |sender: Option<&str>, kinds| acts::count(db, id, &act.target, sender, kinds, act.seq);
        let Some(message) = messages::get(db, id, &act.target)? else {
            return Ok(before(Some(&act.sender), [act.kind, act.kind])? < MAX_REACTIONS_OF_ONE);
        };
        let is_system = matches!(message.kind, MessageKind::System { .. });
        if message.hidden || is_system || !fold::is_behind(act, &message) {
            return Ok(false);
        }
        // Only deletions that count are kept.
        if before(None, [ActKind::Delete, ActKind::Delete])? > 0 && !planted!(EditAfterDelete) {
            return Ok(false);
        }
        let is_author = act.sender == message.sender;
        let is_open = || Ok::<_, crate::EngineError>(before(None, [ActKind::PollClosed, ActKind::PollClosed])? == 0);
        Ok(match act.kind {
            ActKind::Edit => {
                let editable = matches!(message.kind, MessageKind::Text { .. } | MessageKind::Unknown { .. });
                is_author && editable && before(Some(&act.sender), [ActKind::Edit, ActKind::Edit])? < MAX_EDITS as u32
            }
            ActKind::Delete => is_author || act.power,
            ActKind::Reaction | ActKind::Unreaction => {
                let kinds = [ActKind::Reaction, ActKind::Unreaction];
                before(None, kinds)? < MAX_REACTIONS && before(Some(&act.sender), kinds)? < MAX_REACTIONS_OF_ONE
            }
            ActKind::Vote => match &message.kind {
                MessageKind::Poll { poll } => chosen(poll, &act.value).is_some() && is_open()?,
                _ => false,
            },
            ActKind::PollClosed => is_author && matches!(message.kind, MessageKind::Poll { .. }) && is_open()?,
            ActKind::Pin => true,
            ActKind::Unpin => before(None, [ActKind::Pin, ActKind::Pin])? > 0,
        })
    }

    /// Keeps an act that counts, and forgets what it makes meaningless.
    fn keep(&self, turn: &Turn<'_>, conversation: &Conversation, act: &Act) -> Done {
        let (db, id) = (turn.db, conversation.id);
        let orphan = messages::get(db, id, &act.target)?.is_none();
        acts::insert(db, id, act, orphan)?;
        match act.kind {
            ActKind::Reaction | ActKind::Unreaction => {
                let kinds = [ActKind::Reaction, ActKind::Unreaction];
                acts::supersede(db, id, act, kinds, Some(&act.value), Some(&act.sender))?;
            }
            // Whether a vote counts in a poll that is not known here is not known either.
            ActKind::Vote if !orphan => {
                acts::supersede(db, id, act, [ActKind::Vote, ActKind::Vote], None, Some(&act.sender))?;
            }
            ActKind::Pin | ActKind::Unpin => acts::supersede(db, id, act, [ActKind::Pin, ActKind::Unpin], None, None)?,
            _ => {}
        }
        Ok(())
    }

    /// Keeps and shows what the own account does on this device, until the log decides.
    pub(super) fn store_own_acts(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        body: &Body,
        id: [u8; 32],
        content: &[u8],
    ) -> Done {
        let Some(sender) = self.me.as_ref().map(|me| me.address.to_string()) else { return Ok(()) };
        let (power, sent) = (is_moderator(turn, conversation, &sender)?, turn.now.0);
        let acts = self.acts_of(turn, conversation.id, body, &sender, |kind, target, value, part| Act {
            id,
            part,
            target,
            kind,
            sender: sender.clone(),
            own: true,
            power,
            sent,
            time: 0,
            seq: 0,
            value,
            // To say it again, should a restored relay have lost it.
            content: content.to_vec(),
            evidence: Vec::new(),
        })?;
        for act in acts {
            acts::insert(turn.db, conversation.id, &act, false)?;
            self.show_again(turn, conversation.id, &act)?;
        }
        Ok(())
    }

    /// The log has brought an own act back: now it is decided as everybody decides it.
    pub(super) fn own_act_arrived(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        id: &[u8; 32],
        (seq, time): (Seq, UnixMillis),
        stamp: &[u8; 32],
    ) -> Done {
        let mine = acts::get(turn.db, conversation.id, id)?;
        let Some(first) = mine.first() else { return Ok(()) };
        let power = is_moderator(turn, conversation, &first.sender)?;
        let mut void = false;
        acts::remove(turn.db, conversation.id, id)?;
        for mut act in mine {
            (act.seq, act.time, act.power) = (seq.0, time.0, power);
            if planted!(OwnActsLast) {
                act.seq = u64::MAX >> 1;
            }
            if act.kind == ActKind::Edit {
                act.evidence = super::outbox::with_stamp(act.evidence, stamp);
            }
            if self.counts(turn, conversation, &act)? {
                self.keep(turn, conversation, &act)?;
            } else {
                void = true;
            }
            self.show_again(turn, conversation.id, &act)?;
        }
        if void {
            turn.event(Event::Notice {
                conversation: Some(conversation.id.to_string()),
                problem: Problem::new(
                    Kind::Conflict,
                    format!("What you did to a message of “{}” does not count.", conversation.name),
                    "Something else came first: it was taken back, its poll was closed, or your role changed.",
                    "",
                ),
            });
        }
        Ok(())
    }

    /// An own act will not be in the log.
    pub(super) fn own_act_failed(&mut self, turn: &mut Turn<'_>, log: LogId, id: &[u8; 32]) -> Done {
        for act in acts::get(turn.db, log, id)?.into_iter().filter(|act| act.own) {
            acts::remove(turn.db, log, id)?;
            self.show_again(turn, log, &act)?;
        }
        Ok(())
    }

    /// Computes anew what a message looks like after an act, and tells, once for all that the turn does to it. Only edits and
    /// deletions change the message's row: all else is counted when it is looked at.
    pub(super) fn show_again(&mut self, turn: &mut Turn<'_>, log: LogId, act: &Act) -> Done {
        if matches!(act.kind, ActKind::Edit | ActKind::Delete) {
            self.recompute(turn, log, &act.target)?;
        }
        self.touched.insert((log, act.target));
        Ok(())
    }

    /// Tells programs of the messages that this turn has changed.
    pub(super) fn tell_touched(&mut self, turn: &mut Turn<'_>) -> Done {
        for (log, message) in std::mem::take(&mut self.touched) {
            self.message_changed(turn, log, &message)?;
        }
        Ok(())
    }

    /// A message stands at another place: what was done to it counts or not by that.
    pub(super) fn message_moved(&mut self, turn: &mut Turn<'_>, log: LogId, message: &[u8; 32]) -> Done {
        self.recompute(turn, log, message)?;
        self.touched.insert((log, *message));
        Ok(())
    }

    fn recompute(&self, turn: &Turn<'_>, log: LogId, target: &[u8; 32]) -> Done {
        let Some(mut message) = messages::get(turn.db, log, target)? else { return Ok(()) };
        if message.hidden {
            return Ok(acts::purge(turn.db, log, target, None)?);
        }
        let acts = acts::changes(turn.db, log, target)?;
        let folded = fold(&message, &acts);
        let me = self.me.as_ref().map(|me| &me.address);
        message.deleted_by = folded.deletion.map(|deletion| deletion.sender.clone()).unwrap_or_default();
        if let Ok(original) = MimiContent::decode(&message.content)
            && let Some((kind, more)) = shown(&original, &interpret(&original), me)
        {
            let edit = folded.edits.last().and_then(|edit| {
                let content = MimiContent::decode(&edit.content).ok()?;
                let (kind, more) = shown::edited(&content, &kind, &more, me)?;
                Some((kind, more, if edit.time == 0 { edit.sent } else { edit.time }))
            });
            (message.kind, message.more, message.edited) = edit.unwrap_or((kind, more, 0));
        }
        messages::set_shown(turn.db, &message)?;
        // What is on its way may still turn out not to count; what the log has decided is final.
        if let Some(deletion) = folded.deletion.filter(|deletion| deletion.seq != 0) {
            messages::purge(turn.db, log, target)?;
            acts::purge(turn.db, log, target, Some(&deletion.id))?;
        }
        Ok(())
    }

    /// Computes anew what all messages of a conversation look like: for acts or messages that did not come with its log, or were given
    /// other places in it.
    pub(super) fn show_all_again(&mut self, turn: &mut Turn<'_>, log: LogId) -> Done {
        self.take_late_unreactions(turn, log)?;
        acts::adopt(turn.db, log)?;
        for target in acts::targets(turn.db, log)? {
            self.recompute(turn, log, &target)?;
            self.touched.insert((log, target));
        }
        Ok(())
    }

    /// Deletions that name a reaction which was not known when they came.
    fn take_late_unreactions(&self, turn: &Turn<'_>, log: LogId) -> Done {
        for (deletion, reaction) in acts::late_unreactions(turn.db, log)? {
            for act in acts::get(turn.db, log, &deletion)? {
                acts::remove(turn.db, log, &deletion)?;
                for reaction in acts::get(turn.db, log, &reaction)? {
                    let (target, value, part) = (reaction.target, reaction.value, reaction.part);
                    let taken = Act { kind: ActKind::Unreaction, target, value, part, ..act.clone() };
                    acts::insert(turn.db, log, &taken, false)?;
                }
            }
        }
        Ok(())
    }

    /// Computes anew what these messages look like, for what has come with history: nobody is told.
    pub(super) fn show_again_quietly(&mut self, turn: &mut Turn<'_>, messages: &BTreeSet<(LogId, [u8; 32])>) -> Done {
        let mut logs: Vec<LogId> = messages.iter().map(|(log, _)| *log).collect();
        logs.dedup();
        for log in logs {
            self.take_late_unreactions(turn, log)?;
            acts::adopt(turn.db, log)?;
        }
        for (log, message) in messages {
            self.recompute(turn, *log, message)?;
        }
        Ok(())
    }

    /// Takes a message out of the own account's sight, here and for good: also one that has not arrived yet. False if it had been
    /// already.
    pub(super) fn hide_message(&mut self, turn: &mut Turn<'_>, log: LogId, message: &[u8; 32]) -> Done<bool> {
        if !acts::hide(turn.db, log, message)? {
            return Ok(false);
        }
        messages::purge(turn.db, log, message)?;
        messages::set_hidden(turn.db, log, message)?;
        acts::purge(turn.db, log, message, None)?;
        self.message_gone(turn, log, message);
        if conversations::get(turn.db, log)?.is_some() {
            self.conversation_changed(turn, log)?;
        }
        Ok(true)
    }
}

/// May take others' messages back and pin: admins and owners of groups.
pub(super) fn is_moderator(turn: &Turn<'_>, conversation: &Conversation, address: &str) -> Done<bool> {
    Ok(conversation.kind == ConversationKind::Group
        && conversations::members(turn.db, conversation.id)?
            .iter()
            .any(|member| member.address == address && member.role >= Role::Admin))
}
