//! What people do to groups, also at the same moment: of two commits of one epoch one loses.

use api::{Conversation, ConversationKind, Role, Standing};

use super::{Run, conversations};
use crate::violation::Violation;
use crate::world::{DeviceId, Transition, World};

/// A change of a group.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Add,
    Remove,
    Rename,
    Role,
}

impl Run {
    /// A change by this device; now and then another one that may wants something of the same group before it has heard of it.
    pub(super) fn change(&mut self, world: &World, device: DeviceId, change: Change) -> Option<Transition> {
        let groups = conversations(world, device).into_iter().filter(|conversation| {
            conversation.kind == ConversationKind::Group && conversation.standing == Standing::Active
        });
        let groups: Vec<Conversation> = groups.collect();
        let group = self.chance.pick(&groups)?;
        let transition = self.change_of(world, device, group, change)?;
        if self.chance.per_mille(600) {
            self.rival(world, device, &group.id);
        }
        Some(transition)
    }

    /// A group of all that everybody has taken the invitation to, some as admins; perhaps with a second device of somebody.
    pub(super) fn acquaint(&mut self, world: &mut World) -> Result<(), Violation> {
        let others: Vec<String> = self.addresses.iter().skip(1).cloned().collect();
        let members: Vec<&str> = others.iter().map(String::as_str).collect();
        world.apply(&Transition::create_group(0, "everybody", &members))?;
        world.apply(&Transition::Settle)?;
        for device in 1..self.people {
            for conversation in conversations(world, device).iter().filter(|c| c.standing == Standing::Requested) {
                world.apply(&Transition::accept(device, &conversation.id))?;
            }
        }
        if !self.spare.is_empty() && self.chance.per_mille(500) {
            let by = self.chance.below(self.people);
            world.apply(&Transition::Link { device: self.spare.remove(0), by })?;
        }
        world.apply(&Transition::Settle)?;
        let Some(group) = conversations(world, 0).into_iter().find(|c| c.kind == ConversationKind::Group) else {
            return Ok(());
        };
        for member in &others {
            if self.chance.per_mille(600) {
                let role = if self.chance.per_mille(700) { Role::Admin } else { Role::Owner };
                world.apply(&Transition::role(0, &group.id, member, role))?;
            }
        }
        world.apply(&Transition::Settle)
    }

    fn rival(&mut self, world: &World, device: DeviceId, group: &str) {
        let may = |(other, account): (&DeviceId, &String)| {
            let shown = conversations(world, *other).into_iter().find(|conversation| conversation.id == group)?;
            let is_admin = shown.members.iter().any(|m| m.address == *account && m.role >= Role::Admin);
            (*other != device && shown.standing == Standing::Active && is_admin).then_some((*other, shown))
        };
        let rivals: Vec<(DeviceId, Conversation)> = world.model.accounts.iter().filter_map(may).collect();
        let Some((rival, shown)) = self.chance.pick(&rivals) else { return };
        let change = [Change::Add, Change::Remove, Change::Rename, Change::Role]
            [self.chance.weighted([2, 1, 5, 2]).unwrap_or_default()];
        if let Some(transition) = self.change_of(world, *rival, shown, change) {
            self.queued.push(transition);
            self.at_once = true;
        }
    }

    fn change_of(
        &mut self,
        world: &World,
        device: DeviceId,
        group: &Conversation,
        change: Change,
    ) -> Option<Transition> {
        let own = world.model.accounts.get(&device);
        let others: Vec<&String> = self.addresses.iter().filter(|address| own != Some(*address)).collect();
        Some(match change {
            Change::Add => Transition::add(device, &group.id, self.chance.pick(&others)?),
            Change::Remove => {
                let member = &self.chance.pick(&group.members)?.address;
                (own != Some(member)).then(|| Transition::remove(device, &group.id, member))?
            }
            Change::Rename => {
                self.texts += 1;
                let name = format!("name {}", self.texts);
                match self.chance.below(10) {
                    0..3 => Transition::describe(device, &group.id, &name),
                    3 | 4 => Transition::picture(device, &group.id, &name),
                    5 if group.picture.is_some() => Transition::no_picture(device, &group.id),
                    _ => Transition::rename(device, &group.id, &name),
                }
            }
            Change::Role => {
                let member = &self.chance.pick(&group.members)?.address;
                if self.chance.per_mille(250) {
                    return Some(Transition::transfer(device, &group.id, member));
                }
                let role = *self.chance.pick(&[Role::Member, Role::Admin, Role::Admin, Role::Owner])?;
                Transition::role(device, &group.id, member, role)
            }
        })
    }
}
