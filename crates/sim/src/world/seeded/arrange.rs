//! How people keep their conversations and call others, on several devices at the same moment too.

use api::{Command, Conversation, FOREVER, Query, View};

use super::Run;
use crate::world::{DeviceId, Transition, World};

impl Run {
    /// A choice on a device of somebody who has several, if there is such a person; now and then another one meanwhile.
    pub(super) fn arrange(&mut self, world: &World) -> Option<Transition> {
        let accounts = &world.model.accounts;
        let shared = |of: &String| accounts.values().filter(|other| *other == of).count() > 1;
        let devices: Vec<DeviceId> = accounts.iter().filter(|(_, of)| shared(of)).map(|(device, _)| *device).collect();
        let device = *self.chance.pick(&devices)?;
        let own = accounts.get(&device)?;
        let mine: Vec<DeviceId> = devices.into_iter().filter(|other| accounts.get(other) == Some(own)).collect();
        let conversations = super::conversations(world, device);
        let conversation = self.chance.pick(&conversations)?;
        let others: Vec<String> = self.addresses.iter().filter(|address| *address != own).cloned().collect();
        let kind = self.chance.below(8);
        let choice = self.choice((world, device), kind, conversation, &others)?;
        if self.chance.per_mille(500) {
            let other = *self.chance.pick(&mine)?;
            let kind = if self.chance.per_mille(800) { kind } else { self.chance.below(8) };
            let command = self.choice((world, other), kind, conversation, &others)?;
            self.queued.push(Transition::Do { device: other, command });
            self.at_once = self.chance.per_mille(700);
        }
        Some(Transition::Do { device, command: choice })
    }

    fn choice(
        &mut self,
        (world, device): (&World, DeviceId),
        kind: usize,
        of: &Conversation,
        others: &[String],
    ) -> Option<Command> {
        let conversation = of.id.clone();
        Some(match kind {
            0 => Command::Mute { conversation, until: *self.chance.pick(&[0, world.now.0 + 60_000, FOREVER])? },
            1 => Command::Archive { conversation, archived: self.chance.per_mille(600) },
            2 => Command::PinToTop { conversation, pinned: self.chance.per_mille(600) },
            3 => Command::MarkUnread { conversation },
            4 => {
                self.texts += 1;
                Command::Draft { conversation, text: format!("draft {}", self.texts) }
            }
            5 => {
                self.texts += 1;
                let name = if self.chance.per_mille(200) { String::new() } else { format!("name {}", self.texts) };
                Command::NameContact { address: self.chance.pick(others)?.clone(), name }
            }
            6 => {
                let View::Devices(devices) = world.view(device, &Query::Devices)? else { return None };
                self.texts += 1;
                Command::NameDevice {
                    device: self.chance.pick(&devices)?.id.clone(),
                    name: format!("device {}", self.texts),
                }
            }
            _ => Command::MarkRead { conversation, message: of.last.as_ref()?.id.clone() },
        })
    }
}
