//! How one keeps one's conversations: muted, archived, at the top, marked unread, with a draft.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::{Command, Conversation, FOREVER, Problem, Query, View};

use super::messages::{given_text, millis};
use crate::lines::span;
use crate::names::unexpected;
use crate::session::Session;
use crate::terminal::clean;

/// `length` from now on; without one, until it is taken back.
pub fn mute(session: &mut Session<'_>, conversation: &str, length: Option<Duration>) -> Result<(), Problem> {
    let until = length.map_or(FOREVER, |length| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.saturating_add(length).as_millis()).unwrap_or(FOREVER).min(FOREVER)
    });
    let kept = arrange(session, Command::Mute { conversation: conversation.to_owned(), until })?;
    let lines = session.lines("");
    let until = match kept.muted_until {
        FOREVER => "until you take it back".to_owned(),
        until => format!("until {}", lines.time(until)),
    };
    say(session, &kept, &format!("is muted {until}."));
    Ok(())
}

/// Sets the timer of a conversation, or shows it.
pub fn timer(session: &mut Session<'_>, conversation: &str, length: Option<Duration>) -> Result<(), Problem> {
    session.account()?;
    let kept = match length {
        None => look(session, conversation)?,
        Some(length) => {
            let timer = millis(length);
            let command = Command::SetTimer { conversation: conversation.to_owned(), timer };
            let made = session.run("Setting the timer", command)?;
            look(session, &made.conversation.unwrap_or_default())?
        }
    };
    let what = match kept.timer {
        0 => "has no timer: messages stay.".to_owned(),
        timer => format!("has a timer: messages vanish {} after they were seen.", span(timer)),
    };
    say(session, &kept, &what);
    Ok(())
}

pub fn unmute(session: &mut Session<'_>, conversation: &str) -> Result<(), Problem> {
    let kept = arrange(session, Command::Mute { conversation: conversation.to_owned(), until: 0 })?;
    say(session, &kept, "is not muted.");
    Ok(())
}

pub fn archive(session: &mut Session<'_>, conversation: &str, archived: bool) -> Result<(), Problem> {
    let kept = arrange(session, Command::Archive { conversation: conversation.to_owned(), archived })?;
    let text = if archived { "is archived: transom list --archived shows it." } else { "is back in the list." };
    say(session, &kept, text);
    Ok(())
}

pub fn top(session: &mut Session<'_>, conversation: &str, pinned: bool) -> Result<(), Problem> {
    let kept = arrange(session, Command::PinToTop { conversation: conversation.to_owned(), pinned })?;
    say(session, &kept, if pinned { "stays at the top of the list." } else { "is in the list by its age." });
    Ok(())
}

pub fn unread(session: &mut Session<'_>, conversation: &str) -> Result<(), Problem> {
    let kept = arrange(session, Command::MarkUnread { conversation: conversation.to_owned() })?;
    say(session, &kept, "is marked unread.");
    Ok(())
}

/// Keeps a draft, throws it away, or shows it.
pub fn draft(session: &mut Session<'_>, conversation: &str, text: &[String], clear: bool) -> Result<(), Problem> {
    session.account()?;
    if text.is_empty() && !clear {
        let kept = look(session, conversation)?;
        if session.terminal.json || kept.draft.is_empty() {
            say(session, &kept, "has no draft.");
        } else {
            // As it was written: it is for the one who wrote it.
            kept.draft.lines().for_each(|line| session.terminal.line(clean(line)));
        }
        return Ok(());
    }
    let text = if clear { String::new() } else { given_text(text)? };
    let kept = arrange(session, Command::Draft { conversation: conversation.to_owned(), text })?;
    say(session, &kept, if clear { "has no draft." } else { "has a draft; nobody else sees it." });
    Ok(())
}

fn arrange(session: &mut Session<'_>, command: Command) -> Result<Conversation, Problem> {
    session.account()?;
    let made = session.run("Keeping that", command)?;
    look(session, &made.conversation.unwrap_or_default())
}

fn look(session: &Session<'_>, conversation: &str) -> Result<Conversation, Problem> {
    match session.query(Query::Conversation { conversation: conversation.to_owned() })? {
        View::Conversation(conversation) => Ok(*conversation),
        other => Err(unexpected(&other)),
    }
}

fn say(session: &Session<'_>, conversation: &Conversation, what: &str) {
    let terminal = session.terminal;
    if terminal.json {
        return terminal.object(conversation);
    }
    let own = session.account().map(|own| own.address).unwrap_or_default();
    terminal.line(format!("{} {what}", session.lines(&own).title(conversation)));
}
