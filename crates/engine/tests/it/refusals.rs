//! What a person reads of each refusal: the lines of the relay's own snapshot, put to the engine at the places where people meet them.
//!
//! The first lines of `refusals.txt` are what a real relay says over a real socket; its test holds them. Ours are the indented ones.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use api::{Command, Event};
use engine::{Database, Engine, Env, Input, LinkState, Options, Output, Rejection};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wire::{Code, Hello, Incarnation, Limits, LogState, Nonce, Request, Response, Seq, UnixMillis};

const NOW: UnixMillis = UnixMillis(1_795_305_600_000);
const ALICE: &str = "alice@a.example";
/// Stands for the time that a relay names.
const WAIT_MS: u64 = 7_000;

/// What is refused.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Registering,
    LookingUp,
    Sending,
}

/// A person's engine at a relay that does all that is asked but for one thing.
struct Person {
    engine: Engine,
    rng: ChaCha20Rng,
    now: UnixMillis,
    refused_at: At,
    with: wire::Error,
    refusals: usize,
    wake: Option<UnixMillis>,
    read: Vec<String>,
    made: Option<String>,
    seq: u64,
    record: wire::Bytes,
}

impl Person {
    fn new(name: &str, refused_at: At, with: wire::Error) -> Self {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let database = Database::Memory { name: name.into() };
        let engine = Engine::open_with(database, Options::default(), &mut Env { now: NOW, rng: &mut rng }).unwrap();
        let (wake, read, made, record) = (None, Vec::new(), None, wire::Bytes::new());
        Self { engine, rng, now: NOW, refused_at, with, refusals: 0, wake, read, made, seq: 0, record }
    }

    fn handle(&mut self, input: Input) {
        self.engine.handle(&mut Env { now: self.now, rng: &mut self.rng }, input).unwrap();
        while let Some(output) = self.engine.poll() {
            self.output(output);
        }
    }

    fn command(&mut self, command: Command) {
        self.handle(Input::Command { id: 1, command });
    }

    fn output(&mut self, output: Output) {
        match output {
            // One answer to what is refused is enough: what is asked again waits for its own.
            Output::Request { id, body, .. } => {
                if let Some(result) = self.answer(body) {
                    self.handle(Input::Response { id, result });
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
            _ => {}
        }
    }

    fn answer(&mut self, request: Request) -> Option<Result<Response, Rejection>> {
        let at = match request {
            Request::Register { .. } => Some(At::Registering),
            Request::LookUp { ref address } if address.as_str() != ALICE => Some(At::LookingUp),
            Request::Append { .. } => Some(At::Sending),
            _ => None,
        };
        if at == Some(self.refused_at) {
            self.refusals += 1;
            return (self.refusals == 1).then(|| Err(Rejection::Refused(self.with.clone())));
        }
        Some(Ok(match request {
            Request::Register { record, .. } => {
                self.record = record;
                Response::Done
            }
            Request::LookUp { .. } => Response::Record(self.record.clone()),
            Request::Open { logs } => {
                let state =
                    |log: wire::OpenLog| LogState { log: log.log, epoch: log.epoch, head: Seq(self.seq), error: None };
                Response::Opened(logs.into_iter().map(state).collect())
            }
            Request::CountKeyPackages | Request::PutKeyPackages { .. } => {
                Response::KeyPackageCount { count: 50, last_resort_used: false }
            }
            Request::Append { .. } | Request::Commit { .. } | Request::Deposit { .. } => {
                self.seq += 1;
                Response::Appended { seq: Seq(self.seq), time: self.now, stamp: [0; 32] }
            }
            Request::Read { .. } | Request::ReadInbox { .. } => {
                Response::Page { entries: Vec::new(), head: Seq(self.seq), more: false }
            }
            _ => Response::Done,
        }))
    }

    /// What was read in the end, or that the same was asked again by itself, and when.
    fn reads(&mut self) -> String {
        assert!(self.refusals > 0, "the relay was never asked for it");
        if !self.read.is_empty() {
            return self.read.join(" | ");
        }
        if self.refusals > 1 {
            return "(nothing; asked again at once)".into();
        }
        // More than one thing may be waited for: the clock goes from one to the next.
        for _ in 0..20 {
            let Some(at) = self.wake.take() else { break };
            self.now = self.now.max(at);
            self.handle(Input::Wake);
            if self.refusals > 1 {
                return format!("(nothing; asked again by itself after {} ms)", self.now.0 - NOW.0);
            }
            if !self.read.is_empty() {
                return self.read.join(" | ");
            }
        }
        "(nothing; it waits for what the log brings)".into()
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

fn send(conversation: &str) -> Command {
    Command::Send {
        conversation: conversation.into(),
        text: "hello".into(),
        reply_to: None,
        preview: None,
        stays: 0,
        view_once: false,
    }
}

fn reads(at: At, error: &wire::Error) -> String {
    let mut person = Person::new(&format!("refusals {} {}", error.code as u32, at as u8), at, error.clone());
    person.command(Command::Register { address: ALICE.into(), invite: String::new() });
    match at {
        At::Registering => {}
        At::LookingUp => person.command(send("bob@b.example")),
        At::Sending => {
            person.command(Command::CreateGroup { name: "Team".into(), members: Vec::new() });
            let group = person.made.clone().expect("the group is made");
            person.command(send(&group));
        }
    }
    person.reads()
}

fn snapshot() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../relay/tests/it/refusals.txt")
}

/// What a relay has said, from a line of the snapshot.
fn refusal(line: &str) -> wire::Error {
    let (number, rest) = line.split_once(' ').unwrap();
    let code = Code::from_number(number.parse().unwrap());
    let (name, detail) = rest.split_once(": ").unwrap();
    assert_eq!(name, format!("{code:?}"));
    let (detail, current) = match detail.split_once(" [current: ") {
        Some((detail, current)) => (detail, current.trim_end_matches(']').parse().unwrap()),
        None => (detail, 0),
    };
    let (detail, again) = match detail.strip_suffix(" [it says when to try again]") {
        Some(detail) => (detail, WAIT_MS),
        None => (detail, 0),
    };
    wire::Error::new(code, detail).retry_after(again).current(current)
}

#[test]
fn rule_11_every_refusal_reads_as_committed() {
    let committed = std::fs::read_to_string(snapshot()).unwrap();
    let (mut renewed, mut codes) = (String::new(), Vec::new());
    for line in committed.lines().filter(|line| !line.starts_with("  ")) {
        let _ = writeln!(renewed, "{line}");
        if line.starts_with('#') {
            continue;
        }
        let error = refusal(line);
        codes.push(error.code);
        for (name, at) in
            [("registering", At::Registering), ("writing to somebody new", At::LookingUp), ("sending", At::Sending)]
        {
            let _ = writeln!(renewed, "  {name}: {}", reads(at, &error));
        }
    }
    assert_eq!(codes, Code::ALL, "each code once");
    if std::env::var_os("TRANSCRIPTS").is_some_and(|mode| mode == "overwrite") {
        std::fs::write(snapshot(), renewed).unwrap();
    } else {
        for (wanted, is) in committed.lines().zip(renewed.lines()) {
            assert_eq!(is, wanted, "TRANSCRIPTS=overwrite renews the snapshot");
        }
        assert_eq!(renewed.len(), committed.len(), "TRANSCRIPTS=overwrite renews the snapshot");
    }
}
