//! What can happen: the one vocabulary of scenario tests and of seeded runs of the whole client.

use api::{Command, Role};

/// A device's number.
pub type DeviceId = usize;

/// Something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// A person asks for something on a device.
    Do {
        /// Where.
        device: DeviceId,
        /// What.
        command: Command,
    },
    /// A fresh device is linked to the account of another: shows a code, which is looked at and confirmed there.
    Link {
        /// The fresh one.
        device: DeviceId,
        /// The one that certifies.
        by: DeviceId,
    },
    /// A program dies with all that it had not yet carried out.
    CrashDevice(DeviceId),
    /// A device loses power: of its files there is left what was synced. In memory that is everything.
    CutPower(DeviceId),
    /// A program is started.
    OpenDevice(DeviceId),
    /// A device is off, and stays so until it comes back.
    GoAway(DeviceId),
    /// It is on again.
    ComeBack(DeviceId),
    /// A relay loses power.
    CrashRelay(usize),
    /// A relay is started.
    StartRelay(usize),
    /// A person makes a recovery key on a device, keeps it, and writes a backup.
    BackUp(DeviceId),
    /// The last backup of a device is taken in on another one, or on itself.
    Restore {
        /// Where.
        device: DeviceId,
        /// Whose.
        of: DeviceId,
    },
    /// All devices of an account are lost, and a fresh one restores it from the last backup of one of them.
    Recover {
        /// The fresh one.
        device: DeviceId,
        /// Whose backup.
        of: DeviceId,
    },
    /// A device that has a recovery key makes a backup at its relay.
    BackUpToRelay(DeviceId),
    /// As [`Transition::Recover`], from the backup at the relay.
    RecoverFromRelay {
        /// The fresh one.
        device: DeviceId,
        /// Whose backup.
        of: DeviceId,
    },
    /// A backup is taken of a relay.
    BackUpRelay(usize),
    /// A relay is restored from its last backup.
    RestoreRelay(usize),
    /// From now on a relay keeps the next message of a log from a device, whoever else writes it.
    Withhold {
        /// From whom.
        device: DeviceId,
        /// Of which log.
        log: wire::LogId,
        /// What comes behind has the numbers that it would have without; else the numbers show a hole, which is said to be none.
        renumber: bool,
    },
    /// From now on a relay shows a device the next commit of a log otherwise than it is, whoever else writes it.
    Alter {
        /// To whom.
        device: DeviceId,
        /// Of which log.
        log: wire::LogId,
        /// How.
        how: super::lie::Alteration,
    },
    /// From now on a device does something to a conversation that nobody may do.
    #[cfg(feature = "mutants")]
    Crime {
        /// Whose.
        device: DeviceId,
        /// To which.
        conversation: String,
        /// What.
        crime: engine::mutants::Crime,
    },
    /// Somebody who is no member of anything sends relays and inboxes what is nothing, altered, or was for others.
    Hostile,
    /// A relay's disk is full, or has space again.
    DiskFull(usize, bool),
    /// All connections of a device are cut.
    Cut(DeviceId),
    /// Milliseconds pass.
    Advance(u64),
    /// From now on a relay greets with a time that is so many milliseconds ahead.
    LieAboutTime(usize, i64),
    /// The clock of a device is set: so many milliseconds ahead of the world's.
    SetClock(DeviceId, i64),
    /// So many steps of the network, drawn by chance.
    Network(u32),
    /// Faults are over, everything runs and comes to rest.
    Settle,
}

impl Transition {
    /// A new account.
    pub fn register(device: DeviceId, address: &str) -> Self {
        Self::Do { device, command: Command::Register { address: address.into(), invite: String::new() } }
    }

    /// A text.
    pub fn send(device: DeviceId, conversation: &str, text: &str) -> Self {
        let (conversation, text) = (conversation.into(), text.into());
        Self::Do {
            device,
            command: Command::Send { conversation, text, reply_to: None, preview: None, stays: 0, view_once: false },
        }
    }

