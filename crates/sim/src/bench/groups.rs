//! The rows of groups: ours over its database beside OpenMLS alone with its storage in memory; the same operations in the same order.
//! Additions are made without an update path on both sides, and nobody but the creator has committed ("flat", the worst case). Times are processor time.

use std::io;
use std::time::Duration;

use ed25519_dalek::Signer as _;
use engine::mls::{CLASSICAL_SUITE, Change, DEFAULT_SUITE, Group, Provider, SCHEMA, SUITES, key_package};
use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, CredentialWithKey, GroupId, KeyPackage, KeyPackageIn, LeafNodeIndex,
    LeafNodeParameters, MlsGroup, MlsGroupCreateConfig, MlsMessageBodyIn, MlsMessageIn, OpenMlsProvider as _,
    PURE_CIPHERTEXT_WIRE_FORMAT_POLICY, ProcessedMessageContent, ProtocolVersion, RatchetTreeIn, StagedWelcome,
};
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::SignatureScheme;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rusqlite::Connection;
use wire::{Bytes, DeviceCertificate, DeviceId, LogId, RelayName, Signed, SigningKey, UnixMillis};

use super::Settings;
use super::cpu::thread_time;
use super::report::{Aim, Report, Row};

pub(super) const LOG: LogId = LogId([7; 16]);
/// Key packages in one commit: what fits into the largest one.
pub(super) const ADDED_AT_ONCE: usize = 400;
const ROUNDS: u32 = 5;
/// A text message as it is padded.
pub(super) const MESSAGE: [u8; 512] = [7; 512];

pub(super) fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> io::Error {
    move |error| io::Error::other(format!("{what}: {error}"))
}

/// What one library took.
#[derive(Default, Clone, Copy)]
struct Took {
    create: Duration,
    add: Duration,
    process_add: Duration,
    join: Duration,
    remove: Duration,
    process_remove: Duration,
    add_bytes: usize,
    remove_bytes: usize,
    welcome_bytes: usize,
    tree_bytes: usize,
}

pub(super) struct Device {
    pub(super) key: SigningKey,
    pub(super) certificate: Signed<DeviceCertificate>,
    db: Connection,
    rng: ChaCha20Rng,
    suite: u16,
    now: UnixMillis,
    group: Option<Group>,
}

