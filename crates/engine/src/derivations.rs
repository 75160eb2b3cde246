//! The table of derivations (protocol section 5) with vectors, for whoever writes another client: `docs/derivations.json`.

use data_encoding::HEXLOWER;
use rand_core::SeedableRng;
use serde_json::{Value, json};
use wire::{Address, ChainHash, Entry, EntryId, EntryKind, Epoch, EpochPublicKey, LogId, RelayName, Seq, UnixMillis};

use crate::backup::{self, RecoveryKey};
use crate::identity::{deposit_info, hpke_open, hpke_public, hpke_seal, safety_number};
use crate::invite_link::link_id;
use crate::mls::{Derive, exporter_context};
use crate::picture::{self, Picture};
use crate::shelf::{Shelf, Slot};
use crate::{archive, formats};

const LOG: LogId = LogId([1; 16]);

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

/// An entry with something in every field.
fn commit() -> Entry {
    Entry {
        seq: Seq(3),
        prev: Seq(2),
        time: UnixMillis(1_700_000_000_000),
        kind: EntryKind::Commit,
        epoch: Epoch(2),
        id: EntryId([4; 16]),
        body: b"abc".to_vec().into(),
        commitment: [0; 32],
        next: Some(EpochPublicKey([5; 32])),
        stamp: [6; 32],
    }
}

fn of_secrets() -> Vec<Value> {
    let (secret, relay) = ([7; 32], "relay.example".parse::<RelayName>().unwrap());
    let archive = archive::Secret(secret);
    let (picture, _) = Picture::seal(secret, b"");
    let (shelf, slot) = (Shelf(secret), Slot { day: 20_000, number: 1 });
    let recovery = RecoveryKey(secret);
    let (code, link) = crate::sync::linking::derived([7; 20], &relay);
    let named = ["log", "key", "from the new device", "to the new device"].into_iter().zip(link);
    let mut all: Vec<Value> = named
        .map(|(what, gives)| {
            json!({ "label": "transom v1 link", "what": what, "secret": hex([7; 20]), "code": code, "relay": relay.as_str(), "gives": hex(gives) })
        })
        .collect();
    for (what, number, gives) in [
        ("id", 0, archive.id()),
        ("blob", 1, archive.blob(1).0),
        ("upload", 1, archive.upload(1).0),
        ("key", 1, *archive.key(1).as_bytes()),
    ] {
        all.push(json!({ "label": "transom v1 archive", "what": what, "secret": hex(secret), "number": number, "gives": hex(gives) }));
    }
    for (what, number, gives) in [
        ("blob", 666, picture.blob(666).0),
        ("upload", 666, picture.upload(666).0),
        ("key", 0, *picture::key(&secret).as_bytes()),
    ] {
        all.push(json!({ "label": "transom v1 picture", "what": what, "secret": hex(secret), "number": number, "gives": hex(gives) }));
    }
    for (what, gives) in [("blob", shelf.blob(slot).0), ("upload", shelf.upload(slot).0)] {
        all.push(json!({ "label": "transom v1 shelf", "what": what, "secret": hex(secret), "day": slot.day, "number": slot.number, "gives": hex(gives) }));
    }
    for (what, gives) in [("backup", *recovery.seed()), ("relay", recovery.shelf().0)] {
        all.push(json!({ "label": "transom v1 recovery key", "what": what, "secret": hex(secret), "written": *recovery.text(), "gives": hex(gives) }));
    }
    all
}

fn of_hashes() -> Vec<Value> {
    let (alice, bob): (Address, Address) = ("alice@a.example".parse().unwrap(), "bob@b.example".parse().unwrap());
    let public = RecoveryKey([7; 32]).public();
    let entry = commit();
    let body_hash = hex(formats::hash(&entry.body));
    let of_entry = json!({
        "log": hex(LOG.0), "seq": 3, "time": entry.time.0, "kind": entry.kind as u8, "epoch": 2, "id": hex(entry.id.0), "body": hex(&entry.body),
        "body_hash": body_hash, "commitment": hex(entry.commitment), "next": hex([5; 32]),
    });
    let contexts = Derive::ALL.iter().map(|what| {
        // A successor's has one part more, which is added where it is asked for.
        let context = exporter_context(*what, &"relay.example".parse().unwrap(), LOG);
        json!({ "label": what.label(), "what": "context of the exporter", "relay": "relay.example", "log": hex(LOG.0), "gives": hex(context) })
    });
    let mut all: Vec<Value> = contexts.collect();
    all.extend([
        json!({ "label": "transom v1 chain", "before": hex([9; 32]), "entry": of_entry, "gives": hex(ChainHash([9; 32]).after(&entry).0) }),
        json!({ "label": "transom v1 ending", "entry": of_entry, "gives": hex(formats::ending(LOG, &entry)) }),
        json!({ "label": "transom v1 note", "log": hex(LOG.0), "seq": 3, "text": "bob left.", "gives": hex(formats::note(LOG, 3, "bob left.")) }),
        json!({ "label": "transom v1 invite link id", "log": hex(LOG.0), "secret": hex([7; 16]), "gives": hex(link_id(LOG, &[7; 16])) }),
        json!({ "label": "transom v1 backup", "what": "the file's first bytes", "public_key_hash": hex(formats::hash(&public)),
                "gives": hex(backup::clear(backup::VERSION, &public)) }),
        json!({ "label": "transom v1 safety number", "addresses": [alice.as_str(), bob.as_str()], "account_keys": [hex([1; 32]), hex([2; 32])],
                "gives": safety_number((&alice, &[1; 32]), (&bob, &[2; 32])) }),
    ]);
    all
}

/// Sealing draws by chance, so that the vector is for whoever opens.
fn of_deposits() -> Value {
    let (seed, plain) = ([7; 32], b"a deposit");
    let info = deposit_info(LOG);
    let mut rng = rand_chacha::ChaCha20Rng::from_seed([1; 32]);
    let sealed = hpke_seal(&hpke_public(&seed), &info, plain, &mut rng).unwrap();
    assert_eq!(hpke_open(&seed, &info, &sealed).unwrap(), plain);
    json!({ "label": "transom v1 deposit", "seed": hex(seed), "inbox": hex(LOG.0), "info": hex(info), "sealed": hex(sealed), "gives": hex(plain) })
}

#[test]
fn the_derivations_have_their_vectors_in_the_docs() {
    let all = [of_secrets(), of_hashes(), vec![of_deposits()]].concat();
    let lines: Vec<String> = all.iter().map(|one| format!("    {one}")).collect();
    let about = "Section 5 of protocol.md, one row after another: from what, under which label, and what it gives. All bytes in hex.";
    let today = format!("{{\n  \"about\": \"{about}\",\n  \"derivations\": [\n{}\n  ]\n}}\n", lines.join(",\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/derivations.json");
    if std::env::var_os("TRANSOM_RENEW").is_some() {
        std::fs::write(path, &today).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    for line in today.lines() {
        assert!(
            committed.lines().any(|other| other == line),
            "docs/derivations.json has not: {line}\nWhat exists is no longer found or opened if a derivation has changed. \
             If it is meant: TRANSOM_RENEW=1 cargo test -p transom-engine --lib derivations"
        );
    }
    assert_eq!(committed.lines().count(), today.lines().count(), "docs/derivations.json has more than there is");
}
