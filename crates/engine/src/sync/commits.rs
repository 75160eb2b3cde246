//! Commits in conversations' logs: whose they are, whether they are valid, and what they change.
//!
//! Validity is pure (protocol rule 6): a function of the group's state and the commit's bytes. What depends on look-ups or on time
//! never makes a commit invalid.

use std::collections::BTreeMap;

use api::{ConversationKind, Event, Kind, Problem, Standing};
use rusqlite::params;
use wire::{AccountRecord, Bytes, DeviceCertificate, Entry, EntryId, Epoch, LogId, Signed};

use super::outline::Grounds;
use super::story::{fallen_asleep, heirs, story};
use super::validity::{Proposed, judge, same_device};
use super::{Done, LogRun, State, Turn};
use crate::db::contacts::{self, Seen};
use crate::db::conversations::{self, Conversation};
use crate::db::leaves::{self, Leaf};
use crate::db::{joins, messages, outbox};
use crate::formats::{self, CommitBody, CommitEnvelope};
use crate::mls::{self, Derive, Group, Member, MlsError, ProcessError};
use crate::state::{ConversationState, GroupKind};

/// Why a commit was refused.
enum Refusal {
    /// It can't be opened or attributed: nobody can be blamed, but the relay has moved on with it.
    Junk,
    /// Invalid for every member; this one has signed it.
    Invalid(Box<Member>, String),
    /// Refused too, but what was seen here proves nothing against whoever signed it: nobody is named.
    Unproven(String),
    /// This device alone can't follow.
    OnlyMe,
}

/// A valid commit of somebody else, for this device.
enum Followed {
    /// It goes on with it.
    On,
    /// It is no member any more.
    Removed,
    /// It was taken out because it was not on for long, and may come back.
    Asleep,
    /// It was removed and added in one, by this account: it goes on with an invitation. True if it had asked for it, and can take it.
    AddedAgain(String, bool),
}

impl State {
    /// True if the entry counts.
    pub(super) fn commit_entry(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        entry: &Entry,
    ) -> Done<bool> {
        let id = conversation.id;
        if let Some(pending) = outbox::pending_commit(turn.db, id)?
            && pending.entry == entry.id
            && entry.body == pending.body
            && entry.next == Some(pending.next)
        {
            #[cfg(feature = "mutants")]
            let sinned = self.has_sinned(turn, conversation, entry)?;
            #[cfg(not(feature = "mutants"))]
            let sinned = None;
            if sinned != Some(false) {
                if sinned.is_none() {
                    let seen = self.seen_by_own(turn, conversation, entry)?;
                    self.own_commit_won(turn, conversation, entry, &pending)?;
                    if let Some((head_seq, head)) = seen {
                        // It may have been given back by others, who had followed it before a restore.
                        self.heal_commit(turn, conversation, entry.epoch, head_seq, &head)?;
                    }
                }
                return Ok(true);
            }
        }
        let outcome = self
            .with_group(turn, id, |state, turn, group| state.foreign_commit(turn, conversation, group, entry))?
            .unwrap_or(Err(Refusal::OnlyMe));
        match outcome {
            Ok(Followed::Removed) => {
                self.removed_from(turn, conversation)?;
                return Ok(true);
            }
            Ok(Followed::Asleep) => {
                self.fell_asleep(turn, conversation, entry.time.0)?;
                return Ok(true);
            }
            Ok(Followed::AddedAgain(author, as_asked)) => {
                self.added_again(turn, conversation, &author, as_asked)?;
                return Ok(true);
            }
            Ok(Followed::On) => {}
            Err(refusal @ (Refusal::Junk | Refusal::Invalid(..) | Refusal::Unproven(_))) => {
                let (why, by) = match refusal {
                    Refusal::Invalid(_, why) if planted!(ConvictsNobody) => (why, None),
                    Refusal::Invalid(author, why) => (why, Some(*author)),
                    Refusal::Unproven(why) => (why, None),
                    _ => ("bytes that nobody can read".into(), None),
                };
                self.ended(turn, conversation, entry, &why, by)?;
                return Ok(false);
            }
            Err(Refusal::OnlyMe) => {
                self.lost_the_thread(turn, conversation, entry)?;
                return Ok(false);
            }
        }
        if planted!(PendingCommitReused) {
            return Ok(true);
        }
        // Our own commit, if one was on its way, has lost: its intent is looked at again on top of the winner's change.
        outbox::remove_pending_commit(turn.db, id)?;
        if planted!(LostIntent) {
            for row in outbox::intents(turn.db, id)? {
                outbox::remove_intent(turn.db, row.n)?;
            }
        }
        self.epoch_changed(turn, id)?;
        Ok(true)
    }

