//! The relay without its sockets: lanes, logs, subscriptions, inboxes, accounts, blobs, limits.
//!
//! Whoever drives it hands in the time, the randomness, decoded requests and a [`Sink`] for what is pushed, and gets answers back;
//! a server does so with sockets, a simulator on one thread with a seed.
//!
//! What always holds: nothing is acknowledged before the store said that it is durable; a connection reads and appends only in
//! epochs whose key it has proven, and never past the end of such an epoch; no lock is held while the store is awaited; what a
//! refusal says holds nothing that a user wrote. Deliberately absent: a runtime, a clock, HTTP, and any knowledge of what entries
//! hold. Repeated entry ids are stored as they come: readers drop repetitions (protocol rule 3).
//!
//! **How to drive it.** [`Relay::connect`] for each connection, its `Hello` first on the wire. Each [`Relay::handle`] future is
//! polled once before the next frame of the same connection is handed in: the store is reached in that first poll, and this is what
//! keeps appends in the order sent (protocol rule 4). [`Relay::tick`] about four times a second, [`Relay::sweep`] every second or
//! so, [`Relay::drained`] whenever a sink's queue has run empty after it refused a frame, [`Relay::disconnect`] at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use store::{Store, StoreError};
use wire::{
    BlobId, BlobSecret, Code, EntryKind, EpochKey, EpochPublicKey, Error, Hello, Incarnation, Lane, Limits, LogId,
    Nonce, RelayName, Request, Response, UnixMillis,
};
use zeroize::Zeroizing;

mod accounts;
mod blobs;
mod connections;
mod inboxes;
mod key_packages;
mod keys;
mod logs;
mod pacing;
mod proofs;
mod rates;
mod rendezvous;
mod stamps;
mod subscriptions;

pub use rates::{Quota, Rates};

use connections::{Connection, Connections};
use logs::{Commit, Message};
use rates::{Errands, Meters};
use stamps::Stamper;
use subscriptions::Live;

/// What a relay is told when it starts.
pub struct Config {
    /// The relay's own name: part of its addresses and of what connections sign.
    pub name: RelayName,
    /// Other names that clients may dial and therefore sign; accepted in proofs, never in addresses.
    pub aliases: Vec<RelayName>,
    /// What is announced in `Hello` and enforced.
    pub limits: Limits,
    /// Changes when the relay was restored from a backup.
    pub incarnation: Incarnation,
    /// The key of the stamps (HMAC-SHA256).
    pub stamp_key: Zeroizing<[u8; 32]>,
    /// Who may register.
    pub registration: Registration,
    /// How often what may be done.
    pub rates: Rates,
    /// Until when only re-posted commits are taken, after the relay was restored.
    pub restoring_until: Option<UnixMillis>,
}

impl Config {
    /// A relay that is open to everybody, with the usual limits and rates.
    pub fn new(name: RelayName, incarnation: Incarnation, stamp_key: Zeroizing<[u8; 32]>) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            limits: default_limits(),
            incarnation,
            stamp_key,
            registration: Registration::Open,
            rates: Rates::default(),
            restoring_until: None,
        }
    }
}

/// The limits of protocol rules 10 and 11.
pub fn default_limits() -> Limits {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    Limits {
        message_bytes: 64 * 1024,
        commit_bytes: 4 * 1024 * 1024,
        subscriptions: 2_000,
        in_flight: 16,
        key_packages: 50,
        blob_bytes: 256 * 1024 * 1024,
        message_retention_ms: 30 * DAY,
        commit_retention_ms: 90 * DAY,
    }
}

/// Who may register.
#[derive(Clone, PartialEq, Eq)]
pub enum Registration {
    /// Everybody.
    Open,
    /// Nobody.
    Closed,
    /// Who brings one of these codes; each admits one account.
    Invite(Vec<String>),
}

/// Names a connection for as long as the relay runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(u64);

/// Where a connection comes from, as far as rate limits need it. Never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The address range: an IPv4 /24 or an IPv6 /56.
    pub range: [u8; 8],
}

