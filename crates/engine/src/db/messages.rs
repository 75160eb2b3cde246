//! Rows of the tables `messages`, `receipts` and `receipts_due`.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use wire::LogId;

use super::{fixed, fixed_opt, int, uint};
use api::{MessageKind, MessageStatus};

/// One message as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub id: [u8; 32],
    pub conversation: LogId,
    pub sender: String,
    pub own: bool,
    pub sent: u64,
    pub time: u64,
    pub seq: u64,
    pub status: MessageStatus,
    pub kind: MessageKind,
    pub reply_to: Option<[u8; 32]>,
    /// The MIMI content's bytes, for reports.
    pub content: Vec<u8>,
    /// What proves it to others: k_f, commitment, signature, stamp (docs/protocol.md, "Reports").
    pub evidence: Vec<u8>,
    /// What it is beside its text.
    pub more: More,
    /// When it was last edited, by the relay's clock; 0 if never.
    pub edited: u64,
    /// Who has taken it back for everyone; empty if nobody has.
    pub deleted_by: String,
    /// The own account has taken it out of sight, or it has vanished.
    pub hidden: bool,
    /// How long it stays once it was seen (by its writer: once it was sent), in ms; 0 for good.
    pub ttl: u64,
    /// When it vanishes, in ms since the epoch; 0 while that is not known.
    pub expires: u64,
}

impl Message {
    /// A message without what only some have.
    pub(crate) fn new(conversation: LogId, id: [u8; 32], kind: MessageKind) -> Self {
        Self {
            id,
            conversation,
            sender: String::new(),
            own: false,
            sent: 0,
            time: 0,
            seq: 0,
            status: MessageStatus::Read,
            kind,
            reply_to: None,
            content: Vec::new(),
            evidence: Vec::new(),
            more: More::default(),
            edited: 0,
            deleted_by: String::new(),
            hidden: false,
            ttl: 0,
            expires: 0,
        }
    }
}

/// What a message is beside its text; kept as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct More {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    #[serde(default)]
    pub mentions_me: bool,
    #[serde(default)]
    pub forwarded: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<api::Preview>,
    /// A poll, contact or location: what the kind's number says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rich: Option<MessageKind>,
}

const COLUMNS: &str = "id, conversation, sender, own, sent, time, seq, status, kind, text, reply_to, content, evidence, extra, edited, \
                       deleted_by, hidden, ttl, expires";

/// The kind's number, its text for searching, and what goes into `extra`.
fn kept(kind: &MessageKind, more: &More) -> rusqlite::Result<(i64, String, String)> {
    let (number, text) = match kind {
        MessageKind::Text { text } => (0, text.clone()),
        MessageKind::Unknown { fallback } => (1, fallback.clone()),
        MessageKind::System { text } => (2, text.clone()),
        MessageKind::Poll { poll } => {
            let options = poll.options.iter().map(|option| option.text.as_str()).collect::<Vec<_>>().join("\n");
            (3, format!("{}\n{options}", poll.question))
        }
        MessageKind::Contact { contact } => (4, format!("{} {}", contact.name, contact.address)),
        MessageKind::Location { location } => (5, location.label.clone()),
        MessageKind::ViewOnce { .. } => (6, String::new()),
        MessageKind::Deleted { .. } => (0, String::new()),
    };
    let more = More { rich: (number > 2).then(|| kind.clone()), ..more.clone() };
    let extra = if more == More::default() {
        String::new()
    } else {
        serde_json::to_string(&more).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?
    };
    Ok((number, text, extra))
}

