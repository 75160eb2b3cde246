//! What is on its way: messages, intents, the pending commit of a conversation, tree blobs and deposits.

use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::{BlobId, BlobSecret, EntryId, Epoch, EpochPublicKey, LogId};
use zeroize::Zeroizing;

use super::{fixed, fixed_opt, int, uint};

/// A message that has not been read back from its log.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub n: i64,
    /// The message that it is; none for receipts and for leaving.
    pub message: Option<[u8; 32]>,
    /// MIMI content.
    pub content: Vec<u8>,
    pub sent: u64,
    /// It is a proposal to remove oneself.
    pub leaving: bool,
    /// Its ciphertext, once it is encrypted.
    pub sealed: Option<Sealed>,
}

/// A message as it goes to the relay. Sent again it is the same bytes under the same id.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub epoch: Epoch,
    pub entry: EntryId,
    pub body: Vec<u8>,
    pub commitment: [u8; 32],
}

const COLUMNS: &str = "n, message, content, sent, leaving, epoch, entry, body, commitment";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Outgoing> {
    let sealed = match fixed_opt::<16>(row, 6)? {
        None => None,
        Some(entry) => Some(Sealed {
            epoch: Epoch(uint(row, 5)?),
            entry: EntryId(entry),
            body: row.get(7)?,
            commitment: fixed(row, 8)?,
        }),
    };
    Ok(Outgoing {
        n: row.get(0)?,
        message: fixed_opt(row, 1)?,
        content: row.get(2)?,
        sent: uint(row, 3)?,
        leaving: row.get(4)?,
        sealed,
    })
}

/// Puts a message behind all others.
pub(crate) fn push(
    db: &Connection,
    conversation: LogId,
    message: Option<&[u8; 32]>,
    content: &[u8],
    sent: u64,
    leaving: bool,
) -> rusqlite::Result<i64> {
    db.prepare_cached(
        "INSERT INTO outbox (conversation, message, content, sent, leaving) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![conversation.0, message, content, int(sent), leaving])?;
    Ok(db.last_insert_rowid())
}

/// Puts a message behind all others again.
pub(crate) fn push_again(db: &Connection, conversation: LogId, row: &Outgoing) -> rusqlite::Result<()> {
    push(db, conversation, row.message.as_ref(), &row.content, row.sent, row.leaving)?;
    remove(db, row.n)
}

/// What waits in a conversation behind row `after`, in order.
pub(crate) fn list(db: &Connection, conversation: LogId, after: i64, limit: usize) -> rusqlite::Result<Vec<Outgoing>> {
    // No `LIMIT ?`: SQLite plans a statement anew each time that a limit is bound, which took longer than all else here. The
    // index gives the rows in order, and no more of them than are taken are read.
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM outbox WHERE conversation = ?1 AND n > ?2 ORDER BY n"))?
        .query_map(params![conversation.0, after], from_row)?
        .take(limit)
        .collect()
}

pub(crate) fn by_entry(db: &Connection, conversation: LogId, entry: &EntryId) -> rusqlite::Result<Option<Outgoing>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM outbox WHERE conversation = ?1 AND entry = ?2"))?
        .query_row(params![conversation.0, entry.0], from_row)
        .optional()
}

pub(crate) fn set_sealed(db: &Connection, n: i64, sealed: &Sealed) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE outbox SET epoch = ?2, entry = ?3, body = ?4, commitment = ?5 WHERE n = ?1")?
        .execute(params![n, int(sealed.epoch.0), sealed.entry.0, sealed.body, sealed.commitment])?;
    Ok(())
}

/// Its epoch has ended without it (or its id was taken): it will be encrypted again.
pub(crate) fn unseal(db: &Connection, n: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE outbox SET epoch = 0, entry = NULL, body = NULL, commitment = NULL WHERE n = ?1")?
        .execute([n])?;
    Ok(())
}

/// The same for all of a conversation.
pub(crate) fn unseal_all(db: &Connection, conversation: LogId) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE outbox SET epoch = 0, entry = NULL, body = NULL, commitment = NULL WHERE conversation = ?1 AND entry IS NOT NULL",
    )?
    .execute([conversation.0])?;
    Ok(())
}

pub(crate) fn remove(db: &Connection, n: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM outbox WHERE n = ?1")?.execute([n])?;
    Ok(())
}

/// Removes all that waits in a conversation; answers with it.
pub(crate) fn drain(db: &Connection, conversation: LogId) -> rusqlite::Result<Vec<Outgoing>> {
    let rows = list(db, conversation, 0, usize::MAX >> 1)?;
    db.prepare_cached("DELETE FROM outbox WHERE conversation = ?1")?.execute([conversation.0])?;
    Ok(rows)
}

