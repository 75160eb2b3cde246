//! Rows of the table `own_state`: the last word on everything that the person chooses, whichever own device it was said on.

use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::{Address, DeviceId, LogId};

use super::{int, uint};
use crate::own_state::Change;

/// A word as it is kept.
pub(crate) struct Kept {
    pub kind: u8,
    pub about: Vec<u8>,
    pub time: u64,
    pub word: Vec<u8>,
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept { kind: row.get(0)?, about: row.get(1)?, time: uint(row, 2)?, word: row.get(3)? })
}

/// The last word on something.
pub(crate) fn get(db: &Connection, kind: u8, about: &[u8]) -> rusqlite::Result<Option<Kept>> {
    db.prepare_cached("SELECT kind, about, time, word FROM own_state WHERE kind = ?1 AND about = ?2")?
        .query_row(params![kind, about], from_row)
        .optional()
}

/// Keeps a word in the place of the one before it.
pub(crate) fn put(db: &Connection, kept: &Kept, untold: bool) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO own_state VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        kept.kind,
        kept.about,
        int(kept.time),
        kept.word,
        untold
    ])?;
    Ok(())
}

pub(crate) fn remove(db: &Connection, kind: u8, about: &[u8]) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM own_state WHERE kind = ?1 AND about = ?2")?.execute(params![kind, about])?;
    Ok(())
}

/// Words that other devices are to hear, the oldest first.
pub(crate) fn untold(db: &Connection) -> rusqlite::Result<Vec<Kept>> {
    db.prepare_cached(
        "SELECT kind, about, time, word FROM own_state WHERE untold = 1 ORDER BY time, kind, about LIMIT 1024",
    )?
    .query_map([], from_row)?
    .collect()
}

/// A word is on its way to the others.
pub(crate) fn set_told(db: &Connection, kept: &Kept) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE own_state SET untold = 0 WHERE kind = ?1 AND about = ?2")?
        .execute(params![kept.kind, kept.about])?;
    Ok(())
}

/// Somebody is there who has heard nothing yet.
pub(crate) fn tell_all(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE own_state SET untold = 1 WHERE untold = 0")?.execute([])?;
    Ok(())
}

/// All of them.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Kept>> {
    db.prepare_cached("SELECT kind, about, time, word FROM own_state")?.query_map([], from_row)?.collect()
}

/// What the person calls an address, and whether they have blocked it, as far as they have said.
pub(crate) fn of_contact(db: &Connection, address: &Address) -> rusqlite::Result<(Option<String>, Option<bool>)> {
    let word = |kind| -> rusqlite::Result<Option<Change>> {
        Ok(get(db, kind, address.as_str().as_bytes())?.and_then(|kept| Change::of(&kept.word)))
    };
    let name = match word(Change::NAMED)? {
        Some(Change::Named(_, name)) => Some(name),
        _ => None,
    };
    let blocked = match word(Change::BLOCKED)? {
        Some(Change::Blocked(_, blocked)) => Some(blocked),
        _ => None,
    };
    Ok((name, blocked))
}

/// What the own devices call one of them; empty if nobody has said.
pub(crate) fn name_of_device(db: &Connection, device: DeviceId) -> rusqlite::Result<String> {
    let word = get(db, Change::DEVICE_NAME, &device.0)?.and_then(|kept| Change::of(&kept.word));
    Ok(match word {
        Some(Change::DeviceName(_, name)) => name,
        _ => String::new(),
    })
}

/// Nothing is kept of how a conversation was kept that is forgotten.
pub(crate) fn forget(db: &Connection, conversation: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM own_state WHERE kind < ?1 AND about = ?2")?
        .execute(params![Change::CONVERSATIONS, conversation.0])?;
    Ok(())
}