fn status_number(status: MessageStatus) -> i64 {
    match status {
        MessageStatus::Sending => 0,
        MessageStatus::Sent => 1,
        MessageStatus::Delivered => 2,
        MessageStatus::Read => 3,
        MessageStatus::Failed => 4,
        MessageStatus::Received => 5,
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Message> {
    let text: String = row.get(9)?;
    let extra: String = row.get(13)?;
    let mut more: More = if extra.is_empty() { More::default() } else { parsed(&extra)? };
    Ok(Message {
        id: fixed(row, 0)?,
        conversation: LogId(fixed(row, 1)?),
        sender: row.get(2)?,
        own: row.get(3)?,
        sent: uint(row, 4)?,
        time: uint(row, 5)?,
        seq: super::held::shown(uint(row, 6)?),
        status: match row.get::<_, i64>(7)? {
            0 => MessageStatus::Sending,
            1 => MessageStatus::Sent,
            2 => MessageStatus::Delivered,
            3 => MessageStatus::Read,
            4 => MessageStatus::Failed,
            _ => MessageStatus::Received,
        },
        kind: match (row.get::<_, i64>(8)?, more.rich.take()) {
            (_, Some(rich)) => rich,
            (0, None) => MessageKind::Text { text },
            (2, None) => MessageKind::System { text },
            (_, None) => MessageKind::Unknown { fallback: text },
        },
        reply_to: fixed_opt(row, 10)?,
        content: row.get(11)?,
        evidence: row.get(12)?,
        more,
        edited: uint(row, 14)?,
        deleted_by: row.get(15)?,
        hidden: row.get(16)?,
        ttl: uint(row, 17)?,
        expires: uint(row, 18)?,
    })
}

fn parsed(extra: &str) -> rusqlite::Result<More> {
    serde_json::from_str(extra)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(13, rusqlite::types::Type::Text, Box::new(error)))
}

/// Stores a message. False if its conversation has one of this id already.
pub(crate) fn insert(db: &Connection, m: &Message) -> rusqlite::Result<bool> {
    let (kind, text, extra) = kept(&m.kind, &m.more)?;
    let inserted = db
        .prepare_cached(&format!(
            "INSERT OR IGNORE INTO messages ({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19)"
        ))?
        .execute(params![
            m.id,
            m.conversation.0,
            m.sender,
            m.own,
            int(m.sent),
            int(m.time),
            int(m.seq),
            status_number(m.status),
            kind,
            text,
            m.reply_to,
            m.content,
            m.evidence,
            extra,
            int(m.edited),
            m.deleted_by,
            m.hidden,
            int(m.ttl),
            int(m.expires)
        ])?;
    Ok(inserted == 1)
}

/// Stores what a message looks like now: text, what is beside it, edited, taken back.
pub(crate) fn set_shown(db: &Connection, m: &Message) -> rusqlite::Result<()> {
    let (kind, text, extra) = kept(&m.kind, &m.more)?;
    db.prepare_cached(
        "UPDATE messages SET kind = ?3, text = ?4, extra = ?5, edited = ?6, deleted_by = ?7 WHERE conversation = ?1 AND id = ?2",
    )?
    .execute(params![m.conversation.0, m.id, kind, text, extra, int(m.edited), m.deleted_by])?;
    Ok(())
}

/// Overwrites what a message said. SQLite writes zeros over what was there (`secure_delete`).
pub(crate) fn purge(db: &Connection, conversation: LogId, id: &[u8; 32]) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE messages SET kind = 0, text = '', extra = '', content = x'', evidence = x'', edited = 0 \
         WHERE conversation = ?1 AND id = ?2",
    )?
    .execute(params![conversation.0, id])?;
    Ok(())
}

/// Takes a message out of sight; it counts as read from then on.
pub(crate) fn set_hidden(db: &Connection, conversation: LogId, id: &[u8; 32]) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE messages SET hidden = 1, expires = 0, status = CASE status WHEN 5 THEN 3 ELSE status END \
         WHERE conversation = ?1 AND id = ?2",
    )?
    .execute(params![conversation.0, id])?;
    Ok(())
}

pub(crate) fn get(db: &Connection, conversation: LogId, id: &[u8; 32]) -> rusqlite::Result<Option<Message>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM messages WHERE conversation = ?1 AND id = ?2"))?
        .query_row(params![conversation.0, id], from_row)
        .optional()
}

