//! People make backups, lose all of their devices, and come back.

use api::{Command, Query, Role, Standing, View};

use super::{Run, conversations};
use crate::world::{DeviceId, Transition, World};

/// Of so many steps in a thousand a backup is taken in, if there is one.
const TAKES_IN: u32 = 60;

impl Run {
    /// A backup, or an account that comes back from one; now and then one that was removed from a group meanwhile.
    pub(super) fn loses_everything(&mut self, world: &World, device: DeviceId) -> Option<Transition> {
        let certifies = |of: DeviceId| matches!(world.view(of, &Query::WhoAmI), Some(View::WhoAmI(Some(account))) if account.certifies);
        let losses = self.theme == super::Theme::Losses;
        let kept: Vec<DeviceId> =
            world.kept.iter().filter(|(of, kept)| kept.whole && certifies(**of)).map(|(of, _)| *of).collect();
        let (more, on) = if losses { (600, 970) } else { (300, 700) };
        if kept.is_empty() || self.spare.is_empty() || self.chance.per_mille(more) {
            let again = world.kept.get(&device).is_some_and(|kept| kept.whole) && self.chance.per_mille(on);
            let how = if again { Transition::BackUpToRelay(device) } else { Transition::BackUp(device) };
            return certifies(device).then_some(how);
        }
        let of = *self.chance.pick(&kept)?;
        let at_relay = world.kept.get(&of).is_some_and(|kept| kept.at_relay.is_some());
        let device = self.spare.remove(0);
        if losses && self.chance.per_mille(500) {
            return Some(self.loses_what_has_grown(world, device, of));
        }
        let recover = match at_relay && self.chance.per_mille(700) {
            true => Transition::RecoverFromRelay { device, of },
            false => Transition::Recover { device, of },
        };
        if self.chance.per_mille(300)
            && let Some(removal) = self.removal(world, of)
        {
            // It has time to be carried out before.
            self.queued.extend([recover, Transition::Network(300)]);
            return Some(removal);
        }
        Some(recover)
    }

    /// A backup is taken in on a device of its account: on the one that made it, or on another.
    pub(super) fn takes_in(&mut self, world: &World) -> Option<Transition> {
        if !self.takes_in.per_mille(TAKES_IN) {
            return None;
        }
        let whole: Vec<DeviceId> = world.kept.iter().filter(|(_, kept)| kept.whole).map(|(of, _)| *of).collect();
        let of = *self.takes_in.pick(&whole)?;
        let account = world.model.accounts.get(&of)?;
        let own = world.model.accounts.iter().filter(|(_, own)| *own == account);
        let own: Vec<DeviceId> = own.map(|(device, _)| *device).collect();
        Some(Transition::Restore { device: *self.takes_in.pick(&own)?, of })
    }

    /// What is written behind a backup at the relay gets into the next one there, then everything is lost.
    fn loses_what_has_grown(&mut self, world: &World, device: DeviceId, of: DeviceId) -> Transition {
        let in_use = conversations(world, of).into_iter().filter(|c| c.standing == Standing::Active);
        let in_use: Vec<String> = in_use.map(|conversation| conversation.id).collect();
        let mut story = vec![Transition::Settle];
        if let Some(conversation) = self.chance.pick(&in_use) {
            let text = self.text(of);
            story.extend([Transition::send(of, conversation, &text), Transition::Settle]);
        }
        story.extend([Transition::BackUpToRelay(of), Transition::Settle, Transition::RecoverFromRelay { device, of }]);
        // What is queued last comes first.
        self.queued.extend(story.into_iter().rev());
        Transition::BackUpToRelay(of)
    }

    /// Somebody who may removes the account of this device from a group.
    fn removal(&mut self, world: &World, of: DeviceId) -> Option<Transition> {
        let account = world.model.accounts.get(&of)?.clone();
        let mut removals = Vec::new();
        for (other, own) in world.model.accounts.iter().filter(|(_, own)| **own != account) {
            for group in conversations(world, *other) {
                let role = |who: &str| group.members.iter().find(|m| m.address == who).map(|m| m.role);
                let (may, is_in) = (role(own) == Some(Role::Owner), role(&account).is_some());
                if may && is_in && group.kind == api::ConversationKind::Group {
                    let command = Command::RemoveMember { conversation: group.id.clone(), member: account.clone() };
                    removals.push(Transition::Do { device: *other, command });
                }
            }
        }
        self.chance.pick(&removals).cloned()
    }
}

/// A backup that did not get to the relay is restored from its file.
pub(super) fn from_where_it_is(world: &World, transition: Transition) -> Transition {
    match transition {
        Transition::RecoverFromRelay { device, of }
            if world.kept.get(&of).is_none_or(|kept| kept.at_relay.is_none()) =>
        {
            Transition::Recover { device, of }
        }
        transition => transition,
    }
}
