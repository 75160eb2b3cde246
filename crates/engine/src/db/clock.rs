//! What the database says of times of this device's own clock, when that was set back.

use rusqlite::{Connection, params};
use wire::UnixMillis;

use super::int;

/// When something was tried, is to be tried or was last done, by the own clock. Not what people see or have chosen (when a message goes, when
/// one is to be sent, who was last heard of), nor times of logs and of others.
const TIMES: [(&str, &str); 12] = [
    ("intents", "not_before"),
    ("deposits", "not_before"),
    ("rejoins", "next"),
    ("pictures", "next"),
    ("endings", "due"),
    ("heals", "begun"),
    ("history", "begun"),
    ("history", "moved"),
    ("history", "asked"),
    ("conversations", "updated"),
    ("conversations", "last_receipt"),
    ("contacts", "looked_up"),
];

/// A clock that was set back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Back {
    /// What it shows now.
    pub now: UnixMillis,
    /// By how many milliseconds.
    pub by: u64,
}

impl Back {
    /// What was to come comes after as long a time as before; what has been was now at the latest.
    pub(crate) fn set(self, at: &mut UnixMillis) {
        if *at > self.now {
            *at = UnixMillis(at.0.saturating_sub(self.by)).max(self.now);
        }
    }

    /// The same for a number of milliseconds.
    pub(crate) fn set_ms(self, at: &mut u64) {
        let mut time = UnixMillis(*at);
        self.set(&mut time);
        *at = time.0;
    }
}

/// All that is kept of the own clock's times is as if it had never been ahead.
pub(crate) fn set_back(db: &Connection, back: Back) -> rusqlite::Result<()> {
    for (table, column) in TIMES {
        db.prepare(&format!("UPDATE {table} SET {column} = max(?1, {column} - ?2) WHERE {column} > ?1"))?
            .execute(params![int(back.now.0), int(back.by)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_to_come_comes_as_soon_and_what_has_been_has_been() {
        let back = Back { now: UnixMillis(1_000), by: 500 };
        for (before, after) in
            [(900, 900), (1_000, 1_000), (1_400, 1_000), (1_501, 1_001), (9_000, 8_500), (u64::MAX, u64::MAX - 500)]
        {
            let mut at = before;
            back.set_ms(&mut at);
            assert_eq!(at, after, "{before}");
        }
    }
}
