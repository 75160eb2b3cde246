//! Backups: all that a device knows beside its keys goes out in parts that a program writes into a file (`crate::backup`), and a file
//! comes back in.
//!
//! What always holds: nothing of a recovery key is kept before the person has shown that they have it, and then its public half only; a
//! file is checked to its end, and against the account, before anything of it is taken in, and it is taken in in one transaction. A backup
//! under way lives in memory: a program that dies begins anew. The account's key goes into the backups of the device that holds it, and of
//! no other.

use api::{BackupState, Binary, Event, Kind, Problem};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Done, State, Turn};
use crate::archive::{self, Chunk, Item, Secret};
use crate::backup::{self, Backup, FileError, Head, RecoveryKey};
use crate::db::archive::{self as rows, Place};
use crate::db::{self, conversations};
use crate::identity::Me;
use crate::io::CommandId;
use crate::shelf::Shelf;

pub(super) const KEY: &str = "backup key";
pub(super) const LAST: &str = "last backup";

/// What is kept of the recovery key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) public: Vec<u8>,
    made: u64,
    /// Where backups on a relay stand. A key of before there were any has none.
    #[serde(default)]
    pub(super) shelf: Option<Shelf>,
}

/// The last backup that is safe on a disk.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Last {
    pub(super) made: u64,
    pub(super) messages: u64,
    /// The number of the newest row of messages then.
    pub(super) to: i64,
    /// The account's key is in it.
    #[serde(default)]
    pub(super) account: bool,
}

/// What is known in memory of backups.
#[derive(Default)]
pub(super) struct BackupRun {
    /// A key that was shown, and its last group.
    shown: Option<(Key, Zeroizing<String>)>,
    writing: Option<Writing>,
    /// Written to its end, not yet said to be on a disk.
    written: Option<Last>,
}

struct Writing {
    command: CommandId,
    secret: Secret,
    place: Place,
    next: u64,
    total: u64,
    last: Last,
}

/// What is known of backups.
pub(crate) fn state(db: &Connection, me: &Me) -> rusqlite::Result<BackupState> {
    let (key, last): (Option<Key>, Option<Last>) = (db::meta(db, KEY)?, db::meta(db, LAST)?);
    // What a restore or another device's history has brought stands before the first row.
    let since = db.query_row(
        "SELECT count(*) FROM messages WHERE hidden = 0 AND n > ?1",
        [last.as_ref().map_or(i64::MIN, |last| last.to)],
        |row| db::uint(row, 0),
    )?;
    Ok(BackupState {
        key_made: key.map(|key| key.made),
        made: last.as_ref().map(|last| last.made),
        messages: last.as_ref().map_or(0, |last| last.messages),
        since,
        holds_account: last.map(|last| last.account),
        can_hold_account: me.certifies(),
        relay: super::shelf::view(db)?,
    })
}

impl State {
    /// A fresh key, shown once.
    pub(super) fn make_recovery_key(&mut self, turn: &mut Turn<'_>, command: CommandId) -> Done<Result<(), Problem>> {
        let key = RecoveryKey::generate(&mut turn.rng);
        let text = key.text();
        let last = backup::letters(text.rsplit('-').next().unwrap_or_default());
        self.backup.shown = Some((Key { public: key.public(), made: turn.now.0, shelf: Some(key.shelf()) }, last));
        turn.event(Event::RecoveryKey { command, key: text.to_string() });
        self.wait(command, Default::default());
        Ok(Ok(()))
    }

