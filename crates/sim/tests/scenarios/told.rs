//! What people were told in each scenario that something failed, was refused or is to be looked at: `told.txt` has a section for each,
//! and a scenario that tells anybody something else fails. `TRANSCRIPTS=overwrite` renews the sections of the scenarios that run, for
//! a person to review in the diff.
//!
//! Ids, keys and codes are masked. Each sentence stands once in a section, where it was told first, behind the devices that were told it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sim::world::{DeviceId, World};

const HEAD: &str = "\
# What people read in the scenarios when something fails, is refused, or is to be looked at. Compared by crates/sim/tests/scenarios/told.rs;
# TRANSCRIPTS=overwrite renews it. Which devices are told it, whether it answers what their person wanted (failed) or is told unasked (notice),
# and the words.
";

/// What is committed. A part of the program, which is not run again as long as it is the same (`scripts/test.sh`).
const TOLD_BEFORE: &str = include_str!("told.txt");

thread_local! {
    /// The section of the test that runs on this thread, so far: a test may tell several stories.
    static TOLD: RefCell<Vec<(BTreeSet<DeviceId>, String)>> = const { RefCell::new(Vec::new()) };
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/told.txt")
}

/// A story has ended.
pub fn compare(world: &World) {
    let failed = world.model.problems.iter().map(|told| ("failed", told));
    let notices = world.model.notices.iter().map(|told| ("notice", told));
    let lines = failed
        .chain(notices)
        .map(|(how, (device, problem))| (*device, format!("{how}: {}", masked(&problem.to_string()))));
    let told = TOLD.with_borrow_mut(|told| {
        for (device, line) in lines {
            match told.iter_mut().find(|(_, known)| *known == line) {
                Some((devices, _)) => _ = devices.insert(device),
                None => told.push((BTreeSet::from([device]), line)),
            }
        }
        told.clone()
    });
    let Some(name) = std::thread::current().name().map(str::to_owned).filter(|name| name.contains("::")) else {
        return;
    };
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if std::env::var_os("TRANSCRIPTS").is_some_and(|mode| mode == "overwrite") {
        let mut sections = read(&std::fs::read_to_string(file()).unwrap_or_default());
        sections.remove(&name);
        if !told.is_empty() {
            sections.insert(name, told.iter().map(|(devices, line)| of_all(devices, line)).collect());
        }
        write(&sections);
        return;
    }
    // A test tells several stories, one after another: what was told in the first is only a part of what is in the file.
    let known: BTreeSet<(DeviceId, String)> =
        read(TOLD_BEFORE).remove(&name).unwrap_or_default().iter().flat_map(|line| each(line)).collect();
    for (devices, line) in told {
        for device in devices {
            assert!(
                known.contains(&(device, line.clone())),
                "{name}: device {device} {line}\nis not in told.txt (TRANSCRIPTS=overwrite keeps it)"
            );
        }
    }
}

/// `0 1 2 notice: …`
fn of_all(devices: &BTreeSet<DeviceId>, line: &str) -> String {
    devices.iter().map(|device| format!("{device} ")).collect::<String>() + line
}

/// The way back.
fn each(line: &str) -> Vec<(DeviceId, String)> {
    let at = line.find(|letter: char| letter.is_ascii_alphabetic()).expect("a line has words");
    let (devices, told) = line.split_at(at);
    devices.split_whitespace().map(|device| (device.parse().unwrap(), told.to_owned())).collect()
}

fn read(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(told) = line.strip_prefix("  ") {
            sections.entry(name.clone()).or_default().push(told.to_owned());
        } else if !line.starts_with('#') {
            line.clone_into(&mut name);
        }
    }
    sections
}

fn write(sections: &BTreeMap<String, Vec<String>>) {
    let mut text = HEAD.to_owned();
    for (name, lines) in sections {
        let _ = writeln!(text, "{name}");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    std::fs::write(file(), text).unwrap();
}

/// What differs with every draw of randomness: runs of six and more hexadecimal digits, and groups of a code.
fn masked(text: &str) -> String {
    let is_id = |word: &str| {
        word.len() >= 6 && word.bytes().all(|b| b.is_ascii_hexdigit()) && word.bytes().any(|b| b.is_ascii_digit())
    };
    let mut out = String::new();
    let mut word = String::new();
    for letter in text.replace('\n', " ").chars().chain(std::iter::once('\0')) {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
            continue;
        }
        out.push_str(if is_id(&word) { "[id]" } else { &word });
        word.clear();
        if letter != '\0' {
            out.push(letter);
        }
    }
    out
}

#[test]
fn ids_are_masked() {
    assert_eq!(masked("the device 4f3a09b2 of p0@a.example, decade"), "the device [id] of p0@a.example, decade");
}

#[test]
fn every_section_is_of_a_scenario() {
    for name in read(TOLD_BEFORE).keys() {
        let (module, test) = name.split_once("::").expect("a section is named like its test");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scenarios/{module}.rs"));
        let source = std::fs::read_to_string(source).unwrap();
        let test = test.rsplit("::").next().unwrap_or(test);
        assert!(
            source.contains(&format!("fn {test}(")),
            "there is no {name} (any more): take its section out of told.txt"
        );
    }
}
