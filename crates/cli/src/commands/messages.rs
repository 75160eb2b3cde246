//! Writing and reading.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use api::{
    Command, Conversation, ConversationKind, Event, Kind, Message, MessageKind, MessageStatus, Preview, Problem, Query,
    Standing, View,
};

use crate::lines::{Lines, short_id};
use crate::names::unexpected;
use crate::session::{Made, Session};
use crate::terminal::{Paint, clean};

/// How many messages of a conversation are looked at for one that is named by a part of its id.
const LOOK_BACK: u32 = 1_000;
/// The largest text that is read from standard input; what a relay takes is less.
const MAX_TEXT: u64 = 1 << 20;

/// What a text goes with.
pub struct Beside<'a> {
    pub reply_to: Option<&'a str>,
    pub preview: &'a [String],
    pub stays: Option<Duration>,
    pub once: bool,
    pub at: Option<&'a str>,
}

pub fn send(session: &mut Session<'_>, to: &str, text: &[String], beside: &Beside<'_>) -> Result<(), Problem> {
    session.account()?;
    let at = beside.at.map(super::scheduled::time).transpose()?;
    let conversation = session.target(to)?;
    let text = given_text(text)?;
    let reply_to = match beside.reply_to {
        None => None,
        Some(wanted) => Some(named_message(session, &conversation, wanted, Which::Others)?),
    };
    let preview = match beside.preview {
        [url, title, description] => {
            Some(Preview { url: url.clone(), title: title.clone(), description: description.clone() })
        }
        _ => None,
    };
    let stays = beside.stays.map_or(0, millis);
    let (conversation_id, view_once) = (conversation.clone(), beside.once);
    if let Some(at) = at {
        let conversation = conversation_id;
        let command = Command::Schedule { at, conversation, text, reply_to, preview, stays, view_once };
        return super::scheduled::schedule(session, command);
    }
    let command = Command::Send { conversation: conversation_id, text, reply_to, preview, stays, view_once };
    let made = session.run("Sending", command)?;
    sent(session, made, &conversation)
}

/// A length of time as the engine counts it.
pub fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// Says where a message has gone.
pub fn sent(session: &Session<'_>, made: Made, conversation: &str) -> Result<(), Problem> {
    let own = session.account()?;
    let terminal = session.terminal;
    if terminal.json {
        terminal.event(Event::Done { command: 0, conversation: made.conversation, message: made.message });
        return Ok(());
    }
    let lines = session.lines(&own.address);
    let id = made.conversation.unwrap_or_else(|| conversation.to_owned());
    let conversation = match session.query(Query::Conversation { conversation: id.clone() }) {
        Ok(View::Conversation(conversation)) => lines.title(&conversation),
        _ => clean(&id).into_owned(),
    };
    terminal.line(format!("{} to {conversation}.", terminal.paint(Paint::Good, "Sent")));
    let unread: u32 = session.conversations()?.iter().map(|conversation| conversation.unread).sum();
    if unread > 0 && terminal.is_terminal() {
        let messages = if unread == 1 { "message waits" } else { "messages wait" };
        terminal.note(format!("{unread} new {messages} for you: transom receive"));
    }
    Ok(())
}

/// The words of the command line, or standard input.
pub fn given_text(text: &[String]) -> Result<String, Problem> {
    let text = match text {
        [dash] if dash == "-" => standard_input()?,
        words => words.join(" "),
    };
    if text.trim().is_empty() {
        return Err(Problem::new(Kind::Usage, "There is nothing to send: the text is empty.", "", ""));
    }
    Ok(text)
}

pub fn receive(session: &mut Session<'_>) -> Result<(), Problem> {
    let own = session.account()?;
    let (mut invitations, mut requests) = (Vec::new(), Vec::new());
    let caught_up = session.catch_up(|event| {
        if let Event::Invitation { invitation } = event {
            invitations.push(invitation.clone());
        }
        if let Event::JoinRequest { request } = event {
            requests.push(request.clone());
        }
    });
    // What has come so far is printed also if not everything could be fetched.
    let printed = unread(session)?;
    let terminal = session.terminal;
    if terminal.json {
        invitations.into_iter().for_each(|invitation| terminal.event(Event::Invitation { invitation }));
        requests.into_iter().for_each(|request| terminal.event(Event::JoinRequest { request }));
    } else {
        let lines = session.lines(&own.address);
        invitations.iter().for_each(|invitation| lines.invitation(invitation));
        requests.iter().for_each(|request| lines.join_request(request));
        if printed == 0 && invitations.is_empty() && requests.is_empty() && caught_up.is_ok() {
            terminal.line("Nothing new.");
        }
    }
    caught_up
}

