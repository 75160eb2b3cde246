//! Connections: what each has proven, which pipes it writes through, what it follows.
//!
//! What always holds: a connection's lock is taken before a log's, never the other way round; a closed connection follows nothing.
//! Of a log that a connection opened only the latest epoch is kept: the key of an epoch opens everything before its end (protocol
//! rule 2), so it covers what an earlier key would.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use store::Pipe;
use wire::{Address, Code, DeviceId, Epoch, Error, Lane, LogId, Nonce, Push, Seq, ServerFrame, UnixMillis};

use super::rates::{Meter, Rates, limited};
use super::{ConnId, Peer, Sink};

const SHARDS: usize = 64;

/// All connections, by id.
pub(super) struct Connections {
    shards: [Mutex<HashMap<u64, Arc<Connection>>>; SHARDS],
    next: AtomicU64,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), next: AtomicU64::new(1) }
    }

    pub(super) fn add(&self, nonce: Nonce, peer: Peer, sink: Arc<dyn Sink>) -> ConnId {
        let id = ConnId(self.next.fetch_add(1, Ordering::Relaxed));
        let connection = Connection { id, nonce, peer, sink, state: Mutex::default(), notices: Mutex::new(Vec::new()) };
        self.shard(id).insert(id.0, Arc::new(connection));
        id
    }

    pub(super) fn get(&self, id: ConnId) -> Result<Arc<Connection>, Error> {
        self.shard(id).get(&id.0).cloned().ok_or_else(closed)
    }

    pub(super) fn remove(&self, id: ConnId) -> Option<Arc<Connection>> {
        self.shard(id).remove(&id.0)
    }

    fn shard(&self, id: ConnId) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.shards[id.0 as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection.
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) nonce: Nonce,
    pub(super) peer: Peer,
    pub(super) sink: Arc<dyn Sink>,
    state: Mutex<State>,
    /// That subscriptions have ended, where the sink had no room even for that.
    notices: Mutex<Vec<(LogId, Bytes)>>,
}

#[derive(Default)]
pub(super) struct State {
    closed: bool,
    lane: Option<Lane>,
    /// Which of the relay's names this client signs; tried first.
    pub(super) dialled: u8,
    /// Which device this is, on the account lane.
    pub(super) device: Option<Box<(Address, DeviceId)>>,
    logs: HashMap<LogId, Access>,
    subscriptions: u32,
    /// Numbers subscriptions, so that a late catch-up does not act for its successor.
    generation: u32,
    pub(super) appends: Meter,
    commits: Meter,
    signals: Meter,
    pub(super) failed_proofs: Meter,
    /// A proof on this connection has failed.
    pub(super) has_failed: bool,
    pub(super) errands: Meter,
    pub(super) account: Meter,
}

/// What a connection may do with one log, and has begun.
#[derive(Default)]
struct Access {
    opened: Option<Opened>,
    pipe: Option<Box<Piped>>,
    /// 0: none.
    subscription: u32,
}

/// The latest epoch that the connection has proven.
#[derive(Clone, Copy)]
pub(super) struct Opened {
    pub(super) epoch: Epoch,
    /// The commit that ended it, if that was known when it was opened; it never changes.
    pub(super) ended_at: Option<Seq>,
}

/// The pipe in use and what is in flight.
#[derive(Default)]
struct Piped {
    number: u32,
    in_flight: u32,
    pipe: Pipe,
}

/// An append that was let in. Gives its place in flight back when dropped, also when its future is.
pub(super) struct Flight {
    connection: Arc<Connection>,
    log: LogId,
    pub(super) pipe: Pipe,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.connection.state();
        if let Some(piped) = state.logs.get_mut(&self.log).and_then(|access| access.pipe.as_mut()) {
            piped.in_flight = piped.in_flight.saturating_sub(1);
        }
    }
}

/// What [`Connection::admit`] is asked about.
pub(super) struct Append {
    pub(super) log: LogId,
    pub(super) epoch: Epoch,
    pub(super) pipe: u32,
    pub(super) bytes: usize,
}

