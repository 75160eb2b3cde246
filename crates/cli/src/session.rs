//! A client that runs for as long as a command takes: asks, waits, and says what it waits for.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::{Command, Event, HistoryState, HistoryTransfer, Kind, Problem, Query, View};
use client::{Client, Database, OpenError, Options, StartError};
use zeroize::Zeroizing;

use crate::args::Args;
use crate::profile::{self, Profile};
use crate::terminal::{Terminal, Wait};

/// The exit code of a program that Ctrl+C has ended, as shells have it.
const INTERRUPTED: i32 = 130;
/// How long a command waits for relays unless the person says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a device waits to be let in: somebody has to walk to the other one.
const LINK_TIMEOUT: Duration = Duration::from_secs(600);

/// How long what waits may take to be fetched before a command that only wants to be up to date.
const FRESHEN: Duration = Duration::from_secs(5);
/// How long what is under way may take after the command's result was printed.
const SETTLE: Duration = Duration::from_secs(15);

/// An open profile with a running client.
pub struct Session<'a> {
    pub terminal: &'a Terminal,
    pub profile: Profile,
    client: Client,
    items: Receiver<Item>,
    timeout: Option<Duration>,
    /// What was last said about a relay that is not in reach.
    unreachable: Option<Problem>,
    /// All that waited was fetched, and the connection still stands.
    is_caught_up: bool,
    /// There is no account yet: what a relay refuses is the end of the command, and is said once.
    is_first: bool,
    /// Somebody has locked the profile meanwhile.
    is_locked: bool,
}

/// What a command waits for.
enum Item {
    Event(Box<Event>),
    Interrupt,
    /// The profile is to be closed until its passphrase is typed again.
    Lock,
    Stopped,
}

/// What a command has made.
#[derive(Debug, Default)]
pub struct Made {
    pub conversation: Option<String>,
    pub message: Option<String>,
}

/// What the one who looks at events wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Wait,
    Enough,
}

impl<'a> Session<'a> {
    /// Opens the profile, asks for its passphrase if it has one, and starts the client.
    pub fn open(args: &Args, terminal: &'a Terminal) -> Result<Self, Problem> {
        Self::open_with(args, terminal, profile::given_passphrase(args)?)
    }

    /// Opens a profile again that was locked while it was in use. What was on the screen goes; only the passphrase brings it back.
    pub fn unlock(args: &Args, terminal: &'a Terminal) -> Result<Self, Problem> {
        terminal.clear();
        terminal.line(format!("The profile '{}' is locked.", args.profile));
        loop {
            let passphrase = profile::ask("Passphrase: ")?;
            let wait = profile::unlocking(terminal);
            let opened = Self::open_with(args, terminal, Some(passphrase));
            drop(wait);
            match opened {
                Err(problem) if problem.what == profile::wrong_passphrase(&args.profile).what => {
                    terminal.problem(&problem)
                }
                opened => return opened,
            }
        }
    }

    fn open_with(args: &Args, terminal: &'a Terminal, given: Option<Zeroizing<String>>) -> Result<Self, Problem> {
        let profile = Profile::open(args, terminal)?;
        let start = |passphrase| {
            let database = Database::File { directory: profile.directory.clone(), passphrase };
            let known_relays = Some(profile.directory.join("known-relays"));
            Client::start(database, Options { authorities: args.ca.clone(), known_relays })
        };
        let client = match start(given) {
            Err(StartError::Open(OpenError::PassphraseNeeded)) => {
                let passphrase = profile::ask(&format!("Passphrase of the profile '{}': ", profile.name))?;
                let _wait = profile::unlocking(terminal);
                start(Some(passphrase))
            }
            other => other,
        };
        let client = client.map_err(|error| match &error {
            StartError::Open(open) => profile::open_problem(open, &profile.name),
            StartError::Authorities { path, why } => Problem::new(
                Kind::Usage,
                format!("The file of certificate authorities {} can't be used.", path.display()),
                format!("{why}."),
                "Pass the relay's ca.pem with --ca FILE (or TRANSOM_CA).",
            ),
            StartError::System(_) => Problem::new(Kind::Local, "Transom could not start.", error.to_string(), ""),
        })?;
        let items = items(&client, &profile.directory);
        Ok(Self {
            terminal,
            profile,
            client,
            items,
            timeout: args.timeout,
            unreachable: None,
            is_caught_up: false,
            is_first: false,
            is_locked: false,
        })
    }

