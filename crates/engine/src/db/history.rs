//! Rows of the table `history`: archives on their way to or from other own devices.

use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::{DeviceId, RelayName};

use super::archive::Place;
use super::{fixed, int, uint};
use crate::archive::Secret;
use api::HistoryState;

/// One transfer.
#[derive(Clone)]
pub(crate) struct Transfer {
    pub id: [u8; 32],
    pub sending: bool,
    /// The other device.
    pub device: DeviceId,
    pub relay: RelayName,
    pub secret: Secret,
    /// The number of the chunk that comes next.
    pub next: u64,
    /// How far the sender has walked.
    pub place: Place,
    /// The other device was told.
    pub offered: bool,
    /// Messages so far, and about how many there are.
    pub messages: u64,
    pub total: u64,
    pub begun: u64,
    /// When the last chunk moved.
    pub moved: u64,
    pub state: HistoryState,
    /// When the sender was last asked where the next chunk is; 0: never.
    pub asked: u64,
}

const COLUMNS: &str =
    "id, sending, device, relay, secret, next, place, offered, messages, total, begun, moved, state, asked";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Transfer> {
    let wrong = |column, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
    };
    let (relay, place): (String, String) = (row.get(3)?, row.get(6)?);
    Ok(Transfer {
        id: fixed(row, 0)?,
        sending: row.get(1)?,
        device: DeviceId(fixed(row, 2)?),
        relay: relay.parse().map_err(|error| wrong(3, Box::new(error)))?,
        secret: Secret(fixed(row, 4)?),
        next: uint(row, 5)?,
        place: match place.as_str() {
            "" => Place::default(),
            place => serde_json::from_str(place).map_err(|error| wrong(6, Box::new(error)))?,
        },
        offered: row.get(7)?,
        messages: uint(row, 8)?,
        total: uint(row, 9)?,
        begun: uint(row, 10)?,
        moved: uint(row, 11)?,
        state: match row.get::<_, i64>(12)? {
            0 => HistoryState::UnderWay,
            1 => HistoryState::Complete,
            _ => HistoryState::GivenUp,
        },
        asked: uint(row, 13)?,
    })
}

pub(crate) fn put(db: &Connection, t: &Transfer) -> rusqlite::Result<()> {
    let place = match t.sending {
        false => String::new(),
        true => {
            serde_json::to_string(&t.place).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?
        }
    };
    let state = match t.state {
        HistoryState::UnderWay => 0,
        HistoryState::Complete => 1,
        HistoryState::GivenUp => 2,
    };
    db.prepare_cached(&format!(
        "INSERT OR REPLACE INTO history ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    ))?
    .execute(params![
        t.id,
        t.sending,
        t.device.0,
        t.relay.as_str(),
        t.secret.0,
        int(t.next),
        place,
        t.offered,
        int(t.messages),
        int(t.total),
        int(t.begun),
        int(t.moved),
        state,
        int(t.asked)
    ])?;
    Ok(())
}

pub(crate) fn get(db: &Connection, id: &[u8; 32]) -> rusqlite::Result<Option<Transfer>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM history WHERE id = ?1"))?.query_row([id], from_row).optional()
}

/// What waits for another device waits from now on: how long it has waited was told by a clock that leapt.
pub(crate) fn wait_anew(db: &Connection, now: u64) -> rusqlite::Result<()> {
    db.prepare("UPDATE history SET begun = ?1 WHERE sending = 1 AND state = 0")?.execute([int(now)])?;
    Ok(())
}

/// All transfers, the last begun first.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Transfer>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM history ORDER BY begun DESC, id"))?
        .query_map([], from_row)?
        .collect()
}

/// Those under way.
pub(crate) fn under_way(db: &Connection) -> rusqlite::Result<Vec<Transfer>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM history WHERE state = 0 ORDER BY begun, id"))?
        .query_map([], from_row)?
        .collect()
}

/// As people see it.
pub(crate) fn view(t: &Transfer) -> api::HistoryTransfer {
    api::HistoryTransfer {
        device: t.device.to_string(),
        sending: t.sending,
        state: t.state,
        messages: t.messages,
        total: t.total.max(t.messages),
        waiting: t.sending && t.state == HistoryState::UnderWay && t.place.is_waiting(),
        begun: t.begun,
        moved: t.moved,
    }
}
