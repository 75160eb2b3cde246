//! One person's engine, and a relay that does all that is asked, but for what a test wants otherwise.
//!
//! The relay keeps one log, that of the group which the person makes, and shows what is in it when the log is opened and read. That it
//! lies where a test wants it to is the point: a real one (in the simulator and the relay's own tests) never does.

use std::sync::OnceLock;

use api::{Command, Event, Message, Query, View};
use engine::{Database, Engine, Env, Input, LinkState, Options, Output, Rejection, Route, TransferState};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wire::{
    Bytes, Entry, EntryId, EntryKind, Epoch, EpochPublicKey, Hello, Incarnation, Limits, LogId, LogState, Nonce, Push,
    Request, Response, Seq, UnixMillis,
};

const ALICE: &str = "alice@a.example";
/// Somebody else at the same relay; his device is never on.
pub const BOB: &str = "bob@a.example";
pub const NOW: UnixMillis = UnixMillis(1_795_305_600_000);

/// What is asked of a relay, as far as a test may want it refused.
#[derive(Clone, Copy, PartialEq)]
pub enum At {
    Registering,
    LookingUp,
    MakingAGroup,
    AddingAMember,
    Inviting,
    Changing,
    Sending,
    Linking,
}

impl At {
    /// Where this is asked.
    fn of(request: &Request, me: &str) -> Option<Self> {
        Some(match request {
            Request::Register { .. } => Self::Registering,
            Request::LookUp { address } if address.as_str() != me => Self::LookingUp,
            Request::Create { .. } => Self::MakingAGroup,
            Request::ClaimKeyPackage { .. } => Self::AddingAMember,
            Request::Deposit { .. } => Self::Inviting,
            Request::Commit { .. } => Self::Changing,
            Request::Append { .. } => Self::Sending,
            Request::CreateRendezvous { .. } => Self::Linking,
            _ => return None,
        })
    }
}

pub struct Person {
    engine: Engine,
    rng: ChaCha20Rng,
    pub now: UnixMillis,
    /// Refused so often; what is asked again then gets no answer.
    pub refuse: Option<(At, wire::Error)>,
    pub refuse_at_most: usize,
    pub refusals: usize,
    /// What becomes of each blob that is put at the relay, and of how many that was asked.
    pub blobs: TransferState,
    pub uploads: usize,
    pub recovery_key: Option<String>,
    /// The next message is taken, and the answer lost with the connection.
    pub lose_the_next_answer: bool,
    /// What the relay has in the log.
    pub entries: Vec<Entry>,
    /// Where the log is followed.
    follows: Option<(Route, LogId)>,
    pub wake: Option<UnixMillis>,
    /// Failures and notices, in words.
    pub read: Vec<String>,
    made: Option<String>,
    address: &'static str,
    record: Bytes,
    packages: Vec<Bytes>,
    /// Bob's record, and a key package of his device.
    bob: Option<(Bytes, Bytes)>,
}

impl Person {
    pub fn new(name: &str) -> Self {
        Self::with(Database::Memory { name: name.into() })
    }

    /// The same; Bob has an account at the relay, too.
    pub fn beside_bob(name: &str) -> Self {
        static KNOWN: OnceLock<(Bytes, Bytes)> = OnceLock::new();
        let known = KNOWN.get_or_init(|| {
            let mut bob = Self::of(BOB, 2, Database::Memory { name: "bob".into() });
            bob.registers();
            let package = bob.packages.pop().expect("Bob's device offers key packages");
            (bob.record, package)
        });
        Self { bob: Some(known.clone()), ..Self::new(name) }
    }

    /// From now on the relay shows this as Bob's record, and nothing of his devices can be used.
    pub fn is_shown_of_bob(&mut self, record: Bytes) {
        self.bob = Some((record, Bytes::new()));
    }

    /// What the person's own record is.
    pub fn own_record(&self) -> Bytes {
        self.record.clone()
    }

    pub fn with(database: Database) -> Self {
        Self::of(ALICE, 1, database)
    }

