//! What a program shows.

use serde::{Deserialize, Serialize};

/// The answer to a [`crate::Query`], variant by variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "view", content = "data", rename_all = "snake_case")]
#[allow(missing_docs, reason = "each variant answers the query of its name")]
pub enum View {
    WhoAmI(Option<Account>),
    Conversations(Vec<Conversation>),
    Conversation(Box<Conversation>),
    Messages(Vec<Message>),
    Invitations(Vec<Invitation>),
    Devices(Vec<Device>),
    /// History on its way.
    History(Vec<HistoryTransfer>),
    Backup(BackupState),
    SafetyNumber(SafetyNumber),
    Who(Box<crate::Who>),
    Message(Box<Message>),
    Revisions(Vec<Revision>),
    Contacts(Vec<Person>),
    Settings(Settings),
    InviteLinks(Vec<InviteLink>),
    JoinRequests(Vec<JoinRequest>),
    Scheduled(Vec<Scheduled>),
    Picture(Picture),
}

/// A group's picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Its media type: `image/jpeg`.
    pub kind: String,
    /// The file. It was looked at by its markers alone: whoever decodes it decodes what an admin of the group has made.
    pub file: crate::Binary,
}

/// That a group has a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureState {
    /// Names it: another picture has another one.
    pub id: String,
    /// It was fetched, and [`crate::Query::Picture`] has it.
    pub here: bool,
}

/// A message that is to be sent later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// Its id.
    pub id: String,
    /// The conversation; `None` if it is only begun then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// The conversation's name, which is the other's address if it is not a group.
    pub to: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// What it says.
    pub text: String,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Of a link that the text holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// It vanishes so many milliseconds after it was seen; 0 for as the conversation's timer says.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stays: u64,
    /// Everybody can look at it once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub view_once: bool,
    /// Why it could not be sent when its time came. It is kept and not tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<crate::Problem>,
}

/// An account that the person is in touch with, has named or has blocked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// `name@relay`.
    pub address: String,
    /// What the own account calls it; empty if it has no name of one's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// How sure this device is of it.
    pub confirmation: Confirmation,
    /// Nothing of it gets through.
    #[serde(default)]
    pub blocked: bool,
}

/// What the person has chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Others hear what was read here, and the own account what they have read.
    pub read_receipts: bool,
    /// Others are told that the person is writing, and the person that they are.
    #[serde(default)]
    pub typing: bool,
    /// Others are told that the person is there, and the person that they are.
    #[serde(default)]
    pub presence: bool,
}

/// The own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// `name@relay`.
    pub address: String,
    /// This device's id.
    pub device: String,
    /// True if this device certifies the others.
    pub certifies: bool,
    /// Fingerprint of the account key, 16 hexadecimal digits.
    pub fingerprint: String,
    /// The account is registered; `false` while that is still under way.
    pub registered: bool,
}

/// A conversation is with one account, with several, or with oneself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "fields are named for what they hold")]
pub enum ConversationKind {
    Direct,
    Group,
    Note,
}

/// What can be done with a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Being made: its log does not exist yet.
    Starting,
    /// A stranger's invitation that waits for a decision.
    Requested,
    /// In use.
    Active,
    /// Held: its log holds a commit that is not valid, or a member's identity is in conflict. Nothing is sent.
    Held,
    /// This account has left or was removed; what was read stays.
    Left,
}

/// One conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// Direct, group or note.
    pub kind: ConversationKind,
    /// A group's name, the other's address, or "Note to self".
    pub name: String,
    /// Names that a group had before, as far as this device was there: people go on using them, and they name nobody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formerly: Vec<String>,
    /// What can be done with it.
    pub standing: Standing,
    /// The relay that keeps its log.
    pub relay: String,
    /// Messages not marked read.
    pub unread: u32,
    /// The newest message, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Message>,
    /// The accounts in it.
    pub members: Vec<Member>,
    /// A group's picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<PictureState>,
    /// Accounts of a group none of whose devices was there for long: they can't read it, and come back by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asleep: Vec<Sleeper>,
    /// The MLS epoch that it is in.
    pub epoch: u64,
    /// What a group is for, in its admins' words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Programs announce nothing of it before this time, in milliseconds since 1970; 0 if it is not muted, [`crate::FOREVER`] for good.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub muted_until: u64,
    /// Put away: not shown in the list until somebody writes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// It stays at the top of the list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned_to_top: bool,
    /// The person wants to look at it again, whatever `unread` says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked_unread: bool,
    /// What was begun on any own device and not sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub draft: String,
    /// Messages vanish so many milliseconds after they were seen (by their writer: after they were sent); 0 if they stay.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timer: u64,
    /// It is held because this device waits for the others to add it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// It is held because somebody has ended its epoch with something that is not a valid change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// How a conversation was ended by something that is not a valid change of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// What was wrong with it, in words.
    pub why: String,
    /// The device that has signed it, if that is certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Culprit>,
    /// The epoch that it has ended.
    pub epoch: u64,
    /// When, by the relay's clock.
    pub time: u64,
}

