//! Messages that are sent later.

use api::{Preview, Problem};
use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::LogId;

use super::{fixed, fixed_opt, int, uint};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scheduled {
    pub id: [u8; 16],
    /// None if a conversation is only begun then.
    pub conversation: Option<LogId>,
    /// With whom; empty if there is a conversation.
    pub address: String,
    pub at: u64,
    pub text: String,
    pub reply_to: Option<[u8; 32]>,
    pub preview: Option<Preview>,
    pub stays: u64,
    pub view_once: bool,
    /// Why it could not be sent when its time came.
    pub problem: Option<Problem>,
}

const COLUMNS: &str = "id, conversation, address, at, text, reply_to, preview, stays, view_once, problem";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Scheduled> {
    Ok(Scheduled {
        id: fixed(row, 0)?,
        conversation: fixed_opt(row, 1)?.map(LogId),
        address: row.get(2)?,
        at: uint(row, 3)?,
        text: row.get(4)?,
        reply_to: fixed_opt(row, 5)?,
        preview: json(row, 6)?,
        stays: uint(row, 7)?,
        view_once: row.get(8)?,
        problem: json(row, 9)?,
    })
}

/// A column that is empty or holds JSON.
fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let text: String = row.get(column)?;
    if text.is_empty() {
        return Ok(None);
    }
    let error = |error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error));
    serde_json::from_str(&text).map(Some).map_err(error)
}

fn to_json<T: serde::Serialize>(value: Option<&T>) -> rusqlite::Result<String> {
    let error = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    value.map_or_else(|| Ok(String::new()), |value| serde_json::to_string(value).map_err(error))
}

pub(crate) fn put(db: &Connection, message: &Scheduled) -> rusqlite::Result<()> {
    let values = "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10";
    db.prepare_cached(&format!("INSERT INTO scheduled ({COLUMNS}) VALUES ({values})"))?.execute(params![
        message.id,
        message.conversation.map(|id| id.0),
        message.address,
        int(message.at),
        message.text,
        message.reply_to,
        to_json(message.preview.as_ref())?,
        int(message.stays),
        message.view_once,
        to_json(message.problem.as_ref())?
    ])?;
    Ok(())
}

/// All of them, by time.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Scheduled>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM scheduled ORDER BY at, n"))?.query_map([], from_row)?.collect()
}

pub(crate) fn count(db: &Connection) -> rusqlite::Result<u32> {
    db.prepare_cached("SELECT count(*) FROM scheduled")?.query_row([], |row| row.get(0))
}

/// What can go out: not to a conversation that was ended and waits for what goes on for it, where it goes out then.
const READY: &str = "problem = '' AND (conversation IS NULL OR conversation NOT IN \
                     (SELECT conversation FROM endings WHERE due > 0 AND successor IS NULL))";

/// Those whose time has come, in order.
pub(crate) fn due(db: &Connection, now: u64) -> rusqlite::Result<Vec<Scheduled>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM scheduled WHERE {READY} AND at <= ?1 ORDER BY at, n"))?
        .query_map([int(now)], from_row)?
        .collect()
}

/// When the next one's time comes.
pub(crate) fn next(db: &Connection) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached(&format!("SELECT at FROM scheduled WHERE {READY} ORDER BY at, n LIMIT 1"))?
        .query_row([], |row| uint(row, 0))
        .optional()
}

pub(crate) fn set_problem(db: &Connection, id: &[u8; 16], problem: &Problem) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE scheduled SET problem = ?2 WHERE id = ?1")?
        .execute(params![id, to_json(Some(problem))?])?;
    Ok(())
}

pub(crate) fn remove(db: &Connection, id: &[u8; 16]) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM scheduled WHERE id = ?1")?.execute([id])?;
    Ok(())
}
