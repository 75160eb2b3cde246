//! Messages that vanish (protocol rule 14): counted down by every device from when its person has seen them, overwritten when their
//! time has come.

use api::{Event, Kind, MessageKind, Problem};
use content::{Body, MimiContent};
use wire::{LogId, UnixMillis};

use super::{Done, State, Turn};
use crate::db::conversations::Conversation;
use crate::db::messages::Message;
use crate::db::{acts, expiry, messages};
use crate::io::CommandId;
use crate::own_state::Change;
use crate::sync::resolve;

/// How long a message stays after it was seen, in ms, 0 for good; and when it goes in any case, in ms since the epoch, 0 if its sender did not say.
///
/// The shorter one of what the message says and of the conversation's timer counts: a sender can hurry, and not dodge. What is a year
/// and more from `time` (the log's, or the sender's while there is none) is nonsense to the draft, and says nothing here.
pub(crate) fn stay(content: &MimiContent, timer: u32, time: UnixMillis) -> (u64, u64) {
    let (own, at) = match content.expires.filter(|expires| expires.is_plausible(time.0 / 1_000)) {
        None => (0, 0),
        Some(expires) if expires.relative => (expires.seconds, 0),
        Some(expires) => (0, u64::from(expires.seconds) * 1_000),
    };
    let seconds = [own, timer].into_iter().filter(|seconds| *seconds != 0).min().unwrap_or(0);
    (u64::from(seconds) * 1_000, at)
}

/// When a message that nobody opens goes, if `at` says nothing nearer.
pub(crate) fn unopened(at: u64, time: UnixMillis) -> u64 {
    const TWO_WEEKS: u64 = 14 * 86_400_000;
    [at, time.plus(TWO_WEEKS).0].into_iter().filter(|at| *at != 0).min().unwrap_or(0)
}

impl State {
    /// Tells what a message says that is shown once, and overwrites it, in one transaction: nobody sees it twice, whatever crashes.
    pub(in crate::sync) fn open_once(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        message: &str,
    ) -> Done<Result<(), Problem>> {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        let message = match resolve::message(turn.db, conversation.id, message)? {
            Ok(message) => message,
            Err(problem) => return Ok(Err(problem)),
        };
        let MessageKind::ViewOnce { opened } = message.kind else {
            let next = "Read it in its conversation, where it stays.";
            return Ok(Err(Problem::new(Kind::Usage, "This message is not one that opens once.", "", next)));
        };
        let body = MimiContent::decode(&message.content).map(|content| content::interpret(&content));
        let (false, false, Ok(Body::Text { text, .. })) = (message.own, opened, body) else {
            let (what, why) = match message.own {
                true => ("You can't open this message.", "It is yours: only the others can look at it."),
                false => ("There is nothing to look at any more.", "It has been opened."),
            };
            return Ok(Err(Problem::new(Kind::Forbidden, what, why, "")));
        };
        let id = message.id;
        self.set_opened(turn, message)?;
        self.chose(turn, &Change::Opened(conversation.room().0.to_vec().into(), id.to_vec().into()))?;
        let message = data_encoding::HEXLOWER.encode(&id);
        turn.event(Event::Opened { command, message: message.clone(), text });
        turn.event(Event::Done { command, conversation: Some(conversation.id.to_string()), message: Some(message) });
        Ok(Ok(()))
    }

    /// Overwrites a message that opens once, here or on another own device.
    pub(in crate::sync) fn set_opened(&mut self, turn: &mut Turn<'_>, mut message: Message) -> Done {
        messages::purge(turn.db, message.conversation, &message.id)?;
        message.kind = MessageKind::ViewOnce { opened: true };
        messages::set_shown(turn.db, &message)?;
        self.message_changed(turn, message.conversation, &message.id)
    }

