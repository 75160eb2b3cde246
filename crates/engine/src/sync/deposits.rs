//! What this device leaves in inboxes: invitations and requests, tried until their relay takes them. Invitations are kept for a while
//! longer, for a relay that comes back from a backup of before.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use api::{Event, Standing};
use wire::{AccountRecord, Bytes, Code, Hello, LogId, RelayName, Request, Response, Signed, UnixMillis};

use super::{Ask, Done, State, Turn};
use crate::db::conversations;
use crate::db::{contacts, outbox};
use crate::io::Rejection;

/// Tries before a deposit is given up: the receiver's relay has been away for days then.
const DEPOSIT_TRIES: u32 = 40;

impl State {
    /// Leaves what is due in inboxes, each on a connection of its own.
    pub(super) fn drive_deposits(&mut self, turn: &mut Turn<'_>) -> Done {
        for row in outbox::deposits(turn.db)? {
            if self.asked.values().any(|ask| matches!(ask, Ask::Deposit { row: n } if *n == row.n)) {
                continue;
            }
            if row.not_before > turn.now.0 {
                turn.wake_at(UnixMillis(row.not_before));
                continue;
            }
            let Ok(relay) = row.relay.parse() else {
                outbox::remove_deposit(turn.db, row.n)?;
                continue;
            };
            let route = self.errand(&relay);
            let request = Request::Deposit { inbox: row.inbox, id: row.entry, body: row.body.into() };
            self.ask(turn, route, request, Ask::Deposit { row: row.n });
        }
        Ok(())
    }

    pub(super) fn on_deposited(&mut self, turn: &mut Turn<'_>, n: i64, result: Result<Response, Rejection>) -> Done {
        let Some(row) = outbox::deposit(turn.db, n)? else { return Ok(()) };
        let again = match &result {
            Ok(_) => None,
            Err(Rejection::Refused(error)) if !error.code.is_transient() => None,
            Err(rejection) => Some(super::intents::retry_after(rejection, 1_000 << row.attempts.min(10))),
        };
        match again {
            Some(after) if row.attempts < DEPOSIT_TRIES => {
                outbox::delay_deposit(turn.db, n, turn.now.plus(after).0)?;
                turn.wake_at(turn.now.plus(after));
            }
            _ => {
                // Of a relay that this device has no connection with it would not hear that it was restored.
                match self.incarnation_now(&row.relay).filter(|_| result.is_ok() && row.is_invitation) {
                    Some(incarnation) => outbox::invitation_given(turn.db, n, turn.now.0, &incarnation)?,
                    None => outbox::remove_deposit(turn.db, n)?,
                }
                self.deposit_settled(row.conversation);
                if let Err(Rejection::Refused(error)) = result
                    && error.code != Code::NotFound
                {
                    let problem = super::account::refusal("An invitation could not be delivered.", &error);
                    turn.event(Event::Notice { conversation: Some(row.conversation.to_string()), problem });
                }
            }
        }
        Ok(())
    }

    /// A relay that was restored from a backup has lost what was left in its inboxes since: invitations are left there again, under the
    /// same ids, where whoever they are for is in the conversation still; and the trees that they speak of (protocol rule 12).
    pub(super) fn invite_again(&mut self, turn: &mut Turn<'_>, relay: &RelayName, hello: &Hello) -> Done {
        if outbox::upload_again(turn.db, relay.as_str(), &hello.incarnation.0)? {
            self.drive_uploads(turn)?;
        }
        let given = outbox::given_before(turn.db, relay.as_str(), &hello.incarnation.0)?;
        if given.is_empty() {
            return Ok(());
        }
        let mut inside: BTreeMap<LogId, BTreeSet<LogId>> = BTreeMap::new();
        for (n, conversation, inbox) in given {
            let inside = match inside.entry(conversation) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(self.inboxes_of(turn, conversation)?),
            };
            if inside.contains(&inbox) {
                let spread = turn.below(self.options.deposit_spread_ms);
                outbox::invite_again(turn.db, n, turn.now.plus(spread).0)?;
            } else {
                outbox::remove_deposit(turn.db, n)?;
            }
        }
        outbox::forget_trees(turn.db)?;
        self.drive_deposits(turn)
    }

    /// The incarnation of a relay that this device is connected to.
    pub(super) fn incarnation_now(&self, relay: &str) -> Option<[u8; 16]> {
        let link = self.links.iter().find(|(route, _)| route.relay.as_str() == relay);
        link.map(|(_, link)| link.hello.incarnation.0)
    }

    /// The inboxes of all devices that are in a conversation, as far as their accounts' records are known here.
    fn inboxes_of(&mut self, turn: &mut Turn<'_>, conversation: LogId) -> Done<BTreeSet<LogId>> {
        let is_active = conversations::get(turn.db, conversation)?.is_some_and(|c| c.standing == Standing::Active);
        let members = self.with_group(turn, conversation, |_, _, group| Ok(group.members()))?;
        let mut inboxes = BTreeSet::new();
        for member in members.into_iter().flatten().filter(|_| is_active) {
            let (address, device) = (&member.certificate.address, member.certificate.device);
            let own = self.me.as_ref().filter(|me| me.address == *address).map(|me| me.record.device(device));
            let inbox = match own {
                Some(own) => own.map(|device| device.inbox),
                None => contacts::get(turn.db, address)?
                    .and_then(|contact| contact.record)
                    .and_then(|record| Signed::<AccountRecord>::parse(Bytes::from(record)).ok())
                    .and_then(|record| record.device(device).map(|device| device.inbox)),
            };
            inboxes.extend(inbox);
        }
        Ok(inboxes)
    }
}