    /// The head that this device had seen when it made a commit of its own, where that matters.
    fn seen_by_own(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        entry: &Entry,
    ) -> Done<Option<(u64, Vec<u8>)>> {
        let id = conversation.id;
        let is_unsettled = crate::db::held::heal(turn.db, id)?.is_some_and(|heal| heal.unsettled && !heal.open);
        let (true, Some(next)) = (is_unsettled, entry.next) else { return Ok(None) };
        let header = formats::commit_header(id, entry.epoch, entry.id, &next);
        let seen = self.with_group(turn, id, |_, turn, group| {
            let key = group.secret(&turn.mls, Derive::Envelope, &conversation.relay)?;
            let plain = formats::open(&key, &header, &entry.body).ok();
            let envelope = plain.and_then(|plain| formats::decode::<CommitEnvelope>(&plain).ok());
            let own = group.member(group.own_leaf()).map(|member| member.certificate.signature_key);
            let body =
                envelope.zip(own).and_then(|(envelope, own)| envelope.open((&conversation.relay, &header), &own).ok());
            Ok(body.map(|body| (body.head_seq, body.head.to_vec())))
        })?;
        Ok(seen.flatten())
    }

    fn foreign_commit(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        group: &mut Group,
        entry: &Entry,
    ) -> Done<Result<Followed, Refusal>> {
        let Some(next) = entry.next else { return Ok(Err(Refusal::Junk)) };
        let header = formats::commit_header(conversation.id, entry.epoch, entry.id, &next);
        let key = group.secret(&turn.mls, Derive::Envelope, &conversation.relay)?;
        let Ok(plain) = formats::open(&key, &header, &entry.body) else { return Ok(Err(Refusal::Junk)) };
        let Ok(envelope) = formats::decode::<CommitEnvelope>(&plain) else { return Ok(Err(Refusal::Junk)) };
        let Some(author) = group.member(envelope.leaf).map(|member| member.certificate.clone()) else {
            return Ok(Err(Refusal::Junk));
        };
        let Ok(body) = envelope.open((&conversation.relay, &header), &author.signature_key) else {
            return Ok(Err(Refusal::Junk));
        };
        // From here on the author is known, whatever comes.
        turn.commit_time = Some(wire::UnixMillis(body.sent));
        self.learn_chain(turn, conversation, entry, (body.head_seq, &body.head))?;
        let head = (body.head_seq, body.head.as_slice());
        self.compare_heads(turn, conversation, Some(entry.prev), head, author.address.as_str())?;
        self.heal_commit(turn, conversation, entry.epoch, body.head_seq, &body.head)?;
        let member = Box::new(Member { leaf: envelope.leaf, certificate: author.clone() });
        let invalid = move |why: String| Ok(Err(Refusal::Invalid(member, why)));
        if planted!(CantFollow) {
            return Ok(Err(Refusal::OnlyMe));
        }
        let incoming = match group.process(&turn.mls, &body.commit) {
            Ok(incoming) => incoming,
            Err(ProcessError::Storage(error)) => return Err(MlsError::from(error).into()),
            Err(ProcessError::OnlyMe(_)) => return Ok(Err(Refusal::OnlyMe)),
            // Its own device signed it and knows nothing of it: its database is older than itself.
            Err(ProcessError::Own) if envelope.leaf == group.own_leaf() => return Ok(Err(Refusal::OnlyMe)),
            // To all others it is a commit that can't be decrypted, so that nobody is named here either.
            Err(error @ (ProcessError::Unproven(_) | ProcessError::Own)) => {
                return Ok(Err(Refusal::Unproven(error.to_string())));
            }
            // The envelope was sealed in this epoch and holds a commit of another one: its author's doing.
            Err(ProcessError::Removed) => return Ok(Ok(Followed::Removed)),
            Err(error) => return invalid(error.to_string()),
        };
        if incoming.author != envelope.leaf {
            return invalid("it is another member's commit".into());
        }
        if incoming.next_delivery(&turn.mls, &conversation.relay, conversation.id)?.is_some_and(|key| key != next) {
            return invalid("the relay was given a key that is not the group's".into());
        }
        let record =
            body.record.as_deref().and_then(|r| Signed::<AccountRecord>::parse(Bytes::copy_from_slice(r)).ok());
        let proposed = Proposed {
            author: incoming.author,
            added: &incoming.added,
            removed: &incoming.removed,
            left: &incoming.left,
            state: incoming.state.as_deref(),
            asked: super::rejoin::asked(turn, &body, conversation, &incoming.packages, group),
        };
        if let Err(why) = judge(&group.state(), &group.members(), &proposed, record.as_ref()) {
            return invalid(why);
        }
        let me = self.me.as_ref().and_then(|me| me.certificate()).cloned();
        let comes_back =
            |me: &Signed<DeviceCertificate>| incoming.added.iter().any(|m| same_device(&m.certificate, me));
        let outcome = match (incoming.removes_self, me.as_ref().is_some_and(comes_back)) {
            (false, _) => Followed::On,
            (true, false) if self.is_put_to_sleep(turn, conversation.id, &group.members(), &incoming)? => {
                Followed::Asleep
            }
            (true, false) => Followed::Removed,
            (true, true) => {
                let own = proposed.asked.as_ref().zip(me.as_ref()).is_some_and(|(asks, me)| same_device(asks, me));
                let keeps = |package: &Vec<u8>| mls::has_key_package(&turn.mls, package);
                let as_asked = own && incoming.packages.iter().map(keeps).any(|kept| kept.unwrap_or(false));
                Followed::AddedAgain(author.address.to_string(), as_asked)
            }
        };
        let story = story(group, &incoming);
        // Of accounts that are in: a request of such a device to be let in is answered, whoever had asked for it.
        let is_in = |added: &&Member| {
            group.members().iter().any(|m| m.certificate.account_key == added.certificate.account_key)
        };
        let readded: Vec<_> = match body.asked.is_some() || body.record.is_some() {
            true => incoming.added.iter().filter(is_in).map(|added| added.certificate.clone()).collect(),
            false => Vec::new(),
        };
        if !incoming.removes_self {
            group.merge(&turn.mls, incoming)?;
        }
        if let Some(bytes) = body.record.as_deref() {
            self.see_record(turn, bytes, false)?;
        }
        self.forget_readds(turn, conversation.id, &readded, entry.time)?;
        for line in story {
            self.system_message(turn, conversation, &line)?;
        }
        Ok(Ok(outcome))
    }

