//! What a connection proves: the key of an epoch for logs, the device key for the account lane.
//!
//! Both signatures cover the relay's nonce of this connection and the name that the client dialled, so that neither can be
//! used on another connection, nor be passed on by a relay to another relay.

use ed25519_dalek::SigningKey;

use crate::signed::{SignatureError, sign, signing_input, verify};
use crate::{Address, DeviceId, Epoch, Label, LogId, Nonce, RelayName};

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
}
