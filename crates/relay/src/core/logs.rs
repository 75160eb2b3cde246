//! Logs: opening them, appending, committing, reading, following.
//!
//! What always holds: nothing is awaited before the store on the way of an append or of a commit that is not paced; a page never
//! holds an entry past the end of the epoch that was asked for, even where a commit ends it while the page is being read; an
//! outsider can't tell a log that is not there from one whose key he has not got.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use store::{EpochState, NewEntry, Placed, Store, StoreError};
use wire::{
    Code, Entry, EntryId, EntryKind, Epoch, EpochPublicKey, Error, LogId, LogState, OpenLog, OpenProof, Push, Response,
    Seq, ServerFrame, StampInput, Subscription, UnixMillis, verify_opens,
};

use super::connections::{Append, Connection, Opened, at_most, not_opened};
use super::pacing::Pace;
use super::rates::limited;
use super::subscriptions::{CaughtUp, NotAdmitted};
use super::{Relay, not_readable_yet, refusal};

/// Bodies in one page that is read for a subscriber who catches up.
const CATCH_UP_PAGE: usize = 64 * 1024;
/// Bodies in one page at most, whatever was asked for.
const LARGEST_PAGE: u32 = 1024 * 1024;
/// Signatures that are checked together before other connections get their turn, and as many as take as long one by one.
const PROOFS_TOGETHER: usize = 50;
const PROOFS_AT_ONCE: usize = 16;
/// The public key of logs that no epoch key opens (inboxes): a point of small order, which strict verification refuses.
pub(super) const NO_KEY: EpochPublicKey = EpochPublicKey([0; 32]);

/// A commit as it was asked for.
pub(super) struct Commit {
    pub(super) log: LogId,
    pub(super) epoch: Epoch,
    pub(super) id: EntryId,
    pub(super) next: EpochPublicKey,
    pub(super) body: Bytes,
    pub(super) repost: bool,
}

/// A message as it was asked for.
pub(super) struct Message {
    pub(super) log: LogId,
    pub(super) epoch: Epoch,
    pub(super) pipe: u32,
    pub(super) id: EntryId,
    pub(super) body: Bytes,
    pub(super) commitment: [u8; 32],
}

/// Entries of one epoch's reach.
struct Within {
    entries: Vec<Entry>,
    head: Seq,
    more: bool,
    /// The epoch has ended, and there is nothing beyond `head` for its readers.
    is_end: bool,
}

impl<S: Store> Relay<S> {
    pub(super) async fn open(
        &self,
        now: UnixMillis,
        conn: &Arc<Connection>,
        logs: Vec<OpenLog>,
    ) -> Result<Response, Error> {
        if logs.len() > self.config.limits.subscriptions as usize {
            return Err(Error::new(
                Code::TooMany,
                "more logs at once than this relay opens for one connection; open them in several requests",
            ));
        }
        let mut states = Vec::with_capacity(logs.len());
        for (at, opens) in logs.chunks(PROOFS_TOGETHER).enumerate() {
            if at > 0 {
                let_others().await;
            }
            self.open_some(now, conn, opens, &mut states).await?;
        }
        Ok(Response::Opened(states))
    }

    /// Opens a few logs, whose proofs are checked together if all can be good, and one by one where one is not.
    async fn open_some(
        &self,
        now: UnixMillis,
        conn: &Arc<Connection>,
        opens: &[OpenLog],
        states: &mut Vec<LogState>,
    ) -> Result<(), Error> {
        self.may_prove(now, conn)?;
        let mut found = Vec::with_capacity(opens.len());
        for open in opens {
            // An expired rendezvous is gone for everybody, though its bytes may not be swept yet.
            let state = match self.rendezvous_expired(open.log, now) {
                true => Err(StoreError::NotFound),
                false => self.store.epoch(open.log.0, open.epoch.0).await,
            };
            found.push(match state {
                Ok(state) => Some(state),
                Err(StoreError::NotFound) => None,
                Err(error) => return Err(refusal(error)),
            });
        }
        // Where there is no such log a signature is checked all the same, so that the time taken says nothing.
        let key = |state: &Option<EpochState>| state.map_or(self.decoy, |state| EpochPublicKey(state.key));
        let proofs: Vec<OpenProof<'_>> = opens
            .iter()
            .zip(&found)
            .map(|(open, state)| OpenProof {
                key: key(state),
                log: open.log,
                epoch: open.epoch,
                signature: &open.signature,
            })
            .collect();
        let all_are_proven =
            proofs.len() > 1 && self.verify_named(conn, |name| verify_opens(&proofs, &conn.nonce, name).is_ok());
        for (at, (proof, state)) in proofs.iter().zip(&found).enumerate() {
            let is_proven = all_are_proven || {
                if at % PROOFS_AT_ONCE == PROOFS_AT_ONCE - 1 {
                    let_others().await;
                }
                self.may_prove(now, conn)?;
                self.verify_named(conn, |name| {
                    proof.key.verify_open(&conn.nonce, name, proof.log, proof.epoch, proof.signature).is_ok()
                })
            };
            states.push(match state.filter(|_| is_proven) {
                Some(state) => self.opened(conn, proof, state).await?,
                None => {
                    self.proof_failed(now, conn);
                    LogState { log: proof.log, epoch: Epoch(0), head: Seq(0), error: Some(Code::NotFound) }
                }
            });
        }
        Ok(())
    }

