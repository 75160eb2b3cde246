//! Rows of the tables `conversations` and `members`.

use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::{ChainHash, Epoch, LogId, RelayName, Seq};

use super::{fixed, fixed_opt, int, uint};
use crate::formats::Head;
use api::{ConversationKind, Role, Standing};

/// One conversation as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    pub id: LogId,
    pub relay: RelayName,
    pub kind: ConversationKind,
    pub name: String,
    /// The other account of a 1:1 conversation.
    pub peer: Option<String>,
    pub standing: Standing,
    /// Why it is held, for people.
    pub held: String,
    pub inviter: String,
    /// The relay has its log.
    pub log_made: bool,
    pub epoch: Epoch,
    /// The last entry processed, and the hash head there.
    pub cursor: Seq,
    pub chain: ChainHash,
    /// False after entries were lost to retention: heads can't be compared until the chain is known again.
    pub chain_known: bool,
    pub created: u64,
    pub touched: u64,
    /// When own keys were last updated.
    pub updated: u64,
    pub own_messages: u64,
    pub last_receipt: u64,
    /// Messages vanish so many seconds after they were seen, as the conversation's state says; 0 if they stay.
    pub timer: u32,
    pub line: Line,
}

/// Where a conversation stands in a line of successors (protocol rule 18).
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    /// The conversation that it goes on for.
    pub of: Option<LogId>,
    /// The log in which the line began, if that is another one.
    pub room: Option<LogId>,
    /// Messages at places up to here were written in predecessors.
    pub offset: u64,
    /// The conversation that goes on for it.
    pub next: Option<LogId>,
}

impl Conversation {
    pub(crate) fn head(&self) -> Head {
        Head { seq: self.cursor, hash: self.chain }
    }

    /// Where an entry of its log stands among its messages.
    pub(crate) fn place(&self, seq: Seq) -> u64 {
        self.line.offset.saturating_add(seq.0)
    }

    /// What stands at this place was said in a successor that did not last, and waits to be said again.
    pub(crate) fn waits_on_shelf(&self, place: u64) -> bool {
        self.line.of.is_some() && place == self.line.offset
    }

    /// The log that ids of its messages name.
    pub(crate) fn room(&self) -> LogId {
        self.line.room.unwrap_or(self.id)
    }

    /// A successor that nobody has joined yet.
    pub(crate) fn is_in_making(&self) -> bool {
        self.line.of.is_some() && self.standing == Standing::Starting
    }

    /// Its log is followed: entries are fetched and epochs walk.
    pub(crate) fn is_followed(&self) -> bool {
        self.log_made && matches!(self.standing, Standing::Starting | Standing::Requested | Standing::Active)
    }
}

const COLUMNS: &str = "id, relay, kind, name, peer, standing, held, inviter, log_made, epoch, cursor, chain, chain_known, \
                       created, touched, updated, own_messages, last_receipt, timer, line_of, line_room, line_offset, line_next";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Conversation> {
    let relay: String = row.get(1)?;
    Ok(Conversation {
        id: LogId(fixed(row, 0)?),
        relay: relay
            .parse()
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(e)))?,
        kind: match row.get::<_, i64>(2)? {
            0 => ConversationKind::Direct,
            1 => ConversationKind::Group,
            _ => ConversationKind::Note,
        },
        name: row.get(3)?,
        peer: row.get(4)?,
        standing: match row.get::<_, i64>(5)? {
            0 => Standing::Starting,
            1 => Standing::Requested,
            2 => Standing::Active,
            3 => Standing::Held,
            _ => Standing::Left,
        },
        held: row.get(6)?,
        inviter: row.get(7)?,
        log_made: row.get(8)?,
        epoch: Epoch(uint(row, 9)?),
        cursor: Seq(uint(row, 10)?),
        chain: ChainHash(fixed(row, 11)?),
        chain_known: row.get(12)?,
        created: uint(row, 13)?,
        touched: uint(row, 14)?,
        updated: uint(row, 15)?,
        own_messages: uint(row, 16)?,
        last_receipt: uint(row, 17)?,
        timer: row.get(18)?,
        line: Line {
            of: fixed_opt(row, 19)?.map(LogId),
            room: fixed_opt(row, 20)?.map(LogId),
            offset: uint(row, 21)?,
            next: fixed_opt(row, 22)?.map(LogId),
        },
    })
}

