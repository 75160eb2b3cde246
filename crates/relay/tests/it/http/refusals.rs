//! Every code of refusal, provoked over a real WebSocket, with what the user reads.

use relay::config::Connections;
use relay::core::{Quota, Registration};
use store::StoreError;
use tokio::net::TcpStream;
use wire::{Code, DeviceId, Epoch, EpochPublicKey, Error, RecordHash, Request, Response, Seq, Subscription};

use super::support::{Account, Client, Log, Served, config, now, random};

type Answer = Result<Response, Error>;

/// A log that `client` has opened in epoch 0.
async fn opened(served: &Served, client: &mut Client<TcpStream>) -> Log {
    let log = Log::new(&mut served.client().await).await;
    log.open(client, 0).await;
    log
}

/// Provokes `code`. The match has no wildcard: a new code without a case does not compile.
async fn provoke(code: Code) -> Answer {
    let mut config = config();
    match code {
        Code::RateLimited => config.rates.errands_per_connection = Quota::per_hour(1, 1),
        Code::Refused => config.registration = Registration::Closed,
        Code::Restoring => config.restoring_until = Some(now().plus(3_600_000)),
        Code::TooMany => config.limits.subscriptions = 1,
        _ => {}
    }
    let served = Served::with(config, Connections::default()).await;
    let mut client = served.client().await;
    let client = &mut client;
    let look_up = Request::LookUp { address: "nobody@localhost:8443".parse().unwrap() };
    match code {
        Code::Malformed => {
            client.send_bytes(b"\x08\x07\x12\xff\xff\xff\xff\x0f".as_slice().into()).await.unwrap();
            client.answer(0).await
        }
        Code::WrongLane => {
            opened(&served, client).await;
            client.ask(look_up).await
        }
        Code::NotOpened => {
            let log = Log::new(&mut served.client().await).await;
            client.ask(log.append(0, b"hi")).await
        }
        Code::StaleEpoch => {
            let log = opened(&served, client).await;
            assert!(matches!(client.ask(log.commit(0)).await, Ok(Response::Appended { .. })));
            let refused = client.ask(log.append(0, b"late")).await;
            assert_eq!(refused.as_ref().unwrap_err().current, 1);
            refused
        }
        Code::Aborted => {
            let log = opened(&served, client).await;
            client.ask(log.commit(0)).await.unwrap();
            let late = [log.append(0, b"late"), log.append(0, b"behind it")];
            let ids = client.send_all(late.into()).await;
            assert_eq!(client.answer(ids[0]).await.unwrap_err().code, Code::StaleEpoch);
            client.answer(ids[1]).await
        }
        Code::AlreadyExists => {
            let log = Log::new(client).await;
            let taken = Request::Create { log: log.id, epoch: Epoch(0), next: EpochPublicKey(log.key(9).public().0) };
            client.ask(taken).await
        }
        Code::NotFound => client.ask(look_up).await,
        Code::TooLarge => {
            let log = opened(&served, client).await;
            client.ask(log.append(0, &vec![0; 64 * 1024 + 1])).await
        }
        Code::RateLimited => {
            Log::new(client).await;
            let refused = client.ask(look_up).await;
            assert!(refused.as_ref().unwrap_err().retry_after_ms > 0, "it says when to try again");
            refused
        }
        Code::Conflict => {
            let account = Account::new("alice@localhost:8443").registered(client).await;
            let skipped = account.record(3, RecordHash(random()));
            let refused = client.ask(Request::PutRecord { record: skipped.bytes().clone(), account_proof: None }).await;
            assert_eq!(refused.as_ref().unwrap_err().current, 1);
            refused
        }
        Code::BadProof => {
            let account = Account::new("alice@localhost:8443").registered(&mut served.client().await).await;
            let mut stale = client.hello.clone();
            stale.nonce.0 = random();
            client.ask(account.authenticate(&stale)).await
        }
        Code::NotAuthenticated => client.ask(Request::CountKeyPackages).await,
        Code::NoKeyPackage => {
            let account = Account::new("alice@localhost:8443").registered(&mut served.client().await).await;
            client.ask(Request::ClaimKeyPackage { address: account.address, device: account.device }).await
        }
        Code::Unavailable => failing(&served, client, StoreError::Unavailable("the disk is full")).await,
        Code::OutcomeUnknown => failing(&served, client, StoreError::OutcomeUnknown).await,
        Code::Internal => failing(&served, client, StoreError::Damaged("a hole".into())).await,
        Code::Refused => client.ask(Account::new("alice@localhost:8443").register()).await,
        Code::Restoring => {
            let log = opened(&served, client).await;
            client.ask(log.commit(0)).await
        }
        Code::Unsupported => {
            // Field 1000 of the request: a later version's.
            client.send_bytes(b"\x08\x07\xc2\x3e\x00".as_slice().into()).await.unwrap();
            client.answer(7).await
        }
        Code::TooMany => {
            let logs = [opened(&served, client).await, opened(&served, client).await];
            let logs = logs.map(|log| Subscription { log: log.id, epoch: Epoch(0), from: Seq(1) });
            client.ask(Request::Subscribe { logs: logs.into() }).await
        }
    }
}

