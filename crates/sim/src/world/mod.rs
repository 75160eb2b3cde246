//! The whole system: engines, connections, relays, people. Driven by [`Transition`]s, by hand in scenario tests and by chance in
//! seeded runs.

mod away;
mod check;
mod device;
mod home;
mod hostile;
mod in_step;
#[cfg(feature = "mutants")]
mod insider;
mod lie;
mod model;
mod recovery;
mod seeded;
mod transition;

use std::collections::{BTreeMap, BTreeSet};

use api::{Command, Event, Query, View};
use engine::Options;
use wire::{Bytes, EntryId, LogId, Request, ServerFrame, UnixMillis};

pub use lie::Alteration;
use lie::Lie;

pub use device::Device;
pub use home::{Home, Profile};
pub use model::{Fate, Model};
pub use seeded::run;
pub use transition::{DeviceId, Transition};

use crate::brief::{Brief, BriefFrame};
use crate::chance::Chance;
use crate::mutants::Mutant;
use crate::net::{LinkId, Net, RelayId};
use crate::store::{Disk, Faults};
use crate::trace::Trace;
use crate::violation::{Violation, ensure};

/// Rounds in which everything must come to rest.
const ROUNDS: usize = 5_000;

/// Nothing that an engine waits for longer than this keeps a run from being at rest.
const HORIZON_MS: u64 = 90_000;

/// A restored relay takes no new commits for an hour: those that wait for it are waited for.
const RESTORED_HORIZON_MS: u64 = 2 * 3_600_000;

/// Nobody was told anything for so long: what is still tried in the background (a device without key packages is asked for every
/// minute) may go on for ever.
const NO_NEWS_MS: u64 = 2 * 3_600_000;

/// When the first device is opened. MLS reads the machine's own clock for the lifetimes of leaves, which begin a month before: months go by
/// here, and must stay behind it.
const BEGINS: u64 = 1_795_305_600_000 - 200 * 86_400_000;

/// The classical suite: the simulator is about order and crashes, not about lattices.
const SUITE: u16 = 1;

/// A fresh device that waits to be let in.
struct Linking {
    device: DeviceId,
    by: DeviceId,
}

/// What a person keeps apart from a device: the recovery key, and the last backup as far as it was written.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// As it was shown.
    pub key: String,
    /// The file's bytes.
    pub file: Vec<u8>,
    /// What the device showed when the backup was begun: each conversation that was in use, with its texts.
    pub shown: BTreeMap<String, BTreeSet<String>>,
    /// The file is whole.
    pub whole: bool,
    /// The command that writes it.
    command: u64,
    /// Whose it is.
    pub address: String,
    /// What the device showed when the last backup was begun that is whole at the relay; `None` if there is none.
    pub at_relay: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Backups to the relay that were begun: the commands, with what the device showed then.
    shelved: BTreeMap<u64, BTreeMap<String, BTreeSet<String>>>,
    /// It is the one at the relay that is restored from.
    from_relay: bool,
}

/// How often the network misbehaves, in a thousand of its steps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Noise {
    /// A connection is cut.
    pub cut: u32,
    /// A program dies.
    pub crash_device: u32,
    /// A relay loses power.
    pub crash_relay: u32,
    /// Relays take long to write: more comes in before anything is durable, so that more races.
    pub slow_disks: bool,
}

/// See the module's documentation.
pub struct World {
    /// What people were promised.
    pub model: Model,
    /// The clock.
    pub now: UnixMillis,
    /// The devices.
    pub devices: Vec<Device>,
    net: Net,
    chance: Chance,
    noise: Noise,
    trace: Trace,
    linking: Vec<Linking>,
    without_history: bool,
    backups: BTreeMap<RelayId, Disk>,
    /// What is kept of each device.
    pub kept: BTreeMap<DeviceId, Kept>,
    /// Backups that are being taken in where the account is already, by device and command, and what they hold.
    taking_in: BTreeMap<(DeviceId, u64), BTreeMap<String, BTreeSet<String>>>,
    /// Fresh devices on which an account is to be restored, and what from.
    recovering: BTreeMap<DeviceId, Kept>,
    /// When anybody was last told anything of weight.
    news: UnixMillis,
    /// What was left in inboxes, and at which relay: a relay can leave it there again.
    deposits: Vec<(RelayId, LogId, Bytes)>,
    /// What a relay keeps from a device.
    lie: Option<Lie>,
    /// Devices that are off until they come back, whatever else comes to rest.
    away: BTreeSet<DeviceId>,
    /// The bytes sent under each entry id.
    sent: BTreeMap<(LogId, EntryId), Bytes>,
    /// Where the first commit of an epoch was seen.
    #[cfg(feature = "mutants")]
    commits: BTreeMap<(LogId, wire::Epoch), wire::Seq>,
    /// The keys that messages were sealed with.
    #[cfg(feature = "mutants")]
    keys: BTreeSet<engine::mutants::KeyUse>,
}

