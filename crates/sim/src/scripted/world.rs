//! A run of scripted clients: which step comes next, what must be true at its end.

use std::collections::{BTreeMap, BTreeSet};

use store::Store as _;
use wire::{ClientFrame, Code, Entry, EntryId, EntryKind, Epoch, LogId, Request, Response, ServerFrame, UnixMillis};

use super::client::{Client, Report, RoomId, Welcome};
use super::group::{Change, Content, Group, Member};
use crate::brief::{Brief, BriefFrame};
use crate::chance::Chance;
use crate::mutants::Mutant;
use crate::net::{LinkId, Net, RelayId};
use crate::run::{Options, Outcome};
use crate::store::{Faults, now};
use crate::trace::Trace;
use crate::violation::{Violation, ensure};

/// Rounds in which everything must come to rest once the faults are over; a quarter of a second each.
const ROUNDS: usize = 4_000;

struct RoomPlan {
    log: LogId,
    relay: RelayId,
    first: Group,
    /// The errand that creates the log, until it has.
    creation: Option<Creation>,
}

#[derive(Default)]
struct Creation {
    link: Option<LinkId>,
    sent: bool,
}

struct Written {
    room: RoomId,
    author: Member,
    /// Which of the author's stays it was written in.
    stay: usize,
}

struct Acknowledged {
    room: RoomId,
    seq: u64,
    id: EntryId,
    text: Option<u64>,
}

/// What people were told, and what anybody has seen.
#[derive(Default)]
struct Ledger {
    texts: BTreeMap<u64, Written>,
    intents: BTreeMap<u64, Written>,
    obsolete: BTreeSet<u64>,
    acknowledged: Vec<Acknowledged>,
    observed: BTreeMap<(LogId, u64), Entry>,
    /// The highest place that each member was sent, by log.
    highest: BTreeMap<(Member, LogId), u64>,
}

impl Ledger {
    fn saw(&mut self, member: Member, log: LogId, entry: &Entry) -> Result<(), Violation> {
        let before = self.observed.entry((log, entry.seq.0)).or_insert_with(|| entry.clone());
        ensure!(before == entry, "I1", "entry {} of {log:?} was shown with two contents", entry.seq);
        let highest = self.highest.entry((member, log)).or_default();
        *highest = (*highest).max(entry.seq.0);
        Ok(())
    }
}

/// A run.
pub struct World {
    chance: Chance,
    net: Net,
    clients: Vec<Client>,
    rooms: Vec<RoomPlan>,
    welcomes: Vec<(RoomId, Member, Welcome)>,
    ledger: Ledger,
    owners: BTreeMap<LinkId, Member>,
    trace: Trace,
    now: UnixMillis,
    numbers: u64,
    mutant: Option<Mutant>,
}

