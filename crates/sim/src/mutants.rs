//! Planted defects. A simulator that doesn't find them would not find the real ones either.
//!
//! What always holds: none is on unless a run names it, and one run has one at most.

/// A planted defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// The store answers a write before it is durable.
    AcknowledgeBeforeSync,
    /// The store shows entries to subscribers before they are durable.
    TailBeforeDurable,
    /// The store takes an append of an epoch that has ended, and says so to the writer.
    PastEpochAccepted,
    /// A reader counts entries that stand behind the commit that ended their epoch.
    VoidRuleOff,
    /// A reader counts every entry, also repetitions of an id.
    RetryWithoutIdCheck,
    /// A writer whose commit lost sends the same commit again in the next epoch.
    PendingCommitReused,
    /// A reader moves its cursor before it has stored the message, and crashes in between.
    CursorBeforeMessage,
    /// A writer whose commit lost forgets what it wanted.
    LostIntent,
    /// A writer merges its own commit when it is acknowledged, and again when it reads it.
    DoubleMerge,
    /// The key of a log does not change when a member is removed; in the engine: the removed member stays in the group.
    RemovedKeyKept,
    /// The engine hands out a message without having stored the ratchet that sealed it.
    RatchetNotStored,
    /// The engine hands out what it has not synced. Databases in memory know no difference: the test `power`, whose are files, finds it.
    NotSynced,
    /// An edit behind a deletion brings the message back.
    EditAfterDelete,
    /// What a device does to messages itself stays behind what others do, wherever it is in the log.
    OwnActsLast,
    /// What was to vanish stays.
    NothingVanishes,
    /// A client does not notice that a relay was restored from a backup.
    RestoreUnnoticed,
    /// A client holds nothing that it could give back to a restored relay.
    NothingHeld,
    /// A client compares hash heads of before a restore with those behind it.
    HeadsOfBefore,
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
    /// Of history only what is older than its beginning is sent.
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
    /// A client does not notice that its clock was set.
    ClockUnnoticed,
}

