//! The row of history: everything that was said before goes to a new device, over real, synced databases and a relay in this process.

use std::io;
use std::time::{Duration, Instant};

use super::Settings;
use super::engine::{file, meet, say};
use super::person::{Person, Town};
use super::report::{Report, Row};

/// A transfer of 100,000 messages.
pub fn history(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let (groups, each) = if settings.quick { (4, 100) } else { (100, 1_000) };
    let dir = settings.fresh("history")?;
    let mut town = Town::new()?;
    let mut alice = town.person("alice", 1, file(&dir.join("alice"))?)?;
    let mut bob = town.person("bob", 2, file(&dir.join("bob"))?)?;
    meet(&mut town, &mut alice, &mut bob, groups)?;
    let until = Instant::now() + Duration::from_secs(240);
    let mut said = 0_u64;
    'all: for group in 0..groups {
        for _ in 0..each {
            if Instant::now() > until {
                report.note(&format!("only {said} messages: saying more took too long"));
                break 'all;
            }
            alice.command(town.now, say(group))?;
            alice.carry_out(&mut town)?;
            said += 1;
        }
        alice.hear(&mut town, None)?;
    }
    drop(bob);
    let mut phone = Person::open(file(&dir.join("phone"))?, 3, town.now)?;
    phone.command(town.now, api::Command::BeginLink { relay: "localhost".into() })?;
    town.settle(&mut [&mut alice, &mut phone])?;
    let code = phone.code.clone().ok_or_else(|| io::Error::other("the new device shows no code"))?;
    alice.command(town.now, api::Command::InspectLink { code: code.clone() })?;
    town.settle(&mut [&mut alice, &mut phone])?;
    let begun = Instant::now();
    alice.command(town.now, api::Command::ConfirmLink { code, no_history: false })?;
    for _ in 0..100 {
        town.settle(&mut [&mut alice, &mut phone])?;
        if transfer(&phone).is_some_and(|transfer| transfer.state != api::HistoryState::UnderWay) {
            break;
        }
        town.now = town.now.plus(15_000);
    }
    let took = begun.elapsed().as_secs_f64();
    let transfer = transfer(&phone).ok_or_else(|| io::Error::other("no history has come"))?;
    let name = format!("history: {said} messages to a new device");
    let row = Row::new(&name, said as f64 / took, "messages/s");
    let size = std::fs::metadata(dir.join("phone").join("transom.db")).map_or(0, |meta| meta.len());
    report.row(&row.more("seconds, the link included", took).more("MiB", size as f64 / f64::from(1 << 20)))?;
    if transfer.state != api::HistoryState::Complete || transfer.messages < said {
        report.failed("history", &format!("{said} were said and {} have come", transfer.messages))?;
    }
    Ok(())
}

fn transfer(person: &Person) -> Option<api::HistoryTransfer> {
    match person.engine.view(&api::Query::History) {
        Ok(api::View::History(transfers)) => transfers.into_iter().next(),
        _ => None,
    }
}