fn kind_number(kind: ConversationKind) -> i64 {
    match kind {
        ConversationKind::Direct => 0,
        ConversationKind::Group => 1,
        ConversationKind::Note => 2,
    }
}

fn standing_number(standing: Standing) -> i64 {
    match standing {
        Standing::Starting => 0,
        Standing::Requested => 1,
        Standing::Active => 2,
        Standing::Held => 3,
        Standing::Left => 4,
    }
}

pub(crate) fn get(db: &Connection, id: LogId) -> rusqlite::Result<Option<Conversation>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM conversations WHERE id = ?1"))?
        .query_row([id.0], from_row)
        .optional()
}

/// The notes to oneself that are in use: the first is the one to write into.
pub(crate) fn notes(db: &Connection) -> rusqlite::Result<Vec<LogId>> {
    let mut notes: Vec<LogId> = db
        .prepare_cached("SELECT id FROM conversations WHERE kind = 2 AND standing IN (0, 2)")?
        .query_map([], |row| Ok(LogId(fixed(row, 0)?)))?
        .collect::<Result<_, _>>()?;
    notes.sort_by_key(|id| crate::formats::hash(&id.0));
    Ok(notes)
}

/// What goes on for a conversation now; `None` if it goes on for itself.
pub(crate) fn last_of_line(db: &Connection, id: LogId) -> rusqlite::Result<Option<LogId>> {
    let (mut last, mut seen) = (None, std::collections::BTreeSet::new());
    let mut at = id;
    while seen.insert(at)
        && let Some(next) = get(db, at)?.and_then(|conversation| conversation.line.next)
    {
        (last, at) = (Some(next), next);
    }
    Ok(last)
}

/// The log in which the line of a conversation began: what is said and chosen of it names that one, wherever it goes on.
pub(crate) fn room_of(db: &Connection, id: LogId) -> rusqlite::Result<LogId> {
    Ok(get(db, id)?.map_or(id, |conversation| conversation.room()))
}

/// The conversation in which a line goes on here; where it began, if none is known here.
pub(crate) fn of_room(db: &Connection, room: LogId) -> rusqlite::Result<LogId> {
    let last = db
        .prepare_cached(
            "SELECT id FROM conversations WHERE (id = ?1 OR line_room = ?1) AND line_next IS NULL \
             AND NOT (line_of IS NOT NULL AND standing = 0) ORDER BY standing = 4, line_offset DESC LIMIT 1",
        )?
        .query_row([room.0], |row| Ok(LogId(fixed(row, 0)?)))
        .optional()?;
    Ok(last.unwrap_or(room))
}

/// Successors of this conversation that this device is about to make.
pub(crate) fn in_making(db: &Connection, of: LogId) -> rusqlite::Result<Vec<LogId>> {
    db.prepare_cached("SELECT id FROM conversations WHERE line_of = ?1 AND standing = 0")?
        .query_map([of.0], |row| Ok(LogId(fixed(row, 0)?)))?
        .collect()
}

/// What was said and chosen in one conversation is said and chosen in another one, at the same places; what is there already stays.
pub(crate) fn move_into(db: &Connection, from: LogId, to: LogId) -> rusqlite::Result<()> {
    for table in ["messages", "acts", "hidden", "receipts", "arrangements", "looked", "scheduled", "pictures"] {
        db.prepare_cached(&format!("UPDATE OR IGNORE {table} SET conversation = ?2 WHERE conversation = ?1"))?
            .execute(params![from.0, to.0])?;
        db.prepare_cached(&format!("DELETE FROM {table} WHERE conversation = ?1"))?.execute([from.0])?;
    }
    super::outbox::move_into(db, from, to)?;
    db.prepare_cached(
        "UPDATE conversations SET description = (SELECT description FROM conversations WHERE id = ?1), \
         touched = max(touched, (SELECT touched FROM conversations WHERE id = ?1)) WHERE id = ?2",
    )?
    .execute(params![from.0, to.0])?;
    Ok(())
}

