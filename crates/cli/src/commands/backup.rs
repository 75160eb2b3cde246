//! Backups: the recovery key, files that only it opens, and the way back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{BackupState, Command, Event, Kind, Problem, Query, RestorePreview, View};
use zeroize::Zeroizing;

use super::account::{consent, done};
use crate::args::Backup;
use crate::lines::{Lines, short_id};
use crate::names::unexpected;
use crate::session::Session;
use crate::terminal::{Paint, clean};

/// How long writing or reading a large backup may take.
const PATIENCE: Duration = Duration::from_secs(3600);
/// No backup is larger than this, in bytes; a longer file is not read into memory.
const LARGEST: u64 = 4 << 30;

/// `backup …`.
pub fn backup(session: &mut Session<'_>, backup: &Backup) -> Result<(), Problem> {
    session.account()?;
    match backup {
        Backup::Key { yes } => key(session, *yes),
        Backup::Create { file, replace } => create(session, file, *replace),
        Backup::Relay { daily, never } => relay(session, *daily, *never),
        Backup::Status => status(session),
    }
}

fn key(session: &mut Session<'_>, yes: bool) -> Result<(), Problem> {
    let terminal = session.terminal;
    if !yes && (!io::stdin().is_terminal() || terminal.json) {
        return Err(Problem::new(
            Kind::Usage,
            "This asks for the last group of the key, and there is no terminal to ask on.",
            "",
            "Say with --yes that the key is kept safe as it is printed.",
        ));
    }
    let had_one = state(session)?.key_made.is_some();
    let mut key = Zeroizing::new(String::new());
    session.run_with("Making a recovery key", Command::MakeRecoveryKey, PATIENCE, |event| {
        if let Event::RecoveryKey { key: shown, .. } = event {
            key = Zeroizing::new(shown.clone());
        }
    })?;
    if terminal.json {
        terminal.event(Event::RecoveryKey { command: 0, key: key.to_string() });
    } else {
        terminal.line("Your recovery key. It is shown this once:");
        terminal.line(format!("  {}", terminal.paint(Paint::Strong, key.as_str())));
        terminal.line("Write it down and keep it apart from your backups: whoever has both reads all that is in them, and can take your account over.");
        terminal.line("Without it nobody can open them, you included.");
        if had_one {
            terminal.line("Backups that you have made so far open with the old key only.");
        }
    }
    let last = match yes {
        true => Zeroizing::new(key.rsplit('-').next().unwrap_or_default().to_owned()),
        false => ask("To show that you have it, type its last four characters: ")?,
    };
    session.run("Keeping the key", Command::KeepRecoveryKey { last: last.to_string() })?;
    if !terminal.json {
        let made = terminal.paint(Paint::Good, "The key is in use.");
        terminal.line(format!("{made} To make a backup: transom backup create FILE"));
    }
    Ok(())
}

fn create(session: &mut Session<'_>, path: &Path, replace: bool) -> Result<(), Problem> {
    if !replace && fs::symlink_metadata(path).is_ok() {
        return Err(Problem::new(
            Kind::Conflict,
            format!("There is a file {} already.", shown(path)),
            "",
            "Choose another name, or let it be replaced with --replace.",
        ));
    }
    if state(session)?.key_made.is_none() {
        return Err(no_key());
    }
    session.freshen();
    let mut file = Unfinished::begin(path).map_err(|error| not_written(path, &error))?;
    let mut written = Ok(());
    session.run_with("Writing the backup", Command::Backup, PATIENCE, |event| {
        if let (Event::BackupPart { bytes, .. }, true) = (event, written.is_ok()) {
            written = file.write(&bytes.0);
        }
    })?;
    let bytes = written.and_then(|()| file.finish()).map_err(|error| not_written(path, &error))?;
    session.run("Noting that", Command::BackupKept)?;
    let made = state(session)?;
    if session.terminal.json {
        session.terminal.object(&made);
    } else {
        let good = session.terminal.paint(Paint::Good, "Backed up:");
        let (messages, size) = (messages(made.messages), size(bytes));
        session.terminal.line(format!("{good} {messages}, {size}, in {}.", shown(path)));
        match made.holds_account {
            Some(true) => {
                session.terminal.line("It brings your account back as well, if you lose all of your devices.")
            }
            _ => {
                session
                    .terminal
                    .line("It holds what was said, not your account's key: it can't bring your account back.");
                session.terminal.line("A backup of the device that certifies your others can: transom devices");
            }
        }
    }
    Ok(())
}

