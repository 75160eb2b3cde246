//! How near the store comes to what is under it, in one run on one disk: raw append + fdatasync, a bare loop of fjall batches, and the
//! store. Ratios count, figures of different machines don't compare.
//!
//! `make bench` runs it, in release. It prints a table and appends JSON lines to `target/bench.jsonl` (`--json FILE` for another file,
//! `--dir DIR` for the disk, `--seconds N` a measurement).
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program that prints")]

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::fjall::compaction::Leveled;
use ::fjall::config::CompressionPolicy;
use ::fjall::{CompressionType, Database, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, UserValue};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use store::conformance::block_on;
use store::fjall::FjallStore;
use store::{LogKey, NewEntry, Pipe, Store};

const BODY: usize = 500;
/// What the store's value has around a body: version, checksum, fields, commitment.
const VALUE: usize = BODY + 87;
const LOGS: u64 = 10_000;

fn log(number: u64) -> LogKey {
    let mut log = [0; 16];
    // Spread like random ids, the same in every run.
    let spread = (number % LOGS).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    log[..8].copy_from_slice(&spread.to_be_bytes());
    log[8..].copy_from_slice(&spread.rotate_left(29).to_be_bytes());
    log
}

/// Bodies that don't compress.
fn body(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut body = vec![0; BODY];
    for chunk in body.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    body
}

/// What one measurement says.
struct Figure {
    what: &'static str,
    in_flight: usize,
    per_second: f64,
    p99: Duration,
    batch: f64,
    cpu_per_thousand: f64,
    foreign: f64,
}

struct Measured {
    appends: u64,
    batches: u64,
    latencies: Vec<Duration>,
}

fn measure(
    what: &'static str,
    in_flight: usize,
    run: impl FnOnce() -> io::Result<(Duration, Measured)>,
) -> io::Result<Figure> {
    let (all, own) = (machine_cpu()?, own_cpu()?);
    let (time, mut measured) = run()?;
    let (all, own) = (machine_cpu()? - all, own_cpu()? - own);
    measured.latencies.sort_unstable();
    let p99 = measured.latencies.get(measured.latencies.len() * 99 / 100).copied().unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    Ok(Figure {
        what,
        in_flight,
        per_second: measured.appends as f64 / time.as_secs_f64(),
        p99,
        batch: measured.appends as f64 / measured.batches.max(1) as f64,
        cpu_per_thousand: own / (measured.appends as f64 / 1000.0),
        foreign: ((all - own) / (time.as_secs_f64() * cores)).max(0.0),
    })
}

/// Seconds in which any processor of the machine was busy.
fn machine_cpu() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|number| number.parse().ok()).collect();
    // user, nice, system, then idle and iowait, which are not busy, then irq, softirq and steal.
    let busy: f64 =
        ticks.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum();
    Ok(busy / ticks_a_second())
}

/// Seconds of processor time that this process took.
fn own_cpu() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name before the last parenthesis may hold spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|number| number.parse::<f64>().ok()).sum();
    Ok(ticks / ticks_a_second())
}

fn ticks_a_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// The floor: one file, the bytes of a batch, one fdatasync.
fn raw(dir: &Path, in_flight: usize, time: Duration) -> io::Result<(Duration, Measured)> {
    let mut file = File::create(dir.join(format!("raw-{in_flight}")))?;
    let record: Vec<u8> = body(1).into_iter().cycle().take(VALUE + 24).collect();
    let mut buffer = Vec::new();
    let mut measured = Measured { appends: 0, batches: 0, latencies: Vec::new() };
    let begun = Instant::now();
    while begun.elapsed() < time {
        let batch = Instant::now();
        buffer.clear();
        for _ in 0..in_flight {
            buffer.extend_from_slice(&record);
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
        measured.appends += in_flight as u64;
        measured.batches += 1;
        measured.latencies.push(batch.elapsed());
    }
    Ok((begun.elapsed(), measured))
}

/// What fjall does with the same keys and values when nobody asks it anything else.
fn bare(dir: &Path, in_flight: usize, time: Duration) -> Result<(Duration, Measured), ::fjall::Error> {
    let database = Database::builder(dir.join(format!("bare-{in_flight}")))
        .cache_size(64 << 20)
        .max_journaling_size(256 << 20)
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .worker_threads(1)
        .open()?;
    let entries = database.keyspace("entries", || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(64 << 20)
            .manual_journal_persist(true)
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
            .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(32 << 20)))
    })?;
    let value: Vec<u8> = body(1).into_iter().cycle().take(VALUE).collect();
    let mut measured = Measured { appends: 0, batches: 0, latencies: Vec::new() };
    let begun = Instant::now();
    while begun.elapsed() < time {
        let started = Instant::now();
        let batch = OwnedWriteBatch::with_capacity(database.clone(), in_flight);
        let mut batch = batch.durability(Some(PersistMode::SyncData));
        for _ in 0..in_flight {
            let mut key = [0; 24];
            key[..16].copy_from_slice(&log(measured.appends));
            key[16..].copy_from_slice(&(measured.appends / LOGS + 1).to_be_bytes());
            batch.insert(&entries, key, UserValue::from(value.clone()));
            measured.appends += 1;
        }
        batch.commit()?;
        measured.batches += 1;
        measured.latencies.push(started.elapsed());
    }
    Ok((begun.elapsed(), measured))
}

