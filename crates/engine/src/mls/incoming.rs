//! Commits of others: what they would change, and whether they are valid.

use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{
    MlsGroup, ProcessMessageError, Proposal, ProposalOrRefType, ProposalValidationError, Sender, StageCommitError,
    StagedCommit, ValidationError,
};
use openmls::treesync::errors::LeafNodeValidationError;
use wire::{DeviceCertificate, EpochKey, EpochPublicKey, LogId, RelayName, Signed};
use zeroize::Zeroizing;

use super::group::{Derive, exporter_context};
use super::{Member, ProcessError, Provider, StorageError, config, leaf};

/// A commit of somebody else that RFC 9420 and the rules of this module allow, not yet carried out. Whether its author may do
/// this (roles, revoked devices, the state's own rules) is for the caller to say, before [`super::Group::merge`].
pub struct Incoming {
    /// Its author's leaf.
    pub author: u32,
    /// New members, with the leaves that they get. A device that is removed and added again is in both lists.
    pub added: Vec<Member>,
    /// The key packages that they were added with, in the same order.
    pub packages: Vec<Vec<u8>>,
    /// Members that the author removes.
    pub removed: Vec<Member>,
    /// Members that had asked to leave, and do so by this commit.
    pub left: Vec<Member>,
    /// The author, if the commit brings a new leaf of its own (a path); account and device are the same as before.
    pub updated: Vec<Member>,
    /// The conversation's state after the commit, if the commit sets it (to the same bytes, perhaps).
    pub state: Option<Vec<u8>>,
    /// This device is among those removed, or had asked to leave. There is no next epoch to look at then, and the signature
    /// is all that vouches for the commit: whether it is invalid for the others can't be seen from here.
    pub removes_self: bool,
    /// The epoch that the commit opens.
    pub epoch: u64,
    pub(super) staged: Box<StagedCommit>,
}

impl Incoming {
    /// The public key that opens the log in the next epoch: what the commit's clear header must name (protocol rule 7). `None`
    /// for a member that the commit removes.
    pub fn next_delivery(
        &self,
        p: &Provider<'_>,
        relay: &RelayName,
        log: LogId,
    ) -> Result<Option<EpochPublicKey>, super::MlsError> {
        if self.removes_self {
            return Ok(None);
        }
        next_delivery(p, &self.staged, relay, log).map(Some)
    }
}

/// The public delivery key of the epoch that a commit, pending or received, opens.
pub(super) fn next_delivery(
    p: &Provider<'_>,
    staged: &StagedCommit,
    relay: &RelayName,
    log: LogId,
) -> Result<EpochPublicKey, super::MlsError> {
    use openmls_traits::OpenMlsProvider as _;
    let seed = staged
        .export_secret(p.crypto(), Derive::Delivery.label(), &exporter_context(Derive::Delivery, relay, log), 32)
        .map(Zeroizing::new)
        .map_err(|error| super::MlsError::Library(error.to_string()))?;
    let seed: [u8; 32] =
        seed.as_slice().try_into().map_err(|_| super::MlsError::Library("an export of another length".into()))?;
    Ok(EpochKey::from_seed(&Zeroizing::new(seed)).public())
}

