//! Frames to bytes and back. The only place that sees the generated protobuf types of frames.

use bytes::Bytes;
use prost::Message;

use crate::proto::{self, client_frame, push, response, server_frame};
use crate::{
    ClientFrame, Code, Entry, EntryKind, Epoch, EpochPublicKey, Error, Hello, Limits, LogId, LogState, OpenLog, Push,
    Request, Response, Seq, ServerFrame, Subscription, UnixMillis, WireError,
};

type Result<T> = std::result::Result<T, WireError>;

fn fixed<const N: usize>(bytes: &Bytes, field: &'static str) -> Result<[u8; N]> {
    bytes.as_ref().try_into().map_err(|_| WireError::Field(field))
}

fn id<'a, T: TryFrom<&'a [u8]>>(bytes: &'a Bytes, field: &'static str) -> Result<T> {
    T::try_from(bytes.as_ref()).map_err(|_| WireError::Field(field))
}

fn copied(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn address(text: &str) -> Result<crate::Address> {
    text.parse().map_err(|_| WireError::Field("address"))
}

impl ClientFrame {
    /// The bytes of this frame.
    pub fn encode(&self) -> Bytes {
        proto::ClientFrame { id: self.id, request: Some(request_to_proto(&self.request)) }.encode_to_vec().into()
    }

    /// Reads a frame. Bodies share the memory of `bytes`: copy what outlives the request.
    pub fn decode(bytes: Bytes) -> Result<Self> {
        let frame = proto::ClientFrame::decode(bytes).map_err(|_| WireError::Protobuf)?;
        let request = frame.request.ok_or(WireError::Missing("request"))?;
        Ok(Self { id: frame.id, request: request_from_proto(request)? })
    }

    /// The number of a frame whose request can't be read, so that the refusal can carry it.
    pub fn decode_id(bytes: &[u8]) -> Option<u64> {
        #[derive(Clone, PartialEq, Message)]
        struct OnlyId {
            #[prost(uint64, tag = "1")]
            id: u64,
        }
        OnlyId::decode(bytes).ok().map(|frame| frame.id)
    }
}

fn request_to_proto(request: &Request) -> client_frame::Request {
    use client_frame::Request as P;
    match request {
        Request::Open { logs } => P::Open(proto::Open {
            logs: logs
                .iter()
                .map(|open| proto::OpenLog {
                    log: copied(&open.log.0),
                    epoch: open.epoch.0,
                    signature: copied(&open.signature),
                })
                .collect(),
        }),
        Request::Append { log, epoch, pipe, id, body, commitment } => P::Append(proto::Append {
            log: copied(&log.0),
            epoch: epoch.0,
            pipe: *pipe,
            id: copied(&id.0),
            body: body.clone(),
            commitment: copied(commitment),
        }),
        Request::Commit { log, epoch, id, next, body, end_watches, repost } => P::Commit(proto::Commit {
            log: copied(&log.0),
            epoch: epoch.0,
            id: copied(&id.0),
            next: copied(&next.0),
            body: body.clone(),
            end_watches: *end_watches,
            repost: *repost,
        }),
        Request::Read { log, epoch, from, max_bytes } => {
            P::Read(proto::Read { log: copied(&log.0), epoch: epoch.0, from: from.0, max_bytes: *max_bytes })
        }
        Request::Subscribe { logs } => P::Subscribe(proto::Subscribe {
            logs: logs
                .iter()
                .map(|sub| proto::Subscription { log: copied(&sub.log.0), epoch: sub.epoch.0, from: sub.from.0 })
                .collect(),
        }),
        Request::Unsubscribe { logs } => {
            P::Unsubscribe(proto::Unsubscribe { logs: logs.iter().map(|log| copied(&log.0)).collect() })
        }
        Request::Signal { log, epoch, body } => {
            P::Signal(proto::Signal { log: copied(&log.0), epoch: epoch.0, body: body.clone() })
        }
        Request::Authenticate { address, device, signature } => P::Authenticate(proto::Authenticate {
            address: address.as_str().to_owned(),
            device: copied(&device.0),
            signature: copied(signature),
        }),
        Request::Register { record, invite } => {
            P::Register(proto::Register { record: record.clone(), invite: invite.clone() })
        }
        Request::PutRecord { record, account_proof } => P::PutRecord(proto::PutRecord {
            record: record.clone(),
            account_proof: account_proof.as_ref().map(|proof| copied(proof)).unwrap_or_default(),
        }),
        Request::PutKeyPackages { packages, last_resort, replace } => P::PutKeyPackages(proto::PutKeyPackages {
            packages: packages.clone(),
            last_resort: last_resort.clone().unwrap_or_default(),
            replace: *replace,
        }),
        Request::CountKeyPackages => P::CountKeyPackages(proto::CountKeyPackages {}),
        Request::ReadInbox { from, max_bytes } => {
            P::ReadInbox(proto::ReadInbox { from: from.0, max_bytes: *max_bytes })
        }
        Request::SubscribeInbox { from } => P::SubscribeInbox(proto::SubscribeInbox { from: from.0 }),
        Request::Create { log, epoch, next } => {
            P::Create(proto::Create { log: copied(&log.0), epoch: epoch.0, next: copied(&next.0) })
        }
        Request::CreateRendezvous { log, next } => {
            P::CreateRendezvous(proto::CreateRendezvous { log: copied(&log.0), next: copied(&next.0) })
        }
        Request::LookUp { address } => P::LookUp(proto::LookUp { address: address.as_str().to_owned() }),
        Request::ClaimKeyPackage { address, device } => P::ClaimKeyPackage(proto::ClaimKeyPackage {
            address: address.as_str().to_owned(),
            device: copied(&device.0),
        }),
        Request::Deposit { inbox, id, body } => {
            P::Deposit(proto::Deposit { inbox: copied(&inbox.0), id: copied(&id.0), body: body.clone() })
        }
    }
}

fn request_from_proto(request: client_frame::Request) -> Result<Request> {
    use client_frame::Request as P;
    Ok(match request {
        P::Open(open) => Request::Open {
            logs: open
                .logs
                .iter()
                .map(|open| {
                    Ok(OpenLog {
                        log: id(&open.log, "log")?,
                        epoch: Epoch(open.epoch),
                        signature: fixed(&open.signature, "signature")?,
                    })
                })
                .collect::<Result<_>>()?,
        },
        P::Append(append) => Request::Append {
            log: id(&append.log, "log")?,
            epoch: Epoch(append.epoch),
            pipe: append.pipe,
            id: id(&append.id, "id")?,
            body: append.body,
            commitment: fixed(&append.commitment, "commitment")?,
        },
        P::Commit(commit) => Request::Commit {
            log: id(&commit.log, "log")?,
            epoch: Epoch(commit.epoch),
            id: id(&commit.id, "id")?,
            next: EpochPublicKey(fixed(&commit.next, "next")?),
            body: commit.body,
            end_watches: commit.end_watches,
            repost: commit.repost,
        },
        P::Read(read) => Request::Read {
            log: id(&read.log, "log")?,
            epoch: Epoch(read.epoch),
            from: Seq(read.from),
            max_bytes: read.max_bytes,
        },
        P::Subscribe(subscribe) => Request::Subscribe {
            logs: subscribe
                .logs
                .iter()
                .map(|sub| Ok(Subscription { log: id(&sub.log, "log")?, epoch: Epoch(sub.epoch), from: Seq(sub.from) }))
                .collect::<Result<_>>()?,
        },
        P::Unsubscribe(unsubscribe) => {
            Request::Unsubscribe { logs: unsubscribe.logs.iter().map(|log| id(log, "log")).collect::<Result<_>>()? }
        }
        P::Signal(signal) => {
            Request::Signal { log: id(&signal.log, "log")?, epoch: Epoch(signal.epoch), body: signal.body }
        }
        P::Authenticate(authenticate) => Request::Authenticate {
            address: address(&authenticate.address)?,
            device: id(&authenticate.device, "device")?,
            signature: fixed(&authenticate.signature, "signature")?,
        },
        P::Register(register) => Request::Register { record: register.record, invite: register.invite },
        P::PutRecord(put) => Request::PutRecord {
            record: put.record,
            account_proof: match put.account_proof.is_empty() {
                true => None,
                false => Some(fixed(&put.account_proof, "account_proof")?),
            },
        },
        P::PutKeyPackages(put) => Request::PutKeyPackages {
            packages: put.packages,
            last_resort: (!put.last_resort.is_empty()).then_some(put.last_resort),
            replace: put.replace,
        },
        P::CountKeyPackages(_) => Request::CountKeyPackages,
        P::ReadInbox(read) => Request::ReadInbox { from: Seq(read.from), max_bytes: read.max_bytes },
        P::SubscribeInbox(subscribe) => Request::SubscribeInbox { from: Seq(subscribe.from) },
        P::Create(create) => Request::Create {
            log: id(&create.log, "log")?,
            epoch: Epoch(create.epoch),
            next: EpochPublicKey(fixed(&create.next, "next")?),
        },
        P::CreateRendezvous(create) => Request::CreateRendezvous {
            log: id(&create.log, "log")?,
            next: EpochPublicKey(fixed(&create.next, "next")?),
        },
        P::LookUp(look_up) => Request::LookUp { address: address(&look_up.address)? },
        P::ClaimKeyPackage(claim) => {
            Request::ClaimKeyPackage { address: address(&claim.address)?, device: id(&claim.device, "device")? }
        }
        P::Deposit(deposit) => {
            Request::Deposit { inbox: id(&deposit.inbox, "inbox")?, id: id(&deposit.id, "id")?, body: deposit.body }
        }
    })
}

impl ServerFrame {
    /// The bytes of this frame.
    pub fn encode(&self) -> Bytes {
        let frame = match self {
            Self::Hello(hello) => server_frame::Frame::Hello(hello_to_proto(hello)),
            Self::Response { id, result } => {
                server_frame::Frame::Response(proto::Response { id: *id, result: Some(result_to_proto(result)) })
            }
            Self::Push(push) => server_frame::Frame::Push(proto::Push { push: Some(push_to_proto(push)) }),
        };
        proto::ServerFrame { frame: Some(frame) }.encode_to_vec().into()
    }

    /// Reads a frame. Bodies share the memory of `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Self> {
        let frame = proto::ServerFrame::decode(bytes).map_err(|_| WireError::Protobuf)?;
        Ok(match frame.frame.ok_or(WireError::Missing("frame"))? {
            server_frame::Frame::Hello(hello) => Self::Hello(hello_from_proto(hello)?),
            server_frame::Frame::Response(response) => Self::Response {
                id: response.id,
                result: result_from_proto(response.result.ok_or(WireError::Missing("result"))?)?,
            },
            server_frame::Frame::Push(push) => {
                Self::Push(push_from_proto(push.push.ok_or(WireError::Missing("push"))?)?)
            }
        })
    }
}

