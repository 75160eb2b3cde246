//! Which connections exist and what travels on them, without any runtime.
//!
//! What always holds:
//! - a request is answered exactly once: by the relay's answer, or by [`Rejection::Lost`] when its connection ends;
//! - all of a connection's lost requests are reported before its [`LinkState::Down`], which follows each [`LinkState::Up`] once;
//! - lanes never share a connection, nor anything that would tell a relay that two connections are one client's: request
//!   numbers start at 1 on each connection, and each waits for its own random time before it is dialled again;
//! - a greeting that has another protocol version or another relay name ends the connection before a request is sent on it.
//!
//! Deliberately absent: sockets, threads and clocks (`now` and `rng` are arguments), and any knowledge of what requests mean.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use engine::{
    Input, Job, Lane, LinkState, Output, Rejection, RequestId, Route, TransferFailure, TransferId, TransferState,
};
use rand_core::CryptoRng;
use wire::{ClientFrame, Hello, Push, RelayName, Request, ServerFrame, UnixMillis};

use crate::{Fault, backoff};

#[cfg(test)]
mod tests;

/// From the dialling of a connection to its greeting.
const GREETING_MS: u64 = 20_000;
/// A request without an answer for this long means that the connection is dead.
const ANSWER_MS: u64 = 60_000;
/// A connection that was up for this long was a success; one that ends sooner counts as a failure.
const STABLE_MS: u64 = 10_000;
/// When a relay turns out to be back, what else waits for it comes back within this time.
const BACK_MS: u64 = 1_000;
/// Clocks are corrected by little all the time.
const CLOCK_TOLERANCE_MS: u64 = 2_000;

/// The number of a connection; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// What the caller has to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Open a connection to this relay; report frames, and [`Driver::closed`] when it ends or does not come about.
    Dial {
        /// Its number from now on.
        conn: ConnId,
        /// Where to.
        relay: RelayName,
    },
    /// Send a frame on a connection.
    Write {
        /// Which.
        conn: ConnId,
        /// One WebSocket message.
        frame: Bytes,
    },
    /// Close a connection. Nothing that it still reports is of interest.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Move a blob; report to [`Driver::transfer`].
    Transfer {
        /// Which.
        id: TransferId,
        /// Where.
        relay: RelayName,
        /// What.
        job: Job,
    },
    /// Feed the engine.
    Feed(Input),
    /// Tell the person's programs.
    Tell(api::Event),
}

/// The connections of one client.
///
/// Feed [`Driver::output`] with everything that the engine hands out, and [`Driver::frame`], [`Driver::closed`] and
/// [`Driver::transfer`] with what the network reports; call [`Driver::tick`] when [`Driver::deadline`] has come. After each of
/// them drain [`Driver::poll`] until `None`, feeding the engine and its outputs back in between; then call
/// [`Driver::settle`] and drain once more.
#[derive(Default)]
pub struct Driver {
    links: BTreeMap<Route, Link>,
    conns: BTreeMap<ConnId, Conn>,
    /// How one-off things (errands, blobs) fare at each relay.
    reach: BTreeMap<RelayName, Reach>,
    /// Blobs that wait for their relay to be tried again.
    transfers: Vec<Waiting>,
    /// Blobs that are being moved.
    moving: BTreeSet<TransferId>,
    /// What the person was last told of each relay that is not in reach.
    told: BTreeMap<RelayName, Fault>,
    wake: Option<UnixMillis>,
    /// What the clock has shown last.
    clock: UnixMillis,
    last_conn: u64,
    actions: VecDeque<Action>,
}

/// A connection that is wanted.
#[derive(Default)]
struct Link {
    conn: Option<ConnId>,
    failures: u32,
    /// Not to be dialled before.
    not_before: UnixMillis,
    /// An errand's requests until its connection is up; always empty for the other lanes.
    queue: VecDeque<(RequestId, Request)>,
}

/// A connection that was dialled.
struct Conn {
    route: Route,
    state: State,
    last_request: u64,
    in_flight: BTreeMap<u64, InFlight>,
}

/// What a connection waits for.
#[derive(Clone, Copy)]
enum State {
    ExpectsGreeting { until: UnixMillis },
    Up { since: UnixMillis },
}

struct InFlight {
    id: RequestId,
    until: UnixMillis,
}

#[derive(Default)]
struct Reach {
    failures: u32,
    not_before: UnixMillis,
}

struct Waiting {
    at: UnixMillis,
    id: TransferId,
    relay: RelayName,
    job: Job,
}