/// An intent as it is kept: JSON of `sync::intents::Intent`.
#[derive(Debug, Clone)]
pub(crate) struct IntentRow {
    pub n: i64,
    pub conversation: LogId,
    pub intent: Vec<u8>,
    pub not_before: u64,
    pub attempts: u32,
}

pub(crate) fn push_intent(
    db: &Connection,
    conversation: LogId,
    intent: &[u8],
    not_before: u64,
) -> rusqlite::Result<i64> {
    db.prepare_cached("INSERT INTO intents (conversation, intent, not_before) VALUES (?1, ?2, ?3)")?
        .execute(params![conversation.0, intent, int(not_before)])?;
    Ok(db.last_insert_rowid())
}

fn intent_row(row: &Row<'_>) -> rusqlite::Result<IntentRow> {
    Ok(IntentRow {
        n: row.get(0)?,
        conversation: LogId(fixed(row, 1)?),
        intent: row.get(2)?,
        not_before: uint(row, 3)?,
        attempts: row.get(4)?,
    })
}

pub(crate) fn intents(db: &Connection, conversation: LogId) -> rusqlite::Result<Vec<IntentRow>> {
    db.prepare_cached(
        "SELECT n, conversation, intent, not_before, attempts FROM intents WHERE conversation = ?1 ORDER BY n",
    )?
    .query_map([conversation.0], intent_row)?
    .collect()
}

pub(crate) fn intent(db: &Connection, n: i64) -> rusqlite::Result<Option<IntentRow>> {
    db.prepare_cached("SELECT n, conversation, intent, not_before, attempts FROM intents WHERE n = ?1")?
        .query_row([n], intent_row)
        .optional()
}

/// Tries an intent again later.
pub(crate) fn delay_intent(db: &Connection, n: i64, not_before: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE intents SET not_before = ?2, attempts = attempts + 1 WHERE n = ?1")?
        .execute(params![n, int(not_before)])?;
    Ok(())
}

pub(crate) fn remove_intent(db: &Connection, n: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM intents WHERE n = ?1")?.execute([n])?;
    Ok(())
}

/// Conversations that have intents.
pub(crate) fn intending(db: &Connection) -> rusqlite::Result<Vec<LogId>> {
    db.prepare_cached("SELECT DISTINCT conversation FROM intents")?
        .query_map([], |row| Ok(LogId(fixed(row, 0)?)))?
        .collect()
}

/// A commit of ours that is on its way.
#[derive(Clone)]
pub(crate) struct PendingCommit {
    pub intent: i64,
    pub epoch: Epoch,
    pub entry: EntryId,
    pub next: EpochPublicKey,
    pub body: Vec<u8>,
    /// JSON: what the new devices get once it has won.
    pub welcomes: Zeroizing<Vec<u8>>,
    pub tree: Option<Vec<u8>>,
}

pub(crate) fn pending_commit(db: &Connection, conversation: LogId) -> rusqlite::Result<Option<PendingCommit>> {
    db.prepare_cached(
        "SELECT intent, epoch, entry, next, body, welcomes, tree FROM pending_commits WHERE conversation = ?1",
    )?
    .query_row([conversation.0], |row| {
        Ok(PendingCommit {
            intent: row.get(0)?,
            epoch: Epoch(uint(row, 1)?),
            entry: EntryId(fixed(row, 2)?),
            next: EpochPublicKey(fixed(row, 3)?),
            body: row.get(4)?,
            welcomes: Zeroizing::new(row.get(5)?),
            tree: row.get(6)?,
        })
    })
    .optional()
}

pub(crate) fn set_pending_commit(db: &Connection, conversation: LogId, commit: &PendingCommit) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO pending_commits VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(
        params![
            conversation.0,
            commit.intent,
            int(commit.epoch.0),
            commit.entry.0,
            commit.next.0,
            commit.body,
            commit.welcomes.as_slice(),
            commit.tree
        ],
    )?;
    Ok(())
}

pub(crate) fn remove_pending_commit(db: &Connection, conversation: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM pending_commits WHERE conversation = ?1")?.execute([conversation.0])?;
    Ok(())
}

/// A sealed tree that is to be uploaded.
pub(crate) struct Upload {
    pub blob: BlobId,
    pub relay: String,
    pub secret: BlobSecret,
    pub body: Vec<u8>,
}

