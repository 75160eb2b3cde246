//! An account that comes back from a backup, where no device of it is left (protocol rule 16): a new device, the next version of the
//! record by the account key itself, all that the backup holds, and the way back into the conversations.
//!
//! What always holds: nothing is kept before the file is checked to its end, the account's relay has said what it knows, and the person
//! has seen what happens to the other devices. From then on the new device's keys are kept apart until the relay has the record that lists
//! it: who dies before that has nothing or goes on with the same keys, and whoever else was first makes this attempt end. What was said
//! comes in with the device itself, in one transaction. Deliberately absent: MLS state, which no backup holds; members let the device in
//! (`sync::rejoin`).

use api::{Event, Kind, Problem, RestorePreview};
use wire::{AccountRecord, Address, Bytes, Code, Request, Response, Signed, SigningKey, UnixMillis, sign_put_record};

use super::{Ask, Done, State, Turn};
use crate::archive::Item;
use crate::backup::{Backup, FileError};
use crate::db;
use crate::identity::{Me, NewDevice};
use crate::io::{CommandId, Lane, Rejection, Route};

/// Where the device to be is kept.
const META: &str = "recovery";
/// Before what the relay could not do is asked again, if it names no time.
const AGAIN_MS: u64 = 2_000;
/// Between two conversations that ask to be joined again.
const SPREAD_MS: u64 = 1_000;

/// A restore under way.
pub(super) struct Recovery {
    command: CommandId,
    backup: Backup,
    account: SigningKey,
    address: Address,
    /// Versions of the record that the backup holds, the oldest first, and the relay's, if that is newer.
    known: Vec<Signed<AccountRecord>>,
    confirm: bool,
    keep: bool,
    /// The device to be, once the person has agreed.
    me: Option<Me>,
    /// The relay has lost the account.
    is_lost: bool,
    /// The relay is asked again at this time.
    pub(super) again: Option<UnixMillis>,
}

/// What a request of a restore was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    LookUp,
    Register,
    Put { version: u64 },
}

/// Nothing else is begun in a profile in which a restore was: the account may list its device already.
fn unfinished(address: &Address) -> Problem {
    Problem::new(
        Kind::Conflict,
        format!("This profile has begun to restore {address}."),
        "The account may list this device by now.",
        "Run `restore` with the same backup again to finish that, or use another profile.",
    )
}

impl State {
    /// A restore was begun here and not finished.
    pub(super) fn unfinished_recovery(&self, turn: &Turn<'_>) -> Done<Option<Problem>> {
        if let Some(recovery) = &self.recovery {
            return Ok(Some(unfinished(&recovery.address)));
        }
        let me = Me::load_from(turn.db, META).map_err(|_| crate::EngineError::Inconsistent("a restore under way"))?;
        Ok(me.map(|me| unfinished(&me.address)))
    }

    /// A person wants the account of a backup on this device.
    pub(super) fn begin_recovery(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        backup: Backup,
        (confirm, keep): (bool, bool),
    ) -> Done<Result<(), Problem>> {
        let damaged = || super::backup::unreadable(FileError::Damaged);
        let account = match backup.head.account() {
            Ok(Some(account)) => account,
            Ok(None) => return Ok(Err(history_only(&backup.head.address))),
            Err(error) => return Ok(Err(super::backup::unreadable(error))),
        };
        let Ok(address) = backup.head.address.parse::<Address>() else { return Ok(Err(damaged())) };
        let me = Me::load_from(turn.db, META).map_err(|_| crate::EngineError::Inconsistent("a restore under way"))?;
        if let Some(me) = &me
            && (me.address != address || me.account_key().as_slice() != backup.head.account_key.as_slice())
        {
            return Ok(Err(unfinished(&me.address)));
        }
        let mut known = Vec::new();
        for bytes in backup.head.records.iter().flatten() {
            match Signed::<AccountRecord>::parse(Bytes::copy_from_slice(bytes)) {
                Ok(record) if is_of(&record, &account, &address) => known.push(record),
                _ => return Ok(Err(damaged())),
            }
        }
        if let Some(before) = self.recovery.take() {
            let problem = Problem::new(Kind::Conflict, "This was begun anew.", "", "");
            self.fail(turn, before.command, problem);
        }
        self.drop_linking(turn)?;
        let is_lost = false;
        self.recovery =
            Some(Recovery { command, backup, account, address, known, confirm, keep, me, is_lost, again: None });
        self.wait(command, super::waits::WaitFor { by_hand: true, ..Default::default() });
        self.look_account_up(turn);
        Ok(Ok(()))
    }