impl Driver {
    /// No connections, nothing wanted.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The engine handed this out.
    pub fn output(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng, output: Output) {
        match output {
            Output::Request { id, route, body } => self.request(now, id, route, body),
            Output::Connect { route, wanted: true } => {
                self.links.entry(route.clone()).or_default();
                self.dial_if_due(now, &route);
            }
            Output::Connect { route, wanted: false } => {
                if let Some(Link { conn: Some(conn), .. }) = self.links.remove(&route) {
                    self.actions.push_back(Action::Close { conn });
                    self.end(now, rng, conn, None);
                }
            }
            Output::Transfer { id, relay, job } => {
                let at = self.reach.get(&relay).map_or(now, |reach| reach.not_before);
                self.transfers.push(Waiting { at, id, relay, job });
                self.start_transfers(now);
            }
            Output::Event(event) => self.actions.push_back(Action::Tell(event)),
            Output::WakeAt(at) => self.wake = Some(at),
        }
    }

    /// A connection delivered a frame.
    pub fn frame(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng, conn: ConnId, frame: Bytes) {
        let Some(state) = self.conns.get(&conn).map(|c| c.state) else { return };
        match (state, ServerFrame::decode(frame)) {
            (State::ExpectsGreeting { .. }, Ok(ServerFrame::Hello(hello))) => self.greeted(now, rng, conn, hello),
            (State::Up { .. }, Ok(ServerFrame::Response { id, result })) => self.answered(now, rng, conn, id, result),
            (State::Up { .. }, Ok(ServerFrame::Push(push))) => self.pushed(now, rng, conn, push),
            // A second greeting, anything before the first, or what is no frame at all.
            _ => self.hang_up(now, rng, conn, Fault::Protocol),
        }
    }

    /// A connection ended, or did not come about.
    pub fn closed(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng, conn: ConnId, fault: Fault) {
        self.end(now, rng, conn, Some(fault));
    }

    /// How a blob fares.
    pub fn transfer(
        &mut self,
        now: UnixMillis,
        rng: &mut dyn CryptoRng,
        id: TransferId,
        relay: &RelayName,
        state: TransferState,
    ) {
        let reach = self.reach.entry(relay.clone()).or_default();
        match state {
            TransferState::Failed(TransferFailure::Unreachable) => reach.failed(now, rng),
            TransferState::Done(_) => reach.failures = 0,
            TransferState::Failed(_) | TransferState::Progress(_) => {}
        }
        if !matches!(state, TransferState::Progress(_)) {
            self.moving.remove(&id);
        }
        self.actions.push_back(Action::Feed(Input::Transfer { id, state }));
    }

