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

/// The numbers of a conversation's rows. They begin with 31 bits of its log's id, so that its rows stand together and no index is
/// needed to find them: each page that a message touches is encrypted and written anew. Another conversation may begin with the same
/// bits, so statements name the conversation too.
pub(super) fn numbers(conversation: LogId) -> (i64, i64) {
    let [a, b, c, d, ..] = conversation.0;
    let first = i64::from(u32::from_be_bytes([a & 0x7f, b, c, d])) << 32;
    (first, first | 0xffff_ffff)
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
    let (first, last) = numbers(conversation);
    let before: Option<i64> = db
        .prepare_cached("SELECT n FROM outbox WHERE n BETWEEN ?1 AND ?2 ORDER BY n DESC LIMIT 1")?
        .query_row([first, last], |row| row.get(0))
        .optional()?;
    if let Some(before) = before {
        // What was left there to keep its number from being used again has done so.
        db.prepare_cached("DELETE FROM outbox WHERE n = ?1 AND conversation = x''")?.execute([before])?;
    }
    let n = before.unwrap_or(first) + 1;
    db.prepare_cached(
        "INSERT INTO outbox (n, conversation, message, content, sent, leaving) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![n, conversation.0, message, content, int(sent), leaving])?;
    Ok(n)
}

/// Puts a message behind all others again.
pub(crate) fn push_again(db: &Connection, conversation: LogId, row: &Outgoing) -> rusqlite::Result<()> {
    push(db, conversation, row.message.as_ref(), &row.content, row.sent, row.leaving)?;
    remove(db, row.n)
}

/// What waits in a conversation behind row `after`, in order.
pub(crate) fn list(db: &Connection, conversation: LogId, after: i64, limit: usize) -> rusqlite::Result<Vec<Outgoing>> {
    let (first, last) = numbers(conversation);
    // No `LIMIT ?`: SQLite plans a statement anew each time that a limit is bound, which took longer than all else here. The
    // rows come in order, and no more of them than are taken are read.
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM outbox WHERE n BETWEEN ?2 AND ?3 AND conversation = ?1 ORDER BY n"
    ))?
    .query_map(params![conversation.0, first.max(after.saturating_add(1)), last], from_row)?
    .take(limit)
    .collect()
}

/// The entries that a conversation's rows were encrypted as, with their rows.
pub(crate) fn sealed(db: &Connection, conversation: LogId) -> rusqlite::Result<Vec<(EntryId, i64)>> {
    let (first, last) = numbers(conversation);
    db.prepare_cached(
        "SELECT entry, n FROM outbox WHERE n BETWEEN ?2 AND ?3 AND conversation = ?1 AND entry IS NOT NULL ORDER BY n",
    )?
    .query_map(params![conversation.0, first, last], |row| Ok((EntryId(fixed(row, 0)?), row.get(1)?)))?
    .collect()
}

/// The messages that wait in a conversation, in order.
pub(crate) fn messages(db: &Connection, conversation: LogId) -> rusqlite::Result<Vec<[u8; 32]>> {
    let (first, last) = numbers(conversation);
    db.prepare_cached(
        "SELECT message FROM outbox WHERE n BETWEEN ?2 AND ?3 AND conversation = ?1 AND message IS NOT NULL ORDER BY n",
    )?
    .query_map(params![conversation.0, first, last], |row| fixed(row, 0))?
    .collect()
}

/// The row `n`, if it is this conversation's and was encrypted as this entry.
pub(crate) fn as_entry(
    db: &Connection,
    conversation: LogId,
    n: i64,
    entry: &EntryId,
) -> rusqlite::Result<Option<Outgoing>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM outbox WHERE n = ?1 AND conversation = ?2 AND entry = ?3"))?
        .query_row(params![n, conversation.0, entry.0], from_row)
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

