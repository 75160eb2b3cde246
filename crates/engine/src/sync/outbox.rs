//! Messages on their way: encrypted once for an epoch, sent as the same bytes until they are in the log or the epoch has ended.

use std::collections::{HashMap, hash_map};

use api::{Event, Kind, Problem, Standing};
use content::{Envelope, franking};
use wire::{Code, EntryId, Epoch, Label, LogId, Request, Response, Seq, UnixMillis, sign};

use super::{Ask, Done, State, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::messages;
use crate::db::outbox::{self, Outgoing, Sealed};
use crate::formats::Head;
use crate::io::Rejection;
use crate::mls::{Group, MlsError};

/// Appends in flight of one connection to one log (protocol rule 4).
pub(super) const WINDOW: usize = 16;

/// Refusals in a row, over some seven seconds, after which a person hears of them.
const REFUSALS_TO_TELL: u32 = 4;

/// What became of encrypting a row.
enum Sealing {
    Sealed(Sealed),
    /// Somebody has asked to leave, which a commit must carry out first.
    SomebodyLeaves,
    NotNow,
}

/// What a message's device signature covers: where it was written, under which id, what it commits to, and when.
pub(super) fn message_parts<'a>(
    relay: &'a str,
    log: &'a LogId,
    epoch: &'a [u8; 8],
    id: &'a EntryId,
    commitment: &'a [u8; 32],
    sent: &'a [u8; 8],
) -> [&'a [u8]; 6] {
    [relay.as_bytes(), &log.0, epoch, &id.0, commitment, sent]
}

impl State {
    /// Sends what waits in a conversation, as far as that is possible now.
    pub(super) fn pump(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        let Some(run) = self.logs.get(&id) else { return Ok(()) };
        if run.in_flight >= WINDOW || run.refused || run.commit_in_flight || run.ended {
            return Ok(());
        }
        let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        if run.pause_until > turn.now {
            turn.wake_at(run.pause_until);
            return Ok(());
        }
        if run.opened.is_none() && run.opening.is_none() && conversation.is_followed() {
            let relay = conversation.relay.clone();
            return self.open_log(turn, id, &relay);
        }
        if self.healing.contains_key(&id) {
            return self.drive_heal(turn, id);
        }
        if !self.is_caught_up(&conversation) || conversation.standing != Standing::Active {
            return Ok(());
        }
        // A commit that waits goes first: what is encrypted now would be void behind it.
        let commits_after = self.logs.get(&id).map_or(turn.now, |run| run.commits_after);
        if commits_after > turn.now {
            turn.wake_at(commits_after);
        } else if outbox::pending_commit(turn.db, id)?.is_some() {
            return self.drive_intents(turn, id);
        }
        let run = self.logs.get(&id).map_or((0, 0), |run| (run.sent_up_to, run.in_flight));
        let rows = outbox::list(turn.db, id, run.0, WINDOW - run.1)?;
        if rows.is_empty() || self.conflict_holds(turn, &conversation)? {
            return Ok(());
        }
        for row in rows {
            if !self.send_row(turn, &conversation, row)? {
                break;
            }
        }
        Ok(())
    }

    /// A conflict of identities blocks sending until the person has looked at it.
    fn conflict_holds(&mut self, turn: &mut Turn<'_>, conversation: &Conversation) -> Done<bool> {
        let Some(address) = crate::db::contacts::conflict_in(turn.db, &conversation.id.0)? else { return Ok(false) };
        let mut problem = in_conflict(&address);
        problem.next.push_str(" Your messages are kept.");
        for row in outbox::list(turn.db, conversation.id, 0, WINDOW)? {
            if let Some(message) = row.message {
                self.message_failed(turn, &message, &problem);
            }
        }
        Ok(true)
    }

