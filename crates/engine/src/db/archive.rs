//! Which rows an archive holds, walked piece by piece, and how they are taken in.
//!
//! Every table has been decided upon:
//!
//! | travels | does not, and why |
//! | --- | --- |
//! | `contacts`: pins, confirmations, blocks | `meta`, `key_packages`, MLS tables: keys of this device |
//! | `conversations`, `members`: outlines | `seen`, `heads`, `held`, `heals`, `forks`, `relays`, `rejoins`, `leaves`, `endings`: where this device stands in its logs |
//! | `messages`, `acts`, `hidden`, `receipts` | `outbox`, `receipts_due`, `intents`, `pending_commits`, `uploads`, `deposits`, `invitations`: on their way |
//! | | `invite_secrets`, `join_requests`, `joins`: of this device; `invite_links`: from the conversation's state |
//! | `arrangements`, `looked`, the choice of receipts in `meta` | `messages_text`, `messages_indexed`: made anew; `own_records`: the relay has the newest; `history`; `restored` |
//!
//! What opens once and what has vanished stays where it is, with all that was done to it. A walk begins with what is newest and ends, once
//! the other device is in every conversation, with what has come since it began: who takes it in counts ids, so nothing shows twice.

mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::{DeviceId, LogId};

use super::{contacts, int, uint};
use crate::archive::{Act, Arrangement, Contact, Conversation, Item, Member, Message, Ticks};
use api::Confirmation;
use place::{Behind, Step};

pub(crate) use place::Place;

/// Rows that are looked at together.
const PAGE: u32 = 256;
/// Ticks of messages that everybody has read are of no use to anybody after this time.
const TICKS_MS: u64 = 7 * 86_400_000;

/// Messages that a walk will come by, about.
pub(crate) fn count(db: &Connection) -> rusqlite::Result<u64> {
    db.query_row("SELECT count(*) FROM messages WHERE hidden = 0 AND kind != 2", [], |row| uint(row, 0))
}

/// A device of the own account is in every conversation that this one writes in.
pub(crate) fn is_in_all(db: &Connection, own: &str, device: DeviceId) -> rusqlite::Result<bool> {
    let outside = db
        .prepare_cached(
            "SELECT 1 FROM conversations c WHERE standing IN (0, 2) AND NOT EXISTS \
             (SELECT 1 FROM leaves l WHERE l.conversation = c.id AND l.device = ?1 AND l.address = ?2) LIMIT 1",
        )?
        .exists(rusqlite::params![device.0, own])?;
    Ok(!outside)
}

/// Walks on until there are some `budget` bytes, or a wait, or the end.
pub(crate) fn walk(db: &Connection, place: &mut Place, now: u64, budget: usize) -> rusqlite::Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut size = 0;
    while size < budget && !place.is_waiting() && !place.is_over() {
        let before = items.len();
        let is_more = step(db, place, now, &mut items, budget - size)?;
        size += items.iter().skip(before).map(weight).sum::<usize>();
        if !is_more {
            place.next();
        }
    }
    Ok(items)
}

/// About how many bytes an item takes.
fn weight(item: &Item) -> usize {
    96 + match item {
        Item::Message(m) => m.content.len() + m.evidence.len() + m.text.len() + m.extra.len() + 128,
        Item::Act(a) => a.content.len() + a.evidence.len() + a.value.len() + 128,
        Item::Contact(c) => c.record.as_ref().map_or(0, |record| record.len()),
        Item::Conversation(c) => c.members.len() * 96,
        Item::Arrangement(a) => a.draft.len(),
        Item::Looked(_, _, people) => people.len(),
        Item::Hidden(..) | Item::Ticks(_) | Item::ReadReceipts(_) | Item::Place(_) | Item::Vanishes(..) => 0,
    }
}

