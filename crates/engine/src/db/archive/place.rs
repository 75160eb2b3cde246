//! How far a walk over what an archive holds has come.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::super::int;

/// How far clocks may be apart. What stands at another place than when the first pass came by (behind a restore some things are said
/// again) has the time of that place, and whoever comes in after that hears of it from the archive or never.
const APART_MS: u64 = 86_400_000;

/// How far a walk has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(super) step: Step,
    /// Rows of this step that are behind us, or the number that comes next.
    pub(super) at: i64,
    /// The last row that is behind us, where there are as many as there are messages: leaving out as many rows each time would be slow.
    #[serde(default)]
    pub(super) behind: Option<Behind>,
    /// Where the first pass over messages and acts ends: what is newer is of the second.
    pub(super) messages_to: i64,
    pub(super) acts_to: i64,
    /// Messages and acts that had no place in the log yet.
    pub(super) late_messages: Vec<i64>,
    pub(super) late_acts: Vec<i64>,
    /// Acts that may have moved meanwhile are among them.
    pub(super) acts_again: bool,
    /// When the walk began.
    pub(super) begun: u64,
    /// A walk over what has changed since another one, which began then.
    #[serde(default)]
    pub(super) since: Option<u64>,
    /// Messages and acts that had no place in the log when the walk came by for the last time, and up to which rows it came.
    #[serde(default)]
    pub(super) left: Left,
}

/// A row, by what rows of its kind are in order of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Behind {
    Message(i64),
    Receipt(Vec<u8>, i64, String),
}

/// Where a walk over what has changed since begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Left {
    pub(super) messages: Vec<i64>,
    pub(super) acts: Vec<i64>,
    pub(super) messages_to: i64,
    pub(super) acts_to: i64,
}

/// What a walk is at, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    #[default]
    Contacts,
    Conversations,
    Arrangements,
    Looked,
    Messages,
    Acts,
    /// The other device is not in every conversation yet: what is written there now it can't read otherwise.
    Wait,
    LateMessages,
    Places,
    LateActs,
    Ticks,
    Hidden,
    LateContacts,
    Over,
}

impl Step {
    const ORDER: [Self; 14] = [
        Self::Contacts,
        Self::Conversations,
        Self::Arrangements,
        Self::Looked,
        Self::Messages,
        Self::Acts,
        Self::Wait,
        Self::LateMessages,
        Self::Places,
        Self::LateActs,
        Self::Ticks,
        Self::Hidden,
        Self::LateContacts,
        Self::Over,
    ];
}

impl Place {
    /// Before the first row.
    pub(crate) fn begin(db: &Connection, now: u64) -> rusqlite::Result<Self> {
        let last = |table: &str| {
            db.query_row(&format!("SELECT coalesce(max(n), 0) FROM {table}"), [], |row| row.get::<_, i64>(0))
        };
        Ok(Self { messages_to: last("messages")?, acts_to: last("acts")?, begun: now, ..Self::default() })
    }

    /// Before the first row of what has changed since another walk, which is over, began.
    pub(crate) fn since(other: &Self, now: u64) -> Self {
        let Left { messages, acts, messages_to, acts_to } = other.left.clone();
        let since = Some(other.begun);
        Self { late_messages: messages, late_acts: acts, messages_to, acts_to, begun: now, since, ..Self::default() }
    }

    /// From when on what had a place before may have moved.
    pub(super) fn moved_from(&self) -> i64 {
        int(self.since.unwrap_or(self.begun).saturating_sub(APART_MS))
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.step == Step::Wait
    }

    pub(crate) fn is_over(&self) -> bool {
        self.step == Step::Over
    }

    /// The first pass is behind us.
    pub(crate) fn is_late(&self) -> bool {
        let at = |step| Step::ORDER.iter().position(|other| *other == step);
        at(self.step) > at(Step::Wait)
    }

    /// Leaves out all that is still to come.
    pub(crate) fn end(&mut self) {
        self.step = Step::Over;
    }

    /// Goes on to the next step.
    pub(crate) fn next(&mut self) {
        match self.step {
            Step::LateMessages => self.left.messages_to = self.at - 1,
            Step::LateActs => self.left.acts_to = self.at - 1,
            _ => {}
        }
        let at = Step::ORDER.iter().position(|step| *step == self.step).unwrap_or(0);
        self.step = Step::ORDER.get(at + 1).copied().unwrap_or(Step::Over);
        if self.since.is_some() && matches!(self.step, Step::Messages | Step::Acts) {
            self.step = Step::Wait;
        }
        self.behind = None;
        self.at = match self.step {
            Step::Messages => self.messages_to,
            Step::LateMessages => self.messages_to + 1,
            Step::LateActs => self.acts_to + 1,
            // Numbers of acts begin at 1, as SQLite gives them.
            _ => 0,
        };
    }
}
