//! Commits that have ended an epoch and are not valid: the evidence, and who has signed it.

use rusqlite::{Connection, OptionalExtension, params};
use wire::{Entry, LogId};

use super::conversations::Conversation;
use super::{fixed_opt, int, uint};
use crate::mls::Member;
use api::{Culprit, Ended, Standing};

/// Keeps what has ended an epoch.
pub(crate) fn put(
    db: &Connection,
    conversation: LogId,
    entry: &Entry,
    context: &[u8; 32],
    why: &str,
    by: Option<&Member>,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO endings VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        conversation.0,
        int(entry.epoch.0),
        int(entry.seq.0),
        entry.id.0,
        entry.next.map(|next| next.0),
        &entry.body[..],
        int(entry.time.0),
        entry.stamp,
        context,
        why,
        by.map(|by| by.leaf),
        by.map(|by| by.certificate.address.as_str()),
        by.map(|by| by.certificate.account_key),
        by.map(|by| by.certificate.device.0),
    ])?;
    Ok(())
}

/// What a held conversation was ended by, for people.
pub(crate) fn shown(db: &Connection, conversation: &Conversation) -> rusqlite::Result<Option<Ended>> {
    if conversation.standing != Standing::Held {
        return Ok(None);
    }
    db.prepare_cached("SELECT why, address, device, epoch, time FROM endings WHERE conversation = ?1 AND epoch = ?2")?
        .query_row(params![conversation.id.0, int(conversation.epoch.0)], |row| {
            let device = fixed_opt::<16>(row, 2)?.map(|device| wire::DeviceId(device).to_string());
            let by = row.get::<_, Option<String>>(1)?.zip(device).map(|(address, device)| Culprit { address, device });
            Ok(Ended { why: row.get(0)?, by, epoch: uint(row, 3)?, time: uint(row, 4)? })
        })
        .optional()
}
