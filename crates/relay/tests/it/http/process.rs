//! `transomd` as a process: settings, start-up lines, refusals to start, signals, kill -9, and what its log never holds.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use wire::{EntryId, LogId, Push, Request, Response, Seq};

use super::support::{Account, Client, Log, patient};

fn transomd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_transomd"));
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A relay process; killed when it is dropped.
struct Process {
    child: Child,
    address: SocketAddr,
    lines: String,
}

impl Process {
    fn start(data: &Path, more: &[&str]) -> Self {
        let data = data.to_str().unwrap();
        let mut args = vec!["--data", data, "--http", "127.0.0.1:0", "--https", "off"];
        args.extend(more);
        let mut child = transomd(&args).spawn().unwrap();
        let mut lines = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            if out.read_line(&mut line).unwrap() == 0 {
                let mut error = String::new();
                child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
                panic!("did not start: {error}");
            }
            lines += &line;
            if let Some(address) = line.trim().strip_prefix("listening on  http://") {
                break address.parse().unwrap();
            }
        };
        Self { child, address, lines }
    }

    async fn client(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client::over(stream, self.address).await
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Exit code and log, once it has ended.
    async fn end(mut self) -> (Option<i32>, String) {
        let (code, log) = patient(async {
            tokio::task::spawn_blocking(move || {
                let mut log = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
                (self.child.wait().unwrap().code(), log)
            })
            .await
            .unwrap()
        })
        .await;
        (code, log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refused(output: Output) -> String {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(output.stdout.is_empty(), "nothing is announced");
    error
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("transomd.toml");
    std::fs::write(&file, "name = 'file.example'\nhttp = '127.0.0.1:1'\nhttps = '127.0.0.1:1'\n[log]\nlevel = 'warn'")
        .unwrap();
    let file = file.to_str().unwrap();
    let output = transomd(&["--config", file, "--check", "--https", "127.0.0.1:3"])
        .env("TRANSOM_HTTP", "127.0.0.1:2")
        .env("TRANSOM_HTTPS", "127.0.0.1:2")
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for line in ["name = \"file.example\"", "http = \"127.0.0.1:2\"", "https = \"127.0.0.1:3\"", "level = \"warn\""] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
}

#[test]
fn what_can_not_work_is_refused_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data_arg = data.to_str().unwrap();
    let error = refused(transomd(&["--data", data_arg, "--http", "0.0.0.0:8080"]).output().unwrap());
    assert!(error.contains("loopback") && error.contains("--https"), "{error}");
    let file = dir.path().join("transomd.toml");
    std::fs::write(&file, "[limits]\nmesage_bytes = 1").unwrap();
    let error = refused(transomd(&["--data", data_arg, "--config", file.to_str().unwrap()]).output().unwrap());
    assert!(error.contains("mesage_bytes"), "{error}");
    let error = refused(transomd(&["--data", data_arg, "--cert", "c.pem"]).output().unwrap());
    assert!(error.contains("--key"), "{error}");
    assert!(!data.exists(), "no data directory was made");
}

#[tokio::test]
async fn a_data_directory_that_is_held_newer_or_damaged_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let again = || {
        let data = dir.path().to_str().unwrap();
        refused(transomd(&["--data", data, "--http", "127.0.0.1:0", "--https", "off"]).output().unwrap())
    };
    let running = Process::start(dir.path(), &[]);
    let error = again();
    assert!(error.contains("another transomd") && error.contains("--data"), "{error}");
    running.signal(Signal::TERM);
    assert_eq!(running.end().await.0, Some(0));

    let format = dir.path().join("store/FORMAT");
    let good = std::fs::read(&format).unwrap();
    std::fs::write(&format, "transom store 999\n").unwrap();
    let error = again();
    assert!(error.contains("999"), "{error}");
    std::fs::write(&format, "who knows").unwrap();
    assert!(again().contains("damaged"));
    std::fs::write(&format, good).unwrap();

    let secrets = dir.path().join("relay.json");
    let good = std::fs::read_to_string(&secrets).unwrap();
    std::fs::remove_file(&secrets).unwrap();
    assert!(again().contains("backup"));
    std::fs::write(&secrets, &good[..good.len() / 2]).unwrap();
    assert!(again().contains("damaged"));
    std::fs::write(&secrets, good).unwrap();
    let running = Process::start(dir.path(), &[]);
    running.client().await;
}

#[tokio::test]
async fn a_restored_relay_is_another_incarnation_and_stays_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for more in [&[][..], &["--restored"], &[]] {
        let process = Process::start(dir.path(), more);
        assert!(process.lines.contains("localhost:8443") && process.lines.contains("transomd 0."), "{}", process.lines);
        seen.push(process.client().await.hello.incarnation);
        process.signal(Signal::INT);
        assert_eq!(process.end().await.0, Some(0));
    }
    assert!(seen[0] != seen[1] && seen[1] == seen[2]);
}

