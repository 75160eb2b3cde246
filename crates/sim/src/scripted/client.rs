//! A client that speaks the wire with seeds it was handed: no MLS, no database, but all the rules of the protocol that make a message
//! show exactly once (rules 1 to 4).
//!
//! What always holds: everything in [`Room`] but its [`Phase`] survives a crash, as if each step were a transaction.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wire::{
    ChainHash, ClientFrame, Code, Entry, EntryId, EntryKind, Epoch, Hello, LogId, OpenLog, Push, RelayName, Request,
    Response, Seq, ServerFrame, Subscription,
};

use super::group::{Change, Content, Group, Member};
use crate::chance::Chance;
use crate::mutants::Mutant;
use crate::net::{LinkId, Net, RelayId};
use crate::violation::{Violation, ensure};

/// A conversation's number.
pub type RoomId = usize;

/// Appends in flight of one room.
const IN_FLIGHT: usize = 16;

/// What lets a new member in.
#[derive(Debug, Clone)]
pub struct Welcome {
    /// The state after the commit that adds.
    pub group: Group,
    /// That commit.
    pub cursor: u64,
    /// The hash head after it.
    pub chain: ChainHash,
}

/// What the world learns from a client.
#[derive(Debug, Clone)]
pub enum Report {
    /// The relay acknowledged an append.
    Acknowledged { room: RoomId, seq: u64, id: EntryId, text: Option<u64> },
    /// A commit of this client lets somebody in.
    Welcome { room: RoomId, to: Member, welcome: Box<Welcome> },
    /// An intent no longer applies.
    Obsolete { intent: u64 },
}

#[derive(Debug, Clone)]
struct Outgoing {
    text: u64,
    id: EntryId,
    epoch: u64,
    acknowledged: bool,
    /// Sent on the present connection and not answered yet, under this pipe number.
    in_flight: Option<u32>,
    /// Refused because its epoch is over: waits for the commit.
    stale: bool,
}

#[derive(Debug, Clone)]
struct PendingCommit {
    id: EntryId,
    epoch: u64,
    intent: u64,
    change: Change,
    nonce: u64,
    body: wire::Bytes,
    next: wire::EpochPublicKey,
    in_flight: bool,
    stale: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Opening,
    /// Was too slow for a subscription: reads page by page, then subscribes again.
    Reading,
    /// Subscribed; caught up when the cursor has reached this.
    Following(u64),
}

/// What a client knows of a conversation.
pub struct Room {
    /// The log.
    pub log: LogId,
    /// Where it is.
    pub relay: RelayId,
    /// The present state.
    pub group: Group,
    /// The last entry that was processed.
    pub cursor: u64,
    /// The hash head there.
    pub chain: ChainHash,
    /// What the user sees: place and text.
    pub shown: Vec<(u64, u64)>,
    /// Own intents that are not done.
    pub intents: VecDeque<(u64, Change)>,
    /// From which commit on and up to which one this client was a member.
    pub stays: Vec<(u64, Option<u64>)>,
    seen: BTreeSet<EntryId>,
    outbox: VecDeque<Outgoing>,
    pending: Option<PendingCommit>,
    previous: Option<Group>,
    welcomes: Vec<Welcome>,
    /// Read but not stored yet: only a mutant leaves something here.
    unstored: Vec<(u64, u64)>,
    phase: Phase,
    pipe: u32,
}

impl Room {
    fn new(log: LogId, relay: RelayId, welcome: Welcome) -> Self {
        Self {
            log,
            relay,
            stays: vec![(welcome.cursor, None)],
            group: welcome.group,
            cursor: welcome.cursor,
            chain: welcome.chain,
            shown: Vec::new(),
            intents: VecDeque::new(),
            seen: BTreeSet::new(),
            outbox: VecDeque::new(),
            pending: None,
            previous: None,
            welcomes: Vec::new(),
            unstored: Vec::new(),
            phase: Phase::Closed,
            pipe: 0,
        }
    }

    /// True while this client is a member.
    pub fn is_member(&self) -> bool {
        self.stays.last().is_some_and(|(_, until)| until.is_none())
    }

    /// True if nothing waits to be sent.
    pub fn is_idle(&self) -> bool {
        !self.is_member() || (self.outbox.is_empty() && self.intents.is_empty())
    }

    /// True if it follows its log and has caught up, or is no member any more.
    pub fn is_following(&self) -> bool {
        !self.is_member()
            || matches!(self.phase, Phase::Following(head) if self.cursor >= head) && self.unstored.is_empty()
    }

