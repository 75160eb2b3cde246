//! A run is a function of its seed: not of the clock, of the machine's randomness, or of the order of a hash map.

use std::path::Path;
use std::process::Command;

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
    let shim = crate::shim::build("still", directory.path());
    for seed in 1..=6 {
        let first = hashes(seed, &shim, "1");
        assert_eq!(first.lines().count(), 2, "one hash for each world: {first}");
        assert_eq!(first, hashes(seed, &shim, "1"), "seed {seed} under the same clock and randomness");
        // Other randomness of the machine, so also other seeds of its hash maps: the run must not notice.
        assert_eq!(first, hashes(seed, &shim, "2"), "seed {seed} under other randomness of the machine");
    }
}
