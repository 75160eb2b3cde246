//! Entries that are held for a relay that may come back from an old backup (protocol rule 12): tables `held`, `heals` and `relays`.

use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::{ChainHash, Entry, EntryId, EntryKind, Epoch, EpochPublicKey, LogId, RelayName, Seq};
use zeroize::Zeroizing;

use super::{fixed, fixed_opt, int, uint};

/// Epochs before the current one whose entries are held: a relay that lost more can't be healed by this device.
const EPOCHS: u64 = 8;
/// Entries that are held of one log at most.
const ENTRIES: u64 = 2_000;
/// Bytes of bodies that are held of one log at most.
const BYTES: u64 = 4 * 1024 * 1024;
/// What is above these two goes when a commit comes, or else each time that so many entries have come: all that is held is looked
/// through then.
const PRUNE_EVERY: u64 = 256;
/// From here on a place is one that an entry had before its relay was restored.
const BEFORE: u64 = 1 << 40;
/// The tables whose rows stand where an entry stands.
const PLACED: [&str; 5] = ["held", "messages", "acts", "receipts", "receipts_due"];

/// A place as people are shown it.
pub(crate) fn shown(seq: u64) -> u64 {
    seq & (BEFORE - 1)
}

/// An entry that is held.
#[derive(Clone)]
pub(crate) struct Held {
    pub seq: u64,
    /// When the relay took it, at first.
    pub time: u64,
    pub epoch: Epoch,
    pub kind: EntryKind,
    pub entry: EntryId,
    pub body: Vec<u8>,
    pub commitment: [u8; 32],
    pub next: Option<EpochPublicKey>,
    /// The hash head before it.
    pub head: ChainHash,
}

impl Held {
    /// It has not been seen at its relay since that was restored.
    pub(crate) fn is_missing(&self) -> bool {
        self.seq >= BEFORE
    }

    /// The relay shows the very same entry.
    pub(crate) fn is(&self, entry: &Entry) -> bool {
        self.entry == entry.id
            && self.epoch == entry.epoch
            && self.kind == entry.kind
            && self.body == entry.body
            && self.commitment == entry.commitment
            && self.next == entry.next
    }
}

const COLUMNS: &str = "seq, time, epoch, kind, entry, body, commitment, next, head";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Held> {
    Ok(Held {
        seq: uint(row, 0)?,
        time: uint(row, 1)?,
        epoch: Epoch(uint(row, 2)?),
        kind: if row.get::<_, i64>(3)? == EntryKind::Commit as i64 { EntryKind::Commit } else { EntryKind::Message },
        entry: EntryId(fixed(row, 4)?),
        body: row.get(5)?,
        commitment: fixed(row, 6)?,
        next: fixed_opt(row, 7)?.map(EpochPublicKey),
        head: ChainHash(fixed(row, 8)?),
    })
}

/// Holds an entry that counts; `head` is the hash head before it, `seed` opens the epoch that a commit ends.
pub(crate) fn put(
    db: &Connection,
    log: LogId,
    entry: &Entry,
    head: ChainHash,
    seed: Option<&Zeroizing<[u8; 32]>>,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO held (conversation, seq, time, epoch, kind, entry, body, commitment, next, seed, head) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        log.0,
        int(entry.seq.0),
        int(entry.time.0),
        int(entry.epoch.0),
        entry.kind as i64,
        entry.id.0,
        entry.body.as_ref(),
        entry.commitment,
        entry.next.map(|next| next.0),
        seed.map(|seed| seed.as_slice()),
        head.0
    ])?;
    if entry.kind == EntryKind::Commit || entry.seq.0.is_multiple_of(PRUNE_EVERY) {
        prune(db, log, entry.epoch)?;
    }
    Ok(())
}

