//! Entries of conversations' logs, processed in log order, each once.

use api::{Event, Kind, MessageKind, Problem, Standing};
use content::{Envelope, MimiContent, franking, message_id};
use wire::{ChainHash, Entry, EntryKind, Label, LogId, RelayName, Seq, verify};

use super::bodies::Arrived;
use super::{Done, State, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::messages::{self, Message};
use crate::db::outbox;
use crate::mls::{Derive, Group, ReceiveError, Received};

/// Receipts are sent in conversations of at most this many accounts.
pub(super) const RECEIPT_ACCOUNTS: usize = 32;

impl State {
    /// Entries and the end of their log. `asked_from` is where a page begins that was asked for; what is pushed may be the rest of an
    /// earlier subscription.
    pub(super) fn log_entries(
        &mut self,
        turn: &mut Turn<'_>,
        relay: &RelayName,
        log: LogId,
        (entries, head): (Vec<Entry>, Seq),
        asked_from: Option<Seq>,
    ) -> Done {
        let Some(conversation) = conversations::get(turn.db, log)? else { return Ok(()) };
        // Only the relay that keeps a log may speak for it.
        if conversation.relay != *relay || !conversation.is_followed() {
            return Ok(());
        }
        if let Some(run) = self.logs.get_mut(&log) {
            run.head = run.head.max(head);
        }
        let mut conversation = conversation;
        for entry in entries {
            if entry.seq <= conversation.cursor {
                continue;
            }
            if entry.prev > conversation.cursor {
                // Only a page that begins behind the cursor shows that there is nothing in between.
                if asked_from.is_none_or(|from| from > conversation.cursor.next()) {
                    return self.look_into_hole(turn, log, conversation.cursor);
                }
                self.entries_are_gone(turn, &mut conversation)?;
            }
            let before = conversation.chain;
            conversation.chain = before.after(&entry);
            conversation.cursor = entry.seq;
            // Written before the entry is looked at, so that whatever it does to the conversation's row builds on it.
            conversations::advance(turn.db, &conversation)?;
            if conversation.chain_known {
                crate::db::heads::put(turn.db, log, conversation.cursor, conversation.chain)?;
            }
            // One message in thirty-two, so that it takes some looking.
            if planted!(CursorBeforeMessage) && entry.kind == EntryKind::Message && entry.id.0[0] < 8 {
                continue;
            }
            turn.entry_time = Some(entry.time);
            if self.healing.contains_key(&log) {
                self.heal_entry(turn, before, &conversation, &entry)?;
            } else {
                self.entry(turn, &conversation, before, &entry)?;
            }
            (turn.entry_time, turn.commit_time) = (None, None);
            match conversations::get(turn.db, log)? {
                // Read again from an earlier place: what comes now is not in order.
                Some(now) if now.is_followed() && now.cursor < conversation.cursor => return Ok(()),
                Some(now) if now.is_followed() => conversation = now,
                _ => return Ok(()),
            }
        }
        if self.healing.contains_key(&log) {
            return self.drive_heal(turn, log);
        }
        if self.is_caught_up(&conversation) {
            self.drive_receipts(turn)?;
            self.pump(turn, log)?;
            self.drive_intents(turn, log)?;
            self.report_caught_up(turn)?;
        }
        Ok(())
    }

    /// Something is missing behind the cursor: a page tells whether it is there.
    fn look_into_hole(&mut self, turn: &mut Turn<'_>, log: LogId, cursor: Seq) -> Done {
        match self.logs.get_mut(&log) {
            Some(run) if run.hole_at != Some(cursor) => run.hole_at = Some(cursor),
            _ => return Ok(()),
        }
        self.read_on(turn, log)
    }

    /// The log was read again and begins behind the cursor: retention has taken what was between.
    fn entries_are_gone(&mut self, turn: &mut Turn<'_>, conversation: &mut Conversation) -> Done {
        conversation.chain_known = false;
        self.system_message(
            turn,
            conversation,
            "Some messages were sent while this device was away for too long; the relay no longer keeps them.",
        )
    }

    pub(super) fn entry(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        before: ChainHash,
        entry: &Entry,
    ) -> Done {
        let log = conversation.id;
        let stale = entry.epoch != conversation.epoch && !planted!(VoidRuleOff);
        if stale || conversations::has_counted(turn.db, log, &entry.id.0)? {
            // Void by protocol rule 1 (strict epochs) or rule 3 (the first of an id counts).
            conversations::count_void(turn.db, log)?;
            return Ok(());
        }
        let seed = match entry.kind {
            EntryKind::Commit => self.with_group(turn, log, |_, turn, group| {
                Ok(group.secret(&turn.mls, Derive::Delivery, &conversation.relay)?)
            })?,
            _ => None,
        };
        let counts = match entry.kind {
            EntryKind::Message => self.message_entry(turn, conversation, entry)?,
            EntryKind::Commit => self.commit_entry(turn, conversation, entry)?,
            EntryKind::Deposit => false,
        };
        if counts {
            conversations::count_entry(turn.db, log, &entry.id.0)?;
            if conversations::get(turn.db, log)?.is_some_and(|now| now.is_followed()) && !planted!(NothingHeld) {
                crate::db::held::put(turn.db, log, entry, before, seed.as_ref())?;
            }
        } else {
            conversations::count_void(turn.db, log)?;
        }
        Ok(())
    }

    /// True if the entry counts.
    fn message_entry(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, entry: &Entry) -> Done<bool> {
        let log = conversation.id;
        if let Some(row) = self.sent_as(turn, log, &entry.id)? {
            let same = row.sealed.as_ref().is_some_and(|s| s.body == entry.body && s.commitment == entry.commitment);
            if same {
                return self.own_entry(turn, conversation, entry, &row);
            }
            // Somebody took our id: ours will be void if it is in the log, so it goes out again under another one.
            outbox::unseal(turn.db, row.n)?;
            if let Some(run) = self.logs.get_mut(&log) {
                run.sent_up_to = run.sent_up_to.min(row.n - 1);
            }
        }
        let received = self.with_group(turn, log, |_, turn, group| match group.receive(&turn.mls, &entry.body) {
            Ok(received) => Ok(Some(received)),
            Err(ReceiveError::Storage(error)) => Err(crate::mls::MlsError::from(error).into()),
            Err(_) => Ok(None),
        })?;
        match received.flatten() {
            Some(Received::Message { leaf, plaintext }) => self
                .with_group(turn, log, |state, turn, group| {
                    state.plaintext(turn, conversation, group, entry, leaf, &plaintext)
                })
                .map(|counts| counts.unwrap_or(false)),
            Some(Received::Leave { leaf }) => {
                // Whoever is to send next carries it out; so that it happens at all, each waits its turn and then does.
                let delay = self
                    .with_group(turn, log, |_, _, group| {
                        let place =
                            group.members().iter().filter(|m| m.leaf < group.own_leaf() && m.leaf != leaf).count();
                        Ok(place as u64)
                    })?
                    .unwrap_or(0);
                self.intend_tidy(turn, log, delay * 3_000)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn own_entry(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        entry: &Entry,
        row: &outbox::Outgoing,
    ) -> Done<bool> {
        if let Some(message) = row.message {
            let place = Seq(conversation.place(entry.seq));
            self.message_sent(turn, conversation.id, &message, place, entry.time, &entry.stamp)?;
            self.own_act_arrived(turn, conversation, &message, (place, entry.time), &entry.stamp)?;
        }
        outbox::remove(turn.db, row.n)?;
        if let Some(known) = self.sealed.get_mut(&conversation.id) {
            known.remove(&entry.id);
        }
        if row.leaving {
            let problem = Problem::new(Kind::Conflict, format!("You have left “{}”.", conversation.name), "", "");
            self.end_conversation(turn, conversation.id, &problem)?;
            return Ok(true);
        }
        conversations::touch(turn.db, conversation.id, entry.time.0, 1)?;
        Ok(true)
    }

    /// A member's message, decrypted: checks what it claims (protocol section 5), then stores it.
    fn plaintext(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        group: &Group,
        entry: &Entry,
        leaf: u32,
        plaintext: &[u8],
    ) -> Done<bool> {
        let Some(sender) = group.member(leaf) else { return Ok(false) };
        let certificate = sender.certificate.clone();
        let Ok(envelope) = Envelope::decode(plaintext) else { return Ok(false) };
        if !franking::verify(&envelope.franking_key, &envelope.content, &entry.commitment) {
            return Ok(false);
        }
        let (epoch, sent) = (entry.epoch.0.to_be_bytes(), envelope.sent.to_be_bytes());
        let parts = super::outbox::message_parts(
            conversation.relay.as_str(),
            &conversation.id,
            &epoch,
            &entry.id,
            &entry.commitment,
            &sent,
        );
        if verify(&certificate.signature_key, Label::Message, &parts, &envelope.signature).is_err() {
            return Ok(false);
        }
        self.learn_chain(turn, conversation, entry, (envelope.head_seq, &envelope.head_hash))?;
        let head = (envelope.head_seq, envelope.head_hash.as_slice());
        self.compare_heads(turn, conversation, Some(entry.prev), head, certificate.address.as_str())?;
        let Ok(content) = MimiContent::decode(&envelope.content) else { return Ok(false) };
        let address = certificate.address.clone();
        let own = self.me.as_ref().is_some_and(|me| me.account_key() == certificate.account_key);
        let id = message_id(&sender_uri(address.as_str()), &room_uri(conversation), &content.salt, &envelope.content);
        let evidence = super::outbox::evidence(&entry.id, entry.epoch, &envelope, &entry.commitment, &entry.stamp);
        let (sent, bytes) = (envelope.sent, envelope.content);
        let (sender, time, seq) = (address, entry.time, Seq(conversation.place(entry.seq)));
        let account = certificate.account_key;
        if own {
            self.said_by_another(turn, conversation.id, &id.0)?;
        }
        let arrived = Arrived { id: id.0, sender, account, own, sent, time, seq, content: bytes, evidence };
        if self.arrived(turn, conversation, arrived, &content)? {
            conversations::touch(turn.db, conversation.id, entry.time.0, 0)?;
            if !own && conversation.standing == Standing::Active {
                messages::owe_receipt(turn.db, conversation.id, conversation.place(entry.seq), 1)?;
            }
        }
        Ok(true)
    }

    /// What a blocked account writes in a 1:1 conversation is not shown.
    pub(super) fn ignores(&self, turn: &Turn<'_>, conversation: &Conversation, address: &wire::Address) -> Done<bool> {
        Ok(conversation.kind == api::ConversationKind::Direct
            && crate::db::contacts::get(turn.db, address)?.is_some_and(|contact| contact.blocked))
    }

    /// Where this device has lost the thread, it takes it up again from a member that had processed the entry before this one.
    pub(super) fn learn_chain(
        &self,
        turn: &Turn<'_>,
        conversation: &Conversation,
        entry: &Entry,
        (seq, hash): (u64, &[u8]),
    ) -> Done {
        let Ok(hash) = hash.try_into() else { return Ok(()) };
        let unsettled = self.head_is_of_before(turn, conversation.id, seq)?
            && !self.is_behind_restore(turn, conversation.id, entry, seq)?;
        if conversation.chain_known || seq == 0 || seq != entry.prev.0 || unsettled {
            return Ok(());
        }
        let chain = ChainHash(hash).after(entry);
        conversations::advance(turn.db, &Conversation { chain, chain_known: true, ..conversation.clone() })?;
        Ok(())
    }

    /// Compares the history that another member had seen with ours (protocol rule 8). `prev` is the place before the entry that
    /// tells of it, if it tells of the log that it stands in.
    pub(super) fn compare_heads(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        prev: Option<Seq>,
        (seq, hash): (u64, &[u8]),
        address: &str,
    ) -> Done {
        if seq == 0 {
            return Ok(());
        }
        let pair = (conversation.id, address.to_owned());
        // Nobody can have read what stands behind his own entry: something before it was kept from this device, and the rest
        // numbered as if it had never been.
        let is_ahead = prev.is_some_and(|prev| seq > prev.0);
        if !is_ahead {
            let Some(known) = crate::db::heads::get(turn.db, conversation.id, seq)? else { return Ok(()) };
            if known.as_slice() == hash {
                self.forks_told.remove(&pair);
                return Ok(());
            }
        }
        // Every message behind the fork differs: it is told, and kept as evidence, where it begins.
        if !self.forks_told.insert(pair) {
            return Ok(());
        }
        if self.head_is_of_before(turn, conversation.id, seq)? && !planted!(HeadsOfBefore) {
            return Ok(());
        }
        crate::db::heads::keep_evidence(turn.db, conversation.id, seq, hash, address, turn.now.0)?;
        turn.event(Event::Notice {
            conversation: Some(conversation.id.to_string()),
            problem: Problem::new(
                Kind::Trust,
                format!(
                    "The relay {} showed you and {address} different histories of this conversation.",
                    conversation.relay
                ),
                "What it keeps for this conversation is not the same for all members.",
                "Compare what you have read with the others, and move the conversation to a relay that you trust.",
            ),
        });
        Ok(())
    }

    /// Something that happened to the conversation, in words.
    pub(super) fn system_message(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, text: &str) -> Done {
        self.system_message_at(turn, conversation.id, (conversation.place(conversation.cursor), turn.now.0), text)
    }

    /// The same, at another place and time.
    pub(super) fn system_message_at(
        &mut self,
        turn: &mut Turn<'_>,
        log: LogId,
        (seq, time): (u64, u64),
        text: &str,
    ) -> Done {
        // The same on every device that sees the same: what comes with history shows nothing twice.
        let id = crate::formats::note(log, seq, text);
        let kind = MessageKind::System { text: text.to_owned() };
        let message = Message { sent: time, time, seq, ..Message::new(log, id, kind) };
        self.store_message(turn, &message)?;
        Ok(())
    }
}

/// The sender as message ids know it (MIMI URIs).
pub(super) fn sender_uri(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((name, relay)) => format!("mimi://{relay}/u/{name}"),
        None => format!("mimi:///u/{address}"),
    }
}

/// The room as message ids know it.
pub(super) fn room_uri(conversation: &Conversation) -> String {
    format!("mimi://{}/r/{}", conversation.relay, conversation.room())
}