    /// Seals a staged commit for the log (protocol rule 7).
    pub(super) fn seal_commit(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        group: &Group,
        staged: &mls::Staged,
        entry: EntryId,
        grounds: Grounds,
    ) -> Done<Option<Vec<u8>>> {
        let Some(me) = &self.me else { return Ok(None) };
        let header = formats::commit_header(conversation.id, conversation.epoch, entry, &staged.next);
        let head = conversation.head();
        // Where its author is alone in the epoch nobody can process it: all come in by Welcomes, and what adds 2,000 devices at once would be
        // more than a log takes.
        let is_alone = group.members().len() == 1;
        let body = CommitBody {
            commit: if is_alone { Vec::new().into() } else { staged.commit.clone().into() },
            sent: turn.now.0,
            head_seq: if conversation.chain_known { head.seq.0 } else { 0 },
            head: head.hash.0.to_vec().into(),
            record: grounds.record.map(Into::into),
            asked_in: grounds.asked.as_ref().map(|(_, inbox)| inbox.0.to_vec().into()),
            asked: grounds.asked.map(|(request, _)| request.into()),
        };
        let envelope = CommitEnvelope::sign(group.own_leaf(), &body, (&conversation.relay, &header), &me.signer);
        let key = group.secret(&turn.mls, Derive::Envelope, &conversation.relay)?;
        let nonce = turn.random();
        Ok(formats::seal(&key, nonce, &header, &formats::encode(&envelope)).ok())
    }

