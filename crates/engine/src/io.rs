//! What goes into the engine and what comes out of it.

use wire::{BlobId, BlobSecret, Bytes, Hello, Push, RelayName, Request, Response, UnixMillis};

/// The number of a command, chosen by the caller; comes back in `api::Event::Done` and `Failed`.
pub type CommandId = u64;

/// The number of a request; chosen by the engine, valid until the engine is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// The number of a blob transfer; chosen by the engine, valid until the engine is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferId(pub u64);

/// The connection that a request travels on. The caller keeps one connection for each lane that is wanted, and a fresh one for
/// each errand, so that errands can't be linked to one another or to a log (protocol section 1, "Lanes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// The own account.
    Account,
    /// Conversations' logs.
    Logs,
    /// The log that two devices of one user meet in.
    Rendezvous,
    /// One errand; all requests of one number share a connection, which is closed once none is in flight.
    Errand(u64),
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// The relay.
    pub relay: RelayName,
    /// The connection.
    pub lane: Lane,
}

/// Why there is no answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// The relay refused.
    Refused(wire::Error),
    /// The connection ended, or never came about, before an answer came; whether the request was carried out is not known.
    Lost,
}

/// What the caller feeds in.
#[derive(Debug, Clone)]
pub enum Input {
    /// A person's wish.
    Command {
        /// Comes back in the events that answer it.
        id: CommandId,
        /// What to do.
        command: api::Command,
    },
    /// The answer to a request that the engine handed out.
    Response {
        /// Which.
        id: RequestId,
        /// The answer, or why there is none.
        result: Result<Response, Rejection>,
    },
    /// A relay's push on one of the long-lived lanes.
    Push {
        /// Which connection.
        route: Route,
        /// What it says.
        push: Push,
    },
    /// A connection came up, or ended (requests in flight on it are answered with [`Rejection::Lost`] first).
    Link {
        /// Which connection.
        route: Route,
        /// Up with the relay's greeting, or down.
        state: LinkState,
    },
    /// How a blob transfer goes.
    Transfer {
        /// Which.
        id: TransferId,
        /// How.
        state: TransferState,
    },
    /// The time asked for by [`Output::WakeAt`] has come.
    Wake,
}

/// State of a connection.
#[derive(Debug, Clone)]
pub enum LinkState {
    /// It is up.
    Up(Hello),
    /// It is down.
    Down,
}

/// State of a blob transfer.
#[derive(Debug, Clone)]
pub enum TransferState {
    /// Bytes so far.
    Progress(u64),
    /// Complete; the bytes of a download, nothing for an upload.
    Done(Bytes),
    /// Failed for now; the engine decides whether to try again.
    Failed(TransferFailure),
}

/// Why a transfer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferFailure {
    /// The relay could not be reached or asked for patience.
    Unreachable,
    /// There is no such blob (any more).
    NotFound,
    /// The relay refuses it: too large, or the id is taken by something else.
    Refused,
}

/// A blob to move. Blobs travel over HTTPS on connections of their own.
#[derive(Debug, Clone)]
pub enum Job {
    /// Resumable (`HEAD` for the offset, `PUT` with `Upload-Offset`).
    Upload {
        /// Its name.
        blob: BlobId,
        /// The right to go on with it.
        secret: BlobSecret,
        /// Ciphertext.
        bytes: Bytes,
    },
    /// Whole.
    Download {
        /// Its name.
        blob: BlobId,
        /// More than this is an error.
        max_bytes: u64,
    },
}

/// What the engine hands out.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send this and feed the answer back.
    Request {
        /// Comes back in [`Input::Response`].
        id: RequestId,
        /// The connection. An errand's connection is opened by its first request.
        route: Route,
        /// What to send.
        body: Request,
    },
    /// Keep this connection up (reconnecting with backoff), or let it go.
    Connect {
        /// Which; never an errand.
        route: Route,
        /// Keep it up, or let it go.
        wanted: bool,
    },
    /// Move a blob.
    Transfer {
        /// Comes back in [`Input::Transfer`].
        id: TransferId,
        /// The relay that keeps it.
        relay: RelayName,
        /// What to move.
        job: Job,
    },
    /// Tell the person's programs.
    Event(api::Event),
    /// Feed [`Input::Wake`] at this time; replaces what was asked before.
    WakeAt(UnixMillis),
}
