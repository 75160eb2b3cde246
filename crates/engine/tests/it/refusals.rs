//! What a person reads of each refusal: the lines of the relay's own snapshot, put to the engine at the places where people meet them.
//!
//! The first lines of `refusals.txt` are what a real relay says over a real socket; its test holds them. Ours are the indented ones.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use api::{Binary, Command};
use engine::{TransferFailure, TransferState};
use wire::{Bytes, Code};

use crate::person::{At, BOB, NOW, Person, send};

/// Stands for the time that a relay names.
const WAIT_MS: u64 = 7_000;

/// What was read in the end, or that the same was asked again by itself, and when.
fn outcome(mut person: Person) -> String {
    assert!(person.refusals > 0, "the relay was never asked for it: {:?}", person.read);
    if !person.read.is_empty() {
        return person.read.join(" | ");
    }
    if person.refusals > 1 {
        return "(nothing; asked again at once)".into();
    }
    // More than one thing may be waited for: the clock goes from one to the next.
    for _ in 0..20 {
        let Some(at) = person.wake.take() else { break };
        person.wakes(at);
        if person.refusals > 1 {
            return format!("(nothing; asked again by itself after {} ms)", person.now.0 - NOW.0);
        }
        if !person.read.is_empty() {
            return person.read.join(" | ");
        }
    }
    "(nothing; it waits for what the log brings)".into()
}

/// Where people meet refusals, and what they are doing then.
const PLACES: [(&str, At); 8] = [
    ("registering", At::Registering),
    ("writing to somebody new", At::LookingUp),
    ("making a group", At::MakingAGroup),
    ("adding a member", At::AddingAMember),
    ("inviting the member", At::Inviting),
    ("renaming a group", At::Changing),
    ("sending", At::Sending),
    ("linking a device", At::Linking),
];

fn reads(at: At, error: &wire::Error) -> String {
    let name = format!("refusals {} {}", error.code as u32, at as u8);
    let mut person = match at {
        At::AddingAMember | At::Inviting => Person::beside_bob(&name),
        _ => Person::new(&name),
    };
    person.refuse = Some((at, error.clone()));
    if at == At::Linking {
        person.command(Command::BeginLink { relay: "a.example".into() });
        return outcome(person);
    }
    person.registers();
    match at {
        At::Registering => {}
        At::LookingUp => person.command(send("bob@b.example")),
        At::MakingAGroup => person.command(Command::CreateGroup { name: "Team".into(), members: Vec::new() }),
        At::AddingAMember | At::Inviting => {
            let conversation = person.makes_group();
            person.command(Command::AddMembers { conversation, members: vec![BOB.into()] });
            // An invitation is on its way for a moment that is drawn, so that nobody sees who was invited by what.
            for _ in 0..20 {
                if person.refusals > 0 {
                    break;
                }
                let at = person.wake.take().expect("something is still to be done");
                person.wakes(at);
            }
        }
        At::Changing => {
            let conversation = person.makes_group();
            person.command(Command::Rename { conversation, name: "Crew".into() });
        }
        At::Sending => {
            let group = person.makes_group();
            person.command(send(&group));
        }
        At::Linking => {}
    }
    outcome(person)
}

fn snapshot() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../relay/tests/it/refusals.txt")
}

/// What a relay has said, from a line of the snapshot.
fn refusal(line: &str) -> wire::Error {
    let (number, rest) = line.split_once(' ').unwrap();
    let code = Code::from_number(number.parse().unwrap());
    let (name, detail) = rest.split_once(": ").unwrap();
    assert_eq!(name, format!("{code:?}"));
    let (detail, current) = match detail.split_once(" [current: ") {
        Some((detail, current)) => (detail, current.trim_end_matches(']').parse().unwrap()),
        None => (detail, 0),
    };
    let (detail, again) = match detail.strip_suffix(" [it says when to try again]") {
        Some(detail) => (detail, WAIT_MS),
        None => (detail, 0),
    };
    wire::Error::new(code, detail).retry_after(again).current(current)
}

#[test]
fn rule_11_every_refusal_reads_as_committed() {
    let committed = std::fs::read_to_string(snapshot()).unwrap();
    let (mut renewed, mut codes) = (String::new(), Vec::new());
    for line in committed.lines().filter(|line| !line.starts_with("  ")) {
        let _ = writeln!(renewed, "{line}");
        if line.starts_with('#') {
            continue;
        }
        let error = refusal(line);
        codes.push(error.code);
        for (name, at) in PLACES {
            let _ = writeln!(renewed, "  {name}: {}", reads(at, &error));
        }
    }
    assert_eq!(codes, Code::ALL, "each code once");
    if std::env::var_os("TRANSCRIPTS").is_some_and(|mode| mode == "overwrite") {
        std::fs::write(snapshot(), renewed).unwrap();
    } else {
        for (wanted, is) in committed.lines().zip(renewed.lines()) {
            assert_eq!(is, wanted, "TRANSCRIPTS=overwrite renews the snapshot");
        }
        assert_eq!(renewed.len(), committed.len(), "TRANSCRIPTS=overwrite renews the snapshot");
    }
}