impl World {
    /// Relays of these names and so many fresh devices, all running.
    pub fn new(
        seed: u64,
        relays: &[&str],
        devices: usize,
        faults: Faults,
        mutant: Option<Mutant>,
        trace: Trace,
    ) -> Result<Self, Violation> {
        let run = NEXT_RUN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let homes =
            (0..devices).map(|id| Home::in_memory(format!("sim-{seed}-{run}-{id}"))).collect::<Result<_, _>>()?;
        Self::with_homes(seed, relays, homes, faults, mutant, trace)
    }

    /// The same, with devices whose databases are there.
    pub fn with_homes(
        seed: u64,
        relays: &[&str],
        homes: Vec<Home>,
        faults: Faults,
        mutant: Option<Mutant>,
        trace: Trace,
    ) -> Result<Self, Violation> {
        let mut chance = Chance::new(seed, 2);
        let mut net = Net::new(relays, chance.fork(), faults, mutant);
        let now = UnixMillis(BEGINS);
        let options = Options {
            suite: SUITE,
            deposit_spread_ms: 2_000,
            receipt_pause_ms: 2_000,
            key_packages: 6,
            history_chunk: 3_000,
            // Fewer than the largest groups have devices: what is too many for one commit is met.
            adds: 3,
        };
        let devices = homes
            .into_iter()
            .enumerate()
            .map(|(id, home)| {
                let mut device = Device::new(format!("device {id}"), home, chance.fork(), options.clone());
                device.open(&mut net, now)?;
                Ok(device)
            })
            .collect::<Result<_, Violation>>()?;
        Ok(Self {
            model: Model::default(),
            now,
            devices,
            net,
            chance,
            noise: Noise::default(),
            trace,
            linking: Vec::new(),
            without_history: false,
            kept: BTreeMap::new(),
            taking_in: BTreeMap::new(),
            recovering: BTreeMap::new(),
            backups: BTreeMap::new(),
            news: now,
            deposits: Vec::new(),
            lie: None,
            away: BTreeSet::new(),
            sent: BTreeMap::new(),
            #[cfg(feature = "mutants")]
            commits: BTreeMap::new(),
            #[cfg(feature = "mutants")]
            keys: BTreeSet::new(),
        })
    }

    /// Sets how often the network misbehaves while it steps.
    pub fn set_noise(&mut self, noise: Noise) {
        self.noise = noise;
    }

    /// Sets how the relays' stores misbehave, until everything comes to rest.
    pub fn set_faults(&mut self, faults: Faults) {
        self.net.set_faults(faults);
    }

    /// From now on devices that are let in get nothing of what was said before.
    pub fn links_without_history(&mut self) {
        self.without_history = true;
    }

    /// True while a fresh device waits to be let in.
    pub fn is_linking(&self) -> bool {
        !self.linking.is_empty()
    }

    /// The trace so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What a person sees on a device.
    pub fn view(&self, device: DeviceId, query: &Query) -> Option<View> {
        self.devices.get(device)?.view(query)
    }

    /// What has opened once on a device.
    pub fn opened(&self, device: DeviceId) -> Vec<&str> {
        let opened = self.model.opened.iter();
        opened.filter(|((where_, _), _)| *where_ == device).map(|(_, text)| text.as_str()).collect()
    }

