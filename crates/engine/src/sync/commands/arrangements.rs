//! How the own account keeps its conversations: muted, archived, pinned to the top, marked unread, with a draft.

use api::{FOREVER, Kind, Problem};
use wire::LogId;

use super::messages::MAX_TEXT;
use super::{State, Tried, Turn};
use crate::db::arrangements::{self, Arrangement};
use crate::io::CommandId;
use crate::sync::Done;

/// Conversations at the top of the list; with more of them it would be no top.
const MAX_PINNED: u32 = 5;

impl State {
    pub(super) fn mute(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, until: u64) -> Tried {
        let now = turn.now.0;
        self.arrange(turn, command, target, |kept| {
            // A time that has passed mutes nothing.
            kept.muted_until = if until > now { until.min(FOREVER) } else { 0 };
        })
    }

    pub(super) fn archive(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, archived: bool) -> Tried {
        self.arrange(turn, command, target, |kept| {
            kept.archived = archived;
            if archived {
                kept.pinned = 0;
            }
        })
    }

    pub(super) fn pin_to_top(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, pinned: bool) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        let is_pinned = arrangements::get(turn.db, conversation.id)?.pinned > 0;
        if pinned && !is_pinned && arrangements::pinned(turn.db)? >= MAX_PINNED {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "There is no more room at the top.",
                format!("At most {MAX_PINNED} conversations can be there."),
                "Take another one down first.",
            )));
        }
        let now = turn.now.0;
        self.arrange(turn, command, target, |kept| match (pinned, is_pinned) {
            (true, false) => {
                kept.pinned = now.max(1);
                kept.archived = false;
            }
            (true, true) => {}
            (false, _) => kept.pinned = 0,
        })
    }

    pub(super) fn mark_unread(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str) -> Tried {
        self.arrange(turn, command, target, |kept| kept.unread = true)
    }

    pub(super) fn draft(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, text: &str) -> Tried {
        if text.len() > MAX_TEXT {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "The draft is too long.",
                format!("It has {} bytes; at most {MAX_TEXT} are possible.", text.len()),
                "Keep it in parts.",
            )));
        }
        self.arrange(turn, command, target, |kept| text.trim_end().clone_into(&mut kept.draft))
    }

    fn arrange(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        change: impl FnOnce(&mut Arrangement),
    ) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        let before = arrangements::get(turn.db, conversation.id)?;
        let mut kept = before.clone();
        change(&mut kept);
        arrangements::put(turn.db, conversation.id, &kept)?;
        self.chose_arrangement(turn, conversation.id, &before, &kept)?;
        self.conversation_changed(turn, conversation.id)?;
        self.done(turn, command, Some(conversation.id));
        Ok(Ok(()))
    }

    /// Somebody has written at this time: an archived conversation is back in the list, unless it is muted or was archived since.
    pub(in crate::sync) fn unarchive(&mut self, turn: &mut Turn<'_>, id: LogId, time: u64) -> Done {
        let before = arrangements::get(turn.db, id)?;
        if before.archived && before.muted_until <= turn.now.0 && !self.archived_since(turn, id, time)? {
            let kept = Arrangement { archived: false, ..before.clone() };
            arrangements::put(turn.db, id, &kept)?;
            self.chose_arrangement(turn, id, &before, &kept)?;
            self.conversation_changed(turn, id)?;
        }
        Ok(())
    }

    /// The person was in the conversation: it is no longer marked unread, and what was `sent` is no draft any more.
    pub(in crate::sync) fn looked_at(&mut self, turn: &mut Turn<'_>, id: LogId, sent: bool) -> Done {
        let mut kept = arrangements::get(turn.db, id)?;
        let before = kept.clone();
        kept.unread = false;
        if sent {
            kept.draft.clear();
            kept.archived = false;
        }
        if kept != before {
            arrangements::put(turn.db, id, &kept)?;
            self.chose_arrangement(turn, id, &before, &kept)?;
            self.conversation_changed(turn, id)?;
        }
        Ok(())
    }
}