#[test]
fn rule_16_a_recovery_key_is_in_use_once_its_end_was_typed() {
    let mut person = Person::new("recovery key");
    person.registers();
    person.command(Command::MakeRecoveryKey);
    person.command(Command::KeepRecoveryKey { last: "!!!!".into() });
    assert_eq!(
        std::mem::take(&mut person.read),
        [
            "That is not the key's last group. Nothing was changed. Look at what you wrote down, and make a new key if it is not complete."
        ]
    );
    person.command(Command::Backup);
    assert_eq!(person.read.len(), 1, "{:?}", person.read);
}

/// A JPEG by its markers.
fn jpeg() -> Binary {
    let frame = [0xff, 0xc0, 0, 11, 8, 0, 8, 0, 8, 1, 1, 0x11, 0];
    let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
    Binary([&[0xff, 0xd8][..], &frame, &scan, b"picture", &[0xff, 0xd9]].concat())
}

/// A relay has no room for what is put there, and says that it never will.
#[test]
fn rule_11_blobs_that_a_relay_never_takes_are_told_once_and_given_up() {
    let mut person = Person::new("refusals of blobs");
    person.registers();
    let conversation = person.makes_group();
    person.command(Command::MakeRecoveryKey);
    let key = person.recovery_key.take().expect("the key is shown");
    let last = key.rsplit('-').next().unwrap().to_owned();
    person.command(Command::KeepRecoveryKey { last });

    person.blobs = TransferState::Failed(TransferFailure::Refused);
    person.command(Command::SetPicture { conversation, picture: Some(jpeg()) });
    assert_eq!(
        std::mem::take(&mut person.read),
        ["The relay a.example did not take the picture. Try again later; if it stays so, ask whoever runs that relay."]
    );
    person.command(Command::BackUpToRelay);
    assert_eq!(
        std::mem::take(&mut person.read),
        [
            "The relay did not take the backup. It has no room for it, or takes no blobs of this size. Make one into a file (backup \
          create), or ask whoever runs the relay."
        ]
    );
    let refused = person.uploads;
    assert!(refused >= 2, "{refused}");
    for _ in 0..20 {
        if let Some(at) = person.wake.take().filter(|at| at.0 < NOW.0 + 3_600_000) {
            person.wakes(at);
        }
    }
    assert_eq!((person.uploads, person.read.len()), (refused, 0), "{:?}", person.read);
}

/// A relay can't take blobs for now, or is out of reach: what is put there is put there once it can.
#[test]
fn rule_11_blobs_that_a_relay_does_not_take_for_now_go_up_later() {
    let mut person = Person::new("blobs later");
    person.registers();
    let conversation = person.makes_group();
    person.blobs = TransferState::Failed(TransferFailure::Unreachable);
    person.command(Command::SetPicture { conversation: conversation.clone(), picture: Some(jpeg()) });
    for _ in 0..5 {
        let at = person.wake.take().expect("it is tried again");
        person.wakes(at);
    }
    assert!(person.uploads > 1, "{}", person.uploads);
    assert!(person.read.is_empty() && person.entries.is_empty(), "{:?}", person.read);
    person.blobs = TransferState::Done(Bytes::new());
    let at = person.wake.take().expect("it is tried again");
    person.wakes(at);
    assert_eq!(person.entries.len(), 1, "the group has its picture");
}

#[test]
fn rule_11_what_a_relay_never_takes_is_asked_ever_more_seldom_and_said_once() {
    let mut person = Person::new("refusals ever more seldom");
    person.refuse = Some((At::Sending, wire::Error::new(Code::Refused, "the relay does not take this")));
    person.refuse_at_most = usize::MAX;
    person.registers();
    let group = person.makes_group();
    person.command(send(&group));
    let mut asked = vec![person.now.0];
    while asked.len() < 12 {
        let at = person.wake.take().expect("it is tried again by itself");
        let before = person.refusals;
        person.wakes(at);
        if person.refusals > before {
            asked.push(person.now.0);
        }
    }
    let pauses: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses[..8], [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
    assert_eq!(pauses.last(), Some(&60_000));
    assert_eq!(person.read.len(), 1, "{:?}", person.read);
    assert!(person.read[0].contains("waits") && person.read[0].contains("does not take this"), "{:?}", person.read);
}