pub(super) fn certify(number: u32, now: UnixMillis) -> io::Result<(SigningKey, Signed<DeviceCertificate>)> {
    let mut seed = [1; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    let account = SigningKey::from_bytes(&seed);
    seed[31] = 2;
    let key = SigningKey::from_bytes(&seed);
    let mut device = [0; 16];
    device[..4].copy_from_slice(&number.to_be_bytes());
    let certificate = DeviceCertificate {
        account_key: account.verifying_key().to_bytes(),
        address: format!("user{number}@localhost").parse().map_err(failed("address"))?,
        device: DeviceId(device),
        signature_key: key.verifying_key().to_bytes(),
        suites: SUITES.to_vec(),
        versions: vec![1],
        created: now,
    };
    Ok((key, certificate.sign(&account)))
}

impl Device {
    pub(super) fn new(number: u32, suite: u16, now: UnixMillis) -> io::Result<Self> {
        Self::at(Connection::open_in_memory().map_err(failed("database"))?, number, suite, now)
    }

    /// Over this database, which is empty.
    pub(super) fn at(db: Connection, number: u32, suite: u16, now: UnixMillis) -> io::Result<Self> {
        let (key, certificate) = certify(number, now)?;
        db.execute_batch(SCHEMA).map_err(failed("schema"))?;
        let mut seed = [3; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        Ok(Self { key, certificate, db, rng: ChaCha20Rng::from_seed(seed), suite, now, group: None })
    }

    /// One transaction, and how long it took.
    pub(super) fn turn<T, E: std::fmt::Display>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&Provider<'_>, &SigningKey, &mut Option<Group>) -> Result<T, E>,
    ) -> io::Result<(T, Duration)> {
        let begun = thread_time();
        let tx = self.db.unchecked_transaction().map_err(failed("begin"))?;
        let p = Provider::new(&tx, &mut self.rng);
        let done = work(&p, &self.key, &mut self.group).map_err(failed(what))?;
        p.flush(self.group.as_mut()).map_err(failed("flush"))?;
        drop(p);
        tx.commit().map_err(failed("commit"))?;
        Ok((done, thread_time() - begun))
    }

    pub(super) fn package(&mut self) -> io::Result<Bytes> {
        let (certificate, suite, now) = (self.certificate.clone(), self.suite, self.now);
        let ((package, _), _) =
            self.turn("key package", |p, key, _| key_package(p, key, &certificate, suite, now, false))?;
        Ok(package.into())
    }

    /// A group of its own.
    pub(super) fn create(&mut self, now: UnixMillis) -> io::Result<Duration> {
        let (certificate, suite) = (self.certificate.clone(), self.suite);
        let create = |p: &Provider<'_>, key: &SigningKey, group: &mut Option<Group>| {
            Group::create(p, key, &certificate, LOG, suite, b"state", now).map(|made| *group = Some(made))
        };
        self.turn("create", create).map(|(_, took)| took)
    }

    pub(super) fn join(&mut self, welcome: &[u8], tree: &[u8]) -> io::Result<Duration> {
        let join = |p: &Provider<'_>, key: &SigningKey, group: &mut Option<Group>| {
            Group::join(p, key, welcome, tree).map(|joined| *group = Some(joined))
        };
        self.turn("join", join).map(|(_, took)| took)
    }

    pub(super) fn follow(&mut self, commit: &[u8]) -> io::Result<Duration> {
        let follow = |p: &Provider<'_>, _: &SigningKey, group: &mut Option<Group>| {
            let group = group.as_mut().ok_or("no group")?;
            let incoming = group.process(p, commit).map_err(|_| "the commit can't be processed")?;
            group.merge(p, incoming).map_err(|_| "the commit can't be merged")
        };
        self.turn("follow", follow).map(|(_, took)| took)
    }

    pub(super) fn commit(&mut self, change: Change, relay: &RelayName) -> io::Result<(engine::mls::Staged, Duration)> {
        let stage = |p: &Provider<'_>, key: &SigningKey, group: &mut Option<Group>| {
            let group = group.as_mut().ok_or_else(|| "no group".to_owned())?;
            group.stage(p, key, change, relay).map_err(|error| error.to_string())
        };
        let (staged, staging) = self.turn("stage", stage)?;
        let merge = |p: &Provider<'_>, _: &SigningKey, group: &mut Option<Group>| {
            group.as_mut().ok_or("no group")?.merge_staged(p).map_err(|_| "the commit can't be merged")
        };
        let (_, merging) = self.turn("merge", merge)?;
        Ok((staged, staging + merging))
    }
}

