//! What a program asks for.

use serde::{Deserialize, Serialize};

use crate::{Binary, Location, Preview, Role};

/// The last moment of the year 9999, in milliseconds since 1970: what lasts until then lasts for good.
pub const FOREVER: u64 = 253_402_300_799_999;

fn yes() -> bool {
    true
}

/// Changes something. Each is answered by exactly one [`crate::Event::Done`] or [`crate::Event::Failed`], when its effect is known:
/// for a message, when the relay has it durably; for a change of a group, when it is part of the log.
///
/// `conversation` is a conversation's id, a unique prefix of it of at least four characters, a group's unique name, or, for a 1:1
/// conversation, the other's address or its unique name part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
#[allow(missing_docs, reason = "fields are named for what they hold")]
pub enum Command {
    /// A new account on this device.
    Register {
        address: String,
        #[serde(default)]
        invite: String,
    },
    /// A text to a conversation. An address without a conversation starts one.
    Send {
        conversation: String,
        text: String,
        #[serde(default)]
        reply_to: Option<String>,
        /// Of a link that the text holds.
        #[serde(default)]
        preview: Option<Preview>,
        /// It vanishes so many milliseconds after it was seen (by its writer: after it was sent); 0 for as the conversation's timer says. The
        /// shorter one of both counts.
        #[serde(default)]
        stays: u64,
        /// Everybody can look at it once ([`Command::Open`]), within two weeks.
        #[serde(default)]
        view_once: bool,
    },
    /// A text that is sent at a time, in milliseconds since 1970 by this device's clock, at most a year from now. It waits on this device only;
    /// a device that is off then sends it when it is on again, and says so. Otherwise as [`Command::Send`]. [`crate::Event::Scheduled`] tells
    /// its id.
    Schedule {
        at: u64,
        conversation: String,
        text: String,
        #[serde(default)]
        reply_to: Option<String>,
        #[serde(default)]
        preview: Option<Preview>,
        #[serde(default)]
        stays: u64,
        #[serde(default)]
        view_once: bool,
    },
    /// The person is writing in a conversation, or (`typing` false) no longer. Programs say so with each key that is pressed: the others are told
    /// every few seconds at most, and nobody who is not connected now. It ends by itself after some seconds, and with a message.
    Typing {
        conversation: String,
        #[serde(default = "yes")]
        typing: bool,
    },
    /// Whether others are told that the person is writing, and the person that they are: both or neither. On from the start.
    TellTyping { on: bool },
    /// This program is being looked at, or (`here` false) no longer. The others are told if the person has chosen so; it ends with the program.
    Presence { here: bool },
    /// Whether others are told that the person is there and when they last were, and the person that they are: both or neither. Off from the start.
    TellPresence { on: bool },
    /// Takes back what was to be sent later, or throws away what could not be sent: its id, or a unique prefix of at least four characters.
    Unschedule { scheduled: String },
    /// Looks at a message that is shown once; [`crate::Event::Opened`] tells what it says, then it is gone.
    Open { conversation: String, message: String },
    /// A reaction to a message, or (`remove`) no longer.
    React {
        conversation: String,
        message: String,
        emoji: String,
        #[serde(default)]
        remove: bool,
    },
    /// Another text for an own message; what it said before stays visible to all ([`Query::Revisions`]).
    Edit {
        conversation: String,
        message: String,
        text: String,
        #[serde(default)]
        preview: Option<Preview>,
    },
    /// Takes a message back: for everyone (an own one, or as an admin of the group), or out of one's own sight only.
    Delete {
        conversation: String,
        message: String,
        #[serde(default)]
        for_everyone: bool,
    },
    /// The words of a message again, in another conversation (`to`), marked as passed on.
    Forward { conversation: String, message: String, to: String },
    /// Pins a message, or takes its pin off: in a group admins and owners, in a 1:1 conversation both.
    Pin { conversation: String, message: String, pinned: bool },
    /// A poll.
    CreatePoll {
        conversation: String,
        question: String,
        options: Vec<String>,
        #[serde(default)]
        multiple: bool,
    },
    /// Votes in a poll, instead of any earlier vote. `options` are places in its list, the first being 0; none takes the vote back.
    Vote { conversation: String, poll: String, options: Vec<u32> },
    /// Ends an own poll.
    ClosePoll { conversation: String, poll: String },
    /// A contact card.
    SendContact {
        conversation: String,
        address: String,
        #[serde(default)]
        name: String,
    },
    /// A location.
    SendLocation { conversation: String, location: Location },
    /// All messages of a conversation up to this one were seen by the person.
    MarkRead { conversation: String, message: String },
    /// Nothing is announced of a conversation until this time, in milliseconds since 1970 ([`FOREVER`] for good, 0 for no longer).
    Mute { conversation: String, until: u64 },
    /// Puts a conversation away until somebody writes there while it is not muted, or (`archived` false) takes it back.
    Archive { conversation: String, archived: bool },
    /// Keeps a conversation at the top of the list, or no longer; at most five of them.
    PinToTop { conversation: String, pinned: bool },
    /// Marks a conversation as one to look at again; [`Command::MarkRead`] and writing there end that. Others are not told.
    MarkUnread { conversation: String },
    /// What was begun in a conversation and not sent; an empty text throws it away, and so does sending.
    Draft { conversation: String, text: String },
    /// Messages vanish so many milliseconds after they were seen, from now on; 0 if they stay. Admins set it in a group, both in a 1:1
    /// conversation. Whole seconds, at most a year.
    SetTimer { conversation: String, timer: u64 },
    /// A new group with these accounts; the creator is its owner.
    CreateGroup { name: String, members: Vec<String> },
    /// Adds accounts, with all their devices.
    AddMembers { conversation: String, members: Vec<String> },
    /// Removes an account, with all its devices.
    RemoveMember { conversation: String, member: String },
    /// Gives the group another name.
    Rename { conversation: String, name: String },
    /// Says what the group is for, in at most 1,024 bytes; an empty text takes the description off. Admins and owners may.
    Describe { conversation: String, text: String },
    /// Gives the group a picture, or takes it off: a square JPEG of at most 640 pixels and 256 KiB that holds nothing but a picture (programs
    /// make one of what a person picks). Admins and owners may. Done once the relay has it and the change is in the log.
    SetPicture {
        conversation: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        picture: Option<Binary>,
    },
    /// Makes another member the owner in one's own place, in one step; one stays as an admin. Owners may, nobody else.
    TransferOwnership { conversation: String, member: String },
    /// Changes an account's role.
    SetRole { conversation: String, member: String, role: Role },
    /// Leaves a group, with all own devices.
    Leave { conversation: String },
    /// A new way into a group ([`Query::InviteLinks`] tells its text): good until `expires` (milliseconds since 1970, 0 for good) for
    /// `uses` people (0 for any number). Who follows it asks to be let in; with `direct` that is done at once. Admins and owners may.
    MakeLink {
        conversation: String,
        #[serde(default)]
        expires: u64,
        #[serde(default)]
        uses: u32,
        #[serde(default)]
        direct: bool,
    },
    /// Takes a link back, any admin's: its id, a unique prefix of it of at least four characters, or its text. Nobody comes in by it any more,
    /// whoever has asked before included.
    RevokeLink { conversation: String, link: String },
    /// Asks to be let into a group by a link. Done when the request is out; the conversation comes when one is let in.
    Join { link: String },
    /// Lets somebody in who has asked ([`Query::JoinRequests`]), or does not; who is refused is not told.
    AnswerJoin { conversation: String, address: String, approve: bool },
    /// Takes a stranger's invitation.
    Accept { conversation: String },
    /// Refuses a stranger's invitation.
    Decline { conversation: String },
    /// Nothing more from this account.
    Block { address: String },
    /// Takes a block back.
    Unblock { address: String },
    /// What the own account calls somebody, in at most 100 bytes; an empty name takes it back. Nobody is told.
    NameContact { address: String, name: String },
    /// Whether others hear what was read here, and the own account what they have read: both or neither. On from the start; that messages
    /// have arrived is told in any case.
    ReadReceipts { on: bool },
    /// On a new device: shows a code ([`crate::Event::LinkCode`]) and waits to be certified.
    BeginLink { relay: String },
    /// On the device that certifies: looks at what waits behind a code ([`crate::Event::LinkRequest`]).
    InspectLink { code: String },
    /// On the device that certifies: lets the device behind the code in.
    ConfirmLink {
        code: String,
        /// It gets none of what was said before; [`Command::SendHistory`] sends that later.
        #[serde(default)]
        no_history: bool,
    },
    /// Sends all that this device knows (messages, contacts, how conversations are kept) to another own device; done when all of it is at
    /// the relay.
    SendHistory { device: String },
    /// A fresh recovery key, which [`crate::Event::RecoveryKey`] shows once. Nothing is kept of it before [`Command::KeepRecoveryKey`].
    MakeRecoveryKey,
    /// The person has the recovery key that was shown: its last four characters. Backups are sealed to it from now on.
    KeepRecoveryKey { last: String },
    /// All that this device knows beside its keys, sealed to the recovery key: [`crate::Event::BackupPart`] brings the file, part by part.
    Backup,
    /// The last backup is safe on a disk.
    BackupKept,
    /// The same as [`Command::Backup`], kept in parts at the account's relay, where whoever has the recovery key finds it; only what has changed
    /// since the one before goes there. Done once the relay has all of it. Begun and not finished, it goes on by itself.
    BackUpToRelay,
    /// A backup goes to the relay by itself each day, while this device runs, or not any more.
    RelayBackups { daily: bool },
    /// The same as [`Command::Restore`], from what is at the relay of an address; without one, at that of the own account.
    RestoreFromRelay {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        #[serde(default)]
        confirm: bool,
        #[serde(default)]
        keep_devices: bool,
    },
    /// Takes a backup in, all of it or nothing; [`crate::Event::Restored`] says how much it was. In a profile without an account, a backup that
    /// holds the account's key makes this a device of that account: without `confirm` [`crate::Event::RestorePreview`] says what that
    /// does, and nothing is done. The account's other devices are revoked unless `keep_devices` says otherwise. Begun and not finished,
    /// the same command goes on with it.
    Restore {
        key: String,
        file: Binary,
        #[serde(default)]
        confirm: bool,
        #[serde(default)]
        keep_devices: bool,
    },
    /// What the account's own devices call one of them, in at most 100 bytes; an empty name takes it back. Nobody else is told.
    NameDevice { device: String, name: String },
    /// Takes a device out of the account and of every conversation.
    RevokeDevice { device: String },
    /// Hands the role of certifying the others over to a device, which takes it once it is on. Naming the own device takes back what is on its way.
    CertifyBy { device: String },
    /// The person has looked at who can read a conversation ([`Query::Who`]): what changes from now on is new to them.
    Look { conversation: String },
    /// The person has compared the safety number with the account's owner.
    Verify { address: String },
    /// The person has looked at a contact's change of identity and goes on with the new one.
    AcceptIdentity { address: String },
}