    /// Everybody has an own message that is shown once: nothing needs its words here any more.
    pub(in crate::sync) fn forget_once(&mut self, turn: &Turn<'_>, message: &Message) -> Done {
        if matches!(message.kind, MessageKind::ViewOnce { .. }) {
            messages::purge(turn.db, message.conversation, &message.id)?;
            messages::set_shown(turn.db, message)?;
        }
        Ok(())
    }

    /// A message may vanish earlier than any did.
    pub(in crate::sync) fn something_vanishes(&mut self) {
        self.vanishing = true;
    }

    /// An own message was sent: it is counted down from the time at which the relay had it, as on the account's other devices.
    pub(in crate::sync) fn sent_to_vanish(
        &mut self,
        turn: &Turn<'_>,
        conversation: &Conversation,
        id: &[u8; 32],
        time: u64,
    ) -> Done {
        let Some(message) = messages::get(turn.db, conversation.id, id)? else { return Ok(()) };
        let timer = u64::from(conversation.timer) * 1_000;
        let ttl = [message.ttl, timer].into_iter().filter(|ttl| *ttl != 0).min().unwrap_or(0);
        if ttl != 0 {
            expiry::start(turn.db, conversation.id, id, ttl, time.min(turn.now.0))?;
            self.something_vanishes();
        }
        Ok(())
    }

    /// Overwrites what has vanished, and tells.
    pub(in crate::sync) fn drive_vanishing(&mut self, turn: &mut Turn<'_>) -> Done {
        let mut conversations: Vec<LogId> = Vec::new();
        for (log, id) in expiry::due(turn.db, turn.now.0)? {
            if planted!(NothingVanishes) {
                break;
            }
            messages::purge(turn.db, log, &id)?;
            messages::set_hidden(turn.db, log, &id)?;
            acts::purge(turn.db, log, &id, None)?;
            self.message_gone(turn, log, &id);
            conversations.push(log);
        }
        conversations.sort_unstable();
        conversations.dedup();
        for log in conversations {
            self.conversation_changed(turn, log)?;
        }
        self.something_vanishes();
        Ok(())
    }

    /// Programs take it off their screens.
    pub(in crate::sync) fn message_gone(&self, turn: &mut Turn<'_>, log: LogId, id: &[u8; 32]) {
        let message = data_encoding::HEXLOWER.encode(id);
        turn.event(Event::MessageGone { conversation: log.to_string(), message });
    }

    /// Has the engine woken when the next message vanishes.
    pub(in crate::sync) fn wake_to_vanish(&mut self, turn: &mut Turn<'_>) -> Done {
        if std::mem::take(&mut self.vanishing)
            && let Some(at) = expiry::next(turn.db)?
        {
            turn.wake_at(UnixMillis(at));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use content::Expiration;

    use super::*;

    #[test]
    fn rule_14_the_shorter_time_counts() {
        let content = |expires| MimiContent { expires, ..content::text([0; 16], "x", None) };
        let relative = |seconds| content(Some(Expiration { relative: true, seconds }));
        let stay = |content, timer| stay(&content, timer, UnixMillis(1_790_000_000_000));
        assert_eq!(stay(content(None), 0), (0, 0));
        assert_eq!(stay(content(None), 60), (60_000, 0));
        assert_eq!(stay(relative(5), 60), (5_000, 0));
        assert_eq!(stay(relative(60), 5), (5_000, 0));
        assert_eq!(stay(relative(0), 0), (0, 0));
        let absolute = |seconds| content(Some(Expiration { relative: false, seconds }));
        assert_eq!(stay(absolute(1_800_000_000), 7), (7_000, 1_800_000_000_000));
        // A time that has passed; a hundred years; the year 1970.
        assert_eq!(stay(absolute(1_780_000_000), 0), (0, 1_780_000_000_000));
        assert_eq!(stay(relative(u32::MAX), 0), (0, 0));
        assert_eq!(stay(relative(u32::MAX), 60), (60_000, 0));
        assert_eq!(stay(absolute(0), 0), (0, 0));
    }
}
