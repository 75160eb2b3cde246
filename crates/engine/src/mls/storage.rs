//! Where OpenMLS's state lives: one table, behind a write-back overlay.
//!
//! OpenMLS writes about ten values for each commit and one for each message. They gather in memory and are written once, by
//! [`super::Provider::flush`], in the same transaction as the message, the cursor or the outbox row that belongs to them: a
//! crash can't leave a tree of one epoch beside secrets of another (I5).
//!
//! The secrets of messages are the one large value that each message changes. While a group sends or receives they are not
//! even encoded: the group is noted as *deferred* and encoded once before the flush, which refuses to go on without it.
//!
//! Values are CBOR (RFC 8949), [`packed`]: some of OpenMLS's types can only be read from a format that describes itself.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use openmls_traits::storage::{CURRENT_VERSION, StorageProvider, traits};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wire::LogId;
use zeroize::Zeroizing;

use super::{StorageError, packed};

/// The table. `grp` is the encoded MLS group id, empty for what belongs to no group; `kind` is one of the numbers below.
pub const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS mls (
    grp   BLOB    NOT NULL,
    kind  INTEGER NOT NULL,
    key   BLOB    NOT NULL,
    value BLOB    NOT NULL,
    PRIMARY KEY (grp, kind, key)
) STRICT, WITHOUT ROWID";

/// Lengths of values that change often are multiples of this, in bytes.
const STEP: usize = 64;

/// What a row holds. The numbers are on disk: never reused, never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Kind {
    JoinConfig = 1,
    Tree = 2,
    InterimTranscriptHash = 3,
    Context = 4,
    ConfirmationTag = 5,
    State = 6,
    MessageSecrets = 7,
    ResumptionPsks = 8,
    OwnLeafIndex = 9,
    EpochSecrets = 10,
    ExportTree = 11,
    OwnLeafNodes = 12,
    ProposalQueue = 13,
    Proposal = 14,
    EpochKeyPairs = 15,
    SignatureKeyPair = 16,
    EncryptionKeyPair = 17,
    KeyPackage = 18,
    Psk = 19,
}

/// A row's primary key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    group: Vec<u8>,
    kind: Kind,
    key: Vec<u8>,
}

impl Place {
    fn lone(kind: Kind, key: &impl Serialize) -> Result<Self, StorageError> {
        Ok(Self { group: Vec::new(), kind, key: encode(key)?.to_vec() })
    }

    fn at(&self, key: &Blob) -> Self {
        Self { group: self.group.clone(), kind: self.kind, key: key.0.to_vec() }
    }
}

/// A row's value to be; wiped when it is let go of.
type Value = Zeroizing<Vec<u8>>;

/// Where [`Storage::back_to`] goes back to.
pub struct Mark(BTreeMap<Place, Option<Value>>, BTreeSet<Vec<u8>>);

/// OpenMLS's storage for one database transaction.
pub struct Storage<'a> {
    db: &'a Connection,
    /// What differs from the table; `None` stands for a row to delete.
    overlay: RefCell<BTreeMap<Place, Option<Value>>>,
    /// Groups whose message secrets are newer in memory than here, by encoded id.
    deferred: RefCell<BTreeSet<Vec<u8>>>,
    deferring: Cell<bool>,
}

impl<'a> Storage<'a> {
    pub(super) fn new(db: &'a Connection) -> Self {
        Self { db, overlay: RefCell::default(), deferred: RefCell::default(), deferring: Cell::new(false) }
    }

    /// Runs `work` with the writing of message secrets deferred. Nothing but messages may be handled inside.
    pub(super) fn deferring<T>(&self, work: impl FnOnce() -> T) -> T {
        self.deferring.set(true);
        let result = work();
        self.deferring.set(false);
        result
    }

