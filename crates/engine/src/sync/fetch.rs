//! A backup on a relay is found and fetched (protocol rule 16): the newest head, those that it goes on from, and all of their chunks.
//!
//! What always holds: nothing of it counts before all of it is here, opens, and fits together; what is missing, altered, newer or of another
//! account is told apart and changes nothing. All of it lives in memory: a program that dies begins anew. Deliberately absent: taking it in
//! (`sync::backup`, `sync::recovery`).

use std::collections::BTreeMap;

use api::{Event, Kind, Problem};
use wire::{Address, Bytes, UnixMillis};

use super::{Done, Moving, State, Turn};
use crate::archive::{Chunk, ChunkError, MAX_CHUNK};
use crate::backup::{self, Backup, FileError, Head, RecoveryKey};
use crate::formats;
use crate::identity::Me;
use crate::io::{CommandId, Job, TransferFailure, TransferState};
use crate::shelf::{self, Before, DAYS, SLOTS, Shelf, Slot, day};

/// The largest head, in bytes: it holds up to 4 MiB of records.
const MAX_HEAD: u64 = 5 * 1024 * 1024;
/// Sets that one backup is made of, at most: eight a day for as long as relays keep blobs.
const MAX_SETS: usize = 1_024;
/// Before a relay that is out of reach is tried again, and how often.
const AGAIN_MS: u64 = 2_000;
const TRIES: u32 = 30;

/// A backup that is being fetched.
pub(super) struct Fetch {
    command: CommandId,
    key: RecoveryKey,
    shelf: Shelf,
    address: Address,
    choices: (bool, bool),
    step: Step,
    /// The sets so far, the newest first.
    sets: Vec<(Head, Vec<Chunk>)>,
    tries: u32,
    pub(super) again: Option<UnixMillis>,
}

enum Step {
    /// Heads of a day are looked for: what has come of them.
    Look { day: u64, first: u64, found: BTreeMap<u8, Option<Bytes>> },
    /// The head that the last set names.
    Head(Before),
    /// The chunks of the set of this number.
    Chunks(usize),
}

/// What a part of a backup is that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Head(Slot),
    Chunk { set: usize, number: u64 },
}

impl State {
    /// A person wants the backup that is at the relay of an address, or at the own one.
    pub(super) fn restore_from_relay(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        (key, address): (&str, Option<&str>),
        choices: (bool, bool),
    ) -> Done<Result<(), Problem>> {
        if self.me.as_ref().is_some_and(Me::revoked) {
            return Ok(Err(super::commands::revoked()));
        }
        let Ok(key) = RecoveryKey::parse(key) else { return Ok(Err(super::backup::not_a_key())) };
        let address = match (address, &self.me) {
            (Some(text), _) => match super::resolve::address(text) {
                Ok(address) => address,
                Err(problem) => return Ok(Err(problem)),
            },
            (None, Some(me)) => me.address.clone(),
            (None, None) => return Ok(Err(no_address())),
        };
        // The person has looked at what it is and agrees.
        if let Some((of, fetched, backup)) = self.fetched.take()
            && of == address
            && fetched.is(&key)
        {
            return self.take_backup(turn, command, Ok(backup), choices);
        }
        if let Some(before) = self.fetch.take() {
            self.fail(turn, before.command, Problem::new(Kind::Conflict, "This was begun anew.", "", ""));
        }
        self.moving.retain(|_, moving| !matches!(moving, Moving::Backup(_)));
        let shelf = key.shelf();
        // A clock that is behind by less than a day finds what there is.
        let first = day(turn.now.0) + 1;
        let step = Step::Look { day: first, first, found: BTreeMap::new() };
        self.fetch =
            Some(Fetch { command, key, shelf, address, choices, step, sets: Vec::new(), tries: 0, again: None });
        self.wait(command, super::waits::WaitFor { by_hand: true, ..Default::default() });
        turn.event(Event::Progress { command, what: "looking for the newest backup".into() });
        self.drive_fetch(turn)?;
        Ok(Ok(()))
    }

