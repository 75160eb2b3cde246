//! Rows of the table `backed_up`: what the sets of a backup on the relay hold of things as they are, so that the next one holds only what has changed.

use rusqlite::{Connection, OptionalExtension, params};

use super::uint;
use crate::archive::Item;
use crate::{formats, shelf};

/// A full set begins: nothing is held yet.
pub(crate) fn forget(db: &Connection) -> rusqlite::Result<()> {
    db.execute("DELETE FROM backed_up", []).map(|_| ())
}

/// True if the sets don't hold this item as it is; from now on they do.
pub(crate) fn is_new(db: &Connection, item: &Item) -> rusqlite::Result<bool> {
    let Some(key) = shelf::key(item) else { return Ok(true) };
    let (key, hash) = (formats::hash(&key), formats::hash(&formats::encode(item)));
    let before: Option<[u8; 32]> = db
        .prepare_cached("SELECT hash FROM backed_up WHERE item = ?1")?
        .query_row([key], |row| super::fixed(row, 0))
        .optional()?;
    if before == Some(hash) {
        return Ok(false);
    }
    db.prepare_cached("INSERT OR REPLACE INTO backed_up VALUES (?1, ?2)")?.execute(params![key, hash])?;
    Ok(true)
}

/// When messages vanish that have a lifetime and were read, or were sent; of those that are gone a time that has been.
pub(crate) fn vanishing(db: &Connection) -> rusqlite::Result<Vec<Item>> {
    db.prepare_cached("SELECT conversation, id, CASE hidden WHEN 1 THEN 1 ELSE expires END FROM messages WHERE expires > 0 OR hidden = 1 ORDER BY n")?
        .query_map([], |row| {
            Ok(Item::Vanishes(row.get::<_, Vec<u8>>(0)?.into(), row.get::<_, Vec<u8>>(1)?.into(), uint(row, 2)?))
        })?
        .collect()
}

/// The number of the oldest row of messages: what comes in from elsewhere stands before it.
pub(crate) fn first(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT coalesce(min(n), 0) FROM messages", [], |row| row.get(0))
}
