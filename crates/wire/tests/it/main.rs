//! What both sides of a connection may rely on: every frame comes back, no bytes do harm (I9), and no byte of the format
//! changes unnoticed.
//!
//! The files that these tests compare with are renewed by
//! `TRANSOM_RENEW=1 cargo test -p transom-wire --test it`; look at the difference before it is committed.

mod corpus;
mod frames;
mod labels;
mod samples;
mod snapshot;

use std::path::Path;

/// True if the committed files are to be written anew.
fn renew() -> bool {
    std::env::var_os("TRANSOM_RENEW").is_some()
}

/// A path from the root of the repository.
fn at_root(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Fails, and says how to renew the file, if a committed text is not what the code gives today.
fn compare_or_renew(path: &Path, today: &str, meaning: &str) {
    if renew() {
        std::fs::write(path, today).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let changed: Vec<&str> = today.lines().filter(|line| !committed.lines().any(|other| other == *line)).collect();
    let gone: Vec<&str> = committed.lines().filter(|line| !today.lines().any(|other| other == *line)).collect();
    assert!(
        committed == today,
        "{}\n\nnew or changed:\n{}\n\nno longer there:\n{}\n\n{meaning}\nIf the change is meant: \
         TRANSOM_RENEW=1 cargo test -p transom-wire --test it",
        path.display(),
        changed.join("\n"),
        gone.join("\n"),
    );
}
