//! The table of labels with signatures, for whoever writes another client: `docs/vectors.json`.

use std::fmt::Write;

use data_encoding::HEXLOWER;
use wire::{Label, SigningKey, sign, signing_input, verify};

use crate::{at_root, compare_or_renew};

/// Lists of parts that go wrong where lengths are left out: none, an empty one, two that could be read as one.
const PARTS: [&[&[u8]]; 4] = [&[], &[b""], &[b"abc", b"d"], &[b"ab", b"cd"]];

#[test]
fn the_labels_have_their_vectors_in_the_docs() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = key.verifying_key().to_bytes();
    let mut json = String::new();
    writeln!(json, "{{").unwrap();
    writeln!(json, "  \"about\": \"Ed25519 (RFC 8032) over the label and each part, each behind its length in 32 bits, big endian. All bytes in hex.\",").unwrap();
    writeln!(json, "  \"secret_key\": \"{}\",", HEXLOWER.encode(&[7; 32])).unwrap();
    writeln!(json, "  \"public_key\": \"{}\",", HEXLOWER.encode(&public)).unwrap();
    writeln!(json, "  \"signatures\": [").unwrap();
    let cases: Vec<_> = Label::ALL.into_iter().flat_map(|label| PARTS.map(|parts| (label, parts))).collect();
    for (at, (label, parts)) in cases.iter().enumerate() {
        let signature = sign(&key, *label, parts);
        assert_eq!(verify(&public, *label, parts, &signature), Ok(()));
        let listed: Vec<_> = parts.iter().map(|part| format!("\"{}\"", HEXLOWER.encode(part))).collect();
        writeln!(
            json,
            "    {{ \"label\": \"{}\", \"parts\": [{}], \"signed\": \"{}\", \"signature\": \"{}\" }}{}",
            label.as_str(),
            listed.join(", "),
            HEXLOWER.encode(&signing_input(label.as_str(), parts)),
            HEXLOWER.encode(&signature),
            if at + 1 < cases.len() { "," } else { "" },
        )
        .unwrap();
    }
    writeln!(json, "  ]").unwrap();
    writeln!(json, "}}").unwrap();
    compare_or_renew(
        &at_root("docs/vectors.json"),
        &json,
        "A label or what is signed under it has changed: no signature that exists verifies under it any longer.",
    );
}