    /// True once the profile was locked by somebody while this session followed it.
    pub const fn is_locked(&self) -> bool {
        self.is_locked
    }

    /// What is known here.
    pub fn query(&self, query: Query) -> Result<View, Problem> {
        self.client.query(query)
    }

    /// Does something and waits until it has its effect; `what` says what for.
    pub fn run(&mut self, what: &str, command: Command) -> Result<Made, Problem> {
        self.run_with(what, command, TIMEOUT, |_| ())
    }

    /// The same for a device that waits to be let in.
    pub fn run_link(&mut self, what: &str, command: Command, look: impl FnMut(&Event)) -> Result<Made, Problem> {
        self.run_with(what, command, LINK_TIMEOUT, look)
    }

    /// The same, showing `look` every event on the way.
    pub fn run_with(
        &mut self,
        what: &str,
        command: Command,
        timeout: Duration,
        mut look: impl FnMut(&Event),
    ) -> Result<Made, Problem> {
        let (keeps, slow) = (keeps(&command), slow(&command));
        // Before there is an account, a relay that can't be one is the end of it; later it is one of several.
        self.is_first = match command {
            Command::Register { .. } | Command::BeginLink { .. } => true,
            Command::Restore { .. } | Command::RestoreFromRelay { .. } => self.account().is_err(),
            _ => false,
        };
        let is_first = self.is_first;
        // An earlier run may have asked another relay, of which word comes late.
        let relay = match &command {
            Command::Register { address, .. } => address.rsplit('@').next().unwrap_or_default().to_owned(),
            Command::BeginLink { relay } => relay.clone(),
            _ => String::new(),
        };
        let id = self.client.command(command);
        let mut made = None;
        let waited = self.wait(what, timeout, |event| {
            look(event);
            match event {
                Event::Done { command, conversation, message } if *command == id => {
                    made = Some(Ok(Made { conversation: conversation.clone(), message: message.clone() }));
                    Next::Enough
                }
                Event::Failed { command, problem } if *command == id => {
                    made = Some(Err(problem.clone()));
                    Next::Enough
                }
                Event::Notice { conversation: None, problem }
                    if is_first && is_final(problem) && is_about(problem, &relay) =>
                {
                    made = Some(Err(problem.clone()));
                    Next::Enough
                }
                _ => Next::Wait,
            }
        });
        match (made, waited) {
            (Some(made), _) => made,
            (None, Err(Ended::Late(waited))) => Err(self.late(waited, slow, keeps)),
            (None, Err(Ended::Interrupted)) => Err(interrupted(keeps)),
            (None, Err(Ended::Locked)) => Err(locked(keeps)),
            (None, Ok(()) | Err(Ended::Stopped)) => Err(stopped()),
        }
    }

    /// Waits until all that was waiting at the relays is here.
    pub fn catch_up(&mut self, mut look: impl FnMut(&Event)) -> Result<(), Problem> {
        if self.is_caught_up {
            return Ok(());
        }
        if self.is_taken_out() {
            return Err(taken_out());
        }
        let waited = self.wait("Fetching what waits", TIMEOUT, |event| {
            look(event);
            if matches!(event, Event::CaughtUp) { Next::Enough } else { Next::Wait }
        });
        match waited {
            Ok(()) if self.is_taken_out() => Err(taken_out()),
            Ok(()) => Ok(()),
            Err(Ended::Late(waited)) => {
                Err(self.late(waited, SLOW, "What waits there stays there until the next run."))
            }
            Err(Ended::Interrupted) => Err(interrupted("What was fetched is kept.")),
            Err(Ended::Locked) => Err(locked("What was fetched is kept.")),
            Err(Ended::Stopped) => Err(stopped()),
        }
    }