    /// For the report of a run that doesn't come to rest.
    pub fn describe(&self) -> String {
        format!(
            "epoch {} cursor {} {:?}, {} texts, {} intents, pending {:?}",
            self.group.epoch,
            self.cursor,
            self.phase,
            self.outbox.len(),
            self.intents.len(),
            self.pending.as_ref().map(|pending| (pending.epoch, pending.in_flight, pending.stale))
        )
    }

    fn disconnected(&mut self) {
        self.phase = Phase::Closed;
        self.pipe = 0;
        for outgoing in &mut self.outbox {
            (outgoing.in_flight, outgoing.stale) = (None, false);
        }
        if let Some(pending) = &mut self.pending {
            (pending.in_flight, pending.stale) = (false, false);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Open(RoomId),
    Subscribe,
    Read(RoomId),
    Append(RoomId, EntryId, u32),
    Commit(RoomId, EntryId),
    /// Of a removed member, who must get nothing.
    Attack,
}

struct Connection {
    link: LinkId,
    hello: Option<Hello>,
    next_request: u64,
    asked: BTreeMap<u64, Asked>,
}

impl Connection {
    fn ask(&mut self, net: &mut Net, asked: Asked, request: Request) {
        self.next_request += 1;
        self.asked.insert(self.next_request, asked);
        net.send(self.link, &ClientFrame { id: self.next_request, request });
    }
}

/// See the module's documentation.
pub struct Client {
    me: Member,
    connections: BTreeMap<RelayId, Connection>,
    /// Its conversations.
    pub rooms: BTreeMap<RoomId, Room>,
    chance: Chance,
    mutant: Option<Mutant>,
}

impl Client {
    /// A client that is in no conversation.
    pub fn new(me: Member, chance: Chance, mutant: Option<Mutant>) -> Self {
        Self { me, connections: BTreeMap::new(), rooms: BTreeMap::new(), chance, mutant }
    }

    /// Takes a welcome, now or once this client has read of its own removal before.
    pub fn welcome(&mut self, id: RoomId, log: LogId, relay: RelayId, welcome: Welcome) {
        match self.rooms.get_mut(&id) {
            None => {
                self.rooms.insert(id, Room::new(log, relay, welcome));
            }
            Some(room) => {
                room.welcomes.push(welcome);
                self.rejoin(id);
            }
        }
    }

    fn rejoin(&mut self, id: RoomId) {
        let Some(room) = self.rooms.get_mut(&id).filter(|room| !room.is_member() && !room.welcomes.is_empty()) else {
            return;
        };
        let welcome = room.welcomes.remove(0);
        room.stays.push((welcome.cursor, None));
        (room.group, room.cursor, room.chain) = (welcome.group, welcome.cursor, welcome.chain);
        (room.previous, room.phase) = (None, Phase::Closed);
    }

    /// The user writes.
    pub fn write(&mut self, id: RoomId, text: u64) -> bool {
        let Some(room) = self.rooms.get_mut(&id).filter(|room| room.is_member()) else { return false };
        let outgoing = Outgoing {
            text,
            id: EntryId(self.chance.bytes()),
            epoch: room.group.epoch,
            acknowledged: false,
            in_flight: None,
            stale: false,
        };
        room.outbox.push_back(outgoing);
        true
    }

    /// The user wants a change.
    pub fn intend(&mut self, id: RoomId, intent: u64, change: Change) -> bool {
        let Some(room) = self.rooms.get_mut(&id).filter(|room| room.is_member()) else { return false };
        room.intents.push_back((intent, change));
        true
    }

    /// The process dies and comes back.
    pub fn crash(&mut self, net: &mut Net) {
        for connection in std::mem::take(&mut self.connections).into_values() {
            net.cut(connection.link);
        }
        for room in self.rooms.values_mut() {
            room.unstored.clear();
            room.disconnected();
        }
    }

    /// A connection ended.
    pub fn lost(&mut self, link: LinkId) {
        let Some((relay, _)) = self.connections.iter().find(|(_, connection)| connection.link == link) else { return };
        let relay = *relay;
        self.connections.remove(&relay);
        for room in self.rooms.values_mut().filter(|room| room.relay == relay) {
            room.disconnected();
        }
    }

    /// Does what is to be done: connects, opens, sends.
    pub fn pump(&mut self, net: &mut Net, now: wire::UnixMillis, reports: &mut Vec<Report>) {
        let Self { connections, rooms, chance, mutant, me } = self;
        for (id, room) in rooms.iter_mut() {
            let unstored = std::mem::take(&mut room.unstored);
            room.shown.extend(unstored);
            if let Place::Vacant(place) = connections.entry(room.relay) {
                let Some(link) = net.connect(room.relay, now) else { continue };
                let connection = Connection { link, hello: None, next_request: 0, asked: BTreeMap::new() };
                place.insert(connection);
            }
            let Some(connection) = connections.get_mut(&room.relay) else { continue };
            let Some(hello) = connection.hello.clone() else { continue };
            if !room.is_member() {
                continue;
            }
            match room.phase {
                Phase::Closed => {
                    room.phase = Phase::Opening;
                    let open = open(&room.group, &hello, net.name(room.relay), room.log, room.group.epoch);
                    connection.ask(net, Asked::Open(*id), Request::Open { logs: vec![open] });
                }
                Phase::Following(head) if room.cursor >= head => {
                    send_messages(*id, room, connection, net);
                    prepare_commit(*me, room, chance, *mutant, reports);
                    send_commit(*id, room, connection, net);
                }
                Phase::Opening | Phase::Reading | Phase::Following(_) => {}
            }
        }
    }

    /// A removed member tries to go on with the keys it had.
    pub fn attack(&mut self, id: RoomId, net: &mut Net) {
        let Some(room) = self.rooms.get(&id).filter(|room| !room.is_member()) else { return };
        let Some(connection) = self.connections.get_mut(&room.relay) else { return };
        let Some(hello) = connection.hello.clone() else { return };
        let last = room.previous.as_ref().unwrap_or(&room.group);
        let (log, epoch) = (room.log, last.epoch);
        let after = Epoch(epoch + 1);
        let entry = EntryId(self.chance.bytes());
        let body = last.seal(entry, Content::Text(u64::MAX));
        let append =
            |epoch| Request::Append { log, epoch, pipe: 0, id: entry, body: body.clone(), commitment: [0; 32] };
        let request = match self.chance.below(7) {
            0 => Request::Open { logs: vec![open(last, &hello, net.name(room.relay), log, epoch + 1)] },
            1 => append(Epoch(epoch)),
            2 => append(after),
            3 => Request::Read { log, epoch: after, from: Seq(1), max_bytes: 65536 },
            4 => Request::Subscribe { logs: vec![Subscription { log, epoch: after, from: Seq(1) }] },
            5 => Request::Signal { log, epoch: after, body },
            _ => Request::Commit {
                log,
                epoch: Epoch(epoch),
                id: entry,
                next: last.key().public(),
                body,
                end_watches: false,
                repost: self.chance.per_mille(500),
            },
        };
        connection.ask(net, Asked::Attack, request);
    }

    /// A frame came in. Entries that it holds are handed to `saw` first.
    pub fn receive(
        &mut self,
        link: LinkId,
        frame: ServerFrame,
        net: &mut Net,
        saw: &mut dyn FnMut(LogId, &Entry) -> Result<(), Violation>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Violation> {
        let Some(connection) = self.connections.values_mut().find(|connection| connection.link == link) else {
            return Ok(());
        };
        match frame {
            ServerFrame::Hello(hello) => connection.hello = Some(hello),
            ServerFrame::Response { id, result } => {
                let asked = connection.asked.remove(&id);
                let asked = asked.ok_or_else(|| Violation::new("I9", "an answer to nothing that was asked"))?;
                if let (Asked::Read(id), Ok(Response::Page { entries, .. })) = (asked, &result)
                    && let Some(log) = self.rooms.get(&id).map(|room| room.log)
                {
                    for entry in entries {
                        saw(log, entry)?;
                    }
                }
                self.answered(link, asked, result, net, reports)?;
            }
            ServerFrame::Push(Push::Entries { log, entries, .. }) => {
                for entry in &entries {
                    saw(log, entry)?;
                }
                let Some(id) = self.room_of(log) else { return Ok(()) };
                for entry in &entries {
                    self.process(id, entry, reports)?;
                }
            }
            ServerFrame::Push(Push::Lagged { log, .. }) => {
                let mut rooms = self.rooms.iter_mut();
                if let Some((id, room)) = rooms.find(|(_, room)| room.log == log)
                    && matches!(room.phase, Phase::Following(_))
                {
                    room.phase = Phase::Reading;
                    read(*id, room, connection, net);
                }
            }
            ServerFrame::Push(_) => {}
        }
        Ok(())
    }

    fn room_of(&self, log: LogId) -> Option<RoomId> {
        self.rooms.iter().find(|(_, room)| room.log == log).map(|(id, _)| *id)
    }

    fn answered(
        &mut self,
        link: LinkId,
        asked: Asked,
        result: Result<Response, wire::Error>,
        net: &mut Net,
        reports: &mut Vec<Report>,
    ) -> Result<(), Violation> {
        match asked {
            Asked::Attack => {
                let refused = match result {
                    Ok(Response::Opened(states)) => states.iter().all(|state| state.error.is_some()),
                    Ok(_) => false,
                    Err(_) => true,
                };
                ensure!(refused, "I4", "member {} was served after its removal", self.me);
            }
            Asked::Subscribe => {
                if let Err(error) = result {
                    ensure!(error.code.is_transient(), "I2", "a subscription was refused: {error:?}");
                    net.cut(link);
                    self.lost(link);
                }
            }
            Asked::Read(id) => {
                let (entries, head, more) = match result {
                    Ok(Response::Page { entries, head, more }) => (entries, head, more),
                    Ok(_) => return Err(Violation::new("I9", "an answer that doesn't fit what was asked")),
                    Err(error) => {
                        ensure!(error.code.is_transient(), "I2", "reading was refused: {error:?}");
                        net.cut(link);
                        self.lost(link);
                        return Ok(());
                    }
                };
                for entry in &entries {
                    self.process(id, entry, reports)?;
                }
                let Some(room) = self.rooms.get_mut(&id).filter(|room| room.phase == Phase::Reading) else {
                    return Ok(());
                };
                let Some(connection) = self.connections.get_mut(&room.relay) else { return Ok(()) };
                if more {
                    read(id, room, connection, net);
                } else {
                    follow(room, head.0, connection, net);
                }
            }
            Asked::Open(id) => {
                let Some(room) = self.rooms.get_mut(&id) else { return Ok(()) };
                let Some(connection) = self.connections.get_mut(&room.relay) else { return Ok(()) };
                let state = match result {
                    Ok(Response::Opened(states)) => states.into_iter().next(),
                    Ok(_) => None,
                    Err(error) => {
                        ensure!(error.code.is_transient(), "I2", "opening was refused: {error:?}");
                        room.phase = Phase::Closed;
                        return Ok(());
                    }
                };
                let state = state.ok_or_else(|| Violation::new("I9", "an answer that doesn't fit what was asked"))?;
                match state.error {
                    None => {
                        follow(room, state.head.0, connection, net);
                    }
                    // The log is being created.
                    Some(Code::NotFound) if room.cursor == 0 => room.phase = Phase::Closed,
                    Some(code) => {
                        return Err(Violation::new("I2", format!("member {} can't open its epoch: {code:?}", self.me)));
                    }
                }
            }
            Asked::Append(id, entry, pipe) => {
                let Some(room) = self.rooms.get_mut(&id) else { return Ok(()) };
                let outgoing = room.outbox.iter_mut().find(|outgoing| outgoing.id == entry);
                match result {
                    Ok(Response::Appended { seq, .. }) => {
                        let text = outgoing.map(|outgoing| {
                            (outgoing.acknowledged, outgoing.in_flight) = (true, None);
                            outgoing.text
                        });
                        reports.push(Report::Acknowledged { room: id, seq: seq.0, id: entry, text });
                    }
                    Ok(_) => return Err(Violation::new("I9", "an answer that doesn't fit what was asked")),
                    Err(error) => {
                        let known = matches!(error.code, Code::StaleEpoch | Code::Aborted) || error.code.is_transient();
                        ensure!(known, "I2", "an append was refused: {error:?}");
                        room.pipe = room.pipe.max(pipe + 1);
                        if let Some(outgoing) = outgoing {
                            outgoing.in_flight = None;
                            outgoing.stale = error.code == Code::StaleEpoch;
                        }
                    }
                }
            }
            Asked::Commit(id, entry) => {
                let Some(room) = self.rooms.get_mut(&id) else { return Ok(()) };
                match result {
                    Ok(Response::Appended { seq, .. }) => {
                        reports.push(Report::Acknowledged { room: id, seq: seq.0, id: entry, text: None });
                        if self.mutant == Some(Mutant::DoubleMerge)
                            && let Some(pending) = room.pending.clone().filter(|pending| pending.id == entry)
                        {
                            room.group = room.group.after(pending.change, pending.nonce, false);
                        }
                    }
                    Ok(_) => return Err(Violation::new("I9", "an answer that doesn't fit what was asked")),
                    Err(error) => {
                        let known = error.code == Code::StaleEpoch || error.code.is_transient();
                        ensure!(known, "I3", "a commit was refused: {error:?}");
                        if let Some(pending) = room.pending.as_mut().filter(|pending| pending.id == entry) {
                            pending.in_flight = false;
                            pending.stale = error.code == Code::StaleEpoch;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// One entry, in log order.
    fn process(&mut self, id: RoomId, entry: &Entry, reports: &mut Vec<Report>) -> Result<(), Violation> {
        let (me, mutant) = (self.me, self.mutant);
        let Some(room) = self.rooms.get_mut(&id) else { return Ok(()) };
        if entry.seq.0 <= room.cursor || !room.is_member() {
            return Ok(());
        }
        ensure!(
            entry.prev.0 == room.cursor,
            "I2",
            "member {me} read entry {} behind {}, after {}",
            entry.seq,
            entry.prev,
            room.cursor
        );
        room.cursor = entry.seq.0;
        room.chain = room.chain.after(entry);
        let mut group = &room.group;
        if entry.epoch.0 != group.epoch {
            // Rule 1: behind the commit that ended its epoch an entry is void.
            match &room.previous {
                Some(previous) if mutant == Some(Mutant::VoidRuleOff) && entry.kind == EntryKind::Message => {
                    group = previous;
                }
                _ => return Ok(()),
            }
        }
        if !room.seen.insert(entry.id) && mutant != Some(Mutant::RetryWithoutIdCheck) {
            return Ok(());
        }
        let content = group.open(entry.id, &entry.body);
        match (entry.kind, content) {
            (EntryKind::Message, Some(Content::Text(text))) => {
                let shown =
                    if mutant == Some(Mutant::CursorBeforeMessage) { &mut room.unstored } else { &mut room.shown };
                shown.push((entry.seq.0, text));
                room.outbox.retain(|outgoing| outgoing.id != entry.id);
            }
            (EntryKind::Commit, Some(Content::Commit { intent, change, nonce })) => {
                let keep_key = mutant == Some(Mutant::RemovedKeyKept);
                let next = group.after(change, nonce, keep_key);
                ensure!(group.applies(change), "I3", "a commit that doesn't apply: {change:?}");
                ensure!(entry.next == Some(next.key().public()), "I3", "a commit that opens a foreign epoch");
                merge(me, id, room, next, intent, mutant, reports);
                if change == Change::Remove(me) {
                    leave(room, reports);
                    self.rejoin(id);
                } else {
                    reseal(room, &mut self.chance, me)?;
                }
            }
            (EntryKind::Commit, _) => {
                return Err(Violation::new("I3", format!("member {me} can't process the commit at {}", entry.seq)));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Moves to the next epoch, on an own commit or another's.
fn merge(
    me: Member,
    id: RoomId,
    room: &mut Room,
    next: Group,
    intent: u64,
    mutant: Option<Mutant>,
    reports: &mut Vec<Report>,
) {
    let previous = std::mem::replace(&mut room.group, next);
    let own = room.intents.iter().any(|(number, _)| *number == intent);
    if own {
        for to in room.group.members.difference(&previous.members).filter(|to| **to != me) {
            let welcome = Welcome { group: room.group.clone(), cursor: room.cursor, chain: room.chain };
            reports.push(Report::Welcome { room: id, to: *to, welcome: Box::new(welcome) });
        }
        room.intents.retain(|(number, _)| *number != intent);
        room.pending = None;
    } else if let Some(pending) = &mut room.pending {
        match mutant {
            Some(Mutant::PendingCommitReused) => {
                pending.epoch = room.group.epoch;
                (pending.in_flight, pending.stale) = (false, false);
            }
            Some(Mutant::LostIntent) => {
                let lost = pending.intent;
                room.intents.retain(|(number, _)| *number != lost);
                room.pending = None;
            }
            _ => room.pending = None,
        }
    }
    room.previous = Some(previous);
    room.phase = Phase::Closed;
    room.pipe = 0;
}

/// The own removal: what is on its way will not be sent.
fn leave(room: &mut Room, reports: &mut Vec<Report>) {
    if let Some((_, until)) = room.stays.last_mut() {
        *until = Some(room.cursor);
    }
    room.outbox.clear();
    room.pending = None;
    reports.extend(room.intents.drain(..).map(|(intent, _)| Report::Obsolete { intent }));
}

/// What the ended epoch did not take goes into the next one, sealed anew (rule 3).
fn reseal(room: &mut Room, chance: &mut Chance, me: Member) -> Result<(), Violation> {
    for outgoing in &mut room.outbox {
        ensure!(
            !outgoing.acknowledged,
            "I1",
            "text {} of member {me} was acknowledged and is not there",
            outgoing.text
        );
        outgoing.id = EntryId(chance.bytes());
        outgoing.epoch = room.group.epoch;
        (outgoing.in_flight, outgoing.stale) = (None, false);
    }
    Ok(())
}

fn send_messages(id: RoomId, room: &mut Room, connection: &mut Connection, net: &mut Net) {
    let in_flight = room.outbox.iter().filter(|outgoing| outgoing.in_flight.is_some()).count();
    // What is in flight on a broken pipe will be refused: order is kept by waiting for that.
    if room.outbox.iter().any(|outgoing| outgoing.stale || outgoing.in_flight.is_some_and(|pipe| pipe != room.pipe)) {
        return;
    }
    let mut free = IN_FLIGHT.saturating_sub(in_flight);
    for outgoing in &mut room.outbox {
        if outgoing.in_flight.is_some() || outgoing.acknowledged {
            continue;
        }
        if free == 0 {
            break;
        }
        free -= 1;
        outgoing.in_flight = Some(room.pipe);
        let append = Request::Append {
            log: room.log,
            epoch: Epoch(outgoing.epoch),
            pipe: room.pipe,
            id: outgoing.id,
            body: room.group.seal(outgoing.id, Content::Text(outgoing.text)),
            commitment: [7; 32],
        };
        connection.ask(net, Asked::Append(id, outgoing.id, room.pipe), append);
    }
}

/// Makes a commit of the first intent that still applies.
fn prepare_commit(me: Member, room: &mut Room, chance: &mut Chance, mutant: Option<Mutant>, reports: &mut Vec<Report>) {
    while room.pending.is_none() {
        let Some((intent, change)) = room.intents.front().copied() else { return };
        if !room.group.applies(change) || change == Change::Remove(me) {
            room.intents.pop_front();
            reports.push(Report::Obsolete { intent });
            continue;
        }
        let (id, nonce) = (EntryId(chance.bytes()), u64::from_be_bytes(chance.bytes()));
        let body = room.group.seal(id, Content::Commit { intent, change, nonce });
        let next = room.group.after(change, nonce, mutant == Some(Mutant::RemovedKeyKept)).key().public();
        let epoch = room.group.epoch;
        room.pending =
            Some(PendingCommit { id, epoch, intent, change, nonce, body, next, in_flight: false, stale: false });
    }
}

fn send_commit(id: RoomId, room: &mut Room, connection: &mut Connection, net: &mut Net) {
    let Some(pending) = room.pending.as_mut().filter(|pending| !pending.in_flight && !pending.stale) else { return };
    pending.in_flight = true;
    let commit = Request::Commit {
        log: room.log,
        epoch: Epoch(pending.epoch),
        id: pending.id,
        next: pending.next,
        body: pending.body.clone(),
        end_watches: false,
        repost: false,
    };
    connection.ask(net, Asked::Commit(id, pending.id), commit);
}

fn follow(room: &mut Room, head: u64, connection: &mut Connection, net: &mut Net) {
    room.phase = Phase::Following(head);
    let subscription = Subscription { log: room.log, epoch: Epoch(room.group.epoch), from: Seq(room.cursor + 1) };
    connection.ask(net, Asked::Subscribe, Request::Subscribe { logs: vec![subscription] });
}

fn read(id: RoomId, room: &Room, connection: &mut Connection, net: &mut Net) {
    let (log, epoch, from) = (room.log, Epoch(room.group.epoch), Seq(room.cursor + 1));
    connection.ask(net, Asked::Read(id), Request::Read { log, epoch, from, max_bytes: 1_000 });
}

fn open(group: &Group, hello: &Hello, relay: &RelayName, log: LogId, epoch: u64) -> OpenLog {
    OpenLog { log, epoch: Epoch(epoch), signature: group.key().open(&hello.nonce, relay, log, Epoch(epoch)) }
}