/// A page of a step's rows. True if there may be more.
fn step(db: &Connection, place: &mut Place, now: u64, items: &mut Vec<Item>, budget: usize) -> rusqlite::Result<bool> {
    if place.step == Step::Contacts
        && place.at == 0
        && let Some(on) = super::meta::<bool>(db, crate::sync::READ_RECEIPTS)?
    {
        items.push(Item::ReadReceipts(on));
    }
    let before = items.len();
    match place.step {
        Step::Messages => return messages(db, place, now, items, budget),
        Step::Acts => return acts(db, place, now, items, budget),
        Step::LateMessages => {
            for n in std::mem::take(&mut place.late_messages) {
                let found = message(db, n, now)?;
                place.left.messages.extend(found.iter().filter(|found| found.is_later()).map(|_| n));
                items.extend(found.and_then(Numbered::item));
            }
            return messages(db, place, now, items, budget);
        }
        Step::Places => {
            let last = match place.behind {
                Some(Behind::Message(n)) => n,
                _ => i64::MIN,
            };
            let mut rows = db.prepare_cached(
                "SELECT n, conversation, id, seq, time FROM messages WHERE n > ?2 AND n <= ?3 AND time >= ?4 AND hidden = 0 AND seq != 0 \
                 ORDER BY n LIMIT ?1",
            )?;
            let rows = rows.query_map(params![PAGE, last, place.messages_to, place.moved_from()], |row| {
                let to = crate::archive::Place {
                    conversation: row.get::<_, Vec<u8>>(1)?.into(),
                    message: row.get::<_, Vec<u8>>(2)?.into(),
                    seq: super::held::shown(uint(row, 3)?),
                    time: uint(row, 4)?,
                };
                Ok((row.get(0)?, Item::Place(to)))
            })?;
            for row in rows {
                let (n, item) = row?;
                place.behind = Some(Behind::Message(n));
                items.push(item);
            }
        }
        Step::LateActs => {
            if !std::mem::replace(&mut place.acts_again, true) {
                let since = place.moved_from();
                let mut recent = db.prepare_cached("SELECT n FROM acts WHERE n <= ?1 AND time >= ?2")?;
                for n in recent.query_map(params![place.acts_to, since], |row| row.get(0))? {
                    place.late_acts.push(n?);
                }
            }
            let mut size = 0;
            while let Some(n) = place.late_acts.pop() {
                let found = db.prepare_cached(&act_query("n = ?2"))?.query_row(params![int(now), n], act_row);
                let found = found.optional()?;
                place.left.acts.extend(found.iter().filter(|found| found.is_later()).map(|_| n));
                let found = found.and_then(Numbered::item);
                size += found.as_ref().map_or(0, weight);
                items.extend(found);
                if size >= budget {
                    return Ok(true);
                }
            }
            return acts(db, place, now, items, budget);
        }
        Step::Contacts | Step::LateContacts => {
            let mut rows = db.prepare_cached(
                "SELECT address, account_key, record, version, confirmation, other_key, known, blocked, changed, name FROM contacts \
                 ORDER BY address LIMIT ?1 OFFSET ?2",
            )?;
            let rows = rows.query_map(params![PAGE, place.at], |row| {
                Ok(Item::Contact(Contact {
                    address: row.get(0)?,
                    key: row.get::<_, Vec<u8>>(1)?.into(),
                    record: row.get::<_, Option<Vec<u8>>>(2)?.map(Into::into),
                    version: uint(row, 3)?,
                    confirmation: row.get(4)?,
                    other_key: row.get::<_, Option<Vec<u8>>>(5)?.map(Into::into),
                    known: row.get(6)?,
                    blocked: row.get(7)?,
                    changed: uint(row, 8)?,
                    name: row.get(9)?,
                }))
            })?;
            for row in rows {
                items.push(row?);
            }
        }
        Step::Conversations => {
            let mut rows = db.prepare_cached(
                "SELECT id, relay, kind, name, peer, standing, inviter, created, touched FROM conversations \
                 WHERE line_next IS NULL AND NOT (line_of IS NOT NULL AND standing = 0) ORDER BY id LIMIT ?1 OFFSET ?2",
            )?;
            let rows: Vec<Conversation> = rows
                .query_map(params![PAGE, place.at], |row| {
                    Ok(Conversation {
                        id: row.get::<_, Vec<u8>>(0)?.into(),
                        relay: row.get(1)?,
                        kind: row.get(2)?,
                        name: row.get(3)?,
                        peer: row.get(4)?,
                        standing: row.get(5)?,
                        inviter: row.get(6)?,
                        created: uint(row, 7)?,
                        touched: uint(row, 8)?,
                        members: Vec::new(),
                        formerly: Vec::new(),
                    })
                })?
                .collect::<Result<_, _>>()?;
            for mut conversation in rows {
                let mut members = db.prepare_cached(
                    "SELECT address, account_key, role, devices FROM members WHERE conversation = ?1 ORDER BY address",
                )?;
                conversation.members = members
                    .query_map([conversation.id.as_slice()], |row| {
                        let key = row.get::<_, Vec<u8>>(1)?.into();
                        Ok(Member { address: row.get(0)?, key, role: row.get(2)?, devices: row.get(3)? })
                    })?
                    .collect::<Result<_, _>>()?;
                if let Ok(id) = <[u8; 16]>::try_from(conversation.id.as_slice()) {
                    let room = super::conversations::room_of(db, LogId(id))?;
                    conversation.formerly = super::conversations::former_names(db, room)?;
                }
                items.push(Item::Conversation(conversation));
            }
        }
        Step::Arrangements => {
            let mut rows = db.prepare_cached(
                "SELECT conversation, muted_until, archived, pinned, unread, draft FROM arrangements \
                 ORDER BY conversation LIMIT ?1 OFFSET ?2",
            )?;
            let rows = rows.query_map(params![PAGE, place.at], |row| {
                Ok(Item::Arrangement(Arrangement {
                    conversation: row.get::<_, Vec<u8>>(0)?.into(),
                    muted_until: uint(row, 1)?,
                    archived: row.get(2)?,
                    pinned: uint(row, 3)?,
                    unread: row.get(4)?,
                    draft: row.get(5)?,
                }))
            })?;
            for row in rows {
                items.push(row?);
            }
        }
        Step::Looked => {
            let mut rows = db.prepare_cached(
                "SELECT conversation, time, people FROM looked ORDER BY conversation LIMIT ?1 OFFSET ?2",
            )?;
            let rows = rows.query_map(params![PAGE, place.at], |row| {
                Ok(Item::Looked(row.get::<_, Vec<u8>>(0)?.into(), uint(row, 1)?, row.get(2)?))
            })?;
            for row in rows {
                items.push(row?);
            }
        }
        Step::Ticks => {
            let (log, seq, address) = match place.behind.take() {
                Some(Behind::Receipt(log, seq, address)) => (log, seq, address),
                _ => Default::default(),
            };
            // By receipts, in their order, whatever the planner thinks of it: each page begins where the one before has ended.
            let mut rows = db.prepare_cached(
                "SELECT r.conversation, r.seq, r.address, r.level, m.status FROM receipts r \
                 CROSS JOIN messages m ON m.conversation = r.conversation AND m.seq = r.seq AND m.seq > 0 AND m.own = 1 AND m.kind != 2 \
                 WHERE (r.conversation, r.seq, r.address) > (?2, ?3, ?4) AND (m.status < 3 OR m.time >= ?5) \
                 ORDER BY r.conversation, r.seq, r.address LIMIT ?1",
            )?;
            let since = int(place.begun.saturating_sub(TICKS_MS));
            let rows = rows.query_map(params![PAGE, log, seq, address, since], |row| {
                let ticks = Ticks {
                    conversation: row.get::<_, Vec<u8>>(0)?.into(),
                    seq: super::held::shown(uint(row, 1)?),
                    address: row.get(2)?,
                    level: row.get(3)?,
                    status: row.get(4)?,
                };
                Ok((Behind::Receipt(row.get(0)?, row.get(1)?, row.get(2)?), Item::Ticks(ticks)))
            })?;
            for row in rows {
                let (behind, item) = row?;
                place.behind = Some(behind);
                items.push(item);
            }
        }
        Step::Hidden => {
            let mut rows = db.prepare_cached(
                "SELECT conversation, message FROM hidden ORDER BY conversation, message LIMIT ?1 OFFSET ?2",
            )?;
            let rows = rows.query_map(params![PAGE, place.at], |row| {
                Ok(Item::Hidden(row.get::<_, Vec<u8>>(0)?.into(), row.get::<_, Vec<u8>>(1)?.into()))
            })?;
            for row in rows {
                items.push(row?);
            }
        }
        Step::Wait | Step::Over => return Ok(false),
    }
    let found = items.len() - before;
    place.at += found as i64;
    Ok(found as u32 == PAGE)
}