    /// The engine has handled all that was fed and has nothing more to hand out: errands without a request in flight are over.
    pub fn settle(&mut self) {
        let conns = &self.conns;
        let actions = &mut self.actions;
        let mut over = Vec::new();
        self.links.retain(|route, link| {
            let busy = !link.queue.is_empty()
                || link.conn.is_some_and(|conn| conns.get(&conn).is_some_and(|conn| !conn.in_flight.is_empty()));
            if busy || !is_errand(route) {
                return true;
            }
            over.extend(link.conn);
            false
        });
        for conn in over {
            self.conns.remove(&conn);
            actions.push_back(Action::Close { conn });
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng) {
        self.look_at_clock(now);
        if self.wake.is_some_and(|at| at <= now) {
            self.wake = None;
            self.actions.push_back(Action::Feed(Input::Wake));
        }
        let silent: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.deadline().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for conn in silent {
            self.hang_up(now, rng, conn, Fault::Silent);
        }
        let due: Vec<Route> = self
            .links
            .iter()
            .filter(|(_, l)| l.conn.is_none() && l.not_before <= now)
            .map(|(r, _)| r.clone())
            .collect();
        for route in due {
            self.dial_if_due(now, &route);
        }
        self.start_transfers(now);
    }

    /// Where the clock was set back nothing waits longer for that, and the engine is told the time.
    fn look_at_clock(&mut self, now: UnixMillis) {
        let by = self.clock.since(now);
        self.clock = now;
        if by <= CLOCK_TOLERANCE_MS {
            return;
        }
        self.wake = Some(now);
        let links = self.links.values_mut().map(|link| &mut link.not_before);
        let reach = self.reach.values_mut().map(|reach| &mut reach.not_before);
        let conns = self.conns.values_mut().flat_map(|conn| {
            let (State::ExpectsGreeting { until: at } | State::Up { since: at }) = &mut conn.state;
            conn.in_flight.values_mut().map(|request| &mut request.until).chain([at])
        });
        let all = links.chain(reach).chain(conns).chain(self.transfers.iter_mut().map(|waiting| &mut waiting.at));
        all.for_each(|at| *at = UnixMillis(at.0.saturating_sub(by)));
    }

    /// When [`Driver::tick`] has something to do, if ever.
    pub fn deadline(&self) -> Option<UnixMillis> {
        let conns = self.conns.values().filter_map(Conn::deadline);
        let links = self.links.values().filter(|link| link.conn.is_none()).map(|link| link.not_before);
        conns.chain(links).chain(self.transfers.iter().map(|waiting| waiting.at)).chain(self.wake).min()
    }

    /// True if nothing is under way that could come to its end before `until`: no request is in flight, no blob moves, and the
    /// engine wants nothing until then. What waits for a relay that is out of reach does not count.
    pub fn is_quiet(&self, until: UnixMillis) -> bool {
        let is_out_of_reach = |relay: &RelayName| self.told.contains_key(relay);
        self.wake.is_none_or(|at| at > until)
            && self.moving.is_empty()
            && self.transfers.iter().all(|waiting| is_out_of_reach(&waiting.relay))
            && self.conns.values().all(|conn| conn.in_flight.is_empty())
            && self.links.iter().all(|(route, link)| {
                let is_up = link.conn.is_some_and(|conn| self.conns.get(&conn).is_some_and(Conn::is_up));
                (is_up && link.queue.is_empty()) || is_out_of_reach(&route.relay)
            })
    }

    fn request(&mut self, now: UnixMillis, id: RequestId, route: Route, body: Request) {
        let errand = is_errand(&route);
        let link = if errand {
            let not_before = self.reach.get(&route.relay).map_or(now, |reach| reach.not_before);
            Some(self.links.entry(route.clone()).or_insert_with(|| Link { not_before, ..Link::default() }))
        } else {
            self.links.get_mut(&route)
        };
        let up = link.as_ref().and_then(|link| link.conn).filter(|id| self.conns.get(id).is_some_and(Conn::is_up));
        match (up, link) {
            (Some(conn), _) => self.write(now, conn, id, body),
            (None, Some(link)) if errand => {
                link.queue.push_back((id, body));
                self.dial_if_due(now, &route);
            }
            // The long-lived lanes' requests are made for one connection (they carry proofs bound to it): nothing to wait for.
            _ => self.lose(id),
        }
    }

    fn write(&mut self, now: UnixMillis, conn: ConnId, id: RequestId, request: Request) {
        let Some(state) = self.conns.get_mut(&conn) else { return self.lose(id) };
        state.last_request += 1;
        state.in_flight.insert(state.last_request, InFlight { id, until: now.plus(ANSWER_MS) });
        let frame = ClientFrame { id: state.last_request, request }.encode();
        self.actions.push_back(Action::Write { conn, frame });
    }

    fn lose(&mut self, id: RequestId) {
        self.actions.push_back(Action::Feed(Input::Response { id, result: Err(Rejection::Lost) }));
    }

    fn dial_if_due(&mut self, now: UnixMillis, route: &Route) {
        let Some(link) = self.links.get_mut(route) else { return };
        if link.conn.is_some() || link.not_before > now || (is_errand(route) && link.queue.is_empty()) {
            return;
        }
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        link.conn = Some(conn);
        let state = State::ExpectsGreeting { until: now.plus(GREETING_MS) };
        self.conns.insert(conn, Conn { route: route.clone(), state, last_request: 0, in_flight: BTreeMap::new() });
        self.actions.push_back(Action::Dial { conn, relay: route.relay.clone() });
    }

    fn greeted(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng, id: ConnId, hello: Hello) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if hello.version != wire::PROTOCOL_VERSION {
            return self.hang_up(now, rng, id, Fault::Version { theirs: hello.version });
        }
        if hello.server_name != conn.route.relay {
            return self.hang_up(now, rng, id, Fault::Name { says: hello.server_name });
        }
        conn.state = State::Up { since: now };
        let route = conn.route.clone();
        self.told.remove(&route.relay);
        let reach = self.reach.entry(route.relay.clone()).or_default();
        *reach = Reach::default();
        for (other, link) in self.links.iter_mut().filter(|(other, _)| other.relay == route.relay) {
            if *other != route && link.conn.is_none() {
                link.not_before = link.not_before.min(now.plus(backoff::up_to(BACK_MS, rng)));
            }
        }
        let queue = self.links.get_mut(&route).map(|link| std::mem::take(&mut link.queue)).unwrap_or_default();
        for (request, body) in queue {
            self.write(now, id, request, body);
        }
        if !is_errand(&route) {
            self.actions.push_back(Action::Feed(Input::Link { route, state: LinkState::Up(hello) }));
        }
    }