    /// Another device has revoked this one: nothing comes any more.
    fn is_taken_out(&self) -> bool {
        let devices = self.query(Query::Devices);
        matches!(devices, Ok(View::Devices(devices)) if devices.iter().any(|own| own.this && own.revoked.is_some()))
    }

    /// Fetches what waits, if that goes quickly, so that what follows is decided on what is true now.
    pub fn freshen(&mut self) {
        if self.is_caught_up || self.is_taken_out() {
            return;
        }
        let timeout = self.timeout.replace(self.timeout.map_or(FRESHEN, |timeout| timeout.min(FRESHEN)));
        // Without a relay in reach the command goes on with what is known here, and says itself what it lacks.
        let _ = self.wait("Fetching what waits", FRESHEN, |event| match event {
            Event::CaughtUp => Next::Enough,
            Event::Notice { conversation: None, problem } if problem.kind == Kind::Offline => Next::Enough,
            _ => Next::Wait,
        });
        self.timeout = timeout;
    }

    /// Waits for history that goes to another device (`sending`), or comes from one, for as long as it gets further. `None` if there is none.
    pub fn history(&mut self, sending: bool) -> Result<Option<HistoryTransfer>, Problem> {
        let (json, terminal) = (self.terminal.json, self.terminal);
        let mut last = self.transfers()?.into_iter().find(|transfer| transfer.sending == sending);
        let what = if sending { "Sending what was said before" } else { "Waiting for what was said before" };
        while last.as_ref().is_none_or(|transfer| transfer.state == HistoryState::UnderWay) {
            if last.is_none() && sending {
                return Ok(None);
            }
            let waited = self.wait(what, TIMEOUT, |event| match event {
                Event::History { transfer } if transfer.sending == sending => {
                    if json {
                        terminal.event(event.clone());
                    }
                    last = Some((**transfer).clone());
                    Next::Enough
                }
                _ => Next::Wait,
            });
            let keeps = "It goes on by itself on the next run, for example `transom receive`.";
            match waited {
                Ok(()) => {}
                Err(Ended::Late(waited)) => return Err(self.late(waited, SLOW, keeps)),
                Err(Ended::Interrupted) => return Err(interrupted(keeps)),
                Err(Ended::Locked) => return Err(locked(keeps)),
                Err(Ended::Stopped) => return Err(stopped()),
            }
        }
        Ok(last)
    }

    /// History on its way to and from other devices of the account, the last begun first.
    pub fn transfers(&self) -> Result<Vec<HistoryTransfer>, Problem> {
        match self.query(Query::History)? {
            View::History(transfers) => Ok(transfers),
            other => Err(crate::names::unexpected(&other)),
        }
    }

    /// Asks for something last, and gives it the time that it takes where relays are in reach.
    pub fn tell_last(&self, command: Command) {
        self.tell(command);
        self.client.settle(FRESHEN);
    }

    /// Lets what is under way come to its end before the program ends: receipts, invitations, devices that are added.
    pub fn settle(&self) {
        let settle = self.timeout.map_or(SETTLE, |timeout| timeout.min(SETTLE));
        let mut wait = self.terminal.wait("Telling the others");
        if self.client.settle(settle.min(Wait::PATIENCE)) {
            return;
        }
        wait.show();
        self.client.settle(settle.saturating_sub(Wait::PATIENCE));
    }

    /// Looks at events until Ctrl+C.
    pub fn follow(&mut self, mut look: impl FnMut(&Self, &Event)) -> Result<(), Problem> {
        loop {
            match self.items.recv() {
                Ok(Item::Event(event)) => look(self, &event),
                Ok(Item::Interrupt) => return Ok(()),
                Ok(Item::Lock) => {
                    self.is_locked = true;
                    return Err(locked("To go on, start it again with the passphrase."));
                }
                Ok(Item::Stopped) | Err(_) => return Err(stopped()),
            }
        }
    }

