//! What the client does with logs, accounts and errands: one state machine over all relays.
//!
//! [`State`] is what lives in memory between transactions: groups, connections, requests in flight. Everything in it can be lost:
//! the database alone decides what there is to do. [`Turn`] is one transaction with its clock, its randomness and its outputs.
//!
//! What always holds: nothing is handed out that the transaction's commit does not cover; entries of a log are processed in log
//! order, once; own ciphertext is sent again only as the same bytes, and encrypted again only after its epoch has ended without it.

mod account;
mod backup;
mod bodies;
mod clock;
mod commands;
mod commits;
mod deposits;
mod entries;
mod fetch;
mod gather;
mod healing;
mod history;
#[cfg(feature = "mutants")]
mod insider;
mod intents;
mod invitations;
mod joining;
mod key_packages;
pub(crate) mod linking;
mod links;
mod look_up;
mod outbox;
mod outline;
mod own_state;
mod pictures;
mod receipts;
mod recovery;
mod rejoin;
mod resolve;
mod restored;
mod role;
mod shelf;
mod sleep;
mod story;
mod succession;
mod turn;
mod validity;
mod waits;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::Connection;
use wire::{EntryId, Epoch, EpochKey, Hello, LogId, RelayName, Request, Seq, UnixMillis};

use crate::db::conversations::Conversation;
use crate::identity::Me;
use crate::io::{
    CommandId, Input, Job, Lane, LinkState, Output, Rejection, RequestId, Route, TransferId, TransferState,
};
use crate::mls::{Derive, Group};
use crate::{EngineError, OpenError, Options};

pub(crate) use backup::state as backup_state;
pub(crate) use bodies::{message_view, pins, revisions};
pub(crate) use commands::{presence_is_told, scheduled, typing_is_told};
pub(crate) use receipts::{READ_RECEIPTS, are_on as receipts_are_on};
pub(crate) use resolve::{
    contact_address, conversation as resolve_conversation, message as named_message, over as over_with,
};
pub(crate) use restored::keep_record;
pub(crate) use turn::Turn;

/// No relay puts a client off for longer than this, whatever it says.
const LONGEST_WAIT_MS: u64 = 3_600_000;
/// Messages that the search index takes in together.
const INDEXED_TOGETHER: u32 = 64;

/// Result of a step: an error ends the transaction, so it is only for what the environment does to us.
type Done<T = ()> = Result<T, EngineError>;

/// What lives in memory.
pub(crate) struct State {
    options: Options,
    me: Option<Me>,
    groups: HashMap<LogId, Group>,
    logs: HashMap<LogId, LogRun>,
    /// What the outbox is encrypted as, entries and their rows, of conversations in which that was asked for. Rows that are gone or were
    /// encrypted again may still be here; none is missing.
    sealed: HashMap<LogId, HashMap<EntryId, i64>>,
    links: BTreeMap<Route, Link>,
    wanted: BTreeMap<Route, bool>,
    asked: HashMap<RequestId, Ask>,
    moving: HashMap<TransferId, Moving>,
    gathers: HashMap<i64, gather::Gather>,
    linking: Option<linking::Linking>,
    history: history::HistoryRun,
    backup: backup::BackupRun,
    shelf: shelf::ShelfRun,
    fetch: Option<fetch::Fetch>,
    /// Fetched, and not agreed to yet.
    fetched: Option<(wire::Address, crate::backup::RecoveryKey, crate::backup::Backup)>,
    recovery: Option<recovery::Recovery>,
    rejoins: rejoin::RejoinRun,
    waits: waits::Waits,
    account: account::AccountRun,
    typing: commands::TypingRun,
    presence: commands::PresenceRun,
    next_number: u64,
    wake: Option<UnixMillis>,
    /// What the clock has shown last.
    clock: UnixMillis,
    /// What the database knows of it.
    clock_noted: UnixMillis,
    /// The person knows that this clock and a relay's are apart.
    clock_told: bool,
    /// The next time at which a message vanishes is to be looked up.
    vanishing: bool,
    /// The next time at which a message is to be sent is to be looked up.
    scheduling: bool,
    /// Messages to which this turn has done something.
    touched: BTreeSet<(LogId, [u8; 32])>,
    /// Conversations whose relay was restored and that are not whole again, with the time at which this device gives back.
    healing: BTreeMap<LogId, Option<UnixMillis>>,
    /// Invitations that were looked at and lead elsewhere than this device knows: the person is asked.
    in_doubt: BTreeSet<LogId>,
    /// Members whose history differs from ours, as the person was told: said once until theirs agrees again.
    forks_told: BTreeSet<(LogId, String)>,
    own_state: own_state::OwnRun,
    /// Pictures of groups that are not here may be fetched.
    pictures_due: bool,
    /// When it was last looked whether somebody is to be put to sleep.
    looked_for_idle: Option<UnixMillis>,
    /// When it is looked whether somebody's list of devices is to be looked up again.
    look_up_at: UnixMillis,
}

