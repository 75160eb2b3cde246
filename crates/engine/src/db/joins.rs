//! Invite links of groups, who asks to come in by one, and where this account has asked itself.

use rusqlite::{Connection, OptionalExtension, params};
use wire::{LogId, UnixMillis};

use super::{fixed, fixed_opt, int, uint};
use crate::state::InviteLink;

/// A link as the group's state names it, with its secret if this device has made it.
#[derive(Debug, Clone)]
pub(crate) struct LinkRow {
    pub link: InviteLink,
    pub secret: Option<[u8; 16]>,
}

/// Keeps what only the device that makes a link knows of it.
pub(crate) fn keep_secret(db: &Connection, id: LogId, link: &[u8; 16], secret: &[u8; 16]) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO invite_secrets VALUES (?1, ?2, ?3)")?
        .execute(params![id.0, link, secret])?;
    Ok(())
}

/// The links of a group are these now.
pub(crate) fn set_links(db: &Connection, id: LogId, links: &[InviteLink]) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM invite_links WHERE conversation = ?1")?.execute([id.0])?;
    let mut insert = db.prepare_cached("INSERT INTO invite_links VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for (n, link) in links.iter().enumerate() {
        insert.execute(params![
            id.0,
            n as i64,
            link.id,
            link.by,
            link.direct,
            int(link.expires),
            link.uses,
            link.used
        ])?;
    }
    Ok(())
}

/// The links of a group, the oldest first.
pub(crate) fn links(db: &Connection, id: LogId) -> rusqlite::Result<Vec<LinkRow>> {
    db.prepare_cached(
        "SELECT l.link, l.maker, l.direct, l.expires, l.uses, l.used, s.secret FROM invite_links l \
         LEFT JOIN invite_secrets s ON s.conversation = l.conversation AND s.link = l.link \
         WHERE l.conversation = ?1 ORDER BY l.n",
    )?
    .query_map([id.0], |row| {
        Ok(LinkRow {
            link: InviteLink {
                id: fixed(row, 0)?,
                by: fixed(row, 1)?,
                direct: row.get(2)?,
                expires: uint(row, 3)?,
                uses: row.get(4)?,
                used: row.get(5)?,
            },
            secret: fixed_opt(row, 6)?,
        })
    })?
    .collect()
}

/// Somebody asks to come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinRequest {
    pub conversation: LogId,
    pub address: String,
    pub account_key: [u8; 32],
    pub link: [u8; 16],
    /// When, by the clock of who asks, and not in the future of this device's.
    pub time: u64,
}

/// Keeps a request; a newer one of the same account takes its place.
pub(crate) fn put_request(db: &Connection, request: &JoinRequest) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO join_requests VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        request.conversation.0,
        request.address,
        request.account_key,
        request.link,
        int(request.time)
    ])?;
    Ok(())
}

/// Requests that wait for an answer, the oldest first: of one group or of all.
pub(crate) fn requests(db: &Connection, id: Option<LogId>) -> rusqlite::Result<Vec<JoinRequest>> {
    db.prepare_cached(
        "SELECT conversation, address, account_key, link, time FROM join_requests \
         WHERE ?1 IS NULL OR conversation = ?1 ORDER BY time, address",
    )?
    .query_map([id.map(|id| id.0)], |row| {
        Ok(JoinRequest {
            conversation: LogId(fixed(row, 0)?),
            address: row.get(1)?,
            account_key: fixed(row, 2)?,
            link: fixed(row, 3)?,
            time: uint(row, 4)?,
        })
    })?
    .collect()
}

/// A request is answered.
pub(crate) fn remove_request(db: &Connection, id: LogId, address: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM join_requests WHERE conversation = ?1 AND address = ?2")?
        .execute(params![id.0, address])?;
    Ok(())
}

/// What an account has asked for up to this time was looked at. False if it was before, or the account was in the group since.
pub(crate) fn spend(db: &Connection, id: LogId, account: &[u8; 32], asked: UnixMillis) -> rusqlite::Result<bool> {
    let changed = db
        .prepare_cached(
            "INSERT INTO join_requests_spent VALUES (?1, ?2, ?3, 0) \
             ON CONFLICT (conversation, account_key) DO UPDATE SET time = excluded.time \
             WHERE time < excluded.time AND left < excluded.time",
        )?
        .execute(params![id.0, account, int(asked.0)])?;
    Ok(changed > 0)
}

/// An account was in the group until this time: what it asked for before is over, and waits no more.
pub(crate) fn has_left(db: &Connection, id: LogId, account: &[u8; 32], left: UnixMillis) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO join_requests_spent VALUES (?1, ?2, 0, ?3) \
         ON CONFLICT (conversation, account_key) DO UPDATE SET left = max(left, excluded.left)",
    )?
    .execute(params![id.0, account, int(left.0)])?;
    db.prepare_cached("DELETE FROM join_requests WHERE conversation = ?1 AND account_key = ?2 AND time <= ?3")?
        .execute(params![id.0, account, int(left.0)])?;
    Ok(())
}

/// True if an account was in the group after it had asked for something at this time.
pub(crate) fn was_in_since(db: &Connection, id: LogId, account: &[u8; 32], asked: u64) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM join_requests_spent WHERE conversation = ?1 AND account_key = ?2 AND left >= ?3")?
        .exists(params![id.0, account, int(asked)])
}

/// Forgets what is too old to be asked for in any case.
pub(crate) fn forget_spent(db: &Connection, before: UnixMillis) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM join_requests_spent WHERE max(time, left) < ?1")?.execute([int(before.0)])?;
    Ok(())
}

/// Whoever is in needs not ask any more.
pub(crate) fn forget_answered(db: &Connection, id: LogId) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM join_requests WHERE conversation = ?1 \
         AND address IN (SELECT address FROM members WHERE conversation = ?1)",
    )?
    .execute([id.0])?;
    Ok(())
}

/// A conversation that this account has asked to come into.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    pub conversation: LogId,
    /// The relay that keeps it.
    pub relay: String,
    pub inviter: String,
    /// The link's bytes.
    pub link: Vec<u8>,
    /// The request is in the outbox, or out.
    pub asked: bool,
}

pub(crate) fn put_join(db: &Connection, join: &Join) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO joins VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        join.conversation.0,
        join.relay,
        join.inviter,
        join.link,
        join.asked
    ])?;
    Ok(())
}

fn join_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Join> {
    Ok(Join {
        conversation: LogId(fixed(row, 0)?),
        relay: row.get(1)?,
        inviter: row.get(2)?,
        link: row.get(3)?,
        asked: row.get(4)?,
    })
}

pub(crate) fn join(db: &Connection, id: LogId) -> rusqlite::Result<Option<Join>> {
    db.prepare_cached("SELECT conversation, relay, inviter, link, asked FROM joins WHERE conversation = ?1")?
        .query_row([id.0], join_row)
        .optional()
}

/// Those whose inviter has not been asked yet.
pub(crate) fn unasked(db: &Connection) -> rusqlite::Result<Vec<Join>> {
    db.prepare_cached("SELECT conversation, relay, inviter, link, asked FROM joins WHERE asked = 0")?
        .query_map([], join_row)?
        .collect()
}

pub(crate) fn remove_join(db: &Connection, id: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM joins WHERE conversation = ?1")?.execute([id.0])?;
    Ok(())
}
