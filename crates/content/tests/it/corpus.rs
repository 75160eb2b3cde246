//! The fuzzers' corpus, replayed (I9): what a fuzzer once found stays survived.
//!
//! Files named `valid-…` decode, those named `refused-…` don't, and of all others (a fuzzer's finds) it is asked only that
//! they do no harm. The first two kinds are written by `TRANSOM_RENEW=1 cargo test -p transom-content --test it`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use content::mimi::{
    Disposition, Expiration, ExtensionKey, ExtensionValue, ExternalPart, NestedPart, Part, PartSemantics, ROOM_URI,
    SENDER_URI,
};
use content::{
    Contact, Envelope, Location, MessageId, MimiContent, Poll, Preview, Receipts, interpret, receipts, text,
};

fn replay(target: &str, seeds: Vec<(String, Vec<u8>)>, decodes: impl Fn(&[u8]) -> bool) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    if std::env::var_os("TRANSOM_RENEW").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in &seeds {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let listed = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut missing: Vec<_> = seeds.iter().map(|(name, _)| name.clone()).collect();
    for entry in listed {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let decoded = decodes(&fs::read(&path).unwrap());
        match name.split('-').next() {
            Some("valid") => assert!(decoded, "{target}/{name} is refused"),
            Some("refused") => assert!(!decoded, "{target}/{name} is taken"),
            _ => {}
        }
        missing.retain(|seed| *seed != name);
    }
    assert!(missing.is_empty(), "{target} lacks {missing:?}: TRANSOM_RENEW=1 cargo test -p transom-content --test it");
}

fn single(disposition: Disposition, content_type: &str, content: &[u8]) -> NestedPart {
    let part = Part::Single { content_type: content_type.into(), content: content.to_vec() };
    NestedPart { disposition, language: String::new(), part }
}

fn several(semantics: PartSemantics, parts: Vec<NestedPart>) -> NestedPart {
    NestedPart { part: Part::Multi { semantics, parts }, ..single(Disposition::RENDER, "", b"") }
}

