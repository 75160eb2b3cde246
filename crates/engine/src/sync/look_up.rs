//! The lists of devices of those whom this account talks to, looked up again every week: whoever has lost all devices while this one was
//! off, and has come back from a backup, may have stopped asking to be let in (protocol rule 16).
//!
//! What always holds: one at a time, on a connection of its own and not when another one is due, so that a relay can't tell from it who
//! talks to whom.

use wire::{AccountRecord, Address, Request, Response, Signed};

use super::{Ask, Done, State, Turn};
use crate::db::contacts;
use crate::io::Rejection;

/// How old what is known of an account's devices may be.
const WEEK_MS: u64 = 7 * 86_400_000;
/// Between two looks whether something is that old.
const LOOK_MS: u64 = 3_600_000;
/// Between two accounts that are looked up, and by how much that varies: a full group takes a week.
const BETWEEN_MS: u64 = 5 * 60_000;
const VARIES_MS: u64 = 9 * 60_000;
/// Before the first of them once this device is on.
const FIRST_MS: u64 = 60_000;
/// Before an account is looked up again whose relay is out of reach.
const AGAIN_MS: u64 = 6 * 3_600_000;

impl State {
    /// The own relay is there.
    pub(super) fn look_up_soon(&mut self, turn: &mut Turn<'_>) {
        if self.look_up_at <= turn.now {
            self.look_up_at = turn.now.plus(turn.below(FIRST_MS));
            turn.wake_at(self.look_up_at);
        }
    }

    /// Now and then: asks for a list of devices that is older than a week.
    pub(super) fn drive_look_up(&mut self, turn: &mut Turn<'_>) -> Done {
        let own = self.me.as_ref().filter(|me| !me.revoked()).map(|me| me.address.clone());
        let may = turn.now >= self.look_up_at && self.clock_agrees();
        let Some(own) = own.filter(|_| may) else { return Ok(()) };
        let old = contacts::looked_up_before(turn.db, &own, turn.now.0.saturating_sub(WEEK_MS))?;
        self.look_up_at = turn.now.plus(LOOK_MS);
        if let Some(address) = old {
            self.look_up_at = turn.now.plus(BETWEEN_MS + turn.below(VARIES_MS));
            turn.wake_at(self.look_up_at);
            let is_asked = |ask: &Ask| matches!(ask, Ask::LookUpAgain(_));
            if !self.asked.values().any(is_asked) {
                let route = self.errand(address.relay());
                self.ask(turn, route, Request::LookUp { address: address.clone() }, Ask::LookUpAgain(address));
            }
        }
        Ok(())
    }

    pub(super) fn on_looked_up_again(
        &mut self,
        turn: &mut Turn<'_>,
        address: &Address,
        result: Result<Response, Rejection>,
    ) -> Done {
        let (record, at) = match result {
            Ok(Response::Record(bytes)) => (Signed::<AccountRecord>::parse(bytes).ok(), turn.now.0),
            Err(Rejection::Refused(error)) if error.code.is_transient() => (None, again(turn)),
            Err(Rejection::Lost) => (None, again(turn)),
            Ok(_) | Err(_) => (None, turn.now.0),
        };
        if let Some(record) = record.filter(|record| record.address == *address) {
            self.see_record(turn, record.bytes(), true)?;
        }
        Ok(contacts::set_looked_up(turn.db, address, at)?)
    }
}

/// The time of a look-up that is old enough in a few hours: others come first till then.
fn again(turn: &Turn<'_>) -> u64 {
    turn.now.0.saturating_sub(WEEK_MS - AGAIN_MS)
}
