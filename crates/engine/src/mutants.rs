//! What the simulator needs inside of the engine: bugs that it plants, one at a time, to see whether its invariants find them, and a
//! record of the keys that messages were sealed with, which no ciphertext shows. Compiled only for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde::Serialize;
use wire::{EntryId, LogId};

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Entries of an epoch that has ended are processed (protocol rule 1).
    VoidRuleOff,
    /// A pending commit that has lost is kept and sent again.
    PendingCommitReused,
    /// The cursor is committed without the message that it stands for, now and then.
    CursorBeforeMessage,
    /// An intent is forgotten when its commit loses.
    LostIntent,
    /// An own commit is merged when the relay acknowledges it, and again when it comes with the log.
    DoubleMerge,
    /// The commit that is to remove a member only renews keys: the member keeps its own and goes on reading.
    RemovedKeyKept,
    /// A message whose answer was lost is sealed anew under another id, without reading first whether it is in the log.
    RetryWithoutIdCheck,
    /// That a relay was restored from a backup is not noticed (protocol rule 12).
    RestoreUnnoticed,
    /// Nothing is held that could be given back to a restored relay.
    NothingHeld,
    /// Hash heads of before a restore are compared with those behind it.
    HeadsOfBefore,
    /// A message is handed out without the ratchet that it was sealed with having been stored.
    RatchetNotStored,
    /// Transactions are committed without being synced.
    NotSynced,
    /// No defect but a misfortune: a commit of somebody else is one that this device alone can't follow.
    CantFollow,
    /// No defect but an insider: whatever its own member may not do it commits all the same, and the others judge it.
    Lawless,
    /// A member that adds a device again keeps the invitation to itself.
    InvitationWithheld,
    /// An edit behind a deletion brings the message back.
    EditAfterDelete,
    /// What a device does to messages itself stays behind what others do, wherever it is in the log.
    OwnActsLast,
    /// What was to vanish stays.
    NothingVanishes,
    /// A message that was to be sent later waits on, now and then, when it has been sent.
    ScheduledTwice,
    /// A signal counts however old it is.
    StaleSignals,
    /// Whoever is there tells it, and is told of others, whether they have chosen so or not.
    PresenceUnasked,
    /// Any member gives roles, and the group to whom he likes.
    AnyMemberTransfers,
    /// A link that was taken back, has ended or is used up lets in whoever asks.
    RevokedLinkWorks,
    /// A chunk of history that arrives is passed over.
    HistorySkipsAChunk,
    /// Of history only the pass over what is older than its beginning is sent.
    HistoryEndsEarly,
    /// A device that waits for a part of its history which the relay has lost asks nobody for it.
    HistoryNotAsked,
    /// Whoever hands the role of certifying over forgets the account's key at once.
    RoleGivenAtOnce,
    /// Of the backups at a relay a restore takes in the full one alone.
    BackupOnlyFull,
    /// What opens once and what has vanished travels with history.
    HistoryTakesAll,
    /// Whoever restores an account leaves its earlier devices in.
    RestoreKeepsOldDevices,
    /// A device of an account that was removed is let in when it asks.
    RemovedAccountReadded,
    /// Of what own devices tell one another the word heard last counts, not the one said last.
    LastHeardCounts,
    /// Whoever was not on for long is removed as if for good.
    SleeperForgotten,
    /// Whoever has signed an invalid commit is not named.
    ConvictsNobody,
    /// A successor is taken whatever it is.
    SuccessorUnchecked,
    /// That the clock was set is not noticed.
    ClockUnnoticed,
}

/// What an insider does to its conversation: nobody may do any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crime {
    /// Its commit makes it an owner.
    Crowns,
    /// Its commit makes another kind of conversation of it.
    Kind,
    /// Its commit allows that everything is logged.
    Policy,
    /// The relay is given another key than the group's.
    Next,
    /// Its commit adds a device that no account has certified.
    Uncertified,
    /// Its commit removes somebody, without any grounds.
    Removes,
    /// Its commit carries a pre-shared key, which only a successor's first one may.
    Secret,
    /// Its commit is bytes that nobody can open.
    Junk,
    /// Its commit is bytes that nobody else can open; it goes on with what it has made of the group by it, and brings others there.
    Leads,
    /// The successor that it makes has another name.
    SuccessorRenamed,
    /// The successor that it makes is as it should be, and one of those who are in it is not invited.
    SuccessorKeeps,
    /// The successor that it makes is its own.
    SuccessorCrowned,
    /// The successor that it makes lacks somebody.
    SuccessorLacks,
    /// The successor that it makes wants another key than the one of the ended epoch.
    SuccessorOfNobody,
}