fn messages() -> Vec<(&'static str, MimiContent)> {
    use PartSemantics::{ChooseOne, ProcessAll, SingleUnit};
    let id = MessageId([1; 32]);
    let plain = |content: &str| single(Disposition::RENDER, "text/plain;charset=utf-8", content.as_bytes());
    let html = single(Disposition::RENDER, "text/html;charset=utf-8", b"<p>Hello &amp; <b>welcome</b></p>");
    let image = single(Disposition::INLINE, "image/png", &[0x89, 0x50, 0x4e, 0x47]);
    let base = || text([0x5a; 16], "Hello **Bob**, see <b>this</b> & that", None);
    let with_part = |part| MimiContent { part, ..base() };
    let external = Part::External(Box::new(ExternalPart {
        content_type: "video/mp4".into(),
        url: "https://relay.example/v1/blobs/00".into(),
        expires: 1_800_000_000,
        size: 708_234_961,
        enc_alg: 29,
        key: vec![0x4b; 32],
        nonce: vec![],
        aad: vec![],
        hash_alg: 1,
        content_hash: vec![0x68; 32],
        description: "Two hours of key signing".into(),
        filename: "film.mp4".into(),
    }));
    let reactions = several(
        ProcessAll,
        ["❤", "🥳"].map(|emoji| single(Disposition::REACTION, "text/plain;charset=utf-8", emoji.as_bytes())).into(),
    );
    let reactions = NestedPart { disposition: Disposition::REACTION, ..reactions };
    let preview = Preview::new("https://relay.example/", "A relay", "What it says").unwrap();
    let extensions = BTreeMap::from([
        (SENDER_URI, ExtensionValue::text("mimi://relay.example/u/alice")),
        (ROOM_URI, ExtensionValue::text("mimi://relay.example/r/room")),
        (ExtensionKey::Int(256), ExtensionValue::from_cbor(&[0x81, 0x82, 0x41, 0x12, 0xd8, 0x20, 0x61, 0x61]).unwrap()),
        (ExtensionKey::Int(-7), ExtensionValue::from_cbor(&[0xf9, 0x7e, 0x00]).unwrap()),
        (ExtensionKey::Text("transom".into()), ExtensionValue::from_cbor(&[0xa1, 0x00, 0xf6]).unwrap()),
    ]);
    let deepest = several(
        ChooseOne,
        vec![several(ProcessAll, vec![several(SingleUnit, vec![plain("a"), html.clone()]), image.clone()]), plain("b")],
    );
    vec![
        ("text", base()),
        ("reply", text([0x5a; 16], "yes", Some(id))),
        ("empty-text", text([0x5a; 16], "", None)),
        ("edit", MimiContent { replaces: Some(id), in_reply_to: Some(id), ..base() }),
        (
            "delete",
            MimiContent {
                replaces: Some(id),
                part: NestedPart { part: Part::Null, ..single(Disposition::RENDER, "", b"") },
                ..base()
            },
        ),
        ("reaction", with_part(single(Disposition::REACTION, "text/plain;charset=utf-8", "👍".as_bytes()))),
        ("expiring", MimiContent { expires: Some(Expiration { relative: true, seconds: 3600 }), ..base() }),
        ("topic", MimiContent { topic_id: b"topic".to_vec(), ..base() }),
        ("extensions", MimiContent { extensions, ..base() }),
        ("external", with_part(NestedPart { part: external, ..single(Disposition::ATTACHMENT, "", b"") })),
        ("alternatives", with_part(several(ChooseOne, vec![html.clone(), plain("plain")]))),
        ("unit", with_part(several(SingleUnit, vec![html, image]))),
        ("deepest", with_part(deepest)),
        ("unknown-disposition", with_part(single(Disposition(255), "application/x", b"?"))),
        ("not-utf8", with_part(single(Disposition::RENDER, "text/plain", &[0xff, 0xfe]))),
        ("combining", with_part(plain(&format!("e{}", "\u{301}".repeat(500))))),
        ("controls", with_part(plain("\u{1b}[2J\u{202e}abc"))),
        ("unclosed-tag", with_part(single(Disposition::RENDER, "text/html", b"a<b &lt;&amp;lt;"))),
        ("receipts", receipts([0x5a; 16], &Receipts { delivered: vec![(1, 300), (302, 70_000)], read: vec![(1, 5)] })),
        ("edited-text", content::edit([0x5a; 16], id, "better", None, Some(id))),
        ("unreaction", content::unreaction([0x5a; 16], id, id)),
        ("reactions", MimiContent { in_reply_to: Some(id), ..with_part(reactions) }),
        ("poll", content::poll([0x5a; 16], &Poll::new("Lunch?", &["Pizza".into(), "Soup".into()], true).unwrap())),
        ("vote", content::vote([0x5a; 16], id, &[0, 1], "Vote: Pizza, Soup")),
        ("poll-closed", content::poll_closed([0x5a; 16], id)),
        ("pin", content::pin([0x5a; 16], id, true)),
        ("contact", content::contact([0x5a; 16], &Contact::new("Bob", "bob@relay.example").unwrap())),
        ("location", content::location([0x5a; 16], &Location::new(482_010_000, -163_695_000, 30, "Café").unwrap())),
        ("preview", content::text_with_preview([0x5a; 16], "see https://relay.example/", &preview, None)),
        ("forwarded", content::forwarded(base())),
        (
            "poll-damaged",
            with_part(single(
                Disposition::RENDER,
                "application/vnd.transom.poll+cbor",
                &[0x84, 0x01, 0x61, 0x71, 0x9b],
            )),
        ),
        (
            "receipts-damaged",
            with_part(single(Disposition::UNSPECIFIED, "application/vnd.transom.receipts+cbor", &[0x83, 0x01, 0x9b])),
        ),
    ]
}

