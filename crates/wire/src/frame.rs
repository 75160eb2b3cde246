//! Frames: what a client asks, what a relay answers and pushes. One WebSocket message holds one frame.

use bytes::Bytes;

use crate::{
    Address, DeviceId, Entry, EntryId, Epoch, EpochPublicKey, Error, Incarnation, LogId, Nonce, RelayName, Seq,
    UnixMillis,
};

/// The version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// Bytes are not a frame. The peer's fault; says where, never what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The protobuf itself can't be read.
    #[error("the bytes are not a frame of this protocol")]
    Protobuf,
    /// A required field is missing.
    #[error("a frame lacks its field `{0}`")]
    Missing(&'static str),
    /// A field has a wrong length or an impossible value.
    #[error("a frame's field `{0}` has an impossible value")]
    Field(&'static str),
}

/// What a connection is used for. The first request decides; lanes are never mixed, so that the relay can't link them by
/// sharing a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Conversations' logs, opened by epoch keys.
    Logs,
    /// One's own account, proven by the device key.
    Account,
    /// One anonymous errand.
    Errand,
}

/// A request and the number that its answer will carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFrame {
    /// Chosen by the client, unique among its requests in flight on this connection.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// What a client asks of a relay (protocol section 1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named for what they hold; the types say the rest")]
pub enum Request {
    /// This connection may read and append in these epochs. Answer: [`Response::Opened`], one state for each.
    Open { logs: Vec<OpenLog> },
    /// One message. `pipe` starts at 0 and goes up by one after each refusal that the client has seen. Answer: `Appended`.
    Append { log: LogId, epoch: Epoch, pipe: u32, id: EntryId, body: Bytes, commitment: [u8; 32] },
    /// Compare-and-append: ends `epoch`, opens the next one under `next`. `repost` after a relay was restored. Answer: `Appended`.
    Commit { log: LogId, epoch: Epoch, id: EntryId, next: EpochPublicKey, body: Bytes, end_watches: bool, repost: bool },
    /// Entries from `from` on, up to the end of `epoch`. Answer: `Page`.
    Read { log: LogId, epoch: Epoch, from: Seq, max_bytes: u32 },
    /// Entries from `from` on as they come, until the epoch ends. Answer: `Done`.
    Subscribe { logs: Vec<Subscription> },
    /// No more entries of these logs. Answer: `Done`.
    Unsubscribe { logs: Vec<LogId> },
    /// To those who are present; never stored. Answer: `Done`.
    Signal { log: LogId, epoch: Epoch, body: Bytes },

    /// The device key signs this connection. Answer: `Done`.
    Authenticate { address: Address, device: DeviceId, signature: [u8; 64] },
    /// A new account; the record is version 1. The same bytes again are no error. Answer: `Done`.
    Register { record: Bytes, invite: String },
    /// The next version of the own record, by an authenticated device, or by whoever proves the account key
    /// ([`crate::sign_put_record`]) and needs no device for it. The same bytes again are no error. Answer: `Done`.
    PutRecord { record: Bytes, account_proof: Option<[u8; 64]> },
    /// Key packages for the own device. `replace` drops those that are there. Answer: `KeyPackageCount`.
    PutKeyPackages { packages: Vec<Bytes>, last_resort: Option<Bytes>, replace: bool },
    /// How many are left for the own device. Answer: `KeyPackageCount`.
    CountKeyPackages,
    /// Entries of the own device's inbox. Answer: `Page`.
    ReadInbox { from: Seq, max_bytes: u32 },
    /// The same, as they come. Answer: `Done`.
    SubscribeInbox { from: Seq },

    /// A new log whose first epoch is opened by `next`. Answer: `Done`, `AlreadyExists` if the id is taken.
    Create { log: LogId, epoch: Epoch, next: EpochPublicKey },
    /// A log that two devices of one user meet in; dies after ten minutes. Answer: `Done`.
    CreateRendezvous { log: LogId, next: EpochPublicKey },
    /// The account record of an address. Answer: `Record`.
    LookUp { address: Address },
    /// Takes one key package of a device, for good. Answer: `KeyPackage`.
    ClaimKeyPackage { address: Address, device: DeviceId },
    /// Leaves sealed bytes in a device's inbox. Answer: `Appended`.
    Deposit { inbox: LogId, id: EntryId, body: Bytes },
}

