//! I1 and I5: whatever is killed whenever, everybody has what was acknowledged, once, and in one order.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::processes::{Person, Relay, Seen};

/// How often people and relay are killed in [`i5_killed_clients_lose_nothing_and_show_nothing_twice`].
const ROUNDS: u64 = 24;
/// A process is killed at some time from its start to this: a command takes about as long.
const LATEST: u64 = 160;

/// `watch` prints at least three lines, also where nothing comes: two connections, and that it has caught up.
const WATCH_LINES: u64 = 4;

/// The moments that a test draws; what a failure prints first.
struct Chance(ChaCha20Rng);

impl Chance {
    fn new(of: u64) -> Self {
        let seed = std::env::var("E2E_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        Self(ChaCha20Rng::seed_from_u64(seed * 1_000 + of))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn moment(&mut self) -> Duration {
        Duration::from_millis(self.below(LATEST))
    }
}

/// Three people in a group on one relay.
fn three(temp: &Path, relay: &Relay) -> [Person; 3] {
    let people = temp.join("people");
    let all = ["alice", "bob", "carol"].map(|name| Person::new(&people, name));
    for person in &all {
        person.register(relay);
    }
    all[0].run(&["group", "create", "Crew", "bob", "carol"]);
    all[1].run(&["accept", "alice"]);
    all[2].run(&["accept", "alice"]);
    all
}

/// Everything that waits anywhere goes out, then everybody fetches it: by the protocol's rules once each is enough.
fn settle(people: &[Person]) {
    for _ in 0..2 {
        people.iter().for_each(|person| drop(person.run(&["receive"])));
    }
}

/// The promise: all see the same texts in the same order, each once, and all that was acknowledged is among them.
fn check(people: &[Person], acknowledged: &[String], tried: &BTreeSet<String>) -> Vec<Seen> {
    let all: Vec<Vec<Seen>> = people.iter().map(|person| person.texts("Crew")).collect();
    for (person, texts) in people.iter().zip(&all) {
        assert_eq!(texts, &all[0], "{} sees something else than {}", person.profile, people[0].profile);
        let different: BTreeSet<&str> = texts.iter().map(|seen| seen.text.as_str()).collect();
        assert_eq!(different.len(), texts.len(), "{} sees something twice: {texts:#?}", person.profile);
        assert!(different.iter().all(|&text| tried.contains(text)), "{} sees what nobody wrote", person.profile);
        for text in acknowledged {
            assert!(different.contains(text.as_str()), "{} lost '{text}', which was acknowledged", person.profile);
        }
        assert!(texts.is_sorted_by_key(|seen| seen.seq), "{} sees an order of its own", person.profile);
    }
    all.into_iter().next().unwrap()
}

/// Two watch, one writes, and the relay is killed ten times: before a message, in the middle of it, when it is acknowledged, and when
/// somebody sees it.
#[test]
fn i1_a_conversation_goes_on_through_ten_kills_of_the_relay() {
    let temp = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(temp.path().join("relay"));
    let people = three(temp.path(), &relay);
    let [alice, bob, carol] = &people;
    let watch = || {
        [bob, carol].map(|person| {
            // First all that is there, so that the next text that comes is a new one.
            person.run(&["receive"]);
            let mut watcher = person.begin(&["watch"]);
            watcher.event("caught_up");
            watcher
        })
    };
    let mut watchers = watch();
    let texts: Vec<String> = (0..10).map(|n| format!("message {n}")).collect();
    let mut acknowledged = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        if n == 5 {
            // New ones: who loses a relay again and again waits longer each time, by design.
            watchers.into_iter().for_each(|watcher| drop(watcher.kill()));
            watchers = watch();
        }
        match n % 5 {
            0 => {
                relay.kill_and_start_again();
                alice.run(&["send", "Crew", text]);
            }
            1 => {
                alice.run(&["send", "Crew", text]);
                relay.kill_and_start_again();
            }
            2 => {
                let sending = alice.begin(&["send", "Crew", text]);
                assert_eq!(watchers[n % 2].text().text, *text);
                relay.kill_and_start_again();
                assert_eq!(sending.end().code, Some(0));
            }
            _ => {
                let mut sending = alice.begin(&["send", "Crew", text]);
                // With the relay gone at once, the command is at some other point in its work each time.
                relay.kill();
                relay.start_again();
                sending.event("done");
                assert_eq!(sending.end().code, Some(0));
            }
        }
        acknowledged.push(text.clone());
        for (who, watcher) in watchers.iter_mut().enumerate() {
            if n % 5 == 2 && who == n % 2 {
                continue; // it has read this one already
            }
            assert_eq!(watcher.text().text, *text, "watcher {who} sees another text than the next one");
        }
    }
    for watcher in watchers {
        drop(watcher.kill());
    }
    settle(&people);
    let seen = check(&people, &acknowledged, &texts.iter().cloned().collect());
    assert_eq!(seen.into_iter().map(|seen| seen.text).collect::<Vec<_>>(), texts);
}

/// In each round somebody writes and somebody else fetches, both are killed at some moment or not at all, and so is the relay.
#[test]
fn i5_killed_clients_lose_nothing_and_show_nothing_twice() {
    let temp = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(temp.path().join("relay"));
    let people = three(temp.path(), &relay);
    let mut chance = Chance::new(5);
    let (mut acknowledged, mut tried) = (Vec::new(), BTreeSet::new());
    let mut killed = 0;
    for round in 0..ROUNDS {
        let writer = usize::try_from(chance.below(3)).unwrap();
        let reader = (writer + 1 + usize::try_from(chance.below(2)).unwrap()) % 3;
        let text = format!("round {round}");
        tried.insert(text.clone());
        let writing = people[writer].begin(&["send", "Crew", &text]);
        let is_relay_killed = chance.below(4) == 0;
        let (write, read, lines) = (chance.moment(), chance.moment(), chance.below(WATCH_LINES));
        let reader_ends = if round % 2 == 0 {
            let reading = people[reader].begin(&["receive"]);
            std::thread::spawn(move || reading.kill_after(read))
        } else {
            // Killed behind a certain line of its output: right after it has stored what that line tells of.
            let mut reading = people[reader].begin(&["watch"]);
            std::thread::spawn(move || {
                (0..lines).for_each(|_| reading.any_event());
                reading.kill()
            })
        };
        let ended = if round % 6 == 5 {
            if is_relay_killed {
                relay.kill_and_start_again();
            }
            writing.end()
        } else if is_relay_killed {
            relay.kill();
            let ended = writing.kill_after(write);
            relay.start_again();
            ended
        } else {
            writing.kill_after(write)
        };
        killed += u32::from(ended.code.is_none());
        if ended.is_acknowledged() {
            acknowledged.push(text);
        }
        reader_ends.join().unwrap();
    }
    assert!(killed > 0 && !acknowledged.is_empty(), "nobody was killed in time, or nobody wrote in time");
    settle(&people);
    check(&people, &acknowledged, &tried);
}