    /// Asks for something that nobody waits for. Returns the number under which events speak of it.
    pub fn tell(&self, command: Command) -> u64 {
        self.client.command(command)
    }

    fn wait(&mut self, what: &str, timeout: Duration, mut look: impl FnMut(&Event) -> Next) -> Result<(), Ended> {
        let timeout = self.timeout.unwrap_or(timeout);
        let begun = Instant::now();
        let mut wait = self.terminal.wait(what);
        loop {
            let elapsed = begun.elapsed();
            let Some(left) = timeout.checked_sub(elapsed).filter(|left| !left.is_zero()) else {
                return Err(Ended::Late(timeout));
            };
            let nap = if elapsed < Wait::PATIENCE { left.min(Wait::PATIENCE - elapsed) } else { left };
            match self.items.recv_timeout(nap) {
                Ok(Item::Event(event)) => {
                    self.remark(&mut wait, &event);
                    let mut next = Next::Wait;
                    wait.aside(|| next = look(&event));
                    if next == Next::Enough {
                        return Ok(());
                    }
                }
                Ok(Item::Interrupt) => return Err(Ended::Interrupted),
                Ok(Item::Lock) => return Err(Ended::Locked),
                Ok(Item::Stopped) | Err(RecvTimeoutError::Disconnected) => return Err(Ended::Stopped),
                Err(RecvTimeoutError::Timeout) => wait.show(),
            }
        }
    }

    /// Passes on what the person should know while waiting.
    fn remark(&mut self, wait: &mut Wait<'_>, event: &Event) {
        match event {
            Event::Progress { what, .. } => wait.now(what),
            Event::History { transfer } if transfer.state == HistoryState::UnderWay => {
                let way = if transfer.sending { "sent" } else { "here" };
                wait.now(&format!("{} of {} messages are {way}", transfer.messages, transfer.total));
            }
            Event::BackupPart { messages, total, .. } => {
                wait.now(&format!("{messages} of {total} messages are written"))
            }
            Event::Notice { conversation: None, problem } if problem.kind == Kind::Offline => {
                wait.now(problem.what.trim_end_matches('.'));
                self.unreachable = Some(problem.clone());
            }
            Event::Notice { problem, .. } if self.is_first && is_final(problem) => {}
            Event::Notice { conversation, problem } => {
                wait.aside(|| self.terminal.notice(problem));
                if conversation.is_none() && is_final(problem) {
                    self.unreachable = Some(problem.clone());
                }
            }
            // Word of another relay says nothing of the one that is waited for.
            Event::Connection { up: true, relay }
                if self.unreachable.as_ref().is_some_and(|problem| is_about(problem, relay)) =>
            {
                self.unreachable = None;
            }
            Event::Connection { up: false, .. } => self.is_caught_up = false,
            Event::CaughtUp => self.is_caught_up = true,
            _ => {}
        }
    }

    fn late(&self, waited: Duration, slow: &str, keeps: &str) -> Problem {
        let seconds = waited.as_secs_f64();
        match &self.unreachable {
            Some(problem) if problem.kind == Kind::Offline => {
                Problem::new(Kind::Offline, problem.what.clone(), problem.why.clone(), keeps)
            }
            // Somebody has to do something about it before waiting helps.
            Some(problem) => problem.clone(),
            None => Problem::new(
                Kind::Offline,
                format!("This was not finished within {seconds} s."),
                slow,
                format!("{keeps} To wait longer: --timeout SECONDS"),
            ),
        }
    }
}

/// Why a wait ended without what was waited for.
enum Ended {
    Late(Duration),
    Interrupted,
    Locked,
    Stopped,
}