/// Removes a row. The last one of a conversation leaves its number behind, in a row that is nobody's: connections remember up to which
/// number they have sent, and none is given twice.
pub(crate) fn remove(db: &Connection, n: i64) -> rusqlite::Result<()> {
    let removed = db
        .prepare_cached(
            "DELETE FROM outbox WHERE n = ?1 AND EXISTS (SELECT 1 FROM outbox WHERE n > ?1 AND n <= (?1 | 4294967295))",
        )?
        .execute([n])?;
    if removed == 0 {
        db.prepare_cached(
            "UPDATE outbox SET conversation = x'', message = NULL, content = x'', sent = 0, leaving = 0, epoch = 0, entry = NULL, \
             body = NULL, commitment = NULL WHERE n = ?1",
        )?
        .execute([n])?;
    }
    Ok(())
}

/// Removes all that waits in a conversation; answers with it.
pub(crate) fn drain(db: &Connection, conversation: LogId) -> rusqlite::Result<Vec<Outgoing>> {
    let rows = list(db, conversation, 0, usize::MAX >> 1)?;
    for row in &rows {
        remove(db, row.n)?;
    }
    Ok(rows)
}

/// Whoever was about to leave does not any more.
pub(crate) fn remove_leaving(db: &Connection, conversation: LogId) -> rusqlite::Result<()> {
    for row in list(db, conversation, 0, usize::MAX >> 1)?.into_iter().filter(|row| row.leaving) {
        remove(db, row.n)?;
    }
    Ok(())
}

/// What waits in one conversation, and is not encrypted, waits in another one, before what waits there for its turn.
pub(crate) fn move_into(db: &Connection, from: LogId, to: LogId) -> rusqlite::Result<()> {
    let waiting = list(db, to, 0, usize::MAX >> 1)?;
    for row in drain(db, from)? {
        push(db, to, row.message.as_ref(), &row.content, row.sent, row.leaving)?;
    }
    for row in waiting.iter().filter(|row| row.sealed.is_none()) {
        push_again(db, to, row)?;
    }
    Ok(())
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
    db.prepare_cached("INSERT INTO uploads (blob, relay, secret, body) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        upload.blob.0,
        upload.relay,
        upload.secret.0,
        upload.body
    ])?;
    Ok(())
}

pub(crate) fn uploads(db: &Connection) -> rusqlite::Result<Vec<Upload>> {
    db.prepare_cached("SELECT blob, relay, secret, body FROM uploads WHERE given = 0")?
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
    db.prepare_cached("SELECT 1 FROM uploads WHERE blob = ?1 AND given = 0")?.exists([blob.0])
}

/// The relay that a blob is to be uploaded to.
pub(crate) fn upload_relay(db: &Connection, blob: &BlobId) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT relay FROM uploads WHERE blob = ?1")?.query_row([blob.0], |row| row.get(0)).optional()
}

/// A blob is at its relay, in this incarnation of it. That of invitations is kept for as long as they are.
pub(crate) fn uploaded(db: &Connection, blob: &BlobId, now: u64, incarnation: &[u8; 16]) -> rusqlite::Result<()> {
    let kept = db
        .prepare_cached(
            "UPDATE uploads SET given = ?2, given_in = ?3 WHERE blob = ?1 AND length(body) <= ?4 \
             AND EXISTS (SELECT 1 FROM deposits WHERE blob = ?1)",
        )?
        .execute(params![blob.0, int(now.max(1)), incarnation, KEPT_TREE])?;
    if kept == 0 { remove_upload(db, blob) } else { Ok(()) }
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
    /// Invitations have a blob, what else is deposited has none.
    pub is_invitation: bool,
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

/// Deposits that are still to be taken and whose blob is up, whatever their time.
pub(crate) fn deposits(db: &Connection) -> rusqlite::Result<Vec<DepositRow>> {
    db.prepare_cached(
        "SELECT n, conversation, relay, inbox, entry, body, not_before, attempts, blob IS NOT NULL FROM deposits \
         WHERE given = 0 AND (blob IS NULL OR blob NOT IN (SELECT blob FROM uploads WHERE given = 0)) ORDER BY n",
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
        is_invitation: row.get(8)?,
    })
}

