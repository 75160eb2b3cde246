//! The rows of the relay: what the real binary does, beside the null relay and the durable floor in the same run.

use std::io;
use std::time::Duration;

use super::Settings;
use super::cpu::{Meter, Used, resident};
use super::process::{Figures, Process, Server, generator, null, transomd};
use super::report::{Aim, Report, Row};

const BODY: u64 = 500;

/// One phase of a generator with the processor time of both sides.
fn phase(server: &Server, generator: &mut Process) -> io::Result<(Figures, Used)> {
    generator.ready()?;
    let meter = Meter::begin(Some(server.process.pid()), generator.pid())?;
    generator.go()?;
    let figures = generator.figures()?;
    Ok((figures, meter.end()?))
}

fn stream(server: &Server, flows: u64, readers: u64, window: u64, seconds: u64) -> io::Result<(Figures, Used)> {
    let settings = [
        ("address", server.http.clone()),
        ("flows", flows.to_string()),
        ("readers", readers.to_string()),
        ("window", window.to_string()),
        ("body", BODY.to_string()),
        ("seconds", seconds.to_string()),
    ];
    phase(server, &mut generator("stream", &settings)?)
}

/// The relays of one shape of load, the null one and the floor first.
fn beside(
    settings: &Settings,
    report: &mut Report,
    name: &str,
    shape: (u64, u64, u64),
    aims: (f64, f64, Option<f64>),
) -> io::Result<()> {
    let dir = settings.fresh("stream")?;
    let file = dir.join("floor");
    let (flows, readers, window) = shape;
    let mut floor = 0.0;
    for (what, server) in [
        ("null relay", null(None)?),
        ("durable floor", null(Some(&file))?),
        ("relay", transomd(&dir.join("relay"), false)?),
    ] {
        let (figures, used) = stream(&server, flows, readers, window, settings.seconds)?;
        let delivered = figures.get("delivered");
        let per_second = delivered / figures.get("seconds");
        let what_row = format!("{name}: {what}");
        let mut row = Row::new(&what_row, per_second, "delivered/s").used(used, delivered);
        if what == "relay" {
            row = row.aim(Aim::AtLeast(aims.0)).against("durable floor", floor);
        }
        row = row.more("p50 ms", figures.get("p50_ms")).more("p99 ms", figures.get("p99_ms"));
        if figures.get("lagged") > 0.0 {
            row = row.more("lagged", figures.get("lagged"));
        }
        report.row(&row)?;
        if what == "relay" {
            let cpu = used.server / (delivered / 1000.0);
            let what_row = format!("{name}: relay, CPU");
            report.row(&Row::new(&what_row, cpu, "s/1,000").aim(Aim::AtMost(aims.1)))?;
            if let Some(p99) = aims.2 {
                let what_row = format!("{name}: relay, p99");
                report.row(&Row::new(&what_row, figures.get("p99_ms"), "ms").aim(Aim::AtMost(p99)))?;
            }
        }
        floor = per_second;
    }
    Ok(())
}

/// 200 pairs, window 16.
pub fn pairs(settings: &Settings, report: &mut Report) -> io::Result<()> {
    beside(settings, report, "200 pairs, window 16", (200, 1, 16), (100_000.0, 0.012, None))
}

/// 200 pairs, window 1.
pub fn pairs_one(settings: &Settings, report: &mut Report) -> io::Result<()> {
    beside(settings, report, "200 pairs, window 1", (200, 1, 1), (30_000.0, 0.03, Some(20.0)))
}

/// One log, 100 and 1,000 readers.
pub fn fan_out(settings: &Settings, report: &mut Report) -> io::Result<()> {
    beside(settings, report, "fan-out 100", (1, 100, 16), (350_000.0, 0.003, None))?;
    beside(settings, report, "fan-out 1,000", (1, 1_000, 16), (250_000.0, 0.004, None))
}

fn filling(server: &Server, senders: u64, logs: u64, entries: u64, seconds: u64, drain: bool) -> io::Result<Process> {
    let settings = [
        ("address", server.http.clone()),
        ("senders", senders.to_string()),
        ("logs", logs.to_string()),
        ("entries", entries.to_string()),
        ("seconds", seconds.to_string()),
        ("body", BODY.to_string()),
        ("drain", u64::from(drain).to_string()),
    ];
    generator("store", &settings)
}