    /// Something happens.
    pub fn apply(&mut self, transition: &Transition) -> Result<(), Violation> {
        self.trace.next_step();
        #[cfg(feature = "mutants")]
        self.keys_are_fresh()?;
        match transition {
            Transition::Network(_) | Transition::Settle => {}
            other => self.trace.line(format_args!("{other:?}")),
        }
        match transition {
            Transition::Do { device, command: command @ Command::CertifyBy { .. } } => {
                // Rule 21: whoever hands the role over keeps the account's key until the other one has it.
                let certified = in_step::certifies(&self.devices[*device]);
                self.command(*device, command.clone())?;
                let keeps = !self.devices[*device].is_open() || in_step::certifies(&self.devices[*device]);
                ensure!(!certified || keeps, "21", "device {device} has given the account's key away at once");
            }
            Transition::Do { device, command } => self.command(*device, command.clone())?,
            Transition::Link { device, by } => {
                self.linking.push(Linking { device: *device, by: *by });
                let relay = self.net.name(0).as_str().to_owned();
                self.command(*device, Command::BeginLink { relay })?;
            }
            Transition::CrashDevice(device) => self.crash_device(*device),
            Transition::CutPower(device) => {
                self.devices[*device].cut_power(&mut self.net)?;
                self.model.crashed(*device, self.now);
            }
            Transition::OpenDevice(device) => self.open_device(*device)?,
            Transition::GoAway(device) => self.goes_away(*device),
            Transition::ComeBack(device) => self.comes_back(*device)?,
            Transition::CrashRelay(relay) => {
                let lost = self.net.crash(*relay);
                self.relay_lost(*relay, lost)?;
            }
            Transition::StartRelay(relay) => self.net.start(*relay),
            Transition::BackUpRelay(relay) => {
                if let Some(disk) = self.net.backup(*relay) {
                    self.backups.insert(*relay, disk);
                }
            }
            Transition::BackUp(device) => self.command(*device, Command::MakeRecoveryKey)?,
            Transition::Restore { device, of } => {
                let kept = self.kept.get(of).cloned().unwrap_or_default();
                // Where there is no account yet it only tells what it would do.
                let account = self.model.accounts.get(device).filter(|account| **account == kept.address);
                if let (Some(_), Some(id)) = (account, self.devices[*device].next_command()) {
                    self.taking_in.insert((*device, id), kept.shown.clone());
                }
                self.command(*device, kept.restores(false))?;
            }
            Transition::BackUpToRelay(device) => self.command(*device, Command::BackUpToRelay)?,
            Transition::Recover { device, of } => self.recover(*device, *of, false)?,
            Transition::RecoverFromRelay { device, of } => self.recover(*device, *of, true)?,
            Transition::RestoreRelay(relay) => {
                if let Some(disk) = self.backups.get(relay).cloned() {
                    self.model.restored = true;
                    #[cfg(feature = "mutants")]
                    self.commits.clear();
                    let lost = self.net.restore(*relay, disk, self.now.plus(60 * 60 * 1000));
                    self.relay_lost(*relay, lost)?;
                }
            }
            Transition::Withhold { device, log, renumber } => {
                self.lie = Some(Lie::withhold(*device, *log, *renumber));
            }
            Transition::Alter { device, log, how } => {
                self.model.lied_to = Some(*device);
                self.lie = Some(Lie::alter(*device, *log, *how));
            }
            #[cfg(feature = "mutants")]
            Transition::Crime { device, conversation, crime } => self.crime(*device, conversation, *crime)?,
            Transition::Hostile => self.hostile(),
            Transition::DiskFull(relay, full) => self.net.set_full(*relay, *full),
            Transition::Cut(device) => {
                for link in self.devices[*device].links() {
                    self.cut(link)?;
                }
            }
            Transition::Advance(millis) => {
                self.now = self.now.plus(*millis);
                self.net.tick(self.now);
            }
            Transition::LieAboutTime(relay, ahead) => self.net.lie_about_time(*relay, *ahead),
            Transition::SetClock(device, ahead) => {
                self.model.clocks_differ = true;
                self.devices[*device].set_clock(self.now, *ahead);
            }
            Transition::Network(steps) => {
                for _ in 0..*steps {
                    self.trace.next_step();
                    self.network_step()?;
                }
            }
            Transition::Settle => self.settle()?,
        }
        self.hear()
    }

    /// Checks what must be true at rest.
    pub fn check(&mut self) -> Result<(), Violation> {
        #[cfg(feature = "mutants")]
        self.keys_are_fresh()?;
        self.recoveries_ended()?;
        self.caught_up()?;
        #[cfg(feature = "mutants")]
        self.went_on()?;
        check::check(&self.devices, &mut self.model, self.now)?;
        in_step::role(&self.devices, &self.model)?;
        away::check(&self.devices, &self.model)?;
        in_step::check(&self.devices, &self.model)
    }

