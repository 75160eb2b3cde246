//! Relays and the connections to them, one thread, every step drawn by the run: a frame moves when [`Net`] is told to move it.
//!
//! What always holds: frames of one connection and direction arrive in the order sent, each at most once (that is TCP); between
//! connections there is no order; a cut loses what was on its way down and a suffix of what was on its way up, and the relay
//! notices it late.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use relay::core::{Config, ConnId, Peer, Rates, Relay, Sink};
use wire::{ClientFrame, Code, Incarnation, RelayName, Request, Response, ServerFrame, UnixMillis};

use crate::chance::Chance;
use crate::mutants::Mutant;
use crate::store::{Disk, Faults, FaultyStore};
use crate::violation::Violation;

/// A connection's number, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// A relay's number.
pub type RelayId = usize;

type Running = (Arc<FaultyStore>, Arc<Relay<FaultyStore>>);

struct Pending {
    link: LinkId,
    id: u64,
    answer: Pin<Box<dyn Future<Output = Result<Response, wire::Error>> + Send>>,
}

struct Link {
    relay: RelayId,
    conn: ConnId,
    up: VecDeque<Bytes>,
    down: Arc<Down>,
    /// The client has lost it; the relay hasn't noticed yet.
    cut: bool,
}

/// What waits for a client.
struct Down {
    queue: Mutex<VecDeque<Bytes>>,
    bound: usize,
}

impl Down {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Down {
    fn push(&self, frame: Bytes) -> bool {
        let mut queue = self.queue();
        let waiting: usize = queue.iter().map(Bytes::len).sum();
        let taken = queue.is_empty() || waiting + frame.len() <= self.bound;
        if taken {
            queue.push_back(frame);
        }
        taken
    }
}

struct Host {
    name: RelayName,
    incarnation: Incarnation,
    restoring_until: Option<UnixMillis>,
    /// While it is down: what its disk holds.
    disk: Disk,
    running: Option<Running>,
    pending: Vec<Pending>,
    faults: Faults,
    /// Milliseconds that the time in its greetings is ahead of the world's.
    lies: i64,
    /// Goes on while the relay is up: one slice of retention.
    sweeping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// All relays and all connections.
pub struct Net {
    hosts: Vec<Host>,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    chance: Chance,
    mutant: Option<Mutant>,
    /// Bytes that wait for a client before it counts as slow.
    sink_bytes: usize,
}

impl Net {
    /// Relays of these names, all up and empty.
    pub fn new(names: &[&str], mut chance: Chance, faults: Faults, mutant: Option<Mutant>) -> Self {
        let sink_bytes = if chance.per_mille(200) { 2_000 } else { 256 * 1024 };
        let hosts = names
            .iter()
            .map(|name| Host {
                name: name.parse().expect("names of relays in the simulator are well formed"),
                incarnation: Incarnation(chance.bytes()),
                restoring_until: None,
                disk: Disk::default(),
                running: None,
                pending: Vec::new(),
                faults,
                lies: 0,
                sweeping: None,
            })
            .collect();
        let mut net = Self { hosts, links: BTreeMap::new(), next_link: 0, chance, mutant, sink_bytes };
        for relay in 0..net.hosts.len() {
            net.start(relay);
        }
        net
    }

    /// How many relays there are.
    pub fn relays(&self) -> usize {
        self.hosts.len()
    }

    /// A relay's name.
    pub fn name(&self, relay: RelayId) -> &RelayName {
        &self.hosts[relay].name
    }

    /// The relay of a name.
    pub fn named(&self, name: &RelayName) -> Option<RelayId> {
        self.hosts.iter().position(|host| host.name == *name)
    }

    /// True while the relay runs.
    pub fn is_up(&self, relay: RelayId) -> bool {
        self.hosts[relay].running.is_some()
    }

    /// What the relay's store holds, while it runs.
    pub fn store(&self, relay: RelayId) -> Option<Arc<FaultyStore>> {
        self.hosts[relay].running.as_ref().map(|(store, _)| store.clone())
    }

    /// The relay itself, while it runs.
    pub fn core(&self, relay: RelayId) -> Option<Arc<Relay<FaultyStore>>> {
        self.hosts[relay].running.as_ref().map(|(_, core)| core.clone())
    }

    /// Starts a relay over what its disk holds.
    pub fn start(&mut self, relay: RelayId) {
        let host = &mut self.hosts[relay];
        if host.running.is_some() {
            return;
        }
        let disk = std::mem::take(&mut host.disk);
        let store = Arc::new(FaultyStore::open(disk, self.chance.fork(), host.faults, self.mutant));
        let mut config = Config::new(host.name.clone(), host.incarnation, [9; 32].into());
        // Rates are the business of the relay's own tests; here they would only hide what the faults do.
        config.rates = Rates::UNLIMITED;
        config.restoring_until = host.restoring_until;
        let core = Relay::new(store.clone(), config);
        host.running = Some((store, core));
    }