    /// False if nothing behind this row can be sent now.
    fn send_row(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, row: Outgoing) -> Done<bool> {
        let id = conversation.id;
        let sealed = match row.sealed.clone() {
            // Its epoch has ended without it, and that was noticed only now.
            Some(sealed) if sealed.epoch == conversation.epoch => Some(sealed),
            _ => {
                match self.with_group(turn, id, |state, turn, group| state.seal_row(turn, conversation, group, &row))? {
                    Some(Sealing::Sealed(sealed)) => Some(sealed),
                    Some(Sealing::SomebodyLeaves) => {
                        // A commit must carry that out before anybody can send.
                        self.intend_tidy(turn, id, 0)?;
                        None
                    }
                    Some(Sealing::NotNow) | None => None,
                }
            }
        };
        let Some(sealed) = sealed else { return Ok(false) };
        let Some(run) = self.logs.get_mut(&id) else { return Ok(false) };
        run.in_flight += 1;
        run.sent_up_to = row.n;
        let request = Request::Append {
            log: id,
            epoch: sealed.epoch,
            pipe: run.pipe,
            id: sealed.entry,
            body: sealed.body.into(),
            commitment: sealed.commitment,
        };
        let ask = Ask::Append { log: id, epoch: sealed.epoch, row: row.n, message: row.message };
        self.ask(turn, Self::logs_route(conversation), request, ask);
        Ok(true)
    }

    /// Encrypts a row for the current epoch.
    fn seal_row(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        group: &mut Group,
        row: &Outgoing,
    ) -> Done<Sealing> {
        let Some(me) = &self.me else { return Ok(Sealing::NotNow) };
        let signer = me.signer.clone();
        let entry = EntryId(turn.random());
        let epoch = Epoch(group.epoch());
        let (body, commitment) = if row.leaving {
            match group.leave(&turn.mls, &signer) {
                Ok(body) => (body, [0; 32]),
                Err(MlsError::Staged | MlsError::Leaving | MlsError::Removed) => return Ok(Sealing::NotNow),
                Err(error) => return Err(error.into()),
            }
        } else {
            let Head { seq, hash } = conversation.head();
            let franking_key: [u8; 32] = turn.random();
            let commitment = franking::commit(&franking_key, &row.content);
            let signature = sign(
                &signer,
                Label::Message,
                &message_parts(
                    conversation.relay.as_str(),
                    &conversation.id,
                    &epoch.0.to_be_bytes(),
                    &entry,
                    &commitment,
                    &row.sent.to_be_bytes(),
                ),
            );
            let envelope = Envelope {
                content: row.content.clone(),
                franking_key,
                signature,
                sent: row.sent,
                head_seq: if conversation.chain_known { seq.0 } else { 0 },
                head_hash: hash.0,
            };
            match group.encrypt(&turn.mls, &signer, &envelope.encode()) {
                Ok(body) => {
                    if let Some(message) = &row.message {
                        let evidence = evidence(&entry, epoch, &envelope, &commitment, &[0; 32]);
                        messages::set_evidence(turn.db, conversation.id, message, &evidence)?;
                        crate::db::acts::set_evidence(turn.db, conversation.id, message, &evidence)?;
                    }
                    (body, commitment)
                }
                Err(MlsError::ProposalsPending) => return Ok(Sealing::SomebodyLeaves),
                Err(MlsError::Leaving | MlsError::Removed | MlsError::Staged) => return Ok(Sealing::NotNow),
                Err(error) => return Err(error.into()),
            }
        };
        let sealed = Sealed { epoch, entry, body, commitment };
        outbox::set_sealed(turn.db, row.n, &sealed)?;
        if let Some(known) = self.sealed.get_mut(&conversation.id) {
            known.insert(entry, row.n);
        }
        Ok(Sealing::Sealed(sealed))
    }

