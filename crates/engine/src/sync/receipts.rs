//! Receipts: which messages have arrived and which were read, batched, in conversations of at most 32 accounts.

use api::{MessageStatus, Standing};
use content::{MAX_RANGES, Receipts};
use wire::{Address, LogId};

use super::entries::RECEIPT_ACCOUNTS;
use super::{Done, State, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::{messages, outbox};

/// Whether others hear what was read here and the person what they have read: the name of the choice in the table `meta`.
pub(crate) const READ_RECEIPTS: &str = "read receipts";

/// What the person has chosen; on from the start.
pub(crate) fn are_on(db: &rusqlite::Connection) -> rusqlite::Result<bool> {
    Ok(crate::db::meta(db, READ_RECEIPTS)?.unwrap_or(true))
}

/// Places that one batch names at most; they make far fewer ranges, most often.
const BATCH: u32 = (MAX_RANGES / 2) as u32;

impl State {
    /// Reports what is due, at most once in a pause for each conversation.
    pub(super) fn drive_receipts(&mut self, turn: &mut Turn<'_>) -> Done {
        for id in messages::owing(turn.db)? {
            let Some(mut conversation) = conversations::get(turn.db, id)? else {
                messages::forgive(turn.db, id)?;
                continue;
            };
            let accounts = conversations::members(turn.db, id)?.len();
            if accounts > RECEIPT_ACCOUNTS || !matches!(conversation.standing, Standing::Active | Standing::Held) {
                messages::forgive(turn.db, id)?;
                continue;
            }
            if !self.is_caught_up(&conversation) {
                continue;
            }
            let due = conversation.last_receipt.saturating_add(self.options.receipt_pause_ms);
            if due > turn.now.0 {
                turn.wake_at(wire::UnixMillis(due));
                continue;
            }
            // Receipts name places in the log; of what was said in a predecessor nobody can be told here.
            let offset = conversation.line.offset;
            let in_log = |places: Vec<u64>| {
                let seqs = places.into_iter().filter_map(|place| place.checked_sub(offset).filter(|seq| *seq > 0));
                seqs.map(|seq| (seq, seq)).collect()
            };
            let receipts = Receipts {
                delivered: in_log(messages::take_due(turn.db, id, 1, BATCH)?),
                read: in_log(messages::take_due(turn.db, id, 2, BATCH)?),
            };
            if receipts.delivered.is_empty() && receipts.read.is_empty() {
                continue;
            }
            conversation.last_receipt = turn.now.0;
            conversations::put(turn.db, &conversation)?;
            let content = content::receipts(turn.random(), &receipts).encode();
            outbox::push(turn.db, id, None, &content, turn.now.0, false)?;
            self.pump(turn, id)?;
            turn.wake_at(turn.now.plus(self.options.receipt_pause_ms));
        }
        Ok(())
    }

    /// The person has seen all up to a message.
    pub(super) fn mark_read(&mut self, turn: &mut Turn<'_>, id: LogId, seq: u64) -> Done {
        let told = are_on(turn.db)?;
        for seq in messages::mark_read(turn.db, id, seq, turn.now.0)? {
            if told {
                messages::owe_receipt(turn.db, id, seq, 2)?;
            }
        }
        self.chose_read(turn, id, seq)?;
        self.something_vanishes();
        self.looked_at(turn, id, false)?;
        self.conversation_changed(turn, id)?;
        self.drive_receipts(turn)
    }

    /// Another device reports. From an own one it moves the own read mark; from others, the ticks.
    pub(super) fn receipts_received(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        from: &Address,
        own: bool,
        receipts: &Receipts,
    ) -> Done {
        let id = conversation.id;
        if own {
            if let Some((_, last)) = receipts.read.last() {
                // What another own device has shown need not be reported again.
                let seen = turn.entry_time.map_or(turn.now, |time| time.min(turn.now));
                messages::mark_read(turn.db, id, conversation.place(wire::Seq(*last)), seen.0)?;
                self.something_vanishes();
                self.conversation_changed(turn, id)?;
            }
            return Ok(());
        }
        let members = conversations::members(turn.db, id)?;
        // Nobody reports in a larger group; a program that does is not listened to.
        if members.len() > RECEIPT_ACCOUNTS {
            return Ok(());
        }
        let me = self.me.as_ref().map(|me| me.address.to_string());
        let others = members.iter().filter(|member| Some(&member.address) != me.as_ref()).count() as u32;
        // Who doesn't tell isn't told; that it has arrived is in it, too.
        let read = if are_on(turn.db)? { 2 } else { 1 };
        for (ranges, level) in [(&receipts.delivered, 1), (&receipts.read, read)] {
            for range in ranges {
                let place = |seq: u64| conversation.place(wire::Seq(seq));
                let range = (place(range.0.max(1)), place(range.1));
                let changed = messages::receive_receipt(turn.db, id, from.as_str(), range, level, others.max(1))?;
                for message in changed {
                    debug_assert!(message.status >= MessageStatus::Delivered);
                    self.forget_once(turn, &message)?;
                    self.message_changed(turn, id, &message.id)?;
                }
            }
        }
        Ok(())
    }
}
