//! The rows of the engine: messages out and in over a real, synced database, and opening a large one.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use engine::{Database, MemoryHandle};
use rusqlite::{Connection, params};

use super::Settings;
use super::cpu::{Meter, thread_time};
use super::person::{Person, Town};
use super::report::{Aim, Report, Row};

/// A text of a usual length.
const TEXT: &str = "Shall we meet at the station at eight? I bring the maps, you bring the bread. If it rains we take the tram \
                    to the museum instead and go up the hill on Sunday, as we did last year with the children.";

pub(super) fn file(directory: &Path) -> io::Result<Database> {
    std::fs::create_dir_all(directory)?;
    Ok(Database::File { directory: directory.to_owned(), passphrase: None })
}

/// What the engine is held against: one insert of the same size and one synced commit for each message.
fn bare(directory: &Path, count: u64) -> rusqlite::Result<Duration> {
    let db = Connection::open(directory.join("bare.db"))?;
    db.execute_batch(
        "PRAGMA key = \"x'2dd29ca851e7b56e4697b0e1f08507293d761a05ce4d1b628663f411a8086d99'\"; \
         PRAGMA cipher_page_size = 4096; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; \
         PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; \
         CREATE TABLE messages (n INTEGER PRIMARY KEY, id BLOB NOT NULL, conversation BLOB NOT NULL, text TEXT NOT NULL, \
         content BLOB NOT NULL, evidence BLOB NOT NULL) STRICT; CREATE UNIQUE INDEX by_id ON messages (conversation, id);",
    )?;
    let begun = Instant::now();
    for number in 0..count {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let tx = db.unchecked_transaction()?;
        tx.prepare_cached(
            "INSERT INTO messages (id, conversation, text, content, evidence) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![id, [7_u8; 16], TEXT, [8_u8; 400], [9_u8; 200]])?;
        tx.commit()?;
    }
    Ok(begun.elapsed())
}

/// Alice makes groups with Bob, who accepts.
pub(super) fn meet(town: &mut Town, alice: &mut Person, bob: &mut Person, groups: u64) -> io::Result<()> {
    for number in 0..groups {
        let command =
            api::Command::CreateGroup { name: format!("group {number}"), members: vec!["bob@localhost".into()] };
        alice.command(town.now, command)?;
        town.settle(&mut [&mut *alice, &mut *bob])?;
        if let Ok(api::View::Invitations(invitations)) = bob.engine.view(&api::Query::Invitations) {
            for invitation in invitations {
                bob.command(town.now, api::Command::Accept { conversation: invitation.conversation })?;
            }
            town.settle(&mut [&mut *alice, &mut *bob])?;
        }
    }
    match alice.failures.iter().chain(&bob.failures).next() {
        None => Ok(()),
        Some(failure) => Err(io::Error::other(failure.clone())),
    }
}

pub(super) fn say(group: u64) -> api::Command {
    api::Command::Send {
        conversation: format!("group {group}"),
        text: TEXT.into(),
        reply_to: None,
        preview: None,
        stays: 0,
        view_once: false,
    }
}

/// Messages of a conversation that somebody has.
pub(super) fn received(person: &Person, group: u64) -> io::Result<u64> {
    let (mut count, mut before) = (0, None);
    loop {
        let query = api::Query::Messages { conversation: format!("group {group}"), before, limit: 1_000 };
        let Ok(api::View::Messages(page)) = person.engine.view(&query) else {
            return Err(io::Error::other("the group can't be read"));
        };
        count += page.len() as u64;
        let Some(oldest) = page.into_iter().next() else { return Ok(count) };
        before = Some(oldest.id);
    }
}

/// Out, each synced; in, in batches of 100.
pub fn messages(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let count: u64 = if settings.quick { 300 } else { 3_000 };
    let dir = settings.fresh("engine")?;
    let own = std::process::id();
    let meter = Meter::begin(None, own)?;
    let cpu = thread_time();
    let time = bare(&dir, count).map_err(io::Error::other)?;
    let floor = count as f64 / time.as_secs_f64();
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count as f64;
    let row = Row::new("bare SQLCipher: insert + commit", floor, "/s").used(meter.end()?, count as f64);
    report.row(&row.more("CPU us", each(thread_time() - cpu)))?;

    let mut town = Town::new()?;
    let mut alice = town.person("alice", 1, file(&dir.join("alice"))?)?;
    let mut bob = town.person("bob", 2, file(&dir.join("bob"))?)?;
    meet(&mut town, &mut alice, &mut bob, 1)?;
    let before = received(&bob, 0)?;
    let meter = Meter::begin(None, own)?;
    let (mut outbound, mut cpu, begun) = (Duration::ZERO, Duration::ZERO, alice.cost);
    for _ in 0..count {
        let before = alice.cost;
        alice.command(town.now, say(0))?;
        let cost = alice.cost.since(before);
        (outbound, cpu) = (outbound + cost.wall, cpu + cost.cpu);
        alice.carry_out(&mut town)?;
        alice.hear(&mut town)?;
    }
    let used = meter.end()?;
    let answers = alice.cost.since(begun).wall - outbound;
    let row = Row::new("engine: outbound, each synced", count as f64 / outbound.as_secs_f64(), "/s");
    let row = row.aim(Aim::AtLeast(0.7 * floor)).against("bare SQLCipher", floor).used(used, count as f64);
    report.row(&row.more("CPU us", each(cpu)).more("answer and echo us", each(answers)))?;

    let meter = Meter::begin(None, own)?;
    let begun = bob.cost;
    bob.hear(&mut town)?;
    let cost = bob.cost.since(begun);
    let used = meter.end()?;
    let got = received(&bob, 0)? - before;
    let row = Row::new("engine: inbound, batches of 100", got as f64 / cost.wall.as_secs_f64(), "/s");
    report.row(&row.aim(Aim::AtLeast(8_000.0)).used(used, got as f64).more("CPU us", each(cost.cpu)))?;
    if got != count {
        report.failed("inbound", &format!("{count} were sent and {got} arrived"))?;
    }
    Ok(())
}

/// A database of 200 conversations and 100,000 messages, opened.
pub fn open(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let (groups, each) = if settings.quick { (20, 20) } else { (200, 500) };
    let dir = settings.fresh("open")?;
    let _disk = MemoryHandle::new("bench-alice").map_err(io::Error::other)?;
    let mut town = Town::new()?;
    let mut alice = town.person("alice", 1, Database::Memory { name: "bench-alice".into() })?;
    let directory = dir.join("bob");
    let mut bob = town.person("bob", 2, file(&directory)?)?;
    meet(&mut town, &mut alice, &mut bob, groups)?;
    let until = Instant::now() + Duration::from_secs(240);
    let mut messages = 0;
    for group in 0..groups {
        for _ in 0..each {
            alice.command(town.now, say(group))?;
            alice.carry_out(&mut town)?;
            messages += 1;
        }
        alice.hear(&mut town)?;
        bob.hear(&mut town)?;
        bob.carry_out(&mut town)?;
        if Instant::now() > until {
            report.note(&format!("only {messages} messages: building the database took too long"));
            break;
        }
    }
    let found = received(&bob, 0)?;
    drop(bob);
    let begun = Instant::now();
    let bob = Person::open(file(&directory)?, 2, town.now)?;
    let opened = begun.elapsed();
    let name = format!("open: {groups} conversations, {messages} messages");
    let row = Row::new(&name, opened.as_secs_f64() * 1000.0, "ms").aim(Aim::AtMost(300.0));
    let size = std::fs::metadata(directory.join("transom.db")).map_or(0, |meta| meta.len());
    report.row(&row.more("MiB", size as f64 / f64::from(1 << 20)))?;
    if received(&bob, 0)? != found {
        report.failed("open", "messages are missing after opening")?;
    }
    Ok(())
}
