//! Rows of the tables `acts` and `hidden`: what was done to messages.

use rusqlite::{Connection, Row, params};
use wire::LogId;

use super::{fixed, int, uint};

/// Acts on messages that this device does not know, in one conversation. They matter once history arrives.
const MAX_ORPHANS: u32 = 2_000;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActKind {
    Edit,
    Delete,
    Reaction,
    /// Takes the own reaction of this emoji back.
    Unreaction,
    Vote,
    PollClosed,
    Pin,
    Unpin,
}

impl ActKind {
    const ALL: [Self; 8] = [
        Self::Edit,
        Self::Delete,
        Self::Reaction,
        Self::Unreaction,
        Self::Vote,
        Self::PollClosed,
        Self::Pin,
        Self::Unpin,
    ];

    fn number(self) -> i64 {
        self as i64
    }
}

/// Something that a member did to a message.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    /// The id of the message that says so.
    pub id: [u8; 32],
    /// Which of several reactions in one message.
    pub part: u32,
    /// The message that it is done to: the original, also where an edit of it is named.
    pub target: [u8; 32],
    pub kind: ActKind,
    pub sender: String,
    pub own: bool,
    /// The sender was an admin or owner of the group at this place of the log.
    pub power: bool,
    pub sent: u64,
    pub time: u64,
    /// Its place in the log; 0 while it is on its way.
    pub seq: u64,
    /// Reactions: the emoji. Votes: the places chosen, with commas between.
    pub value: String,
    /// Edits, and what this device itself has done: the MIMI content, and what proves it; else empty.
    pub content: Vec<u8>,
    pub evidence: Vec<u8>,
}

const COLUMNS: &str = "id, part, target, kind, sender, own, power, sent, time, seq, value, content, evidence";
/// The order of the log; what is on its way comes last, in the order in which it was made.
const ORDER: &str = "(CASE seq WHEN 0 THEN 9223372036854775807 ELSE seq END), n, part";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Act> {
    let kind: i64 = row.get(3)?;
    Ok(Act {
        id: fixed(row, 0)?,
        part: row.get(1)?,
        target: fixed(row, 2)?,
        kind: usize::try_from(kind)
            .ok()
            .and_then(|kind| ActKind::ALL.get(kind).copied())
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(3, kind))?,
        sender: row.get(4)?,
        own: row.get(5)?,
        power: row.get(6)?,
        sent: uint(row, 7)?,
        time: uint(row, 8)?,
        seq: uint(row, 9)?,
        value: row.get(10)?,
        content: row.get(11)?,
        evidence: row.get(12)?,
    })
}

/// Stores an act. `orphan`: its target is not known here; of these only so many are kept.
pub(crate) fn insert(db: &Connection, conversation: LogId, act: &Act, orphan: bool) -> rusqlite::Result<()> {
    if orphan {
        let orphans: u32 = db
            .prepare_cached("SELECT count(*) FROM acts WHERE conversation = ?1 AND orphan = 1")?
            .query_row([conversation.0], |row| row.get(0))?;
        if orphans >= MAX_ORPHANS {
            return Ok(());
        }
    }
    db.prepare_cached(&format!(
        "INSERT OR IGNORE INTO acts (conversation, orphan, {COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)"
    ))?
    .execute(params![
        conversation.0,
        orphan,
        act.id,
        act.part,
        act.target,
        act.kind.number(),
        act.sender,
        act.own,
        act.power,
        int(act.sent),
        int(act.time),
        int(act.seq),
        act.value,
        act.content,
        act.evidence
    ])?;
    Ok(())
}

/// What one message has done, part by part.
pub(crate) fn get(db: &Connection, conversation: LogId, id: &[u8; 32]) -> rusqlite::Result<Vec<Act>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM acts WHERE conversation = ?1 AND id = ?2 ORDER BY part"))?
        .query_map(params![conversation.0, id], from_row)?
        .collect()
}

/// What the own account has done at a place, the first of its parts.
pub(crate) fn own_at(db: &Connection, conversation: LogId, seq: u64) -> rusqlite::Result<Option<Act>> {
    use rusqlite::OptionalExtension as _;
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM acts WHERE conversation = ?1 AND seq = ?2 AND own = 1 ORDER BY part LIMIT 1"
    ))?
    .query_row(params![conversation.0, int(seq)], from_row)
    .optional()
}

/// What was done to a message, in the order of the log, without what edits say: only [`changes`] needs that.
pub(crate) fn of_target(db: &Connection, conversation: LogId, target: &[u8; 32]) -> rusqlite::Result<Vec<Act>> {
    let columns = COLUMNS.replace("content, evidence", "x'', x''");
    db.prepare_cached(&format!("SELECT {columns} FROM acts WHERE conversation = ?1 AND target = ?2 ORDER BY {ORDER}"))?
        .query_map(params![conversation.0, target], from_row)?
        .collect()
}

/// The edits and deletions of a message, in the order of the log.
pub(crate) fn changes(db: &Connection, conversation: LogId, target: &[u8; 32]) -> rusqlite::Result<Vec<Act>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM acts WHERE conversation = ?1 AND target = ?2 AND kind IN (0, 1) ORDER BY {ORDER}"
    ))?
    .query_map(params![conversation.0, target], from_row)?
    .collect()
}

