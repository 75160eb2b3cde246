//! The relay's core over the store in memory, driven step by step on one thread: the tests choose when which future goes on.

mod accounts;
mod epochs;
mod limits;
mod refusals;
mod rig;
mod store;
mod subscriptions;

/// Time, randomness and sockets are arguments (ARCHITECTURE.md, "Arrows"): a seed must reproduce a run.
#[test]
fn the_core_names_no_runtime_no_clock_and_no_http() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core");
    let mut files = 0;
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        files += 1;
        for banned in ["tokio", "SystemTime", "Instant", "hyper", "axum", "getrandom", "std::thread", "std::env"] {
            assert!(!text.contains(banned), "{} names {banned}", path.display());
        }
    }
    assert!(files > 10, "the core has moved; this test has to follow it");
}
