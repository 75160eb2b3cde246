//! Rows of the table `presence`: when this device last heard that somebody is there (protocol rule 19).

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use wire::UnixMillis;

use super::{int, uint};

pub(crate) fn last(db: &Connection, address: &str) -> rusqlite::Result<Option<UnixMillis>> {
    db.prepare_cached("SELECT time FROM presence WHERE address = ?1")?
        .query_row([address], |row| uint(row, 0).map(UnixMillis))
        .optional()
}

/// Keeps later times.
pub(crate) fn put(db: &Connection, seen: &BTreeMap<String, UnixMillis>) -> rusqlite::Result<()> {
    for (address, time) in seen {
        db.prepare_cached(
            "INSERT INTO presence VALUES (?1, ?2) ON CONFLICT (address) DO UPDATE SET time = max(time, excluded.time)",
        )?
        .execute(params![address, int(time.0)])?;
    }
    Ok(())
}

pub(crate) fn forget(db: &Connection, address: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM presence WHERE address = ?1")?.execute([address])?;
    Ok(())
}

pub(crate) fn forget_all(db: &Connection) -> rusqlite::Result<()> {
    db.execute("DELETE FROM presence", [])?;
    Ok(())
}
