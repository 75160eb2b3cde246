//! "… is writing" (protocol rule 19): told in passing to those who are connected now, kept by nobody.
//!
//! What always holds: nothing of it reaches the database but the choice; what a program was told to be going on it is told to have
//! ended, by a signal, by a message, or after some seconds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::{ConversationKind, Event, Kind, Problem, Standing};
use wire::{Bytes, Epoch, LogId, Request, Response, UnixMillis};

use super::messages::unsendable_to;
use super::{State, Tried, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::{self, contacts};
use crate::io::{CommandId, Lane, Rejection, Route};
use crate::mls::{Derive, Group};
use crate::own_state::Change;
use crate::signal::{self, Hearing, Kind as Told, Place, Said, Speaker};
use crate::sync::entries::RECEIPT_ACCOUNTS;
use crate::sync::waits::WaitFor;
use crate::sync::{Ask, Done};

/// Whether others are told: the name of the choice in the table `meta`.
const TYPING: &str = "typing";
/// Who is writing is said again after so many ms at the earliest.
const AGAIN_MS: u64 = 4_000;
/// Whoever says nothing for so many ms is not writing any more.
const LASTS_MS: u64 = 10_000;

/// What the person has chosen; on from the start.
pub(crate) fn is_told(db: &rusqlite::Connection) -> rusqlite::Result<bool> {
    Ok(db::meta(db, TYPING)?.unwrap_or(true))
}

/// What of this lives in memory.
#[derive(Default)]
pub(in crate::sync) struct TypingRun {
    hearing: HashMap<LogId, Hearing>,
    /// Who is writing, as programs were told, and until when if nothing more comes.
    writing: BTreeMap<(LogId, String), UnixMillis>,
    /// What the others were last told of the own person, and when.
    told: BTreeMap<LogId, (bool, UnixMillis)>,
    /// The last counter that was used; they go up over all conversations.
    counter: u64,
}

impl TypingRun {
    /// The person has sent what they were writing.
    pub(in crate::sync) fn said(&mut self, conversation: LogId, now: UnixMillis) {
        self.told.insert(conversation, (false, now));
    }
}

impl TypingRun {
    /// The clock was set back.
    pub(in crate::sync) fn set_back(&mut self, back: db::clock::Back) {
        self.writing.values_mut().for_each(|until| back.set(until));
        self.told.values_mut().for_each(|(_, at)| back.set(at));
    }
}

impl State {
    pub(super) fn types(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, typing: bool) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        let id = conversation.id;
        if let Some(problem) = unsendable_to(turn, &conversation)? {
            return Ok(Err(problem));
        }
        if !is_told(turn.db)? {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "Nobody is told that you are writing.",
                "You have switched that off.",
                "Switch it on again to tell them.",
            )));
        }
        let accounts = conversations::members(turn.db, id)?.len();
        if accounts > RECEIPT_ACCOUNTS {
            let why = format!("It has {accounts} members; at most {RECEIPT_ACCOUNTS} are told.");
            let what = "Who is writing is not told in this conversation.";
            return Ok(Err(Problem::new(Kind::Usage, what, why, "")));
        }
        let is_known = match self.typing.told.get(&id) {
            Some((true, last)) => typing && turn.now.since(*last) < AGAIN_MS,
            Some((false, _)) => !typing,
            None => false,
        };
        // To oneself, and to somebody who may be another, nothing is said.
        let nobody = conversation.kind == ConversationKind::Note || contacts::conflict_in(turn.db, &id.0)?.is_some();
        if is_known || nobody {
            self.done(turn, command, Some(id));
            return Ok(Ok(()));
        }
        let sealed = if self.is_caught_up(&conversation) && conversation.standing == Standing::Active {
            self.sealed_signal(turn, &conversation, if typing { Told::Typing } else { Told::Stopped })?
        } else {
            None
        };
        let Some(body) = sealed else { return Ok(Err(nobody_told())) };
        self.typing.told.insert(id, (typing, turn.now));
        let request = Request::Signal { log: id, epoch: conversation.epoch, body };
        self.ask(turn, Self::logs_route(&conversation), request, Ask::Signal { command });
        self.wait(command, WaitFor { conversation: Some(id), by_hand: true, ..Default::default() });
        Ok(Ok(()))
    }

    pub(in crate::sync) fn on_signalled(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        result: &Result<Response, Rejection>,
    ) {
        match result {
            Ok(_) => self.settle(command),
            Err(_) => self.fail(turn, command, nobody_told()),
        }
    }

    /// Chooses whether it is told, on all own devices.
    pub(super) fn tell_typing(&mut self, turn: &mut Turn<'_>, on: bool) -> Done {
        self.set_typing_told(turn, on)?;
        self.chose(turn, &Change::Typing(on))
    }

    pub(in crate::sync) fn set_typing_told(&mut self, turn: &mut Turn<'_>, on: bool) -> Done {
        db::set_meta(turn.db, TYPING, &on)?;
        if !on {
            // Who doesn't tell isn't told.
            let writing: Vec<(LogId, String)> = self.typing.writing.keys().cloned().collect();
            writing.into_iter().for_each(|(log, from)| self.no_longer_types(turn, log, &from));
        }
        Ok(())
    }

    pub(super) fn sealed_signal(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        what: Told,
    ) -> Done<Option<Bytes>> {
        let Some(signer) = self.me.as_ref().map(|me| me.signer.clone()) else { return Ok(None) };
        if !self.can_hear(turn, conversation)? {
            return Ok(None);
        }
        // By the clock, so that it goes up over restarts without being kept.
        let counter = turn.now.0.max(self.typing.counter.saturating_add(1));
        self.typing.counter = counter;
        let nonce = turn.random();
        let Some(hearing) = self.typing.hearing.get(&conversation.id) else { return Ok(None) };
        let place = Place { relay: &conversation.relay, log: conversation.id, epoch: conversation.epoch };
        let said = Said { leaf: hearing.own_leaf, counter, time: turn.now, kind: what.said() };
        Ok(Some(signal::seal(&hearing.key, nonce, place, said, &signer).into()))
    }

    /// Has what is needed to hear signals in a conversation's epoch; false if there is none.
    fn can_hear(&mut self, turn: &mut Turn<'_>, conversation: &Conversation) -> Done<bool> {
        let (id, epoch) = (conversation.id, conversation.epoch);
        if self.typing.hearing.get(&id).is_some_and(|hearing| hearing.epoch == epoch) {
            return Ok(true);
        }
        self.typing.hearing.remove(&id);
        // Looked at and not used: nothing of it is to be written.
        if !self.groups.contains_key(&id)
            && let Some(group) = Group::load(&turn.mls, id)?
        {
            self.groups.insert(id, group);
        }
        let Some(group) = self.groups.get(&id).filter(|group| group.is_active() && group.epoch() == epoch.0) else {
            return Ok(false);
        };
        let members = group.members();
        let accounts: BTreeSet<[u8; 32]> = members.iter().map(|member| member.certificate.account_key).collect();
        if accounts.len() > RECEIPT_ACCOUNTS {
            return Ok(false);
        }
        let own_leaf = group.own_leaf();
        let others = members.into_iter().filter(|member| member.leaf != own_leaf);
        let speakers = others.map(|member| {
            let certificate = &*member.certificate;
            let (account_key, signature_key) = (certificate.account_key, certificate.signature_key);
            (member.leaf, Speaker { address: certificate.address.clone(), account_key, signature_key, heard: 0 })
        });
        let key = group.secret(&turn.mls, Derive::Signal, &conversation.relay)?;
        let hearing = Hearing { epoch, key, own_leaf, speakers: speakers.collect(), come: (turn.now, 0) };
        self.typing.hearing.insert(id, hearing);
        Ok(true)
    }

    /// A signal came.
    pub(in crate::sync) fn on_signal(
        &mut self,
        turn: &mut Turn<'_>,
        route: &Route,
        (log, epoch): (LogId, Epoch),
        body: &[u8],
    ) -> Done {
        let Some(conversation) = conversations::get(turn.db, log)? else { return Ok(()) };
        let is_here = route.lane == Lane::Logs && route.relay == conversation.relay && epoch == conversation.epoch;
        // Who doesn't tell isn't told.
        let (typing, presence) = (is_told(turn.db)?, self.presence.is_on());
        let is_told = conversation.standing == Standing::Active && (typing || presence);
        if !is_here || !is_told || !self.can_hear(turn, &conversation)? {
            return Ok(());
        }
        let Some(hearing) = self.typing.hearing.get_mut(&log) else { return Ok(()) };
        let Ok((speaker, told)) = hearing.open(&conversation.relay, log, body, turn.now) else { return Ok(()) };
        let is_own = self.me.as_ref().is_some_and(|me| me.address == speaker.address);
        if is_own || contacts::is_blocked(turn.db, &speaker.address)? {
            return Ok(());
        }
        let from = speaker.address.to_string();
        match told {
            Told::Here | Told::Gone if presence => {
                let who = (speaker.address.clone(), speaker.account_key, speaker.signature_key);
                return self.hears_of(turn, log, who, told == Told::Here);
            }
            Told::Typing if typing => {
                let until = turn.now.plus(LASTS_MS);
                turn.wake_at(until);
                if self.typing.writing.insert((log, from.clone()), until).is_none() {
                    turn.event(Event::Typing { conversation: log.to_string(), from, typing: true });
                }
            }
            Told::Stopped => self.no_longer_types(turn, log, &from),
            Told::Typing | Told::Here | Told::Gone | Told::Unknown => {}
        }
        Ok(())
    }

    /// Somebody has sent what they were writing, or has stopped.
    pub(in crate::sync) fn no_longer_types(&mut self, turn: &mut Turn<'_>, log: LogId, from: &str) {
        if self.typing.writing.remove(&(log, from.to_owned())).is_some() {
            turn.event(Event::Typing { conversation: log.to_string(), from: from.to_owned(), typing: false });
        }
    }

    /// Ends what nobody has renewed.
    pub(in crate::sync) fn drive_typing(&mut self, turn: &mut Turn<'_>) {
        let over = self.typing.writing.iter().filter(|(_, until)| **until <= turn.now);
        let over: Vec<(LogId, String)> = over.map(|(who, _)| who.clone()).collect();
        over.into_iter().for_each(|(log, from)| self.no_longer_types(turn, log, &from));
        if let Some(until) = self.typing.writing.values().min() {
            turn.wake_at(*until);
        }
    }
}

fn nobody_told() -> Problem {
    Problem::new(
        Kind::Offline,
        "Nobody was told that you are writing.",
        "Only those are told who are connected, while this device is.",
        "",
    )
}
