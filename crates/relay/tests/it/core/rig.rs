//! A relay, its clock, its dice, and clients that speak to it without sockets.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use relay::core::{Config, ConnId, Peer, Rates, Relay, Sink};
use wire::{
    AccountRecord, Bytes, Code, Device, DeviceCertificate, DeviceId, Entry, EntryId, Epoch, EpochKey, Error,
    HPKE_KEY_BYTES, Incarnation, Label, LogId, LogState, Nonce, OfferedKeyPackage, OpenLog, Push, RecordHash,
    RelayName, Request, Response, Seq, ServerFrame, Signed, SigningKey, Subscription, UnixMillis, sign,
    sign_put_record,
};

use super::store::Tricky;

pub const LOG: LogId = LogId([1; 16]);
pub const START: UnixMillis = UnixMillis(1_800_000_000_000);

pub type Answer = Result<Response, Error>;
pub type Pending = Pin<Box<dyn Future<Output = Answer>>>;

/// What a client has been pushed, with a bound that the test sets.
pub struct Queue {
    frames: Mutex<VecDeque<Bytes>>,
    room: Mutex<usize>,
}

impl Sink for Queue {
    fn push(&self, frame: Bytes) -> bool {
        let mut frames = self.frames.lock().unwrap();
        let has_room = frames.len() < *self.room.lock().unwrap();
        if has_room {
            frames.push_back(frame);
        }
        has_room
    }
}

pub struct Rig {
    pub relay: Arc<Relay<Tricky>>,
    pub store: Arc<Tricky>,
    pub now: UnixMillis,
    pub rng: ChaCha20Rng,
}

pub fn name() -> RelayName {
    "relay.example".parse().unwrap()
}

pub fn config() -> Config {
    let mut config = Config::new(name(), Incarnation([9; 16]), [7; 32].into());
    config.rates = Rates::UNLIMITED;
    config
}

impl Rig {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        Self::over(Arc::new(Tricky::default()), config)
    }

    pub fn over(store: Arc<Tricky>, config: Config) -> Self {
        let relay = Relay::new(store.clone(), config);
        Self { relay, store, now: START, rng: ChaCha20Rng::seed_from_u64(1) }
    }

    pub fn connect(&mut self) -> Client {
        self.connect_from(1)
    }

    pub fn connect_from(&mut self, range: u8) -> Client {
        let queue = Arc::new(Queue { frames: Mutex::default(), room: Mutex::new(usize::MAX) });
        let peer = Peer { range: [range; 8] };
        let (id, hello) = self.relay.connect(self.now, &mut self.rng, peer, queue.clone());
        assert_eq!((hello.time, hello.server_name), (self.now, name()));
        Client { relay: self.relay.clone(), id, nonce: hello.nonce, queue }
    }

    /// A log in epoch 0, and its creator's and another member's connection, which both have opened it.
    pub fn pair(&mut self) -> (Client, Client) {
        self.create(LOG);
        let (one, other) = (self.connect(), self.connect());
        assert_eq!(one.open(self.now, LOG, 0), None);
        assert_eq!(other.open(self.now, LOG, 0), None);
        (one, other)
    }

    pub fn create(&mut self, log: LogId) {
        let errand = self.connect();
        errand.ask(self.now, Request::Create { log, epoch: Epoch(0), next: key(0).public() }).unwrap();
    }

    /// An account with one device, and an authenticated connection of it.
    pub fn registered(&mut self, account: &Account) -> Client {
        let client = self.connect();
        let record = account.record(&[1]).bytes().clone();
        client.ask(self.now, Request::Register { record, invite: String::new() }).unwrap();
        client.ask(self.now, account.authenticate(client.nonce, 1)).unwrap();
        client
    }

    pub fn tick(&mut self) {
        self.relay.tick(self.now, &mut self.rng);
    }

    pub fn sweep(&self) {
        while !ready(self.relay.sweep(self.now)).unwrap().round_complete {}
    }
}

pub struct Client {
    relay: Arc<Relay<Tricky>>,
    pub id: ConnId,
    pub nonce: Nonce,
    queue: Arc<Queue>,
}