    /// A log that the connection has proven to be open to it.
    async fn opened(
        &self,
        conn: &Arc<Connection>,
        proof: &OpenProof<'_>,
        EpochState { ended_at, .. }: EpochState,
    ) -> Result<LogState, Error> {
        let (log, epoch) = (proof.log, proof.epoch);
        let info = self.store.info(log.0).await.map_err(refusal)?;
        self.live.learn_bytes(log, info.bytes);
        let ended_at = match ended_at {
            None if info.epoch != epoch.0 => self.store.epoch(log.0, epoch.0).await.map_err(refusal)?.ended_at,
            known => known,
        }
        .map(Seq);
        conn.open(log, Opened { epoch, ended_at }, &self.config.limits)?;
        let head = ended_at.unwrap_or(Seq(info.head));
        Ok(LogState { log, epoch: Epoch(info.epoch), head, error: None })
    }

    /// Runs `verify` with the relay's names until one fits, the one that this client has used before first.
    pub(super) fn verify_named(&self, conn: &Connection, verify: impl Fn(&wire::RelayName) -> bool) -> bool {
        let dialled = usize::from(conn.state().dialled);
        let names = || std::iter::once(&self.config.name).chain(&self.config.aliases);
        if names().nth(dialled).is_some_and(&verify) {
            return true;
        }
        let other = names().enumerate().find(|(at, name)| *at != dialled && verify(name));
        if let Some((at, _)) = other {
            conn.state().dialled = u8::try_from(at).unwrap_or(0);
        }
        other.is_some()
    }

    pub(super) async fn append(
        &self,
        now: UnixMillis,
        conn: &Arc<Connection>,
        message: Message,
    ) -> Result<Response, Error> {
        let Message { log, epoch, pipe, id, body, commitment } = message;
        let append = Append { log, epoch, pipe, bytes: body.len() };
        let flight = conn.admit(&append, &self.config.limits, &self.config.rates, now)?;
        let room = self.config.rates.bytes_per_log;
        if let Err(not) = self.live.admit(log, body.len(), room, &self.config.rates, now) {
            flight.pipe.break_off();
            return Err(self.not_admitted(log, not).await);
        }
        // The body shares its memory with a socket's buffer, which must not live as long as the entry.
        let body = Bytes::copy_from_slice(&body);
        let entry = NewEntry { id: id.0, kind: EntryKind::Message as u8, body: body.clone(), commitment, time: now.0 };
        let appended = self.store.append(log.0, epoch.0, &flight.pipe, entry).await;
        if appended.is_err() {
            flight.pipe.break_off();
        }
        drop(flight);
        let placed = appended.map_err(gone_is_not_opened)?;
        self.learn_bytes(log).await;
        Ok(self.appended(log, epoch, placed, id, &body, commitment))
    }

    pub(super) async fn commit(
        &self,
        now: UnixMillis,
        conn: &Arc<Connection>,
        commit: Commit,
    ) -> Result<Response, Error> {
        let Commit { log, epoch, id, next, body, repost } = commit;
        conn.opened(log, epoch)?;
        at_most(body.len(), self.config.limits.commit_bytes, "a commit")?;
        if next == NO_KEY {
            return Err(Error::new(Code::Malformed, "the key of the next epoch opens nothing; derive it again"));
        }
        if let Some(until) = self.config.restoring_until.filter(|until| now < *until && !repost) {
            return Err(Error::new(
                Code::Restoring,
                "this relay was restored from a backup and takes only commits that it lost; send those again first",
            )
            .retry_after(until.since(now)));
        }
        conn.spend_commit(&self.config.rates, now)?;
        if !self.live.has_room_for_commit(log, body.len(), &self.config.rates) {
            return Err(self.not_admitted(log, NotAdmitted::Full).await);
        }
        let body = Bytes::copy_from_slice(&body);
        let pace = self.live.with(log, |live| {
            live.pacing.as_mut().map_or(Ok(Pace::Free), |pacing| pacing.arrive(now, conn.id, conn.peer.range))
        })?;
        let (turn, time) = match pace {
            Pace::Free => (None, now),
            Pace::Wait { turn, due } => {
                if let Some(due) = due {
                    self.paced().insert((due, log));
                }
                let drawn_at = turn.granted().await?;
                (Some(turn), drawn_at)
            }
        };
        let entry =
            NewEntry { id: id.0, kind: EntryKind::Commit as u8, body: body.clone(), commitment: [0; 32], time: time.0 };
        let committed = self.store.commit(log.0, epoch.0, entry, next.0).await;
        drop(turn);
        let placed = committed.map_err(gone_is_not_opened)?;
        self.learn_bytes(log).await;
        Ok(self.appended(log, epoch, placed, id, &body, [0; 32]))
    }