    /// Runs `work`, and undoes what it has written if it fails.
    pub(super) fn attempt<T, E>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let before = self.mark();
        let result = work();
        if result.is_err() {
            self.back_to(before);
        }
        result
    }

    /// What is written up to here, to come [back to](Self::back_to).
    pub(super) fn mark(&self) -> Mark {
        Mark(self.overlay.borrow().clone(), self.deferred.borrow().clone())
    }

    /// Undoes what was written since.
    pub(super) fn back_to(&self, mark: Mark) {
        self.overlay.replace(mark.0);
        self.deferred.replace(mark.1);
    }

    pub(super) fn has_group(&self, log: LogId) -> Result<bool, StorageError> {
        let place = Place { group: group_bytes(log)?, kind: Kind::State, key: Vec::new() };
        if let Some(value) = self.overlay.borrow().get(&place) {
            return Ok(value.is_some());
        }
        let mut row = self.db.prepare_cached("SELECT 1 FROM mls WHERE grp = ?1 AND kind = ?2 AND key = ?3")?;
        Ok(row.exists(params![place.group, place.kind as u8, place.key])?)
    }

    pub(super) fn is_deferred(&self, log: LogId) -> bool {
        group_bytes(log).is_ok_and(|group| self.deferred.borrow().contains(&group))
    }

    pub(super) fn any_deferred(&self) -> bool {
        !self.deferred.borrow().is_empty()
    }

    /// Deletes all rows of a group, whatever they are.
    pub(super) fn delete_group(&self, log: LogId) -> Result<(), StorageError> {
        let group = group_bytes(log)?;
        self.deferred.borrow_mut().remove(&group);
        let mut overlay = self.overlay.borrow_mut();
        overlay.retain(|place, _| place.group != group);
        let mut rows = self.db.prepare_cached("SELECT kind, key FROM mls WHERE grp = ?1")?;
        let mut rows = rows.query([&group])?;
        while let Some(row) = rows.next()? {
            let kind = Kind::from_number(row.get(0)?)?;
            overlay.insert(Place { group: group.clone(), kind, key: row.get(1)? }, None);
        }
        Ok(())
    }

    /// Writes the overlay into the table. If that fails the transaction must be rolled back.
    pub(super) fn flush(&self) -> Result<(), StorageError> {
        let overlay = self.overlay.take();
        let mut put = self.db.prepare_cached(
            "INSERT INTO mls (grp, kind, key, value) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (grp, kind, key) DO UPDATE SET value = excluded.value",
        )?;
        let mut delete = self.db.prepare_cached("DELETE FROM mls WHERE grp = ?1 AND kind = ?2 AND key = ?3")?;
        for (place, value) in overlay {
            match value {
                Some(value) => put.execute(params![place.group, place.kind as u8, place.key, *value])?,
                None => delete.execute(params![place.group, place.kind as u8, place.key])?,
            };
        }
        Ok(())
    }

    fn of(&self, group: &impl Serialize, kind: Kind) -> Result<Place, StorageError> {
        Ok(Place { group: encode(group)?.to_vec(), kind, key: Vec::new() })
    }

    fn epoch_keys(&self, group: &impl Serialize, epoch: &impl Serialize, leaf: u32) -> Result<Place, StorageError> {
        let mut place = self.of(group, Kind::EpochKeyPairs)?;
        place.key = encode(&(epoch, leaf))?.to_vec();
        Ok(place)
    }

    fn put(&self, place: &Place, value: &impl Serialize) -> Result<(), StorageError> {
        self.overlay.borrow_mut().insert(place.clone(), Some(packed::pack(&encode(value)?)));
        Ok(())
    }

    /// The same for a value that changes often: its length comes in steps, so that it mostly is overwritten where it stands.
    fn put_in_place(&self, place: &Place, value: &impl Serialize) -> Result<(), StorageError> {
        let mut value = packed::pack(&encode(value)?);
        // Zeros behind a data item are not read.
        let length = value.len().next_multiple_of(STEP);
        value.resize(length, 0);
        self.overlay.borrow_mut().insert(place.clone(), Some(value));
        Ok(())
    }

    fn delete(&self, place: Place) {
        self.overlay.borrow_mut().insert(place, None);
    }

    fn get<T: DeserializeOwned>(&self, place: &Place) -> Result<Option<T>, StorageError> {
        if let Some(value) = self.overlay.borrow().get(place) {
            return value.as_ref().map(|value| decode(&packed::unpack(value))).transpose();
        }
        let mut row = self.db.prepare_cached("SELECT value FROM mls WHERE grp = ?1 AND kind = ?2 AND key = ?3")?;
        let value: Option<Vec<u8>> =
            row.query_row(params![place.group, place.kind as u8, place.key], |row| row.get(0)).optional()?;
        value.map(|value: Vec<u8>| decode(&packed::unpack(&Zeroizing::new(value)))).transpose()
    }
}