    fn answered(
        &mut self,
        now: UnixMillis,
        rng: &mut dyn CryptoRng,
        conn: ConnId,
        id: u64,
        result: Result<wire::Response, wire::Error>,
    ) {
        let Some(asked) = self.conns.get_mut(&conn).and_then(|conn| conn.in_flight.remove(&id)) else {
            // An answer to what was never asked, or a second one.
            return self.hang_up(now, rng, conn, Fault::Protocol);
        };
        let result = result.map_err(Rejection::Refused);
        self.actions.push_back(Action::Feed(Input::Response { id: asked.id, result }));
    }

    fn pushed(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng, conn: ConnId, push: Push) {
        let Some(route) = self.conns.get(&conn).map(|conn| conn.route.clone()) else { return };
        if let Push::GoingAway { retry_after_ms } = push {
            // The relay ends the connections by itself when what is in flight is answered.
            for (_, link) in self.links.iter_mut().filter(|(other, _)| other.relay == route.relay) {
                let wait = retry_after_ms.min(backoff::LONGEST_MS);
                link.not_before = now.plus(wait + backoff::up_to(wait.max(BACK_MS), rng));
            }
        } else if !is_errand(&route) {
            self.actions.push_back(Action::Feed(Input::Push { route, push }));
        }
    }

    fn hang_up(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng, conn: ConnId, fault: Fault) {
        self.actions.push_back(Action::Close { conn });
        self.end(now, rng, conn, Some(fault));
    }

    /// Forgets a connection; reports what was lost with it, then that it is down; decides when to dial again.
    fn end(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng, id: ConnId, fault: Option<Fault>) {
        let Some(conn) = self.conns.remove(&id) else { return };
        for lost in conn.in_flight.into_values() {
            self.lose(lost.id);
        }
        let route = conn.route;
        let lasting = fault.as_ref().is_some_and(Fault::is_lasting);
        let was_stable = matches!(conn.state, State::Up { since } if now.since(since) >= STABLE_MS);
        let was_up = matches!(conn.state, State::Up { .. });
        if is_errand(&route) {
            // What was asked of the connection is lost with it, so the errand is over; the engine decides what to try anew.
            let queue = self.links.remove(&route).map(|link| link.queue).unwrap_or_default();
            for (request, _) in queue {
                self.lose(request);
            }
            if !was_up || lasting {
                let reach = self.reach.entry(route.relay.clone()).or_default();
                reach.failed(now, rng);
                if lasting {
                    reach.not_before = now.plus(backoff::LONGEST_MS);
                }
            }
        } else {
            if let Some(link) = self.links.get_mut(&route) {
                link.conn = None;
                link.failures = if was_stable { 0 } else { link.failures };
                let wait = if lasting { backoff::LONGEST_MS } else { backoff::delay(link.failures, rng) };
                link.not_before = link.not_before.max(now.plus(wait));
                link.failures = if was_stable { 0 } else { link.failures.saturating_add(1) };
            }
            if was_up {
                self.actions.push_back(Action::Feed(Input::Link { route: route.clone(), state: LinkState::Down }));
            }
        }
        // A connection that ends is no news (the engine tells that it is down); one that can't be had is, once.
        if let Some(fault) = fault.filter(|_| lasting || !was_up)
            && self.told.get(&route.relay) != Some(&fault)
        {
            let problem = fault.problem(&route.relay);
            self.actions.push_back(Action::Tell(api::Event::Notice { conversation: None, problem }));
            self.told.insert(route.relay, fault);
        }
    }

    fn start_transfers(&mut self, now: UnixMillis) {
        for waiting in self.transfers.extract_if(.., |waiting| waiting.at <= now) {
            let Waiting { id, relay, job, .. } = waiting;
            self.moving.insert(id);
            self.actions.push_back(Action::Transfer { id, relay, job });
        }
    }
}

impl Conn {
    fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// When its silence means that it is dead.
    fn deadline(&self) -> Option<UnixMillis> {
        match self.state {
            State::ExpectsGreeting { until } => Some(until),
            // Numbers go up, and so do times: the first in flight is the oldest.
            State::Up { .. } => self.in_flight.values().next().map(|asked| asked.until),
        }
    }
}

impl Reach {
    fn failed(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng) {
        self.not_before = now.plus(backoff::delay(self.failures, rng));
        self.failures = self.failures.saturating_add(1);
    }
}

fn is_errand(route: &Route) -> bool {
    matches!(route.lane, Lane::Errand(_))
}
