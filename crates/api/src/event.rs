//! What a program is told.

use serde::{Deserialize, Serialize};

use crate::{
    Binary, Conversation, HistoryTransfer, Invitation, JoinRequest, LinkPreview, Message, Problem, RestorePreview,
    Scheduled,
};

/// An event as it is printed, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`crate::VERSION`].
    pub version: u32,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What one asked to see ([`crate::View`] and what is in it) as it is printed, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown<T> {
    /// [`crate::VERSION`].
    pub version: u32,
    /// What is there.
    #[serde(flatten)]
    pub object: T,
}

/// Something happened. Emitted only after it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs, reason = "fields are named for what they hold")]
pub enum Event {
    /// The command of this number has had its effect. `conversation` and `message` name what it made, if it made something.
    Done {
        command: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        conversation: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// The command of this number will have no effect.
    Failed { command: u64, problem: Problem },
    /// The command of this number is at work; for people who wait.
    Progress { command: u64, what: String },
    /// A message is new here, from others or from another own device.
    Message { message: Box<Message> },
    /// A message's status or text changed.
    MessageChanged { message: Box<Message> },
    /// A message is to be sent later, or (it has a problem) could not be sent when its time came.
    Scheduled { scheduled: Box<Scheduled> },
    /// What was to be sent later no longer waits: it is on its way as this message, or was taken back.
    Unscheduled {
        scheduled: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// Somebody is writing in a conversation, or no longer.
    Typing { conversation: String, from: String, typing: bool },
    /// Somebody is there, or no longer; `last_seen` is when that was last heard, in milliseconds since 1970.
    Presence { address: String, online: bool, last_seen: u64 },
    /// What a message says that is shown once. It is gone from the database by now, so this is the only time that it is told.
    Opened { command: u64, message: String, text: String },
    /// A message is no longer here: it has vanished, or the person has taken it out of sight.
    MessageGone { conversation: String, message: String },
    /// A conversation is new or changed: name, members, roles, state.
    Conversation { conversation: Box<Conversation> },
    /// Somebody asks to be let into a group by an own link.
    JoinRequest { request: Box<JoinRequest> },
    /// Somebody who is not a contact invites.
    Invitation { invitation: Box<Invitation> },
    /// Something that the person should read: a new device, another identity, a history that differs.
    Notice {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        conversation: Option<String>,
        problem: Problem,
    },
    /// The code that the other device wants.
    LinkCode { command: u64, code: String },
    /// What the device behind a code will be able to do.
    LinkRequest { command: u64, preview: Box<LinkPreview> },
    /// This device is part of an account now.
    Linked {
        address: String,
        /// What was said before follows ([`Event::History`]).
        #[serde(default)]
        history: bool,
    },
    /// History on its way to or from another own device got further.
    History { transfer: Box<HistoryTransfer> },
    /// The recovery key that [`crate::Command::MakeRecoveryKey`] made. It is told once.
    RecoveryKey { command: u64, key: String },
    /// The next bytes of a backup's file; the command's `Done` follows the last.
    BackupPart {
        command: u64,
        bytes: Binary,
        /// Messages so far, and in all, about.
        messages: u64,
        total: u64,
    },
    /// What becoming a device of the backup's account does; nothing has been done yet.
    RestorePreview { command: u64, preview: Box<RestorePreview> },
    /// A backup was taken in: messages in it, and how many of them were not here.
    Restored { command: u64, messages: u64, new: u64 },
    /// The account's devices changed.
    Devices,
    /// The connection to a relay came up or went down.
    Connection { relay: String, up: bool },
    /// All that was waiting at the relays has been fetched, as far as they are in reach.
    CaughtUp,
}
