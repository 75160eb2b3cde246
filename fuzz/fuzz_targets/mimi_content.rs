//! What a member reads from another one: one encoding for each message, and something bounded to show for all of them.
#![no_main]

use content::{Body, MAX_RANGES, MAX_TEXT_BYTES, MimiContent, interpret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(content) = MimiContent::decode(data) else { return };
    assert_eq!(content.encode(), data);
    match interpret(&content) {
        Body::Text { text } | Body::Unknown { fallback: text } => {
            assert!(text.len() <= MAX_TEXT_BYTES);
            assert!(text.chars().all(|character| !character.is_control() || matches!(character, '\n' | '\t')));
        }
        Body::Receipts(receipts) => assert!(receipts.delivered.len() + receipts.read.len() <= MAX_RANGES),
    }
});
