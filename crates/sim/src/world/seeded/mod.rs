//! Seeded runs: who does what next is drawn by chance from what people see on their screens.

mod arrange;
mod away;
mod content;
mod groups;
#[cfg(feature = "mutants")]
mod insider;
mod later;
mod links;
mod recovery;

use api::{Command, Conversation, ConversationKind, Query, Standing, View};

use self::groups::Change;
use super::{DeviceId, Noise, Transition, World};
use crate::chance::Chance;
use crate::mutants::Mutant;
use crate::run::{Options, Outcome};
use crate::store::Faults;
use crate::trace::Trace;
use crate::violation::{Violation, ensure};

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];
const MINUTE: i64 = 60_000;
const RELAYS: [&str; 3] = ["a.example", "b.example", "c.example"];

/// One run from its seed to its verdict.
pub fn run(options: Options) -> Outcome {
    Mutant::plant(options.mutant);
    #[cfg(feature = "mutants")]
    engine::mutants::forget_crimes();
    let outcome = drawn(options);
    Mutant::plant(None);
    outcome
}

fn drawn(options: Options) -> Outcome {
    let trace = options.trace.map_or_else(Trace::default, Trace::to);
    let mut chance = Chance::new(options.seed, 3);
    let faults = Faults {
        unavailable: *chance.pick(&[0, 0, 10, 40]).unwrap_or(&0),
        unknown: *chance.pick(&[0, 0, 10, 30]).unwrap_or(&0),
        race: *chance.pick(&[0, 0, 300, 1_000]).unwrap_or(&0),
        full: false,
    };
    let relays = 1 + chance.below(RELAYS.len());
    let people = 2 + chance.below(3);
    let theme = Theme::of(options.seed);
    let spare = chance.below(3) + usize::from(matches!(theme, Theme::Devices | Theme::Losses));
    let world = World::new(options.seed, &RELAYS[..relays], people + spare, faults, options.mutant, trace);
    let mut world = match world {
        Ok(world) => world,
        Err(violation) => return Outcome { hash: [0; 32], steps: 0, last: Vec::new(), verdict: Err(violation) },
    };
    let loses = true;
    let restores = chance.per_mille(match theme {
        Theme::Restores => 1_000,
        Theme::Devices => 400,
        _ => 100,
    });
    let timers = chance.per_mille(150);
    let mut run = Run {
        theme,
        chance,
        people,
        relays,
        texts: 0,
        spare: (people..people + spare).collect(),
        addresses: Vec::new(),
        full: None,
        restores,
        loses,
        timers,
        queued: Vec::new(),
        at_once: false,
        faults,
        links: Vec::new(),
        takes_in: Chance::new(options.seed, 6),
        #[cfg(feature = "mutants")]
        insiders: insider::Insiders::of(options.seed, options.insiders),
    };
    #[cfg(feature = "mutants")]
    run.has_insiders();
    let verdict = run.play(&mut world, options.steps);
    Outcome {
        hash: world.trace().hash(),
        steps: world.trace().step(),
        last: world.trace().last().map(str::to_owned).collect(),
        verdict,
    }
}

/// What happens more often in some runs, so that what takes several steps of one kind comes to pass at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    /// Nothing.
    Any,
    /// Invite links.
    Links,
    /// Devices that come, with their history, certify one another and go.
    Devices,
    /// Backups, and accounts that lose all of their devices.
    Losses,
    /// Clocks that are wrong, and are set.
    Clocks,
    /// Relays that are restored from backups.
    Restores,
}

impl Theme {
    const fn of(seed: u64) -> Self {
        match seed % 8 {
            3 => Self::Links,
            5 => Self::Devices,
            7 => Self::Losses,
            1 => Self::Clocks,
            4 => Self::Restores,
            _ => Self::Any,
        }
    }