fn ours(size: u32, suite: u16, now: UnixMillis) -> io::Result<Took> {
    let relay: RelayName = "localhost".parse().map_err(failed("name"))?;
    let mut took = Took::default();
    let mut first = Device::new(0, suite, now)?;
    took.create = first.create(now)?;
    // One database makes the packages of those who never join.
    let mut maker = Device::new(1, suite, now)?;
    let mut second = Device::new(size, suite, now)?;
    let mut packages = vec![second.package()?];
    for number in 1..size - 1 {
        (maker.key, maker.certificate) = certify(number, now)?;
        packages.push(maker.package()?);
    }
    packages.reverse();
    let mut last = None;
    for batch in packages.chunks(ADDED_AT_ONCE) {
        let (staged, filling) = first.commit(Change { adds: batch.to_vec(), ..Change::default() }, &relay)?;
        took.create += filling;
        last = Some(staged);
    }
    let staged = last.ok_or_else(|| io::Error::other("nobody was added"))?;
    let (_, welcome) = staged.welcomes.last().ok_or_else(|| io::Error::other("no welcome"))?;
    let tree = staged.tree.as_deref().unwrap_or_default();
    second.join(welcome, tree)?;

    let rounds = if size > 500 { 1 } else { ROUNDS };
    for round in 0..rounds {
        let mut third = Device::new(size + 1 + round, suite, now)?;
        let (staged, adding) = first.commit(Change { adds: vec![third.package()?], ..Change::default() }, &relay)?;
        took.add += adding / rounds;
        took.add_bytes = staged.commit.len();
        took.process_add += second.follow(&staged.commit)? / rounds;
        let welcome = &staged.welcomes[0].1;
        let tree = staged.tree.as_deref().unwrap_or_default();
        (took.welcome_bytes, took.tree_bytes) = (welcome.len(), tree.len());
        took.join += third.join(welcome, tree)? / rounds;
        let leaf = third.group.as_ref().map_or(0, Group::own_leaf);
        let (staged, removing) = first.commit(Change { removes: vec![leaf], ..Change::default() }, &relay)?;
        took.remove += removing / rounds;
        took.remove_bytes = staged.commit.len();
        took.process_remove += second.follow(&staged.commit)? / rounds;
    }
    Ok(took)
}

struct Key(SigningKey);

impl Signer for Key {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign(payload).to_bytes().to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// A member as OpenMLS knows it; the credential has the size of ours.
struct Bare {
    key: Key,
    credential: CredentialWithKey,
    provider: OpenMlsRustCrypto,
    suite: Ciphersuite,
}

impl Bare {
    fn new(number: u32, suite: Ciphersuite, now: UnixMillis) -> io::Result<Self> {
        let (key, certificate) = certify(number, now)?;
        let credential = CredentialWithKey {
            credential: BasicCredential::new(certificate.bytes().to_vec()).into(),
            signature_key: key.verifying_key().to_bytes().to_vec().into(),
        };
        Ok(Self { key: Key(key), credential, provider: OpenMlsRustCrypto::default(), suite })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(None, Some(&[self.suite]), None, None, None)
    }

    fn config(&self) -> MlsGroupCreateConfig {
        MlsGroupCreateConfig::builder()
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(false)
            .ciphersuite(self.suite)
            .capabilities(self.capabilities())
            .build()
    }

    fn create(&self, config: &MlsGroupCreateConfig) -> io::Result<MlsGroup> {
        let id = GroupId::from_slice(&LOG.0);
        MlsGroup::new_with_group_id(&self.provider, &self.key, config, id, self.credential.clone())
            .map_err(failed("create"))
    }

    /// As it travels.
    fn package(&self) -> io::Result<Vec<u8>> {
        let bundle = KeyPackage::builder()
            .leaf_node_capabilities(self.capabilities())
            .build(self.suite, &self.provider, &self.key, self.credential.clone())
            .map_err(failed("key package"))?;
        bundle.key_package().tls_serialize_detached().map_err(failed("key package"))
    }

    fn follow(&self, group: &mut MlsGroup, commit: &[u8]) -> io::Result<Duration> {
        let begun = thread_time();
        let message = MlsMessageIn::tls_deserialize_exact(commit).map_err(failed("read"))?;
        let message = message.try_into_protocol_message().map_err(failed("read"))?;
        let processed = group.process_message(&self.provider, message).map_err(failed("process"))?;
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            return Err(io::Error::other("not a commit"));
        };
        group.merge_staged_commit(&self.provider, *staged).map_err(failed("merge"))?;
        Ok(thread_time() - begun)
    }

    fn join(&self, config: &MlsGroupCreateConfig, welcome: &[u8], tree: &[u8]) -> io::Result<(MlsGroup, Duration)> {
        let begun = thread_time();
        let message = MlsMessageIn::tls_deserialize_exact(welcome).map_err(failed("read"))?;
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else {
            return Err(io::Error::other("not a welcome"));
        };
        let tree = RatchetTreeIn::tls_deserialize_exact(tree).map_err(failed("tree"))?;
        let staged = StagedWelcome::new_from_welcome(&self.provider, config.join_config(), welcome, Some(tree))
            .map_err(failed("welcome"))?;
        let group = staged.into_group(&self.provider).map_err(failed("join"))?;
        Ok((group, thread_time() - begun))
    }
}