fn hello_to_proto(hello: &Hello) -> proto::Hello {
    let limits = &hello.limits;
    proto::Hello {
        version: hello.version,
        time_ms: hello.time.0,
        nonce: copied(&hello.nonce.0),
        incarnation: copied(&hello.incarnation.0),
        server_name: hello.server_name.as_str().to_owned(),
        limits: Some(proto::Limits {
            message_bytes: limits.message_bytes,
            commit_bytes: limits.commit_bytes,
            subscriptions: limits.subscriptions,
            in_flight: limits.in_flight,
            key_packages: limits.key_packages,
            blob_bytes: limits.blob_bytes,
            message_retention_ms: limits.message_retention_ms,
            commit_retention_ms: limits.commit_retention_ms,
        }),
    }
}

fn hello_from_proto(hello: proto::Hello) -> Result<Hello> {
    let limits = hello.limits.ok_or(WireError::Missing("limits"))?;
    Ok(Hello {
        version: hello.version,
        time: UnixMillis(hello.time_ms),
        nonce: id(&hello.nonce, "nonce")?,
        incarnation: id(&hello.incarnation, "incarnation")?,
        server_name: hello.server_name.parse().map_err(|_| WireError::Field("server_name"))?,
        limits: Limits {
            message_bytes: limits.message_bytes,
            commit_bytes: limits.commit_bytes,
            subscriptions: limits.subscriptions,
            in_flight: limits.in_flight,
            key_packages: limits.key_packages,
            blob_bytes: limits.blob_bytes,
            message_retention_ms: limits.message_retention_ms,
            commit_retention_ms: limits.commit_retention_ms,
        },
    })
}

