//! One frame of each kind, with values that can be told apart in a hex dump. The snapshot and the corpus are made of them.

use wire::{
    AccountRecord, Bytes, ClientFrame, Code, Device, DeviceCertificate, DeviceId, Entry, EntryId, EntryKind, Epoch,
    EpochPublicKey, Error, HPKE_KEY_BYTES, Hello, Incarnation, Limits, LogId, LogState, Nonce, OfferedKeyPackage,
    OpenLog, PROTOCOL_VERSION, Push, RecordHash, Request, Response, Seq, ServerFrame, SigningKey, Subscription,
    UnixMillis,
};

const LOG: LogId = LogId([0x10; 16]);
const DEVICE: DeviceId = DeviceId([0xde; 16]);
const TIME: UnixMillis = UnixMillis(1_700_000_000_000);

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// A name for each kind of request. A new kind does not compile here until it has one; then it needs a sample as well.
pub fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Open { .. } => "open",
        Request::Append { .. } => "append",
        Request::Commit { .. } => "commit",
        Request::Read { .. } => "read",
        Request::Subscribe { .. } => "subscribe",
        Request::Unsubscribe { .. } => "unsubscribe",
        Request::Signal { .. } => "signal",
        Request::Authenticate { .. } => "authenticate",
        Request::Register { .. } => "register",
        Request::PutRecord { account_proof: None, .. } => "put-record",
        Request::PutRecord { account_proof: Some(_), .. } => "put-record-by-account",
        Request::PutKeyPackages { .. } => "put-key-packages",
        Request::CountKeyPackages => "count-key-packages",
        Request::ReadInbox { .. } => "read-inbox",
        Request::SubscribeInbox { .. } => "subscribe-inbox",
        Request::Create { .. } => "create",
        Request::CreateRendezvous { .. } => "create-rendezvous",
        Request::LookUp { .. } => "look-up",
        Request::ClaimKeyPackage { .. } => "claim-key-package",
        Request::Deposit { .. } => "deposit",
    }
}

/// How many names [`request_name`] knows.
pub const REQUESTS: usize = 20;

/// A name for each kind of frame that a relay sends.
pub fn server_frame_name(frame: &ServerFrame) -> &'static str {
    match frame {
        ServerFrame::Hello(_) => "hello",
        ServerFrame::Response { result: Err(_), .. } => "response-error",
        ServerFrame::Response { result: Ok(response), .. } => match response {
            Response::Done => "response-done",
            Response::Appended { .. } => "response-appended",
            Response::Opened(_) => "response-opened",
            Response::Page { .. } => "response-page",
            Response::Record(_) => "response-record",
            Response::KeyPackage { .. } => "response-key-package",
            Response::KeyPackageCount { .. } => "response-key-package-count",
        },
        ServerFrame::Push(push) => match push {
            Push::Entries { .. } => "push-entries",
            Push::Lagged { .. } => "push-lagged",
            Push::Signal { .. } => "push-signal",
            Push::EpochEnded { .. } => "push-epoch-ended",
            Push::GoingAway { .. } => "push-going-away",
        },
    }
}

/// How many names [`server_frame_name`] knows.
pub const SERVER_FRAMES: usize = 14;

/// One request of each kind.
pub fn requests() -> Vec<Request> {
    let address = || "alice@relay.example:8443".parse().unwrap();
    vec![
        Request::Open {
            logs: vec![
                OpenLog { log: LOG, epoch: Epoch(3), signature: [0x51; 64] },
                OpenLog { log: LogId([0x11; 16]), epoch: Epoch(0), signature: [0x52; 64] },
            ],
        },
        Request::Append {
            log: LOG,
            epoch: Epoch(3),
            pipe: 2,
            id: EntryId([0x1d; 16]),
            body: bytes("sealed"),
            commitment: [0xc0; 32],
        },
        Request::Commit {
            log: LOG,
            epoch: Epoch(3),
            id: EntryId([0x1d; 16]),
            next: EpochPublicKey([0xee; 32]),
            body: bytes("sealed"),
            end_watches: true,
            repost: true,
        },
        Request::Read { log: LOG, epoch: Epoch(3), from: Seq(300), max_bytes: 65_536 },
        Request::Subscribe { logs: vec![Subscription { log: LOG, epoch: Epoch(3), from: Seq(300) }] },
        Request::Unsubscribe { logs: vec![LOG, LogId([0x11; 16])] },
        Request::Signal { log: LOG, epoch: Epoch(3), body: bytes("sealed") },
        Request::Authenticate { address: address(), device: DEVICE, signature: [0x51; 64] },
        Request::Register { record: bytes("signed record"), invite: "invite".into() },
        Request::PutRecord { record: bytes("signed record"), account_proof: None },
        Request::PutRecord { record: bytes("signed record"), account_proof: Some([0xac; 64]) },
        Request::PutKeyPackages {
            packages: vec![bytes("one"), bytes("two")],
            last_resort: Some(bytes("last")),
            replace: true,
        },
        Request::CountKeyPackages,
        Request::ReadInbox { from: Seq(300), max_bytes: 65_536 },
        Request::SubscribeInbox { from: Seq(300) },
        Request::Create { log: LOG, epoch: Epoch(3), next: EpochPublicKey([0xee; 32]) },
        Request::CreateRendezvous { log: LOG, next: EpochPublicKey([0xee; 32]) },
        Request::LookUp { address: address() },
        Request::ClaimKeyPackage { address: address(), device: DEVICE },
        Request::Deposit { inbox: LOG, id: EntryId([0x1d; 16]), body: bytes("sealed") },
    ]
}