    /// The person has it.
    pub(super) fn keep_recovery_key(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        typed: &str,
    ) -> Done<Result<(), Problem>> {
        let Some((key, last)) = &self.backup.shown else {
            return Ok(Err(Problem::new(
                Kind::Conflict,
                "No recovery key waits to be kept.",
                "A key that was shown is forgotten when the program ends.",
                "Make a new one.",
            )));
        };
        if *backup::letters(typed) != **last {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "That is not the key's last group.",
                "Nothing was changed.",
                "Look at what you wrote down, and make a new key if it is not complete.",
            )));
        }
        db::set_meta(turn.db, KEY, key)?;
        self.backup.shown = None;
        self.shelf_is_another(turn)?;
        self.wait(command, Default::default());
        Ok(Ok(()))
    }

    /// Begins a backup. Its parts follow, one each turn, so that nothing else has to wait for all of it.
    pub(super) fn begin_backup(&mut self, turn: &mut Turn<'_>, command: CommandId) -> Done<Result<(), Problem>> {
        let Some(me) = &self.me else { return Ok(Err(super::commands::not_registered())) };
        let Some(key) = db::meta::<Key>(turn.db, KEY)? else {
            return Ok(Err(no_key()));
        };
        if self.backup.writing.is_some() {
            return Ok(Err(Problem::new(Kind::Conflict, "A backup is being made already.", "", "Wait for its end.")));
        }
        let secret = Secret(turn.random());
        let head = head(turn, me, &secret, turn.now.0)?;
        let account = me.certifies();
        let bytes = backup::begin(&key.public, &head, &mut turn.rng)
            .map_err(|_| crate::EngineError::Inconsistent("recovery key"))?;
        let total = rows::count(turn.db)?;
        turn.event(Event::BackupPart { command, bytes: Binary(bytes), messages: 0, total });
        let to = turn.db.query_row("SELECT coalesce(max(n), 0) FROM messages", [], |row| row.get(0))?;
        self.backup.writing = Some(Writing {
            command,
            secret,
            place: Place::begin(turn.db, turn.now.0)?,
            next: 0,
            total,
            last: Last { made: turn.now.0, messages: 0, to, account },
        });
        self.wait(command, super::waits::WaitFor { by_hand: true, ..Default::default() });
        Ok(Ok(()))
    }

    /// The next part of a backup under way.
    pub(super) fn drive_backup(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(writing) = &mut self.backup.writing else { return Ok(()) };
        let mut items = rows::walk(turn.db, &mut writing.place, turn.now.0, self.options.history_chunk)?;
        if writing.place.is_waiting() {
            // Nobody has to come in anywhere.
            writing.place.next();
        }
        // Ticks hang on places, which may be others by the day of a restore; how far a message has got is part of the message.
        items.retain(|item| !matches!(item, Item::Ticks(_)));
        writing.last.messages += items.iter().filter(|item| item.is_written()).count() as u64;
        let last = writing.place.is_over();
        let chunk = Chunk { version: archive::VERSION, number: writing.next, last, total: writing.total, items };
        writing.next += 1;
        let (command, messages) = (writing.command, writing.last.messages);
        let bytes = Binary(backup::framed(&writing.secret.seal(&chunk)));
        let total = writing.total.max(messages);
        turn.event(Event::BackupPart { command, bytes, messages, total });
        if last {
            self.backup.written = self.backup.writing.take().map(|writing| writing.last);
            self.settle(command);
        } else {
            turn.wake_at(turn.now);
        }
        Ok(())
    }

    /// The program has the last backup on a disk.
    pub(super) fn backup_kept(&mut self, turn: &mut Turn<'_>, command: CommandId) -> Done<Result<(), Problem>> {
        if let Some(last) = self.backup.written.take() {
            db::set_meta(turn.db, LAST, &last)?;
        }
        self.wait(command, Default::default());
        Ok(Ok(()))
    }

    /// Takes a backup in; where there is no account here yet, with the account itself.
    pub(super) fn restore(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        (key, file): (&str, &[u8]),
        choices: (bool, bool),
    ) -> Done<Result<(), Problem>> {
        if self.me.as_ref().is_some_and(Me::revoked) {
            return Ok(Err(super::commands::revoked()));
        }
        let opened = match RecoveryKey::parse(key) {
            Ok(key) => backup::open(&key, file),
            Err(_) => return Ok(Err(not_a_key())),
        };
        self.take_backup(turn, command, opened, choices)
    }

    /// Takes in what was read to its end.
    pub(super) fn take_backup(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        opened: Result<Backup, FileError>,
        choices: (bool, bool),
    ) -> Done<Result<(), Problem>> {
        // A head that names another account than its key belongs to is nobody's honest making.
        let opened = match opened.and_then(|opened| opened.head.account().map(|_| opened)) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(unreadable(error))),
        };
        let Some(me) = &self.me else { return self.begin_recovery(turn, command, opened, choices) };
        if !is_of(&opened.head, me) {
            return Ok(Err(Problem::new(
                Kind::Forbidden,
                "This backup is of another account.",
                format!("This profile is of {}.", me.address),
                "Restore it on a device of the account that it was made of.",
            )));
        }
        let (mut messages, mut new) = (0, 0);
        for chunk in &opened.chunks {
            messages += chunk.items.iter().filter(|item| item.is_written()).count() as u64;
            new += self.take_items_in(turn, &chunk.items)?;
        }
        for conversation in conversations::all(turn.db)? {
            self.conversation_changed(turn, conversation.id)?;
        }
        turn.event(Event::Restored { command, messages, new });
        self.wait(command, Default::default());
        Ok(Ok(()))
    }
}

/// What a backup says of itself.
pub(super) fn head(turn: &Turn<'_>, me: &Me, secret: &Secret, made: u64) -> Done<Head> {
    Ok(Head {
        secret: secret.0.to_vec().into(),
        address: me.address.to_string(),
        account_key: me.account_key().to_vec().into(),
        device: me.device().0.to_vec().into(),
        made,
        account_seed: me.account_seed().map(|seed| seed.to_vec().into()),
        records: me.certifies().then(|| super::restored::own_records(turn.db)).transpose()?,
        set: None,
    })
}

pub(super) fn no_key() -> Problem {
    Problem::new(
        Kind::Usage,
        "There is no recovery key yet.",
        "A backup is sealed to it, and only it opens backups.",
        "Make one first (backup key), and write it down.",
    )
}

pub(super) fn not_a_key() -> Problem {
    Problem::new(
        Kind::Usage,
        "That is not a recovery key.",
        "It has fourteen groups of four letters and digits, and a letter is wrong or missing.",
        "Compare it with what you wrote down.",
    )
}

/// Of this account: the address may have become another's.
fn is_of(head: &Head, me: &Me) -> bool {
    head.account_key.as_slice() == me.account_key() && head.address == me.address.as_str()
}

pub(super) fn unreadable(error: FileError) -> Problem {
    let (kind, what, why, next) = match error {
        FileError::NotABackup => {
            (Kind::Usage, "This file is not a backup.", "", "Name a file that `backup create` wrote.")
        }
        FileError::Newer => (
            Kind::Usage,
            "This backup was made by a newer version of Transom.",
            "",
            "Update this one, then restore again.",
        ),
        FileError::OtherKey => (
            Kind::Forbidden,
            "This recovery key does not open this backup.",
            "The backup was made with another one.",
            "Look for the key that you had when it was made.",
        ),
        FileError::Truncated => (
            Kind::Local,
            "The end of this backup is missing.",
            "It was copied or downloaded in part. Nothing of it was taken in.",
            "Copy it again from where it was kept, or take another one.",
        ),
        FileError::Damaged => (
            Kind::Local,
            "This backup is damaged.",
            "Some of it is not what was written. Nothing of it was taken in.",
            "Copy it again from where it was kept, or take another one.",
        ),
    };
    Problem::new(kind, what, why, next)
}
