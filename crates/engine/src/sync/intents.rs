//! Intents: what somebody wants of a group. A commit is only the attempt to carry one out; when it loses a race, the intent is
//! looked at again on top of the winner's change, and carried out or reported, never lost (I3).

use std::collections::BTreeSet;

use api::{ConversationKind, Event, Kind, Problem, Role, Standing};
use serde::{Deserialize, Serialize};
use wire::{Bytes, Code, EntryId, Epoch, LogId, Request, Response};

use super::gather::Gathered;
use super::outline::Grounds;
use super::validity::same_device;
use super::{Ask, Done, State, Turn};
use crate::db;
use crate::db::conversations::{self, Conversation};
use crate::db::outbox::{self, IntentRow, PendingCommit};
use crate::formats::{self, PendingInvite};
use crate::io::Rejection;
use crate::mls::{Change, MlsError};
use crate::picture::Picture;
use crate::state::ConversationState;

/// Between comparisons of clocks that were too far apart for something that waits.
pub(super) const CLOCK_AGAIN_MS: u64 = 60_000;

/// What somebody wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Intent {
    /// Make the log, and bring these accounts in.
    Create { members: Vec<String> },
    /// Go on for this conversation, which was ended, with these devices, all by one commit.
    Succeed { of: [u8; 16], devices: Vec<(String, Vec<[u8; 16]>)> },
    /// Bring these accounts in.
    Add { members: Vec<String> },
    /// Bring in the own devices that are missing.
    AddOwnDevices,
    /// Take an account out.
    Remove { member: String },
    /// Take own revoked devices out.
    RemoveOwnDevices { devices: Vec<[u8; 16]> },
    /// Another name.
    Rename { name: String },
    /// Messages vanish so many seconds after they were seen; 0 if they stay.
    SetTimer { seconds: u32 },
    /// Another role.
    SetRole { member: String, role: Role },
    /// Another description.
    Describe { text: String },
    /// Another picture, which is at the relay by then; or none.
    SetPicture { picture: Option<Picture> },
    /// The group is somebody else's; oneself stays as an admin.
    Transfer { member: String },
    /// Another way in.
    MakeLink { id: [u8; 16], expires: u64, uses: u32, direct: bool },
    /// One way in less.
    RevokeLink { id: [u8; 16] },
    /// Bring an account in that has asked by a link; this one, whatever its address leads to.
    /// It has asked at this time.
    Admit { member: String, account: [u8; 32], link: [u8; 16], asked: u64 },
    /// Fresh own keys.
    Update,
    /// Carry out what others have asked for: to leave.
    Tidy,
    /// Bring in the devices that an account has now: those that are in are all revoked.
    Renew { member: String },
    /// Add a device again that can't follow; CBOR of its request.
    Readd { rejoin: Vec<u8> },
    /// Take those out who were not there for long; accounts without any device left are listed as asleep.
    PutToSleep,
    /// Go, with all own devices.
    Leave,
}

impl Intent {
    /// Nobody has asked for it: it follows from what is so.
    pub(super) fn is_by_itself(&self) -> bool {
        matches!(
            self,
            Self::AddOwnDevices
                | Self::RemoveOwnDevices { .. }
                | Self::Update
                | Self::Tidy
                | Self::Renew { .. }
                | Self::Readd { .. }
                | Self::PutToSleep
        )
    }

    /// It says something that a person has written or shown, to whoever is in, or brings somebody in who would read on: not where
    /// somebody is in conflict (rule 22). What takes people out, and what keeps keys fresh, goes on.
    fn tells(&self) -> bool {
        matches!(self, Self::Add { .. } | Self::Rename { .. } | Self::Describe { .. } | Self::SetPicture { .. })
    }
}

/// Why a commit could not be staged; nothing has changed.
enum Unstaged {
    /// The key package of this number is refused.
    KeyPackage(usize),
    /// It does not fit the group.
    Impossible,
    /// This device is on its way out.
    NotNow,
}

