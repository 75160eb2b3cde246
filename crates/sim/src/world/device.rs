//! One device: an engine, its disk, its connections. Does for the engine what `client` does with sockets and timers.
//!
//! What always holds: the engine is driven as its documentation asks; a crash loses the engine and every output that was not yet
//! carried out, never the database.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use engine::{
    CommandId, Engine, Env, Input, Job, Lane, LinkState, Options, Output, Rejection, RequestId, Route, TransferFailure,
    TransferId, TransferState,
};
use relay::core::{BlobWrite, Relay};
use wire::{BlobId, BlobSecret, Bytes, ClientFrame, Code, ServerFrame, UnixMillis};

use super::home::Home;
use crate::chance::Chance;
use crate::net::{LinkId, Net, PEER, RelayId};
use crate::store::FaultyStore;
use crate::violation::Violation;

type Moved = Result<Bytes, wire::Error>;

struct Transfer {
    id: TransferId,
    relay: RelayId,
    job: Job,
    moving: Option<Pin<Box<dyn Future<Output = Moved> + Send>>>,
}

struct Connection {
    link: LinkId,
    in_flight: BTreeSet<RequestId>,
}

/// See the module's documentation.
pub struct Device {
    /// What violations call it.
    pub name: String,
    home: Home,
    engine: Option<Engine>,
    chance: Chance,
    options: Options,
    connections: BTreeMap<Route, Connection>,
    wanted: BTreeSet<Route>,
    transfers: Vec<Transfer>,
    wake: Option<UnixMillis>,
    /// Milliseconds that its clock is ahead of the world's.
    ahead: i64,
    commands: CommandId,
    events: Vec<api::Event>,
    /// Requests that no connection took: answered as lost at the next opportunity.
    unsent: Vec<RequestId>,
    /// Since its program was started nothing has said that all is fetched that waits.
    pub(super) behind: bool,
    /// What its engine does that nobody may do, and to which conversation.
    #[cfg(feature = "mutants")]
    pub(super) insider: Option<(wire::LogId, engine::mutants::Crime)>,
}

impl Device {
    /// A device without an account; its engine is not open yet.
    pub fn new(name: String, home: Home, chance: Chance, options: Options) -> Self {
        Self {
            name,
            home,
            engine: None,
            chance,
            options,
            connections: BTreeMap::new(),
            wanted: BTreeSet::new(),
            transfers: Vec::new(),
            wake: None,
            ahead: 0,
            commands: 0,
            events: Vec::new(),
            unsent: Vec::new(),
            behind: false,
            #[cfg(feature = "mutants")]
            insider: None,
        }
    }

    /// What its clock shows.
    pub fn clock(&self, now: UnixMillis) -> UnixMillis {
        UnixMillis(now.0.saturating_add_signed(self.ahead))
    }

    /// Its clock is set. What it waits for is due by its own clock; that this was set back it notices by itself (`client::driver`).
    pub fn set_clock(&mut self, now: UnixMillis, ahead: i64) {
        let is_back = ahead < self.ahead;
        let wake = self.wake.map(|at| self.clock(at));
        self.ahead = ahead;
        self.wake = if is_back && self.engine.is_some() { Some(now) } else { wake.map(|at| self.by_the_world(at)) };
    }

    fn by_the_world(&self, at: UnixMillis) -> UnixMillis {
        UnixMillis(at.0.saturating_add_signed(-self.ahead))
    }

    /// How many rows of its database were changed since it was started; `None` while it isn't running.
    pub fn changes(&self) -> Option<u64> {
        self.engine.as_ref().map(Engine::changes)
    }

    /// It was not taken out of its account, as far as it knows.
    pub fn is_listed(&self) -> bool {
        match self.view(&api::Query::Devices) {
            Some(api::View::Devices(devices)) => devices.iter().any(|listed| listed.this && listed.revoked.is_none()),
            _ => false,
        }
    }

    /// True while its engine is open.
    pub fn is_open(&self) -> bool {
        self.engine.is_some()
    }

    /// Starts the program.
    pub fn open(&mut self, net: &mut Net, now: UnixMillis) -> Result<(), Violation> {
        if self.engine.is_some() {
            return Ok(());
        }
        self.behind = true;
        let database = self.home.database();
        let mut env = Env { now: self.clock(now), rng: self.chance.rng() };
        let opened = Engine::open_with(database, self.options.clone(), &mut env);
        self.engine =
            Some(opened.map_err(|error| Violation::new("I5", format!("{} can't be opened: {error}", self.name)))?);
        self.drain(net, now);
        Ok(())
    }