/// What stands behind a place loses it, and stands there until it is said again.
pub(crate) fn shelve(db: &Connection, id: LogId, place: u64) -> rusqlite::Result<()> {
    for table in ["messages", "acts"] {
        db.prepare_cached(&format!("UPDATE {table} SET seq = ?2 WHERE conversation = ?1 AND seq > ?2 AND seq > 0"))?
            .execute(params![id.0, int(place)])?;
    }
    db.prepare_cached("DELETE FROM receipts WHERE conversation = ?1 AND seq > ?2")?
        .execute(params![id.0, int(place)])?;
    Ok(())
}

/// What still waits at a place to be said again does so at another one.
pub(crate) fn shelve_on(db: &Connection, id: LogId, from: u64, to: u64) -> rusqlite::Result<()> {
    for (table, but) in [("messages", "AND kind != 2"), ("acts", "")] {
        db.prepare_cached(&format!("UPDATE {table} SET seq = ?3 WHERE conversation = ?1 AND seq = ?2 {but}"))?
            .execute(params![id.0, int(from), int(to)])?;
    }
    Ok(())
}

/// All that go on for themselves, the latest first.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Conversation>> {
    those(db, "TRUE", [])
}

/// Those of them that bear a name of their own, and this one.
pub(crate) fn named(db: &Connection, name: &str) -> rusqlite::Result<Vec<Conversation>> {
    those(db, "peer IS NULL AND name = ?1", [name])
}

/// Those of them that are with one account alone.
pub(crate) fn with(db: &Connection, address: &str) -> rusqlite::Result<Vec<Conversation>> {
    those(db, "kind = 0 AND peer = ?1", [address])
}

/// Those of them that are notes to oneself.
pub(crate) fn of_notes(db: &Connection) -> rusqlite::Result<Vec<Conversation>> {
    those(db, "kind = 2", [])
}

fn those<const N: usize>(db: &Connection, which: &str, of: [&str; N]) -> rusqlite::Result<Vec<Conversation>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM conversations WHERE line_next IS NULL AND {which} ORDER BY touched DESC, id"
    ))?
    .query_map(rusqlite::params_from_iter(of), from_row)?
    .collect()
}

pub(crate) fn put(db: &Connection, c: &Conversation) -> rusqlite::Result<()> {
    db.prepare_cached(&format!(
        "INSERT INTO conversations ({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23) \
         ON CONFLICT (id) DO UPDATE SET relay=excluded.relay, kind=excluded.kind, name=excluded.name, peer=excluded.peer, \
         standing=excluded.standing, held=excluded.held, inviter=excluded.inviter, log_made=excluded.log_made, \
         epoch=excluded.epoch, cursor=excluded.cursor, chain=excluded.chain, chain_known=excluded.chain_known, \
         created=excluded.created, touched=excluded.touched, updated=excluded.updated, \
         own_messages=excluded.own_messages, last_receipt=excluded.last_receipt, \
         timer=excluded.timer, line_of=excluded.line_of, line_room=excluded.line_room, line_offset=excluded.line_offset, \
         line_next=excluded.line_next"
    ))?
    .execute(params![
        c.id.0,
        c.relay.as_str(),
        kind_number(c.kind),
        c.name,
        c.peer,
        standing_number(c.standing),
        c.held,
        c.inviter,
        c.log_made,
        int(c.epoch.0),
        int(c.cursor.0),
        c.chain.0,
        c.chain_known,
        int(c.created),
        int(c.touched),
        int(c.updated),
        int(c.own_messages),
        int(c.last_receipt),
        c.timer,
        c.line.of.map(|log| log.0),
        c.line.room.map(|log| log.0),
        int(c.line.offset),
        c.line.next.map(|log| log.0)
    ])?;
    Ok(())
}