    /// How often each of what [`Run::next`] knows is drawn.
    const fn weights(self) -> [u32; 27] {
        match self {
            Self::Any => [40, 12, 5, 6, 5, 6, 5, 2, 8, 2, 3, 2, 3, 2, 1, 1, 2, 3, 2, 45, 8, 6, 5, 6, 8, 3, 0],
            Self::Links => [20, 6, 8, 4, 5, 4, 5, 2, 8, 2, 3, 2, 3, 2, 1, 1, 2, 3, 2, 10, 60, 3, 3, 3, 2, 1, 0],
            Self::Losses => [40, 8, 5, 4, 3, 3, 3, 2, 8, 1, 3, 2, 2, 2, 1, 1, 2, 3, 2, 30, 3, 6, 3, 40, 3, 1, 0],
            Self::Devices => [30, 8, 5, 4, 3, 3, 3, 2, 8, 1, 30, 2, 2, 2, 4, 1, 2, 8, 2, 20, 3, 6, 3, 6, 3, 25, 0],
            Self::Restores => [45, 8, 6, 5, 5, 8, 5, 2, 8, 2, 4, 2, 3, 2, 1, 1, 2, 25, 2, 25, 4, 4, 3, 0, 3, 2, 0],
            Self::Clocks => [40, 12, 5, 6, 5, 6, 5, 2, 8, 2, 4, 2, 3, 2, 2, 1, 2, 3, 2, 40, 10, 6, 12, 6, 8, 5, 30],
        }
    }
}

struct Run {
    theme: Theme,
    chance: Chance,
    people: usize,
    relays: usize,
    texts: u64,
    /// Devices that belong to nobody yet.
    spare: Vec<DeviceId>,
    addresses: Vec<String>,
    /// The relay whose disk is full.
    full: Option<usize>,
    /// Relays are restored from backups in this run.
    restores: bool,
    /// People lose all of their devices in this run.
    loses: bool,
    /// Messages vanish in this run: of texts that may have, nobody is promised anything.
    timers: bool,
    /// What somebody does next, whatever else is drawn.
    queued: Vec<Transition>,
    /// What is queued happens before anything has moved.
    at_once: bool,
    /// How the relays' stores misbehave.
    faults: Faults,
    /// Invite links that somebody was shown, whatever became of them.
    links: Vec<String>,
    /// When backups are taken in where the account is: of its own, so that runs without are what they were before there was any.
    takes_in: Chance,
    /// Who does what nobody may do.
    #[cfg(feature = "mutants")]
    insiders: insider::Insiders,
}

impl Run {
    fn play(&mut self, world: &mut World, steps: u64) -> Result<(), Violation> {
        // Registration under faults is a part of the run, but it has to end before the rest makes sense.
        for device in 0..self.people {
            let relay = RELAYS[self.chance.below(self.relays)];
            let address = format!("{}@{relay}", NAMES[device % NAMES.len()]);
            world.apply(&Transition::register(device, &address))?;
            self.addresses.push(address);
        }
        world.apply(&Transition::Settle)?;
        // Half of the runs begin among people who know one another: what needs several in one group comes to more then.
        if self.chance.per_mille(500) {
            self.acquaint(world)?;
        }
        // Coming to rest has ended them.
        world.set_faults(self.faults);
        let loud = self.chance.per_mille(700);
        if loud {
            world.set_noise(Noise {
                cut: *self.chance.pick(&[0, 5, 20]).unwrap_or(&0),
                crash_device: *self.chance.pick(&[0, 2, 8]).unwrap_or(&0),
                crash_relay: *self.chance.pick(&[0, 2, 5]).unwrap_or(&0),
                slow_disks: self.chance.per_mille(300),
            });
        }
        for _ in 0..steps {
            if let Some(transition) = self.next(world) {
                world.apply(&transition)?;
            }
            // Now and then several people do something before anything of it has moved: that is when things race.
            let at_once = std::mem::take(&mut self.at_once) || self.chance.per_mille(150);
            let steps = if at_once { 0 } else { self.chance.between(1, 40) as u32 };
            world.apply(&Transition::Network(steps))?;
        }
        world.set_noise(Noise::default());
        if self.theme == Theme::Clocks {
            // While clocks are far apart people are told so, and some of what they want waits.
            for device in 0..world.devices.len() {
                let ahead = *self.chance.pick(&[0, 0, 3 * MINUTE, -3 * MINUTE]).unwrap_or(&0);
                world.apply(&Transition::SetClock(device, ahead))?;
            }
        }
        world.apply(&Transition::Settle)?;
        if self.chance.per_mille(80) {
            self.months_go_by(world)?;
        }
        // Whoever has restored an account, or was away, asks a few members at a time: those of a backup that is old may be gone themselves.
        for _ in 0..4 {
            if world.is_waiting() || world.waits_for_history().is_some() {
                world.apply(&Transition::Advance(4 * 3_600_000))?;
                world.apply(&Transition::Settle)?;
            }
        }
        #[cfg(feature = "mutants")]
        Self::goes_on(world)?;
        let waits = world.waits_for_history();
        ensure!(waits.is_none(), "history", "device {waits:?} still waits for history that another one could send");
        world.check()
    }

