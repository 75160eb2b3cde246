//! Invitations and requests to be added again: what goes into inboxes and what is found there.

use api::{ConversationKind, Event, Invitation as InvitationView, Kind, Problem, Standing};
use content::attachment::{self, AttachmentKey};
use rusqlite::{Connection, OptionalExtension, params};
use wire::{
    AccountRecord, BlobId, BlobSecret, Bytes, ChainHash, DeviceId, EntryId, Epoch, Label, LogId, RelayName, Request,
    Response, Seq, Signed, UnixMillis, sign, verify,
};

use super::validity::is_unmistakable;
use super::{Ask, Done, Moving, State, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::endings;
use crate::db::outbox::{self, NewDeposit, PendingCommit, Upload};
use crate::db::{self, contacts, int, uint};
use crate::formats::{self, Deposit, Invitation, PendingInvite};
use crate::identity::seal_deposit;
use crate::io::{Job, Rejection, TransferFailure, TransferState};
use crate::mls::{self, Group, JoinError};
use crate::state::{ConversationState, GroupKind};

/// Largest tree that is fetched, in bytes: that of 1,024 accounts with several devices each.
const MAX_TREE: u64 = 32 * 1024 * 1024;
/// Invitations of strangers that wait at most: anybody can leave them.
const MAX_REQUESTS: u32 = 256;
/// Trees of strangers' invitations that are fetched at the same time.
const TREES_OF_STRANGERS: usize = 4;

impl State {
    /// Hands what the new devices need to the outbox, in the transaction that merges the commit which adds them.
    pub(super) fn send_welcomes(&mut self, turn: &mut Turn<'_>, id: LogId, pending: &PendingCommit) -> Done {
        let Ok(invites) = formats::decode::<Vec<PendingInvite>>(&pending.welcomes) else {
            return Err(crate::EngineError::Inconsistent("welcomes of a pending commit"));
        };
        let (Some(tree), false) = (&pending.tree, invites.is_empty()) else { return Ok(()) };
        let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
        let key = AttachmentKey::random(&mut turn.rng);
        let blob = BlobId(turn.random());
        let upload = Upload {
            blob,
            relay: conversation.relay.to_string(),
            secret: BlobSecret(turn.random()),
            body: attachment::seal(&key, tree),
        };
        outbox::push_upload(turn.db, &upload)?;
        // Those of a successor's first commit say what it goes on for.
        let succeeds = conversation.line.of.filter(|_| pending.epoch.0 == 0);
        let revoking = match succeeds {
            Some(of) => self.revoking(turn, of)?,
            None => Vec::new(),
        };
        #[cfg(feature = "mutants")]
        let invites = super::insider::keeps_one(succeeds, invites);
        for invite in invites {
            if planted!(InvitationWithheld) && invite.readd {
                continue;
            }
            self.deposit_invitation(turn, &conversation, &invite, (blob, &key), (succeeds, &revoking))?;
        }
        self.picture_for_new(turn, id)?;
        self.drive_uploads(turn)
    }

    fn deposit_invitation(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        invite: &PendingInvite,
        (tree, tree_key): (BlobId, &AttachmentKey),
        (succeeds, revoking): (Option<LogId>, &[Vec<u8>]),
    ) -> Done {
        let Ok(record) = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&invite.record)) else { return Ok(()) };
        let Ok(device) = formats::array::<16>(&invite.device) else { return Ok(()) };
        let Some(device) = record.device(DeviceId(device)) else { return Ok(()) };
        if invite.readd {
            // What else this device has asked for is answered with it.
            let time = turn.entry_time.unwrap_or(turn.now);
            self.forget_readds(turn, conversation.id, std::slice::from_ref(&device.certificate), time)?;
        }
        let Some(me) = &self.me else { return Ok(()) };
        let since = db::held::heal(turn.db, conversation.id)?.filter(|heal| heal.begun > 0).map(|heal| heal.since);
        let mut invitation = Invitation {
            version: 1,
            relay: conversation.relay.to_string(),
            log: conversation.id.0.to_vec().into(),
            seq: conversation.cursor.0,
            head: if conversation.chain_known { conversation.chain.0 } else { [0; 32] }.to_vec().into(),
            welcome: invite.welcome.clone(),
            tree: tree.0.to_vec().into(),
            tree_key: tree_key.as_bytes().to_vec().into(),
            record: me.record.bytes().to_vec().into(),
            device: me.device().0.to_vec().into(),
            signature: Vec::new().into(),
            incarnation: db::held::known_incarnation(turn.db, &conversation.relay)?.map(|known| known.to_vec().into()),
            succeeds: succeeds.map(|log| log.0.to_vec().into()),
            revoking: (!revoking.is_empty()).then(|| revoking.iter().map(|record| record.clone().into()).collect()),
            since,
        };
        invitation.signature = sign(&me.signer, Label::Invitation, &[&invitation.parts(device.inbox)]).to_vec().into();
        let plain = formats::encode(&Deposit::Invitation(Box::new(invitation)));
        let Ok(body) = seal_deposit(device, &plain, &mut turn.rng) else { return Ok(()) };
        let spread = turn.below(self.options.deposit_spread_ms);
        let entry = EntryId(turn.random());
        outbox::push_deposit(
            turn.db,
            &NewDeposit {
                conversation: conversation.id,
                relay: record.address.relay().as_str(),
                inbox: device.inbox,
                entry,
                body: &body,
                blob: Some(&tree),
                not_before: turn.now.plus(spread).0,
            },
        )?;
        Ok(())
    }

    /// Uploads the trees that are not up yet.
    pub(super) fn drive_uploads(&mut self, turn: &mut Turn<'_>) -> Done {
        for upload in outbox::uploads(turn.db)? {
            let moving =
                self.moving.values().any(|moving| matches!(moving, Moving::Upload { blob } if *blob == upload.blob));
            let Ok(relay) = upload.relay.parse() else { continue };
            if !moving {
                let job = Job::Upload { blob: upload.blob, secret: upload.secret, bytes: upload.body.into() };
                self.move_blob(turn, relay, job, Moving::Upload { blob: upload.blob });
            }
        }
        Ok(())
    }

    pub(super) fn on_uploaded(&mut self, turn: &mut Turn<'_>, blob: BlobId, state: TransferState) -> Done {
        match state {
            TransferState::Failed(TransferFailure::Unreachable) => {
                turn.wake_at(turn.now.plus(2_000));
                Ok(())
            }
            TransferState::Failed(failure) if self.history.owns(&blob) => self.history_refused(turn, &blob, failure),
            TransferState::Failed(failure) if self.shelf.owns(&blob) => self.shelf_refused(turn, &blob, failure),
            // Refused for good: the invitations that speak of it can't be followed, which their receivers will say.
            state => {
                let relay = outbox::upload_relay(turn.db, &blob)?.filter(|_| matches!(state, TransferState::Done(_)));
                match relay.and_then(|relay| self.incarnation_now(&relay)) {
                    Some(incarnation) => outbox::uploaded(turn.db, &blob, turn.now.0, &incarnation)?,
                    None => outbox::remove_upload(turn.db, &blob)?,
                }
                self.picture_is_up(turn, &blob, !matches!(state, TransferState::Failed(_)))?;
                self.drive_deposits(turn)
            }
        }
    }

    /// An invitation was found in the own inbox.
    pub(super) fn on_invitation(&mut self, turn: &mut Turn<'_>, invitation: Invitation, time: UnixMillis) -> Done {
        let Some(me) = &self.me else { return Ok(()) };
        let inbox = me.inbox();
        let Some((record, log)) = verified(&invitation, inbox) else { return Ok(()) };
        let own = record.account_key == me.account_key();
        if !own && record.address == me.address {
            // Nobody else is this account.
            return Ok(());
        }
        let contact = contacts::get(turn.db, &record.address)?;
        let succeeds = match self.succeeds_here(turn, &invitation, &record)? {
            Some(false) => return Ok(()),
            succeeds => succeeds.is_some(),
        };
        // Where a conversation goes on only its maker can say, whatever one thinks of him: all that he could change is checked.
        if contacts::is_blocked(turn.db, &record.address)? && !succeeds {
            return Ok(());
        }
        if contact.as_ref().is_some_and(|contact| contact.account_key != record.account_key) && !succeeds {
            // Anybody can sign a record for any address and leave it here: it says nothing about the one that is known, and must not
            // keep this device from writing to it. What its relay says does.
            let address = record.address.clone();
            let is_asked = |ask: &Ask| matches!(ask, Ask::LookUpOther(asked) if *asked == address);
            if !self.asked.values().any(is_asked) {
                let route = self.errand(address.relay());
                self.ask(turn, route, Request::LookUp { address: address.clone() }, Ask::LookUpOther(address));
            }
            return Ok(());
        }
        let trusted =
            own || contact.is_some_and(|contact| contact.known && contact.confirmation != api::Confirmation::Conflict);
        // What one has asked for oneself one has accepted.
        let asked = db::joins::join(turn.db, log)?
            .is_some_and(|join| join.inviter == record.address.as_str() && join.relay == invitation.relay);
        let trusted = trusted || asked;
        let before = conversations::get(turn.db, log)?;
        if before.as_ref().is_some_and(|before| before.relay.as_str() != invitation.relay) {
            // A log has one relay: this is another conversation under the id of one that is known.
            return Ok(());
        }
        if before.as_ref().is_some_and(|before| before.line.next.is_some()) || self.is_forfeit(turn, log)? {
            // It goes on elsewhere; or its last valid epoch is known for certain, and whoever is beyond it has followed an invalid commit.
            return Ok(());
        }
        // Whoever was in the conversation before, and is invited by one of its members, has taken its invitation already.
        let was_in = before.is_some_and(|before| before.standing != Standing::Requested)
            && !endings::is_unanswered(turn.db, log)?
            && conversations::members(turn.db, log)?.iter().any(|m| m.account_key == record.account_key);
        let was_in = was_in || succeeds;
        // Behind an end of which nobody knows whose doing it is an insider could lead this device anywhere: it looks first.
        let astray = !succeeds && (self.was_led_astray(turn, log)? || self.told_of(turn, log)?.is_some());
        let unseen = succeeds && !self.is_decided(turn, &invitation)?;
        if (!trusted && !was_in && self.requests_waiting(turn)? >= MAX_REQUESTS)
            || (unseen && successors_waiting(turn.db)? >= MAX_REQUESTS)
        {
            return Ok(());
        }
        // A relay can leave the same one again; the keys that it is for are used up.
        let hash = formats::hash(&invitation.signature);
        let Some(first) = hash.first_chunk::<16>() else { return Ok(()) };
        if !conversations::count_entry(turn.db, inbox, first)? {
            return Ok(());
        }
        self.in_doubt.remove(&log);
        self.see_record(turn, record.bytes(), false)?;
        if asked {
            contacts::set_known(turn.db, &record.address)?;
        }
        turn.db.prepare_cached("INSERT OR REPLACE INTO invitations VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(
            params![
                log.0,
                record.address.as_str(),
                invitation.relay,
                formats::encode(&invitation),
                int(time.0),
                (trusted || was_in) && !astray
            ],
        )?;
        self.drive_invitations(turn)?;
        let known_relay = self.uses_relay(turn, &invitation.relay)?;
        if !trusted && !was_in && !known_relay {
            turn.event(Event::Invitation {
                invitation: Box::new(InvitationView {
                    conversation: log.to_string(),
                    from: record.address.to_string(),
                    relay: invitation.relay,
                    name: None,
                    time: time.0,
                }),
            });
        }
        Ok(())
    }

    /// Somebody is blocked: nothing of him waits any more, but where a conversation goes on that others are in as well.
    pub(super) fn forget_invitations_of(&mut self, turn: &mut Turn<'_>, sender: &str) -> Done {
        let rows: Vec<(LogId, Vec<u8>)> = turn
            .db
            .prepare_cached("SELECT conversation, invitation FROM invitations WHERE sender = ?1")?
            .query_map([sender], |row| Ok((LogId(db::fixed(row, 0)?), row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (id, bytes) in rows {
            let succeeds = formats::decode::<Invitation>(&bytes).is_ok_and(|invitation| invitation.succeeds.is_some());
            if !succeeds {
                turn.db.prepare_cached("DELETE FROM invitations WHERE conversation = ?1")?.execute([id.0])?;
            }
        }
        self.report_caught_up(turn)
    }

    /// Invitations of people that are not known here and that nobody has answered.
    fn requests_waiting(&self, turn: &Turn<'_>) -> Done<u32> {
        Ok(turn
            .db
            .prepare_cached(
                "SELECT (SELECT count(*) FROM invitations WHERE accepted = 0) + (SELECT count(*) FROM conversations WHERE standing = 1)",
            )?
            .query_row([], |row| row.get(0))?)
    }

    /// Somebody has invited this device under an address that it knows with another identity.
    pub(super) fn on_other_looked_up(
        &mut self,
        turn: &mut Turn<'_>,
        address: &wire::Address,
        result: Result<Response, Rejection>,
    ) -> Done {
        let record = match result {
            Ok(Response::Record(bytes)) => Signed::<AccountRecord>::parse(bytes).ok(),
            _ => None,
        };
        let known = contacts::get(turn.db, address)?.map(|known| known.account_key);
        match record.filter(|record| record.address == *address) {
            Some(record) if known != Some(record.account_key) => _ = self.see_record(turn, record.bytes(), true)?,
            _ => self.imposter_notice(turn, address.as_str()),
        }
        self.report_caught_up(turn)
    }

    fn imposter_notice(&mut self, turn: &mut Turn<'_>, address: &str) {
        turn.event(Event::Notice {
            conversation: None,
            problem: Problem::new(
                Kind::Trust,
                format!(
                    "Somebody invites you as {address}, with another identity than the one that this device knows."
                ),
                "Its relay does not say that it has changed: somebody pretends to be it. The invitation was not taken.",
                "",
            ),
        });
    }

    /// This device follows something at that relay already, so that it learns nothing new from one log more.
    fn uses_relay(&self, turn: &Turn<'_>, relay: &str) -> Done<bool> {
        if self.me.as_ref().is_some_and(|me| me.address.relay().as_str() == relay) {
            return Ok(true);
        }
        Ok(turn
            .db
            .prepare_cached("SELECT 1 FROM conversations WHERE relay = ?1 AND standing IN (1, 2) LIMIT 1")?
            .exists([relay])?)
    }

    /// Fetches the trees of invitations that may be followed.
    pub(super) fn drive_invitations(&mut self, turn: &mut Turn<'_>) -> Done {
        let rows: Vec<(LogId, Vec<u8>, bool)> = turn
            .db
            .prepare_cached("SELECT conversation, invitation, accepted FROM invitations ORDER BY conversation")?
            .query_map([], |row| Ok((LogId(db::fixed(row, 0)?), row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        for (id, bytes, accepted) in rows {
            let Ok(invitation) = formats::decode::<Invitation>(&bytes) else { continue };
            if !accepted && (self.in_doubt.contains(&id) || !self.uses_relay(turn, &invitation.relay)?) {
                continue;
            }
            if !self.is_decided(turn, &invitation)? {
                if is_orphan(turn.db, &invitation)? {
                    turn.db.prepare_cached("DELETE FROM invitations WHERE conversation = ?1")?.execute([id.0])?;
                }
                continue;
            }
            // Still in it as far as this device knows: the log will say that it was removed first.
            if conversations::get(turn.db, id)?.is_some_and(|c| c.is_followed()) {
                continue;
            }
            let moving =
                self.moving.values().any(|m| matches!(m, Moving::Tree { conversation, .. } if *conversation == id));
            let (Ok(relay), Ok(blob)) = (invitation.relay.parse(), formats::array(&invitation.tree)) else { continue };
            if !accepted
                && self.moving.values().filter(|m| matches!(m, Moving::Tree { .. })).count() >= TREES_OF_STRANGERS
            {
                continue;
            }
            if !moving {
                let job = Job::Download { blob: BlobId(blob), max_bytes: MAX_TREE };
                self.move_blob(turn, relay, job, Moving::Tree { conversation: id, blob: BlobId(blob) });
            }
        }
        Ok(())
    }

    pub(super) fn on_tree(&mut self, turn: &mut Turn<'_>, id: LogId, blob: BlobId, state: TransferState) -> Done {
        let row: Option<(String, Vec<u8>, u64, bool)> = turn
            .db
            .prepare_cached("SELECT sender, invitation, time, accepted FROM invitations WHERE conversation = ?1")?
            .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?, uint(row, 2)?, row.get(3)?)))
            .optional()?;
        // It may have been taken back meanwhile.
        let Some((sender, bytes, time, accepted)) = row else { return self.report_caught_up(turn) };
        let Ok(invitation) = formats::decode::<Invitation>(&bytes) else { return Ok(()) };
        if invitation.tree.as_slice() != blob.0 {
            // A newer invitation has come while the tree of the one before was on its way.
            return self.drive_invitations(turn);
        }
        let sealed = match state {
            TransferState::Done(sealed) => sealed,
            TransferState::Failed(TransferFailure::Unreachable) => {
                turn.wake_at(turn.now.plus(2_000));
                return Ok(());
            }
            _ => return self.invitation_is_void(turn, id, &sender, "What it needs is no longer at the relay."),
        };
        let tree = formats::array(&invitation.tree_key)
            .ok()
            .and_then(|key| attachment::open(&AttachmentKey::from_bytes(key), &sealed).ok());
        let Some(tree) = tree else {
            return self.invitation_is_void(turn, id, &sender, "What it needs does not verify.");
        };
        let invitation_row = InvitationRow { id, sender, time, accepted };
        self.join(turn, &invitation_row, &invitation, &tree)?;
        self.drive_invitations(turn)
    }

    fn join(&mut self, turn: &mut Turn<'_>, row: &InvitationRow, invitation: &Invitation, tree: &[u8]) -> Done {
        let Some(own_address) = self.me.as_ref().map(|me| me.address.to_string()) else { return Ok(()) };
        let id = row.id;
        // Only a conversation that is over, or that this device can't follow, gets here with a group. Its keys go only with an invitation
        // that is one: they may be what it takes to go on.
        self.with_group(turn, id, |_, _, _| Ok(()))?;
        let (mark, old) = (turn.mls.mark(), self.groups.remove(&id));
        let Welcomed { group, state, members, maker, before, taken, outdated } =
            match self.welcomed(turn, row, invitation, (tree, old.as_ref()))? {
                Ok(welcomed) => welcomed,
                Err(refused) => {
                    turn.mls.back_to(mark);
                    self.groups.extend(old.map(|old| (id, old)));
                    return self.not_followed(turn, row, invitation, refused);
                }
            };
        let inviter = match &maker {
            Some((ending, _)) => conversations::get(turn.db, ending.conversation)?.map(|over| over.inviter),
            None => None,
        };
        let inviter = inviter.filter(|inviter| members.iter().any(|m| m.certificate.address.as_str() == inviter));
        let inviter = inviter.unwrap_or_else(|| row.sender.clone());
        let others = members.iter().any(|m| m.certificate.address.as_str() != own_address);
        let kind = match state.kind {
            GroupKind::Group => ConversationKind::Group,
            GroupKind::Direct if others => ConversationKind::Direct,
            GroupKind::Direct => ConversationKind::Note,
        };
        let (Ok(relay), Ok(head)) = (invitation.relay.parse(), formats::array(&invitation.head)) else { return Ok(()) };
        // The inviter may not know its place in the log's history: then this device doesn't either.
        let chain_known = invitation.seq == 0 || head != [0; 32];
        let conversation = Conversation {
            id,
            relay,
            kind,
            name: if kind == ConversationKind::Note { "Note to self".into() } else { state.shown_name() },
            peer: (kind == ConversationKind::Direct).then(|| row.sender.clone()),
            standing: if taken { Standing::Active } else { Standing::Requested },
            held: String::new(),
            inviter: inviter.clone(),
            log_made: true,
            epoch: Epoch(group.epoch()),
            cursor: Seq(invitation.seq),
            chain: ChainHash(head),
            chain_known,
            created: before.as_ref().map_or(turn.now.0, |before| before.created),
            touched: row.time,
            updated: turn.now.0,
            own_messages: 0,
            last_receipt: 0,
            timer: 0,
            line: super::succession::line(&state),
        };
        conversations::put(turn.db, &conversation)?;
        endings::set_unanswered(turn.db, id, false)?;
        db::held::begin(turn.db, id, conversation.cursor)?;
        if let Some(since) = invitation.since {
            db::held::restored_since(turn.db, id, since, turn.now.0)?;
        }
        self.healing.remove(&id);
        turn.touch(id);
        self.groups.insert(id, group);
        turn.db.prepare_cached("DELETE FROM invitations WHERE conversation = ?1")?.execute([id.0])?;
        self.unseal_all(turn, id)?;
        outbox::remove_pending_commit(turn.db, id)?;
        // Whoever else was asked to add this device again need not: it would use the same key package a second time.
        outbox::remove_requests(turn.db, id)?;
        super::rejoin::forget_rejoin(turn, id)?;
        db::joins::remove_join(turn.db, id)?;
        self.join_settled(id);
        self.deposit_settled(id);
        self.logs.insert(id, super::LogRun::default());
        self.refresh(turn, id)?;
        if !taken {
            turn.event(Event::Invitation {
                invitation: Box::new(InvitationView {
                    conversation: id.to_string(),
                    from: inviter,
                    relay: conversation.relay.to_string(),
                    name: (kind == ConversationKind::Group).then(|| state.shown_name()),
                    time: row.time,
                }),
            });
        }
        let restored = db::outlines::restored(turn.db, id)?;
        let slept = conversations::slept(turn.db, id)?;
        if maker.is_none() && conversation.line.room.is_some() {
            // What own devices have said of the line waits under the log in which it began.
            self.apply_again(turn)?;
        }
        if row.sender == own_address && conversation.line.of.is_some() {
            self.led_here(turn, id, outdated, row.time)?;
        }
        if let Some((ending, maker)) = &maker {
            self.take_over(turn, ending, (id, *maker), row.time)?;
        } else if let Some(made) = restored {
            self.let_in_again(turn, &conversation, &row.sender, made)?;
        } else if let Some(since) = slept {
            self.woke_up(turn, &conversation, &row.sender, since)?;
        } else if kind == ConversationKind::Group && row.sender != own_address {
            self.system_message(turn, &conversation, &format!("{} added you.", row.sender))?;
        }
        self.joined_in(turn, conversation, invitation.incarnation.as_ref().map(|bytes| bytes.as_slice()))?;
        // Whoever invites may not know of a device that was linked meanwhile.
        if taken {
            self.own_devices_follow(turn, id)?;
        }
        self.report_caught_up(turn)
    }

    /// Joins, and looks at what that leads to. What was there before is gone then, whatever comes of it.
    fn welcomed(
        &mut self,
        turn: &mut Turn<'_>,
        row: &InvitationRow,
        invitation: &Invitation,
        (tree, old): (&[u8], Option<&Group>),
    ) -> Done<Result<Welcomed, Refused>> {
        let Some(me) = &self.me else { return Ok(Err(Refused::Late)) };
        let (signer, own_key) = (me.signer.clone(), me.account_key());
        let id = row.id;
        turn.mls.forget_group(id)?;
        let succession = match invitation.succeeds.as_ref().map(|log| formats::array(log)) {
            None => None,
            Some(Ok(of)) => self.succession_key(turn, LogId(of))?,
            Some(Err(_)) => return Ok(Err(Refused::Void("It is for no conversation."))),
        };
        let joined = match &succession {
            Some((_, key)) => Group::join_successor(&turn.mls, &signer, &invitation.welcome, tree, key),
            None => Group::join(&turn.mls, &signer, &invitation.welcome, tree),
        };
        let group = match (joined, &succession) {
            (Ok(group), _) if group.log() == id => group,
            (Ok(_), _) => return Ok(Err(Refused::Void("It is for another conversation."))),
            (Err(JoinError::Storage(error)), _) => return Err(mls::MlsError::from(error).into()),
            (Err(JoinError::NotForUs), _) => {
                return Ok(Err(Refused::Void("It is for keys that this device no longer has.")));
            }
            (Err(_), Some((ending, _))) => return Ok(Err(Refused::Otherwise(Box::new(ending.clone())))),
            (Err(_), None) => return Ok(Err(Refused::Void("It does not verify."))),
        };
        let Ok(state) = ConversationState::decode(&group.state()) else {
            return Ok(Err(Refused::Void("It is of a kind that this version does not know.")));
        };
        let members = group.members();
        if !is_as_said(&members, &state, invitation, own_key) {
            return Ok(Err(Refused::Void("Who is in it is not who it says.")));
        }
        let maker = match succession {
            Some((ending, _)) => match self.accept_successor(turn, &ending, &group, invitation)? {
                Ok(maker) => Some((ending, maker)),
                Err(why) => return Ok(Err(Refused::Void(why))),
            },
            None => match self.told_of(turn, id)? {
                Some(of) => match self.accept_elsewhere(turn, of, (&members, &state), row.accepted)? {
                    Ok(maker) => Some(maker),
                    Err(refused) => return Ok(Err(refused)),
                },
                None => None,
            },
        };
        if let Some((ending, maker)) = &maker
            && !super::succession::goes_before(ending, (*maker, id), row.time)
        {
            // Another one goes on already. Whoever has made this one may not have been invited there.
            let lost = invitation.succeeds.is_some().then(|| Refused::Lost(Box::new(ending.clone())));
            return Ok(Err(lost.unwrap_or(Refused::Late)));
        }
        let before = conversations::get(turn.db, id)?;
        if before.as_ref().is_some_and(|before| group.epoch() <= before.epoch.0) {
            // An old one, left here again: this device has been further.
            return Ok(Err(Refused::Late));
        }
        // Whoever had not answered when a conversation ended is asked where it goes on, by whom he was asked before if that one is there.
        let mut taken = match &maker {
            Some((ending, _)) => (row.accepted || invitation.succeeds.is_none()) && self.has_taken(turn, ending)?,
            None => row.accepted,
        };
        if let (Some(old), false) = (old, taken)
            && self.was_led_astray(turn, id)?
        {
            let differs = super::succession::differences(&old.members(), &old.state(), &members, &state);
            if !differs.is_empty() {
                return Ok(Err(Refused::Asks(differs)));
            }
            taken = true;
        }
        let of = super::succession::line(&state).of.filter(|_| maker.is_none());
        let outdated = match self.outdated(turn, (id, of), (&row.sender, row.time))? {
            Ok(outdated) => outdated,
            Err(refused) => return Ok(Err(refused)),
        };
        Ok(Ok(Welcomed { group, state, members, maker, before, taken, outdated }))
    }

    fn not_followed(
        &mut self,
        turn: &mut Turn<'_>,
        row: &InvitationRow,
        invitation: &Invitation,
        refused: Refused,
    ) -> Done {
        if invitation.succeeds.is_some() && matches!(refused, Refused::Void(_) | Refused::Otherwise(_)) {
            super::succession::set_refused(turn, row.id)?;
        }
        match refused {
            Refused::Lost(ending) => {
                self.tell_its_maker(turn, &ending, invitation)?;
                self.not_followed(turn, row, invitation, Refused::Late)
            }
            Refused::Void(why) => self.invitation_is_void(turn, row.id, &row.sender, why),
            Refused::Otherwise(ending) => self.goes_on_otherwise(turn, row.id, &row.sender, &ending),
            Refused::Late => {
                turn.db.prepare_cached("DELETE FROM invitations WHERE conversation = ?1")?.execute([row.id.0])?;
                self.report_caught_up(turn)
            }
            Refused::Asks(differs) => {
                let of = self.told_of(turn, row.id)?.unwrap_or(row.id);
                let Some(conversation) = conversations::get(turn.db, of)? else { return Ok(()) };
                self.in_doubt.insert(row.id);
                turn.event(Event::Notice {
                    conversation: Some(row.id.to_string()),
                    problem: Problem::new(
                        Kind::Trust,
                        format!("{} leads you to another “{}” than the one you know.", row.sender, conversation.name),
                        differs.join(" "),
                        format!(
                            "Ask somebody who is in it. If it is right: transom accept {0}; else: transom decline {0}",
                            row.id.to_string().get(..8).unwrap_or_default()
                        ),
                    ),
                });
                turn.event(Event::Invitation {
                    invitation: Box::new(InvitationView {
                        conversation: row.id.to_string(),
                        from: row.sender.clone(),
                        relay: conversation.relay.to_string(),
                        name: Some(conversation.name),
                        time: row.time,
                    }),
                });
                self.report_caught_up(turn)
            }
        }
    }

    fn invitation_is_void(&mut self, turn: &mut Turn<'_>, id: LogId, sender: &str, why: &str) -> Done {
        let what = format!("An invitation of {sender} can't be followed.");
        self.drop_invitation(turn, id, None, Problem::new(Kind::Trust, what, why, "Ask to be invited again."))
    }

    /// Somebody who was in a conversation when it ended goes on for it with a key that is not the one of the end that this device has
    /// found: it was shown another one, or that member makes something up. The person is told, in the conversation as well.
    fn goes_on_otherwise(&mut self, turn: &mut Turn<'_>, id: LogId, sender: &str, ending: &endings::Ending) -> Done {
        let over = ending.successor.map_or(ending.conversation, |(log, ..)| log);
        let Some(conversation) = conversations::get(turn.db, over)? else { return Ok(()) };
        let what = format!("{sender} goes on with “{}” in a way that can't be followed here.", conversation.name);
        let why = "The relay may have shown this device another end of it than the others, or somebody makes one up.";
        let next = "If nobody answers you there any more, ask them by another way.";
        if !endings::is_told_of_another(turn.db, ending)? {
            endings::set_told_of_another(turn.db, ending)?;
            self.system_message(turn, &conversation, &format!("{what} {why} {next}"))?;
        }
        self.drop_invitation(turn, id, Some(over.to_string()), Problem::new(Kind::Trust, what, why, next))
    }

    fn drop_invitation(
        &mut self,
        turn: &mut Turn<'_>,
        id: LogId,
        conversation: Option<String>,
        problem: Problem,
    ) -> Done {
        turn.db.prepare_cached("DELETE FROM invitations WHERE conversation = ?1")?.execute([id.0])?;
        turn.event(Event::Notice { conversation, problem });
        self.drive_invitations(turn)?;
        self.report_caught_up(turn)
    }
}

/// A group that this device was invited into and has joined.
struct Welcomed {
    group: Group,
    state: ConversationState,
    members: Vec<mls::Member>,
    /// The ending that it goes on behind, and the leaf there of whoever made it.
    maker: Option<(endings::Ending, u32)>,
    /// The conversation as it was here.
    before: Option<Conversation>,
    /// The person need not be asked.
    taken: bool,
    /// A successor for the same conversation, into which an own device had led this one before.
    outdated: Option<LogId>,
}

/// Why an invitation is not followed.
pub(super) enum Refused {
    /// It is none.
    Void(&'static str),
    /// Somebody goes on behind another end than the one that this device has found.
    Otherwise(Box<endings::Ending>),
    /// Another one was followed.
    Late,
    /// It is a successor that another one goes before.
    Lost(Box<endings::Ending>),
    /// What it leads to is not what this device knows: the person decides.
    Asks(Vec<String>),
}

/// Whoever invites is a member, nobody bears another's address (mine least of all), and a conversation of two is one with whoever
/// invites. Checked by who joins, since the commits that made the group so were never seen here.
fn is_as_said(members: &[mls::Member], state: &ConversationState, invitation: &Invitation, own: [u8; 32]) -> bool {
    let Ok(record) = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&invitation.record)) else { return false };
    let inviter = record.account_key;
    let mut others: Vec<[u8; 32]> =
        members.iter().map(|m| m.certificate.account_key).filter(|account| *account != own).collect();
    others.sort_unstable();
    others.dedup();
    let two = match others.as_slice() {
        [] => true,
        [other] => inviter == own || inviter == *other,
        _ => state.kind != GroupKind::Direct,
    };
    let inviter_is_in =
        members.iter().any(|m| m.certificate.account_key == inviter && m.certificate.address == record.address);
    two && inviter_is_in && is_unmistakable(members.iter().map(|m| m.certificate.value()))
}

/// An invitation to this conversation waits: it was not followed yet.
pub(super) fn waits(db: &Connection, conversation: LogId) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM invitations WHERE conversation = ?1")?.exists([conversation.0])
}