fn relay(session: &mut Session<'_>, daily: bool, never: bool) -> Result<(), Problem> {
    if state(session)?.key_made.is_none() {
        return Err(no_key());
    }
    if never {
        session.run("Noting that", Command::RelayBackups { daily: false })?;
        if session.terminal.json {
            session.terminal.object(&state(session)?);
        } else {
            done(
                session,
                "No backup goes to your relay by itself any more. What is there stays until the relay clears it away.",
            );
        }
        return Ok(());
    }
    session.freshen();
    session.run_with("Backing up to your relay", Command::BackUpToRelay, PATIENCE, |_| ())?;
    if daily {
        session.run("Noting that", Command::RelayBackups { daily })?;
    }
    let made = state(session)?;
    if session.terminal.json {
        session.terminal.object(&made);
        return Ok(());
    }
    let account = session.account()?;
    let terminal = session.terminal;
    let good = terminal.paint(Paint::Good, "Backed up at your relay:");
    let relay = made.relay.as_ref();
    let what = match relay.map_or(1, |relay| relay.sets) {
        0 | 1 => "all of it".to_owned(),
        2 => "all of it and 1 part with what has changed since".to_owned(),
        sets => format!("all of it and {} parts with what has changed since", sets - 1),
    };
    let bytes = size(relay.map_or(0, |relay| relay.bytes));
    terminal.line(format!("{good} {}, {bytes}, {what}.", messages(made.messages)));
    terminal.line(format!("With your recovery key: transom restore --relay {}", clean(&account.address)));
    if daily {
        terminal.line("One is made each day from now on, while this device is on: transom watch");
    }
    Ok(())
}

fn status(session: &mut Session<'_>) -> Result<(), Problem> {
    let account = session.account()?;
    let terminal = session.terminal;
    let state = state(session)?;
    if terminal.json {
        terminal.object(&state);
        return Ok(());
    }
    let lines = Lines::new(terminal, &account.address, Default::default());
    match state.key_made {
        Some(made) => terminal.line(format!("recovery key  made {}", lines.time(made))),
        None => terminal.line("recovery key  none yet; make one: transom backup key"),
    }
    match state.made {
        Some(made) => {
            terminal.line(format!("last backup   {} · {}", lines.time(made), messages(state.messages)));
            terminal.line(format!("since then    {}", messages(state.since)));
        }
        None => terminal.line("last backup   none yet"),
    }
    if let Some(relay) = &state.relay {
        let daily = if relay.daily { "each day" } else { "when you say so" };
        let last = relay.made.map_or_else(|| "none yet".to_owned(), |made| lines.time(made));
        terminal.line(format!("at the relay  {daily} · {last} · {}", size(relay.bytes)));
    }
    terminal.line(match state.holds_account.unwrap_or(state.can_hold_account) {
        true => "brings back   your account, without any device left, and what was said",
        false => "brings back   what was said, to a device of your account; only a backup of the device that certifies brings the account back",
    });
    Ok(())
}

/// Where a backup is.
pub enum From<'a> {
    /// In a file.
    File(&'a Path),
    /// At the relay of this address.
    Relay(&'a str),
}

/// A backup's file.
fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: &io::Error| {
        Problem::new(
            Kind::Local,
            format!("The file {} can't be read.", shown(path)),
            format!("{error}."),
            "Check its name, and whether you may read it.",
        )
    };
    let metadata = fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        let next = "Name a file that `transom backup create` wrote.";
        return Err(Problem::new(Kind::Usage, format!("The file {} is not a backup.", shown(path)), "", next));
    }
    fs::read(path).map_err(|error| unreadable(&error))
}

