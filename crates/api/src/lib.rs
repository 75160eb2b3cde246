//! One vocabulary for people's programs: what they ask ([`Command`], [`Query`]), what they are told ([`Event`]) and what they see
//! ([`View`]). The same types stand behind `--json`, the daemon and the web worker.
//!
//! What always holds: everything here is plain data, serialises to self-describing JSON, and only grows: fields and variants are
//! added, never changed. Ids are lower-case hexadecimal, times are milliseconds since 1970, addresses are `name@relay`.
//! Deliberately absent: keys and ciphertext (but for the recovery key and backups, which are people's to keep), and anything of the wire.

mod binary;
mod command;
mod event;
mod problem;
mod view;
mod who;

pub use binary::Binary;
pub use command::{Command, FOREVER, Query};
pub use event::{Envelope, Event, Shown};
pub use problem::{Kind, Problem};
pub use view::{
    Account, BackupState, Confirmation, Contact, Conversation, ConversationKind, Culprit, Device, Ended, HistoryState,
    HistoryTransfer, Invitation, InviteLink, JoinRequest, LinkPreview, Location, Member, Message, MessageKind,
    MessageStatus, Person, Picture, PictureState, Poll, PollOption, Preview, Quote, Reaction, RelayBackup,
    RestorePreview, Revision, Role, SafetyNumber, Scheduled, Settings, Sleeper, Standing, View,
};
pub use who::{Reader, ReaderDevice, Stalest, Who, WhoChange};

/// The version of this vocabulary; goes up when something is added.
pub const VERSION: u32 = 1;
