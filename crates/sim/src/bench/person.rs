//! An engine and a relay's core in one process, without sockets: what the engine hands out is carried out at once.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::{
    Database, Engine, Env, Input, Job, Lane, LinkState, Options, Output, Rejection, Route, TransferFailure,
    TransferState,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use relay::core::{BlobWrite, Config, ConnId, Peer, Rates, Relay, Sink};
use store::conformance::block_on;
use store::memory::MemoryStore;
use wire::{Code, Incarnation, Push, RelayName, ServerFrame, UnixMillis};

use super::cpu::thread_time;

/// Rounds in which everybody's business must come to rest.
const ROUNDS: usize = 10_000;
/// Entries that are fed at once.
const BATCH: usize = 100;
const PEER: Peer = Peer { range: [0; 8] };

/// A relay in memory, with a clock that is moved by hand.
pub struct Town {
    relay: Arc<Relay<MemoryStore>>,
    name: RelayName,
    rng: ChaCha20Rng,
    /// The time for all.
    pub now: UnixMillis,
}

#[derive(Default)]
struct Queue(Mutex<Vec<Bytes>>);

impl Queue {
    fn frames(&self) -> MutexGuard<'_, Vec<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Queue {
    fn push(&self, frame: Bytes) -> bool {
        self.frames().push(frame);
        true
    }
}

/// A person with one device.
pub struct Person {
    /// The device.
    pub engine: Engine,
    rng: ChaCha20Rng,
    connections: HashMap<Route, (ConnId, Arc<Queue>)>,
    wanted: BTreeSet<Route>,
    wake: Option<UnixMillis>,
    commands: u64,
    /// The code that it shows to be linked.
    pub code: Option<String>,
    /// The recovery key that it has shown.
    pub recovery_key: Option<String>,
    /// Messages of a backup that it has taken in.
    pub restored: Option<u64>,
    /// What its engine has cost so far.
    pub cost: Cost,
    /// Commands that failed, in words.
    pub failures: Vec<String>,
}

/// What an engine has taken.
#[derive(Debug, Default, Clone, Copy)]
pub struct Cost {
    /// Time that passed in it.
    pub wall: Duration,
    /// Processor time.
    pub cpu: Duration,
    /// Requests that it has sent.
    pub requests: u64,
    /// Bytes that were pushed to it.
    pub heard: u64,
}

impl Cost {
    /// What has come to it since.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            wall: self.wall - before.wall,
            cpu: self.cpu - before.cpu,
            requests: self.requests - before.requests,
            heard: self.heard - before.heard,
        }
    }
}

impl Town {
    /// An empty one. Its clock starts at the machine's, which OpenMLS looks at.
    pub fn new() -> io::Result<Self> {
        let name: RelayName = "localhost".parse().map_err(io::Error::other)?;
        let mut config = Config::new(name.clone(), Incarnation([1; 16]), [9; 32].into());
        config.rates = Rates::UNLIMITED;
        let relay = Relay::new(Arc::new(MemoryStore::new()), config);
        Ok(Self { relay, name, rng: ChaCha20Rng::from_seed([5; 32]), now: relay::http::unix_now() })
    }

    /// Somebody new, registered.
    pub fn person(&mut self, name: &str, number: u8, database: Database) -> io::Result<Person> {
        let mut person = Person::open(database, number, self.now)?;
        let address = format!("{name}@{}", self.name);
        person.command(self.now, api::Command::Register { address, invite: String::new() })?;
        self.settle(&mut [&mut person])?;
        Ok(person)
    }

    /// Until nobody has anything to do within the next seconds.
    pub fn settle(&mut self, people: &mut [&mut Person]) -> io::Result<()> {
        self.run(self.now.plus(15_000), people)
    }

    /// Until nobody has anything to do before `horizon`.
    pub fn run(&mut self, horizon: UnixMillis, people: &mut [&mut Person]) -> io::Result<()> {
        for _ in 0..ROUNDS {
            let mut busy = false;
            for person in people.iter_mut() {
                busy |= person.carry_out(self)?;
                busy |= person.hear(self)?;
            }
            if busy {
                continue;
            }
            let next = people.iter().filter_map(|person| person.wake).filter(|at| *at <= horizon).min();
            let Some(next) = next else { return Ok(()) };
            self.now = self.now.max(next);
            self.relay.tick(self.now, &mut self.rng);
            for person in people.iter_mut() {
                if person.wake.is_some_and(|at| at <= self.now) {
                    person.wake = None;
                    person.feed(self.now, Input::Wake)?;
                }
            }
        }
        Err(io::Error::other("people do not come to rest"))
    }
}

impl Person {
    /// Opens a database.
    pub fn open(database: Database, number: u8, now: UnixMillis) -> io::Result<Self> {
        let mut rng = ChaCha20Rng::from_seed([number; 32]);
        let options = Options { deposit_spread_ms: 1, ..Options::default() };
        let mut env = Env { now, rng: &mut rng };
        let engine = Engine::open_with(database, options, &mut env).map_err(io::Error::other)?;
        Ok(Self {
            engine,
            rng,
            connections: HashMap::new(),
            wanted: BTreeSet::new(),
            wake: None,
            commands: 0,
            code: None,
            recovery_key: None,
            restored: None,
            cost: Cost::default(),
            failures: Vec::new(),
        })
    }

    /// One transaction.
    pub fn feed(&mut self, now: UnixMillis, input: Input) -> io::Result<()> {
        let mut env = Env { now, rng: &mut self.rng };
        let (begun, used) = (Instant::now(), thread_time());
        let done = self.engine.handle(&mut env, input).map_err(io::Error::other);
        self.cost.cpu += thread_time() - used;
        self.cost.wall += begun.elapsed();
        done
    }

