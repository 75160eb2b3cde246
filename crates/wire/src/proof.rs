//! What a connection proves: the key of an epoch for logs, the device key for the account lane, the account key for one record.
//!
//! All of these signatures cover the relay's nonce of this connection and the name that the client dialled, so that neither can be
//! used on another connection, nor be passed on by a relay to another relay.

use ed25519_dalek::SigningKey;

use crate::signed::{SignatureError, sign, signing_input, verify, verify_together};
use crate::{Address, DeviceId, Epoch, Label, LogId, Nonce, RecordHash, RelayName};

/// The public half of an epoch's key pair: all that a relay keeps of it, so that a seized disk opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EpochPublicKey(pub [u8; 32]);

/// The key pair of an epoch of a log, derived by its members from the MLS exporter.
pub struct EpochKey(SigningKey);

impl EpochKey {
    /// From the 32 byte seed `exporter("transom delivery", …)`.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// What the relay is given.
    pub fn public(&self) -> EpochPublicKey {
        EpochPublicKey(self.0.verifying_key().to_bytes())
    }

    /// Opens `epoch` of `log` for the connection with this nonce.
    pub fn open(&self, nonce: &Nonce, relay: &RelayName, log: LogId, epoch: Epoch) -> [u8; 64] {
        sign(&self.0, Label::Open, &open_parts(nonce, relay, &log, &epoch.0.to_be_bytes()))
    }
}

impl EpochPublicKey {
    /// Checks what [`EpochKey::open`] made.
    pub fn verify_open(
        &self,
        nonce: &Nonce,
        relay: &RelayName,
        log: LogId,
        epoch: Epoch,
        signature: &[u8; 64],
    ) -> Result<(), SignatureError> {
        verify(&self.0, Label::Open, &open_parts(nonce, relay, &log, &epoch.0.to_be_bytes()), signature)
    }
}

/// What [`EpochKey::open`] made for one of several logs.
#[derive(Debug, Clone, Copy)]
pub struct OpenProof<'a> {
    /// The key that is to open it.
    pub key: EpochPublicKey,
    /// The log.
    pub log: LogId,
    /// The epoch.
    pub epoch: Epoch,
    /// The proof.
    pub signature: &'a [u8; 64],
}

/// Checks proofs of one connection together, at about a third of what each costs alone. If one is wrong nothing is said of the others: they are
/// to be checked with [`EpochPublicKey::verify_open`] then.
pub fn verify_opens(proofs: &[OpenProof<'_>], nonce: &Nonce, relay: &RelayName) -> Result<(), SignatureError> {
    let signed = proofs.iter().map(|proof| {
        let epoch = proof.epoch.0.to_be_bytes();
        let input = signing_input(Label::Open.as_str(), &open_parts(nonce, relay, &proof.log, &epoch));
        (&proof.key.0, input, proof.signature)
    });
    verify_together(signed)
}

fn open_parts<'a>(nonce: &'a Nonce, relay: &'a RelayName, log: &'a LogId, epoch: &'a [u8; 8]) -> [&'a [u8]; 4] {
    [&nonce.0, relay.as_str().as_bytes(), &log.0, epoch]
}

fn authenticate_parts<'a>(
    nonce: &'a Nonce,
    relay: &'a RelayName,
    address: &'a Address,
    device: &'a DeviceId,
) -> [&'a [u8]; 4] {
    [&nonce.0, relay.as_str().as_bytes(), address.as_str().as_bytes(), &device.0]
}

/// The bytes that a device signs to prove itself on the account lane, for signers that hold the key elsewhere.
pub fn authenticate_input(nonce: &Nonce, relay: &RelayName, address: &Address, device: &DeviceId) -> Vec<u8> {
    signing_input(Label::Authenticate.as_str(), &authenticate_parts(nonce, relay, address, device))
}

/// Checks a device's proof on the account lane.
pub fn verify_authenticate(
    device_key: &[u8; 32],
    nonce: &Nonce,
    relay: &RelayName,
    address: &Address,
    device: &DeviceId,
    signature: &[u8; 64],
) -> Result<(), SignatureError> {
    verify(device_key, Label::Authenticate, &authenticate_parts(nonce, relay, address, device), signature)
}

fn put_record_parts<'a>(
    nonce: &'a Nonce,
    relay: &'a RelayName,
    address: &'a Address,
    record: &'a RecordHash,
) -> [&'a [u8]; 4] {
    [&nonce.0, relay.as_str().as_bytes(), address.as_str().as_bytes(), &record.0]
}

/// The account key proves itself for one record on one connection: what a restore does where no device is left.
pub fn sign_put_record(
    account: &SigningKey,
    nonce: &Nonce,
    relay: &RelayName,
    address: &Address,
    record: &RecordHash,
) -> [u8; 64] {
    sign(account, Label::PutRecord, &put_record_parts(nonce, relay, address, record))
}

