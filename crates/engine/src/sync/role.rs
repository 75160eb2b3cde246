//! The role of the device that certifies the others, and its way to another device of the account (protocol section 8, rule 20).
//!
//! What always holds: whoever gives the account's key away keeps it until it has seen a list of devices, signed with it, that names another
//! device as the one that certifies; and whoever gets it keeps it before the relay hears of that list. So it is never nowhere, whatever dies
//! when. The relay takes one next version of the list (compare-and-swap): of a take-over and a change of mind one counts, and the other ends
//! with nothing changed. While it is on its way nobody certifies.

use api::{Event, Kind, Problem};
use serde::{Deserialize, Serialize};
use wire::{AccountRecord, Bytes, Code, DeviceId, EntryId, Label, Request, Response, Signed, SigningKey, sign, verify};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Ask, Done, State, Turn};
use crate::db;
use crate::db::outbox::{self, NewDeposit};
use crate::formats::{self, Deposit, HandOver};
use crate::identity::{Me, seal_deposit};
use crate::io::{CommandId, Rejection};

/// Where the account's key is kept until the relay has the list that names this device.
const TAKES: &str = "takes the role";
/// Before what the relay could not do is asked again, if it names no time.
const AGAIN_MS: u64 = 2_000;

/// What is kept meanwhile.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Takes {
    seed: [u8; 32],
    record: Vec<u8>,
}

impl State {
    /// A person wants another device to certify from now on; or, naming this one, takes back what is on its way.
    pub(super) fn hand_over(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        to: DeviceId,
    ) -> Done<Result<(), Problem>> {
        let Some(me) = &mut self.me else { return Ok(Err(super::commands::not_registered())) };
        let Some(seed) = me.account_seed().copied().map(Zeroizing::new) else {
            return Ok(Err(Problem::new(
                Kind::Forbidden,
                "This device does not certify the others.",
                "Only the one that does can hand that over.",
                "Do it there (devices list says which one it is).",
            )));
        };
        if !me.published() || db::meta::<Takes>(turn.db, TAKES)?.is_some() {
            return Ok(Err(super::commands::change_on_its_way()));
        }
        if to == me.device() {
            if me.hands_over().is_none() {
                return Ok(Err(Problem::new(
                    Kind::Usage,
                    "This device certifies the others already.",
                    "",
                    "Name the one that is to do so.",
                )));
            }
            let Some(record) = me.certified_by_this(&seed) else {
                return Err(crate::EngineError::Inconsistent("the account's key"));
            };
            db::set_meta(turn.db, TAKES, &Takes { seed: *seed, record: record.bytes().to_vec() })?;
            self.account.publishing.push(command);
            self.wait(command, super::waits::WaitFor { by_hand: true, ..Default::default() });
            self.drive_role(turn)?;
            return Ok(Ok(()));
        }
        if me.hands_over().is_some_and(|other| other != to) {
            return Ok(Err(Problem::new(
                Kind::Conflict,
                "It is on its way to another device already.",
                "",
                "Take it back first: name this device.",
            )));
        }
        let Some(device) = me.record.active().find(|device| device.certificate.device == to).cloned() else {
            return Ok(Err(super::commands::change_on_its_way()));
        };
        me.begin_hand_over(to);
        me.save(turn.db)?;
        let mut offer = HandOver {
            version: 1,
            seed: seed.to_vec().into(),
            record: me.record.bytes().to_vec().into(),
            device: me.device().0.to_vec().into(),
            time: turn.now.0,
            signature: Vec::new().into(),
        };
        offer.signature = sign(&me.signer, Label::HandOver, &[&offer.parts(device.inbox)]).to_vec().into();
        let plain = Zeroizing::new(formats::encode(&Deposit::HandOver(Box::new(offer))));
        self.leave(turn, &device, &plain)?;
        turn.event(Event::Devices);
        self.wait(command, super::waits::WaitFor { all_deposits: true, ..Default::default() });
        Ok(Ok(()))
    }