/// A connection that is up.
struct Link {
    hello: Hello,
    /// The relay's clock and ours are more than an hour apart.
    clock_is_off: bool,
}

/// What is known of a log on the connection that is up now.
#[derive(Default)]
struct LogRun {
    /// The epoch that this connection has opened.
    opened: Option<Epoch>,
    /// An `Open` is in flight for this epoch.
    opening: Option<Epoch>,
    subscribed: bool,
    /// The relay says that the epoch has ended; the commit that ended it is on its way to us.
    ended: bool,
    /// The last entry that is known to be there.
    head: Seq,
    /// Appends in flight.
    in_flight: usize,
    /// The last outbox row that was sent on this connection.
    sent_up_to: i64,
    /// Goes up after a refusal, once all that was in flight is answered (protocol rule 4).
    pipe: u32,
    refused: bool,
    commit_in_flight: bool,
    /// Not before this time, after a refusal.
    pause_until: UnixMillis,
    /// Refusals in a row that nothing here can do anything about.
    refusals: u32,
    /// No new commit before this time: the relay was restored, and takes only those that it has lost.
    commits_after: UnixMillis,
    /// A hole was seen behind this entry, and a page is asked for that tells what is there.
    hole_at: Option<Seq>,
    /// The epoch has ended, as the relay says, and the commit that ended it did not come: a page is asked for that tells whether it is there.
    end_sought: bool,
}

/// What a request was for.
enum Ask {
    Register,
    Authenticate,
    SubscribeInbox,
    FollowInbox,
    CountKeyPackages,
    PutKeyPackages {
        references: Vec<Vec<u8>>,
    },
    PutRecord {
        version: u64,
    },
    Open {
        epochs: Vec<(LogId, Epoch)>,
        relay: RelayName,
    },
    Subscribe {
        logs: Vec<LogId>,
    },
    Read {
        log: LogId,
        epoch: Epoch,
        from: Seq,
    },
    ReadInbox,
    Append {
        log: LogId,
        epoch: Epoch,
        row: i64,
        message: Option<[u8; 32]>,
    },
    Commit {
        log: LogId,
        epoch: Epoch,
    },
    /// Given back to a relay that was restored.
    Repost {
        log: LogId,
        commit: bool,
    },
    /// A log that a restored relay does not have, made again.
    Remake {
        log: LogId,
    },
    Create {
        log: LogId,
        intent: i64,
    },
    LookUp {
        intent: i64,
        address: String,
    },
    Claim {
        intent: i64,
        address: String,
        device: wire::DeviceId,
    },
    Deposit {
        row: i64,
    },
    LookUpSelf,
    /// Whether the relay of this address knows it with another identity, too, than the one that is pinned.
    LookUpOther(wire::Address),
    /// The list of devices of somebody whom this account talks to.
    LookUpAgain(wire::Address),
    /// The list of devices that says that this one certifies.
    TakeRole {
        /// Which version of the list.
        version: u64,
    },
    /// Who has made a link that this account follows.
    JoinLookUp {
        log: LogId,
    },
    Link(linking::Step),
    Recover(recovery::Step),
    /// A member that is to be asked to let this device in.
    RejoinLookUp {
        log: LogId,
        address: String,
        round: u32,
    },
    /// Somebody was told something in passing.
    Signal {
        command: CommandId,
    },
    /// Nobody waits for the answer.
    Ignored,
}

/// What a transfer is for.
enum Moving {
    Upload { blob: wire::BlobId },
    Tree { conversation: LogId, blob: wire::BlobId },
    History { id: [u8; 32], number: u64 },
    Backup(fetch::Part),
    Picture { conversation: LogId, hash: [u8; 32], period: u64 },
}

impl State {
    pub(crate) fn load(db: &Connection, options: Options) -> Result<Self, OpenError> {
        Ok(Self {
            options,
            me: Me::load(db)?,
            groups: HashMap::new(),
            logs: HashMap::new(),
            sealed: HashMap::new(),
            links: BTreeMap::new(),
            wanted: BTreeMap::new(),
            asked: HashMap::new(),
            moving: HashMap::new(),
            gathers: HashMap::new(),
            linking: None,
            history: history::HistoryRun::load(db)?,
            backup: backup::BackupRun::default(),
            shelf: shelf::ShelfRun::load(db)?,
            fetch: None,
            fetched: None,
            recovery: None,
            rejoins: rejoin::RejoinRun::default(),
            waits: waits::Waits::default(),
            account: account::AccountRun::default(),
            typing: commands::TypingRun::default(),
            presence: commands::PresenceRun::load(db)?,
            next_number: 1,
            wake: None,
            clock: clock::noted(db)?,
            clock_noted: clock::noted(db)?,
            clock_told: false,
            vanishing: true,
            scheduling: true,
            touched: BTreeSet::new(),
            healing: crate::db::held::healing(db)?.into_iter().map(|id| (id, None)).collect(),
            in_doubt: BTreeSet::new(),
            forks_told: BTreeSet::new(),
            own_state: own_state::OwnRun::default(),
            pictures_due: true,
            looked_for_idle: None,
            look_up_at: UnixMillis(0),
        })
    }