/// A row with its number, and what became of it.
struct Numbered {
    n: i64,
    row: Travels,
}

enum Travels {
    Yes(Box<Item>),
    /// It has no place in its log yet.
    Later,
    No,
}

impl Numbered {
    fn is_later(&self) -> bool {
        matches!(self.row, Travels::Later)
    }

    fn item(self) -> Option<Item> {
        match self.row {
            Travels::Yes(item) => Some(*item),
            _ => None,
        }
    }
}

const MESSAGE: &str = "SELECT n, id, conversation, sender, own, sent, time, seq, status, kind, text, reply_to, content, evidence, extra, \
                       edited, deleted_by, ttl, expires, hidden FROM messages WHERE ";

fn message_row(row: &Row<'_>, now: u64) -> rusqlite::Result<Numbered> {
    let n = row.get(0)?;
    let (status, kind, expires): (u8, u8, u64) = (row.get(8)?, row.get(9)?, uint(row, 18)?);
    let (hidden, once, vanished) = (row.get::<_, bool>(19)?, kind == 6, (1..=now).contains(&expires));
    if hidden || (once && !planted!(HistoryTakesAll)) || (vanished && !planted!(HistoryTakesAll)) {
        return Ok(Numbered { n, row: Travels::No });
    }
    if status == 0 {
        return Ok(Numbered { n, row: Travels::Later });
    }
    let message = Message {
        id: row.get::<_, Vec<u8>>(1)?.into(),
        conversation: row.get::<_, Vec<u8>>(2)?.into(),
        sender: row.get(3)?,
        own: row.get(4)?,
        sent: uint(row, 5)?,
        time: uint(row, 6)?,
        seq: super::held::shown(uint(row, 7)?),
        status,
        kind,
        text: row.get(10)?,
        reply_to: row.get::<_, Option<Vec<u8>>>(11)?.map(Into::into),
        content: row.get::<_, Vec<u8>>(12)?.into(),
        evidence: row.get::<_, Vec<u8>>(13)?.into(),
        extra: row.get(14)?,
        edited: uint(row, 15)?,
        deleted_by: row.get(16)?,
        ttl: uint(row, 17)?,
        expires,
    };
    Ok(Numbered { n, row: Travels::Yes(Box::new(Item::Message(message))) })
}