    /// Asks for what is wanted next and is not on its way.
    pub(super) fn drive_fetch(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        if self.moving.values().any(|moving| matches!(moving, Moving::Backup(_))) {
            return Ok(());
        }
        match fetch.again {
            Some(at) if at > turn.now => {
                turn.wake_at(at);
                return Ok(());
            }
            _ => fetch.again = None,
        }
        let mut wanted = Vec::new();
        match &fetch.step {
            Step::Look { day, found, .. } => {
                for number in (0..SLOTS).filter(|number| !found.contains_key(number)) {
                    let slot = Slot { day: *day, number };
                    wanted.push((Part::Head(slot), fetch.shelf.blob(slot), MAX_HEAD));
                }
            }
            Step::Head(before) => wanted.push((Part::Head(before.slot), fetch.shelf.blob(before.slot), MAX_HEAD)),
            Step::Chunks(set) => {
                if let Some((head, chunks)) = fetch.sets.get(*set)
                    && let Ok(secret) = head.secret()
                {
                    let number = chunks.len() as u64;
                    wanted.push((Part::Chunk { set: *set, number }, secret.blob(number), MAX_CHUNK));
                }
            }
        }
        let relay = fetch.address.relay().clone();
        for (part, blob, max_bytes) in wanted {
            self.move_blob(turn, relay.clone(), Job::Download { blob, max_bytes }, Moving::Backup(part));
        }
        Ok(())
    }

    /// A part has come, or has not.
    pub(super) fn on_fetched(&mut self, turn: &mut Turn<'_>, part: Part, state: TransferState) -> Done {
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        let bytes = match state {
            TransferState::Done(bytes) => Some(bytes),
            TransferState::Failed(TransferFailure::Unreachable) => {
                fetch.again = Some(turn.now.plus(AGAIN_MS));
                fetch.tries += 1;
                let relay = fetch.address.relay().to_string();
                if fetch.tries > TRIES {
                    return self.fetch_failed(turn, out_of_reach(&relay));
                }
                if fetch.tries == 1 {
                    turn.event(Event::Notice { conversation: None, problem: not_reached_yet(&relay) });
                }
                turn.wake_at(turn.now.plus(AGAIN_MS));
                return Ok(());
            }
            TransferState::Failed(TransferFailure::NotFound) => None,
            TransferState::Progress(_) => return Ok(()),
            TransferState::Failed(TransferFailure::Refused) => {
                return self.fetch_failed(turn, damaged(FileError::Damaged));
            }
        };
        fetch.tries = 0;
        let next = match (part, &mut fetch.step) {
            (Part::Head(slot), Step::Look { day, found, .. }) if slot.day == *day => {
                found.insert(slot.number, bytes);
                if found.len() == usize::from(SLOTS) { fetch.looked() } else { Ok(()) }
            }
            (Part::Head(slot), Step::Head(before)) if slot == before.slot => {
                let before = before.clone();
                match bytes {
                    Some(bytes) if formats::hash(&bytes) == before.hash.0 => fetch.take_head(slot, &bytes),
                    Some(_) => Err(damaged(FileError::Damaged)),
                    None => Err(gap()),
                }
            }
            (Part::Chunk { set, number }, Step::Chunks(at)) if set == *at => match bytes {
                Some(bytes) => fetch.take_chunk(set, number, &bytes),
                None => Err(gap()),
            },
            _ => Ok(()),
        };
        if let Err(problem) = next {
            return self.fetch_failed(turn, problem);
        }
        let (all, have) = fetch.parts();
        if all > 0 {
            let what = format!("{have} of {all} parts are here");
            turn.event(Event::Progress { command: fetch.command, what });
        }
        if all > 0 && have == all { self.fetched(turn) } else { self.drive_fetch(turn) }
    }

    /// All of it is here.
    fn fetched(&mut self, turn: &mut Turn<'_>) -> Done {
        let Some(fetch) = self.fetch.take() else { return Ok(()) };
        let Fetch { command, key, address, choices, sets, .. } = fetch;
        let mut heads = Vec::new();
        let mut chunks = Vec::new();
        for (head, set) in sets {
            heads.push(head);
            chunks.push(set);
        }
        chunks.reverse();
        if planted!(BackupOnlyFull) {
            chunks.truncate(1);
        }
        let head = if heads.is_empty() { return Ok(()) } else { heads.swap_remove(0) };
        if head.address != address.as_str() {
            let problem = Problem::new(
                Kind::Forbidden,
                "This backup is of another account.",
                format!("You asked for that of {address}."),
                "Give the address whose backup it is.",
            );
            self.fail(turn, command, problem);
            return Ok(());
        }
        let backup = Backup { head, chunks: vec![shelf::merged(chunks)] };
        if self.me.is_none() && !choices.0 {
            self.fetched = Some((address, key, backup.clone()));
        }
        if let Err(problem) = self.take_backup(turn, command, Ok(backup), choices)? {
            self.fail(turn, command, problem);
        }
        Ok(())
    }

    fn fetch_failed(&mut self, turn: &mut Turn<'_>, problem: Problem) -> Done {
        self.moving.retain(|_, moving| !matches!(moving, Moving::Backup(_)));
        if let Some(fetch) = self.fetch.take() {
            self.fail(turn, fetch.command, problem);
        }
        Ok(())
    }
}

