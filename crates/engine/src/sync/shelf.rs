//! Backups on the account's relay (protocol rule 16): sets of chunks go out as blobs, one after the other, and behind them the head that says
//! where they are.
//!
//! What always holds: a chunk is walked, sealed and put among the uploads in one transaction with the place that comes next, so that no number
//! is sealed twice and a program that dies goes on where it was; the head goes out once the relay has all chunks; a set's secret is forgotten
//! with the transaction that ends it, so that a thief of the device opens none that were made. A set goes on from the one before only where
//! nothing says that the relay may have lost something of it.

use std::collections::BTreeSet;

use api::{Kind, Problem, RelayBackup};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use wire::{BlobId, UnixMillis};

use super::backup::{KEY, Key, LAST, Last};
use super::{Done, State, Turn};
use crate::archive::{self, Chunk, Item, Secret};
use crate::backup;
use crate::db::archive::{self as rows, Place};
use crate::db::outbox::{self, Upload};
use crate::db::{self, backed_up};
use crate::formats;
use crate::identity::Me;
use crate::io::{CommandId, Lane, Route, TransferFailure};
use crate::shelf::{Before, ByteVec32, Set, Slot, day};

const META: &str = "backup on the relay";
const DAY_MS: u64 = 86_400_000;
/// How old a full set gets at most where the relay keeps blobs for longer than three times that.
const RENEW_MS: u64 = 30 * DAY_MS;
/// Before it is tried again by itself after a refusal.
const AGAIN_MS: u64 = DAY_MS;

/// What is kept of backups on the relay.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    /// A backup is made each day.
    daily: bool,
    /// When the next is due by itself.
    due: u64,
    /// The last place that a head was sent to.
    slot: Option<Slot>,
    /// The sets that the newest backup is made of; `None` if the next set has to be full.
    line: Option<Line>,
    /// When the last set was complete.
    made: Option<u64>,
    run: Option<Run>,
}

/// A full set and those that go on from it.
#[derive(Clone, Serialize, Deserialize)]
struct Line {
    begun: u64,
    full_bytes: u64,
    more_bytes: u64,
    sets: u32,
    newest: Before,
    /// The end of the walk of the newest.
    place: Place,
    /// The oldest row of messages then.
    first: i64,
}

/// A set under way.
#[derive(Clone, Serialize, Deserialize)]
struct Run {
    secret: [u8; 32],
    full: bool,
    begun: u64,
    next: u64,
    place: Place,
    first: i64,
    messages: u64,
    total: u64,
    bytes: u64,
    to: i64,
    head: Option<Before>,
}

/// What is known in memory.
#[derive(Default)]
pub(super) struct ShelfRun {
    /// Something is under way.
    active: bool,
    /// When the next backup is due by itself.
    due: Option<UnixMillis>,
    uploading: BTreeSet<BlobId>,
    /// Who waits for a backup that holds what was there then.
    commands: Vec<(CommandId, UnixMillis)>,
}

impl ShelfRun {
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let kept = db::meta::<Kept>(db, META)?.unwrap_or_default();
        let due = kept.daily.then_some(UnixMillis(kept.due));
        Ok(Self { active: kept.run.is_some(), due, ..Self::default() })
    }

    /// This blob is part of a backup.
    pub(super) fn owns(&self, blob: &BlobId) -> bool {
        self.uploading.contains(blob)
    }
}

/// What is known of the backup on the relay.
pub(super) fn view(db: &Connection) -> rusqlite::Result<Option<RelayBackup>> {
    let Some(kept) = db::meta::<Kept>(db, META)? else { return Ok(None) };
    Ok(Some(RelayBackup {
        daily: kept.daily,
        made: kept.made,
        sets: kept.line.as_ref().map_or(0, |line| line.sets),
        bytes: kept.line.as_ref().map_or(0, |line| line.full_bytes + line.more_bytes),
        under_way: kept.run.is_some(),
    }))
}