/// Checks what OpenMLS leaves open about a commit by `author`.
pub(super) fn inspect(
    group: &MlsGroup,
    members: &std::collections::BTreeMap<u32, Member>,
    suite: u16,
    author: u32,
    staged: Box<StagedCommit>,
) -> Result<Incoming, ProcessError> {
    let mut incoming = Incoming {
        author,
        added: Vec::new(),
        packages: Vec::new(),
        removed: Vec::new(),
        left: Vec::new(),
        updated: Vec::new(),
        state: None,
        removes_self: staged.self_removed(),
        epoch: staged.epoch().as_u64(),
        staged,
    };
    let member = |leaf: u32| {
        members.get(&leaf).cloned().ok_or_else(|| ProcessError::Invalid(format!("there is no member at leaf {leaf}")))
    };
    let mut added: Vec<Signed<DeviceCertificate>> = Vec::new();
    for queued in incoming.staged.queued_proposals() {
        let by_author = matches!(queued.sender(), Sender::Member(index) if index.u32() == author);
        match (queued.proposal(), queued.proposal_or_ref_type()) {
            (Proposal::Add(add), ProposalOrRefType::Proposal) => {
                added.push(leaf::check(add.key_package().leaf_node(), suite)?);
                let package = add.key_package().tls_serialize_detached();
                incoming.packages.push(package.map_err(|error| ProcessError::Invalid(by_mls(&error)))?);
            }
            (Proposal::Remove(remove), ProposalOrRefType::Proposal) if by_author => {
                incoming.removed.push(member(remove.removed().u32())?);
            }
            // What stands alone was checked when it came in: only a member's own Remove is ever stored.
            (Proposal::Remove(remove), ProposalOrRefType::Reference) => {
                incoming.left.push(member(remove.removed().u32())?);
            }
            (Proposal::GroupContextExtensions(change), ProposalOrRefType::Proposal) => {
                let state = config::state_of(change.extensions())
                    .ok_or_else(|| ProcessError::Invalid("the group's extensions aren't the state alone".into()))?;
                incoming.state = Some(state.to_vec());
            }
            _ => return Err(ProcessError::Invalid("a proposal of a kind that is not used here".into())),
        }
    }
    if let Some(leaf) = incoming.staged.update_path_leaf_node() {
        let before = member(author)?;
        let certificate = leaf::check_update(leaf, &before.certificate, suite)?;
        incoming.updated.push(Member { leaf: author, certificate });
    }
    let gone: Vec<u32> = incoming.removed.iter().chain(&incoming.left).map(|member| member.leaf).collect();
    let leaves = free_leaves(group, &gone);
    incoming.added = added.into_iter().zip(leaves).map(|(certificate, leaf)| Member { leaf, certificate }).collect();
    Ok(incoming)
}

/// The leaves that new members get: the leftmost empty ones after the removals, then new ones on the right (RFC 9420,
/// sections 7.7 and 12.1.1).
pub(super) fn free_leaves<'g>(group: &'g MlsGroup, gone: &[u32]) -> impl Iterator<Item = u32> + use<'g> {
    let mut taken: std::collections::BTreeSet<u32> = group.members().map(|member| member.index.u32()).collect();
    for leaf in gone {
        taken.remove(leaf);
    }
    (0..).filter(move |leaf| !taken.contains(leaf))
}

/// Whose fault a failed commit is. The rule: what depends on this member's secrets or clock is this member's alone; what depends on
/// which other entries this member was shown proves nothing against the author; all else is a function of the group's state and
/// the commit's bytes.
pub(super) fn blame(error: ProcessMessageError<StorageError>, epoch: u64) -> ProcessError {
    use openmls::prelude::ApplyUpdatePathError as Path;
    match error {
        ProcessMessageError::StorageError(error) => ProcessError::Storage(error),
        ProcessMessageError::GroupStateError(_) => ProcessError::Removed,
        ProcessMessageError::ValidationError(ValidationError::WrongEpoch | ValidationError::NoPastEpochData) => {
            ProcessError::Stale(epoch)
        }
        ProcessMessageError::InvalidCommit(StageCommitError::UpdatePathError(
            error @ (Path::UnableToDecrypt
            | Path::PathMismatch
            | Path::MissingCiphertext
            | Path::MissingSender
            | Path::MissingOwnLeaf),
        )) => ProcessError::OnlyMe(error.to_string()),
        ProcessMessageError::InvalidCommit(
            error @ (StageCommitError::MissingDecryptionKey
            | StageCommitError::OwnKeyNotFound
            | StageCommitError::OwnCommitMismatch
            | StageCommitError::LibraryError(_)
            | StageCommitError::LeafNodeValidation(LeafNodeValidationError::Lifetime(_))
            | StageCommitError::ProposalValidationError(ProposalValidationError::LeafNodeValidation(
                LeafNodeValidationError::Lifetime(_),
            ))),
        ) => ProcessError::OnlyMe(error.to_string()),
        ProcessMessageError::LibraryError(error) => ProcessError::OnlyMe(error.to_string()),
        // A relay can keep a proposal back from one reader; and whether a message key is still there hangs on what came before.
        ProcessMessageError::InvalidCommit(error @ StageCommitError::MissingProposal) => {
            ProcessError::Unproven(error.to_string())
        }
        ProcessMessageError::ValidationError(error @ ValidationError::UnableToDecrypt(_)) => {
            ProcessError::Unproven(error.to_string())
        }
        error => ProcessError::Invalid(by_mls(&error)),
    }
}

/// What MLS says against it, as a part of a sentence of ours.
fn by_mls(error: &dyn std::error::Error) -> String {
    format!("MLS does not allow it ({})", error.to_string().trim_end_matches('.'))
}
