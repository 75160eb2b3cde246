//! Profiles: a directory each, held by one process at a time, protected by a passphrase if the person wants that.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use api::{Kind, Problem};
use client::OpenError;
use zeroize::Zeroizing;

use crate::args::{Args, Passphrase};
use crate::terminal::{Terminal, Wait};

/// How long a second process waits for the first.
const WAIT_FOR_OTHER: Duration = Duration::from_secs(10);
/// While this file is in a profile's directory, whoever has the profile open closes it.
const LOCK_NOW: &str = "lock-now";
/// How often a program with a protected profile looks whether it is to close it.
const LOOK: Duration = Duration::from_millis(250);

/// A profile that belongs to this process until it is dropped.
pub struct Profile {
    pub name: String,
    pub directory: PathBuf,
    _lock: File,
}

impl Profile {
    /// Finds or makes the directory and waits until no other process has it.
    pub fn open(args: &Args, terminal: &Terminal) -> Result<Self, Problem> {
        let directory = directory(args)?;
        let cannot = |error: std::io::Error| {
            Problem::new(
                Kind::Local,
                format!("The profile directory {} can't be used.", directory.display()),
                format!("{error}."),
                "Check who owns it and whether the disk has room, or choose another place with --home DIR.",
            )
        };
        make_private(&directory).map_err(cannot)?;
        let path = directory.join("lock");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(cannot)?;
        let mut file = match file.try_lock() {
            Ok(()) => file,
            Err(std::fs::TryLockError::Error(error)) => return Err(cannot(error)),
            Err(std::fs::TryLockError::WouldBlock) => {
                let holder = holder(&path);
                if !terminal.json {
                    terminal.note(format!("The profile is in use by {holder}; waiting for it …"));
                }
                wait_for_other(args, file).ok_or_else(|| in_use(args, &holder))?
            }
        };
        // Of one who asked and died before it was done.
        let _ = std::fs::remove_file(directory.join(LOCK_NOW));
        // Who holds it, for others to read; the lock itself is the system's and ends with the process.
        let holder = format!("{} {}\n", std::process::id(), args.command.words());
        file.rewind()
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(cannot)?;
        Ok(Self { name: args.profile.clone(), directory, _lock: file })
    }
}

/// Closes a profile that a passphrase protects, whoever has it open. Answers with who had.
pub fn lock(args: &Args) -> Result<Option<String>, Problem> {
    let directory = directory(args)?;
    if !client::is_protected(&directory).map_err(|error| open_problem(&error, &args.profile))? {
        return Err(Problem::new(
            Kind::Usage,
            format!("The profile '{}' has no passphrase.", args.profile),
            "Nothing would keep anybody from opening it again.",
            "Set one first: transom passphrase set",
        ));
    }
    let cannot = |error: std::io::Error| {
        Problem::new(Kind::Local, "The profile can't be locked.", format!("{error}."), "End the programs that use it.")
    };
    let path = directory.join("lock");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => return Ok(None),
        Err(std::fs::TryLockError::Error(error)) => return Err(cannot(error)),
        Err(std::fs::TryLockError::WouldBlock) => {}
    }
    let holder = holder(&path);
    let ask = directory.join(LOCK_NOW);
    File::create(&ask).map_err(cannot)?;
    let closed = wait_for_other(args, file);
    let _ = std::fs::remove_file(&ask);
    if closed.is_none() { Err(in_use(args, &holder)) } else { Ok(Some(holder)) }
}

/// Calls `then` once somebody wants the profile in `directory` closed.
pub fn when_to_lock(directory: &Path, then: impl FnOnce() + Send + 'static) {
    let ask = directory.join(LOCK_NOW);
    std::thread::spawn(move || {
        while !ask.exists() {
            std::thread::sleep(LOOK);
        }
        then();
    });
}

/// The lock once the other process has given it up; `None` if it does not.
fn wait_for_other(args: &Args, file: File) -> Option<File> {
    let wait = args.timeout.map_or(WAIT_FOR_OTHER, |timeout| timeout.min(WAIT_FOR_OTHER));
    let (done, waiting) = mpsc::channel();
    // A thread that may wait for ever costs nothing: the process ends without asking it.
    std::thread::spawn(move || done.send(file.lock().map(|()| file)));
    waiting.recv_timeout(wait).ok().and_then(Result::ok)
}

fn in_use(args: &Args, holder: &str) -> Problem {
    Problem::new(
        Kind::Local,
        format!("The profile '{}' is in use by {holder}.", args.profile),
        "Two programs must not use one profile at the same time.",
        "End that one (Ctrl+C) and try again, or use another profile with --profile NAME.",
    )
}

fn holder(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.trim().split_once(' ') {
        Some((process, command)) => format!("`transom {command}` (process {process})"),
        None => "another program".into(),
    }
}

/// `HOME/NAME`.
pub fn directory(args: &Args) -> Result<PathBuf, Problem> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if args.profile.is_empty() || args.profile.starts_with('.') || !args.profile.chars().all(plain) {
        return Err(Problem::new(
            Kind::Usage,
            "That is no name for a profile.",
            "It may hold letters, digits, '-', '_' and '.', and does not begin with '.'.",
            "Choose another one with --profile NAME.",
        ));
    }
    let home = match &args.home {
        Some(home) => home.clone(),
        None => data_home().ok_or_else(|| {
            Problem::new(
                Kind::Local,
                "There is no place for profiles.",
                "Neither XDG_DATA_HOME nor HOME says where the user's data is.",
                "Choose a place with --home DIR or TRANSOM_HOME.",
            )
        })?,
    };
    Ok(home.join(&args.profile))
}