pub fn watch(session: &mut Session<'_>) -> Result<(), Problem> {
    let own = session.account()?;
    unread(session)?;
    if !session.terminal.json {
        session.terminal.note("Watching. Ctrl+C ends it.");
    }
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    // Whether anybody is told is the person's choice.
    let there = session.tell(Command::Presence { here: true });
    session.follow(|session, event| {
        let terminal = session.terminal;
        if matches!(event, Event::Done { command, .. } if *command == there) {
            return;
        }
        let lines = session.lines(&own.address);
        if let Event::Message { message } = event
            && message.status == MessageStatus::Received
        {
            mark_read(session, &message.conversation, &message.id);
        }
        if terminal.json {
            return terminal.event(event.clone());
        }
        match event {
            Event::Conversation { conversation } => {
                names.insert(conversation.id.clone(), lines.title(conversation));
            }
            Event::Message { message } => {
                let id = &message.conversation;
                let title = names.entry(id.clone()).or_insert_with(|| title(session, &lines, id));
                terminal.line(terminal.paint(Paint::Strong, title));
                lines.message(message, false);
            }
            Event::Typing { conversation: id, from, typing: true } => {
                let title = names.entry(id.clone()).or_insert_with(|| title(session, &lines, id));
                let name = lines.name(from);
                let place = if *title == name { String::new() } else { format!(" in {title}") };
                terminal.note(format!("{name} is typing{place} …"));
            }
            Event::Presence { address, online, .. } => {
                let what = if *online { "is online" } else { "is no longer online" };
                terminal.note(format!("{} {what}", lines.name(address)));
            }
            Event::Scheduled { scheduled } if scheduled.problem.is_some() => {
                terminal.note("Look at what was not sent: transom scheduled");
            }
            Event::Invitation { invitation } => lines.invitation(invitation),
            Event::JoinRequest { request } => lines.join_request(request),
            Event::Notice { problem, .. } => terminal.notice(problem),
            Event::Connection { relay, up } => {
                let state = if *up { "connected" } else { "disconnected; coming back by itself" };
                terminal.note(format!("{}: {state}", clean(relay)));
            }
            Event::Devices => terminal.note("Your devices have changed: transom devices list"),
            _ => {}
        }
    })?;
    session.tell_last(Command::Presence { here: false });
    Ok(())
}

/// What a conversation is called.
fn title(session: &Session<'_>, lines: &Lines<'_>, id: &str) -> String {
    match session.query(Query::Conversation { conversation: id.to_owned() }) {
        Ok(View::Conversation(conversation)) => lines.title(&conversation),
        _ => short_id(id).to_owned(),
    }
}

pub fn list(session: &mut Session<'_>, archived: bool) -> Result<(), Problem> {
    let own = session.account()?;
    let mut conversations = session.conversations()?;
    let has_any = !conversations.is_empty();
    conversations.retain(|conversation| conversation.archived == archived);
    let terminal = session.terminal;
    if terminal.json {
        conversations.iter().for_each(|conversation| terminal.object(conversation));
    } else if conversations.is_empty() && archived {
        terminal.line("Nothing is archived.");
    } else if conversations.is_empty() && has_any {
        terminal.line("All conversations are archived: transom list --archived");
    } else if conversations.is_empty() {
        terminal.line("No conversations yet. Start one: transom send NAME@RELAY \"hello\"");
    } else {
        session.lines(&own.address).list(&conversations);
    }
    Ok(())
}

pub fn show(session: &mut Session<'_>, conversation: &str, limit: u32, ids: bool) -> Result<(), Problem> {
    let own = session.account()?;
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
        View::Conversation(conversation) => conversation,
        other => return Err(unexpected(&other)),
    };
    let messages = messages(session, &conversation.id, limit)?;
    let terminal = session.terminal;
    if terminal.json {
        terminal.object(&conversation);
        messages.iter().for_each(|message| terminal.object(message));
    } else {
        let lines = session.lines(&own.address);
        lines.heading(&conversation);
        messages.iter().for_each(|message| lines.message(message, ids));
        let query = Query::Scheduled { conversation: Some(conversation.id.clone()) };
        super::scheduled::waiting(session, query)?.iter().for_each(|message| lines.scheduled(message, None));
    }
    if let Some(last) = messages.iter().rev().find(|message| message.status == MessageStatus::Received) {
        mark_read(session, &conversation.id, &last.id);
    } else if let (true, Some(last)) = (conversation.marked_unread, messages.last()) {
        mark_read(session, &conversation.id, &last.id);
    }
    Ok(())
}

pub fn search(session: &mut Session<'_>, text: &str, limit: u32) -> Result<(), Problem> {
    let own = session.account()?;
    let found = match session.query(Query::Search { text: text.to_owned(), limit })? {
        View::Messages(messages) => messages,
        other => return Err(unexpected(&other)),
    };
    let terminal = session.terminal;
    if terminal.json {
        found.iter().for_each(|message| terminal.object(message));
        return Ok(());
    }
    if found.is_empty() {
        terminal.line("Nothing found.");
    }
    let conversations = session.conversations()?;
    print_by_conversation(session, &conversations, &found, &own.address);
    Ok(())
}

