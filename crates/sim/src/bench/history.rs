//! The rows of history and backup: everything that was said before goes to a new device, to a backup at the relay, and from there to a device
//! that has nothing but the recovery key; over real, synced databases and a relay in this process.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Settings;
use super::engine::{file, meet, say};
use super::person::{Person, Town};
use super::report::{Report, Row};

/// Rounds of some seconds each in which what was begun must be through.
const ROUNDS: usize = 400;

/// A transfer of 100,000 messages, a backup of them, and a restore.
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
        alice.hear(&mut town)?;
        bob.hear(&mut town)?;
        bob.carry_out(&mut town)?;
    }
    town.settle(&mut [&mut alice, &mut bob])?;
    bob.leave(&town)?;
    let mut phone = link(report, &mut town, &mut alice, &dir, said)?;
    phone.leave(&town)?;
    let key = back_up(report, &mut town, &mut alice, said)?;
    alice.leave(&town)?;
    restore(report, &mut town, &mut bob, &dir, (key, said, groups))
}

/// Until it is so, or for long enough.
fn until(town: &mut Town, people: &mut [&mut Person], is_so: impl Fn(&[&mut Person]) -> bool) -> io::Result<()> {
    for _ in 0..ROUNDS {
        if is_so(people) {
            return Ok(());
        }
        town.settle(people)?;
        town.now = town.now.plus(15_000);
    }
    let failures = people.iter().flat_map(|person| person.failures.clone()).collect::<Vec<_>>().join("; ");
    Err(io::Error::other(format!("it does not come to an end: {failures}")))
}

/// Of a database, what is not in its main file yet included.
fn mebibytes(path: &Path) -> f64 {
    let bytes = |name: &str| std::fs::metadata(path.join(name)).map_or(0, |meta| meta.len());
    (bytes("transom.db") + bytes("transom.db-wal")) as f64 / f64::from(1 << 20)
}

fn link(report: &mut Report, town: &mut Town, alice: &mut Person, dir: &Path, said: u64) -> io::Result<Person> {
    let mut phone = Person::open(file(&dir.join("phone"))?, 3, town.now)?;
    phone.command(town.now, api::Command::BeginLink { relay: "localhost".into() })?;
    town.settle(&mut [&mut *alice, &mut phone])?;
    let code = phone.code.clone().ok_or_else(|| io::Error::other("the new device shows no code"))?;
    alice.command(town.now, api::Command::InspectLink { code: code.clone() })?;
    town.settle(&mut [&mut *alice, &mut phone])?;
    let (begun, sending, taking) = (Instant::now(), alice.cost, phone.cost);
    alice.command(town.now, api::Command::ConfirmLink { code, no_history: false })?;
    until(town, &mut [alice, &mut phone], |people| {
        transfer(people[1]).is_some_and(|transfer| transfer.state != api::HistoryState::UnderWay)
    })?;
    let took = begun.elapsed().as_secs_f64();
    let row = Row::new("history to a new device", said as f64 / took, "messages/s");
    let row = row.more("messages", said as f64).more("seconds, the link included", took);
    let row = row.more("CPU s sending", alice.cost.since(sending).cpu.as_secs_f64());
    let row = row.more("CPU s taking", phone.cost.since(taking).cpu.as_secs_f64());
    report.row(&row.more("MiB of database", mebibytes(&dir.join("phone"))))?;
    match transfer(&phone) {
        Some(done) if done.state == api::HistoryState::Complete && done.messages >= said => {}
        other => report.failed("history", &format!("{said} were said; {other:?}"))?,
    }
    Ok(phone)
}

fn transfer(person: &Person) -> Option<api::HistoryTransfer> {
    match person.engine.view(&api::Query::History) {
        Ok(api::View::History(transfers)) => transfers.into_iter().next(),
        _ => None,
    }
}

/// What a person knows of the backup of this device.
fn backup(person: &Person) -> Option<api::RelayBackup> {
    match person.engine.view(&api::Query::Backup) {
        Ok(api::View::Backup(backup)) => backup.relay,
        _ => None,
    }
}

/// The recovery key.
fn back_up(report: &mut Report, town: &mut Town, alice: &mut Person, said: u64) -> io::Result<String> {
    alice.command(town.now, api::Command::MakeRecoveryKey)?;
    town.settle(&mut [&mut *alice])?;
    let key = alice.recovery_key.clone().ok_or_else(|| io::Error::other("no recovery key was shown"))?;
    let last = key.rsplit('-').next().unwrap_or_default().to_owned();
    alice.command(town.now, api::Command::KeepRecoveryKey { last })?;
    let (begun, cost) = (Instant::now(), alice.cost);
    alice.command(town.now, api::Command::BackUpToRelay)?;
    until(town, &mut [alice], |people| backup(people[0]).is_some_and(|backup| backup.made.is_some()))?;
    let took = begun.elapsed().as_secs_f64();
    let row = Row::new("backup to the relay", said as f64 / took, "messages/s").more("seconds", took);
    let row = row.more("CPU s", alice.cost.since(cost).cpu.as_secs_f64());
    let bytes = backup(alice).map_or(0, |backup| backup.bytes);
    report.row(&row.more("MiB at the relay", bytes as f64 / f64::from(1 << 20)))?;
    Ok(key)
}

fn restore(
    report: &mut Report,
    town: &mut Town,
    bob: &mut Person,
    dir: &Path,
    (key, said, groups): (String, u64, u64),
) -> io::Result<()> {
    let mut again = Person::open(file(&dir.join("again"))?, 4, town.now)?;
    let begun = Instant::now();
    let address = Some("alice@localhost".to_owned());
    again.command(town.now, api::Command::RestoreFromRelay { key, address, confirm: true, keep_devices: false })?;
    until(town, &mut [&mut again], |people| people[0].restored.is_some())?;
    let (took, cost) = (begun.elapsed().as_secs_f64(), again.cost);
    let is_back = |person: &Person| match person.engine.view(&api::Query::Conversations) {
        Ok(api::View::Conversations(all)) => {
            let back =
                all.iter().filter(|c| c.standing == api::Standing::Active && !c.waiting && c.name.starts_with("group"));
            back.count() as u64 == groups
        }
        _ => false,
    };
    until(town, &mut [&mut again, bob], |people| is_back(people[0]))?;
    let row = Row::new("restore from the relay", said as f64 / took, "messages/s").more("seconds", took);
    let row = row.more("CPU s", cost.cpu.as_secs_f64());
    let row = row.more("seconds, until in all conversations", begun.elapsed().as_secs_f64());
    report.row(&row.more("MiB of database", mebibytes(&dir.join("again"))))?;
    match again.restored {
        Some(messages) if messages >= said => Ok(()),
        other => report.failed("restore", &format!("{said} were said; {other:?} came back")),
    }
}
