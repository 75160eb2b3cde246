//! Every kind of frame comes back as it was sent, and bytes that are no frame are refused without harm (I9).

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wire::{
    Address, Bytes, ClientFrame, Code, DeviceId, Entry, EntryId, EntryKind, Epoch, EpochPublicKey, Error, Hello,
    Incarnation, Limits, LogId, LogState, Nonce, OpenLog, Push, RelayName, Request, Response, Seq, ServerFrame,
    Subscription, UnixMillis,
};

use crate::samples;

fn logs() -> impl Strategy<Value = LogId> {
    any::<[u8; 16]>().prop_map(LogId)
}

fn epochs() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch)
}

fn seqs() -> impl Strategy<Value = Seq> {
    any::<u64>().prop_map(Seq)
}

fn times() -> impl Strategy<Value = UnixMillis> {
    any::<u64>().prop_map(UnixMillis)
}

fn ids() -> impl Strategy<Value = EntryId> {
    any::<[u8; 16]>().prop_map(EntryId)
}

fn devices() -> impl Strategy<Value = DeviceId> {
    any::<[u8; 16]>().prop_map(DeviceId)
}

fn keys() -> impl Strategy<Value = EpochPublicKey> {
    any::<[u8; 32]>().prop_map(EpochPublicKey)
}

fn bodies() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn signatures() -> impl Strategy<Value = [u8; 64]> {
    vec(any::<u8>(), 64).prop_map(|bytes| bytes.try_into().unwrap())
}

fn addresses() -> impl Strategy<Value = Address> {
    "[a-z][a-z0-9]{0,20}@[a-z]{1,10}\\.example(:8443)?".prop_map(|text| text.parse().unwrap())
}

fn relays() -> impl Strategy<Value = RelayName> {
    "[a-z]{1,10}\\.example(:8443)?".prop_map(|text| text.parse().unwrap())
}

fn codes() -> impl Strategy<Value = Code> {
    prop::sample::select(Code::ALL.to_vec())
}

fn requests() -> impl Strategy<Value = Request> {
    let opens = (logs(), epochs(), signatures()).prop_map(|(log, epoch, signature)| OpenLog { log, epoch, signature });
    let subscriptions = (logs(), epochs(), seqs()).prop_map(|(log, epoch, from)| Subscription { log, epoch, from });
    prop_oneof![
        vec(opens, 0..5).prop_map(|logs| Request::Open { logs }),
        (logs(), epochs(), any::<u32>(), ids(), bodies(), any::<[u8; 32]>()).prop_map(
            |(log, epoch, pipe, id, body, commitment)| Request::Append { log, epoch, pipe, id, body, commitment }
        ),
        (logs(), epochs(), ids(), keys(), bodies(), any::<bool>(), any::<bool>()).prop_map(
            |(log, epoch, id, next, body, end_watches, repost)| Request::Commit {
                log,
                epoch,
                id,
                next,
                body,
                end_watches,
                repost
            }
        ),
        (logs(), epochs(), seqs(), any::<u32>()).prop_map(|(log, epoch, from, max_bytes)| Request::Read {
            log,
            epoch,
            from,
            max_bytes
        }),
        vec(subscriptions, 0..5).prop_map(|logs| Request::Subscribe { logs }),
        vec(logs(), 0..5).prop_map(|logs| Request::Unsubscribe { logs }),
        (logs(), epochs(), bodies()).prop_map(|(log, epoch, body)| Request::Signal { log, epoch, body }),
        (addresses(), devices(), signatures()).prop_map(|(address, device, signature)| Request::Authenticate {
            address,
            device,
            signature
        }),
        (bodies(), ".{0,20}").prop_map(|(record, invite)| Request::Register { record, invite }),
        (bodies(), option::of(signatures()))
            .prop_map(|(record, account_proof)| Request::PutRecord { record, account_proof }),
        (vec(bodies(), 0..4), option::of(vec(any::<u8>(), 1..50)), any::<bool>()).prop_map(
            |(packages, last_resort, replace)| Request::PutKeyPackages {
                packages,
                last_resort: last_resort.map(Bytes::from),
                replace
            }
        ),
        Just(Request::CountKeyPackages),
        (seqs(), any::<u32>()).prop_map(|(from, max_bytes)| Request::ReadInbox { from, max_bytes }),
        seqs().prop_map(|from| Request::SubscribeInbox { from }),
        (logs(), epochs(), keys()).prop_map(|(log, epoch, next)| Request::Create { log, epoch, next }),
        (logs(), keys()).prop_map(|(log, next)| Request::CreateRendezvous { log, next }),
        addresses().prop_map(|address| Request::LookUp { address }),
        (addresses(), devices()).prop_map(|(address, device)| Request::ClaimKeyPackage { address, device }),
        (logs(), ids(), bodies()).prop_map(|(inbox, id, body)| Request::Deposit { inbox, id, body }),
    ]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let kinds = prop::sample::select(vec![EntryKind::Message, EntryKind::Commit, EntryKind::Deposit]);
    let head = (seqs(), seqs(), times(), kinds, epochs(), ids());
    let entry = (head, bodies(), option::of(any::<[u8; 32]>()), option::of(keys()), any::<[u8; 32]>()).prop_map(
        |((seq, prev, time, kind, epoch, id), body, commitment, next, stamp)| Entry {
            seq,
            prev,
            time,
            kind,
            epoch,
            id,
            body,
            commitment: commitment.unwrap_or_default(),
            next,
            stamp,
        },
    );
    vec(entry, 0..4)
}

