//! History for other own devices: chunks of an archive (`crate::archive`) go through the relay's blobs, one after the other.
//!
//! What always holds: a chunk is walked, sealed and put among the uploads in one transaction, so that no number is ever sealed twice and a
//! sender that dies goes on where it was; a chunk is taken in, in one transaction with the number of the next, so that a receiver that dies
//! does, too. Names and keys of all chunks come from one secret, which the sender leaves in the receiver's inbox: only a device of the own
//! account is believed. The last part is sent once the receiver is in every conversation, so that nothing is lost between the two.

use std::collections::{BTreeMap, BTreeSet};

use api::{Event, HistoryState as Progress, Kind, Problem};
use wire::{BlobId, DeviceId, Label, RelayName, UnixMillis, sign, verify};

use super::{Done, Moving, State, Turn};
use crate::archive::{self, Chunk, ChunkError, Secret};
use crate::db::archive::{self as rows, Place};
use crate::db::history::{self, Transfer};
use crate::db::outbox::{self, Upload};
use crate::formats::{self, Deposit, HistoryGone, HistoryOffer};
use crate::identity::Me;
use crate::io::{CommandId, Job, TransferFailure, TransferState};

/// How long the last part waits for the other device to be in every conversation.
const WAIT_MS: u64 = 7 * 86_400_000;
/// How long a receiver waits for the next chunk before it gives up: relays keep blobs no longer.
const PATIENCE_MS: u64 = 90 * 86_400_000;
/// The sender is asked for a chunk that does not come after this time without one, then again as often as this.
const ASK_MS: u64 = 3_600_000;
const ASK_AGAIN_MS: u64 = 86_400_000;
/// Between two looks for a chunk that is not there yet, at first and at most.
const LOOK_MS: u64 = 2_000;
const LOOK_MAX_MS: u64 = 60_000;
/// Offers of other own devices that are followed at the same time.
const OFFERS: usize = 8;

/// What is known in memory of transfers.
#[derive(Default)]
pub(super) struct HistoryRun {
    /// Something is under way.
    active: bool,
    /// Chunks that are being uploaded.
    uploading: BTreeSet<BlobId>,
    /// When to look for the next chunk, and how long to wait if it is not there.
    pub(super) looks: BTreeMap<[u8; 32], (UnixMillis, u64)>,
    /// Commands that wait for a transfer's end.
    commands: BTreeMap<[u8; 32], CommandId>,
}

impl HistoryRun {
    pub(super) fn load(db: &rusqlite::Connection) -> rusqlite::Result<Self> {
        Ok(Self { active: !history::under_way(db)?.is_empty(), ..Self::default() })
    }

    /// This blob is a chunk of history.
    pub(super) fn owns(&self, blob: &BlobId) -> bool {
        self.uploading.contains(blob)
    }
}