/// The device that has signed an invalid change. Its account's other devices have not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Culprit {
    /// `name@relay`.
    pub address: String,
    /// The device's id.
    pub device: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What an account may do in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Writes, and adds devices of its own.
    Member,
    /// Also adds and removes members, renames the group.
    Admin,
    /// Also makes and unmakes admins and owners.
    Owner,
}

/// How sure this device is that an account key belongs to its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// It is the own account.
    Own,
    /// Seen inside a group only; its relay has not been asked.
    NotConfirmedYet,
    /// Its relay said so when it was asked, and it has not changed since. Nothing proves that others are told the same.
    Confirmed,
    /// The person has compared safety numbers.
    Verified,
    /// Two different keys were seen for the address.
    Conflict,
}

/// An account in a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `name@relay`.
    pub address: String,
    /// What it may do.
    pub role: Role,
    /// How sure this device is of it.
    pub confirmation: Confirmation,
    /// How many of its devices take part.
    pub devices: u32,
    /// It has said that it is there, and not that it has gone. Events of a conversation don't tell this, [`crate::Event::Presence`] does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub online: bool,
    /// When this device last heard that it is there, in milliseconds since 1970; 0 if it never did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub last_seen: u64,
}

/// An account of a group that has no device there any more, because none was on for long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sleeper {
    /// `name@relay`.
    pub address: String,
    /// What it may do when it is back.
    pub role: Role,
}

/// A device of the own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// It is this one.
    pub this: bool,
    /// It certifies the others.
    pub certifies: bool,
    /// The role of certifying is on its way to it, and was not taken yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub takes_over: bool,
    /// What the own devices call it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When it was added.
    pub added: u64,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
}

/// History on its way between two own devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryTransfer {
    /// The other device.
    pub device: String,
    /// True if this device sends.
    pub sending: bool,
    /// How it stands.
    pub state: HistoryState,
    /// Messages so far.
    pub messages: u64,
    /// Messages in all, about; 0 while that is not known.
    pub total: u64,
    /// All but the last part is there: that one waits until the other device is in every conversation.
    #[serde(default, skip_serializing_if = "is_false")]
    pub waiting: bool,
    /// When it was begun.
    pub begun: u64,
    /// When it last got further.
    pub moved: u64,
}

/// What is known of backups of this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupState {
    /// When the recovery key was made; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_made: Option<u64>,
    /// When the last backup was made; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<u64>,
    /// Messages in it.
    #[serde(default)]
    pub messages: u64,
    /// Messages that are new since.
    #[serde(default)]
    pub since: u64,
    /// The last backup holds the account's key: it brings the account back where no device is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_account: Option<bool>,
    /// This device's backups do: it is the one that certifies the others. Those of another device hold what was said only.
    #[serde(default)]
    pub can_hold_account: bool,
    /// What is at the relay; `None` if nothing ever was wanted there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayBackup>,
}

/// What is known of this device's backup at the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayBackup {
    /// One is made each day.
    pub daily: bool,
    /// When the last was made; `None` if there is none that the recovery key of today opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<u64>,
    /// How many parts it was made in, the first of which holds all that there was then; 0 if the next one does.
    pub sets: u32,
    /// Their size at the relay, in bytes.
    pub bytes: u64,
    /// One is on its way.
    pub under_way: bool,
}

/// What a backup holds, and what making this a device of its account does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePreview {
    /// `name@relay`.
    pub address: String,
    /// When the backup was made, in milliseconds since 1970.
    pub made: u64,
    /// Messages in it.
    pub messages: u64,
    /// Conversations that ask to be joined again.
    pub conversations: u32,
    /// The account's devices that are not revoked, as its relay lists them now.
    pub devices: Vec<Device>,
    /// They are revoked.
    pub revokes: bool,
}

/// How a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryState {
    /// It goes on by itself whenever both devices are connected now and then.
    UnderWay,
    /// All of it is there.
    Complete,
    /// It will not be completed.
    GivenUp,
}

/// A stranger's invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The conversation that one would join.
    pub conversation: String,
    /// Who invites.
    pub from: String,
    /// The relay that keeps the conversation.
    pub relay: String,
    /// A group's name, if it is a group and the relay is one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it came.
    pub time: u64,
}

/// A way into a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteLink {
    /// Its id; not a secret.
    pub id: String,
    /// Who has made it, and is asked by who follows it.
    pub by: String,
    /// What to pass on, on the device that has made it; whoever has it can ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Whoever asks is let in at once.
    pub direct: bool,
    /// Until when it is good, in milliseconds since 1970; 0 for good.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expires: u64,
    /// How many it lets in; 0 for any number.
    #[serde(default)]
    pub uses: u32,
    /// How many it has let in.
    #[serde(default)]
    pub used: u32,
}