impl Fetch {
    /// All places of a day were looked at: the last that is taken is the newest, else the day before is next.
    fn looked(&mut self) -> Result<(), Problem> {
        let Step::Look { day, first, found } = &mut self.step else { return Ok(()) };
        let newest = found.iter().rev().find_map(|(number, bytes)| bytes.clone().map(|bytes| (*number, bytes)));
        if let Some((number, bytes)) = newest {
            let slot = Slot { day: *day, number };
            return self.take_head(slot, &bytes);
        }
        if *day == 0 || *day + DAYS < *first {
            return Err(Problem::new(
                Kind::NotFound,
                format!("There is no backup that this key opens at {}.", self.address.relay()),
                "None was made there with this recovery key, or so long ago that the relay keeps it no longer.",
                "Look for the key of the device that made it, or restore from a file.",
            ));
        }
        *day -= 1;
        found.clear();
        Ok(())
    }

    fn take_head(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), Problem> {
        let head = match backup::open_head(&self.key, bytes) {
            Ok((head, [])) => head,
            Ok(_) => return Err(damaged(FileError::Damaged)),
            Err(error) => return Err(damaged(error)),
        };
        let Some(set) = head.set.clone() else { return Err(damaged(FileError::Damaged)) };
        // The same account throughout, and the head says itself where it stands; sets go on from earlier ones only.
        let goes_back = self.sets.last().is_none_or(|(after, _)| {
            let of_one = after.address == head.address && after.account_key == head.account_key;
            let place = |slot: Slot| (slot.day, slot.number);
            of_one && after.set.as_ref().is_some_and(|after| place(after.slot) > place(slot))
        });
        if set.slot != slot || set.chunks == 0 || head.secret().is_err() || !goes_back || self.sets.len() >= MAX_SETS {
            return Err(damaged(FileError::Damaged));
        }
        self.sets.push((head, Vec::new()));
        self.step = match set.before {
            Some(before) => Step::Head(before),
            None => Step::Chunks(0),
        };
        Ok(())
    }

    fn take_chunk(&mut self, set: usize, number: u64, bytes: &[u8]) -> Result<(), Problem> {
        let Some((head, chunks)) = self.sets.get_mut(set) else { return Ok(()) };
        if number != chunks.len() as u64 {
            return Ok(());
        }
        let secret = head.secret().map_err(damaged)?;
        let chunk = secret.open(number, bytes).map_err(|error| match error {
            ChunkError::Damaged => damaged(FileError::Damaged),
            ChunkError::Newer(_) => damaged(FileError::Newer),
        })?;
        let of = head.set.as_ref().map_or(0, |set| set.chunks);
        if chunk.last != (number + 1 == of) {
            return Err(damaged(FileError::Damaged));
        }
        let last = chunk.last;
        chunks.push(chunk);
        if last {
            self.step = Step::Chunks(set + 1);
        }
        Ok(())
    }

    /// How many chunks there are, once all heads are known, and how many of them are here.
    fn parts(&self) -> (u64, u64) {
        if !matches!(self.step, Step::Chunks(_)) {
            return (0, 0);
        }
        let all = self.sets.iter().filter_map(|(head, _)| head.set.as_ref()).map(|set| set.chunks);
        (all.fold(0, u64::saturating_add), self.sets.iter().map(|(_, chunks)| chunks.len() as u64).sum())
    }
}

fn damaged(error: FileError) -> Problem {
    match error {
        FileError::Newer => super::backup::unreadable(error),
        _ => Problem::new(
            Kind::Local,
            "The backup at the relay is damaged.",
            "Some of it is not what was written. Nothing of it was taken in.",
            "Restore from a file, if you have one, and tell whoever runs the relay.",
        ),
    }
}

fn gap() -> Problem {
    Problem::new(
        Kind::Local,
        "A part of the backup is no longer at the relay.",
        "It has lost it, or it is so old that it was cleared away. Nothing of it was taken in.",
        "Restore from a file, if you have one; else link this device to one that you still have.",
    )
}

fn no_address() -> Problem {
    Problem::new(
        Kind::Usage,
        "Whose backup?",
        "This profile has no account yet, so that it does not know at which relay to look.",
        "Give the address of the account: name@relay.",
    )
}

/// Said once, while it is tried on.
fn not_reached_yet(relay: &str) -> Problem {
    Problem::new(
        Kind::Offline,
        format!("The relay {relay} can't be reached."),
        "",
        "It is tried again by itself. Check the network and the address.",
    )
}