impl Crime {
    /// Those that end an epoch, and name who did it but for the last two.
    pub const ENDING: [Self; 9] = [
        Self::Crowns,
        Self::Kind,
        Self::Policy,
        Self::Next,
        Self::Uncertified,
        Self::Removes,
        Self::Secret,
        Self::Junk,
        Self::Leads,
    ];
    /// Those that somebody does who makes a successor.
    pub const SUCCEEDING: [Self; 4] =
        [Self::SuccessorRenamed, Self::SuccessorCrowned, Self::SuccessorLacks, Self::SuccessorOfNobody];
}

/// The key that a message was sealed with: names a key and nonce of RFC 9420, section 9, which must be used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyUse {
    /// The conversation.
    pub log: LogId,
    /// Its epoch.
    pub epoch: u64,
    /// The sender's leaf.
    pub leaf: u32,
    /// Which of the sender's two ratchets.
    pub handshake: bool,
    /// The ratchet's generation after the use.
    pub generation: u64,
}

thread_local! {
    static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    static WATCHED: Cell<Option<(LogId, u64, u32, bool)>> = const { Cell::new(None) };
    static USED: RefCell<Vec<KeyUse>> = const { RefCell::new(Vec::new()) };
    static INSIDER: Cell<Option<(LogId, Crime)>> = const { Cell::new(None) };
    static CRIMES: RefCell<BTreeMap<(LogId, EntryId), Crime>> = const { RefCell::new(BTreeMap::new()) };
}

/// From now on the engine that runs on this thread is an insider's, who does this to a conversation; or nobody's.
pub fn insider(crime: Option<(LogId, Crime)>) {
    INSIDER.set(crime);
}

/// What the insider does to this conversation.
pub(crate) fn crime(log: LogId) -> Option<Crime> {
    INSIDER.get().filter(|(target, _)| *target == log).map(|(_, crime)| crime)
}

/// This entry, if it ever is in the log, is what the insider does.
pub(crate) fn committed(log: LogId, entry: EntryId, crime: Crime) {
    CRIMES.with_borrow_mut(|crimes| crimes.insert((log, entry), crime));
}

/// What was done by this entry, if an insider has made it.
pub(crate) fn crime_of(log: LogId, entry: EntryId) -> Option<Crime> {
    CRIMES.with_borrow(|crimes| crimes.get(&(log, entry)).copied())
}

/// The conversation to which this entry was something that nobody may do, and what.
pub fn crime_by(entry: EntryId) -> Option<(LogId, Crime)> {
    CRIMES.with_borrow(|crimes| crimes.iter().find(|((_, id), _)| *id == entry).map(|((log, _), crime)| (*log, *crime)))
}

/// What insiders have done on this thread is forgotten: another run begins.
pub fn forget_crimes() {
    INSIDER.set(None);
    CRIMES.take();
}

/// Plants a bug on this thread, or takes it away.
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}

/// True if this bug is planted on this thread.
pub fn is(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}

/// The keys used on this thread since the last call.
pub fn keys_used() -> Vec<KeyUse> {
    USED.take()
}

/// While it lives, what OpenMLS stores tells which key it has used.
pub(crate) struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.set(None);
    }
}

/// Watches one message being sealed.
pub(crate) fn watch(log: LogId, epoch: u64, leaf: u32, handshake: bool) -> Watch {
    WATCHED.set(Some((log, epoch, leaf, handshake)));
    Watch
}

/// OpenMLS stores its message secrets: if a message is being sealed, this is the ratchet behind it.
pub(crate) fn secrets_stored(secrets: &impl Serialize) {
    let Some((log, epoch, leaf, handshake)) = WATCHED.get() else { return };
    let ratchets = if handshake { "handshake_sender_ratchets" } else { "application_sender_ratchets" };
    let generation = serde_json::to_value(secrets).ok().and_then(|secrets| {
        secrets
            .pointer(&format!("/message_secrets/secret_tree/{ratchets}/{leaf}/EncryptionRatchet/generation"))?
            .as_u64()
    });
    // Without it every message would look like the first one, which is a violation that nobody can miss.
    let generation = generation.unwrap_or(0);
    USED.with_borrow_mut(|used| used.push(KeyUse { log, epoch, leaf, handshake, generation }));
}
