//! Conversations whose relay was restored from a backup (protocol rule 12): the log is read again, what it has lost is given back
//! from what this device holds, in order, under the same ids, and everything gets the place that the log shows now.
//!
//! What always holds: only bytes that were in the log before are given back, nothing is opened, made or encrypted for it; until a
//! conversation is whole nothing new is sent in it; nothing that counted counts again.

use api::{Event, Kind, Problem};
use wire::{
    Bytes, ChainHash, Code, Entry, EntryKind, Epoch, EpochKey, Hello, LogId, LogState, RelayName, Request, Response,
    Seq, Subscription, UnixMillis,
};

use super::intents::Intent;
use super::outbox::WINDOW;
use super::{Ask, Done, State, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::held::{self, Heal};
use crate::db::{messages, outbox};
use crate::io::Rejection;

/// Each member waits for those before it in the tree, so that one gives back what all hold.
const STAGGER_MS: u64 = 1_000;
const STAGGERED: u64 = 60;
/// Whoever has not read a log from its beginning leaves it to others to make it again, for this time.
const REMAKE_AFTER_MS: u64 = 20_000;
/// Between looks at a log that can't be opened.
const AGAIN_MS: u64 = 10_000;
/// A log that nobody could heal in this time is lost.
const GIVE_UP_MS: u64 = 2 * 3_600_000;
/// The relay takes new commits again after this time.
const RESTORING_MS: u64 = 3_600_000;

impl State {
    /// Compares a relay's incarnation with the one that it had before.
    pub(super) fn see_incarnation(&mut self, turn: &mut Turn<'_>, relay: &RelayName, hello: &Hello) -> Done {
        if !held::incarnation(turn.db, relay, &hello.incarnation.0)? || planted!(RestoreUnnoticed) {
            return Ok(());
        }
        turn.event(Event::Notice {
            conversation: None,
            problem: Problem::new(
                Kind::Conflict,
                format!("The relay {relay} was restored from a backup."),
                "What was written after that backup is gone there. The devices of those who have it give it back by themselves.",
                "Messages may stand in another order.",
            ),
        });
        for conversation in conversations::all(turn.db)? {
            if conversation.relay == *relay && conversation.is_followed() {
                self.begin_heal(turn, conversation)?;
            }
        }
        if self.me.as_ref().is_some_and(|me| me.address.relay() == relay) {
            self.account_restored(turn)?;
        }
        Ok(())
    }

    /// This device has come into a conversation whose place in the log was read in this incarnation of its relay. If the relay was
    /// restored since, the log is read again as by those who were in it then.
    pub(super) fn joined_in(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: Conversation,
        read_in: Option<&[u8]>,
    ) -> Done {
        let (id, relay) = (conversation.id, conversation.relay.clone());
        match (read_in.and_then(|bytes| bytes.try_into().ok()), held::known_incarnation(turn.db, &relay)?) {
            (Some(read_in), Some(known)) if read_in != known && !planted!(RestoreUnnoticed) => {
                // The head in the invitation is of the lost history, and what stood before it can't be read.
                self.begin_heal(turn, Conversation { chain_known: false, ..conversation })?;
            }
            // This device has not met the relay yet: its greeting will tell.
            (Some(read_in), None) => {
                held::incarnation(turn.db, &relay, &read_in)?;
            }
            _ => {}
        }
        self.open_log(turn, id, &relay)
    }

    fn begin_heal(&mut self, turn: &mut Turn<'_>, mut conversation: Conversation) -> Done {
        let id = conversation.id;
        let since = match held::first(turn.db, id)? {
            Some(first) if !first.is_missing() => {
                conversation.chain = first.head;
                Seq(first.seq - 1)
            }
            // Not a single one of them was found after the last restore.
            Some(_) => conversation.cursor,
            None => {
                // What stands before the first entry that this device has read may have been given back, at other times.
                conversation.chain_known &= conversation.cursor == Seq(0);
                conversation.cursor
            }
        };
        conversation.cursor = since;
        conversations::put(turn.db, &conversation)?;
        held::displace(turn.db, id, since.0)?;
        // What an invitation of before says of its own place is of the lost history, too.
        let moved = if conversation.chain_known { since.0 } else { since.0.saturating_sub(1) };
        held::open(turn.db, id, moved, turn.now.0)?;
        self.healing.insert(id, None);
        Ok(())
    }

    /// The relay's answers to all epochs that this device can open: the log has come up to the last of them.
    pub(super) fn heal_opened(
        &mut self,
        turn: &mut Turn<'_>,
        id: LogId,
        states: &[(Epoch, LogState)],
    ) -> Done<Option<Subscription>> {
        let Some(mut conversation) = conversations::get(turn.db, id)? else { return Ok(None) };
        let Some(run) = self.logs.get_mut(&id) else { return Ok(None) };
        run.opening = None;
        let reach = states.iter().filter(|(_, state)| state.error.is_none()).max_by_key(|(epoch, _)| *epoch);
        let Some((epoch, state)) = reach else {
            let gone = |(_, state): &(Epoch, LogState)| matches!(state.error, Some(Code::NotFound | Code::BadProof));
            if states.iter().all(gone) {
                return self.log_is_lost(turn, &conversation).map(|()| None);
            }
            run.pause_until = turn.now.plus(AGAIN_MS);
            turn.wake_at(run.pause_until);
            return Ok(None);
        };
        run.opened = Some(*epoch);
        run.subscribed = false;
        run.hole_at = None;
        run.head = state.head;
        if state.head < conversation.cursor {
            self.read_from_the_start(turn, &mut conversation)?;
        }
        Ok(Some(Subscription { log: id, epoch: *epoch, from: conversation.cursor.next() }))
    }

    /// The log is another one under the same id: made again, or cut off before everything that is held.
    fn read_from_the_start(&mut self, turn: &mut Turn<'_>, conversation: &mut Conversation) -> Done {
        conversation.cursor = Seq(0);
        conversation.chain = ChainHash::default();
        conversation.chain_known = true;
        conversations::put(turn.db, conversation)?;
        held::displace(turn.db, conversation.id, 0)?;
        Ok(held::open(turn.db, conversation.id, 0, turn.now.0)?)
    }

    /// None of the epochs that this device can open is there.
    fn log_is_lost(&mut self, turn: &mut Turn<'_>, conversation: &Conversation) -> Done {
        let id = conversation.id;
        let Some(heal) = held::heal(turn.db, id)? else { return Ok(()) };
        if turn.now.0 > heal.begun.saturating_add(GIVE_UP_MS) && self.clock_agrees() {
            self.healing.remove(&id);
            held::forget(turn.db, id)?;
            return self.hold(
                turn,
                id,
                "The relay no longer knows this conversation as this device does.",
                "It was restored from a backup that is too old, and nobody could give back what it had lost.",
            );
        }
        let at = UnixMillis(heal.begun).plus(self.stagger(turn, id)?);
        let at = if heal.joined == 0 { at } else { at.plus(REMAKE_AFTER_MS) };
        let asked = self.asked.values().any(|ask| matches!(ask, Ask::Remake { log } if *log == id));
        if at <= turn.now && !asked && self.holds_everything(turn, &heal, id)? {
            // The whole log is gone, as far as this device can see, and it can give back all of it: from its first epoch on.
            let (epoch, next) = match held::seeds(turn.db, id)?.into_iter().next() {
                Some((epoch, seed)) => (epoch, EpochKey::from_seed(&seed).public()),
                None => {
                    let key = self.with_group(turn, id, |_, turn, group| {
                        Ok(Self::delivery_key(turn, group, &conversation.relay)?.public())
                    })?;
                    let Some(key) = key else { return Ok(()) };
                    (conversation.epoch, key)
                }
            };
            let route = self.errand(&conversation.relay);
            self.ask(turn, route, Request::Create { log: id, epoch, next }, Ask::Remake { log: id });
        }
        let pause = if at > turn.now { at } else { turn.now.plus(AGAIN_MS) };
        if let Some(run) = self.logs.get_mut(&id) {
            run.pause_until = pause;
        }
        turn.wake_at(pause);
        Ok(())
    }

    /// Nothing that this device has read in the log was pruned.
    fn holds_everything(&self, turn: &Turn<'_>, heal: &Heal, id: LogId) -> Done<bool> {
        Ok(match held::first(turn.db, id)? {
            None => true,
            Some(first) => held::shown(first.seq) == heal.joined.wrapping_add(1) || heal.since == heal.joined,
        })
    }

    pub(super) fn on_remade(&mut self, turn: &mut Turn<'_>, id: LogId, result: Result<Response, Rejection>) -> Done {
        // Made, or made by somebody else, or never gone: opening it tells.
        let pause = match result {
            Ok(_) => turn.now,
            Err(rejection) => turn.now.plus(super::intents::retry_after(&rejection, AGAIN_MS)),
        };
        if let Some(run) = self.logs.get_mut(&id) {
            run.pause_until = pause;
        }
        turn.wake_at(pause);
        self.pump(turn, id)
    }

    /// How long this device waits for others to give back what it holds too.
    fn stagger(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done<u64> {
        let before = self.with_group(turn, id, |_, _, group| {
            Ok(group.members().iter().filter(|member| member.leaf < group.own_leaf()).count() as u64)
        })?;
        Ok(before.unwrap_or(0).min(STAGGERED) * STAGGER_MS)
    }

    /// An entry of a log that is being healed.
    pub(super) fn heal_entry(
        &mut self,
        turn: &mut Turn<'_>,
        before: ChainHash,
        conversation: &Conversation,
        entry: &Entry,
    ) -> Done {
        let id = conversation.id;
        if let Some(first) = held::first(turn.db, id)?
            && first.is_missing()
            && held::shown(first.seq) == entry.seq.0
            && (first.entry != entry.id || first.time != entry.time.0)
            && held::heal(turn.db, id)?.is_some_and(|heal| heal.since > 0)
        {
            // Not where it was, or given back: so may be what stood before it, which is not held. The log is read as a whole.
            let mut again = conversation.clone();
            self.read_from_the_start(turn, &mut again)?;
            return self.resubscribe(turn, id);
        }
        if let Some(row) = held::missing_entry(turn.db, id, &entry.id)?.filter(|row| row.is(entry)) {
            held::place(turn.db, id, row.seq, entry, before)?;
            let reached = self.logs.get(&id).and_then(|run| run.opened);
            if row.kind == EntryKind::Commit && reached == Some(row.epoch) && row.epoch < conversation.epoch {
                let relay = conversation.relay.clone();
                return self.open_log(turn, id, &relay);
            }
            return Ok(());
        }
        if conversations::has_counted(turn.db, id, &entry.id.0)? {
            return Ok(());
        }
        if entry.epoch == conversation.epoch {
            return self.entry(turn, conversation, before, entry);
        }
        if entry.kind == EntryKind::Commit
            && entry.epoch < conversation.epoch
            && held::commit(turn.db, id, entry.epoch)?.is_some_and(|ours| ours.is_missing())
        {
            return self.branch_is_dead(turn, conversation, entry.epoch);
        }
        Ok(())
    }

    /// The others have gone another way before this device could give back what it holds: its own way leads nowhere.
    fn branch_is_dead(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, epoch: Epoch) -> Done {
        let id = conversation.id;
        self.healing.remove(&id);
        held::settle_rest(turn.db, id, conversation.cursor)?;
        held::forget(turn.db, id)?;
        let mut conversation = conversation.clone();
        // What it is invited to next is behind the fork, whatever epoch this device had come to on its own way.
        conversation.epoch = epoch;
        conversations::put(turn.db, &conversation)?;
        self.ask_to_rejoin(turn, &conversation)
    }

    /// A log is not followed any more that was being given back to its relay: nothing waits for that from now on. What it has not shown
    /// again stays behind what it has, in the order that it had.
    pub(super) fn stop_healing(&mut self, turn: &Turn<'_>, id: LogId) -> Done {
        if self.healing.remove(&id).is_some() {
            held::forget(turn.db, id)?;
        }
        Ok(())
    }

    /// Gives back what is missing of the epoch that the log has come to, then the commit that ends it, then goes on in the next.
    pub(super) fn drive_heal(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        let Some(run) = self.logs.get(&id) else { return Ok(()) };
        let Some(epoch) = run.opened.filter(|_| run.subscribed && run.opening.is_none()) else { return Ok(()) };
        if conversation.cursor < run.head || run.in_flight > 0 || run.commit_in_flight || run.refused {
            return Ok(());
        }
        if run.pause_until > turn.now {
            turn.wake_at(run.pause_until);
            return Ok(());
        }
        let lost = held::missing(turn.db, id, epoch, WINDOW)?;
        if lost.is_empty() && epoch >= conversation.epoch {
            return self.healed(turn, &conversation);
        }
        let at = match self.healing.get(&id).copied().flatten() {
            Some(at) => at,
            None => {
                let at = turn.now.plus(self.stagger(turn, id)?);
                self.healing.insert(id, Some(at));
                at
            }
        };
        if at > turn.now {
            turn.wake_at(at);
            return Ok(());
        }
        held::moved(turn.db, id)?;
        let route = Self::logs_route(&conversation);
        let Some(run) = self.logs.get_mut(&id) else { return Ok(()) };
        let pipe = run.pipe;
        if lost.is_empty() {
            let Some(commit) = held::commit(turn.db, id, epoch)?.filter(held::Held::is_missing) else {
                // It is there, and what follows it is on its way.
                return Ok(());
            };
            let Some(next) = commit.next else { return Ok(()) };
            run.commit_in_flight = true;
            let body = Bytes::from(commit.body);
            let request =
                Request::Commit { log: id, epoch, id: commit.entry, next, body, end_watches: false, repost: true };
            self.ask(turn, route, request, Ask::Repost { log: id, commit: true });
            return Ok(());
        }
        run.in_flight += lost.len();
        for entry in lost {
            let (id, entry, body) = (id, entry.entry, (entry.body, entry.commitment));
            let (body, commitment) = (Bytes::from(body.0), body.1);
            let request = Request::Append { log: id, epoch, pipe, id: entry, body, commitment };
            self.ask(turn, route.clone(), request, Ask::Repost { log: id, commit: false });
        }
        Ok(())
    }

    pub(super) fn on_reposted(
        &mut self,
        turn: &mut Turn<'_>,
        id: LogId,
        commit: bool,
        result: Result<Response, Rejection>,
    ) -> Done {
        let Some(run) = self.logs.get_mut(&id) else { return Ok(()) };
        if commit {
            run.commit_in_flight = false;
        } else {
            run.in_flight = run.in_flight.saturating_sub(1);
        }
        match result {
            // It comes back with the log, and gets its place then.
            Ok(Response::Appended { seq, .. }) => run.head = run.head.max(seq),
            Ok(_) | Err(Rejection::Lost) => return Ok(()),
            Err(Rejection::Refused(error)) => {
                run.refused = !commit;
                match error.code {
                    // Somebody was faster: what there is now is read first.
                    Code::StaleEpoch | Code::NotOpened => run.opened = None,
                    Code::Aborted => {}
                    _ => {
                        run.pause_until = turn.now.plus(error.retry_after_ms.max(500));
                        turn.wake_at(run.pause_until);
                    }
                }
            }
        }
        if run.refused && run.in_flight == 0 {
            run.refused = false;
            run.pipe += 1;
        }
        self.pump(turn, id)
    }

    /// All that this device holds is in the log again.
    fn healed(&mut self, turn: &mut Turn<'_>, conversation: &Conversation) -> Done {
        let id = conversation.id;
        self.healing.remove(&id);
        held::settle_rest(turn.db, id, conversation.cursor)?;
        let moved = held::heal(turn.db, id)?.is_some_and(|heal| heal.moved);
        held::close(turn.db, id, conversation.cursor)?;
        if moved {
            let text = "The relay was restored from a backup. What it had lost here was given back; \
                        messages may stand in another order than before.";
            self.system_message(turn, conversation, text)?;
            self.show_all_again(turn, id)?;
            if self.stagger(turn, id)? == 0 {
                // A new epoch shows everybody that all are behind the restore: from it on hash heads are compared again.
                self.intend(turn, id, &Intent::Update, RESTORING_MS)?;
            }
        }
        self.conversation_changed(turn, id)?;
        self.drive_receipts(turn)?;
        self.pump(turn, id)?;
        self.drive_intents(turn, id)?;
        self.report_caught_up(turn)
    }

    /// True if a head that differs from ours says nothing: its author may have seen the log before its relay was restored.
    pub(super) fn head_is_of_before(&self, turn: &Turn<'_>, id: LogId, seq: u64) -> Done<bool> {
        Ok(held::heal(turn.db, id)?.is_some_and(|heal| heal.unsettled && seq > heal.since))
    }

    /// True for a head behind all that was given back, in a commit: its author has seen the log as it is now.
    pub(super) fn is_behind_restore(&self, turn: &Turn<'_>, id: LogId, entry: &Entry, head_seq: u64) -> Done<bool> {
        let heal = held::heal(turn.db, id)?.filter(|heal| !heal.open);
        Ok(entry.kind == EntryKind::Commit && heal.is_some_and(|heal| head_seq > heal.whole))
    }

    /// A commit counts. One whose author had seen the log as it is now ends the time in which heads say nothing; one that was given
    /// back tells that others had gone on before own messages of its epoch came: they are said again.
    pub(super) fn heal_commit(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        epoch: Epoch,
        head_seq: u64,
        head: &[u8],
    ) -> Done {
        let id = conversation.id;
        let Some(heal) = held::heal(turn.db, id)?.filter(|heal| heal.unsettled && !heal.open) else { return Ok(()) };
        if head_seq > heal.whole && crate::db::heads::get(turn.db, id, head_seq)?.is_some_and(|known| known == head) {
            return Ok(held::settled(turn.db, id)?);
        }
        // What was written since the first of several restores may have been written in an epoch that others had gone beyond.
        let again = held::behind(turn.db, id, epoch, heal.first)?;
        let waiting = if again.is_empty() { Vec::new() } else { outbox::list(turn.db, id, 0, usize::MAX >> 1)? };
        for seq in again {
            let seq = conversation.place(Seq(seq));
            let said = match messages::own_at(turn.db, id, seq)? {
                Some(message) => Some((message.id, message.content, message.sent)),
                None => crate::db::acts::own_at(turn.db, id, seq)?.map(|act| (act.id, act.content, act.sent)),
            };
            // Of what was taken back or has vanished meanwhile there is nothing left to say.
            let Some((said, content, sent)) = said.filter(|(_, content, _)| !content.is_empty()) else { continue };
            outbox::push(turn.db, id, Some(&said), &content, sent, false)?;
        }
        // It was written before all that waits, the wish to leave among it; and nothing of that is in the log of the ended epoch.
        for row in waiting {
            outbox::push_again(turn.db, id, &row)?;
        }
        Ok(())
    }

    /// Another own device has said again what this one was about to say again: once more would move it for everybody. Unless something
    /// that was written before it waits here, which the other one does not know to say.
    pub(super) fn said_by_another(&mut self, turn: &mut Turn<'_>, id: LogId, said: &[u8; 32]) -> Done {
        let first = outbox::list(turn.db, id, 0, 1)?.pop();
        if let Some(row) = first.filter(|row| row.message.as_ref() == Some(said) && row.sealed.is_none()) {
            outbox::remove(turn.db, row.n)?;
            self.message_settled(said);
        }
        Ok(())
    }

    /// What was done to a message came again under another entry id: it counts where it came last, like a message.
    pub(super) fn acts_again(&self, turn: &Turn<'_>, id: LogId, act: &[u8; 32]) -> Done {
        let before = crate::db::acts::get(turn.db, id, act)?;
        let Some(conversation) = conversations::get(turn.db, id)?.filter(|_| !before.is_empty()) else { return Ok(()) };
        let since = held::heal(turn.db, id)?.filter(|heal| heal.begun > 0);
        let since = since.map_or(u64::MAX, |heal| conversation.place(Seq(heal.since)));
        if before.iter().any(|before| conversation.waits_on_shelf(before.seq) || before.seq > since) {
            crate::db::acts::remove(turn.db, id, act)?;
        }
        Ok(())
    }

    /// A message came again under another entry id. Behind a restore it stands where it came last, for all.
    pub(super) fn message_again(&mut self, turn: &mut Turn<'_>, again: &messages::Message) -> Done {
        let id = again.conversation;
        let Some(before) = messages::get(turn.db, id, &again.id)? else { return Ok(()) };
        let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        let heal = held::heal(turn.db, id)?.filter(|heal| heal.begun > 0);
        let is_restored = heal.is_some_and(|heal| before.seq > conversation.place(Seq(heal.since)));
        let may_move = is_restored || conversation.waits_on_shelf(before.seq);
        if may_move && messages::move_to(turn.db, id, &again.id, again.seq, again.time)? {
            self.message_moved(turn, id, &again.id)?;
        }
        Ok(())
    }
}