/// Notes how far its log has been processed; nothing else of it.
pub(crate) fn advance(db: &Connection, c: &Conversation) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE conversations SET cursor = ?2, chain = ?3, chain_known = ?4 WHERE id = ?1")?
        .execute(params![c.id.0, int(c.cursor.0), c.chain.0, c.chain_known])?;
    Ok(())
}

/// Something was said in it, by this device (`own` is 1) or by somebody else (0).
pub(crate) fn touch(db: &Connection, id: LogId, time: u64, own: u32) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE conversations SET touched = max(touched, ?2), own_messages = own_messages + ?3 WHERE id = ?1",
    )?
    .execute(params![id.0, int(time), own])?;
    Ok(())
}

/// Notes the MLS ciphersuite of a conversation's group.
pub(crate) fn set_suite(db: &Connection, id: LogId, suite: u16) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE conversations SET suite = ?2 WHERE id = ?1 AND suite != ?2")?
        .execute(params![id.0, suite])?;
    Ok(())
}

/// Notes what a group is for.
pub(crate) fn set_description(db: &Connection, id: LogId, text: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE conversations SET description = ?2 WHERE id = ?1 AND description != ?2")?
        .execute(params![id.0, text])?;
    Ok(())
}

/// What a group is for; empty if nobody has said.
pub(crate) fn description(db: &Connection, id: LogId) -> rusqlite::Result<String> {
    let text = db
        .prepare_cached("SELECT description FROM conversations WHERE id = ?1")?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    Ok(text.unwrap_or_default())
}

/// The MLS ciphersuite of a conversation's group, if it was noted.
pub(crate) fn suite(db: &Connection, id: LogId) -> rusqlite::Result<Option<u16>> {
    let suite: Option<u16> = db
        .prepare_cached("SELECT suite FROM conversations WHERE id = ?1")?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    Ok(suite.filter(|suite| *suite != 0))
}

/// What a group was called before, in any conversation of the line that began in `room`.
pub(crate) fn former_names(db: &Connection, room: LogId) -> rusqlite::Result<Vec<String>> {
    // By the names, which are few, whatever the planner thinks of it.
    db.prepare_cached(
        "SELECT DISTINCT f.name FROM former_names f CROSS JOIN conversations c ON c.id = f.conversation \
         WHERE c.id = ?1 OR c.line_room = ?1 ORDER BY f.name",
    )?
    .query_map([room.0], |row| row.get(0))?
    .collect()
}

/// Notes what another own device has seen a group being called.
pub(crate) fn put_former_names(db: &Connection, id: &[u8; 16], names: &[String]) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached("INSERT OR IGNORE INTO former_names VALUES (?1, ?2)")?;
    for name in names {
        insert.execute(params![id, name])?;
    }
    Ok(())
}

/// An account of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub address: String,
    pub account_key: [u8; 32],
    pub role: Role,
    pub devices: u32,
}

fn role_number(role: Role) -> i64 {
    match role {
        Role::Owner => 2,
        Role::Admin => 1,
        Role::Member => 0,
    }
}

/// An account from its address, its key, its role and how many devices it has there.
fn member_from(row: &Row<'_>) -> rusqlite::Result<Member> {
    Ok(Member {
        address: row.get(0)?,
        account_key: fixed(row, 1)?,
        role: match row.get::<_, i64>(2)? {
            2 => Role::Owner,
            1 => Role::Admin,
            _ => Role::Member,
        },
        devices: row.get(3)?,
    })
}

pub(crate) fn members(db: &Connection, id: LogId) -> rusqlite::Result<Vec<Member>> {
    db.prepare_cached(
        "SELECT address, account_key, role, devices FROM members WHERE conversation = ?1 ORDER BY role DESC, address",
    )?
    .query_map([id.0], member_from)?
    .collect()
}