/// Messages whose id starts with these hexadecimal digits; at most two, to tell "unique" from "ambiguous".
pub(crate) fn by_prefix(db: &Connection, conversation: LogId, prefix: &str) -> rusqlite::Result<Vec<Message>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM messages WHERE conversation = ?1 AND substr(lower(hex(id)), 1, length(?2)) = ?2 AND hidden = 0 LIMIT 2"
    ))?
    .query_map(params![conversation.0, prefix], from_row)?
    .collect()
}

/// The newest `limit` messages before `before`, oldest first. What has no place in the log yet stands behind all that has one.
pub(crate) fn page(
    db: &Connection,
    conversation: LogId,
    before: Option<&[u8; 32]>,
    limit: u32,
) -> rusqlite::Result<Vec<Message>> {
    let (seq, n): (i64, i64) = match before {
        None => (0, i64::MAX),
        Some(id) => {
            let found = db
                .prepare_cached("SELECT seq, n FROM messages WHERE conversation = ?1 AND id = ?2")?
                .query_row(params![conversation.0, id], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some(found) = found else { return Ok(Vec::new()) };
            found
        }
    };
    let limit = limit as usize;
    let mut page = if seq == 0 { without_place(db, conversation, n, limit)? } else { Vec::new() };
    let (seq, n) = if seq == 0 { (i64::MAX, i64::MAX) } else { (seq, n) };
    let mut placed = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM messages WHERE conversation = ?1 AND hidden = 0 AND seq > 0 AND (seq, n) < (?2, ?3) \
         ORDER BY seq DESC, n DESC"
    ))?;
    for message in placed.query_map(params![conversation.0, seq, n], from_row)?.take(limit - page.len()) {
        page.push(message?);
    }
    page.reverse();
    Ok(page)
}

/// The newest messages that have no place in the log, of a number below `n`. No index has those that wait to be sent, which would be one
/// more page to write for each: they are found by the outbox.
fn without_place(db: &Connection, conversation: LogId, n: i64, limit: usize) -> rusqlite::Result<Vec<Message>> {
    let mut numbers: Vec<i64> = db
        .prepare_cached("SELECT n FROM messages WHERE conversation = ?1 AND seq = 0 AND status != 0")?
        .query_map([conversation.0], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut waiting = db.prepare_cached("SELECT n FROM messages WHERE conversation = ?1 AND id = ?2 AND seq = 0")?;
    for id in super::outbox::messages(db, conversation)? {
        numbers.extend(waiting.query_row(params![conversation.0, id], |row| row.get::<_, i64>(0)).optional()?);
    }
    numbers.retain(|number| *number < n);
    numbers.sort_unstable();
    numbers.dedup();
    let mut page = Vec::new();
    let mut get = db.prepare_cached(&format!("SELECT {COLUMNS} FROM messages WHERE n = ?1 AND hidden = 0"))?;
    for number in numbers.into_iter().rev() {
        if page.len() == limit {
            break;
        }
        page.extend(get.query_row([number], from_row).optional()?);
    }
    Ok(page)
}

/// Takes messages into the search index, if at least `least` are not in it. Together, since the index writes several pages for one
/// as for many; what is searched for is there, because [`search`] begins with it.
pub(crate) fn index(db: &Connection, least: u32) -> rusqlite::Result<()> {
    let (known, last): (i64, i64) = db
        .prepare_cached("SELECT n, (SELECT coalesce(max(n), 0) FROM messages) FROM messages_indexed")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if last - known < i64::from(least) {
        return Ok(());
    }
    db.prepare_cached("INSERT INTO messages_text (rowid, text) SELECT n, text FROM messages WHERE n > ?1")?
        .execute([known])?;
    db.prepare_cached("UPDATE messages_indexed SET n = ?1")?.execute([last])?;
    Ok(())
}

/// Messages that hold all words of `text`, the newest first.
pub(crate) fn search(db: &Connection, text: &str, limit: u32) -> rusqlite::Result<Vec<Message>> {
    // Each word quoted, so that what a person types is never FTS5 syntax; the last one may be the beginning of a word.
    let mut query: Vec<String> = text.split_whitespace().map(|w| format!("\"{}\"", w.replace('"', "\"\""))).collect();
    let Some(last) = query.last_mut() else { return Ok(Vec::new()) };
    last.push('*');
    let tx = db.unchecked_transaction()?;
    index(&tx, 1)?;
    tx.commit()?;
    let columns = COLUMNS.split(", ").map(|column| format!("m.{column}")).collect::<Vec<_>>().join(", ");
    db.prepare_cached(&format!(
        "SELECT {columns} FROM messages_text t JOIN messages m ON m.n = t.rowid WHERE messages_text MATCH ?1 \
         ORDER BY m.n DESC LIMIT ?2"
    ))?
    .query_map(params![query.join(" "), limit], from_row)?
    .collect()
}

/// An own message has its place in the log.
pub(crate) fn set_sent(
    db: &Connection,
    conversation: LogId,
    id: &[u8; 32],
    seq: u64,
    time: u64,
) -> rusqlite::Result<bool> {
    let changed = db
        .prepare_cached(
            "UPDATE messages SET seq = ?3, time = ?4, status = CASE status WHEN 0 THEN 1 ELSE status END \
             WHERE conversation = ?1 AND id = ?2 AND seq != ?3",
        )?
        .execute(params![conversation.0, id, int(seq), int(time)])?;
    Ok(changed == 1)
}

/// The own message at a place.
pub(crate) fn own_at(db: &Connection, conversation: LogId, seq: u64) -> rusqlite::Result<Option<Message>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM messages WHERE conversation = ?1 AND seq = ?2 AND seq > 0 AND own = 1 AND kind != 2"
    ))?
    .query_row(params![conversation.0, int(seq)], from_row)
    .optional()
}

