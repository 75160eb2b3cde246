//! Messages that vanish: which, and when.

use rusqlite::{Connection, OptionalExtension, params};
use wire::LogId;

use super::{fixed, int, uint};

/// From `seen` on a message is counted down; an end that is nearer already stays. `ttl` is what it is after, in ms.
pub(crate) fn start(db: &Connection, conversation: LogId, id: &[u8; 32], ttl: u64, seen: u64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE messages SET ttl = ?3, expires = CASE WHEN expires BETWEEN 1 AND ?4 THEN expires ELSE ?4 END \
         WHERE conversation = ?1 AND id = ?2",
    )?
    .execute(params![conversation.0, id, int(ttl), int(seen.saturating_add(ttl))])?;
    Ok(())
}

/// Messages whose time has come.
pub(crate) fn due(db: &Connection, now: u64) -> rusqlite::Result<Vec<(LogId, [u8; 32])>> {
    db.prepare_cached("SELECT conversation, id FROM messages WHERE expires > 0 AND expires <= ?1")?
        .query_map([int(now)], |row| Ok((LogId(fixed(row, 0)?), fixed(row, 1)?)))?
        .collect()
}

/// When the next one's time comes.
pub(crate) fn next(db: &Connection) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached("SELECT expires FROM messages WHERE expires > 0 ORDER BY expires LIMIT 1")?
        .query_row([], |row| uint(row, 0))
        .optional()
}
