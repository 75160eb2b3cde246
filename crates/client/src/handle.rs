//! The handle that a native program holds: commands in, events out, the engine on a thread of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use api::{Event, Kind, Problem};
use engine::{CommandId, Database, EngineError, OpenError};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use wire::UnixMillis;
use zeroize::Zeroizing;

use crate::Pump;
use crate::driver::Action;
use crate::io::native::{Network, Order, Report};

/// How long the thread sleeps at most: so much later it sees that the clock was set, or that the machine was asleep.
const IDLE: Duration = Duration::from_secs(30);

/// What the engine puts off no longer than this (receipts, invitations to those who were added) is worth waiting for.
pub const SOON: Duration = Duration::from_secs(3);

/// How a client behaves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// PEM files with certificate authorities to believe, beside the machine's own.
    pub authorities: Vec<PathBuf>,
    /// Where development authorities of relays on this machine are pinned; in memory only if absent.
    pub known_relays: Option<PathBuf>,
}

/// Why a client did not start. Every case is this machine's.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database can't be used; the source says what to do.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file with certificate authorities can't be used.
    #[error("the file of certificate authorities {path} can't be used: {why}")]
    Authorities {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system gives no thread or no event queue.
    #[error("this machine could not start another thread: {0}")]
    System(#[from] std::io::Error),
}

/// A running client. Dropping it is the same as [`Client::stop`].
pub struct Client {
    inbox: Sender<Inbox>,
    last_command: AtomicU64,
    first_events: Mutex<Option<Receiver<Event>>>,
    thread: Option<JoinHandle<()>>,
}

/// What the engine's thread waits for.
enum Inbox {
    Command(CommandId, Box<api::Command>),
    Query(Box<api::Query>, Sender<Result<api::View, Problem>>),
    Subscribe(Sender<Event>),
    Settle(Sender<()>),
    Network(Report),
    Stop,
}

impl Client {
    /// Opens the database and begins to connect. Blocks until the database is open; everything else goes on by itself.
    pub fn start(database: Database, options: Options) -> Result<Self, StartError> {
        let authorities = authorities(&options.authorities)?;
        let (inbox, deliveries) = mpsc::channel();
        let (events, first_events) = mpsc::channel();
        let (opened, opening) = mpsc::channel();
        let reports = inbox.clone();
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || {
            // The database belongs to this thread from its opening on.
            let pump = match Pump::open(database, now(), &mut rng()) {
                Ok(pump) => pump,
                Err(error) => return drop(opened.send(Err(StartError::Open(error)))),
            };
            // A report after the end of this thread is about nothing that matters any more.
            let report = move |report| drop(reports.send(Inbox::Network(report)));
            let network = match Network::start(authorities, options.known_relays, report) {
                Ok(network) => network,
                Err(error) => return drop(opened.send(Err(StartError::System(error)))),
            };
            drop(opened.send(Ok(())));
            Engine { pump, network, subscribers: vec![events], settling: Vec::new() }.run(&deliveries);
        })?;
        match opening.recv() {
            Ok(Ok(())) => {
                let first_events = Mutex::new(Some(first_events));
                Ok(Self { inbox, last_command: AtomicU64::new(0), first_events, thread: Some(thread) })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartError::System(std::io::Error::other("the engine's thread ended"))),
        }
    }

    /// Asks for something; exactly one [`Event::Done`] or [`Event::Failed`] with this number follows.
    pub fn command(&self, command: api::Command) -> CommandId {
        let id = self.last_command.fetch_add(1, Ordering::Relaxed) + 1;
        // After a failure that stopped the engine its last event has said so.
        let _ = self.inbox.send(Inbox::Command(id, Box::new(command)));
        id
    }

    /// What is known here. Blocks for as long as the engine is busy with something else.
    pub fn query(&self, query: api::Query) -> Result<api::View, Problem> {
        let (reply, answer) = mpsc::channel();
        let _ = self.inbox.send(Inbox::Query(Box::new(query), reply));
        answer.recv().unwrap_or_else(|_| Err(stopped("")))
    }

    /// The events from now on; the first call gets those since the start. The channel ends when the client has stopped.
    pub fn events(&self) -> Receiver<Event> {
        if let Some(first) = self.first_events.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return first;
        }
        let (events, receiver) = mpsc::channel();
        let _ = self.inbox.send(Inbox::Subscribe(events));
        receiver
    }

    /// Waits until nothing is under way any more (requests, blobs, what the engine does within [`SOON`]), as far as relays are in
    /// reach. `false` if that took longer than `timeout`; nothing is lost by that, it goes on at the next start.
    pub fn settle(&self, timeout: Duration) -> bool {
        let (settled, waiting) = mpsc::channel();
        let _ = self.inbox.send(Inbox::Settle(settled));
        waiting.recv_timeout(timeout).is_ok()
    }

    /// Closes connections and database in good order. What was not acknowledged goes on at the next start.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.inbox.send(Inbox::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sets, changes or removes the passphrase of a database that nobody has open.
