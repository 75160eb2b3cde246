//! Commits that have ended an epoch and are not valid: the evidence, and who has signed it.

use rusqlite::{Connection, OptionalExtension, params};
use wire::{Entry, LogId};

use super::conversations::Conversation;
use super::{fixed, fixed_opt, int, uint};
use crate::mls::Member;
use api::{Culprit, Ended, Standing};

/// What has ended an epoch, as far as going on depends on it.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub conversation: LogId,
    pub epoch: u64,
    pub seq: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// The leaf that has signed it, if that is certain.
    pub leaf: Option<u32>,
    /// What goes on: the conversation, the leaf here of who has made it, and when it was taken.
    pub successor: Option<(LogId, u32, u64)>,
    /// When this device makes a successor; 0 for never.
    pub due: u64,
    /// When the entry came into its log, by its relay's clock.
    pub time: u64,
}

const COLUMNS: &str = "conversation, epoch, seq, ending, leaf, successor, successor_leaf, chosen, due, time";

fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Ending> {
    let successor = fixed_opt(row, 5)?.map(LogId).zip(row.get::<_, Option<u32>>(6)?);
    let chosen = uint(row, 7)?;
    Ok(Ending {
        conversation: LogId(fixed(row, 0)?),
        epoch: uint(row, 1)?,
        seq: uint(row, 2)?,
        hash: fixed(row, 3)?,
        leaf: row.get(4)?,
        successor: successor.map(|(log, leaf)| (log, leaf, chosen)),
        due: uint(row, 8)?,
        time: uint(row, 9)?,
    })
}

/// What has ended a conversation last.
pub(crate) fn get(db: &Connection, conversation: LogId) -> rusqlite::Result<Option<Ending>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM endings WHERE conversation = ?1 ORDER BY epoch DESC LIMIT 1"))?
        .query_row([conversation.0], from_row)
        .optional()
}

/// Those behind which nothing goes on yet, or which were decided after `since`.
pub(crate) fn open(db: &Connection) -> rusqlite::Result<Vec<Ending>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM endings WHERE due > 0 ORDER BY conversation"))?
        .query_map([], from_row)?
        .collect()
}

/// True if a conversation was ended and somebody, this device if nobody else, is about to make what goes on for it.
pub(crate) fn goes_on(db: &Connection, conversation: LogId) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM endings WHERE conversation = ?1 AND due > 0 AND successor IS NULL")?
        .exists([conversation.0])
}

pub(crate) fn set_due(db: &Connection, ending: &Ending, due: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE endings SET due = ?3 WHERE conversation = ?1 AND epoch = ?2")?.execute(params![
        ending.conversation.0,
        int(ending.epoch),
        int(due)
    ])?;
    Ok(())
}

pub(crate) fn set_successor(db: &Connection, ending: &Ending, log: LogId, leaf: u32, at: u64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE endings SET successor = ?3, successor_leaf = ?4, chosen = ?5 WHERE conversation = ?1 AND epoch = ?2",
    )?
    .execute(params![ending.conversation.0, int(ending.epoch), log.0, leaf, int(at)])?;
    Ok(())
}

/// True if this device of this account has ended a conversation.
pub(crate) fn convicted(db: &Connection, account: &[u8; 32], device: &[u8; 16]) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM endings WHERE account_key = ?1 AND device = ?2 LIMIT 1")?
        .exists(params![account, device])
}

/// The invitation to a conversation that has ended had not been answered, or has been by now.
pub(crate) fn set_unanswered(db: &Connection, conversation: LogId, unanswered: bool) -> rusqlite::Result<()> {
    let key = format!("unanswered {conversation}");
    if unanswered { super::set_meta(db, &key, &true) } else { super::remove_meta(db, &key) }
}

/// True if the invitation to a conversation that has ended had not been answered.
pub(crate) fn is_unanswered(db: &Connection, conversation: LogId) -> rusqlite::Result<bool> {
    Ok(super::meta(db, &format!("unanswered {conversation}"))?.unwrap_or(false))
}

/// The person was told that somebody goes on behind another end than this one.
pub(crate) fn is_told_of_another(db: &Connection, ending: &Ending) -> rusqlite::Result<bool> {
    Ok(super::meta(db, &other_end(ending))?.unwrap_or(false))
}

pub(crate) fn set_told_of_another(db: &Connection, ending: &Ending) -> rusqlite::Result<()> {
    super::set_meta(db, &other_end(ending), &true)
}

fn other_end(ending: &Ending) -> String {
    format!("other end {} {}", ending.conversation, ending.epoch)
}

/// Keeps what has ended an epoch; `due` is when this device makes a successor.
pub(crate) fn put(
    db: &Connection,
    conversation: LogId,
    entry: &Entry,
    (hash, context): (&[u8; 32], &[u8; 32]),
    why: &str,
    by: Option<&Member>,
    due: u64,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO endings VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, NULL, NULL, 0)",
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
        hash,
        int(due),
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