/// One client frame of each kind, under its name.
pub fn client_frames() -> Vec<(&'static str, ClientFrame)> {
    requests().into_iter().map(|request| (request_name(&request), ClientFrame { id: 77, request })).collect()
}

fn entries() -> Vec<Entry> {
    let message = Entry {
        seq: Seq(301),
        prev: Seq(300),
        time: TIME,
        kind: EntryKind::Message,
        epoch: Epoch(3),
        id: EntryId([0x1d; 16]),
        body: bytes("sealed"),
        commitment: [0xc0; 32],
        next: None,
        stamp: [0x57; 32],
    };
    let commit = Entry {
        seq: Seq(302),
        prev: Seq(301),
        kind: EntryKind::Commit,
        commitment: [0; 32],
        next: Some(EpochPublicKey([0xee; 32])),
        ..message.clone()
    };
    let deposit = Entry { kind: EntryKind::Deposit, commitment: [0; 32], ..message.clone() };
    vec![message, commit, deposit]
}

/// One server frame of each kind, under its name.
pub fn server_frames() -> Vec<(&'static str, ServerFrame)> {
    let response = |response| ServerFrame::Response { id: 77, result: Ok(response) };
    let hello = Hello {
        version: PROTOCOL_VERSION,
        time: TIME,
        nonce: Nonce([0x0e; 32]),
        incarnation: Incarnation([0x1c; 16]),
        server_name: "relay.example".parse().unwrap(),
        limits: Limits {
            message_bytes: 65_536,
            commit_bytes: 4_194_304,
            subscriptions: 2_000,
            in_flight: 64,
            key_packages: 100,
            blob_bytes: 1 << 32,
            message_retention_ms: 2_592_000_000,
            commit_retention_ms: 7_776_000_000,
        },
    };
    let refusal = Error::new(Code::StaleEpoch, "the log is in a later epoch").retry_after(250).current(4);
    let frames = vec![
        ServerFrame::Hello(hello),
        ServerFrame::Response { id: 77, result: Err(refusal) },
        response(Response::Done),
        response(Response::Appended { seq: Seq(301), time: TIME, stamp: [0x57; 32] }),
        response(Response::Opened(vec![
            LogState { log: LOG, epoch: Epoch(4), head: Seq(302), error: None },
            LogState { log: LogId([0x11; 16]), epoch: Epoch(0), head: Seq(0), error: Some(Code::BadProof) },
        ])),
        response(Response::Page { entries: entries(), head: Seq(302), more: true }),
        response(Response::Record(bytes("signed record"))),
        response(Response::KeyPackage { package: bytes("one"), last_resort: true }),
        response(Response::KeyPackageCount { count: 12, last_resort_used: true }),
        ServerFrame::Push(Push::Entries { log: LOG, entries: entries(), head: Seq(302) }),
        ServerFrame::Push(Push::Lagged { log: LOG, seq: Seq(301) }),
        ServerFrame::Push(Push::Signal { log: LOG, epoch: Epoch(3), body: bytes("sealed") }),
        ServerFrame::Push(Push::EpochEnded { log: LOG, epoch: Epoch(3) }),
        ServerFrame::Push(Push::GoingAway { retry_after_ms: 1_500 }),
    ];
    frames.into_iter().map(|frame| (server_frame_name(&frame), frame)).collect()
}

/// The account key of the signed samples.
pub fn account_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// The device key of the signed samples.
pub fn device_key() -> SigningKey {
    SigningKey::from_bytes(&[8; 32])
}

/// One of each thing that is signed and kept, under its name.
pub fn signed() -> Vec<(&'static str, Bytes)> {
    let account = account_key();
    let certificate = DeviceCertificate {
        account_key: account.verifying_key().to_bytes(),
        address: "alice@relay.example".parse().unwrap(),
        device: DEVICE,
        signature_key: device_key().verifying_key().to_bytes(),
        suites: vec![0x004f, 1],
        versions: vec![1],
        created: TIME,
    }
    .sign(&account);
    let device = |revoked| Device {
        certificate: certificate.clone(),
        inbox: LOG,
        hpke_key: vec![0x9c; HPKE_KEY_BYTES].into(),
        added: TIME,
        revoked,
    };
    let record = |version, predecessor, devices| {
        AccountRecord {
            address: "alice@relay.example".parse().unwrap(),
            account_key: account.verifying_key().to_bytes(),
            version,
            predecessor,
            devices,
            certifier: None,
        }
        .sign(&account)
    };
    let first = record(1, RecordHash::default(), vec![]);
    let second = record(2, first.hash(), vec![device(None)]);
    let third = record(3, second.hash(), vec![device(Some(TIME.plus(1)))]);
    let package = OfferedKeyPackage { package: bytes("an MLS key package"), expires: TIME }.sign(&device_key());
    vec![
        ("device-certificate", certificate.bytes().clone()),
        ("record-empty", first.bytes().clone()),
        ("record-with-device", second.bytes().clone()),
        ("record-with-revoked-device", third.bytes().clone()),
        ("key-package", package.bytes().clone()),
    ]
}
