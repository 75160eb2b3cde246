//! What is kept in memory of logs that somebody follows or writes to: subscribers, meters, pacing; and how entries reach them.
//!
//! What always holds: a subscriber gets every entry of its log from `from` on once, in order, without a gap, and nothing past the
//! commit that ends its epoch. It is registered first and then catches up from the store; what becomes durable meanwhile waits in a
//! bounded buffer, or is read from the store too if that overflows. An entry is encoded once for all its subscribers, its stamp is
//! computed once for them and its writer. Who is too slow is told where to read on (`Lagged`), and nobody waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use store::Observer;
use wire::{Entry, EntryKind, Epoch, LogId, Push, Seq, ServerFrame, UnixMillis};

use super::connections::Connection;
use super::pacing::Pacing;
use super::rates::Meter;
use super::stamps::Stamper;
use super::{ConnId, rates};

const SHARDS: usize = 256;
/// Bytes that wait for a subscriber that is catching up; beyond that it reads them from the store.
const CATCH_UP_BUFFER: usize = 64 * 1024;
/// Stamps kept for writers whose answer is under way, for each shard.
const STAMPS_KEPT: usize = 256;

/// All logs that are live, by id.
pub(super) struct Live {
    shards: Box<[Mutex<Shard>]>,
    pub(super) stamper: Stamper,
}

#[derive(Default)]
struct Shard {
    logs: HashMap<LogId, LiveLog>,
    /// Stamps that the fan-out computed, until the writer's answer takes them.
    stamps: HashMap<(LogId, u64), [u8; 32]>,
}

/// One live log.
#[derive(Default)]
pub(super) struct LiveLog {
    /// A vector: deliveries go in the order of subscription, the same in every run.
    subscribers: Vec<Subscriber>,
    /// Messages and deposits.
    meter: Meter,
    signals: Meter,
    /// Bytes kept of the log, once they have been asked for.
    bytes: Option<u64>,
    pub(super) pacing: Option<Box<Pacing>>,
}

struct Subscriber {
    connection: Arc<Connection>,
    generation: u32,
    epoch: Epoch,
    /// The first entry that it has not got.
    next: Seq,
    /// `None` once it has caught up.
    waiting: Option<Box<Waiting>>,
}

/// What became durable while a subscriber is catching up.
#[derive(Default)]
struct Waiting {
    frames: Vec<(Entry, Bytes)>,
    bytes: usize,
    /// Something did not fit: read again.
    overflowed: bool,
}

/// Where a subscriber stands that has read the store to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CaughtUp {
    /// It gets entries as they come, or its subscription has ended by now and it has been told.
    Done,
    /// More has come than could wait; read again from here on.
    ReadFrom(Seq),
}

impl LiveLog {
    /// As far as is known here.
    fn has_room(&self, bytes: usize, room: u64) -> bool {
        self.bytes.is_none_or(|kept| kept.saturating_add(bytes as u64) <= room)
    }

    /// True if its meters say no more than fresh ones.
    fn is_unused(&self, now: UnixMillis) -> bool {
        self.meter.is_idle(now) && self.signals.is_idle(now)
    }
}

