//! One conversation's MLS group.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{
    ContentType, GroupId, JoinBuilder, KeyPackage, LeafNodeIndex, MlsGroup, MlsGroupStateError, MlsMessageBodyIn,
    MlsMessageIn, PreSharedKeyProposal, PrivateMessageIn, ProcessMessageError, ProcessedMessageContent,
    ProcessedWelcome, Proposal, ProtocolMessage, RatchetTreeIn, Sender, WelcomeError,
};
use openmls::schedule::{ExternalPsk, PreSharedKeyId, Psk};
use openmls::treesync::LeafNodeSource;
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::storage::StorageProvider as _;
use tls_codec::VLBytes;
use wire::{Bytes, DeviceCertificate, EpochPublicKey, LogId, RelayName, Signed, SigningKey, UnixMillis, signing_input};
use zeroize::Zeroizing;

use super::incoming::{self, Incoming};
use super::provider::DeviceSigner;
use super::{
    JoinError, LeafError, MlsError, ProcessError, Provider, ReceiveError, StorageError, config, key_package, leaf,
    welcome,
};

/// One conversation. Kept in memory across calls; after a rolled-back transaction it is dropped and loaded again.
pub struct Group {
    mls: MlsGroup,
    log: LogId,
    suite: u16,
    /// All members by leaf; follows the tree, so that certificates are verified once.
    members: BTreeMap<u32, Member>,
    /// Certificates of devices that a change under way brings in, by signature key: checked once, not again when it is merged.
    checked: BTreeMap<[u8; 32], Signed<DeviceCertificate>>,
}

/// A device in a conversation.
#[derive(Clone, PartialEq, Eq)]
pub struct Member {
    /// Its place in the tree; another device's after it was removed.
    pub leaf: u32,
    /// Who it is.
    pub certificate: Signed<DeviceCertificate>,
}

/// The leaf alone: a member's name and keys are nothing for a log line (I10).
impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({})", self.leaf)
    }
}

/// What a secret of an epoch is for. Each has a label of its own in the MLS exporter (RFC 9420, section 8.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Derive {
    /// The seed of the epoch's key pair, which opens the log.
    Delivery,
    /// The key that commits of this epoch are sealed under.
    Envelope,
    /// The key that signals of this epoch are sealed under.
    Signal,
    /// The external PSK of a successor of this log.
    Succession,
}

impl Derive {
    /// Every label, for the table of vectors.
    pub const ALL: [Self; 4] = [Self::Delivery, Self::Envelope, Self::Signal, Self::Succession];

    /// The label in the MLS exporter.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Delivery => "transom delivery",
            Self::Envelope => "transom envelope",
            Self::Signal => "transom signal",
            Self::Succession => "transom succession",
        }
    }
}

/// The version of this protocol that is in the context of every derivation.
const EXPORTER_VERSION: u32 = 1;

/// The context of a derivation: (version, relay, log), each behind its length.
pub(crate) fn exporter_context(what: Derive, relay: &RelayName, log: LogId) -> Vec<u8> {
    signing_input(what.label(), &[&EXPORTER_VERSION.to_be_bytes(), relay.as_str().as_bytes(), &log.0])
}

/// What an entry that isn't a commit says.
#[derive(Clone, PartialEq, Eq)]
pub enum Received {
    /// A member's message.
    Message {
        /// The sender.
        leaf: u32,
        /// What it says.
        plaintext: Vec<u8>,
    },
    /// A member asks to leave; the next commit of anybody else carries it out, and until then nobody can send.
    Leave {
        /// Who.
        leaf: u32,
    },
}

/// Never what the message says (I10).
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { leaf, plaintext } => write!(f, "Message({leaf}, {} bytes)", plaintext.len()),
            Self::Leave { leaf } => write!(f, "Leave({leaf})"),
        }
    }
}

