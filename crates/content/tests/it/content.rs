//! Content and envelopes: round trips, the draft's limits, one encoding for each value, and bytes from a hostile member.

use std::collections::BTreeMap;

use content::mimi::{
    Disposition, Expiration, ExtensionKey, ExtensionValue, ExternalPart, MAX_DEPTH, MAX_EXTENSIONS, MAX_PARTS,
    MAX_TOPIC_BYTES, NestedPart, Part, PartSemantics,
};
use content::padding::padme;
use content::{
    ContentError, Envelope, EnvelopeError, MAX_CONTENT_BYTES, MAX_ENVELOPE_BYTES, MessageId, MimiContent, interpret,
    message_id, text,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

fn message_ids() -> impl Strategy<Value = MessageId> {
    any::<[u8; 32]>().prop_map(|mut id| {
        id[0] = 1;
        MessageId(id)
    })
}

fn extensions() -> impl Strategy<Value = BTreeMap<ExtensionKey, ExtensionValue>> {
    // Keys 1 and 2 must hold texts, so these begin at 3.
    let number = prop_oneof![3..1i64 << 53, -(1i64 << 53) + 1..0, 3..600i64, -600..0i64].prop_map(ExtensionKey::Int);
    let name = "[a-zé]{1,60}".prop_map(ExtensionKey::Text);
    let value = prop_oneof![
        ".{0,40}".prop_map(|text| ExtensionValue::text(&text)),
        Just(ExtensionValue::from_cbor(&[0x82, 0x81, 0xa1, 0x00, 0xf6, 0x38, 0x63]).unwrap()),
        Just(ExtensionValue::from_cbor(&[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a]).unwrap()),
    ];
    btree_map(prop_oneof![number, name], value, 0..6)
}

fn externals() -> impl Strategy<Value = Part> {
    let bytes = || vec(any::<u8>(), 0..40);
    let texts = (".{0,20}", ".{0,20}", ".{0,20}", ".{0,20}");
    let numbers = (any::<u32>(), any::<u64>(), any::<u16>(), any::<u8>());
    (texts, numbers, (bytes(), bytes(), bytes(), bytes())).prop_map(|(texts, numbers, bytes)| {
        Part::External(Box::new(ExternalPart {
            content_type: texts.0,
            url: texts.1,
            expires: numbers.0,
            size: numbers.1,
            enc_alg: numbers.2,
            key: bytes.0,
            nonce: bytes.1,
            aad: bytes.2,
            hash_alg: numbers.3,
            content_hash: bytes.3,
            description: texts.2,
            filename: texts.3,
        }))
    })
}

fn parts() -> impl Strategy<Value = NestedPart> {
    let types = prop_oneof![
        Just("text/markdown;variant=GFM-MIMI".to_owned()),
        Just("text/plain; charset=UTF-8".to_owned()),
        Just("text/html".to_owned()),
        Just("application/vnd.transom.receipts+cbor".to_owned()),
        ".{0,20}",
    ];
    let content = prop_oneof![".{0,40}".prop_map(String::into_bytes), vec(any::<u8>(), 0..40)];
    let leaf = prop_oneof![
        Just(Part::Null),
        (types, content).prop_map(|(content_type, content)| Part::Single { content_type, content }),
        externals(),
    ];
    let nested = |part| {
        (any::<u8>(), "[a-zA-Z,-]{0,8}", part).prop_map(|(disposition, language, part)| NestedPart {
            disposition: Disposition(disposition),
            language,
            part,
        })
    };
    let semantics =
        prop::sample::select(vec![PartSemantics::ChooseOne, PartSemantics::SingleUnit, PartSemantics::ProcessAll]);
    nested(leaf.boxed()).prop_recursive(3, 24, 4, move |inner| {
        nested(
            (semantics.clone(), vec(inner, 2..5))
                .prop_map(|(semantics, parts)| Part::Multi { semantics, parts })
                .boxed(),
        )
    })
}

fn contents() -> impl Strategy<Value = MimiContent> {
    let expirations = (any::<bool>(), any::<u32>()).prop_map(|(relative, seconds)| Expiration { relative, seconds });
    let head = (any::<[u8; 16]>(), option::of(message_ids()), vec(any::<u8>(), 0..50), option::of(expirations));
    (head, option::of(message_ids()), extensions(), parts()).prop_map(|(head, in_reply_to, extensions, part)| {
        MimiContent { salt: head.0, replaces: head.1, topic_id: head.2, expires: head.3, in_reply_to, extensions, part }
    })
}

fn envelopes() -> impl Strategy<Value = Envelope> {
    let arrays = (any::<[u8; 32]>(), vec(any::<u8>(), 64), any::<[u8; 32]>());
    (vec(any::<u8>(), 0..2000), arrays, any::<u64>(), any::<u64>()).prop_map(|(content, arrays, sent, head_seq)| {
        Envelope {
            content,
            franking_key: arrays.0,
            signature: arrays.1.try_into().unwrap(),
            sent,
            head_seq,
            head_hash: arrays.2,
        }
    })
}

fn envelope(content: Vec<u8>) -> Envelope {
    Envelope {
        content,
        franking_key: [1; 32],
        signature: [2; 64],
        sent: 1_700_000_000_000,
        head_seq: 300,
        head_hash: [3; 32],
    }
}

proptest! {
    #[test]
    fn content_comes_back(content in contents()) {
        let bytes = content.encode();
        let decoded = MimiContent::decode(&bytes);
        prop_assert!(decoded.as_ref() == Ok(&content), "{decoded:?}");
        interpret(&content);
    }

    #[test]
    fn damaged_content_is_refused_or_is_another_message(content in contents(), at: prop::sample::Index, with: u8) {
        let mut bytes = content.encode();
        let at = at.index(bytes.len());
        let before = std::mem::replace(&mut bytes[at], with);
        if let Ok(decoded) = MimiContent::decode(&bytes) {
            prop_assert_eq!(decoded == content, before == with);
            prop_assert!(decoded.encode() == bytes);
            interpret(&decoded);
        }
    }

    #[test]
    fn truncated_content_is_refused(content in contents(), at: prop::sample::Index) {
        let bytes = content.encode();
        prop_assert!(MimiContent::decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        let _ = MimiContent::decode(&bytes);
        let _ = Envelope::decode(&bytes);
        // Behind the head of a message, so that more of them get further.
        let head = [&[0x87, 0x50][..], &[0; 16], &[0xf6, 0x40, 0xf6, 0xf6], &bytes].concat();
        if let Ok(content) = MimiContent::decode(&head) {
            interpret(&content);
        }
        let _ = Envelope::decode(&[&[0x87, 0x01], &bytes[..]].concat());
        let _ = ExtensionValue::from_cbor(&bytes);
    }

    #[test]
    fn an_envelope_comes_back_at_a_padme_size(envelope in envelopes()) {
        let bytes = envelope.encode();
        prop_assert_eq!(bytes.len(), padme(bytes.len()));
        prop_assert!(Envelope::decode(&bytes) == Ok(envelope));
    }

    #[test]
    fn a_damaged_envelope_is_refused_or_another_one(
        envelope in envelopes(), at: prop::sample::Index, bit in 0..8,
    ) {
        let mut bytes = envelope.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        if let Ok(decoded) = Envelope::decode(&bytes) {
            prop_assert!(decoded != envelope);
            prop_assert!(decoded.encode() == bytes);
        }
        prop_assert!(Envelope::decode(&bytes[..at]).is_err());
    }
}

fn nested(levels: usize) -> NestedPart {
    let leaf = NestedPart { disposition: Disposition::RENDER, language: String::new(), part: Part::Null };
    (1..levels).fold(leaf.clone(), |inner, _| NestedPart {
        part: Part::Multi { semantics: PartSemantics::ProcessAll, parts: vec![inner, leaf.clone()] },
        ..leaf.clone()
    })
}

fn with(change: impl FnOnce(&mut MimiContent)) -> Result<MimiContent, ContentError> {
    let mut content = text([0; 16], "x", None);
    change(&mut content);
    MimiContent::decode(&content.encode())
}

#[test]
fn the_limits_of_the_draft_hold_to_the_last_one_allowed() {
    assert!(with(|c| c.part = nested(MAX_DEPTH)).is_ok());
    assert_eq!(with(|c| c.part = nested(MAX_DEPTH + 1)), Err(ContentError::TooDeep));

    let wide = |parts: usize| {
        let parts = vec![nested(1); parts];
        NestedPart { part: Part::Multi { semantics: PartSemantics::ChooseOne, parts }, ..nested(1) }
    };
    assert!(with(|c| c.part = wide(MAX_PARTS - 1)).is_ok());
    assert_eq!(with(|c| c.part = wide(MAX_PARTS)), Err(ContentError::TooManyParts));
    assert_eq!(with(|c| c.part = wide(1)), Err(ContentError::Field("parts")));
    assert_eq!(with(|c| c.part = wide(0)), Err(ContentError::Field("parts")));

    assert!(with(|c| c.topic_id = vec![0; MAX_TOPIC_BYTES]).is_ok());
    assert_eq!(with(|c| c.topic_id = vec![0; MAX_TOPIC_BYTES + 1]), Err(ContentError::Field("topicId")));

    let numbered = |count: usize| {
        (0..count).map(|at| (ExtensionKey::Int(3 + at as i64), ExtensionValue::text(""))).collect::<BTreeMap<_, _>>()
    };
    assert!(with(|c| c.extensions = numbered(MAX_EXTENSIONS)).is_ok());
    assert!(with(|c| c.extensions = numbered(MAX_EXTENSIONS + 1)).is_err());

    assert_eq!(MimiContent::decode(&vec![0x81; MAX_CONTENT_BYTES + 1]), Err(ContentError::TooLarge));
}

#[test]
fn an_id_of_an_unknown_hash_is_refused() {
    assert_eq!(with(|c| c.replaces = Some(MessageId([2; 32]))), Err(ContentError::Field("replaces")));
    assert_eq!(with(|c| c.in_reply_to = Some(MessageId([0; 32]))), Err(ContentError::Field("inReplyTo")));
}

#[test]
fn extensions_keep_to_the_data_model() {
    let key = |key: ExtensionKey, value: &[u8]| {
        with(|c| {
            c.extensions.insert(key, ExtensionValue::from_cbor(value).unwrap());
        })
    };
    for wrong in [
        ExtensionKey::Int(0),
        ExtensionKey::Int(1 << 53),
        ExtensionKey::Int(-(1 << 53)),
        ExtensionKey::Text(String::new()),
        ExtensionKey::Text("x".repeat(256)),
    ] {
        assert_eq!(key(wrong, &[0x00]), Err(ContentError::Field("mimiExtensions")));
    }
    assert!(key(ExtensionKey::Text("x".repeat(255)), &[0x00]).is_ok());
    // The sender's URI must be a text.
    assert_eq!(key(ExtensionKey::Int(1), &[0x00]), Err(ContentError::Field("mimiExtensions")));
    // Four levels with the map of extensions: the draft's own example has as many.
    assert!(ExtensionValue::from_cbor(&[0x81, 0x82, 0x42, 0x12, 0x34, 0xd8, 0x20, 0x61, 0x61]).is_ok());
    assert!(ExtensionValue::from_cbor(&[0x81, 0x81, 0xd8, 0x20, 0x80]).is_err());
    assert!(ExtensionValue::from_cbor(&[0x00, 0x00]).is_err());
}

/// Every other way to write the same message: longer heads, indefinite lengths, map keys out of order, something behind it.
#[test]
fn there_is_one_encoding() {
    let good = text([9; 16], "x", None).encode();
    assert!(MimiContent::decode(&good).is_ok());
    let replaced = |at: std::ops::Range<usize>, by: &[u8]| {
        let mut bytes = good.clone();
        bytes.splice(at, by.iter().copied());
        MimiContent::decode(&bytes)
    };
    assert_eq!(replaced(0..1, &[0x98, 0x07]), Err(ContentError::NotDeterministic));
    assert_eq!(replaced(0..1, &[0x9f]), Err(ContentError::Malformed));
    assert_eq!(replaced(1..2, &[0x58, 0x10]), Err(ContentError::NotDeterministic));
    assert_eq!(replaced(good.len()..good.len(), &[0x00]), Err(ContentError::NotDeterministic));
    let map = 1 + 17 + 1 + 1 + 1 + 1;
    assert_eq!(good[map], 0xa0);
    assert_eq!(replaced(map..map + 1, &[0xb8, 0x00]), Err(ContentError::NotDeterministic));
    assert!(replaced(map..map + 1, &[0xa2, 0x03, 0x00, 0x04, 0x00]).is_ok());
    assert_eq!(replaced(map..map + 1, &[0xa2, 0x04, 0x00, 0x03, 0x00]), Err(ContentError::NotDeterministic));
    assert_eq!(replaced(map..map + 1, &[0xa2, 0x03, 0x00, 0x03, 0x00]), Err(ContentError::Field("mimiExtensions")));
    assert_eq!(replaced(map..map + 1, &[0xa1, 0x03, 0x18, 0x00]), Err(ContentError::Field("mimiExtensions")));
}

#[test]
fn announced_lengths_cost_nothing() {
    let head = [&[0x87, 0x50][..], &[0; 16], &[0xf6]].concat();
    let huge = [0xff; 8];
    for major in [0x5bu8, 0x7b, 0x9b, 0xbb] {
        // As the topic id, as the whole message, as the map of extensions, as a list of parts, as an extension's value.
        for before in [
            head.clone(),
            Vec::new(),
            [&head[..], &[0x40, 0xf6, 0xf6]].concat(),
            [&head[..], &[0x40, 0xf6, 0xf6, 0xa0, 0x85, 0x01, 0x60, 0x03, 0x00]].concat(),
            [&head[..], &[0x40, 0xf6, 0xf6, 0xa1, 0x03]].concat(),
        ] {
            let bytes = [&before[..], &[major], &huge].concat();
            assert!(MimiContent::decode(&bytes).is_err(), "{major:02x}");
        }
    }
}

#[test]
fn nesting_without_end_is_refused_early() {
    let head = [&[0x87, 0x50][..], &[0; 16], &[0xf6, 0x40, 0xf6, 0xf6, 0xa0]].concat();
    let level = [0x85, 0x01, 0x60, 0x03, 0x02, 0x82];
    let deep: Vec<u8> = head.iter().copied().chain(level.into_iter().cycle().take(60_000)).collect();
    assert_eq!(MimiContent::decode(&deep), Err(ContentError::TooDeep));
    let in_extension: Vec<u8> =
        head[..head.len() - 1].iter().copied().chain([0xa1, 0x03]).chain([0x81; 60_000]).collect();
    assert_eq!(MimiContent::decode(&in_extension), Err(ContentError::Field("mimiExtensions")));
}

#[test]
fn the_message_id_depends_on_everything_it_covers() {
    let base = message_id("mimi://a/u/x", "mimi://a/r/y", &[1; 16], b"content");
    assert_eq!(base.0[0], 1);
    for other in [
        message_id("mimi://a/u/z", "mimi://a/r/y", &[1; 16], b"content"),
        message_id("mimi://a/u/x", "mimi://a/r/z", &[1; 16], b"content"),
        message_id("mimi://a/u/x", "mimi://a/r/y", &[2; 16], b"content"),
        message_id("mimi://a/u/x", "mimi://a/r/y", &[1; 16], b"contenT"),
        message_id("mimi://a/u/xm", "imi://a/r/y", &[1; 16], b"content"),
    ] {
        assert_ne!(base, other);
    }
}

#[test]
fn an_envelopes_padding_is_checked() {
    let good = envelope(vec![5; 100]).encode();
    assert!(Envelope::decode(&good).is_ok());
    assert_eq!(*good.last().unwrap(), 0, "this content was chosen to need padding");

    let mut hidden = good.clone();
    *hidden.last_mut().unwrap() = 1;
    assert_eq!(Envelope::decode(&hidden), Err(EnvelopeError::Padding));
    assert_eq!(Envelope::decode(&good[..good.len() - 1]), Err(EnvelopeError::Padding));
    let more = [&good[..], &[0; 16]].concat();
    assert_eq!(Envelope::decode(&more), Err(EnvelopeError::Padding));
    assert_eq!(Envelope::decode(&vec![0; MAX_ENVELOPE_BYTES + 1]), Err(EnvelopeError::TooLarge));
}

#[test]
fn a_later_version_of_the_envelope_is_named() {
    let mut later = envelope(Vec::new()).encode();
    later[1] = 2;
    assert_eq!(Envelope::decode(&later), Err(EnvelopeError::Version(2)));
    // Whatever a later version looks like behind its number.
    assert_eq!(Envelope::decode(&[0x99, 0x01, 0x00, 0x18, 0xc8, 0xff]), Err(EnvelopeError::Version(200)));
}

#[test]
fn an_envelope_is_written_one_way() {
    let good = envelope(b"x".to_vec()).encode();
    let end = 1 + 1 + 2 + 34 + 66 + 9 + 3 + 34;
    let mut longer = good[..end].to_vec();
    longer.splice(2..3, [0x58, 0x01]);
    longer.resize(padme(longer.len()), 0);
    assert_eq!(Envelope::decode(&longer), Err(EnvelopeError::Malformed));
}

/// The largest content that is read fits the largest envelope that is read.
#[test]
fn the_limits_fit_one_another() {
    assert!(Envelope::decode(&envelope(vec![0; MAX_CONTENT_BYTES]).encode()).is_ok());
}

#[test]
fn debug_output_shows_nothing_that_a_user_wrote() {
    let mut content = text([0; 16], "sesame", None);
    content.extensions.insert(ExtensionKey::Int(3), ExtensionValue::text("sesame"));
    let envelope = envelope(content.encode());
    let body = interpret(&content);
    let shown = format!("{content:?} {envelope:?} {body:?} {:?}", content.extensions);
    assert!(!shown.contains("sesame") && !shown.contains("115, 101"), "{shown}");
}