/// Somebody asks to be let into a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The group.
    pub conversation: String,
    /// Its name.
    pub name: String,
    /// Who asks.
    pub address: String,
    /// When that came.
    pub time: u64,
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs, reason = "fields are named for what they hold")]
pub enum MessageKind {
    /// A text.
    Text { text: String },
    /// Something that this version does not know; `fallback` is what its sender's program offers instead.
    Unknown { fallback: String },
    /// Something that happened to the conversation, in words: "Alice added Bob".
    System { text: String },
    /// Nothing any more: `by` has taken it back for everyone.
    Deleted { by: String },
    /// Something to vote on, with the votes so far.
    Poll { poll: Poll },
    /// A card that names an account; nobody has checked that it is the right one.
    Contact { contact: Contact },
    /// A place.
    Location { location: Location },
    /// Something to look at once ([`crate::Command::Open`]); `opened`: that has been done, and it is gone. Its sender can't open it.
    ViewOnce { opened: bool },
}

/// A poll and its votes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poll {
    /// What is asked.
    pub question: String,
    /// What there is to choose.
    pub options: Vec<PollOption>,
    /// Several options may be chosen.
    pub multiple: bool,
    /// Its author has closed it.
    #[serde(default)]
    pub closed: bool,
    /// How many accounts have voted.
    #[serde(default)]
    pub voters: u32,
}

/// An option of a poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollOption {
    /// What it says.
    pub text: String,
    /// How many accounts have chosen it.
    #[serde(default)]
    pub votes: u32,
    /// The own account has.
    #[serde(default)]
    pub own: bool,
    /// Who has; the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
}

/// A contact card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// How the sender calls the account; may be empty.
    pub name: String,
    /// `name@relay`.
    pub address: String,
}

/// A place on Earth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// North of the equator, in 10^-7 degrees.
    pub latitude_e7: i64,
    /// East of Greenwich, in 10^-7 degrees.
    pub longitude_e7: i64,
    /// How far off it may be, in metres; 0 if that is not said.
    #[serde(default)]
    pub accuracy: u32,
    /// What the sender calls it; may be empty.
    #[serde(default)]
    pub label: String,
}

/// What the sender's program saw behind a link of the text. Nobody else vouches for it, and nothing is fetched to show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The link.
    pub url: String,
    /// The page's title.
    pub title: String,
    /// What the page says of itself; may be empty.
    #[serde(default)]
    pub description: String,
}

/// The message that another one answers, as far as it is known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// False: it never came here, or was taken out of sight; the rest is empty then.
    pub known: bool,
    /// Who wrote it.
    #[serde(default)]
    pub from: String,
    /// The beginning of what it says, at most 120 characters on one line; empty if it was taken back.
    #[serde(default)]
    pub excerpt: String,
}

/// One emoji on a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// Which.
    pub emoji: String,
    /// How many accounts.
    pub count: u32,
    /// The own account is among them.
    pub own: bool,
    /// Who; the first 20.
    pub by: Vec<String>,
}

/// What a message said at some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// What it said.
    pub text: String,
    /// Since when, by the writer's clock.
    pub sent: u64,
    /// Since when, by the relay's clock; 0 while it is on its way.
    pub time: u64,
}

/// How far an own message has got; one from others is `received` or `read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// Stored here, on its way to the relay.
    Sending,
    /// The relay has it durably.
    Sent,
    /// It can't be delivered any more: one was removed, or the conversation is held.
    Failed,
    /// At least one device of every other account has it.
    Delivered,
    /// Every other account has seen it.
    Read,
    /// From others: not yet seen here.
    Received,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id (MIMI message id), the same for all members.
    pub id: String,
    /// Its conversation's id.
    pub conversation: String,
    /// Who wrote it.
    pub from: String,
    /// True if the own account wrote it, on whichever device.
    pub own: bool,
    /// The writer's clock.
    pub sent: u64,
    /// The relay's clock; 0 while it is on its way.
    pub time: u64,
    /// Its place in the log; 0 while it is on its way.
    pub seq: u64,
    /// How far it has got.
    pub status: MessageStatus,
    /// What it says.
    #[serde(flatten)]
    pub kind: MessageKind,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// What that says; present whenever `reply_to` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// The accounts that it mentions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// The own account is among them, and this is not a forwarded text.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mentions_me: bool,
    /// Its sender says that somebody else wrote it first.
    #[serde(default, skip_serializing_if = "is_false")]
    pub forwarded: bool,
    /// When it was last edited, by the relay's clock (by the writer's, while the edit is on its way).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<u64>,
    /// Of a link in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// In the order in which each was first given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
    /// It is pinned.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pinned: bool,
    /// It vanishes so many milliseconds after it was seen (by its writer: after it was sent); 0 if it stays.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stays: u64,
    /// When it vanishes, in milliseconds since 1970, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vanishes: Option<u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What is compared to make sure of one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SafetyNumber {
    /// The other account.
    pub address: String,
    /// 60 digits in twelve groups of five, the same on both sides.
    pub digits: String,
    /// The same with the other identity, where two were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// What is known so far.
    pub confirmation: Confirmation,
}

/// What lets a person decide whether to let a device in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPreview {
    /// The code that was typed.
    pub code: String,
    /// Fingerprint of the new device's key, 16 hexadecimal digits; the new device shows the same.
    pub fingerprint: String,
    /// How many conversations it will be able to read from now on.
    pub conversations: u32,
}