/// Where a connection's pushes go.
pub trait Sink: Send + Sync + 'static {
    /// Takes the bytes of one encoded `ServerFrame`. `false`: the queue's byte bound (256 KiB) is exceeded and the frame was *not*
    /// taken; an empty queue takes any frame. Called under the relay's locks and on the store's writer: be quick, never call back.
    fn push(&self, frame: Bytes) -> bool;
}

/// One piece of an upload.
pub struct BlobWrite {
    /// The blob.
    pub id: BlobId,
    /// The right to go on with it; the first write sets it.
    pub secret: BlobSecret,
    /// Where this piece begins; the length so far.
    pub offset: u64,
    /// The length of the whole blob, the same in every write.
    pub total: u64,
    /// The piece.
    pub bytes: Bytes,
}

/// How far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobState {
    /// Bytes that are durable.
    pub length: u64,
    /// The length that was announced.
    pub total: u64,
    /// All are there; the blob never changes again and can be read.
    pub complete: bool,
}

/// What a slice of retention did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Everything has been visited once since the last time this was true.
    pub round_complete: bool,
}

/// The relay. See the [module](self) for how to drive it.
pub struct Relay<S> {
    store: Arc<S>,
    config: Config,
    live: Arc<Live>,
    connections: Connections,
    errands: Errands,
    registrations: Meters<[u8; 8]>,
    rendezvous_rate: Meters<[u8; 8]>,
    failed_proofs: Meters<[u8; 8]>,
    blob_writes: Meters<[u8; 8]>,
    blob_bytes: Meters<[u8; 8]>,
    account_proofs: Meters<[u8; 8]>,
    account_proofs_of: Meters<Vec<u8>>,
    claims: Meters<Vec<u8>>,
    claims_from: Meters<(Vec<u8>, [u8; 8])>,
    deposits_from: Meters<(LogId, [u8; 8])>,
    deposited_from: Meters<(LogId, [u8; 8])>,
    /// Rendezvous logs and when they expire.
    rendezvous: Mutex<BTreeMap<LogId, UnixMillis>>,
    /// Logs whose gathered commits are to be drawn, and when.
    paced: Mutex<BTreeSet<(UnixMillis, LogId)>>,
    /// A key that nobody holds: proofs for logs and devices that don't exist are checked against it.
    decoy: EpochPublicKey,
    /// A record that nobody has: it is read where an account is to be proven that does not exist.
    nobody: Bytes,
    ticks: AtomicUsize,
    sweeping: Mutex<Sweeping>,
}

/// Where the next slice of retention begins.
#[derive(Default)]
struct Sweeping {
    logs: Option<store::LogKey>,
    blobs: Option<Bytes>,
}

/// Logs that one slice of retention visits.
const SWEPT_LOGS: usize = 64;

