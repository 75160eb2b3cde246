//! I9: bytes of any kind, at any layer, leave the relay healthy.

use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_websockets::{CloseCode, Message};
use wire::{ClientFrame, Code, Epoch, Request, Response, Seq, Subscription};

use super::flow::UPGRADE;
use super::support::{Account, Client, Log, Served, patient};

/// One relay for all cases: what one leaves behind, the next ones meet.
fn relay() -> &'static (Runtime, Served) {
    static RELAY: OnceLock<(Runtime, Served)> = OnceLock::new();
    RELAY.get_or_init(|| {
        let runtime = Runtime::new().unwrap();
        let mut config = super::support::config();
        config.rates = relay::core::Rates::UNLIMITED;
        let served = runtime.block_on(Served::with(config, relay::config::Connections::default()));
        (runtime, served)
    })
}

#[derive(Debug, Clone)]
enum Step {
    Random(Vec<u8>),
    Valid(usize),
    Truncated(usize, prop::sample::Index),
    Flipped(usize, prop::sample::Index, u8),
    Text(String),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Step::Random),
        // The same one again is a replay; any order is a reordering.
        (0..16usize).prop_map(Step::Valid),
        (0..16usize, any::<prop::sample::Index>()).prop_map(|(which, at)| Step::Truncated(which, at)),
        (0..16usize, any::<prop::sample::Index>(), any::<u8>())
            .prop_map(|(which, at, by)| Step::Flipped(which, at, by)),
        "\\PC{0,20}".prop_map(Step::Text),
    ]
}

/// One request of each kind.
fn requests(client: &Client<TcpStream>, log: &Log, account: &Account) -> Vec<Request> {
    let subscription = Subscription { log: log.id, epoch: Epoch(0), from: Seq(1) };
    vec![
        log.open_request(&client.hello, 0),
        log.append(0, b"body"),
        log.commit(0),
        log.read(0, 1),
        Request::Subscribe { logs: vec![subscription] },
        Request::Unsubscribe { logs: vec![log.id] },
        Request::Signal { log: log.id, epoch: Epoch(0), body: b"typing".as_slice().into() },
        account.register(),
        account.authenticate(&client.hello),
        Request::CountKeyPackages,
        Request::SubscribeInbox { from: Seq(1) },
        Request::PutKeyPackages { packages: vec![b"x".as_slice().into()], last_resort: None, replace: true },
        log.create(),
        Request::LookUp { address: account.address.clone() },
        Request::ClaimKeyPackage { address: account.address.clone(), device: account.device },
        Request::Deposit { inbox: log.id, id: wire::EntryId([1; 16]), body: b"sealed".as_slice().into() },
    ]
}

proptest! {
    #![proptest_config(Config { cases: 64, failure_persistence: None, ..Config::default() })]

    #[test]
    fn i9_frames_of_any_kind_are_answered_or_end_only_their_own_connection(steps in prop::collection::vec(step(), 1..60)) {
        let (runtime, served) = relay();
        runtime.block_on(async {
            let log = Log::new(&mut served.client().await).await;
            let mut client = served.client().await;
            let requests = requests(&client, &log, &Account::new("mallory@localhost:8443"));
            for (at, step) in steps.iter().enumerate() {
                let encoded = |which: &usize| ClientFrame { id: at as u64, request: requests[*which].clone() }.encode();
                let message = match step {
                    Step::Random(bytes) => Message::binary(bytes.clone()),
                    Step::Valid(which) => Message::binary(encoded(which)),
                    Step::Truncated(which, cut) => {
                        let bytes = encoded(which);
                        Message::binary(bytes.slice(..cut.index(bytes.len())))
                    }
                    Step::Flipped(which, place, by) => {
                        let mut bytes = encoded(which).to_vec();
                        let place = place.index(bytes.len());
                        bytes[place] ^= by;
                        Message::binary(bytes)
                    }
                    Step::Text(text) => Message::text(text.clone()),
                };
                client.raw(message).await;
            }
            // Field 1000, which no version knows yet: refused at once, so its answer comes last or with the last ones.
            client.send_bytes(b"\x08\xff\xff\x03\xc2\x3e\x00".as_slice().into()).await.unwrap();
            let refused = client.answer(0xffff).await;
            prop_assert_eq!(refused.map_err(|error| error.code), Err(Code::Unsupported));
            served.is_healthy().await;
            Ok::<(), TestCaseError>(())
        })?;
    }

    #[test]
    fn i9_bytes_that_are_no_websocket_end_only_their_own_connection(
        is_upgraded: bool,
        head in prop_oneof![Just(Vec::new()), Just(b"GET /v1/blobs/ HTTP/1.1\r\n".to_vec()), Just(b"\x16\x03\x01\x02".to_vec())],
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let (runtime, served) = relay();
        runtime.block_on(async {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            let first = if is_upgraded { UPGRADE.as_bytes() } else { &head };
            // The relay may have closed before all is written.
            let _ = stream.write_all(&[first, &bytes].concat()).await;
            let _ = stream.shutdown().await;
            let mut all = Vec::new();
            let _ = patient(stream.read_to_end(&mut all)).await;
            served.is_healthy().await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_larger_than_any_frame_may_be_ends_the_connection_with_its_reason() {
    let served = Served::start().await;
    let limit = 4 << 20;
    let mut client = served.client().await;
    // Too large for the core, not for the socket: refused, and the connection stays.
    let log = Log::new(&mut served.client().await).await;
    log.open(&mut client, 0).await;
    assert_eq!(client.ask(log.append(0, &vec![0; limit - 1000])).await.unwrap_err().code, Code::TooLarge);
    assert!(matches!(client.ask(log.append_in(0, 1, b"fine")).await, Ok(Response::Appended { .. })));

    // In two frames, and in one.
    for bytes in [vec![0; limit + 2048], vec![0; 2 * limit]] {
        let mut client = served.client().await;
        client.send_bytes(bytes.into()).await.unwrap();
        let close = client.message().await.expect("a close frame");
        assert_eq!(close.as_close().map(|(code, _)| code), Some(CloseCode::MESSAGE_TOO_BIG));
    }
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    // A binary frame that announces 2^62 bytes.
    let frame = [0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    stream.write_all(&[UPGRADE.as_bytes(), &frame].concat()).await.unwrap();
    let mut all = vec![0; 1 << 16];
    let mut length = 0;
    while !all[..length].windows(2).any(|two| two == 1009u16.to_be_bytes()) {
        let count = patient(stream.read(&mut all[length..])).await.unwrap();
        assert_ne!(count, 0, "closed without a reason");
        length += count;
    }
    served.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_sends_a_frame_that_can_be_read_is_sent_away() {
    let served = Served::start().await;
    let mut client = served.client().await;
    for _ in 0..64 {
        client.send_bytes(b"\xff".as_slice().into()).await.unwrap();
    }
    let mut refused = 0;
    loop {
        let message = client.message().await.expect("a close frame");
        if let Some((code, _)) = message.as_close() {
            assert_eq!(code, CloseCode::POLICY_VIOLATION);
            break;
        }
        refused += 1;
    }
    assert_eq!(refused, 64, "each was answered");
    served.is_healthy().await;
}