    /// Whoever is at rest has fetched all that waits, or what of it there still is, and says so.
    fn caught_up(&self) -> Result<(), Violation> {
        let is_on =
            |id: &DeviceId| !self.away.contains(id) && self.devices[*id].is_open() && self.devices[*id].is_listed();
        match self.model.accounts.keys().find(|id| is_on(id) && self.devices[**id].behind) {
            Some(id) => Err(Violation::new("live", format!("device {id} fetches for ever what waits"))),
            None => Ok(()),
        }
    }

    /// I5: no key seals two messages, whatever was lost in between. What a ciphertext hides the engine tells here.
    #[cfg(feature = "mutants")]
    fn keys_are_fresh(&mut self) -> Result<(), Violation> {
        for key in engine::mutants::keys_used() {
            ensure!(self.keys.insert(key), "I5", "two messages were sealed with one key: {key:?}");
        }
        Ok(())
    }

    fn command(&mut self, device: DeviceId, command: Command) -> Result<(), Violation> {
        if let Command::Typing { .. } = &command {
            return self.in_passing(device, |world| world.carried_out(device, command));
        }
        self.carried_out(device, command)
    }

    /// Rule 19: what is told in passing leaves nothing in a database.
    fn in_passing(
        &mut self,
        device: DeviceId,
        happens: impl FnOnce(&mut Self) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        // What was due anyway is done before.
        self.devices[device].nudge(&mut self.net, self.now)?;
        let before = self.devices[device].changes();
        happens(self)?;
        let after = self.devices[device].changes();
        ensure!(before == after, "19", "a signal has changed the database of device {device}");
        Ok(())
    }

    fn carried_out(&mut self, device: DeviceId, command: Command) -> Result<(), Violation> {
        let step = self.trace.step();
        let conversation = conversation_of(&command)
            .and_then(|named| self.devices[device].view(&Query::Conversation { conversation: named.to_owned() }))
            .and_then(|view| match view {
                View::Conversation(conversation) => Some(self.model.root(&conversation.id).to_owned()),
                _ => None,
            });
        if let Command::Delete { conversation, message, .. } = &command {
            let query = Query::Revisions { conversation: conversation.clone(), message: message.clone() };
            if let Some(View::Revisions(revisions)) = self.devices[device].view(&query)
                && let Some(first) = revisions.first()
            {
                self.model.taken_back.insert(content::in_plain(&first.text));
            }
        }
        let Some(id) = self.devices[device].next_command() else { return Ok(()) };
        if let Command::Backup = command {
            self.kept.entry(device).or_default().command = id;
        }
        if let Command::BackUpToRelay = command {
            let shown = recovery::shown(&self.devices[device]);
            self.kept.entry(device).or_default().shelved.insert(id, shown);
        }
        if let Command::Join { link } = &command
            && self.is_dead(link)
        {
            let inside = self.inside(device);
            self.model.dead_joins.insert((device, id), inside);
        }
        self.model.gave((device, id), command.clone(), conversation, (step, self.now));
        self.devices[device].command(command, &mut self.net, self.now)?;
        self.hear()
    }

    /// Nobody's program lists this link any more, and all of them run.
    fn is_dead(&self, link: &str) -> bool {
        let lists = |device: DeviceId, id: String| {
            let Some(View::InviteLinks(links)) = self.view(device, &Query::InviteLinks { conversation: id }) else {
                return true;
            };
            links.iter().any(|listed| listed.link.as_deref() == Some(link))
        };
        self.model.accounts.keys().all(|device| match self.view(*device, &Query::Conversations) {
            Some(View::Conversations(conversations)) => conversations.into_iter().all(|c| !lists(*device, c.id)),
            _ => false,
        })
    }

    /// The conversations that anybody's program shows the account of a device in.
    fn inside(&self, device: DeviceId) -> BTreeSet<String> {
        let account = self.model.accounts.get(&device);
        let shown = self.model.accounts.keys().filter_map(|other| match self.view(*other, &Query::Conversations) {
            Some(View::Conversations(conversations)) => Some(conversations),
            _ => None,
        });
        let inside = |c: &api::Conversation| c.members.iter().any(|member| Some(&member.address) == account);
        shown.flatten().filter(inside).map(|conversation| self.model.root(&conversation.id).to_owned()).collect()
    }