pub fn set_passphrase(
    directory: &Path,
    old: Option<&Zeroizing<String>>,
    new: Option<&Zeroizing<String>>,
) -> Result<(), OpenError> {
    let (old, new) = (old.map(|text| text.as_str()), new.map(|text| text.as_str()));
    engine::set_passphrase(directory, old, new, &mut rng())
}

/// Whether a passphrase protects the database in a directory; no if there is none yet.
pub fn is_protected(directory: &Path) -> Result<bool, OpenError> {
    engine::is_protected(directory)
}

/// What lives on the engine's thread.
struct Engine {
    pump: Pump,
    network: Network,
    subscribers: Vec<Sender<Event>>,
    /// Who waits until nothing is under way.
    settling: Vec<Sender<()>>,
}

impl Engine {
    fn run(mut self, deliveries: &Receiver<Inbox>) {
        self.carry_out();
        loop {
            let now = now();
            let wait = self.pump.deadline().map_or(IDLE, |at| Duration::from_millis(at.since(now))).min(IDLE);
            let delivery = match deliveries.recv_timeout(wait) {
                Ok(Inbox::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(delivery) => Some(delivery),
                Err(RecvTimeoutError::Timeout) => None,
            };
            if let Err(error) = self.one(delivery) {
                // As after a crash: what is in the database is consistent, the next start takes it up.
                self.carry_out();
                return self.tell(&Event::Notice { conversation: None, problem: stopped(&error.to_string()) });
            }
            self.carry_out();
            let soon = u64::try_from(SOON.as_millis()).unwrap_or(u64::MAX);
            if !self.settling.is_empty() && self.pump.is_quiet(now.plus(soon)) {
                for settled in self.settling.drain(..) {
                    let _ = settled.send(());
                }
            }
        }
    }

    fn one(&mut self, delivery: Option<Inbox>) -> Result<(), EngineError> {
        let (now, rng) = (now(), &mut rng());
        match delivery {
            Some(Inbox::Command(id, command)) => self.pump.command(now, rng, id, *command)?,
            Some(Inbox::Query(query, reply)) => {
                let _ = reply.send(self.pump.view(&query));
            }
            Some(Inbox::Subscribe(events)) => self.subscribers.push(events),
            Some(Inbox::Settle(settled)) => self.settling.push(settled),
            Some(Inbox::Network(Report::Frame { conn, frame, room })) => {
                self.pump.frame(now, rng, conn, frame)?;
                drop(room);
            }
            Some(Inbox::Network(Report::Closed { conn, fault })) => self.pump.closed(now, rng, conn, fault)?,
            Some(Inbox::Network(Report::Transfer { id, relay, state })) => {
                self.pump.transfer(now, rng, id, &relay, state)?;
            }
            Some(Inbox::Stop) | None => {}
        }
        // Also when there was a delivery: a busy inbox must not put off what is due.
        self.pump.tick(now, rng)
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.pump.poll() {
            match action {
                Action::Dial { conn, relay } => self.network.order(Order::Dial { conn, relay }),
                Action::Write { conn, frame } => self.network.order(Order::Write { conn, frame }),
                Action::Close { conn } => self.network.order(Order::Close { conn }),
                Action::Transfer { id, relay, job } => self.network.order(Order::Transfer { id, relay, job }),
                Action::Tell(event) => self.tell(&event),
                // The pump keeps these to itself.
                Action::Feed(_) => {}
            }
        }
    }

    fn tell(&mut self, event: &Event) {
        self.subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }
}

fn stopped(why: &str) -> Problem {
    Problem::new(
        Kind::Local,
        "This program had to stop using its database.",
        why,
        "Check that the disk has room and start it again: nothing that was kept is lost.",
    )
}

fn authorities(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let mut all = Vec::new();
    for path in files {
        let failed = |why: String| StartError::Authorities { path: path.clone(), why };
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let before = all.len();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            all.push(certificate.map_err(|_| failed("it is not in PEM".into()))?);
        }
        if all.len() == before {
            return Err(failed("there is no certificate in it".into()));
        }
    }
    Ok(all)
}

fn rng() -> UnwrapErr<SysRng> {
    // A system without randomness can't do anything safely: stopping is the only right answer, and that is what this does.
    UnwrapErr(SysRng)
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