impl Connection {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first request decides the lane; the others must belong to it.
    pub(super) fn enter(&self, lane: Lane) -> Result<(), Error> {
        let mut state = self.state();
        if state.closed {
            return Err(closed());
        }
        match *state.lane.get_or_insert(lane) {
            entered if entered == lane => Ok(()),
            _ => Err(Error::new(
                Code::WrongLane,
                "this connection has begun another lane; send this request on a connection of its own",
            )),
        }
    }

    /// Lets an append in, in its pipe and under the limits, or refuses it and with it all that follow in its pipe (rule 4).
    pub(super) fn admit(
        self: &Arc<Self>,
        append: &Append,
        limits: &wire::Limits,
        rates: &Rates,
        now: UnixMillis,
    ) -> Result<Flight, Error> {
        let mut state = self.state();
        if state.closed {
            return Err(closed());
        }
        // A log that was not opened gets a pipe too: what follows the refusal must not slip in once an `Open` has succeeded.
        let known = state.logs.len();
        let State { logs, appends, .. } = &mut *state;
        if known >= opened_limit(limits) && !logs.contains_key(&append.log) {
            return Err(not_opened());
        }
        let access = logs.entry(append.log).or_default();
        let opened = access.opened;
        let piped = access.pipe.get_or_insert_default();
        if append.pipe < piped.number || (append.pipe == piped.number && piped.pipe.is_broken()) {
            return Err(aborted());
        }
        if append.pipe > piped.number {
            piped.number = append.pipe;
            piped.pipe = Pipe::default();
        }
        let admitted = match opened {
            Some(opened) if append.epoch <= opened.epoch => Ok(()),
            _ => Err(not_opened()),
        };
        let admitted = admitted
            .and_then(|()| at_most(append.bytes, limits.message_bytes, "a message"))
            .and_then(|()| match piped.in_flight < limits.in_flight {
                true => Ok(()),
                false => Err(Error::new(
                    Code::TooMany,
                    "too many appends to this log are in flight; wait for answers, then go on with a new pipe",
                )),
            })
            .and_then(|()| {
                appends
                    .spend(rates.appends_per_connection, now)
                    .map_err(|wait| limited("messages on this connection", wait))
            });
        match admitted {
            Ok(()) => {
                piped.in_flight += 1;
                Ok(Flight { connection: self.clone(), log: append.log, pipe: piped.pipe.clone() })
            }
            Err(refusal) => {
                piped.pipe.break_off();
                Err(refusal)
            }
        }
    }

    /// Pays for a commit: not from what messages are paid from, so that they never cost a removal.
    pub(super) fn spend_commit(&self, rates: &Rates, now: UnixMillis) -> Result<(), Error> {
        let spent = self.state().commits.spend(rates.commits_per_connection, now);
        spent.map_err(|wait| limited("changes on this connection", wait))
    }

    /// Pays for a signal, which must cost nobody a message.
    pub(super) fn spend_signal(&self, rates: &Rates, now: UnixMillis) -> Result<(), Error> {
        let spent = self.state().signals.spend(rates.signals_per_connection, now);
        spent.map_err(|wait| limited("signals on this connection", wait))
    }

    /// What the connection has proven of a log, if that covers `epoch`.
    pub(super) fn opened(&self, log: LogId, epoch: Epoch) -> Result<Opened, Error> {
        let opened = self.state().logs.get(&log).and_then(|access| access.opened);
        opened.filter(|opened| epoch <= opened.epoch).ok_or_else(not_opened)
    }

    /// Remembers a proof.
    pub(super) fn open(&self, log: LogId, opened: Opened, limits: &wire::Limits) -> Result<(), Error> {
        let mut state = self.state();
        if state.closed {
            return Err(closed());
        }
        if state.logs.len() >= opened_limit(limits) && !state.logs.contains_key(&log) {
            return Err(Error::new(
                Code::TooMany,
                "this connection has opened as many logs as it may; close it and open those that are needed on a new one",
            ));
        }
        let access = state.logs.entry(log).or_default();
        if access.opened.is_none_or(|earlier| earlier.epoch <= opened.epoch) {
            access.opened = Some(opened);
        }
        Ok(())
    }

