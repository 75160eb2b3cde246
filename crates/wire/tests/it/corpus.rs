//! The fuzzers' corpus, replayed (I9): what a fuzzer once found stays survived.
//!
//! Files named `valid-…` decode, those named `refused-…` don't, and of all others (a fuzzer's finds) it is asked only that
//! they do no harm.

use std::fs;

use wire::{AccountRecord, Bytes, ClientFrame, DeviceCertificate, OfferedKeyPackage, ServerFrame, Signed};

use crate::{at_root, renew, samples};

fn replay(target: &str, seeds: Vec<(String, Vec<u8>)>, decodes: impl Fn(Bytes) -> bool) {
    let folder = at_root("fuzz/corpus").join(target);
    if renew() {
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
        let decoded = decodes(fs::read(&path).unwrap().into());
        match name.split('-').next() {
            Some("valid") => assert!(decoded, "{target}/{name} is refused"),
            Some("refused") => assert!(!decoded, "{target}/{name} is taken"),
            _ => {}
        }
        missing.retain(|seed| *seed != name);
    }
    assert!(missing.is_empty(), "{target} lacks {missing:?}: TRANSOM_RENEW=1 cargo test -p transom-wire --test it");
}

/// Bytes that hurt parsers of protobuf: lengths that lie, varints without end, groups, nesting.
fn nasty() -> Vec<(String, Vec<u8>)> {
    let cases: [(&str, Vec<u8>); 8] = [
        ("varint-without-end", vec![0x80; 64]),
        ("id-of-eleven-bytes", [&[0x08], &[0xff; 10][..], &[0x01]].concat()),
        ("length-of-all-memory", vec![0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ("length-past-the-end", vec![0x12, 0x7f, 0x00]),
        ("groups-in-groups", [0x4b; 4096].to_vec()),
        ("field-number-zero", vec![0x00, 0x00]),
        ("wrong-wire-type", vec![0x0d, 0x01, 0x02, 0x03, 0x04]),
        ("text-that-is-not-utf8", vec![0x8a, 0x02, 0x04, 0x0a, 0x02, 0xff, 0xfe]),
    ];
    cases.into_iter().map(|(name, bytes)| (format!("refused-{name}"), bytes)).collect()
}

fn cut(name: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    (format!("refused-{name}-cut"), bytes[..bytes.len() - 1].to_vec())
}

#[test]
fn i9_client_frames_survive_their_corpus() {
    let mut seeds = nasty();
    for (name, frame) in samples::client_frames() {
        let bytes = frame.encode();
        if bytes.len() > 8 {
            seeds.push(cut(name, &bytes));
        }
        seeds.push((format!("valid-{name}"), bytes.to_vec()));
    }
    replay("wire_client_frame", seeds, |bytes| {
        ClientFrame::decode_id(&bytes);
        let frame = ClientFrame::decode(bytes);
        frame.is_ok_and(|frame| ClientFrame::decode(frame.encode()) == Ok(frame))
    });
}

#[test]
fn i9_server_frames_survive_their_corpus() {
    let mut seeds = nasty();
    for (name, frame) in samples::server_frames() {
        let bytes = frame.encode();
        if bytes.len() > 8 {
            seeds.push(cut(name, &bytes));
        }
        seeds.push((format!("valid-{name}"), bytes.to_vec()));
    }
    // A fuzzer's find: a name that loses one of its ports each time it is read would not come back as it was sent.
    seeds.push((
        "refused-relay-with-two-ports".into(),
        data_encoding::BASE64
            .decode(
                b"CnAIARCA0JX/vDEaIA4ODg4ODg4ODg4ODg4ODg4ODg4ODg4ODg4ODjAODg4OIhByAAAAHBwcHBwcHBwcHBwcKg1lcmxheTo0NDM6NDQzMiII\
                  gIAEEICAgAIY0A8gQChkMICAeYAQOIAQ+9MJQICw8fsc",
            )
            .unwrap(),
    ));
    replay("wire_server_frame", seeds, |bytes| {
        let frame = ServerFrame::decode(bytes);
        frame.is_ok_and(|frame| ServerFrame::decode(frame.encode()) == Ok(frame))
    });
}

#[test]
fn i9_signed_things_survive_their_corpus() {
    let mut seeds = nasty();
    for (name, bytes) in samples::signed() {
        seeds.push(cut(name, &bytes));
        let mut flipped = bytes.to_vec();
        flipped[20] ^= 1;
        seeds.push((format!("refused-{name}-flipped"), flipped));
        seeds.push((format!("valid-{name}"), bytes.to_vec()));
    }
    let device = samples::device_key().verifying_key().to_bytes();
    replay("wire_record", seeds, |bytes| {
        let record = Signed::<AccountRecord>::parse(bytes.clone()).is_ok();
        let certificate = Signed::<DeviceCertificate>::parse(bytes.clone()).is_ok();
        let package = Signed::<OfferedKeyPackage>::parse(bytes, &device).is_ok();
        record || certificate || package
    });
}