    fn look_account_up(&mut self, turn: &mut Turn<'_>) {
        let Some(address) = self.recovery.as_ref().map(|recovery| recovery.address.clone()) else { return };
        let route = self.errand(address.relay());
        self.ask(turn, route, Request::LookUp { address }, Ask::Recover(Step::LookUp));
    }

    /// What time alone may have made possible.
    pub(super) fn drive_recovery(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(recovery) = &mut self.recovery else { return Ok(()) };
        match recovery.again {
            Some(at) if at > turn.now => turn.wake_at(at),
            Some(_) => {
                recovery.again = None;
                self.look_account_up(turn);
            }
            None => {}
        }
        Ok(())
    }

    pub(super) fn on_recovered(
        &mut self,
        turn: &mut Turn<'_>,
        step: Step,
        result: Result<Response, Rejection>,
    ) -> Done {
        let Some(recovery) = &mut self.recovery else { return Ok(()) };
        let error = match (step, result) {
            (Step::LookUp, Ok(Response::Record(bytes))) => match Signed::<AccountRecord>::parse(bytes) {
                Ok(record) if record.address == recovery.address => return self.account_found(turn, Some(record)),
                _ => {
                    let problem = Problem::new(
                        Kind::Trust,
                        format!("What the relay says of {} does not verify.", recovery.address),
                        "The record that it sent is not signed by that account.",
                        "Do not trust this relay; tell whoever runs it.",
                    );
                    return self.recovery_failed(turn, problem);
                }
            },
            (Step::LookUp, Err(Rejection::Refused(error))) if error.code == Code::NotFound => {
                return self.account_found(turn, None);
            }
            (Step::Put { version }, Ok(_)) => return self.record_taken(turn, version),
            (Step::Register, Ok(_)) => return self.record_taken(turn, 1),
            (_, Ok(_)) => return Ok(()),
            // The account's connection puts the record again when it is back; a look-up has none of its own.
            (Step::LookUp, Err(Rejection::Lost)) => None,
            (_, Err(Rejection::Lost)) => return Ok(()),
            (_, Err(Rejection::Refused(error))) => Some(error),
        };
        match error {
            Some(error) if error.code == Code::Conflict => self.record_conflicts(turn, step, error.current),
            Some(error) if !error.code.is_transient() => {
                let what = format!("The relay did not help to restore {}.", recovery.address);
                self.recovery_failed(turn, super::account::refusal(&what, &error))
            }
            error => {
                let after = error.map_or(0, |error| error.retry_after_ms).max(AGAIN_MS);
                recovery.again = Some(turn.now.plus(after));
                turn.wake_at(turn.now.plus(after));
                let (command, relay) = (recovery.command, recovery.address.relay().clone());
                turn.event(Event::Progress { command, what: format!("waiting for {relay}") });
                Ok(())
            }
        }
    }

    /// The account's relay has said which record it has; none if it has lost the account.
    fn account_found(&mut self, turn: &mut Turn<'_>, found: Option<Signed<AccountRecord>>) -> Done {
        let Some(recovery) = &mut self.recovery else { return Ok(()) };
        let address = recovery.address.clone();
        if let Some(record) = found.as_ref().filter(|record| !is_of(record, &recovery.account, &address)) {
            let problem = Problem::new(
                Kind::Trust,
                format!("{} belongs to another account now than this backup.", record.address),
                "The account's key there is not the one in the backup. Nothing was changed.",
                "If you did not register this address anew, tell whoever runs the relay.",
            );
            return self.recovery_failed(turn, problem);
        }
        recovery.is_lost = found.is_none();
        let newest = recovery.known.last().cloned();
        let base = match (found, newest) {
            (Some(found), Some(newest)) if found.version == newest.version && found.bytes() != newest.bytes() => {
                let problem = Problem::new(
                    Kind::Trust,
                    "Two different lists of your devices bear the same number.",
                    "The relay's is not the one in the backup: somebody else may hold your account's key. Nothing was changed.",
                    "Tell your contacts by another way, and make a new account.",
                );
                return self.recovery_failed(turn, problem);
            }
            // The relay was restored from a backup of its own, and gets back what it has lost.
            (Some(found), Some(newest)) if found.version < newest.version => newest,
            (Some(found), _) => found,
            (None, Some(newest)) => newest,
            (None, None) => {
                let problem = Problem::new(
                    Kind::NotFound,
                    format!("There is no account {address} any more."),
                    "Its relay says so.",
                    "Ask whoever runs the relay.",
                );
                return self.recovery_failed(turn, problem);
            }
        };
        if recovery.known.last().is_none_or(|newest| newest.version < base.version) {
            recovery.known.push(base.clone());
        }
        if let Some(me) = &mut recovery.me {
            let is_next =
                base.version.checked_add(1) == Some(me.record.version) && me.record.predecessor == base.hash();
            let is_listed = base.version >= me.record.version
                && base.active().any(|device| device.certificate.device == me.device() && device.inbox == me.inbox());
            return match (is_listed, is_next) {
                (true, _) => {
                    me.update_record(base);
                    self.recovered(turn)
                }
                (false, true) => self.publish_recovery(turn),
                (false, false) => self.somebody_was_first(turn),
            };
        }
        if !recovery.confirm {
            let preview = preview(&recovery.backup, &address, &base, recovery.keep);
            let command = recovery.command;
            turn.event(Event::RestorePreview { command, preview: Box::new(preview) });
            self.recovery = None;
            self.settle(command);
            return Ok(());
        }
        let device = NewDevice::generate(&mut turn.rng);
        let Some(me) = device.restore_account(&recovery.account, &base, recovery.keep, turn.now) else {
            let problem = Problem::new(
                Kind::Refused,
                "Your account can't list one device more.",
                format!("It has had {} of them, and the list keeps those that are revoked.", base.devices.len()),
                "Make a new account.",
            );
            return self.recovery_failed(turn, problem);
        };
        me.save_to(turn.db, META)?;
        recovery.me = Some(me);
        self.publish_recovery(turn)
    }