/// Who is told of Ctrl+C: the session that is open.
static INTERRUPTS: Mutex<Option<Sender<Item>>> = Mutex::new(None);

/// Events, Ctrl+C and the wish to lock the profile in one channel.
fn items(client: &Client, directory: &Path) -> Receiver<Item> {
    let (items, receiver) = mpsc::channel();
    *INTERRUPTS.lock().unwrap_or_else(PoisonError::into_inner) = Some(items.clone());
    // The only handler of this process; without one Ctrl+C ends it the hard way, which loses nothing either.
    let _ = ctrlc::set_handler(|| {
        let session = INTERRUPTS.lock().unwrap_or_else(PoisonError::into_inner);
        // While the passphrase is asked for none is open.
        if session.as_ref().is_none_or(|session| session.send(Item::Interrupt).is_err()) {
            std::process::exit(INTERRUPTED);
        }
    });
    if client::is_protected(directory).unwrap_or(false) {
        let locks = items.clone();
        profile::when_to_lock(directory, move || {
            let _ = locks.send(Item::Lock);
        });
    }
    let events = client.events();
    std::thread::spawn(move || {
        for event in events {
            if items.send(Item::Event(Box::new(event))).is_err() {
                return;
            }
        }
        let _ = items.send(Item::Stopped);
    });
    receiver
}

/// What most commands wait for.
const SLOW: &str = "A relay is slow, or not in reach.";

/// Why a command was not finished in time, if nothing says so.
fn slow(command: &Command) -> &'static str {
    match command {
        Command::BeginLink { .. } => "No device of yours has let this one in by then.",
        Command::InspectLink { .. } | Command::ConfirmLink { .. } => "The new device does not answer.",
        _ => SLOW,
    }
}

/// What becomes of a command that was not finished in time.
fn keeps(command: &Command) -> &'static str {
    match command {
        Command::Send { .. } => {
            "The message is kept and goes out by itself on the next run, for example `transom receive`."
        }
        Command::Register { .. } => "Registration goes on by itself on the next run: type the same again.",
        Command::BeginLink { .. } => {
            "Type the same again: a code stays good for ten minutes, also if it is confirmed while nobody waits here."
        }
        Command::InspectLink { .. } | Command::ConfirmLink { .. } => {
            "Try again while the new device still shows its code."
        }
        Command::Backup => "Nothing was written: run `transom backup create` again.",
        Command::Restore { .. } | Command::RestoreFromRelay { .. } => {
            "Run `transom restore` again: it goes on where it was, and takes nothing in twice."
        }
        Command::MakeRecoveryKey | Command::KeepRecoveryKey { .. } => {
            "The new key is not in use: run `transom backup key` again."
        }
        _ => "What you asked for is kept and goes on by itself on the next run, for example `transom receive`.",
    }
}

/// A relay that can't be used as it is: trying longer changes nothing.
fn is_final(problem: &Problem) -> bool {
    matches!(problem.kind, Kind::Refused | Kind::Trust)
}

/// What is said of a relay names it first; what it calls itself may come after that.
fn is_about(problem: &Problem, relay: &str) -> bool {
    problem.what.split(" calls itself ").next().is_some_and(|begin| begin.contains(relay))
}

fn taken_out() -> Problem {
    Problem::new(
        Kind::Forbidden,
        "This device was taken out of your account.",
        "Another device of yours has revoked it.",
        "What it has read stays here; link it again in a new profile if that was a mistake.",
    )
}

fn locked(keeps: &str) -> Problem {
    Problem::new(Kind::Local, "The profile was locked.", "Somebody typed `transom passphrase lock`.", keeps)
}

fn interrupted(keeps: &str) -> Problem {
    Problem::new(Kind::Offline, "You stopped waiting.", "", keeps)
}

fn stopped() -> Problem {
    Problem::new(
        Kind::Local,
        "This program had to stop using its database.",
        "",
        "Check that the disk has room and start it again: nothing that was kept is lost.",
    )
}