    pub(crate) fn me(&self) -> Option<&Me> {
        self.me.as_ref()
    }

    /// Emits again all that is pending in the database.
    pub(crate) fn start(&mut self, turn: &mut Turn<'_>) -> Done {
        self.resume_linking(turn)?;
        self.connect_all(turn)?;
        self.drive_all(turn)
    }

    /// One input.
    pub(crate) fn input(&mut self, turn: &mut Turn<'_>, input: Input) -> Done {
        match input {
            Input::Command { id, command } => self.command(turn, id, command),
            Input::Response { id, result } => self.response(turn, id, result),
            Input::Push { route, push } => self.push(turn, &route, push),
            Input::Link { route, state: LinkState::Up(hello) } => self.link_up(turn, route, hello),
            Input::Link { route, state: LinkState::Down } => self.link_down(turn, &route),
            Input::Transfer { id, state } => self.transfer(turn, id, state),
            Input::Wake => {
                self.wake = None;
                self.pictures_due = true;
                self.look_at_own_state();
                self.drive_all(turn)
            }
        }
    }

    /// What closes every turn: answers to those who wait, MLS state, the next time to wake.
    pub(crate) fn finish(&mut self, turn: &mut Turn<'_>) -> Done {
        self.drive_own_state(turn)?;
        self.drive_history(turn)?;
        self.drive_backup(turn)?;
        self.drive_shelf(turn)?;
        self.drive_pictures(turn)?;
        self.tell_presence(turn)?;
        self.tell_touched(turn)?;
        self.wake_to_vanish(turn)?;
        self.wake_to_send(turn)?;
        self.answer_waits(turn)?;
        let touched: Vec<&mut Group> =
            self.groups.iter_mut().filter(|(id, _)| turn.touched(id)).map(|(_, group)| group).collect();
        turn.mls.flush(touched)?;
        crate::db::messages::index(turn.db, INDEXED_TOGETHER)?;
        if let Some(at) = turn.wanted_wake() {
            // Only ever earlier: a later one is asked for when this one has come.
            if self.wake.is_none_or(|wake| at < wake) {
                self.wake = Some(at);
                turn.output(Output::WakeAt(at));
            }
        }
        Ok(())
    }

    /// Everything that time alone may have made possible.
    fn drive_all(&mut self, turn: &mut Turn<'_>) -> Done {
        self.drive_account(turn)?;
        self.drive_linking(turn)?;
        self.drive_recovery(turn)?;
        self.drive_fetch(turn)?;
        self.drive_scheduled(turn)?;
        for conversation in crate::db::outbox::intending(turn.db)? {
            self.drive_intents(turn, conversation)?;
        }
        self.drive_uploads(turn)?;
        self.drive_deposits(turn)?;
        self.drive_invitations(turn)?;
        self.drive_rejoins(turn)?;
        self.drive_successions(turn)?;
        self.drive_joins(turn)?;
        self.drive_receipts(turn)?;
        self.drive_vanishing(turn)?;
        self.drive_typing(turn);
        self.drive_presence(turn)?;
        let ids: Vec<LogId> = self.logs.keys().copied().collect();
        for id in ids {
            self.pump(turn, id)?;
        }
        self.drive_updates(turn)?;
        self.drive_look_up(turn)?;
        self.drive_sleep(turn)
    }

