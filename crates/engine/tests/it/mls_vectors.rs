//! The passive client vectors of the MLS working group (RFC 9420), against our storage: a client joins by a Welcome and follows
//! proposals and commits. After each step everything goes through the database, and must come back as it was.
//!
//! The vectors use credentials, extensions and suites that our groups never have, so they drive OpenMLS itself over
//! [`engine::mls::Provider`]; they are about what is stored, not about our rules. There are none for post-quantum suites yet.

use std::io::Write;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use engine::mls::{Provider, SCHEMA};
use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::{
    Ciphersuite, GroupId, JoinBuilder, KeyPackage, KeyPackageBundle, MIXED_PLAINTEXT_WIRE_FORMAT_POLICY, MlsGroup,
    MlsGroupJoinConfig, MlsMessageBodyIn, MlsMessageIn, OpenMlsCrypto as _, OpenMlsProvider as _,
    ProcessedMessageContent, ProcessedWelcome, RatchetTreeIn,
};
use openmls::schedule::PreSharedKeyId;
use openmls_traits::storage::StorageProvider as _;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};

/// Bytes in hexadecimal.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Hex(Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = data_encoding::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        HEXLOWER.decode(text.as_bytes()).map(Self)
    }
}

#[derive(Deserialize)]
struct Vector {
    cipher_suite: u16,
    external_psks: Vec<ExternalPsk>,
    key_package: Hex,
    encryption_priv: Hex,
    init_priv: Hex,
    welcome: Hex,
    ratchet_tree: Option<Hex>,
    initial_epoch_authenticator: Hex,
    epochs: Vec<Epoch>,
}

#[derive(Deserialize)]
struct ExternalPsk {
    psk_id: Hex,
    psk: Hex,
}

#[derive(Deserialize)]
struct Epoch {
    proposals: Vec<Hex>,
    commit: Hex,
    epoch_authenticator: Hex,
}

/// A client that only ever reads. A turn is one transaction, and the group is loaded anew in each.
struct PassiveClient {
    db: Connection,
    rng: ChaCha20Rng,
    group: Option<GroupId>,
}

impl PassiveClient {
    fn new() -> Self {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(SCHEMA).unwrap();
        Self { db, rng: ChaCha20Rng::from_seed([1; 32]), group: None }
    }