impl<S: Store> Relay<S> {
    /// A relay over `store`, whose observer it becomes.
    pub fn new(store: Arc<S>, config: Config) -> Arc<Self> {
        let live = Arc::new(Live::new(Stamper::new(&config.stamp_key)));
        store.observe(live.clone());
        let decoy = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(&config.stamp_key[..])));
        Arc::new(Self {
            store,
            live,
            connections: Connections::new(),
            errands: Errands::new(),
            registrations: Meters::new(),
            rendezvous_rate: Meters::new(),
            failed_proofs: Meters::new(),
            blob_writes: Meters::new(),
            blob_bytes: Meters::new(),
            account_proofs: Meters::new(),
            account_proofs_of: Meters::new(),
            claims: Meters::new(),
            claims_from: Meters::new(),
            deposits_from: Meters::new(),
            deposited_from: Meters::new(),
            rendezvous: Mutex::default(),
            paced: Mutex::default(),
            decoy: EpochKey::from_seed(&decoy).public(),
            nobody: proofs::record_of_nobody(&decoy, &config.name),
            ticks: AtomicUsize::new(0),
            sweeping: Mutex::default(),
            config,
        })
    }

    /// A new connection: its `Hello` must be the first frame that it gets.
    pub fn connect(
        &self,
        now: UnixMillis,
        rng: &mut dyn CryptoRng,
        peer: Peer,
        sink: Arc<dyn Sink>,
    ) -> (ConnId, Hello) {
        let nonce = Nonce::random(rng);
        let conn = self.connections.add(nonce, peer, sink);
        let hello = Hello {
            version: wire::PROTOCOL_VERSION,
            time: now,
            nonce,
            incarnation: self.config.incarnation,
            server_name: self.config.name.clone(),
            limits: self.config.limits,
        };
        (conn, hello)
    }

    /// Carries out a request. See the [module](self) for the order in which futures must be polled.
    pub async fn handle(&self, now: UnixMillis, conn: ConnId, request: Request) -> Result<Response, Error> {
        let conn = &self.connections.get(conn)?;
        conn.enter(request.lane())?;
        if request.lane() == Lane::Account {
            let spent = conn.state().account.spend(self.config.rates.account_per_connection, now);
            spent.map_err(|wait| rates::limited("requests on this connection", wait))?;
        }
        match request {
            Request::Open { logs } => self.open(now, conn, logs).await,
            Request::Append { log, epoch, pipe, id, body, commitment } => {
                self.append(now, conn, Message { log, epoch, pipe, id, body, commitment }).await
            }
            // Watches come with their own issue: until then there are none to end.
            Request::Commit { log, epoch, id, next, body, repost, end_watches: _ } => {
                self.commit(now, conn, Commit { log, epoch, id, next, body, repost }).await
            }
            Request::Read { log, epoch, from, max_bytes } => self.read(conn, log, epoch, from, max_bytes).await,
            Request::Subscribe { logs } => self.subscribe(conn, logs).await,
            Request::Unsubscribe { logs } => Ok(self.unsubscribe(conn, &logs)),
            Request::Signal { log, epoch, body } => self.signal(now, conn, log, epoch, body),

            Request::Authenticate { address, device, signature } => {
                self.authenticate(now, conn, address, device, signature).await
            }
            Request::Register { record, invite } => self.register(now, conn, record, &invite).await,
            Request::PutRecord { record, account_proof } => self.put_account(now, conn, record, account_proof).await,
            Request::PutKeyPackages { packages, last_resort, replace } => {
                self.put_key_packages(now, conn, packages, last_resort, replace).await
            }
            Request::CountKeyPackages => self.count_key_packages(now, conn).await,
            Request::ReadInbox { from, max_bytes } => self.read_inbox(conn, from, max_bytes).await,
            Request::SubscribeInbox { from } => self.subscribe_inbox(conn, from).await,

            Request::Create { log, epoch, next } => self.create(now, conn, log, epoch, next).await,
            Request::CreateRendezvous { log, next } => self.create_rendezvous(now, conn, log, next).await,
            Request::LookUp { address } => self.look_up(now, conn, &address).await,
            Request::ClaimKeyPackage { address, device } => self.claim_key_package(now, conn, &address, device).await,
            Request::Deposit { inbox, id, body } => self.deposit(now, conn, inbox, id, body).await,
        }
    }

    /// Forgets a connection and its subscriptions.
    pub fn disconnect(&self, conn: ConnId) {
        let Some(connection) = self.connections.remove(conn) else { return };
        for log in connection.close() {
            self.live.unregister(log, conn, 0);
        }
    }

    /// The connection's sink has run empty: what it had refused and must not be lost (that a subscription has ended) is pushed again.
    pub fn drained(&self, conn: ConnId, now: UnixMillis) {
        let _ = now;
        if let Ok(connection) = self.connections.get(conn) {
            connection.drained();
        }
    }

    /// Draws among paced commits and forgets what has expired. Call it about four times a second.
    pub fn tick(&self, now: UnixMillis, rng: &mut dyn CryptoRng) {
        let due = {
            let mut paced = self.paced();
            let later = paced.split_off(&(now.plus(1), LogId([0; 16])));
            std::mem::replace(&mut *paced, later)
        };
        for (_, log) in due {
            let drawn = self.live.with(log, |live| live.pacing.as_mut().and_then(|pacing| pacing.draw(now, rng)));
            if let Some(drawn) = drawn {
                drawn.start();
            }
        }
        let turn = self.ticks.fetch_add(1, Ordering::Relaxed);
        self.live.clean(turn, now);
        self.errands.clean(turn, now);
        self.claims.clean(turn, now);
        self.claims_from.clean(turn, now);
        self.deposits_from.clean(turn, now);
        self.blob_writes.clean(turn, now);
        self.blob_bytes.clean(turn, now);
        self.deposited_from.clean(turn, now);
        self.account_proofs_of.clean(turn, now);
        for meters in [&self.registrations, &self.rendezvous_rate, &self.failed_proofs, &self.account_proofs] {
            meters.clean(turn, now);
        }
    }

    /// One small slice of retention. After a failure the same slice comes again.
    pub async fn sweep(&self, now: UnixMillis) -> Result<Swept, Error> {
        self.sweep_rendezvous(now).await?;
        let (logs, blobs) = {
            let sweeping = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
            (sweeping.logs, sweeping.blobs.clone())
        };
        let messages = now.0.saturating_sub(self.config.limits.message_retention_ms);
        let others = now.0.saturating_sub(self.config.limits.commit_retention_ms);
        let older_than = [
            (EntryKind::Message as u8, messages),
            (EntryKind::Commit as u8, others),
            (EntryKind::Deposit as u8, others),
        ];
        let logs = self.store.sweep(logs, SWEPT_LOGS, now.0, &older_than).await.map_err(refusal)?;
        let blobs = self.sweep_blobs(now, blobs).await?;
        let round_complete = logs.is_none();
        *self.sweeping.lock().unwrap_or_else(PoisonError::into_inner) = Sweeping { logs, blobs };
        Ok(Swept { round_complete })
    }

    /// Writes a piece of a blob; answers with how far it has come. `Conflict{current}` names the length so far.
    pub async fn put_blob(&self, now: UnixMillis, peer: Peer, write: BlobWrite) -> Result<BlobState, Error> {
        self.write_blob(now, peer, write).await
    }

    /// How far a blob has come.
    pub async fn blob(&self, id: BlobId) -> Result<BlobState, Error> {
        self.blob_state(id).await
    }

    /// At most `max` bytes of a complete blob from `offset` on.
    pub async fn get_blob(&self, id: BlobId, offset: u64, max: usize) -> Result<Bytes, Error> {
        self.read_blob(id, offset, max).await
    }

    /// Pays for an errand of this connection.
    fn spend_errand(&self, now: UnixMillis, conn: &Connection) -> Result<(), Error> {
        let mut state = conn.state();
        self.errands.spend(now, &self.config.rates, conn.peer.range, Some(&mut state.errands))
    }

    fn paced(&self) -> MutexGuard<'_, BTreeSet<(UnixMillis, LogId)>> {
        self.paced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client is told of the store's refusals and failures.