    fn response(&mut self, turn: &mut Turn<'_>, id: RequestId, mut result: Result<wire::Response, Rejection>) -> Done {
        let Some(ask) = self.asked.remove(&id) else { return Ok(()) };
        if let Err(Rejection::Refused(error)) = &mut result {
            error.retry_after_ms = error.retry_after_ms.min(LONGEST_WAIT_MS);
        }
        match ask {
            Ask::Register => self.on_registered(turn, result),
            Ask::Authenticate => self.on_authenticated(turn, result),
            Ask::SubscribeInbox => self.on_inbox_subscribed(turn, result),
            Ask::FollowInbox => self.on_inbox_followed(turn, result),
            Ask::CountKeyPackages => self.on_key_packages_counted(turn, result),
            Ask::PutKeyPackages { references } => self.on_key_packages_put(turn, references, result),
            Ask::PutRecord { version } => self.on_record_put(turn, version, result),
            Ask::LookUpSelf => self.on_self_looked_up(turn, result),
            Ask::LookUpOther(address) => self.on_other_looked_up(turn, &address, result),
            Ask::LookUpAgain(address) => self.on_looked_up_again(turn, &address, result),
            Ask::TakeRole { version } => self.on_role_taken(turn, version, result),
            Ask::Open { epochs, relay } => self.on_opened(turn, &relay, epochs, result),
            Ask::Read { log, epoch, from } => self.on_read(turn, log, epoch, from, result),
            Ask::ReadInbox => self.on_inbox_read(turn, result),
            Ask::Subscribe { logs } => self.on_subscribed(turn, logs, result),
            Ask::Append { log, epoch, row, message } => self.on_appended(turn, (log, epoch), row, message, result),
            Ask::Commit { log, epoch } => self.on_committed(turn, log, epoch, result),
            Ask::Repost { log, commit } => self.on_reposted(turn, log, commit, result),
            Ask::Remake { log } => self.on_remade(turn, log, result),
            Ask::Create { log, intent } => self.on_created(turn, log, intent, result),
            Ask::LookUp { intent, address } => self.on_looked_up(turn, intent, &address, result),
            Ask::Claim { intent, address, device } => self.on_claimed(turn, intent, &address, device, result),
            Ask::Deposit { row } => self.on_deposited(turn, row, result),
            Ask::JoinLookUp { log } => self.on_join_looked_up(turn, log, result),
            Ask::Link(step) => self.on_link_step(turn, step, result),
            Ask::Recover(step) => self.on_recovered(turn, step, result),
            Ask::RejoinLookUp { log, address, round } => self.on_rejoin_looked_up(turn, (log, round), &address, result),
            Ask::Signal { command } => {
                self.on_signalled(turn, command, &result);
                Ok(())
            }
            Ask::Ignored => Ok(()),
        }
    }

    fn transfer(&mut self, turn: &mut Turn<'_>, id: TransferId, state: TransferState) -> Done {
        if let TransferState::Progress(_) = state {
            return Ok(());
        }
        match self.moving.remove(&id) {
            Some(Moving::Upload { blob }) => self.on_uploaded(turn, blob, state),
            Some(Moving::Tree { conversation, blob }) => self.on_tree(turn, conversation, blob, state),
            Some(Moving::History { id, number }) => self.on_history(turn, id, number, state),
            Some(Moving::Backup(part)) => self.on_fetched(turn, part, state),
            Some(Moving::Picture { conversation, hash, period }) => {
                self.on_picture(turn, (conversation, hash, period), state)?;
                self.report_caught_up(turn)
            }
            None => Ok(()),
        }
    }

    /// Sends a request and remembers what it is for.
    fn ask(&mut self, turn: &mut Turn<'_>, route: Route, body: Request, ask: Ask) {
        let id = RequestId(self.number());
        self.asked.insert(id, ask);
        turn.output(Output::Request { id, route, body });
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A connection of its own for one errand at a relay.
    fn errand(&mut self, relay: &RelayName) -> Route {
        Route { relay: relay.clone(), lane: Lane::Errand(self.number()) }
    }

    fn move_blob(&mut self, turn: &mut Turn<'_>, relay: RelayName, job: Job, moving: Moving) {
        let id = TransferId(self.number());
        self.moving.insert(id, moving);
        turn.output(Output::Transfer { id, relay, job });
    }

    /// Runs `work` with a conversation's group; `None` if this device has none. The group is written when the turn ends.
    fn with_group<T>(
        &mut self,
        turn: &mut Turn<'_>,
        id: LogId,
        work: impl FnOnce(&mut Self, &mut Turn<'_>, &mut Group) -> Done<T>,
    ) -> Done<Option<T>> {
        let group = match self.groups.remove(&id) {
            Some(group) => Some(group),
            None => Group::load(&turn.mls, id)?,
        };
        let Some(mut group) = group else { return Ok(None) };
        turn.touch(id);
        let result = work(self, turn, &mut group);
        self.groups.insert(id, group);
        result.map(Some)
    }

    /// The key pair that opens the group's current epoch at its relay.
    fn delivery_key(turn: &Turn<'_>, group: &Group, relay: &RelayName) -> Done<EpochKey> {
        Ok(EpochKey::from_seed(&*group.secret(&turn.mls, Derive::Delivery, relay)?))
    }

    /// The route of a conversation's log.
    fn logs_route(conversation: &Conversation) -> Route {
        Route { relay: conversation.relay.clone(), lane: Lane::Logs }
    }
}