    fn turn<T>(&mut self, work: impl FnOnce(&Provider<'_>, Option<MlsGroup>) -> T) -> T {
        let tx = self.db.unchecked_transaction().unwrap();
        let p = Provider::new(&tx, &mut self.rng);
        let group = self.group.as_ref().map(|id| MlsGroup::load(p.storage(), id).unwrap().unwrap());
        let result = work(&p, group);
        p.flush([]).unwrap();
        drop(p);
        tx.commit().unwrap();
        result
    }

    fn authenticator(&mut self) -> Vec<u8> {
        self.turn(|_, group| group.unwrap().epoch_authenticator().as_slice().to_vec())
    }

    fn join(&mut self, vector: &Vector) {
        self.turn(|p, _| {
            for psk in &vector.external_psks {
                PreSharedKeyId::external(psk.psk_id.0.clone(), Vec::new()).store(p, &psk.psk.0).unwrap();
            }
            let MlsMessageBodyIn::KeyPackage(package) = message(&vector.key_package).extract() else {
                panic!("not a key package")
            };
            // Their lifetimes are long over, so `validate` would refuse them; what is stored has the same shape in both types.
            let package: KeyPackage = serde_json::from_value(serde_json::to_value(package).unwrap()).unwrap();
            let reference = package.hash_ref(p.crypto()).unwrap();
            p.storage()
                .write_key_package(&reference, &bundle(&package, &vector.init_priv.0, &vector.encryption_priv.0))
                .unwrap();
        });
        let MlsMessageBodyIn::Welcome(welcome) = message(&vector.welcome).extract() else { panic!("not a Welcome") };
        let config = MlsGroupJoinConfig::builder()
            .use_ratchet_tree_extension(true)
            .wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
            .number_of_resumption_psks(16)
            .build();
        let group = self.turn(|p, _| {
            let processed = ProcessedWelcome::new_from_welcome(p, &config, welcome).unwrap();
            let mut builder = JoinBuilder::new(p, processed).skip_lifetime_validation();
            if let Some(tree) = &vector.ratchet_tree {
                builder = builder.with_ratchet_tree(RatchetTreeIn::tls_deserialize_exact(&tree.0[..]).unwrap());
            }
            builder.build().unwrap().into_group(p).unwrap().group_id().clone()
        });
        self.group = Some(group);
    }

    fn follow(&mut self, bytes: &Hex) {
        let message = message(bytes).try_into_protocol_message().unwrap();
        self.turn(|p, group| {
            let mut group = group.unwrap();
            match group.process_message(p, message).unwrap().into_content() {
                ProcessedMessageContent::ProposalMessage(proposal) => {
                    group.store_pending_proposal(p.storage(), *proposal).unwrap();
                }
                ProcessedMessageContent::StagedCommitMessage(commit) => group.merge_staged_commit(p, *commit).unwrap(),
                _ => panic!("neither a proposal nor a commit"),
            }
        });
    }
}

fn message(bytes: &Hex) -> MlsMessageIn {
    MlsMessageIn::tls_deserialize_exact(&bytes.0[..]).unwrap()
}

/// The library has no constructor for a key package with given private keys, but its stored form is one.
fn bundle(package: &KeyPackage, init: &[u8], encryption: &[u8]) -> KeyPackageBundle {
    let secret = |bytes: &[u8]| serde_json::to_value(openmls::prelude::HpkePrivateKey::from(bytes.to_vec())).unwrap();
    let value: Value = json!({
        "key_package": package,
        "private_init_key": secret(init),
        "private_encryption_key": { "key": secret(encryption) },
    });
    serde_json::from_value(value).unwrap()
}

/// Runs the vectors of one file whose suites our cryptography knows; returns how many there were, and how many commits they had.
fn run(name: &str) -> Option<(usize, usize)> {
    let Some(vectors) = read(name) else {
        // Straight to the stream, since the test harness swallows `eprintln!` of a test that passes; scripts/test.sh counts these lines.
        let _ = writeln!(
            std::io::stderr(),
            "\nSKIPPED {}: no {name}; set TRANSOM_VECTORS to the folder that holds mls/, or put it at ../shared/vectors",
            std::thread::current().name().unwrap_or("a test"),
        );
        return None;
    };
    let (mut ran, mut commits) = (0, 0);
    for vector in vectors {
        let mut client = PassiveClient::new();
        let known = Ciphersuite::try_from(vector.cipher_suite)
            .is_ok_and(|suite| client.turn(|p, _| p.crypto().supports(suite).is_ok()));
        if !known {
            continue;
        }
        client.join(&vector);
        assert_eq!(client.authenticator(), vector.initial_epoch_authenticator.0);
        for epoch in &vector.epochs {
            for proposal in &epoch.proposals {
                client.follow(proposal);
            }
            client.follow(&epoch.commit);
            assert_eq!(client.authenticator(), epoch.epoch_authenticator.0);
            commits += 1;
        }
        ran += 1;
    }
    Some((ran, commits))
}

fn read(name: &str) -> Option<Vec<Vector>> {
    let root = match std::env::var_os("TRANSOM_VECTORS") {
        Some(root) => PathBuf::from(root),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
    };
    let text = std::fs::read(root.join("mls").join(name)).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

#[test]
fn passive_client_welcome() {
    if let Some(counts) = run("passive-client-welcome.json") {
        assert_eq!(counts, (24, 0));
    }
}

#[test]
fn passive_client_handling_commit() {
    if let Some((ran, commits)) = run("passive-client-handling-commit.json") {
        assert_eq!((ran, commits), (39, 78));
    }
}

#[test]
fn passive_client_random() {
    if let Some(counts) = run("passive-client-random.json") {
        assert_eq!(counts, (1, 200));
    }
}