    /// Tells the model what people were told.
    fn hear(&mut self) -> Result<(), Violation> {
        let step = self.trace.step();
        let mut next = Vec::new();
        for (id, device) in self.devices.iter_mut().enumerate() {
            for event in device.events() {
                self.trace.line(format_args!("device {id} tells {}", crate::brief::BriefEvent(&event)));
                #[cfg(feature = "mutants")]
                self.model.goes_on(id, device, &event)?;
                self.model.told(id, &event, step, self.now)?;
                if !matches!(event, Event::Connection { .. } | Event::CaughtUp | Event::Progress { .. }) {
                    self.news = self.now;
                }
                match event {
                    Event::CaughtUp => device.behind = false,
                    Event::LinkCode { code, .. } => {
                        if let Some(linking) = self.linking.iter().find(|linking| linking.device == id) {
                            next.push((linking.by, Command::InspectLink { code }));
                        }
                    }
                    Event::LinkRequest { preview, .. } => {
                        next.push((id, Command::ConfirmLink { code: preview.code, no_history: self.without_history }))
                    }
                    Event::Linked { .. } => self.linking.retain(|linking| linking.device != id),
                    Event::Done { command, .. } if self.kept.get(&id).is_some_and(|kept| kept.command == command) => {
                        self.kept.entry(id).or_default().whole = true;
                    }
                    Event::Done { command, .. } => {
                        if let Some(shown) = self.taking_in.remove(&(id, command)) {
                            self.model.taken_in.push((id, shown));
                        }
                        if let Some(kept) = self.kept.get_mut(&id)
                            && let Some(shown) = kept.shelved.remove(&command)
                        {
                            kept.at_relay = Some(shown);
                        }
                    }
                    Event::RecoveryKey { key, .. } => {
                        let last = key.rsplit('-').next().unwrap_or_default().to_owned();
                        let shown = recovery::shown(device);
                        let address = self.model.accounts.get(&id).cloned().unwrap_or_default();
                        self.kept.insert(id, Kept { key, shown, address, ..Kept::default() });
                        next.push((id, Command::KeepRecoveryKey { last }));
                        next.push((id, Command::Backup));
                    }
                    Event::BackupPart { command, bytes, .. } => {
                        let kept = self.kept.entry(id).or_default();
                        if kept.command == command {
                            kept.file.extend(bytes.0);
                        }
                    }
                    _ => {}
                }
            }
        }
        self.see_recovered();
        next.into_iter().try_for_each(|(device, command)| self.command(device, command))
    }

    fn crash_device(&mut self, device: DeviceId) {
        self.devices[device].crash(&mut self.net);
        self.model.crashed(device, self.now);
    }

    fn open_device(&mut self, device: DeviceId) -> Result<(), Violation> {
        if self.away.contains(&device) {
            return Ok(());
        }
        self.devices[device].open(&mut self.net, self.now)
    }

    fn relay_lost(&mut self, relay: RelayId, lost: Vec<LinkId>) -> Result<(), Violation> {
        for link in lost {
            self.lost(link)?;
        }
        for device in &mut self.devices {
            device.relay_lost(relay, &mut self.net, self.now)?;
        }
        Ok(())
    }

    fn cut(&mut self, link: LinkId) -> Result<(), Violation> {
        self.net.cut(link);
        self.lost(link)
    }

    fn lost(&mut self, link: LinkId) -> Result<(), Violation> {
        match self.devices.iter_mut().find(|device| device.holds(link)) {
            Some(device) => device.lost(link, &mut self.net, self.now),
            None => Ok(()),
        }
    }