    /// Begins a subscription: `register` is run while the connection can't be closed. Answers with its generation.
    pub(super) fn subscribe(
        &self,
        log: LogId,
        limits: &wire::Limits,
        is_followed: impl Fn(LogId, u32) -> bool,
        register: impl FnOnce(u32),
    ) -> Result<u32, Error> {
        let mut state = self.state();
        let state = &mut *state;
        if state.closed {
            return Err(closed());
        }
        if state.subscriptions >= limits.subscriptions {
            // Subscriptions also end on the log's side (epochs end, sinks are full), which is only noticed here.
            for (log, access) in &mut state.logs {
                if access.subscription != 0 && !is_followed(*log, access.subscription) {
                    access.subscription = 0;
                    state.subscriptions -= 1;
                }
            }
        }
        let access = state.logs.entry(log).or_default();
        if access.subscription == 0 {
            if state.subscriptions >= limits.subscriptions {
                return Err(Error::new(
                    Code::TooMany,
                    "this connection follows as many logs as it may; unsubscribe from some, or use another connection",
                ));
            }
            state.subscriptions += 1;
        }
        // Never 0, which says "none".
        state.generation = state.generation.checked_add(1).unwrap_or(1);
        access.subscription = state.generation;
        self.notices().retain(|(noticed, _)| *noticed != log);
        register(state.generation);
        Ok(state.generation)
    }

    /// Ends a subscription on the connection's side. True if there was one.
    pub(super) fn unsubscribe(&self, log: LogId) -> bool {
        let mut state = self.state();
        let Some(access) = state.logs.get_mut(&log) else { return false };
        let was = std::mem::take(&mut access.subscription) != 0;
        state.subscriptions -= u32::from(was);
        was
    }

    /// From now on nothing can begin; answers with the logs that were followed.
    pub(super) fn close(&self) -> Vec<LogId> {
        let logs = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.logs)
        };
        self.notices().clear();
        logs.into_iter().filter(|(_, access)| access.subscription != 0).map(|(log, _)| log).collect()
    }

    /// Pushes that a subscription has ended; if the sink has no room, it gets it once it has run empty.
    pub(super) fn notice(&self, log: LogId, push: Push) {
        let frame = ServerFrame::Push(push).encode();
        // Held over both steps: a sink that runs empty between them would otherwise ask for notices a moment too early.
        let mut notices = self.notices();
        if !self.sink.push(frame.clone()) {
            notices.push((log, frame));
        }
    }

    /// Pushes what [`Connection::notice`] had no room for.
    pub(super) fn drained(&self) {
        let mut notices = self.notices();
        let taken = notices.iter().take_while(|(_, frame)| self.sink.push(frame.clone())).count();
        notices.drain(..taken);
        notices.shrink_to_fit();
    }

    fn notices(&self) -> MutexGuard<'_, Vec<(LogId, Bytes)>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a body that is larger than `Hello` allows.
pub(super) fn at_most(bytes: usize, limit: u32, what: &str) -> Result<(), Error> {
    if bytes <= limit as usize {
        return Ok(());
    }
    Err(Error::new(
        Code::TooLarge,
        format!("{what} may have at most {limit} bytes here; send less, or send it as a blob"),
    ))
}

/// How many logs a connection may know: those it follows and as many again.
fn opened_limit(limits: &wire::Limits) -> usize {
    limits.subscriptions as usize * 2
}

pub(super) fn not_opened() -> Error {
    Error::new(Code::NotOpened, "this connection has not opened the log in this epoch; open it first")
}

fn aborted() -> Error {
    Error::new(Code::Aborted, "an append before this one was refused; send it again with the next pipe number")
}

fn closed() -> Error {
    Error::new(Code::Unavailable, "the connection is closed; connect again")
}
