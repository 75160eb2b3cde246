//! What clients that keep the rules see: order, subscriptions, slow readers, lanes, limits of connections, an orderly end.

use std::time::Duration;

use relay::config::Connections;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_websockets::Message;
use wire::{Code, Epoch, Push, Request, Response, Seq, ServerFrame, Subscription};

use super::support::{Client, Log, Served, config, http, patient};

fn subscribe(log: &Log, from: u64) -> Request {
    Request::Subscribe { logs: vec![Subscription { log: log.id, epoch: Epoch(0), from: Seq(from) }] }
}

async fn pair(served: &Served) -> (Log, Client<TcpStream>, Client<TcpStream>) {
    let log = Log::new(&mut served.client().await).await;
    let (mut writer, mut reader) = (served.client().await, served.client().await);
    log.open(&mut writer, 0).await;
    log.open(&mut reader, 0).await;
    (log, writer, reader)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_in_one_write_is_applied_in_that_order() {
    let served = Served::start().await;
    let (log, mut writer, mut reader) = pair(&served).await;
    assert_eq!(reader.ask(subscribe(&log, 1)).await, Ok(Response::Done));
    for round in 0..50u8 {
        let ids = writer.send_all((0..16).map(|at| log.append(0, &[round, at])).collect()).await;
        for (at, id) in ids.into_iter().enumerate() {
            let expected = u64::from(round) * 16 + at as u64 + 1;
            match writer.answer(id).await {
                Ok(Response::Appended { seq, .. }) => assert_eq!(seq, Seq(expected)),
                other => panic!("{other:?}"),
            }
        }
    }
    let mut bodies = Vec::new();
    while bodies.len() < 800 {
        match reader.push().await {
            Push::Entries { entries, .. } => bodies.extend(entries.into_iter().map(|entry| entry.body)),
            other => panic!("{other:?}"),
        }
    }
    let expected = (0..50u8).flat_map(|round| (0..16u8).map(move |at| vec![round, at]));
    assert!(bodies.iter().map(|body| body.to_vec()).eq(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_are_never_mixed_whichever_comes_first() {
    let served = Served::start().await;
    let log = Log::new(&mut served.client().await).await;
    let request = |lane: u8| match lane {
        0 => log.read(0, 1),
        1 => Request::CountKeyPackages,
        _ => Request::LookUp { address: "nobody@localhost:8443".parse().unwrap() },
    };
    for first in 0..3 {
        for second in (0..3).filter(|second| *second != first) {
            let mut client = served.client().await;
            let entered = client.ask(request(first)).await;
            assert_ne!(entered.unwrap_err().code, Code::WrongLane);
            assert_eq!(client.ask(request(second)).await.unwrap_err().code, Code::WrongLane);
            assert_ne!(client.ask(request(first)).await.unwrap_err().code, Code::WrongLane, "the first lane stays");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_told_where_it_lagged_and_reads_on() {
    const ENTRIES: u64 = 600;
    let served = Served::start().await;
    let (log, mut writer, mut reader) = pair(&served).await;
    assert_eq!(reader.ask(subscribe(&log, 1)).await, Ok(Response::Done));
    // More than the sockets' own buffers and the relay's queue hold together; the reader does not read meanwhile.
    let body = vec![7; 60 << 10];
    for _ in 0..ENTRIES {
        assert!(matches!(writer.ask(log.append(0, &body)).await, Ok(Response::Appended { .. })));
    }
    let mut next = 1;
    let lagged = loop {
        match reader.push().await {
            Push::Entries { entries, .. } => {
                for entry in entries {
                    assert_eq!(entry.seq, Seq(next), "no gap before it is told of one");
                    next += 1;
                }
            }
            Push::Lagged { log: of, seq } => {
                assert_eq!(of, log.id);
                break seq;
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lagged, Seq(next), "the first entry that was not sent");
    assert!(next <= ENTRIES, "the reader did lag");
    while next <= ENTRIES {
        match reader.ask(log.read(0, next)).await {
            Ok(Response::Page { entries, .. }) => {
                assert_eq!(entries.first().map(|entry| entry.seq), Some(Seq(next)));
                next += entries.len() as u64;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reader.ask(subscribe(&log, next)).await, Ok(Response::Done));
    writer.ask(log.append(0, b"live again")).await.unwrap();
    match reader.push().await {
        Push::Entries { entries, .. } => {
            assert_eq!((entries[0].seq, &entries[0].body[..]), (Seq(next), &b"live again"[..]))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_take_its_answers_is_not_read_from_and_loses_none() {
    let served = Served::start().await;
    let (log, mut writer, mut reader) = pair(&served).await;
    for _ in 0..16 {
        writer.ask(log.append(0, &vec![1; 60 << 10])).await.unwrap();
    }
    // Some 200 pages of a megabyte: far more than the relay would hold for one connection.
    let ids = reader.send_all((0..200).map(|_| log.read(0, 1)).collect()).await;
    for id in ids {
        match reader.answer(id).await {
            Ok(Response::Page { entries, .. }) => assert!(!entries.is_empty()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_is_answered_before_the_relay_goes_away() {
    let served = Served::start().await;
    let (log, mut writer, mut idle) = pair(&served).await;
    let address = served.address;
    let store = served.store.clone();
    store.hold();
    let id = writer.send(log.append(0, b"in flight")).await;
    // Answered at once, so that the append before it has reached the store.
    writer.ask(Request::Unsubscribe { logs: vec![] }).await.unwrap();

    let stopped = served.stop();
    assert!(matches!(idle.push().await, Push::GoingAway { retry_after_ms: 1.. }));
    assert_eq!(idle.frame().await, None, "closed");
    assert!(TcpStream::connect(address).await.is_err(), "nothing is accepted any more");
    assert!(!stopped.is_finished(), "a request is in flight");
    store.release();
    assert!(matches!(writer.answer(id).await, Ok(Response::Appended { .. })));
    assert!(matches!(writer.push().await, Push::GoingAway { .. }));
    assert_eq!(writer.frame().await, None);
    patient(stopped).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_answer_the_close_is_cut_when_the_time_is_over() {
    let connections = Connections { drain: Duration::from_millis(100), ..Connections::default() };
    let served = Served::with(config(), connections).await;
    // Neither reads nor writes from here on.
    let (_silent, _http) = (served.client().await, TcpStream::connect(served.address).await.unwrap());
    patient(served.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_pinged_and_cut_and_an_answering_one_stays() {
    let connections = Connections { ping: Duration::from_millis(50), ..Connections::default() };
    let served = Served::with(config(), connections).await;
    // Speaks no WebSocket beyond the upgrade, so nothing answers the pings.
    let mut dead = TcpStream::connect(served.address).await.unwrap();
    dead.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut everything = Vec::new();
    patient(dead.read_to_end(&mut everything)).await.unwrap();
    let pings = everything.windows(2).filter(|two| two == &[0x89, 0x00]).count();
    assert!(pings >= 3, "{pings} pings");

    let mut client = served.client().await;
    for _ in 0..8 {
        // The client's socket answers pings while it is read.
        assert!(client.message().await.expect("still connected").is_ping());
    }
    client.raw(Message::ping("x")).await;
    loop {
        let message = client.message().await.expect("still connected");
        if message.is_pong() {
            assert_eq!(&message.as_payload()[..], b"x");
            break;
        }
    }
}

pub const UPGRADE: &str = "GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_no_more_connections_than_was_decided() {
    let connections = Connections { total: 2, ..Connections::default() };
    let served = Served::with(config(), connections).await;
    let (first, _second) = (served.client().await, served.client().await);
    let mut refused = TcpStream::connect(served.address).await.unwrap();
    let mut nothing = Vec::new();
    let ended = patient(refused.read_to_end(&mut nothing)).await;
    assert!(ended.is_err() || nothing.is_empty());
    drop(first);
    // The place comes back once the relay has seen the end; the listener's queue makes newcomers wait for nothing else.
    loop {
        let stream = TcpStream::connect(served.address).await.unwrap();
        let mut probe = stream;
        probe.write_all(UPGRADE.as_bytes()).await.unwrap();
        let mut one = [0];
        if matches!(patient(probe.read(&mut one)).await, Ok(1)) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_paths_answer_in_types() {
    let served = Served::start().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let (status, _, body) = http(served.address, &get("/healthz"), b"").await;
    assert_eq!(status, 200);
    assert!(String::from_utf8(body).unwrap().contains("\"status\":\"ok\""));
    for (request, status, code) in [
        (get("/nothing"), 404, "not_found"),
        (get("/ca.pem"), 404, "not_found"),
        (get("/v1/stream"), 426, "unsupported"),
        (get("/v1/blobs/xyz"), 400, "malformed"),
        (get("/healthz").replacen("GET", "POST", 1), 405, "unsupported"),
        (UPGRADE.replacen("dGhl", "dG", 1).replacen("keep-alive, ", "", 1), 400, "malformed"),
        (UPGRADE.replacen("Version: 13", "Version: 8", 1), 400, "malformed"),
    ] {
        let request =
            if request.contains("close") { request } else { request.replacen("Host", "Connection: close\r\nHost", 1) };
        let (got, head, body) = http(served.address, &request, b"").await;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{head}");
        assert!(body["detail"].as_str().unwrap().len() > 20, "{body}");
    }
}

/// What was read together with the upgrade request belongs to the WebSocket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_come_with_the_upgrade_are_not_lost() {
    let served = Served::start().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    // A masked binary frame with an unreadable request, in the same segment as the upgrade.
    let frame = [0x82, 0x82, 0, 0, 0, 0, 0x08, 0x07];
    stream.write_all(&[UPGRADE.as_bytes(), &frame].concat()).await.unwrap();
    let mut got = Vec::new();
    let answer = loop {
        let mut more = [0; 4096];
        let count = patient(stream.read(&mut more)).await.unwrap();
        assert_ne!(count, 0, "closed before it answered");
        got.extend_from_slice(&more[..count]);
        if let Some(answer) = second_frame(&got) {
            break answer;
        }
    };
    match ServerFrame::decode(answer.into()).unwrap() {
        ServerFrame::Response { id: 7, result: Err(error) } => assert_eq!(error.code, Code::Unsupported),
        other => panic!("{other:?}"),
    }
}

/// The payload of the second WebSocket frame behind an HTTP head.
fn second_frame(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut at = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    for turn in 0.. {
        let (mut length, mut head) = (usize::from(*bytes.get(at + 1)?), 2);
        if length == 126 {
            length = usize::from(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]));
            head = 4;
        }
        let payload = bytes.get(at + head..at + head + length)?;
        if turn == 1 {
            return Some(payload.to_vec());
        }
        at += head + length;
    }
    None
}