/// What a commit is to do. Whoever has asked to leave goes with every commit.
#[derive(Clone, Default)]
pub struct Change {
    /// TLS-encoded key packages, one for each new device.
    pub adds: Vec<Bytes>,
    /// Leaves to remove.
    pub removes: Vec<u32>,
    /// A new state of the conversation.
    pub state: Option<Vec<u8>>,
    /// Replace the own keys in the tree, which heals a compromise of this device. Anything but an addition does so anyway.
    pub update_path: bool,
    /// A pre-shared key that goes into the new epoch, under its id: the first commit of a successor has one, no other.
    pub psk: Option<SuccessionKey>,
}

/// What the first commit of a successor carries: the hash of the entry that has ended its predecessor, and the key that comes with it.
pub type SuccessionKey = ([u8; 32], Zeroizing<[u8; 32]>);

/// A commit that is made and not carried out: [`Group::merge_staged`] once it has won, [`Group::drop_staged`] otherwise.
#[derive(Debug, Clone)]
pub struct Staged {
    /// The commit, an encoded PrivateMessage.
    pub commit: Vec<u8>,
    /// The epoch that it opens.
    pub epoch: u64,
    /// The public key that opens the log in that epoch.
    pub next: EpochPublicKey,
    /// For each new device, in the order of [`Change::adds`], a Welcome with its own secrets only.
    pub welcomes: Vec<Addressed>,
    /// The encoded tree that the Welcomes need; there if somebody is added.
    pub tree: Option<Vec<u8>>,
}

impl Group {
    /// Makes the group of `log` with this device as its only member, in epoch 0.
    pub fn create(
        p: &Provider<'_>,
        signer: &SigningKey,
        certificate: &Signed<DeviceCertificate>,
        log: LogId,
        suite: u16,
        state: &[u8],
        now: UnixMillis,
    ) -> Result<Self, MlsError> {
        let ciphersuite = config::suite(suite)?;
        key_package::own_certificate(signer, certificate, suite)?;
        if p.storage().has_group(log)? {
            return Err(MlsError::Exists);
        }
        let config = config::create(ciphersuite, config::capabilities(p.rand()), state, now)?;
        let mls = MlsGroup::new_with_group_id(
            p,
            &DeviceSigner(signer),
            &config,
            GroupId::from_slice(&log.0),
            leaf::credential(certificate),
        )
        .map_err(library)?;
        let own = Member { leaf: 0, certificate: certificate.clone() };
        Ok(Self { mls, log, suite, members: BTreeMap::from([(0, own)]), checked: BTreeMap::new() })
    }

    /// The group of `log`, as of the last flush and what this provider's transaction has changed since.
    pub fn load(p: &Provider<'_>, log: LogId) -> Result<Option<Self>, MlsError> {
        if p.storage().is_deferred(log) {
            return Err(MlsError::Unsaved);
        }
        let Some(mls) = MlsGroup::load(p.storage(), &GroupId::from_slice(&log.0))? else { return Ok(None) };
        let suite = mls.ciphersuite().into();
        let nobody = BTreeMap::new();
        let members = read_members(&mls, suite, &nobody, &BTreeMap::new())
            .map_err(|(leaf, error)| MlsError::Library(format!("the stored leaf {leaf}: {error}")))?;
        Ok(Some(Self { mls, log, suite, members, checked: BTreeMap::new() }))
    }

    /// Forgets the group with all its keys.
    pub fn delete(self, p: &Provider<'_>) -> Result<(), MlsError> {
        Ok(p.storage().delete_group(self.log)?)
    }

    /// Joins by a Welcome and the tree that belongs to it. Every leaf's certificate is checked first; whether the inviter may
    /// invite, and whether the conversation is welcome, is for the caller to say afterwards.
    pub fn join(p: &Provider<'_>, signer: &SigningKey, welcome: &[u8], tree: &[u8]) -> Result<Self, JoinError> {
        p.storage().attempt(|| join(p, signer, welcome, tree, None))
    }

