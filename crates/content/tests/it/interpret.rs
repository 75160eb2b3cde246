//! What a person sees of a message.

use content::mimi::{Disposition, ExternalPart, NestedPart, Part, PartSemantics};
use content::{
    Body, MAX_CONTENT_BYTES, MAX_RANGES, MAX_TEXT_BYTES, MessageId, MimiContent, Receipts, UNKNOWN_CONTENT, interpret,
    receipts, text,
};
use proptest::collection::vec;
use proptest::prelude::*;

const MARKDOWN: &str = "text/markdown;variant=GFM-MIMI";

fn single(content_type: &str, content: &str) -> NestedPart {
    let part = Part::Single { content_type: content_type.to_owned(), content: content.as_bytes().to_vec() };
    NestedPart { disposition: Disposition::RENDER, language: String::new(), part }
}

fn several(semantics: PartSemantics, parts: Vec<NestedPart>) -> NestedPart {
    NestedPart { part: Part::Multi { semantics, parts }, ..single("", "") }
}

fn meant_as(disposition: Disposition, part: NestedPart) -> NestedPart {
    NestedPart { disposition, ..part }
}

fn shown(part: NestedPart) -> Body {
    interpret(&MimiContent { part, ..text([0; 16], "", None) })
}

fn is_text(body: Body, expected: &str) {
    assert!(body == Body::Text { text: expected.to_owned(), preview: None }, "{body:?} is not the text {expected}");
}

fn is_unknown(body: Body, expected: &str) {
    assert!(body == Body::Unknown { fallback: expected.to_owned() }, "{body:?} does not fall back to {expected}");
}

#[test]
fn a_text_is_shown_as_it_was_typed() {
    for typed in ["Hello", "a < b & c", "<script>alert(1)</script>", "&lt;b&gt; and <b>", "tab\tline\nend", "🧑🏽‍⚕️ é"]
    {
        is_text(interpret(&text([1; 16], typed, Some(MessageId([1; 32])))), typed);
    }
}

#[test]
fn what_is_sent_has_no_html_in_it() {
    let content = text([1; 16], "see <b>this</b>", None);
    let Part::Single { content_type, content } = content.part.part else { panic!("not a single part") };
    assert_eq!(content_type, MARKDOWN);
    assert_eq!(content, b"see &lt;b>this&lt;/b>");
}

#[test]
fn media_types_are_read_as_the_rfc_says() {
    for readable in
        ["text/plain", "TEXT/Plain; Charset=\"UTF-8\"", "text/markdown", "text/markdown; variant=CommonMark", MARKDOWN]
    {
        is_text(shown(single(readable, "x")), "x");
    }
    for unreadable in ["text/plain;charset=utf-16", "text/plainest", "", "application/octet-stream"] {
        is_unknown(shown(single(unreadable, "x")), UNKNOWN_CONTENT);
    }
    let latin = Part::Single { content_type: "text/plain".into(), content: vec![0xe9] };
    is_unknown(shown(NestedPart { part: latin, ..single("", "") }), UNKNOWN_CONTENT);
}

#[test]
fn an_unknown_disposition_is_rendered_and_others_fall_back() {
    is_text(shown(meant_as(Disposition(200), single("text/plain", "x"))), "x");
    // Nothing says to what, so it is nobody's.
    is_unknown(shown(meant_as(Disposition::REACTION, single("text/plain", "👍"))), "Reaction: 👍");
    is_unknown(shown(meant_as(Disposition::ATTACHMENT, single("text/plain", "notes"))), "notes");
}

#[test]
fn of_alternatives_the_best_that_is_known_is_taken() {
    use PartSemantics::ChooseOne;
    let unknown = || single("application/vnd.example", "?");
    is_text(shown(several(ChooseOne, vec![unknown(), single("text/plain", "p"), single(MARKDOWN, "m")])), "m");
    is_text(shown(several(ChooseOne, vec![single("text/plain", "en"), single("text/plain", "fr")])), "en");
    is_unknown(shown(several(ChooseOne, vec![unknown(), single("text/html", "<p>h &amp; i</p>")])), "h & i");
    is_unknown(shown(several(ChooseOne, vec![unknown(), unknown()])), UNKNOWN_CONTENT);
}

#[test]
fn a_unit_is_taken_whole_or_not_at_all() {
    use PartSemantics::SingleUnit;
    is_text(shown(several(SingleUnit, vec![single(MARKDOWN, "a"), single(MARKDOWN, "b")])), "a\n\nb");
    is_unknown(shown(several(SingleUnit, vec![single(MARKDOWN, "a"), single("image/png", "b")])), "a");
}

#[test]
fn of_a_mixture_all_that_is_known_is_taken() {
    use PartSemantics::ProcessAll;
    let parts = vec![single("image/png", "?"), single(MARKDOWN, "a"), single("text/plain", "b")];
    is_text(shown(several(ProcessAll, parts)), "a\n\nb");
    is_unknown(shown(several(ProcessAll, vec![single("image/png", "?"), single("image/gif", "?")])), UNKNOWN_CONTENT);
}

#[test]
fn an_edit_is_not_shown_as_a_new_text() {
    let edit = MimiContent { replaces: Some(MessageId([1; 32])), ..text([0; 16], "better", None) };
    let replaces = MessageId([1; 32]);
    assert_eq!(interpret(&edit), Body::Edit { replaces, text: "better".into(), preview: None });
    let unknown = MimiContent { part: single("application/vnd.example", "?"), ..edit.clone() };
    assert_eq!(interpret(&unknown), Body::Edit { replaces, text: UNKNOWN_CONTENT.into(), preview: None });
    let delete = MimiContent { part: NestedPart { part: Part::Null, ..single("", "") }, ..edit };
    assert_eq!(interpret(&delete), Body::Delete { replaces, in_reply_to: None });
}