impl State {
    /// A person wants a backup on the relay, now.
    pub(super) fn back_up_to_relay(&mut self, turn: &mut Turn<'_>, command: CommandId) -> Done<Result<(), Problem>> {
        let mut kept = match self.may_shelve(turn)? {
            Ok(kept) => kept,
            Err(problem) => return Ok(Err(problem)),
        };
        if kept.run.is_none() {
            if Slot::next(kept.slot, turn.now.0).is_none() {
                return Ok(Err(Problem::new(
                    Kind::Refused,
                    "Today's backups on the relay are all used up.",
                    "There are eight a day, so that a restore finds the newest quickly.",
                    "Make one into a file (backup create), or try again tomorrow.",
                )));
            }
            self.begin_set(turn, &mut kept)?;
        }
        self.shelf.commands.push((command, turn.now));
        self.wait(command, super::waits::WaitFor { by_hand: true, ..Default::default() });
        Ok(Ok(()))
    }

    /// A backup each day, or none by itself any more.
    pub(super) fn relay_backups(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        daily: bool,
    ) -> Done<Result<(), Problem>> {
        let mut kept = match (self.may_shelve(turn)?, daily) {
            (Ok(kept), _) => kept,
            (Err(problem), true) => return Ok(Err(problem)),
            (Err(_), false) => db::meta::<Kept>(turn.db, META)?.unwrap_or_default(),
        };
        kept.daily = daily;
        kept.due = kept.made.map_or(turn.now.0, |made| made.saturating_add(DAY_MS));
        db::set_meta(turn.db, META, &kept)?;
        self.shelf.due = daily.then_some(UnixMillis(kept.due));
        self.wait(command, Default::default());
        Ok(Ok(()))
    }

    fn may_shelve(&self, turn: &Turn<'_>) -> Done<Result<Kept, Problem>> {
        if self.me.is_none() {
            return Ok(Err(super::commands::not_registered()));
        }
        let key = db::meta::<Key>(turn.db, KEY)?;
        if key.and_then(|key| key.shelf).is_none() {
            return Ok(Err(super::backup::no_key()));
        }
        if self.clock_is_off() {
            return Ok(Err(Problem::new(
                Kind::Local,
                "This device's clock and the relay's differ by more than an hour.",
                "Backups on the relay are found by the day that they were made on.",
                "Set the clock, then try again.",
            )));
        }
        Ok(Ok(db::meta::<Kept>(turn.db, META)?.unwrap_or_default()))
    }

    /// Another recovery key: what there is opens with the old one only.
    pub(super) fn shelf_is_another(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(mut kept) = db::meta::<Kept>(turn.db, META)? else { return Ok(()) };
        (kept.line, kept.slot) = (None, None);
        kept.made = None;
        if kept.run.is_some() {
            self.begin_set(turn, &mut kept)?;
        }
        Ok(db::set_meta(turn.db, META, &kept)?)
    }

    /// The relay may have lost what it had.
    pub(super) fn shelf_is_lost(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(mut kept) = db::meta::<Kept>(turn.db, META)? else { return Ok(()) };
        kept.line = None;
        if kept.daily {
            kept.due = turn.now.0;
            self.shelf.due = Some(turn.now);
        }
        if kept.run.is_some() {
            self.begin_set(turn, &mut kept)?;
        }
        Ok(db::set_meta(turn.db, META, &kept)?)
    }

    /// The clock was set back.
    pub(super) fn shelf_set_back(&mut self, turn: &mut Turn<'_>, back: db::clock::Back) -> Done {
        self.shelf.commands.iter_mut().for_each(|(_, since)| back.set(since));
        let Some(mut kept) = db::meta::<Kept>(turn.db, META)? else { return Ok(()) };
        let (line, run) = (kept.line.as_mut().map(|line| &mut line.begun), kept.run.as_mut().map(|run| &mut run.begun));
        let all = [Some(&mut kept.due), kept.made.as_mut(), line, run];
        all.into_iter().flatten().for_each(|at| back.set_ms(at));
        self.shelf.due = kept.daily.then_some(UnixMillis(kept.due));
        Ok(db::set_meta(turn.db, META, &kept)?)
    }

