//! A run is a function of its seed: not of the clock, of the machine's randomness, or of the order of a hash map.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The shim that holds clocks and randomness still; `None` on a machine without a C compiler.
fn shim(directory: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/shim/still.c");
    let library = directory.join("still.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
    match made {
        Ok(status) => {
            assert!(status.success(), "the shim does not compile");
            Some(library)
        }
        Err(_) => None,
    }
}

/// The hashes of one seed in both worlds, from a process of its own.
fn hashes(seed: u64, shim: &Path, randomness: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["hash", "--seed", &seed.to_string(), "--steps", "40"])
        .env("LD_PRELOAD", shim)
        .env("STILL_SEED", randomness)
        .output()
        .expect("the simulator runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn replay_one_seed_in_two_processes_takes_the_same_course() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let Some(shim) = shim(directory.path()) else {
        // Without a compiler there is no shim; the same comparison with the machine's own clock and randomness is stricter still,
        // but can't be told apart from luck.
        return;
    };
    for seed in 1..=6 {
        let first = hashes(seed, &shim, "1");
        assert_eq!(first.lines().count(), 2, "one hash for each world: {first}");
        assert_eq!(first, hashes(seed, &shim, "1"), "seed {seed} under the same clock and randomness");
        // Other randomness of the machine, so also other seeds of its hash maps: the run must not notice.
        assert_eq!(first, hashes(seed, &shim, "2"), "seed {seed} under other randomness of the machine");
    }
}
