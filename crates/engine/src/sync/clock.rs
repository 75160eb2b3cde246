//! The own clock is set: it was wrong (a machine that starts with another time zone's, or with an empty battery), or somebody sets it.
//!
//! What always holds: nothing waits longer because the clock was set back. All that is to be tried again at some time is tried after as long a
//! pause as it would have been, whether the engine was open meanwhile or not. Behind a leap in either direction the clock is compared with the
//! relays' before anything is done that needs it right. A clock that is set forward makes what waits come earlier.

use wire::UnixMillis;

use super::{Done, Link, State, Turn};
use crate::db::clock::{self, Back};

/// The last time that the database knows of, in ms.
const CLOCK: &str = "clock";
/// Noted again when so much time has passed.
const NOTE_MS: u64 = 20_000;
/// Clocks are corrected by little all the time.
const TOLERANCE_MS: u64 = 2_000;
/// The engine wants to be woken once an hour: where so much time has passed the clock was set, or the machine was asleep.
const LEAP_MS: u64 = 70 * 60_000;
/// No machine sleeps so long every week: what gives others days to come online gives them those again.
const LONG_LEAP_MS: u64 = 3 * 86_400_000;

impl State {
    /// Compares the clock with what it has shown before.
    pub(crate) fn look_at_clock(&mut self, turn: &mut Turn<'_>) -> Done {
        let (before, by) = (self.clock, self.clock.since(turn.now));
        self.clock = turn.now;
        if planted!(ClockUnnoticed) {
            return Ok(());
        }
        if before != UnixMillis(0) && (turn.now.since(before) > LEAP_MS || by > LEAP_MS) {
            self.links.values_mut().for_each(|link| link.clock_is_off = true);
            self.compare_clocks_again(turn)?;
            self.pictures_by_the_clock(turn)?;
        }
        if before != UnixMillis(0) && turn.now.since(before) > LONG_LEAP_MS {
            crate::db::history::wait_anew(turn.db, turn.now.0)?;
        }
        // Noted for the next time that the database is opened, in the turn that may keep something of a later time.
        if by > TOLERANCE_MS || turn.now.since(self.clock_noted) >= NOTE_MS {
            self.clock_noted = turn.now;
            crate::db::set_meta(turn.db, CLOCK, &turn.now.0)?;
        }
        if by <= TOLERANCE_MS {
            return Ok(());
        }
        let back = Back { now: turn.now, by };
        clock::set_back(turn.db, back)?;
        self.set_back(back);
        self.shelf_set_back(turn, back)?;
        self.own_state_set_back(turn, back)?;
        // What asked to be woken asks again.
        self.wake = None;
        self.drive_all(turn)
    }

    /// The clock of the account's own relay is more than an hour from ours; or any relay's, where that one is not in reach. A relay that lies about
    /// the time holds nothing up at others.
    pub(super) fn clock_is_off(&self) -> bool {
        match self.home() {
            Some(home) => home.clock_is_off,
            None => self.links.values().any(|link| link.clock_is_off),
        }
    }

    /// The account's own relay is in reach, and its clock is near ours.
    pub(super) fn clock_agrees_at_home(&self) -> bool {
        self.home().is_some_and(|home| !home.clock_is_off)
    }

    /// A relay's clock is near ours, and none is far: what is done by the clock and can't be undone may be done.
    pub(super) fn clock_agrees(&self) -> bool {
        !self.links.is_empty() && self.links.values().all(|link| !link.clock_is_off)
    }

    fn home(&self) -> Option<&Link> {
        self.links.get(&self.account_route()?)
    }

    fn set_back(&mut self, back: Back) {
        let runs = self.logs.values_mut().flat_map(|run| [&mut run.pause_until, &mut run.commits_after]);
        let account = &mut self.account;
        let account = [Some(&mut account.forgotten_until), account.inbox_again.as_mut(), account.count_again.as_mut()];
        let once = [
            Some(&mut self.look_up_at),
            self.looked_for_idle.as_mut(),
            self.fetch.as_mut().and_then(|fetch| fetch.again.as_mut()),
            self.recovery.as_mut().and_then(|recovery| recovery.again.as_mut()),
            self.linking.as_mut().map(|linking| &mut linking.until),
        ];
        let looks = self.history.looks.values_mut().map(|(at, _)| at);
        let healing = self.healing.values_mut().flatten();
        let all =
            runs.chain(account.into_iter().flatten()).chain(once.into_iter().flatten()).chain(looks).chain(healing);
        all.for_each(|at| back.set(at));
        self.typing.set_back(back);
        self.presence.set_back(back);
    }
}

/// The last time that the database knows of.
pub(super) fn noted(db: &rusqlite::Connection) -> rusqlite::Result<UnixMillis> {
    Ok(UnixMillis(crate::db::meta(db, CLOCK)?.unwrap_or(0)))
}