/// One that is still to be taken.
pub(crate) fn deposit(db: &Connection, n: i64) -> rusqlite::Result<Option<DepositRow>> {
    db.prepare_cached(
        "SELECT n, conversation, relay, inbox, entry, body, not_before, attempts, blob IS NOT NULL FROM deposits \
         WHERE n = ?1 AND given = 0",
    )?
    .query_row([n], deposit_row)
    .optional()
}

/// Takes back the requests to be added again that have not gone out; invitations have a blob, requests have none.
pub(crate) fn remove_requests(db: &Connection, conversation: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM deposits WHERE conversation = ?1 AND blob IS NULL")?.execute([conversation.0])?;
    Ok(())
}

/// Stands for the conversation of deposits that nobody waits for.
pub(crate) const UNAWAITED: LogId = LogId([0; 16]);

pub(crate) fn deposits_left(db: &Connection, conversation: LogId) -> rusqlite::Result<u32> {
    db.prepare_cached("SELECT count(*) FROM deposits WHERE conversation = ?1 AND given = 0")?
        .query_row([conversation.0], |row| row.get(0))
}

pub(crate) fn all_deposits_left(db: &Connection) -> rusqlite::Result<u32> {
    db.prepare_cached("SELECT count(*) FROM deposits WHERE conversation != ?1 AND given = 0")?
        .query_row([UNAWAITED.0], |row| row.get(0))
}

pub(crate) fn delay_deposit(db: &Connection, n: i64, not_before: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE deposits SET not_before = ?2, attempts = attempts + 1 WHERE n = ?1")?
        .execute(params![n, int(not_before)])?;
    Ok(())
}

/// For so long an invitation is kept once its relay has taken it, in ms: a backup that a relay is restored from is rarely older.
const GIVEN_KEPT_MS: u64 = 14 * 86_400_000;

/// A larger tree is not kept, in bytes: that of some 80 devices.
const KEPT_TREE: i64 = 256 << 10;

/// A relay has taken an invitation, in this incarnation. It is kept if the tree is that it speaks of.
pub(crate) fn invitation_given(db: &Connection, n: i64, now: u64, incarnation: &[u8; 16]) -> rusqlite::Result<()> {
    let kept = db
        .prepare_cached(
            "UPDATE deposits SET given = ?2, given_in = ?3 WHERE n = ?1 \
             AND EXISTS (SELECT 1 FROM uploads WHERE uploads.blob = deposits.blob)",
        )?
        .execute(params![n, int(now.max(1)), incarnation])?;
    if kept == 0 {
        remove_deposit(db, n)?;
    }
    let old = db
        .prepare_cached("DELETE FROM deposits WHERE given BETWEEN 1 AND ?1")?
        .execute([int(now.saturating_sub(GIVEN_KEPT_MS))])?;
    if old > 0 {
        forget_trees(db)?;
    }
    Ok(())
}

/// Trees that no invitation speaks of any more go.
pub(crate) fn forget_trees(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM uploads WHERE given > 0 AND NOT EXISTS (SELECT 1 FROM deposits WHERE deposits.blob = uploads.blob)",
    )?
    .execute([])?;
    Ok(())
}

/// Trees that a relay has got in another incarnation than this one are to be uploaded again. True if there are any.
pub(crate) fn upload_again(db: &Connection, relay: &str, incarnation: &[u8; 16]) -> rusqlite::Result<bool> {
    let again = db
        .prepare_cached("UPDATE uploads SET given = 0 WHERE relay = ?1 AND given > 0 AND given_in != ?2")?
        .execute(params![relay, incarnation])?;
    Ok(again > 0)
}

/// Invitations that a relay has taken in another incarnation than this one: number, conversation and inbox of each.
pub(crate) fn given_before(
    db: &Connection,
    relay: &str,
    incarnation: &[u8; 16],
) -> rusqlite::Result<Vec<(i64, LogId, LogId)>> {
    db.prepare_cached("SELECT n, conversation, inbox FROM deposits WHERE relay = ?1 AND given > 0 AND given_in != ?2")?
        .query_map(params![relay, incarnation], |row| Ok((row.get(0)?, LogId(fixed(row, 1)?), LogId(fixed(row, 2)?))))?
        .collect()
}