    fn of(address: &'static str, seed: u8, database: Database) -> Self {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let engine = Engine::open_with(database, Options::default(), &mut Env { now: NOW, rng: &mut rng }).unwrap();
        Self {
            engine,
            rng,
            now: NOW,
            refuse: None,
            refuse_at_most: 1,
            refusals: 0,
            blobs: TransferState::Done(Bytes::new()),
            uploads: 0,
            recovery_key: None,
            lose_the_next_answer: false,
            entries: Vec::new(),
            follows: None,
            wake: None,
            read: Vec::new(),
            made: None,
            address,
            record: Bytes::new(),
            packages: Vec::new(),
            bob: None,
        }
    }

    fn handle(&mut self, input: Input) {
        self.engine.handle(&mut Env { now: self.now, rng: &mut self.rng }, input).unwrap();
        while let Some(output) = self.engine.poll() {
            self.output(output);
        }
    }

    pub fn command(&mut self, command: Command) {
        self.handle(Input::Command { id: 1, command });
    }

    pub fn registers(&mut self) {
        self.command(Command::Register { address: self.address.into(), invite: String::new() });
    }

    /// Makes a group without anybody else; its id.
    pub fn makes_group(&mut self) -> String {
        self.command(Command::CreateGroup { name: "Team".into(), members: Vec::new() });
        self.made.clone().expect("the group is made")
    }

    /// The time that was asked for has come.
    pub fn wakes(&mut self, at: UnixMillis) {
        self.now = self.now.max(at);
        self.handle(Input::Wake);
    }

    /// The connection to the log ends, and comes up again.
    pub fn reconnects(&mut self) {
        let (route, _) = self.follows.clone().expect("a log is followed");
        self.handle(Input::Link { route: route.clone(), state: LinkState::Down });
        let hello = hello(route.relay.clone());
        self.handle(Input::Link { route, state: LinkState::Up(hello) });
    }

    /// The relay pushes what it has in the log from here on.
    pub fn is_pushed(&mut self, from: u64) {
        let (route, log) = self.follows.clone().expect("a log is followed");
        let entries: Vec<Entry> = self.entries.iter().filter(|entry| entry.seq.0 >= from).cloned().collect();
        if let Some(head) = entries.last().map(|entry| entry.seq) {
            self.handle(Input::Push { route, push: Push::Entries { log, entries, head } });
        }
    }

    /// One more entry in the log.
    pub fn leaves(&mut self, entry: Entry) {
        let before = self.entries.last().map_or(Seq(0), |last| last.seq);
        self.entries.push(Entry { seq: Seq(before.0 + 1), prev: before, ..entry });
    }

    /// The messages of a conversation as the person sees them, without lines about the conversation itself.
    pub fn messages(&self, conversation: &str) -> Vec<Message> {
        let query = Query::Messages { conversation: conversation.into(), before: None, limit: 100 };
        let Ok(View::Messages(mut messages)) = self.engine.view(&query) else { panic!("there are messages") };
        messages.retain(|message| !matches!(message.kind, api::MessageKind::System { .. }));
        messages
    }