    fn own_commit_won(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        entry: &Entry,
        pending: &outbox::PendingCommit,
    ) -> Done {
        let id = conversation.id;
        let mut story = self.own_story(turn, id, pending.intent)?;
        let gives_roles = self.gives_roles(turn, pending.intent)?;
        let told = self.with_group(turn, id, |_, turn, group| {
            let before = group.state();
            group.merge_staged(&turn.mls)?;
            Ok((heirs(&before, group), fallen_asleep(&before, group)))
        })?;
        let (heirs, asleep) = told.unwrap_or_default();
        story.extend(heirs.into_iter().filter(|_| !gives_roles).chain(asleep));
        outbox::remove_pending_commit(turn.db, id)?;
        if let Some(mut now) = conversations::get(turn.db, id)? {
            if now.standing == Standing::Starting {
                now.standing = Standing::Active;
            }
            now.touched = now.touched.max(entry.time.0);
            conversations::put(turn.db, &now)?;
        }
        for line in story {
            self.system_message(turn, conversation, &line)?;
        }
        self.send_welcomes(turn, id, pending)?;
        self.walk_epoch(turn, id)?;
        if let (Some(of), true) = (conversation.line.of, conversation.epoch.0 == 0) {
            self.successor_made(turn, of, id, entry.time.0)?;
        }
        self.intent_committed(turn, id, pending.intent)?;
        self.drive_intents(turn, id)
    }

    /// The group is in a new epoch: its row, its members, its log and what waits follow.
    fn epoch_changed(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        self.walk_epoch(turn, id)?;
        self.drive_intents(turn, id)
    }

    fn walk_epoch(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        // What was encrypted for the ended epoch and is not in the log never will be (protocol rule 3).
        self.unseal_all(turn, id)?;
        self.refresh(turn, id)?;
        let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        let run = self.logs.entry(id).or_default();
        // Appends of the ended epoch are still to be answered on this connection.
        *run = LogRun {
            head: run.head,
            pipe: run.pipe,
            in_flight: run.in_flight,
            refused: run.refused,
            ..LogRun::default()
        };
        let relay = conversation.relay.clone();
        self.open_log(turn, id, &relay)
    }

    /// Brings a conversation's row and members in line with its group, and tells programs.
    pub(super) fn refresh(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        let Some((epoch, state, leaves, suite)) =
            self.with_group(turn, id, |_, _, group| Ok((group.epoch(), group.state(), group.leaves(), group.suite())))?
        else {
            return Ok(());
        };
        let Some(mut conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        let Ok(state) = ConversationState::decode(&state) else {
            return Err(crate::EngineError::Inconsistent("the state of a group in use"));
        };
        conversation.epoch = Epoch(epoch);
        conversation.timer = state.timer;
        let own_came = self.renew_leaves(turn, &mut conversation, &leaves)?;
        if own_came && conversation.kind == ConversationKind::Note {
            self.own_device_came(turn)?;
        }
        let mut members: BTreeMap<String, conversations::Member> = BTreeMap::new();
        for (leaf, _) in &leaves {
            let (address, account_key) = (leaf.certificate.address.clone(), leaf.certificate.account_key);
            members
                .entry(address.as_str().to_owned())
                .or_insert_with(|| conversations::Member {
                    address: address.as_str().to_owned(),
                    account_key,
                    role: state.role(&account_key),
                    devices: 0,
                })
                .devices += 1;
        }
        self.take_out_revoked(turn, &conversation, &leaves)?;
        let me = self.me.as_ref().map(|me| me.address.clone());
        for (leaf, _) in &leaves {
            if me.as_ref() == Some(&leaf.certificate.address) {
                continue;
            }
            // Before the person has taken the invitation, who is in it says nothing of those that are known already.
            if conversation.standing == Standing::Requested
                && contacts::get(turn.db, &leaf.certificate.address)?.is_some()
            {
                continue;
            }
            let seen = contacts::see(turn.db, &leaf.certificate.address, &leaf.certificate.account_key, turn.now.0)?;
            if seen == (Seen::Conflict { new: true }) {
                self.conflict_notice(turn, leaf.certificate.address.as_str());
            }
        }
        if state.kind == GroupKind::Direct {
            let other = members.keys().find(|address| me.as_ref().is_none_or(|me| me.as_str() != *address)).cloned();
            if let Some(other) = other.or(conversation.peer.take()) {
                conversation.name.clone_from(&other);
                conversation.peer = Some(other);
            }
        } else if conversation.kind == ConversationKind::Group {
            conversation.name = state.shown_name();
        }
        conversations::put(turn.db, &conversation)?;
        conversations::set_suite(turn.db, id, suite)?;
        conversations::set_description(turn.db, id, &state.shown_description())?;
        conversations::set_asleep(turn.db, id, &state)?;
        self.pictures_due |= crate::db::pictures::set_current(turn.db, id, state.picture.as_ref())?;
        joins::set_links(turn.db, id, &state.links)?;
        let members: Vec<conversations::Member> = members.into_values().collect();
        self.spend_requests_of_gone(turn, id, &members)?;
        conversations::set_members(turn.db, id, &members)?;
        joins::forget_answered(turn.db, id)?;
        self.conversation_changed(turn, id)
    }

    /// A device that the own account has revoked is there, whoever has brought it in again.
    fn take_out_revoked(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        leaves: &[(Member, [u8; 32])],
    ) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let (account, record) = (me.account_key(), &me.record);
        let is_revoked = |m: &Member| {
            m.certificate.account_key == account
                && record.device(m.certificate.device).is_some_and(|device| device.revoked.is_some())
        };
        let devices: Vec<[u8; 16]> = leaves
            .iter()
            .filter(|(member, _)| is_revoked(member) && member.certificate.device != me.device())
            .map(|(member, _)| member.certificate.device.0)
            .collect();
        let is_wanted = |row: &outbox::IntentRow| {
            matches!(serde_json::from_slice(&row.intent), Ok(super::intents::Intent::RemoveOwnDevices { .. }))
        };
        if devices.is_empty()
            || conversation.standing != Standing::Active
            || me.revoked()
            || outbox::intents(turn.db, conversation.id)?.iter().any(is_wanted)
        {
            return Ok(());
        }
        self.intend(turn, conversation.id, &super::intents::Intent::RemoveOwnDevices { devices }, 1)?;
        Ok(())
    }