    fn sealed_in(&mut self, turn: &Turn<'_>, log: LogId) -> Done<&mut HashMap<EntryId, i64>> {
        Ok(match self.sealed.entry(log) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(unknown) => unknown.insert(outbox::sealed(turn.db, log)?.into_iter().collect()),
        })
    }

    /// The row of the outbox that was sent as this entry.
    pub(super) fn sent_as(&mut self, turn: &Turn<'_>, log: LogId, entry: &EntryId) -> Done<Option<Outgoing>> {
        let Some(n) = self.sealed_in(turn, log)?.get(entry).copied() else { return Ok(None) };
        Ok(outbox::as_entry(turn.db, log, n, entry)?)
    }

    /// What is encrypted and not in the log will be encrypted again.
    pub(super) fn unseal_all(&mut self, turn: &Turn<'_>, log: LogId) -> Done {
        for (entry, n) in std::mem::take(self.sealed_in(turn, log)?) {
            if outbox::as_entry(turn.db, log, n, &entry)?.is_some() {
                outbox::unseal(turn.db, n)?;
            }
        }
        Ok(())
    }

    pub(super) fn on_appended(
        &mut self,
        turn: &mut Turn<'_>,
        (log, epoch): (LogId, Epoch),
        row: i64,
        message: Option<[u8; 32]>,
        result: Result<Response, Rejection>,
    ) -> Done {
        if let Some(run) = self.logs.get_mut(&log) {
            run.in_flight = run.in_flight.saturating_sub(1);
        }
        match result {
            Ok(Response::Appended { seq, time, stamp }) => {
                if let Some(run) = self.logs.get_mut(&log) {
                    run.refusals = 0;
                }
                if let Some(message) = message {
                    // Sent again because an answer was lost, it stands twice in the log, and the first counts: where the log
                    // has shown it already, the answer to the second says nothing.
                    if messages::get(turn.db, log, &message)?.is_none_or(|stored| stored.seq == 0) {
                        let place = conversations::get(turn.db, log)?.map_or(seq.0, |c| c.place(seq));
                        self.message_sent(turn, log, &message, Seq(place), time, &stamp)?;
                    } else {
                        self.message_settled(&message);
                    }
                }
            }
            // The connection is gone; the log will tell whether the entry is in it.
            Ok(_) | Err(Rejection::Lost) => {
                if planted!(RetryWithoutIdCheck) {
                    outbox::unseal(turn.db, row)?;
                }
                return Ok(());
            }
            Err(Rejection::Refused(error)) => self.append_refused(turn, (log, epoch), row, message, &error)?,
        }
        if let Some(run) = self.logs.get_mut(&log)
            && run.refused
            && run.in_flight == 0
        {
            run.refused = false;
            run.pipe += 1;
        }
        self.pump(turn, log)
    }

    fn append_refused(
        &mut self,
        turn: &mut Turn<'_>,
        (log, epoch): (LogId, Epoch),
        row: i64,
        message: Option<[u8; 32]>,
        error: &wire::Error,
    ) -> Done {
        if error.code == Code::TooLarge || error.code == Code::Malformed {
            outbox::remove(turn.db, row)?;
            let problem = super::account::refusal("The message was not sent.", error);
            if let Some(message) = message {
                messages::set_failed(turn.db, log, &message)?;
                self.own_act_failed(turn, log, &message)?;
                self.message_changed(turn, log, &message)?;
                self.message_failed(turn, &message, &problem);
            }
        }
        let Some(run) = self.logs.get_mut(&log) else { return Ok(()) };
        // What was sent behind it is refused too; all of it is sent again in order, in a new pipe.
        run.refused = true;
        if conversations::get(turn.db, log)?.is_none_or(|conversation| conversation.epoch != epoch) {
            // Of an epoch that has ended meanwhile: it has been taken back for encryption already.
            return Ok(());
        }
        run.sent_up_to = run.sent_up_to.min(row - 1);
        match error.code {
            // The commit that ended the epoch is on its way to us and will have all encrypted again.
            Code::StaleEpoch => run.ended = true,
            Code::Aborted | Code::TooLarge | Code::Malformed => {}
            Code::NotOpened => run.opened = None,
            _ => self.pause(turn, log, "What you wrote", error)?,
        }
        Ok(())
    }

    /// A relay does not take what belongs into a log, and does not say what could be done about it: the same is asked again when it
    /// says, or else after a while, longer each time. A person hears of it when it doesn't pass.
    pub(super) fn pause(&mut self, turn: &mut Turn<'_>, log: LogId, what: &str, error: &wire::Error) -> Done {
        let Some(run) = self.logs.get_mut(&log) else { return Ok(()) };
        let own = (500_u64 << run.refusals.min(7)).min(60_000);
        run.refusals = run.refusals.saturating_add(1);
        run.pause_until = turn.now.plus(error.retry_after_ms.max(own));
        turn.wake_at(run.pause_until);
        if run.refusals != REFUSALS_TO_TELL || error.code.is_transient() {
            return Ok(());
        }
        let Some(conversation) = conversations::get(turn.db, log)? else { return Ok(()) };
        let mut problem = super::account::refusal(
            &format!("{what} in “{}” waits: {} does not take it.", conversation.name, conversation.relay),
            error,
        );
        problem.next = "It is tried again by itself. Ask the operator of the relay if it stays so.".into();
        turn.event(Event::Notice { conversation: Some(log.to_string()), problem });
        Ok(())
    }

    /// An own message has its place in the log; said once, by the answer or by the log, whichever comes first.
    pub(super) fn message_sent(
        &mut self,
        turn: &mut Turn<'_>,
        log: LogId,
        message: &[u8; 32],
        seq: Seq,
        time: UnixMillis,
        stamp: &[u8; 32],
    ) -> Done {
        let before = messages::get(turn.db, log, message)?;
        if messages::set_sent(turn.db, log, message, seq.0, time.0)? {
            if let Some(before) = before {
                messages::set_evidence(turn.db, log, message, &with_stamp(before.evidence, stamp))?;
                if before.seq != 0 {
                    self.message_moved(turn, log, message)?;
                }
            }
            if let Some(conversation) = conversations::get(turn.db, log)? {
                self.sent_to_vanish(turn, &conversation, message, time.0)?;
            }
            self.message_changed(turn, log, message)?;
        }
        self.message_settled(message);
        Ok(())
    }

    /// Tells programs about a message's new state.
    pub(super) fn message_changed(&mut self, turn: &mut Turn<'_>, log: LogId, message: &[u8; 32]) -> Done {
        if let Some(message) = messages::get(turn.db, log, message)?.filter(|message| !message.hidden) {
            let view = super::message_view(turn.db, &message)?;
            turn.event(Event::MessageChanged { message: Box::new(view) });
        }
        Ok(())
    }

    /// Nothing can be sent here any more: what waits has failed.
    pub(super) fn fail_outbox(&mut self, turn: &mut Turn<'_>, log: LogId, problem: &Problem) -> Done {
        for row in outbox::drain(turn.db, log)? {
            if let Some(message) = row.message {
                messages::set_failed(turn.db, log, &message)?;
                self.own_act_failed(turn, log, &message)?;
                self.message_changed(turn, log, &message)?;
                self.message_failed(turn, &message, problem);
            }
        }
        Ok(())
    }
}

/// Why nothing goes where somebody is with another identity than the pinned one.
pub(super) fn in_conflict(address: &str) -> Problem {
    Problem::new(
        Kind::Trust,
        format!("Nothing is sent here: {address} appears with another identity than the one that this device knows."),
        "",
        format!("Compare safety numbers with {address}, then accept the new identity."),
    )
}

/// What proves a message to a third party (protocol section 5): entry id, epoch, sender's time, franking key, commitment, device
/// signature, and last the relay's stamp.
pub(super) fn evidence(
    entry: &EntryId,
    epoch: Epoch,
    envelope: &Envelope,
    commitment: &[u8; 32],
    stamp: &[u8; 32],
) -> Vec<u8> {
    let parts: [&[u8]; 7] = [
        &entry.0,
        &epoch.0.to_be_bytes(),
        &envelope.sent.to_be_bytes(),
        &envelope.franking_key,
        commitment,
        &envelope.signature,
        stamp,
    ];
    parts.concat()
}

pub(super) fn with_stamp(mut evidence: Vec<u8>, stamp: &[u8; 32]) -> Vec<u8> {
    if let Some(last) = evidence.last_chunk_mut::<32>() {
        *last = *stamp;
    }
    evidence
}