/// What an intent comes to, given the group as it is now.
pub(super) enum Plan {
    /// It is so already.
    Nothing,
    /// It no longer applies, or never did.
    Impossible(Problem),
    /// Something is under way; whoever finishes it drives the intents again.
    Wait,
    /// Not now; try again after so many milliseconds.
    Later(u64),
    /// Not before this device's clock and the relays' agree.
    ClockIsOff,
    /// Make this commit.
    Commit(Box<Attempt>),
}

#[derive(Default)]
pub(super) struct Attempt {
    change: Change,
    invites: Vec<Gathered>,
    /// What the change of devices needs to be allowed.
    grounds: Grounds,
}

impl State {
    /// Notes an intent; it is carried out when its turn comes.
    pub(super) fn intend(&mut self, turn: &mut Turn<'_>, id: LogId, intent: &Intent, after_ms: u64) -> Done<i64> {
        let json = serde_json::to_vec(intent).map_err(|_| crate::EngineError::Inconsistent("an intent"))?;
        let not_before = if after_ms == 0 { 0 } else { turn.now.plus(after_ms).0 };
        if after_ms > 0 {
            turn.wake_at(turn.now.plus(after_ms));
        }
        Ok(outbox::push_intent(turn.db, id, &json, not_before)?)
    }

    /// Somebody has asked to leave: one commit of anybody carries it out.
    pub(super) fn intend_tidy(&mut self, turn: &mut Turn<'_>, id: LogId, after_ms: u64) -> Done {
        let there = |row: &IntentRow| matches!(serde_json::from_slice(&row.intent), Ok(Intent::Tidy));
        let rows = outbox::intents(turn.db, id)?;
        match rows.iter().find(|row| there(row)) {
            Some(row) if after_ms == 0 && row.not_before > turn.now.0 => outbox::delay_intent(turn.db, row.n, 0)?,
            Some(_) => return Ok(()),
            None => {
                self.intend(turn, id, &Intent::Tidy, after_ms)?;
            }
        }
        if after_ms == 0 { self.drive_intents(turn, id) } else { Ok(()) }
    }

    pub(super) fn intend_update(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        let rows = outbox::intents(turn.db, id)?;
        if rows.iter().any(|row| matches!(serde_json::from_slice(&row.intent), Ok(Intent::Update))) {
            return Ok(());
        }
        self.intend(turn, id, &Intent::Update, 0)?;
        self.drive_intents(turn, id)
    }

    pub(super) fn is_leave(&self, row: &IntentRow) -> bool {
        matches!(serde_json::from_slice(&row.intent), Ok(Intent::Leave))
    }

    /// Nothing changes a conversation any more that is over. What a person has asked for has failed; what the program does by itself
    /// it does where the others go on, if they do, and nobody waits for it.
    pub(super) fn give_up_intents(&mut self, turn: &mut Turn<'_>, id: LogId, problem: &Problem) -> Done {
        for row in outbox::intents(turn.db, id)? {
            outbox::remove_intent(turn.db, row.n)?;
            self.gathers.remove(&row.n);
            match serde_json::from_slice::<Intent>(&row.intent) {
                Ok(intent) if intent.is_by_itself() => self.intent_settled(row.n, None),
                _ => _ = self.intent_failed(turn, row.n, problem),
            }
        }
        Ok(())
    }