    /// One step of the network, drawn by chance.
    fn network_step(&mut self) -> Result<(), Violation> {
        let noise = self.noise;
        if self.chance.per_mille(noise.cut) {
            let links = self.net.linked();
            if let Some(link) = self.chance.pick(&links).copied() {
                self.trace.line(format_args!("{link:?} is cut"));
                self.cut(link)?;
            }
        }
        if self.chance.per_mille(noise.crash_device) {
            let device = self.chance.below(self.devices.len());
            self.trace.line(format_args!("device {device} crashes"));
            self.crash_device(device);
        }
        if self.chance.per_mille(noise.crash_relay) {
            let relay = self.chance.below(self.net.relays());
            self.trace.line(format_args!("relay {relay} crashes"));
            let lost = self.net.crash(relay);
            self.relay_lost(relay, lost)?;
        }
        let device = self.chance.below(self.devices.len());
        let sync = if noise.slow_disks { 2 } else { 14 };
        match self.chance.weighted([30, 30, sync, 8, 5, 6, 4, 2, 2]) {
            Some(0) => {
                let links = self.net.upward();
                if let Some(link) = self.chance.pick(&links).copied() {
                    self.up(link)?;
                }
            }
            Some(1) => {
                let links = self.net.downward();
                if let Some(link) = self.chance.pick(&links).copied() {
                    self.down(link)?;
                }
            }
            Some(2) => {
                let relays = self.net.waiting();
                if let Some(relay) = self.chance.pick(&relays).copied() {
                    self.net.sync(relay);
                }
            }
            Some(3) => {
                self.devices[device].connect(&mut self.net, self.now);
            }
            Some(4) => {
                self.devices[device].transfer(&mut self.net, self.now)?;
            }
            Some(5) => {
                self.devices[device].wake(&mut self.net, self.now)?;
                self.devices[device].answer_unsent(&mut self.net, self.now)?;
            }
            Some(6) => {
                self.now = self.now.plus(*self.chance.pick(&[1, 30, 300, 2_000]).unwrap_or(&1));
                self.net.tick(self.now);
            }
            Some(7) => self.open_device(device)?,
            _ => {
                let relay = self.chance.below(self.net.relays());
                self.net.start(relay);
            }
        }
        self.hear()
    }

    fn up(&mut self, link: LinkId) -> Result<(), Violation> {
        let lie = self.lie.as_mut().filter(|lie| self.devices[lie.device].holds(link));
        let request = match lie {
            Some(lie) => self.net.deliver_up_as(link, self.now, |frame| lie.up(link, frame)),
            None => self.net.deliver_up(link, self.now),
        };
        let Some(request) = request else { return Ok(()) };
        self.trace.line(format_args!("{link:?} up {}", Brief(&request)));
        if let (Request::Deposit { inbox, body, .. }, Some(relay)) = (&request, self.net.relay_of(link)) {
            self.deposits.push((relay, *inbox, body.clone()));
        }
        // I5: one id, one ciphertext, whatever was retried and whatever crashed in between.
        if let Request::Append { log, id, body, .. } | Request::Commit { log, id, body, .. } = &request {
            let body = Bytes::copy_from_slice(body);
            let first = self.sent.entry((*log, *id)).or_insert_with(|| body.clone());
            ensure!(*first == body, "I5", "{id:?} was sent with two different bodies");
        }
        Ok(())
    }

    fn down(&mut self, link: LinkId) -> Result<(), Violation> {
        let Some(frame) = self.net.deliver_down(link, self.now) else { return Ok(()) };
        let mut frame = frame?;
        if let Some(lie) = self.lie.as_mut().filter(|lie| self.devices[lie.device].holds(link)) {
            lie.down(link, &mut frame);
        }
        self.trace.line(format_args!("{link:?} down {}", BriefFrame(&frame)));
        #[cfg(feature = "mutants")]
        self.sees(&frame);
        let Some(device) = self.devices.iter().position(|device| device.holds(link)) else { return Ok(()) };
        let is_signal = matches!(frame, ServerFrame::Push(wire::Push::Signal { .. }));
        let receive = |world: &mut Self| world.devices[device].receive(link, frame, &mut world.net, world.now);
        if is_signal { self.in_passing(device, receive) } else { receive(self) }
    }