/// Reads what somebody else has offered; checking it is what RFC 9420, section 10.1, demands of whoever adds.
fn offered(provider: &OpenMlsRustCrypto, packages: &[Vec<u8>]) -> io::Result<Vec<KeyPackage>> {
    let read = |bytes: &Vec<u8>| {
        let package = KeyPackageIn::tls_deserialize_exact(bytes).map_err(failed("key package"))?;
        package.validate(provider.crypto(), ProtocolVersion::Mls10).map_err(failed("key package"))
    };
    packages.iter().map(read).collect()
}

fn tree_of(group: &MlsGroup) -> io::Result<Vec<u8>> {
    group.export_ratchet_tree().tls_serialize_detached().map_err(failed("tree"))
}

fn alone(size: u32, suite: u16, now: UnixMillis) -> io::Result<Took> {
    let suite = Ciphersuite::try_from(suite).map_err(failed("suite"))?;
    let mut took = Took::default();
    let first = Bare::new(0, suite, now)?;
    let config = first.config();
    let begun = thread_time();
    let mut group = first.create(&config)?;
    took.create = thread_time() - begun;
    let second = Bare::new(size, suite, now)?;
    let mut packages = Vec::new();
    for number in 1..size - 1 {
        packages.push(Bare::new(number, suite, now)?.package()?);
    }
    packages.push(second.package()?);
    let mut welcome = Vec::new();
    for batch in packages.chunks(ADDED_AT_ONCE) {
        let begun = thread_time();
        let batch = offered(&first.provider, batch)?;
        let (_, out, _) =
            group.add_members_without_update(&first.provider, &first.key, &batch).map_err(failed("fill"))?;
        group.merge_pending_commit(&first.provider).map_err(failed("merge"))?;
        welcome = out.tls_serialize_detached().map_err(failed("welcome"))?;
        took.create += thread_time() - begun;
    }
    let (mut seconds, _) = second.join(&config, &welcome, &tree_of(&group)?)?;

    let rounds = if size > 500 { 1 } else { ROUNDS };
    for round in 0..rounds {
        let third = Bare::new(size + 1 + round, suite, now)?;
        let package = third.package()?;
        let begun = thread_time();
        let package = offered(&first.provider, &[package])?;
        let (commit, out, _) =
            group.add_members_without_update(&first.provider, &first.key, &package).map_err(failed("add"))?;
        group.merge_pending_commit(&first.provider).map_err(failed("merge"))?;
        took.add += (thread_time() - begun) / rounds;
        let commit = commit.tls_serialize_detached().map_err(failed("commit"))?;
        took.add_bytes = commit.len();
        took.process_add += second.follow(&mut seconds, &commit)? / rounds;
        let welcome = out.tls_serialize_detached().map_err(failed("welcome"))?;
        let tree = tree_of(&group)?;
        (took.welcome_bytes, took.tree_bytes) = (welcome.len(), tree.len());
        let (joined, joining) = third.join(&config, &welcome, &tree)?;
        took.join += joining / rounds;
        let leaf = LeafNodeIndex::new(joined.own_leaf_index().u32());
        let begun = thread_time();
        let (commit, _, _) = group.remove_members(&first.provider, &first.key, &[leaf]).map_err(failed("remove"))?;
        group.merge_pending_commit(&first.provider).map_err(failed("merge"))?;
        took.remove += (thread_time() - begun) / rounds;
        let commit = commit.tls_serialize_detached().map_err(failed("commit"))?;
        took.remove_bytes = commit.len();
        took.process_remove += second.follow(&mut seconds, &commit)? / rounds;
    }
    Ok(took)
}