    /// Kills a relay: what wasn't synced is gone, or a part of it. Answers with the connections that ended.
    pub fn crash(&mut self, relay: RelayId) -> Vec<LinkId> {
        let host = &mut self.hosts[relay];
        host.pending.clear();
        host.sweeping = None;
        if let Some((store, _)) = host.running.take() {
            host.disk = store.crash();
        }
        let lost: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.relay == relay).map(|(id, _)| *id).collect();
        lost.iter()
            .filter_map(|id| Some((*id, self.links.remove(id)?)))
            .filter(|(_, link)| !link.cut)
            .map(|(id, _)| id)
            .collect()
    }

    /// What a backup of the relay taken now holds.
    pub fn backup(&self, relay: RelayId) -> Option<Disk> {
        self.hosts[relay].running.as_ref().map(|(store, _)| store.backup())
    }

    /// Kills a relay and starts it from a backup, with a new incarnation. Answers with the connections that ended.
    pub fn restore(&mut self, relay: RelayId, backup: Disk, restoring_until: UnixMillis) -> Vec<LinkId> {
        let lost = self.crash(relay);
        let incarnation = Incarnation(self.chance.bytes());
        let host = &mut self.hosts[relay];
        (host.disk, host.incarnation, host.restoring_until) = (backup, incarnation, Some(restoring_until));
        self.start(relay);
        lost
    }

