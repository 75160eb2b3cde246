//! The examples of draft-ietf-mimi-content-08. They are the working group's and not copied into this project: they are found
//! through `TRANSOM_VECTORS`, or beside the repository.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use content::mimi::{Disposition, ExtensionKey, Part, PartSemantics, ROOM_URI, SENDER_URI};
use content::{Body, MessageId, MimiContent, interpret, message_id};

/// The folder of the examples, or None after a word on stderr.
fn folder() -> Option<PathBuf> {
    let vectors = std::env::var_os("TRANSOM_VECTORS")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join("../shared/vectors"));
    let folder = vectors.join("mimi-content");
    if folder.is_dir() {
        return Some(folder);
    }
    // Straight to the stream, since the test harness swallows `eprintln!` of a test that passes; scripts/test.sh counts these lines.
    let _ = writeln!(
        std::io::stderr(),
        "\nSKIPPED {}: no vectors of MIMI content at {}; set TRANSOM_VECTORS to the folder that holds mimi-content/",
        std::thread::current().name().unwrap_or("a test"),
        folder.display()
    );
    None
}

struct Example {
    name: String,
    bytes: Vec<u8>,
    /// The message id that the comments of the diagnostic notation state.
    stated_id: Option<Vec<u8>>,
}

fn examples() -> Vec<Example> {
    let Some(folder) = folder() else { return Vec::new() };
    let mut examples = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // `implied-…` is not content but what a receiver derives, in a shape of its own.
        if path.extension().is_none_or(|extension| extension != "cbor") || name.starts_with("implied") {
            continue;
        }
        let notation = fs::read_to_string(path.with_extension("edn")).unwrap();
        examples.push(Example { name, bytes: fs::read(&path).unwrap(), stated_id: stated_id(&notation) });
    }
    examples.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(examples.len() >= 14, "the folder of the vectors holds {} examples only", examples.len());
    examples
}

/// The example of this name; None only where there are no vectors at all.
fn named(name: &str) -> Option<Example> {
    let examples = examples();
    let there_are_some = !examples.is_empty();
    let found = examples.into_iter().find(|example| example.name == name);
    assert!(found.is_some() || !there_are_some, "the folder of the vectors holds no {name}");
    found
}

/// From `# message ID = h'…` up to the closing quote, across lines.
fn stated_id(notation: &str) -> Option<Vec<u8>> {
    let (_, from) = notation.split_once("message ID = h'")?;
    let (id, _) = from.split_once('\'')?;
    let digits: Vec<u32> = id.chars().filter_map(|character| character.to_digit(16)).collect();
    Some(digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect())
}

#[test]
fn every_example_decodes_and_encodes_to_the_same_bytes() {
    for example in examples() {
        let content = MimiContent::decode(&example.bytes).unwrap_or_else(|error| panic!("{}: {error}", example.name));
        assert_eq!(content.encode(), example.bytes, "{}", example.name);
    }
}

#[test]
fn every_example_has_the_message_id_that_it_states() {
    let examples = examples();
    for example in &examples {
        let content = MimiContent::decode(&example.bytes).unwrap();
        let uri = |key: &ExtensionKey| content.extensions[key].as_text().unwrap().to_owned();
        let id = message_id(&uri(&SENDER_URI), &uri(&ROOM_URI), &content.salt, &example.bytes);
        let stated = example.stated_id.as_ref().unwrap_or_else(|| panic!("{} states no id", example.name));
        assert_eq!(id.0.as_slice(), stated, "{}", example.name);
    }
}