    /// The answer to an entry that is durable.
    pub(super) fn appended(
        &self,
        log: LogId,
        epoch: Epoch,
        placed: Placed,
        id: EntryId,
        body: &Bytes,
        commitment: [u8; 32],
    ) -> Response {
        let Placed { seq, time } = placed;
        let time = UnixMillis(time);
        let stamp = self.live.take_stamp(log, seq).unwrap_or_else(|| {
            let body_hash = Sha256::digest(body).into();
            let input = StampInput { log, epoch, seq: Seq(seq), id, body_hash, commitment, time };
            self.live.stamper.stamp(&input)
        });
        Response::Appended { seq: Seq(seq), time, stamp }
    }

    /// The refusal of a log that takes nothing now. Where it seems full the store is asked: retention may have made room.
    pub(super) async fn not_admitted(&self, log: LogId, not: NotAdmitted) -> Error {
        if let NotAdmitted::Often(wait) = not {
            return limited("messages in this conversation", wait);
        }
        match self.store.info(log.0).await {
            Ok(info) => self.live.learn_bytes(log, info.bytes),
            Err(error) => return refusal(error),
        }
        Error::new(
            Code::RateLimited,
            "this log holds as much as the relay keeps of one; there is room again when its oldest entries have expired",
        )
        .retry_after(60_000)
    }

    /// Asks how much is kept of a log that has just become live, behind its first append: nothing may be awaited before that.
    pub(super) async fn learn_bytes(&self, log: LogId) {
        if self.config.rates.bytes_per_log != u64::MAX
            && self.live.bytes_unknown(log)
            && let Ok(info) = self.store.info(log.0).await
        {
            self.live.learn_bytes(log, info.bytes);
        }
    }

    pub(super) async fn read(
        &self,
        conn: &Connection,
        log: LogId,
        epoch: Epoch,
        from: Seq,
        max_bytes: u32,
    ) -> Result<Response, Error> {
        let opened = conn.opened(log, epoch)?;
        let ended_at = opened.ended_at.filter(|_| opened.epoch == epoch);
        self.page(log, epoch, ended_at, from, max_bytes).await
    }

    pub(super) async fn page(
        &self,
        log: LogId,
        epoch: Epoch,
        ended_at: Option<Seq>,
        from: Seq,
        max_bytes: u32,
    ) -> Result<Response, Error> {
        let page = self.within(log, epoch, ended_at, from, max_bytes.clamp(1, LARGEST_PAGE) as usize).await?;
        Ok(Response::Page { entries: page.entries, head: page.head, more: page.more })
    }

    /// A page of what the key of `epoch` may read.
    async fn within(
        &self,
        log: LogId,
        epoch: Epoch,
        ended_at: Option<Seq>,
        from: Seq,
        max_bytes: usize,
    ) -> Result<Within, Error> {
        let until = ended_at.map(|end| end.0);
        let mut page = self.store.read(log.0, from.0.max(1), until, max_bytes).await.map_err(gone_is_not_opened)?;
        // Asked after the page was read: a commit that is in the page, or before anything in it, is known by now.
        let end = match until {
            Some(end) => Some(end),
            None => self.store.epoch(log.0, epoch.0).await.map_err(gone_is_not_opened)?.ended_at,
        };
        let mut is_end = false;
        if let Some(end) = end {
            is_end = page.head >= end;
            page.head = page.head.min(end);
            let all = page.entries.len();
            page.entries.retain(|entry| entry.seq <= end);
            page.more &= page.entries.len() == all && page.entries.last().is_some_and(|last| last.seq < end);
        }
        let entries = page.entries.iter().filter_map(|entry| self.live.stamper.stamped(log, entry)).collect();
        Ok(Within { entries, head: Seq(page.head), more: page.more, is_end: is_end && !page.more })
    }