impl Live {
    pub(super) fn new(stamper: Stamper) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), stamper }
    }

    /// Runs `act` on a log, which becomes live by it.
    pub(super) fn with<T>(&self, log: LogId, act: impl FnOnce(&mut LiveLog) -> T) -> T {
        act(self.shard(log).logs.entry(log).or_default())
    }

    /// Lets `bytes` more into a log that holds at most `room`, or says why not.
    pub(super) fn admit(
        &self,
        log: LogId,
        bytes: usize,
        room: u64,
        rates: &rates::Rates,
        now: UnixMillis,
    ) -> Result<(), NotAdmitted> {
        self.with(log, |live| {
            if !live.has_room(bytes, room) {
                return Err(NotAdmitted::Full);
            }
            live.meter.spend(rates.appends_per_log, now).map_err(NotAdmitted::Often)
        })
    }

    /// Whether a commit of so many bytes fits into a log, of which some room is for commits alone.
    pub(super) fn has_room_for_commit(&self, log: LogId, bytes: usize, rates: &rates::Rates) -> bool {
        let room = rates.bytes_per_log.saturating_add(rates.commit_bytes_per_log);
        self.with(log, |live| live.has_room(bytes, room))
    }

    /// Pays for a signal in a log; otherwise says how many milliseconds to wait.
    pub(super) fn spend_signal(&self, log: LogId, rates: &rates::Rates, now: UnixMillis) -> Result<(), u64> {
        self.with(log, |live| live.signals.spend(rates.signals_per_log, now))
    }

    /// True if nobody has asked yet how many bytes are kept of this log.
    pub(super) fn bytes_unknown(&self, log: LogId) -> bool {
        self.shard(log).logs.get(&log).is_some_and(|live| live.bytes.is_none())
    }

    /// Remembers how many bytes are kept of a log.
    pub(super) fn learn_bytes(&self, log: LogId, bytes: u64) {
        if let Some(live) = self.shard(log).logs.get_mut(&log) {
            live.bytes = Some(bytes);
        }
    }

    /// The stamp that the fan-out computed for this entry, if it did.
    pub(super) fn take_stamp(&self, log: LogId, seq: u64) -> Option<[u8; 32]> {
        self.shard(log).stamps.remove(&(log, seq))
    }

    /// A subscriber that will catch up from `next` on. It takes the place of an earlier one of the same connection.
    pub(super) fn register(&self, log: LogId, connection: &Arc<Connection>, generation: u32, epoch: Epoch, next: Seq) {
        let subscriber =
            Subscriber { connection: connection.clone(), generation, epoch, next, waiting: Some(Box::default()) };
        self.with(log, |live| {
            live.subscribers.retain(|other| other.connection.id != connection.id);
            if live.subscribers.len() < 4 {
                // Most logs have few subscribers, and a vector would begin with room for four.
                live.subscribers.reserve_exact(1);
            }
            live.subscribers.push(subscriber);
        });
    }

    /// True if this very subscription is there.
    pub(super) fn is_followed(&self, log: LogId, conn: ConnId, generation: u32) -> bool {
        let shard = self.shard(log);
        let mut subscribers = shard.logs.get(&log).into_iter().flat_map(|live| &live.subscribers);
        subscribers.any(|subscriber| subscriber.connection.id == conn && subscriber.generation == generation)
    }

    /// A subscriber has got everything before `next` from the store: hands it what has come meanwhile, then lets it live.
    pub(super) fn caught_up(&self, log: LogId, conn: ConnId, generation: u32, next: Seq) -> CaughtUp {
        let mut shard = self.shard(log);
        let Some(live) = shard.logs.get_mut(&log) else { return CaughtUp::Done };
        let found = |subscriber: &Subscriber| subscriber.connection.id == conn && subscriber.generation == generation;
        let Some(at) = live.subscribers.iter().position(found) else { return CaughtUp::Done };
        let subscriber = &mut live.subscribers[at];
        subscriber.next = next;
        if let Some(waiting) = subscriber.waiting.take() {
            if waiting.overflowed {
                subscriber.waiting = Some(Box::default());
                return CaughtUp::ReadFrom(next);
            }
            for (entry, frame) in waiting.frames {
                if !subscriber.offer(log, &entry, &frame) {
                    live.subscribers.remove(at);
                    break;
                }
            }
        }
        CaughtUp::Done
    }

    /// Ends one subscription; `generation` 0 stands for whichever the connection has.
    pub(super) fn unregister(&self, log: LogId, conn: ConnId, generation: u32) -> bool {
        let mut shard = self.shard(log);
        let Some(live) = shard.logs.get_mut(&log) else { return false };
        let before = live.subscribers.len();
        live.subscribers.retain(|subscriber| {
            subscriber.connection.id != conn || (generation != 0 && subscriber.generation != generation)
        });
        let ended = live.subscribers.len() < before;
        if live.subscribers.is_empty() && live.pacing.is_none() && live.is_unused(UnixMillis(0)) {
            shard.logs.remove(&log);
        }
        ended
    }

    /// Ends all subscriptions of a log (it is gone, or its owner was revoked) and says so.
    pub(super) fn end_all(&self, log: LogId) {
        let ended = match self.shard(log).logs.get_mut(&log) {
            Some(live) => std::mem::take(&mut live.subscribers),
            None => return,
        };
        for subscriber in ended {
            subscriber.connection.notice(log, Push::EpochEnded { log, epoch: subscriber.epoch });
        }
    }

    /// Hands a signal to everyone who follows `log` in `epoch`, but for its sender. Who has no room misses it.
    pub(super) fn signal(&self, log: LogId, epoch: Epoch, sender: ConnId, body: Bytes) {
        let shard = self.shard(log);
        let Some(live) = shard.logs.get(&log) else { return };
        let mut others = (live.subscribers.iter())
            .filter(|subscriber| subscriber.epoch == epoch && subscriber.connection.id != sender)
            .peekable();
        if others.peek().is_none() {
            return;
        }
        let frame = ServerFrame::Push(Push::Signal { log, epoch, body }).encode();
        for subscriber in others {
            let _missed = !subscriber.connection.sink.push(frame.clone());
        }
    }

    /// Forgets what is idle in one shard.
    pub(super) fn clean(&self, turn: usize, now: UnixMillis) {
        let mut shard = self.shards[turn % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        for live in shard.logs.values_mut() {
            if live.pacing.as_ref().is_some_and(|pacing| pacing.is_idle(now)) {
                live.pacing = None;
            }
        }
        shard.logs.retain(|_, live| !live.subscribers.is_empty() || live.pacing.is_some() || !live.is_unused(now));
        if shard.logs.capacity() > 4 * shard.logs.len() {
            shard.logs.shrink_to_fit();
        }
    }

    fn shard(&self, log: LogId) -> MutexGuard<'_, Shard> {
        // Ids are random; who chooses them to share a shard slows down nobody but himself and his neighbours there.
        self.shards[usize::from(log.0[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a log takes nothing at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// As many bytes are kept of it as may be, as far as is known here.
    Full,
    /// Too often; so many milliseconds to wait.
    Often(u64),
}

impl Observer for Live {
    fn durable(&self, log: store::LogKey, entry: &store::Entry) {
        let log = LogId(log);
        let is_commit = u32::from(entry.kind) == EntryKind::Commit as u32;
        {
            let mut shard = self.shard(log);
            if is_commit {
                shard.logs.entry(log).or_default().pacing.get_or_insert_default().won(UnixMillis(entry.time));
            }
            let Some(live) = shard.logs.get_mut(&log) else { return };
            live.bytes = live.bytes.map(|bytes| bytes.saturating_add(entry.body.len() as u64));
            // Who registers from here on reads this entry from the store.
            if live.subscribers.is_empty() {
                return;
            }
        }
        // Hashing and encoding a large entry must not hold up the shard.
        let Some(entry) = self.stamper.stamped(log, entry) else { return };
        let push = Push::Entries { log, head: entry.seq, entries: vec![entry.clone()] };
        let frame = ServerFrame::Push(push).encode();

        let mut shard = self.shard(log);
        if shard.stamps.len() >= STAMPS_KEPT {
            // Their writers hung up, or compute them again.
            shard.stamps.clear();
        }
        shard.stamps.insert((log, entry.seq.0), entry.stamp);
        if let Some(live) = shard.logs.get_mut(&log) {
            live.subscribers.retain_mut(|subscriber| subscriber.offer(log, &entry, &frame));
        }
    }
}

impl Subscriber {
    /// Hands over an entry; false if the subscription has ended by it.
    fn offer(&mut self, log: LogId, entry: &Entry, frame: &Bytes) -> bool {
        if entry.epoch > self.epoch {
            // A past epoch is followed: its entries come from the store, and there are no new ones.
            return true;
        }
        if let Some(waiting) = &mut self.waiting {
            waiting.add(entry, frame);
            return true;
        }
        if entry.seq >= self.next {
            if !self.connection.sink.push(frame.clone()) {
                self.connection.notice(log, Push::Lagged { log, seq: self.next });
                return false;
            }
            self.next = entry.seq.next();
        }
        if entry.kind == EntryKind::Commit && entry.epoch == self.epoch {
            self.connection.notice(log, Push::EpochEnded { log, epoch: self.epoch });
            return false;
        }
        true
    }
}

impl Waiting {
    fn add(&mut self, entry: &Entry, frame: &Bytes) {
        if self.overflowed || self.bytes + frame.len() > CATCH_UP_BUFFER {
            *self = Self { overflowed: true, ..Self::default() };
            return;
        }
        self.bytes += frame.len();
        self.frames.push((entry.clone(), frame.clone()));
    }
}