    /// Joins a successor of a conversation: the same, and the Welcome must want this key, under this id, and no other.
    pub fn join_successor(
        p: &Provider<'_>,
        signer: &SigningKey,
        welcome: &[u8],
        tree: &[u8],
        key: &SuccessionKey,
    ) -> Result<Self, JoinError> {
        p.storage().attempt(|| {
            let id = PreSharedKeyId::external(key.0.to_vec(), Vec::new());
            id.store(p, key.1.as_slice()).map_err(|error| JoinError::Invalid(error.to_string()))?;
            let group = join(p, signer, welcome, tree, Some(&key.0))?;
            p.storage().delete_psk(&psk_of(&key.0))?;
            Ok(group)
        })
    }

    /// The log, which is also the MLS group id.
    pub fn log(&self) -> LogId {
        self.log
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.mls.epoch().as_u64()
    }

    /// This device's leaf.
    pub fn own_leaf(&self) -> u32 {
        self.mls.own_leaf_index().u32()
    }

    /// The ciphersuite.
    pub fn suite(&self) -> u16 {
        self.suite
    }

    /// All members by leaf, this device among them.
    pub fn members(&self) -> Vec<Member> {
        self.members.values().cloned().collect()
    }

    /// All members with the hash of their encryption keys, by which a renewal of keys is seen.
    pub fn leaves(&self) -> Vec<(Member, [u8; 32])> {
        let hash = |member: openmls::prelude::Member| {
            Some((self.members.get(&member.index.u32())?.clone(), crate::formats::hash(&member.encryption_key)))
        };
        self.mls.members().filter_map(hash).collect()
    }

    /// The leaf of a device: the hash of its encryption key, as in [`Group::leaves`], and whether it is what the device was added with,
    /// so that the device may never have come in.
    pub fn leaf_of(&self, device: &DeviceCertificate) -> Option<([u8; 32], bool)> {
        let same = |member: &&Member| {
            let certificate = &member.certificate;
            certificate.account_key == device.account_key
                && certificate.device == device.device
                && certificate.signature_key == device.signature_key
        };
        let member = self.members.values().find(same)?;
        let index = LeafNodeIndex::new(member.leaf);
        let source = self.mls.public_group().leaf(index)?.leaf_node_source();
        let key = crate::formats::hash(&self.mls.member_at(index)?.encryption_key);
        Some((key, matches!(source, LeafNodeSource::KeyPackage(_))))
    }

    /// The member at a leaf.
    pub fn member(&self, leaf: u32) -> Option<&Member> {
        self.members.get(&leaf)
    }

    /// False once a merged commit has removed this device.
    pub fn is_active(&self) -> bool {
        self.mls.is_active()
    }

    /// The state of the conversation: the bytes of our GroupContext extension.
    pub fn state(&self) -> Vec<u8> {
        config::state_of(self.mls.extensions()).map(<[u8]>::to_vec).unwrap_or_default()
    }

    /// What a commit of this epoch is judged against, in one hash that is the same for all members: SHA-256 over `input("group", log,
    /// epoch, state, ratchet tree)`, the tree TLS-encoded (RFC 9420, section 12.4.3.3).
    pub fn context_hash(&self) -> Result<[u8; 32], MlsError> {
        let tree = self.mls.export_ratchet_tree().tls_serialize_detached().map_err(library)?;
        let epoch = self.epoch().to_be_bytes();
        Ok(crate::formats::hash(&signing_input("group", &[&self.log.0, &epoch, &self.state(), &tree])))
    }

    /// A secret of the current epoch; the same for all members, and a different one for each purpose, relay and log.
    pub fn secret(&self, p: &Provider<'_>, what: Derive, relay: &RelayName) -> Result<Zeroizing<[u8; 32]>, MlsError> {
        let context = exporter_context(what, relay, self.log);
        let secret =
            self.mls.export_secret(p.crypto(), what.label(), &context, 32).map(Zeroizing::new).map_err(library)?;
        let secret = secret.as_slice().try_into().map_err(|_| library("an export of another length"))?;
        Ok(Zeroizing::new(secret))
    }