/// Prints what nobody has seen yet and marks it seen. Returns how many messages that were.
fn unread(session: &mut Session<'_>) -> Result<usize, Problem> {
    let own = session.account()?;
    let mut conversations = session.conversations()?;
    conversations.retain(|conversation| match (conversation.standing, conversation.kind) {
        // What a stranger writes waits for a decision; what was declined is not of interest.
        (Standing::Requested, _) | (Standing::Left, ConversationKind::Direct) => false,
        _ => conversation.unread > 0,
    });
    conversations.reverse();
    let mut printed = 0;
    for conversation in &conversations {
        // System messages and own ones from other devices may lie in between.
        let mut new = messages(session, &conversation.id, conversation.unread.saturating_mul(2).saturating_add(50))?;
        let first = new.iter().position(|message| message.status == MessageStatus::Received);
        new.drain(..first.unwrap_or(new.len()));
        if session.terminal.json {
            for message in &new {
                session.terminal.event(Event::Message { message: Box::new(message.clone()) });
            }
        } else {
            print_by_conversation(session, &conversations, &new, &own.address);
        }
        printed += new.len();
        if let Some(last) = new.iter().rev().find(|message| message.status == MessageStatus::Received) {
            let command = Command::MarkRead { conversation: conversation.id.clone(), message: last.id.clone() };
            session.run("Marking as read", command)?;
        }
    }
    Ok(printed)
}

fn print_by_conversation(session: &Session<'_>, conversations: &[Conversation], messages: &[Message], own: &str) {
    let lines = session.lines(own);
    let mut current = None;
    for message in messages {
        if current != Some(&message.conversation) {
            current = Some(&message.conversation);
            let known = conversations.iter().find(|conversation| conversation.id == message.conversation);
            let title = known.map_or_else(|| short_id(&message.conversation).to_owned(), |known| lines.title(known));
            session.terminal.line(session.terminal.paint(Paint::Strong, title));
        }
        lines.message(message, false);
    }
}

fn messages(session: &Session<'_>, conversation: &str, limit: u32) -> Result<Vec<Message>, Problem> {
    match session.query(Query::Messages { conversation: conversation.to_owned(), before: None, limit })? {
        View::Messages(messages) => Ok(messages),
        other => Err(unexpected(&other)),
    }
}

/// Nobody waits for this; it is kept and told to the others when there is a connection.
fn mark_read(session: &Session<'_>, conversation: &str, message: &str) {
    session.tell(Command::MarkRead { conversation: conversation.to_owned(), message: message.to_owned() });
}

/// Which message "last" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Any,
    Own,
    Others,
    Poll,
}

impl Which {
    fn fits(self, message: &Message) -> bool {
        match (self, &message.kind) {
            (_, MessageKind::System { .. } | MessageKind::Deleted { .. }) => false,
            (Self::Any, _) => true,
            (Self::Own, _) => message.own,
            (Self::Others, _) => !message.own,
            (Self::Poll, kind) => matches!(kind, MessageKind::Poll { .. }),
        }
    }
}

/// The message that is meant by a part of its id, or by "last".
pub fn named_message(
    session: &mut Session<'_>,
    conversation: &str,
    wanted: &str,
    which: Which,
) -> Result<String, Problem> {
    let none = |why: &str| {
        Problem::new(
            Kind::NotFound,
            format!("There is no message '{}' in this conversation.", clean(wanted)),
            why,
            "Show the ids with `transom show CONVERSATION --ids`.",
        )
    };
    if wanted == "last" {
        let messages = messages(session, conversation, LOOK_BACK)?;
        let last = messages.iter().rev().find(|message| which.fits(message));
        return last.map(|message| message.id.clone()).ok_or_else(|| {
            none(match which {
                Which::Any => "Nobody has written here yet.",
                Which::Own => "You have not written here yet.",
                Which::Others => "Nobody else has written here yet.",
                Which::Poll => "There is no poll.",
            })
        });
    }
    if wanted.len() < 4 {
        return Err(none("At least four characters of its id are needed."));
    }
    let query = Query::Message { conversation: conversation.to_owned(), message: wanted.to_lowercase() };
    let found = match session.query(query.clone()) {
        // It may wait to be fetched.
        Err(problem) if problem.kind == Kind::NotFound => {
            session.freshen();
            session.query(query)
        }
        found => found,
    };
    match found {
        Ok(View::Message(message)) => Ok(message.id),
        Ok(other) => Err(unexpected(&other)),
        Err(problem) if problem.kind == Kind::NotFound => Err(none("")),
        Err(problem) if problem.kind == Kind::Usage => Err(none("It fits several; write more of the id.")),
        Err(problem) => Err(problem),
    }
}

fn standard_input() -> Result<String, Problem> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_TEXT).read_to_string(&mut text);
    read.map_err(|_| Problem::new(Kind::Usage, "Standard input can't be read as text.", "It is not valid UTF-8.", ""))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