fn message(db: &Connection, n: i64, now: u64) -> rusqlite::Result<Option<Numbered>> {
    db.prepare_cached(&format!("{MESSAGE} n = ?1"))?.query_row([n], |row| message_row(row, now)).optional()
}

fn messages(
    db: &Connection,
    place: &mut Place,
    now: u64,
    items: &mut Vec<Item>,
    budget: usize,
) -> rusqlite::Result<bool> {
    let is_late = place.step == Step::LateMessages;
    let order = if is_late { "n >= ?1 ORDER BY n" } else { "n <= ?1 ORDER BY n DESC" };
    let mut query = db.prepare_cached(&format!("{MESSAGE} {order} LIMIT ?2"))?;
    let mut rows = query.query(params![place.at, PAGE])?;
    let (mut seen, mut size) = (0, 0);
    while size < budget
        && let Some(row) = rows.next()?
    {
        let Numbered { n, row } = message_row(row, now)?;
        seen += 1;
        place.at = if is_late { n + 1 } else { n - 1 };
        match row {
            Travels::Yes(item) => {
                size += weight(&item);
                items.push(*item);
            }
            // Still on its way when the other device is in the conversation, so it comes there by the log.
            Travels::Later if !is_late => place.late_messages.push(n),
            Travels::Later => place.left.messages.push(n),
            Travels::No => {}
        }
    }
    Ok(seen == PAGE || size >= budget)
}

/// An act, unless what it was done to does not travel.
fn act_query(which: &str) -> String {
    format!(
        "SELECT n, conversation, id, part, target, kind, sender, own, power, sent, time, seq, value, content, evidence, \
         EXISTS (SELECT 1 FROM messages m WHERE m.conversation = acts.conversation AND m.id = acts.target \
         AND (m.hidden = 1 OR m.kind = 6 OR m.expires BETWEEN 1 AND ?1)) FROM acts WHERE {which}"
    )
}