/// Somebody has said something behind this place.
pub(crate) fn is_heard(db: &Connection, conversation: LogId, sender: &str, place: u64) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM messages WHERE conversation = ?1 AND seq > ?2 AND sender = ?3 LIMIT 1")?
        .exists(params![conversation.0, int(place), sender])
}

/// A message stands at another place, or there since another time. False if that was known, or it is not here.
pub(crate) fn move_to(
    db: &Connection,
    conversation: LogId,
    id: &[u8; 32],
    seq: u64,
    time: u64,
) -> rusqlite::Result<bool> {
    let moved = db
        .prepare_cached(
            "UPDATE messages SET seq = ?3, time = ?4 WHERE conversation = ?1 AND id = ?2 AND (seq != ?3 OR time != ?4) AND seq != 0",
        )?
        .execute(params![conversation.0, id, int(seq), int(time)])?;
    Ok(moved == 1)
}

/// An own message was not sent: it has no place, whatever it had.
pub(crate) fn set_failed(db: &Connection, conversation: LogId, id: &[u8; 32]) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE messages SET seq = 0, status = ?3 WHERE conversation = ?1 AND id = ?2")?
        .execute(params![conversation.0, id, status_number(MessageStatus::Failed)])?;
    Ok(())
}

pub(crate) fn set_evidence(
    db: &Connection,
    conversation: LogId,
    id: &[u8; 32],
    evidence: &[u8],
) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE messages SET evidence = ?3 WHERE conversation = ?1 AND id = ?2")?.execute(params![
        conversation.0,
        id,
        evidence
    ])?;
    Ok(())
}

/// The last message with a place up to `seq`.
pub(crate) fn last_up_to(db: &Connection, conversation: LogId, seq: u64) -> rusqlite::Result<Option<Message>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM messages WHERE conversation = ?1 AND seq > 0 AND seq <= ?2 AND kind != 2 ORDER BY seq DESC LIMIT 1"
    ))?
    .query_row(params![conversation.0, int(seq)], from_row)
    .optional()
}