/// An invitation is to be left in its inbox again.
pub(crate) fn invite_again(db: &Connection, n: i64, not_before: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE deposits SET given = 0, attempts = 0, not_before = ?2 WHERE n = ?1")?
        .execute(params![n, int(not_before)])?;
    Ok(())
}

pub(crate) fn remove_deposit(db: &Connection, n: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM deposits WHERE n = ?1")?.execute([n])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::db::{Database, open};

    const ROOM: LogId = LogId([0xf3; 16]);
    /// Begins with the same bits.
    const OTHER: LogId = LogId([0xf3, 0xf3, 0xf3, 0xf3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);

    fn fresh(name: &str) -> Connection {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        open(&Database::Memory { name: name.into() }, &mut rng).unwrap()
    }

    fn say(db: &Connection, room: LogId, what: u8) -> i64 {
        push(db, room, Some(&[what; 32]), &[what], 1, false).unwrap()
    }

    fn said(db: &Connection, room: LogId) -> Vec<u8> {
        list(db, room, 0, 100).unwrap().into_iter().map(|row| row.content[0]).collect()
    }

    #[test]
    fn no_number_is_given_twice_and_conversations_stay_apart() {
        let db = fresh("outbox-numbers");
        let mut given = Vec::new();
        for round in 0..3 {
            let rows = [(ROOM, 1), (OTHER, 2), (ROOM, 3)].map(|(room, what)| say(&db, room, what));
            assert!(given.iter().all(|before| rows.iter().all(|row| row > before)), "round {round}");
            given.extend(rows);
            assert_eq!((said(&db, ROOM), said(&db, OTHER)), (vec![1, 3], vec![2]));
            assert_eq!(list(&db, ROOM, rows[0], 100).unwrap().len(), 1);
            match round {
                0 => rows.iter().for_each(|row| remove(&db, *row).unwrap()),
                1 => rows.iter().rev().for_each(|row| remove(&db, *row).unwrap()),
                _ => assert_eq!((drain(&db, OTHER).unwrap().len(), drain(&db, ROOM).unwrap().len()), (1, 2)),
            }
            assert_eq!((said(&db, ROOM), said(&db, OTHER)), (vec![], vec![]));
            let left: i64 = db.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0)).unwrap();
            assert!(left <= 1, "only the last number is kept");
        }
    }

    #[test]
    fn what_moves_into_a_conversation_goes_before_what_waits_there() {
        let db = fresh("outbox-moves");
        let to = LogId([7; 16]);
        let on_its_way = say(&db, to, 1);
        let entry = EntryId([9; 16]);
        let sealed_as = Sealed { epoch: Epoch(2), entry, body: vec![4], commitment: [5; 32] };
        set_sealed(&db, on_its_way, &sealed_as).unwrap();
        say(&db, to, 2);
        say(&db, ROOM, 3);
        push(&db, ROOM, None, &[], 1, true).unwrap();
        say(&db, ROOM, 4);
        say(&db, OTHER, 5);
        remove_leaving(&db, ROOM).unwrap();
        move_into(&db, ROOM, to).unwrap();
        assert_eq!((said(&db, to), said(&db, ROOM), said(&db, OTHER)), (vec![1, 3, 4, 2], vec![], vec![5]));
        assert_eq!(messages(&db, to).unwrap().len(), 4);
        assert_eq!(sealed(&db, to).unwrap(), [(entry, on_its_way)]);
        assert!(as_entry(&db, to, on_its_way, &entry).unwrap().is_some());
        assert!(as_entry(&db, ROOM, on_its_way, &entry).unwrap().is_none());
        unseal(&db, on_its_way).unwrap();
        assert!(as_entry(&db, to, on_its_way, &entry).unwrap().is_none());
    }
}