impl Kind {
    fn from_number(number: i64) -> Result<Self, StorageError> {
        const ALL: [Kind; 19] = [
            Kind::JoinConfig,
            Kind::Tree,
            Kind::InterimTranscriptHash,
            Kind::Context,
            Kind::ConfirmationTag,
            Kind::State,
            Kind::MessageSecrets,
            Kind::ResumptionPsks,
            Kind::OwnLeafIndex,
            Kind::EpochSecrets,
            Kind::ExportTree,
            Kind::OwnLeafNodes,
            Kind::ProposalQueue,
            Kind::Proposal,
            Kind::EpochKeyPairs,
            Kind::SignatureKeyPair,
            Kind::EncryptionKeyPair,
            Kind::KeyPackage,
            Kind::Psk,
        ];
        ALL.into_iter().find(|kind| *kind as i64 == number).ok_or_else(|| codec("a row of an unknown kind"))
    }
}

/// An encoded value inside another one.
#[derive(Clone, PartialEq, Eq)]
struct Blob(Value);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|value| Self(Zeroizing::new(value)))
    }
}

impl Blob {
    fn of(value: &impl Serialize) -> Result<Self, StorageError> {
        encode(value).map(Self)
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, StorageError> {
        decode(&self.0)
    }
}

impl StorageProvider<CURRENT_VERSION> for Storage<'_> {
    type Error = StorageError;

