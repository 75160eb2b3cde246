//! Groups, invitations, and whom one does not want to hear from.

use api::{Command, Event, Problem, Query, View};

use super::messages::given_text;
use super::{invite_links, pictures};
use crate::args::Group;
use crate::lines::short_id;
use crate::names::unexpected;
use crate::session::{Made, Session};
use crate::terminal::{Paint, clean, short};

pub fn group(session: &mut Session<'_>, group: &Group) -> Result<(), Problem> {
    let own = session.account()?;
    let lines = session.lines(&own.address);
    // Roles, names and members may have changed since the last run.
    session.freshen();
    match group {
        Group::Create { name, members } => {
            let members = session.addresses(members)?;
            let made = session.run("Making the group", Command::CreateGroup { name: name.clone(), members })?;
            if session.terminal.json {
                say(session, made);
                return Ok(());
            }
            let id = made.conversation.as_deref().map(short_id).unwrap_or_default();
            let id = session.terminal.paint(Paint::Faint, format!("({id})"));
            session.terminal.line(format!("Made the group \"{}\" {id}.", short(name, 60)));
        }
        Group::Add { group, members } => {
            let members = session.addresses(members)?;
            let names: Vec<String> = members.iter().map(|member| lines.name(member)).collect();
            let command = Command::AddMembers { conversation: group.clone(), members };
            let made = session.run("Adding people", command)?;
            finish(session, made, &format!("Added {} to \"{}\".", names.join(", "), short(group, 60)));
        }
        Group::Remove { group, member } => {
            let member = session.address(member)?;
            let name = lines.name(&member);
            let made = session.run("Removing", Command::RemoveMember { conversation: group.clone(), member })?;
            finish(session, made, &format!("Removed {name} from \"{}\".", short(group, 60)));
        }
        Group::Rename { group, name } => {
            let command = Command::Rename { conversation: group.clone(), name: name.clone() };
            let made = session.run("Renaming", command)?;
            finish(session, made, &format!("Renamed \"{}\" to \"{}\".", short(group, 60), short(name, 60)));
        }
        Group::Describe { group, text, clear } => describe(session, group, text, *clear)?,
        Group::Picture { group, file: Some(file), .. } => pictures::set(session, group, file)?,
        Group::Picture { group, remove: true, .. } => pictures::remove(session, group)?,
        Group::Picture { group, save, .. } => pictures::look(session, group, save.as_deref())?,
        Group::Transfer { group, member } => {
            let member = session.address(member)?;
            let name = lines.name(&member);
            let command = Command::TransferOwnership { conversation: group.clone(), member };
            let made = session.run("Handing over", command)?;
            finish(session, made, &format!("\"{}\" is {name}'s now. You are an admin of it.", short(group, 60)));
        }
        Group::Link { group, revoke: Some(link), .. } => invite_links::revoke(session, group, link)?,
        Group::Link { group, list: true, .. } => invite_links::list(session, group)?,
        Group::Link { group, length, endless, uses, direct, .. } => {
            let length = length.filter(|_| !endless);
            invite_links::make(session, group, &invite_links::Wanted { length, uses: *uses, direct: *direct })?;
        }
        Group::Join { link } => invite_links::join(session, link)?,
        Group::Requests { group } => invite_links::requests(session, group.as_deref())?,
        Group::Approve { group, who } => invite_links::answer(session, group, who, true)?,
        Group::Decline { group, who } => invite_links::answer(session, group, who, false)?,
        Group::Role { group, member, role } => {
            let member = session.address(member)?;
            let name = lines.name(&member);
            let role = api::Role::from(*role);
            let word = match role {
                api::Role::Member => "a member",
                api::Role::Admin => "an admin",
                api::Role::Owner => "an owner",
            };
            let command = Command::SetRole { conversation: group.clone(), member, role };
            let made = session.run("Changing the role", command)?;
            finish(session, made, &format!("{name} is {word} of \"{}\" now.", short(group, 60)));
        }
        Group::Leave { group } => {
            let made = session.run("Leaving", Command::Leave { conversation: group.clone() })?;
            finish(session, made, &format!("Left \"{}\". What you have read stays here.", short(group, 60)));
        }
    }
    Ok(())
}

