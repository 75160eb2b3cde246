//! I5 where it is about disks: a client loses power, and whatever it had not synced is gone.
//!
//! The test runs itself again in a process whose calls to `fsync` are watched (`shim/cut.c`): at each of them what is on the disk is
//! kept aside. A power cut puts a profile back to exactly that. Built with the hooks of the simulator the engine also tells which keys
//! it seals with, and none may be told twice; without them a key used twice shows as a message that never arrives.

use std::path::PathBuf;
use std::process::Command;

use sim::mutants::Mutant;
use sim::store::Faults;
use sim::trace::Trace;
use sim::world::{Home, Profile, Transition, World};

use crate::support::{RELAY, Story};

const FROM: &str = "CUT_FROM";
const TO: &str = "CUT_TO";

/// Runs a test of this module again, under the shim, in directories of its own; `None` in the process that is to do the work. Says
/// what was told if it failed.
fn under_the_shim(name: &str) -> Option<Result<(), String>> {
    if std::env::var_os(FROM).is_some() {
        return None;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let shim = crate::shim::build("cut", directory.path());
    let (from, to) = (directory.path().join("profiles"), directory.path().join("synced"));
    for place in [from.clone(), to.join("bytes"), to.join("names")] {
        std::fs::create_dir_all(place).expect("a directory");
    }
    let output = Command::new(std::env::current_exe().expect("a test is a program"))
        .args(["--exact", &format!("power::{name}")])
        .env("LD_PRELOAD", shim)
        .env(FROM, &from)
        .env(TO, &to)
        .output()
        .expect("the test runs again");
    let (told, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Without this a wrong name would run nothing and hold.
    assert!(told.contains("running 1 test"), "{told}{warned}");
    Some(if output.status.success() { Ok(()) } else { Err(format!("{told}{warned}")) })
}

/// Two people whose profiles are files, each of whom loses power again and again while both write. The defect is planted once they
/// talk: what there is then is synced.
fn power_is_cut_again_and_again(defect: Option<Mutant>) {
    let place = |name| PathBuf::from(std::env::var_os(name).expect("the shim's process"));
    let home = |id: usize| {
        let profile = Profile::new(place(FROM).join(id.to_string()), place(TO));
        Home::Files(profile.expect("a directory can be made"))
    };
    let world = World::with_homes(1, &[RELAY], (0..2).map(home).collect(), Faults::default(), None, Trace::default());
    let mut story = Story::in_world(world.expect("a world can be made"), 2);
    let id = story.direct(0, 1);
    Mutant::plant(defect);
    let mut texts = vec!["hello".to_owned()];
    for cut in 0..40 {
        let device = cut % 2;
        for text in [format!("{cut} before"), format!("{cut} between")] {
            story.does(Transition::send(device, &id, &text));
            texts.push(text);
        }
        story.steps(4 * cut as u32);
        story.does(Transition::CutPower(device));
        story.does(Transition::OpenDevice(device));
        let text = format!("{cut} after");
        story.does(Transition::send(device, &id, &text));
        texts.push(text);
        if cut % 8 == 7 {
            story.does(Transition::Settle);
        }
    }
    story.settles();
    for device in [0, 1] {
        let mut shown = story.texts(device, &id);
        shown.sort();
        texts.sort();
        assert_eq!(shown, texts, "device {device}");
    }
}

#[test]
fn i5_a_client_that_loses_power_uses_no_key_twice_and_loses_no_message() {
    match under_the_shim("i5_a_client_that_loses_power_uses_no_key_twice_and_loses_no_message") {
        None => power_is_cut_again_and_again(None),
        Some(held) => held.unwrap_or_else(|told| panic!("{told}")),
    }
}

/// A database that does not sync each transaction is found out, so the test above would see it.
#[cfg(feature = "mutants")]
#[test]
fn i5_a_client_that_does_not_sync_is_found_out() {
    match under_the_shim("i5_a_client_that_does_not_sync_is_found_out") {
        None => power_is_cut_again_and_again(Some(Mutant::NotSynced)),
        Some(held) => {
            let told = held.expect_err("a client that hands out what it has not synced was not found");
            assert!(told.contains("two messages were sealed with one key"), "{told}");
        }
    }
}