#[test]
fn an_attachment_falls_back_to_its_names() {
    let external = |description: &str, filename: &str| {
        let part = Part::External(Box::new(ExternalPart {
            content_type: "video/mp4".into(),
            url: "https://relay.example/x".into(),
            expires: 0,
            size: 1,
            enc_alg: 0,
            key: vec![],
            nonce: vec![],
            aad: vec![],
            hash_alg: 0,
            content_hash: vec![],
            description: description.into(),
            filename: filename.into(),
        }));
        NestedPart { disposition: Disposition::ATTACHMENT, language: String::new(), part }
    };
    is_unknown(shown(external("A film", "film.mp4")), "A film (film.mp4)");
    is_unknown(shown(external("", "film.mp4")), "film.mp4");
    is_unknown(shown(external("A film", "")), "A film");
    is_unknown(shown(external("", "")), UNKNOWN_CONTENT);
    let beside_text = several(PartSemantics::ChooseOne, vec![external("A film", ""), single("text/html", "better")]);
    is_unknown(shown(beside_text), "better");
}

#[test]
fn towers_of_combining_marks_are_cut_down() {
    let tower = format!("e{}x", "\u{301}".repeat(30_000));
    assert!(tower.len() > 60_000 && tower.len() < MAX_CONTENT_BYTES);
    let Body::Text { text, .. } = shown(single("text/plain", &tower)) else { panic!("not a text") };
    assert_eq!(text, format!("e{}x", "\u{301}".repeat(30)));
    // A language's own marks stay, and so does one tower after the other, each within its bounds.
    let vietnamese = "ế".repeat(100);
    is_text(shown(single("text/plain", &vietnamese)), &vietnamese);
}

#[test]
fn controls_that_a_terminal_would_obey_are_dropped() {
    is_text(shown(single("text/plain", "a\u{1b}[2Jb\r\n\u{7}\u{9b}c\u{0}\td")), "a[2Jb\nc\td");
    is_unknown(shown(single("text/html", "\u{1b}<p>\u{8}</p>")), UNKNOWN_CONTENT);
}

#[test]
fn a_text_that_is_too_long_is_cut_between_characters() {
    let parts = vec![single("text/plain", &"é".repeat(30_000)); 3];
    let Body::Text { text, .. } = shown(several(PartSemantics::ProcessAll, parts)) else { panic!("not a text") };
    assert!(text.len() <= MAX_TEXT_BYTES && text.len() > MAX_TEXT_BYTES - 6);
    assert!(text.ends_with("é…"));
    let exact = "x".repeat(MAX_TEXT_BYTES);
    is_text(shown(single("text/plain", &exact)), &exact);
}

#[test]
fn receipts_travel_in_a_type_of_their_own() {
    let sent = Receipts { delivered: vec![(5, 9), (1, 4)], read: vec![(1, 3)] };
    let content = receipts([0; 16], &sent);
    let bytes = content.encode();
    let expected = Receipts { delivered: vec![(1, 9)], read: vec![(1, 3)] };
    assert_eq!(interpret(&MimiContent::decode(&bytes).unwrap()), Body::Receipts(expected));
    is_unknown(shown(single("application/vnd.transom.receipts+cbor", "junk")), UNKNOWN_CONTENT);
}

#[test]
fn the_most_receipts_fit_a_message() {
    let far = |count: u64| (0..count).map(|n| (u64::MAX - 4 * n - 1, u64::MAX - 4 * n)).collect::<Vec<_>>();
    let content = receipts([0; 16], &Receipts { delivered: far(2000), read: far(2000) });
    let bytes = content.encode();
    assert!(bytes.len() < MAX_CONTENT_BYTES);
    let Body::Receipts(back) = interpret(&MimiContent::decode(&bytes).unwrap()) else { panic!("not receipts") };
    assert_eq!(back.delivered.len() + back.read.len(), MAX_RANGES);
}

/// Numbers of a list of ranges, for ranges that are short.
fn numbers(ranges: &[(u64, u64)]) -> Vec<u64> {
    let mut all: Vec<u64> = ranges.iter().flat_map(|(first, last)| *first..=*last).filter(|n| *n > 0).collect();
    all.sort_unstable();
    all.dedup();
    all
}

proptest! {
    #[test]
    fn receipts_say_the_same_numbers_after_they_travelled(
        delivered in vec((0..60u64, 0..60u64), 0..20), read in vec((0..60u64, 0..60u64), 0..20),
    ) {
        let sent = Receipts { delivered, read };
        let Body::Receipts(got) = interpret(&receipts([0; 16], &sent)) else { panic!("not receipts") };
        for (got, sent) in [(&got.delivered, &sent.delivered), (&got.read, &sent.read)] {
            prop_assert_eq!(numbers(got), numbers(sent));
            prop_assert!(got.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "sorted, and none touch");
        }
    }

    #[test]
    fn any_text_without_controls_is_shown_as_it_was_typed(typed in "[^\\p{C}\\p{M}\\p{Z}]{1,60}") {
        is_text(interpret(&text([0; 16], &typed, None)), &typed);
    }
}