#[tokio::test]
async fn on_sigterm_connections_hear_it_and_the_process_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path(), &[]);
    let mut client = process.client().await;
    process.signal(Signal::HUP);
    process.signal(Signal::TERM);
    assert!(matches!(client.push().await, Push::GoingAway { .. }));
    assert_eq!(client.frame().await, None);
    assert_eq!(process.end().await.0, Some(0));
}

/// Appends to a log of its own until the relay dies; what was acknowledged, and where.
async fn load(mut client: Client<TcpStream>, mut opener: Client<TcpStream>) -> (Log, HashMap<EntryId, Seq>) {
    let log = Log::new(&mut opener).await;
    log.open(&mut client, 0).await;
    let mut acknowledged = HashMap::new();
    'until_killed: loop {
        let requests: Vec<_> = (0..16).map(|_| log.append(0, &[9; 500])).collect();
        let ids: Vec<_> = requests
            .iter()
            .map(|request| match request {
                Request::Append { id, .. } => *id,
                _ => panic!("not an append"),
            })
            .collect();
        let Ok(sent) = client.try_send_all(requests).await else { break };
        for (number, id) in sent.into_iter().zip(ids) {
            match client.try_answer(number).await {
                Some(Ok(Response::Appended { seq, .. })) => assert_eq!(acknowledged.insert(id, seq), None),
                Some(other) => panic!("{other:?}"),
                None => break 'until_killed,
            }
        }
    }
    (log, acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_what_was_acknowledged_is_there_once_after_kill_9_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("transomd.toml");
    std::fs::write(&file, "[rates]\nunlimited = true").unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let data = dir.path().join("data");
    let mut all: Vec<(Log, HashMap<EntryId, Seq>)> = Vec::new();
    for round in 0..3u32 {
        let process = Process::start(&data, &config);
        check(&process, &all).await;
        let mut loads = Vec::new();
        for _ in 0..8 {
            loads.push(tokio::spawn(load(process.client().await, process.client().await)));
        }
        // Killed in the middle of what it does: once so many entries of one more log were acknowledged.
        let mut pace = process.client().await;
        let log = Log::new(&mut process.client().await).await;
        log.open(&mut pace, 0).await;
        for _ in 0..100 + 150 * round {
            assert!(matches!(pace.ask(log.append(0, b"tick")).await, Ok(Response::Appended { .. })));
        }
        process.signal(Signal::KILL);
        for load in loads {
            let (log, acknowledged) = patient(load).await.unwrap();
            assert!(!acknowledged.is_empty(), "there was a load");
            all.push((log, acknowledged));
        }
        assert_eq!(process.end().await.0, None, "killed");
    }
    check(&Process::start(&data, &config), &all).await;
}

/// Every acknowledged entry is in its log, once, at the place that was acknowledged; the log has no holes.
async fn check(process: &Process, all: &[(Log, HashMap<EntryId, Seq>)]) {
    let mut client = process.client().await;
    for (log, acknowledged) in all {
        log.open(&mut client, 0).await;
        let mut found: HashMap<EntryId, Seq> = HashMap::new();
        let mut next = 1;
        loop {
            let Ok(Response::Page { entries, more, .. }) = client.ask(log.read(0, next)).await else {
                panic!("a log can't be read");
            };
            for entry in entries {
                assert_eq!((entry.seq, entry.prev), (Seq(next), Seq(next - 1)), "no hole");
                assert_eq!(found.insert(entry.id, entry.seq), None, "twice");
                next += 1;
            }
            if !more {
                break;
            }
        }
        for (id, seq) in acknowledged {
            assert_eq!(found.get(id), Some(seq), "an acknowledged append is lost or moved");
        }
    }
}

#[tokio::test]
async fn i10_the_log_at_trace_holds_nothing_of_a_user() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path(), &["--log-level", "trace", "--log-format", "json"]);
    let account = Account::new("alice-canary@localhost:8443").registered(&mut process.client().await).await;
    let mut client = process.client().await;
    let log = Log::new(&mut process.client().await).await;
    log.open(&mut client, 0).await;
    client.ask(log.append(0, b"text-canary")).await.unwrap();
    client.ask(log.read(0, 1)).await.unwrap();
    client.send_bytes(b"\xffgarbage-canary".as_slice().into()).await.unwrap();
    client.ask(log.append(7, b"refused-canary")).await.unwrap_err();
    let mut stranger = process.client().await;
    stranger.ask(Request::LookUp { address: "nobody-canary@localhost:8443".parse().unwrap() }).await.unwrap_err();
    process.signal(Signal::TERM);
    let (code, written) = process.end().await;
    assert_eq!(code, Some(0));
    assert!(written.contains("stopped as asked"), "the log does hold lines");
    let hex = |id: LogId| data_encoding::HEXLOWER.encode(&id.0);
    let written = written.to_ascii_lowercase();
    for secret in ["canary", "127.0.0.1", &hex(log.id)[..8], &account.device.to_string()[..8]] {
        assert!(!written.contains(secret), "{secret} is in\n{written}");
    }
    for line in written.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("every line is JSON");
        let target = line["target"].as_str().unwrap();
        assert!(["transomd", "relay", "store"].contains(&target.split("::").next().unwrap()), "{target}");
    }
}