/// Nobody has written anything here; what only says what happened does not count.
pub(crate) fn is_unwritten(db: &Connection, conversation: LogId) -> rusqlite::Result<bool> {
    Ok(!db
        .prepare_cached("SELECT 1 FROM messages WHERE conversation = ?1 AND kind != 2 LIMIT 1")?
        .exists([conversation.0])?)
}

pub(crate) fn unread(db: &Connection, conversation: LogId) -> rusqlite::Result<u32> {
    db.prepare_cached("SELECT count(*) FROM messages WHERE conversation = ?1 AND status = 5")?
        .query_row([conversation.0], |row| row.get(0))
}

/// Marks all received messages up to `seq` read at the time `now`, from which on those that vanish are counted; answers with their
/// places.
pub(crate) fn mark_read(db: &Connection, conversation: LogId, seq: u64, now: u64) -> rusqlite::Result<Vec<u64>> {
    db.prepare_cached(
        "UPDATE messages SET status = 3, expires = CASE WHEN ttl = 0 OR expires BETWEEN 1 AND ?3 + ttl THEN expires ELSE ?3 + ttl END \
         WHERE conversation = ?1 AND status = 5 AND seq <= ?2 RETURNING seq",
    )?
    .query_map(params![conversation.0, int(seq), int(now)], |row| uint(row, 0))?
    .collect()
}

/// Notes that others are to hear of a message: level 1 delivered, 2 read.
pub(crate) fn owe_receipt(db: &Connection, conversation: LogId, seq: u64, level: u8) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO receipts_due VALUES (?1, ?2, ?3)")?.execute(params![
        conversation.0,
        int(seq),
        level
    ])?;
    Ok(())
}

/// Takes at most `limit` receipts of one level that are due.
pub(crate) fn take_due(db: &Connection, conversation: LogId, level: u8, limit: u32) -> rusqlite::Result<Vec<u64>> {
    let mut due: Vec<u64> = db
        .prepare_cached(
            "DELETE FROM receipts_due WHERE conversation = ?1 AND level = ?2 AND seq IN \
             (SELECT seq FROM receipts_due WHERE conversation = ?1 AND level = ?2 ORDER BY seq LIMIT ?3) RETURNING seq",
        )?
        .query_map(params![conversation.0, level, limit], |row| uint(row, 0))?
        .collect::<Result<_, _>>()?;
    due.sort_unstable();
    Ok(due)
}

/// Conversations that owe receipts.
pub(crate) fn owing(db: &Connection) -> rusqlite::Result<Vec<LogId>> {
    db.prepare_cached("SELECT DISTINCT conversation FROM receipts_due")?
        .query_map([], |row| Ok(LogId(fixed(row, 0)?)))?
        .collect()
}

/// Forgets what is owed in a conversation.
pub(crate) fn forgive(db: &Connection, conversation: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM receipts_due WHERE conversation = ?1")?.execute([conversation.0])?;
    Ok(())
}