    /// Notes since when each device is in the conversation and when its keys were last renewed, by the log's time. True if another own
    /// device is there that was not.
    fn renew_leaves(
        &self,
        turn: &Turn<'_>,
        conversation: &mut Conversation,
        leaves: &[(Member, [u8; 32])],
    ) -> Done<bool> {
        let Some(me) = &self.me else { return Ok(false) };
        let mut own_came = false;
        let known = leaves::list(turn.db, conversation.id)?;
        let at = turn.entry_time.unwrap_or(turn.now).0;
        let now = leaves.iter().map(|(member, key)| {
            let certificate = &member.certificate;
            let own = certificate.account_key == me.account_key() && certificate.device == me.device();
            let was = known.iter().find(|leaf| {
                leaf.leaf == member.leaf
                    && leaf.device == certificate.device
                    && leaf.address == certificate.address.as_str()
            });
            let (since, renewed) = match was {
                Some(leaf) if leaf.key == *key => (leaf.since, leaf.renewed),
                Some(leaf) => (leaf.since, at),
                // Whoever joins finds devices whose past it does not know.
                None if known.is_empty() && !own => (0, 0),
                None => (at, at),
            };
            own_came |= was.is_none() && !own && certificate.account_key == me.account_key();
            if own && was.is_none_or(|leaf| leaf.key != *key) {
                conversation.updated = turn.now.0;
                conversation.own_messages = 0;
            }
            Leaf {
                leaf: member.leaf,
                address: certificate.address.as_str().to_owned(),
                device: certificate.device,
                key: *key,
                since,
                renewed,
            }
        });
        let now: Vec<Leaf> = now.collect();
        leaves::replace(turn.db, conversation.id, &known, &now)?;
        Ok(own_came)
    }

    /// Tells programs about a conversation.
    pub(super) fn conversation_changed(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        if let (Some(me), Some(conversation)) = (&self.me, conversations::get(turn.db, id)?) {
            if crate::view::is_out_of_sight(turn.db, &conversation)? {
                return Ok(());
            }
            let view = crate::view::conversation(turn.db, me, &conversation)?;
            turn.event(Event::Conversation { conversation: Box::new(view) });
        }
        Ok(())
    }

    /// This device is no member any more.
    pub(super) fn removed_from(&mut self, turn: &mut Turn<'_>, conversation: &Conversation) -> Done {
        let problem = Problem::new(
            Kind::Forbidden,
            format!("You are no longer in “{}”.", conversation.name),
            "",
            "What you have read stays here; nothing new arrives.",
        );
        self.end_conversation(turn, conversation.id, &problem)
    }

