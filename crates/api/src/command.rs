//! What a program asks for.

use serde::{Deserialize, Serialize};

use crate::Role;

/// Changes something. Each is answered by exactly one [`crate::Event::Done`] or [`crate::Event::Failed`], when its effect is known:
/// for a message, when the relay has it durably; for a change of a group, when it is part of the log.
///
/// `conversation` is a conversation's id, a unique prefix of it of at least four characters, a group's unique name, or, for a 1:1
/// conversation, the other's address or its unique name part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
#[allow(missing_docs)] // fields are named for what they hold
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
    },
    /// All messages of a conversation up to this one were seen by the person.
    MarkRead { conversation: String, message: String },
    /// A new group with these accounts; the creator is its owner.
    CreateGroup { name: String, members: Vec<String> },
    /// Adds accounts, with all their devices.
    AddMembers { conversation: String, members: Vec<String> },
    /// Removes an account, with all its devices.
    RemoveMember { conversation: String, member: String },
    /// Gives the group another name.
    Rename { conversation: String, name: String },
    /// Changes an account's role.
    SetRole { conversation: String, member: String, role: Role },
    /// Leaves a group, with all own devices.
    Leave { conversation: String },
    /// Takes a stranger's invitation.
    Accept { conversation: String },
    /// Refuses a stranger's invitation.
    Decline { conversation: String },
    /// Nothing more from this account.
    Block { address: String },
    /// Takes a block back.
    Unblock { address: String },
    /// On a new device: shows a code ([`crate::Event::LinkCode`]) and waits to be certified.
    BeginLink { relay: String },
    /// On the device that certifies: looks at what waits behind a code ([`crate::Event::LinkRequest`]).
    InspectLink { code: String },
    /// On the device that certifies: lets the device behind the code in.
    ConfirmLink { code: String },
    /// Takes a device out of the account and of every conversation.
    RevokeDevice { device: String },
    /// The person has compared the safety number with the account's owner.
    Verify { address: String },
    /// The person has looked at a contact's change of identity and goes on with the new one.
    AcceptIdentity { address: String },
}

/// Asks what is known here; changes nothing, needs no network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Query {
    /// The own account, `None` before registration.
    WhoAmI,
    /// All conversations, the latest first.
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
    /// Invitations from strangers.
    Invitations,
    /// The own devices.
    Devices,
    /// The 60 digits to compare with somebody.
    SafetyNumber { address: String },
    /// Messages that hold all these words.
    Search { text: String, limit: u32 },
}