/// Keeps what is held bounded. What stays is always the end of the log, without a gap.
fn prune(db: &Connection, log: LogId, epoch: Epoch) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM held WHERE conversation = ?1 AND epoch + ?2 < ?3")?.execute(params![
        log.0,
        int(EPOCHS),
        int(epoch.0)
    ])?;
    let mut newest_first =
        db.prepare_cached("SELECT seq, length(body) FROM held WHERE conversation = ?1 ORDER BY seq DESC")?;
    let mut rows = newest_first.query([log.0])?;
    let (mut entries, mut bytes, mut most) = (0, 0, None);
    while let Some(row) = rows.next()? {
        (entries, bytes) = (entries + 1, bytes + uint(row, 1)?);
        if entries > ENTRIES || bytes > BYTES {
            most = Some(uint(row, 0)?);
            break;
        }
    }
    drop(rows);
    if let Some(most) = most {
        db.prepare_cached("DELETE FROM held WHERE conversation = ?1 AND seq <= ?2")?
            .execute(params![log.0, int(most)])?;
    }
    Ok(())
}

/// The first entry that is held.
pub(crate) fn first(db: &Connection, log: LogId) -> rusqlite::Result<Option<Held>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM held WHERE conversation = ?1 ORDER BY seq LIMIT 1"))?
        .query_row([log.0], from_row)
        .optional()
}

/// An entry that the restored relay has not shown again.
pub(crate) fn missing_entry(db: &Connection, log: LogId, entry: &EntryId) -> rusqlite::Result<Option<Held>> {
    // The number is written out, as in the index, which SQLite uses for nothing else.
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM held WHERE conversation = ?1 AND entry = ?2 AND seq >= {BEFORE}"
    ))?
    .query_row(params![log.0, entry.0], from_row)
    .optional()
}

/// The commit that ended an epoch.
pub(crate) fn commit(db: &Connection, log: LogId, epoch: Epoch) -> rusqlite::Result<Option<Held>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM held WHERE conversation = ?1 AND epoch = ?2 AND kind = 2"))?
        .query_row(params![log.0, int(epoch.0)], from_row)
        .optional()
}

/// Messages of an epoch that the restored relay has not shown, in the order that they had.
pub(crate) fn missing(db: &Connection, log: LogId, epoch: Epoch, limit: usize) -> rusqlite::Result<Vec<Held>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM held WHERE conversation = ?1 AND epoch = ?2 AND kind = 1 AND seq >= ?3 ORDER BY seq LIMIT ?4"
    ))?
    .query_map(params![log.0, int(epoch.0), int(BEFORE), limit as i64], from_row)?
    .collect()
}

/// Messages of an epoch that stand behind a place.
pub(crate) fn behind(db: &Connection, log: LogId, epoch: Epoch, seq: u64) -> rusqlite::Result<Vec<u64>> {
    db.prepare_cached(
        "SELECT seq FROM held WHERE conversation = ?1 AND epoch = ?2 AND kind = 1 AND seq > ?3 ORDER BY seq",
    )?
    .query_map(params![log.0, int(epoch.0), int(seq)], |row| uint(row, 0))?
    .collect()
}

/// The seeds that open past epochs, by epoch.
pub(crate) fn seeds(db: &Connection, log: LogId) -> rusqlite::Result<Vec<(Epoch, Zeroizing<[u8; 32]>)>> {
    db.prepare_cached("SELECT epoch, seed FROM held WHERE conversation = ?1 AND seed IS NOT NULL ORDER BY epoch")?
        .query_map([log.0], |row| Ok((Epoch(uint(row, 0)?), Zeroizing::new(fixed(row, 1)?))))?
        .collect()
}

/// By how much places in a table are behind those in the log: `held` is about the log alone.
fn offset(db: &Connection, log: LogId, table: &str) -> rusqlite::Result<u64> {
    if table == "held" {
        return Ok(0);
    }
    let offset = db
        .prepare_cached("SELECT line_offset FROM conversations WHERE id = ?1")?
        .query_row([log.0], |row| uint(row, 0))
        .optional()?;
    Ok(offset.unwrap_or(0))
}

