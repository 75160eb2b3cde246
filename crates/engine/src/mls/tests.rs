//! What groups must do, over real databases in memory. [`Device`] is one device; a turn is one transaction.

mod attacks;
mod crash;
mod groups;
mod welcomes;

use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use rusqlite::Connection;
use wire::{Bytes, DeviceCertificate, DeviceId, EpochPublicKey, LogId, RelayName, Signed, UnixMillis};

use super::{
    CLASSICAL_SUITE, Change, Group, Incoming, JoinError, MlsError, ProcessError, Provider, ReceiveError, Received,
    SCHEMA, SUITES, Staged, key_package,
};

const LOG: LogId = LogId([7; 16]);

/// OpenMLS holds lifetimes against the machine's clock, so the tests' time is its time.
fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixMillis(since.as_millis() as u64)
}

fn relay() -> RelayName {
    "relay.example".parse().unwrap()
}

struct Device {
    account: SigningKey,
    key: SigningKey,
    certificate: Signed<DeviceCertificate>,
    db: Connection,
    rng: ChaCha20Rng,
    suite: u16,
    group: Option<Group>,
}

fn certify(account: &SigningKey, key: &SigningKey, name: &str, id: u8, suites: &[u16]) -> Signed<DeviceCertificate> {
    DeviceCertificate {
        account_key: account.verifying_key().to_bytes(),
        address: format!("{name}@relay.example").parse().unwrap(),
        device: DeviceId([id; 16]),
        signature_key: key.verifying_key().to_bytes(),
        suites: suites.to_vec(),
        versions: vec![1],
        created: UnixMillis(1),
    }
    .sign(account)
}

impl Device {
    fn new(id: u8) -> Self {
        Self::with_suite(id, CLASSICAL_SUITE)
    }

    fn with_suite(id: u8, suite: u16) -> Self {
        let account = SigningKey::from_bytes(&[id; 32]);
        let key = SigningKey::from_bytes(&[id ^ 0x80; 32]);
        let certificate = certify(&account, &key, &format!("user{id}"), id, &SUITES);
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(SCHEMA).unwrap();
        let rng = ChaCha20Rng::from_seed([id; 32]);
        Self { account, key, certificate, db, rng, suite, group: None }
    }