    fn write_mls_join_config<G: traits::GroupId<CURRENT_VERSION>, V: traits::MlsGroupJoinConfig<CURRENT_VERSION>>(
        &self,
        group: &G,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&self.of(group, Kind::JoinConfig)?, value)
    }

    fn mls_group_join_config<G: traits::GroupId<CURRENT_VERSION>, V: traits::MlsGroupJoinConfig<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get(&self.of(group, Kind::JoinConfig)?)
    }

    fn delete_group_config<G: traits::GroupId<CURRENT_VERSION>>(&self, group: &G) -> Result<(), StorageError> {
        self.delete(self.of(group, Kind::JoinConfig)?);
        Ok(())
    }

    fn write_tree<G: traits::GroupId<CURRENT_VERSION>, V: traits::TreeSync<CURRENT_VERSION>>(
        &self,
        group: &G,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&self.of(group, Kind::Tree)?, value)
    }

    fn tree<G: traits::GroupId<CURRENT_VERSION>, V: traits::TreeSync<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get(&self.of(group, Kind::Tree)?)
    }

    fn delete_tree<G: traits::GroupId<CURRENT_VERSION>>(&self, group: &G) -> Result<(), StorageError> {
        self.delete(self.of(group, Kind::Tree)?);
        Ok(())
    }

    fn write_interim_transcript_hash<
        G: traits::GroupId<CURRENT_VERSION>,
        V: traits::InterimTranscriptHash<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&self.of(group, Kind::InterimTranscriptHash)?, value)
    }

    fn interim_transcript_hash<
        G: traits::GroupId<CURRENT_VERSION>,
        V: traits::InterimTranscriptHash<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get(&self.of(group, Kind::InterimTranscriptHash)?)
    }

    fn delete_interim_transcript_hash<G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<(), StorageError> {
        self.delete(self.of(group, Kind::InterimTranscriptHash)?);
        Ok(())
    }

    fn write_context<G: traits::GroupId<CURRENT_VERSION>, V: traits::GroupContext<CURRENT_VERSION>>(
        &self,
        group: &G,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&self.of(group, Kind::Context)?, value)
    }

    fn group_context<G: traits::GroupId<CURRENT_VERSION>, V: traits::GroupContext<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get(&self.of(group, Kind::Context)?)
    }

    fn delete_context<G: traits::GroupId<CURRENT_VERSION>>(&self, group: &G) -> Result<(), StorageError> {
        self.delete(self.of(group, Kind::Context)?);
        Ok(())
    }

    fn write_confirmation_tag<G: traits::GroupId<CURRENT_VERSION>, V: traits::ConfirmationTag<CURRENT_VERSION>>(
        &self,
        group: &G,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&self.of(group, Kind::ConfirmationTag)?, value)
    }

    fn confirmation_tag<G: traits::GroupId<CURRENT_VERSION>, V: traits::ConfirmationTag<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get(&self.of(group, Kind::ConfirmationTag)?)
    }

    fn delete_confirmation_tag<G: traits::GroupId<CURRENT_VERSION>>(&self, group: &G) -> Result<(), StorageError> {
        self.delete(self.of(group, Kind::ConfirmationTag)?);
        Ok(())
    }

    fn write_resumption_psk_store<
        G: traits::GroupId<CURRENT_VERSION>,
        V: traits::ResumptionPskStore<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&self.of(group, Kind::ResumptionPsks)?, value)
    }

    fn resumption_psk_store<G: traits::GroupId<CURRENT_VERSION>, V: traits::ResumptionPskStore<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get(&self.of(group, Kind::ResumptionPsks)?)
    }

    fn delete_all_resumption_psk_secrets<G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<(), StorageError> {
        self.delete(self.of(group, Kind::ResumptionPsks)?);
        Ok(())
    }

    fn write_own_leaf_index<G: traits::GroupId<CURRENT_VERSION>, V: traits::LeafNodeIndex<CURRENT_VERSION>>(
        &self,
        group: &G,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&self.of(group, Kind::OwnLeafIndex)?, value)
    }

    fn own_leaf_index<G: traits::GroupId<CURRENT_VERSION>, V: traits::LeafNodeIndex<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get(&self.of(group, Kind::OwnLeafIndex)?)
    }

    fn delete_own_leaf_index<G: traits::GroupId<CURRENT_VERSION>>(&self, group: &G) -> Result<(), StorageError> {
        self.delete(self.of(group, Kind::OwnLeafIndex)?);
        Ok(())
    }

    fn write_group_epoch_secrets<G: traits::GroupId<CURRENT_VERSION>, V: traits::GroupEpochSecrets<CURRENT_VERSION>>(
        &self,
        group: &G,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&self.of(group, Kind::EpochSecrets)?, value)
    }

    fn group_epoch_secrets<G: traits::GroupId<CURRENT_VERSION>, V: traits::GroupEpochSecrets<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get(&self.of(group, Kind::EpochSecrets)?)
    }

    fn delete_group_epoch_secrets<G: traits::GroupId<CURRENT_VERSION>>(&self, group: &G) -> Result<(), StorageError> {
        self.delete(self.of(group, Kind::EpochSecrets)?);
        Ok(())
    }

    fn write_application_export_tree<
        G: traits::GroupId<CURRENT_VERSION>,
        V: traits::ApplicationExportTree<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&self.of(group, Kind::ExportTree)?, value)
    }

    fn application_export_tree<
        G: traits::GroupId<CURRENT_VERSION>,
        V: traits::ApplicationExportTree<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get(&self.of(group, Kind::ExportTree)?)
    }

    fn delete_application_export_tree<
        G: traits::GroupId<CURRENT_VERSION>,
        V: traits::ApplicationExportTree<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
    ) -> Result<(), StorageError> {
        self.delete(self.of(group, Kind::ExportTree)?);
        Ok(())
    }

    fn write_group_state<V: traits::GroupState<CURRENT_VERSION>, G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        group: &G,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&self.of(group, Kind::State)?, value)
    }

    fn group_state<V: traits::GroupState<CURRENT_VERSION>, G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get(&self.of(group, Kind::State)?)
    }

    fn delete_group_state<G: traits::GroupId<CURRENT_VERSION>>(&self, group: &G) -> Result<(), StorageError> {
        self.delete(self.of(group, Kind::State)?);
        Ok(())
    }

    fn write_message_secrets<G: traits::GroupId<CURRENT_VERSION>, V: traits::MessageSecrets<CURRENT_VERSION>>(
        &self,
        group: &G,
        value: &V,
    ) -> Result<(), StorageError> {
        #[cfg(feature = "mutants")]
        crate::mutants::secrets_stored(value);
        let place = self.of(group, Kind::MessageSecrets)?;
        if self.deferring.get() {
            if planted!(RatchetNotStored) {
                return Ok(());
            }
            self.deferred.borrow_mut().insert(place.group);
            return Ok(());
        }
        self.put_in_place(&place, value)?;
        self.deferred.borrow_mut().remove(&place.group);
        Ok(())
    }

    fn message_secrets<G: traits::GroupId<CURRENT_VERSION>, V: traits::MessageSecrets<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get(&self.of(group, Kind::MessageSecrets)?)
    }

    fn delete_message_secrets<G: traits::GroupId<CURRENT_VERSION>>(&self, group: &G) -> Result<(), StorageError> {
        let place = self.of(group, Kind::MessageSecrets)?;
        self.deferred.borrow_mut().remove(&place.group);
        self.delete(place);
        Ok(())
    }

    fn append_own_leaf_node<G: traits::GroupId<CURRENT_VERSION>, V: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        group: &G,
        leaf_node: &V,
    ) -> Result<(), StorageError> {
        let place = self.of(group, Kind::OwnLeafNodes)?;
        let mut all: Vec<Blob> = self.get(&place)?.unwrap_or_default();
        all.push(Blob::of(leaf_node)?);
        self.put(&place, &all)
    }

    fn own_leaf_nodes<G: traits::GroupId<CURRENT_VERSION>, V: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Vec<V>, StorageError> {
        let all: Vec<Blob> = self.get(&self.of(group, Kind::OwnLeafNodes)?)?.unwrap_or_default();
        all.iter().map(Blob::read).collect()
    }

    fn delete_own_leaf_nodes<G: traits::GroupId<CURRENT_VERSION>>(&self, group: &G) -> Result<(), StorageError> {
        self.delete(self.of(group, Kind::OwnLeafNodes)?);
        Ok(())
    }

    fn queue_proposal<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        V: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
        reference: &R,
        proposal: &V,
    ) -> Result<(), StorageError> {
        let place = self.of(group, Kind::ProposalQueue)?;
        let mut queue: Vec<Blob> = self.get(&place)?.unwrap_or_default();
        let reference = Blob::of(reference)?;
        self.put(&self.of(group, Kind::Proposal)?.at(&reference), proposal)?;
        if !queue.contains(&reference) {
            queue.push(reference);
            self.put(&place, &queue)?;
        }
        Ok(())
    }

    fn queued_proposal_refs<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Vec<R>, StorageError> {
        let queue: Vec<Blob> = self.get(&self.of(group, Kind::ProposalQueue)?)?.unwrap_or_default();
        queue.iter().map(Blob::read).collect()
    }

    fn queued_proposals<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        V: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
    ) -> Result<Vec<(R, V)>, StorageError> {
        let queue: Vec<Blob> = self.get(&self.of(group, Kind::ProposalQueue)?)?.unwrap_or_default();
        let place = self.of(group, Kind::Proposal)?;
        let mut proposals = Vec::with_capacity(queue.len());
        for reference in &queue {
            // Both rows are written in one transaction; a missing one is damage, and a queue without it a wrong commit.
            let proposal = self.get(&place.at(reference))?.ok_or_else(|| codec("a queued proposal is missing"))?;
            proposals.push((reference.read()?, proposal));
        }
        Ok(proposals)
    }

    fn remove_proposal<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group: &G,
        reference: &R,
    ) -> Result<(), StorageError> {
        let place = self.of(group, Kind::ProposalQueue)?;
        let mut queue: Vec<Blob> = self.get(&place)?.unwrap_or_default();
        let reference = Blob::of(reference)?;
        queue.retain(|other| *other != reference);
        self.put(&place, &queue)?;
        self.delete(self.of(group, Kind::Proposal)?.at(&reference));
        Ok(())
    }

    fn clear_proposal_queue<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<(), StorageError> {
        let place = self.of(group, Kind::ProposalQueue)?;
        let queue: Vec<Blob> = self.get(&place)?.unwrap_or_default();
        let proposals = self.of(group, Kind::Proposal)?;
        for reference in &queue {
            self.delete(proposals.at(reference));
        }
        self.delete(place);
        Ok(())
    }

    fn write_encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        V: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
        epoch: &E,
        leaf_index: u32,
        key_pairs: &[V],
    ) -> Result<(), StorageError> {
        self.put(&self.epoch_keys(group, epoch, leaf_index)?, &key_pairs)
    }

    fn encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        V: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<Vec<V>, StorageError> {
        Ok(self.get(&self.epoch_keys(group, epoch, leaf_index)?)?.unwrap_or_default())
    }

    fn delete_encryption_epoch_key_pairs<G: traits::GroupId<CURRENT_VERSION>, E: traits::EpochKey<CURRENT_VERSION>>(
        &self,
        group: &G,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<(), StorageError> {
        self.delete(self.epoch_keys(group, epoch, leaf_index)?);
        Ok(())
    }

    fn write_signature_key_pair<
        K: traits::SignaturePublicKey<CURRENT_VERSION>,
        V: traits::SignatureKeyPair<CURRENT_VERSION>,
    >(
        &self,
        key: &K,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&Place::lone(Kind::SignatureKeyPair, key)?, value)
    }

    fn signature_key_pair<
        K: traits::SignaturePublicKey<CURRENT_VERSION>,
        V: traits::SignatureKeyPair<CURRENT_VERSION>,
    >(
        &self,
        key: &K,
    ) -> Result<Option<V>, StorageError> {
        self.get(&Place::lone(Kind::SignatureKeyPair, key)?)
    }

    fn delete_signature_key_pair<K: traits::SignaturePublicKey<CURRENT_VERSION>>(
        &self,
        key: &K,
    ) -> Result<(), StorageError> {
        self.delete(Place::lone(Kind::SignatureKeyPair, key)?);
        Ok(())
    }

    fn write_encryption_key_pair<K: traits::EncryptionKey<CURRENT_VERSION>, V: traits::HpkeKeyPair<CURRENT_VERSION>>(
        &self,
        key: &K,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&Place::lone(Kind::EncryptionKeyPair, key)?, value)
    }

    fn encryption_key_pair<V: traits::HpkeKeyPair<CURRENT_VERSION>, K: traits::EncryptionKey<CURRENT_VERSION>>(
        &self,
        key: &K,
    ) -> Result<Option<V>, StorageError> {
        self.get(&Place::lone(Kind::EncryptionKeyPair, key)?)
    }

    fn delete_encryption_key_pair<K: traits::EncryptionKey<CURRENT_VERSION>>(
        &self,
        key: &K,
    ) -> Result<(), StorageError> {
        self.delete(Place::lone(Kind::EncryptionKeyPair, key)?);
        Ok(())
    }

    fn write_key_package<K: traits::HashReference<CURRENT_VERSION>, V: traits::KeyPackage<CURRENT_VERSION>>(
        &self,
        key: &K,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&Place::lone(Kind::KeyPackage, key)?, value)
    }

    fn key_package<K: traits::HashReference<CURRENT_VERSION>, V: traits::KeyPackage<CURRENT_VERSION>>(
        &self,
        key: &K,
    ) -> Result<Option<V>, StorageError> {
        self.get(&Place::lone(Kind::KeyPackage, key)?)
    }

    fn delete_key_package<K: traits::HashReference<CURRENT_VERSION>>(&self, key: &K) -> Result<(), StorageError> {
        self.delete(Place::lone(Kind::KeyPackage, key)?);
        Ok(())
    }

    fn write_psk<K: traits::PskId<CURRENT_VERSION>, V: traits::PskBundle<CURRENT_VERSION>>(
        &self,
        key: &K,
        value: &V,
    ) -> Result<(), StorageError> {
        self.put(&Place::lone(Kind::Psk, key)?, value)
    }

    fn psk<V: traits::PskBundle<CURRENT_VERSION>, K: traits::PskId<CURRENT_VERSION>>(
        &self,
        key: &K,
    ) -> Result<Option<V>, StorageError> {
        self.get(&Place::lone(Kind::Psk, key)?)
    }

    fn delete_psk<K: traits::PskId<CURRENT_VERSION>>(&self, key: &K) -> Result<(), StorageError> {
        self.delete(Place::lone(Kind::Psk, key)?);
        Ok(())
    }
}

fn group_bytes(log: LogId) -> Result<Vec<u8>, StorageError> {
    Ok(encode(&openmls::prelude::GroupId::from_slice(&log.0))?.to_vec())
}

fn encode(value: &impl Serialize) -> Result<Value, StorageError> {
    minicbor_serde::to_vec(value).map(Zeroizing::new).map_err(|error| StorageError::Codec(Box::new(error)))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StorageError> {
    minicbor_serde::from_slice(bytes).map_err(|error| StorageError::Codec(Box::new(error)))
}

fn codec(what: &'static str) -> StorageError {
    StorageError::Codec(what.into())
}