fn error_to_proto(error: &Error) -> proto::Error {
    proto::Error {
        code: error.code as u32,
        detail: error.detail.clone(),
        retry_after_ms: error.retry_after_ms,
        current: error.current,
    }
}

fn result_to_proto(result: &std::result::Result<Response, Error>) -> response::Result {
    match result {
        Err(error) => response::Result::Error(error_to_proto(error)),
        Ok(Response::Done) => response::Result::Done(proto::Done {}),
        Ok(Response::Appended { seq, time, stamp }) => {
            response::Result::Appended(proto::Appended { seq: seq.0, time_ms: time.0, stamp: copied(stamp) })
        }
        Ok(Response::Opened(states)) => response::Result::Opened(proto::Opened {
            logs: states
                .iter()
                .map(|state| proto::LogState {
                    log: copied(&state.log.0),
                    epoch: state.epoch.0,
                    head: state.head.0,
                    error: state.error.map_or(0, |code| code as u32),
                })
                .collect(),
        }),
        Ok(Response::Page { entries, head, more }) => response::Result::Page(proto::Page {
            entries: entries.iter().map(entry_to_proto).collect(),
            head: head.0,
            more: *more,
        }),
        Ok(Response::Record(record)) => response::Result::Record(record.clone()),
        Ok(Response::KeyPackage { package, last_resort }) => {
            response::Result::KeyPackage(proto::KeyPackage { package: package.clone(), last_resort: *last_resort })
        }
        Ok(Response::KeyPackageCount { count, last_resort_used }) => {
            response::Result::KeyPackageCount(proto::KeyPackageCount {
                count: *count,
                last_resort_used: *last_resort_used,
            })
        }
    }
}