    /// The external PSK of a successor of this log, whose epoch this entry has ended (protocol rule 18): only who was in the epoch has it.
    pub fn succession(
        &self,
        p: &Provider<'_>,
        relay: &RelayName,
        ending: &[u8; 32],
    ) -> Result<Zeroizing<[u8; 32]>, MlsError> {
        let label = Derive::Succession.label();
        let version = EXPORTER_VERSION.to_be_bytes();
        let context = signing_input(label, &[&version, relay.as_str().as_bytes(), &self.log.0, ending]);
        let secret = self.mls.export_secret(p.crypto(), label, &context, 32).map(Zeroizing::new).map_err(library)?;
        let secret = secret.as_slice().try_into().map_err(|_| library("an export of another length"))?;
        Ok(Zeroizing::new(secret))
    }

    /// Encrypts to all members. May be done while a commit of ours is staged: if that wins, the message is of the past epoch,
    /// and void if it comes later in the log.
    pub fn encrypt(&mut self, p: &Provider<'_>, signer: &SigningKey, plaintext: &[u8]) -> Result<Vec<u8>, MlsError> {
        self.check_active()?;
        if self.is_leaving() {
            return Err(MlsError::Leaving);
        }
        if self.mls.has_pending_proposals() {
            return Err(MlsError::ProposalsPending);
        }
        #[cfg(feature = "mutants")]
        let _watch = crate::mutants::watch(self.log, self.epoch(), self.own_leaf(), false);
        let message =
            p.storage().deferring(|| self.mls.create_message(p, &DeviceSigner(signer), plaintext)).map_err(library)?;
        message.to_bytes().map_err(library)
    }