/// The store with so many appends in flight, each begun when another one is answered.
fn ours(dir: &Path, in_flight: usize, time: Duration) -> io::Result<(Duration, Measured)> {
    let store = FjallStore::open(&dir.join(format!("store-{in_flight}"))).map_err(io::Error::other)?;
    let bodies: Vec<_> = (0..64).map(|number| Bytes::from(body(number))).collect();
    block_on(async {
        let mut creating: FuturesUnordered<_> =
            (0..LOGS).map(|number| store.create(log(number), 0, [1; 32], 1)).collect();
        while let Some(created) = creating.next().await {
            created.map_err(io::Error::other)?;
        }
        let before = store.metrics();
        let pipe = Pipe::default();
        let append = |number: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            let body = bodies[(number % 64) as usize].clone();
            let entry = NewEntry { id, kind: 1, body, commitment: [3; 32], time: number };
            store.append(log(number), 0, &pipe, entry)
        };
        let begun = Instant::now();
        let mut next = 0;
        // Answers come in the order of the appends, so the times of the begun ones are a queue.
        let mut started = VecDeque::new();
        let mut flying = FuturesUnordered::new();
        let mut latencies = Vec::new();
        let mut appends = 0;
        loop {
            while flying.len() < in_flight {
                flying.push(append(next));
                started.push_back(Instant::now());
                next += 1;
            }
            let Some(answer) = flying.next().await else { break };
            answer.map_err(io::Error::other)?;
            appends += 1;
            if let Some(started) = started.pop_front() {
                latencies.push(started.elapsed());
            }
            if begun.elapsed() >= time {
                break;
            }
        }
        let time = begun.elapsed();
        let batches = store.metrics().batches - before.batches;
        Ok((time, Measured { appends, batches, latencies }))
    })
}

struct Settings {
    dir: PathBuf,
    json: PathBuf,
    time: Duration,
}

fn settings() -> Result<Settings, String> {
    let mut settings = Settings {
        dir: PathBuf::from("target/bench-store"),
        json: PathBuf::from("target/bench.jsonl"),
        time: Duration::from_secs(5),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--dir" => settings.dir = PathBuf::from(value),
            "--json" => settings.json = PathBuf::from(value),
            "--seconds" => {
                let seconds = value.parse().map_err(|_| format!("--seconds {value} is no number"))?;
                settings.time = Duration::from_secs(seconds);
            }
            _ => return Err(format!("{name} is unknown; there are --dir, --json and --seconds")),
        }
    }
    Ok(settings)
}

fn run(settings: &Settings) -> io::Result<()> {
    let Settings { dir, json, time } = settings;
    if let Some(above) = json.parent() {
        std::fs::create_dir_all(above)?;
    }
    let mut json = OpenOptions::new().create(true).append(true).open(json)?;
    println!("store: durable appends of {BODY} B in {LOGS} logs, {} s each", time.as_secs());
    println!(
        "{:<26}{:>10}{:>12}{:>10}{:>9}{:>14}{:>9}",
        "", "in flight", "appends/s", "p99 ms", "batch", "CPU s/1,000", "foreign"
    );
    for in_flight in [64, 1024] {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(dir)?,
        }
        let figures = [
            measure("raw append + fdatasync", in_flight, || raw(dir, in_flight, *time))?,
            measure("bare fjall batch loop", in_flight, || bare(dir, in_flight, *time).map_err(io::Error::other))?,
            measure("store", in_flight, || ours(dir, in_flight, *time))?,
        ];
        for figure in &figures {
            let Figure { what, in_flight, per_second, p99, batch, cpu_per_thousand, foreign } = figure;
            let p99 = p99.as_secs_f64() * 1000.0;
            println!(
                "{what:<26}{in_flight:>10}{per_second:>12.0}{p99:>10.2}{batch:>9.1}{cpu_per_thousand:>14.4}{:>8.1}%",
                foreign * 100.0
            );
            writeln!(
                json,
                "{{\"bench\":\"store\",\"what\":\"{what}\",\"in_flight\":{in_flight},\"per_second\":{per_second:.0},\
                 \"p99_ms\":{p99:.3},\"batch\":{batch:.1},\"cpu_s_per_1000\":{cpu_per_thousand:.5},\"foreign\":{foreign:.3}}}"
            )?;
        }
        let ratio = figures[2].per_second / figures[1].per_second;
        let noisy = figures.iter().any(|figure| figure.foreign > 0.05);
        println!(
            "  the store does {:.0} % of the bare loop (aim 90 %){}",
            ratio * 100.0,
            if noisy { "; MORE THAN 5 % OF THE MACHINE WAS BUSY WITH OTHER THINGS" } else { "" }
        );
        writeln!(
            json,
            "{{\"bench\":\"store\",\"what\":\"store / bare fjall\",\"in_flight\":{in_flight},\"ratio\":{ratio:.3},\"aim\":0.9,\"noisy\":{noisy}}}"
        )?;
    }
    std::fs::remove_dir_all(dir)
}

fn main() -> ExitCode {
    let settings = match settings() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("store-bench: {error}");
            return ExitCode::from(2);
        }
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("store-bench: {error}; is there room in {}?", settings.dir.display());
            ExitCode::FAILURE
        }
    }
}