async fn failing(served: &Served, client: &mut Client<TcpStream>, fault: StoreError) -> Answer {
    let log = opened(served, client).await;
    served.store.fail(Some(fault));
    let refused = client.ask(log.append(0, b"hi")).await;
    served.store.fail(None);
    // The pipe is broken by the refusal; the next one is not.
    assert!(matches!(client.ask(log.append_in(0, 1, b"hi")).await, Ok(Response::Appended { .. })));
    refused
}

/// Of each code what the relay said, with the time to try again left out, as a line of `refusals.txt` has it.
fn said(refused: &Error) -> String {
    let Error { code, detail, retry_after_ms, current } = refused;
    let again = if *retry_after_ms == 0 { "" } else { " [it says when to try again]" };
    let current = if *current == 0 { String::new() } else { format!(" [current: {current}]") };
    format!("{} {code:?}: {detail}{again}{current}", *code as u32)
}

/// What is said is committed in `refusals.txt`; the words that people read of it are in the indented lines below each, which the
/// engine's test of the same name makes from these very lines. A run with `TRANSCRIPTS=overwrite` renews the lines that are ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_code_is_provoked_and_says_what_to_do() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/refusals.txt");
    let committed = std::fs::read_to_string(&path).unwrap();
    let ours: Vec<&str> = committed.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
    let mut provoked = Vec::new();
    for code in Code::ALL {
        let refused = provoke(code).await.expect_err(&format!("{code:?} was not provoked"));
        assert_eq!(refused.code, code, "{}", refused.detail);
        let words = refused.detail.split_whitespace().count();
        assert!(words >= 5, "{code:?} says too little: {:?}", refused.detail);
        assert!(!refused.detail.contains("alice") && !refused.detail.contains("nobody"), "{}", refused.detail);
        provoked.push(said(&refused));
    }
    if std::env::var_os("TRANSCRIPTS").is_some_and(|mode| mode == "overwrite") {
        let head = committed.lines().take_while(|line| line.starts_with('#'));
        let renewed: Vec<&str> = head.chain(provoked.iter().map(String::as_str)).collect();
        std::fs::write(&path, renewed.join("\n") + "\n").unwrap();
    } else {
        assert_eq!(provoked, ours, "TRANSCRIPTS=overwrite renews these lines; the engine's test then needs it, too");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_16_a_record_by_the_account_key_needs_that_key_on_this_connection() {
    let served = Served::start().await;
    let account = Account::new("alice@localhost:8443").registered(&mut served.client().await).await;
    let mut client = served.client().await;
    let first = account.record(1, RecordHash::default());
    let second = account.record(2, first.hash());
    let stolen = account.put_record(&second, &served.client().await.hello);
    assert_eq!(client.ask(stolen).await.unwrap_err().code, Code::BadProof);
    let other = Account::new("alice@localhost:8443");
    let theirs = other.put_record(&other.record(2, first.hash()), &client.hello);
    assert_eq!(client.ask(theirs).await.unwrap_err().code, Code::BadProof);
    let nobody = Account::new("nobody@localhost:8443");
    let absent = nobody.put_record(&nobody.record(1, RecordHash::default()), &client.hello);
    assert_eq!(client.ask(absent).await.unwrap_err().code, Code::BadProof);
    let skipping = account.put_record(&account.record(3, first.hash()), &client.hello);
    let refused = client.ask(skipping).await.unwrap_err();
    assert_eq!((refused.code, refused.current), (Code::Conflict, 1));
    let request = account.put_record(&second, &client.hello);
    assert_eq!(client.ask(request).await, Ok(Response::Done));
}

/// Malformed fields and what else the core refuses under the same codes, one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_ways_to_the_same_codes() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let foreign = Account::new("alice@elsewhere.example");
    assert_eq!(client.ask(foreign.register()).await.unwrap_err().code, Code::Refused, "an address of another relay");
    let unknown = Account::new("bob@localhost:8443");
    let request = unknown.authenticate(&client.hello);
    assert_eq!(client.ask(request).await.unwrap_err().code, Code::BadProof, "a device of no account");

    let mut errand = served.client().await;
    let nobody =
        Request::ClaimKeyPackage { address: "nobody@localhost:8443".parse().unwrap(), device: DeviceId(random()) };
    assert_eq!(errand.ask(nobody).await.unwrap_err().code, Code::NotFound, "a package of nobody");

    let log = Log::new(&mut errand).await;
    let mut member = served.client().await;
    let mut forged = log.open_request(&member.hello, 0);
    if let Request::Open { logs } = &mut forged {
        logs[0].signature[5] ^= 1;
    }
    match member.ask(forged).await {
        Ok(Response::Opened(states)) => assert_eq!(states[0].error, Some(Code::NotFound)),
        other => panic!("{other:?}"),
    }
    // Another connection's proof is worth nothing here.
    let theirs = log.open_request(&served.client().await.hello, 0);
    match member.ask(theirs).await {
        Ok(Response::Opened(states)) => assert_eq!(states[0].error, Some(Code::NotFound)),
        other => panic!("{other:?}"),
    }
    assert_eq!(member.ask(log.append(0, b"hi")).await.unwrap_err().code, Code::NotOpened);
}