impl Client {
    /// A request that is answered at once, as the store in memory allows.
    pub fn ask(&self, now: UnixMillis, request: Request) -> Answer {
        ready(self.relay.handle(now, self.id, request))
    }

    /// A request that goes on when the test polls it.
    pub fn start(&self, now: UnixMillis, request: Request) -> Pending {
        let (relay, id) = (self.relay.clone(), self.id);
        Box::pin(async move { relay.handle(now, id, request).await })
    }

    pub fn open(&self, now: UnixMillis, log: LogId, epoch: u64) -> Option<Code> {
        self.open_with(now, log, epoch, &key(epoch)).error
    }

    pub fn open_with(&self, now: UnixMillis, log: LogId, epoch: u64, key: &EpochKey) -> LogState {
        let signature = key.open(&self.nonce, &name(), log, Epoch(epoch));
        match self.ask(now, Request::Open { logs: vec![OpenLog { log, epoch: Epoch(epoch), signature }] }) {
            Ok(Response::Opened(mut states)) => states.remove(0),
            other => panic!("not an answer to Open: {other:?}"),
        }
    }

    pub fn append(&self, now: UnixMillis, epoch: u64, pipe: u32, id: u8) -> Result<u64, Error> {
        seq(self.ask(now, append(LOG, epoch, pipe, id)))
    }

    /// Appends one message for each id, in epoch 0.
    pub fn fill(&self, now: UnixMillis, ids: std::ops::Range<u8>) {
        for id in ids {
            self.append(now, 0, 0, id).unwrap();
        }
    }

    pub fn commit(&self, now: UnixMillis, epoch: u64, id: u8) -> Result<u64, Error> {
        seq(self.ask(now, commit(LOG, epoch, id)))
    }

    pub fn subscribe(&self, now: UnixMillis, epoch: u64, from: u64) -> Answer {
        self.ask(now, subscribe(LOG, epoch, from))
    }

    pub fn read(&self, now: UnixMillis, epoch: u64, from: u64) -> Result<(Vec<u64>, u64, bool), Error> {
        match self.ask(now, Request::Read { log: LOG, epoch: Epoch(epoch), from: Seq(from), max_bytes: 1 << 20 })? {
            Response::Page { entries, head, more } => {
                Ok((entries.iter().map(|entry| entry.seq.0).collect(), head.0, more))
            }
            other => panic!("not an answer to Read: {other:?}"),
        }
    }

    /// What was pushed since the last time.
    pub fn pushes(&self) -> Vec<Push> {
        let frames = std::mem::take(&mut *self.queue.frames.lock().unwrap());
        let push = |frame| match ServerFrame::decode(frame) {
            Ok(ServerFrame::Push(push)) => push,
            other => panic!("not a push: {other:?}"),
        };
        frames.into_iter().map(push).collect()
    }

    /// The places of the entries that were pushed since the last time.
    pub fn seqs(&self) -> Vec<u64> {
        self.entries().iter().map(|entry| entry.seq.0).collect()
    }

    pub fn entries(&self) -> Vec<Entry> {
        let entries = |push| match push {
            Push::Entries { entries, .. } => entries,
            _ => Vec::new(),
        };
        self.pushes().into_iter().flat_map(entries).collect()
    }

    /// How many frames the queue takes.
    pub fn room(&self, frames: usize) {
        *self.queue.room.lock().unwrap() = frames;
    }

    pub fn drained(&self, now: UnixMillis) {
        self.relay.drained(self.id, now);
    }

    pub fn hang_up(&self) {
        self.relay.disconnect(self.id);
    }
}

/// The key of an epoch, as the members of a made-up group derive it.
pub fn key(epoch: u64) -> EpochKey {
    let mut seed = [3; 32];
    seed[..8].copy_from_slice(&epoch.to_be_bytes());
    EpochKey::from_seed(&seed)
}

pub fn append(log: LogId, epoch: u64, pipe: u32, id: u8) -> Request {
    let body = Bytes::from(vec![id; 20]);
    Request::Append { log, epoch: Epoch(epoch), pipe, id: EntryId([id; 16]), body, commitment: [id; 32] }
}

