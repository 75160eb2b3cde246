//! An insider, for the simulator: a member whose device makes what nobody may make, with all keys that a member has. What the others
//! make of it is what is tested; the insider itself does not go on where it has ended an epoch under its name.

use api::ConversationKind;
use minicbor::Decoder;
use wire::{Bytes, Entry, EpochKey, LogId};

use super::{Done, State, Turn};
use crate::db::conversations::Conversation;
use crate::db::outbox;
use crate::mls::{self, Change, Staged};
use crate::mutants::{self, Crime};
use crate::state::{ConversationState, GroupKind};

/// True if this device does something to this conversation that nobody may do.
pub(super) fn is_lawless(conversation: &Conversation) -> bool {
    ends(conversation).is_some()
}

/// What ends the epoch of this conversation, if anything does.
fn ends(conversation: &Conversation) -> Option<Crime> {
    let there = conversation.epoch.0 > 0 && conversation.kind != ConversationKind::Note;
    mutants::crime(conversation.id).filter(|crime| there && Crime::ENDING.contains(crime))
}

impl State {
    /// A change as the insider makes it.
    pub(super) fn tampered(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        change: Change,
    ) -> Done<Change> {
        let Some(crime) = ends(conversation) else { return Ok(change) };
        let Some(me) = &self.me else { return Ok(change) };
        let (own, signer) = (me.account_key(), me.signer.clone());
        let suite = self.options.suite;
        let key = turn.random::<32>();
        let changed = self.with_group(turn, conversation.id, |_, turn, group| {
            let Ok(before) = ConversationState::decode(&group.state()) else { return Ok(None) };
            let another_kind = || {
                let mut after = before.clone();
                after.kind = if before.kind == GroupKind::Direct { GroupKind::Group } else { GroupKind::Direct };
                Change { state: Some(after.encode()), ..Change::default() }
            };
            let role = if before.kind == GroupKind::Direct { api::Role::Member } else { before.role(&own) };
            Ok(Some(match crime {
                Crime::Crowns if role < api::Role::Owner => {
                    let mut after = before.clone();
                    after.set_role(own, api::Role::Owner);
                    Change { state: Some(after.encode()), ..Change::default() }
                }
                Crime::Policy => Change { state: Some(logged(&before.encode())), ..Change::default() },
                Crime::Removes => {
                    let may = |account: &[u8; 32]| {
                        role == api::Role::Owner
                            || (role == api::Role::Admin && before.role(account) < api::Role::Owner)
                    };
                    let members = group.members();
                    let others = members.iter().filter(|m| m.certificate.account_key != own);
                    let victim = others.filter(|m| !may(&m.certificate.account_key)).map(|m| m.leaf).next();
                    match victim.filter(|victim| !group.leaving().any(|leaf| leaf == *victim)) {
                        Some(victim) => Change { removes: vec![victim], ..Change::default() },
                        None => another_kind(),
                    }
                }
                Crime::Uncertified => {
                    let package = mls::uncertified_key_package(&turn.mls, &signer, suite, turn.now)?;
                    Change { adds: vec![Bytes::from(package)], ..Change::default() }
                }
                Crime::Secret => Change { psk: Some((key, key.into())), update_path: true, ..Change::default() },
                Crime::Leads => {
                    let victim = group.members().into_iter().find(|m| m.certificate.account_key != own);
                    let mut after = before.clone();
                    after.owners = vec![own];
                    after.admins.clear();
                    let removes = victim.map(|victim| victim.leaf).into_iter().collect();
                    Change { state: Some(after.encode()), removes, ..Change::default() }
                }
                Crime::Kind | Crime::Crowns => another_kind(),
                _ => Change { update_path: true, ..Change::default() },
            }))
        })?;
        Ok(changed.flatten().unwrap_or(change))
    }

    /// A commit as the insider hands it to the relay.
    pub(super) fn tampered_commit(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        staged: &mut Staged,
        entry: wire::EntryId,
    ) {
        let Some(crime) = ends(conversation) else { return };
        if crime == Crime::Next {
            staged.next = EpochKey::from_seed(&turn.random()).public();
        }
        mutants::committed(conversation.id, entry, crime);
    }

    /// The bytes of a commit as the insider hands them to the relay.
    pub(super) fn tampered_body(turn: &mut Turn<'_>, conversation: &Conversation, body: Vec<u8>) -> Vec<u8> {
        match ends(conversation) {
            Some(Crime::Junk | Crime::Leads) => turn.random::<200>().to_vec(),
            _ => body,
        }
    }

    /// What the insider has done is in the log now. True if it has gone with that; where nobody can tell whose doing it was it stays, as
    /// surprised as all others. `None` if it was no crime.
    pub(super) fn has_sinned(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        entry: &Entry,
    ) -> Done<Option<bool>> {
        let id = conversation.id;
        match mutants::crime_of(id, entry.id) {
            None | Some(Crime::Leads) => Ok(None),
            Some(Crime::Junk) => {
                outbox::remove_pending_commit(turn.db, id)?;
                self.with_group(turn, id, |_, turn, group| Ok(group.drop_staged(&turn.mls)?))?;
                Ok(Some(false))
            }
            Some(_) => {
                self.removed_from(turn, conversation)?;
                Ok(Some(true))
            }
        }
    }
}

/// What the insider's successor is.
pub(super) fn tampered_successor(
    of: LogId,
    own: [u8; 32],
    state: &mut ConversationState,
    devices: &mut std::collections::BTreeMap<String, Vec<[u8; 16]>>,
) {
    match mutants::crime(of) {
        Some(Crime::SuccessorRenamed) => state.name.push_str(" and friends"),
        Some(Crime::SuccessorCrowned) => state.set_role(own, api::Role::Owner),
        Some(Crime::SuccessorLacks) => {
            devices.pop_last();
        }
        _ => {}
    }
}

/// Those whom the insider invites into its successor.
pub(super) fn keeps_one(
    of: Option<LogId>,
    mut invites: Vec<crate::formats::PendingInvite>,
) -> Vec<crate::formats::PendingInvite> {
    if of.and_then(mutants::crime) == Some(Crime::SuccessorKeeps) {
        invites.pop();
    }
    invites
}

/// A state whose logging policy is another one.
fn logged(state: &[u8]) -> Vec<u8> {
    let mut out = state.to_vec();
    let mut input = Decoder::new(state);
    let entries = input.map().ok().flatten().unwrap_or_default();
    for _ in 0..entries {
        let key = input.u64().unwrap_or_default();
        let at = input.position();
        if let (5, Some(policy)) = (key, out.get_mut(at)) {
            *policy = 1;
        }
        if input.skip().is_err() {
            break;
        }
    }
    out
}
