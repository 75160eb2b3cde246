//! What people do to messages, and messages that are more than text.

use std::time::Duration;

use api::{Command, Event, Kind, Location, Message, Problem, Query, View};

use super::messages::{Which, given_text, named_message, sent};
use crate::args::Poll;
use crate::bubble;
use crate::names::unexpected;
use crate::session::Session;
use crate::terminal::{Paint, clean, isolate};

/// Nothing but the own disk is asked.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

pub fn react(
    session: &mut Session<'_>,
    conversation: &str,
    message: &str,
    emoji: &str,
    remove: bool,
) -> Result<(), Problem> {
    let (conversation, message) = named(session, conversation, message, Which::Others)?;
    let command = Command::React { conversation, message, emoji: emoji.to_owned(), remove };
    let emoji = isolate(&clean(emoji)).into_owned();
    let said = if remove { format!("Took {emoji} back.") } else { format!("Reacted with {emoji}.") };
    act(session, command, &said)
}

/// Shows what can be seen once. It is gone from the database before it is printed: nobody sees it twice, whatever happens.
pub fn open(session: &mut Session<'_>, conversation: &str, message: &str) -> Result<(), Problem> {
    let (conversation, message) = named(session, conversation, message, Which::Others)?;
    let mut opened = None;
    session.run_with("Opening", Command::Open { conversation, message }, OPEN_TIMEOUT, |event| {
        if let Event::Opened { text, .. } = event {
            opened = Some((event.clone(), text.clone()));
        }
    })?;
    let Some((event, text)) = opened else { return Ok(()) };
    let terminal = session.terminal;
    if terminal.json {
        terminal.event(event);
    } else {
        let own = session.account()?;
        terminal.line(bubble::text(&session.lines(&own.address), terminal, &text));
    }
    Ok(())
}

pub fn edit(session: &mut Session<'_>, conversation: &str, message: &str, text: &[String]) -> Result<(), Problem> {
    let text = given_text(text)?;
    let (conversation, message) = named(session, conversation, message, Which::Own)?;
    act(session, Command::Edit { conversation, message, text, preview: None }, "Edited.")
}

pub fn delete(session: &mut Session<'_>, conversation: &str, message: &str, for_everyone: bool) -> Result<(), Problem> {
    let (conversation, message) = named(session, conversation, message, Which::Own)?;
    let said = if for_everyone {
        "Deleted for everyone. Who has read it may remember it."
    } else {
        "Deleted for you; the others still have it."
    };
    act(session, Command::Delete { conversation, message, for_everyone }, said)
}

pub fn forward(session: &mut Session<'_>, conversation: &str, message: &str, to: &str) -> Result<(), Problem> {
    let (conversation, message) = named(session, conversation, message, Which::Others)?;
    let to = session.target(to)?;
    let made = session.run("Forwarding", Command::Forward { conversation, message, to: to.clone() })?;
    sent(session, made, &to)
}

pub fn pin(session: &mut Session<'_>, conversation: &str, message: &str, pinned: bool) -> Result<(), Problem> {
    let (conversation, message) = named(session, conversation, message, Which::Any)?;
    let said = if pinned { "Pinned." } else { "No longer pinned." };
    act(session, Command::Pin { conversation, message, pinned }, said)
}

pub fn pins(session: &mut Session<'_>, conversation: &str) -> Result<(), Problem> {
    let own = session.account()?;
    let pinned = match session.query(Query::Pins { conversation: conversation.to_owned() })? {
        View::Messages(messages) => messages,
        other => return Err(unexpected(&other)),
    };
    let terminal = session.terminal;
    if terminal.json {
        pinned.iter().for_each(|message| terminal.object(message));
    } else if pinned.is_empty() {
        terminal.line("Nothing is pinned here.");
    } else {
        let lines = session.lines(&own.address);
        pinned.iter().for_each(|message| lines.message(message, true));
    }
    Ok(())
}