pub fn commit(log: LogId, epoch: u64, id: u8) -> Request {
    Request::Commit {
        log,
        epoch: Epoch(epoch),
        id: EntryId([id; 16]),
        next: key(epoch + 1).public(),
        body: Bytes::from_static(b"commit"),
        end_watches: false,
        repost: false,
    }
}

pub fn subscribe(log: LogId, epoch: u64, from: u64) -> Request {
    Request::Subscribe { logs: vec![Subscription { log, epoch: Epoch(epoch), from: Seq(from) }] }
}

pub fn seq(answer: Answer) -> Result<u64, Error> {
    match answer? {
        Response::Appended { seq, .. } => Ok(seq.0),
        other => panic!("not an answer to an append: {other:?}"),
    }
}

pub fn code(answer: Result<impl std::fmt::Debug, Error>) -> Code {
    answer.unwrap_err().code
}

/// The result of a future that never has to wait.
pub fn ready<F: Future>(future: F) -> F::Output {
    match poll(&mut pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits"),
    }
}

pub fn poll<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

pub fn step(pending: &mut Pending) -> Poll<Answer> {
    pending.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// An account and the keys of its devices, which are numbered.
pub struct Account {
    address: &'static str,
    key: SigningKey,
}

impl Account {
    pub fn new(address: &'static str, seed: u8) -> Self {
        Self { address, key: SigningKey::from_bytes(&[seed; 32]) }
    }

    pub fn device_key(&self, device: u8) -> SigningKey {
        SigningKey::from_bytes(&[device + 100; 32])
    }

    pub fn device(&self, device: u8) -> Device {
        let certificate = DeviceCertificate {
            account_key: self.key.verifying_key().to_bytes(),
            address: self.address.parse().unwrap(),
            device: DeviceId([device; 16]),
            signature_key: self.device_key(device).verifying_key().to_bytes(),
            suites: vec![1],
            versions: vec![1],
            created: START,
        };
        Device {
            certificate: certificate.sign(&self.key),
            inbox: self.inbox(device),
            hpke_key: vec![0; HPKE_KEY_BYTES].into(),
            added: START,
            revoked: None,
        }
    }

    pub fn inbox(&self, device: u8) -> LogId {
        let mut id = [device; 16];
        id[..8].copy_from_slice(&self.key.verifying_key().to_bytes()[..8]);
        LogId(id)
    }

    /// Version 1 with these devices.
    pub fn record(&self, devices: &[u8]) -> Signed<AccountRecord> {
        self.sign(1, RecordHash::default(), devices.iter().map(|device| self.device(*device)).collect())
    }

    pub fn successor(&self, of: &Signed<AccountRecord>, devices: Vec<Device>) -> Signed<AccountRecord> {
        self.sign(of.version + 1, of.hash(), devices)
    }

    pub fn sign(&self, version: u64, predecessor: RecordHash, devices: Vec<Device>) -> Signed<AccountRecord> {
        let address = self.address.parse().unwrap();
        let account_key = self.key.verifying_key().to_bytes();
        AccountRecord { address, account_key, version, predecessor, devices, certifier: None }.sign(&self.key)
    }

    pub fn authenticate(&self, nonce: Nonce, device: u8) -> Request {
        let address = self.address.parse().unwrap();
        let id = DeviceId([device; 16]);
        let relay = name();
        let parts: [&[u8]; 4] = [&nonce.0, relay.as_str().as_bytes(), self.address.as_bytes(), &id.0];
        // The same bytes as `wire::authenticate_input`, through the label's own signing function.
        let signature = sign(&self.device_key(device), Label::Authenticate, &parts);
        Request::Authenticate { address, device: id, signature }
    }

    /// The account key itself puts a record.
    pub fn put_record(&self, record: &Signed<AccountRecord>, nonce: Nonce) -> Request {
        let address = self.address.parse().unwrap();
        let proof = sign_put_record(&self.key, &nonce, &name(), &address, &record.hash());
        Request::PutRecord { record: record.bytes().clone(), account_proof: Some(proof) }
    }

    pub fn key_package(&self, device: u8, content: u8, expires: UnixMillis) -> Bytes {
        let offered = OfferedKeyPackage { package: vec![content; 100].into(), expires };
        offered.sign(&self.device_key(device)).bytes().clone()
    }
}