    /// Decrypts an entry that isn't a commit.
    pub fn receive(&mut self, p: &Provider<'_>, bytes: &[u8]) -> Result<Received, ReceiveError> {
        let message = private_message(bytes).ok_or(ReceiveError::Unreadable)?;
        if message.epoch().as_u64() != self.epoch() {
            return Err(ReceiveError::Stale(message.epoch().as_u64()));
        }
        if message.content_type() == ContentType::Commit {
            return Err(ReceiveError::Unreadable);
        }
        let processed =
            p.storage().deferring(|| self.mls.process_message(p, ProtocolMessage::from(message))).map_err(|error| {
                match error {
                    ProcessMessageError::StorageError(error) => ReceiveError::Storage(error),
                    ProcessMessageError::GroupStateError(MlsGroupStateError::UseAfterEviction) => ReceiveError::Removed,
                    _ => ReceiveError::Unreadable,
                }
            })?;
        let Sender::Member(sender) = processed.sender() else { return Err(ReceiveError::Unreadable) };
        let leaf = sender.u32();
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => {
                Ok(Received::Message { leaf, plaintext: message.into_bytes() })
            }
            ProcessedMessageContent::OwnPrivateMessage => Err(ReceiveError::Own),
            ProcessedMessageContent::ProposalMessage(proposal) => {
                let leaves = matches!(proposal.proposal(), Proposal::Remove(remove) if remove.removed().u32() == leaf);
                // A second request to leave says nothing new, and would give the next commit two of them.
                if !leaves || self.leaving().any(|other| other == leaf) {
                    return Err(ReceiveError::Refused { leaf });
                }
                self.mls.store_pending_proposal(p.storage(), *proposal)?;
                Ok(Received::Leave { leaf })
            }
            _ => Err(ReceiveError::Refused { leaf }),
        }
    }

    /// Asks to leave, once the own other devices were removed by a commit. From here on this device can neither send nor
    /// commit; if an epoch ends without the request being carried out, it is made again in the next.
    pub fn leave(&mut self, p: &Provider<'_>, signer: &SigningKey) -> Result<Vec<u8>, MlsError> {
        self.check_active()?;
        if self.staged() {
            return Err(MlsError::Staged);
        }
        if self.is_leaving() {
            return Err(MlsError::Leaving);
        }
        #[cfg(feature = "mutants")]
        let _watch = crate::mutants::watch(self.log, self.epoch(), self.own_leaf(), true);
        let message = self.mls.leave_group(p, &DeviceSigner(signer)).map_err(library)?;
        message.to_bytes().map_err(library)
    }

    /// Members that have asked to leave in this epoch.
    pub fn leaving(&self) -> impl Iterator<Item = u32> {
        self.mls.pending_proposals().filter_map(|queued| match queued.proposal() {
            Proposal::Remove(remove) => Some(remove.removed().u32()),
            _ => None,
        })
    }

    /// Makes a commit and keeps it pending. A change that does nothing else still replaces the own keys.
    pub fn stage(
        &mut self,
        p: &Provider<'_>,
        signer: &SigningKey,
        change: Change,
        relay: &RelayName,
    ) -> Result<Staged, MlsError> {
        self.check_active()?;
        if self.staged() {
            return Err(MlsError::Staged);
        }
        if self.is_leaving() {
            return Err(MlsError::Leaving);
        }
        let removes = self.check_removes(&change.removes)?;
        let (packages, certificates) = self.check_adds(p, &change.adds, &change.removes)?;
        let references = packages
            .iter()
            .map(|package| package.hash_ref(p.crypto()).map(|reference| reference.as_slice().to_vec()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(library)?;

        let path = change.update_path || (packages.is_empty() && removes.is_empty() && change.state.is_none());
        let mut builder =
            self.mls.commit_builder().force_self_update(path).propose_removals(removes).propose_adds(packages);
        if let Some(state) = &change.state {
            builder = builder.propose_group_context_extensions(config::context(state)?).map_err(library)?;
        }
        if let Some((id, key)) = &change.psk {
            let suite = config::suite(self.suite)?;
            let id = PreSharedKeyId::new(suite, p.rand(), psk_of(id)).map_err(library)?;
            id.store(p, key.as_slice()).map_err(library)?;
            builder = builder.add_proposal(Proposal::PreSharedKey(Box::new(PreSharedKeyProposal::new(id))));
        }
        let bundle = builder
            .load_psks(p.storage())
            .map_err(library)?
            .build(p.rand(), p.crypto(), &DeviceSigner(signer), |_| true)
            .map_err(|error| MlsError::Impossible(error.to_string()))?
            .stage_commit(p)
            .map_err(library)?;
        if let Some((id, _)) = &change.psk {
            p.storage().delete_psk(&psk_of(id))?;
        }
        let commit = bundle.commit().to_bytes().map_err(library)?;
        let welcomes = match bundle.to_welcome_msg() {
            Some(message) => split_welcomes(&message.to_bytes().map_err(library)?, &references, &certificates)?,
            None => Vec::new(),
        };
        self.checked = certificates.into_iter().map(|certificate| (certificate.signature_key, certificate)).collect();

        let pending = self.mls.pending_commit().ok_or(MlsError::NotStaged)?;
        let next = incoming::next_delivery(p, pending, relay, self.log)?;
        let tree = match welcomes.is_empty() {
            true => None,
            false => pending
                .export_ratchet_tree(p.crypto(), self.mls.export_ratchet_tree())
                .map_err(library)?
                .map(|tree| tree.tls_serialize_detached())
                .transpose()
                .map_err(library)?,
        };
        Ok(Staged { commit, epoch: pending.epoch().as_u64(), next, welcomes, tree })
    }

    /// True while a commit of ours is pending; survives restarts.
    pub fn staged(&self) -> bool {
        self.mls.pending_commit().is_some()
    }

    /// Carries out the own commit, which was the first one of its epoch in the log.
    pub fn merge_staged(&mut self, p: &Provider<'_>) -> Result<(), MlsError> {
        if !self.staged() {
            return Err(MlsError::NotStaged);
        }
        self.mls.merge_pending_commit(p).map_err(library)?;
        self.refresh_members()
    }

    /// Forgets the own commit. Only if it is certain that nobody will ever see it: before it was handed out, or when the
    /// epoch has ended with another one.
    pub fn drop_staged(&mut self, p: &Provider<'_>) -> Result<(), MlsError> {
        Ok(self.mls.clear_pending_commit(p.storage())?)
    }

    /// Reads the first commit of this epoch in the log, by somebody else. Changes nothing but the author's message keys:
    /// [`Group::merge`] carries it out, and forgets an own commit that it has beaten.
    pub fn process(&mut self, p: &Provider<'_>, commit: &[u8]) -> Result<Incoming, ProcessError> {
        let message =
            private_message(commit).ok_or_else(|| ProcessError::Invalid("it isn't a PrivateMessage".into()))?;
        let epoch = message.epoch().as_u64();
        if epoch != self.epoch() {
            return Err(ProcessError::Stale(epoch));
        }
        if message.content_type() != ContentType::Commit {
            return Err(ProcessError::Invalid("it isn't a commit".into()));
        }
        let processed = p
            .storage()
            .deferring(|| self.mls.process_message(p, ProtocolMessage::from(message)))
            .map_err(|error| incoming::blame(error, epoch))?;
        let Sender::Member(author) = processed.sender() else {
            return Err(ProcessError::Invalid("its author isn't a member".into()));
        };
        let author = author.u32();
        match processed.into_content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                incoming::inspect(&self.mls, &self.members, self.suite, author, staged)
            }
            ProcessedMessageContent::OwnPrivateMessage | ProcessedMessageContent::OwnPendingCommit => {
                Err(ProcessError::Own)
            }
            _ => Err(ProcessError::Invalid("a proposal of a kind that is not used here".into())),
        }
    }

    /// Carries out a commit of somebody else. Afterwards [`Group::is_active`] is false if it has removed this device; then
    /// nothing can be done with the group but [`Group::delete`] it, which also forgets the keys of its last epoch.
    pub fn merge(&mut self, p: &Provider<'_>, incoming: Incoming) -> Result<(), MlsError> {
        if incoming.epoch != self.epoch().saturating_add(1) {
            return Err(library("a commit of another epoch"));
        }
        self.mls.merge_staged_commit(p, *incoming.staged).map_err(library)?;
        let new = incoming.added.into_iter().chain(incoming.updated).map(|member| member.certificate);
        self.checked = new.map(|certificate| (certificate.signature_key, certificate)).collect();
        self.refresh_members()
    }

    pub(super) fn inner_mut(&mut self) -> &mut MlsGroup {
        &mut self.mls
    }

    fn check_active(&self) -> Result<(), MlsError> {
        if self.mls.is_active() { Ok(()) } else { Err(MlsError::Removed) }
    }

    /// True once this device has asked to leave in this epoch.
    pub fn is_leaving(&self) -> bool {
        self.leaving().any(|leaf| leaf == self.own_leaf())
    }

    fn check_adds(
        &self,
        p: &Provider<'_>,
        adds: &[Bytes],
        removes: &[u32],
    ) -> Result<(Vec<KeyPackage>, Vec<Signed<DeviceCertificate>>), MlsError> {
        let gone: BTreeSet<u32> = removes.iter().copied().chain(self.leaving()).collect();
        // Signature keys, encryption keys and init keys are unique in a group (RFC 9420, sections 7.3 and 12.2).
        let mut keys: BTreeSet<Vec<u8>> = self
            .mls
            .members()
            .filter(|member| !gone.contains(&member.index.u32()))
            .flat_map(|member| [member.signature_key, member.encryption_key])
            .collect();
        let mut packages = Vec::with_capacity(adds.len());
        let mut certificates = Vec::with_capacity(adds.len());
        for (index, bytes) in adds.iter().enumerate() {
            let refuse = |source| MlsError::KeyPackage { index, source };
            let parsed = key_package::parse(p, bytes);
            // An insider adds what no account has certified.
            #[cfg(feature = "mutants")]
            let parsed = match crate::mutants::crime(self.log) {
                Some(crate::mutants::Crime::Uncertified) => key_package::unchecked(p, bytes)
                    .ok_or(LeafError::Malformed)
                    .and_then(|package| Ok((package, self.own_certificate().ok_or(LeafError::Malformed)?))),
                _ => parsed,
            };
            let (package, certificate) = parsed.map_err(refuse)?;
            if u16::from(package.ciphersuite()) != self.suite {
                return Err(refuse(LeafError::Suite));
            }
            let leaf = package.leaf_node();
            // The library shows this key only as it is encoded.
            let encryption_key = leaf.encryption_key().tls_serialize_detached().map_err(library)?;
            let encryption_key: Vec<u8> = VLBytes::tls_deserialize_exact(encryption_key).map_err(library)?.into();
            let fresh = keys.insert(leaf.signature_key().as_slice().to_vec())
                && keys.insert(encryption_key)
                && keys.insert(package.hpke_init_key().as_slice().to_vec());
            if !fresh {
                return Err(refuse(LeafError::Duplicate));
            }
            certificates.push(certificate);
            packages.push(package);
        }
        Ok((packages, certificates))
    }

    #[cfg(feature = "mutants")]
    fn own_certificate(&self) -> Option<Signed<DeviceCertificate>> {
        self.member(self.own_leaf()).map(|own| own.certificate.clone())
    }

    fn check_removes(&self, removes: &[u32]) -> Result<Vec<LeafNodeIndex>, MlsError> {
        let leaving: Vec<u32> = self.leaving().collect();
        let mut indices = Vec::with_capacity(removes.len());
        for &leaf in removes {
            if leaf == self.own_leaf() {
                return Err(MlsError::RemovesSelf);
            }
            if !self.members.contains_key(&leaf) {
                return Err(MlsError::UnknownLeaf(leaf));
            }
            // Its own request is in every commit already, and one removal is all that RFC 9420, section 12.2, allows.
            if !leaving.contains(&leaf) {
                indices.push(LeafNodeIndex::new(leaf));
            }
        }
        Ok(indices)
    }

    fn refresh_members(&mut self) -> Result<(), MlsError> {
        let checked = std::mem::take(&mut self.checked);
        self.members = read_members(&self.mls, self.suite, &self.members, &checked)
            .map_err(|(leaf, error)| MlsError::Library(format!("the merged leaf {leaf}: {error}")))?;
        Ok(())
    }
}

