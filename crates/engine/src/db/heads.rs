//! Hash heads of logs as this device computed them, to compare with what other members saw (protocol rule 8).

use rusqlite::{Connection, OptionalExtension, params};
use wire::{ChainHash, LogId, Seq};

use super::{fixed, int};

/// Heads kept for each log: members compare with something recent.
const KEPT: u64 = 256;

/// Notes the head behind an entry, and forgets old ones.
pub(crate) fn put(db: &Connection, conversation: LogId, seq: Seq, hash: ChainHash) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO heads VALUES (?1, ?2, ?3)")?.execute(params![
        conversation.0,
        int(seq.0 % KEPT),
        [&seq.0.to_be_bytes()[..], &hash.0].concat()
    ])?;
    Ok(())
}

/// The head behind an entry, if it is still known.
pub(crate) fn get(db: &Connection, conversation: LogId, seq: u64) -> rusqlite::Result<Option<[u8; 32]>> {
    let slot: Option<[u8; 40]> = db
        .prepare_cached("SELECT head FROM heads WHERE conversation = ?1 AND slot = ?2")?
        .query_row(params![conversation.0, int(seq % KEPT)], |row| fixed(row, 0))
        .optional()?;
    Ok(slot.and_then(|slot| {
        let (place, hash) = slot.split_first_chunk::<8>()?;
        (u64::from_be_bytes(*place) == seq).then_some(hash.try_into().ok()?)
    }))
}

/// Keeps what another member saw and we did not.
pub(crate) fn keep_evidence(
    db: &Connection,
    conversation: LogId,
    seq: u64,
    hash: &[u8],
    address: &str,
    time: u64,
) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO forks VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        conversation.0,
        int(seq),
        hash,
        address,
        int(time)
    ])?;
    Ok(())
}
