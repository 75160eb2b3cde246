//! The rows of memory: what a group takes that is loaded, beside what OpenMLS's own part of it takes.
//!
//! A process of its own opens a database that this one has written, and holds the same group many times: nothing that was let go of before
//! is there to be used again, so that what its resident memory grows by is what they take.

use std::io;
use std::path::Path;
use std::process::Command;

use engine::mls::{Change, DEFAULT_SUITE, Group, Provider};
use openmls::prelude::{GroupId, MlsGroup, OpenMlsProvider as _};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rusqlite::Connection;

use super::Settings;
use super::cpu::resident;
use super::groups::{ADDED_AT_ONCE, Device, LOG, certify, failed};
use super::report::{Aim, Report, Row};

/// Members of all the groups together that are held.
const HELD: u32 = 20_000;

/// Groups of 10, 100 and 1,000.
pub fn groups(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let sizes: &[u32] = if settings.quick { &[10, 50] } else { &[10, 100, 1_000] };
    let dir = settings.fresh("memory")?;
    for &size in sizes {
        let path = dir.join(format!("{size}.db"));
        fill(&path, size)?;
        let held = |what: &str| held_in_another(what, &path, HELD / size);
        let (bare, ours) = (held("openmls")?, held("ours")?);
        let name = format!("memory of a loaded group of {size}");
        let row = Row::new(&name, ours, "KiB").aim(Aim::AtMost(1.2 * bare)).against("OpenMLS's part", bare);
        report.row(&row.more("KiB a member", ours / f64::from(size)))?;
    }
    Ok(())
}

/// A group in a database, as its creator has it.
fn fill(path: &Path, size: u32) -> io::Result<()> {
    let now = relay::http::unix_now();
    let relay = "localhost".parse().map_err(failed("name"))?;
    let mut first = Device::at(Connection::open(path).map_err(failed("database"))?, 0, DEFAULT_SUITE, now)?;
    first.create(now)?;
    let mut maker = Device::new(1, DEFAULT_SUITE, now)?;
    let mut packages = Vec::new();
    for number in 1..size {
        (maker.key, maker.certificate) = certify(number, now)?;
        packages.push(maker.package()?);
    }
    for batch in packages.chunks(ADDED_AT_ONCE) {
        first.commit(Change { adds: batch.to_vec(), ..Change::default() }, &relay)?;
    }
    Ok(())
}

/// KiB that one group takes in a process that holds so many of them.
fn held_in_another(what: &str, path: &Path, count: u32) -> io::Result<f64> {
    let program = std::env::current_exe()?;
    let output = Command::new(program).arg("hold-groups").arg(what).arg(path).arg(count.to_string()).output()?;
    let bytes = String::from_utf8_lossy(&output.stdout).trim().parse::<f64>();
    let bytes = bytes.map_err(|_| io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))?;
    Ok(bytes / 1024.0 / f64::from(count))
}

/// The other process: `ours` or `openmls`, the database, how many. Prints bytes.
pub fn hold(arguments: &[String]) -> io::Result<()> {
    let [what, path, count] = arguments else { return Err(io::Error::other("hold-groups WHAT DATABASE COUNT")) };
    let count: u32 = count.parse().map_err(failed("count"))?;
    let db = Connection::open(path).map_err(failed("database"))?;
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let p = Provider::new(&db, &mut rng);
    let grown = match what.as_str() {
        "ours" => grows(count, || Group::load(&p, LOG).map_err(failed("load"))?.ok_or_else(missing)),
        _ => grows(count, || {
            MlsGroup::load(p.storage(), &GroupId::from_slice(&LOG.0)).map_err(failed("load"))?.ok_or_else(missing)
        }),
    }?;
    println!("{grown}");
    Ok(())
}

fn missing() -> io::Error {
    io::Error::other("there is no group")
}

/// Bytes by which this process grows while it holds so many. The first one is not counted: what it needs once stays.
fn grows<T>(count: u32, load: impl Fn() -> io::Result<T>) -> io::Result<u64> {
    let own = std::process::id();
    let first = load()?;
    let before = resident(own);
    let held: Vec<T> = (0..count).map(|_| load()).collect::<io::Result<_>>()?;
    let grown = resident(own).saturating_sub(before);
    drop((first, held));
    Ok(grown)
}
