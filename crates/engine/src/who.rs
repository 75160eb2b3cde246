//! "Who can read this?": people, their devices, how sure this device is of them, and what changed since the person last looked.

use std::collections::BTreeMap;

use api::{Confirmation, Reader, ReaderDevice, Sleeper, Stalest, Who, WhoChange};
use rusqlite::Connection;
use wire::{AccountRecord, Bytes, DeviceId, Signed};

use crate::db::conversations::{self, Conversation};
use crate::db::own_state::name_of_device;
use crate::db::{contacts, leaves};
use crate::identity::Me;

/// The panel of one conversation.
pub(crate) fn who(db: &Connection, me: &Me, c: &Conversation, suite: Option<u16>) -> rusqlite::Result<Who> {
    let people = people(db, me, c)?;
    let asleep = conversations::asleep(db, c.id)?.into_iter();
    let asleep: Vec<Sleeper> = asleep.map(|one| Sleeper { address: one.address, role: one.role }).collect();
    let (looked, changes) = match leaves::looked(db, c.id)? {
        None => (None, Vec::new()),
        // What an older version has kept and this one can't read counts as never looked at.
        Some((time, json)) => match serde_json::from_str::<Vec<Reader>>(&json) {
            Ok(before) => (Some(time), changes(&before, &people, &asleep)),
            Err(_) => (None, Vec::new()),
        },
    };
    Ok(Who {
        conversation: c.id.to_string(),
        name: c.name.clone(),
        kind: c.kind,
        standing: c.standing,
        relay: c.relay.to_string(),
        suite: suite.map(suite_name).unwrap_or_default().into(),
        post_quantum: suite == Some(crate::mls::DEFAULT_SUITE),
        stalest: stalest(&people),
        people,
        asleep,
        custodians: Vec::new(),
        looked,
        changes,
        ended: crate::db::endings::shown(db, c)?,
    })
}

/// Remembers what the person sees now.
pub(crate) fn remember(db: &Connection, me: &Me, c: &Conversation, now: u64) -> rusqlite::Result<()> {
    let json = serde_json::to_string(&people(db, me, c)?)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    leaves::set_looked(db, c.id, now, &json)
}

fn suite_name(suite: u16) -> &'static str {
    match suite {
        crate::mls::DEFAULT_SUITE => "MLS, X25519 with ML-KEM-768, AES-128-GCM, Ed25519",
        crate::mls::CLASSICAL_SUITE => "MLS, X25519, AES-128-GCM, Ed25519",
        _ => "MLS",
    }
}

fn people(db: &Connection, me: &Me, c: &Conversation) -> rusqlite::Result<Vec<Reader>> {
    let leaves = leaves::list(db, c.id)?;
    let mut people = Vec::new();
    for member in conversations::members(db, c.id)? {
        let own = member.address == me.address.as_str();
        let contact = match member.address.parse() {
            Ok(address) if !own => contacts::get(db, &address)?,
            _ => None,
        };
        let record = match own {
            true => Some(me.record.clone()),
            // A record that does not read any more says nothing of its devices' dates; the certificate in the group still holds.
            false => contact
                .as_ref()
                .and_then(|contact| contact.record.as_deref())
                .and_then(|bytes| Signed::<AccountRecord>::parse(Bytes::copy_from_slice(bytes)).ok()),
        };
        let added = |device: DeviceId| {
            record.as_ref().and_then(|record| record.device(device)).map_or(0, |device| device.added.0)
        };
        let mut devices: Vec<ReaderDevice> = leaves
            .iter()
            .filter(|leaf| leaf.address == member.address)
            .map(|leaf| {
                Ok(ReaderDevice {
                    id: leaf.device.to_string(),
                    this: own && leaf.device == me.device(),
                    name: if own { name_of_device(db, leaf.device)? } else { String::new() },
                    added: added(leaf.device),
                    since: leaf.since,
                    renewed: leaf.renewed,
                })
            })
            .collect::<rusqlite::Result<_>>()?;
        devices.sort_by(|a, b| (a.added, &a.id).cmp(&(b.added, &b.id)));
        people.push(Reader {
            address: member.address,
            role: member.role,
            confirmation: match (own, &contact) {
                (true, _) => Confirmation::Own,
                (false, Some(contact)) => contact.confirmation,
                (false, None) => Confirmation::NotConfirmedYet,
            },
            confirmed: contact.as_ref().map_or(0, |contact| contact.changed),
            blocked: contact.as_ref().is_some_and(|contact| contact.blocked),
            devices,
        });
    }
    Ok(people)
}