/// An invitation to what goes on for a conversation that is not known here, and never will be: that invitation is gone.
fn is_orphan(db: &Connection, invitation: &Invitation) -> rusqlite::Result<bool> {
    let of = invitation.succeeds.as_ref().and_then(|log| formats::array(log).ok()).map(LogId);
    let Some(of) = of else { return Ok(false) };
    Ok(conversations::get(db, of)?.is_none() && !waits(db, of)?)
}

/// Invitations that need no answer and were not followed yet.
fn successors_waiting(db: &Connection) -> rusqlite::Result<u32> {
    db.prepare_cached("SELECT count(*) FROM invitations WHERE accepted = 1")?.query_row([], |row| row.get(0))
}

/// An invitation that is being followed.
struct InvitationRow {
    id: LogId,
    sender: String,
    time: u64,
    accepted: bool,
}

/// An invitation whose signature fits: who made it, and for which log.
fn verified(invitation: &Invitation, inbox: LogId) -> Option<(Signed<AccountRecord>, LogId)> {
    let record = Signed::<AccountRecord>::parse(Bytes::copy_from_slice(&invitation.record)).ok()?;
    let device = DeviceId(formats::array(&invitation.device).ok()?);
    let device = record.active().find(|d| d.certificate.device == device)?;
    let key = &device.certificate.signature_key;
    verify(key, Label::Invitation, &[&invitation.parts(inbox)], &invitation.signature).ok()?;
    let _: RelayName = invitation.relay.parse().ok()?;
    let log = LogId(formats::array(&invitation.log).ok()?);
    Some((record, log))
}
