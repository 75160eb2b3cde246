//! People who lose all of their devices and restore the account on a fresh one (protocol rule 16).

use std::collections::{BTreeMap, BTreeSet};

use api::{Command, Query, Standing, View};
use wire::{ClientFrame, EntryId, Request};

use super::check::first_text;
use super::device::Device;
use super::home::Home;
use super::{DeviceId, Kept, NEXT_RUN, World};
use crate::violation::{Violation, ensure};

impl Kept {
    /// What somebody types who has the key and the file.
    pub fn restores(&self, confirm: bool) -> Command {
        if self.from_relay {
            let (key, address) = (self.key.clone(), Some(self.address.clone()));
            return Command::RestoreFromRelay { key, address, confirm, keep_devices: false };
        }
        let (key, file) = (self.key.clone(), api::Binary(self.file.clone()));
        Command::Restore { key, file, confirm, keep_devices: false }
    }
}

/// What a device shows of the conversations that it writes in, and that has its place.
pub(super) fn shown(device: &Device) -> BTreeMap<String, BTreeSet<String>> {
    let Some(View::Conversations(conversations)) = device.view(&Query::Conversations) else { return BTreeMap::new() };
    let in_use = conversations.into_iter().filter(|conversation| conversation.standing == Standing::Active);
    in_use
        .map(|conversation| {
            let query = Query::Messages { conversation: conversation.id.clone(), before: None, limit: 1_000_000 };
            let messages = match device.view(&query) {
                Some(View::Messages(messages)) => messages,
                _ => Vec::new(),
            };
            let stays = messages.iter().filter(|message| message.seq != 0 && message.stays == 0);
            (conversation.id, stays.filter_map(|message| first_text(device, message)).collect())
        })
        .collect()
}

impl World {
    /// All devices of the account of `of` are gone, and somebody restores it on `device`.
    pub(super) fn recover(&mut self, device: DeviceId, of: DeviceId, from_relay: bool) -> Result<(), Violation> {
        let mut kept = self.kept.get(&of).cloned().unwrap_or_default();
        kept.from_relay = from_relay;
        if let (Some(shown), true) = (&kept.at_relay, from_relay) {
            kept.shown = shown.clone();
        }
        let Some(account) = self.model.accounts.get(&of).cloned() else { return Ok(()) };
        let lost: Vec<DeviceId> =
            self.model.accounts.iter().filter(|(_, of)| **of == account).map(|(lost, _)| *lost).collect();
        for lost in lost {
            let run = NEXT_RUN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.devices[lost].lose(Home::in_memory(format!("sim-lost-{run}"))?, &mut self.net);
            self.model.lost(lost, self.now);
            self.kept.remove(&lost);
            self.linking.retain(|linking| linking.device != lost && linking.by != lost);
        }
        self.recovering.insert(device, kept.clone());
        self.command(device, kept.restores(true))
    }

    /// True where somebody has restored an account, or was away, and a conversation waits to be joined again; or where the account is not
    /// back yet: another device was first, and the same is typed again.
    pub fn is_waiting(&self) -> bool {
        if !self.recovering.is_empty() {
            return true;
        }
        let mut devices = self.model.recovered.keys().chain(self.model.absences.keys());
        devices.any(|device| match self.view(*device, &Query::Conversations) {
            Some(View::Conversations(conversations)) => conversations.iter().any(|c| c.waiting),
            _ => false,
        })
    }

    /// The device that is still to get a part of its account's history from another one that is still listed, and that does not wait for
    /// it to be in every conversation.
    pub fn waits_for_history(&self) -> Option<DeviceId> {
        let transfers = |device: &Device| match device.view(&Query::History) {
            Some(View::History(transfers)) => transfers,
            _ => Vec::new(),
        };
        let holds_back = |receiver: &str| {
            let mut sent = self.devices.iter().flat_map(transfers);
            sent.any(|transfer| transfer.sending && transfer.waiting && transfer.device == receiver)
        };
        let waits = |device: &Device| {
            let Some(View::Devices(listed)) = device.view(&Query::Devices) else { return false };
            let Some(this) = listed.iter().find(|listed| listed.this && listed.revoked.is_none()) else { return false };
            let is_listed = |id: &str| listed.iter().any(|listed| listed.id == id && listed.revoked.is_none());
            transfers(device).iter().any(|transfer| {
                !transfer.sending
                    && transfer.state == api::HistoryState::UnderWay
                    && is_listed(&transfer.device)
                    && !holds_back(&this.id)
            })
        };
        self.devices.iter().position(waits)
    }

    /// Notes where an account has come back.
    pub(super) fn see_recovered(&mut self) {
        let is_back = |device: &DeviceId| match self.devices.get(*device)?.view(&Query::WhoAmI) {
            Some(View::WhoAmI(Some(account))) => Some((*device, account.address)),
            _ => None,
        };
        let back: Vec<(DeviceId, String)> = self.recovering.keys().filter_map(is_back).collect();
        for (device, account) in back {
            if let Some(kept) = self.recovering.remove(&device) {
                self.model.accounts.insert(device, account);
                self.model.recovered.insert(device, kept.shown);
            }
        }
    }

    /// Whoever was interrupted types the same again.
    pub(super) fn recover_again(&mut self) -> Result<(), Violation> {
        let interrupted: Vec<(DeviceId, Kept)> = self
            .recovering
            .iter()
            .filter(|(device, _)| !self.model.open().any(|((of, _), _)| of == *device))
            .map(|(device, kept)| (*device, kept.clone()))
            .collect();
        for (device, kept) in interrupted {
            self.devices[device].open(&mut self.net, self.now)?;
            self.command(device, kept.restores(true))?;
        }
        Ok(())
    }

    /// Rule 16: with file and key the account comes back, however often the program dies.
    pub(super) fn recoveries_ended(&self) -> Result<(), Violation> {
        let first = self.recovering.keys().next();
        ensure!(first.is_none() || self.model.restored, "16", "nobody has restored the account on device {first:?}");
        Ok(())
    }

    /// A relay leaves all that was ever left in inboxes there once more, under other ids.
    pub fn deposits_again(&mut self) {
        for (at, (relay, inbox, body)) in self.deposits.clone().into_iter().enumerate() {
            let Some(link) = self.net.connect(relay, self.now) else { continue };
            let id = EntryId(self.chance.bytes());
            let request = Request::Deposit { inbox, id, body };
            self.net.send(link, &ClientFrame { id: at as u64, request });
        }
    }
}