    pub fn conversations(&self) -> Vec<api::Conversation> {
        let Ok(View::Conversations(conversations)) = self.engine.view(&Query::Conversations) else {
            panic!("there are conversations")
        };
        conversations
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Request { id, route, body } => {
                let (is_append, follows_from) = match &body {
                    Request::Append { .. } => (true, None),
                    Request::Commit { .. } => (false, Some(self.entries.last().map_or(1, |last| last.seq.0 + 1))),
                    Request::Subscribe { logs } if !logs.is_empty() => {
                        self.follows = Some((route.clone(), logs[0].log));
                        (false, Some(logs[0].from.0))
                    }
                    _ => (false, None),
                };
                let Some(mut result) = self.answer(body) else { return };
                let is_lost = is_append && std::mem::take(&mut self.lose_the_next_answer);
                if is_lost {
                    result = Err(Rejection::Lost);
                }
                self.handle(Input::Response { id, result });
                if is_lost {
                    self.reconnects();
                }
                if let Some(from) = follows_from {
                    self.is_pushed(from);
                }
            }
            Output::Connect { route, wanted: true } => {
                let hello = hello(route.relay.clone());
                self.handle(Input::Link { route, state: LinkState::Up(hello) });
            }
            Output::Event(Event::Failed { problem, .. } | Event::Notice { problem, .. }) => {
                self.read.push(problem.to_string());
            }
            Output::Event(Event::Done { conversation: Some(id), .. }) => self.made = Some(id),
            Output::WakeAt(at) => self.wake = Some(at),
            // Only uploads: nobody has anything to fetch here.
            Output::Transfer { id, .. } => {
                self.uploads += 1;
                self.handle(Input::Transfer { id, state: self.blobs.clone() });
            }
            Output::Event(Event::RecoveryKey { key, .. }) => self.recovery_key = Some(key),
            _ => {}
        }
    }

    fn appended(
        &mut self,
        (kind, epoch, id): (EntryKind, Epoch, EntryId),
        body: Bytes,
        commitment: [u8; 32],
        next: Option<EpochPublicKey>,
    ) -> Response {
        let (seq, time, stamp) = (self.entries.last().map_or(Seq(0), |last| last.seq), self.now, [0; 32]);
        self.leaves(Entry { seq, prev: seq, time, kind, epoch, id, body, commitment, next, stamp });
        Response::Appended { seq: Seq(seq.0 + 1), time, stamp }
    }

    /// The relay's answer, if it gives one.
    fn answer(&mut self, request: Request) -> Option<Result<Response, Rejection>> {
        let at = At::of(&request, self.address);
        if let Some((_, error)) = self.refuse.as_ref().filter(|(refused, _)| at == Some(*refused)) {
            self.refusals += 1;
            return (self.refusals <= self.refuse_at_most).then(|| Err(Rejection::Refused(error.clone())));
        }
        let head = self.entries.last().map_or(Seq(0), |last| last.seq);
        Some(Ok(match request {
            Request::Register { record, .. } => {
                self.record = record;
                Response::Done
            }
            Request::LookUp { address } => match &self.bob {
                Some((record, _)) if address.as_str() == BOB => Response::Record(record.clone()),
                _ => Response::Record(self.record.clone()),
            },
            Request::ClaimKeyPackage { .. } => {
                let (_, package) = self.bob.clone().expect("nobody else's is asked for");
                Response::KeyPackage { package, last_resort: false }
            }
            Request::Deposit { .. } => Response::Appended { seq: Seq(1), time: self.now, stamp: [0; 32] },
            Request::Open { logs } => {
                let states = logs.into_iter().map(|log| LogState { log: log.log, epoch: log.epoch, head, error: None });
                Response::Opened(states.collect())
            }
            Request::PutKeyPackages { packages, .. } => {
                self.packages.extend(packages);
                Response::KeyPackageCount { count: 50, last_resort_used: false }
            }
            // Making them takes time, and nobody but Bob is invited.
            Request::CountKeyPackages => {
                let count = if self.address == BOB { 0 } else { 50 };
                Response::KeyPackageCount { count, last_resort_used: false }
            }
            Request::Append { epoch, id, body, commitment, .. } => {
                self.appended((EntryKind::Message, epoch, id), body, commitment, None)
            }
            Request::Commit { epoch, id, next, body, .. } => {
                self.appended((EntryKind::Commit, epoch, id), body, [0; 32], Some(next))
            }
            Request::Read { from, .. } => {
                let entries = self.entries.iter().filter(|entry| entry.seq >= from).cloned().collect();
                Response::Page { entries, head, more: false }
            }
            Request::ReadInbox { .. } => Response::Page { entries: Vec::new(), head: Seq(0), more: false },
            _ => Response::Done,
        }))
    }
}

fn hello(server_name: wire::RelayName) -> Hello {
    Hello {
        version: wire::PROTOCOL_VERSION,
        time: NOW,
        nonce: Nonce([1; 32]),
        incarnation: Incarnation([1; 16]),
        server_name,
        limits: Limits {
            message_bytes: 65_536,
            commit_bytes: 4 << 20,
            subscriptions: 2_000,
            in_flight: 16,
            key_packages: 100,
            blob_bytes: 1 << 30,
            message_retention_ms: 30 * 86_400_000,
            commit_retention_ms: 90 * 86_400_000,
        },
    }
}

pub fn send(conversation: &str) -> Command {
    Command::Send {
        conversation: conversation.into(),
        text: "hello".into(),
        reply_to: None,
        preview: None,
        stays: 0,
        view_once: false,
    }
}
