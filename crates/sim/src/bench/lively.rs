//! The rows of a long absence and of a lively group, over a relay in this process: what engines take, without sockets.

use std::io;

use engine::{Database, MemoryHandle};

use super::Settings;
use super::engine::{file, meet, received, say};
use super::groups::catch_up_alone;
use super::person::{Cost, Person, Town};
use super::report::{Report, Row};

/// Of the conversation that is written in.
const GROUP: u64 = 0;
/// Six commits in a minute are not paced (protocol rule 11), whatever went before: this relay draws among paced ones only when its clock is
/// moved, for which nobody waits here.
const BETWEEN_COMMITS_MS: u64 = 61_000;

/// Somebody who was away comes back to 10,000 messages in 200 epochs, beside OpenMLS alone reading as many.
pub fn catching_up(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let (epochs, each): (u64, u64) = if settings.quick { (10, 20) } else { (200, 50) };
    let (bare, _) = catch_up_alone(epochs, each, relay::http::unix_now())?;
    let dir = settings.fresh("catching-up")?;
    let _disk = MemoryHandle::new("bench-alice").map_err(io::Error::other)?;
    let mut town = Town::new()?;
    let mut alice = town.person("alice", 1, Database::Memory { name: "bench-alice".into() })?;
    let mut bob = town.person("bob", 2, file(&dir.join("bob"))?)?;
    meet(&mut town, &mut alice, &mut bob, 1)?;
    let before = received(&bob, GROUP)?;
    bob.leave(&town)?;
    for epoch in 0..epochs {
        let text = format!("as of epoch {epoch}");
        alice.command(town.now, api::Command::Describe { conversation: format!("group {GROUP}"), text })?;
        town.run(town.now.plus(BETWEEN_COMMITS_MS), &mut [&mut alice])?;
        town.now = town.now.plus(BETWEEN_COMMITS_MS);
        for _ in 0..each {
            alice.command(town.now, say(GROUP))?;
            alice.carry_out(&mut town)?;
        }
        alice.hear(&mut town)?;
    }
    let (messages, begun) = (epochs * each, bob.cost);
    town.settle(&mut [&mut bob])?;
    let cost = bob.cost.since(begun);
    let got = received(&bob, GROUP)? - before;
    let bare = messages as f64 / bare.as_secs_f64();
    let name = format!("catching up: {messages} messages, {epochs} epochs");
    let row = Row::new(&name, messages as f64 / cost.wall.as_secs_f64(), "/s").against("OpenMLS alone", bare);
    let row = row.more("seconds", cost.wall.as_secs_f64()).more("CPU s", cost.cpu.as_secs_f64());
    report.row(&row.more("requests", cost.requests as f64))?;
    // Each change of the description is a line of its own.
    if got != messages + epochs {
        report.failed("catching up", &format!("{messages} messages and {epochs} changes are {got} lines"))?;
    }
    Ok(())
}

/// What a message costs all members together while everybody reads along, a message each second. Groups of up to 32 accounts send receipts,
/// larger ones don't: the difference is what they cost.
pub fn receipts(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let said: u64 = if settings.quick { 10 } else { 120 };
    let without = lively(33, said)?;
    let with = lively(32, said)?;
    for (what, cost, accounts, bare) in [
        ("a message in a lively group of 33, no receipts", without, 33.0, None),
        ("a message in one of 32, with receipts", with, 32.0, Some(without)),
    ] {
        let each = |cost: Cost| cost.cpu.as_secs_f64() * 1000.0 / said as f64 / accounts;
        let mut row = Row::new(what, each(cost), "CPU ms/device");
        if let Some(bare) = bare {
            row = row.against("without receipts", each(bare));
        }
        let row = row.more("requests", cost.requests as f64 / said as f64);
        report.row(&row.more("KiB a device", cost.heard as f64 / 1024.0 / said as f64 / accounts))?;
    }
    Ok(())
}

/// A group of `accounts`, each of which reads each message as it comes, after it has come to rest.
fn lively(accounts: u8, said: u64) -> io::Result<Cost> {
    let mut town = Town::new()?;
    let mut disks = Vec::new();
    let mut people: Vec<Person> = Vec::new();
    for number in 0..accounts {
        let name = format!("bench-{accounts}-{number}");
        disks.push(MemoryHandle::new(&name).map_err(io::Error::other)?);
        people.push(town.person(&format!("user{number}"), number + 1, Database::Memory { name })?);
    }
    let members = (1..accounts).map(|number| format!("user{number}@localhost")).collect();
    people[0].command(town.now, api::Command::CreateGroup { name: format!("group {GROUP}"), members })?;
    town.settle(&mut all(&mut people))?;
    for person in &mut people {
        if let Ok(api::View::Invitations(invitations)) = person.engine.view(&api::Query::Invitations) {
            for invitation in invitations {
                person.command(town.now, api::Command::Accept { conversation: invitation.conversation })?;
            }
        }
    }
    town.settle(&mut all(&mut people))?;
    let before = total(&people);
    for number in 0..said {
        let writer = number as usize % people.len();
        people[writer].command(town.now, say(GROUP))?;
        let next = town.now.plus(1_000);
        town.run(town.now, &mut all(&mut people))?;
        for person in &mut people {
            let conversation = format!("group {GROUP}");
            let query = api::Query::Messages { conversation: conversation.clone(), before: None, limit: 1 };
            let Ok(api::View::Messages(last)) = person.engine.view(&query) else { continue };
            let Some(last) = last.into_iter().next().filter(|last| !last.own) else { continue };
            person.command(town.now, api::Command::MarkRead { conversation, message: last.id })?;
        }
        town.run(next, &mut all(&mut people))?;
        town.now = next;
    }
    town.settle(&mut all(&mut people))?;
    let missing = people.iter().map(|person| received(person, GROUP)).collect::<io::Result<Vec<u64>>>()?;
    match people.iter().flat_map(|person| &person.failures).next() {
        Some(failure) => Err(io::Error::other(failure.clone())),
        None if missing.iter().any(|lines| *lines < said) => {
            Err(io::Error::other(format!("some are missing: {missing:?}")))
        }
        None => Ok(total(&people).since(before)),
    }
}

fn all(people: &mut [Person]) -> Vec<&mut Person> {
    people.iter_mut().collect()
}

fn total(people: &[Person]) -> Cost {
    people.iter().fold(Cost::default(), |all, person| Cost {
        wall: all.wall + person.cost.wall,
        cpu: all.cpu + person.cost.cpu,
        requests: all.requests + person.cost.requests,
        heard: all.heard + person.cost.heard,
    })
}