    /// Forgets the keys of a conversation that is over; what was read stays.
    pub(super) fn end_conversation(&mut self, turn: &mut Turn<'_>, id: LogId, problem: &Problem) -> Done {
        self.with_group(turn, id, |_, _, _| Ok(()))?;
        if let Some(group) = self.groups.remove(&id) {
            group.delete(&turn.mls)?;
        }
        outbox::remove_pending_commit(turn.db, id)?;
        messages::forgive(turn.db, id)?;
        if let Some(mut conversation) = conversations::get(turn.db, id)? {
            conversation.standing = Standing::Left;
            conversations::put(turn.db, &conversation)?;
            let relay = conversation.relay.clone();
            self.unfollow(turn, id, &relay)?;
        }
        self.fail_outbox(turn, id, problem)?;
        super::rejoin::forget_rejoin(turn, id)?;
        conversations::forget_slept(turn.db, id)?;
        for row in outbox::intents(turn.db, id)? {
            if self.is_leave(&row) {
                outbox::remove_intent(turn.db, row.n)?;
                self.intent_settled(row.n, None);
            }
        }
        self.give_up_intents(turn, id, problem)?;
        self.conversation_changed(turn, id)?;
        // It may have been the last one that was waited for.
        self.report_caught_up(turn)
    }

    /// Nothing more is processed or sent in a conversation, and the person is told why.
    pub(super) fn hold(&mut self, turn: &mut Turn<'_>, id: LogId, what: &str, why: &str) -> Done {
        let next = "Nothing more is sent here, and your messages are kept. Start a new conversation with the others.";
        self.hold_until(turn, id, what, why, next)
    }

    /// The same, where something else than a new conversation is the way on.
    pub(super) fn hold_until(&mut self, turn: &mut Turn<'_>, id: LogId, what: &str, why: &str, next: &str) -> Done {
        let waiting: Vec<_> = outbox::list(turn.db, id, 0, usize::MAX >> 1)?;
        self.hold_all(turn, id, (what, why, next), waiting.into_iter().filter_map(|row| row.message).collect())
    }

    /// Holds a conversation for the moment that it takes to go on. What waits to be sent goes on waiting.
    pub(super) fn hold_quietly(&mut self, turn: &mut Turn<'_>, id: LogId, what: &str, why: &str) -> Done {
        let Some(mut conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        conversation.standing = Standing::Held;
        conversation.held = format!("{what} {why}");
        conversations::put(turn.db, &conversation)?;
        let relay = conversation.relay.clone();
        self.unfollow(turn, id, &relay)?;
        self.conversation_changed(turn, id)?;
        // It may have been the last one that was waited for.
        self.report_caught_up(turn)
    }

    /// The same, where of what waits to be sent only these messages are reported as failed.
    pub(super) fn hold_all(
        &mut self,
        turn: &mut Turn<'_>,
        id: LogId,
        (what, why, next): (&str, &str, &str),
        failed: Vec<[u8; 32]>,
    ) -> Done {
        let Some(mut conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        if conversation.standing == Standing::Held {
            return Ok(());
        }
        conversation.standing = Standing::Held;
        conversation.held = format!("{what} {why}");
        conversations::put(turn.db, &conversation)?;
        let relay = conversation.relay.clone();
        self.unfollow(turn, id, &relay)?;
        let problem = Problem::new(Kind::Trust, what, why, next);
        for message in failed {
            self.message_failed(turn, &message, &problem);
        }
        for row in outbox::intents(turn.db, id)? {
            self.intent_failed(turn, row.n, &problem);
        }
        turn.event(Event::Notice { conversation: Some(id.to_string()), problem });
        self.conversation_changed(turn, id)?;
        // It may have been the last one that was waited for.
        self.report_caught_up(turn)
    }

    /// Own keys in each group are renewed every week, or every hour a leaf if that is longer, or after 1,000 own messages.
    pub(super) fn drive_updates(&mut self, turn: &mut Turn<'_>) -> Done {
        const WEEK: u64 = 7 * 86_400_000;
        const HOUR: u64 = 3_600_000;
        let due: Vec<LogId> = turn
            .db
            .prepare_cached(
                "SELECT c.id FROM conversations c WHERE c.standing = 2 AND c.epoch > 0 AND (c.own_messages >= 1000 OR \
                 c.updated + max(?2, ?3 * (SELECT coalesce(sum(devices), 0) FROM members m WHERE m.conversation = c.id)) <= ?1)",
            )?
            .query_map(params![turn.now.0 as i64, WEEK as i64, HOUR as i64], |row| {
                Ok(LogId(crate::db::fixed(row, 0)?))
            })?
            .collect::<Result<_, _>>()?;
        for id in due {
            self.intend_update(turn, id)?;
        }
        turn.wake_at(turn.now.plus(HOUR));
        Ok(())
    }
}
