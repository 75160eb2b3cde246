//! Somebody is away for months while the others go on.

use api::{ConversationKind, Standing};

use super::{Run, conversations};
use crate::violation::Violation;
use crate::world::{DeviceId, Transition, World};

const HOUR: u64 = 3_600_000;

impl Run {
    /// A device is off for ten to twelve weeks, or for longer than commits are kept; the others are on, and write now and then.
    pub(super) fn months_go_by(&mut self, world: &mut World) -> Result<(), Violation> {
        let devices: Vec<DeviceId> = world.model.accounts.keys().copied().collect();
        let Some(who) = self.chance.pick(&devices).copied().filter(|_| devices.len() > 1) else { return Ok(()) };
        world.apply(&Transition::GoAway(who))?;
        let weeks = if self.chance.per_mille(200) { 15 } else { self.chance.between(10, 12) };
        for _ in 0..weeks {
            world.apply(&Transition::Advance(7 * 24 * HOUR))?;
            world.apply(&Transition::Settle)?;
            // What is looked at once an hour is looked at behind the renewals of this week.
            world.apply(&Transition::Advance(2 * HOUR))?;
            world.apply(&Transition::Settle)?;
            let device = self.chance.below(world.devices.len());
            let active = conversations(world, device).into_iter();
            let active = active.filter(|c| c.kind == ConversationKind::Group && c.standing == Standing::Active);
            let groups: Vec<String> = active.map(|c| c.id).collect();
            if let Some(group) = self.chance.pick(&groups) {
                let text = self.text(device);
                world.apply(&Transition::send(device, group, &text))?;
            }
        }
        world.apply(&Transition::Settle)?;
        world.apply(&Transition::ComeBack(who))?;
        world.apply(&Transition::Settle)?;
        // Who has other devices than before is found out within hours.
        for _ in 0..4 {
            world.apply(&Transition::Advance(HOUR))?;
            world.apply(&Transition::Settle)?;
        }
        Ok(())
    }
}
