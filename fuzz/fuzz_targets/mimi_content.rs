//! What a member reads from another one: one encoding for each message, and something bounded to show or to do for all of them.
#![no_main]

use content::{
    Body, MAX_EMOJI, MAX_OPTIONS, MAX_RANGES, MAX_TEXT_BYTES, MimiContent, interpret, is_emoji, is_forwarded, mentions,
};
use libfuzzer_sys::fuzz_target;

fn is_bounded(text: &str) {
    assert!(text.len() <= MAX_TEXT_BYTES);
    assert!(text.chars().all(|character| !character.is_control() || matches!(character, '\n' | '\t')));
}

fuzz_target!(|data: &[u8]| {
    let Ok(content) = MimiContent::decode(data) else { return };
    assert_eq!(content.encode(), data);
    is_forwarded(&content);
    is_bounded(&content::fallback(&content));
    match interpret(&content) {
        Body::Text { text, preview } | Body::Edit { text, preview, .. } => {
            is_bounded(&text);
            mentions(&text);
            assert!(preview.is_none_or(|preview| text.contains(&preview.url)));
        }
        Body::Unknown { fallback } => is_bounded(&fallback),
        Body::Poll(poll) => assert!((2..=MAX_OPTIONS).contains(&poll.options.len())),
        Body::Contact(contact) => is_bounded(&contact.in_words()),
        Body::Location(location) => is_bounded(&location.in_words()),
        Body::Receipts(receipts) => assert!(receipts.delivered.len() + receipts.read.len() <= MAX_RANGES),
        Body::Reaction { emoji, .. } => {
            assert!((1..=MAX_EMOJI).contains(&emoji.len()) && emoji.iter().all(|emoji| is_emoji(emoji)));
        }
        Body::Vote { choices, .. } => assert!(choices.len() <= MAX_OPTIONS),
        Body::Delete { .. } | Body::PollClosed { .. } | Body::Pin { .. } => {}
    }
});