pub fn history(session: &mut Session<'_>, conversation: &str, message: &str) -> Result<(), Problem> {
    let own = session.account()?;
    let (conversation, message) = named(session, conversation, message, Which::Any)?;
    let revisions = match session.query(Query::Revisions { conversation, message })? {
        View::Revisions(revisions) => revisions,
        other => return Err(unexpected(&other)),
    };
    let terminal = session.terminal;
    let lines = session.lines(&own.address);
    if terminal.json {
        revisions.iter().for_each(|revision| terminal.object(revision));
    } else if revisions.is_empty() {
        terminal.line("It is no text, or it was deleted.");
    } else {
        revisions.iter().for_each(|revision| lines.revision(revision));
    }
    Ok(())
}

pub fn poll(session: &mut Session<'_>, poll: &Poll) -> Result<(), Problem> {
    match poll {
        Poll::Create { conversation, question, options, multiple } => {
            session.account()?;
            let to = session.target(conversation)?;
            let (question, options, multiple) = (question.clone(), options.clone(), *multiple);
            let command = Command::CreatePoll { conversation: to.clone(), question, options, multiple };
            let made = session.run("Sending", command)?;
            sent(session, made, &to)
        }
        Poll::Vote { conversation, poll, options } => {
            let (conversation, poll) = named(session, conversation, poll, Which::Poll)?;
            let places = options.iter().map(|number| number.checked_sub(1)).collect::<Option<Vec<u32>>>();
            let options = places.ok_or_else(|| {
                Problem::new(Kind::Usage, "The poll has no such option.", "They count from 1 on.", "")
            })?;
            let said = if options.is_empty() { "Took your vote back." } else { "Voted." };
            act(session, Command::Vote { conversation: conversation.clone(), poll: poll.clone(), options }, said)?;
            results(session, conversation, poll)
        }
        Poll::Close { conversation, poll } => {
            let (conversation, poll) = named(session, conversation, poll, Which::Poll)?;
            act(session, Command::ClosePoll { conversation: conversation.clone(), poll: poll.clone() }, "Closed.")?;
            results(session, conversation, poll)
        }
    }
}

pub fn contact(session: &mut Session<'_>, conversation: &str, who: &str, name: &str) -> Result<(), Problem> {
    session.account()?;
    let to = session.target(conversation)?;
    let address = session.address(who)?;
    let made =
        session.run("Sending", Command::SendContact { conversation: to.clone(), address, name: name.to_owned() })?;
    sent(session, made, &to)
}

pub fn location(session: &mut Session<'_>, conversation: &str, location: Location) -> Result<(), Problem> {
    session.account()?;
    let to = session.target(conversation)?;
    let made = session.run("Sending", Command::SendLocation { conversation: to.clone(), location })?;
    sent(session, made, &to)
}

/// The ids of a conversation and of a message in it.
fn named(
    session: &mut Session<'_>,
    conversation: &str,
    message: &str,
    which: Which,
) -> Result<(String, String), Problem> {
    session.account()?;
    let query = Query::Conversation { conversation: conversation.to_owned() };
    let found = match session.query(query.clone()) {
        // It may be new, or have another name by now.
        Err(problem) if problem.kind == Kind::NotFound => {
            session.freshen();
            session.query(query)
        }
        found => found,
    };
    let conversation = match found? {
        View::Conversation(conversation) => conversation.id,
        other => return Err(unexpected(&other)),
    };
    let message = named_message(session, &conversation, message, which)?;
    Ok((conversation, message))
}

/// Does it and says so.
fn act(session: &mut Session<'_>, command: Command, said: &str) -> Result<(), Problem> {
    let made = session.run("Telling the others", command)?;
    let terminal = session.terminal;
    if terminal.json {
        terminal.event(Event::Done { command: 0, conversation: made.conversation, message: made.message });
    } else {
        let (first, rest) = said.split_once([' ', '.']).map_or((said, ""), |(first, _)| said.split_at(first.len()));
        terminal.line(format!("{}{rest}", terminal.paint(Paint::Good, first)));
    }
    Ok(())
}

/// A poll as it stands.
fn results(session: &Session<'_>, conversation: String, message: String) -> Result<(), Problem> {
    if session.terminal.json {
        return Ok(());
    }
    let own = session.account()?;
    let message: Box<Message> = match session.query(Query::Message { conversation, message })? {
        View::Message(message) => message,
        other => return Err(unexpected(&other)),
    };
    session.lines(&own.address).message(&message, false);
    Ok(())
}
