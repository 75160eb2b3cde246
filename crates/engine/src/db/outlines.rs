//! Conversations that come from an archive: those that are over are listed, those of an account that was restored wait to be joined
//! again. Rows of the table `restored`: when the backup was made that a conversation is from.

use rusqlite::{Connection, OptionalExtension, params};
use wire::LogId;

use super::{int, uint};
use crate::archive::Conversation;

const HELD: &str = "This device was restored from a backup, and has asked the others to let it in.";

/// Puts a conversation among those that are over, if it is one; all others come by an invitation.
pub(crate) fn take(db: &Connection, c: &Conversation) -> rusqlite::Result<()> {
    if c.standing == 4 {
        insert(db, c, 4, "")?;
    }
    if let Ok(id) = <[u8; 16]>::try_from(c.id.as_slice()) {
        super::conversations::put_former_names(db, &id, &c.formerly)?;
    }
    Ok(())
}

/// A conversation of an account that was restored: with others, and in use.
pub(crate) fn comes_back(c: &Conversation, own_devices_left: bool) -> bool {
    // Notes are read by own devices alone: without any left nobody can let this one in.
    matches!(c.standing, 2 | 3) && (c.kind != 2 || own_devices_left)
}

/// Brings it back: held until somebody has let this device in, over where nobody can. The log, if somebody is to be asked.
pub(crate) fn bring_back(
    db: &Connection,
    c: &Conversation,
    own_devices_left: bool,
    made: u64,
) -> rusqlite::Result<Option<LogId>> {
    if !comes_back(c, own_devices_left) {
        if matches!(c.standing, 2 | 3) {
            insert(db, c, 4, "")?;
        }
        return Ok(None);
    }
    let Ok(id) = <[u8; 16]>::try_from(c.id.as_slice()) else { return Ok(None) };
    if !insert(db, c, 3, HELD)? {
        return Ok(None);
    }
    db.prepare_cached("INSERT OR REPLACE INTO restored VALUES (?1, ?2)")?.execute(params![id, int(made)])?;
    Ok(Some(LogId(id)))
}

/// When the backup was made that a conversation is from, until this device is in it again.
pub(crate) fn restored(db: &Connection, id: LogId) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached("SELECT made FROM restored WHERE conversation = ?1")?
        .query_row([id.0], |row| uint(row, 0))
        .optional()
}

/// This device is in it again.
pub(crate) fn forget_restored(db: &Connection, id: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM restored WHERE conversation = ?1")?.execute([id.0])?;
    Ok(())
}

/// This device has asked to be added again, and waits.
pub(crate) fn is_waiting(db: &Connection, id: LogId) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM rejoins WHERE conversation = ?1")?.exists([id.0])
}

/// False if it is not one, or here already.
fn insert(db: &Connection, c: &Conversation, standing: u8, held: &str) -> rusqlite::Result<bool> {
    if c.id.len() != 16 || c.kind > 2 || c.relay.parse::<wire::RelayName>().is_err() {
        return Ok(false);
    }
    let inserted = db
        .prepare_cached(
            "INSERT OR IGNORE INTO conversations (id, relay, kind, name, peer, standing, held, inviter, log_made, epoch, cursor, chain, \
             chain_known, created, touched, updated) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, 0, 0, ?9, 0, ?10, ?11, 0)",
        )?
        .execute(params![
            c.id.as_slice(),
            c.relay,
            c.kind,
            c.name,
            c.peer,
            standing,
            held,
            c.inviter,
            [0_u8; 32],
            int(c.created),
            int(c.touched)
        ])?;
    if inserted == 0 {
        return Ok(false);
    }
    for member in c.members.iter().filter(|member| member.key.len() == 32 && member.role <= 2) {
        db.prepare_cached("INSERT OR IGNORE INTO members VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            c.id.as_slice(),
            member.address,
            member.key.as_slice(),
            member.role,
            member.devices
        ])?;
    }
    Ok(true)
}