fn out_of_reach(relay: &str) -> Problem {
    Problem::new(
        Kind::Offline,
        format!("The relay {relay} can't be reached."),
        "Nothing of the backup was taken in.",
        "Check the network and the address, then try again.",
    )
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::archive::{self, Item, Secret};
    use crate::shelf::{ByteVec32, Set};

    const ZERO: Slot = Slot { day: 9, number: 0 };
    const ONE: Slot = Slot { day: 9, number: 1 };

    fn fetch(key: &RecoveryKey) -> Fetch {
        Fetch {
            command: 1,
            key: key.clone(),
            shelf: key.shelf(),
            address: "alice@a.example".parse().unwrap(),
            choices: (true, false),
            step: Step::Look { day: 9, first: 10, found: BTreeMap::new() },
            sets: Vec::new(),
            tries: 0,
            again: None,
        }
    }

    fn head(key: &RecoveryKey, address: &str, set: Option<Set>) -> Vec<u8> {
        let head = Head {
            secret: vec![5; 32].into(),
            address: address.into(),
            account_key: vec![3; 32].into(),
            device: vec![4; 16].into(),
            made: 5,
            account_seed: None,
            records: None,
            set,
        };
        backup::begin(&key.public(), &head, &mut ChaCha20Rng::from_seed([1; 32])).unwrap()
    }

    fn set(slot: Slot, before: Option<(Slot, &[u8])>) -> Option<Set> {
        let before = before.map(|(slot, head)| Before { slot, hash: ByteVec32(formats::hash(head)) });
        Some(Set { slot, chunks: 2, before })
    }

    fn chunk(number: u64, last: bool, version: u8) -> Vec<u8> {
        Secret([5; 32]).seal(&Chunk { version, number, last, total: 0, items: vec![Item::ReadReceipts(true)] })
    }

    fn what(refused: Result<(), Problem>) -> String {
        refused.expect_err("it is refused").what
    }

    #[test]
    fn rule_16_a_head_that_stands_elsewhere_is_altered_or_of_another_account_is_refused() {
        let key = RecoveryKey::generate(&mut ChaCha20Rng::from_seed([2; 32]));
        let full = head(&key, "alice@a.example", set(ZERO, None));
        let next = head(&key, "alice@a.example", set(ONE, Some((ZERO, &full))));
        let damaged = "The backup at the relay is damaged.";
        // Under another name than its own: an older one that is passed off as the newest.
        assert_eq!(what(fetch(&key).take_head(ONE, &full)), damaged);
        // A file's head has no place.
        assert_eq!(what(fetch(&key).take_head(ZERO, &head(&key, "alice@a.example", None))), damaged);
        for at in (0..full.len()).step_by(97) {
            let mut altered = full.clone();
            altered[at] ^= 1;
            assert!(fetch(&key).take_head(ZERO, &altered).is_err(), "{at}");
        }
        assert_eq!(what(fetch(&key).take_head(ZERO, &[full.as_slice(), b"x"].concat())), damaged);
        let mut newer = full.clone();
        newer[15] += 1;
        assert!(what(fetch(&key).take_head(ZERO, &newer)).contains("newer version"));
        // What it goes on from is earlier, and of the same account.
        let mut fetching = fetch(&key);
        fetching.take_head(ONE, &next).unwrap();
        assert!(matches!(&fetching.step, Step::Head(before) if before.slot == ZERO));
        assert_eq!(what(fetching.take_head(ZERO, &head(&key, "bob@a.example", set(ZERO, None)))), damaged);
        assert_eq!(what(fetching.take_head(ONE, &next)), damaged);
        fetching.take_head(ZERO, &full).unwrap();
        assert_eq!((fetching.sets.len(), fetching.parts()), (2, (4, 0)));
    }

    #[test]
    fn rule_16_a_chunk_that_is_altered_ends_early_or_is_newer_is_refused() {
        let key = RecoveryKey::generate(&mut ChaCha20Rng::from_seed([2; 32]));
        let full = head(&key, "alice@a.example", set(ZERO, None));
        let mut fetching = fetch(&key);
        fetching.take_head(ZERO, &full).unwrap();
        let version = archive::VERSION;
        assert!(what(fetching.take_chunk(0, 0, &chunk(0, true, version))).contains("damaged"));
        assert!(what(fetching.take_chunk(0, 0, &chunk(1, true, version))).contains("damaged"));
        assert!(what(fetching.take_chunk(0, 0, &chunk(0, false, version + 1))).contains("newer version"));
        let mut altered = chunk(0, false, version);
        altered[20] ^= 1;
        assert!(what(fetching.take_chunk(0, 0, &altered)).contains("damaged"));
        fetching.take_chunk(0, 0, &chunk(0, false, version)).unwrap();
        assert!(what(fetching.take_chunk(0, 1, &chunk(1, false, version))).contains("damaged"));
        fetching.take_chunk(0, 1, &chunk(1, true, version)).unwrap();
        assert_eq!(fetching.parts(), (2, 2));
    }
}