fn result_from_proto(result: response::Result) -> Result<std::result::Result<Response, Error>> {
    Ok(Ok(match result {
        response::Result::Error(error) => {
            return Ok(Err(Error {
                code: Code::from_number(error.code),
                detail: error.detail,
                retry_after_ms: error.retry_after_ms,
                current: error.current,
            }));
        }
        response::Result::Done(_) => Response::Done,
        response::Result::Appended(appended) => Response::Appended {
            seq: Seq(appended.seq),
            time: UnixMillis(appended.time_ms),
            stamp: fixed(&appended.stamp, "stamp")?,
        },
        response::Result::Opened(opened) => Response::Opened(
            opened
                .logs
                .iter()
                .map(|state| {
                    Ok(LogState {
                        log: id(&state.log, "log")?,
                        epoch: Epoch(state.epoch),
                        head: Seq(state.head),
                        error: (state.error != 0).then(|| Code::from_number(state.error)),
                    })
                })
                .collect::<Result<_>>()?,
        ),
        response::Result::Page(page) => Response::Page {
            entries: page.entries.into_iter().map(entry_from_proto).collect::<Result<_>>()?,
            head: Seq(page.head),
            more: page.more,
        },
        response::Result::Record(record) => Response::Record(record),
        response::Result::KeyPackage(package) => {
            Response::KeyPackage { package: package.package, last_resort: package.last_resort }
        }
        response::Result::KeyPackageCount(count) => {
            Response::KeyPackageCount { count: count.count, last_resort_used: count.last_resort_used }
        }
    }))
}

fn push_to_proto(push: &Push) -> push::Push {
    match push {
        Push::Entries { log, entries, head } => push::Push::Entries(proto::LogEntries {
            log: copied(&log.0),
            entries: entries.iter().map(entry_to_proto).collect(),
            head: head.0,
        }),
        Push::Lagged { log, seq } => push::Push::Lagged(proto::Lagged { log: copied(&log.0), seq: seq.0 }),
        Push::Signal { log, epoch, body } => {
            push::Push::Signal(proto::PushedSignal { log: copied(&log.0), epoch: epoch.0, body: body.clone() })
        }
        Push::EpochEnded { log, epoch } => {
            push::Push::EpochEnded(proto::EpochEnded { log: copied(&log.0), epoch: epoch.0 })
        }
        Push::GoingAway { retry_after_ms } => {
            push::Push::GoingAway(proto::GoingAway { retry_after_ms: *retry_after_ms })
        }
    }
}

fn push_from_proto(push: push::Push) -> Result<Push> {
    Ok(match push {
        push::Push::Entries(entries) => Push::Entries {
            log: id::<LogId>(&entries.log, "log")?,
            entries: entries.entries.into_iter().map(entry_from_proto).collect::<Result<_>>()?,
            head: Seq(entries.head),
        },
        push::Push::Lagged(lagged) => Push::Lagged { log: id(&lagged.log, "log")?, seq: Seq(lagged.seq) },
        push::Push::Signal(signal) => {
            Push::Signal { log: id(&signal.log, "log")?, epoch: Epoch(signal.epoch), body: signal.body }
        }
        push::Push::EpochEnded(ended) => Push::EpochEnded { log: id(&ended.log, "log")?, epoch: Epoch(ended.epoch) },
        push::Push::GoingAway(going) => Push::GoingAway { retry_after_ms: going.retry_after_ms },
    })
}

fn entry_to_proto(entry: &Entry) -> proto::Entry {
    proto::Entry {
        seq: entry.seq.0,
        prev: entry.prev.0,
        time_ms: entry.time.0,
        kind: entry.kind as u32,
        epoch: entry.epoch.0,
        id: copied(&entry.id.0),
        body: entry.body.clone(),
        commitment: if entry.commitment == [0; 32] { Bytes::new() } else { copied(&entry.commitment) },
        next: entry.next.map_or(Bytes::new(), |next| copied(&next.0)),
        stamp: copied(&entry.stamp),
    }
}

fn entry_from_proto(entry: proto::Entry) -> Result<Entry> {
    Ok(Entry {
        seq: Seq(entry.seq),
        prev: Seq(entry.prev),
        time: UnixMillis(entry.time_ms),
        kind: EntryKind::from_number(entry.kind).ok_or(WireError::Field("kind"))?,
        epoch: Epoch(entry.epoch),
        id: id(&entry.id, "id")?,
        commitment: if entry.commitment.is_empty() { [0; 32] } else { fixed(&entry.commitment, "commitment")? },
        next: match entry.next.len() {
            0 => None,
            _ => Some(EpochPublicKey(fixed(&entry.next, "next")?)),
        },
        stamp: fixed(&entry.stamp, "stamp")?,
        body: entry.body,
    })
}
