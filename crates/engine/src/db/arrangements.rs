//! Rows of the table `arrangements`: how this account keeps a conversation. Nothing of it is told to others.

use rusqlite::{Connection, OptionalExtension, params};
use wire::LogId;

use super::{int, uint};

/// How one conversation is kept; a conversation without a row is kept as [`Default`] says.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Arrangement {
    /// Nothing is announced before this time, in ms since the epoch; 0 if it is not muted.
    pub muted_until: u64,
    pub archived: bool,
    /// When it was pinned to the top of the list, in ms since the epoch; 0 if it is not.
    pub pinned: u64,
    /// To be looked at again, whatever was read.
    pub unread: bool,
    /// What was begun and not sent.
    pub draft: String,
}

pub(crate) fn get(db: &Connection, conversation: LogId) -> rusqlite::Result<Arrangement> {
    db.prepare_cached("SELECT muted_until, archived, pinned, unread, draft FROM arrangements WHERE conversation = ?1")?
        .query_row([conversation.0], |row| {
            Ok(Arrangement {
                muted_until: uint(row, 0)?,
                archived: row.get(1)?,
                pinned: uint(row, 2)?,
                unread: row.get(3)?,
                draft: row.get(4)?,
            })
        })
        .optional()
        .map(Option::unwrap_or_default)
}

pub(crate) fn put(db: &Connection, conversation: LogId, arrangement: &Arrangement) -> rusqlite::Result<()> {
    if *arrangement == Arrangement::default() {
        db.prepare_cached("DELETE FROM arrangements WHERE conversation = ?1")?.execute([conversation.0])?;
        return Ok(());
    }
    db.prepare_cached("INSERT OR REPLACE INTO arrangements VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        conversation.0,
        int(arrangement.muted_until),
        arrangement.archived,
        int(arrangement.pinned),
        arrangement.unread,
        arrangement.draft
    ])?;
    Ok(())
}

/// How many conversations are pinned to the top.
pub(crate) fn pinned(db: &Connection) -> rusqlite::Result<u32> {
    db.prepare_cached("SELECT count(*) FROM arrangements WHERE pinned > 0")?.query_row([], |row| row.get(0))
}
