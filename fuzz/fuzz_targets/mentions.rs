//! Markdown of a stranger, looked at for links and mentions: nothing is lost, and nothing is found that isn't there.
#![no_main]

use content::{Piece, in_plain, link_mentions, mentions, pieces};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut whole = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Plain(text) => whole.push_str(text),
            Piece::Link { label, target } => whole.push_str(&format!("[{label}]({target})")),
        }
    }
    assert_eq!(whole, text);
    assert!(mentions(text).iter().all(|account| account.contains('@')));
    in_plain(text);
    assert_eq!(link_mentions(text, |_| None), text);
    link_mentions(text, |name| (name.len() < 3).then(|| (name.to_owned(), "relay.example".to_owned())));
});