    /// The program dies.
    pub fn crash(&mut self, net: &mut Net) {
        self.engine = None;
        for connection in std::mem::take(&mut self.connections).into_values() {
            net.cut(connection.link);
        }
        self.wanted.clear();
        self.unsent.clear();
        self.transfers.clear();
        self.wake = None;
    }

    /// The device is gone, and another one without an account has its number.
    pub fn lose(&mut self, fresh: Home, net: &mut Net) {
        self.crash(net);
        self.home = fresh;
        self.events.clear();
    }

    /// The device loses power: the program dies, and of its files there is left what was synced.
    pub fn cut_power(&mut self, net: &mut Net) -> Result<(), Violation> {
        if let Home::Files(profile) = &self.home {
            // Before the program dies, since an orderly end writes and syncs what a power cut does not.
            let left = profile.after_power_cut();
            self.home = Home::Files(
                left.map_err(|error| Violation::new("I5", format!("nothing is left of {}: {error}", self.name)))?,
            );
        }
        self.crash(net);
        Ok(())
    }

    /// The number that the next command will have; `None` while the program isn't running.
    pub fn next_command(&self) -> Option<CommandId> {
        self.engine.as_ref().map(|_| self.commands + 1)
    }

    /// A person's command, under the number of [`Device::next_command`].
    pub fn command(&mut self, command: api::Command, net: &mut Net, now: UnixMillis) -> Result<(), Violation> {
        self.commands += 1;
        self.feed(Input::Command { id: self.commands, command }, net, now)
    }

    /// What the person sees; `None` while the program isn't running or if there is nothing to see.
    pub fn view(&self, query: &api::Query) -> Option<api::View> {
        self.engine.as_ref()?.view(query).ok()
    }

    /// What the person was told since the last call.
    pub fn events(&mut self) -> Vec<api::Event> {
        std::mem::take(&mut self.events)
    }

    /// Connects what is wanted and not connected. True if there was something to do.
    pub fn connect(&mut self, net: &mut Net, now: UnixMillis) -> bool {
        let missing: Vec<Route> =
            self.wanted.iter().filter(|route| !self.connections.contains_key(route)).cloned().collect();
        let mut did = false;
        for route in missing {
            let Some(link) = net.named(&route.relay).and_then(|relay| net.connect(relay, now)) else { continue };
            self.connections.insert(route, Connection { link, in_flight: BTreeSet::new() });
            did = true;
        }
        did
    }

    /// True if this connection is this device's.
    pub fn holds(&self, link: LinkId) -> bool {
        self.connections.values().any(|connection| connection.link == link)
    }

    /// The connections of this device.
    pub fn links(&self) -> Vec<LinkId> {
        self.connections.values().map(|connection| connection.link).collect()
    }

    /// A frame came in.
    pub fn receive(
        &mut self,
        link: LinkId,
        frame: ServerFrame,
        net: &mut Net,
        now: UnixMillis,
    ) -> Result<(), Violation> {
        let Some((route, connection)) = self.connections.iter_mut().find(|(_, connection)| connection.link == link)
        else {
            return Ok(());
        };
        let route = route.clone();
        match frame {
            ServerFrame::Hello(_) if matches!(route.lane, Lane::Errand(_)) => Ok(()),
            ServerFrame::Hello(hello) => self.feed(Input::Link { route, state: LinkState::Up(hello) }, net, now),
            ServerFrame::Push(push) => self.feed(Input::Push { route, push }, net, now),
            ServerFrame::Response { id, result } => {
                let id = RequestId(id);
                if !connection.in_flight.remove(&id) {
                    return Err(Violation::new("I9", "an answer to nothing that was asked"));
                }
                self.feed(Input::Response { id, result: result.map_err(Rejection::Refused) }, net, now)?;
                // An errand's connection is closed once nothing is in flight on it.
                if matches!(route.lane, Lane::Errand(_))
                    && self.connections.get(&route).is_some_and(|connection| connection.in_flight.is_empty())
                {
                    self.connections.remove(&route);
                    net.cut(link);
                }
                Ok(())
            }
        }
    }

