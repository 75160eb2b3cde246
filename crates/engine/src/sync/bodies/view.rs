//! Messages as programs show them, with all that was done to them.

use api::{MessageKind, Quote, Reaction, Revision};
use content::{Body, MimiContent, interpret};
use data_encoding::HEXLOWER;
use rusqlite::Connection;
use wire::LogId;

use super::fold::{self, Reacted};
use super::shown::excerpt;
use crate::db::acts::{self, ActKind};
use crate::db::messages::{self, Message};

/// How many accounts are named beside a reaction or an option.
const NAMES: usize = 20;
/// How many different emoji of one message are shown.
const EMOJI: usize = 64;

/// One message.
pub(crate) fn message(db: &Connection, m: &Message) -> rusqlite::Result<api::Message> {
    let acts = acts::of_target(db, m.conversation, &m.id)?;
    let is_deleted = !m.deleted_by.is_empty();
    let kind = match &m.kind {
        _ if is_deleted => MessageKind::Deleted { by: m.deleted_by.clone() },
        MessageKind::Poll { poll } => {
            let mut poll = poll.clone();
            let votes = fold::votes(m, &poll, &acts);
            (poll.closed, poll.voters) = (votes.closed, votes.choices.len() as u32);
            for (account, (chosen, own)) in votes.choices {
                for place in chosen {
                    let Some(option) = poll.options.get_mut(place) else { continue };
                    option.votes += 1;
                    option.own |= own;
                    if option.by.len() < NAMES {
                        option.by.push(account.to_owned());
                    }
                }
            }
            MessageKind::Poll { poll }
        }
        other => other.clone(),
    };
    let quote = match m.reply_to {
        None => None,
        Some(id) => Some(quote(db, m.conversation, &id)?),
    };
    let is_pinned = acts.iter().any(|act| act.kind == ActKind::Pin)
        && fold::pinned(&acts::pins(db, m.conversation)?).contains(&m.id);
    let beside = if is_deleted { messages::More::default() } else { m.more.clone() };
    Ok(api::Message {
        id: HEXLOWER.encode(&m.id),
        conversation: m.conversation.to_string(),
        from: m.sender.clone(),
        own: m.own,
        sent: m.sent,
        time: m.time,
        seq: m.seq,
        status: m.status,
        kind,
        reply_to: m.reply_to.map(|id| HEXLOWER.encode(&id)),
        quote,
        mentions: beside.mentions,
        mentions_me: beside.mentions_me,
        forwarded: beside.forwarded,
        edited: (m.edited != 0 && !is_deleted).then_some(m.edited),
        preview: beside.preview,
        reactions: if is_deleted { Vec::new() } else { reactions(fold::reactions(m, &acts)) },
        pinned: is_pinned && !is_deleted,
        stays: m.ttl,
        vanishes: (m.expires != 0).then_some(m.expires),
    })
}

/// One level of what is answered: chains and loops of answers cost nothing.
fn quote(db: &Connection, conversation: LogId, id: &[u8; 32]) -> rusqlite::Result<Quote> {
    Ok(match messages::get(db, conversation, id)?.filter(|quoted| !quoted.hidden) {
        None => Quote { known: false, from: String::new(), excerpt: String::new() },
        Some(quoted) => {
            let excerpt = if quoted.deleted_by.is_empty() { excerpt(&quoted.kind) } else { String::new() };
            Quote { known: true, from: quoted.sender, excerpt }
        }
    })
}

fn reactions(reacted: Vec<Reacted<'_>>) -> Vec<Reaction> {
    let reaction = |(emoji, by): Reacted<'_>| Reaction {
        emoji: emoji.to_owned(),
        count: by.len() as u32,
        own: by.iter().any(|(_, own)| *own),
        by: by.iter().take(NAMES).map(|(account, _)| (*account).to_owned()).collect(),
    };
    reacted.into_iter().take(EMOJI).map(reaction).collect()
}

/// What a message has said, the oldest first; nothing if it was taken back or never was words.
pub(crate) fn revisions(db: &Connection, m: &Message) -> rusqlite::Result<Vec<Revision>> {
    if !m.deleted_by.is_empty() {
        return Ok(Vec::new());
    }
    let text = |content: &[u8]| match interpret(&MimiContent::decode(content).ok()?) {
        Body::Text { text, .. } | Body::Edit { text, .. } => Some(text),
        Body::Unknown { fallback } => Some(fallback),
        _ => None,
    };
    let acts = acts::changes(db, m.conversation, &m.id)?;
    let first = text(&m.content).map(|text| Revision { text, sent: m.sent, time: m.time });
    let edits = fold::fold(m, &acts).edits;
    let edits = edits.iter().filter_map(|e| Some(Revision { text: text(&e.content)?, sent: e.sent, time: e.time }));
    Ok(first.into_iter().chain(edits).collect())
}

/// The pinned messages, the last one pinned first.
pub(crate) fn pins(db: &Connection, conversation: LogId) -> rusqlite::Result<Vec<api::Message>> {
    let mut pinned = Vec::new();
    for id in fold::pinned(&acts::pins(db, conversation)?) {
        if let Some(m) = messages::get(db, conversation, &id)?.filter(|m| !m.hidden) {
            pinned.push(message(db, &m)?);
        }
    }
    Ok(pinned)
}
