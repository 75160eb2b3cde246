//! Rows of the tables `leaves` and `looked`: since when each device of a conversation can read it, when its keys were last renewed,
//! and what the person saw when they last looked.

use rusqlite::{Connection, OptionalExtension, params};
use wire::{DeviceId, LogId};

use super::{fixed, int, uint};

/// A leaf of a conversation's group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub leaf: u32,
    pub address: String,
    pub device: DeviceId,
    /// Hash of its encryption key: another one means that its keys were renewed.
    pub key: [u8; 32],
    /// When it came in, by the log's time in milliseconds; 0 if it was there before this device.
    pub since: u64,
    /// When its keys were last renewed, in the same way.
    pub renewed: u64,
}

pub(crate) fn list(db: &Connection, conversation: LogId) -> rusqlite::Result<Vec<Leaf>> {
    db.prepare_cached(
        "SELECT leaf, address, device, key, since, renewed FROM leaves WHERE conversation = ?1 ORDER BY leaf",
    )?
    .query_map([conversation.0], |row| {
        Ok(Leaf {
            leaf: row.get(0)?,
            address: row.get(1)?,
            device: DeviceId(fixed(row, 2)?),
            key: fixed(row, 3)?,
            since: uint(row, 4)?,
            renewed: uint(row, 5)?,
        })
    })?
    .collect()
}

/// Makes the rows of a conversation those of `after`, of which `before` are there; writes only what differs.
pub(crate) fn replace(db: &Connection, conversation: LogId, before: &[Leaf], after: &[Leaf]) -> rusqlite::Result<()> {
    for gone in before.iter().filter(|old| after.iter().all(|new| new.leaf != old.leaf)) {
        db.prepare_cached("DELETE FROM leaves WHERE conversation = ?1 AND leaf = ?2")?
            .execute(params![conversation.0, gone.leaf])?;
    }
    for leaf in after.iter().filter(|new| !before.contains(new)) {
        db.prepare_cached("INSERT OR REPLACE INTO leaves VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
            conversation.0,
            leaf.leaf,
            leaf.address,
            leaf.device.0,
            leaf.key,
            int(leaf.since),
            int(leaf.renewed)
        ])?;
    }
    Ok(())
}

/// When the person last looked at who can read a conversation, and what was to be seen then (JSON).
pub(crate) fn looked(db: &Connection, conversation: LogId) -> rusqlite::Result<Option<(u64, String)>> {
    db.prepare_cached("SELECT time, people FROM looked WHERE conversation = ?1")?
        .query_row([conversation.0], |row| Ok((uint(row, 0)?, row.get(1)?)))
        .optional()
}

pub(crate) fn set_looked(db: &Connection, conversation: LogId, time: u64, people: &str) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO looked VALUES (?1, ?2, ?3)")?.execute(params![
        conversation.0,
        int(time),
        people
    ])?;
    Ok(())
}