#[test]
fn the_examples_say_what_the_draft_says() {
    let texts = [
        ("original", "Hi everyone, we just shipped release 2.0. __Good  work__!"),
        ("reply", "Right on! _Congratulations_ 'all!"),
        ("multipart-1", "# Welcome!"),
        ("mention", "Kudos to [@Alice Smith](mimi://example.com/u/alice-smith) for making the release happen!"),
        ("expiring", "__*VPN GOING DOWN*__ I'm rebooting the VPN in ten minutes unless anyone objects."),
    ];
    let fallbacks = [
        ("attachment", "2 hours of key signing video (bigfile.mp4)"),
        ("conferencing", "Join the Foo 118 conference"),
        ("mention-html", "Kudos to @Alice Smith for making the release happen!"),
        ("multipart-3", "Welcome!"),
    ];
    let examples = examples();
    let id = |name: &str| {
        MessageId(examples.iter().find(|e| e.name == name).unwrap().stated_id.clone().unwrap().try_into().unwrap())
    };
    for example in &examples {
        let body = interpret(&MimiContent::decode(&example.bytes).unwrap());
        let name = example.name.as_str();
        let expected = match name {
            "reaction" => Body::Reaction { to: id("original"), emoji: vec!["\u{2764}".into()] },
            "unlike" => Body::Delete { replaces: id("reaction"), in_reply_to: Some(id("original")) },
            "edit" => {
                Body::Edit { replaces: id("reply"), text: "Right on! _Congratulations_ y'all!".into(), preview: None }
            }
            "delete" => Body::Delete { replaces: id("reply"), in_reply_to: Some(id("original")) },
            // Three reactions, and nothing says to what.
            "multipart-2" => Body::Unknown { fallback: "Reaction: \u{2764}".into() },
            _ => match (texts.iter().find(|(of, _)| *of == name), fallbacks.iter().find(|(of, _)| *of == name)) {
                (Some((_, text)), _) => Body::Text { text: (*text).to_owned(), preview: None },
                (_, Some((_, fallback))) => Body::Unknown { fallback: (*fallback).to_owned() },
                _ => panic!("{name} is a new example: say here what it should show"),
            },
        };
        assert!(body == expected, "{name} is {body:?}");
    }
}

#[test]
fn several_reactions_at_once_are_read() {
    let Some(example) = named("multipart-2") else { return };
    let content = MimiContent { in_reply_to: Some(MessageId([1; 32])), ..MimiContent::decode(&example.bytes).unwrap() };
    let emoji = ["\u{2764}", "\u{1f973}", "\u{1f91e}"].map(str::to_owned).to_vec();
    assert!(interpret(&content) == Body::Reaction { to: MessageId([1; 32]), emoji });
}

#[test]
fn the_mention_is_found() {
    let Some(example) = named("mention") else { return };
    let Body::Text { text, .. } = interpret(&MimiContent::decode(&example.bytes).unwrap()) else { panic!("no text") };
    assert_eq!(content::mentions(&text), ["alice-smith@example.com"]);
}

#[test]
fn fields_are_where_the_draft_puts_them() {
    for example in examples() {
        let content = MimiContent::decode(&example.bytes).unwrap();
        match example.name.as_str() {
            "attachment" => {
                assert_eq!(content.part.disposition, Disposition::ATTACHMENT);
                assert_eq!(content.part.language, "en");
                let Part::External(external) = &content.part.part else { panic!("not external") };
                assert_eq!((external.size, external.enc_alg, external.hash_alg), (708_234_961, 1, 1));
                assert_eq!(external.url, "https://example.com/storage/8ksB4bSrrRE.mp4");
            }
            "expiring" => {
                let expires = content.expires.unwrap();
                assert_eq!((expires.relative, expires.seconds), (false, 1_644_390_004));
                assert!(expires.is_plausible(1_644_389_403));
                assert!(!expires.is_plausible(1_800_000_000));
            }
            "conferencing" => assert_eq!(content.topic_id, b"Foo 118"),
            "delete" => assert!(content.replaces.is_some() && content.part.part == Part::Null),
            "multipart-2" => {
                let Part::Multi { semantics, parts } = &content.part.part else { panic!("not several parts") };
                assert_eq!((*semantics, parts.len()), (PartSemantics::ProcessAll, 3));
            }
            _ => {}
        }
    }
}