/// Pins and ends of pins, in the order of the log. Like all else that is done to a message they count behind it, and a message may have
/// moved since they came.
pub(crate) fn pins(db: &Connection, conversation: LogId) -> rusqlite::Result<Vec<Act>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM acts WHERE conversation = ?1 AND kind IN (6, 7) AND NOT EXISTS (SELECT 1 FROM messages m \
         WHERE m.conversation = acts.conversation AND m.id = acts.target AND acts.seq != 0 AND (m.seq = 0 OR m.seq >= acts.seq)) \
         ORDER BY {ORDER}"
    ))?
    .query_map([conversation.0], from_row)?
    .collect()
}

/// How many settled acts of these kinds somebody has done to a message before place `seq`.
pub(crate) fn count(
    db: &Connection,
    conversation: LogId,
    target: &[u8; 32],
    sender: Option<&str>,
    kinds: [ActKind; 2],
    seq: u64,
) -> rusqlite::Result<u32> {
    db.prepare_cached(
        "SELECT count(*) FROM acts WHERE conversation = ?1 AND target = ?2 AND kind IN (?3, ?4) AND seq BETWEEN 1 AND ?5 \
         AND (?6 IS NULL OR sender = ?6)",
    )?
    .query_row(
        params![conversation.0, target, kinds[0].number(), kinds[1].number(), int(seq.saturating_sub(1)), sender],
        |row| row.get(0),
    )
}

/// Forgets what a settled act makes meaningless: earlier ones of these kinds on the same message with the same `value` (if one is
/// given) by the same sender (if one is given).
pub(crate) fn supersede(
    db: &Connection,
    conversation: LogId,
    by: &Act,
    kinds: [ActKind; 2],
    value: Option<&str>,
    sender: Option<&str>,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM acts WHERE conversation = ?1 AND target = ?2 AND kind IN (?3, ?4) AND seq BETWEEN 1 AND ?5 \
         AND (?6 IS NULL OR value = ?6) AND (?7 IS NULL OR sender = ?7)",
    )?
    .execute(params![
        conversation.0,
        by.target,
        kinds[0].number(),
        kinds[1].number(),
        int(by.seq.saturating_sub(1)),
        value,
        sender
    ])?;
    Ok(())
}

/// Keeps what proves an own edit.
pub(crate) fn set_evidence(
    db: &Connection,
    conversation: LogId,
    id: &[u8; 32],
    evidence: &[u8],
) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE acts SET evidence = ?3 WHERE conversation = ?1 AND id = ?2 AND kind = 0")?
        .execute(params![conversation.0, id, evidence])?;
    Ok(())
}

pub(crate) fn remove(db: &Connection, conversation: LogId, id: &[u8; 32]) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM acts WHERE conversation = ?1 AND id = ?2")?.execute(params![conversation.0, id])?;
    Ok(())
}

/// Removes all that was done to a message but for the settled deletion `keep`.
pub(crate) fn purge(
    db: &Connection,
    conversation: LogId,
    target: &[u8; 32],
    keep: Option<&[u8; 32]>,
) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM acts WHERE conversation = ?1 AND target = ?2 AND id IS NOT ?3")?
        .execute(params![conversation.0, target, keep])?;
    Ok(())
}

/// Messages to which something was done.
pub(crate) fn targets(db: &Connection, conversation: LogId) -> rusqlite::Result<Vec<[u8; 32]>> {
    db.prepare_cached("SELECT DISTINCT target FROM acts WHERE conversation = ?1 ORDER BY target")?
        .query_map([conversation.0], |row| fixed(row, 0))?
        .collect()
}

/// Deletions that name somebody's own reaction, which was not known here when they came: (deletion, reaction).
pub(crate) fn late_unreactions(db: &Connection, conversation: LogId) -> rusqlite::Result<Vec<([u8; 32], [u8; 32])>> {
    db.prepare_cached(
        "SELECT DISTINCT d.id, r.id FROM acts d JOIN acts r ON r.conversation = d.conversation AND r.id = d.target \
         WHERE d.conversation = ?1 AND d.kind = 1 AND r.kind = 2 AND r.sender = d.sender ORDER BY d.id",
    )?
    .query_map([conversation.0], |row| Ok((fixed(row, 0)?, fixed(row, 1)?)))?
    .collect()
}

/// What was not known here is known now.
pub(crate) fn adopt(db: &Connection, conversation: LogId) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE acts SET orphan = NOT EXISTS (SELECT 1 FROM messages m WHERE m.conversation = acts.conversation AND m.id = acts.target) \
         WHERE conversation = ?1 AND orphan = 1",
    )?
    .execute([conversation.0])?;
    Ok(())
}

/// The own account has taken a message out of sight. False if it had already.
pub(crate) fn hide(db: &Connection, conversation: LogId, message: &[u8; 32]) -> rusqlite::Result<bool> {
    let hidden =
        db.prepare_cached("INSERT OR IGNORE INTO hidden VALUES (?1, ?2)")?.execute(params![conversation.0, message])?;
    Ok(hidden == 1)
}

pub(crate) fn is_hidden(db: &Connection, conversation: LogId, message: &[u8; 32]) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM hidden WHERE conversation = ?1 AND message = ?2")?
        .exists(params![conversation.0, message])
}