    /// The faults end; everything must come to rest.
    fn settle(&mut self) -> Result<(), Violation> {
        self.net.set_faults(Faults::default());
        for relay in 0..self.net.relays() {
            self.net.start(relay);
        }
        self.recover_again()?;
        let mut quiet = 0;
        self.news = self.now;
        for _ in 0..ROUNDS {
            self.trace.next_step();
            let mut busy = false;
            for device in 0..self.devices.len() {
                self.open_device(device)?;
                busy |= self.devices[device].connect(&mut self.net, self.now);
                busy |= self.devices[device].answer_unsent(&mut self.net, self.now)?;
                busy |= self.devices[device].transfer(&mut self.net, self.now)?;
                self.devices[device].wake(&mut self.net, self.now)?;
            }
            for link in self.net.upward() {
                busy = true;
                self.up(link)?;
            }
            for relay in 0..self.net.relays() {
                self.net.sync(relay);
            }
            for link in self.net.downward() {
                busy = true;
                self.down(link)?;
            }
            self.hear()?;
            busy |= !self.net.waiting().is_empty()
                || self.devices.iter().any(|device| device.is_asking() || device.is_transferring());
            quiet = if busy { 0 } else { quiet + 1 };
            let next = self.devices.iter().filter_map(Device::wake_at).min();
            let horizon = if self.model.restored { RESTORED_HORIZON_MS } else { HORIZON_MS };
            let soon = next.filter(|at| at.since(self.now) <= horizon && self.now.since(self.news) <= NO_NEWS_MS);
            if quiet >= 3 {
                match soon {
                    // Nothing moves: time may pass at once.
                    Some(at) => self.now = at.max(self.now.plus(1)),
                    None => return self.answered(),
                }
            } else {
                self.now = self.now.plus(250);
            }
            self.net.tick(self.now);
        }
        Err(Violation::new("live", format!("nothing comes to rest: {}", self.unrest())))
    }

    /// Who still waits for what.
    fn unrest(&self) -> String {
        let devices = self.devices.iter().enumerate().map(|(id, device)| (id, device.unrest()));
        let devices: Vec<String> =
            devices.filter(|(_, what)| !what.is_empty()).map(|(id, what)| format!("device {id}: {what}")).collect();
        format!(
            "{} up, {} down, relays {:?} write or answer; {}",
            self.net.upward().len(),
            self.net.downward().len(),
            self.net.waiting(),
            devices.join("; ")
        )
    }

    /// A device waits for what goes on for a conversation that somebody has ended, and so does what it was asked to do there.
    fn is_held(&self, device: DeviceId, line: Option<&str>) -> bool {
        let Some(line) = line.filter(|line| self.model.has_ended(line)) else { return false };
        let Some(View::Conversations(shown)) = self.view(device, &Query::Conversations) else { return false };
        shown.iter().any(|c| c.standing == api::Standing::Held && self.model.root(&c.id) == line)
    }

    /// At rest nobody waits for an answer.
    fn answered(&self) -> Result<(), Violation> {
        // A link waits for two devices; where one of them died meanwhile, the other's person gives up, not the program.
        let waits = |command: &Command| !matches!(command, Command::BeginLink { .. } | Command::InspectLink { .. });
        let open = |(order, given): &(&model::Order, &model::Given)| {
            waits(&given.command) && !self.is_held(order.0, given.conversation.as_deref())
        };
        match self.model.open().find(open) {
            Some(((device, id), given)) => Err(Violation::new(
                "live",
                format!("command {id} of device {device} was never answered: {:?}", given.command),
            )),
            None => Ok(()),
        }
    }
}

/// Databases of one process must not share a name.
static NEXT_RUN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

fn conversation_of(command: &Command) -> Option<&str> {
    match command {
        Command::Send { conversation, .. }
        | Command::Forward { to: conversation, .. }
        | Command::Schedule { conversation, .. }
        | Command::Typing { conversation, .. }
        | Command::MarkRead { conversation, .. }
        | Command::SetTimer { conversation, .. }
        | Command::Open { conversation, .. }
        | Command::React { conversation, .. }
        | Command::Edit { conversation, .. }
        | Command::Delete { conversation, .. }
        | Command::Pin { conversation, .. }
        | Command::CreatePoll { conversation, .. }
        | Command::Vote { conversation, .. }
        | Command::ClosePoll { conversation, .. }
        | Command::AddMembers { conversation, .. }
        | Command::RemoveMember { conversation, .. }
        | Command::Rename { conversation, .. }
        | Command::Describe { conversation, .. }
        | Command::SetPicture { conversation, .. }
        | Command::TransferOwnership { conversation, .. }
        | Command::SetRole { conversation, .. }
        | Command::MakeLink { conversation, .. }
        | Command::RevokeLink { conversation, .. }
        | Command::AnswerJoin { conversation, .. }
        | Command::Leave { conversation }
        | Command::Accept { conversation }
        | Command::Decline { conversation } => Some(conversation),
        _ => None,
    }
}
