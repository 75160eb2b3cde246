//! The commands: each asks the client, waits, and prints.

mod account;
mod arrangements;
mod backup;
mod content;
mod groups;
mod history;
mod invite_links;
mod messages;
mod people;
mod pictures;
mod scheduled;
mod who;

use std::io::Write;

use api::{Kind, Problem};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::{Args, Command, Contacts, Devices, Passphrase, Scheduled};
use crate::profile::{self, Profile};
use crate::session::Session;
use crate::terminal::Terminal;

/// Carries out a command that needs the profile's database.
pub fn run(args: &Args, terminal: &Terminal) -> Result<(), Problem> {
    // Refused before anything is opened or asked of a relay.
    if let Command::Register { address, .. } = &args.command {
        account::check_address(address)?;
    }
    let mut session = Session::open(args, terminal)?;
    loop {
        let done = carry_out(args, &mut session);
        if !session.is_locked() || !terminal.can_ask() {
            return done;
        }
        // Closed before the passphrase is asked for.
        drop(session);
        session = Session::unlock(args, terminal)?;
    }
}

fn carry_out(args: &Args, session: &mut Session<'_>) -> Result<(), Problem> {
    let done = match &args.command {
        Command::Register { address, invite } => account::register(session, address, invite),
        Command::Whoami => account::whoami(session),
        Command::Send { conversation, text, reply_to, preview, stays, view_once, at } => {
            let reply_to = reply_to.as_deref();
            let beside = messages::Beside { reply_to, preview, stays: *stays, once: *view_once, at: at.as_deref() };
            messages::send(session, conversation, text, &beside)
        }
        Command::Typing { what, stop } => people::typing(session, what.as_deref(), *stop),
        Command::Presence { choice } => people::presence(session, *choice),
        Command::Scheduled { change: None } => scheduled::list(session),
        Command::Scheduled { change: Some(Scheduled::Cancel { id }) } => scheduled::cancel(session, id),
        Command::Open { conversation, message } => content::open(session, conversation, message),
        Command::React { conversation, message, emoji, remove } => {
            content::react(session, conversation, message, emoji, *remove)
        }
        Command::Edit { conversation, message, text } => content::edit(session, conversation, message, text),
        Command::History { conversation, message } => content::history(session, conversation, message),
        Command::Delete { conversation, message, for_everyone } => {
            content::delete(session, conversation, message, *for_everyone)
        }
        Command::Forward { conversation, message, to } => content::forward(session, conversation, message, to),
        Command::Pin { conversation, message } => content::pin(session, conversation, message, true),
        Command::Unpin { conversation, message } => content::pin(session, conversation, message, false),
        Command::Pins { conversation } => content::pins(session, conversation),
        Command::Poll(poll) => content::poll(session, poll),
        Command::Contact { conversation, who, name } => content::contact(session, conversation, who, name),
        Command::Location { conversation, latitude, longitude, accuracy, label } => {
            let (latitude_e7, longitude_e7, accuracy) = (*latitude, *longitude, *accuracy);
            let location = api::Location { latitude_e7, longitude_e7, accuracy, label: label.clone() };
            content::location(session, conversation, location)
        }
        Command::Contacts { change: None } => people::contacts(session),
        Command::Contacts { change: Some(Contacts::Name { address, name }) } => {
            people::name(session, address, name.as_deref().unwrap_or_default())
        }
        Command::Receipts { choice } => people::receipts(session, *choice),
        Command::Receive => messages::receive(session),
        Command::Watch => messages::watch(session),
        Command::List { archived } => messages::list(session, *archived),
        Command::Timer { conversation, length } => arrangements::timer(session, conversation, *length),
        Command::Mute { conversation, length } => arrangements::mute(session, conversation, *length),
        Command::Unmute { conversation } => arrangements::unmute(session, conversation),
        Command::Archive { conversation } => arrangements::archive(session, conversation, true),
        Command::Unarchive { conversation } => arrangements::archive(session, conversation, false),
        Command::Top { conversation } => arrangements::top(session, conversation, true),
        Command::Untop { conversation } => arrangements::top(session, conversation, false),
        Command::Unread { conversation } => arrangements::unread(session, conversation),
        Command::Draft { conversation, text, clear } => arrangements::draft(session, conversation, text, *clear),
        Command::Show { conversation, limit, ids } => messages::show(session, conversation, *limit, *ids),
        Command::Search { words, limit } => messages::search(session, &words.join(" "), *limit),
        Command::Group(group) => groups::group(session, group),
        Command::Requests => groups::requests(session),
        Command::Accept { conversation } => groups::accept(session, conversation),
        Command::Decline { conversation } => groups::decline(session, conversation),
        Command::Block { address } => people::block(session, address, true),
        Command::Unblock { address } => people::block(session, address, false),
        Command::Backup(backup) => backup::backup(session, backup),
        Command::Restore { file, relay, yes, keep_devices } => {
            let from = match (file, relay) {
                (_, Some(address)) => backup::From::Relay(address),
                (file, None) => backup::From::File(file.as_deref().unwrap_or(std::path::Path::new(""))),
            };
            backup::restore(session, &from, *yes, *keep_devices)
        }
        Command::Devices(Devices::List) => account::devices(session),
        Command::Devices(Devices::Link { new: Some(relay), name, .. }) => {
            account::begin_link(session, relay, name.as_deref())
        }
        Command::Devices(Devices::Name { device, name }) => {
            account::name_device(session, device, name.as_deref().unwrap_or_default())
        }
        Command::Devices(Devices::Link { code, yes, no_history, .. }) => {
            account::confirm_link(session, code.as_deref().unwrap_or_default(), *yes, *no_history)
        }
        Command::Devices(Devices::History { send: None }) => history::list(session),
        Command::Devices(Devices::History { send: Some(device) }) => history::send(session, device),
        Command::Devices(Devices::Revoke { device, yes }) => account::revoke(session, device, *yes),
        Command::Devices(Devices::Certify { device, yes }) => account::certify(session, device, *yes),
        Command::Who { conversation } => who::who(session, conversation),
        Command::Verify { address, confirm, accept_new } => account::verify(session, address, *confirm, *accept_new),
        // Handled before: they need no session.
        Command::Passphrase { .. } | Command::Completions { .. } => Ok(()),
    };
    if done.is_ok() && has_consequences(&args.command) {
        session.settle();
    }
    done
}