    /// Begins a set: full, if there is none to go on from, if it is old, or if what goes on from it has become as large as it is.
    fn begin_set(&mut self, turn: &mut Turn<'_>, kept: &mut Kept) -> Done {
        let first = backed_up::first(turn.db)?;
        let life = RENEW_MS.min(self.blobs_live_ms() / 3);
        let goes_on = |line: &&Line| {
            line.begun.saturating_add(life) > turn.now.0 && line.more_bytes < line.full_bytes && line.first <= first
        };
        let line = kept.line.as_ref().filter(goes_on);
        let place = match line {
            Some(line) => Place::since(&line.place, turn.now.0),
            None => {
                backed_up::forget(turn.db)?;
                Place::begin(turn.db, turn.now.0)?
            }
        };
        let secret = turn.random();
        kept.run = Some(Run {
            secret,
            full: line.is_none(),
            begun: turn.now.0,
            next: 0,
            place,
            first,
            messages: 0,
            total: rows::count(turn.db)?,
            bytes: 0,
            to: turn.db.query_row("SELECT coalesce(max(n), 0) FROM messages", [], |row| row.get(0))?,
            head: None,
        });
        db::set_meta(turn.db, META, kept)?;
        self.shelf.active = true;
        self.shelf.uploading.clear();
        Ok(())
    }

    /// How long the relay keeps blobs, if it has said so; else as relays are set by default.
    fn blobs_live_ms(&self) -> u64 {
        let route = self.me.as_ref().map(|me| Route { relay: me.address.relay().clone(), lane: Lane::Account });
        let link = route.and_then(|route| self.links.get(&route));
        link.map_or(90 * DAY_MS, |link| link.hello.limits.commit_retention_ms)
    }

    /// Moves a set on that is under way, and begins one that is due.
    pub(super) fn drive_shelf(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(me) = self.me.as_ref().filter(|me| me.published() && !me.revoked()) else { return Ok(()) };
        let relay = me.address.relay().to_string();
        if let Some(due) = self.shelf.due.filter(|_| !self.shelf.active) {
            if due > turn.now {
                turn.wake_at(due);
                return Ok(());
            }
            if !self.account.authenticated {
                return Ok(());
            }
            let Ok(mut kept) = self.may_shelve(turn)? else {
                self.shelf.due = Some(turn.now.plus(AGAIN_MS));
                return Ok(());
            };
            self.begin_set(turn, &mut kept)?;
        }
        // Places in a log that is being given back to its relay are about to change.
        if !self.shelf.active || !self.healing.is_empty() {
            return Ok(());
        }
        let (Some(mut kept), Some(key)) = (db::meta::<Kept>(turn.db, META)?, db::meta::<Key>(turn.db, KEY)?) else {
            return Ok(());
        };
        let (Some(mut run), Some(shelf)) = (kept.run.take(), key.shelf.clone()) else {
            self.shelf.active = false;
            return Ok(());
        };
        let secret = Secret(run.secret);
        let under_way = match (&run.head, run.next.checked_sub(1)) {
            (Some(head), _) => Some(shelf.blob(head.slot)),
            (None, Some(last)) => Some(secret.blob(last)),
            (None, None) => None,
        };
        if let Some(blob) = under_way {
            if outbox::has_upload(turn.db, &blob)? {
                self.shelf.uploading.insert(blob);
                return Ok(());
            }
            self.shelf.uploading.remove(&blob);
        }
        let upload = if let Some(head) = run.head.clone() {
            return self.set_is_complete(turn, kept, run, head);
        } else if run.place.is_over() {
            let Some(slot) = Slot::next(kept.slot, turn.now.0) else {
                turn.wake_at(UnixMillis((day(turn.now.0) + 1) * DAY_MS));
                return Ok(());
            };
            let before = kept.line.as_ref().filter(|_| !run.full).map(|line| line.newest.clone());
            let set = Set { slot, chunks: run.next, before };
            let Some(body) = self.head_of(turn, &key, &run, set)? else { return Ok(()) };
            run.head = Some(Before { slot, hash: ByteVec32(formats::hash(&body)) });
            kept.slot = Some(slot);
            Upload { blob: shelf.blob(slot), relay, secret: shelf.upload(slot), body }
        } else {
            let chunk = next_chunk(turn, &mut run, self.options.history_chunk)?;
            let number = chunk.number;
            Upload { blob: secret.blob(number), relay, secret: secret.upload(number), body: secret.seal(&chunk) }
        };
        run.bytes += upload.body.len() as u64;
        outbox::push_upload(turn.db, &upload)?;
        self.shelf.uploading.insert(upload.blob);
        let what = format!("{} of {} messages are at the relay", run.messages, run.total.max(run.messages));
        for (command, _) in &self.shelf.commands {
            turn.event(api::Event::Progress { command: *command, what: what.clone() });
        }
        kept.run = Some(run);
        db::set_meta(turn.db, META, &kept)?;
        self.drive_uploads(turn)
    }

