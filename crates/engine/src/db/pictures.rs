//! Rows of the table `pictures`: the picture that each group's state names, as far as it is here, and those that are on their way into a
//! state.

use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::LogId;

use super::{fixed, int, uint};
use crate::picture::Picture;

/// A picture of a group.
pub(crate) struct Kept {
    pub conversation: LogId,
    pub picture: Picture,
    /// The JPEG; empty until it was fetched.
    pub file: Vec<u8>,
    /// How often it was not to be had.
    pub tries: u32,
    /// When this device last put it at the relay, in ms; 0 if it never did.
    pub uploaded: u64,
}

const COLUMNS: &str = "conversation, hash, secret, size, kind, file, tries, uploaded";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        conversation: LogId(fixed(row, 0)?),
        picture: Picture { hash: fixed(row, 1)?, secret: fixed(row, 2)?, size: row.get(3)?, kind: row.get(4)? },
        file: row.get(5)?,
        tries: row.get(6)?,
        uploaded: uint(row, 7)?,
    })
}

/// The picture that a group has now.
pub(crate) fn current(db: &Connection, conversation: LogId) -> rusqlite::Result<Option<Kept>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM pictures WHERE conversation = ?1 AND current = 1"))?
        .query_row([conversation.0], from_row)
        .optional()
}

/// Pictures of groups that are in use, which are to be fetched at this time.
pub(crate) fn due(db: &Connection, now: u64) -> rusqlite::Result<Vec<Kept>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM pictures WHERE current = 1 AND file = x'' AND next <= ?1 AND conversation IN \
         (SELECT id FROM conversations WHERE standing = 2) ORDER BY conversation"
    ))?
    .query_map([int(now)], from_row)?
    .collect()
}

/// The next time after `now` at which one is to be fetched.
pub(crate) fn next(db: &Connection, now: u64) -> rusqlite::Result<Option<u64>> {
    let next: Option<i64> = db
        .prepare_cached("SELECT min(next) FROM pictures WHERE current = 1 AND file = x'' AND next > ?1")?
        .query_row([int(now)], |row| row.get(0))?;
    Ok(next.map(|next| next.max(0) as u64))
}

/// One that this device is about to put into the state.
pub(crate) fn insert(
    db: &Connection,
    conversation: LogId,
    picture: &Picture,
    file: &[u8],
    now: u64,
) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO pictures VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, ?7)")?
        .execute(params![conversation.0, picture.hash, picture.secret, picture.size, picture.kind, file, int(now)])?;
    Ok(())
}

/// It did not come into the state.
pub(crate) fn remove(db: &Connection, conversation: LogId, picture: &Picture) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM pictures WHERE conversation = ?1 AND hash = ?2 AND current = 0")?
        .execute(params![conversation.0, picture.hash])?;
    Ok(())
}

/// The state names this one, or none; all before it go. True if it is to be fetched.
pub(crate) fn set_current(db: &Connection, conversation: LogId, picture: Option<&Picture>) -> rusqlite::Result<bool> {
    let Some(picture) = picture else {
        db.prepare_cached("DELETE FROM pictures WHERE conversation = ?1 AND current = 1")?.execute([conversation.0])?;
        return Ok(false);
    };
    // The same hash under another secret is another one.
    db.prepare_cached(
        "DELETE FROM pictures WHERE conversation = ?1 AND ((current = 1 AND hash != ?2) OR (hash = ?2 AND (secret, size, kind) != (?3, ?4, ?5)))",
    )?
    .execute(params![conversation.0, picture.hash, picture.secret, picture.size, picture.kind])?;
    db.prepare_cached(
        "INSERT INTO pictures VALUES (?1, ?2, ?3, ?4, ?5, x'', 1, 0, 0, 0) \
         ON CONFLICT (conversation, hash) DO UPDATE SET current = 1",
    )?
    .execute(params![conversation.0, picture.hash, picture.secret, picture.size, picture.kind])?;
    db.prepare_cached("SELECT 1 FROM pictures WHERE conversation = ?1 AND current = 1 AND file = x''")?
        .exists([conversation.0])
}

/// It is here.
pub(crate) fn set_file(db: &Connection, kept: &Kept, file: &[u8]) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE pictures SET file = ?3 WHERE conversation = ?1 AND hash = ?2")?.execute(params![
        kept.conversation.0,
        kept.picture.hash,
        file
    ])?;
    Ok(())
}

/// It was not to be had, and is asked for again at `next`.
pub(crate) fn put_off(db: &Connection, kept: &Kept, next: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE pictures SET tries = tries + 1, next = ?3 WHERE conversation = ?1 AND hash = ?2")?
        .execute(params![kept.conversation.0, kept.picture.hash, int(next)])?;
    Ok(())
}

/// Those that this device has put at their relay, and holds.
pub(crate) fn uploaded(db: &Connection) -> rusqlite::Result<Vec<Kept>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM pictures WHERE uploaded > 0 AND file != x'' ORDER BY conversation, hash"
    ))?
    .query_map([], from_row)?
    .collect()
}

/// This device puts it at the relay now.
pub(crate) fn set_uploaded(db: &Connection, kept: &Kept, now: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE pictures SET uploaded = ?3 WHERE conversation = ?1 AND hash = ?2")?.execute(params![
        kept.conversation.0,
        kept.picture.hash,
        int(now)
    ])?;
    Ok(())
}