/// All that stands behind `after` has no place any more until the relay shows it again. May be done twice: the order stays.
pub(crate) fn displace(db: &Connection, log: LogId, after: u64) -> rusqlite::Result<()> {
    for table in PLACED {
        let after = after + offset(db, log, table)?;
        // Over negative numbers, so that no two rows have one place in between.
        db.prepare_cached(&format!(
            "UPDATE {table} SET seq = -(seq + ?2) WHERE conversation = ?1 AND seq > ?3 AND seq > 0"
        ))?
        .execute(params![log.0, int(BEFORE), int(after)])?;
        db.prepare_cached(&format!("UPDATE {table} SET seq = -seq WHERE conversation = ?1 AND seq < 0"))?
            .execute([log.0])?;
    }
    Ok(())
}

/// A displaced entry is shown by its relay: what stood where it stood moves with it, and bears the time that all others see.
pub(crate) fn place(db: &Connection, log: LogId, before: u64, entry: &Entry, head: ChainHash) -> rusqlite::Result<()> {
    let mut is_other = shown(before) != entry.seq.0;
    for table in ["messages", "acts"] {
        let before = before + offset(db, log, table)?;
        let later = db
            .prepare_cached(&format!(
                "UPDATE {table} SET time = ?3 WHERE conversation = ?1 AND seq = ?2 AND seq > 0 AND time != ?3"
            ))?
            .execute(params![log.0, int(before), int(entry.time.0)])?;
        // What was done to a message tells its time on the message.
        is_other |= later > 0 && table == "acts";
    }
    for table in PLACED {
        let offset = offset(db, log, table)?;
        db.prepare_cached(&format!(
            "UPDATE OR REPLACE {table} SET seq = ?3 WHERE conversation = ?1 AND seq = ?2 AND seq > 0"
        ))?
        .execute(params![log.0, int(before + offset), int(entry.seq.0 + offset)])?;
    }
    let now = entry.seq;
    db.prepare_cached("UPDATE held SET head = ?3 WHERE conversation = ?1 AND seq = ?2")?.execute(params![
        log.0,
        int(now.0),
        head.0
    ])?;
    if is_other {
        moved(db, log)?;
    }
    Ok(())
}

/// What never came back stands at the end of what did; what this device has from elsewhere, of the time before it was there, where it stood:
/// no entry can tell it otherwise.
pub(crate) fn settle_rest(db: &Connection, log: LogId, last: Seq) -> rusqlite::Result<()> {
    let joined = heal(db, log)?.map(|heal| heal.joined).filter(|joined| *joined < BEFORE).unwrap_or(0);
    for table in ["messages", "acts"] {
        let offset = offset(db, log, table)?;
        db.prepare_cached(&format!(
            "UPDATE {table} SET seq = seq & ?4 WHERE conversation = ?1 AND seq >= ?2 AND seq & ?4 BETWEEN 1 AND ?3"
        ))?
        .execute(params![log.0, int(BEFORE), int(joined + offset), int(BEFORE - 1)])?;
        db.prepare_cached(&format!("UPDATE {table} SET seq = ?3 WHERE conversation = ?1 AND seq >= ?2 AND seq > 0"))?
            .execute(params![log.0, int(BEFORE), int(last.0 + offset)])?;
    }
    for table in ["held", "receipts", "receipts_due"] {
        db.prepare_cached(&format!("DELETE FROM {table} WHERE conversation = ?1 AND seq >= ?2"))?
            .execute(params![log.0, int(BEFORE)])?;
    }
    Ok(())
}

/// How a conversation stands to its relay's restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heal {
    /// This device has read all that stands behind this place.
    pub joined: u64,
    /// What stands behind this place may have moved.
    pub since: u64,
    /// No entry has shown yet that its author was behind the restore too.
    pub unsettled: bool,
    /// Something has moved, or was given back.
    pub moved: bool,
    /// When this device noticed.
    pub begun: u64,
    /// Where the log ended when everything was in place again.
    pub whole: u64,
    /// Not everything is in place.
    pub open: bool,
    /// As `whole`, behind the first of the restores that nobody has settled yet.
    pub first: u64,
}

/// This device reads a log from behind `joined` on.
pub(crate) fn begin(db: &Connection, log: LogId, joined: Seq) -> rusqlite::Result<()> {
    forget(db, log)?;
    db.prepare_cached("INSERT INTO heals (conversation, joined) VALUES (?1, ?2)")?
        .execute(params![log.0, int(joined.0)])?;
    Ok(())
}