    /// Brings the new device's record to the relay: now, if the account's connection is up.
    fn publish_recovery(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(recovery) = &self.recovery else { return Ok(()) };
        let route = Route { relay: recovery.address.relay().clone(), lane: Lane::Account };
        self.want(turn, route, true);
        self.recovery_link_up(turn)
    }

    /// The account's connection is up, and there is no account here yet.
    pub(super) fn recovery_link_up(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(Recovery { me: Some(me), is_lost, known, .. }) = &self.recovery else { return Ok(()) };
        let first = known.first().filter(|first| *is_lost && first.version == 1).map(|first| first.bytes().clone());
        match first {
            Some(record) => {
                let route = Route { relay: me.address.relay().clone(), lane: Lane::Account };
                if self.links.contains_key(&route) {
                    let request = Request::Register { record, invite: String::new() };
                    self.ask(turn, route, request, Ask::Recover(Step::Register));
                }
                Ok(())
            }
            None => self.put_by_account(turn, me.record.version),
        }
    }

    /// Puts a version of the record, proven by the account key.
    fn put_by_account(&mut self, turn: &mut Turn<'_>, version: u64) -> Done {
        let Some(recovery) = &self.recovery else { return Ok(()) };
        let Some(me) = &recovery.me else { return Ok(()) };
        let route = Route { relay: me.address.relay().clone(), lane: Lane::Account };
        let Some(link) = self.links.get(&route) else { return Ok(()) };
        let record = match recovery.known.iter().find(|known| known.version == version) {
            Some(known) if version < me.record.version => known,
            _ if version == me.record.version => &me.record,
            _ => {
                let problem = Problem::new(
                    Kind::Conflict,
                    "The relay has an older list of your devices than the backup, and the backup does not hold all in between.",
                    "The relay was restored from a backup of its own.",
                    "Try again later: it may get back what it has lost. Else tell whoever runs it.",
                );
                return self.recovery_failed(turn, problem);
            }
        };
        let (nonce, hash) = (&link.hello.nonce, record.hash());
        let proof = sign_put_record(&recovery.account, nonce, &route.relay, &me.address, &hash);
        let request = Request::PutRecord { record: record.bytes().clone(), account_proof: Some(proof) };
        let version = record.version;
        self.ask(turn, route, request, Ask::Recover(Step::Put { version }));
        Ok(())
    }

    /// The relay has this version of the record now.
    fn record_taken(&mut self, turn: &mut Turn<'_>, version: u64) -> Done {
        let wanted = self.recovery.as_ref().and_then(|recovery| recovery.me.as_ref()).map(|me| me.record.version);
        match wanted {
            Some(wanted) if version < wanted => self.put_by_account(turn, version + 1),
            Some(_) => self.recovered(turn),
            None => Ok(()),
        }
    }

