//! Devices that are off for months while the others go on (protocol rule 10).

use std::collections::BTreeSet;

use api::{Conversation, ConversationKind, Query, Standing, View};

use super::model::Model;
use super::{Device, DeviceId, World};
use crate::violation::{Violation, ensure};

/// What a device showed when it was last on.
#[derive(Debug, Clone)]
pub struct Absence {
    /// When that was, by step.
    pub step: u64,
    /// The groups that were in use there.
    pub groups: BTreeSet<String>,
}

fn conversations(device: &Device) -> Vec<Conversation> {
    match device.view(&Query::Conversations) {
        Some(View::Conversations(conversations)) => conversations,
        _ => Vec::new(),
    }
}

impl World {
    /// A device is off from now on, until it comes back.
    pub(super) fn goes_away(&mut self, device: DeviceId) {
        let used = conversations(&self.devices[device]).into_iter();
        let used = used.filter(|c| c.kind == ConversationKind::Group && c.standing == Standing::Active);
        let absence = Absence { step: self.trace.step(), groups: used.map(|c| c.id).collect() };
        self.crash_device(device);
        self.away.insert(device);
        self.model.away.insert(device);
        self.model.absences.insert(device, absence);
    }

    /// It is on again.
    pub(super) fn comes_back(&mut self, device: DeviceId) -> Result<(), Violation> {
        self.away.remove(&device);
        self.model.away.remove(&device);
        self.open_device(device)
    }
}

/// Rule 10: whoever was away for however long is in the groups again in which it was, unless somebody has taken it out meanwhile.
pub(super) fn check(devices: &[Device], model: &Model) -> Result<(), Violation> {
    for (id, absence) in model.absences.iter().filter(|_| !model.restored) {
        let (Some(device), Some(account)) = (devices.get(*id), model.accounts.get(id)) else { continue };
        // Whoever is blocked is not asked.
        if model.accounts.values().any(|other| model.blocked(account, other)) {
            continue;
        }
        let shown = conversations(device);
        for group in absence.groups.iter().filter(|group| !model.may_have_gone(account, group, absence.step)) {
            let standing = shown.iter().find(|c| c.id == *group).map(|c| c.standing);
            ensure!(
                standing == Some(Standing::Active),
                "10",
                "device {id} was away and stands in {group}, in which it was, as {standing:?}"
            );
        }
    }
    Ok(())
}
