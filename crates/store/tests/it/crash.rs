//! kill -9 at any moment. The process to kill is this test binary itself, started with [`CHILD`] set and one test named.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use store::conformance::block_on;
use store::fjall::FjallStore;
use store::{LogKey, Pipe, Store};

use crate::{entry, seqs};

/// Names the data directory that the child is to fill.
const CHILD: &str = "TRANSOM_STORE_CRASH_CHILD";
const LOGS: u8 = 8;
const IN_FLIGHT: u64 = 64;

fn log(number: u64) -> LogKey {
    [(number % u64::from(LOGS)) as u8 + 1; 16]
}

/// Appends until it is killed and prints `log seq number` of all that was acknowledged, each once it was.
#[test]
fn child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let store = FjallStore::open(Path::new(&dir)).expect("the store");
    let mut output = std::io::stdout().lock();
    block_on(async {
        for number in 0..u64::from(LOGS) {
            // Taken from the second start on.
            store.create(log(number), 0, [1; 32], 1).await.ok();
        }
        // Numbers go on where they were: the sum of all heads is one more than the last that can be there.
        let mut next = 0;
        for number in 0..u64::from(LOGS) {
            let head = store.info(log(number)).await.expect("a log").head;
            next = next.max(head * u64::from(LOGS) + 2 * IN_FLIGHT * u64::from(LOGS));
        }
        let pipe = Pipe::default();
        let append = |number: u64| {
            let (store, pipe) = (&store, &pipe);
            async move { (number, store.append(log(number), 0, pipe, entry(number, 1, 300)).await) }
        };
        let mut flying: FuturesUnordered<_> = (next..next + IN_FLIGHT).map(append).collect();
        next += IN_FLIGHT;
        while let Some((number, seq)) = flying.next().await {
            let seq = seq.expect("an append").seq;
            writeln!(output, "acked {} {seq} {number}", number % u64::from(LOGS)).expect("a reader");
            flying.push(append(next));
            next += 1;
        }
    });
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "crash::child_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child")
}

/// Runs a child until it has acknowledged `acks` appends, kills it, and gives all that it acknowledged: (log, seq) and number.
fn run_and_kill(dir: &Path, acks: usize) -> Vec<((u64, u64), u64)> {
    let mut child = start(dir);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut acked = Vec::new();
    let mut killed = false;
    // What it had printed by the time it died is read to the end.
    while let Some(Ok(line)) = lines.next() {
        // The test harness prints lines of its own, and the last line may be cut.
        let Some(rest) = line.find("acked ").map(|at| &line[at + 6..]) else { continue };
        let numbers: Vec<u64> = rest.split(' ').filter_map(|number| number.parse().ok()).collect();
        if let [log, seq, number] = numbers[..] {
            acked.push(((log, seq), number));
        }
        if acked.len() >= acks && !killed {
            child.kill().expect("kill -9");
            killed = true;
        }
    }
    child.wait().expect("the child's end");
    assert!(killed, "the child ended by itself after {} appends", acked.len());
    // The very last line may have been cut in the middle of a number.
    acked.pop();
    acked
}

/// Every log is whole, and every number is in it once.
fn all_entries(store: &FjallStore) -> HashMap<(u64, u64), u64> {
    let mut found = HashMap::new();
    for number in 0..u64::from(LOGS) {
        let page = block_on(store.read(log(number), 1, None, usize::MAX)).expect("a whole log");
        assert_eq!(page.entries.len() as u64, page.head);
        for entry in page.entries {
            found.insert((number, entry.seq), entry.time);
        }
    }
    let mut numbers: Vec<_> = found.values().collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "no entry is there twice");
    found
}

#[test]
fn i1_acknowledged_appends_survive_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acked = Vec::new();
    for round in 0..5 {
        acked.extend(run_and_kill(dir.path(), 2000 + 700 * round));
        let store = FjallStore::open(dir.path()).expect("the store opens after kill -9");
        let found = all_entries(&store);
        for (place, number) in &acked {
            assert_eq!(found.get(place), Some(number), "acknowledged at {place:?}");
        }
    }
}

/// A known report against the database below: writes that halt after a kill and a start.
#[test]
fn i1_fifty_kills_do_not_stall_what_is_written_after() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acked = Vec::new();
    for round in 0..50 {
        acked.extend(run_and_kill(dir.path(), 200 + 37 * (round % 11)));
    }
    let opened = Instant::now();
    let store = FjallStore::open(dir.path()).expect("the store opens after fifty kills");
    assert!(opened.elapsed() < Duration::from_secs(5), "opening took {:?}", opened.elapsed());
    let found = all_entries(&store);
    for (place, number) in &acked {
        assert_eq!(found.get(place), Some(number), "acknowledged at {place:?}");
    }
    let log = [99; 16];
    let mut longest = Duration::ZERO;
    block_on(async {
        store.create(log, 0, [1; 32], 1).await.expect("a new log");
        let pipe = Pipe::default();
        for batch in 0..100_u64 {
            let begun = Instant::now();
            let appends = (0..1000).map(|number| store.append(log, 0, &pipe, entry(batch * 1000 + number, 1, 500)));
            let answers = futures_util::future::join_all(appends).await;
            assert!(answers.iter().all(Result::is_ok));
            longest = longest.max(begun.elapsed());
        }
    });
    assert!(longest < Duration::from_secs(5), "the longest stall was {longest:?}");
    assert_eq!(seqs(&store, log).map(|seqs| seqs.len()), Ok(100_000));
}