/// True if others are to hear of it, or of what it fetched, beyond what it waits for itself.
fn has_consequences(command: &Command) -> bool {
    matches!(
        command,
        Command::Register { .. }
            | Command::Receive
            | Command::Group(_)
            | Command::Accept { .. }
            | Command::Decline { .. }
            | Command::Devices(
                Devices::Link { .. } | Devices::Name { .. } | Devices::History { .. } | Devices::Revoke { .. }
            )
    )
}

/// Sets, changes or removes the passphrase of a profile.
pub fn passphrase(args: &Args, terminal: &Terminal, change: Passphrase) -> Result<(), Problem> {
    if change == Passphrase::Lock {
        return lock(args, terminal);
    }
    profile::check_passphrase(args, change)?;
    let profile = Profile::open(args, terminal)?;
    let old = match (change, profile::given_passphrase(args)?) {
        (Passphrase::Set, old) => old,
        (_, Some(old)) => Some(old),
        (_, None) => Some(profile::ask(&format!("Passphrase of the profile '{}': ", profile.name))?),
    };
    let new = match change {
        Passphrase::Set | Passphrase::Change => Some(profile::new_passphrase()?),
        _ => None,
    };
    let wait = profile::unlocking(terminal);
    let changed = client::set_passphrase(&profile.directory, old.as_ref(), new.as_ref());
    drop(wait);
    changed.map_err(|error| profile::open_problem(&error, &profile.name))?;
    if terminal.json {
        terminal.event(api::Event::Done { command: 0, conversation: None, message: None });
        return Ok(());
    }
    let text = match change {
        Passphrase::Set => "is protected by its passphrase now. Without it nobody can open the profile, you included.",
        Passphrase::Change => "has its new passphrase.",
        _ => "is kept without a passphrase now.",
    };
    terminal.line(format!("The profile '{}' {text}", profile.name));
    Ok(())
}

fn lock(args: &Args, terminal: &Terminal) -> Result<(), Problem> {
    let holder = profile::lock(args)?;
    if terminal.json {
        terminal.event(api::Event::Done { command: 0, conversation: None, message: None });
        return Ok(());
    }
    match holder {
        Some(holder) => terminal.line(format!("Locked: {holder} has closed the profile '{}'.", args.profile)),
        None => terminal.line(format!("The profile '{}' is locked: no program has it open.", args.profile)),
    }
    Ok(())
}

/// Prints a completion script.
pub fn completions(_: &Terminal, shell: Shell) -> Result<(), Problem> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "transom", &mut script);
    std::io::stdout()
        .write_all(&script)
        .map_err(|error| Problem::new(Kind::Local, "The script could not be printed.", format!("{error}."), ""))
}
