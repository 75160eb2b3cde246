//! The fuzzers' corpus, replayed (I9): what a fuzzer once found stays survived. `make fuzz` adds to it, and so may everyone.

use std::fs;
use std::path::PathBuf;

use content::{Envelope, MimiContent, interpret};

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 5, "the corpus of {target} is missing");
    inputs
}

#[test]
fn i9_mimi_content_survives_its_corpus() {
    for (name, bytes) in inputs("mimi_content") {
        let decoded = MimiContent::decode(&bytes);
        assert_eq!(decoded.is_ok(), name.starts_with("valid-"), "{name}");
        if let Ok(content) = decoded {
            assert!(content.encode() == bytes, "{name}");
            interpret(&content);
        }
    }
}

#[test]
fn i9_envelopes_survive_their_corpus() {
    for (name, bytes) in inputs("envelope") {
        let decoded = Envelope::decode(&bytes);
        assert_eq!(decoded.is_ok(), name.starts_with("valid-"), "{name}");
        if let Ok(envelope) = decoded {
            assert!(envelope.encode() == bytes, "{name}");
        }
    }
}
