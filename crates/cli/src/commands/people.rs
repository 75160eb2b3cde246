//! People and what they are told: names of contacts, blocks, receipts.

use api::{Command, Problem, Query, View};

use super::account::done;
use crate::args::Choice;
use crate::lines;
use crate::names::unexpected;
use crate::session::Session;
use crate::terminal::{Paint, clean, isolate, pad};

/// Lists those whom one is in touch with, has named or has blocked.
pub fn contacts(session: &Session<'_>) -> Result<(), Problem> {
    let own = session.account()?;
    let (people, terminal) = (session.contacts()?, session.terminal);
    if terminal.json {
        people.iter().for_each(|person| terminal.object(person));
        return Ok(());
    }
    if people.is_empty() {
        terminal.line("Nobody yet. Write to somebody: transom send NAME@RELAY \"hello\"");
        return Ok(());
    }
    let look = session.lines(&own.address);
    let width = people.iter().map(|person| look.address(&person.address).chars().count()).max().unwrap_or(0);
    for person in &people {
        let (meaning, sure) = lines::sure(person.confirmation);
        let mut what = vec![terminal.paint(meaning, sure)];
        if !person.name.is_empty() {
            what.insert(0, format!("“{}”", isolate(&clean(&person.name))));
        }
        if person.blocked {
            what.push(terminal.paint(Paint::Bad, "blocked"));
        }
        terminal.line(format!("{}  {}", pad(&look.address(&person.address), width), what.join(", ")));
    }
    Ok(())
}

/// Calls somebody something.
pub fn name(session: &mut Session<'_>, address: &str, name: &str) -> Result<(), Problem> {
    let own = session.account()?;
    let address = session.address(address)?;
    session.run("Naming", Command::NameContact { address: address.clone(), name: name.to_owned() })?;
    let look = session.lines(&own.address);
    let (short, called) = (look.address(&address), look.name(&address));
    let text = if name.trim().is_empty() {
        format!("{short} has no other name here any more.")
    } else {
        format!("{short} is “{called}” here; nobody else sees that.")
    };
    done(session, &text);
    Ok(())
}

/// Chooses whether others see what was read, or shows it.
pub fn receipts(session: &mut Session<'_>, choice: Option<Choice>) -> Result<(), Problem> {
    session.account()?;
    if let Some(choice) = choice {
        session.run("Choosing", Command::ReadReceipts { on: matches!(choice, Choice::On) })?;
    }
    let settings = match session.query(Query::Settings)? {
        View::Settings(settings) => settings,
        other => return Err(unexpected(&other)),
    };
    let terminal = session.terminal;
    match (terminal.json, settings.read_receipts) {
        (true, _) => terminal.object(&settings),
        (_, true) => terminal.line("Receipts are on: others see what you have read, and you what they have."),
        (_, false) => terminal.line(
            "Receipts are off: nobody sees what you have read, and you don't what they have. That messages arrive is still told.",
        ),
    }
    Ok(())
}

/// Tells that the person is writing, chooses whether that is told, or shows what is chosen.
pub fn typing(session: &mut Session<'_>, what: Option<&str>, stop: bool) -> Result<(), Problem> {
    session.account()?;
    match what {
        None => {}
        Some(choice @ ("on" | "off")) => {
            session.run("Choosing", Command::TellTyping { on: choice == "on" })?;
        }
        Some(conversation) => {
            session.catch_up(|_| ())?;
            let conversation = conversation.to_owned();
            session.run("Telling the others", Command::Typing { conversation, typing: !stop })?;
            done(session, if stop { "Told that you have stopped." } else { "Told that you are writing." });
            return Ok(());
        }
    }
    let settings = match session.query(Query::Settings)? {
        View::Settings(settings) => settings,
        other => return Err(unexpected(&other)),
    };
    let terminal = session.terminal;
    match (terminal.json, settings.typing) {
        (true, _) => terminal.object(&settings),
        (_, true) => terminal.line("It is told who is writing: others see when you are, and you when they are."),
        (_, false) => {
            terminal.line("It is not told who is writing: nobody sees when you are, and you don't when they are.")
        }
    }
    Ok(())
}

/// Chooses whether it is told who is there, or shows it.
pub fn presence(session: &mut Session<'_>, choice: Option<Choice>) -> Result<(), Problem> {
    session.account()?;
    if let Some(choice) = choice {
        session.run("Choosing", Command::TellPresence { on: matches!(choice, Choice::On) })?;
    }
    let settings = match session.query(Query::Settings)? {
        View::Settings(settings) => settings,
        other => return Err(unexpected(&other)),
    };
    let terminal = session.terminal;
    match (terminal.json, settings.presence) {
        (true, _) => terminal.object(&settings),
        (_, true) => terminal.line(
            "It is told who is there: others see while you watch (transom watch) and when you last did, and you when they do.",
        ),
        (_, false) => terminal.line("It is not told who is there: nobody sees when you are, and you don't when they are."),
    }
    Ok(())
}

/// Blocks somebody, or takes that back.
pub fn block(session: &mut Session<'_>, address: &str, blocked: bool) -> Result<(), Problem> {
    let own = session.account()?;
    session.freshen();
    let address = session.address(address)?;
    let name = session.lines(&own.address).name(&address);
    if blocked {
        session.run("Blocking", Command::Block { address })?;
        done(session, &format!("Blocked {name}. You hear nothing more from that account; it is not told."));
    } else {
        session.run("Unblocking", Command::Unblock { address })?;
        done(session, &format!("Unblocked {name}."));
    }
    Ok(())
}