    /// A wish.
    pub fn command(&mut self, now: UnixMillis, command: api::Command) -> io::Result<()> {
        self.commands += 1;
        self.feed(now, Input::Command { id: self.commands, command })
    }

    /// It is out of reach until it carries something out again.
    pub fn leave(&mut self, town: &Town) -> io::Result<()> {
        for (route, (conn, _)) in std::mem::take(&mut self.connections) {
            town.relay.disconnect(conn);
            if !matches!(route.lane, Lane::Errand(_)) {
                self.feed(town.now, Input::Link { route, state: LinkState::Down })?;
            }
        }
        Ok(())
    }

    fn connect(&mut self, town: &mut Town, route: &Route) -> io::Result<()> {
        let queue = Arc::new(Queue::default());
        let (conn, hello) = town.relay.connect(town.now, &mut town.rng, PEER, queue.clone());
        self.connections.insert(route.clone(), (conn, queue));
        match route.lane {
            Lane::Errand(_) => Ok(()),
            _ => self.feed(town.now, Input::Link { route: route.clone(), state: LinkState::Up(hello) }),
        }
    }

    /// Does what the engine wants. True if there was something.
    pub fn carry_out(&mut self, town: &mut Town) -> io::Result<bool> {
        let mut busy = false;
        let missing: Vec<Route> = self.wanted.iter().filter(|at| !self.connections.contains_key(at)).cloned().collect();
        for route in missing {
            self.connect(town, &route)?;
            busy = true;
        }
        while let Some(output) = self.engine.poll() {
            busy = true;
            match output {
                Output::Event(api::Event::Failed { problem, .. }) => self.failures.push(format!("{problem:?}")),
                Output::Event(api::Event::LinkCode { code, .. }) => self.code = Some(code),
                Output::Event(api::Event::RecoveryKey { key, .. }) => self.recovery_key = Some(key),
                Output::Event(api::Event::Restored { messages, .. }) => self.restored = Some(messages),
                Output::Event(_) => {}
                Output::WakeAt(at) => self.wake = Some(at),
                Output::Connect { route, wanted: true } => {
                    self.wanted.insert(route);
                }
                Output::Connect { route, wanted: false } => {
                    self.wanted.remove(&route);
                    if let Some((conn, _)) = self.connections.remove(&route) {
                        town.relay.disconnect(conn);
                    }
                }
                Output::Request { id, route, body } => {
                    self.cost.requests += 1;
                    if matches!(route.lane, Lane::Errand(_)) && !self.connections.contains_key(&route) {
                        self.connect(town, &route)?;
                    }
                    let result = match self.connections.get(&route) {
                        Some((conn, _)) => {
                            block_on(town.relay.handle(town.now, *conn, body)).map_err(Rejection::Refused)
                        }
                        None => Err(Rejection::Lost),
                    };
                    self.feed(town.now, Input::Response { id, result })?;
                }
                Output::Transfer { id, job, .. } => {
                    let state = match block_on(moved(town, job)) {
                        Ok(bytes) => TransferState::Done(bytes),
                        Err(error) if error.code == Code::NotFound => TransferState::Failed(TransferFailure::NotFound),
                        Err(error) => return Err(io::Error::other(error.detail)),
                    };
                    self.feed(town.now, Input::Transfer { id, state })?;
                }
            }
        }
        Ok(busy)
    }

    /// What was pushed, with entries of one log that follow one another taken together.
    pub fn pushed(&mut self) -> io::Result<Vec<Input>> {
        let mut inputs: Vec<Input> = Vec::new();
        for (route, (_, queue)) in &self.connections {
            for frame in std::mem::take(&mut *queue.frames()) {
                self.cost.heard += frame.len() as u64;
                let ServerFrame::Push(push) = ServerFrame::decode(frame).map_err(io::Error::other)? else { continue };
                if let (
                    Push::Entries { log, entries, head },
                    Some(Input::Push { push: Push::Entries { log: last, entries: before, head: known }, route: at }),
                ) = (&push, inputs.last_mut())
                    && log == &*last
                    && *route == *at
                    && before.len() + entries.len() <= BATCH
                {
                    before.extend(entries.iter().cloned());
                    *known = *head;
                    continue;
                }
                inputs.push(Input::Push { route: route.clone(), push });
            }
        }
        Ok(inputs)
    }

    /// Takes what was pushed. True if there was something.
    pub fn hear(&mut self, town: &mut Town) -> io::Result<bool> {
        let inputs = self.pushed()?;
        let busy = !inputs.is_empty();
        for input in inputs {
            self.feed(town.now, input)?;
        }
        Ok(busy)
    }
}

async fn moved(town: &Town, job: Job) -> Result<Bytes, wire::Error> {
    match job {
        Job::Upload { blob, secret, bytes } => {
            let write = BlobWrite { id: blob, secret, offset: 0, total: bytes.len() as u64, bytes };
            town.relay.put_blob(town.now, PEER, write).await?;
            Ok(Bytes::new())
        }
        Job::Download { blob, .. } => {
            let state = town.relay.blob(blob).await?;
            if !state.complete {
                return Err(wire::Error::new(Code::NotFound, "the blob is not complete"));
            }
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < state.length {
                let piece = town.relay.get_blob(blob, bytes.len() as u64, 1 << 20).await?;
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes.into())
        }
    }
}
