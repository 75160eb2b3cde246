//! Invite links: made, listed, taken back and followed, and who asks to come in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::{Command, InviteLink, Problem, Query, Standing, View};

use super::groups::finish;
use crate::lines::short_id;
use crate::names::unexpected;
use crate::session::Session;
use crate::terminal::{Paint, short};

/// What a link is to be.
pub struct Wanted {
    /// How long it is good; for good if absent.
    pub length: Option<Duration>,
    /// How many it lets in; 0 for any number.
    pub uses: u32,
    /// Whoever follows it is let in at once.
    pub direct: bool,
}

pub fn make(session: &mut Session<'_>, group: &str, wanted: &Wanted) -> Result<(), Problem> {
    let expires = wanted.length.map_or(0, |length| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.saturating_add(length).as_millis()).unwrap_or(0)
    });
    let before = links(session, group)?;
    let (uses, direct) = (wanted.uses, wanted.direct);
    let command = Command::MakeLink { conversation: group.to_owned(), expires, uses, direct };
    let made = session.run("Making a link", command)?;
    let conversation = made.conversation.clone().unwrap_or_else(|| group.to_owned());
    let new = links(session, &conversation)?;
    let new = new.iter().rev().find(|link| link.link.is_some() && before.iter().all(|old| old.id != link.id));
    let terminal = session.terminal;
    let Some(link) = new else {
        finish(session, made, "The link was made, and taken back meanwhile.");
        return Ok(());
    };
    if terminal.json {
        terminal.object(link);
        return Ok(());
    }
    terminal.line(link.link.as_deref().unwrap_or_default());
    let who = if link.direct { "Whoever has it can join" } else { "Whoever has it can ask to join" };
    let lines = session.lines("");
    let ends = if link.expires == 0 { String::new() } else { format!(", until {}", lines.time(link.expires)) };
    let number = match link.uses {
        0 => String::new(),
        1 => ", one person".to_owned(),
        uses => format!(", {uses} people"),
    };
    terminal.line(format!("{who} \"{}\"{number}{ends}.", short(group, 60)));
    if !link.direct {
        terminal.line("See who asks with `transom group requests`.");
    }
    Ok(())
}

pub fn list(session: &mut Session<'_>, group: &str) -> Result<(), Problem> {
    let own = session.account()?;
    let links = links(session, group)?;
    let terminal = session.terminal;
    if terminal.json {
        links.iter().for_each(|link| terminal.object(link));
        return Ok(());
    }
    if links.is_empty() {
        terminal.line(format!("\"{}\" has no invite links.", short(group, 60)));
        return Ok(());
    }
    let lines = session.lines(&own.address);
    for link in &links {
        let way = if link.direct { "joins at once" } else { "asks to join" };
        let number = match (link.uses, link.used) {
            (0, used) => format!("used by {used}"),
            (uses, used) => format!("used by {used} of {uses}"),
        };
        let ends = if link.expires == 0 { "no end".to_owned() } else { format!("until {}", lines.time(link.expires)) };
        let id = terminal.paint(Paint::Strong, short_id(&link.id));
        terminal.line(format!("{id}  by {}  {way}  {number}  {ends}", lines.name(&link.by)));
        if let Some(text) = &link.link {
            terminal.line(format!("  {text}"));
        }
    }
    Ok(())
}

pub fn revoke(session: &mut Session<'_>, group: &str, link: &str) -> Result<(), Problem> {
    let command = Command::RevokeLink { conversation: group.to_owned(), link: link.to_owned() };
    let made = session.run("Taking the link back", command)?;
    finish(session, made, "Nobody comes in by that link any more. Whoever is in stays in.");
    Ok(())
}

pub fn join(session: &mut Session<'_>, link: &str) -> Result<(), Problem> {
    let made = session.run("Asking", Command::Join { link: link.to_owned() })?;
    let inside = made.conversation.as_ref().and_then(|id| {
        match session.query(Query::Conversation { conversation: id.clone() }) {
            Ok(View::Conversation(conversation)) if conversation.standing == Standing::Active => {
                Some(conversation.name.clone())
            }
            _ => None,
        }
    });
    match inside {
        Some(name) => finish(session, made, &format!("You are in \"{}\".", short(&name, 60))),
        None => finish(session, made, "Asked. The group is in `transom list` once you are let in."),
    }
    Ok(())
}

pub fn requests(session: &mut Session<'_>, group: Option<&str>) -> Result<(), Problem> {
    let own = session.account()?;
    let requests = match session.query(Query::JoinRequests { conversation: group.map(str::to_owned) })? {
        View::JoinRequests(requests) => requests,
        other => return Err(unexpected(&other)),
    };
    let terminal = session.terminal;
    if terminal.json {
        requests.iter().for_each(|request| terminal.object(request));
        return Ok(());
    }
    if requests.is_empty() {
        terminal.line("Nobody asks to join.");
        return Ok(());
    }
    let lines = session.lines(&own.address);
    requests.iter().for_each(|request| lines.join_request(request));
    terminal
        .line("Let somebody in with `transom group approve GROUP WHO`, or not with `transom group decline GROUP WHO`.");
    Ok(())
}

pub fn answer(session: &mut Session<'_>, group: &str, who: &str, approve: bool) -> Result<(), Problem> {
    let (conversation, address) = (group.to_owned(), who.to_owned());
    let waits = if approve { "Letting in" } else { "Declining" };
    let made = session.run(waits, Command::AnswerJoin { conversation, address, approve })?;
    let (who, group) = (short(who, 60), short(group, 60));
    let text = if approve {
        format!("{who} is in \"{group}\" now.")
    } else {
        format!("{who} is not let into \"{group}\", and is not told.")
    };
    finish(session, made, &text);
    Ok(())
}

fn links(session: &Session<'_>, group: &str) -> Result<Vec<InviteLink>, Problem> {
    match session.query(Query::InviteLinks { conversation: group.to_owned() })? {
        View::InviteLinks(links) => Ok(links),
        other => Err(unexpected(&other)),
    }
}