/// The device whose keys were renewed the longest ago: whoever gets hold of them reads what was written since.
fn stalest(people: &[Reader]) -> Option<Stalest> {
    people
        .iter()
        .flat_map(|reader| reader.devices.iter().map(move |device| (device.renewed, &reader.address, &device.id)))
        .min()
        .map(|(renewed, address, device)| Stalest { address: address.clone(), device: device.clone(), renewed })
}

fn changes(before: &[Reader], after: &[Reader], asleep: &[Sleeper]) -> Vec<WhoChange> {
    let old: BTreeMap<&str, &Reader> = before.iter().map(|reader| (reader.address.as_str(), reader)).collect();
    let mut changes = Vec::new();
    for reader in after {
        let address = reader.address.clone();
        let Some(was) = old.get(reader.address.as_str()) else {
            changes.push(WhoChange::Came { address });
            continue;
        };
        if was.role != reader.role {
            changes.push(WhoChange::Role { address: address.clone(), role: reader.role });
        }
        if was.confirmation != reader.confirmation {
            changes.push(WhoChange::Confirmation { address: address.clone(), confirmation: reader.confirmation });
        }
        let missing = |device: &&ReaderDevice, list: &[ReaderDevice]| list.iter().all(|other| other.id != device.id);
        for device in reader.devices.iter().filter(|device| missing(device, &was.devices)) {
            let since = if device.since == 0 { device.added } else { device.since };
            changes.push(WhoChange::DeviceCame { address: address.clone(), device: device.id.clone(), since });
        }
        for device in was.devices.iter().filter(|device| missing(device, &reader.devices)) {
            changes.push(WhoChange::DeviceWent { address: address.clone(), device: device.id.clone() });
        }
    }
    for reader in before.iter().filter(|was| after.iter().all(|now| now.address != was.address)) {
        let address = reader.address.clone();
        let sleeps = asleep.iter().any(|one| one.address == address);
        changes.push(if sleeps { WhoChange::FellAsleep { address } } else { WhoChange::Went { address } });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(address: &str, devices: &[(&str, u64)]) -> Reader {
        Reader {
            address: address.into(),
            role: api::Role::Member,
            confirmation: Confirmation::Confirmed,
            confirmed: 0,
            blocked: false,
            devices: devices
                .iter()
                .map(|(id, renewed)| ReaderDevice {
                    id: (*id).into(),
                    this: false,
                    name: String::new(),
                    added: 1,
                    since: 2,
                    renewed: *renewed,
                })
                .collect(),
        }
    }

    #[test]
    fn what_changed_is_told_once_and_in_order() {
        let before = [reader("a@x", &[("1", 5), ("2", 6)]), reader("b@x", &[("3", 7)])];
        let mut verified = reader("a@x", &[("1", 9), ("4", 6)]);
        verified.confirmation = Confirmation::Verified;
        verified.role = api::Role::Admin;
        let after = [verified, reader("c@x", &[("5", 7)])];
        let address = String::from("a@x");
        assert_eq!(
            changes(&before, &after, &[]),
            [
                WhoChange::Role { address: address.clone(), role: api::Role::Admin },
                WhoChange::Confirmation { address: address.clone(), confirmation: Confirmation::Verified },
                WhoChange::DeviceCame { address: address.clone(), device: "4".into(), since: 2 },
                WhoChange::DeviceWent { address, device: "2".into() },
                WhoChange::Came { address: "c@x".into() },
                WhoChange::Went { address: "b@x".into() },
            ]
        );
        // Renewed keys are no change of who can read.
        assert_eq!(changes(&after, &after, &[]), []);
        let asleep = Sleeper { address: "c@x".into(), role: api::Role::Member };
        let fell = WhoChange::FellAsleep { address: "c@x".into() };
        assert_eq!(changes(&after, &after[..1], &[asleep]), [fell]);
        let stalest = stalest(&before).unwrap();
        assert_eq!((stalest.address.as_str(), stalest.device.as_str(), stalest.renewed), ("a@x", "1", 5));
    }
}