/// Asks what is known here; changes nothing, needs no network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "snake_case")]
#[allow(missing_docs, reason = "fields are named for what they hold")]
pub enum Query {
    /// The own account, `None` before registration.
    WhoAmI,
    /// All conversations, archived ones too: those at the top of the list, the last pinned first, then the latest first.
    Conversations,
    /// One conversation with its members.
    Conversation { conversation: String },
    /// At most `limit` messages before `before` (a message id; the newest if absent), oldest first.
    Messages {
        conversation: String,
        #[serde(default)]
        before: Option<String>,
        limit: u32,
    },
    /// What is to be sent later, and what could not be sent when its time came, by time; of one conversation, or of all.
    Scheduled {
        #[serde(default)]
        conversation: Option<String>,
    },
    /// Invitations from strangers.
    Invitations,
    /// The invite links of a group, the oldest first.
    InviteLinks { conversation: String },
    /// Who asks to be let in by an own link: into one group, or into any.
    JoinRequests {
        #[serde(default)]
        conversation: Option<String>,
    },
    /// The own devices.
    Devices,
    /// History on its way to and from own devices, the last begun first.
    History,
    /// What is known of backups of this device ([`crate::View::Backup`]).
    Backup,
    /// The 60 digits to compare with somebody.
    SafetyNumber { address: String },
    /// Who can read a conversation, and what changed since the last [`Command::Look`].
    Who { conversation: String },
    /// The accounts that the person is or was in touch with, has named or has blocked ([`crate::View::Contacts`]).
    Contacts,
    /// What the person has chosen ([`crate::View::Settings`]).
    Settings,
    /// Messages that hold all these words.
    Search { text: String, limit: u32 },
    /// One message, by its id or a unique prefix of it of at least four characters.
    Message { conversation: String, message: String },
    /// What a message has said, the oldest first ([`crate::View::Revisions`]).
    Revisions { conversation: String, message: String },
    /// A group's picture, if it is here ([`crate::View::Picture`]).
    Picture { conversation: String },
    /// The pinned messages, the last pinned first ([`crate::View::Messages`]).
    Pins { conversation: String },
}