    /// One transaction; it is committed if `work` succeeds, and rolled back, with the group loaded again, if it fails.
    fn turn<T, E>(
        &mut self,
        work: impl FnOnce(&Provider<'_>, &SigningKey, &mut Option<Group>) -> Result<T, E>,
    ) -> Result<T, E> {
        let tx = self.db.unchecked_transaction().unwrap();
        let p = Provider::new(&tx, &mut self.rng);
        let result = work(&p, &self.key, &mut self.group);
        match result {
            Ok(_) => {
                p.flush(self.group.as_mut()).unwrap();
                drop(p);
                tx.commit().unwrap();
            }
            Err(_) => {
                drop(p);
                tx.rollback().unwrap();
                self.reload();
            }
        }
        result
    }

    /// As after a crash: what the database holds is all there is.
    fn reload(&mut self) {
        let p = Provider::new(&self.db, &mut self.rng);
        self.group = Group::load(&p, LOG).unwrap();
    }

    fn group(&self) -> &Group {
        self.group.as_ref().unwrap()
    }

    fn create(&mut self, state: &[u8]) {
        let (certificate, suite) = (self.certificate.clone(), self.suite);
        self.turn(|p, key, group| {
            *group = Some(Group::create(p, key, &certificate, LOG, suite, state, now())?);
            Ok::<_, MlsError>(())
        })
        .unwrap();
    }

    fn package(&mut self, last_resort: bool) -> Bytes {
        let (certificate, suite) = (self.certificate.clone(), self.suite);
        self.turn(|p, key, _| key_package(p, key, &certificate, suite, now(), last_resort)).unwrap().0.into()
    }

    fn join(&mut self, welcome: &[u8], tree: &[u8]) -> Result<(), JoinError> {
        self.turn(|p, key, group| {
            *group = Some(Group::join(p, key, welcome, tree)?);
            Ok(())
        })
    }

    fn stage(&mut self, change: Change) -> Result<Staged, MlsError> {
        self.turn(|p, key, group| group.as_mut().unwrap().stage(p, key, change, &relay()))
    }

    fn merge_staged(&mut self) {
        self.turn(|p, _, group| group.as_mut().unwrap().merge_staged(p)).unwrap();
    }

    fn process(&mut self, commit: &[u8]) -> Result<Incoming, ProcessError> {
        self.turn(|p, _, group| group.as_mut().unwrap().process(p, commit))
    }

    /// Processes and merges; the summary is read before the merge takes it.
    fn follow(&mut self, commit: &[u8]) -> Result<Seen, ProcessError> {
        self.turn(|p, _, group| {
            let group = group.as_mut().unwrap();
            let incoming = group.process(p, commit)?;
            let seen = Seen {
                author: incoming.author,
                added: incoming.added.iter().map(|member| member.leaf).collect(),
                removed: incoming.removed.iter().map(|member| member.leaf).collect(),
                left: incoming.left.iter().map(|member| member.leaf).collect(),
                updated: incoming.updated.iter().map(|member| member.leaf).collect(),
                state: incoming.state.clone(),
                removes_self: incoming.removes_self,
                next: incoming.next_delivery(p, &relay(), LOG).unwrap(),
            };
            let (added, updated) = (incoming.added.clone(), incoming.updated.clone());
            group.merge(p, incoming).unwrap();
            if group.is_active() {
                for member in added.iter().chain(&updated) {
                    assert_eq!(group.member(member.leaf), Some(member));
                }
            }
            Ok(seen)
        })
    }

    fn send(&mut self, text: &[u8]) -> Result<Vec<u8>, MlsError> {
        self.turn(|p, key, group| group.as_mut().unwrap().encrypt(p, key, text))
    }

    fn receive(&mut self, message: &[u8]) -> Result<Received, ReceiveError> {
        self.turn(|p, _, group| group.as_mut().unwrap().receive(p, message))
    }

    fn leave(&mut self) -> Result<Vec<u8>, MlsError> {
        self.turn(|p, key, group| group.as_mut().unwrap().leave(p, key))
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    author: u32,
    added: Vec<u32>,
    removed: Vec<u32>,
    left: Vec<u32>,
    updated: Vec<u32>,
    state: Option<Vec<u8>>,
    removes_self: bool,
    next: Option<EpochPublicKey>,
}

/// A change that adds these devices by fresh key packages.
fn adding(devices: &mut [&mut Device]) -> Change {
    Change { adds: devices.iter_mut().map(|device| device.package(false)).collect(), ..Change::default() }
}

/// A group of devices 1, 2, …; all of them joined by one commit.
fn group_of(size: u8, suite: u16) -> Vec<Device> {
    let mut devices: Vec<Device> = (1..=size).map(|id| Device::with_suite(id, suite)).collect();
    let (first, rest) = devices.split_first_mut().unwrap();
    first.create(b"state");
    if !rest.is_empty() {
        let staged = first.stage(adding(&mut rest.iter_mut().collect::<Vec<_>>())).unwrap();
        first.merge_staged();
        for (device, (certificate, welcome)) in rest.iter_mut().zip(&staged.welcomes) {
            assert_eq!(certificate.device, device.certificate.device);
            device.join(welcome, staged.tree.as_ref().unwrap()).unwrap();
        }
    }
    devices
}

/// `author` commits `change`, everybody else follows.
fn commit(devices: &mut [Device], author: usize, change: Change) -> Staged {
    let staged = devices[author].stage(change).unwrap();
    for (index, device) in devices.iter_mut().enumerate() {
        if index == author {
            device.merge_staged();
        } else if device.group.as_ref().is_some_and(Group::is_active) {
            let seen = device.follow(&staged.commit).unwrap();
            assert!(seen.removes_self || seen.next == Some(staged.next));
        }
    }
    staged
}

/// Everybody who is active sends, and everybody else reads it.
fn talk(devices: &mut [Device]) {
    let active: Vec<usize> =
        (0..devices.len()).filter(|index| devices[*index].group.as_ref().is_some_and(Group::is_active)).collect();
    for &from in &active {
        let text = format!("from {from}").into_bytes();
        let message = devices[from].send(&text).unwrap();
        let leaf = devices[from].group().own_leaf();
        for &to in active.iter().filter(|to| **to != from) {
            assert_eq!(devices[to].receive(&message).unwrap(), Received::Message { leaf, plaintext: text.clone() });
        }
    }
}