/// How long OpenMLS alone takes to read so many messages in so many epochs, each begun by a commit with a path, and how many it has read.
pub(super) fn catch_up_alone(epochs: u64, each: u64, now: UnixMillis) -> io::Result<(Duration, u64)> {
    let suite = Ciphersuite::try_from(DEFAULT_SUITE).map_err(failed("suite"))?;
    let (first, second) = (Bare::new(0, suite, now)?, Bare::new(1, suite, now)?);
    let config = first.config();
    let mut group = first.create(&config)?;
    let added = offered(&first.provider, &[second.package()?])?;
    let (_, welcome, _) =
        group.add_members_without_update(&first.provider, &first.key, &added).map_err(failed("add"))?;
    group.merge_pending_commit(&first.provider).map_err(failed("merge"))?;
    let welcome = welcome.tls_serialize_detached().map_err(failed("welcome"))?;
    let (mut follower, _) = second.join(&config, &welcome, &tree_of(&group)?)?;
    let (mut took, mut read) = (Duration::ZERO, 0);
    for _ in 0..epochs {
        let renewal = group.self_update(&first.provider, &first.key, LeafNodeParameters::default());
        let (commit, _, _) = renewal.map_err(failed("renew"))?.into_messages();
        group.merge_pending_commit(&first.provider).map_err(failed("merge"))?;
        took += second.follow(&mut follower, &commit.tls_serialize_detached().map_err(failed("commit"))?)?;
        for _ in 0..each {
            let message = group.create_message(&first.provider, &first.key, &MESSAGE).map_err(failed("encrypt"))?;
            let message = message.tls_serialize_detached().map_err(failed("message"))?;
            let begun = thread_time();
            let message = MlsMessageIn::tls_deserialize_exact(&message).map_err(failed("read"))?;
            let message = message.try_into_protocol_message().map_err(failed("read"))?;
            let processed = follower.process_message(&second.provider, message).map_err(failed("decrypt"))?;
            took += thread_time() - begun;
            read += u64::from(matches!(processed.into_content(), ProcessedMessageContent::ApplicationMessage(_)));
        }
    }
    Ok((took, read))
}

/// Groups of 10, 100 and 1,000, post-quantum and classical.
pub fn groups(settings: &Settings, report: &mut Report) -> io::Result<()> {
    let sizes: &[u32] = if settings.quick { &[10, 50] } else { &[10, 100, 1_000] };
    for (name, suite) in [("PQ", DEFAULT_SUITE), ("classical", CLASSICAL_SUITE)] {
        for &size in sizes {
            let now = relay::http::unix_now();
            let bare = alone(size, suite, now)?;
            let ours = ours(size, suite, now)?;
            let times = [
                ("create", ours.create, bare.create),
                ("add", ours.add, bare.add),
                ("process add", ours.process_add, bare.process_add),
                ("join", ours.join, bare.join),
                ("remove", ours.remove, bare.remove),
                ("process remove", ours.process_remove, bare.process_remove),
            ];
            for (what, ours, bare) in times {
                let (ours, bare) = (ours.as_secs_f64() * 1000.0, bare.as_secs_f64() * 1000.0);
                let what = format!("{name}, {size} members: {what}");
                report.row(
                    &Row::new(&what, ours, "CPU ms").aim(Aim::AtMost(1.2 * bare)).against("OpenMLS alone", bare),
                )?;
            }
            let sizes = [
                ("add commit", ours.add_bytes, bare.add_bytes),
                ("remove commit", ours.remove_bytes, bare.remove_bytes),
                ("Welcome", ours.welcome_bytes, bare.welcome_bytes),
                ("tree", ours.tree_bytes, bare.tree_bytes),
            ];
            for (what, ours, bare) in sizes {
                let what = format!("{name}, {size} members: {what}");
                let row = Row::new(&what, ours as f64, "bytes").aim(Aim::AtMost(1.2 * bare as f64));
                report.row(&row.against("OpenMLS alone", bare as f64))?;
            }
        }
    }
    Ok(())
}
