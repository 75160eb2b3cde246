//! Refusals of a relay: a code for programs, a sentence for people, and when to try again.

/// Why a relay refused a request. Numbers are the protocol's and never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Code {
    /// The frame or a field of it can't be read. The client's fault; the same bytes will never pass.
    Malformed = 1,
    /// The request belongs to another lane than the one that this connection has begun.
    WrongLane = 2,
    /// The connection has not opened this log in this epoch, or may not know whether it exists.
    NotOpened = 3,
    /// The log is in another epoch; `current` names it.
    StaleEpoch = 4,
    /// An earlier append of this pipe was refused.
    Aborted = 5,
    /// There is one already under this name.
    AlreadyExists = 6,
    /// There is no such thing here.
    NotFound = 7,
    /// Larger than the limits of `Hello` allow.
    TooLarge = 8,
    /// Too often; try again after `retry_after_ms`.
    RateLimited = 9,
    /// The version is not the successor of the current one; `current` names that.
    Conflict = 10,
    /// A signature or a proof does not verify.
    BadProof = 11,
    /// The connection has not authenticated as a device of the account.
    NotAuthenticated = 12,
    /// No key package is left for this device.
    NoKeyPackage = 13,
    /// The relay can't write at the moment (its disk is full, or a node is away). Nothing was changed; try again.
    Unavailable = 14,
    /// The relay does not know whether the write happened. Read the log, then decide.
    OutcomeUnknown = 15,
    /// The relay does not take this (registration is closed, an address of another relay, a revoked device).
    Refused = 16,
    /// The relay was restored from a backup and takes only re-posted commits for now.
    Restoring = 17,
    /// The relay does not speak this version or does not know this request.
    Unsupported = 18,
    /// More requests in flight, or more subscriptions, than `Hello` allows.
    TooMany = 19,
    /// A defect of the relay. It has been logged there.
    Internal = 20,
}

impl Code {
    /// Every code, for the suite that provokes each of them over a real socket.
    pub const ALL: [Self; 20] = [
        Self::Malformed,
        Self::WrongLane,
        Self::NotOpened,
        Self::StaleEpoch,
        Self::Aborted,
        Self::AlreadyExists,
        Self::NotFound,
        Self::TooLarge,
        Self::RateLimited,
        Self::Conflict,
        Self::BadProof,
        Self::NotAuthenticated,
        Self::NoKeyPackage,
        Self::Unavailable,
        Self::OutcomeUnknown,
        Self::Refused,
        Self::Restoring,
        Self::Unsupported,
        Self::TooMany,
        Self::Internal,
    ];

    /// From its number on the wire; a number that this version does not know reads as [`Code::Internal`].
    pub fn from_number(number: u32) -> Self {
        Self::ALL.into_iter().find(|code| *code as u32 == number).unwrap_or(Self::Internal)
    }

    /// True if the same request may succeed later without anything being changed on the client's side.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable | Self::OutcomeUnknown | Self::Restoring | Self::TooMany)
    }
}

/// A refusal as it travels. `detail` is for people and holds nothing that a user wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    /// For programs.
    pub code: Code,
    /// For people: what was refused and what to do next.
    pub detail: String,
    /// When to try again, in milliseconds; 0 says nothing.
    pub retry_after_ms: u64,
    /// The current epoch for [`Code::StaleEpoch`], the current version for [`Code::Conflict`], else 0.
    pub current: u64,
}

impl Error {
    /// A refusal that says nothing about when to try again.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after_ms: 0, current: 0 }
    }

    /// The same refusal with a time to wait.
    #[must_use]
    pub fn retry_after(mut self, millis: u64) -> Self {
        self.retry_after_ms = millis;
        self
    }

    /// The same refusal with the current epoch or version.
    #[must_use]
    pub fn current(mut self, current: u64) -> Self {
        self.current = current;
        self
    }
}
