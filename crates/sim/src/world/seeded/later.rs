//! Messages that are sent later, in seeded runs.

use api::{Command, Conversation, Query, Standing, View};

use super::{DeviceId, Run, Transition, World};

impl Run {
    /// Something to be sent later, or taken back; `None` if what was drawn is not possible now.
    pub(super) fn later(
        &mut self,
        world: &World,
        device: DeviceId,
        (conversations, others): (&[Conversation], &[String]),
    ) -> Option<Transition> {
        if self.chance.per_mille(150) {
            let View::Scheduled(waiting) = world.view(device, &Query::Scheduled { conversation: None })? else {
                return None;
            };
            let scheduled = self.chance.pick(&waiting)?.id.clone();
            return Some(Transition::Do { device, command: Command::Unschedule { scheduled } });
        }
        let active = conversations.iter().filter(|conversation| conversation.standing == Standing::Active);
        let mut targets: Vec<String> = active.map(|conversation| conversation.id.clone()).collect();
        if targets.is_empty() || self.chance.per_mille(100) {
            targets = others.to_vec();
        }
        let to = self.chance.pick(&targets)?.clone();
        let text = self.text(device);
        let at =
            world.devices[device].clock(world.now).0 + *self.chance.pick(&[1, 1_000, 30_000, 80_000, 7_200_000])?;
        Some(Transition::schedule(device, &to, &text, at))
    }
}