fn psk_of(id: &[u8; 32]) -> Psk {
    Psk::External(ExternalPsk::new(id.to_vec()))
}

fn join(
    p: &Provider<'_>,
    signer: &SigningKey,
    welcome: &[u8],
    tree: &[u8],
    psk: Option<&[u8; 32]>,
) -> Result<Group, JoinError> {
    let invalid = |why: &str| JoinError::Invalid(why.to_owned());
    let message = MlsMessageIn::tls_deserialize_exact(welcome).map_err(|_| invalid("it can't be read"))?;
    let MlsMessageBodyIn::Welcome(message) = message.extract() else { return Err(invalid("it isn't a Welcome")) };
    let tree = RatchetTreeIn::tls_deserialize_exact(tree).map_err(|_| invalid("its tree can't be read"))?;
    let suite: u16 = message.ciphersuite().into();
    if !config::SUITES.contains(&suite) {
        return Err(invalid("its ciphersuite isn't used here"));
    }
    let processed = ProcessedWelcome::new_from_welcome(p, &config::join(), message).map_err(join_error)?;
    let wanted: Vec<&Psk> = processed.psks().iter().map(PreSharedKeyId::psk).collect();
    let known = psk.map(psk_of);
    if wanted != known.iter().collect::<Vec<_>>() {
        return Err(invalid("it wants another pre-shared key than it should"));
    }
    let own_leaf_node = processed.own_key_package().map(|package| package.leaf_node().clone());
    let staged = JoinBuilder::new(p, processed)
        .with_ratchet_tree(tree)
        .skip_lifetime_validation()
        .build()
        .map_err(join_error)?;
    let log = LogId::try_from(staged.group_context().group_id().as_slice())
        .map_err(|_| invalid("its group id isn't a log's"))?;
    if config::state_of(staged.group_context().extensions()).is_none() {
        return Err(invalid("the group's extensions aren't the state alone"));
    }
    // RFC 9420, section 12.4.3.1: the own leaf is the one of the key package, bit for bit.
    if own_leaf_node.is_none() || own_leaf_node.as_ref() != staged.own_leaf_node() {
        return Err(invalid("the tree doesn't hold this device as it offered itself"));
    }
    if own_leaf_node.is_none_or(|leaf| leaf.signature_key().as_slice() != signer.verifying_key().as_bytes()) {
        return Err(JoinError::NotForUs);
    }
    let mls = staged.into_group(p).map_err(join_error)?;
    let members = read_members(&mls, suite, &BTreeMap::new(), &BTreeMap::new())
        .map_err(|(leaf, source)| JoinError::Leaf { leaf, source })?;
    Ok(Group { mls, log, suite, members, checked: BTreeMap::new() })
}