    pub(super) async fn subscribe(&self, conn: &Arc<Connection>, logs: Vec<Subscription>) -> Result<Response, Error> {
        for subscription in &logs {
            conn.opened(subscription.log, subscription.epoch)?;
        }
        for Subscription { log, epoch, from } in logs {
            let opened = conn.opened(log, epoch)?;
            let ended_at = opened.ended_at.filter(|_| opened.epoch == epoch);
            self.follow(conn, log, epoch, ended_at, from).await?;
        }
        Ok(Response::Done)
    }

    /// Registers a subscriber, then hands it what the store has, then what has come meanwhile.
    pub(super) async fn follow(
        &self,
        conn: &Arc<Connection>,
        log: LogId,
        epoch: Epoch,
        ended_at: Option<Seq>,
        from: Seq,
    ) -> Result<(), Error> {
        let mut next = from.max(Seq(1));
        let generation = conn.subscribe(
            log,
            &self.config.limits,
            |log, generation| self.live.is_followed(log, conn.id, generation),
            |generation| self.live.register(log, conn, generation, epoch, next),
        )?;
        loop {
            let page = match self.within(log, epoch, ended_at, next, CATCH_UP_PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    self.live.unregister(log, conn.id, generation);
                    return Err(error);
                }
            };
            let (more, is_end) = (page.more, page.is_end);
            if let Some(last) = page.entries.last().map(|entry| entry.seq) {
                let push = Push::Entries { log, entries: page.entries, head: page.head };
                if !self.live.is_followed(log, conn.id, generation) {
                    return Ok(()); // unsubscribed meanwhile, or subscribed anew
                }
                if !conn.sink.push(ServerFrame::Push(push).encode()) {
                    if self.live.unregister(log, conn.id, generation) {
                        conn.notice(log, Push::Lagged { log, seq: next });
                    }
                    return Ok(());
                }
                next = last.next();
            }
            if is_end {
                if self.live.unregister(log, conn.id, generation) {
                    conn.notice(log, Push::EpochEnded { log, epoch });
                }
                return Ok(());
            }
            if !more {
                match self.live.caught_up(log, conn.id, generation, next) {
                    CaughtUp::Done => return Ok(()),
                    CaughtUp::ReadFrom(from) => next = from,
                }
            }
        }
    }

    pub(super) fn unsubscribe(&self, conn: &Connection, logs: &[LogId]) -> Response {
        for log in logs {
            if conn.unsubscribe(*log) {
                self.live.unregister(*log, conn.id, 0);
            }
        }
        Response::Done
    }

    pub(super) fn signal(
        &self,
        now: UnixMillis,
        conn: &Connection,
        log: LogId,
        epoch: Epoch,
        body: Bytes,
    ) -> Result<Response, Error> {
        conn.opened(log, epoch)?;
        at_most(body.len(), self.config.limits.message_bytes, "a signal")?;
        conn.spend_signal(&self.config.rates, now)?;
        self.live
            .spend_signal(log, &self.config.rates, now)
            .map_err(|wait| limited("signals in this conversation", wait))?;
        self.live.signal(log, epoch, conn.id, body);
        Ok(Response::Done)
    }

    pub(super) async fn create(
        &self,
        now: UnixMillis,
        conn: &Connection,
        log: LogId,
        epoch: Epoch,
        next: EpochPublicKey,
    ) -> Result<Response, Error> {
        self.spend_errand(now, conn)?;
        self.create_opened_by(now, log, epoch, next).await
    }

    pub(super) async fn create_opened_by(
        &self,
        now: UnixMillis,
        log: LogId,
        epoch: Epoch,
        next: EpochPublicKey,
    ) -> Result<Response, Error> {
        if next == NO_KEY {
            return Err(Error::new(Code::Malformed, "the key of the log's first epoch opens nothing; derive it again"));
        }
        match self.store.create(log.0, epoch.0, next.0, now.0).await {
            Ok(()) => Ok(Response::Done),
            Err(StoreError::Exists) if self.store.info(log.0).await == Err(StoreError::NotFound) => {
                Err(not_readable_yet())
            }
            Err(error) => Err(refusal(error)),
        }
    }
}

/// A log that an opened connection writes to can vanish (a rendezvous expires): to the connection it is no longer opened.
fn gone_is_not_opened(error: StoreError) -> Error {
    match error {
        StoreError::NotFound => not_opened(),
        other => refusal(other),
    }
}

/// Lets other tasks of the same thread run, on any runtime.
fn let_others() -> impl Future<Output = ()> {
    struct Once(bool);
    impl Future for Once {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }
    Once(false)
}
