//! What people call things: addresses, parts of addresses, names and prefixes of ids.

use api::{Kind, Problem};
use rusqlite::Connection;
use wire::{Address, LogId};

use crate::db::messages::{self, Message};
use crate::db::{contacts, conversations};
use crate::identity::Me;

/// A conversation by its id, a prefix of it, a group's name, an address or the name part of one. `Ok(None)`: it reads like
/// somebody with whom there is no conversation yet.
pub(crate) fn conversation(db: &Connection, me: &Me, text: &str) -> Result<Option<LogId>, Problem> {
    let text = text.trim();
    if let Ok(id) = text.parse::<LogId>()
        && let Some(known) = conversations::get(db, id).map_err(|_| database())?
        && !known.is_in_making()
    {
        return Ok(Some(conversations::last_of_line(db, id).map_err(|_| database())?.unwrap_or(id)));
    }
    if text.contains('@') {
        return direct(db, me, &address(text)?);
    }
    let named = conversations::named(db, text).map_err(|_| database())?;
    let mut found: Vec<LogId> = named.iter().filter(|c| !c.is_in_making()).map(|c| c.id).collect();
    if found.is_empty() {
        found = less_exact(db, me, text)?;
    }
    match found.as_slice() {
        [one] => Ok(Some(*one)),
        [] => Ok(None),
        _ => Err(Problem::new(
            Kind::Usage,
            format!("“{text}” names more than one conversation."),
            "",
            "Use the whole address, or the conversation's id from the list of conversations.",
        )),
    }
}

/// Those whose ids begin so; if there are none, those with the people who are called so or whose addresses begin so.
fn less_exact(db: &Connection, me: &Me, text: &str) -> Result<Vec<LogId>, Problem> {
    let mut all = conversations::all(db).map_err(|_| database())?;
    all.retain(|c| !c.is_in_making());
    if text.len() >= 4 {
        let found: Vec<LogId> = all.iter().map(|c| c.id).filter(|id| id.to_string().starts_with(text)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let called = contacts::called(db, text).map_err(|_| database())?;
    let mut addresses: Vec<Address> = all
        .iter()
        .filter_map(|c| c.peer.as_deref()?.parse::<Address>().ok())
        .filter(|address| address.name() == text.to_lowercase())
        .chain(called.into_iter().map(|contact| contact.address))
        .collect();
    addresses.sort();
    addresses.dedup();
    let mut found = Vec::new();
    for address in &addresses {
        found.extend(direct(db, me, address)?);
    }
    Ok(found)
}

/// The 1:1 conversation with an account, or the notes to oneself. Where both sides made one at the same moment, both go on in the
/// one with the lower hash of its id; what is on its way in the other one still arrives there, under the ids that it has. One in which the
/// other side is asleep comes last, and so does one that goes on for an ended one and in which the other side was never heard: it may have
/// begun anew elsewhere.
fn direct(db: &Connection, me: &Me, address: &Address) -> Result<Option<LogId>, Problem> {
    let mut fitting = if *address == me.address {
        conversations::of_notes(db).map_err(|_| database())?
    } else {
        conversations::with(db, address.as_str()).map_err(|_| database())?
    };
    fitting.retain(|c| !c.is_in_making() && c.standing != api::Standing::Left);
    let mut first = None;
    for one in fitting {
        let sleeps = !conversations::asleep(db, one.id).map_err(|_| database())?.is_empty();
        let unheard = one.line.of.is_some()
            && !messages::is_heard(db, one.id, address.as_str(), one.line.offset).map_err(|_| database())?;
        let place = (sleeps || unheard, crate::formats::hash(&one.id.0));
        if first.as_ref().is_none_or(|(before, _)| place < *before) {
            first = Some((place, one.id));
        }
    }
    Ok(first.map(|(_, id)| id))
}

/// The last of the 1:1 conversations that are over with the one who is meant. It can be read; whoever writes begins a new one.
pub(crate) fn over(db: &Connection, text: &str) -> Result<Option<LogId>, Problem> {
    let text = text.trim();
    let called = contacts::called(db, text).map_err(|_| database())?;
    let lower = text.to_lowercase();
    let mut all = conversations::all(db).map_err(|_| database())?;
    all.retain(|c| {
        let is_meant = |peer: &str| {
            peer == lower
                || peer.split('@').next() == Some(&lower)
                || called.iter().any(|contact| contact.address.as_str() == peer)
        };
        c.standing == api::Standing::Left && c.peer.as_deref().is_some_and(is_meant)
    });
    let first = all.first();
    let is_one = first.is_some_and(|first| all.iter().all(|c| c.peer == first.peer));
    Ok(first.filter(|_| is_one).map(|c| c.id))
}

/// An address as somebody typed it: whole, what the person calls a contact, the name part of a known one, or a name at the own relay.
pub(crate) fn contact_address(db: &Connection, me: &Me, text: &str) -> Result<Address, Problem> {
    let text = text.trim();
    if text.contains('@') || text.is_empty() {
        return address(text);
    }
    match contacts::called(db, text).map_err(|_| database())?.as_slice() {
        [] => {}
        [one] => return Ok(one.address.clone()),
        _ => return Err(ambiguous(text)),
    }
    let own = format!("{text}@{}", me.address.relay());
    let name = address(&own)?;
    let known = contacts::by_name(db, name.name()).map_err(|_| database())?;
    match known.as_slice() {
        [] => Ok(name),
        [one] => Ok(one.address.clone()),
        _ if known.iter().any(|c| c.address == name) => Ok(name),
        _ => Err(ambiguous(text)),
    }
}

fn ambiguous(text: &str) -> Problem {
    let what = format!("“{text}” could be more than one account.");
    Problem::new(Kind::Usage, what, "", "Use the whole address, name@relay.")
}

/// A message by its id or a prefix of it.
pub(crate) fn message(
    db: &Connection,
    conversation: LogId,
    prefix: &str,
) -> rusqlite::Result<Result<Message, Problem>> {
    let hexadecimal = prefix.len() >= 4 && prefix.bytes().all(|b| b.is_ascii_hexdigit());
    let mut found =
        if hexadecimal { messages::by_prefix(db, conversation, &prefix.to_lowercase())? } else { Vec::new() };
    Ok(match (found.pop(), found.pop()) {
        (Some(message), None) => Ok(message),
        (None, _) => Err(Problem::new(
            Kind::NotFound,
            "There is no such message in this conversation.",
            "",
            "Take its id from the list of messages; the first eight characters are enough.",
        )),
        _ => Err(Problem::new(Kind::Usage, "More than one message begins with that.", "", "Give more of its id.")),
    })
}

/// A whole address.
pub(crate) fn address(text: &str) -> Result<Address, Problem> {
    text.parse().map_err(|error: wire::AddressError| {
        Problem::new(
            Kind::Usage,
            format!("“{}” is not an address.", text.chars().take(80).collect::<String>()),
            format!("{}.", capitalised(&error.to_string())),
            "",
        )
    })
}

pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

pub(crate) fn database() -> Problem {
    Problem::new(Kind::Local, "The profile's database can't be read.", "", "Check the disk, then start again.")
}