    /// Sets how all stores misbehave from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        for host in &mut self.hosts {
            host.faults = faults;
            if let Some((store, _)) = &host.running {
                store.set_faults(faults);
            }
        }
    }

    /// The disk of a relay is full, or has space again.
    pub fn set_full(&mut self, relay: RelayId, full: bool) {
        let host = &mut self.hosts[relay];
        host.faults.full = full;
        if let Some((store, _)) = &host.running {
            store.set_faults(host.faults);
        }
    }

    /// A new connection; its `Hello` is on its way. `None` while the relay is down.
    pub fn connect(&mut self, relay: RelayId, now: UnixMillis) -> Option<LinkId> {
        let (_, core) = self.hosts[relay].running.clone()?;
        let down = Arc::new(Down { queue: Mutex::default(), bound: self.sink_bytes });
        let (conn, mut hello) = core.connect(now, self.chance.rng(), PEER, down.clone());
        hello.time = UnixMillis(hello.time.0.saturating_add_signed(self.hosts[relay].lies));
        down.queue().push_back(ServerFrame::Hello(hello).encode());
        self.next_link += 1;
        let id = LinkId(self.next_link);
        self.links.insert(id, Link { relay, conn, up: VecDeque::new(), down, cut: false });
        Some(id)
    }

    /// From now on a relay greets with another time than it is.
    pub fn lie_about_time(&mut self, relay: RelayId, ahead: i64) {
        self.hosts[relay].lies = ahead;
    }

    /// Hands a frame to the network.
    pub fn send(&mut self, link: LinkId, frame: &ClientFrame) {
        self.send_bytes(link, frame.encode());
    }

    /// Hands bytes to the network that may or may not be a frame.
    pub fn send_bytes(&mut self, link: LinkId, frame: Bytes) {
        if let Some(link) = self.links.get_mut(&link).filter(|link| !link.cut) {
            link.up.push_back(frame);
        }
    }

    /// The client's side of a connection ends. A prefix of what it sent still arrives, and the relay notices later.
    pub fn cut(&mut self, link: LinkId) {
        let Some(link) = self.links.get_mut(&link) else { return };
        link.cut = true;
        let arrives = self.chance.below(link.up.len() + 1);
        link.up.truncate(arrives);
    }

    /// The relay that a connection leads to.
    pub fn relay_of(&self, link: LinkId) -> Option<RelayId> {
        self.links.get(&link).map(|link| link.relay)
    }

    /// True until a connection is cut or its relay dies.
    pub fn is_linked(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| !link.cut)
    }

    /// Connections that the clients still hold.
    pub fn linked(&self) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| !link.cut).map(|(id, _)| *id).collect()
    }

    /// Connections on which something is on its way to the relay, be it that it is cut.
    pub fn upward(&self) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| link.cut || !link.up.is_empty()).map(|(id, _)| *id).collect()
    }

    /// Connections on which something is on its way to the client.
    pub fn downward(&self) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| !link.cut && !link.down.queue().is_empty()).map(|(id, _)| *id).collect()
    }

    /// The first frame on its way up arrives, or the relay notices that the connection is cut.
    pub fn deliver_up(&mut self, id: LinkId, now: UnixMillis) -> Option<Request> {
        self.deliver_up_as(id, now, |frame| frame)
    }

    /// The same, with the frame as a relay that lies takes it.
    pub fn deliver_up_as(
        &mut self,
        id: LinkId,
        now: UnixMillis,
        taken: impl FnOnce(ClientFrame) -> ClientFrame,
    ) -> Option<Request> {
        let link = self.links.get_mut(&id)?;
        let (_, core) = self.hosts[link.relay].running.clone()?;
        let Some(bytes) = link.up.pop_front() else {
            if link.cut {
                core.disconnect(link.conn);
                self.links.remove(&id);
            }
            return None;
        };
        let frame = match ClientFrame::decode(bytes.clone()) {
            Ok(frame) => taken(frame),
            Err(_) => {
                let error = wire::Error::new(Code::Malformed, "the frame can't be read");
                let id = ClientFrame::decode_id(&bytes).unwrap_or(0);
                link.down.queue().push_back(ServerFrame::Response { id, result: Err(error) }.encode());
                return None;
            }
        };
        let (conn, request) = (link.conn, frame.request.clone());
        let answer = Box::pin(async move { core.handle(now, conn, frame.request).await });
        let pending = Pending { link: id, id: frame.id, answer };
        let relay = link.relay;
        if let Some(pending) = self.poll(pending) {
            self.hosts[relay].pending.push(pending);
        }
        Some(request)
    }

    /// The first frame on its way down arrives.
    pub fn deliver_down(&mut self, id: LinkId, now: UnixMillis) -> Option<Result<ServerFrame, Violation>> {
        let link = self.links.get(&id).filter(|link| !link.cut)?;
        let bytes = link.down.queue().pop_front()?;
        if link.down.queue().is_empty()
            && let Some((_, core)) = &self.hosts[link.relay].running
        {
            core.drained(link.conn, now);
        }
        Some(ServerFrame::decode(bytes).map_err(|error| Violation::new("I9", format!("a relay sent {error}"))))
    }

    /// Relays on which an answer or a write waits.
    pub fn waiting(&self) -> Vec<RelayId> {
        let waits = |host: &Host| {
            !host.pending.is_empty() || host.running.as_ref().is_some_and(|(store, _)| store.unsynced() > 0)
        };
        self.hosts.iter().enumerate().filter(|(_, host)| waits(host)).map(|(id, _)| id).collect()
    }

    /// The relay's store syncs; what waited for it goes on.
    pub fn sync(&mut self, relay: RelayId) {
        if let Some((store, _)) = &self.hosts[relay].running {
            store.sync();
        }
        let pending = std::mem::take(&mut self.hosts[relay].pending);
        for pending in pending {
            if let Some(pending) = self.poll(pending) {
                self.hosts[relay].pending.push(pending);
            }
        }
        self.poll_sweep(relay);
    }

    /// Time has passed: relays draw among paced commits, forget, and sweep.
    pub fn tick(&mut self, now: UnixMillis) {
        for relay in 0..self.hosts.len() {
            let Some((_, core)) = self.hosts[relay].running.clone() else { continue };
            core.tick(now, self.chance.rng());
            if self.hosts[relay].sweeping.is_none() {
                self.hosts[relay].sweeping = Some(Box::pin(async move {
                    // A sweep that the store refuses is taken up again at the next tick.
                    let _ = core.sweep(now).await;
                }));
            }
            self.poll_sweep(relay);
            let pending = std::mem::take(&mut self.hosts[relay].pending);
            for pending in pending {
                if let Some(pending) = self.poll(pending) {
                    self.hosts[relay].pending.push(pending);
                }
            }
        }
    }

    fn poll_sweep(&mut self, relay: RelayId) {
        let host = &mut self.hosts[relay];
        if let Some(sweep) = &mut host.sweeping
            && sweep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        {
            host.sweeping = None;
        }
    }

    /// Polls an answer once; gives it back if it isn't there yet.
    fn poll(&mut self, mut pending: Pending) -> Option<Pending> {
        match pending.answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Some(pending),
            Poll::Ready(result) => {
                if let Some(link) = self.links.get(&pending.link) {
                    link.down.queue().push_back(ServerFrame::Response { id: pending.id, result }.encode());
                }
                None
            }
        }
    }
}

/// All clients come from one address range: what it may do is not limited here.
pub(crate) const PEER: Peer = Peer { range: [127, 0, 0, 0, 0, 0, 0, 0] };
