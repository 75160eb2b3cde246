//! The own account at a relay that was restored from a backup (protocol rule 12): registered again if it was lost, its record
//! brought up version by version, key packages replaced, the inbox read again.

use wire::{Bytes, Code, Request};

use super::{Ask, Done, State, Turn};
use crate::db::{self, int};

/// Where it is noted that the key packages at the relay are void.
const REPLACE: &str = "replace key packages";
/// Where it is noted until when the relay may not know this device yet.
const RESTORED: &str = "relay restored";
/// Other devices have this time to bring the relay up to the record that lists this one.
const PATIENCE_MS: u64 = 24 * 3_600_000;

impl State {
    pub(super) fn account_restored(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(me) = &mut self.me else { return Ok(()) };
        // What was left there is found again under the same ids, and counts once.
        me.set_inbox_cursor(0);
        me.set_unpublished();
        me.save(turn.db)?;
        self.shelf_is_lost(turn)?;
        self.offer_history_again(turn)?;
        // The relay may hand out again what has been used already.
        db::set_meta(turn.db, REPLACE, &true)?;
        Ok(db::set_meta(turn.db, RESTORED, &turn.now.plus(PATIENCE_MS).0)?)
    }

    /// The key packages at the relay are void.
    pub(super) fn key_packages_are_void(&self, turn: &Turn<'_>) -> Done<bool> {
        Ok(db::meta::<bool>(turn.db, REPLACE)?.unwrap_or(false))
    }

    pub(super) fn key_packages_replaced(&self, turn: &Turn<'_>) -> Done {
        Ok(db::remove_meta(turn.db, REPLACE)?)
    }

    /// The relay does not accept this device. True if it may have lost it: then it is told again, or asked again later.
    pub(super) fn relay_forgot_us(&mut self, turn: &mut Turn<'_>, code: Code) -> Done<bool> {
        let until = db::meta::<u64>(turn.db, RESTORED)?.unwrap_or(0);
        if turn.now.0 > until || !matches!(code, Code::NotFound | Code::BadProof) {
            return Ok(false);
        }
        // An account that the relay has lost and a device that its record does not list yet are one refusal. To register again is
        // right for the one and changes nothing for the other, so it is tried once, then others are waited for.
        let has_tried = self.account.forgotten_until > turn.now;
        if !has_tried {
            self.account.forgotten_until = turn.now.plus(30_000);
        }
        match (own_record(turn, 1)?, self.account_route()) {
            (Some(record), Some(route)) if !has_tried => {
                let request = Request::Register { record, invite: String::new() };
                self.ask(turn, route, request, Ask::Register);
            }
            // Another device of the account has what is missing.
            _ => turn.wake_at(self.account.forgotten_until),
        }
        Ok(true)
    }

    /// The relay has an earlier version of the own record than the one before the newest: it gets the next one.
    pub(super) fn next_record_for(&mut self, turn: &mut Turn<'_>, current: u64) -> Done<bool> {
        let (Some(record), Some(route)) = (own_record(turn, current.saturating_add(1))?, self.account_route()) else {
            return Ok(false);
        };
        let request = Request::PutRecord { record, account_proof: None };
        self.ask(turn, route, request, Ask::PutRecord { version: current.saturating_add(1) });
        Ok(true)
    }
}

/// Keeps a version of the own record.
pub(crate) fn keep_record(db: &rusqlite::Connection, version: u64, record: &[u8]) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO own_records VALUES (?1, ?2)")?
        .execute(rusqlite::params![int(version), record])?;
    Ok(())
}

/// The newest versions of the own record, the oldest of them first and none left out, as many as go into the head of a backup.
pub(super) fn own_records(db: &rusqlite::Connection) -> rusqlite::Result<Vec<minicbor::bytes::ByteVec>> {
    const BYTES: usize = 4 * 1024 * 1024;
    let mut rows = db.prepare_cached("SELECT record, version FROM own_records ORDER BY version DESC")?;
    let mut records: Vec<minicbor::bytes::ByteVec> = Vec::new();
    let (mut size, mut next) = (0, None);
    for row in rows.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, db::uint(row, 1)?)))? {
        let (record, version) = row?;
        size += record.len();
        let is_before = next.is_none_or(|next: u64| next == version.saturating_add(1));
        if !is_before || (size > BYTES && !records.is_empty()) {
            break;
        }
        next = Some(version);
        records.push(record.into());
    }
    records.reverse();
    Ok(records)
}

fn own_record(turn: &Turn<'_>, version: u64) -> Done<Option<Bytes>> {
    use rusqlite::OptionalExtension as _;
    let bytes: Option<Vec<u8>> = turn
        .db
        .prepare_cached("SELECT record FROM own_records WHERE version = ?1")?
        .query_row([int(version)], |row| row.get(0))
        .optional()?;
    Ok(bytes.map(Bytes::from))
}