/// The relay was restored before this device came in, and all is in place again.
pub(crate) fn restored_since(db: &Connection, log: LogId, since: u64, now: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE heals SET since = ?2, begun = ?3 WHERE conversation = ?1")?.execute(params![
        log.0,
        int(since),
        int(now)
    ])?;
    Ok(())
}

/// Nothing is held any more.
pub(crate) fn forget(db: &Connection, log: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM held WHERE conversation = ?1")?.execute([log.0])?;
    db.prepare_cached("DELETE FROM heals WHERE conversation = ?1")?.execute([log.0])?;
    Ok(())
}

pub(crate) fn heal(db: &Connection, log: LogId) -> rusqlite::Result<Option<Heal>> {
    db.prepare_cached(
        "SELECT joined, since, unsettled, moved, begun, whole, open, first FROM heals WHERE conversation = ?1",
    )?
    .query_row([log.0], |row| {
        Ok(Heal {
            joined: row.get::<_, i64>(0)? as u64,
            since: uint(row, 1)?,
            unsettled: row.get(2)?,
            moved: row.get(3)?,
            begun: uint(row, 4)?,
            whole: uint(row, 5)?,
            open: row.get(6)?,
            first: uint(row, 7)?,
        })
    })
    .optional()
}

/// Conversations whose relay was restored and that are not whole again.
pub(crate) fn healing(db: &Connection) -> rusqlite::Result<Vec<LogId>> {
    db.prepare_cached("SELECT conversation FROM heals WHERE open = 1 ORDER BY conversation")?
        .query_map([], |row| Ok(LogId(fixed(row, 0)?)))?
        .collect()
}

/// The relay was restored: what stands behind `since` is looked for.
pub(crate) fn open(db: &Connection, log: LogId, since: u64, now: u64) -> rusqlite::Result<()> {
    // A profile of an older version does not know from where on it has read everything: from nowhere.
    db.prepare_cached(
        "INSERT INTO heals VALUES (?1, -1, 1, ?2, 1, 0, ?3, 0, 0) ON CONFLICT (conversation) DO UPDATE SET open = 1, \
         since = CASE unsettled WHEN 1 THEN min(since, ?2) ELSE ?2 END, first = CASE unsettled WHEN 1 THEN first ELSE 0 END, \
         unsettled = 1, begun = ?3",
    )?
    .execute(params![log.0, int(since), int(now)])?;
    Ok(())
}

/// Everything that can be found or given back was.
pub(crate) fn close(db: &Connection, log: LogId, last: Seq) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE heals SET open = 0, moved = 0, whole = ?2, first = CASE first WHEN 0 THEN ?2 ELSE min(first, ?2) END WHERE conversation = ?1")?
        .execute(params![log.0, int(last.0)])?;
    Ok(())
}

pub(crate) fn moved(db: &Connection, log: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE heals SET moved = 1 WHERE conversation = ?1")?.execute([log.0])?;
    Ok(())
}

/// From here on hash heads are compared again, wherever they stand.
pub(crate) fn settled(db: &Connection, log: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE heals SET unsettled = 0 WHERE conversation = ?1")?.execute([log.0])?;
    Ok(())
}

/// The incarnation that a relay had when this device last heard of it.
pub(crate) fn known_incarnation(db: &Connection, relay: &RelayName) -> rusqlite::Result<Option<[u8; 16]>> {
    db.prepare_cached("SELECT incarnation FROM relays WHERE relay = ?1")?
        .query_row([relay.as_str()], |row| fixed(row, 0))
        .optional()
}

/// Remembers a relay's incarnation. True if it had another one before.
pub(crate) fn incarnation(db: &Connection, relay: &RelayName, incarnation: &[u8; 16]) -> rusqlite::Result<bool> {
    let before = known_incarnation(db, relay)?;
    if before.as_ref() == Some(incarnation) {
        return Ok(false);
    }
    db.prepare_cached("INSERT OR REPLACE INTO relays VALUES (?1, ?2)")?
        .execute(params![relay.as_str(), incarnation])?;
    Ok(before.is_some())
}
