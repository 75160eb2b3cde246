//! Rule 17: the devices of one account show the same of how it keeps its conversations and whom it knows.

use std::collections::{BTreeMap, BTreeSet};

use api::{Conversation, Message, MessageStatus, Query, Standing, View};

use super::device::Device;
use super::model::Model;
use super::transition::DeviceId;
use crate::violation::{Violation, ensure};

/// Checks it for all devices that can tell one another.
pub fn check(devices: &[Device], model: &Model) -> Result<(), Violation> {
    let mut firsts: BTreeMap<(&String, String), DeviceId> = BTreeMap::new();
    for (id, account) in &model.accounts {
        let Some(device) = devices.get(*id).filter(|device| device.is_listed()) else { continue };
        let Some(notes) = notes(device, account) else { continue };
        let first = *firsts.entry((account, notes)).or_insert(*id);
        if first != *id {
            same(devices, model, (first, *id))?;
        }
    }
    Ok(())
}

/// Rule 21: of an account's devices one holds the account's key, and all show which one it is.
pub fn role(devices: &[Device], model: &Model) -> Result<(), Violation> {
    let accounts: BTreeSet<&String> = model.accounts.values().collect();
    for account in accounts {
        let of_account = model.accounts.iter().filter(|(_, of)| *of == account).map(|(id, _)| *id);
        let listed: Vec<DeviceId> = of_account.filter(|id| devices.get(*id).is_some_and(Device::is_listed)).collect();
        let holds = |id: &&DeviceId| devices.get(**id).is_some_and(certifies);
        let holders: Vec<DeviceId> = listed.iter().filter(holds).copied().collect();
        // A scenario has restored the account on a device that the model doesn't know of.
        let shows_more = |id: &DeviceId| match devices.get(*id).and_then(|device| device.view(&Query::Devices)) {
            Some(View::Devices(shown)) => shown.iter().filter(|device| device.revoked.is_none()).count() > listed.len(),
            _ => false,
        };
        if listed.iter().any(shows_more) {
            continue;
        }
        ensure!(listed.is_empty() || holders.len() == 1, "21", "of {account}, devices {listed:?}, {holders:?} certify");
        for id in &listed {
            let Some(View::Devices(shown)) = devices.get(*id).and_then(|device| device.view(&Query::Devices)) else {
                continue;
            };
            let certifying = shown.iter().find(|device| device.certifies).map(|device| device.id.clone());
            let own = |device: &Device| match device.view(&Query::Devices) {
                Some(View::Devices(shown)) => shown.into_iter().find(|device| device.this).map(|device| device.id),
                _ => None,
            };
            let holder = holders.first().and_then(|id| devices.get(*id)).and_then(own);
            ensure!(
                certifying == holder,
                "21",
                "device {id} shows that {certifying:?} certifies, which {holder:?} does"
            );
        }
    }
    Ok(())
}

/// True if this device holds its account's key, as far as the person sees.
pub fn certifies(device: &Device) -> bool {
    matches!(device.view(&Query::WhoAmI), Some(View::WhoAmI(Some(account))) if account.certifies)
}

/// Where the devices of an account talk: `None` if this one is not there.
fn notes(device: &Device, account: &str) -> Option<String> {
    match device.view(&Query::Conversation { conversation: account.to_owned() }) {
        Some(View::Conversation(notes)) => (notes.standing == Standing::Active).then_some(notes.id),
        _ => None,
    }
}

fn same(devices: &[Device], model: &Model, (one, other): (DeviceId, DeviceId)) -> Result<(), Violation> {
    let (Some(here), Some(there)) = (devices.get(one), devices.get(other)) else { return Ok(()) };
    let (mine, theirs) = (conversations(here), conversations(there));
    for (id, conversation) in &mine {
        let line = model.root(id).to_owned();
        if [one, other].iter().any(|device| model.outlaws.contains(&(*device, line.clone()))) {
            continue;
        }
        let both = theirs.get(id).filter(|c| c.standing == Standing::Active && conversation.standing == c.standing);
        let Some(shown) = both.filter(|_| !model.was_outside(one, id) && !model.was_outside(other, id)) else {
            continue;
        };
        let (mine, theirs) = (arrangement(conversation), arrangement(shown));
        ensure!(mine == theirs, "17", "devices {one} and {other} keep {id} so: {mine:?}, and so: {theirs:?}");
        // A mark covers what stands before a message, which behind a restore is not the same for who heard of it before.
        if !model.restored {
            same_unread(here, there, id, (one, other))?;
        }
    }
    let (mine, theirs) = (names(here), names(there));
    for (device, name) in &mine {
        // One of them may not have heard yet that there is this device.
        let Some(shown) = theirs.get(device) else { continue };
        ensure!(name == shown, "17", "devices {one} and {other} call {device} {name:?} and {shown:?}");
    }
    let (mine, theirs) = (people(here), people(there));
    for (address, person) in &mine {
        // Whom one of them has never seen it can't show.
        let Some(shown) = theirs.get(address) else { continue };
        ensure!(person == shown, "17", "devices {one} and {other} show {address} as {person:?} and {shown:?}");
    }
    Ok(())
}

/// What was read on one device is read on the other.
fn same_unread(here: &Device, there: &Device, id: &str, (one, other): (DeviceId, DeviceId)) -> Result<(), Violation> {
    let theirs: BTreeMap<String, Message> = messages(there, id).into_iter().map(|m| (m.id.clone(), m)).collect();
    for message in messages(here, id).iter().filter(|message| !message.own) {
        let Some(shown) = theirs.get(&message.id) else { continue };
        let unread = |message: &Message| message.status == MessageStatus::Received;
        ensure!(
            unread(message) == unread(shown),
            "17",
            "devices {one} and {other} show what stands at {} of {id} as {:?} and {:?}",
            message.seq,
            message.status,
            shown.status
        );
    }
    Ok(())
}

fn arrangement(c: &Conversation) -> (u64, bool, bool, bool, &str) {
    (c.muted_until, c.archived, c.pinned_to_top, c.marked_unread, &c.draft)
}

fn conversations(device: &Device) -> BTreeMap<String, Conversation> {
    match device.view(&Query::Conversations) {
        Some(View::Conversations(conversations)) => conversations.into_iter().map(|c| (c.id.clone(), c)).collect(),
        _ => BTreeMap::new(),
    }
}

fn messages(device: &Device, id: &str) -> Vec<Message> {
    let query = Query::Messages { conversation: id.to_owned(), before: None, limit: 1_000_000 };
    match device.view(&query) {
        Some(View::Messages(messages)) => messages,
        _ => Vec::new(),
    }
}

/// What a device calls its account's devices.
fn names(device: &Device) -> BTreeMap<String, String> {
    match device.view(&Query::Devices) {
        Some(View::Devices(devices)) => devices.into_iter().map(|device| (device.id, device.name)).collect(),
        _ => BTreeMap::new(),
    }
}

fn people(device: &Device) -> BTreeMap<String, (String, bool)> {
    match device.view(&Query::Contacts) {
        Some(View::Contacts(people)) => people.into_iter().map(|p| (p.address, (p.name, p.blocked))).collect(),
        _ => BTreeMap::new(),
    }
}