    /// The relay has another version than the one before.
    fn record_conflicts(&mut self, turn: &mut Turn<'_>, step: Step, current: u64) -> Done {
        let Some(wanted) = self.recovery.as_ref().and_then(|recovery| recovery.me.as_ref()).map(|me| me.record.version)
        else {
            return Ok(());
        };
        match step {
            // It has lost several, and gets them one by one.
            Step::Put { version } if current.checked_add(1).is_some_and(|next| next < version) => {
                self.put_by_account(turn, current + 1)
            }
            // What it has lost has come back meanwhile.
            Step::Put { version } if version < wanted && current < wanted => self.put_by_account(turn, current + 1),
            _ => self.somebody_was_first(turn),
        }
    }

    /// Another change of the account's devices was first: this attempt ends, with all that was kept of it.
    fn somebody_was_first(&mut self, turn: &mut Turn<'_>) -> Done {
        let problem = Problem::new(
            Kind::Conflict,
            "Your account's devices were changed by somebody else at the same time.",
            "Another restore of this account was first, or a device that is still in use. Nothing was changed from here.",
            "If that was you, link this device from the one that you have restored. Else restore again: it shows which devices there are now.",
        );
        self.recovery_failed(turn, problem)
    }

    /// Nothing is left of the attempt.
    fn recovery_failed(&mut self, turn: &mut Turn<'_>, problem: Problem) -> Done {
        db::remove_meta(turn.db, META)?;
        if let Some(recovery) = self.recovery.take() {
            self.want(turn, Route { relay: recovery.address.relay().clone(), lane: Lane::Account }, false);
            self.fail(turn, recovery.command, problem);
        }
        Ok(())
    }

    /// The account lists this device: it is one, with all that the backup holds.
    fn recovered(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(recovery) = self.recovery.take() else { return Ok(()) };
        let Recovery { command, backup, known, keep, me: Some(mut me), .. } = recovery else { return Ok(()) };
        me.set_published();
        for record in &known {
            super::keep_record(turn.db, record.version, record.bytes())?;
        }
        me.save(turn.db)?;
        db::remove_meta(turn.db, META)?;
        self.me = Some(me);
        let (mut messages, mut new) = (0, 0);
        for chunk in &backup.chunks {
            messages += chunk.items.iter().filter(|item| item.is_written()).count() as u64;
            new += self.take_items_in(turn, &chunk.items)?;
        }
        let outlines = backup.chunks.iter().flat_map(|chunk| &chunk.items).filter_map(|item| match item {
            Item::Conversation(conversation) => Some(conversation),
            _ => None,
        });
        // What was in use last is asked for first.
        let mut outlines: Vec<_> = outlines.collect();
        outlines.sort_by_key(|conversation| std::cmp::Reverse(conversation.touched));
        let mut next = turn.now;
        for conversation in outlines {
            if let Some(id) = db::outlines::bring_back(turn.db, conversation, keep, backup.head.made)? {
                self.ask_later(turn, id, 0, next.since(turn.now))?;
                next = next.plus(SPREAD_MS);
            }
        }
        for conversation in db::conversations::all(turn.db)? {
            self.conversation_changed(turn, conversation.id)?;
        }
        turn.event(Event::Restored { command, messages, new });
        turn.event(Event::Devices);
        // The same as for an account that is new: others must be able to write to it before this is done.
        self.account.registering = Some(command);
        self.connect_all(turn)?;
        self.authenticate(turn);
        Ok(())
    }
}

fn is_of(record: &Signed<AccountRecord>, account: &SigningKey, address: &Address) -> bool {
    record.account_key == account.verifying_key().to_bytes() && record.address == *address
}

fn preview(backup: &Backup, address: &Address, base: &Signed<AccountRecord>, keep: bool) -> RestorePreview {
    let items = || backup.chunks.iter().flat_map(|chunk| &chunk.items);
    // Those that people see: with oneself alone one asks nobody.
    let comes_back =
        |item: &&Item| matches!(item, Item::Conversation(c) if c.kind != 2 && db::outlines::comes_back(c, keep));
    let first = base.certifying();
    RestorePreview {
        address: address.to_string(),
        made: backup.head.made,
        messages: items().filter(|item| item.is_written()).count() as u64,
        conversations: items().filter(comes_back).count() as u32,
        devices: base
            .active()
            .map(|device| api::Device {
                id: device.certificate.device.to_string(),
                this: false,
                certifies: first == Some(device.certificate.device),
                takes_over: false,
                name: String::new(),
                added: device.added.0,
                revoked: None,
            })
            .collect(),
        revokes: !keep,
    }
}

fn history_only(address: &str) -> Problem {
    Problem::new(
        Kind::Usage,
        "This backup does not hold your account's key.",
        format!(
            "It was made on a device that does not certify others, and gives what was said back to a device of {address}."
        ),
        "Restore from a backup of the device that certifies; or link this device first, then restore: devices link --new RELAY",
    )
}