    /// Carries out what can be carried out in a conversation now.
    pub(super) fn drive_intents(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done {
        loop {
            let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(()) };
            if !matches!(conversation.standing, Standing::Starting | Standing::Active) {
                return Ok(());
            }
            if let Some(pending) = outbox::pending_commit(turn.db, id)? {
                return self.send_pending(turn, &conversation, pending);
            }
            let rows = outbox::intents(turn.db, id)?;
            let now = turn.now.0;
            for row in rows.iter().filter(|row| row.not_before > now) {
                turn.wake_at(wire::UnixMillis(row.not_before));
            }
            let Some(row) = rows.into_iter().find(|row| row.not_before <= turn.now.0) else { return Ok(()) };
            match self.plan(turn, &conversation, &row)? {
                Plan::Nothing => {
                    self.intent_carried_out(turn, id, row.n)?;
                }
                Plan::Impossible(problem) => self.intent_impossible(turn, &conversation, row.n, &problem)?,
                Plan::Wait => return Ok(()),
                Plan::Later(after) => {
                    // A new device that has not been online yet is added when it was; nobody is kept waiting for that.
                    let adds_device = matches!(serde_json::from_slice(&row.intent), Ok(Intent::AddOwnDevices));
                    if adds_device && row.attempts >= 3 {
                        self.intent_settled(row.n, None);
                    }
                    outbox::delay_intent(turn.db, row.n, turn.now.plus(after).0)?;
                    turn.wake_at(turn.now.plus(after));
                }
                Plan::ClockIsOff => {
                    outbox::delay_intent(turn.db, row.n, turn.now.plus(CLOCK_AGAIN_MS).0)?;
                    turn.wake_at(turn.now.plus(CLOCK_AGAIN_MS));
                    self.compare_clocks_again(turn)?;
                }
                Plan::Commit(attempt) => {
                    if !self.is_caught_up(&conversation) {
                        return Ok(());
                    }
                    if self.stage(turn, &conversation, &row, *attempt)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn plan(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, row: &IntentRow) -> Done<Plan> {
        let Ok(intent) = serde_json::from_slice::<Intent>(&row.intent) else {
            return Ok(Plan::Impossible(Problem::new(
                Kind::Bug,
                "An intent of another version can't be read.",
                "",
                "",
            )));
        };
        if intent.tells()
            && let Some(address) = db::contacts::conflict_in(turn.db, &conversation.id.0)?
        {
            return Ok(Plan::Impossible(super::outbox::in_conflict(&address)));
        }
        let outline = self.with_group(turn, conversation.id, |state, turn, group| {
            state.outline(turn, conversation, group, &intent)
        })?;
        let outline = match outline {
            Some(Ok(outline)) => outline,
            Some(Err(plan)) => return Ok(plan),
            None => return Ok(Plan::Impossible(gone(conversation))),
        };
        let invites = match self.gather(turn, row, &outline.add)? {
            super::gather::State::Complete(invites) => invites,
            super::gather::State::Waiting => return Ok(Plan::Wait),
            super::gather::State::Later(after) => return Ok(Plan::Later(after)),
            super::gather::State::Impossible(problem) => return Ok(Plan::Impossible(problem)),
        };
        if let Intent::Admit { member, account, .. } = &intent
            && invites.iter().any(|invite| !invite.is_of(account))
        {
            db::joins::remove_request(turn.db, conversation.id, member)?;
            return Ok(Plan::Impossible(Problem::new(
                Kind::Trust,
                format!("Somebody asked to join as {member} who is somebody else."),
                "The account that this address leads to has another identity. Nobody was let in.",
                "",
            )));
        }
        if let Intent::Succeed { of, devices } = &intent
            && invites.len() != devices.iter().map(|(_, devices)| devices.len()).sum::<usize>()
        {
            // All come along, or nobody goes: but those of whom it is known by now that their account has revoked them.
            let of = LogId(*of);
            self.abandon(turn, conversation.id)?;
            self.succeed_again(turn, of, devices)?;
            return Ok(Plan::Wait);
        }
        if !conversation.log_made {
            return self.make_log(turn, conversation, row.n);
        }
        if matches!(intent, Intent::AddOwnDevices) && !outline.add.is_empty() && invites.is_empty() {
            // They have not been online yet.
            self.gathers.remove(&row.n);
            return Ok(Plan::Later((1_000 << row.attempts.min(12)).min(3_600_000)));
        }
        // Whoever sleeps under this address is who comes back, or nobody does.
        let other = outline.wakes.iter().find(|(address, account)| {
            invites.iter().any(|invite| invite.address == *address && !invite.is_of(account))
        });
        if let Some((address, _)) = other {
            self.gathers.remove(&row.n);
            return Ok(Plan::Impossible(Problem::new(
                Kind::Conflict,
                format!(
                    "{address} is asleep in “{}”, with another identity than the account has now.",
                    conversation.name
                ),
                "Its account was made anew since.",
                format!("Remove {address} first, then add it again."),
            )));
        }
        let mut change = outline.change;
        let mut invites = invites;
        if let Some(rejoin) = outline.rejoin {
            match super::gather::rejoined(&rejoin) {
                Some(invite) => invites.push(invite),
                None => return Ok(Plan::Nothing),
            }
        }
        change.adds.extend(invites.iter().map(|invite| invite.package.clone()));
        let empty = change.adds.is_empty()
            && change.removes.is_empty()
            && change.state.is_none()
            && !change.update_path
            && change.psk.is_none();
        #[cfg(feature = "mutants")]
        let empty = empty && !super::insider::is_lawless(conversation);
        if empty {
            return Ok(Plan::Nothing);
        }
        Ok(Plan::Commit(Box::new(Attempt { change, invites, grounds: outline.grounds })))
    }

    /// The relay doesn't have the log yet.
    fn make_log(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, intent: i64) -> Done<Plan> {
        let id = conversation.id;
        if self.asked.values().any(|ask| matches!(ask, Ask::Create { log, .. } if *log == id)) {
            return Ok(Plan::Wait);
        }
        let next = self.with_group(turn, id, |_, turn, group| {
            Ok(Self::delivery_key(turn, group, &conversation.relay)?.public())
        })?;
        let Some(next) = next else { return Ok(Plan::Impossible(gone(conversation))) };
        let route = self.errand(&conversation.relay);
        let request = Request::Create { log: id, epoch: conversation.epoch, next };
        self.ask(turn, route, request, Ask::Create { log: id, intent });
        Ok(Plan::Wait)
    }

    pub(super) fn on_created(
        &mut self,
        turn: &mut Turn<'_>,
        log: LogId,
        intent: i64,
        result: Result<Response, Rejection>,
    ) -> Done {
        let Some(mut conversation) = conversations::get(turn.db, log)? else { return Ok(()) };
        match result {
            // The id is random: if it is taken, an earlier answer to us was lost.
            Ok(_) => {}
            Err(Rejection::Refused(error)) if error.code == Code::AlreadyExists => {}
            Err(Rejection::Refused(error)) if !error.code.is_transient() => {
                let problem = super::account::refusal("The relay did not make the conversation.", &error);
                return self.intent_impossible(turn, &conversation, intent, &problem);
            }
            Err(rejection) => {
                let after = retry_after(&rejection, 1_000);
                outbox::delay_intent(turn.db, intent, turn.now.plus(after).0)?;
                turn.wake_at(turn.now.plus(after));
                self.progress(turn, intent, &format!("waiting for {}", conversation.relay));
                return Ok(());
            }
        }
        conversation.log_made = true;
        // A conversation with oneself alone, or a group of one, needs no first commit.
        if conversation.kind == ConversationKind::Note {
            conversation.standing = Standing::Active;
        }
        conversations::put(turn.db, &conversation)?;
        let relay = conversation.relay.clone();
        self.open_log(turn, log, &relay)?;
        self.drive_intents(turn, log)
    }

    /// Stages the commit and hands it out. False if the attempt can't be staged and the intent must be looked at again.
    fn stage(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        row: &IntentRow,
        attempt: Attempt,
    ) -> Done<bool> {
        let Some(me) = &self.me else { return Ok(true) };
        let signer = me.signer.clone();
        let id = conversation.id;
        let Attempt { mut change, mut invites, grounds } = attempt;
        // All come along into a successor, or nobody goes; others can wait for the next commit.
        if change.psk.is_none() {
            invites.truncate(self.options.adds);
            change.adds.truncate(self.options.adds);
        }
        if planted!(RemovedKeyKept) && change.adds.is_empty() {
            (change.removes, change.update_path) = (Vec::new(), true);
        }
        #[cfg(feature = "mutants")]
        let change = self.tampered(turn, conversation, change)?;
        let relay = conversation.relay.clone();
        let staged = self.with_group(turn, id, |_, turn, group| {
            if group.staged() {
                group.drop_staged(&turn.mls)?;
            }
            match group.stage(&turn.mls, &signer, change, &relay) {
                Ok(staged) => Ok(Ok(staged)),
                Err(MlsError::KeyPackage { index, .. }) => Ok(Err(Unstaged::KeyPackage(index))),
                Err(MlsError::Leaving | MlsError::Removed) => Ok(Err(Unstaged::NotNow)),
                Err(MlsError::UnknownLeaf(_) | MlsError::RemovesSelf | MlsError::Impossible(_)) => {
                    Ok(Err(Unstaged::Impossible))
                }
                Err(error) => Err(error.into()),
            }
        })?;
        let staged = match staged {
            None => return Ok(false),
            Some(Ok(staged)) => staged,
            Some(Err(Unstaged::NotNow)) => return Ok(true),
            Some(Err(Unstaged::Impossible)) => {
                let problem =
                    Problem::new(Kind::Conflict, "The change does not fit the group as it is now.", "", "Try again.");
                self.intent_impossible(turn, conversation, row.n, &problem)?;
                return Ok(false);
            }
            Some(Err(Unstaged::KeyPackage(index))) => {
                let who = invites.get(index).map(|invite| invite.address.clone()).unwrap_or_default();
                self.gathers.remove(&row.n);
                let problem = Problem::new(
                    Kind::Trust,
                    format!("{who} can't be added."),
                    "What one of its devices offers is not what its account has signed.",
                    "Ask its owner to update Transom there.",
                );
                self.intent_impossible(turn, conversation, row.n, &problem)?;
                return Ok(false);
            }
        };
        let entry = EntryId(turn.random());
        #[cfg(feature = "mutants")]
        let staged = {
            let mut staged = staged;
            self.tampered_commit(turn, conversation, &mut staged, entry);
            staged
        };
        let body = self.with_group(turn, id, |state, turn, group| {
            state.seal_commit(turn, conversation, group, &staged, entry, grounds)
        })?;
        let Some(Some(body)) = body else { return Ok(true) };
        #[cfg(feature = "mutants")]
        let body = Self::tampered_body(turn, conversation, body);
        let invites: Vec<PendingInvite> = staged
            .welcomes
            .iter()
            .filter_map(|(joiner, welcome)| {
                // Ids of devices are their accounts' choice: another account may have one of the same.
                let is_theirs = |i: &&Gathered| i.device == joiner.device && i.address == joiner.address.as_str();
                let invite = invites.iter().find(is_theirs)?;
                Some(PendingInvite {
                    record: invite.record.to_vec().into(),
                    device: joiner.device.0.to_vec().into(),
                    welcome: welcome.clone().into(),
                    readd: invite.readd,
                })
            })
            .collect();
        let pending = PendingCommit {
            intent: row.n,
            epoch: conversation.epoch,
            entry,
            next: staged.next,
            body,
            welcomes: zeroize::Zeroizing::new(formats::encode(&invites)),
            tree: staged.tree,
        };
        outbox::set_pending_commit(turn.db, id, &pending)?;
        self.send_pending(turn, conversation, pending)?;
        Ok(true)
    }

    fn send_pending(&mut self, turn: &mut Turn<'_>, conversation: &Conversation, pending: PendingCommit) -> Done {
        if !self.is_caught_up(conversation) || pending.epoch != conversation.epoch {
            return Ok(());
        }
        let Some(run) = self.logs.get_mut(&conversation.id) else { return Ok(()) };
        if run.commit_in_flight || run.ended {
            return Ok(());
        }
        let not_before = run.pause_until.max(run.commits_after);
        if not_before > turn.now {
            turn.wake_at(not_before);
            return Ok(());
        }
        run.commit_in_flight = true;
        let request = Request::Commit {
            log: conversation.id,
            epoch: pending.epoch,
            id: pending.entry,
            next: pending.next,
            body: Bytes::from(pending.body),
            end_watches: false,
            repost: false,
        };
        self.ask(
            turn,
            Self::logs_route(conversation),
            request,
            Ask::Commit { log: conversation.id, epoch: pending.epoch },
        );
        Ok(())
    }

    pub(super) fn on_committed(
        &mut self,
        turn: &mut Turn<'_>,
        log: LogId,
        epoch: Epoch,
        result: Result<Response, Rejection>,
    ) -> Done {
        // The entry itself may have come before this answer, and with it another epoch.
        if conversations::get(turn.db, log)?.is_none_or(|conversation| conversation.epoch != epoch) {
            return Ok(());
        }
        let Some(run) = self.logs.get_mut(&log) else { return Ok(()) };
        match result {
            // Won: the entry itself comes with the log, behind all that precedes it, and only then is it merged.
            Ok(_) => {
                run.ended = true;
                run.refusals = 0;
                if planted!(DoubleMerge) {
                    self.with_group(turn, log, |_, turn, group| Ok(group.merge_staged(&turn.mls)?))?;
                }
            }
            Err(Rejection::Lost) => {}
            Err(Rejection::Refused(error)) => {
                run.commit_in_flight = false;
                match error.code {
                    // The winner's commit is on its way.
                    Code::StaleEpoch => run.ended = true,
                    Code::NotOpened => run.opened = None,
                    // Messages go on meanwhile.
                    Code::Restoring => {
                        run.commits_after = turn.now.plus(error.retry_after_ms.max(1_000));
                        turn.wake_at(run.commits_after);
                    }
                    Code::TooLarge | Code::Malformed => {
                        if let (Some(pending), Some(conversation)) =
                            (outbox::pending_commit(turn.db, log)?, conversations::get(turn.db, log)?)
                        {
                            outbox::remove_pending_commit(turn.db, log)?;
                            self.with_group(turn, log, |_, turn, group| Ok(group.drop_staged(&turn.mls)?))?;
                            let problem = super::account::refusal("The change was not made.", &error);
                            self.intent_impossible(turn, &conversation, pending.intent, &problem)?;
                        }
                    }
                    _ => self.pause(turn, log, "A change", &error)?,
                }
            }
        }
        self.pump(turn, log)
    }

    /// The intent's commit is in the log. Some take several: all devices of a large group, or the own other devices before
    /// oneself; these are looked at again.
    pub(super) fn intent_committed(&mut self, turn: &mut Turn<'_>, id: LogId, intent: i64) -> Done {
        let row = outbox::intent(turn.db, intent)?;
        match row.and_then(|row| serde_json::from_slice::<Intent>(&row.intent).ok()) {
            Some(Intent::Leave | Intent::Add { .. } | Intent::Create { .. }) => {
                self.gathers.remove(&intent);
                self.drive_intents(turn, id)
            }
            _ => self.intent_carried_out(turn, id, intent),
        }
    }

    /// Nothing of the intent is left to do.
    fn intent_carried_out(&mut self, turn: &mut Turn<'_>, id: LogId, intent: i64) -> Done {
        let row = outbox::intent(turn.db, intent)?;
        let intent_is = row.as_ref().and_then(|row| serde_json::from_slice::<Intent>(&row.intent).ok());
        if let Some(Intent::Create { .. }) = intent_is {
            if let Some(mut conversation) = conversations::get(turn.db, id)?
                && conversation.standing == Standing::Starting
            {
                conversation.standing = Standing::Active;
                conversations::put(turn.db, &conversation)?;
                self.conversation_changed(turn, id)?;
            }
            if self.lacks_own_devices(turn, id)? {
                self.intend(turn, id, &Intent::AddOwnDevices, 1_000)?;
            }
        }
        outbox::remove_intent(turn.db, intent)?;
        self.gathers.remove(&intent);
        self.intent_settled(intent, None);
        self.pump(turn, id)
    }

    /// An active device of the own account is not in a conversation.
    pub(super) fn lacks_own_devices(&mut self, turn: &mut Turn<'_>, id: LogId) -> Done<bool> {
        let Some(me) = &self.me else { return Ok(false) };
        let own = me.account_key();
        let active = me.record.active().map(|d| d.certificate.device).collect::<Vec<_>>();
        let lacks = self.with_group(turn, id, |state, turn, group| {
            let members = group.members();
            let active = state.unconvicted(turn, active)?;
            let is_in = |device: &wire::DeviceId| {
                members.iter().any(|m| m.certificate.device == *device && m.certificate.account_key == own)
            };
            Ok(!active.iter().all(is_in))
        })?;
        Ok(lacks.unwrap_or(false))
    }

    /// The intent no longer applies: whoever asked is told why.
    pub(super) fn intent_impossible(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        intent: i64,
        problem: &Problem,
    ) -> Done {
        let id = conversation.id;
        let row = outbox::intent(turn.db, intent)?;
        if row.as_ref().is_some_and(|row| self.is_leave(row)) {
            return self.end_conversation(turn, id, problem);
        }
        if let Some(row) = &row
            && let Ok(Intent::SetPicture { picture: Some(picture) }) = serde_json::from_slice(&row.intent)
        {
            db::pictures::remove(turn.db, id, &picture)?;
        }
        // Nobody was shown that it is tried; it is tried again, or somebody else does it.
        let succeeds = row.as_ref().and_then(|row| serde_json::from_slice(&row.intent).ok());
        if let Some(Intent::Succeed { of, devices }) = succeeds {
            self.abandon(turn, id)?;
            return self.succeed_again(turn, LogId(of), &devices);
        }
        // Nobody has asked for it, and whoever it is about finds other ways.
        let is_unasked = |row: &IntentRow| {
            matches!(serde_json::from_slice(&row.intent), Ok(Intent::Renew { .. } | Intent::PutToSleep))
        };
        if row.as_ref().is_some_and(is_unasked) {
            outbox::remove_intent(turn.db, intent)?;
            self.gathers.remove(&intent);
            return Ok(());
        }
        outbox::remove_intent(turn.db, intent)?;
        self.gathers.remove(&intent);
        if conversation.standing == Standing::Starting {
            self.keep_unsent(turn, conversation, problem)?;
        }
        let is_told = self.intent_failed(turn, intent, problem);
        if conversation.standing == Standing::Starting {
            // Nothing of it exists outside of this device but, at most, an empty log.
            self.fail_outbox(turn, id, problem)?;
            self.end_conversation(turn, id, problem)?;
            conversations::forget(turn.db, id)?;
        } else if !is_told {
            let notice = problem.clone();
            turn.event(Event::Notice { conversation: Some(id.to_string()), problem: notice });
        }
        Ok(())
    }

    /// A person wants people in a conversation.
    pub(super) fn adds_people(&self, turn: &Turn<'_>, intent: i64) -> Done<bool> {
        let row = outbox::intent(turn.db, intent)?;
        let intent = row.and_then(|row| serde_json::from_slice::<Intent>(&row.intent).ok());
        Ok(matches!(intent, Some(Intent::Create { .. } | Intent::Add { .. })))
    }

    /// The intent says itself who owns the group from now on.
    pub(super) fn gives_roles(&self, turn: &Turn<'_>, intent: i64) -> Done<bool> {
        let row = outbox::intent(turn.db, intent)?;
        let intent = row.and_then(|row| serde_json::from_slice::<Intent>(&row.intent).ok());
        Ok(matches!(intent, Some(Intent::SetRole { .. } | Intent::Transfer { .. })))
    }

    /// What an own commit is about to do, in words, before it is merged.
    pub(super) fn own_story(&mut self, turn: &mut Turn<'_>, id: LogId, intent: i64) -> Done<Vec<String>> {
        let Some(row) = outbox::intent(turn.db, intent)? else { return Ok(Vec::new()) };
        let Ok(intent) = serde_json::from_slice::<Intent>(&row.intent) else { return Ok(Vec::new()) };
        let kind = conversations::get(turn.db, id)?.map(|c| c.kind);
        Ok(match intent {
            Intent::Create { members } | Intent::Add { members } if kind == Some(ConversationKind::Group) => {
                members.iter().map(|member| format!("You added {member}.")).collect()
            }
            Intent::Admit { member, .. } => vec![format!("You let {member} in by a link.")],
            Intent::MakeLink { .. } => vec!["You made an invite link.".into()],
            Intent::RevokeLink { .. } => vec!["You took an invite link back.".into()],
            Intent::Remove { member } => vec![format!("You removed {member}.")],
            Intent::Rename { name } => vec![format!("You named the group “{name}”.")],
            Intent::SetTimer { seconds } => vec![super::story::timer_story("You", seconds)],
            Intent::SetRole { member, role } => {
                let role = match role {
                    Role::Owner => "an owner",
                    Role::Admin => "an admin",
                    Role::Member => "a member",
                };
                vec![format!("You made {member} {role}.")]
            }
            Intent::Describe { text } if text.is_empty() => vec!["You took the group's description off.".into()],
            Intent::Describe { text } => vec![format!("You described the group: “{text}”.")],
            Intent::SetPicture { picture } => vec![super::story::picture_story("You", picture.is_some())],
            Intent::Transfer { member } => vec![format!("You handed the group over to {member}.")],
            Intent::AddOwnDevices => vec!["You added a device.".into()],
            Intent::RemoveOwnDevices { .. } => vec!["You removed a device.".into()],
            Intent::Renew { member } => {
                let record = super::outline::known_record(turn, &member)?;
                let is_alone = record.is_some_and(|record| record.active().count() == 1);
                vec![if is_alone {
                    super::story::new_device_alone(&member)
                } else {
                    format!("{member} has a new device.")
                }]
            }
            Intent::Readd { rejoin } => {
                let request = formats::decode::<formats::Rejoin>(&rejoin).ok();
                let asks = request.as_ref().and_then(super::gather::rejoining);
                let record = request.as_ref().and_then(super::gather::record_of);
                let (Some(asks), Some(record)) = (asks, record) else { return Ok(Vec::new()) };
                let is_alone = record.active().count() == 1;
                let (was_in, slept) = self
                    .with_group(turn, id, |_, _, group| {
                        let was_in = group.members().iter().any(|m| same_device(&m.certificate, &asks));
                        let state = ConversationState::decode(&group.state());
                        Ok((was_in, state.is_ok_and(|state| state.is_asleep(&asks.account_key))))
                    })?
                    .unwrap_or_default();
                match (was_in, is_alone) {
                    (true, _) => Vec::new(),
                    _ if slept => vec![super::sleep::back_story(asks.address.as_str())],
                    (false, true) => vec![super::story::new_device_alone(asks.address.as_str())],
                    (false, false) => vec![format!("{} has a new device.", asks.address)],
                }
            }
            Intent::Tidy => self
                .with_group(turn, id, |_, _, group| {
                    let leaving: BTreeSet<u32> = group.leaving().collect();
                    let gone = group.members().into_iter().filter(|m| leaving.contains(&m.leaf));
                    Ok(gone.map(|m| format!("{} left.", m.certificate.address)).collect())
                })?
                .unwrap_or_default(),
            _ => Vec::new(),
        })
    }
}

/// When to try again.
pub(super) fn retry_after(rejection: &Rejection, base: u64) -> u64 {
    match rejection {
        Rejection::Refused(error) if error.retry_after_ms > 0 => error.retry_after_ms,
        _ => base,
    }
}

pub(super) fn gone(conversation: &Conversation) -> Problem {
    Problem::new(Kind::Conflict, format!("“{}” is over.", conversation.name), "", "")
}