    /// Leaves something in the inbox of another own device.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>, device: &wire::Device, plain: &[u8]) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let Ok(body) = seal_deposit(device, plain, &mut turn.rng) else { return Ok(()) };
        let deposit = NewDeposit {
            conversation: device.inbox,
            relay: me.address.relay().as_str(),
            inbox: device.inbox,
            entry: EntryId(turn.random()),
            body: &body,
            blob: None,
            not_before: turn.now.0,
        };
        outbox::push_deposit(turn.db, &deposit)?;
        self.drive_deposits(turn)
    }

    /// Another device hands the role over to this one.
    pub(super) fn on_hand_over(&mut self, turn: &mut Turn<'_>, offer: &HandOver) -> Done {
        let Some((me, seed)) = self.me.as_ref().zip(formats::array::<32>(&offer.seed).ok().map(Zeroizing::new)) else {
            return Ok(());
        };
        let (inbox, own, account) = (me.inbox(), me.device(), me.account_key());
        let key = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        if offer.version != 1 || me.revoked() || me.certifies() || key != account {
            return Ok(());
        }
        let Ok(record) = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&offer.record)) else { return Ok(()) };
        let sender = record.active().find(|d| d.certificate.device.0.as_slice() == offer.device.as_slice());
        let by_other = sender.filter(|sender| sender.certificate.device != own && record.account_key == account);
        let signed = by_other.is_some_and(|sender| {
            let key = &sender.certificate.signature_key;
            verify(key, Label::HandOver, &[&offer.parts(inbox)], &offer.signature).is_ok()
        });
        if !signed {
            return Ok(());
        }
        self.see_record(turn, record.bytes(), true)?;
        let Some(me) = &self.me else { return Ok(()) };
        // A list of after the offer: it was taken back, or is of before another change.
        if me.record.hash() != record.hash() || me.revoked() {
            return Ok(());
        }
        // What this device is about to take on an earlier offer is void where that was taken back before this one was made.
        if let Some(takes) = db::meta::<Takes>(turn.db, TAKES)?
            && Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&takes.record))
                .is_ok_and(|takes| takes.version > record.version)
        {
            return Ok(());
        }
        let Some(next) = me.certified_by_this(&seed) else { return Ok(()) };
        db::set_meta(turn.db, TAKES, &Takes { seed: *seed, record: next.bytes().to_vec() })?;
        self.drive_role(turn)
    }

    /// Tells the relay of the list that names this device.
    pub(super) fn drive_role(&mut self, turn: &mut Turn<'_>) -> Done {
        let asks = self.asked.values().any(|ask| matches!(ask, Ask::TakeRole { .. }));
        if !self.account.authenticated || asks || self.me.as_ref().is_none_or(|me| !me.published()) {
            return Ok(());
        }
        let (Some(takes), Some(route)) = (db::meta::<Takes>(turn.db, TAKES)?, self.account_route()) else {
            return Ok(());
        };
        let Ok(record) = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&takes.record)) else { return Ok(()) };
        let request = Request::PutRecord { record: takes.record.clone().into(), account_proof: None };
        self.ask(turn, route, request, Ask::TakeRole { version: record.version });
        Ok(())
    }

    /// On a fresh connection: what was on its way goes on, and who gave the role away hears whether it was taken.
    pub(super) fn look_at_role(&mut self, turn: &mut Turn<'_>) -> Done {
        self.drive_role(turn)?;
        if self.me.as_ref().is_some_and(|me| me.hands_over().is_some()) {
            self.look_up_self(turn);
        }
        Ok(())
    }

    /// The relay has the list, or does not take it.
    pub(super) fn on_role_taken(
        &mut self,
        turn: &mut Turn<'_>,
        version: u64,
        result: Result<Response, Rejection>,
    ) -> Done {
        let (Some(takes), Some(me)) = (db::meta::<Takes>(turn.db, TAKES)?, &mut self.me) else { return Ok(()) };
        let Ok(record) = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&takes.record)) else { return Ok(()) };
        if record.version != version {
            // Of a list that another offer has made void meanwhile.
            return self.drive_role(turn);
        }
        let commands = match result {
            Err(Rejection::Lost) => return Ok(()),
            Err(Rejection::Refused(error))
                if error.code.is_transient()
                    || (error.code == Code::Conflict && error.current.saturating_add(1) < record.version) =>
            {
                // Or it was restored from a backup, and gets what it has lost.
                turn.wake_at(turn.now.plus(error.retry_after_ms.max(AGAIN_MS)));
                return Ok(());
            }
            _ => std::mem::take(&mut self.account.publishing),
        };
        db::remove_meta(turn.db, TAKES)?;
        if let Err(Rejection::Refused(_)) = result {
            // Another list was first: this one was never in force.
            self.look_up_self(turn);
            for command in commands {
                let problem = Problem::new(
                    Kind::Conflict,
                    "The other device has taken the role by now.",
                    "Nothing was changed from here.",
                    "Have it handed back there.",
                );
                self.fail(turn, command, problem);
            }
            return Ok(());
        }
        me.take_role(takes.seed, record);
        me.save(turn.db)?;
        for command in commands {
            self.settle(command);
        }
        turn.event(Event::Devices);
        // The one that gave it away keeps the key until it hears this.
        self.tell_own_devices(turn)?;
        self.record_published(turn)?;
        self.report_caught_up(turn)
    }

    fn tell_own_devices(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let plain = formats::encode(&Deposit::Record(me.record.bytes().to_vec().into()));
        let others: Vec<wire::Device> =
            me.record.active().filter(|device| device.certificate.device != me.device()).cloned().collect();
        for device in others {
            self.leave(turn, &device, &plain)?;
        }
        Ok(())
    }

    /// Another own device tells what the list of devices is by now; anybody may leave one here, and none but the account signs one.
    pub(super) fn on_own_record(&mut self, turn: &mut Turn<'_>, bytes: &[u8]) -> Done {
        let Ok(record) = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(bytes)) else { return Ok(()) };
        let is_own = |me: &Me| record.account_key == me.account_key() && record.address == me.address;
        if self.me.as_ref().is_some_and(is_own) {
            self.see_record(turn, record.bytes(), true)?;
        }
        Ok(())
    }
}

/// Why nothing is certified now.
pub(super) fn on_its_way() -> Problem {
    Problem::new(
        Kind::Conflict,
        "The role of certifying is on its way to another device of yours.",
        "It takes it once it is on; until then nobody lets devices in or revokes them.",
        "Switch that device on, or take the role back: devices certify, with the id of this one.",
    )
}