fn act_row(row: &Row<'_>) -> rusqlite::Result<Numbered> {
    let n = row.get(0)?;
    let seq = uint(row, 11)?;
    let travels = match (row.get::<_, bool>(15)?, seq) {
        (true, _) => Travels::No,
        (false, 0) => Travels::Later,
        (false, seq) => Travels::Yes(Box::new(Item::Act(Act {
            conversation: row.get::<_, Vec<u8>>(1)?.into(),
            id: row.get::<_, Vec<u8>>(2)?.into(),
            part: row.get(3)?,
            target: row.get::<_, Vec<u8>>(4)?.into(),
            kind: row.get(5)?,
            sender: row.get(6)?,
            own: row.get(7)?,
            power: row.get(8)?,
            sent: uint(row, 9)?,
            time: uint(row, 10)?,
            seq: super::held::shown(seq),
            value: row.get(12)?,
            content: row.get::<_, Vec<u8>>(13)?.into(),
            evidence: row.get::<_, Vec<u8>>(14)?.into(),
        }))),
    };
    Ok(Numbered { n, row: travels })
}

fn acts(db: &Connection, place: &mut Place, now: u64, items: &mut Vec<Item>, budget: usize) -> rusqlite::Result<bool> {
    let is_late = place.step == Step::LateActs;
    let to = if is_late { i64::MAX } else { place.acts_to };
    let mut query = db.prepare_cached(&act_query("n BETWEEN ?2 AND ?3 ORDER BY n LIMIT ?4"))?;
    let mut rows = query.query(params![int(now), place.at, to, PAGE])?;
    let (mut seen, mut size) = (0, 0);
    while size < budget
        && let Some(row) = rows.next()?
    {
        let Numbered { n, row } = act_row(row)?;
        seen += 1;
        place.at = n + 1;
        match row {
            Travels::Yes(item) => {
                size += weight(&item);
                items.push(*item);
            }
            Travels::Later if !is_late => place.late_acts.push(n),
            Travels::Later => place.left.acts.push(n),
            Travels::No => {}
        }
    }
    Ok(seen == PAGE || size >= budget)
}

/// What taking items in has changed.
#[derive(Default)]
pub(crate) struct Taken {
    /// Messages that are new here.
    pub messages: u64,
    /// Messages whose looks are to be computed anew.
    pub done_to: BTreeSet<(LogId, [u8; 32])>,
}