    /// A text that is sent at a time.
    pub fn schedule(device: DeviceId, conversation: &str, text: &str, at: u64) -> Self {
        let (conversation, text) = (conversation.into(), text.into());
        let (reply_to, preview, stays, view_once) = (None, None, 0, false);
        let command = Command::Schedule { at, conversation, text, reply_to, preview, stays, view_once };
        Self::Do { device, command }
    }

    /// A new group.
    pub fn create_group(device: DeviceId, name: &str, members: &[&str]) -> Self {
        let members = members.iter().map(|member| (*member).into()).collect();
        Self::Do { device, command: Command::CreateGroup { name: name.into(), members } }
    }

    /// Adds to a group.
    pub fn add(device: DeviceId, conversation: &str, member: &str) -> Self {
        let command = Command::AddMembers { conversation: conversation.into(), members: vec![member.into()] };
        Self::Do { device, command }
    }

    /// Removes from a group.
    pub fn remove(device: DeviceId, conversation: &str, member: &str) -> Self {
        Self::Do { device, command: Command::RemoveMember { conversation: conversation.into(), member: member.into() } }
    }

    /// Another name for a group.
    pub fn rename(device: DeviceId, conversation: &str, name: &str) -> Self {
        Self::Do { device, command: Command::Rename { conversation: conversation.into(), name: name.into() } }
    }

    /// Says what a group is for.
    pub fn describe(device: DeviceId, conversation: &str, text: &str) -> Self {
        Self::Do { device, command: Command::Describe { conversation: conversation.into(), text: text.into() } }
    }

    /// Gives a group a picture: a JPEG by its markers, with these words as what is coded in it.
    pub fn picture(device: DeviceId, conversation: &str, words: &str) -> Self {
        let picture = Some(api::Binary(Self::jpeg(words)));
        Self::Do { device, command: Command::SetPicture { conversation: conversation.into(), picture } }
    }

    /// Takes a group's picture off.
    pub fn no_picture(device: DeviceId, conversation: &str) -> Self {
        Self::Do { device, command: Command::SetPicture { conversation: conversation.into(), picture: None } }
    }

    /// What [`Transition::picture`] sets: a frame of 9 pixels each way, and a scan.
    pub fn jpeg(words: &str) -> Vec<u8> {
        let frame = [0xff, 0xc0, 0, 11, 8, 0, 9, 0, 9, 1, 1, 0x11, 0];
        let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
        [&[0xff, 0xd8][..], &frame, &scan, words.as_bytes(), &[0xff, 0xd9]].concat()
    }

    /// Hands a group over.
    pub fn transfer(device: DeviceId, conversation: &str, member: &str) -> Self {
        let (conversation, member) = (conversation.into(), member.into());
        Self::Do { device, command: Command::TransferOwnership { conversation, member } }
    }

    /// Another role.
    pub fn role(device: DeviceId, conversation: &str, member: &str, role: Role) -> Self {
        let (conversation, member) = (conversation.into(), member.into());
        Self::Do { device, command: Command::SetRole { conversation, member, role } }
    }

    /// A timer, in ms.
    pub fn timer(device: DeviceId, conversation: &str, timer: u64) -> Self {
        Self::Do { device, command: Command::SetTimer { conversation: conversation.into(), timer } }
    }

    /// Leaves a group.
    pub fn leave(device: DeviceId, conversation: &str) -> Self {
        Self::Do { device, command: Command::Leave { conversation: conversation.into() } }
    }

    /// Takes an invitation.
    pub fn accept(device: DeviceId, conversation: &str) -> Self {
        Self::Do { device, command: Command::Accept { conversation: conversation.into() } }
    }

    /// Refuses an invitation.
    pub fn decline(device: DeviceId, conversation: &str) -> Self {
        Self::Do { device, command: Command::Decline { conversation: conversation.into() } }
    }

    /// Blocks an account.
    pub fn block(device: DeviceId, address: &str) -> Self {
        Self::Do { device, command: Command::Block { address: address.into() } }
    }
}
