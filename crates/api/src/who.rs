//! Who can read a conversation: one panel, the same for every client.

use serde::{Deserialize, Serialize};

use crate::{Confirmation, ConversationKind, Role, Standing};

/// Everybody and everything that can read a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Its id.
    pub conversation: String,
    /// Its name, as in [`crate::Conversation`].
    pub name: String,
    /// Direct, group or note.
    pub kind: ConversationKind,
    /// What can be done with it.
    pub standing: Standing,
    /// The relay that keeps its log: it sees ciphertext, sizes, times and network addresses.
    pub relay: String,
    /// The ciphersuite, in words; empty if it was not noted.
    pub suite: String,
    /// What is written is safe from a future quantum computer; signatures are not.
    pub post_quantum: bool,
    /// The people, with their devices.
    pub people: Vec<Reader>,
    /// Accounts that can't read it now and come back by themselves: none of their devices was on for long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asleep: Vec<crate::Sleeper>,
    /// Who can open it by a published request; empty for a private conversation, which nobody outside can read.
    pub custodians: Vec<String>,
    /// The device whose keys were renewed the longest ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalest: Option<Stalest>,
    /// When the person last looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked: Option<u64>,
    /// What changed since then.
    pub changes: Vec<WhoChange>,
    /// It is held because somebody has ended its epoch with something that is not a valid change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<crate::Ended>,
}

/// An account that reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// `name@relay`.
    pub address: String,
    /// What it may do.
    pub role: Role,
    /// How sure this device is of it.
    pub confirmation: Confirmation,
    /// When that last changed, by this device's clock; 0 if that was not noted.
    pub confirmed: u64,
    /// The person has blocked it; in a group it reads all the same.
    pub blocked: bool,
    /// Its devices in the conversation, the oldest first.
    pub devices: Vec<ReaderDevice>,
}

/// A device that reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderDevice {
    /// Its id.
    pub id: String,
    /// It is this one.
    pub this: bool,
    /// What the own devices call it, if it is one of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When its account added it; 0 if this device has not seen the account's record.
    pub added: u64,
    /// When it came into the conversation, by the relay's clock; 0 if it was there before this device.
    pub since: u64,
    /// When its keys were last renewed, likewise.
    pub renewed: u64,
}

/// Whoever gets hold of this device's keys reads what was written since they were renewed, and nothing older.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stalest {
    /// Whose.
    pub address: String,
    /// Which.
    pub device: String,
    /// When, by the relay's clock; 0 for before this device came in.
    pub renewed: u64,
}

/// A change of who can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[allow(missing_docs, reason = "fields are named for what they hold")]
pub enum WhoChange {
    /// Somebody came in.
    Came { address: String },
    /// Somebody left or was removed.
    Went { address: String },
    /// None of somebody's devices was on for long: it can't read until it is back.
    FellAsleep { address: String },
    /// A device of somebody who was there came in; `since` as in [`ReaderDevice`].
    DeviceCame { address: String, device: String, since: u64 },
    /// A device of somebody who is still there is gone.
    DeviceWent { address: String, device: String },
    /// Another role.
    Role { address: String, role: Role },
    /// Verified, confirmed, or in conflict now.
    Confirmation { address: String, confirmation: Confirmation },
}