    /// A connection ended.
    pub fn lost(&mut self, link: LinkId, net: &mut Net, now: UnixMillis) -> Result<(), Violation> {
        let route =
            self.connections.iter().find(|(_, connection)| connection.link == link).map(|(route, _)| route.clone());
        let Some(route) = route else { return Ok(()) };
        let Some(connection) = self.connections.remove(&route) else { return Ok(()) };
        for id in connection.in_flight {
            self.feed(Input::Response { id, result: Err(Rejection::Lost) }, net, now)?;
        }
        if matches!(route.lane, Lane::Errand(_)) {
            return Ok(());
        }
        self.feed(Input::Link { route, state: LinkState::Down }, net, now)
    }

    /// A relay died: transfers with it fail.
    pub fn relay_lost(&mut self, relay: RelayId, net: &mut Net, now: UnixMillis) -> Result<(), Violation> {
        let (failed, going): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.transfers).into_iter().partition(|transfer| transfer.relay == relay);
        self.transfers = going;
        for transfer in failed {
            let state = TransferState::Failed(TransferFailure::Unreachable);
            self.feed(Input::Transfer { id: transfer.id, state }, net, now)?;
        }
        Ok(())
    }

    /// Moves blobs on. True if one moved.
    pub fn transfer(&mut self, net: &mut Net, now: UnixMillis) -> Result<bool, Violation> {
        let mut done = Vec::new();
        let mut going = Vec::new();
        for mut transfer in std::mem::take(&mut self.transfers) {
            let Some(core) = net.core(transfer.relay) else {
                done.push((transfer.id, TransferState::Failed(TransferFailure::Unreachable)));
                continue;
            };
            let moving = transfer.moving.get_or_insert_with(|| start(core, &transfer.job, now));
            match moving.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => going.push(transfer),
                Poll::Ready(Ok(bytes)) => done.push((transfer.id, TransferState::Done(bytes))),
                Poll::Ready(Err(error)) => done.push((transfer.id, TransferState::Failed(failure(&error)))),
            }
        }
        self.transfers = going;
        let moved = !done.is_empty();
        for (id, state) in done {
            self.feed(Input::Transfer { id, state }, net, now)?;
        }
        Ok(moved)
    }

    /// True while blobs are on their way.
    pub fn is_transferring(&self) -> bool {
        !self.transfers.is_empty()
    }

    /// When it wants to be woken.
    pub fn wake_at(&self) -> Option<UnixMillis> {
        self.wake
    }

    /// Wakes it, whether it wants to be woken or not.
    pub fn nudge(&mut self, net: &mut Net, now: UnixMillis) -> Result<(), Violation> {
        self.feed(Input::Wake, net, now)
    }

    /// Wakes it if the time has come.
    pub fn wake(&mut self, net: &mut Net, now: UnixMillis) -> Result<(), Violation> {
        if self.wake.is_some_and(|at| at <= now) {
            self.wake = None;
            self.feed(Input::Wake, net, now)?;
        }
        Ok(())
    }

    /// Says of the requests that no connection took that they are lost. True if there were any.
    pub fn answer_unsent(&mut self, net: &mut Net, now: UnixMillis) -> Result<bool, Violation> {
        let unsent = std::mem::take(&mut self.unsent);
        let any = !unsent.is_empty();
        for id in unsent {
            self.feed(Input::Response { id, result: Err(Rejection::Lost) }, net, now)?;
        }
        Ok(any)
    }

    /// True if requests wait for an answer.
    pub fn is_asking(&self) -> bool {
        self.connections.values().any(|connection| !connection.in_flight.is_empty())
    }

    /// What it waits for, in words.
    pub fn unrest(&self) -> String {
        let asking = self.connections.iter().filter(|(_, connection)| !connection.in_flight.is_empty());
        let mut parts: Vec<String> = asking
            .map(|(route, connection)| {
                format!("{:?} on {:?} for {:?}", connection.link, route.lane, connection.in_flight)
            })
            .collect();
        parts.extend(self.transfers.iter().map(|transfer| format!("{:?}", transfer.id)));
        parts.extend(self.wake.map(|at| format!("wakes at {}", at.0)));
        parts.join(", ")
    }

    fn feed(&mut self, input: Input, net: &mut Net, now: UnixMillis) -> Result<(), Violation> {
        let clock = self.clock(now);
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let mut env = Env { now: clock, rng: self.chance.rng() };
        #[cfg(feature = "mutants")]
        engine::mutants::insider(self.insider);
        let handled = engine.handle(&mut env, input);
        #[cfg(feature = "mutants")]
        engine::mutants::insider(None);
        handled.map_err(|error| Violation::new("I9", format!("{} failed: {error} ({error:?})", self.name)))?;
        self.drain(net, now);
        Ok(())
    }

    fn drain(&mut self, net: &mut Net, now: UnixMillis) {
        let mut lost = Vec::new();
        while let Some(output) = self.engine.as_mut().and_then(Engine::poll) {
            match output {
                Output::Event(event) => self.events.push(event),
                Output::WakeAt(at) => self.wake = Some(self.by_the_world(at)),
                Output::Connect { route, wanted: true } => {
                    self.wanted.insert(route);
                }
                Output::Connect { route, wanted: false } => {
                    self.wanted.remove(&route);
                    if let Some(connection) = self.connections.remove(&route) {
                        net.cut(connection.link);
                        lost.extend(connection.in_flight);
                    }
                }
                Output::Transfer { id, relay, job } => match net.named(&relay) {
                    Some(relay) => self.transfers.push(Transfer { id, relay, job, moving: None }),
                    None => self.events.push(api::Event::Notice {
                        conversation: None,
                        problem: api::Problem::new(api::Kind::Bug, "A blob of a relay that does not exist.", "", ""),
                    }),
                },
                Output::Request { id, route, body } => {
                    if matches!(route.lane, Lane::Errand(_))
                        && !self.connections.contains_key(&route)
                        && let Some(link) = net.named(&route.relay).and_then(|relay| net.connect(relay, now))
                    {
                        self.connections.insert(route.clone(), Connection { link, in_flight: BTreeSet::new() });
                    }
                    match self.connections.get_mut(&route) {
                        Some(connection) => {
                            connection.in_flight.insert(id);
                            net.send(connection.link, &ClientFrame { id: id.0, request: body });
                        }
                        None => lost.push(id),
                    }
                }
            }
        }
        self.unsent.extend(lost);
    }
}

