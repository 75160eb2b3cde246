//! What a person reads of each refusal: the lines of the relay's own snapshot, put to the engine at the places where people meet them.
//!
//! The first lines of `refusals.txt` are what a real relay says over a real socket; its test holds them. Ours are the indented ones.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use wire::Code;

use crate::person::{At, NOW, Person, send};

/// Stands for the time that a relay names.
const WAIT_MS: u64 = 7_000;

/// What was read in the end, or that the same was asked again by itself, and when.
fn outcome(mut person: Person) -> String {
    assert!(person.refusals > 0, "the relay was never asked for it");
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

fn reads(at: At, error: &wire::Error) -> String {
    let mut person = Person::new(&format!("refusals {} {}", error.code as u32, at as u8));
    person.refuse = Some((at, error.clone()));
    person.registers();
    match at {
        At::Registering => {}
        At::LookingUp => person.command(send("bob@b.example")),
        At::Sending => {
            let group = person.makes_group();
            person.command(send(&group));
        }
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
        for (name, at) in
            [("registering", At::Registering), ("writing to somebody new", At::LookingUp), ("sending", At::Sending)]
        {
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