fn join_error(error: WelcomeError<StorageError>) -> JoinError {
    match error {
        WelcomeError::StorageError(error) => JoinError::Storage(error),
        WelcomeError::NoMatchingKeyPackage | WelcomeError::JoinerSecretNotFound => JoinError::NotForUs,
        WelcomeError::GroupAlreadyExists => JoinError::Exists,
        error => JoinError::Invalid(error.to_string()),
    }
}

/// The members of a tree; what `known` or `checked` holds already with the same bytes is taken from there.
fn read_members(
    mls: &MlsGroup,
    suite: u16,
    known: &BTreeMap<u32, Member>,
    checked: &BTreeMap<[u8; 32], Signed<DeviceCertificate>>,
) -> Result<BTreeMap<u32, Member>, (u32, LeafError)> {
    mls.members()
        .map(|member| {
            let leaf = member.index.u32();
            let known = known.get(&leaf).map(|known| &known.certificate);
            let new = member.signature_key.as_slice().try_into().ok().and_then(|key: [u8; 32]| checked.get(&key));
            let same = |certificate: &&Signed<DeviceCertificate>| {
                member.signature_key == certificate.signature_key
                    && leaf::credential(certificate).credential == member.credential
            };
            let certificate = match known.into_iter().chain(new).find(same) {
                Some(certificate) => certificate.clone(),
                None => leaf::certificate(&member.credential, &member.signature_key, suite)
                    .map_err(|error| (leaf, error))?,
            };
            Ok((leaf, Member { leaf, certificate }))
        })
        .collect()
}

/// A device that is added, and its own Welcome.
pub type Addressed = (Signed<DeviceCertificate>, Vec<u8>);

fn split_welcomes(
    message: &[u8],
    references: &[Vec<u8>],
    certificates: &[Signed<DeviceCertificate>],
) -> Result<Vec<Addressed>, MlsError> {
    let mut parts: BTreeMap<Vec<u8>, Vec<u8>> =
        welcome::split(message).ok_or_else(|| library("its own Welcome can't be split"))?.into_iter().collect();
    references
        .iter()
        .zip(certificates)
        .map(|(reference, certificate)| {
            let part = parts.remove(reference).ok_or_else(|| library("a new device has no secrets in the Welcome"))?;
            Ok((certificate.clone(), part))
        })
        .collect()
}

/// Handshakes and messages are PrivateMessages; a PublicMessage would show who sent it, and the library lets external ones
/// past its wire format policy.
fn private_message(bytes: &[u8]) -> Option<PrivateMessageIn> {
    match MlsMessageIn::tls_deserialize_exact(bytes).ok()?.extract() {
        MlsMessageBodyIn::PrivateMessage(message) => Some(message),
        _ => None,
    }
}

fn library(error: impl ToString) -> MlsError {
    MlsError::Library(error.to_string())
}
