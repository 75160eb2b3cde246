//! What was said before, on its way between devices of the account.

use api::{Command, HistoryState, HistoryTransfer, Problem};

use super::account::done;
use crate::lines::{Lines, short_id};
use crate::session::Session;
use crate::terminal::Paint;

/// `devices history`.
pub fn list(session: &mut Session<'_>) -> Result<(), Problem> {
    let account = session.account()?;
    session.freshen();
    let terminal = session.terminal;
    let transfers = session.transfers()?;
    if terminal.json {
        transfers.iter().for_each(|transfer| terminal.object(transfer));
        return Ok(());
    }
    let lines = Lines::new(terminal, &account.address, Default::default());
    for transfer in &transfers {
        let device = terminal.paint(Paint::Strong, short_id(&transfer.device));
        let way = if transfer.sending { format!("to {device}") } else { format!("from {device}") };
        terminal.line(format!("{way}  {}", state(transfer, &lines)));
    }
    if transfers.is_empty() {
        terminal.line("Nothing has come from another device of yours, and nothing was sent to one.");
        terminal.line(format!(
            "To have what was said before here, type on another device: transom devices history --send {}",
            short_id(&account.device)
        ));
    }
    Ok(())
}

fn state(transfer: &HistoryTransfer, lines: &Lines<'_>) -> String {
    match transfer.state {
        HistoryState::Complete => format!("{} · complete {}", messages(transfer.messages), lines.time(transfer.moved)),
        HistoryState::GivenUp => format!("{} · given up {}", messages(transfer.messages), lines.time(transfer.moved)),
        HistoryState::UnderWay if transfer.waiting => {
            format!("{} · the rest follows once the device is in all conversations", messages(transfer.messages))
        }
        HistoryState::UnderWay => {
            format!("{} of {} · goes on by itself", transfer.messages, messages(transfer.total))
        }
    }
}

fn messages(number: u64) -> String {
    match number {
        1 => "1 message".into(),
        n => format!("{n} messages"),
    }
}

/// `devices history --send DEVICE`.
pub fn send(session: &mut Session<'_>, device: &str) -> Result<(), Problem> {
    session.account()?;
    session.freshen();
    session.run("Sending what was said before", Command::SendHistory { device: device.to_lowercase() })?;
    let sent = session.transfers()?.into_iter().find(|transfer| transfer.sending);
    done(session, &format!("Sent: {}. The device takes it in by itself.", messages(sent.map_or(0, |t| t.messages))));
    Ok(())
}

/// After a link, on the device that has let the other in.
pub fn go(session: &mut Session<'_>) -> Result<(), Problem> {
    let Some(transfer) = session.history(true)? else { return Ok(()) };
    if !session.terminal.json {
        session.terminal.line(match transfer.state {
            HistoryState::GivenUp => "What was said before could not be sent: transom devices history".into(),
            _ => format!("What was said before was sent: {}.", messages(transfer.messages)),
        });
    }
    Ok(())
}

/// After a link, on the new device.
pub fn come(session: &mut Session<'_>) -> Result<(), Problem> {
    let Some(transfer) = session.history(false)? else { return Ok(()) };
    if !session.terminal.json {
        session.terminal.line(match transfer.state {
            HistoryState::GivenUp => "What was said before has not come to its end: transom devices history".into(),
            _ => format!("What was said before is here: {}.", messages(transfer.messages)),
        });
    }
    Ok(())
}
