//! What OpenMLS needs of the world: cryptography, chance, storage, signatures.

use std::cell::RefCell;
use std::convert::Infallible;

use ed25519_dalek::{Signer as _, SigningKey};
use openmls::prelude::{MlsGroup, OpenMlsRand, PastEpochDeletion};
use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::SignatureScheme;
use rand_core::CryptoRng;

use super::storage::{Mark, Storage};
use super::{Group, MlsError, StorageError};

/// OpenMLS's surroundings for one database transaction. What groups change stays in memory until [`Provider::flush`].
pub struct Provider<'a> {
    crypto: RustCrypto,
    rand: Rand<'a>,
    storage: Storage<'a>,
}

impl<'a> Provider<'a> {
    /// Over an open transaction on `db`, in which [`super::storage::SCHEMA`] was executed once, and with the call's randomness.
    pub fn new(db: &'a rusqlite::Connection, rng: &'a mut dyn CryptoRng) -> Self {
        Self { crypto: RustCrypto::default(), rand: Rand(RefCell::new(rng)), storage: Storage::new(db) }
    }

    /// Writes what has changed since the last flush, each key once. `groups` must hold at least every group that has received
    /// or sent in between; a missing one is [`MlsError::Unsaved`], and then the transaction must not be committed.
    pub fn flush<'g>(&self, groups: impl IntoIterator<Item = &'g mut Group>) -> Result<(), MlsError> {
        for group in groups {
            if self.storage.is_deferred(group.log()) {
                self.save(group.inner_mut())?;
            }
        }
        if self.storage.any_deferred() {
            return Err(MlsError::Unsaved);
        }
        self.storage.flush()?;
        Ok(())
    }

    /// What groups have changed up to here, to come [back to](Self::back_to).
    pub fn mark(&self) -> Mark {
        self.storage.mark()
    }

    /// Undoes what groups have changed since.
    pub fn back_to(&self, mark: Mark) {
        self.storage.back_to(mark);
    }

    /// Forgets the group of a log with all its keys.
    pub fn forget_group(&self, log: wire::LogId) -> Result<(), MlsError> {
        Ok(self.storage.delete_group(log)?)
    }

    /// Writes the secrets of messages into the overlay. With no past epochs kept, "delete all past ones" deletes nothing and
    /// is the one public call of OpenMLS that does nothing but write them.
    pub(super) fn save(&self, group: &mut MlsGroup) -> Result<(), StorageError> {
        group.delete_past_epoch_secrets(self, PastEpochDeletion::delete_all()).map_err(|error| match error {
            openmls::prelude::DeletePastEpochSecretsError::StorageError(error) => error,
        })
    }
}

impl<'a> OpenMlsProvider for Provider<'a> {
    type CryptoProvider = RustCrypto;
    type RandProvider = Rand<'a>;
    type StorageProvider = Storage<'a>;

    fn storage(&self) -> &Storage<'a> {
        &self.storage
    }

    fn crypto(&self) -> &RustCrypto {
        &self.crypto
    }

    fn rand(&self) -> &Rand<'a> {
        &self.rand
    }
}

/// The call's randomness, for OpenMLS.
pub struct Rand<'a>(RefCell<&'a mut dyn CryptoRng>);

impl OpenMlsRand for Rand<'_> {
    type Error = Infallible;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], Infallible> {
        let mut out = [0; N];
        rand_core::Rng::fill_bytes(&mut **self.0.borrow_mut(), &mut out);
        Ok(out)
    }

    fn random_vec(&self, len: usize) -> Result<Vec<u8>, Infallible> {
        let mut out = vec![0; len];
        rand_core::Rng::fill_bytes(&mut **self.0.borrow_mut(), &mut out);
        Ok(out)
    }
}

/// The device key as OpenMLS wants to see it.
pub(super) struct DeviceSigner<'k>(pub &'k SigningKey);

impl Signer for DeviceSigner<'_> {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign(payload).to_bytes().to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}
