//! Messages that are sent later: they wait in the database of this device, and go out when their time has come by its clock.
//!
//! What always holds: a message leaves the table in the transaction that puts it into the outbox, so it is sent once, whatever
//! crashes; one that can't be sent when its time comes is kept, with the reason, until the person throws it away. So is what was to
//! begin a conversation that came to nothing, if nobody waits for an answer any more: its conversation is gone, and it with it.

use api::{Event, Kind, MessageKind, Preview, Problem};
use content::{Body, MessageId, MimiContent};
use data_encoding::HEXLOWER;
use rusqlite::Connection;
use wire::{LogId, UnixMillis};

use super::messages::{Posted, Target, Text, checked_text, find_message, lifetime};
use super::{State, Tried, Turn, revoked};
use crate::db::conversations::{self, Conversation};
use crate::db::scheduled::{self, Scheduled};
use crate::db::{messages, outbox};
use crate::identity::Me;
use crate::io::CommandId;
use crate::sync::Done;

/// The farthest that anything is sent ahead, in ms.
const YEAR_MS: u64 = 366 * 86_400_000;
/// More than anybody plans by hand.
const MAX_SCHEDULED: u32 = 1_000;
/// A message that goes out so many ms after its time goes out late, and the person is told.
const LATE_MS: u64 = 60_000;

impl State {
    pub(super) fn schedule(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        at: u64,
        (target, text): (&str, String),
        (reply_to, preview, stays, view_once): (Option<&str>, Option<Preview>, u64, bool),
    ) -> Tried {
        // All that can be known today is said today.
        let checked = time(at, turn.now)
            .and_then(|()| lifetime(stays).map(drop))
            .and_then(|()| checked_text(&text, preview.as_ref()).map(drop));
        if let Err(problem) = checked {
            return Ok(Err(problem));
        }
        if scheduled::count(turn.db)? >= MAX_SCHEDULED {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "Too much is to be sent later.",
                format!("At most {MAX_SCHEDULED} messages can wait."),
                "Take one back first.",
            )));
        }
        let (conversation, address) = match self.target(turn, target)? {
            Ok(Target::Conversation(conversation)) => (Some(conversation.id), String::new()),
            Ok(Target::Address(address)) => (None, address.to_string()),
            Err(problem) => return Ok(Err(problem)),
        };
        let reply_to = match (reply_to, conversation) {
            (None, _) => None,
            (Some(prefix), Some(conversation)) => match find_message(turn, conversation, prefix)? {
                Ok(message) => Some(message.id),
                Err(problem) => return Ok(Err(problem)),
            },
            (Some(_), None) => return Ok(Err(super::no_conversation(target))),
        };
        let id = turn.random();
        let message =
            Scheduled { id, conversation, address, at, text, reply_to, preview, stays, view_once, problem: None };
        scheduled::put(turn.db, &message)?;
        self.scheduling = true;
        tell(turn, message)?;
        self.done(turn, command, conversation);
        Ok(Ok(()))
    }

    pub(super) fn unschedule(&mut self, turn: &mut Turn<'_>, command: CommandId, prefix: &str) -> Tried {
        let prefix = prefix.to_lowercase();
        let mut found = scheduled::all(turn.db)?;
        found.retain(|message| prefix.len() >= 4 && HEXLOWER.encode(&message.id).starts_with(&prefix));
        let message = match found.as_slice() {
            [message] => message,
            [] => {
                return Ok(Err(Problem::new(
                    Kind::NotFound,
                    "Nothing of that id waits to be sent.",
                    if prefix.len() < 4 { "At least four characters of its id are needed." } else { "" },
                    "Take its id from the list of what is to be sent later; what was sent is in its conversation.",
                )));
            }
            _ => {
                let what = "More than one of the messages that wait begins with that.";
                return Ok(Err(Problem::new(Kind::Usage, what, "", "Give more of its id.")));
            }
        };
        scheduled::remove(turn.db, &message.id)?;
        turn.event(Event::Unscheduled { scheduled: HEXLOWER.encode(&message.id), message: None });
        self.done(turn, command, message.conversation);
        Ok(Ok(()))
    }

    /// Sends what is due.
    pub(in crate::sync) fn drive_scheduled(&mut self, turn: &mut Turn<'_>) -> Done {
        if self.me.is_some() {
            for message in scheduled::due(turn.db, turn.now.0)? {
                self.send_due(turn, message)?;
            }
        }
        self.scheduling = true;
        Ok(())
    }

    fn send_due(&mut self, turn: &mut Turn<'_>, message: Scheduled) -> Done {
        let Posted { conversation, message: sent, .. } = match self.put_due(turn, &message)? {
            Ok(posted) => posted,
            Err(problem) => return not_sent(turn, message, problem),
        };
        if !(planted!(ScheduledTwice) && turn.below(2) == 0) {
            scheduled::remove(turn.db, &message.id)?;
        }
        let late = turn.now.0.saturating_sub(message.at);
        if late >= LATE_MS {
            let why = "This program was not running when its time came.";
            let problem = Problem::new(Kind::Local, format!("A message goes out {} late.", rough(late)), why, "");
            turn.event(Event::Notice { conversation: Some(conversation.to_string()), problem });
        }
        turn.event(Event::Unscheduled {
            scheduled: HEXLOWER.encode(&message.id),
            message: Some(HEXLOWER.encode(&sent)),
        });
        self.drive_intents(turn, conversation)?;
        self.pump(turn, conversation)
    }

    /// What a person does who sends it now, but for its options, which were checked.
    fn put_due(&mut self, turn: &mut Turn<'_>, message: &Scheduled) -> Done<Result<Posted, Problem>> {
        if self.me.as_ref().is_some_and(Me::revoked) {
            return Ok(Err(revoked()));
        }
        let (stays, preview) = match (lifetime(message.stays), checked_text(&message.text, message.preview.as_ref())) {
            (Ok(stays), Ok(preview)) => (stays, preview),
            (Err(problem), _) | (_, Err(problem)) => return Ok(Err(problem)),
        };
        let reply_to = message.reply_to.map(MessageId);
        let text = Text { body: &message.text, reply_to, preview, stays, once: message.view_once };
        let target = message.conversation.map_or_else(|| message.address.clone(), |id| id.to_string());
        self.put(turn, &target, |turn, conversation| Ok(Ok(text.content(turn, conversation)?)))
    }

    /// Keeps what was written to somebody with whom the conversation came to nothing, before it is forgotten: but for what a
    /// command waits for, whose author is told at once and has the text at hand.
    pub(in crate::sync) fn keep_unsent(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        problem: &Problem,
    ) -> Done {
        let Some(address) = conversation.peer.clone() else { return Ok(()) };
        for row in outbox::list(turn.db, conversation.id, i64::MIN, usize::MAX)? {
            let Some(id) = row.message.filter(|message| !self.is_waited_for(message)) else { continue };
            let (Some(stored), Ok(content)) =
                (messages::get(turn.db, conversation.id, &id)?, MimiContent::decode(&row.content))
            else {
                continue;
            };
            let (text, preview) = match (stored.kind, content::interpret(&content)) {
                (MessageKind::Text { text }, _) => (text, stored.more.preview),
                (MessageKind::ViewOnce { .. }, Body::Text { text, .. }) => (text, None),
                (MessageKind::Deleted { .. }, _) => continue,
                _ => {
                    turn.event(Event::Notice { conversation: None, problem: problem.clone() });
                    continue;
                }
            };
            let message = Scheduled {
                id: turn.random(),
                conversation: None,
                address: address.clone(),
                at: row.sent,
                text,
                reply_to: None,
                preview,
                stays: content.expires.map_or(0, |expires| expires.seconds.into()),
                view_once: content::is_view_once(&content),
                problem: None,
            };
            scheduled::put(turn.db, &message)?;
            not_sent(turn, message, problem.clone())?;
        }
        Ok(())
    }

    /// Has the engine woken when the next message is to be sent.
    pub(in crate::sync) fn wake_to_send(&mut self, turn: &mut Turn<'_>) -> Done {
        if std::mem::take(&mut self.scheduling)
            && let Some(at) = scheduled::next(turn.db)?
        {
            turn.wake_at(UnixMillis(at));
        }
        Ok(())
    }
}