fn responses() -> impl Strategy<Value = Response> {
    let states = (logs(), epochs(), seqs(), option::of(codes())).prop_map(|(log, epoch, head, error)| LogState {
        log,
        epoch,
        head,
        error,
    });
    prop_oneof![
        Just(Response::Done),
        (seqs(), times(), any::<[u8; 32]>()).prop_map(|(seq, time, stamp)| Response::Appended { seq, time, stamp }),
        vec(states, 0..5).prop_map(Response::Opened),
        (entries(), seqs(), any::<bool>()).prop_map(|(entries, head, more)| Response::Page { entries, head, more }),
        bodies().prop_map(Response::Record),
        (bodies(), any::<bool>()).prop_map(|(package, last_resort)| Response::KeyPackage { package, last_resort }),
        (any::<u32>(), any::<bool>())
            .prop_map(|(count, last_resort_used)| Response::KeyPackageCount { count, last_resort_used }),
    ]
}

fn pushes() -> impl Strategy<Value = Push> {
    prop_oneof![
        (logs(), entries(), seqs()).prop_map(|(log, entries, head)| Push::Entries { log, entries, head }),
        (logs(), seqs()).prop_map(|(log, seq)| Push::Lagged { log, seq }),
        (logs(), epochs(), bodies()).prop_map(|(log, epoch, body)| Push::Signal { log, epoch, body }),
        (logs(), epochs()).prop_map(|(log, epoch)| Push::EpochEnded { log, epoch }),
        any::<u64>().prop_map(|retry_after_ms| Push::GoingAway { retry_after_ms }),
    ]
}

fn hellos() -> impl Strategy<Value = Hello> {
    let counts = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    let limits =
        (counts, any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(counts, blob_bytes, messages, commits)| Limits {
            message_bytes: counts.0,
            commit_bytes: counts.1,
            subscriptions: counts.2,
            in_flight: counts.3,
            key_packages: counts.4,
            blob_bytes,
            message_retention_ms: messages,
            commit_retention_ms: commits,
        });
    (any::<u32>(), times(), any::<[u8; 32]>(), any::<[u8; 16]>(), relays(), limits).prop_map(
        |(version, time, nonce, incarnation, server_name, limits)| Hello {
            version,
            time,
            nonce: Nonce(nonce),
            incarnation: Incarnation(incarnation),
            server_name,
            limits,
        },
    )
}

fn client_frames() -> impl Strategy<Value = ClientFrame> {
    (any::<u64>(), requests()).prop_map(|(id, request)| ClientFrame { id, request })
}

fn server_frames() -> impl Strategy<Value = ServerFrame> {
    let refusals = (codes(), ".{0,40}", any::<u64>(), any::<u64>())
        .prop_map(|(code, detail, after, current)| Error::new(code, detail).retry_after(after).current(current));
    let results = prop_oneof![4 => responses().prop_map(Ok), 1 => refusals.prop_map(Err)];
    prop_oneof![
        hellos().prop_map(ServerFrame::Hello),
        (any::<u64>(), results).prop_map(|(id, result)| ServerFrame::Response { id, result }),
        pushes().prop_map(ServerFrame::Push),
    ]
}