/// Checks what [`sign_put_record`] made.
pub fn verify_put_record(
    account_key: &[u8; 32],
    nonce: &Nonce,
    relay: &RelayName,
    address: &Address,
    record: &RecordHash,
    signature: &[u8; 64],
) -> Result<(), SignatureError> {
    verify(account_key, Label::PutRecord, &put_record_parts(nonce, relay, address, record), signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_is_bound_to_connection_relay_log_and_epoch() {
        let key = EpochKey::from_seed(&[1; 32]);
        let (nonce, log, epoch) = (Nonce([2; 32]), LogId([3; 16]), Epoch(4));
        let relay: RelayName = "a.example".parse().unwrap();
        let other: RelayName = "b.example".parse().unwrap();
        let signature = key.open(&nonce, &relay, log, epoch);
        let public = key.public();
        assert!(public.verify_open(&nonce, &relay, log, epoch, &signature).is_ok());
        assert!(public.verify_open(&Nonce([9; 32]), &relay, log, epoch, &signature).is_err());
        assert!(public.verify_open(&nonce, &other, log, epoch, &signature).is_err());
        assert!(public.verify_open(&nonce, &relay, LogId([9; 16]), epoch, &signature).is_err());
        assert!(public.verify_open(&nonce, &relay, log, Epoch(5), &signature).is_err());
        assert!(EpochKey::from_seed(&[8; 32]).public().verify_open(&nonce, &relay, log, epoch, &signature).is_err());
    }

    #[test]
    fn proofs_that_are_checked_together_hold_if_each_does() {
        let (nonce, relay) = (Nonce([2; 32]), "a.example".parse::<RelayName>().unwrap());
        let keys: Vec<EpochKey> = (1..=9).map(|seed| EpochKey::from_seed(&[seed; 32])).collect();
        let log = |at: usize| LogId([at as u8; 16]);
        let signatures: Vec<[u8; 64]> =
            keys.iter().enumerate().map(|(at, key)| key.open(&nonce, &relay, log(at), Epoch(4))).collect();
        let all = |wrong: &dyn Fn(usize, &mut OpenProof<'_>)| {
            let proofs: Vec<OpenProof<'_>> = signatures
                .iter()
                .enumerate()
                .map(|(at, signature)| {
                    let mut proof = OpenProof { key: keys[at].public(), log: log(at), epoch: Epoch(4), signature };
                    wrong(at, &mut proof);
                    proof
                })
                .collect();
            verify_opens(&proofs, &nonce, &relay).is_ok()
        };
        assert!(all(&|_, _| ()));
        assert!(verify_opens(&[], &nonce, &relay).is_ok());
        assert!(!all(&|at, proof| proof.epoch.0 += u64::from(at == 5)));
        assert!(!all(&|at, proof| if at == 8 {
            proof.log = log(7);
        }));
        assert!(!all(&|at, proof| if at == 0 {
            proof.key = keys[1].public();
        }));
        // Points of small order, for which a signature is found without any secret, and what is no point.
        for weak in [
            [0; 32],
            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            [2; 32],
        ] {
            let mut forged = [0; 64];
            forged[0] = 1;
            let proof = OpenProof { key: EpochPublicKey(weak), log: log(1), epoch: Epoch(4), signature: &forged };
            assert!(verify_opens(&[proof], &nonce, &relay).is_err(), "{weak:?}");
            assert!(all(&|_, _| ()));
        }
        // Two wrong ones that would make up for one another if both counted alike.
        let mut swapped = signatures.clone();
        let (one, other) = swapped.split_at_mut(1);
        one[0][32..].swap_with_slice(&mut other[0][32..]);
        let proofs: Vec<OpenProof<'_>> = swapped
            .iter()
            .enumerate()
            .map(|(at, signature)| OpenProof { key: keys[at].public(), log: log(at), epoch: Epoch(4), signature })
            .collect();
        assert!(verify_opens(&proofs, &nonce, &relay).is_err());
    }

    #[test]
    fn a_proof_of_the_account_key_is_bound_to_connection_relay_address_and_record() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let public = key.verifying_key().to_bytes();
        let (nonce, record) = (Nonce([2; 32]), RecordHash([3; 32]));
        let (relay, other): (RelayName, RelayName) = ("a.example".parse().unwrap(), "b.example".parse().unwrap());
        let (alice, bob): (Address, Address) = ("alice@a.example".parse().unwrap(), "bob@a.example".parse().unwrap());
        let signature = sign_put_record(&key, &nonce, &relay, &alice, &record);
        assert!(verify_put_record(&public, &nonce, &relay, &alice, &record, &signature).is_ok());
        assert!(verify_put_record(&public, &Nonce([9; 32]), &relay, &alice, &record, &signature).is_err());
        assert!(verify_put_record(&public, &nonce, &other, &alice, &record, &signature).is_err());
        assert!(verify_put_record(&public, &nonce, &relay, &bob, &record, &signature).is_err());
        assert!(verify_put_record(&public, &nonce, &relay, &alice, &RecordHash([9; 32]), &signature).is_err());
        let stranger = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
        assert!(verify_put_record(&stranger, &nonce, &relay, &alice, &record, &signature).is_err());
    }
}