impl State {
    /// A person wants another device to get all that this one knows.
    pub(super) fn send_history(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        prefix: &str,
    ) -> Done<Result<(), Problem>> {
        let Some(me) = &self.me else { return Ok(Err(super::commands::not_registered())) };
        let fitting: Vec<DeviceId> = me
            .record
            .active()
            .map(|device| device.certificate.device)
            .filter(|device| prefix.len() >= 4 && device.to_string().starts_with(prefix))
            .collect();
        let [device] = fitting.as_slice() else {
            return Ok(Err(Problem::new(
                Kind::NotFound,
                format!("“{}” names no single device of yours.", prefix.chars().take(40).collect::<String>()),
                "",
                "Take its id from the list of devices.",
            )));
        };
        if *device == me.device() {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "That is this device.",
                "It has its history already.",
                "Name the device that is to get it.",
            )));
        }
        // A second wish for the same goes with the first.
        let under_way = history::under_way(turn.db)?.into_iter().find(|t| t.sending && t.device == *device);
        let id = match under_way {
            Some(transfer) => transfer.id,
            None => self.begin_history(turn, *device)?,
        };
        if let Some(earlier) = self.history.commands.insert(id, command) {
            self.settle(earlier);
        }
        self.wait(command, super::waits::WaitFor { by_hand: true, ..Default::default() });
        Ok(Ok(()))
    }

    /// Begins to send history to another own device, in the transaction that decides so. What has to wait for the relay waits by itself.
    pub(super) fn begin_history(&mut self, turn: &mut Turn<'_>, device: DeviceId) -> Done<[u8; 32]> {
        let Some(me) = &self.me else { return Err(crate::EngineError::Inconsistent("no account")) };
        let secret = Secret(turn.random());
        let transfer = Transfer {
            id: secret.id(),
            sending: true,
            device,
            relay: me.address.relay().clone(),
            secret,
            next: 0,
            place: Place::begin(turn.db, turn.now.0)?,
            offered: false,
            messages: 0,
            total: rows::count(turn.db)?,
            begun: turn.now.0,
            moved: turn.now.0,
            state: Progress::UnderWay,
            asked: 0,
        };
        history::put(turn.db, &transfer)?;
        self.history.active = true;
        Ok(transfer.id)
    }

    /// Moves everything on that is under way.
    pub(super) fn drive_history(&mut self, turn: &mut Turn<'_>) -> Done {
        if !self.history.active || self.me.as_ref().is_none_or(Me::revoked) {
            return Ok(());
        }
        let transfers = history::under_way(turn.db)?;
        self.history.active = !transfers.is_empty();
        for transfer in transfers {
            if transfer.sending {
                self.send_on(turn, transfer)?;
            } else {
                self.look_for_chunk(turn, transfer)?;
            }
        }
        self.report_caught_up(turn)
    }

    fn send_on(&mut self, turn: &mut Turn<'_>, mut transfer: Transfer) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let Some(device) = me.record.active().find(|d| d.certificate.device == transfer.device).cloned() else {
            return self.end_transfer(turn, transfer, Progress::GivenUp);
        };
        if !transfer.offered && me.published() {
            let mut offer = HistoryOffer {
                version: 1,
                relay: transfer.relay.to_string(),
                secret: transfer.secret.0.to_vec().into(),
                device: me.device().0.to_vec().into(),
                time: turn.now.0,
                signature: Vec::new().into(),
            };
            offer.signature = sign(&me.signer, Label::History, &[&offer.parts(device.inbox)]).to_vec().into();
            self.leave(turn, &device, &formats::encode(&Deposit::History(Box::new(offer))))?;
            transfer.offered = true;
            history::put(turn.db, &transfer)?;
        }
        if let Some(last) = transfer.next.checked_sub(1) {
            let blob = transfer.secret.blob(last);
            if outbox::has_upload(turn.db, &blob)? {
                self.history.uploading.insert(blob);
                return Ok(());
            }
            // What is asked for from now on was there once.
            if self.history.uploading.remove(&blob) {
                transfer.moved = turn.now.0;
                history::put(turn.db, &transfer)?;
            }
        }
        if transfer.place.is_over() {
            return if transfer.offered { self.end_transfer(turn, transfer, Progress::Complete) } else { Ok(()) };
        }
        // Places in a log that is being given back to its relay are about to change.
        if !self.healing.is_empty() {
            return Ok(());
        }
        let Some(own) = self.me.as_ref().map(|me| me.address.to_string()) else { return Ok(()) };
        if transfer.place.is_waiting() {
            let late = transfer.begun.saturating_add(WAIT_MS);
            if !rows::is_in_all(turn.db, &own, transfer.device)? && turn.now.0 < late {
                turn.wake_at(UnixMillis(late));
                return Ok(());
            }
            transfer.place.next();
        }
        if planted!(HistoryEndsEarly) && transfer.place.is_late() {
            transfer.place.end();
        }
        let items = rows::walk(turn.db, &mut transfer.place, turn.now.0, self.options.history_chunk)?;
        if items.is_empty() && !transfer.place.is_over() {
            // Only a wait is left; there may be nothing to wait for.
            history::put(turn.db, &transfer)?;
            return if rows::is_in_all(turn.db, &own, transfer.device)? {
                self.send_on(turn, transfer)
            } else {
                Ok(())
            };
        }
        transfer.messages += items.iter().filter(|item| item.is_written()).count() as u64;
        let chunk = Chunk {
            version: archive::VERSION,
            number: transfer.next,
            last: transfer.place.is_over(),
            total: transfer.total,
            items,
        };
        let upload = Upload {
            blob: transfer.secret.blob(chunk.number),
            relay: transfer.relay.to_string(),
            secret: transfer.secret.upload(chunk.number),
            body: transfer.secret.seal(&chunk),
        };
        outbox::push_upload(turn.db, &upload)?;
        self.history.uploading.insert(upload.blob);
        transfer.next += 1;
        transfer.moved = turn.now.0;
        history::put(turn.db, &transfer)?;
        turn.event(Event::History { transfer: Box::new(history::view(&transfer)) });
        self.drive_uploads(turn)
    }

    /// The relay does not take a chunk, and never will.
    pub(super) fn history_refused(&mut self, turn: &mut Turn<'_>, blob: &BlobId, failure: TransferFailure) -> Done {
        debug_assert!(failure != TransferFailure::Unreachable);
        outbox::remove_upload(turn.db, blob)?;
        self.history.uploading.remove(blob);
        for transfer in history::under_way(turn.db)? {
            let is_its = transfer.next.checked_sub(1).is_some_and(|last| transfer.secret.blob(last) == *blob);
            if transfer.sending && is_its {
                self.end_transfer(turn, transfer, Progress::GivenUp)?;
            }
        }
        Ok(())
    }

    /// Another device offers history.
    pub(super) fn on_history_offer(&mut self, turn: &mut Turn<'_>, offer: &HistoryOffer) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let (Ok(device), Ok(secret)) = (formats::array(&offer.device), formats::array(&offer.secret)) else {
            return Ok(());
        };
        let (device, secret) = (DeviceId(device), Secret(secret));
        let Ok(relay) = offer.relay.parse::<RelayName>() else { return Ok(()) };
        let Some(sender) = me.record.active().find(|d| d.certificate.device == device && device != me.device()) else {
            return Ok(());
        };
        let key = &sender.certificate.signature_key;
        let signed = verify(key, Label::History, &[&offer.parts(me.inbox())], &offer.signature);
        // The chunks are at the account's own relay: no offer makes this device knock anywhere else.
        if signed.is_err() || offer.version != 1 || relay != *me.address.relay() {
            return Ok(());
        }
        let id = secret.id();
        if history::get(turn.db, &id)?.is_some() {
            return Ok(());
        }
        let following = history::under_way(turn.db)?.into_iter().filter(|t| !t.sending);
        let (earlier, others): (Vec<_>, Vec<_>) = following.partition(|t| t.device == device);
        if others.len() >= OFFERS {
            return Ok(());
        }
        // A device that begins anew has all in the later one.
        for transfer in earlier {
            self.end_transfer(turn, transfer, Progress::GivenUp)?;
        }
        let transfer = Transfer {
            id,
            sending: false,
            device,
            relay,
            secret,
            next: 0,
            place: Place::default(),
            offered: true,
            messages: 0,
            total: 0,
            begun: turn.now.0,
            moved: turn.now.0,
            state: Progress::UnderWay,
            asked: 0,
        };
        history::put(turn.db, &transfer)?;
        self.history.active = true;
        Ok(())
    }

    fn look_for_chunk(&mut self, turn: &mut Turn<'_>, transfer: Transfer) -> Done {
        if turn.now.0 > transfer.moved.saturating_add(PATIENCE_MS) && self.clock_agrees() {
            return self.end_transfer(turn, transfer, Progress::GivenUp);
        }
        if self.moving.values().any(|m| matches!(m, Moving::History { id, .. } if *id == transfer.id)) {
            return Ok(());
        }
        if let Some((at, _)) = self.history.looks.get(&transfer.id)
            && *at > turn.now
        {
            turn.wake_at(*at);
            return Ok(());
        }
        let job = Job::Download { blob: transfer.secret.blob(transfer.next), max_bytes: archive::MAX_CHUNK };
        let moving = Moving::History { id: transfer.id, number: transfer.next };
        self.move_blob(turn, transfer.relay, job, moving);
        Ok(())
    }

    /// A chunk has come, or has not.
    pub(super) fn on_history(&mut self, turn: &mut Turn<'_>, id: [u8; 32], number: u64, state: TransferState) -> Done {
        let Some(mut transfer) = history::get(turn.db, &id)? else { return Ok(()) };
        if transfer.state != Progress::UnderWay || transfer.next != number {
            return Ok(());
        }
        let sealed = match state {
            TransferState::Done(sealed) => sealed,
            TransferState::Failed(failure @ (TransferFailure::Unreachable | TransferFailure::NotFound)) => {
                if failure == TransferFailure::NotFound {
                    self.ask_for_chunk(turn, &mut transfer)?;
                }
                let pause = self.history.looks.get(&id).map_or(LOOK_MS, |(_, pause)| (pause * 2).min(LOOK_MAX_MS));
                let at = turn.now.plus(pause);
                self.history.looks.insert(id, (at, pause));
                turn.wake_at(at);
                return Ok(());
            }
            TransferState::Progress(_) => return Ok(()),
            TransferState::Failed(TransferFailure::Refused) => {
                return self.unreadable(turn, transfer, ChunkError::Damaged);
            }
        };
        let chunk = match transfer.secret.open(number, &sealed) {
            Ok(chunk) => chunk,
            Err(error) => return self.unreadable(turn, transfer, error),
        };
        self.history.looks.remove(&id);
        if !(planted!(HistorySkipsAChunk) && number == 1) {
            transfer.messages += self.take_in(turn, &chunk)?;
        }
        transfer.next += 1;
        transfer.moved = turn.now.0;
        transfer.total = chunk.total;
        if chunk.last {
            return self.end_transfer(turn, transfer, Progress::Complete);
        }
        history::put(turn.db, &transfer)?;
        turn.event(Event::History { transfer: Box::new(history::view(&transfer)) });
        Ok(())
    }

    /// The relay does not have the next chunk. Where none has come for long the sender is asked: the relay may have lost it.
    fn ask_for_chunk(&mut self, turn: &mut Turn<'_>, transfer: &mut Transfer) -> Done {
        let at = match transfer.asked > transfer.moved {
            true => transfer.asked.saturating_add(ASK_AGAIN_MS),
            false => transfer.moved.saturating_add(ASK_MS),
        };
        let Some(me) = self.me.as_ref().filter(|_| turn.now.0 >= at && !planted!(HistoryNotAsked)) else {
            return Ok(());
        };
        let Some(sender) = me.record.active().find(|d| d.certificate.device == transfer.device).cloned() else {
            return Ok(());
        };
        let mut gone = HistoryGone {
            version: 1,
            transfer: transfer.id.to_vec().into(),
            number: transfer.next,
            device: me.device().0.to_vec().into(),
            time: turn.now.0,
            signature: Vec::new().into(),
        };
        gone.signature = sign(&me.signer, Label::HistoryGone, &[&gone.parts(sender.inbox)]).to_vec().into();
        transfer.asked = turn.now.0;
        history::put(turn.db, transfer)?;
        self.leave(turn, &sender, &formats::encode(&Deposit::HistoryGone(Box::new(gone))))
    }

    /// Another device waits for a chunk that this one has sent. `left` is when it left that word, by the relay.
    pub(super) fn on_history_gone(&mut self, turn: &mut Turn<'_>, gone: &HistoryGone, left: UnixMillis) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let (Ok(device), Ok(id)) = (formats::array(&gone.device), formats::array(&gone.transfer)) else {
            return Ok(());
        };
        let device = DeviceId(device);
        let Some(asker) = me.record.active().find(|d| d.certificate.device == device && device != me.device()) else {
            return Ok(());
        };
        let key = &asker.certificate.signature_key;
        if gone.version != 1 || verify(key, Label::HistoryGone, &[&gone.parts(me.inbox())], &gone.signature).is_err() {
            return Ok(());
        }
        let Some(transfer) = history::get(turn.db, &id)? else { return Ok(()) };
        let its = transfer.sending && transfer.device == device && transfer.state != Progress::GivenUp;
        // What is still to be sent comes by itself, and the last that was sent may have crossed the question.
        let was_there = match transfer.next.checked_sub(1) {
            Some(last) if gone.number == last => {
                let waits = outbox::has_upload(turn.db, &transfer.secret.blob(last))?;
                !waits && left.0 >= transfer.moved.saturating_add(ASK_MS / 2)
            }
            Some(last) => gone.number < last,
            None => false,
        };
        if !its || !was_there {
            return Ok(());
        }
        // The same numbers must not be sealed again: all of it goes under another secret.
        let begun = history::under_way(turn.db)?.into_iter().find(|t| t.sending && t.device == device && t.id != id);
        let instead = match begun {
            Some(begun) => begun.id,
            None => self.begin_history(turn, device)?,
        };
        if let Some(command) = self.history.commands.remove(&id) {
            self.history.commands.insert(instead, command);
        }
        if let Some(last) = transfer.next.checked_sub(1) {
            outbox::remove_upload(turn.db, &transfer.secret.blob(last))?;
        }
        self.end_transfer(turn, transfer, Progress::GivenUp)
    }

    /// The account's relay was restored from a backup: it may have lost that history was offered. What it has lost of the history itself
    /// is asked for by the device that misses it.
    pub(super) fn offer_history_again(&mut self, turn: &mut Turn<'_>) -> Done {
        for transfer in history::all(turn.db)? {
            let is_kept = turn.now.0 < transfer.begun.saturating_add(PATIENCE_MS);
            if transfer.sending && transfer.state != Progress::GivenUp && is_kept {
                history::put(turn.db, &Transfer { offered: false, state: Progress::UnderWay, ..transfer })?;
                self.history.active = true;
            }
        }
        Ok(())
    }

    /// Takes a chunk in; answers with the number of messages in it. Programs are not told of each.
    fn take_in(&mut self, turn: &mut Turn<'_>, chunk: &Chunk) -> Done<u64> {
        self.take_items_in(turn, &chunk.items)?;
        Ok(chunk.items.iter().filter(|item| item.is_written()).count() as u64)
    }

    /// Takes items in; answers with the number of messages that were not here.
    pub(super) fn take_items_in(&mut self, turn: &mut Turn<'_>, items: &[archive::Item]) -> Done<u64> {
        let own = self.me.as_ref().map(|me| me.address.to_string()).unwrap_or_default();
        let taken = rows::take_in(turn.db, items, &own, turn.now.0)?;
        self.show_again_quietly(turn, &taken.done_to)?;
        self.apply_again(turn)?;
        self.something_vanishes();
        Ok(taken.messages)
    }

    fn unreadable(&mut self, turn: &mut Turn<'_>, transfer: Transfer, error: ChunkError) -> Done {
        let (kind, why, next) = match error {
            ChunkError::Damaged => (
                Kind::Trust,
                "A part of it does not verify: the relay has given other bytes than were sent.",
                "What has come is kept. Have the other device send it again.",
            ),
            ChunkError::Newer(_) => (
                Kind::Usage,
                "The other device has a newer version of Transom.",
                "Update this one, then have the other device send it again.",
            ),
        };
        let problem = Problem::new(kind, "Your history can't be taken over to its end.", why, next);
        turn.event(Event::Notice { conversation: None, problem });
        self.end_transfer(turn, transfer, Progress::GivenUp)
    }

    fn end_transfer(&mut self, turn: &mut Turn<'_>, mut transfer: Transfer, state: Progress) -> Done {
        transfer.state = state;
        history::put(turn.db, &transfer)?;
        turn.event(Event::History { transfer: Box::new(history::view(&transfer)) });
        if !transfer.sending {
            // What conversations show (the last message, unread ones) is another now.
            for conversation in crate::db::conversations::all(turn.db)? {
                self.conversation_changed(turn, conversation.id)?;
            }
        }
        if let Some(command) = self.history.commands.remove(&transfer.id) {
            match state {
                Progress::GivenUp => {
                    let problem = Problem::new(
                        Kind::Refused,
                        "Your history could not be sent to its end.",
                        "The relay does not take it, or the device is no longer part of your account.",
                        "Look at your devices, then try again.",
                    );
                    self.fail(turn, command, problem);
                }
                _ => self.settle(command),
            }
        }
        Ok(())
    }
}
