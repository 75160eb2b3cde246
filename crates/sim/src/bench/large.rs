//! One group of 1,024: what it costs to make it, to let one in, to write, and to take one out, in a flat tree and in a warm one.
//!
//! In a flat tree nobody but the creator has committed, so that a removal is sealed to every leaf. It is warmed by members spread over
//! it who renew their keys, as all of them do within weeks. Times are processor time.

use std::io;

use engine::mls::{Change, DEFAULT_SUITE, Group, Provider};
use wire::{RelayName, SigningKey, UnixMillis};

use super::Settings;
use super::groups::{ADDED_AT_ONCE, Device, MESSAGE, certify, failed};
use super::report::{Report, Row};

/// How much the tree is warmed, and what a removal is then.
fn removal(report: &mut Report, first: &mut Device, leaf: u32, what: &str, relay: &RelayName) -> io::Result<()> {
    let (staged, took) = first.commit(Change { removes: vec![leaf], ..Change::default() }, relay)?;
    report.row(&Row::new(&format!("removal, {what}"), took.as_secs_f64() * 1000.0, "CPU ms"))?;
    report.row(&Row::new(&format!("removal, {what}: commit"), staged.commit.len() as f64, "bytes"))
}

/// The rows of a group of 1,024 accounts, a device each.
pub fn large(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let (size, warmed): (u32, u32) = if settings.quick { (64, 8) } else { (1_024, 64) };
    let now: UnixMillis = relay::http::unix_now();
    let relay: RelayName = "localhost".parse().map_err(failed("name"))?;
    let mut first = Device::new(0, DEFAULT_SUITE, now)?;
    let mut took = first.create(now)?;
    let mut maker = Device::new(1, DEFAULT_SUITE, now)?;
    let mut packages = Vec::new();
    for number in 1..size - 1 {
        (maker.key, maker.certificate) = certify(number, now)?;
        packages.push(maker.package()?);
    }
    let mut bytes = 0;
    for batch in packages.chunks(ADDED_AT_ONCE) {
        let (staged, adding) = first.commit(Change { adds: batch.to_vec(), ..Change::default() }, &relay)?;
        took += adding;
        bytes += staged.commit.len();
    }
    report.row(&Row::new(&format!("create, {size} accounts"), took.as_secs_f64() * 1000.0, "CPU ms"))?;
    report.row(&Row::new(&format!("create, {size} accounts: commits"), bytes as f64, "bytes"))?;

    let mut last = Device::new(size, DEFAULT_SUITE, now)?;
    let (staged, adding) = first.commit(Change { adds: vec![last.package()?], ..Change::default() }, &relay)?;
    let welcome = staged.welcomes.first().map(|(_, welcome)| welcome.clone()).unwrap_or_default();
    let tree = staged.tree.clone().unwrap_or_default();
    let joining = last.join(&welcome, &tree)?;
    report.row(&Row::new("adding one", adding.as_secs_f64() * 1000.0, "CPU ms"))?;
    report.row(&Row::new("adding one: commit", staged.commit.len() as f64, "bytes"))?;
    report.row(&Row::new("join of one", joining.as_secs_f64() * 1000.0, "CPU ms"))?;
    report.row(&Row::new("join of one: Welcome", welcome.len() as f64, "bytes"))?;
    report.row(&Row::new("join of one: tree", tree.len() as f64, "bytes"))?;

    let write = |p: &Provider<'_>, key: &SigningKey, group: &mut Option<Group>| {
        let group = group.as_mut().ok_or_else(|| "no group".to_owned())?;
        group.encrypt(p, key, &MESSAGE).map_err(|error| error.to_string())
    };
    let (message, took) = last.turn("write", write)?;
    report.row(&Row::new("first message, 512 B", took.as_secs_f64() * 1000.0, "CPU ms"))?;
    report.row(&Row::new("first message, 512 B: ciphertext", message.len() as f64, "bytes"))?;

    removal(report, &mut first, size - 1, "flat tree", &relay)?;
    // Places spread over the tree fall free, and whoever takes one renews its keys at once.
    let spread: Vec<u32> = (1..=warmed).map(|n| n * (size / (warmed + 1))).collect();
    first.commit(Change { removes: spread, ..Change::default() }, &relay)?;
    for number in 0..warmed {
        let mut member = Device::new(size + 1 + number, DEFAULT_SUITE, now)?;
        let (staged, _) = first.commit(Change { adds: vec![member.package()?], ..Change::default() }, &relay)?;
        let (_, welcome) = staged.welcomes.first().ok_or_else(|| io::Error::other("no welcome"))?;
        member.join(welcome, staged.tree.as_deref().unwrap_or_default())?;
        let (renewed, _) = member.commit(Change { update_path: true, ..Change::default() }, &relay)?;
        first.follow(&renewed.commit)?;
    }
    removal(report, &mut first, size - 2, &format!("warmed by {warmed}"), &relay)
}
