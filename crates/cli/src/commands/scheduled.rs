//! Messages that are sent later.

use std::time::Duration;

use api::{Command, Event, Kind, Problem, Query, Scheduled, View};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::AmbiguousOffset;
use jiff::{ToSpan, Zoned};

use super::account::done;
use super::messages::millis;
use crate::args::length;
use crate::lines::short_id;
use crate::names::unexpected;
use crate::session::Session;
use crate::terminal::{Paint, clean};

/// Nothing but the database has to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps a message for later; says what that takes.
pub fn schedule(session: &mut Session<'_>, command: Command) -> Result<(), Problem> {
    let own = session.account()?;
    let mut kept: Option<Scheduled> = None;
    session.run_with("Keeping the message", command, PATIENCE, |event| {
        if let Event::Scheduled { scheduled } = event {
            kept = Some((**scheduled).clone());
        }
    })?;
    let terminal = session.terminal;
    let Some(kept) = kept else { return Ok(()) };
    if terminal.json {
        terminal.object(&kept);
        return Ok(());
    }
    let lines = session.lines(&own.address);
    let (to, time) = (title(session, &kept), lines.time(kept.at));
    let scheduled = terminal.paint(Paint::Good, "Scheduled");
    terminal.line(format!("{scheduled} for {time} to {to} ({}).", short_id(&kept.id)));
    terminal.line("It is sent by this device only, while transom runs (transom watch), or late, when it runs again.");
    Ok(())
}

pub fn list(session: &mut Session<'_>) -> Result<(), Problem> {
    let own = session.account()?;
    let waiting = waiting(session, Query::Scheduled { conversation: None })?;
    let terminal = session.terminal;
    if terminal.json {
        waiting.iter().for_each(|message| terminal.object(message));
    } else if waiting.is_empty() {
        terminal.line("Nothing waits to be sent. To send something later: transom send --at WHEN");
    } else {
        let lines = session.lines(&own.address);
        waiting.iter().for_each(|message| lines.scheduled(message, Some(&title(session, message))));
    }
    Ok(())
}

pub fn cancel(session: &mut Session<'_>, id: &str) -> Result<(), Problem> {
    session.account()?;
    session.run("Taking the message back", Command::Unschedule { scheduled: id.to_owned() })?;
    done(session, "It will not be sent.");
    Ok(())
}

/// What is to be sent later, as far as it was asked for.
pub fn waiting(session: &Session<'_>, query: Query) -> Result<Vec<Scheduled>, Problem> {
    match session.query(query)? {
        View::Scheduled(waiting) => Ok(waiting),
        other => Err(unexpected(&other)),
    }
}

/// Where it goes.
fn title(session: &Session<'_>, message: &Scheduled) -> String {
    let own = session.account().map(|own| own.address).unwrap_or_default();
    let lines = session.lines(&own);
    let known = message.conversation.clone().map(|conversation| session.query(Query::Conversation { conversation }));
    match known {
        Some(Ok(View::Conversation(conversation))) => lines.title(&conversation),
        _ => lines.name(&message.to),
    }
}

/// A time as a person writes it, in milliseconds since 1970.
pub fn time(text: &str) -> Result<u64, Problem> {
    let now = Zoned::now();
    let time = read(text, &now)?;
    if time <= now {
        let clock = time.strftime("%-H:%M");
        let next = if time.date() == now.date() {
            format!("Write \"tomorrow {clock}\" if you mean that.")
        } else {
            "Name a time that is still to come.".to_owned()
        };
        return Err(Problem::new(Kind::Usage, format!("'{}' has passed.", clean(text)), "", next));
    }
    // Behind 1970, since it is still to come.
    Ok(u64::try_from(time.timestamp().as_millisecond()).unwrap_or_default())
}

fn read(text: &str, now: &Zoned) -> Result<Zoned, Problem> {
    let unreadable = || {
        Problem::new(
            Kind::Usage,
            format!("'{}' is not a time that can be read.", clean(text)),
            "",
            "Write it like 18:30, \"tomorrow 9:00\", \"2026-12-01 9:00\" or \"in 2h\".",
        )
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let (day, clock) = match words.as_slice() {
        ["in", span] => {
            let span = i64::try_from(millis(length(span).map_err(|_| unreadable())?)).map_err(|_| unreadable())?;
            return now.checked_add(span.milliseconds()).map_err(|_| unreadable());
        }
        [clock] | ["today", clock] => (now.date(), clock),
        ["tomorrow", clock] => (now.date().tomorrow().map_err(|_| unreadable())?, clock),
        [day, clock] => (Date::strptime("%Y-%m-%d", day).map_err(|_| unreadable())?, clock),
        _ => return Err(unreadable()),
    };
    let clock = Time::strptime("%H:%M", clock).map_err(|_| unreadable())?;
    let local = now.time_zone().to_ambiguous_zoned(DateTime::from_parts(day, clock));
    if let AmbiguousOffset::Gap { .. } = local.offset() {
        let (what, why) = (format!("'{}' does not exist.", clean(text)), "Clocks are put forward over it on that day.");
        return Err(Problem::new(Kind::Usage, what, why, "Take a time an hour earlier or later."));
    }
    // Where clocks are put back the first of both.
    local.compatible().map_err(|_| unreadable())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Zoned = "2026-03-28T17:05:09[Europe/Vienna]".parse().unwrap();
        let at = |text: &str| read(text, &now).map(|time| time.to_string()).map_err(|problem| problem.what);
        assert_eq!(at("18:30").unwrap(), "2026-03-28T18:30:00+01:00[Europe/Vienna]");
        assert_eq!(at("today 7:00").unwrap(), "2026-03-28T07:00:00+01:00[Europe/Vienna]");
        // Clocks are put forward in that night.
        assert_eq!(at("tomorrow 9:00").unwrap(), "2026-03-29T09:00:00+02:00[Europe/Vienna]");
        assert_eq!(at("in 24h").unwrap(), "2026-03-29T18:05:09+02:00[Europe/Vienna]");
        assert_eq!(at("2026-12-01  9:05").unwrap(), "2026-12-01T09:05:00+01:00[Europe/Vienna]");
        assert_eq!(at("tomorrow 2:30").unwrap_err(), "'tomorrow 2:30' does not exist.");
        assert_eq!(at("2026-10-25 2:30").unwrap(), "2026-10-25T02:30:00+02:00[Europe/Vienna]");
        for text in
            ["", "soon", "25:00", "9", "in", "in 2", "in -1h", "2026-13-01 9:00", "tomorrow", "1 2 3", "9:00 tomorrow"]
        {
            assert_eq!(at(text).unwrap_err(), format!("'{text}' is not a time that can be read."));
        }
    }
}