/// The XDG base directory specification: an absolute `XDG_DATA_HOME`, else `~/.local/share`.
fn data_home() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))?;
    Some(data.join("transom"))
}

fn make_private(directory: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// The passphrase that was given without a question being asked.
pub fn given_passphrase(args: &Args) -> Result<Option<Zeroizing<String>>, Problem> {
    if let Some(path) = &args.passphrase_file {
        return read_first_line(path).map(Some);
    }
    Ok(from_environment("TRANSOM_PASSPHRASE"))
}

/// Refused before anything is asked: where there is no profile, none of the passphrase that is to go, or one already.
pub fn check_passphrase(args: &Args, change: Passphrase) -> Result<(), Problem> {
    let directory = directory(args)?;
    if !directory.join("transom.db").exists() {
        return Err(Problem::new(
            Kind::NotFound,
            format!("There is no profile '{}' yet.", args.profile),
            "",
            "Make an account in it first: transom register NAME@RELAY",
        ));
    }
    let is_protected = client::is_protected(&directory).map_err(|error| open_problem(&error, &args.profile))?;
    let (what, next) = match change {
        Passphrase::Set if is_protected && given_passphrase(args)?.is_none() => {
            ("has a passphrase already", "Give it another one: transom passphrase change")
        }
        Passphrase::Change | Passphrase::Remove if !is_protected => {
            ("has no passphrase", "Set one: transom passphrase set")
        }
        _ => return Ok(()),
    };
    Err(Problem::new(Kind::Usage, format!("The profile '{}' {what}.", args.profile), "", next))
}

/// The new passphrase for `passphrase set` and `change`, typed twice if somebody is there to type it.
pub fn new_passphrase() -> Result<Zeroizing<String>, Problem> {
    let new = match from_environment("TRANSOM_NEW_PASSPHRASE") {
        Some(new) => new,
        None => {
            let nobody = || {
                Problem::new(
                    Kind::Local,
                    "A new passphrase is wanted.",
                    "There is no terminal to ask for it.",
                    "Set TRANSOM_NEW_PASSPHRASE, which must not be empty.",
                )
            };
            let new = prompt("New passphrase: ").ok_or_else(nobody)?;
            if *prompt("The same again: ").ok_or_else(nobody)? != *new {
                return Err(Problem::new(Kind::Usage, "The two passphrases differ.", "", "Try again."));
            }
            new
        }
    };
    if new.is_empty() {
        return Err(Problem::new(
            Kind::Usage,
            "A passphrase can't be empty.",
            "",
            "To keep the profile without one: transom passphrase remove",
        ));
    }
    Ok(new)
}

/// Asks for a passphrase; an error if there is nobody to ask.
pub fn ask(question: &str) -> Result<Zeroizing<String>, Problem> {
    prompt(question).ok_or_else(|| {
        Problem::new(
            Kind::Local,
            "This profile is protected by a passphrase.",
            "There is no terminal to ask for it.",
            "Set TRANSOM_PASSPHRASE, or name a file with --passphrase-file FILE.",
        )
    })
}

fn prompt(question: &str) -> Option<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    rpassword::prompt_password(question).ok().map(Zeroizing::new)
}

fn from_environment(name: &str) -> Option<Zeroizing<String>> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(Zeroizing::new)
}

fn read_first_line(path: &Path) -> Result<Zeroizing<String>, Problem> {
    let mut text = Zeroizing::new(String::new());
    File::open(path).and_then(|mut file| file.read_to_string(&mut text)).map_err(|error| {
        Problem::new(
            Kind::Local,
            format!("The passphrase file {} can't be read.", path.display()),
            format!("{error}."),
            "Check its path and who may read it.",
        )
    })?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// What a person reads when a database does not open.
pub fn open_problem(error: &OpenError, profile: &str) -> Problem {
    match error {
        OpenError::WrongPassphrase => wrong_passphrase(profile),
        OpenError::PassphraseNeeded => Problem::new(
            Kind::Local,
            format!("The profile '{profile}' is protected by a passphrase."),
            "",
            "Set TRANSOM_PASSPHRASE, name a file with --passphrase-file FILE, or use a terminal.",
        ),
        other => {
            let text = other.to_string();
            // "this and that: do so and so"
            let (why, next) = text.rsplit_once(": ").unwrap_or((&text, ""));
            Problem::new(
                Kind::Local,
                format!("The profile '{profile}' can't be opened."),
                sentence(why),
                if next.is_empty() { String::new() } else { sentence(next) },
            )
        }
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}

/// What a person reads who has typed another passphrase.
pub fn wrong_passphrase(profile: &str) -> Problem {
    Problem::new(
        Kind::Local,
        format!("That is not the passphrase of the profile '{profile}'."),
        "",
        "Try again. Without the passphrase nobody can open it; a new account needs a new profile (--profile NAME).",
    )
}

/// A wait that shows itself at once: unlocking takes its time by design.
pub fn unlocking(terminal: &Terminal) -> Wait<'_> {
    let mut wait = terminal.wait("Unlocking the profile");
    if terminal.is_terminal() {
        wait.show();
    }
    wait
}