/// One run from its seed to its verdict.
pub fn run(options: Options) -> Outcome {
    let steps = options.steps;
    let mut world = World::new(options);
    let verdict = (0..steps).try_for_each(|_| world.step()).and_then(|()| world.finish());
    Outcome {
        hash: world.trace.hash(),
        steps: world.trace.step(),
        last: world.trace.last().map(str::to_owned).collect(),
        verdict,
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Up,
    Down,
    Sync,
    Pump,
    Welcome,
    Write,
    Intend,
    Attack,
    Advance,
    Cut,
    CrashClient,
    CrashRelay,
    StartRelay,
    Junk,
}

const STEPS: [(Step, u32); 14] = [
    (Step::Up, 300),
    (Step::Down, 300),
    (Step::Sync, 120),
    (Step::Pump, 200),
    (Step::Welcome, 30),
    (Step::Write, 80),
    (Step::Intend, 20),
    (Step::Attack, 20),
    (Step::Advance, 30),
    (Step::Cut, 6),
    (Step::CrashClient, 6),
    (Step::CrashRelay, 3),
    (Step::StartRelay, 40),
    (Step::Junk, 3),
];

impl World {
    fn new(options: Options) -> Self {
        let mutant = options.mutant;
        let mut chance = Chance::new(options.seed, 1);
        let faults = Faults {
            unavailable: *chance.pick(&[0, 10, 50]).unwrap_or(&0),
            unknown: *chance.pick(&[0, 10, 30]).unwrap_or(&0),
            race: *chance.pick(&[0, 0, 500]).unwrap_or(&0),
            full: false,
        };
        let relays = 1 + chance.below(2);
        let net = Net::new(&["a.example", "b.example"][..relays], chance.fork(), faults, mutant);
        let members = 2 + chance.below(5);
        let mut clients: Vec<Client> = (0..members).map(|me| Client::new(me, chance.fork(), mutant)).collect();
        let mut rooms = Vec::new();
        for id in 0..1 + chance.below(3) {
            let mut inside: BTreeSet<Member> = (0..members).filter(|_| chance.per_mille(600)).collect();
            inside.insert(id % members);
            let plan = RoomPlan {
                log: LogId(chance.bytes()),
                relay: chance.below(relays),
                first: Group::new(chance.bytes(), inside.clone()),
                creation: Some(Creation::default()),
            };
            for member in inside {
                let welcome = Welcome { group: plan.first.clone(), cursor: 0, chain: wire::ChainHash::default() };
                clients[member].welcome(id, plan.log, plan.relay, welcome);
            }
            rooms.push(plan);
        }
        Self {
            chance,
            net,
            clients,
            rooms,
            welcomes: Vec::new(),
            ledger: Ledger::default(),
            owners: BTreeMap::new(),
            trace: options.trace.map_or_else(Trace::default, Trace::to),
            now: UnixMillis(1_800_000_000_000),
            numbers: 0,
            mutant,
        }
    }

    fn step(&mut self) -> Result<(), Violation> {
        self.trace.next_step();
        let Some(at) = self.chance.weighted(STEPS.map(|(_, weight)| weight)) else { return Ok(()) };
        match STEPS[at].0 {
            Step::Up => {
                let links = self.net.upward();
                if let Some(link) = self.chance.pick(&links).copied() {
                    self.up(link);
                }
            }
            Step::Down => {
                let links = self.net.downward();
                if let Some(link) = self.chance.pick(&links).copied() {
                    self.down(link)?;
                }
            }
            Step::Sync => {
                let relays = self.net.waiting();
                if let Some(relay) = self.chance.pick(&relays).copied() {
                    self.trace.line(format_args!("relay {relay} syncs"));
                    self.net.sync(relay);
                }
            }
            Step::Pump => {
                let client = self.chance.below(self.clients.len());
                self.pump(client);
                self.create();
            }
            Step::Welcome => {
                let at = self.chance.below(self.welcomes.len());
                self.hand_over(at);
            }
            Step::Write => self.write(),
            Step::Intend => self.intend(),
            Step::Attack => {
                let client = self.chance.below(self.clients.len());
                let outside: Vec<RoomId> = self.clients[client]
                    .rooms
                    .iter()
                    .filter(|(_, room)| !room.is_member())
                    .map(|(id, _)| *id)
                    .collect();
                if let Some(room) = self.chance.pick(&outside).copied() {
                    self.trace.line(format_args!("member {client} tries to get back into room {room}"));
                    self.clients[client].attack(room, &mut self.net);
                }
            }
            Step::Advance => {
                let millis = *self.chance.pick(&[1, 20, 300, 2_500, 60_000]).unwrap_or(&1);
                self.now = self.now.plus(millis);
                self.net.tick(self.now);
            }
            Step::Cut => {
                let links = self.net.linked();
                if let Some(link) = self.chance.pick(&links).copied() {
                    self.trace.line(format_args!("{link:?} is cut"));
                    self.net.cut(link);
                    self.lost(link);
                }
            }
            Step::CrashClient => {
                let client = self.chance.below(self.clients.len());
                self.trace.line(format_args!("member {client} crashes"));
                self.clients[client].crash(&mut self.net);
            }
            Step::CrashRelay => {
                let relay = self.chance.below(self.net.relays());
                self.trace.line(format_args!("relay {relay} crashes"));
                for link in self.net.crash(relay) {
                    self.lost(link);
                }
            }
            Step::StartRelay => self.start_relays(),
            Step::Junk => {
                let links = self.net.linked();
                if let Some(link) = self.chance.pick(&links).copied() {
                    self.junk(link);
                }
            }
        }
        Ok(())
    }

    /// A connection of nobody's that talks nonsense; the relay must survive it.
    fn junk(&mut self, near: LinkId) {
        let relay = self.chance.below(self.net.relays());
        let Some(link) = self.net.connect(relay, self.now) else { return };
        for _ in 0..self.chance.below(4) {
            let mut bytes = self.chance.bytes::<40>().to_vec();
            bytes.truncate(self.chance.below(41));
            self.net.send_bytes(link, bytes.into());
        }
        let log = self.chance.pick(&self.rooms).map_or(LogId([0; 16]), |room| room.log);
        let epoch = Epoch(self.chance.between(0, 5));
        let read = Request::Read { log, epoch, from: wire::Seq(0), max_bytes: u32::MAX };
        self.net.send(link, &ClientFrame { id: near.0, request: read });
    }

    fn lost(&mut self, link: LinkId) {
        for client in &mut self.clients {
            client.lost(link);
        }
        for room in &mut self.rooms {
            if let Some(creation) = room.creation.as_mut().filter(|creation| creation.link == Some(link)) {
                *creation = Creation::default();
            }
        }
    }

    fn start_relays(&mut self) {
        for relay in 0..self.net.relays() {
            if !self.net.is_up(relay) {
                self.trace.line(format_args!("relay {relay} starts"));
                self.net.start(relay);
            }
        }
    }

    fn up(&mut self, link: LinkId) {
        if let Some(request) = self.net.deliver_up(link, self.now) {
            self.trace.line(format_args!("{link:?} up {}", Brief(&request)));
        }
    }

    fn down(&mut self, link: LinkId) -> Result<(), Violation> {
        let Some(frame) = self.net.deliver_down(link, self.now) else { return Ok(()) };
        let frame = frame?;
        self.trace.line(format_args!("{link:?} down {}", BriefFrame(&frame)));
        if let Some(room) = self
            .rooms
            .iter_mut()
            .find(|room| room.creation.as_ref().is_some_and(|creation| creation.link == Some(link)))
        {
            match frame {
                ServerFrame::Response { result: Ok(Response::Done), .. } => room.creation = None,
                ServerFrame::Response { result: Err(error), .. } if error.code == Code::AlreadyExists => {
                    room.creation = None;
                }
                ServerFrame::Response { .. } => room.creation = Some(Creation::default()),
                _ => return Ok(()),
            }
            self.net.cut(link);
            return Ok(());
        }
        let mut reports = Vec::new();
        let Some(member) = self.owners.get(&link).copied() else { return Ok(()) };
        let ledger = &mut self.ledger;
        let mut saw = |log: LogId, entry: &Entry| ledger.saw(member, log, entry);
        self.clients[member].receive(link, frame, &mut self.net, &mut saw, &mut reports)?;
        self.take(reports);
        Ok(())
    }

    fn create(&mut self) {
        for (id, room) in self.rooms.iter_mut().enumerate() {
            let Some(creation) = &mut room.creation else { continue };
            if creation.link.is_none() {
                creation.link = self.net.connect(room.relay, self.now);
            }
            if let Some(link) = creation.link.filter(|_| !creation.sent) {
                creation.sent = true;
                let request = Request::Create { log: room.log, epoch: Epoch(0), next: room.first.key().public() };
                self.net.send(link, &ClientFrame { id: id as u64 + 1, request });
            }
        }
    }

    fn pump(&mut self, client: Member) {
        let mut reports = Vec::new();
        let before: BTreeSet<LinkId> = self.net.linked().into_iter().collect();
        self.clients[client].pump(&mut self.net, self.now, &mut reports);
        for link in self.net.linked() {
            if !before.contains(&link) {
                self.owners.insert(link, client);
            }
        }
        self.take(reports);
    }

    fn take(&mut self, reports: Vec<Report>) {
        for report in reports {
            match report {
                Report::Acknowledged { room, seq, id, text } => {
                    self.ledger.acknowledged.push(Acknowledged { room, seq, id, text });
                }
                Report::Welcome { room, to, welcome } => self.welcomes.push((room, to, *welcome)),
                Report::Obsolete { intent } => {
                    self.ledger.obsolete.insert(intent);
                }
            }
        }
    }

    fn hand_over(&mut self, at: usize) {
        if at >= self.welcomes.len() {
            return;
        }
        // Of one member in one room the first comes first, as an inbox would have it.
        let (room, to) = (self.welcomes[at].0, self.welcomes[at].1);
        let at = self.welcomes.iter().position(|other| (other.0, other.1) == (room, to)).unwrap_or(at);
        let (room, to, welcome) = self.welcomes.remove(at);
        self.trace.line(format_args!("member {to} is let into room {room} at {}", welcome.cursor));
        let plan = &self.rooms[room];
        self.clients[to].welcome(room, plan.log, plan.relay, welcome);
    }

    fn write(&mut self) {
        let (room, author) = (self.chance.below(self.rooms.len()), self.chance.below(self.clients.len()));
        for _ in 0..1 + self.chance.below(3) {
            self.numbers += 1;
            let text = self.numbers;
            if self.clients[author].write(room, text) {
                let stay = self.clients[author].rooms.get(&room).map_or(0, |room| room.stays.len());
                self.ledger.texts.insert(text, Written { room, author, stay });
                self.trace.line(format_args!("member {author} writes {text} in room {room}"));
            }
        }
    }

    fn intend(&mut self) {
        let (room, author) = (self.chance.below(self.rooms.len()), self.chance.below(self.clients.len()));
        let whom = self.chance.below(self.clients.len());
        self.numbers += 1;
        let intent = self.numbers;
        let change = match self.chance.below(3) {
            0 => Change::Rename(intent),
            1 => Change::Add(whom),
            _ => Change::Remove(whom),
        };
        if self.clients[author].intend(room, intent, change) {
            let stay = self.clients[author].rooms.get(&room).map_or(0, |room| room.stays.len());
            self.ledger.intents.insert(intent, Written { room, author, stay });
            self.trace.line(format_args!("member {author} wants {change:?} in room {room}"));
        }
    }

    /// The faults end; everything must come to rest and be as promised.
    fn finish(&mut self) -> Result<(), Violation> {
        self.trace.line(format_args!("the faults are over"));
        self.net.set_faults(Faults::default());
        self.start_relays();
        for _ in 0..ROUNDS {
            self.trace.next_step();
            self.create();
            (0..self.clients.len()).for_each(|client| self.pump(client));
            for link in self.net.upward() {
                self.up(link);
            }
            (0..self.net.relays()).for_each(|relay| self.net.sync(relay));
            for link in self.net.downward() {
                self.down(link)?;
            }
            self.hand_over(0);
            if self.is_at_rest() {
                return self.check();
            }
            self.now = self.now.plus(250);
            self.net.tick(self.now);
        }
        Err(Violation::new("live", format!("nothing comes to rest: {}", self.unrest())))
    }

    fn is_at_rest(&self) -> bool {
        self.rooms.iter().all(|room| room.creation.is_none())
            && self.welcomes.is_empty()
            && self.net.upward().is_empty()
            && self.net.downward().is_empty()
            && self.net.waiting().is_empty()
            && self.clients.iter().all(|client| client.rooms.values().all(|room| room.is_idle() && room.is_following()))
    }

    fn unrest(&self) -> String {
        let rooms = self.clients.iter().enumerate().flat_map(|(member, client)| {
            client
                .rooms
                .iter()
                .filter(|(_, room)| !room.is_idle() || !room.is_following())
                .map(move |(id, room)| format!("member {member} in room {id}: {}", room.describe()))
        });
        let rooms: Vec<String> = rooms.collect();
        format!(
            "{} up, {} down, {} waiting, {} welcomes; {}",
            self.net.upward().len(),
            self.net.downward().len(),
            self.net.waiting().len(),
            self.welcomes.len(),
            rooms.join("; ")
        )
    }

    fn check(&self) -> Result<(), Violation> {
        (0..self.rooms.len()).try_for_each(|room| self.check_room(room))
    }

    fn check_room(&self, id: RoomId) -> Result<(), Violation> {
        let plan = &self.rooms[id];
        let store = self.net.store(plan.relay).ok_or_else(|| Violation::new("live", "a relay is down"))?;
        let page = now(store.read(plan.log.0, 1, None, usize::MAX))
            .map_err(|error| Violation::new("I1", format!("the log can't be read: {error}")))?;
        let entries: BTreeMap<u64, store::Entry> = page.entries.into_iter().map(|entry| (entry.seq, entry)).collect();
        for ((_, seq), seen) in self.ledger.observed.range((plan.log, 0)..=(plan.log, u64::MAX)) {
            let kept = entries.get(seq).is_some_and(|kept| kept.id == seen.id.0 && kept.body == seen.body);
            ensure!(kept, "I1", "entry {seq} of room {id} was read and is gone");
        }
        let truth = Transcript::of(&plan.first, entries.values(), self.mutant == Some(Mutant::RemovedKeyKept))?;

        // I1: what was acknowledged is in the log, at its place and once.
        for acknowledged in self.ledger.acknowledged.iter().filter(|acknowledged| acknowledged.room == id) {
            let kept = entries.get(&acknowledged.seq).is_some_and(|kept| kept.id == acknowledged.id.0);
            ensure!(kept, "I1", "entry {} of room {id} was acknowledged and is gone", acknowledged.seq);
            if let Some(text) = acknowledged.text {
                ensure!(
                    truth.count(text) == 1,
                    "I1",
                    "text {text} was acknowledged and counts {} times",
                    truth.count(text)
                );
            }
        }
        for (text, written) in self.ledger.texts.iter().filter(|(_, written)| written.room == id) {
            let count = truth.count(*text);
            ensure!(count <= 1, "I1", "text {text} counts {count} times");
            ensure!(count == 1 || !self.still_there(written), "I2", "text {text} was never sent");
        }
        // Rule 4: what one writes stays in the order written.
        let mut last: BTreeMap<Member, u64> = BTreeMap::new();
        for (_, text) in &truth.texts {
            let Some(written) = self.ledger.texts.get(text) else { continue };
            let before = last.insert(written.author, *text).unwrap_or(0);
            ensure!(before < *text, "I2", "member {} wrote {text} before {before}", written.author);
        }
        // I3: every intent has its effect once, or its owner was told.
        for (intent, written) in self.ledger.intents.iter().filter(|(_, written)| written.room == id) {
            let count = truth.intents.iter().filter(|done| **done == *intent).count();
            let obsolete = usize::from(self.ledger.obsolete.contains(intent));
            ensure!(count + obsolete <= 1, "I3", "intent {intent} had its effect {count} times, obsolete: {obsolete}");
            ensure!(count + obsolete == 1 || !self.still_there(written), "I3", "intent {intent} was lost");
        }
        for (member, client) in self.clients.iter().enumerate() {
            let stays = truth.stays.get(&member).cloned().unwrap_or_default();
            // I4: nobody was sent anything behind the commit that removed them.
            let end = stays.last().map_or(0, |(_, until)| until.unwrap_or(u64::MAX));
            let highest = self.ledger.highest.get(&(member, plan.log)).copied().unwrap_or(0);
            ensure!(highest <= end, "I4", "member {member} was sent entry {highest} after its removal at {end}");
            let Some(room) = client.rooms.get(&id) else {
                ensure!(stays.is_empty(), "I2", "member {member} never heard of room {id}");
                continue;
            };
            ensure!(room.stays == stays, "I2", "member {member} was in room {id} at {:?}, not {stays:?}", room.stays);
            // I2: everybody has every message of their epochs, in order, once.
            let expected: Vec<(u64, u64)> =
                truth.texts.iter().filter(|(seq, _)| within(&stays, *seq)).copied().collect();
            ensure!(
                room.shown == expected,
                "I2",
                "member {member} sees {:?} in room {id}, not {expected:?}",
                room.shown
            );
            if room.is_member() {
                ensure!(room.group == truth.group, "I3", "member {member} is in another group than the log says");
            }
        }
        let mut chains = self.clients.iter().filter_map(|client| client.rooms.get(&id)).filter(|room| room.is_member());
        if let Some(first) = chains.next() {
            ensure!(chains.all(|room| room.chain == first.chain), "I2", "two members hold different hash heads");
        }
        Ok(())
    }

    /// True if the author has been a member ever since.
    fn still_there(&self, written: &Written) -> bool {
        self.clients[written.author]
            .rooms
            .get(&written.room)
            .is_some_and(|room| room.is_member() && room.stays.len() == written.stay)
    }
}

fn within(stays: &[(u64, Option<u64>)], seq: u64) -> bool {
    stays.iter().any(|(from, until)| *from < seq && until.is_none_or(|until| seq <= until))
}

/// What a log says, read by the rules alone.
struct Transcript {
    group: Group,
    texts: Vec<(u64, u64)>,
    intents: Vec<u64>,
    stays: BTreeMap<Member, Vec<(u64, Option<u64>)>>,
}

impl Transcript {
    fn of<'a>(
        first: &Group,
        entries: impl Iterator<Item = &'a store::Entry>,
        keep_key: bool,
    ) -> Result<Self, Violation> {
        let stays = first.members.iter().map(|member| (*member, vec![(0, None)])).collect();
        let mut truth = Self { group: first.clone(), texts: Vec::new(), intents: Vec::new(), stays };
        let mut seen = BTreeSet::new();
        for entry in entries {
            if entry.epoch != truth.group.epoch || !seen.insert(entry.id) {
                continue;
            }
            match truth.group.open(EntryId(entry.id), &entry.body) {
                Some(Content::Text(text)) => truth.texts.push((entry.seq, text)),
                Some(Content::Commit { intent, change, nonce }) if entry.kind == EntryKind::Commit as u8 => {
                    truth.intents.push(intent);
                    truth.group = truth.group.after(change, nonce, keep_key);
                    match change {
                        Change::Add(member) => truth.stays.entry(member).or_default().push((entry.seq, None)),
                        Change::Remove(member) => {
                            if let Some((_, until)) = truth.stays.entry(member).or_default().last_mut() {
                                *until = Some(entry.seq);
                            }
                        }
                        Change::Rename(_) => {}
                    }
                }
                _ => {
                    let commit = entry.kind == EntryKind::Commit as u8;
                    ensure!(!commit, "I3", "the commit at {} is not valid", entry.seq);
                }
            }
        }
        Ok(truth)
    }

    fn count(&self, text: u64) -> usize {
        self.texts.iter().filter(|(_, other)| *other == text).count()
    }
}