/// Says what a group is for, or shows what it says.
fn describe(session: &mut Session<'_>, group: &str, text: &[String], clear: bool) -> Result<(), Problem> {
    if text.is_empty() && !clear {
        let found = match session.query(Query::Conversation { conversation: group.to_owned() })? {
            View::Conversation(found) => found,
            other => return Err(unexpected(&other)),
        };
        if session.terminal.json {
            session.terminal.object(&found);
        } else if found.description.is_empty() {
            session.terminal.line(format!("\"{}\" has no description.", short(group, 60)));
        } else {
            found.description.lines().for_each(|line| session.terminal.line(clean(line)));
        }
        return Ok(());
    }
    let text = if clear { String::new() } else { given_text(text)? };
    let made = session.run("Describing", Command::Describe { conversation: group.to_owned(), text })?;
    let done = if clear { "has no description any more." } else { "has a new description; all members see it." };
    finish(session, made, &format!("\"{}\" {done}", short(group, 60)));
    Ok(())
}

pub fn requests(session: &mut Session<'_>) -> Result<(), Problem> {
    let own = session.account()?;
    session.catch_up(|_| ())?;
    let invitations = match session.query(Query::Invitations)? {
        View::Invitations(invitations) => invitations,
        other => return Err(unexpected(&other)),
    };
    let terminal = session.terminal;
    if terminal.json {
        invitations.iter().for_each(|invitation| terminal.object(invitation));
        return Ok(());
    }
    if invitations.is_empty() {
        terminal.line("No invitations.");
        return Ok(());
    }
    let lines = session.lines(&own.address);
    invitations.iter().for_each(|invitation| lines.invitation(invitation));
    terminal.line("Take one with `transom accept WHO`, refuse it with `transom decline WHO`.");
    Ok(())
}

pub fn accept(session: &mut Session<'_>, conversation: &str) -> Result<(), Problem> {
    session.account()?;
    let invited = invited(session, conversation)?;
    let made = session.run("Joining", Command::Accept { conversation: invited })?;
    finish(session, made, "Accepted. You can write to each other now.");
    Ok(())
}

pub fn decline(session: &mut Session<'_>, conversation: &str) -> Result<(), Problem> {
    session.account()?;
    let invited = invited(session, conversation)?;
    let made = session.run("Declining", Command::Decline { conversation: invited })?;
    finish(session, made, "Declined. The other side is not told.");
    Ok(())
}

/// The conversation of an invitation: by who invites if that is unique, else as it was typed.
fn invited(session: &mut Session<'_>, text: &str) -> Result<String, Problem> {
    let find = |session: &Session<'_>| -> Result<Option<String>, Problem> {
        let View::Invitations(invitations) = session.query(Query::Invitations)? else { return Ok(None) };
        let wanted = text.to_lowercase();
        let mut fitting = invitations.iter().filter(|invitation| {
            invitation.from == wanted
                || invitation.from.rsplit_once('@').is_some_and(|(local, _)| local == wanted)
                || (wanted.len() >= 4 && invitation.conversation.starts_with(&wanted))
                || invitation.name.as_ref().is_some_and(|name| name.to_lowercase() == wanted)
        });
        let first = fitting.next().map(|invitation| invitation.conversation.clone());
        Ok(if fitting.next().is_some() { None } else { first })
    };
    if let Some(conversation) = find(session)? {
        return Ok(conversation);
    }
    // It may still wait at the relay.
    session.catch_up(|_| ())?;
    Ok(find(session)?.unwrap_or_else(|| text.to_owned()))
}

pub fn finish(session: &Session<'_>, made: Made, text: &str) {
    if session.terminal.json {
        say(session, made);
    } else {
        session.terminal.line(clean(text));
    }
}

fn say(session: &Session<'_>, made: Made) {
    session.terminal.event(Event::Done { command: 0, conversation: made.conversation, message: made.message });
}