/// Decodes bytes as both sides would. What decodes must survive a second round, for a relay that passes it on.
fn survive(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let id = ClientFrame::decode_id(&bytes);
    if let Ok(frame) = ClientFrame::decode(bytes.clone()) {
        assert_eq!(id, Some(frame.id), "a refusal would carry another id than the answer");
        assert_eq!(ClientFrame::decode(frame.encode()), Ok(frame));
    }
    if let Ok(frame) = ServerFrame::decode(bytes) {
        assert_eq!(ServerFrame::decode(frame.encode()), Ok(frame));
    }
}

proptest! {
    #[test]
    fn client_frames_come_back(frame in client_frames()) {
        let bytes = frame.encode();
        prop_assert_eq!(ClientFrame::decode_id(&bytes), Some(frame.id));
        prop_assert_eq!(ClientFrame::decode(bytes), Ok(frame));
    }

    #[test]
    fn server_frames_come_back(frame in server_frames()) {
        prop_assert_eq!(ServerFrame::decode(frame.encode()), Ok(frame));
    }

    #[test]
    fn i9_any_bytes_are_survived(bytes: Vec<u8>) {
        survive(&bytes);
    }

    #[test]
    fn i9_truncated_frames_are_survived(client in client_frames(), server in server_frames(), at: prop::sample::Index) {
        for bytes in [client.encode(), server.encode()] {
            survive(&bytes[..at.index(bytes.len() + 1)]);
        }
    }

    #[test]
    fn i9_flipped_bits_are_survived(
        client in client_frames(), server in server_frames(), flips in vec((any::<prop::sample::Index>(), 0..8u8), 1..4),
    ) {
        for bytes in [client.encode(), server.encode()] {
            let mut bytes = bytes.to_vec();
            for (at, bit) in &flips {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] ^= 1u8 << bit;
                }
            }
            survive(&bytes);
        }
    }
}

/// Shorter than a property test, and complete: each kind cut at each byte, and with each byte changed.
#[test]
fn i9_every_kind_is_survived_cut_and_changed_at_every_byte() {
    let clients = samples::client_frames().into_iter().map(|(_, frame)| frame.encode());
    let servers = samples::server_frames().into_iter().map(|(_, frame)| frame.encode());
    for bytes in clients.chain(servers) {
        for at in 0..bytes.len() {
            survive(&bytes[..at]);
            for with in [0x00, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] = with;
                survive(&changed);
            }
        }
    }
}

#[test]
fn the_id_is_found_where_the_request_is_not_understood() {
    // id = 300, and then a request of a number that this version does not know.
    let future = [0x08, 0xac, 0x02, 0xfa, 0x3f, 0x02, 0x08, 0x01];
    assert_eq!(ClientFrame::decode_id(&future), Some(300));
    assert!(ClientFrame::decode(Bytes::copy_from_slice(&future)).is_err());
    assert_eq!(ClientFrame::decode_id(&[]), Some(0));
    assert_eq!(ClientFrame::decode_id(&[0x08]), None);
    // A field of a wrong length does not hide the id.
    let frame = ClientFrame {
        id: 5,
        request: Request::Create { log: LogId([1; 16]), epoch: Epoch(0), next: EpochPublicKey([2; 32]) },
    };
    let short = Bytes::from([&frame.encode()[..2], &[0x82, 0x02, 0x03, 0x0a, 0x01, 0x01]].concat());
    assert_eq!(ClientFrame::decode_id(&short), Some(5));
    assert!(ClientFrame::decode(short).is_err());
}

/// What a later version adds is skipped, so that an older program goes on working.
#[test]
fn unknown_fields_are_skipped() {
    for (name, frame) in samples::client_frames() {
        let more = Bytes::from([&frame.encode()[..], &[0xf8, 0x3f, 0x2a]].concat());
        assert_eq!(ClientFrame::decode(more), Ok(frame), "{name}");
    }
}

#[test]
fn every_kind_has_a_sample_under_a_name_of_its_own() {
    let mut names: Vec<_> = samples::client_frames().iter().map(|(name, _)| *name).collect();
    names.dedup();
    assert_eq!(names.len(), samples::REQUESTS);
    let mut names: Vec<_> = samples::server_frames().iter().map(|(name, _)| *name).collect();
    names.dedup();
    assert_eq!(names.len(), samples::SERVER_FRAMES);
    for (_, frame) in samples::client_frames() {
        assert_eq!(ClientFrame::decode(frame.encode()), Ok(frame));
    }
    for (_, frame) in samples::server_frames() {
        assert_eq!(ServerFrame::decode(frame.encode()), Ok(frame));
    }
}