fn failure(error: &wire::Error) -> TransferFailure {
    match error.code {
        Code::NotFound => TransferFailure::NotFound,
        code if code.is_transient() => TransferFailure::Unreachable,
        // As in the shell: another try of ours got further.
        Code::Conflict => TransferFailure::Unreachable,
        _ => TransferFailure::Refused,
    }
}

/// Bytes of one piece of an upload: small, so that uploads are cut in the middle.
const PIECE: usize = 2_000;

fn start(core: Arc<Relay<FaultyStore>>, job: &Job, now: UnixMillis) -> Pin<Box<dyn Future<Output = Moved> + Send>> {
    match job.clone() {
        Job::Upload { blob, secret, bytes } => Box::pin(upload(core, blob, secret, bytes, now)),
        Job::Download { blob, max_bytes } => Box::pin(download(core, blob, max_bytes)),
    }
}

async fn upload(core: Arc<Relay<FaultyStore>>, id: BlobId, secret: BlobSecret, bytes: Bytes, now: UnixMillis) -> Moved {
    let (mut offset, mut complete) = match core.blob(id).await {
        Ok(state) => (state.length as usize, state.complete),
        Err(error) if error.code == Code::NotFound => (0, false),
        Err(error) => return Err(error),
    };
    while !complete {
        let piece = bytes.slice(offset.min(bytes.len())..(offset + PIECE).min(bytes.len()));
        let write = BlobWrite { id, secret, offset: offset as u64, total: bytes.len() as u64, bytes: piece };
        let state = core.put_blob(now, PEER, write).await?;
        (offset, complete) = (state.length as usize, state.complete);
    }
    Ok(Bytes::new())
}

async fn download(core: Arc<Relay<FaultyStore>>, id: BlobId, max_bytes: u64) -> Moved {
    let state = core.blob(id).await?;
    if !state.complete {
        return Err(wire::Error::new(Code::NotFound, "the blob is not complete"));
    }
    if state.length > max_bytes {
        return Err(wire::Error::new(Code::TooLarge, "the blob is larger than wanted"));
    }
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < state.length {
        let piece = core.get_blob(id, bytes.len() as u64, PIECE).await?;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}