impl Request {
    /// The lane that this request belongs to. A rendezvous log is made by an errand and used on a logs lane of its own.
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Open { .. }
            | Self::Append { .. }
            | Self::Commit { .. }
            | Self::Read { .. }
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Signal { .. } => Lane::Logs,
            Self::Authenticate { .. }
            | Self::Register { .. }
            | Self::PutRecord { .. }
            | Self::PutKeyPackages { .. }
            | Self::CountKeyPackages
            | Self::ReadInbox { .. }
            | Self::SubscribeInbox { .. } => Lane::Account,
            Self::Create { .. }
            | Self::CreateRendezvous { .. }
            | Self::LookUp { .. }
            | Self::ClaimKeyPackage { .. }
            | Self::Deposit { .. } => Lane::Errand,
        }
    }
}

/// One log to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLog {
    /// The log.
    pub log: LogId,
    /// The epoch whose key signed.
    pub epoch: Epoch,
    /// `EpochKey::open`.
    pub signature: [u8; 64],
}

/// One log to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// The log.
    pub log: LogId,
    /// The epoch that this connection has opened.
    pub epoch: Epoch,
    /// The first entry that is wanted.
    pub from: Seq,
}

/// What an `Open` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// The log.
    pub log: LogId,
    /// The epoch that the log is in now; it may be later than the one that was opened.
    pub epoch: Epoch,
    /// The last entry that the opened epoch may read.
    pub head: Seq,
    /// Why this one was not opened: [`crate::Code::NotFound`] or [`crate::Code::BadProof`].
    pub error: Option<crate::Code>,
}

/// What a relay sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame {
    /// First on every connection.
    Hello(Hello),
    /// The answer to the request of this id.
    Response {
        /// The request's id.
        id: u64,
        /// The answer.
        result: Result<Response, Error>,
    },
    /// Not asked for one by one.
    Push(Push),
}

/// The first frame of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The protocol version that the relay speaks.
    pub version: u32,
    /// The relay's clock.
    pub time: UnixMillis,
    /// What this connection's proofs are bound to.
    pub nonce: Nonce,
    /// Changes when the relay was restored from a backup.
    pub incarnation: Incarnation,
    /// The relay's own name.
    pub server_name: RelayName,
    /// What it takes.
    pub limits: Limits,
}

/// What a relay takes (protocol rule 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of a message, a signal or a deposit, in bytes.
    pub message_bytes: u32,
    /// Largest body of a commit, in bytes.
    pub commit_bytes: u32,
    /// Subscriptions of one connection.
    pub subscriptions: u32,
    /// Appends in flight of one connection to one log.
    pub in_flight: u32,
    /// Key packages kept for a device.
    pub key_packages: u32,
    /// Largest blob, in bytes.
    pub blob_bytes: u64,
    /// How long messages are kept, in milliseconds.
    pub message_retention_ms: u64,
    /// How long commits, deposits and tree blobs are kept, in milliseconds.
    pub commit_retention_ms: u64,
}

/// A relay's answer to a request that it carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Done; there is nothing more to say.
    Done,
    /// The entry is durable.
    Appended {
        /// Its place.
        seq: Seq,
        /// When the relay took it.
        time: UnixMillis,
        /// The relay's stamp.
        stamp: [u8; 32],
    },
    /// The states of the logs that were to be opened, in the order asked.
    Opened(Vec<LogState>),
    /// Entries of a log.
    Page {
        /// In log order.
        entries: Vec<Entry>,
        /// The last entry that this reader may read now.
        head: Seq,
        /// There is more up to `head`: read on behind the last entry.
        more: bool,
    },
    /// A signed account record.
    Record(Bytes),
    /// A signed key package.
    KeyPackage {
        /// `wire::OfferedKeyPackage` bytes.
        package: Bytes,
        /// It was the last resort and stays where it is.
        last_resort: bool,
    },
    /// Key packages of the own device.
    KeyPackageCount {
        /// How many one-time packages are left.
        count: u32,
        /// The last resort has been handed out since it was put there.
        last_resort_used: bool,
    },
}

/// What a relay sends on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// New entries of a log or of the own inbox.
    Entries {
        /// Which log.
        log: LogId,
        /// In log order.
        entries: Vec<Entry>,
        /// The last entry that there is.
        head: Seq,
    },
    /// The subscriber was too slow; the subscription has ended. Read from `seq` on, then subscribe again.
    Lagged {
        /// Which log.
        log: LogId,
        /// The first entry that was not sent.
        seq: Seq,
    },
    /// A signal from another member.
    Signal {
        /// Which log.
        log: LogId,
        /// The epoch it was sealed in.
        epoch: Epoch,
        /// Ciphertext.
        body: Bytes,
    },
    /// The subscription has ended with its epoch; the commit was the last entry pushed.
    EpochEnded {
        /// Which log.
        log: LogId,
        /// The epoch that ended.
        epoch: Epoch,
    },
    /// The relay stops; come back after this time.
    GoingAway {
        /// Milliseconds.
        retry_after_ms: u64,
    },
}