fn refusal(error: StoreError) -> Error {
    match error {
        StoreError::NotFound => Error::new(Code::NotFound, "there is no such thing here; it may have expired"),
        StoreError::Exists => Error::new(Code::AlreadyExists, "the id is taken; choose another at random"),
        StoreError::StaleEpoch { current } => {
            Error::new(Code::StaleEpoch, "the log is in another epoch; read up to it, open it and try again")
                .current(current)
        }
        StoreError::Conflict { current } => {
            Error::new(Code::Conflict, "it has another version by now; read it and try again").current(current)
        }
        StoreError::Aborted => {
            Error::new(Code::Aborted, "an append before this one was refused; send it again with the next pipe number")
        }
        StoreError::Unavailable(_) => {
            Error::new(Code::Unavailable, "the relay can't write at the moment and nothing was changed; try again soon")
                .retry_after(1_000)
        }
        StoreError::OutcomeUnknown => Error::new(
            Code::OutcomeUnknown,
            "the relay does not know whether this was written; read the log up to its head, then decide",
        ),
        // The store has said what and where; here it would only be repeated to a stranger.
        StoreError::Damaged(_) => internal(),
    }
}

/// Another write was first and is still on its way to the disk: it may be this very request, sent twice, and a power cut may still undo
/// it. So nothing is said of it yet, not even that it is there.
fn not_readable_yet() -> Error {
    refusal(StoreError::Unavailable("what was first is not readable yet"))
}

/// A defect on the relay's side.
fn internal() -> Error {
    tracing::error!("what the store holds can't be read; the data directory needs a look");
    Error::new(Code::Internal, "the relay has a defect or its data is damaged; tell its operator")
}