    /// The head of a set whose chunks are all at the relay.
    fn head_of(&self, turn: &mut Turn<'_>, key: &Key, run: &Run, set: Set) -> Done<Option<Vec<u8>>> {
        let Some(me) = &self.me else { return Ok(None) };
        let mut head = super::backup::head(turn, me, &Secret(run.secret), run.begun)?;
        head.set = Some(set);
        let bytes = backup::begin(&key.public, &head, &mut turn.rng);
        bytes.map(Some).map_err(|_| crate::EngineError::Inconsistent("recovery key"))
    }

    /// The relay has all of a set.
    fn set_is_complete(&mut self, turn: &mut Turn<'_>, mut kept: Kept, run: Run, head: Before) -> Done {
        let line = match kept.line.take().filter(|_| !run.full) {
            Some(line) => Line {
                more_bytes: line.more_bytes + run.bytes,
                sets: line.sets + 1,
                newest: head,
                place: run.place,
                ..line
            },
            None => Line {
                begun: run.begun,
                full_bytes: run.bytes,
                more_bytes: 0,
                sets: 1,
                newest: head,
                place: run.place,
                first: run.first,
            },
        };
        kept.line = Some(line);
        kept.made = Some(run.begun);
        kept.due = run.begun.saturating_add(DAY_MS);
        db::set_meta(turn.db, META, &kept)?;
        let account = self.me.as_ref().is_some_and(Me::certifies);
        let messages = rows::count(turn.db)?;
        db::set_meta(turn.db, LAST, &Last { made: run.begun, messages, to: run.to, account })?;
        self.shelf.active = false;
        self.shelf.due = kept.daily.then_some(UnixMillis(kept.due));
        if let Some(due) = self.shelf.due {
            turn.wake_at(due);
        }
        for (command, since) in std::mem::take(&mut self.shelf.commands) {
            if since <= UnixMillis(run.begun) || Slot::next(kept.slot, turn.now.0).is_none() {
                self.settle(command);
            } else {
                // This set was begun before it was asked for.
                self.shelf.commands.push((command, since));
            }
        }
        if self.shelf.commands.is_empty() {
            return Ok(());
        }
        self.begin_set(turn, &mut kept)?;
        self.drive_shelf(turn)
    }

    /// The relay does not take a part of a backup, and never will.
    pub(super) fn shelf_refused(&mut self, turn: &mut Turn<'_>, blob: &BlobId, failure: TransferFailure) -> Done {
        debug_assert!(failure != TransferFailure::Unreachable);
        outbox::remove_upload(turn.db, blob)?;
        self.shelf.uploading.remove(blob);
        self.shelf.active = false;
        if let Some(mut kept) = db::meta::<Kept>(turn.db, META)? {
            (kept.run, kept.line) = (None, None);
            kept.due = turn.now.0.saturating_add(AGAIN_MS);
            self.shelf.due = kept.daily.then_some(UnixMillis(kept.due));
            db::set_meta(turn.db, META, &kept)?;
        }
        for (command, _) in std::mem::take(&mut self.shelf.commands) {
            let problem = Problem::new(
                Kind::Refused,
                "The relay did not take the backup.",
                "It has no room for it, or takes no blobs of this size.",
                "Make one into a file (backup create), or ask whoever runs the relay.",
            );
            self.fail(turn, command, problem);
        }
        Ok(())
    }
}

/// Walks on to the next chunk of a set.
fn next_chunk(turn: &Turn<'_>, run: &mut Run, budget: usize) -> Done<Chunk> {
    let mut items = rows::walk(turn.db, &mut run.place, turn.now.0, budget)?;
    if run.place.is_waiting() {
        // Nobody has to come in anywhere.
        run.place.next();
    }
    if run.place.is_over() && !run.full {
        items.extend(backed_up::vanishing(turn.db)?);
    }
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        // Ticks hang on places, as in files.
        if !matches!(item, Item::Ticks(_)) && backed_up::is_new(turn.db, &item)? {
            kept.push(item);
        }
    }
    run.messages += kept.iter().filter(|item| item.is_written()).count() as u64;
    let (number, last) = (run.next, run.place.is_over());
    run.next += 1;
    Ok(Chunk { version: archive::VERSION, number, last, total: run.total, items: kept })
}
