//! What can go wrong, one type for each kind of call, and whose fault it is.

use wire::RecordError;

/// The table of MLS state can't be read or written. The environment's fault; the transaction can't go on.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// SQLite refused.
    #[error("the database refused to read or write MLS state")]
    Database(#[from] rusqlite::Error),
    /// A stored value can't be read back, or a value can't be written down: a bug of ours, or a damaged file.
    #[error("stored MLS state can't be understood")]
    Codec(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An operation of our own failed. The group and the overlay may then be out of step: give up the transaction, drop the group,
/// load it again. The variants that say "nothing has changed" are the exception.
#[derive(Debug, thiserror::Error)]
pub enum MlsError {
    /// The environment's fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// This ciphersuite is not one that we make groups with. The caller's fault; nothing has changed.
    #[error("the ciphersuite {0:#06x} is not supported")]
    Suite(u16),
    /// There is a group of this log already. The caller's fault; nothing has changed.
    #[error("there is a group of this log already")]
    Exists,
    /// A commit of ours is staged: merge or drop it first. The caller's fault; nothing has changed.
    #[error("a commit is already staged")]
    Staged,
    /// No commit of ours is staged. The caller's fault; nothing has changed.
    #[error("no commit is staged")]
    NotStaged,
    /// Somebody asked to leave: nobody may send in this epoch until a commit has carried it out (RFC 9420, section 12.4), so
    /// stage one first. Nothing has changed.
    #[error("a proposal waits to be committed")]
    ProposalsPending,
    /// This device has asked to leave: it can neither send nor commit any more. Nothing has changed.
    #[error("this device has asked to leave")]
    Leaving,
    /// This device is no member any more. Nothing has changed.
    #[error("this device is no member any more")]
    Removed,
    /// No member has this leaf. The caller's fault; nothing has changed.
    #[error("no member has the leaf {0}")]
    UnknownLeaf(u32),
    /// A member can't remove itself by a commit; it leaves by a proposal. The caller's fault; nothing has changed.
    #[error("a member can't remove itself by a commit")]
    RemovesSelf,
    /// This key package (its place in the list) may not be added; the fault is that of who made it. Nothing has changed.
    #[error("the key package number {index} is refused")]
    KeyPackage {
        /// Its place in the list of those to add.
        index: usize,
        /// Why.
        source: LeafError,
    },
    /// The group's state doesn't allow this change, for a reason that the checks before it don't know. Nothing has changed.
    #[error("the group doesn't allow this change: {0}")]
    Impossible(String),
    /// A group was changed by messages and was not among those given to `flush`, or was loaded while it was: its keys would
    /// be used twice. The caller's fault.
    #[error("a changed group was left out when the state was written")]
    Unsaved,
    /// The certificate is not for this key, or the suite is not in it. The caller's fault; nothing has changed.
    #[error("the device's own certificate can't be used here")]
    Certificate(#[source] LeafError),
    /// The library refused what should be possible: a bug of ours, or state that was tampered with.
    #[error("the MLS library refused: {0}")]
    Library(String),
}

/// Why a leaf, or a key package, is refused. The fault of who made it; a function of its bytes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// It can't be read, or its own signature does not fit.
    #[error("it can't be read, or isn't signed as MLS demands")]
    Malformed,
    /// Its credential isn't a device certificate.
    #[error("its credential isn't a device certificate")]
    Credential,
    /// The certificate in it is refused.
    #[error("its device certificate is refused")]
    Certificate(#[source] RecordError),
    /// It is signed by another key than the one that its certificate names.
    #[error("its key isn't the one that its certificate names")]
    Key,
    /// It is for another ciphersuite than the group's, or its certificate doesn't list that suite.
    #[error("its certificate doesn't list the ciphersuite")]
    Suite,
    /// Its lifetime isn't the fixed one (30 days before to 10 years after it was made).
    #[error("its lifetime isn't the one of this protocol")]
    Lifetime,
    /// It is another device than the one expected, or an update tries to change account or device.
    #[error("it belongs to another device")]
    Device,
    /// One of its keys is in the group already, or in another key package of the same commit: the device is a member, or has
    /// offered one package twice.
    #[error("one of its keys is in the group already")]
    Duplicate,
    /// It doesn't announce the version, the suite, the kind of credential or the extension that every conversation uses.
    #[error("it doesn't announce what a conversation needs")]
    Capabilities,
}

/// Why a Welcome was not followed. Nothing has changed; the key package that it was for is still there.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Not for a key package that this device (still) has.
    #[error("the welcome is for no key package of this device")]
    NotForUs,
    /// There is a group of this log already: whoever wants to join again deletes the old one first.
    #[error("there is a group of this log already")]
    Exists,
    /// The fault of who invited: bytes, tree or group break RFC 9420 or our rules.
    #[error("the welcome is invalid: {0}")]
    Invalid(String),
    /// A member's leaf is refused.
    #[error("the leaf {leaf} is refused")]
    Leaf {
        /// Whose.
        leaf: u32,
        /// Why.
        source: LeafError,
    },
    /// The environment's fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why an entry that isn't a commit says nothing. The group is as it was, but for the sender's key of a message that was
/// [`ReceiveError::Refused`], which is used up.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Its sender claims to be this device. What this device sent it can't decrypt, so it keeps the plaintext; for an entry
    /// whose id isn't one of its own this is a forgery, void like any other junk.
    #[error("the message claims to come from this device")]
    Own,
    /// From another epoch than the group's; void by protocol rule 1.
    #[error("the message is from epoch {0}, which isn't the current one")]
    Stale(u64),
    /// Junk, a replay, or not for this group; void by protocol rule 9.
    #[error("the message can't be decrypted or verified")]
    Unreadable,
    /// Well signed, but nothing that may stand alone here: a proposal other than for leaving oneself, or a commit. The
    /// sender's fault.
    #[error("member {leaf} sent what may not stand alone")]
    Refused {
        /// The sender.
        leaf: u32,
    },
    /// This device is no member any more.
    #[error("this device is no member any more")]
    Removed,
    /// The environment's fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a commit can't be carried out. The group is as it was, but for the author's key of a commit that could be decrypted and
/// is refused all the same: read once more it is still invalid, for another reason.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It claims to come from this device. The own staged commit is merged instead; for an entry whose id isn't one of the
    /// own ones this is a commit that nobody can decrypt, so invalid for everybody.
    #[error("the commit claims to come from this device")]
    Own,
    /// For another epoch than the group's; void by protocol rule 1.
    #[error("the commit is for epoch {0}, which isn't the current one")]
    Stale(u64),
    /// This member alone can't follow, as far as it can tell: a path secret that doesn't open or doesn't fit, or a clock
    /// that is far off. It asks to be added again (protocol section 1, "A member that alone can't process a commit").
    #[error("this member can't follow the commit: {0}")]
    OnlyMe(String),
    /// Invalid for every member, by the group's state and the commit's bytes alone (protocol rule 6).
    #[error("the commit is invalid: {0}")]
    Invalid(String),
    /// It can't be processed, and it may be that only here: what it needs may have been kept back from this member, or used up
    /// before. Nobody is convicted by it (protocol rule 7).
    #[error("the commit can't be processed: {0}")]
    Unproven(String),
    /// A leaf that the commit brings is refused; invalid for every member.
    #[error("the commit brings a leaf that is refused")]
    Leaf(#[from] LeafError),
    /// This device is no member any more.
    #[error("this device is no member any more")]
    Removed,
    /// The environment's fault.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
