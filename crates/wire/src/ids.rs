//! Identifiers: fixed-size random values and counters, each with a type of its own.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use rand_core::Rng;

/// A value that should be an identifier is not one: wrong length or not hexadecimal. The sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {bytes} bytes")]
pub struct IdError {
    /// Which identifier was expected.
    pub what: &'static str,
    /// How many bytes it has.
    pub bytes: usize,
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// A fresh one from `rng`.
            pub fn random<R: Rng + ?Sized>(rng: &mut R) -> Self {
                let mut bytes = [0; $bytes];
                rng.fill_bytes(&mut bytes);
                Self(bytes)
            }

            /// The bytes as they travel.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;
            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                bytes.try_into().map(Self).map_err(|_| IdError { what: $what, bytes: $bytes })
            }
        }

        /// Lower-case hexadecimal.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| IdError { what: $what, bytes: $bytes })?;
                bytes.as_slice().try_into()
            }
        }
    };
}

macro_rules! open_debug {
    ($($name:ident),*) => { $(
        /// Four hexadecimal bytes: enough to tell ids apart in a test, too little to name one (I10).
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}..)", stringify!($name), HEXLOWER.encode(&self.0[..2]))
            }
        }
    )* };
}

random_id!(
    /// Names a log: a conversation, an inbox or a rendezvous. Random, says nothing about its members.
    LogId, 16, "a log id"
);
random_id!(
    /// Chosen by the client for each entry; the first entry of an id in its log counts (protocol rule 3).
    EntryId, 16, "an entry id"
);
random_id!(
    /// Names a device within its account.
    DeviceId, 16, "a device id"
);
random_id!(
    /// Names a blob. Knowing it is the right to read the blob.
    BlobId, 32, "a blob id"
);
random_id!(
    /// The right to go on with an upload; chosen by the client.
    BlobSecret, 32, "a blob secret"
);
random_id!(
    /// Fresh for each connection; everything that a connection proves is bound to it.
    Nonce, 32, "a nonce"
);
random_id!(
    /// Changes when a relay was restored from a backup.
    Incarnation, 16, "an incarnation"
);
open_debug!(LogId, EntryId, DeviceId, Nonce, Incarnation);

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobId(..)")
    }
}

impl fmt::Debug for BlobSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobSecret(..)")
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl $name {
            /// The next value; saturates, so that hostile input can't wrap it.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// The MLS epoch that a log is in, or that an entry was written in (RFC 9420, section 2).
    Epoch
);
counter!(
    /// The place of an entry in its log. The first entry has 1; 0 means "before the first".
    Seq
);

/// Milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This time plus `millis`; saturates.
    #[must_use]
    pub const fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this time; 0 if `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