/// A time at which something can be sent.
fn time(at: u64, now: UnixMillis) -> Result<(), Problem> {
    let what = match at {
        at if at <= now.0 => "That time has passed.",
        at if at - now.0 > YEAR_MS => "That is more than a year from now.",
        _ => return Ok(()),
    };
    Err(Problem::new(Kind::Usage, what, "", "Name a time that is still to come, within a year."))
}

/// It is kept, and the person is told why.
fn not_sent(turn: &mut Turn<'_>, message: Scheduled, problem: Problem) -> Done {
    scheduled::set_problem(turn.db, &message.id, &problem)?;
    let why = [problem.what.as_str(), problem.why.as_str()].join(" ");
    let notice = Problem::new(
        problem.kind,
        "A message that was to go out now was not sent.",
        why.trim_end(),
        "It is kept among what is to be sent later: send it yourself, or throw it away.",
    );
    let conversation = message.conversation.map(|id| id.to_string());
    turn.event(Event::Notice { conversation, problem: notice });
    tell(turn, Scheduled { problem: Some(problem), ..message })
}

fn tell(turn: &mut Turn<'_>, message: Scheduled) -> Done {
    let scheduled = Box::new(view(turn.db, message)?);
    turn.event(Event::Scheduled { scheduled });
    Ok(())
}

/// A length of time in words, as exactly as anybody wants to know.
fn rough(ms: u64) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute")];
    let (unit, name) = units.into_iter().find(|(unit, _)| ms >= *unit).unwrap_or((60_000, "minute"));
    match ms / unit {
        1 => format!("1 {name}"),
        several => format!("{several} {name}s"),
    }
}

/// What is to be sent later: to one conversation, or to any.
pub(crate) fn views(db: &Connection, of: Option<&Conversation>) -> rusqlite::Result<Vec<api::Scheduled>> {
    let is_there = |message: &Scheduled| {
        of.is_none_or(|of| {
            message.conversation.map_or(of.peer.as_deref() == Some(message.address.as_str()), |id: LogId| id == of.id)
        })
    };
    scheduled::all(db)?.into_iter().filter(is_there).map(|message| view(db, message)).collect()
}

fn view(db: &Connection, message: Scheduled) -> rusqlite::Result<api::Scheduled> {
    let to = match message.conversation {
        Some(id) => conversations::get(db, id)?.map(|conversation| conversation.name),
        None => Some(message.address),
    };
    Ok(api::Scheduled {
        id: HEXLOWER.encode(&message.id),
        conversation: message.conversation.map(|id| id.to_string()),
        to: to.unwrap_or_default(),
        at: message.at,
        text: message.text,
        reply_to: message.reply_to.map(|id| HEXLOWER.encode(&id)),
        preview: message.preview,
        stays: message.stays,
        view_once: message.view_once,
        problem: message.problem,
    })
}