    /// What happens next; `None` if what was drawn is not possible now.
    fn next(&mut self, world: &World) -> Option<Transition> {
        if let Some(queued) = self.queued.pop() {
            return Some(recovery::from_where_it_is(world, queued));
        }
        #[cfg(feature = "mutants")]
        if let Some(crime) = self.commits(world) {
            return Some(crime);
        }
        if let Some(taken_in) = self.takes_in(world) {
            return Some(taken_in);
        }
        let device = self.chance.below(world.devices.len());
        let others: Vec<String> = self
            .addresses
            .iter()
            .filter(|address| world.model.accounts.get(&device) != Some(*address))
            .cloned()
            .collect();
        let conversations = conversations(world, device);
        let groups: Vec<&Conversation> = conversations
            .iter()
            .filter(|conversation| {
                conversation.kind == ConversationKind::Group && conversation.standing == Standing::Active
            })
            .collect();
        match self.chance.weighted(self.theme.weights())? {
            0 => {
                let active: Vec<&Conversation> =
                    conversations.iter().filter(|conversation| conversation.standing == Standing::Active).collect();
                let conversation = self.chance.pick(&active)?.id.clone();
                let text = self.text(device);
                Some(Transition::send(device, &conversation, &text))
            }
            1 => {
                let to = self.chance.pick(&others)?.clone();
                let text = self.text(device);
                Some(Transition::send(device, &to, &text))
            }
            2 => {
                let members: Vec<&str> =
                    others.iter().filter(|_| self.chance.per_mille(600)).map(String::as_str).collect();
                self.texts += 1;
                Some(Transition::create_group(device, &format!("group {}", self.texts), &members))
            }
            3 => self.change(world, device, Change::Add),
            4 => self.change(world, device, Change::Remove),
            5 => self.change(world, device, Change::Rename),
            6 => self.change(world, device, Change::Role),
            7 => Some(Transition::leave(device, &self.chance.pick(&groups)?.id)),
            8 => {
                let requested: Vec<&Conversation> =
                    conversations.iter().filter(|conversation| conversation.standing == Standing::Requested).collect();
                let id = self.chance.pick(&requested)?.id.clone();
                Some(if self.chance.per_mille(800) {
                    Transition::accept(device, &id)
                } else {
                    Transition::decline(device, &id)
                })
            }
            9 => Some(Transition::block(device, self.chance.pick(&others)?)),
            10 => {
                let by = self.chance.below(self.people);
                (!self.spare.is_empty() && !world.is_linking())
                    .then(|| Transition::Link { device: self.spare.remove(0), by })
            }
            11 => {
                let conversation = self.chance.pick(&conversations)?;
                let message = conversation.last.as_ref()?.id.clone();
                let command = Command::MarkRead { conversation: conversation.id.clone(), message };
                Some(Transition::Do { device, command })
            }
            12 => Some(Transition::Do {
                device,
                command: Command::Unblock { address: self.chance.pick(&others)?.clone() },
            }),
            13 => Some(Transition::Do {
                device,
                command: Command::Verify { address: self.chance.pick(&others)?.clone() },
            }),
            14 => {
                let command = Command::RevokeDevice { device: self.chance.pick(&own_others(world, device)?)?.clone() };
                Some(Transition::Do { device, command })
            }
            25 => {
                let command = Command::CertifyBy { device: self.chance.pick(&own_others(world, device)?)?.clone() };
                // The one that is to certify, or another one, is taken out while that is on its way.
                if self.chance.per_mille(200) {
                    let other = self.chance.pick(&own_others(world, device)?)?.clone();
                    self.queued.push(Transition::Do { device, command: Command::RevokeDevice { device: other } });
                    self.at_once = self.chance.per_mille(500);
                }
                Some(Transition::Do { device, command })
            }
            15 => {
                let relay = self.full.take();
                match relay {
                    Some(relay) => Some(Transition::DiskFull(relay, false)),
                    None => {
                        self.full = Some(self.chance.below(self.relays));
                        self.full.map(|relay| Transition::DiskFull(relay, true))
                    }
                }
            }
            16 if self.chance.per_mille(400) => Some(Transition::Hostile),
            16 => Some(Transition::Cut(device)),
            17 if self.restores => {
                let relay = self.chance.below(self.relays);
                Some(if self.chance.per_mille(500) {
                    Transition::BackUpRelay(relay)
                } else {
                    Transition::RestoreRelay(relay)
                })
            }
            23 if !self.restores && self.loses => self.loses_everything(world, device),
            19 => self.content(world, device, &conversations),
            20 => self.links(world, device, &groups),
            21 => self.arrange(world),
            22 => self.later(world, device, (&conversations, &others)),
            24 => {
                let conversation = self.chance.pick(&conversations)?.id.clone();
                // Signals are told those who are there: they come late only if time passes while they are on their way.
                if self.chance.per_mille(300) {
                    self.queued.push(Transition::Advance(60_000));
                    self.at_once = true;
                }
                let command = match self.chance.below(6) {
                    0 | 1 => Command::Presence { here: self.chance.per_mille(700) },
                    2 => Command::TellPresence { on: self.chance.per_mille(700) },
                    _ => Command::Typing { conversation, typing: self.chance.per_mille(800) },
                };
                Some(Transition::Do { device, command })
            }
            26 => Some(self.clock(device)),
            _ => Some(Transition::Advance(*self.chance.pick(&[1_000, 60_000, 3_600_000])?)),
        }
    }

    /// A clock is set: often right, else wrong by minutes, hours, a day, weeks or years.
    fn clock(&mut self, device: DeviceId) -> Transition {
        const DAY: i64 = 24 * 60 * MINUTE;
        let wrong = [3 * MINUTE, 150 * MINUTE, DAY, 40 * DAY, 800 * DAY];
        let off = self.chance.pick(&wrong).copied().unwrap_or_default();
        Transition::SetClock(device, *self.chance.pick(&[0, 0, off, -off]).unwrap_or(&0))
    }

    fn text(&mut self, device: DeviceId) -> String {
        self.texts += 1;
        format!("text {} of {device}", self.texts)
    }
}

/// The other devices of a device's account that have not been revoked.
fn own_others(world: &World, device: DeviceId) -> Option<Vec<String>> {
    let View::Devices(devices) = world.view(device, &Query::Devices)? else { return None };
    let others = devices.into_iter().filter(|other| !other.this && other.revoked.is_none());
    Some(others.map(|other| other.id).collect())
}

fn conversations(world: &World, device: DeviceId) -> Vec<Conversation> {
    match world.view(device, &Query::Conversations) {
        Some(View::Conversations(conversations)) => conversations,
        _ => Vec::new(),
    }
}