/// 200 receivers are away while 50 senders write; then they come.
pub fn absent(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let server = transomd(&settings.fresh("absent")?, false)?;
    let mut generator = filling(&server, 50, 200, u64::MAX / 2, settings.seconds, true)?;
    let (stored, used) = phase(&server, &mut generator)?;
    let count = stored.get("stored");
    let row = Row::new("200 absent, 50 senders: store", count / stored.get("seconds"), "entries/s");
    report.row(&row.aim(Aim::AtLeast(80_000.0)).used(used, count))?;
    let (drained, used) = phase(&server, &mut generator)?;
    let all = drained.get("drained");
    let row = Row::new("200 absent, 50 senders: drain", all / drained.get("seconds"), "entries/s");
    report.row(&row.aim(Aim::AtLeast(300_000.0)).used(used, all))?;
    if (all - count).abs() > 0.5 {
        report.failed("drain", &format!("{count} were acknowledged and {all} read"))?;
    }
    Ok(())
}

fn idle_with(
    settings: &Settings,
    report: &mut Report,
    name: &str,
    server: &Server,
    connections: u64,
    aim: Aim,
    baseline: f64,
) -> io::Result<f64> {
    let mut asked = vec![("plain", server.http.clone()), ("connections", connections.to_string())];
    match &server.https {
        Some(https) => {
            asked.push(("address", https.clone()));
            asked.push(("authority", server.authority.display().to_string()));
        }
        None => asked.push(("address", server.http.clone())),
    }
    let mut generator = generator("idle", &asked)?;
    generator.ready()?;
    std::thread::sleep(settings.settle());
    let before = resident(server.process.pid());
    generator.go()?;
    let figures = generator.figures()?;
    std::thread::sleep(settings.settle());
    let kib = (resident(server.process.pid()).saturating_sub(before)) as f64 / 1024.0 / figures.get("connections");
    let mut row = Row::new(name, kib, "KiB each").aim(aim).more("connections", figures.get("connections"));
    if baseline > 0.0 {
        row = row.against("null relay", baseline);
    }
    report.row(&row)?;
    Ok(kib)
}

/// Connections that wait.
pub fn idle(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let connections = if settings.quick { 1_000 } else { 10_000.min(files.saturating_sub(200)) };
    let server = null(None)?;
    let bare = idle_with(settings, report, "idle connection: null relay", &server, connections, Aim::None, 0.0)?;
    drop(server);
    let server = transomd(&settings.fresh("idle")?, false)?;
    idle_with(settings, report, "idle connection, plain", &server, connections, Aim::AtMost(10.0), bare)?;
    drop(server);
    let server = transomd(&settings.fresh("idle")?, true)?;
    idle_with(settings, report, "idle connection, TLS", &server, connections, Aim::AtMost(24.0), bare).map(|_| ())
}

/// Everybody comes back at once.
pub fn storm(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let clients = if settings.quick { 500 } else { 5_000 };
    let server = transomd(&settings.fresh("storm")?, false)?;
    let asked = [
        ("address", server.http.clone()),
        ("clients", u64::to_string(&clients)),
        ("logs", "50".into()),
        ("missed", "5".into()),
        ("body", BODY.to_string()),
    ];
    let mut generator = generator("storm", &asked)?;
    let (figures, used) = phase(&server, &mut generator)?;
    let entries = figures.get("entries");
    let name = format!("storm: {clients} clients x 50 logs x 5 entries");
    report.row(&Row::new(&name, figures.get("seconds"), "s").aim(Aim::AtMost(15.0)).used(used, entries))
}

/// Killed with a million entries, started again.
pub fn restart(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let entries: u64 = if settings.quick { 50_000 } else { 1_000_000 };
    let dir = settings.fresh("restart")?;
    let mut server = transomd(&dir, false)?;
    let mut generator = filling(&server, 64, 1_024, entries, 150, false)?;
    let (figures, used) = phase(&server, &mut generator)?;
    let stored = figures.get("stored");
    report
        .row(&Row::new("filling for the restart", stored / figures.get("seconds"), "entries/s").used(used, stored))?;
    server.process.kill();
    drop(generator);
    let server = transomd(&dir, false)?;
    let name = format!("restart after kill -9 with {stored} entries");
    report.row(&Row::new(&name, server.started_in.as_secs_f64(), "s").aim(Aim::AtMost(3.0)))?;
    drop(server);
    Ok(())
}

/// How long a process is left alone before its memory is looked at.
pub const SETTLE: Duration = Duration::from_secs(3);
