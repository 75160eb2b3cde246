//! Somebody does what nobody may do, now and then with somebody who makes a successor that is none.

use api::{Conversation, ConversationKind, Standing};
use engine::mutants::Crime;

use super::{Run, conversations};
use crate::chance::Chance;
use crate::violation::Violation;
use crate::world::{DeviceId, Transition, World};

/// Of so many runs in a thousand some have an insider.
const RUNS: u32 = 250;
/// Of so many steps in a thousand of such a run it is one.
const STEPS: u32 = 25;

/// Chance of its own, so that runs without them are what they were before there were any.
pub(super) struct Insiders {
    chance: Chance,
    /// How many more there may be in this run.
    left: u32,
}

impl Insiders {
    pub(super) fn of(seed: u64, any: bool) -> Self {
        let mut chance = Chance::new(seed, 5);
        let left = if any && chance.per_mille(RUNS) { 1 + u32::from(chance.per_mille(300)) } else { 0 };
        Self { chance, left }
    }
}

impl Run {
    /// Whoever has lost all devices, or whose relay has lost a part of the log, is not promised what goes on.
    pub(super) fn has_insiders(&mut self) {
        if self.insiders.left > 0 {
            (self.restores, self.loses) = (false, false);
        }
    }

    /// What is done now that nobody may do.
    pub(super) fn commits(&mut self, world: &World) -> Option<Transition> {
        let chance = &mut self.insiders.chance;
        if self.insiders.left == 0 || !chance.per_mille(STEPS) {
            return None;
        }
        let device = chance.below(world.devices.len());
        let in_use =
            |c: &Conversation| c.kind != ConversationKind::Note && c.standing == Standing::Active && c.epoch > 0;
        let there = |device: DeviceId| conversations(world, device).into_iter().filter(in_use).collect::<Vec<_>>();
        let id = chance.pick(&there(device))?.id.clone();
        self.insiders.left -= 1;
        // Whoever is new where an insider leads can't know better: what is to be demanded of whom only a scenario says.
        let crime = *chance.pick(&Crime::ENDING)?;
        let crime = if crime == Crime::Leads { Crime::Junk } else { crime };
        let others = (0..world.devices.len()).filter(|other| *other != device);
        let others: Vec<DeviceId> = others.filter(|other| there(*other).iter().any(|c| c.id == id)).collect();
        if let (Some(other), true) = (chance.pick(&others).copied(), chance.per_mille(300)) {
            let crime = *chance.pick(&Crime::SUCCEEDING)?;
            self.queued.push(Transition::crime(other, &id, crime));
            self.at_once = true;
        }
        Some(Transition::crime(device, &id, crime))
    }

    /// Where somebody is named it takes minutes until it goes on, where nobody is a day.
    pub(super) fn goes_on(world: &mut World) -> Result<(), Violation> {
        for wait in [3_600_000, 3_600_000, 86_400_000, 3_600_000, 3_600_000] {
            if world.waits_for_successor() {
                world.apply(&Transition::Advance(wait))?;
                world.apply(&Transition::Settle)?;
            }
        }
        Ok(())
    }
}