/// An account has got own messages from `first` to `last`. Answers with the messages whose status that changed.
pub(crate) fn receive_receipt(
    db: &Connection,
    conversation: LogId,
    address: &str,
    (first, last): (u64, u64),
    level: u8,
    others: u32,
) -> rusqlite::Result<Vec<Message>> {
    let own: Vec<Message> = db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM messages WHERE conversation = ?1 AND own = 1 AND status IN (0, 1, 2) \
             AND seq > 0 AND seq BETWEEN ?2 AND ?3 ORDER BY seq"
        ))?
        .query_map(params![conversation.0, int(first), int(last)], from_row)?
        .collect::<Result<_, _>>()?;
    let mut changed = Vec::new();
    for mut message in own {
        db.prepare_cached(
            "INSERT INTO receipts VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET level = max(level, excluded.level)",
        )?
        .execute(params![conversation.0, int(message.seq), address, level])?;
        let (delivered, read): (u32, u32) = db
            .prepare_cached(
                "SELECT count(*), coalesce(sum(level = 2), 0) FROM receipts WHERE conversation = ?1 AND seq = ?2",
            )?
            .query_row(params![conversation.0, int(message.seq)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let status = if read >= others {
            MessageStatus::Read
        } else if delivered >= others {
            MessageStatus::Delivered
        } else {
            continue;
        };
        if status != message.status {
            db.prepare_cached("UPDATE messages SET status = ?3 WHERE conversation = ?1 AND id = ?2")?
                .execute(params![conversation.0, message.id, status_number(status)])?;
            message.status = status;
            changed.push(message);
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::db::{Database, open};

    #[test]
    fn the_search_index_has_each_message_once() {
        const ROOM: LogId = LogId([3; 16]);
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let db = open(&Database::Memory { name: "messages-index".into() }, &mut rng).unwrap();
        let say = |number: u8, text: &str| {
            let kind = MessageKind::Text { text: text.to_owned() };
            assert!(insert(&db, &Message::new(ROOM, [number; 32], kind)).unwrap());
        };
        let delete = |number: u8| db.execute("DELETE FROM messages WHERE id = ?1", [[number; 32]]).unwrap();
        let found = |text: &str| search(&db, text, 10).unwrap().len();
        say(1, "tram one");
        say(2, "tram two");
        delete(2); // before the index has it
        say(3, "tram three"); // under the same number
        assert_eq!(found("tram"), 2);
        delete(3); // when the index has it
        say(4, "tram four"); // under the same number again
        say(5, "tram five");
        set_shown(&db, &Message::new(ROOM, [1; 32], MessageKind::Text { text: "ferry".into() })).unwrap();
        set_shown(&db, &Message::new(ROOM, [5; 32], MessageKind::Text { text: "boat".into() })).unwrap();
        assert_eq!((found("tram"), found("ferry"), found("boat"), found("one")), (1, 1, 1, 0));
        index(&db, 1).unwrap();
        // SQLite's own comparison of the index with the messages.
        db.execute("INSERT INTO messages_text (messages_text, rank) VALUES ('integrity-check', 1)", []).unwrap();
    }

    #[test]
    fn pages_end_with_what_has_no_place_yet() {
        const ROOM: LogId = LogId([4; 16]);
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let db = open(&Database::Memory { name: "messages-page".into() }, &mut rng).unwrap();
        let say = |number: u8, seq: u64, status: MessageStatus| {
            let kind = MessageKind::Text { text: String::new() };
            let message = Message { seq, status, own: true, ..Message::new(ROOM, [number; 32], kind) };
            assert!(insert(&db, &message).unwrap());
            if status == MessageStatus::Sending {
                crate::db::outbox::push(&db, ROOM, Some(&[number; 32]), &[], 1, false).unwrap();
            }
        };
        say(1, 9, MessageStatus::Sent);
        say(2, 0, MessageStatus::Sending);
        say(3, 5, MessageStatus::Sent);
        say(4, 0, MessageStatus::Failed);
        say(5, 0, MessageStatus::Sending);
        say(6, 9, MessageStatus::Sent);
        let shown = |before: Option<u8>, limit: u32| -> Vec<u8> {
            let before = before.map(|number| [number; 32]);
            page(&db, ROOM, before.as_ref(), limit).unwrap().iter().map(|message| message.id[0]).collect()
        };
        assert_eq!(shown(None, 100), [3, 1, 6, 2, 4, 5]);
        assert_eq!(shown(None, 2), [4, 5]);
        assert_eq!(shown(Some(4), 2), [6, 2]);
        assert_eq!(shown(Some(2), 2), [1, 6]);
        assert_eq!(shown(Some(6), 2), [3, 1]);
        assert!(shown(Some(9), 2).is_empty());
        set_hidden(&db, ROOM, &[4; 32]).unwrap();
        set_sent(&db, ROOM, &[2; 32], 7, 1).unwrap();
        assert_eq!(shown(None, 100), [3, 2, 1, 6, 5]);
    }
}