#[test]
fn i9_mimi_content_survives_its_corpus() {
    let head = [&[0x87, 0x50][..], &[0; 16], &[0xf6, 0x40, 0xf6, 0xf6]].concat();
    let behind = |bytes: &[u8]| [&head[..], bytes].concat();
    let good = text([0x5a; 16], "x", None).encode();
    let mut seeds: Vec<(String, Vec<u8>)> = vec![
        ("refused-empty".into(), vec![]),
        ("refused-trailing".into(), [&good[..], &[0x00]].concat()),
        ("refused-cut".into(), good[..good.len() - 1].to_vec()),
        ("refused-longer-head".into(), [&[0x98, 0x07], &good[1..]].concat()),
        ("refused-indefinite".into(), [&[0x9f], &good[1..], &[0xff]].concat()),
        (
            "refused-nested-parts".into(),
            behind(&[&[0xa0][..], &[0x85, 0x01, 0x60, 0x03, 0x02, 0x82].repeat(50)].concat()),
        ),
        ("refused-nested-extension".into(), behind(&[&[0xa1, 0x03][..], &[0x81; 300]].concat())),
        ("refused-map-of-all-memory".into(), behind(&[&[0xbb][..], &[0xff; 8]].concat())),
        (
            "refused-parts-of-all-memory".into(),
            behind(&[&[0xa0, 0x85, 0x01, 0x60, 0x03, 0x02, 0x9b][..], &[0xff; 8]].concat()),
        ),
        (
            "refused-bytes-of-all-memory".into(),
            behind(&[&[0xa0, 0x85, 0x01, 0x60, 0x01, 0x60, 0x5b][..], &[0xff; 8]].concat()),
        ),
        ("refused-keys-out-of-order".into(), behind(&[0xa2, 0x04, 0x00, 0x03, 0x00, 0x83, 0x01, 0x60, 0x00])),
        ("refused-keys-twice".into(), behind(&[0xa2, 0x03, 0x00, 0x03, 0x00, 0x83, 0x01, 0x60, 0x00])),
        (
            "refused-unknown-hash".into(),
            [
                &[0x87, 0x50][..],
                &[0; 16],
                &[0x58, 0x20],
                &[0x02; 32],
                &[0x40, 0xf6, 0xf6, 0xa0, 0x83, 0x01, 0x60, 0x00],
            ]
            .concat(),
        ),
    ];
    seeds.extend(messages().into_iter().map(|(name, content)| (format!("valid-{name}"), content.encode())));
    replay("mimi_content", seeds, |bytes| {
        let Ok(content) = MimiContent::decode(bytes) else { return false };
        assert!(content.encode() == bytes);
        interpret(&content);
        true
    });
}

#[test]
fn i9_envelopes_survive_their_corpus() {
    let envelope = |content: Vec<u8>, sent| Envelope {
        content,
        franking_key: [0x4b; 32],
        signature: [0x51; 64],
        sent,
        head_seq: 300,
        head_hash: [0x68; 32],
    };
    let good = envelope(text([0x5a; 16], "Hello", None).encode(), 1_700_000_000_000).encode();
    assert_eq!(good.last(), Some(&0), "this text was chosen to need padding");
    let mut hidden = good.clone();
    *hidden.last_mut().unwrap() = 1;
    let mut later = good.clone();
    later[1] = 2;
    let mut seeds: Vec<(String, Vec<u8>)> = vec![
        ("refused-empty".into(), vec![]),
        ("refused-hidden-in-padding".into(), hidden),
        ("refused-padding-cut".into(), good[..good.len() - 1].to_vec()),
        ("refused-padding-more".into(), [&good[..], &[0; 64]].concat()),
        ("refused-later-version".into(), later),
        ("refused-content-of-all-memory".into(), [&[0x87, 0x01, 0x5b][..], &[0xff; 8]].concat()),
        ("refused-zeros".into(), vec![0; 256]),
    ];
    for (name, content) in messages().into_iter().take(3) {
        seeds.push((format!("valid-{name}"), envelope(content.encode(), 1_700_000_000_000).encode()));
    }
    seeds.push(("valid-empty".into(), envelope(Vec::new(), 0).encode()));
    seeds.push(("valid-largest-numbers".into(), envelope(vec![0xff; 300], u64::MAX).encode()));
    replay("envelope", seeds, |bytes| {
        let Ok(envelope) = Envelope::decode(bytes) else { return false };
        assert!(envelope.encode() == bytes);
        true
    });
}

#[test]
fn i9_mentions_survive_their_corpus() {
    let seeds = [
        ("valid-mention", "Kudos to [@Alice Smith](mimi://example.com/u/alice-smith) for this"),
        ("valid-typed", "@bob, see `@bob` and \\@bob (@bob@relay.example)."),
        ("valid-links", "[a](https://relay.example) [b]() [](x) [c](d e) [[e](f)](g)"),
        ("valid-open", "[`[`](`[a](b"),
        ("valid-brackets", "[[[[[[[[]]]](((())))"),
        ("valid-letters", "é[é](é)\\é`é`@é"),
    ];
    let seeds = seeds.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into();
    replay("mentions", seeds, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        content::mentions(text);
        content::in_plain(text);
        assert_eq!(content::link_mentions(text, |_| None), text);
        true
    });
}