impl Mutant {
    /// All that seeds are to find.
    pub const ALL: [Self; 32] = [
        Self::AcknowledgeBeforeSync,
        Self::TailBeforeDurable,
        Self::PastEpochAccepted,
        Self::VoidRuleOff,
        Self::RetryWithoutIdCheck,
        Self::PendingCommitReused,
        Self::CursorBeforeMessage,
        Self::LostIntent,
        Self::DoubleMerge,
        Self::RemovedKeyKept,
        Self::RatchetNotStored,
        Self::EditAfterDelete,
        Self::OwnActsLast,
        Self::NothingVanishes,
        Self::ScheduledTwice,
        Self::StaleSignals,
        Self::PresenceUnasked,
        Self::RestoreUnnoticed,
        Self::NothingHeld,
        Self::HeadsOfBefore,
        Self::AnyMemberTransfers,
        Self::RevokedLinkWorks,
        Self::LastHeardCounts,
        Self::HistoryNotAsked,
        Self::RoleGivenAtOnce,
        Self::BackupOnlyFull,
        Self::RestoreKeepsOldDevices,
        Self::RemovedAccountReadded,
        Self::SleeperForgotten,
        Self::ConvictsNobody,
        Self::SuccessorUnchecked,
        Self::ClockUnnoticed,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcknowledgeBeforeSync => "acknowledge-before-sync",
            Self::TailBeforeDurable => "tail-before-durable",
            Self::PastEpochAccepted => "past-epoch-accepted",
            Self::VoidRuleOff => "void-rule-off",
            Self::RetryWithoutIdCheck => "retry-without-id-check",
            Self::PendingCommitReused => "pending-commit-reused",
            Self::CursorBeforeMessage => "cursor-before-message",
            Self::LostIntent => "lost-intent",
            Self::DoubleMerge => "double-merge",
            Self::RemovedKeyKept => "removed-key-kept",
            Self::RatchetNotStored => "ratchet-not-stored",
            Self::NotSynced => "not-synced",
            Self::EditAfterDelete => "edit-after-delete",
            Self::OwnActsLast => "own-acts-last",
            Self::NothingVanishes => "nothing-vanishes",
            Self::StaleSignals => "stale-signals",
            Self::PresenceUnasked => "presence-unasked",
            Self::ScheduledTwice => "scheduled-twice",
            Self::RestoreUnnoticed => "restore-unnoticed",
            Self::NothingHeld => "nothing-held",
            Self::HeadsOfBefore => "heads-of-before",
            Self::AnyMemberTransfers => "any-member-transfers",
            Self::RevokedLinkWorks => "revoked-link-works",
            Self::HistorySkipsAChunk => "history-skips-a-chunk",
            Self::HistoryEndsEarly => "history-ends-early",
            Self::HistoryNotAsked => "history-not-asked",
            Self::RoleGivenAtOnce => "role-given-at-once",
            Self::BackupOnlyFull => "backup-only-full",
            Self::HistoryTakesAll => "history-takes-all",
            Self::LastHeardCounts => "last-heard-counts",
            Self::RestoreKeepsOldDevices => "restore-keeps-old-devices",
            Self::RemovedAccountReadded => "removed-account-readded",
            Self::SleeperForgotten => "sleeper-forgotten",
            Self::ConvictsNobody => "convicts-nobody",
            Self::SuccessorUnchecked => "successor-unchecked",
            Self::ClockUnnoticed => "clock-unnoticed",
        }
    }

    /// True if the world `log` can have it: it has clients of its own, without ratchets and content.
    pub const fn is_in_log(self) -> bool {
        !matches!(
            self,
            Self::NotSynced
                | Self::RatchetNotStored
                | Self::EditAfterDelete
                | Self::OwnActsLast
                | Self::NothingVanishes
                | Self::ScheduledTwice
                | Self::StaleSignals
                | Self::PresenceUnasked
                | Self::RestoreUnnoticed
                | Self::NothingHeld
                | Self::HeadsOfBefore
                | Self::AnyMemberTransfers
                | Self::RevokedLinkWorks
                | Self::HistorySkipsAChunk
                | Self::HistoryEndsEarly
                | Self::HistoryNotAsked
                | Self::RoleGivenAtOnce
                | Self::BackupOnlyFull
                | Self::HistoryTakesAll
                | Self::LastHeardCounts
                | Self::RestoreKeepsOldDevices
                | Self::RemovedAccountReadded
                | Self::SleeperForgotten
                | Self::ConvictsNobody
                | Self::SuccessorUnchecked
                | Self::ClockUnnoticed
        )
    }

    /// True if only what insiders do shows it.
    pub const fn needs_insiders(self) -> bool {
        matches!(self, Self::ConvictsNobody | Self::SuccessorUnchecked)
    }

    /// True if it is planted in the engine rather than in the store.
    pub const fn is_in_engine(self) -> bool {
        !matches!(self, Self::AcknowledgeBeforeSync | Self::TailBeforeDurable | Self::PastEpochAccepted)
    }

    /// Plants it in the engines of this thread; takes away whatever was planted there if it is `None` or not the engine's.
    pub fn plant(mutant: Option<Self>) {
        #[cfg(feature = "mutants")]
        engine::mutants::plant(mutant.and_then(Self::in_engine));
        #[cfg(not(feature = "mutants"))]
        let _ = mutant;
    }

    #[cfg(feature = "mutants")]
    const fn in_engine(self) -> Option<engine::mutants::Mutant> {
        use engine::mutants::Mutant;
        Some(match self {
            Self::AcknowledgeBeforeSync | Self::TailBeforeDurable | Self::PastEpochAccepted => return None,
            Self::VoidRuleOff => Mutant::VoidRuleOff,
            Self::RetryWithoutIdCheck => Mutant::RetryWithoutIdCheck,
            Self::PendingCommitReused => Mutant::PendingCommitReused,
            Self::CursorBeforeMessage => Mutant::CursorBeforeMessage,
            Self::LostIntent => Mutant::LostIntent,
            Self::DoubleMerge => Mutant::DoubleMerge,
            Self::RemovedKeyKept => Mutant::RemovedKeyKept,
            Self::RatchetNotStored => Mutant::RatchetNotStored,
            Self::NotSynced => Mutant::NotSynced,
            Self::EditAfterDelete => Mutant::EditAfterDelete,
            Self::OwnActsLast => Mutant::OwnActsLast,
            Self::NothingVanishes => Mutant::NothingVanishes,
            Self::StaleSignals => Mutant::StaleSignals,
            Self::PresenceUnasked => Mutant::PresenceUnasked,
            Self::ScheduledTwice => Mutant::ScheduledTwice,
            Self::RestoreUnnoticed => Mutant::RestoreUnnoticed,
            Self::NothingHeld => Mutant::NothingHeld,
            Self::HeadsOfBefore => Mutant::HeadsOfBefore,
            Self::AnyMemberTransfers => Mutant::AnyMemberTransfers,
            Self::RevokedLinkWorks => Mutant::RevokedLinkWorks,
            Self::HistorySkipsAChunk => Mutant::HistorySkipsAChunk,
            Self::HistoryEndsEarly => Mutant::HistoryEndsEarly,
            Self::HistoryNotAsked => Mutant::HistoryNotAsked,
            Self::RoleGivenAtOnce => Mutant::RoleGivenAtOnce,
            Self::BackupOnlyFull => Mutant::BackupOnlyFull,
            Self::HistoryTakesAll => Mutant::HistoryTakesAll,
            Self::LastHeardCounts => Mutant::LastHeardCounts,
            Self::RestoreKeepsOldDevices => Mutant::RestoreKeepsOldDevices,
            Self::RemovedAccountReadded => Mutant::RemovedAccountReadded,
            Self::SleeperForgotten => Mutant::SleeperForgotten,
            Self::ConvictsNobody => Mutant::ConvictsNobody,
            Self::SuccessorUnchecked => Mutant::SuccessorUnchecked,
            Self::ClockUnnoticed => Mutant::ClockUnnoticed,
        })
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutant| mutant.name() == name)
    }
}