/// `restore FILE`, `restore --relay ADDRESS`.
pub fn restore(session: &mut Session<'_>, from: &From<'_>, yes: bool, keep_devices: bool) -> Result<(), Problem> {
    let file = match from {
        From::File(path) => api::Binary(read(path)?),
        From::Relay(_) => api::Binary(Vec::new()),
    };
    let is_new = session.account().is_err();
    let key = ask("Recovery key: ")?;
    let command = |confirm| match from {
        From::File(_) => Command::Restore { key: key.to_string(), file: file.clone(), confirm, keep_devices },
        From::Relay(address) => {
            let (key, address) = (key.to_string(), Some((*address).to_owned()));
            Command::RestoreFromRelay { key, address, confirm, keep_devices }
        }
    };
    let mut told = None;
    if is_new {
        let mut preview = None;
        // Without consent nothing is done, unless an earlier run was given it and was stopped: then this one goes on.
        session.run_with("Looking at the account", command(false), PATIENCE, |event| match event {
            Event::RestorePreview { preview: found, .. } => preview = Some((**found).clone()),
            Event::Restored { messages, new, .. } => told = Some((*messages, *new)),
            _ => {}
        })?;
        if let Some(preview) = preview {
            show_preview(session, &preview);
            consent(session, yes, "Make this a device of your account?")?;
        }
    }
    if told.is_none() {
        session.run_with("Restoring", command(true), PATIENCE, |event| {
            if let Event::Restored { messages, new, .. } = event {
                told = Some((*messages, *new));
            }
        })?;
    }
    let (all, new) = told.unwrap_or_default();
    if session.terminal.json {
        session.terminal.event(Event::Restored { command: 0, messages: all, new });
        return Ok(());
    }
    if is_new {
        let account = session.account()?;
        let terminal = session.terminal;
        let good = terminal.paint(Paint::Good, "Restored.");
        terminal.line(format!("{good} You are {} again, with {}.", clean(&account.address), messages(all)));
        let waiting = session.conversations()?.iter().filter(|conversation| conversation.waiting).count();
        if waiting > 0 {
            session.terminal.line("Your conversations wait until somebody in them lets this device in, which their programs do by themselves:");
            session.terminal.line("  transom list");
        }
        session.terminal.line("Make a recovery key and a backup for this device: transom backup key");
        return Ok(());
    }
    let text = match (all, new) {
        (all, 0) if all > 0 => "Everything in the backup was here already.".into(),
        (all, new) => format!("Restored: {} of {} were not here.", new, messages(all)),
    };
    done(session, &text);
    Ok(())
}

/// What becoming a device of the account does.
fn show_preview(session: &Session<'_>, preview: &RestorePreview) {
    let terminal = session.terminal;
    if terminal.json {
        terminal.event(Event::RestorePreview { command: 0, preview: Box::new(preview.clone()) });
        return;
    }
    let lines = Lines::new(terminal, &preview.address, Default::default());
    terminal.line(format!("A backup of {}", terminal.paint(Paint::Strong, clean(&preview.address))));
    terminal.line(format!("  made          {} · {}", lines.time(preview.made), messages(preview.messages)));
    terminal.line(match preview.conversations {
        1 => "  asks to join  1 conversation again".to_owned(),
        n => format!("  asks to join  {n} conversations again"),
    });
    for device in &preview.devices {
        let what = if preview.revokes { "revokes" } else { "keeps" };
        let role = if device.certifies { ", certifies the others" } else { "" };
        let (id, added) = (short_id(&device.id), lines.time(device.added));
        terminal.line(format!("  {what:<12}  device {id}, added {added}{role}"));
    }
}

fn state(session: &Session<'_>) -> Result<BackupState, Problem> {
    match session.query(Query::Backup)? {
        View::Backup(state) => Ok(state),
        other => Err(unexpected(&other)),
    }
}

fn no_key() -> Problem {
    Problem::new(
        Kind::Usage,
        "There is no recovery key yet.",
        "A backup is sealed to it, and only it opens backups.",
        "Make one, and write it down: transom backup key",
    )
}

/// A line of standard input; on a terminal it is asked for.
fn ask(prompt: &str) -> Result<Zeroizing<String>, Problem> {
    if io::stdin().is_terminal() {
        let mut errors = io::stderr().lock();
        let _ = write!(errors, "{prompt}");
        let _ = errors.flush();
    }
    let mut line = Zeroizing::new(String::new());
    match io::stdin().read_line(&mut line) {
        Ok(length) if length > 0 => Ok(Zeroizing::new(line.trim().to_owned())),
        _ => Err(Problem::new(
            Kind::Usage,
            "Nothing was typed.",
            "",
            "Type it when it is asked for, or give it on standard input.",
        )),
    }
}

/// A file beside the one that it becomes once it is whole and on the disk.
struct Unfinished {
    file: Option<File>,
    beside: PathBuf,
    path: PathBuf,
    length: u64,
}

impl Unfinished {
    fn begin(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".part");
        let beside = path.with_file_name(name);
        // What a program that died has left behind.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = Some(options.open(&beside)?);
        Ok(Self { file, beside, path: path.to_owned(), length: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Its length.
    fn finish(mut self) -> io::Result<u64> {
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        fs::rename(&self.beside, &self.path)?;
        self.file = None;
        // The name is on the disk as well, where directories can be synced.
        #[cfg(unix)]
        if let Some(parent) = self.path.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            File::open(parent)?.sync_all()?;
        }
        Ok(self.length)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

fn not_written(path: &Path, error: &io::Error) -> Problem {
    Problem::new(
        Kind::Local,
        format!("The backup {} can't be written.", shown(path)),
        format!("{error}."),
        "Choose another place, with room enough.",
    )
}

fn shown(path: &Path) -> String {
    clean(&path.to_string_lossy()).into_owned()
}

fn messages(number: u64) -> String {
    match number {
        1 => "1 message".into(),
        n => format!("{n} messages"),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