pub(crate) fn set_members(db: &Connection, id: LogId, members: &[Member]) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM members WHERE conversation = ?1")?.execute([id.0])?;
    let mut insert = db.prepare_cached("INSERT INTO members VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for member in members {
        insert.execute(params![id.0, member.address, member.account_key, role_number(member.role), member.devices])?;
    }
    Ok(())
}

/// The accounts that have no device there any more and come back by themselves.
pub(crate) fn asleep(db: &Connection, id: LogId) -> rusqlite::Result<Vec<Member>> {
    db.prepare_cached(
        "SELECT address, account_key, role, 0 FROM asleep WHERE conversation = ?1 ORDER BY role DESC, address",
    )?
    .query_map([id.0], member_from)?
    .collect()
}

/// Notes who is asleep, as the conversation's state says it.
pub(crate) fn set_asleep(db: &Connection, id: LogId, state: &crate::state::ConversationState) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM asleep WHERE conversation = ?1")?.execute([id.0])?;
    let mut insert = db.prepare_cached("INSERT INTO asleep VALUES (?1, ?2, ?3, ?4)")?;
    for one in &state.asleep {
        insert.execute(params![id.0, one.address, one.account, role_number(state.role(&one.account))])?;
    }
    Ok(())
}

/// This device was taken out of a conversation at this time of its log because it was not on for long; 0 if the relay no longer tells.
pub(crate) fn set_slept(db: &Connection, id: LogId, since: u64) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO slept VALUES (?1, ?2)")?.execute(params![id.0, int(since)])?;
    Ok(())
}

/// Since when this device is out of a conversation, as [`set_slept`] has noted it.
pub(crate) fn slept(db: &Connection, id: LogId) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached("SELECT since FROM slept WHERE conversation = ?1")?
        .query_row([id.0], |row| uint(row, 0))
        .optional()
}

/// It is in again, or for good out.
pub(crate) fn forget_slept(db: &Connection, id: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM slept WHERE conversation = ?1")?.execute([id.0])?;
    Ok(())
}

/// Removes a conversation and all that was said in it, for one that never came about or was refused.
pub(crate) fn forget(db: &Connection, id: LogId) -> rusqlite::Result<()> {
    let tables = [
        "messages",
        "acts",
        "hidden",
        "members",
        "asleep",
        "slept",
        "pictures",
        "seen",
        "heads",
        "receipts",
        "receipts_due",
        "held",
        "heals",
        "rejoins",
        "restored",
        "leaves",
        "endings",
        "looked",
        "former_names",
        "arrangements",
        "invite_links",
        "invite_secrets",
        "join_requests",
        "join_requests_spent",
        "joins",
    ];
    super::own_state::forget(db, id)?;
    super::endings::set_unanswered(db, id, false)?;
    for table in tables {
        db.prepare_cached(&format!("DELETE FROM {table} WHERE conversation = ?1"))?.execute([id.0])?;
    }
    db.prepare_cached("DELETE FROM conversations WHERE id = ?1")?.execute([id.0])?;
    Ok(())
}

/// Notes that an entry counts. False if one of this id already did.
pub(crate) fn count_entry(db: &Connection, id: LogId, entry: &[u8; 16]) -> rusqlite::Result<bool> {
    let inserted = db.prepare_cached("INSERT OR IGNORE INTO seen VALUES (?1, ?2)")?.execute(params![id.0, entry])?;
    Ok(inserted == 1)
}

/// True if an entry of this id already counted.
pub(crate) fn has_counted(db: &Connection, id: LogId, entry: &[u8; 16]) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM seen WHERE conversation = ?1 AND entry = ?2")?.exists(params![id.0, entry])
}

/// One more entry that did not verify.
pub(crate) fn count_void(db: &Connection, id: LogId) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE conversations SET voids = voids + 1 WHERE id = ?1")?.execute([id.0])?;
    Ok(())
}