pub(crate) fn push_upload(db: &Connection, upload: &Upload) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO uploads VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        upload.blob.0,
        upload.relay,
        upload.secret.0,
        upload.body
    ])?;
    Ok(())
}

pub(crate) fn uploads(db: &Connection) -> rusqlite::Result<Vec<Upload>> {
    db.prepare_cached("SELECT blob, relay, secret, body FROM uploads")?
        .query_map([], |row| {
            Ok(Upload {
                blob: BlobId(fixed(row, 0)?),
                relay: row.get(1)?,
                secret: BlobSecret(fixed(row, 2)?),
                body: row.get(3)?,
            })
        })?
        .collect()
}

/// This blob is still to be uploaded.
pub(crate) fn has_upload(db: &Connection, blob: &BlobId) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM uploads WHERE blob = ?1")?.exists([blob.0])
}

pub(crate) fn remove_upload(db: &Connection, blob: &BlobId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM uploads WHERE blob = ?1")?.execute([blob.0])?;
    Ok(())
}

/// Sealed bytes that are to be left in a device's inbox, once the tree that they speak of is up.
#[derive(Clone)]
pub(crate) struct DepositRow {
    pub n: i64,
    pub conversation: LogId,
    pub relay: String,
    pub inbox: LogId,
    pub entry: EntryId,
    pub body: Vec<u8>,
    pub not_before: u64,
    pub attempts: u32,
}

/// What [`push_deposit`] stores.
pub(crate) struct NewDeposit<'a> {
    pub conversation: LogId,
    pub relay: &'a str,
    pub inbox: LogId,
    pub entry: EntryId,
    pub body: &'a [u8],
    pub blob: Option<&'a BlobId>,
    pub not_before: u64,
}

pub(crate) fn push_deposit(db: &Connection, deposit: &NewDeposit<'_>) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO deposits (conversation, relay, inbox, entry, body, blob, not_before) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        deposit.conversation.0,
        deposit.relay,
        deposit.inbox.0,
        deposit.entry.0,
        deposit.body,
        deposit.blob.map(|blob| blob.0),
        int(deposit.not_before)
    ])?;
    Ok(())
}

/// Deposits whose blob is up, whatever their time.
pub(crate) fn deposits(db: &Connection) -> rusqlite::Result<Vec<DepositRow>> {
    db.prepare_cached(
        "SELECT n, conversation, relay, inbox, entry, body, not_before, attempts FROM deposits \
         WHERE blob IS NULL OR blob NOT IN (SELECT blob FROM uploads) ORDER BY n",
    )?
    .query_map([], deposit_row)?
    .collect()
}

fn deposit_row(row: &Row<'_>) -> rusqlite::Result<DepositRow> {
    Ok(DepositRow {
        n: row.get(0)?,
        conversation: LogId(fixed(row, 1)?),
        relay: row.get(2)?,
        inbox: LogId(fixed(row, 3)?),
        entry: EntryId(fixed(row, 4)?),
        body: row.get(5)?,
        not_before: uint(row, 6)?,
        attempts: row.get(7)?,
    })
}

pub(crate) fn deposit(db: &Connection, n: i64) -> rusqlite::Result<Option<DepositRow>> {
    db.prepare_cached(
        "SELECT n, conversation, relay, inbox, entry, body, not_before, attempts FROM deposits WHERE n = ?1",
    )?
    .query_row([n], deposit_row)
    .optional()
}

/// Takes back the requests to be added again that have not gone out; invitations have a blob, requests have none.
pub(crate) fn remove_requests(db: &Connection, conversation: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM deposits WHERE conversation = ?1 AND blob IS NULL")?.execute([conversation.0])?;
    Ok(())
}

pub(crate) fn deposits_left(db: &Connection, conversation: LogId) -> rusqlite::Result<u32> {
    db.prepare_cached("SELECT count(*) FROM deposits WHERE conversation = ?1")?
        .query_row([conversation.0], |row| row.get(0))
}

pub(crate) fn all_deposits_left(db: &Connection) -> rusqlite::Result<u32> {
    db.prepare_cached("SELECT count(*) FROM deposits")?.query_row([], |row| row.get(0))
}

pub(crate) fn delay_deposit(db: &Connection, n: i64, not_before: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE deposits SET not_before = ?2, attempts = attempts + 1 WHERE n = ?1")?
        .execute(params![n, int(not_before)])?;
    Ok(())
}

pub(crate) fn remove_deposit(db: &Connection, n: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM deposits WHERE n = ?1")?.execute([n])?;
    Ok(())
}