/// Takes items in. What is here already stays as it is, and nobody is told of anything.
pub(crate) fn take_in(db: &Connection, items: &[Item], own: &str, now: u64) -> rusqlite::Result<Taken> {
    let mut taken = Taken::default();
    for item in items {
        match item {
            Item::Message(message) => take_message(db, message, now, &mut taken)?,
            Item::Act(act) => take_act(db, act, &mut taken)?,
            Item::Contact(contact) => take_contact(db, contact, own)?,
            Item::Conversation(conversation) => super::outlines::take(db, conversation)?,
            Item::Hidden(log, message) => take_hidden(db, log, message)?,
            Item::Place(place) => take_place(db, place, &mut taken)?,
            Item::Ticks(ticks) => take_ticks(db, ticks)?,
            // Messages have it by then (`shelf::merged`).
            Item::Vanishes(..) => {}
            Item::ReadReceipts(on) => {
                if super::meta::<bool>(db, crate::sync::READ_RECEIPTS)?.is_none() {
                    super::set_meta(db, crate::sync::READ_RECEIPTS, on)?;
                }
            }
            Item::Arrangement(a) => {
                if a.conversation.len() == 16 {
                    let (log, muted_until, pinned) = (a.conversation.as_slice(), int(a.muted_until), int(a.pinned));
                    db.prepare_cached("INSERT OR IGNORE INTO arrangements VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                        .execute(params![log, muted_until, a.archived, pinned, a.unread, a.draft])?;
                }
            }
            Item::Looked(log, time, people) => {
                if log.len() == 16 {
                    db.prepare_cached("INSERT OR IGNORE INTO looked VALUES (?1, ?2, ?3)")?.execute(params![
                        log.as_slice(),
                        int(*time),
                        people
                    ])?;
                }
            }
        }
    }
    Ok(taken)
}

fn take_message(db: &Connection, m: &Message, now: u64, taken: &mut Taken) -> rusqlite::Result<()> {
    let (Ok(id), Ok(log)) = (<[u8; 32]>::try_from(m.id.as_slice()), <[u8; 16]>::try_from(m.conversation.as_slice()))
    else {
        return Ok(());
    };
    let is_plain = m.kind <= 5 && m.reply_to.as_ref().is_none_or(|to| to.len() == 32) && (1..=5).contains(&m.status);
    let reads = m.extra.is_empty() || serde_json::from_str::<super::messages::More>(&m.extra).is_ok();
    let vanished = (1..=now).contains(&m.expires) && !planted!(HistoryTakesAll);
    if (!is_plain && !planted!(HistoryTakesAll)) || !reads || vanished || super::acts::is_hidden(db, LogId(log), &id)? {
        return Ok(());
    }
    // Older than all that is here, so that what is found stands in its order: the newest come first.
    let inserted = db
        .prepare_cached(
            "INSERT OR IGNORE INTO messages (n, id, conversation, sender, own, sent, time, seq, status, kind, text, reply_to, content, \
             evidence, extra, edited, deleted_by, hidden, ttl, expires) VALUES ((SELECT min(0, coalesce(min(n), 0)) - 1 FROM messages), \
             ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, 0, ?17, ?18)",
        )?
        .execute(params![
            id,
            log,
            m.sender,
            m.own,
            int(m.sent),
            int(m.time),
            int(super::held::shown(m.seq)),
            m.status,
            m.kind,
            m.text,
            m.reply_to.as_ref().map(|to| to.as_slice()),
            m.content.as_slice(),
            m.evidence.as_slice(),
            m.extra,
            int(m.edited),
            m.deleted_by,
            int(m.ttl),
            int(m.expires)
        ])?;
    if inserted == 0 {
        return Ok(());
    }
    taken.messages += u64::from(m.kind != 2);
    // Something that has come by the log waited for it.
    if db
        .prepare_cached("SELECT 1 FROM acts WHERE conversation = ?1 AND target = ?2 LIMIT 1")?
        .exists(params![log, id])?
    {
        taken.done_to.insert((LogId(log), id));
    }
    Ok(())
}

fn take_act(db: &Connection, a: &Act, taken: &mut Taken) -> rusqlite::Result<()> {
    let (Ok(id), Ok(log), Ok(target)) = (
        <[u8; 32]>::try_from(a.id.as_slice()),
        <[u8; 16]>::try_from(a.conversation.as_slice()),
        <[u8; 32]>::try_from(a.target.as_slice()),
    ) else {
        return Ok(());
    };
    // Messages come before what was done to them: one that is not here has vanished meanwhile, or was refused.
    let Some(message) = super::messages::get(db, LogId(log), &target)? else { return Ok(()) };
    if message.hidden || a.kind > 7 || a.seq == 0 {
        return Ok(());
    }
    let inserted = db
        .prepare_cached(
            // What was said again stands where it came last.
            "INSERT INTO acts (conversation, orphan, id, part, target, kind, sender, own, power, sent, time, seq, value, content, \
             evidence) VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
             ON CONFLICT DO UPDATE SET seq = excluded.seq, time = excluded.time, power = excluded.power WHERE time < excluded.time",
        )?
        .execute(params![
            log,
            id,
            a.part,
            target,
            a.kind,
            a.sender,
            a.own,
            a.power,
            int(a.sent),
            int(a.time),
            int(super::held::shown(a.seq)),
            a.value,
            a.content.as_slice(),
            a.evidence.as_slice()
        ])?;
    if inserted > 0 {
        taken.done_to.insert((LogId(log), target));
    }
    Ok(())
}

/// A pin of another own device goes before one that was set at first sight here: it is the older one. What the person has verified here stays.
fn take_contact(db: &Connection, c: &Contact, own: &str) -> rusqlite::Result<()> {
    let (Ok(address), Ok(account_key)) = (c.address.parse(), <[u8; 32]>::try_from(c.key.as_slice())) else {
        return Ok(());
    };
    if c.address == own {
        return Ok(());
    }
    let theirs = contacts::Contact {
        address,
        account_key,
        record: c.record.as_ref().map(|record| record.to_vec()),
        version: c.version,
        confirmation: match c.confirmation {
            1 => Confirmation::Confirmed,
            2 => Confirmation::Verified,
            3 => Confirmation::Conflict,
            _ => Confirmation::NotConfirmedYet,
        },
        other_key: c.other_key.as_ref().and_then(|key| key.as_slice().try_into().ok()),
        known: c.known,
        blocked: c.blocked,
        changed: c.changed,
        name: c.name.clone(),
        looked_up: 0,
    };
    let Some(ours) = contacts::get(db, &theirs.address)? else { return contacts::put(db, &theirs) };
    let name = if ours.name.is_empty() { theirs.name.clone() } else { ours.name.clone() };
    let (known, blocked) = (ours.known || theirs.known, ours.blocked || theirs.blocked);
    let mut merged = if ours.account_key == theirs.account_key {
        // Of the same key the surer word counts; a contradiction that either has seen stays one until the person has looked at it.
        let rank = |confirmation| match confirmation {
            Confirmation::Own | Confirmation::NotConfirmedYet => 0,
            Confirmation::Confirmed => 1,
            Confirmation::Verified => 2,
            Confirmation::Conflict => 3,
        };
        let mut merged =
            if rank(theirs.confirmation) > rank(ours.confirmation) { theirs.clone() } else { ours.clone() };
        if merged.version < ours.version || merged.record.is_none() {
            (merged.version, merged.record) = (ours.version, ours.record);
        }
        if merged.version < theirs.version || merged.record.is_none() {
            (merged.version, merged.record) = (theirs.version, theirs.record);
        }
        merged
    } else if ours.confirmation == Confirmation::Verified || theirs.confirmation == Confirmation::Conflict {
        ours
    } else {
        contacts::Contact { confirmation: Confirmation::Conflict, other_key: Some(ours.account_key), ..theirs }
    };
    (merged.known, merged.blocked, merged.name) = (known, blocked, name);
    contacts::put(db, &merged)
}

/// What stands at another place behind a restore has that place's time: the later one counts.
fn take_place(db: &Connection, p: &crate::archive::Place, taken: &mut Taken) -> rusqlite::Result<()> {
    let (Ok(log), Ok(id)) =
        (<[u8; 16]>::try_from(p.conversation.as_slice()), <[u8; 32]>::try_from(p.message.as_slice()))
    else {
        return Ok(());
    };
    let before = super::messages::get(db, LogId(log), &id)?;
    if before.is_some_and(|before| before.seq != 0 && before.time < p.time)
        && super::messages::move_to(db, LogId(log), &id, p.seq, p.time)?
    {
        taken.done_to.insert((LogId(log), id));
    }
    Ok(())
}

fn take_hidden(db: &Connection, log: &[u8], message: &[u8]) -> rusqlite::Result<()> {
    let (Ok(log), Ok(message)) = (<[u8; 16]>::try_from(log), <[u8; 32]>::try_from(message)) else { return Ok(()) };
    if super::acts::hide(db, LogId(log), &message)? {
        super::messages::purge(db, LogId(log), &message)?;
        super::messages::set_hidden(db, LogId(log), &message)?;
        super::acts::purge(db, LogId(log), &message, None)?;
    }
    Ok(())
}

fn take_ticks(db: &Connection, t: &Ticks) -> rusqlite::Result<()> {
    if t.conversation.len() != 16 || !(1..=2).contains(&t.level) || !(1..=3).contains(&t.status) {
        return Ok(());
    }
    db.prepare_cached(
        "INSERT INTO receipts VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET level = max(level, excluded.level)",
    )?
    .execute(params![t.conversation.as_slice(), int(t.seq), t.address, t.level])?;
    db.prepare_cached(
        "UPDATE messages SET status = ?3 WHERE conversation = ?1 AND seq = ?2 AND seq > 0 AND own = 1 AND kind != 2 \
         AND status BETWEEN 1 AND ?3",
    )?
    .execute(params![t.conversation.as_slice(), int(t.seq), t.status])?;
    Ok(())
}
