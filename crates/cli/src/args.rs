//! What can be asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod values;

pub use values::length;
use values::{degrees, seconds, timer};

const AFTER_HELP: &str = "\
A conversation is named by a group's name, a contact's address or the part of it before the @, or the first four or more
characters of its id. An address looks like alice@relay.example; without the @ it is somebody you know, or somebody on your
own relay.

Exit codes:
  0  done
  1  a defect of this program or of a relay
  2  the command can't be carried out as it was given
  3  what it names does not exist
  4  your role, or the other side's decision, forbids it
  5  it no longer applies: somebody else was faster
  6  the relay refused it
  7  the relay can't be reached in time; what was asked for is kept where the message says so
  8  something does not verify: a certificate, an identity, a history
  9  this machine: disk, database, passphrase";

/// Talk to people, end to end encrypted.
#[derive(Debug, Parser)]
#[command(name = "transom", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Args {
    /// Where profiles are kept [default: the user's data directory, for example ~/.local/share/transom]
    #[arg(long, global = true, value_name = "DIR", env = "TRANSOM_HOME", hide_env_values = true)]
    pub home: Option<PathBuf>,
    /// Which profile to use; each has an account of its own
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "TRANSOM_PROFILE",
        default_value = "default",
        hide_env_values = true
    )]
    pub profile: String,
    /// Print one JSON object a line instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// How long to wait for relays, in seconds
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Also believe the certificate authorities in this PEM file
    #[arg(long, global = true, value_name = "FILE", env = "TRANSOM_CA", hide_env_values = true)]
    pub ca: Vec<PathBuf>,
    /// Read the profile's passphrase from this file (its first line); TRANSOM_PASSPHRASE may hold it as well
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// When to use colours; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an account, for example: transom register alice@relay.example
    Register {
        /// The address it will have
        address: String,
        /// An invitation code, if the relay asks for one
        #[arg(long, value_name = "CODE", default_value = "")]
        invite: String,
    },
    /// Show the own account
    Whoami,
    /// Send a message, for example: transom send bob "hi"
    Send {
        /// To whom: a conversation, or an address to start one with
        conversation: String,
        /// What to say; - reads it from standard input
        #[arg(required = true)]
        text: Vec<String>,
        /// Answer this message: the first characters of its id (transom show --ids), or "last" for the last one from others
        #[arg(long, value_name = "MESSAGE")]
        reply_to: Option<String>,
        /// What the others are to see of a link in the text: the link, its title, a description (may be ""); nothing is fetched
        #[arg(long, num_args = 3, value_names = ["LINK", "TITLE", "DESCRIPTION"])]
        preview: Vec<String>,
        /// Let it vanish so long after it was seen: a number with s, m, h, d or w
        #[arg(long, value_name = "LENGTH", value_parser = length)]
        stays: Option<Duration>,
        /// Let everybody look at it once
        #[arg(long)]
        view_once: bool,
        /// Send it later, by this machine's clock: 18:30, "tomorrow 9:00", "2026-12-01 9:00" or "in 2h"
        #[arg(long, value_name = "WHEN")]
        at: Option<String>,
    },
    /// Tell the others of a conversation that you are writing (for programs), or choose whether that is told at all: on or off
    Typing {
        /// The conversation, or on or off; without it, show what is chosen
        what: Option<String>,
        /// You are not writing any more
        #[arg(long, requires = "what")]
        stop: bool,
    },
    /// Choose whether others see that you are there (while `transom watch` runs) and when you last were, and you of them; without a choice, show it
    Presence {
        /// On or off
        choice: Option<Choice>,
    },
    /// List what is to be sent later (transom send --at), or take it back
    Scheduled {
        #[command(subcommand)]
        change: Option<Scheduled>,
    },
    /// Look at a message that is shown once
    Open {
        /// The conversation
        conversation: String,
        /// The first characters of the message's id (transom show --ids), or "last" for the last one from others
        message: String,
    },
    /// React to a message, for example: transom react bob last 👍
    React {
        /// The conversation
        conversation: String,
        /// The first characters of the message's id (transom show --ids), or "last" for the last one from others
        message: String,
        /// One emoji, or a short word
        emoji: String,
        /// Take the reaction back
        #[arg(long)]
        remove: bool,
    },
    /// Change what an own message says; what it said before stays visible
    Edit {
        /// The conversation
        conversation: String,
        /// The first characters of the message's id, or "last" for the last own one
        message: String,
        /// What it is to say; - reads it from standard input
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Show what a message has said before it was edited
    History {
        /// The conversation
        conversation: String,
        /// The first characters of the message's id, or "last"
        message: String,
    },
    /// Take a message out of your sight, or take it back for everyone
    Delete {
        /// The conversation
        conversation: String,
        /// The first characters of the message's id, or "last" for the last own one
        message: String,
        /// For all members: your own message, or as an admin of the group anybody's
        #[arg(long)]
        for_everyone: bool,
    },
    /// Pass a message on to another conversation
    Forward {
        /// The conversation that it is in
        conversation: String,
        /// The first characters of the message's id, or "last" for the last one from others
        message: String,
        /// To whom: a conversation, or an address to start one with
        to: String,
    },
    /// Pin a message
    Pin {
        /// The conversation
        conversation: String,
        /// The first characters of the message's id, or "last"
        message: String,
    },
    /// Take a pin off a message
    Unpin {
        /// The conversation
        conversation: String,
        /// The first characters of the message's id, or "last"
        message: String,
    },
    /// Show the pinned messages, the last one pinned first
    Pins {
        /// The conversation
        conversation: String,
    },
    /// Ask something and vote
    #[command(subcommand)]
    Poll(Poll),
    /// Send a contact card
    Contact {
        /// To whom: a conversation, or an address to start one with
        conversation: String,
        /// Whose: an address, or the name of somebody known
        who: String,
        /// How you call them
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Send a location, for example: transom location bob 48.2010 16.3695 --label Café
    Location {
        /// To whom: a conversation, or an address to start one with
        conversation: String,
        /// Degrees north of the equator, from -90 to 90
        #[arg(allow_negative_numbers = true, value_parser = degrees)]
        latitude: i64,
        /// Degrees east of Greenwich, from -180 to 180
        #[arg(allow_negative_numbers = true, value_parser = degrees)]
        longitude: i64,
        /// How far off it may be, in metres
        #[arg(long, value_name = "METRES", default_value_t = 0)]
        accuracy: u32,
        /// What it is called
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Fetch what waits and print what is new
    Receive,
    /// Print what comes until Ctrl+C
    Watch,
    /// List conversations
    List {
        /// The archived ones
        #[arg(long)]
        archived: bool,
    },
    /// Let messages of a conversation vanish after they were seen, for example: transom timer bob 1d
    Timer {
        /// Which
        conversation: String,
        /// How long they stay: a number with s, m, h, d or w, or "off"; without it, show what is set
        #[arg(value_parser = timer)]
        length: Option<Duration>,
    },
    /// Hear of no new messages of a conversation, for example: transom mute team --for 8h
    Mute {
        /// Which
        conversation: String,
        /// How long: a number with s, m, h, d or w [default: until you take it back]
        #[arg(long = "for", value_name = "LENGTH", value_parser = length)]
        length: Option<Duration>,
    },
    /// Hear of new messages again
    Unmute {
        /// Which
        conversation: String,
    },
    /// Put a conversation away until somebody writes there
    Archive {
        /// Which
        conversation: String,
    },
    /// Take a conversation back into the list
    Unarchive {
        /// Which
        conversation: String,
    },
    /// Keep a conversation at the top of the list
    Top {
        /// Which
        conversation: String,
    },
    /// Let a conversation stand in the list by its age again
    Untop {
        /// Which
        conversation: String,
    },
    /// Mark a conversation as one to look at again; nobody else is told
    Unread {
        /// Which
        conversation: String,
    },
    /// Keep what you have begun to write, or show it
    Draft {
        /// The conversation
        conversation: String,
        /// What you would say; - reads it from standard input
        text: Vec<String>,
        /// Throw it away
        #[arg(long, conflicts_with = "text")]
        clear: bool,
    },
    /// Show a conversation: its members and its last messages
    Show {
        /// Which
        conversation: String,
        /// At most this many messages
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: u32,
        /// Print the messages' ids
        #[arg(long)]
        ids: bool,
    },
    /// Find messages that hold all these words
    Search {
        /// The words
        #[arg(required = true)]
        words: Vec<String>,
        /// At most this many messages
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: u32,
    },
    /// List the people you are in touch with, have named or blocked; or call somebody something: transom contacts name bob "Uncle Bob"
    Contacts {
        #[command(subcommand)]
        change: Option<Contacts>,
    },
    /// Choose whether others see what you have read, and you what they have; without a choice: show it
    Receipts {
        /// on or off
        choice: Option<Choice>,
    },
    /// Make and change groups
    #[command(subcommand)]
    Group(Group),
    /// List invitations from people you don't know yet
    Requests,
    /// Take an invitation
    Accept {
        /// The conversation, or who invites
        conversation: String,
    },
    /// Refuse an invitation; the other side is not told
    Decline {
        /// The conversation, or who invites
        conversation: String,
    },
    /// Hear nothing more from an account
    Block {
        /// Which
        address: String,
    },
    /// Take a block back
    Unblock {
        /// Which
        address: String,
    },
    /// Keep what was said in a file that only your recovery key opens
    #[command(subcommand)]
    Backup(Backup),
    /// Bring back what was said from a backup; in a fresh profile your account as well, with all of its devices lost. Asks for the recovery
    /// key (or reads it from standard input)
    Restore {
        /// The backup's file
        #[arg(required_unless_present = "relay", conflicts_with = "relay")]
        file: Option<PathBuf>,
        /// Take the backup that is at the relay of this address
        #[arg(long, value_name = "ADDRESS")]
        relay: Option<String>,
        /// Don't ask whether the account's other devices may be revoked
        #[arg(long)]
        yes: bool,
        /// Leave the account's other devices in: you still have some of them
        #[arg(long)]
        keep_devices: bool,
    },
    /// The devices of your account
    #[command(subcommand)]
    Devices(Devices),
    /// Show who can read a conversation: people, devices, how sure you can be of them, and what the relay sees
    Who {
        /// Which
        conversation: String,
    },
    /// Show the safety number to compare with somebody
    Verify {
        /// With whom
        address: String,
        /// You have compared it: remember that
        #[arg(long, conflicts_with = "accept_new")]
        confirm: bool,
        /// You have looked at this contact's change of identity: go on with the new one
        #[arg(long)]
        accept_new: bool,
    },
    /// The passphrase that protects this profile on this machine
    Passphrase {
        #[command(subcommand)]
        change: Passphrase,
    },
    /// Print a completion script for a shell
    Completions {
        /// Which
        shell: Shell,
    },
}

/// What is changed about contacts.
#[derive(Debug, clap::Subcommand)]
pub enum Contacts {
    /// Call somebody something; without a name, by the address again
    Name {
        /// Whom
        address: String,
        /// What
        name: Option<String>,
    },
}

/// What is changed about what is to be sent later.
#[derive(Debug, clap::Subcommand)]
pub enum Scheduled {
    /// Take a message back before it is sent, or throw away one that could not be sent
    Cancel {
        /// The first characters of its id
        id: String,
    },
}

/// Yes or no.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Choice {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
pub enum Group {
    /// Make a group; you are its owner
    Create {
        /// Its name
        name: String,
        /// Who is in it beside you
        members: Vec<String>,
    },
    /// Add people
    Add {
        /// The group
        group: String,
        /// Whom
        #[arg(required = true)]
        members: Vec<String>,
    },
    /// Remove somebody
    Remove {
        /// The group
        group: String,
        /// Whom
        member: String,
    },
    /// Give the group another name
    Rename {
        /// The group
        group: String,
        /// Its new name
        name: String,
    },
    /// Say what the group is for, or show what it says
    Describe {
        /// The group
        group: String,
        /// What it is for; - reads it from standard input
        text: Vec<String>,
        /// Take the description off
        #[arg(long, conflicts_with = "text")]
        clear: bool,
    },
    /// Give the group a picture, take it off, save it, or show whether there is one
    #[command(
        override_usage = "transom group picture GROUP FILE\n       transom group picture GROUP --remove\n       transom group picture GROUP [--save FILE]"
    )]
    Picture {
        /// The group
        group: String,
        /// A JPEG, PNG or WebP file: its middle becomes a square of at most 640 pixels, and nothing else of it is sent
        file: Option<PathBuf>,
        /// Take the picture off
        #[arg(long, conflicts_with = "file")]
        remove: bool,
        /// Save the picture (a JPEG) in this file, which must not exist
        #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "remove"])]
        save: Option<PathBuf>,
    },
    /// Make somebody else the owner in your place; you stay as an admin
    Transfer {
        /// The group
        group: String,
        /// Whose it is to be
        member: String,
    },
    /// Make a link that others can follow into the group, list the links, or take one back
    #[command(
        override_usage = "transom group link GROUP [--for LENGTH | --endless] [--uses N] [--direct]\n       transom group link GROUP --list\n       transom group link GROUP --revoke LINK"
    )]
    Link {
        /// The group
        group: String,
        /// How long it is good: a number with m, h, d or w
        #[arg(long = "for", value_name = "LENGTH", value_parser = length, default_value = "7d")]
        length: Option<Duration>,
        /// It is good until it is taken back
        #[arg(long)]
        endless: bool,
        /// It lets in at most so many [default: any number]
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        uses: u32,
        /// Whoever follows it is let in at once; otherwise you are asked
        #[arg(long)]
        direct: bool,
        /// List the links
        #[arg(long, conflicts_with_all = ["endless", "direct", "revoke"])]
        list: bool,
        /// Take a link back: the first characters of its id, or the link itself
        #[arg(long, value_name = "LINK", conflicts_with_all = ["endless", "direct"])]
        revoke: Option<String>,
    },
    /// Ask to be let into a group by a link
    Join {
        /// The link
        link: String,
    },
    /// List who asks to be let in by your links
    Requests {
        /// Into this group only
        group: Option<String>,
    },
    /// Let somebody in who has asked
    Approve {
        /// The group
        group: String,
        /// Who
        who: String,
    },
    /// Don't let somebody in who has asked; they are not told
    Decline {
        /// The group
        group: String,
        /// Who
        who: String,
    },
    /// Change what somebody may do
    Role {
        /// The group
        group: String,
        /// Whose role
        member: String,
        /// The new role
        role: Role,
    },
    /// Leave the group
    Leave {
        /// The group
        group: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Poll {
    /// Send a poll, for example: transom poll create family "Lunch?" Pizza Soup
    Create {
        /// To whom: a conversation, or an address to start one with
        conversation: String,
        /// The question
        question: String,
        /// What there is to choose
        #[arg(required = true)]
        options: Vec<String>,
        /// Several options may be chosen
        #[arg(long)]
        multiple: bool,
    },
    /// Vote, instead of any earlier vote
    Vote {
        /// The conversation
        conversation: String,
        /// The first characters of the poll's id, or "last"
        poll: String,
        /// The options' numbers as they are shown; none takes the vote back
        options: Vec<u32>,
    },
    /// End an own poll
    Close {
        /// The conversation
        conversation: String,
        /// The first characters of the poll's id, or "last"
        poll: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Writes
    Member,
    /// Also adds and removes members and renames the group
    Admin,
    /// Also makes and unmakes admins and owners
    Owner,
}

impl From<Role> for api::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Member => Self::Member,
            Role::Admin => Self::Admin,
            Role::Owner => Self::Owner,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Make a recovery key, which opens the backups that are made from then on; it is shown once
    Key {
        /// Don't ask for its last group: it is kept as it is printed
        #[arg(long, short = 'y')]
        yes: bool,
    },
    /// Write a backup: messages, contacts, how conversations are kept, and the account's key if this device certifies
    Create {
        /// The file
        file: PathBuf,
        /// Replace the file if there is one
        #[arg(long)]
        replace: bool,
    },
    /// Make a backup at your relay, where your recovery key finds it again: all of it once, then what has changed
    Relay {
        /// Make one each day from now on, while this device is on (`transom watch`)
        #[arg(long, conflicts_with = "never")]
        daily: bool,
        /// Make none by itself any more
        #[arg(long)]
        never: bool,
    },
    /// Show when the last backup was made, and how much is new since
    Status,
}

#[derive(Debug, Subcommand)]
pub enum Devices {
    /// List the devices of your account
    List,
    /// Add a device: --new RELAY on the new one shows a code; type that code here on one that you have
    #[command(
        override_usage = "transom devices link --new RELAY [--name NAME]\n       transom devices link [--yes] [--no-history] CODE"
    )]
    Link {
        /// The code that the new device shows
        #[arg(required_unless_present = "new", conflicts_with = "new")]
        code: Option<String>,
        /// This device is the new one; the relay is the part of your address after the @
        #[arg(long, value_name = "RELAY")]
        new: Option<String>,
        /// Don't ask
        #[arg(long, short = 'y')]
        yes: bool,
        /// It gets nothing of what was said before; `transom devices history --send` sends that later
        #[arg(long, conflicts_with = "new")]
        no_history: bool,
        /// What your devices call the new one
        #[arg(long, requires = "new")]
        name: Option<String>,
    },
    /// Say what your devices call one of them; without a name, by its id again. Nobody else is told
    Name {
        /// The first characters of its id
        device: String,
        /// What
        name: Option<String>,
    },
    /// Show how what was said before comes over to another device of yours, or send it there
    History {
        /// Send all that this device has to this one: the first characters of its id
        #[arg(long, value_name = "DEVICE")]
        send: Option<String>,
    },
    /// Have another device certify your others from now on; naming this one takes that back while it is on its way
    Certify {
        /// The first characters of its id
        device: String,
        /// Don't ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
    /// Take a device out of the account and of every conversation
    Revoke {
        /// The first characters of its id
        device: String,
        /// Don't ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Passphrase {
    /// Protect the profile with a passphrase (TRANSOM_NEW_PASSPHRASE may hold it)
    Set,
    /// Change the passphrase (TRANSOM_NEW_PASSPHRASE may hold the new one)
    Change,
    /// Keep the profile without a passphrase
    Remove,
    /// Close the profile wherever it is open: `transom watch` shows nothing until it gets the passphrase
    Lock,
}

impl Command {
    /// The words that name it, for the one who waits until it is done.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Register { .. } => "register",
            Self::Whoami => "whoami",
            Self::Send { .. } => "send",
            Self::Scheduled { .. } => "scheduled",
            Self::Typing { .. } => "typing",
            Self::Presence { .. } => "presence",
            Self::Open { .. } => "open",
            Self::React { .. } => "react",
            Self::Edit { .. } => "edit",
            Self::History { .. } => "history",
            Self::Delete { .. } => "delete",
            Self::Forward { .. } => "forward",
            Self::Pin { .. } => "pin",
            Self::Unpin { .. } => "unpin",
            Self::Pins { .. } => "pins",
            Self::Poll(_) => "poll",
            Self::Contact { .. } => "contact",
            Self::Location { .. } => "location",
            Self::Contacts { .. } => "contacts",
            Self::Receipts { .. } => "receipts",
            Self::Receive => "receive",
            Self::Timer { .. } => "timer",
            Self::Watch => "watch",
            Self::List { .. } => "list",
            Self::Mute { .. } => "mute",
            Self::Unmute { .. } => "unmute",
            Self::Archive { .. } => "archive",
            Self::Unarchive { .. } => "unarchive",
            Self::Top { .. } => "top",
            Self::Untop { .. } => "untop",
            Self::Unread { .. } => "unread",
            Self::Draft { .. } => "draft",
            Self::Show { .. } => "show",
            Self::Search { .. } => "search",
            Self::Group(_) => "group",
            Self::Requests => "requests",
            Self::Accept { .. } => "accept",
            Self::Decline { .. } => "decline",
            Self::Block { .. } => "block",
            Self::Unblock { .. } => "unblock",
            Self::Backup(_) => "backup",
            Self::Restore { .. } => "restore",
            Self::Devices(_) => "devices",
            Self::Who { .. } => "who",
            Self::Verify { .. } => "verify",
            Self::Passphrase { .. } => "passphrase",
            Self::Completions { .. } => "completions",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }
}
